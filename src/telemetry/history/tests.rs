use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::telemetry::tests::{quiet, record};
use crate::telemetry::{Record, Role};

fn durations(buckets: &[(u64, u64)], count: u64) -> Durations {
    let (bounds, cumulative) = buckets.iter().copied().unzip();
    Durations {
        bounds,
        cumulative,
        count,
    }
}

fn counts(requests: u64) -> Counts {
    Counts {
        totals: Totals {
            requests,
            tunnels: 0,
            denials: 0,
            errors: 0,
            bytes_from_client: 10 * requests,
            bytes_to_client: 0,
        },
        durations: Durations::default(),
    }
}

#[test]
fn quantiles_are_within_their_bucket() {
    // 10 up to 1 ms, 80 up to 2 ms, 10 up to 10 ms.
    let some = durations(&[(1000, 10), (2000, 90), (10_000, 100)], 100);
    for (percent, expected) in [
        (1, Some(100)),
        (10, Some(1000)),
        (50, Some(1500)),
        (90, Some(2000)),
        (99, Some(9200)),
        (100, Some(10_000)),
    ] {
        assert_eq!(some.quantile(percent), expected, "{percent} %");
    }
    assert_eq!(durations(&[(1000, 0)], 0).quantile(50), None);
    // All of them took longer than the last bucket has.
    assert_eq!(
        durations(&[(1000, 0), (5000, 0)], 3).quantile(50),
        Some(5000)
    );
    // One that ended while the others were read.
    assert_eq!(durations(&[(1000, 5)], 3).quantile(99), Some(600));
}

#[test]
fn a_point_has_what_came_since_the_one_before() {
    let mut ring = Ring::default();
    let gauges = Gauges {
        open_tunnels: 2,
        requests_in_flight: 3,
    };
    // What was counted before the first look is of no second.
    ring.add(1000, counts(50), gauges, 9);
    assert!(ring.points.is_empty());
    ring.add(1001, counts(57), gauges, 9);
    ring.add(1002, counts(57), Gauges::default(), 0);
    let rows: Vec<_> = ring
        .points
        .iter()
        .map(|it| {
            (
                it.time,
                it.requests,
                it.bytes_from_client,
                it.open_connections,
            )
        })
        .collect();
    assert_eq!(rows, [(1001, 7, 70, 9), (1002, 0, 0, 0)]);
    assert_eq!(ring.points[0].open_tunnels, 2);
    assert_eq!(ring.points[0].requests_in_flight, 3);
    assert_eq!(ring.points[0].p50_ms, None);
}

proptest! {
    #[test]
    fn the_ring_has_the_last_points_and_no_more(requests in vec(0_u64..100, 0..2 * POINTS)) {
        let mut ring = Ring::default();
        let mut total = 0;
        for (second, more) in requests.iter().enumerate() {
            total += more;
            ring.add(second as u64, counts(total), Gauges::default(), 0);
        }
        let expected = requests.len().saturating_sub(1).min(POINTS);
        prop_assert_eq!(ring.points.len(), expected);
        let kept: Vec<u64> = ring.points.iter().map(|it| it.requests).collect();
        prop_assert_eq!(&kept[..], &requests[requests.len() - expected..]);
        let points: Vec<Point> = ring.points.into();
        let columns = Columns::of(&points);
        prop_assert!(columns.time.is_sorted());
        prop_assert_eq!(columns.requests.len(), columns.p99_ms.len());
    }

    #[test]
    fn no_histogram_breaks_a_quantile(
        steps in vec((1_u64..1_000_000, 0_u64..1000), 1..20),
        excess in 0_u64..5,
        percent in 0_u64..101,
    ) {
        let (mut bound, mut sum) = (0, 0);
        let buckets: Vec<_> = steps
            .into_iter()
            .map(|(width, more)| {
                bound += width;
                sum += more;
                (bound, sum)
            })
            .collect();
        let some = durations(&buckets, sum + excess);
        match some.quantile(percent) {
            None => prop_assert_eq!(sum + excess, 0),
            Some(value) => {
                prop_assert!(value <= bound);
                prop_assert!(value <= some.quantile(100).unwrap());
            }
        }
    }
}

