//! Periods in every zone, clocks that step, and the table.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::access::limits::Per;
use crate::access::policy::Name;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn at(text: &str) -> i64 {
    let moment = chrono::DateTime::parse_from_rfc3339(text);
    moment.unwrap().timestamp()
}

fn zone(name: &str) -> Zone {
    Zone::parse(name).unwrap()
}

fn window(period: Period, moment: &str, name: &str) -> (String, String) {
    let window = period.window(at(moment), zone(name));
    (moment_text(window.start), moment_text(window.end))
}

fn quota(limits: [Option<u64>; 4], name: &str) -> Quota {
    Quota::new(limits, OnQuota::Cut, zone(name)).unwrap()
}

fn name(text: &str) -> Name {
    Name::parse_any(text).unwrap()
}

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[test]
fn windows_are_those_of_the_wall() {
    let check = |period, moment, name, start: &str, end: &str| {
        let expected = (start.to_owned(), end.to_owned());
        assert_eq!(
            window(period, moment, name),
            expected,
            "{period:?} {moment} {name}"
        );
    };
    // Half past in India, and a month that ends in a leap year.
    check(
        Period::Hour,
        "2027-03-01T10:10:00Z",
        "Asia/Kolkata",
        "2027-03-01T09:30:00Z",
        "2027-03-01T10:30:00Z",
    );
    check(
        Period::Month,
        "2028-02-29T12:00:00Z",
        "UTC",
        "2028-02-01T00:00:00Z",
        "2028-03-01T00:00:00Z",
    );
    check(
        Period::Month,
        "2026-12-31T23:30:00Z",
        "Europe/Berlin",
        "2026-12-31T23:00:00Z",
        "2027-01-31T23:00:00Z",
    );
    // 23 and 25 hours.
    check(
        Period::Day,
        "2027-03-28T12:00:00Z",
        "Europe/Berlin",
        "2027-03-27T23:00:00Z",
        "2027-03-28T22:00:00Z",
    );
    check(
        Period::Day,
        "2026-10-25T12:00:00Z",
        "Europe/Berlin",
        "2026-10-24T22:00:00Z",
        "2026-10-25T23:00:00Z",
    );
    // From Monday, also on a Monday and on a Sunday, and over the change of the clocks.
    check(
        Period::Week,
        "2026-11-30T00:00:00Z",
        "UTC",
        "2026-11-30T00:00:00Z",
        "2026-12-07T00:00:00Z",
    );
    check(
        Period::Week,
        "2026-11-29T23:59:59Z",
        "UTC",
        "2026-11-23T00:00:00Z",
        "2026-11-30T00:00:00Z",
    );
    check(
        Period::Week,
        "2026-10-25T12:00:00Z",
        "Europe/Berlin",
        "2026-10-18T22:00:00Z",
        "2026-10-25T23:00:00Z",
    );
    // Midnight does not exist: the clocks go from 24:00 to 01:00. A whole day does not exist.
    check(
        Period::Day,
        "2018-11-04T12:00:00Z",
        "America/Sao_Paulo",
        "2018-11-04T03:00:00Z",
        "2018-11-05T02:00:00Z",
    );
    check(
        Period::Day,
        "2011-12-30T09:00:00Z",
        "Pacific/Apia",
        "2011-12-29T10:00:00Z",
        "2011-12-30T10:00:00Z",
    );
    // Midnight twice.
    check(
        Period::Day,
        "2026-11-01T12:00:00Z",
        "America/Havana",
        "2026-11-01T04:00:00Z",
        "2026-11-02T05:00:00Z",
    );
}

#[test]
fn bytes_count_until_the_end_of_the_window_alone() {
    let ledgers = Ledgers::new(16);
    let quota = quota([None, Some(100), None, None], "UTC");
    let ledger = ledgers.of_client(&name("c"), Per::User, "alice", HERE);
    let noon = at("2026-11-30T12:00:00Z");
    assert_eq!(ledgers.add(&ledger, &quota, 100, noon), Ok(()));
    // All of it may be used, and then no request begins.
    let ended = Ended {
        period: Period::Day,
        resets: at("2026-12-01T00:00:00Z"),
    };
    assert_eq!(ledger.check(&quota, noon), Err(ended));
    assert_eq!(ledgers.add(&ledger, &quota, 1, noon), Err(ended));
    // A clock that steps back changes nothing, by whatever length.
    for back in [1, HOUR, 40 * DAY] {
        assert_eq!(ledger.check(&quota, noon - back), Err(ended), "{back}");
        assert!(ledgers.add(&ledger, &quota, 1, noon - back).is_err());
    }
    assert_eq!(ledger.balances()[0].used, 104);
    assert_eq!(ledger.check(&quota, ended.resets - 1), Err(ended));
    assert_eq!(ledger.check(&quota, ended.resets), Ok(()));
    assert_eq!(ledgers.add(&ledger, &quota, 7, ended.resets), Ok(()));
    // And back over midnight: the new day stays, with what it has.
    assert_eq!(ledgers.add(&ledger, &quota, 1, ended.resets - 5), Ok(()));
    assert_eq!(ledger.balances()[0].used, 8);
    assert_eq!(ledgers.add(&ledger, &quota, 1, ended.resets + 5), Ok(()));
    assert_eq!(ledger.balances()[0].used, 9);
}

