//! Says a thing once in a while, however often it happens.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Between two lines about one thing.
const PAUSE: Duration = Duration::from_secs(10);

/// Lets the first event through at once, and then one in each pause. Counts the rest.
#[derive(Debug, Default)]
pub struct Throttle {
    /// When the next one passes, in milliseconds of [`EPOCH`].
    next: AtomicU64,
    held_back: AtomicU64,
}

/// An event that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// How many did not since the one before.
    pub held_back: u64,
}

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Throttle {
    /// One that lets the next event through.
    pub const fn new() -> Self {
        Self {
            next: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
        }
    }

    /// Whether to tell of an event that happens now.
    pub fn pass(&self) -> Option<Passed> {
        self.pass_at(EPOCH.elapsed())
    }

    fn pass_at(&self, now: Duration) -> Option<Passed> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let (now, after) = (millis(now), millis(now.saturating_add(PAUSE)));
        let passes = self
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                (now >= next).then_some(after)
            });
        if passes.is_err() {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(Passed {
            held_back: self.held_back.swap(0, Ordering::Relaxed),
        })
    }
}

impl std::fmt::Display for Passed {
    /// Nothing, or how many were not told of; to be put behind a line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.held_back {
            0 => Ok(()),
            count => write!(f, " ({count} more since the last line)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_passes_and_then_one_in_each_pause() {
        let throttle = Throttle::new();
        let pass = |seconds| {
            throttle
                .pass_at(Duration::from_secs(seconds))
                .map(|it| it.held_back)
        };
        assert_eq!(pass(0), Some(0));
        assert_eq!((pass(1), pass(9)), (None, None));
        assert_eq!(pass(10), Some(2));
        assert_eq!(pass(19), None);
        assert_eq!(pass(1000), Some(1));
        assert_eq!(Passed { held_back: 0 }.to_string(), "");
        assert_eq!(
            Passed { held_back: 7 }.to_string(),
            " (7 more since the last line)"
        );
    }
}
