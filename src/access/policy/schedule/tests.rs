use std::time::Duration;

use chrono::TimeZone;
use proptest::prelude::*;

use super::*;

/// `days from until zone not_before not_after`, with `-` for what is left out.
fn schedule(text: &str) -> Result<Schedule, ScheduleError> {
    let mut parts = text
        .split(' ')
        .map(|part| Some(part).filter(|part| *part != "-"));
    let mut next = || parts.next().flatten();
    let days = next().map(|days| {
        let mut days = days.split(',').map(|day| Days::parse(day).unwrap());
        let first = days.next().unwrap();
        days.fold(first, Days::and)
    });
    let from = next().map(TimeOfDay::parse).transpose()?;
    let until = next().map(TimeOfDay::parse).transpose()?;
    let zone = next().map(Zone::parse).transpose()?.unwrap_or(Zone::UTC);
    let not_before = next().map(Moment::parse).transpose()?;
    let not_after = next().map(Moment::parse).transpose()?;
    Schedule::new(days, from, until, zone, not_before, not_after)
}

fn time(text: &str) -> SystemTime {
    Moment::parse(text).unwrap().into()
}

fn check(text: &str, times: &[(&str, bool)]) {
    let schedule = schedule(text).unwrap();
    for (at, expected) in times {
        assert_eq!(schedule.holds(time(at)), *expected, "{text} at {at}");
    }
}

#[test]
fn days_and_hours() {
    // 2026-11-24 is a Tuesday.
    check("- - -", &[("2026-11-24T00:00:00Z", true)]);
    check(
        "mon-fri 08:00 18:00",
        &[
            ("2026-11-24T07:59:59Z", false),
            ("2026-11-24T08:00:00Z", true),
            ("2026-11-24T17:59:59Z", true),
            ("2026-11-24T18:00:00Z", false),
            ("2026-11-28T12:00:00Z", false),
            ("2026-11-29T12:00:00Z", false),
            ("2026-11-30T12:00:00Z", true),
            // Another spelling of 07:00Z.
            ("2026-11-24T08:00:00+01:00", false),
        ],
    );
    check(
        "sat-mon,wed - -",
        &[
            ("2026-11-24T12:00:00Z", false),
            ("2026-11-25T00:00:00Z", true),
            ("2026-11-25T23:59:59Z", true),
            ("2026-11-27T12:00:00Z", false),
            ("2026-11-28T12:00:00Z", true),
            ("2026-11-30T12:00:00Z", true),
        ],
    );
    check(
        "tue 12:00 -",
        &[
            ("2026-11-24T11:59:59Z", false),
            ("2026-11-24T23:59:59Z", true),
            ("2026-11-25T00:00:00Z", false),
        ],
    );
    check(
        "tue - 24:00",
        &[
            ("2026-11-24T23:59:59Z", true),
            ("2026-11-25T00:00:00Z", false),
        ],
    );
}

#[test]
fn past_midnight_belongs_to_the_day_before() {
    check(
        "fri 22:00 06:00",
        &[
            ("2026-11-27T05:00:00Z", false),
            ("2026-11-27T21:59:59Z", false),
            ("2026-11-27T22:00:00Z", true),
            ("2026-11-28T00:00:00Z", true),
            ("2026-11-28T05:59:59Z", true),
            ("2026-11-28T06:00:00Z", false),
            ("2026-11-28T23:00:00Z", false),
        ],
    );
    check(
        "sun 22:00 00:00",
        &[
            ("2026-11-29T23:59:59Z", true),
            ("2026-11-30T00:00:00Z", false),
        ],
    );
    check("sun 23:00 06:00", &[("2026-11-30T01:00:00Z", true)]);
}

#[test]
fn zones_and_their_clock_changes() {
    check(
        "tue 08:00 18:00 Europe/Berlin",
        &[
            ("2026-11-24T06:59:59Z", false),
            ("2026-11-24T07:00:00Z", true),
            ("2026-11-24T17:00:00Z", false),
            // Summer: one hour more.
            ("2026-07-21T06:00:00Z", true),
            ("2026-07-21T05:59:59Z", false),
        ],
    );
    // The day itself is that of the zone.
    check(
        "wed - - Pacific/Auckland",
        &[
            ("2026-11-24T11:00:00Z", true),
            ("2026-11-24T10:59:59Z", false),
        ],
    );
    // Berlin, 2026-03-29: from 01:59:59 to 03:00:00.
    check(
        "- 02:00 03:00 Europe/Berlin",
        &[
            ("2026-03-29T00:59:59Z", false),
            ("2026-03-29T01:00:00Z", false),
            ("2026-03-30T00:30:00Z", true),
        ],
    );
    check(
        "- 02:30 04:00 Europe/Berlin",
        &[
            ("2026-03-29T00:59:59Z", false),
            ("2026-03-29T01:00:00Z", true),
            ("2026-03-29T02:00:00Z", false),
        ],
    );
    // Berlin, 2026-10-25: from 02:59:59 back to 02:00:00.
    check(
        "- 02:00 03:00 Europe/Berlin",
        &[
            ("2026-10-24T23:59:59Z", false),
            ("2026-10-25T00:30:00Z", true),
            ("2026-10-25T01:30:00Z", true),
            ("2026-10-25T02:00:00Z", false),
        ],
    );
    // Half and quarter hours, and a zone that skipped a whole day.
    check(
        "- 12:00 12:01 Asia/Kathmandu",
        &[("2026-11-24T06:15:00Z", true)],
    );
    check(
        "fri - - Pacific/Apia",
        &[
            ("2011-12-30T09:59:59Z", false),
            ("2011-12-30T10:00:00Z", false),
        ],
    );
}

