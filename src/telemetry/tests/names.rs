//! Hashed names of users: in all that telemetry shows.

use super::*;
use crate::access::limits::quota::Row;

fn hashed() -> Settings {
    Settings {
        users: UserNames::Hashed(UserKey::of("a secret of the operator")),
        tunnel_open: true,
        ..Settings::default()
    }
}

#[test]
fn nothing_that_is_shown_has_a_plain_name() {
    let (telemetry, path, _dir) = logging(hashed());
    telemetry.record(&record(Role::Forward));
    let tunnel = telemetry.tunnel_opened(&record(Role::Tunnel));
    tunnel.add_bytes("one.example:443", 3, 4);
    tunnel.close(&record(Role::Tunnel));
    assert!(telemetry.flush(DEADLINE));

    let label = telemetry.show_user("alice").to_string();
    let log = fs::read_to_string(path).unwrap();
    assert_eq!(log.lines().count(), 3, "{log}");
    for line in log.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["user"], *label, "{line}");
    }
    let metrics = telemetry.render_metrics();
    let series = format!("tollgate_user_requests_total{{user=\"{label}\"}} 2");
    assert!(metrics.contains(&series), "{metrics}");
    let stats = telemetry.render_stats();
    let read: Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(read["users"][&label]["bytes_from_client"], 3, "{stats}");
    for shown in [log, metrics, stats] {
        assert!(!shown.contains("alice"), "{shown}");
    }
}

#[test]
fn the_combined_format_has_the_hash_too() {
    let (telemetry, path, _dir) = logging(Settings {
        format: Format::Combined,
        ..hashed()
    });
    telemetry.record(&record(Role::Forward));
    assert!(telemetry.flush(DEADLINE));
    let label = telemetry.show_user("alice").to_string();
    let log = fs::read_to_string(path).unwrap();
    assert!(log.contains(&format!(" - {label} [")), "{log}");
}

#[test]
fn balances_of_users_are_hashed_and_others_are_not() {
    let (telemetry, _path, _dir) = logging(hashed());
    let row = |member: &str, is_user| Row {
        class: "c".to_owned(),
        member: member.to_owned(),
        period: "day".to_owned(),
        used: 1,
        limit: None,
        granted: 0,
        resets_at: String::new(),
        is_user,
    };
    let label = telemetry.show_user("alice").to_string();
    assert_eq!(telemetry.show_row(row("alice", true)).member, label);
    let network = telemetry.show_row(row("192.0.2.1", false));
    assert_eq!(network.member, "192.0.2.1");
}

/// A user reads the denials of its own by its name, which no other client has.
#[test]
fn denials_are_found_by_the_plain_name() {
    let (telemetry, _path, _dir) = logging(hashed());
    let denial = denial();
    telemetry.denied(&Record {
        denial: Some(&denial),
        ..record(Role::Forward)
    });
    let list: Value = serde_json::from_slice(&telemetry.render_denials("alice")).unwrap();
    assert_eq!(list["denials"].as_array().map(Vec::len), Some(1), "{list}");
}
