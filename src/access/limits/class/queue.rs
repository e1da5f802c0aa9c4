//! Requests that wait for their turn of a rate: how many, and until when.
//!
//! A request that waits has taken its turn already, so that those behind it come later: nothing is in a list, and nothing
//! has to wake it but its timer. A client that goes meanwhile has used its turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::Class;
use crate::access::limits::rate::Pace;

/// The longest time that a request may wait.
pub const MAX_QUEUE: Duration = Duration::from_secs(60);

/// The most turns of a member that are given before they come.
pub(in super::super) const MAX_OF_MEMBER: u32 = 1000;

/// The most requests that wait, in all classes.
pub(in super::super) const MAX_IN_ALL: u32 = 10_000;

/// How many requests wait.
#[derive(Debug, Default)]
pub(in super::super) struct Waiting(AtomicU32);

/// The turn of a request that has to wait for it, until dropped.
#[derive(Debug)]
pub struct Turn {
    class: Arc<Class>,
    comes: Instant,
}

impl Waiting {
    /// Counts one more, if there are fewer.
    fn enter(&self, most: u32) -> bool {
        let more = |count| (count < most).then_some(count + 1);
        let counted = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        counted.is_ok()
    }

    fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long a request may wait, where turns of a rate come so fast.
pub(super) fn longest(queue: Duration, pace: &Pace) -> Duration {
    queue.min(pace.time_of(MAX_OF_MEMBER))
}

impl Turn {
    /// One that comes now, of a request that counts as waiting; none when too many wait.
    pub(super) fn new(class: &Arc<Class>) -> Option<Turn> {
        if !class.waiting.enter(MAX_IN_ALL) {
            return None;
        }
        class.tally.waiting.fetch_add(1, Ordering::Relaxed);
        Some(Turn {
            class: Arc::clone(class),
            comes: Instant::now(),
        })
    }

    /// It comes no sooner than in this time.
    pub(super) fn put_off(&mut self, wait: Duration) {
        self.comes = self.comes.max(Instant::now() + wait);
    }

    /// When it comes.
    pub fn comes(&self) -> Instant {
        self.comes
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.class.tally.waiting.fetch_sub(1, Ordering::Relaxed);
        self.class.waiting.leave();
    }
}