#[test]
fn of_several_limits_the_longest_is_named() {
    let ledgers = Ledgers::new(16);
    let quota = quota([Some(10), Some(10), None, Some(1000)], "UTC");
    let ledger = ledgers.of_client(&name("c"), Per::Class, "alice", HERE);
    let noon = at("2026-11-30T12:30:00Z");
    let over = ledgers.add(&ledger, &quota, 11, noon).unwrap_err();
    assert_eq!(over.period, Period::Day);
    assert_eq!(ledger.check(&quota, noon).unwrap_err().period, Period::Day);
    assert!(ledger.check(&quota, noon + DAY).is_ok());
}

#[test]
fn a_grant_is_for_the_current_periods_and_a_reset_forgets() {
    let ledgers = Ledgers::new(16);
    let quota = quota([Some(10), None, None, Some(10)], "UTC");
    let ledger = ledgers.of_client(&name("c"), Per::User, "alice", HERE);
    let noon = at("2026-11-29T12:30:00Z");
    assert!(ledgers.add(&ledger, &quota, 20, noon).is_err());
    ledgers.grant(&ledger, &quota, 15, noon);
    assert_eq!(ledger.check(&quota, noon), Ok(()));
    assert_eq!(ledgers.add(&ledger, &quota, 5, noon), Ok(()));
    // The next hour has no grant, the month has.
    assert!(ledgers.add(&ledger, &quota, 0, noon + HOUR).is_ok());
    let of = |period| {
        ledger
            .balances()
            .iter()
            .find(|it| it.period == period)
            .copied()
    };
    assert_eq!(of(Period::Hour).unwrap().granted, 0);
    assert_eq!(of(Period::Month).unwrap().granted, 15);
    ledgers.reset(&ledger);
    assert!(ledger.balances().is_empty());
    assert_eq!(ledgers.add(&ledger, &quota, 10, noon), Ok(()));
}

#[test]
fn what_has_no_room_shares_a_ledger_until_there_is() {
    let ledgers = Ledgers::new(2);
    let quota = quota([Some(10), None, None, None], "UTC");
    let class = name("c");
    let noon = at("2026-11-29T12:30:00Z");
    let of = |user: &str| ledgers.of_client(&class, Per::User, user, HERE);
    for user in ["a", "b"] {
        ledgers.add(&of(user), &quota, 1, noon).unwrap();
    }
    assert!(Arc::ptr_eq(&of("x"), &of("y")));
    assert_eq!(of("x").key().member, Member::Others);
    ledgers.add(&of("x"), &quota, 1, noon).unwrap();
    let sweep = |time| {
        let turns = 0..ledgers.parts();
        turns.flat_map(|turn| ledgers.sweep(turn, time)).count()
    };
    // What has changed is not forgotten before it is saved, and what is in use not at all.
    assert_eq!(sweep(noon + DAY), 0);
    let changed = ledgers.take_changed();
    assert_eq!(changed.len(), 3);
    changed.iter().for_each(|ledger| drop(ledger.take()));
    assert_eq!(sweep(noon + DAY), 0);
    drop(changed);
    assert_eq!(sweep(noon), 0);
    let used = of("a");
    assert_eq!(sweep(noon + DAY), 2);
    assert_eq!(ledgers.len(), 1);
    assert!(Arc::ptr_eq(&used, &of("a")));
    assert_ne!(of("x").key().member, Member::Others);
}

#[test]
fn networks_are_those_of_the_limits() {
    let ledgers = Ledgers::new(16);
    let of = |text: &str| {
        let address = text.parse().unwrap();
        ledgers.of_client(&name("c"), Per::ClientNetwork, "alice", address)
    };
    assert!(Arc::ptr_eq(&of("2001:db8::1"), &of("2001:db8::ffff")));
    assert!(!Arc::ptr_eq(&of("192.0.2.1"), &of("192.0.2.2")));
    for text in [
        "user:a:b",
        "network:192.0.2.1",
        "network:2001:db8::",
        "class",
        "others",
    ] {
        assert_eq!(Member::parse(text).unwrap().to_string(), text);
    }
    for text in ["", "user", "network:x", "group:a"] {
        assert_eq!(Member::parse(text), None);
    }
}

