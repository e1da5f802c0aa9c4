//! The relay of one tunnel.
//!
//! Each direction fills a buffer or a pipe and empties it before it reads more, so
//! that a slow reader holds at most one of them and slows its sender down. The end
//! of one direction is passed on and the other one continues (half-close). A reset is
//! passed on as a reset, within a second.

use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop::{Unconstrained, unconstrained};
use tokio::time::Instant;

use super::direction::{Broken, Direction, SPLICING, Splicing};
use super::idle::Idle;
use super::{Ends, Socket};

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Both sides have ended their stream.
    Complete,
    /// No byte moved for the idle time-out.
    Idle,
    /// The client reset or broke the connection.
    ClientReset,
    /// The upstream reset or broke the connection.
    UpstreamReset,
    /// The process stopped, and `timeouts.drain` was over.
    Drained,
    /// The meter stopped it, for the reason that it named.
    Stopped(&'static str),
}

impl Ended {
    /// The stable name in the access log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Idle => "idle_timeout",
            Self::ClientReset => "client_reset",
            Self::UpstreamReset => "upstream_reset",
            Self::Drained => "drained",
            Self::Stopped(reason) => reason,
        }
    }
}

/// The bytes that a tunnel has relayed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Read from the client and written to the upstream.
    pub bytes_from_client: u64,
    /// Read from the upstream and written to the client.
    pub bytes_from_upstream: u64,
}

/// Receives the traffic of an open tunnel, slows it down, and stops it. The relay only obeys.
pub trait Meter {
    /// Called from time to time with the traffic since the last call. Only the
    /// result of [`relay`] has the rest at the end.
    ///
    /// `Continue` has the pause after which the relay reads on. The pause applies to both
    /// directions: a report is about both, and one timer serves both. TCP slows the senders.
    /// In the pause the relay delivers the bytes that it holds, and reports them; the answer
    /// may make the pause longer, never shorter. A pause is not idle time, and is at most a
    /// minute long. Timers are late by a millisecond or more: a meter that holds a rate
    /// measures the time itself.
    ///
    /// `Break` has the name of the reason: the tunnel ends at once as
    /// [`Ended::Stopped`], and both sides are reset.
    ///
    /// A pause delays neither a reset nor the end of the process. It delays the end of
    /// a stream behind bytes that were not read. The end of a stream inside TLS or HTTP/2 looks
    /// like such bytes.
    fn moved(&self, traffic: Traffic) -> ControlFlow<&'static str, Duration>;

    /// The most bytes that each direction reads before the next call of [`moved`](Self::moved).
    /// The relay asks each time the tunnel is woken.
    ///
    /// Without a limit a direction may read about two megabytes before the meter gets the report,
    /// since large calls of splice(2) cost less. A meter that holds a rate returns what may pass
    /// in a small part of a second, so that each pause is short.
    fn report_after(&self) -> u64 {
        u64::MAX
    }
}

/// A meter is called after so many bytes, or after fewer when its last call is
/// [`METER_PERIOD`] ago.
const METER_BYTES: u64 = 256 * 1024;
const METER_PERIOD: Duration = Duration::from_secs(1);

/// The longest pause, so that a faulty meter does not hold a tunnel for ever.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Relays between `client` and `upstream` until both directions have ended, one of
/// them fails, no byte moves for `idle_timeout`, or `cancelled` is ready. `early` are
/// bytes of the client that were read along with its CONNECT.
///
/// Both sockets have `TCP_NODELAY` set already: Nagle's algorithm must not delay a
/// sender that waits between two small writes.
///
/// Both streams are closed on return, and reset unless both had ended; the same
/// applies when the future is dropped.
///
/// `cancelled` is pinned by the caller, so that an idle tunnel has it once in memory: a
/// future that is passed by value to another one is stored twice. To be called within a runtime.
pub fn relay<C, U>(
    client: C,
    upstream: U,
    early: impl AsRef<[u8]>,
    idle_timeout: Duration,
    meter: &impl Meter,
    cancelled: impl Future<Output = ()> + Unpin,
) -> impl Future<Output = (Ended, Traffic)>
where
    C: AsyncRead + AsyncWrite + Socket + Unpin,
    U: AsyncRead + AsyncWrite + Socket + Unpin,
{
    let ends = Ends::new(client, upstream);
    let early = early.as_ref();
    relay_tunnel(ends, early, idle_timeout, meter, cancelled, &SPLICING)
}

/// [`relay`], with the splicing of a test. Not an `async fn`: that would store its arguments twice.
fn relay_tunnel<'m, C, U, M, F>(
    ends: Ends<C, U>,
    early: &[u8],
    idle_timeout: Duration,
    meter: &'m M,
    cancelled: F,
    splicing: &'static Splicing,
) -> impl Future<Output = (Ended, Traffic)> + use<'m, C, U, M, F>
where
    C: AsyncRead + AsyncWrite + Socket + Unpin,
    U: AsyncRead + AsyncWrite + Socket + Unpin,
    M: Meter,
    F: Future<Output = ()> + Unpin,
{
    let mut relay = Relay {
        to_upstream: Direction::new(early, splicing),
        to_client: Direction::new(&[], splicing),
        client_first: false,
        reports: Reports::new(),
        meter,
        idle: Idle::new(idle_timeout),
        // Unconstrained: a tunnel that always uses up its task's budget must see it, too.
        cancelled: unconstrained(cancelled),
        ends,
    };
    async move {
        let ended = poll_fn(|cx| relay.poll(cx)).await;
        let Ends {
            client, upstream, ..
        } = &mut relay.ends;
        match ended {
            Ended::Complete => relay.ends.end(),
            // Boxed, so that a rare case does not make every tunnel larger.
            Ended::ClientReset => {
                Box::pin(relay.to_upstream.pass_on_rest(client, upstream)).await;
            }
            Ended::UpstreamReset => {
                Box::pin(relay.to_client.pass_on_rest(upstream, client)).await;
            }
            Ended::Idle | Ended::Drained | Ended::Stopped(_) => {}
        }
        (ended, relay.traffic())
    }
}

