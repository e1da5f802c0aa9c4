//! A schedule as a set of minutes and a range of moments, for the checks of a policy.

use std::time::SystemTime;

use super::{DAYS, Hours, MINUTES, Moment, Schedule, Zone};
use crate::access::policy::reach::Ranges;

/// The most minutes for which a schedule is evaluated: eight days have every day of the week.
const MAX_TRIED: u64 = 8 * 24 * 60;

impl Schedule {
    /// The minutes of the week that are in the schedule, in local time, counted from Monday.
    pub(in crate::access::policy) fn week(&self) -> Ranges {
        const WEEK: u32 = 7 * MINUTES as u32;
        let days = (0u32..)
            .zip(DAYS)
            .filter(|(_, day)| self.days.contains(*day));
        let ranges = days.flat_map(|(day, _)| {
            let midnight = day * u32::from(MINUTES);
            let (from, until) = match self.hours {
                None => (0, MINUTES),
                Some(Hours { from, until }) if from < until => (from, until),
                Some(Hours { from, until }) => (from, MINUTES + until),
            };
            let (start, end) = (midnight + u32::from(from), midnight + u32::from(until));
            // The end is exclusive. A range past Sunday continues on Monday.
            let range = (end.min(WEEK) > start).then(|| (start, end.min(WEEK) - 1));
            [range, (end > WEEK).then(|| (0, end - WEEK - 1))]
        });
        ranges
            .flatten()
            .map(|(start, end)| (u128::from(start), u128::from(end)))
            .collect()
    }

    /// Every minute of the week.
    pub(in crate::access::policy) fn whole_week() -> Ranges {
        [(0, 7 * u128::from(MINUTES) - 1)].into_iter().collect()
    }

    /// The time zone.
    pub(in crate::access::policy) fn zone(&self) -> Zone {
        self.zone
    }

    /// The first and the last moment.
    pub(in crate::access::policy) fn window(&self) -> (Option<Moment>, Option<Moment>) {
        (self.not_before, self.not_after)
    }

    /// Whether no time from `now` on is in the schedule.
    pub(in crate::access::policy) fn is_over(&self, now: SystemTime) -> bool {
        let Some(last) = self.not_after else {
            return false;
        };
        let now = Moment::from(now);
        let first = self.not_before.map_or(now, |first| first.max(now));
        if last < first {
            return true;
        }
        let minutes = (last.0 - first.0).num_seconds().unsigned_abs() / 60;
        if minutes > MAX_TRIED {
            return false;
        }
        // The local minute changes with that of UTC, so the result is the same for a whole minute.
        let start = first.0.timestamp().div_euclid(60);
        let end = last.0.timestamp().div_euclid(60);
        let all_day = self.days == super::Days::ALL && self.hours.is_none();
        !all_day
            && !(start..=end).any(|minute| {
                chrono::DateTime::from_timestamp(minute * 60, 0)
                    .is_none_or(|time| self.holds_on_the_wall(Moment(time).in_zone(self.zone)))
            })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Days, TimeOfDay};
    use super::*;

    fn moment(text: &str) -> Moment {
        Moment::parse(text).unwrap()
    }

    proptest! {
        #[test]
        fn has_the_minutes_that_hold(bits in 1u8..0x80, hours: Option<(u16, u16)>, minute in 0i64..10_080) {
            let time = |minutes: u16| TimeOfDay(minutes % (MINUTES + 1));
            let (from, until) = hours.map_or((None, None), |(from, until)| (Some(time(from)), Some(time(until))));
            let schedule = Schedule::new(Some(Days(bits)), from, until, Zone::UTC, None, None);
            prop_assume!(schedule.is_ok());
            let schedule = schedule.unwrap();
            // A Monday.
            let start = moment("2026-11-23T00:00:00Z");
            let time = start.0 + chrono::Duration::minutes(minute);
            let holds = schedule.holds(Moment(time).into());
            prop_assert_eq!(schedule.week().contains(minute.unsigned_abs().into()), holds);
            prop_assert!(Schedule::whole_week().covers(&schedule.week()));
        }
    }

    #[test]
    fn ends() {
        let now = moment("2026-11-24T10:00:00Z").into();
        let day = |text| Some(Days::parse(text).unwrap());
        let time = |text| Some(TimeOfDay::parse(text).unwrap());
        for (days, from, until, not_before, not_after, expected) in [
            (None, None, None, None, None, false),
            (None, None, None, None, Some("2026-11-24T09:59:59Z"), true),
            (None, None, None, None, Some("2026-11-24T10:00:00Z"), false),
            // Until Friday it is no Saturday.
            (
                day("sat"),
                None,
                None,
                None,
                Some("2026-11-27T23:59:59Z"),
                true,
            ),
            (
                day("sat"),
                None,
                None,
                None,
                Some("2026-11-28T00:00:00Z"),
                false,
            ),
            (
                day("sat"),
                None,
                None,
                None,
                Some("2027-11-28T00:00:00Z"),
                false,
            ),
            (
                None,
                time("08:00"),
                time("09:00"),
                None,
                Some("2026-11-25T07:59:59Z"),
                true,
            ),
            (
                None,
                time("08:00"),
                time("09:00"),
                None,
                Some("2026-11-25T08:00:00Z"),
                false,
            ),
            (
                day("sun"),
                None,
                None,
                Some("2026-12-01T00:00:00Z"),
                Some("2026-12-05T00:00:00Z"),
                true,
            ),
        ] {
            let (first, last) = (not_before.map(moment), not_after.map(moment));
            let schedule = Schedule::new(days, from, until, Zone::UTC, first, last).unwrap();
            assert_eq!(schedule.is_over(now), expected, "{schedule:?}");
        }
    }
}
