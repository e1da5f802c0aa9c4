//! Tells bulk from small traffic by what has moved. Pure.
//!
//! It needs no clock to find a direction quiet: one that is holds nothing, and when
//! bytes come again their number says how to carry the next.

use std::time::Duration;

/// What a pace is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Bulk is what has moved so many bytes in bursts that are not small.
    pub(super) bulk_after: u64,
    /// A burst is what moves until the source has nothing more. Smaller ones are
    /// cheaper to copy, or as good as that.
    pub(super) small_burst: u64,
    /// A sink that takes longer for what a pipe holds is slow. Slow sinks cost
    /// little, and would have all the pipes most of the time.
    pub(super) slow: Duration,
}

/// Over loopback a burst of 20 KiB costs the same both ways, 32 KiB a twentieth less
/// by splice(2), and 256 KiB less than half.
pub(super) const LIMITS: Limits = Limits {
    bulk_after: 256 * 1024,
    small_burst: 32 * 1024,
    slow: Duration::from_millis(100),
};

/// What has to move before what could not be had is asked for again.
const RETRY_AFTER: u64 = 16 * 1024 * 1024;

/// The pace of one direction.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes until it is bulk.
    wait: u64,
    burst: u64,
    limits: &'static Limits,
}

impl Pace {
    pub(super) const fn new(limits: &'static Limits) -> Self {
        Self {
            wait: limits.bulk_after,
            burst: 0,
            limits,
        }
    }

    pub(super) fn is_bulk(&self) -> bool {
        self.wait == 0
    }

    pub(super) fn moved(&mut self, len: usize) {
        self.burst += len as u64;
        self.wait = self.wait.saturating_sub(len as u64);
    }

    /// The source has nothing more for now.
    pub(super) fn paused(&mut self) {
        if self.burst > 0 && self.burst < self.limits.small_burst {
            self.wait = self.wait.max(self.limits.bulk_after);
        }
        self.burst = 0;
    }

    /// The sink has taken what a pipe held.
    pub(super) fn emptied(&mut self, after: Duration) {
        if after > self.limits.slow {
            self.postpone();
        }
    }

    /// Bulk cannot be had now.
    pub(super) fn postpone(&mut self) {
        self.wait = self.wait.max(RETRY_AFTER);
    }

    /// Bulk cannot be had at all.
    pub(super) fn give_up(&mut self) {
        // So many bytes take longer than any tunnel lasts.
        self.wait = u64::MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    /// Whether it is bulk after `bursts`.
    fn is_bulk(bursts: impl IntoIterator<Item = usize>) -> bool {
        let mut pace = Pace::new(&LIMITS);
        for burst in bursts {
            // In two pieces: what counts is their sum.
            pace.moved(burst / 2);
            pace.moved(burst - burst / 2);
            pace.paused();
            pace.paused();
        }
        pace.is_bulk()
    }

    #[test]
    fn bulk_is_told_from_small_traffic() {
        for (bursts, expected) in [
            (vec![], false),
            (vec![255 * KIB], false),
            (vec![256 * KIB], true),
            (vec![32 * KIB; 7], false),
            (vec![32 * KIB; 8], true),
            (vec![31 * KIB; 1000], false),
            // A small burst starts it all anew, before and after.
            (vec![128 * KIB, 100, 128 * KIB], false),
            (vec![256 * KIB, 100], false),
            (vec![256 * KIB, 100, 255 * KIB], false),
            (vec![256 * KIB, 100, 256 * KIB], true),
        ] {
            assert_eq!(is_bulk(bursts.clone()), expected, "{bursts:?}");
        }
    }

    #[test]
    fn what_could_not_be_had_is_asked_for_seldom_or_never() {
        let mut pace = Pace::new(&LIMITS);
        pace.moved(256 * KIB);
        assert!(pace.is_bulk());
        pace.postpone();
        pace.moved(256 * KIB);
        pace.moved(1);
        pace.paused();
        pace.moved(1);
        pace.paused();
        assert!(!pace.is_bulk());
        pace.moved(16 * KIB * KIB);
        assert!(pace.is_bulk());
        let slow = LIMITS.slow;
        pace.emptied(slow);
        assert!(pace.is_bulk());
        pace.emptied(slow + Duration::from_millis(1));
        assert!(!pace.is_bulk());
        pace.give_up();
        pace.emptied(Duration::MAX);
        for _ in 0..1000 {
            pace.moved(1 << 40);
            pace.paused();
        }
        assert!(!pace.is_bulk());
    }
}
