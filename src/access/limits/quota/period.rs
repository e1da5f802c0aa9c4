//! Periods, and the windows of time that they are at a moment.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Datelike, Days, LocalResult, Months, NaiveDateTime, NaiveTime, Timelike};

use crate::access::policy::Zone;

/// How long a quota lasts. Weeks begin on Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// From a full hour to the next.
    Hour,
    /// From midnight to midnight: 23 and 25 hours when the clocks change.
    Day,
    /// From Monday to Monday.
    Week,
    /// A month of the calendar.
    Month,
}

/// The time of one period, in seconds since 1970. The end is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first second.
    pub start: i64,
    /// The first second behind it.
    pub end: i64,
}

/// What the clock shows, in seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

impl Period {
    /// Each of them, the shortest first.
    pub const ALL: [Period; 4] = [Period::Hour, Period::Day, Period::Week, Period::Month];

    /// The key in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Period::Hour => "hour",
            Period::Day => "day",
            Period::Week => "week",
            Period::Month => "month",
        }
    }

    /// As in the name of a limit that a client is told.
    pub const fn limit_name(self) -> &'static str {
        match self {
            Period::Hour => "quota_hour",
            Period::Day => "quota_day",
            Period::Week => "quota_week",
            Period::Month => "quota_month",
        }
    }

    pub(super) const fn article(self) -> &'static str {
        match self {
            Period::Hour => "an",
            Period::Day | Period::Week | Period::Month => "a",
        }
    }

    /// The window that has this moment.
    pub fn window(self, now: i64, zone: Zone) -> Window {
        let now = now.clamp(FIRST, LAST);
        let local = zone.local(now);
        if self == Period::Hour {
            let into = i64::from(local.minute() * 60 + local.second());
            let start = now - into;
            return Window {
                start,
                end: start + 3600,
            };
        }
        let today = local.date();
        let first = match self {
            Period::Hour | Period::Day => Some(today),
            Period::Week => {
                let into = u64::from(today.weekday().num_days_from_monday());
                today.checked_sub_days(Days::new(into))
            }
            Period::Month => today.with_day(1),
        };
        let first = first.unwrap_or(today);
        let next = match self {
            Period::Hour | Period::Day => first.checked_add_days(Days::new(1)),
            Period::Week => first.checked_add_days(Days::new(7)),
            Period::Month => first.checked_add_months(Months::new(1)),
        };
        let next = next.unwrap_or(first);
        Window {
            start: begin(first.and_time(NaiveTime::MIN), zone, i64::MIN).min(now),
            end: begin(next.and_time(NaiveTime::MIN), zone, now).max(now + 1),
        }
    }
}

/// Years 1970 to 9000, with room for every offset.
const FIRST: i64 = 86_400 * 2;
const LAST: i64 = 221_845_392_000;

/// More than the clocks of any zone are set in one step.
const LONGEST_STEP: i64 = 26 * 3600;

/// The first moment after `after` at which the clocks of the zone show this time, or a later one where they skip it.
fn begin(wall: NaiveDateTime, zone: Zone, after: i64) -> i64 {
    match zone.moments(wall) {
        LocalResult::Single(moment) => moment,
        LocalResult::Ambiguous(first, last) if first <= after => last,
        LocalResult::Ambiguous(first, _) => first,
        LocalResult::None => {
            let near = wall.and_utc().timestamp();
            let (mut before, mut at) = (near - LONGEST_STEP, near + LONGEST_STEP);
            while at - before > 1 {
                let middle = before + (at - before) / 2;
                match zone.local(middle) < wall {
                    true => before = middle,
                    false => at = middle,
                }
            }
            at
        }
    }
}

impl Window {
    /// Its end as RFC 3339 has it.
    pub fn end_text(&self) -> String {
        moment_text(self.end)
    }
}

/// A moment as RFC 3339 has it.
pub fn moment_text(moment: i64) -> String {
    let moment = DateTime::from_timestamp(moment, 0).unwrap_or_default();
    moment.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