#[test]
fn first_and_last_moment() {
    check(
        "- - - UTC 2026-11-24T10:00:00Z 2026-11-24T12:00:00+01:00",
        &[
            ("2026-11-24T09:59:59Z", false),
            ("2026-11-24T10:00:00Z", true),
            ("2026-11-24T11:00:00Z", true),
            ("2026-11-24T11:00:01Z", false),
        ],
    );
    let forever = schedule("- - - UTC 2026-11-24T10:00:00Z").unwrap();
    assert!(forever.holds(UNIX_EPOCH + Duration::from_secs(1 << 40)));
    assert!(!forever.holds(UNIX_EPOCH - Duration::from_secs(1 << 60)));
    let over = schedule("mon-fri 08:00 18:00 Europe/Berlin - 2026-11-24T10:00:00Z").unwrap();
    assert!(!over.holds(UNIX_EPOCH + Duration::from_secs(1 << 62)));
}

#[test]
fn errors() {
    for text in [
        "",
        "monday",
        "Mon",
        "mon-",
        "-fri",
        "mon-fri-sat",
        "mo",
        "mon fri",
    ] {
        assert_eq!(Days::parse(text), Err(ScheduleError::Day), "{text}");
    }
    for text in [
        "", "8:00", "08:0", "24:01", "12:60", "0800", "08:00 ", "+8:00", "٠٨:00",
    ] {
        assert_eq!(
            TimeOfDay::parse(text),
            Err(ScheduleError::TimeOfDay),
            "{text}"
        );
    }
    for text in ["", "Berlin", "europe/berlin", "CEST", "+01:00"] {
        assert_eq!(Zone::parse(text), Err(ScheduleError::Zone), "{text}");
    }
    for text in [
        "",
        "2026-11-24",
        "2026-11-24T10:00:00",
        "2026-02-30T10:00:00Z",
        "now",
    ] {
        assert_eq!(Moment::parse(text), Err(ScheduleError::Moment), "{text}");
    }
    for (text, expected) in [
        ("- 08:00 08:00", ScheduleError::NoHours),
        ("- - 00:00", ScheduleError::NoHours),
        ("- 24:00 -", ScheduleError::FromMidnight),
        (
            "- - - UTC 2026-11-24T10:00:00Z 2026-11-24T11:00:00+01:00",
            ScheduleError::Never,
        ),
    ] {
        assert_eq!(schedule(text), Err(expected), "{text}");
    }
    assert!(Zone::names().any(|name| name == "Europe/Berlin"));
}

#[test]
fn shows_the_time_in_its_zone() {
    let schedule = schedule("- - - Europe/Berlin").unwrap();
    let shown = schedule.show(time("2026-11-24T18:45:30Z"));
    assert_eq!(shown, "Tue 19:45 in Europe/Berlin (2026-11-24T18:45:30Z)");
}

proptest! {
    #[test]
    fn never_panics(text in "\\PC{0,30}") {
        let _ = (Days::parse(&text), TimeOfDay::parse(&text), Zone::parse(&text), Moment::parse(&text));
    }

    /// Minute by minute, a schedule is what the clock on the wall says.
    #[test]
    fn agrees_with_local_time(
        seconds in 0i64..4_000_000_000,
        first in 0usize..7,
        count in 1usize..8,
        from in 0u16..MINUTES,
        until in 1u16..=MINUTES,
        zone in prop::sample::select(TZ_VARIANTS.to_vec()),
    ) {
        prop_assume!(from != until);
        let days: Vec<Weekday> = DAYS.into_iter().cycle().skip(first).take(count).collect();
        let name = |day: &Weekday| day.to_string().to_lowercase();
        let text = format!("{}-{}", name(&days[0]), name(&days[count - 1]));
        let clock = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let text = format!("{text} {} {} {}", clock(from), clock(until), zone.name());
        let schedule = schedule(&text).unwrap();

        let wall = zone.timestamp_opt(seconds, 0).unwrap();
        let minute = (wall.hour() * 60 + wall.minute()) as u16;
        let (today, yesterday) = (wall.weekday(), wall.weekday().pred());
        let plain = if from < until {
            minute >= from && minute < until && days.contains(&today)
        } else if minute >= from {
            days.contains(&today)
        } else {
            minute < until && days.contains(&yesterday)
        };
        let time = UNIX_EPOCH + Duration::from_secs(seconds as u64);
        prop_assert_eq!(schedule.holds(time), plain, "{} at {}", text, wall);
    }
}
