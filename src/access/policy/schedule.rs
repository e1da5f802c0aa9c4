//! The `time` of a rule: days of the week and hours in a time zone, and a first and a last moment.
//!
//! Has no clock: the time is an argument.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{
    DateTime, Datelike, LocalResult, NaiveDateTime, SecondsFormat, TimeZone as _, Timelike, Utc,
    Weekday,
};
use chrono_tz::{TZ_VARIANTS, Tz};
use thiserror::Error;

mod week;

const DAYS: [Weekday; 7] = [
    Weekday::Mon,
    Weekday::Tue,
    Weekday::Wed,
    Weekday::Thu,
    Weekday::Fri,
    Weekday::Sat,
    Weekday::Sun,
];

/// The times at which a rule matches. A part that is left out does not restrict it.
///
/// Hours are local time in the zone. When the clocks go forward, the skipped hours do not occur; when they go
/// back, the repeated hours occur twice. A range that ends before it starts continues past midnight, and belongs
/// to the day on which it starts: `[fri]` from 22:00 until 06:00 ends on Saturday morning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    days: Days,
    /// `None`: all day.
    hours: Option<Hours>,
    zone: Zone,
    not_before: Option<Moment>,
    not_after: Option<Moment>,
}

/// Days of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days(u8);

/// A time of day, to the minute: 00:00 to 24:00.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

/// A time zone of the IANA database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(Tz);

/// A moment in the format of RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(DateTime<Utc>);

/// Why a schedule, or a part of one, cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// Not a day or a range of days.
    #[error("not a day; write mon, tue, wed, thu, fri, sat, sun, or a range such as mon-fri")]
    Day,
    /// Not a time of day.
    #[error("not a time of day; write it as \"08:00\", from \"00:00\" to \"24:00\"")]
    TimeOfDay,
    /// A range without a length.
    #[error("`from` and `until` are the same; leave both out for the whole day")]
    NoHours,
    /// `from` at the end of the day.
    #[error("`from` is at the end of the day; write \"00:00\" and the next day")]
    FromMidnight,
    /// Not a time zone.
    #[error("not a time zone; write one such as Europe/Berlin, or UTC")]
    Zone,
    /// Not a moment.
    #[error("not an RFC 3339 time; write it as 2027-01-31T18:00:00Z or 2027-01-31T18:00:00+01:00")]
    Moment,
    /// The last moment is not after the first.
    #[error("`not_after` is not later than `not_before`; the rule would never apply")]
    Never,
}

/// Minutes of the day; the end is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hours {
    from: u16,
    until: u16,
}

impl Schedule {
    /// Makes a schedule. The default is every day, `from` the start of the day, `until` its end. `not_after` is
    /// inclusive.
    ///
    /// # Errors
    /// [`ScheduleError::NoHours`], [`ScheduleError::FromMidnight`] and [`ScheduleError::Never`].
    pub fn new(
        days: Option<Days>,
        from: Option<TimeOfDay>,
        until: Option<TimeOfDay>,
        zone: Zone,
        not_before: Option<Moment>,
        not_after: Option<Moment>,
    ) -> Result<Schedule, ScheduleError> {
        let hours = match (from, until) {
            (None, None) => None,
            (from, until) => {
                let from = from.map_or(0, |time| time.0);
                let until = until.map_or(MINUTES, |time| time.0);
                if from == MINUTES {
                    return Err(ScheduleError::FromMidnight);
                }
                if from == until {
                    return Err(ScheduleError::NoHours);
                }
                Some(Hours { from, until })
            }
        };
        if let (Some(first), Some(last)) = (not_before, not_after)
            && last <= first
        {
            return Err(ScheduleError::Never);
        }
        Ok(Schedule {
            days: days.unwrap_or(Days::ALL),
            hours,
            zone,
            not_before,
            not_after,
        })
    }

    /// Whether this time is in the schedule.
    pub fn holds(&self, time: SystemTime) -> bool {
        let time = Moment::from(time);
        if self.not_before.is_some_and(|first| time < first)
            || self.not_after.is_some_and(|last| time > last)
        {
            return false;
        }
        if self.days == Days::ALL && self.hours.is_none() {
            return true;
        }
        self.holds_on_the_wall(time.in_zone(self.zone))
    }

    /// The time in the zone of this schedule, such as `Tue 18:45 in Europe/Berlin (2026-11-24T17:45:00Z)`.
    pub(super) fn show(&self, time: SystemTime) -> String {
        let time = Moment::from(time);
        let wall = time.in_zone(self.zone).format("%a %H:%M");
        format!("{wall} in {} ({time})", self.zone)
    }

    fn holds_on_the_wall(&self, wall: NaiveDateTime) -> bool {
        let today = wall.weekday();
        let Some(Hours { from, until }) = self.hours else {
            return self.days.contains(today);
        };
        // At most 24 * 60.
        let minute = (wall.hour() * 60 + wall.minute()) as u16;
        if from < until {
            return (from..until).contains(&minute) && self.days.contains(today);
        }
        (minute >= from && self.days.contains(today))
            || (minute < until && self.days.contains(today.pred()))
    }
}

/// The minutes of a day.
const MINUTES: u16 = 24 * 60;

