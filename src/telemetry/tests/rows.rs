//! The rows of the admin API, and the lists of those who use the most.

use serde::Serialize;

use super::*;
use crate::telemetry::{Schema, TopBy};

/// Fails unless `value` is what the schema of its type says.
fn assert_schema<T: Serialize + Schema>(value: &T) {
    let schema = T::schema();
    let json = serde_json::to_value(value).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<_> = validator
        .iter_errors(&json)
        .map(|it| it.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:#?}\n{json:#}");
}

#[test]
fn rows_are_what_their_schemas_say() {
    let telemetry = exercised();
    telemetry.denied(&Record {
        denial: Some(&denial()),
        ..record(Role::Forward)
    });
    telemetry.sample(Gauges::default());
    telemetry.sample(Gauges::default());
    let list = telemetry.last_denials(10);
    assert_eq!(list.denials.len(), 1);
    assert_schema(&list);
    assert_schema(&telemetry.now(Gauges::default()));
    assert_schema(&telemetry.history());
    assert_schema(&telemetry.totals());
    assert_schema(&telemetry.top_users(TopBy::Requests, 10, |_| true));
    assert_schema(&telemetry.top_sites(TopBy::Requests, 10));
    assert_schema(&telemetry.process());
    assert_schema(&telemetry.classes());
    assert_schema(&telemetry.certificates());
    assert_schema(&telemetry.parents());
    assert_schema(&telemetry.all_hits());
    let report: Value = stats(&telemetry);
    let validator = jsonschema::validator_for(&stats::Report::schema()).unwrap();
    assert!(validator.is_valid(&report), "{report:#}");
}

#[test]
fn a_schema_tells_what_is_missing_and_what_is_not_known() {
    let schema = crate::telemetry::Point::schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let telemetry = quiet();
    let mut point = serde_json::to_value(telemetry.now(Gauges::default())).unwrap();
    assert!(validator.is_valid(&point));
    assert_eq!(point["p50_ms"], Value::Null);
    point["p50_ms"] = 1.25.into();
    assert!(validator.is_valid(&point));
    point["requests"] = (-1).into();
    assert!(!validator.is_valid(&point));
    point["requests"] = 1.into();
    point["surprise"] = 1.into();
    assert!(!validator.is_valid(&point));
}

#[test]
fn sites_are_sorted_by_requests_bytes_or_denials() {
    let telemetry = quiet();
    let visit = |site: &'static str, bytes, times| {
        for _ in 0..times {
            telemetry.record(&Record {
                site: Some(site),
                bytes_to_client: bytes,
                ..record(Role::Forward)
            });
        }
    };
    visit("often.example:80", 10, 5);
    visit("large.example:80", 5000, 1);
    telemetry.record(&Record {
        site: Some(GATEWAY_SITE),
        bytes_from_client: 100,
        ..record(Role::Gateway)
    });
    for (site, user) in [
        ("bad.example:80", Some("alice")),
        ("bad.example:80", Some("bob")),
        ("often.example:80", Some("bob")),
        // Of a stranger no name is kept.
        ("chosen.example:80", None),
    ] {
        telemetry.record(&Record {
            site: Some(site),
            user,
            status: Some(403),
            error: Some("http_request_denied"),
            denial: Some(&denial()),
            ..record(Role::Forward)
        });
    }
    let by = |by| -> Vec<_> {
        let sites = telemetry.top_sites(by, 10).sites.into_iter();
        sites
            .map(|it| (it.site, it.requests, it.bytes, it.denials))
            .collect()
    };
    let row = |site: &str, requests, bytes, denials| (site.to_owned(), requests, bytes, denials);
    let often = row("often.example:80", 5, 50, 1);
    let large = row("large.example:80", 1, 5000, 0);
    let gateway = row(GATEWAY_SITE, 1, 100, 0);
    let bad = row("bad.example:80", 0, 0, 2);
    assert_eq!(
        by(TopBy::Requests),
        [often.clone(), gateway.clone(), large.clone()]
    );
    assert_eq!(by(TopBy::Bytes), [large, gateway, often.clone()]);
    assert_eq!(by(TopBy::Denials), [bad, often]);
    assert_eq!(telemetry.top_sites(TopBy::Bytes, 1).sites.len(), 1);
}

