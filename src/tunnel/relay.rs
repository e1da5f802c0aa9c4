//! The relay of one tunnel.
//!
//! Each direction reads into a buffer and writes it out before it reads again,
//! so a slow reader holds at most one buffer and slows its sender down. The end
//! of one direction is passed on and the other goes on (half-close). A reset is
//! passed on as a reset.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::buffer::Buffer;
use super::{Socket, is_reset, reset_on_close};

/// How often a direction that does not read, because it cannot write or because
/// its source has ended, looks whether its source was reset: it would go unseen.
const RESET_CHECK: Duration = Duration::from_millis(500);

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Both sides had sent all they had.
    Complete,
    /// No byte moved for the idle time-out.
    Idle,
    /// The client reset or broke the connection.
    ClientReset,
    /// The upstream reset or broke the connection.
    UpstreamReset,
    /// The process stopped, and the time that tunnels get for that was over.
    Drained,
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
        }
    }
}

/// Bytes that a tunnel has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Read from the client and written to the upstream.
    pub bytes_from_client: u64,
    /// Read from the upstream and written to the client.
    pub bytes_from_upstream: u64,
}

/// Learns of the traffic while a tunnel is open.
pub trait Meter {
    /// Called now and then with what has moved since the last call. What is left
    /// at the end is in the result of [`relay`] alone.
    fn moved(&self, traffic: Traffic);
}

/// A meter is called for so many bytes, or for less when it was not called for
/// [`METER_PERIOD`].
const METER_BYTES: u64 = 256 * 1024;
const METER_PERIOD: Duration = Duration::from_secs(1);

/// Joins `client` and `upstream` until both directions have ended, one of them
/// fails, nothing moves for `idle_timeout`, or `cancelled` is ready. `early` are
/// bytes of the client that were read along with its CONNECT.
///
/// Both streams are closed on return.
pub async fn relay<C, U>(
    mut client: C,
    mut upstream: U,
    early: &[u8],
    idle_timeout: Duration,
    meter: &impl Meter,
    cancelled: impl Future<Output = ()>,
) -> (Ended, Traffic)
where
    C: AsyncRead + AsyncWrite + Socket + Unpin,
    U: AsyncRead + AsyncWrite + Socket + Unpin,
{
    let mut to_upstream = Direction::new(Buffer::holding(early));
    let mut to_client = Direction::new(Buffer::default());
    let mut reports = Reports::new();
    let mut idle = Idle::new(idle_timeout);
    let mut cancelled = std::pin::pin!(cancelled);

    let ended = poll_fn(|cx| {
        let before = to_upstream.carried + to_client.carried;
        let sent = to_upstream.poll(cx, &mut client, &mut upstream);
        let received = to_client.poll(cx, &mut upstream, &mut client);
        if to_upstream.carried + to_client.carried != before {
            idle.touch();
            reports.update(idle.last, to_upstream.carried, to_client.carried, meter);
        }
        match (sent, received) {
            (Poll::Ready(Err(Broken::Reading)), _) | (_, Poll::Ready(Err(Broken::Writing))) => {
                return Poll::Ready(Ended::ClientReset);
            }
            (Poll::Ready(Err(Broken::Writing)), _) | (_, Poll::Ready(Err(Broken::Reading))) => {
                return Poll::Ready(Ended::UpstreamReset);
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Ended::Complete),
            _ => {}
        }
        if cancelled.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ended::Drained);
        }
        let unread = !to_upstream.is_reading() || !to_client.is_reading();
        while idle.poll(cx, unread).is_ready() {
            if !to_upstream.is_reading() && is_reset(client.tcp()).unwrap_or(true) {
                return Poll::Ready(Ended::ClientReset);
            }
            if !to_client.is_reading() && is_reset(upstream.tcp()).unwrap_or(true) {
                return Poll::Ready(Ended::UpstreamReset);
            }
            if idle.is_over() {
                return Poll::Ready(Ended::Idle);
            }
        }
        Poll::Pending
    })
    .await;

    if ended != Ended::Complete {
        reset_on_close(client.tcp());
        reset_on_close(upstream.tcp());
    }
    let traffic = Traffic {
        bytes_from_client: to_upstream.carried,
        bytes_from_upstream: to_client.carried,
    };
    (ended, traffic)
}

/// What a meter was told already.
#[derive(Debug)]
struct Reports {
    told: Traffic,
    at: Instant,
}

impl Reports {
    fn new() -> Self {
        Self {
            told: Traffic::default(),
            at: Instant::now(),
        }
    }

