//! Rates: so many in a time, with a burst. The algorithm is GCRA (ITU-T I.371): one number says when the next one is
//! due.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

mod shared;

/// Times are counted from here.
static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Microseconds of an hour.
const HOUR: u64 = 3_600_000_000;

/// A rate as it is written, such as `200/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
}

/// Why a text is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// No number, or no unit behind it.
    #[error("not a rate")]
    Form,
    /// The number is 0 or above [`Rate::MAX`].
    #[error("out of range")]
    Range,
}

/// A rate and a burst, in ticks. A microsecond has as many ticks as make the time between two requests of the rate a whole
/// number, so that no rate is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    rate: Rate,
    burst: u32,
    /// Ticks of a microsecond.
    scale: u64,
    /// Ticks from one to the next.
    interval: u64,
    /// How many ticks the next one may be ahead of the time.
    tolerance: u64,
}

/// The time since the program began to count, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Elapsed(u64);

/// One that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// When the one behind it is due, in ticks.
    next: u64,
    /// How long until it may be used.
    pub(super) wait: Duration,
}

/// When the next one is due, in ticks of its [`Pace`]. It wraps: after 213 days at the worst of all rates.
#[derive(Debug)]
pub(super) struct Due(AtomicU64);

impl Rate {
    /// The highest count.
    pub const MAX: u32 = 1_000_000;

    /// Reads a count and a unit: `200/s`, `30/m`, `1000/h`.
    ///
    /// # Errors
    /// [`RateError`]
    pub fn parse(text: &str) -> Result<Rate, RateError> {
        let (count, unit) = text.split_once('/').ok_or(RateError::Form)?;
        let unit = match unit {
            "s" => Unit::Second,
            "m" => Unit::Minute,
            "h" => Unit::Hour,
            _ => return Err(RateError::Form),
        };
        if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(RateError::Form);
        }
        match count.parse() {
            Ok(count @ 1..=Self::MAX) => Ok(Rate { count, unit }),
            _ => Err(RateError::Range),
        }
    }

    fn microseconds(self) -> u64 {
        match self.unit {
            Unit::Second => 1_000_000,
            Unit::Minute => 60_000_000,
            Unit::Hour => HOUR,
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            Unit::Second => 's',
            Unit::Minute => 'm',
            Unit::Hour => 'h',
        };
        write!(f, "{}/{unit}", self.count)
    }
}

impl Pace {
    /// The highest burst.
    pub const MAX_BURST: u32 = Rate::MAX;

    /// A rate with so many at once after a pause; by default as many as its count.
    pub fn new(rate: Rate, burst: Option<u32>) -> Pace {
        let burst = burst.unwrap_or(rate.count).max(1);
        let (count, time) = (u64::from(rate.count), rate.microseconds());
        let divisor = common_divisor(count, time);
        let interval = time / divisor;
        Pace {
            rate,
            burst,
            scale: count / divisor,
            interval,
            tolerance: interval * u64::from(burst - 1),
        }
    }

    /// The rate as it is written.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// How many at once after a pause.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// The time in which so many are due.
    pub(super) fn time_of(&self, count: u32) -> Duration {
        Duration::from_micros(self.interval.saturating_mul(u64::from(count)) / self.scale.max(1))
    }

    fn ticks(&self, now: Elapsed) -> u64 {
        now.0.wrapping_mul(self.scale)
    }

    /// How far `due` is ahead of `now`. One that is further ahead than any can be is long past, and has wrapped; an hour
    /// is for threads that were stopped between their look at the clock and here.
    fn ahead(&self, due: u64, now: u64) -> u64 {
        let ahead = due.wrapping_sub(now);
        let most = self.tolerance + self.interval + HOUR * self.scale;
        if ahead > most { 0 } else { ahead }
    }
}

impl Elapsed {
    /// That of now.
    pub fn now() -> Elapsed {
        Elapsed::at(Instant::now())
    }