#[test]
fn a_site_with_few_tunnels_and_many_bytes_is_found_while_they_are_open() {
    let telemetry = quiet();
    let site = "mirror.example:443";
    let record = Record {
        site: Some(site),
        ..record(Role::Tunnel)
    };
    let tunnel = telemetry.tunnel_opened(&record);
    // Names enough to replace every site with one visit.
    for number in 0..20_000 {
        telemetry.record(&Record {
            site: Some(&format!("host{}.example:443", number / 2)),
            ..record
        });
    }
    for _ in 0..64 {
        tunnel.add_bytes(site, 1 << 20, 1 << 20);
    }
    let first = |by| telemetry.top_sites(by, 1).sites.remove(0);
    let row = first(TopBy::Bytes);
    assert_eq!((&*row.site, row.bytes), (site, 128 << 20));
    for number in 0..20_000 {
        telemetry.record(&Record {
            site: Some(&format!("more{number}.example:443")),
            ..record
        });
    }
    tunnel.close(&Record {
        bytes_from_client: 64 << 20,
        bytes_from_upstream: (64 << 20) + 5,
        ..record
    });
    let row = first(TopBy::Bytes);
    assert_eq!((&*row.site, row.bytes), (site, (128 << 20) + 5));
}

#[test]
fn users_beyond_the_bound_are_found_when_they_use_much() {
    let telemetry = quiet();
    let visit = |user: &str, times: usize| {
        for _ in 0..times {
            telemetry.record(&Record {
                user: Some(user),
                ..record(Role::Forward)
            });
        }
    };
    for number in 0..3000 {
        visit(&format!("user{number}"), 1);
    }
    visit("late", 50);
    visit("user7", 9);
    let list = telemetry.top_users(TopBy::Requests, 2, |_| true);
    assert!(list.total > 1000 && list.users.len() == 2, "{}", list.total);
    let (late, other) = (&list.users[0], &list.users[1]);
    assert_eq!(late.user, "late");
    let most = late.max_overcount.unwrap();
    assert!(
        late.requests >= 50 && late.requests - most <= 50,
        "{late:?}"
    );
    assert_eq!(
        (&*other.user, other.requests, other.max_overcount),
        ("user7", 10, None)
    );
    assert!(other.last_seen.as_ref().unwrap().ends_with('Z'));
    assert_eq!(list.other_users.unwrap().requests, 2050);
    let wanted = telemetry.top_users(TopBy::Requests, 10, |user| user == "user2999");
    assert!(wanted.total <= 1);
    let tunnel = telemetry.tunnel_opened(&Record {
        user: Some("late"),
        ..record(Role::Tunnel)
    });
    tunnel.close(&Record {
        user: Some("late"),
        bytes_from_upstream: 1 << 30,
        ..record(Role::Tunnel)
    });
    let list = telemetry.top_users(TopBy::Bytes, 1, |_| true);
    assert_eq!(
        (&*list.users[0].user, list.users[0].bytes_to_client),
        ("late", 1 << 30)
    );
}

#[test]
fn rules_have_their_hits_where_an_admin_service_can_show_them() {
    let telemetry = quiet();
    let rule = DecidedBy::Rule(Name::parse("web").unwrap());
    let observing = Name::parse("watch").unwrap();
    let admitted = Record {
        decided_by: Some(&rule),
        observed: std::slice::from_ref(&observing),
        ..record(Role::Forward)
    };
    telemetry.record(&admitted);
    assert_eq!(telemetry.hits("web"), (0, 0));
    telemetry.keep();
    telemetry.record(&admitted);
    telemetry.record(&Record {
        denial: Some(&denial()),
        ..admitted
    });
    assert_eq!(telemetry.hits("web"), (2, 0));
    assert_eq!(telemetry.hits("watch"), (0, 3));
    let all = telemetry.all_hits();
    assert_eq!(all.len(), 1);
    assert_eq!((&*all[0].rule, all[0].count), ("web", 2));
}