    fn update(&mut self, now: Instant, from_client: u64, from_upstream: u64, meter: &impl Meter) {
        let fresh = Traffic {
            bytes_from_client: from_client - self.told.bytes_from_client,
            bytes_from_upstream: from_upstream - self.told.bytes_from_upstream,
        };
        if fresh.bytes_from_client + fresh.bytes_from_upstream >= METER_BYTES
            || now.duration_since(self.at) >= METER_PERIOD
        {
            meter.moved(fresh);
            self.at = now;
            self.told = Traffic {
                bytes_from_client: from_client,
                bytes_from_upstream: from_upstream,
            };
        }
    }
}

/// Which end of a direction failed.
#[derive(Clone, Copy, Debug)]
enum Broken {
    Reading,
    Writing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Copying,
    /// The source has ended and everything is written: the end is passed on.
    Ending,
    Done,
}

/// One direction of a tunnel.
#[derive(Debug)]
struct Direction {
    buffer: Buffer,
    phase: Phase,
    unflushed: bool,
    carried: u64,
}

impl Direction {
    fn new(buffer: Buffer) -> Self {
        Self {
            buffer,
            phase: Phase::Copying,
            unflushed: false,
            carried: 0,
        }
    }

    /// Whether it would see a reset of its source.
    fn is_reading(&self) -> bool {
        self.phase == Phase::Copying && self.buffer.is_empty()
    }

    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        sink: &mut W,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        while self.phase == Phase::Copying {
            if self.buffer.is_empty() {
                match self.poll_fill(cx, source) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Reading)),
                    Poll::Pending => {
                        // What was written must not wait for more to come (TLS buffers).
                        if self.unflushed {
                            ready!(Pin::new(&mut *sink).poll_flush(cx)).map_err(writing)?;
                            self.unflushed = false;
                        }
                        return Poll::Pending;
                    }
                }
            }
            match ready!(Pin::new(&mut *sink).poll_write(cx, self.buffer.filled())) {
                Ok(len) if len > 0 => {
                    self.buffer.consume(len);
                    self.carried += len as u64;
                    self.unflushed = true;
                }
                Ok(_) | Err(_) => return Poll::Ready(Err(Broken::Writing)),
            }
        }
        if self.phase == Phase::Ending {
            ready!(Pin::new(&mut *sink).poll_shutdown(cx)).map_err(writing)?;
            self.phase = Phase::Done;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_fill<R>(&mut self, cx: &mut Context<'_>, source: &mut R) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
    {
        let mut space = ReadBuf::new(self.buffer.space());
        let result = Pin::new(source).poll_read(cx, &mut space);
        let len = space.filled().len();
        self.buffer.fill(len);
        if len == 0 {
            self.buffer.release();
        }
        ready!(result)?;
        if len == 0 {
            self.phase = Phase::Ending;
        }
        Poll::Ready(Ok(()))
    }
}

/// For `map_err`: the cause is in neither the log nor the metrics, the side is.
fn writing(_: io::Error) -> Broken {
    Broken::Writing
}

/// The idle clock. Activity only notes the time; the timer is set anew when it
/// rings, so that a busy tunnel does not touch the timer wheel for each read.
#[derive(Debug)]
struct Idle {
    timeout: Duration,
    last: Instant,
    timer: Pin<Box<Sleep>>,
    checks_reset: bool,
}

impl Idle {
    fn new(timeout: Duration) -> Self {
        let now = Instant::now();
        Self {
            timeout,
            last: now,
            timer: Box::pin(sleep_until(now + timeout)),
            checks_reset: false,
        }
    }

    fn touch(&mut self) {
        self.last = Instant::now();
    }

    fn is_over(&self) -> bool {
        self.last.elapsed() >= self.timeout
    }

    /// Ready when it is time to look: at the idle time-out, or at the reset check.
    fn poll(&mut self, cx: &mut Context<'_>, unread: bool) -> Poll<()> {
        if unread && !self.checks_reset {
            self.checks_reset = true;
            self.arm(Some(RESET_CHECK));
        }
        ready!(self.timer.as_mut().poll(cx));
        self.checks_reset = unread;
        self.arm(unread.then_some(RESET_CHECK));
        Poll::Ready(())
    }

    fn arm(&mut self, at_most: Option<Duration>) {
        let now = Instant::now();
        let idle = self.last + self.timeout;
        let mut deadline = at_most.map_or(idle, |delay| idle.min(now + delay));
        // When the time-out is over the caller ends the tunnel; never spin.
        if deadline <= now {
            deadline = now + RESET_CHECK;
        }
        self.timer.as_mut().reset(deadline);
    }
}

#[cfg(test)]
mod tests;