#[test]
fn a_second_has_its_requests_denials_errors_and_times() {
    let telemetry = quiet();
    telemetry.keep();
    telemetry.sample(Gauges::default());
    for millis in [3, 3, 3, 40] {
        telemetry.record(&Record {
            duration: Duration::from_millis(millis),
            bytes_to_client: 100,
            ..record(Role::Forward)
        });
    }
    telemetry.record(&Record {
        status: Some(502),
        error: Some("connection_refused"),
        ..record(Role::Gateway)
    });
    // A client that is only asked for credentials has not failed.
    telemetry.record(&Record {
        user: None,
        status: Some(407),
        error: Some("credentials_missing"),
        ..record(Role::Forward)
    });
    let tunnel = telemetry.tunnel_opened(&record(Role::Tunnel));
    tunnel.add_bytes("example.org:80", 5, 7);
    telemetry.sample(Gauges {
        open_tunnels: 1,
        requests_in_flight: 0,
    });
    let history = telemetry.history();
    assert_eq!(history.step_seconds, 1);
    let points = history.points;
    assert_eq!(points.requests, [7]);
    assert_eq!(points.tunnels_opened, [1]);
    assert_eq!((points.denials, points.errors), (vec![0], vec![1]));
    assert_eq!(points.bytes_from_client, [5]);
    assert_eq!(points.bytes_to_client, [407]);
    assert_eq!(points.open_tunnels, [1]);
    let p99 = points.p99_ms[0].unwrap();
    assert!(
        (Thousandths(25_000)..=Thousandths(50_000)).contains(&p99),
        "{p99:?}"
    );
    let totals = telemetry.totals();
    assert_eq!((totals.requests, totals.tunnels, totals.errors), (7, 1, 1));
    tunnel.close(&record(Role::Tunnel));
    let now = telemetry.now(Gauges {
        open_tunnels: 0,
        requests_in_flight: 4,
    });
    assert_eq!(
        (now.requests, now.open_tunnels, now.requests_in_flight),
        (7, 0, 4)
    );
}

#[test]
fn nothing_is_kept_where_no_one_can_look() {
    let telemetry = quiet();
    telemetry.sample(Gauges::default());
    telemetry.sample(Gauges::default());
    assert!(telemetry.history().points.time.is_empty());
    assert_eq!(telemetry.now(Gauges::default()).requests, 0);
    assert!(telemetry.watch_denials().is_none());
    assert!(telemetry.last_denials(10).denials.is_empty());
}

/// Errors count for 15 minutes by their kind, and no longer.
#[test]
fn errors_are_of_the_last_minutes() {
    let telemetry = quiet();
    telemetry.keep();
    let fail = |kind: &'static str| {
        telemetry.record(&Record {
            status: Some(502),
            error: Some(kind),
            ..record(Role::Gateway)
        });
    };
    let recent = || {
        let errors = telemetry.recent_errors_by_kind().into_iter();
        errors.collect::<Vec<_>>()
    };
    let seconds = |count| (0..count).for_each(|_| telemetry.sample(Gauges::default()));
    seconds(1);
    fail("dns_error");
    assert_eq!(recent(), [("dns_error".to_owned(), 1)]);
    seconds(POINTS / 2);
    fail("connection_refused");
    fail("dns_error");
    let both = [
        ("connection_refused".to_owned(), 1),
        ("dns_error".to_owned(), 2),
    ];
    assert_eq!(recent(), both);
    seconds(POINTS / 2 - MARK);
    assert_eq!(recent(), both);
    seconds(MARK);
    let later = both.clone().map(|(kind, _)| (kind, 1));
    assert_eq!(recent(), later);
    seconds(POINTS / 2);
    assert_eq!(recent(), []);
    assert_eq!(telemetry.errors_by_kind()["dns_error"], 2);
    let kept = telemetry.kept.get().unwrap();
    assert_eq!(kept.samples.0.lock().errors.len(), POINTS / MARK);
}
