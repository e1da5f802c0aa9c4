//! What measures a tunnel, slows it down and stops it; and when it is told of the bytes that have moved.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::time::Instant;

/// The bytes that a tunnel has relayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Read from the client and written to the upstream.
    pub bytes_from_client: u64,
    /// Read from the upstream and written to the client.
    pub bytes_from_upstream: u64,
}

impl Traffic {
    /// So many bytes of the upstream.
    #[must_use]
    pub fn from_upstream(bytes: usize) -> Traffic {
        Traffic {
            bytes_from_client: 0,
            bytes_from_upstream: bytes as u64,
        }
    }

    /// The bytes of both.
    #[must_use]
    pub fn and(self, other: Traffic) -> Traffic {
        Traffic {
            bytes_from_client: self.bytes_from_client + other.bytes_from_client,
            bytes_from_upstream: self.bytes_from_upstream + other.bytes_from_upstream,
        }
    }
}

/// One of the two streams that a tunnel reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// What the client sends.
    Client,
    /// What the upstream sends.
    Upstream,
}

/// Receives the traffic of an open tunnel, slows it down, and stops it. The relay only obeys.
pub trait Meter {
    /// Called from time to time with the traffic since the last call. Only the
    /// result of [`relay`](super::relay()) has the rest at the end.
    ///
    /// `Break` has the name of the reason: the tunnel ends at once as
    /// [`Ended::Stopped`](super::Ended::Stopped), and both sides are reset.
    fn moved(&self, traffic: Traffic) -> ControlFlow<&'static str>;

    /// Called each time that bytes have moved, with all of them since the tunnel was opened. For display, and so it has to be
    /// cheap.
    fn progress(&self, _: Traffic) {}

    /// The most bytes that each direction reads before the next call of [`moved`](Self::moved).
    /// The relay asks each time the tunnel is woken.
    ///
    /// Without a limit a direction may read about two megabytes before the meter gets the report,
    /// since large calls of splice(2) cost less.
    fn report_after(&self) -> u64 {
        u64::MAX
    }

    /// Whether it gets a report each time that bytes have moved: a killed process then loses none of them.
    fn is_exact(&self) -> bool {
        false
    }

    /// The most bytes of a source that are read at once; none where it has no bandwidth of its own. Where it has, the relay
    /// reads what it was lent, and no more.
    fn part(&self, _: Source) -> Option<u64> {
        None
    }

    /// Lends bytes of a part, if they may be read at once.
    fn lend_now(&self, _: Source, _bytes: u64) -> bool {
        true
    }

    /// Lends bytes that are there to be read. The answer is after what pause they may be: other tunnels may come first.
    ///
    /// A pause is of one direction; TCP slows its sender. In the pause the relay delivers the bytes that it holds. A pause is
    /// not idle time, and is at most a minute long. It delays neither a reset nor the end of the process. It delays the end
    /// of a stream behind bytes that were not read. The end of a stream inside TLS or HTTP/2 looks like such bytes.
    fn lend(&self, _: Source, _bytes: u64) -> Duration {
        Duration::ZERO
    }

    /// Takes back what was lent and was not there.
    fn give_back(&self, _: Source, _bytes: u64) {}
}

/// A meter is called after so many bytes, or after fewer when its last call is
/// [`METER_PERIOD`] ago.
pub(super) const METER_BYTES: u64 = 256 * 1024;
const METER_PERIOD: Duration = Duration::from_secs(1);

/// The traffic that was reported to a meter.
#[derive(Debug)]
pub(super) struct Reports {
    reported: Traffic,
    at: Instant,
}

impl Reports {
    pub(super) fn new() -> Self {
        Self {
            reported: Traffic::default(),
            at: Instant::now(),
        }
    }

    /// What of `total` was not reported.
    pub(super) fn fresh(&self, total: Traffic) -> Traffic {
        Traffic {
            bytes_from_client: total.bytes_from_client - self.reported.bytes_from_client,
            bytes_from_upstream: total.bytes_from_upstream - self.reported.bytes_from_upstream,
        }
    }

    /// Reports when it is time to.
    pub(super) fn update(
        &mut self,
        now: Instant,
        total: Traffic,
        meter: &impl Meter,
    ) -> ControlFlow<&'static str> {
        let fresh = self.fresh(total);
        if fresh.bytes_from_client + fresh.bytes_from_upstream
            >= METER_BYTES.min(meter.report_after())
            || meter.is_exact()
            || now.duration_since(self.at) >= METER_PERIOD
        {
            self.at = now;
            self.reported = total;
            return meter.moved(fresh);
        }
        ControlFlow::Continue(())
    }
}
