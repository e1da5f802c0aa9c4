//! Rates that instances share: what one of them may admit by itself, and what it learns.

use std::sync::atomic::Ordering;

use super::{Due, Elapsed, HOUR, Pace};

impl Pace {
    /// What one of so many instances may admit before it has asked: the whole rate, and its part of the burst.
    pub(in super::super) fn part_of(&self, instances: u32) -> Pace {
        let burst = (self.burst / instances.max(1)).max(1);
        Pace {
            burst,
            tolerance: self.interval * u64::from(burst - 1),
            ..*self
        }
    }

    /// From one to the next, in microseconds.
    pub(in super::super) fn interval_micros(&self) -> f64 {
        self.interval as f64 / self.scale.max(1) as f64
    }
}

impl Elapsed {
    /// How long after `other` it is, in microseconds; 0 before it.
    pub(in super::super) fn micros_since(self, other: Elapsed) -> u64 {
        self.0.saturating_sub(other.0)
    }

    /// In microseconds.
    pub(in super::super) fn micros(self) -> u64 {
        self.0
    }

    /// The time of [`micros`](Self::micros).
    pub(in super::super) fn of_micros(micros: u64) -> Elapsed {
        Elapsed(micros)
    }
}

impl Due {
    /// Lets so many be taken at once, and the rate from now on. A negative number is a debt.
    pub(in super::super) fn settle(&self, pace: &Pace, allowed: f64, now: Elapsed) {
        let missing = (f64::from(pace.burst) - allowed).max(0.0) * pace.interval as f64;
        // What is further ahead than that counts as past.
        let most = pace.tolerance + pace.interval + HOUR * pace.scale;
        // The conversion saturates.
        let ahead = (missing as u64).min(most);
        let due = pace.ticks(now).wrapping_add(ahead);
        self.0.store(due, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Rate;
    use super::*;

    fn pace(text: &str, burst: u32) -> Pace {
        Pace::new(Rate::parse(text).unwrap(), Some(burst))
    }

    fn take_all(due: &Due, pace: &Pace, now: Elapsed) -> u32 {
        (0..).take_while(|_| due.take(pace, now).is_ok()).count() as u32
    }

    #[test]
    fn a_part_has_the_rate_and_a_share_of_the_burst() {
        for (burst, instances, expected) in [(60, 3, 20), (2, 3, 1), (5, 0, 5), (1, 1, 1)] {
            let part = pace("10/s", burst).part_of(instances);
            let now = Elapsed(5_000_000);
            let due = Due::new(Some(&part), now);
            assert_eq!(take_all(&due, &part, now), expected);
            let second = Elapsed(6_000_000);
            assert_eq!(take_all(&due, &part, second), expected.min(10));
        }
    }

    #[test]
    fn what_is_settled_can_be_taken() {
        for text in ["10/s", "7/m", "1000000/s", "333/h"] {
            let pace = pace(text, 40);
            let now = Elapsed(9_000_000_000);
            let due = Due::new(Some(&pace), now);
            for (allowed, expected) in [(0.0, 0), (1.0, 1), (7.5, 7), (40.0, 40), (99.0, 40)] {
                due.settle(&pace, allowed, now);
                // Less than a tick is lost.
                let taken = take_all(&due, &pace, now);
                assert!(taken.abs_diff(expected) <= 1, "{text} {allowed}: {taken}");
            }
            // A debt is paid back with time.
            due.settle(&pace, -5.0, now);
            let interval = pace.interval_micros();
            let later = |count: f64| Elapsed(now.0 + (interval * count) as u64);
            assert!(due.take(&pace, later(5.5)).is_err());
            assert!(due.take(&pace, later(6.5)).is_ok());
        }
        // The deepest one is none that wraps.
        let pace = pace("1/h", 1);
        let now = Elapsed(1);
        let due = Due::new(Some(&pace), now);
        due.settle(&pace, -1e12, now);
        assert!(due.take(&pace, now).is_err());
    }
}
