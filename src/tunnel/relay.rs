//! The relay of one tunnel.
//!
//! Each direction fills a buffer or a pipe and empties it before it takes more, so
//! a slow reader holds at most one of them and slows its sender down. The end
//! of one direction is passed on and the other goes on (half-close). A reset is
//! passed on as a reset, within a second.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::unconstrained;
use tokio::time::Instant;

use super::direction::{Broken, Direction, SPLICING, Splicing};
use super::idle::Idle;
use super::{Ends, Socket};

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
/// Both sockets have `TCP_NODELAY` set already: a sender that waits between two
/// small writes must not wait for Nagle too.
///
/// Both streams are closed on return, and reset unless both had ended; so they
/// are when the future is dropped.
///
/// `cancelled` comes pinned, so that an idle tunnel holds it once and not twice, as a
/// future does that is given to another one by value.
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
    join(
        client,
        upstream,
        early,
        idle_timeout,
        meter,
        cancelled,
        &SPLICING,
    )
}

async fn join<C, U>(
    client: C,
    upstream: U,
    early: impl AsRef<[u8]>,
    idle_timeout: Duration,
    meter: &impl Meter,
    cancelled: impl Future<Output = ()> + Unpin,
    splicing: &'static Splicing,
) -> (Ended, Traffic)
where
    C: AsyncRead + AsyncWrite + Socket + Unpin,
    U: AsyncRead + AsyncWrite + Socket + Unpin,
{
    let mut ends = Ends::new(client, upstream);
    let Ends {
        client, upstream, ..
    } = &mut ends;
    let mut to_upstream = Direction::new(early.as_ref(), splicing);
    // An idle tunnel is to hold no memory that it does not need.
    drop(early);
    let mut to_client = Direction::new(&[], splicing);
    let mut reports = Reports::new();
    let mut idle = Idle::new(idle_timeout);
    // A tunnel that uses up its task's budget each time must see it all the same.
    let mut cancelled = unconstrained(cancelled);
    let mut client_first = false;

    let ended = poll_fn(|cx| {
        let before = to_upstream.carried() + to_client.carried();
        // By turns, so that the one which uses up the budget is not always the same.
        client_first = !client_first;
        for from_client in [client_first, !client_first] {
            let (result, source, sink) = if from_client {
                let result = to_upstream.poll(cx, client, upstream);
                (result, Ended::ClientReset, Ended::UpstreamReset)
            } else {
                let result = to_client.poll(cx, upstream, client);
                (result, Ended::UpstreamReset, Ended::ClientReset)
            };
            // At once: polled now, the other direction would take what is left of
            // a broken stream for its end.
            match result {
                Poll::Ready(Err(Broken::Reading)) => return Poll::Ready(source),
                Poll::Ready(Err(Broken::Writing)) => return Poll::Ready(sink),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if to_upstream.is_done() && to_client.is_done() {
            return Poll::Ready(Ended::Complete);
        }
        let carried = to_upstream.carried() + to_client.carried();
        if carried != before
            && let Some(now) = to_upstream.moved().max(to_client.moved())
        {
            idle.touch(now);
            reports.update(now, to_upstream.carried(), to_client.carried(), meter);
        }
        if Pin::new(&mut cancelled).poll(cx).is_ready() {
            return Poll::Ready(Ended::Drained);
        }
        let unread = !to_upstream.is_reading() || !to_client.is_reading();
        while idle.poll(cx, unread).is_ready() {
            if !to_upstream.is_reading() && client.is_reset(cx) {
                return Poll::Ready(Ended::ClientReset);
            }
            if !to_client.is_reading() && upstream.is_reset(cx) {
                return Poll::Ready(Ended::UpstreamReset);
            }
            if idle.is_over() {
                return Poll::Ready(Ended::Idle);
            }
        }
        Poll::Pending
    })
    .await;

    match ended {
        Ended::Complete => ends.end(),
        // Boxed, since what seldom happens is not to make every tunnel larger.
        Ended::ClientReset => Box::pin(to_upstream.pass_on_rest(client, upstream)).await,
        Ended::UpstreamReset => Box::pin(to_client.pass_on_rest(upstream, client)).await,
        Ended::Idle | Ended::Drained => {}
    }
    let traffic = Traffic {
        bytes_from_client: to_upstream.carried(),
        bytes_from_upstream: to_client.carried(),
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

#[cfg(test)]
mod tests;