    fn at(instant: Instant) -> Elapsed {
        let since = instant.saturating_duration_since(*BEGIN);
        Elapsed(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    #[cfg(test)]
    pub(super) fn of(microseconds: u64) -> Elapsed {
        Elapsed(microseconds)
    }

    pub(super) fn microseconds(self) -> u64 {
        self.0
    }

    /// The same, later.
    #[must_use]
    pub fn after(self, time: Duration) -> Elapsed {
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Elapsed(self.0.saturating_add(time))
    }
}

impl Due {
    /// Of a member that had none yet.
    pub(super) fn new(pace: Option<&Pace>, now: Elapsed) -> Due {
        Due(AtomicU64::new(pace.map_or(0, |pace| pace.ticks(now))))
    }

    /// Takes one, if it is due.
    ///
    /// # Errors
    /// How long until it is; nothing was taken.
    pub(super) fn take(&self, pace: &Pace, now: Elapsed) -> Result<Taken, Duration> {
        self.take_within(pace, now, Duration::ZERO)
    }

    /// Takes one that is due now or within `queue`.
    ///
    /// # Errors
    /// How long until one is due; nothing was taken.
    pub(super) fn take_within(
        &self,
        pace: &Pace,
        now: Elapsed,
        queue: Duration,
    ) -> Result<Taken, Duration> {
        let queue = u64::try_from(queue.as_micros())
            .unwrap_or(u64::MAX)
            .min(HOUR / 2);
        let most = pace.tolerance + queue * pace.scale;
        let now = pace.ticks(now);
        let mut due = self.0.load(Ordering::Relaxed);
        loop {
            let ahead = pace.ahead(due, now);
            let early = ahead.saturating_sub(pace.tolerance);
            let wait = Duration::from_micros(early.div_ceil(pace.scale));
            if ahead > most {
                return Err(wait);
            }
            let next = now.wrapping_add(ahead).wrapping_add(pace.interval);
            let taken =
                self.0
                    .compare_exchange_weak(due, next, Ordering::Relaxed, Ordering::Relaxed);
            match taken {
                Ok(_) => return Ok(Taken { next, wait }),
                Err(found) => due = found,
            }
        }
    }

    /// Gives one back that was taken and not used. Whether that was possible: behind one that is due later, others may have
    /// been taken, whose time stays.
    pub(super) fn give_back(&self, pace: &Pace, taken: Taken) -> bool {
        let Taken { next, wait } = taken;
        if wait.is_zero() {
            self.0.fetch_sub(pace.interval, Ordering::Relaxed);
            return true;
        }
        let before = next.wrapping_sub(pace.interval);
        let given = self
            .0
            .compare_exchange(next, before, Ordering::Relaxed, Ordering::Relaxed);
        given.is_ok()
    }

    /// Whether a whole burst is due, so that this says no more than a new one.
    pub(super) fn is_at_rest(&self, pace: &Pace, now: Elapsed) -> bool {
        pace.ahead(self.0.load(Ordering::Relaxed), pace.ticks(now)) == 0
    }
}

/// The greatest one (Euclid).
fn common_divisor(a: u64, b: u64) -> u64 {
    match b {
        0 => a.max(1),
        _ => common_divisor(b, a % b),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(text: &str) -> Rate {
        Rate::parse(text).unwrap()
    }

    fn due(pace: &Pace, now: u64) -> Due {
        Due::new(Some(pace), Elapsed(now))
    }

    #[test]
    fn rates_are_read_and_shown() {
        for text in ["1/s", "200/s", "30/m", "1000000/h"] {
            assert_eq!(rate(text).to_string(), text);
        }
        for text in [
            "", "1", "1/", "/s", "1/d", "1 /s", "+1/s", "-1/s", "1.5/s", "1/ms", "a/s",
        ] {
            assert_eq!(Rate::parse(text), Err(RateError::Form), "{text}");
        }
        for text in ["0/s", "1000001/s", "99999999999999999999/s"] {
            assert_eq!(Rate::parse(text), Err(RateError::Range), "{text}");
        }
    }

    #[test]
    fn a_burst_and_then_one_by_one() {
        let pace = Pace::new(rate("2/s"), Some(3));
        let due = due(&pace, 0);
        for _ in 0..3 {
            assert_eq!(due.take(&pace, Elapsed(0)).map(drop), Ok(()));
        }
        let wait = due.take(&pace, Elapsed(0)).unwrap_err();
        assert_eq!(wait, Duration::from_millis(500));
        assert!(due.take(&pace, Elapsed(499_999)).is_err());
        let taken = due.take(&pace, Elapsed(500_000)).unwrap();
        assert!(due.take(&pace, Elapsed(500_000)).is_err());
        assert!(due.give_back(&pace, taken));
        assert_eq!(due.take(&pace, Elapsed(500_000)).map(drop), Ok(()));
        assert!(!due.is_at_rest(&pace, Elapsed(1_999_999)));
        assert!(due.is_at_rest(&pace, Elapsed(2_000_000)));
    }

    #[test]
    fn the_burst_is_a_unit_of_the_rate_by_default() {
        for (text, expected) in [("200/s", 200), ("1/h", 1)] {
            assert_eq!(Pace::new(rate(text), None).burst(), expected);
        }
    }

    fn rates() -> impl Strategy<Value = Rate> {
        let counts = prop_oneof![1..=20u32, 1..=Rate::MAX];
        let units = prop_oneof![Just(Unit::Second), Just(Unit::Minute), Just(Unit::Hour)];
        (counts, units).prop_map(|(count, unit)| Rate { count, unit })
    }

    /// Moments at which a process may begin to count: those included at which ticks wrap.
    fn begins() -> impl Strategy<Value = u64> {
        prop_oneof![
            Just(0),
            any::<u32>().prop_map(u64::from),
            (0..1u64 << 20).prop_map(|before| u64::MAX / u64::from(Rate::MAX) - before),
        ]
    }

    proptest! {
        /// In every window there are at most `rate * time + burst`.
        #[test]
        fn never_more_than_the_rate_and_the_burst(
            rate in rates(),
            burst in 1..50u32,
            begin in begins(),
            // Pauses in hundredths of what lies between two.
            pauses in prop::collection::vec(prop_oneof![Just(0), 0..300u64], 1..300),
        ) {
            let pace = Pace::new(rate, Some(burst));
            let due = due(&pace, begin);
            let (count, time) = (u128::from(rate.count), u128::from(rate.microseconds()));
            let mut now = begin;
            let mut taken = Vec::new();
            for pause in pauses {
                now += pause * rate.microseconds() / u64::from(rate.count) / 100;
                if due.take(&pace, Elapsed(now)).is_ok() {
                    taken.push(u128::from(now));
                }
            }
            for (first, from) in taken.iter().enumerate() {
                for (last, to) in taken.iter().enumerate().skip(first) {
                    let in_window = (last - first + 1) as u128;
                    // Without rounding: in_window <= (to - from) * count / time + burst
                    prop_assert!(in_window * time <= (to - from) * count + u128::from(burst) * time);
                }
            }
        }

        /// Requests that wait begin in the order in which they came, and in every window there are no more than without a queue.
        #[test]
        fn a_queue_changes_no_rate(
            rate in rates(),
            burst in 1..50u32,
            begin in begins(),
            queue in 0..60_000_000u64,
            steps in prop::collection::vec((prop_oneof![Just(0), 0..300u64], any::<bool>()), 1..300),
        ) {
            let pace = Pace::new(rate, Some(burst));
            let due = due(&pace, begin);
            let (count, time) = (u128::from(rate.count), u128::from(rate.microseconds()));
            let queue = Duration::from_micros(queue);
            let mut now = begin;
            let mut begun: Vec<u128> = Vec::new();
            for (pause, is_kept) in steps {
                now += pause * rate.microseconds() / u64::from(rate.count) / 100;
                match due.take_within(&pace, Elapsed(now), queue) {
                    Ok(taken) if !is_kept && due.give_back(&pace, taken) => {}
                    Ok(taken) => {
                        prop_assert!(taken.wait <= queue + Duration::from_micros(1));
                        begun.push(u128::from(now) + taken.wait.as_micros());
                    }
                    Err(wait) => prop_assert!(wait > queue),
                }
            }
            prop_assert!(begun.is_sorted());
            for (first, from) in begun.iter().enumerate() {
                for (last, to) in begun.iter().enumerate().skip(first) {
                    let in_window = (last - first + 1) as u128;
                    // A wait is rounded up to whole microseconds: one may seem to come later than it was due.
                    prop_assert!(in_window * time <= (to - from + 1) * count + u128::from(burst) * time);
                }
            }
        }

        /// A client that keeps the rate is never refused, however long it goes on, and the one that comes when it
        /// was told to is not either.
        #[test]
        fn conforming_traffic_is_never_refused(
            rate in rates(),
            burst in 1..50u32,
            begin in begins(),
            late in prop::collection::vec(0..100u64, 1..300),
        ) {
            let pace = Pace::new(rate, Some(burst));
            let due = due(&pace, begin);
            let (count, time) = (u128::from(rate.count), u128::from(rate.microseconds()));
            // In whole microseconds: up to one early, which a burst of one does not have.
            let at = |number: u128| match burst {
                1 => number * time.div_ceil(count),
                _ => (number * time).div_ceil(count),
            };
            let mut delay = 0;
            for (number, late) in (0..).zip(late) {
                delay += late;
                let now = Elapsed(begin + u64::try_from(at(number)).unwrap() + delay);
                prop_assert_eq!(due.take(&pace, now).map(drop), Ok(()), "number {}", number);
            }
            let mut now = Elapsed(begin).after(Duration::from_secs(1 << 22));
            for _ in 0..burst {
                prop_assert_eq!(due.take(&pace, now).map(drop), Ok(()));
            }
            for _ in 0..10 {
                let Err(wait) = due.take(&pace, now) else {
                    // The interval is shorter than a microsecond.
                    continue;
                };
                now = now.after(wait);
                prop_assert_eq!(due.take(&pace, now).map(drop), Ok(()));
            }
        }

        /// Threads that take at once do not take more.
        #[test]
        fn threads_share_a_burst(burst in 1..40u32) {
            let pace = Pace::new(rate("1/h"), Some(burst));
            let due = due(&pace, 7);
            let taken: u32 = std::thread::scope(|scope| {
                let take = || (0..20).map(|_| u32::from(due.take(&pace, Elapsed(7)).is_ok())).sum::<u32>();
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            });
            prop_assert_eq!(taken, burst);
        }
    }
}