/// A million members: as much memory as documented, and no lock that is held for long.
#[test]
fn a_million_members() {
    let ledgers = Ledgers::new(1_000_000);
    let quota = quota([None, Some(1000), None, Some(1000)], "UTC");
    let class = name("students");
    let noon = at("2026-11-29T12:30:00Z");
    let memory = allocation_counter::measure(|| {
        for number in 0..1_000_000u32 {
            let ledger = ledgers.of_client(&class, Per::User, &format!("user-{number}"), HERE);
            ledgers.add(&ledger, &quota, 1, noon).unwrap();
        }
    });
    assert_eq!(ledgers.len(), 1_000_000);
    let each = memory.bytes_current / 1_000_000;
    assert!(each <= 250, "{each} bytes for each member");
    // The longest that a lock is held: a part is swept. Half of them, since other programs run as well.
    let sweep = |turn| {
        let begun = Instant::now();
        assert!(ledgers.sweep(turn, noon).is_empty());
        begun.elapsed()
    };
    let mut times: Vec<Duration> = (0..ledgers.parts()).map(sweep).collect();
    times.sort();
    let median = times[times.len() / 2];
    assert!(median < Duration::from_millis(1), "{median:?}");
    assert_eq!(ledgers.take_changed().len(), 1_000_000);
    let totals = Totals::of(&ledgers, None, noon, 3);
    assert_eq!(
        totals.used[&("students".to_owned(), Period::Day)],
        1_000_000
    );
    assert_eq!(totals.top.len(), 3);
}

#[test]
fn the_largest_balances_are_shown() {
    let ledgers = Ledgers::new(1000);
    let quota = quota([None, Some(1000), None, None], "UTC");
    let noon = at("2026-11-29T12:30:00Z");
    for number in 0..100u64 {
        let user = format!("user-{number}");
        let ledger = ledgers.of_client(&name("c"), Per::User, &user, HERE);
        ledgers
            .add(&ledger, &quota, (number * 37) % 100, noon)
            .unwrap();
    }
    let totals = Totals::of(&ledgers, None, noon, 5);
    let used: Vec<u64> = totals.top.iter().map(|row| row.used).collect();
    assert_eq!(used, [99, 98, 97, 96, 95]);
    assert_eq!(
        totals.used[&("c".to_owned(), Period::Day)],
        (0..100).sum::<u64>()
    );
    // Of a day that is over nothing is shown.
    assert!(Totals::of(&ledgers, None, noon + DAY, 5).top.is_empty());
    // Those of a filter, and how many there are beside them; what is equal is in the order of its names.
    let largest = |filter: &Filter, now, most| {
        let Largest { rows, unlisted } = Largest::of(&ledgers, filter, None, now, most);
        let rows = rows.into_iter().map(|row| (row.used, row.member));
        (rows.collect::<Vec<_>>(), unlisted)
    };
    let all = Filter::default();
    let (rows, unlisted) = largest(&all, noon, 98);
    assert_eq!((rows.len(), unlisted), (98, 2));
    assert_eq!(rows[0], (99, "user-27".to_owned()));
    assert_eq!(largest(&all, noon, 1000).1, 0);
    assert_eq!(largest(&all, noon + DAY, 5), (Vec::new(), 0));
    let one = Filter {
        user: Some("user-9".to_owned()),
        ..Filter::default()
    };
    assert_eq!(largest(&one, noon, 5), (vec![(33, "user-9".to_owned())], 0));
    let shared = |most| {
        let rows = [(5, "b"), (9, "d"), (5, "a"), (1, "c")].map(|(used, member)| Row {
            class: "c".to_owned(),
            member: member.to_owned(),
            period: "day".to_owned(),
            used,
            limit: None,
            granted: 0,
            resets_at: String::new(),
            is_user: true,
        });
        let Largest { rows, unlisted } = Largest::of_rows(rows.to_vec(), most);
        let members = rows.into_iter().map(|row| row.member);
        (members.collect::<String>(), unlisted)
    };
    assert_eq!(shared(9), ("dabc".to_owned(), 0));
    assert_eq!(shared(2), ("da".to_owned(), 2));
}

#[test]
fn sizes_are_written_as_they_are_read() {
    let quota = quota([None, Some(1_000_000_000), None, Some(2 << 40)], "UTC");
    assert_eq!(quota.to_string(), "quota 1GB a day, 2TiB a month (cut)");
}

fn any_zone() -> impl Strategy<Value = Zone> {
    let names: Vec<&'static str> = Zone::names().collect();
    prop::sample::select(names).prop_map(zone)
}

fn any_period() -> impl Strategy<Value = Period> {
    prop::sample::select(&Period::ALL[..])
}

/// 1990 to 2090.
const TIMES: std::ops::Range<i64> = 631_152_000..3_786_912_000;

