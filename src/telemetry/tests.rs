//! The telemetry as a whole: what one call does to log, metrics and statistics.

mod formats;
mod log;
mod reference;
mod requests;
mod rows;
mod tunnels;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use serde_json::Value;

use super::*;
use crate::access::limits::quota::{OnQuota, Quota, now};
use crate::access::limits::{ClassLimits, ClassRule, Per};
use crate::access::policy::{DecidedBy, Groups, Name, Zone};
use crate::http::denial::Denial;
use crate::http::error::ErrorKind;

const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) fn quiet() -> Arc<Telemetry> {
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

pub(crate) fn record(role: impl Into<Option<Role>>) -> Record<'static> {
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

fn denial() -> Denial {
    Denial::new(ErrorKind::Denied, "connect_ports", None)
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

fn certificate(is_list: bool) -> ShownCertificate {
    ShownCertificate {
        listener: "127.0.0.1:8443".to_owned(),
        name: "a.test".to_owned(),
        expires: 2_000_000_000,
        is_list,
    }
}

/// Everything happens once, in every role, also to requests without a path, a
/// method or a version.
fn exercised() -> Arc<Telemetry> {
    let telemetry = quiet();
    telemetry.keep();
    telemetry.show_levels(|| Some(Levels::default()));
    drop(telemetry.connection_opened());
    telemetry.connection_rejected("max_connections");
    telemetry.auth_failed("wrong_password");
    telemetry.user_locked_out();
    telemetry.network_locked_out();
    telemetry.lockout_refused();
    telemetry.token_refused("signature");
    telemetry.keys_fetched(true);
    telemetry.authorizer_asked("admit", DEADLINE);
    telemetry.authorizer_cache_hit();
    telemetry.reloaded(ReloadOutcome::Succeeded, &[]);
    telemetry.reloaded(ReloadOutcome::Failed, &[]);
    telemetry.certificates_read(true);
    telemetry.show_certificates(vec![certificate(false), certificate(true)]);
    drop(telemetry.gateway_queued());
    telemetry.hook_failed("team");
    telemetry.hook_event("origin_errors", "a.example");
    telemetry.store_works("file");
    telemetry.store_synced(DEADLINE);
    telemetry.sync_failed("timeout");
    let ledgers = Arc::new(Ledgers::new(16));
    let quota = Quota::new([Some(10), None, None, None], OnQuota::Cut, Zone::UTC).unwrap();
    let class = Name::parse_any("ci").unwrap();
    let ledger = ledgers.of_client(&class, Per::User, "alice", [192, 0, 2, 1].into());
    ledgers.add(&ledger, &quota, 7, now()).unwrap();
    telemetry.show_ledgers(ledgers);
    telemetry.upstream_state(&SocketAddr::from(([127, 0, 0, 1], 81)), true);
    telemetry.parent_state("corp", "http://10.0.0.1:3128", true);
    telemetry.parent_dialed("corp", "success", DEADLINE);
    telemetry.show_parents(|| {
        vec![ParentState {
            parent: "corp".to_owned(),
            url: "http://10.0.0.1:3128".to_owned(),
            is_up: true,
            in_use: 2,
        }]
    });
    let observing = Name::parse("watch").unwrap();
    for role in record::ROLES {
        telemetry.record(&Record {
            decided_by: Some(&DecidedBy::ConnectPorts),
            denial: Some(&denial()),
            observed: std::slice::from_ref(&observing),
            error: Some("http_request_denied"),
            ..record(role)
        });
        telemetry.record(&Record {
            class: Some("ci"),
            limit: Some("requests"),
            error: Some("limit_reached"),
            ..record(role)
        });
        telemetry.record(&Record {
            role,
            error_detail: Some("bare_lf: bare LF as a line end"),
            malformation: Some("bare_lf"),
            ..Record::default()
        });
        telemetry.record(&Record {
            method: b"OPTIONS",
            target: b"*",
            version: "HTTP/1.0",
            decided_by: Some(&DecidedBy::Default),
            resolve: Some(DEADLINE),
            ..record(role)
        });
    }
    let class = ClassRule {
        name: Name::parse_any("ci").unwrap(),
        users: None,
        groups: None,
        roles: None,
        client_networks: None,
        per: Per::User,
        limits: ClassLimits::default(),
    };
    let classes = Classes::new(vec![class], &Groups::default()).unwrap();
    telemetry.show_classes(Some(Arc::new(classes)));
    let tunnel = telemetry.tunnel_opened(&record(Role::Tunnel));
    tunnel.close(&record(Role::Tunnel));
    telemetry
}
