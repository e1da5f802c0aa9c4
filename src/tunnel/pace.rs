//! Distinguishes bulk from small traffic by the bytes that have moved. Pure.
//!
//! It needs no clock to detect a quiet direction: that one has no pipe, and when
//! bytes arrive again, their number determines how the next ones are moved.

use std::time::Duration;

/// The thresholds of a pace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// A direction is bulk after so many bytes without a small burst.
    pub(super) bulk_after: u64,
    /// A burst is the bytes until the source has no more for now. Copying a smaller
    /// burst costs less than splicing it, or the same.
    pub(super) small_burst: u64,
    /// A sink is slow when it takes longer to empty a pipe. Slow sinks cost
    /// little, and would occupy all pipes most of the time.
    pub(super) slow: Duration,
}

/// Over loopback a burst of 20 KiB costs the same both ways, 32 KiB a twentieth less
/// by splice(2), and 256 KiB less than half.
pub(super) const LIMITS: Limits = Limits {
    bulk_after: 256 * 1024,
    small_burst: 32 * 1024,
    slow: Duration::from_millis(100),
};

/// The bytes after which a direction tries again to splice.
const RETRY_AFTER: u64 = 16 * 1024 * 1024;

/// The pace of one direction.
#[derive(Debug)]
pub(super) struct Pace {
    /// The bytes until it is bulk.
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

    /// Notes that the source has no more bytes for now.
    pub(super) fn paused(&mut self) {
        if self.burst > 0 && self.burst < self.limits.small_burst {
            self.wait = self.wait.max(self.limits.bulk_after);
        }
        self.burst = 0;
    }

    /// Notes that the sink has emptied a pipe.
    pub(super) fn emptied(&mut self, after: Duration) {
        if after > self.limits.slow {
            self.postpone();
        }
    }

    /// Notes that splicing is not possible for now.
    pub(super) fn postpone(&mut self) {
        self.wait = self.wait.max(RETRY_AFTER);
    }

    /// Notes that splicing is never possible.
    pub(super) fn give_up(&mut self) {
        // No tunnel moves so many bytes.
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
            // In two pieces: their sum counts.
            pace.moved(burst / 2);
            pace.moved(burst - burst / 2);
            pace.paused();
            pace.paused();
        }
        pace.is_bulk()
    }

    #[test]
    fn bulk_is_distinguished_from_small_traffic() {
        for (bursts, expected) in [
            (vec![], false),
            (vec![255 * KIB], false),
            (vec![256 * KIB], true),
            (vec![32 * KIB; 7], false),
            (vec![32 * KIB; 8], true),
            (vec![31 * KIB; 1000], false),
            // A small burst restarts the count, before and after.
            (vec![128 * KIB, 100, 128 * KIB], false),
            (vec![256 * KIB, 100], false),
            (vec![256 * KIB, 100, 255 * KIB], false),
            (vec![256 * KIB, 100, 256 * KIB], true),
        ] {
            assert_eq!(is_bulk(bursts.clone()), expected, "{bursts:?}");
        }
    }

    #[test]
    fn splicing_is_tried_again_rarely_or_never() {
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