/// A tunnel in progress.
struct Relay<'m, C: Socket, U: Socket, M, F> {
    to_upstream: Direction,
    to_client: Direction,
    /// Which direction is polled first next time.
    client_first: bool,
    reports: Reports,
    meter: &'m M,
    idle: Idle,
    cancelled: Unconstrained<F>,
    ends: Ends<C, U>,
}

impl<C, U, M, F> Relay<'_, C, U, M, F>
where
    C: AsyncRead + AsyncWrite + Socket + Unpin,
    U: AsyncRead + AsyncWrite + Socket + Unpin,
    M: Meter,
    F: Future<Output = ()> + Unpin,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let before = self.traffic();
        if let Poll::Ready(ended) = self.poll_directions(cx) {
            return Poll::Ready(ended);
        }
        if self.traffic() != before
            && let ControlFlow::Break(reason) = self.note_activity()
        {
            return Poll::Ready(Ended::Stopped(reason));
        }
        if Pin::new(&mut self.cancelled).poll(cx).is_ready() {
            return Poll::Ready(Ended::Drained);
        }
        self.poll_idle(cx)
    }

    /// Moves bytes in both directions. Ready when both have ended or one has failed.
    fn poll_directions(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let [client_room, upstream_room] = self.room();
        let Ends {
            client, upstream, ..
        } = &mut self.ends;
        // In turns, so that the direction which uses up the budget is not always the same.
        self.client_first = !self.client_first;
        for from_client in [self.client_first, !self.client_first] {
            let (result, source, sink) = if from_client {
                let result = self.to_upstream.poll(cx, client, upstream, client_room);
                (result, Ended::ClientReset, Ended::UpstreamReset)
            } else {
                let result = self.to_client.poll(cx, upstream, client, upstream_room);
                (result, Ended::UpstreamReset, Ended::ClientReset)
            };
            // At once: the other direction, polled now, would take the rest of
            // a broken stream for its end.
            match result {
                Poll::Ready(Err(Broken::Reading)) => return Poll::Ready(source),
                Poll::Ready(Err(Broken::Writing)) => return Poll::Ready(sink),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if self.to_upstream.is_done() && self.to_client.is_done() {
            return Poll::Ready(Ended::Complete);
        }
        Poll::Pending
    }

    /// How many bytes of the client and of the upstream may be read.
    fn room(&self) -> [u64; 2] {
        if self.idle.is_paused() {
            return [0; 2];
        }
        let most = self.meter.report_after();
        let fresh = self.reports.fresh(self.traffic());
        // At least one: a meter that reduces its number must get the report that is due.
        [fresh.bytes_from_client, fresh.bytes_from_upstream]
            .map(|fresh| most.saturating_sub(fresh).max(1))
    }

    /// Restarts the idle time-out, reports to the meter and does what it says.
    fn note_activity(&mut self) -> ControlFlow<&'static str> {
        if let Some(now) = self.to_upstream.moved().max(self.to_client.moved()) {
            self.idle.touch(now);
            let total = self.traffic();
            let pause = self.reports.update(now, total, self.meter)?;
            if !pause.is_zero() {
                self.idle.pause(now + pause.min(MAX_PAUSE));
            }
        }
        ControlFlow::Continue(())
    }

    /// Ready when the idle time-out is over, or when a stream that is not being read was reset.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let was_paused = self.idle.is_paused();
        let client_unread = was_paused || !self.to_upstream.is_reading();
        let upstream_unread = was_paused || !self.to_client.is_reading();
        while self
            .idle
            .poll(cx, client_unread || upstream_unread)
            .is_ready()
        {
            if client_unread && self.ends.client.is_reset(cx) {
                return Poll::Ready(Ended::ClientReset);
            }
            if upstream_unread && self.ends.upstream.is_reset(cx) {
                return Poll::Ready(Ended::UpstreamReset);
            }
            if self.idle.is_over() {
                return Poll::Ready(Ended::Idle);
            }
        }
        if was_paused && !self.idle.is_paused() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            bytes_from_client: self.to_upstream.carried(),
            bytes_from_upstream: self.to_client.carried(),
        }
    }
}

/// The traffic that was reported to a meter.
#[derive(Debug)]
struct Reports {
    reported: Traffic,
    at: Instant,
}

impl Reports {
    fn new() -> Self {
        Self {
            reported: Traffic::default(),
            at: Instant::now(),
        }
    }

    /// What of `total` was not reported.
    fn fresh(&self, total: Traffic) -> Traffic {
        Traffic {
            bytes_from_client: total.bytes_from_client - self.reported.bytes_from_client,
            bytes_from_upstream: total.bytes_from_upstream - self.reported.bytes_from_upstream,
        }
    }

    /// Reports when it is time to. The answer of the meter.
    fn update(
        &mut self,
        now: Instant,
        total: Traffic,
        meter: &impl Meter,
    ) -> ControlFlow<&'static str, Duration> {
        let fresh = self.fresh(total);
        if fresh.bytes_from_client + fresh.bytes_from_upstream
            >= METER_BYTES.min(meter.report_after())
            || now.duration_since(self.at) >= METER_PERIOD
        {
            self.at = now;
            self.reported = total;
            return meter.moved(fresh);
        }
        ControlFlow::Continue(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests;
