//! How fast a tunnel or a request is, from one look at it to the next.

use std::time::{Duration, Instant};

use crate::tunnel::Traffic;

/// The shortest time in which a rate is measured. Who looks more often sees the last one again: there may be several who look,
/// and a tunnel reports its bytes once in a second.
const SHORTEST: Duration = Duration::from_millis(900);

/// The last look at a tunnel, or at a request in flight.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    at: Instant,
    seen: Traffic,
    /// Bytes in a second, up to then.
    rate: Traffic,
}

impl Look {
    /// One that began `at` this time.
    pub fn new(at: Instant) -> Self {
        Self {
            at,
            seen: Traffic::default(),
            rate: Traffic::default(),
        }
    }

    /// The rates of one that has carried `total` by now: since the last look, or since its start.
    pub fn rate(&mut self, now: Instant, total: Traffic) -> Traffic {
        let elapsed = now.saturating_duration_since(self.at);
        if elapsed >= SHORTEST {
            let in_a_second = |now: u64, before: u64| {
                let fresh = u128::from(now.saturating_sub(before));
                let rate = fresh.saturating_mul(1_000_000_000) / elapsed.as_nanos().max(1);
                u64::try_from(rate).unwrap_or(u64::MAX)
            };
            self.rate = Traffic {
                bytes_from_client: in_a_second(
                    total.bytes_from_client,
                    self.seen.bytes_from_client,
                ),
                bytes_from_upstream: in_a_second(
                    total.bytes_from_upstream,
                    self.seen.bytes_from_upstream,
                ),
            };
            self.seen = total;
            self.at = now;
        }
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(bytes_from_client: u64, bytes_from_upstream: u64) -> Traffic {
        Traffic {
            bytes_from_client,
            bytes_from_upstream,
        }
    }

    #[test]
    fn a_rate_is_of_the_time_since_the_last_look() {
        let start = Instant::now();
        let mut look = Look::new(start);
        let after = |millis| start + Duration::from_millis(millis);
        for (millis, total, expected) in [
            // Too early to say.
            (100, traffic(500, 0), traffic(0, 0)),
            (2000, traffic(1000, 8000), traffic(500, 4000)),
            // Another one looks just after.
            (2100, traffic(9000, 9000), traffic(500, 4000)),
            (3000, traffic(3000, 8000), traffic(2000, 0)),
            (13_000, traffic(3000, 8000), traffic(0, 0)),
        ] {
            assert_eq!(
                look.rate(after(millis), total),
                expected,
                "after {millis} ms"
            );
        }
    }

    #[test]
    fn a_clock_that_stands_still_and_numbers_that_overflow_do_no_harm() {
        let start = Instant::now();
        let mut look = Look::new(start);
        assert_eq!(look.rate(start, traffic(u64::MAX, 1)), traffic(0, 0));
        let later = start + Duration::from_secs(1);
        let rate = look.rate(later, traffic(u64::MAX, 1));
        assert_eq!(rate, traffic(u64::MAX, 1));
    }
}
