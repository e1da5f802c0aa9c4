//! The relay of one tunnel.
//!
//! Each direction fills a buffer or a pipe and empties it before it reads more, so
//! that a slow reader holds at most one of them and slows its sender down. The end
//! of one direction is passed on and the other one continues (half-close). A reset is
//! passed on as a reset, within a second.

use std::future::{Future, poll_fn};
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop::{Unconstrained, unconstrained};
use tokio::time::Instant;

use super::direction::{Broken, Direction, SPLICING, Splicing};
use super::idle::Idle;
use super::meter::{Meter, Reports, Source, Traffic};
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
    if !early.is_empty() {
        // They are read already: those behind them wait for them.
        let _ = meter.lend(Source::Client, early.len() as u64);
    }
    let mut relay = Relay {
        to_upstream: Direction::new(early, splicing),
        to_client: Direction::new(&[], splicing),
        client_first: false,
        reports: Reports::new(),
        pauses: Default::default(),
        meter,
        idle: Idle::new(idle_timeout),
        // Unconstrained: a tunnel that always uses up its task's budget must see it, too.
        cancelled: unconstrained(cancelled),
        ends,
    };
    async move {
        let ended = poll_fn(|cx| relay.poll(cx)).await;
        relay.end_pauses();
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
    /// Of the client's bytes and of the upstream's.
    pauses: [Pause; 2],
    meter: &'m M,
    idle: Idle,
    cancelled: Unconstrained<F>,
    ends: Ends<C, U>,
}

/// The pause of one direction.
#[derive(Debug, Default)]
struct Pause {
    end: Option<Instant>,
    /// What may be read then.
    lent: u64,
    /// Whether all that was lent last was there: then the source may have as much again soon.
    was_used_up: bool,
}

/// What a direction may read now.
#[derive(Clone, Copy, Debug)]
struct Room {
    bytes: u64,
    /// Of these, what the meter lends.
    lent: u64,
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
        // In turns, so that the direction which uses up the budget is not always the same.
        self.client_first = !self.client_first;
        let mut sources = [Source::Upstream, Source::Client];
        if self.client_first {
            sources.reverse();
        }
        for source in sources {
            let Ok(room) = self.room(cx, source) else {
                return Poll::Ready(match source {
                    Source::Client => Ended::ClientReset,
                    Source::Upstream => Ended::UpstreamReset,
                });
            };
            let before = self.direction(source).taken();
            let Ends {
                client, upstream, ..
            } = &mut self.ends;
            let (result, at_source, at_sink) = match source {
                Source::Client => {
                    let result = self.to_upstream.poll(cx, client, upstream, room.bytes);
                    (result, Ended::ClientReset, Ended::UpstreamReset)
                }
                Source::Upstream => {
                    let result = self.to_client.poll(cx, upstream, client, room.bytes);
                    (result, Ended::UpstreamReset, Ended::ClientReset)
                }
            };
            if room.lent > 0 {
                let taken = self.direction(source).taken() - before;
                let rest = room.lent.saturating_sub(taken);
                self.pause(source).was_used_up = rest == 0;
                self.give_back(source, rest);
            }
            // At once: the other direction, polled now, would take the rest of
            // a broken stream for its end.
            match result {
                Poll::Ready(Err(Broken::Reading)) => return Poll::Ready(at_source),
                Poll::Ready(Err(Broken::Writing)) => return Poll::Ready(at_sink),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if self.to_upstream.is_done() && self.to_client.is_done() {
            return Poll::Ready(Ended::Complete);
        }
        Poll::Pending
    }

    fn direction(&self, source: Source) -> &Direction {
        match source {
            Source::Client => &self.to_upstream,
            Source::Upstream => &self.to_client,
        }
    }

    /// How many bytes of `source` may be read until the meter gets its next report.
    ///
    /// # Errors
    /// The source's, if it is asked how many it has.
    fn room(&mut self, cx: &mut Context<'_>, source: Source) -> io::Result<Room> {
        let fresh = self.reports.fresh(self.traffic());
        let fresh = match source {
            Source::Client => fresh.bytes_from_client,
            Source::Upstream => fresh.bytes_from_upstream,
        };
        // At least one: a meter that reduces its number must get the report that is due.
        let most = self.meter.report_after().saturating_sub(fresh).max(1);
        match self.meter.part(source) {
            None => Ok(Room {
                bytes: most,
                lent: 0,
            }),
            Some(part) => self.borrow(cx, source, most, part.min(most)),
        }
    }

    /// What the meter lends of `part` bytes: at once; or when they are there and have waited for their turn.
    fn borrow(
        &mut self,
        cx: &mut Context<'_>,
        source: Source,
        most: u64,
        part: u64,
    ) -> io::Result<Room> {
        let none = Room { bytes: 0, lent: 0 };
        let now = Instant::now();
        let pause = self.pause(source);
        if let Some(end) = pause.end {
            if now < end {
                self.idle.pause(end);
                return Ok(none);
            }
            pause.end = None;
            let lent = std::mem::take(&mut pause.lent);
            return Ok(Room {
                bytes: lent.min(most),
                lent,
            });
        }
        let is_bulk = pause.was_used_up;
        if !self.direction(source).is_reading() {
            return Ok(none);
        }
        if self.meter.lend_now(source, part) {
            return Ok(Room {
                bytes: part,
                lent: part,
            });
        }
        let readable = match source {
            Source::Client => self.ends.client.poll_readable(cx),
            Source::Upstream => self.ends.upstream.poll_readable(cx),
        };
        let lent = match readable? {
            Poll::Pending => return Ok(none),
            // A read finds the end.
            Poll::Ready(0) => return Ok(Room { bytes: 1, lent: 0 }),
            Poll::Ready(_) if is_bulk => part,
            Poll::Ready(count) => count.min(part),
        };
        let wait = self.meter.lend(source, lent).min(MAX_PAUSE);
        if wait.is_zero() {
            return Ok(Room { bytes: lent, lent });
        }
        let end = now + wait;
        let pause = self.pause(source);
        pause.end = Some(end);
        pause.lent = lent;
        self.idle.pause(end);
        Ok(none)
    }

    fn pause(&mut self, source: Source) -> &mut Pause {
        let [of_client, of_upstream] = &mut self.pauses;
        match source {
            Source::Client => of_client,
            Source::Upstream => of_upstream,
        }
    }

    fn give_back(&self, source: Source, bytes: u64) {
        if bytes > 0 {
            self.meter.give_back(source, bytes);
        }
    }

    /// Gives back what is not read any more.
    fn end_pauses(&self) {
        for (source, pause) in [Source::Client, Source::Upstream]
            .into_iter()
            .zip(&self.pauses)
        {
            self.give_back(source, pause.lent);
        }
    }

    /// Restarts the idle time-out, and reports to the meter.
    fn note_activity(&mut self) -> ControlFlow<&'static str> {
        if let Some(now) = self.to_upstream.moved().max(self.to_client.moved()) {
            self.idle.touch(now);
            let total = self.traffic();
            self.meter.progress(total);
            self.reports.update(now, total, self.meter)?;
        }
        ControlFlow::Continue(())
    }

    /// Ready when the idle time-out is over, or when a stream that is not being read was reset.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let was_paused = self.idle.is_paused();
        let [of_client, of_upstream] = &self.pauses;
        let client_unread = of_client.end.is_some() || !self.to_upstream.is_reading();
        let upstream_unread = of_upstream.end.is_some() || !self.to_client.is_reading();
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

#[cfg(test)]
mod tests;
