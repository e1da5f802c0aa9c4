use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::*;
use crate::access::policy::{DecidedBy, Name};

const DEADLINE: Duration = Duration::from_secs(30);

fn quiet() -> Arc<Telemetry> {
    let settings = Settings {
        access: Destination::Off,
        ..Settings::default()
    };
    Arc::new(Telemetry::new(&settings).unwrap())
}

/// Telemetry that logs to a file, the file, and the folder that it is in.
fn logging(settings: Settings) -> (Arc<Telemetry>, PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let settings = Settings {
        access: Destination::File(path.clone()),
        ..settings
    };
    (Arc::new(Telemetry::new(&settings).unwrap()), path, dir)
}

fn record(role: impl Into<Option<Role>>) -> Record<'static> {
    let client = SocketAddr::from(([192, 0, 2, 1], 50000));
    Record {
        user: Some("alice"),
        method: b"GET",
        target: b"http://example.org/",
        site: Some("example.org:80"),
        version: "HTTP/1.1",
        status: Some(200),
        ..Record::new(SystemTime::now(), "id-1", role.into(), client)
    }
}

fn stats(telemetry: &Telemetry) -> Value {
    serde_json::from_str(&telemetry.render_stats()).unwrap()
}

/// The value of one series.
fn metric(telemetry: &Telemetry, series: &str) -> Option<f64> {
    let text = telemetry.render_metrics();
    let line = text.lines().find(|line| {
        line.strip_prefix(series)
            .is_some_and(|rest| rest.starts_with(' '))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

fn log_lines(telemetry: &Telemetry, path: &PathBuf) -> Vec<Value> {
    assert!(telemetry.flush(DEADLINE));
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn one_call_logs_and_counts_a_request() {
    let (telemetry, path, _dir) = logging(Settings::default());
    telemetry.record(&Record {
        bytes_from_client: 100,
        bytes_to_client: 1500,
        duration: Duration::from_millis(3),
        connect: Some(Duration::from_millis(1)),
        ..record(Role::Forward)
    });
    let lines = log_lines(&telemetry, &path);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["event"], "request");
    assert_eq!(lines[0]["bytes_to_client"], 1500);
    for (series, expected) in [
        (
            "tollgate_requests_total{code=\"200\",role=\"forward\"}",
            1.0,
        ),
        (
            "tollgate_bytes_total{direction=\"from_client\",role=\"forward\"}",
            100.0,
        ),
        (
            "tollgate_bytes_total{direction=\"to_client\",role=\"forward\"}",
            1500.0,
        ),
        (
            "tollgate_request_duration_seconds_count{role=\"forward\"}",
            1.0,
        ),
        (
            "tollgate_request_duration_seconds_bucket{role=\"forward\",le=\"0.0025\"}",
            0.0,
        ),
        (
            "tollgate_request_duration_seconds_bucket{role=\"forward\",le=\"0.005\"}",
            1.0,
        ),
        ("tollgate_connect_duration_seconds_count", 1.0),
        ("tollgate_user_requests_total{user=\"alice\"}", 1.0),
        (
            "tollgate_user_bytes_total{direction=\"to_client\",user=\"alice\"}",
            1500.0,
        ),
        ("tollgate_log_dropped_total{reason=\"overflow\"}", 0.0),
    ] {
        assert_eq!(metric(&telemetry, series), Some(expected), "{series}");
    }
    let stats = stats(&telemetry);
    assert_eq!(stats["bandwidth_usage"], "1.5 KiB");
    assert_eq!(
        stats["bandwidth_bytes"],
        json!({"from_client": 100, "to_client": 1500, "total": 1600})
    );
    assert_eq!(stats["total_requests"], 1);
    assert_eq!(stats["successful_visits"], 1);
    assert_eq!(
        stats["top_sites"],
        json!([{"url": "example.org:80", "visits": 1, "max_overcount": 0}])
    );
    assert_eq!(
        stats["users"],
        json!({"alice": {"requests": 1, "bytes_from_client": 100, "bytes_to_client": 1500,
                         "open_tunnels": 0}})
    );
}

#[test]
fn a_visit_fails_by_status_error_or_silence() {
    let telemetry = quiet();
    let base = record(Role::Forward);
    for record in [
        Record {
            status: Some(404),
            ..base
        },
        Record {
            status: Some(502),
            error: Some("connection_refused"),
            ..base
        },
        // The origin broke off within a good answer.
        Record {
            status: Some(200),
            error: Some("connection_terminated"),
            ..base
        },
        Record {
            status: None,
            ..base
        },
        Record {
            status: Some(304),
            ..base
        },
        Record {
            status: Some(101),
            ..base
        },
    ] {
        telemetry.record(&record);
    }
    let stats = stats(&telemetry);
    assert_eq!(stats["total_requests"], 6);
    assert_eq!(stats["successful_visits"], 2);
    assert_eq!(stats["failed_visits"], 4);
    let kind = "tollgate_errors_total{kind=\"connection_refused\"}";
    assert_eq!(metric(&telemetry, kind), Some(1.0));
    let silent = "tollgate_requests_total{code=\"none\",role=\"forward\"}";
    assert_eq!(metric(&telemetry, silent), Some(1.0));
}

#[test]
fn strangers_and_denied_requests_count_no_site() {
    let telemetry = quiet();
    telemetry.record(&Record {
        user: None,
        status: Some(407),
        ..record(Role::Forward)
    });
    telemetry.record(&Record {
        status: Some(403),
        decided_by: Some(&DecidedBy::DenyDomains(".secret.example".into())),
        denied: true,
        error: Some("http_request_denied"),
        ..record(Role::Tunnel)
    });
    let stats = stats(&telemetry);
    assert_eq!(stats["top_sites"], json!([]));
    assert_eq!(stats["failed_visits"], 2);
    let denied = "tollgate_denied_total{rule=\"deny_domains\"}";
    assert_eq!(metric(&telemetry, denied), Some(1.0));
}

#[test]
fn a_tunnel_shows_while_it_lasts_and_counts_once() {
    let (telemetry, path, _dir) = logging(Settings {
        tunnel_open: true,
        ..Settings::default()
    });
    let opened = Record {
        method: b"CONNECT",
        target: b"example.org:443",
        site: Some("example.org:443"),
        ..record(Role::Tunnel)
    };
    let tunnel = telemetry.tunnel_opened(&opened);
    tunnel.add_bytes(10, 1000);
    tunnel.add_bytes(0, 1000);

    let live = stats(&telemetry);
    assert_eq!(
        (&live["open_tunnels"], &live["total_tunnels"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(live["bandwidth_bytes"]["total"], 2010);
    let alice = json!({"requests": 1, "bytes_from_client": 10, "bytes_to_client": 2000,
                       "open_tunnels": 1});
    assert_eq!(live["users"]["alice"], alice);

    tunnel.close(&Record {
        // More from the client than was added, less from the upstream.
        bytes_from_client: 15,
        bytes_from_upstream: 1,
        duration: Duration::from_secs(2),
        end_reason: Some("client_closed"),
        ..opened
    });
    let after = stats(&telemetry);
    assert_eq!(after["open_tunnels"], 0);
    assert_eq!(after["total_requests"], 1);
    assert_eq!(after["bandwidth_bytes"]["total"], 2015);
    assert_eq!(after["top_sites"][0]["visits"], 1);
    assert_eq!(after["users"]["alice"]["open_tunnels"], 0);
    let ended = "tollgate_tunnels_ended_total{reason=\"client_closed\"}";
    assert_eq!(metric(&telemetry, ended), Some(1.0));
    assert_eq!(
        metric(&telemetry, "tollgate_tunnel_duration_seconds_sum"),
        Some(2.0)
    );

    let lines = log_lines(&telemetry, &path);
    let events: Vec<_> = lines.iter().map(|line| &line["event"]).collect();
    assert_eq!(events, ["tunnel_open", "tunnel_close"]);
    assert_eq!(lines[1]["bytes_from_client"], 15);
    assert_eq!(lines[1]["bytes_from_upstream"], 2000);
    assert_eq!(lines[1]["bytes_to_client"], 2000);
}

#[test]
fn a_tunnel_that_is_dropped_is_not_open() {
    let (telemetry, path, _dir) = logging(Settings::default());
    drop(telemetry.tunnel_opened(&record(Role::Tunnel)));
    assert_eq!(stats(&telemetry)["open_tunnels"], 0);
    assert!(
        log_lines(&telemetry, &path).is_empty(),
        "the open line is off"
    );
}

#[test]
fn guards_count_what_is_under_way() {
    let telemetry = quiet();
    let first = telemetry.connection_opened();
    let second = telemetry.connection_opened();
    let queued = telemetry.gateway_queued();
    assert_eq!(metric(&telemetry, "tollgate_open_connections"), Some(2.0));
    assert_eq!(
        metric(&telemetry, "tollgate_gateway_queue_depth"),
        Some(1.0)
    );
    drop((first, second, queued));
    for (series, expected) in [
        ("tollgate_open_connections", 0.0),
        ("tollgate_connections_total", 2.0),
        ("tollgate_gateway_queue_depth", 0.0),
        ("tollgate_gateway_queued_total", 1.0),
        ("tollgate_gateway_queue_wait_seconds_count", 1.0),
    ] {
        assert_eq!(metric(&telemetry, series), Some(expected), "{series}");
    }
}

/// Everything happens once, in every role, also to requests without a path, a
/// method or a version.
fn exercised() -> Arc<Telemetry> {
    let telemetry = quiet();
    drop(telemetry.connection_opened());
    telemetry.connection_rejected("max_connections");
    telemetry.auth_failed("wrong_password");
    telemetry.reloaded(ReloadOutcome::Succeeded);
    telemetry.reloaded(ReloadOutcome::Failed);
    drop(telemetry.gateway_queued());
    let observing = Name::parse("watch").unwrap();
    for role in record::ROLES {
        telemetry.record(&Record {
            decided_by: Some(&DecidedBy::ConnectPorts),
            denied: true,
            observed: std::slice::from_ref(&observing),
            error: Some("http_request_denied"),
            ..record(role)
        });
        telemetry.record(&Record {
            role,
            ..Record::default()
        });
        telemetry.record(&Record {
            method: b"OPTIONS",
            target: b"*",
            version: "HTTP/1.0",
            ..record(role)
        });
    }
    let tunnel = telemetry.tunnel_opened(&record(Role::Tunnel));
    tunnel.close(&record(Role::Tunnel));
    telemetry
}

#[test]
fn the_list_of_metrics_is_whole() {
    let text = exercised().render_metrics();
    let shown: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let listed: BTreeSet<&str> = names::METRICS.iter().copied().collect();
    let unlisted: Vec<_> = shown.difference(&listed).collect();
    assert!(unlisted.is_empty(), "{unlisted:?}");
    if cfg!(target_os = "linux") {
        let missing: Vec<_> = listed.difference(&shown).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

#[test]
fn the_list_of_statistics_is_whole() {
    fn keys(prefix: &str, value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    let key = if prefix == "users." { "NAME" } else { key };
                    keys(&format!("{prefix}{key}."), value, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| keys(prefix, item, found)),
            _ => drop(found.insert(prefix.trim_end_matches('.').to_owned())),
        }
    }
    let mut found = BTreeSet::new();
    keys("", &stats(&exercised()), &mut found);
    // Shown only when there are more users than the table holds.
    found.insert("other_users".to_owned());
    let listed: BTreeSet<String> = names::STATS_KEYS.iter().map(|&key| key.into()).collect();
    assert_eq!(found, listed);
}

#[test]
fn every_name_is_documented() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/observability.md");
    let text = fs::read_to_string(path).unwrap();
    let all = [names::METRICS, names::LOG_FIELDS, names::STATS_KEYS].concat();
    for name in all {
        assert!(
            text.contains(&format!("| `{name}` |")),
            "{name} is not documented"
        );
    }
}

#[test]
fn the_summary_is_one_line() {
    let telemetry = exercised();
    telemetry.record(&Record {
        site: Some("evil\nhost:80"),
        ..record(Role::Forward)
    });
    let summary = telemetry.summary();
    assert!(summary.starts_with("served 14 requests ("), "{summary}");
    assert!(summary.contains("and 1 tunnel in 0s"), "{summary}");
    assert!(
        summary.contains("; top sites: example.org:80 ("),
        "{summary}"
    );
    assert!(!summary.contains('\n'), "{summary}");
}

#[test]
fn odd_user_names_stay_inside_their_labels() {
    let telemetry = quiet();
    telemetry.record(&Record {
        user: Some("a\"} 1\nevil_total 2\\"),
        ..record(Role::Forward)
    });
    let text = telemetry.render_metrics();
    assert!(!text.lines().any(|line| line.starts_with("evil_total")));
    assert!(
        text.contains("user=\"a\\\"} 1\\nevil_total 2\\\\\""),
        "{text}"
    );
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        access: Destination::File(dir.path().join("none/access.log")),
        ..Settings::default()
    };
    let error = Telemetry::new(&settings).err().unwrap();
    assert!(matches!(error, TelemetryError::AccessLog { .. }));
    let path = dir.path().join("none/access.log");
    assert_eq!(
        error.to_string(),
        format!("cannot open the access log {}", path.display())
    );
}

#[test]
fn reopening_after_rotation_loses_no_record() {
    let (telemetry, path, dir) = logging(Settings::default());
    let rotated = dir.path().join("access.log.1");
    telemetry.record(&record(Role::Gateway));
    assert!(telemetry.flush(DEADLINE));
    fs::rename(&path, &rotated).unwrap();
    telemetry.reopen();
    assert!(telemetry.flush(DEADLINE));
    telemetry.record(&record(Role::Gateway));
    assert_eq!(log_lines(&telemetry, &rotated).len(), 1);
    assert_eq!(log_lines(&telemetry, &path).len(), 1);
}
