//! Requests.

use serde_json::json;

use super::*;

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
        (
            "tollgate_connect_duration_seconds_count{role=\"forward\"}",
            1.0,
        ),
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
        denial: Some(&denial()),
        error: Some("http_request_denied"),
        ..record(Role::Tunnel)
    });
    let stats = stats(&telemetry);
    assert_eq!(stats["top_sites"], json!([]));
    assert_eq!(
        (&stats["failed_visits"], &stats["denied_visits"]),
        (&json!(2), &json!(1))
    );
    let summary = telemetry.summary();
    let counts = "(0 successful, 1 denied, 1 failed, 0 asked for credentials)";
    assert!(summary.contains(counts), "{summary}");
    let denied = "tollgate_denied_total{rule=\"deny_domains\"}";
    assert_eq!(metric(&telemetry, denied), Some(1.0));
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
fn the_summary_is_one_line() {
    let telemetry = exercised();
    telemetry.record(&Record {
        site: Some("evil\nhost:80"),
        ..record(Role::Forward)
    });
    let summary = telemetry.summary();
    assert!(summary.starts_with("served 18 requests ("), "{summary}");
    assert!(summary.contains("and 1 tunnel in 0s"), "{summary}");
    assert!(
        summary.contains("; top sites: example.org:80 ("),
        "{summary}"
    );
    assert!(!summary.contains('\n'), "{summary}");
}

#[test]
fn nothing_counted_yet_can_be_rendered() {
    let text = quiet().render_metrics();
    assert!(text.contains(&format!("tollgate_build_info{{version=\"{VERSION}\"}} 1\n")));
    assert!(text.contains("tollgate_open_tunnels 0\n"));
    assert!(text.contains("process_cpu_seconds_total "));
}
