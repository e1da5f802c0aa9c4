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
    /// The last activity, or the end of a pause after it: the time-out counts from there.
    last: Instant,
    timer: Pin<Box<Sleep>>,
    checks_reset: bool,
    /// The end of the pause that is over first.
    pause: Option<Instant>,
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
            pause: None,
        }
    }

    pub(super) fn touch(&mut self, now: Instant) {
        self.last = self.last.max(now);
    }

    /// Notes a pause of a direction until `end`. To be called again for the one that ends later, when the first is over.
    pub(super) fn pause(&mut self, end: Instant) {
        self.last = self.last.max(end);
        if self.pause.is_none_or(|first| end < first) {
            self.pause = Some(end);
            if end < self.timer.deadline() {
                self.timer.as_mut().reset(end);
            }
        }
    }

    /// Whether a pause is not over yet.
    pub(super) fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    pub(super) fn is_over(&self) -> bool {
        !self.is_paused() && self.last.elapsed() >= self.timeout
    }

    /// Ready at the idle time-out, at the end of a pause, and every [`RESET_CHECK`] while
    /// a source is `unread`, as it is in a pause. Callers poll it again after it was
    /// ready, while the tunnel continues.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, unread: bool) -> Poll<()> {
        if unread && !self.checks_reset {
            self.checks_reset = true;
            self.arm(Some(RESET_CHECK));
        }
        ready!(self.timer.as_mut().poll(cx));
        self.pause.take_if(|end| *end <= Instant::now());
        self.checks_reset = unread;
        self.arm(unread.then_some(RESET_CHECK));
        Poll::Ready(())
    }

    fn arm(&mut self, at_most: Option<Duration>) {
        let now = Instant::now();
        let end = self.last + self.timeout;
        let mut deadline = at_most.map_or(end, |delay| end.min(now + delay));
        // When the time-out is over the caller ends the tunnel; this prevents a busy loop.
        if deadline <= now {
            deadline = now + RESET_CHECK;
        }
        let deadline = self.pause.map_or(deadline, |end| end.min(deadline));
        self.timer.as_mut().reset(deadline);
    }
}
