//! Tunnels, and other things that last.

use serde_json::json;

use super::*;

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
    tunnel.add_bytes("example.org:443", 10, 1000);
    tunnel.add_bytes("example.org:443", 0, 1000);

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

#[test]
fn a_tunnel_that_is_denied_by_its_first_bytes_counts_as_a_denial_too() {
    let telemetry = quiet();
    telemetry.keep();
    let rule = DecidedBy::Rule(Name::parse("tls-only").unwrap());
    let opened = Record {
        decided_by: Some(&rule),
        ..record(Role::Tunnel)
    };
    let tunnel = telemetry.tunnel_opened(&opened);
    assert_eq!(telemetry.hits("tls-only"), (1, 0));
    tunnel.close(&Record {
        error: Some("not_tls"),
        end_reason: Some("not_tls"),
        denial: Some(&denial()),
        ..opened
    });
    assert_eq!(telemetry.hits("tls-only"), (2, 0));
    let totals = telemetry.totals();
    assert_eq!(
        (
            totals.requests,
            totals.tunnels,
            totals.denials,
            totals.errors
        ),
        (1, 1, 1, 0)
    );
    let user = telemetry
        .top_users(TopBy::Denials, 1, |_| true)
        .users
        .remove(0);
    assert_eq!((user.requests, user.denials, user.open_tunnels), (1, 1, 0));
}
