//! The timer of a tunnel: for the idle time-out, for the reset check, and for pauses.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The interval of reset checks for a source that is not read, because its sink is slow
/// or because it has ended: no other event would show the reset.
pub(super) const RESET_CHECK: Duration = Duration::from_millis(300);

/// The longest time-out; longer ones could overflow an [`Instant`].
const MAX_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The timer. Activity only notes the time; the timer is reset when it expires,
/// so that a busy tunnel does not access the timer wheel for each read.
#[derive(Debug)]
pub(super) struct Idle {
    timeout: Duration,
    /// The last activity. In a pause: its end, from which the time-out counts.
    last: Instant,
    timer: Pin<Box<Sleep>>,
    checks_reset: bool,
    is_paused: bool,
}

impl Idle {
    pub(super) fn new(timeout: Duration) -> Self {
        let timeout = timeout.min(MAX_TIMEOUT);
        let now = Instant::now();
        Self {
            timeout,
            last: now,
            timer: Box::pin(sleep_until(now + timeout)),
            checks_reset: false,
            is_paused: false,
        }
    }

    pub(super) fn touch(&mut self, now: Instant) {
        self.last = self.last.max(now);
    }

    /// Pauses until `end`, or for longer when a pause that has begun ends later.
    pub(super) fn pause(&mut self, end: Instant) {
        self.last = self.last.max(end);
        self.is_paused = true;
        // The timer may be set to a later time: the next poll sets it again.
        self.checks_reset = false;
    }

    pub(super) fn is_paused(&self) -> bool {
        self.is_paused
    }

    pub(super) fn is_over(&self) -> bool {
        !self.is_paused && self.last.elapsed() >= self.timeout
    }

    /// Ready at the idle time-out, at the end of a pause, and every [`RESET_CHECK`] while
    /// a source is `unread`, as both are in a pause. Callers poll it again after it was
    /// ready, while the tunnel continues.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, unread: bool) -> Poll<()> {
        if unread && !self.checks_reset {
            self.checks_reset = true;
            self.arm(Some(RESET_CHECK));
        }
        ready!(self.timer.as_mut().poll(cx));
        self.is_paused &= self.last > Instant::now();
        self.checks_reset = unread;
        self.arm(unread.then_some(RESET_CHECK));
        Poll::Ready(())
    }

    fn arm(&mut self, at_most: Option<Duration>) {
        let now = Instant::now();
        let end = if self.is_paused {
            self.last
        } else {
            self.last + self.timeout
        };
        let mut deadline = at_most.map_or(end, |delay| end.min(now + delay));
        // When the time-out is over the caller ends the tunnel; this prevents a busy loop.
        if deadline <= now && !self.is_paused {
            deadline = now + RESET_CHECK;
        }
        self.timer.as_mut().reset(deadline);
    }
}
