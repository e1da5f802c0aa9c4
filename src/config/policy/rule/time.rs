//! When a rule matches.

use super::super::super::egress::report_with;
use super::super::super::keys::form::Absent::{Is, Means};
use super::super::super::keys::form::Raw;
use super::super::super::keys::keys;
use super::super::super::reader::{Item, nearest};
use super::ValueReader;
use crate::access::policy::{Days, Moment, Schedule, ScheduleError, TimeOfDay, Zone};

keys! {
    /// When a rule matches.
    pub(in super::super::super) struct Keys<'d> {
        /// Days of the week, `mon` to `sun`, and ranges of them such as `mon-fri`.
        days: Option<Item<'d>> = Means("every day"), Raw => Shape::day().some();
        /// The start of the hours on each of the days.
        from: Option<Item<'d>> = Means("`\"00:00\"`"), Raw => Shape::time_of_day();
        /// The end of the hours. When it is earlier than `from`, it is on the next day.
        until: Option<Item<'d>> = Means("`\"24:00\"`"), Raw => Shape::time_of_day();
        /// The time zone of `days`, `from` and `until`, by its IANA name.
        zone: Option<Item<'d>> = Is("UTC"), Raw => Shape::text("an IANA name");
        /// The first moment at which the rule can match.
        not_before: Option<Item<'d>> = Means("none"), Raw => Shape::moment();
        /// The last moment at which the rule can match.
        not_after: Option<Item<'d>> = Means("none"), Raw => Shape::moment();
    }
}

pub(super) fn schedule(item: &Item<'_>) -> Option<Schedule> {
    let mut section = item.section();
    let keys = Keys::take(&mut section);
    let mut reader = ValueReader { whole: true };
    let days = reader.values(&keys.days, |item| part_of_time(item, Days::parse));
    let days = days.and_then(|days| days.into_iter().reduce(Days::and));
    let from = reader.part(&keys.from, |item| part_of_time(item, TimeOfDay::parse));
    let until = reader.part(&keys.until, |item| part_of_time(item, TimeOfDay::parse));
    let zone = reader.part(&keys.zone, zone);
    let not_before = reader.part(&keys.not_before, moment);
    let not_after = reader.part(&keys.not_after, moment);
    section.finish();
    if !reader.whole {
        return None;
    }
    if days.is_none()
        && from.is_none()
        && until.is_none()
        && not_before.is_none()
        && not_after.is_none()
    {
        item.report(
            "has no condition",
            "set days, from, until, not_before or not_after",
        );
        return None;
    }
    let zone = zone.unwrap_or(Zone::UTC);
    let schedule = Schedule::new(days, from, until, zone, not_before, not_after);
    let report = |error: ScheduleError| report_with(item, &error.to_string(), "correct it");
    schedule.map_err(report).ok()
}

fn part_of_time<T>(
    item: &Item<'_>,
    parse: impl FnOnce(&str) -> Result<T, ScheduleError>,
) -> Option<T> {
    let report = |error: ScheduleError| report_with(item, &error.to_string(), "correct it");
    parse(item.text()?).map_err(report).ok()
}

pub(in super::super) fn moment(item: &Item<'_>) -> Option<Moment> {
    part_of_time(item, Moment::parse)
}

/// Reads the name of a time zone.
pub(in super::super::super) fn zone(item: &Item<'_>) -> Option<Zone> {
    let text = item.text()?;
    Zone::parse(text)
        .map_err(|error| match nearest_zone(text) {
            Some(near) => item.report("not a time zone", format!("did you mean {near}?")),
            None => report_with(item, &error.to_string(), "write UTC"),
        })
        .ok()
}

/// Zones are often written in other case, or as the city alone.
fn nearest_zone(text: &str) -> Option<&'static str> {
    let city = |name: &'static str| name.rsplit('/').next().unwrap_or(name);
    Zone::names()
        .find(|name| name.eq_ignore_ascii_case(text))
        .or_else(|| Zone::names().find(|name| city(name).eq_ignore_ascii_case(text)))
        .or_else(|| nearest(text, Zone::names()))
}