#[test]
fn phases_are_counted_by_role() {
    let telemetry = quiet();
    telemetry.keep();
    let phases = Record {
        resolve: Some(Duration::from_millis(3)),
        queue: Some(Duration::from_millis(2)),
        connect: Some(Duration::from_millis(1)),
        first_byte: Some(Duration::from_millis(9)),
        ..record(Role::Forward)
    };
    telemetry.record(&phases);
    telemetry.record(&Record {
        status: Some(502),
        error: Some("name_not_found"),
        first_byte: None,
        ..phases
    });
    for (series, expected) in [
        (
            "tollgate_resolve_duration_seconds_count{role=\"forward\"}",
            2.0,
        ),
        (
            "tollgate_queue_duration_seconds_count{role=\"forward\"}",
            2.0,
        ),
        (
            "tollgate_connect_duration_seconds_count{role=\"forward\"}",
            2.0,
        ),
        (
            "tollgate_first_byte_duration_seconds_count{role=\"forward\"}",
            1.0,
        ),
        (
            "tollgate_first_byte_duration_seconds_count{role=\"tunnel\"}",
            0.0,
        ),
        ("tollgate_name_lookups_total{result=\"success\"}", 1.0),
        (
            "tollgate_name_lookups_total{result=\"name_not_found\"}",
            1.0,
        ),
    ] {
        assert_eq!(metric(&telemetry, series), Some(expected), "{series}");
    }
}

#[test]
fn the_last_reload_is_shown() {
    let telemetry = quiet();
    let succeeded = "tollgate_config_last_reload_successful";
    let time = "tollgate_config_last_reload_success_timestamp_seconds";
    assert_eq!(metric(&telemetry, succeeded), Some(1.0));
    assert!(metric(&telemetry, time).unwrap() > 1e9);
    assert_eq!(telemetry.process().reload, None);
    telemetry.reloaded(ReloadOutcome::Failed, &[]);
    assert_eq!(metric(&telemetry, succeeded), Some(0.0));
    let key = "tollgate.listeners".to_owned();
    telemetry.reloaded(ReloadOutcome::Incomplete, std::slice::from_ref(&key));
    assert_eq!(metric(&telemetry, succeeded), Some(1.0));
    let reload = telemetry.process().reload.unwrap();
    assert_eq!(
        (reload.outcome, reload.restart_needed),
        ("partial", vec![key])
    );
}

#[test]
fn levels_are_asked_for_when_metrics_are_read() {
    let telemetry = quiet();
    telemetry.show_levels(|| {
        Some(Levels {
            hashes: 3,
            max_hashes: 10,
            cached_credentials: 4,
            cached_names: 5,
        })
    });
    for (series, expected) in [
        ("tollgate_hash_queue_length", 3.0),
        ("tollgate_hash_queue_limit", 10.0),
        ("tollgate_cached_credentials", 4.0),
        ("tollgate_cached_names", 5.0),
    ] {
        assert_eq!(metric(&telemetry, series), Some(expected), "{series}");
    }
}

/// A look at 10^5 hosts and users takes one thread 5 ms at most in an optimised build; without optimisation, as much longer as
/// that makes it.
#[test]
fn a_look_at_many_users_and_hosts_is_quick() {
    let telemetry = quiet();
    telemetry.keep();
    for number in 0..100_000_u32 {
        let user = format!("user{number}");
        let site = format!("host{number}.example.org:443");
        telemetry.record(&Record {
            user: Some(&user),
            site: Some(&site),
            bytes_to_client: u64::from(number),
            ..record(Role::Forward)
        });
    }
    let look = || {
        let begun = std::time::Instant::now();
        for by in [TopBy::Requests, TopBy::Bytes] {
            assert_eq!(telemetry.top_users(by, 20, |_| true).users.len(), 20);
            assert_eq!(telemetry.top_sites(by, 20).sites.len(), 20);
        }
        telemetry.sample(Gauges::default());
        let _seen = (telemetry.totals(), telemetry.all_hits());
        begun.elapsed()
    };
    // The machine may do something else meanwhile, but not each time.
    let best = (0..20).map(|_| look()).min().unwrap();
    let most = if cfg!(debug_assertions) { 500 } else { 5 };
    assert!(best <= Duration::from_millis(most), "{best:?}");
}