proptest! {
    /// Each moment is in its window, and the window is no longer than the longest one can be.
    #[test]
    fn a_window_has_its_moment(now in TIMES, zone in any_zone(), period in any_period()) {
        let window = period.window(now, zone);
        prop_assert!(window.start <= now && now < window.end, "{:?}", window);
        let (least, most) = match period {
            Period::Hour => (HOUR, HOUR),
            Period::Day => (DAY - 3 * HOUR, DAY + 3 * HOUR),
            Period::Week => (6 * DAY - 3 * HOUR, 8 * DAY),
            Period::Month => (27 * DAY - 3 * HOUR, 32 * DAY),
        };
        let length = window.end - window.start;
        prop_assert!((least..=most).contains(&length), "{} {:?}", length, window);
        // The next one begins there, on a full hour or midnight of the wall.
        let wall = zone.local(window.end);
        let next = period.window(window.end, zone);
        prop_assert!(next.start <= window.end && next.end > window.end);
        use chrono::Timelike as _;
        if period != Period::Hour {
            prop_assert!(wall.hour() < 3, "{}", wall);
        }
    }

    /// With any clock: a byte counts once, bytes of a window never become fewer before its end, and windows follow each
    /// other.
    #[test]
    fn no_byte_is_lost_or_counts_twice(
        begin in TIMES,
        zone in any_zone(),
        period in any_period(),
        steps in prop::collection::vec((-3 * DAY..5 * DAY, 0u64..1000, 0u8..4), 1..60),
    ) {
        let ledgers = Ledgers::new(16);
        let mut limits = [None; 4];
        limits[period as usize] = Some(u64::MAX);
        let quota = Quota::new(limits, OnQuota::Cut, zone).unwrap();
        let ledger = ledgers.of_client(&name("c"), Per::User, "alice", HERE);
        let mut counted: HashMap<i64, u64> = HashMap::new();
        let (mut now, mut before): (i64, Option<Balance>) = (begin, None);
        let mut saved = 0;
        for (step, bytes, kind) in steps {
            // Small steps as well: seconds, and none.
            now += step / [1, 60, 3600, i64::MAX][usize::from(kind)];
            ledgers.add(&ledger, &quota, bytes, now).unwrap();
            let balance = ledger.balances()[0];
            *counted.entry(balance.window.end).or_default() += bytes;
            prop_assert_eq!(balance.used, counted[&balance.window.end]);
            if let Some(before) = before {
                if balance.window.end == before.window.end {
                    prop_assert!(balance.used >= before.used && now < before.window.end);
                } else {
                    prop_assert!(balance.window.start >= before.window.end, "{:?} {:?}", before, balance);
                    prop_assert!(now >= before.window.end);
                    saved = 0;
                }
            }
            // What is taken and given back is not lost, what is saved does not count as unsaved.
            let taken = ledger.take();
            prop_assert_eq!(taken[0].unsaved, balance.used - saved);
            if kind == 0 {
                ledgers.give_back(&ledger, &taken);
            } else {
                saved = balance.used;
            }
            before = Some(balance);
        }
    }

    /// Two processes of which one reports: the owner has the sum, and the other one learns it.
    #[test]
    fn a_report_adds_and_is_followed(
        begin in TIMES,
        zone in any_zone(),
        steps in prop::collection::vec((0..2 * DAY, 0u64..1000, any::<bool>()), 1..40),
    ) {
        let (owner, other) = (Ledgers::new(16), Ledgers::new(16));
        let quota = Quota::new([Some(u64::MAX), Some(u64::MAX), None, None], OnQuota::Cut, zone).unwrap();
        let of = |ledgers: &Ledgers| ledgers.of_client(&name("c"), Per::User, "alice", HERE);
        let (ours, theirs) = (of(&owner), of(&other));
        let mut now = begin;
        let mut by_day: HashMap<i64, u64> = HashMap::new();
        for (step, bytes, is_ours) in steps {
            now += step;
            let (ledgers, ledger) = if is_ours { (&owner, &ours) } else { (&other, &theirs) };
            ledgers.add(ledger, &quota, bytes, now).unwrap();
            *by_day.entry(Period::Day.window(now, zone).end).or_default() += bytes;
            let taken = theirs.take();
            let told: Balances = taken.iter().map(|it| Balance { used: it.unsaved, ..*it }).collect();
            owner.join(&ours, &told);
            theirs.follow(&ours.balances());
        }
        let day = |ledger: &Ledger| ledger.balances().iter().find(|it| it.period == Period::Day).copied();
        let sum = by_day[&Period::Day.window(now, zone).end];
        prop_assert_eq!(day(&ours).filter(|it| !it.is_over(now)).map_or(0, |it| it.used), sum);
        if let Some(known) = day(&theirs).filter(|it| !it.is_over(now)) {
            prop_assert_eq!(known.used, sum);
        }
    }
}