impl Days {
    /// The whole week.
    pub const ALL: Days = Days(0x7f);

    /// Reads one day, `mon`, or a range, `mon-fri`; a range may continue past Sunday, `sat-mon`.
    ///
    /// # Errors
    /// [`ScheduleError::Day`]
    pub fn parse(text: &str) -> Result<Days, ScheduleError> {
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (parse_day(first.trim())?, parse_day(last.trim())?),
            None => (parse_day(text.trim())?, parse_day(text.trim())?),
        };
        let mut days = Days(0);
        let mut day = first;
        loop {
            days.0 |= bit(day);
            if day == last {
                return Ok(days);
            }
            day = day.succ();
        }
    }

    /// The days of both.
    #[must_use]
    pub fn and(self, other: Days) -> Days {
        Days(self.0 | other.0)
    }

    fn contains(self, day: Weekday) -> bool {
        self.0 & bit(day) != 0
    }
}

impl TimeOfDay {
    /// Reads `HH:MM`, both with two digits.
    ///
    /// # Errors
    /// [`ScheduleError::TimeOfDay`]
    pub fn parse(text: &str) -> Result<TimeOfDay, ScheduleError> {
        let &[
            h1 @ b'0'..=b'9',
            h2 @ b'0'..=b'9',
            b':',
            m1 @ b'0'..=b'5',
            m2 @ b'0'..=b'9',
        ] = text.as_bytes()
        else {
            return Err(ScheduleError::TimeOfDay);
        };
        let two = |tens: u8, ones: u8| u16::from(tens - b'0') * 10 + u16::from(ones - b'0');
        let minutes = two(h1, h2) * 60 + two(m1, m2);
        if minutes > MINUTES {
            return Err(ScheduleError::TimeOfDay);
        }
        Ok(TimeOfDay(minutes))
    }
}

impl Zone {
    /// Coordinated Universal Time.
    pub const UTC: Zone = Zone(Tz::UTC);

    /// Reads a name such as `Europe/Berlin`, as it is written in the database.
    ///
    /// # Errors
    /// [`ScheduleError::Zone`]
    pub fn parse(text: &str) -> Result<Zone, ScheduleError> {
        Tz::from_str(text).map(Zone).or(Err(ScheduleError::Zone))
    }

    /// What the clocks of the zone show at a moment, in seconds since 1970.
    pub fn local(self, moment: i64) -> NaiveDateTime {
        let moment = DateTime::from_timestamp(moment, 0).unwrap_or_default();
        moment.with_timezone(&self.0).naive_local()
    }

    /// When the clocks of the zone show this: once, twice when they go back, or never when they skip it.
    pub fn moments(self, wall: NaiveDateTime) -> LocalResult<i64> {
        let found = self.0.from_local_datetime(&wall);
        found.map(|moment| moment.timestamp())
    }

    /// The names of all zones.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TZ_VARIANTS.iter().map(|zone| zone.name())
    }
}

impl Moment {
    /// Reads a date and a time with an offset (RFC 3339 §5.6).
    ///
    /// # Errors
    /// [`ScheduleError::Moment`]
    pub fn parse(text: &str) -> Result<Moment, ScheduleError> {
        DateTime::parse_from_rfc3339(text)
            .map(|time| Moment(time.to_utc()))
            .or(Err(ScheduleError::Moment))
    }

    /// The local time in a zone. There is exactly one, also when the clocks change.
    fn in_zone(self, zone: Zone) -> NaiveDateTime {
        self.0.with_timezone(&zone.0).naive_local()
    }
}

impl From<SystemTime> for Moment {
    /// A time out of range becomes the first or the last date.
    fn from(time: SystemTime) -> Moment {
        let moment = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs())
                .ok()
                .and_then(|seconds| DateTime::from_timestamp(seconds, since.subsec_nanos()))
                .unwrap_or(LAST),
            Err(before) => i64::try_from(before.duration().as_secs())
                .ok()
                .and_then(|seconds| DateTime::from_timestamp(-seconds, 0))
                .unwrap_or(FIRST),
        };
        Moment(moment.clamp(FIRST, LAST))
    }
}

impl From<Moment> for SystemTime {
    fn from(moment: Moment) -> SystemTime {
        SystemTime::from(moment.0)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Secs, true))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// Years 1 to 9999, with a day to spare for every offset.
const FIRST: DateTime<Utc> = year(1, 2);
const LAST: DateTime<Utc> = year(9999, 2);

#[expect(clippy::expect_used, reason = "evaluated when compiling")]
const fn year(year: i32, day: u32) -> DateTime<Utc> {
    chrono::NaiveDate::from_ymd_opt(year, 1, day)
        .expect("a date")
        .and_hms_opt(0, 0, 0)
        .expect("midnight")
        .and_utc()
}

fn bit(day: Weekday) -> u8 {
    1 << day.num_days_from_monday()
}

/// Three letters in lower case, as they are everywhere else in the configuration.
fn parse_day(text: &str) -> Result<Weekday, ScheduleError> {
    let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let found = names.iter().zip(DAYS).find(|(name, _)| **name == text);
    found.map(|(_, day)| day).ok_or(ScheduleError::Day)
}

#[cfg(test)]
mod tests;
