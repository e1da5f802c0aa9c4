//! `GET /api/v1/status` and `GET /api/v1/history`: the process, now and in the last 15 minutes.

use std::collections::BTreeMap;

use super::attention::{Notice, notices};
use super::in_background;
use crate::admin::answer::Answer;
use crate::admin::door::Operator;
use crate::admin::routes::Call;
use crate::config::{Config, Listener, Socks5};
use crate::request::app::App;
use crate::request::live;
use crate::telemetry::{
    CertificateReport, Descriptors, Point, ReloadRow, Thousandths, Totals, members,
};

members! {
    /// The process.
    pub(in crate::admin) struct Status;
    version: &'static str, "The version of the program.";
    pid: u32, "The number of the process.";
    started_at: String, "When it started, in UTC (RFC 3339).";
    uptime_seconds: u64, "Seconds since then.";
    state: &'static str, "`running`, or `draining` once it was told to end.";
    attention: Vec<Notice> as "attention" of Notice, "What needs attention now, the worst first.";
    #[serde(skip_serializing_if = "Option::is_none")]
    threads: Option<u64>, "Its threads; left out without `/proc`.";
    descriptors: Descriptors as "descriptors" of Descriptors, "Its file descriptors.";
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>, "Resident memory; left out without `/proc`.";
    cpu_seconds: Thousandths, "Processor time used, user and system.";
    log_level: String, "The lowest level of messages in the error log.";
    log_dropped: u64, "Access-log records lost.";
    listeners: Vec<ListenerRow> as "listeners" of ListenerRow, "Where it listens.";
    #[serde(skip_serializing_if = "Option::is_none")]
    reload: Option<ReloadRow> as "reload" of ReloadRow, "The last reload; left out before the first.";
    certificates: Vec<CertificateReport> as "certificates" of CertificateReport,
        "The certificates and revocation lists of the TLS listeners.";
    now: Point as "now" of Point, "The last second.";
    totals: Totals as "totals" of Totals, "Since the start.";
    errors_by_kind: BTreeMap<String, u64>, "Requests and tunnels that failed, by `error` of the access log; denials too.";
    recent_errors_by_kind: BTreeMap<String, u64>, "Those of them in the last 15 minutes. The oldest half a minute may be missing.";
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<String>, "The operator that sends the request; left out where it has no name: the service has no users, or a certificate names none.";
    can_change: bool, "Whether this service changes anything: it knows its users.";
}

members! {
    /// A listener.
    pub(in crate::admin) struct ListenerRow;
    address: String, "Its address.";
    purpose: &'static str, "`proxy` or `admin`.";
    tls: bool, "Whether it has TLS.";
    http2: bool, "Whether clients may speak HTTP/2.";
    socks5: &'static str, "Whether clients may speak SOCKS5: `never`, `also` or `only`.";
    proxy_protocol: bool, "Whether each connection begins with a PROXY protocol header.";
}

/// What the status says of the service itself and of who looks.
pub(in crate::admin) struct Look {
    listeners: Vec<ListenerRow>,
    operator: Option<String>,
    pub(in crate::admin) can_change: bool,
}

impl Look {
    /// That of a request.
    pub(in crate::admin) fn of(call: &Call<'_>) -> Self {
        Self {
            listeners: call.admin.listeners.clone(),
            operator: match call.operator {
                Operator::User(user) => Some(user.as_str().to_owned()),
                Operator::Anyone | Operator::Certificate => None,
            },
            can_change: call.admin.door.knows_users(),
        }
    }
}

impl Status {
    /// As it is now. Reads /proc.
    pub(in crate::admin) fn of(app: &App, look: Look) -> Self {
        let process = app.telemetry.process();
        let mut status = Self {
            version: process.version,
            pid: process.pid,
            started_at: process.started_at,
            uptime_seconds: process.uptime_seconds,
            state: match app.lifecycle.is_draining() {
                true => "draining",
                false => "running",
            },
            threads: process.threads,
            descriptors: process.descriptors,
            memory_bytes: process.memory_bytes,
            cpu_seconds: process.cpu_seconds,
            log_level: log::max_level().as_str().to_ascii_lowercase(),
            log_dropped: process.log_dropped,
            listeners: look.listeners,
            reload: process.reload,
            certificates: app.telemetry.certificates(),
            now: app.telemetry.now(live::gauges(app)),
            totals: app.telemetry.totals(),
            errors_by_kind: app.telemetry.errors_by_kind(),
            recent_errors_by_kind: app.telemetry.recent_errors_by_kind(),
            operator: look.operator,
            can_change: look.can_change,
            attention: Vec::new(),
        };
        status.attention = notices(&status, &live::upstreams(app));
        status
    }
}

/// Shows the process.
pub(in crate::admin) async fn status(call: Call<'_>) -> Answer {
    let look = Look::of(&call);
    in_background(call, move |app, _| Status::of(app, look)).await
}

/// Shows the last 15 minutes.
pub(in crate::admin) async fn history(call: Call<'_>) -> Answer {
    in_background(call, |app, _| app.telemetry.history()).await
}

/// Where a process with this configuration listens.
pub(in crate::admin) fn listeners(config: &Config) -> Vec<ListenerRow> {
    let proxy = |listener: &Listener| ListenerRow {
        address: listener.address.to_string(),
        purpose: "proxy",
        tls: listener.tls.is_some(),
        http2: listener.http2,
        socks5: match listener.socks5 {
            Socks5::Never => "never",
            Socks5::Also => "also",
            Socks5::Only => "only",
        },
        proxy_protocol: listener.proxy_protocol.is_some(),
    };
    let admin = config.admin.iter().map(|admin| ListenerRow {
        address: admin.address.to_string(),
        purpose: "admin",
        tls: admin.tls.is_some(),
        http2: false,
        socks5: "never",
        proxy_protocol: false,
    });
    config.listeners.iter().map(proxy).chain(admin).collect()
}
