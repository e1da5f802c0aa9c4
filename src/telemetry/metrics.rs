//! The Prometheus metrics. Every series that a request touches is resolved
//! when the program starts or when it first occurs: counting is an addition.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

use super::counters::{LabelledCounters, StatusCounters};
use super::names;
use super::process::Process;
use super::record::{ROLES, Record, role_index, role_name};
use super::sink::Losses;
use crate::http::role::Role;

/// Distinct values that a label found while running may have.
const MAX_KINDS: usize = 64;
/// Rules can be as many as an operator writes; the sketch of a graph needs few.
const MAX_RULES: usize = 1280;

/// Half a millisecond to a minute: an origin near by to one that is stuck.
const REQUEST_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];
/// One lost SYN costs a second.
const CONNECT_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0,
];
/// From one exchange to a connection that is kept for a day.
const TUNNEL_BUCKETS: &[f64] = &[
    0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0,
];

/// Bytes of one role, by direction.
pub(crate) struct Bytes {
    pub(crate) from_client: IntCounter,
    pub(crate) to_client: IntCounter,
}

pub(crate) struct Metrics {
    registry: Registry,
    requests: [StatusCounters; ROLES.len()],
    request_duration: [Histogram; ROLES.len()],
    bytes: [Bytes; ROLES.len()],
    denied: LabelledCounters,
    observed: LabelledCounters,
    errors: LabelledCounters,
    connect_duration: Histogram,
    tunnel_duration: Histogram,
    pub(crate) tunnels_ended: LabelledCounters,
    pub(crate) auth_failures: LabelledCounters,
    pub(crate) connections: IntCounter,
    pub(crate) open_connections: IntGauge,
    pub(crate) connections_rejected: LabelledCounters,
    pub(crate) tunnels: IntCounter,
    pub(crate) open_tunnels: IntGauge,
    pub(crate) queue_depth: IntGauge,
    pub(crate) queued: IntCounter,
    pub(crate) queue_wait: Histogram,
    pub(crate) reloads_succeeded: IntCounter,
    pub(crate) reloads_incomplete: IntCounter,
    pub(crate) reloads_failed: IntCounter,
    pub(crate) losses: Losses,
    process: Process,
}

impl Metrics {
    pub(crate) fn new(version: &str) -> prometheus::Result<Metrics> {
        let registry = Registry::new();
        let r = &registry;
        let requests = counters(
            r,
            names::REQUESTS_TOTAL,
            "Requests by role and status code; a tunnel counts when it is established.",
            &["role", "code"],
        )?;
        let request_duration = registered(
            r,
            HistogramVec::new(
                HistogramOpts::new(
                    names::REQUEST_DURATION_SECONDS,
                    "Time to the end of the answer; for a tunnel, to its establishment.",
                )
                .buckets(REQUEST_BUCKETS.to_vec()),
                &["role"],
            )?,
        )?;
        let bytes = counters(
            r,
            names::BYTES_TOTAL,
            "Bytes of content by role and direction; of a tunnel, live.",
            &["role", "direction"],
        )?;
        let reloads = counters(
            r,
            names::RELOADS_TOTAL,
            "Reloads of files by result.",
            &["result"],
        )?;
        let dropped = counters(
            r,
            names::LOG_DROPPED_TOTAL,
            "Access-log records that were lost, by reason.",
            &["reason"],
        )?;
        let build_info = registered(
            r,
            prometheus::IntGaugeVec::new(
                Opts::new(names::BUILD_INFO, "Always 1; the version is a label."),
                &["version"],
            )?,
        )?;
        build_info.with_label_values(&[version]).set(1);
        Ok(Metrics {
            requests: ROLES.map(|role| StatusCounters::new(&requests, role_name(role))),
            request_duration: ROLES
                .map(|role| request_duration.with_label_values(&[role_name(role)])),
            bytes: ROLES.map(|role| Bytes {
                from_client: bytes.with_label_values(&[role_name(role), "from_client"]),
                to_client: bytes.with_label_values(&[role_name(role), "to_client"]),
            }),
            denied: labelled(
                r,
                names::DENIED_TOTAL,
                "Requests denied, by rule.",
                "rule",
                MAX_RULES,
            )?,
            observed: labelled(
                r,
                names::OBSERVED_TOTAL,
                "Requests that a rule which only observes would have denied, by rule.",
                "rule",
                MAX_RULES,
            )?,
            errors: labelled(
                r,
                names::ERRORS_TOTAL,
                "Requests and tunnels that failed, by error kind.",
                "kind",
                MAX_KINDS,
            )?,
            connect_duration: histogram(
                r,
                names::CONNECT_DURATION_SECONDS,
                "Time to connect to an upstream, name look-up included.",
                CONNECT_BUCKETS,
            )?,
            tunnel_duration: histogram(
                r,
                names::TUNNEL_DURATION_SECONDS,
                "Life of tunnels that ended.",
                TUNNEL_BUCKETS,
            )?,
            tunnels_ended: labelled(
                r,
                names::TUNNELS_ENDED_TOTAL,
                "Tunnels that ended, by reason.",
                "reason",
                MAX_KINDS,
            )?,
            auth_failures: labelled(
                r,
                names::AUTH_FAILURES_TOTAL,
                "Requests whose credentials were missing or wrong, by reason.",
                "reason",
                MAX_KINDS,
            )?,
            connections: counter(
                r,
                names::CONNECTIONS_TOTAL,
                "Client connections that were accepted.",
            )?,
            open_connections: gauge(
                r,
                names::OPEN_CONNECTIONS,
                "Client connections that are open.",
            )?,
            connections_rejected: labelled(
                r,
                names::CONNECTIONS_REJECTED_TOTAL,
                "Client connections closed before a request was read, by reason.",
                "reason",
                MAX_KINDS,
            )?,
            tunnels: counter(r, names::TUNNELS_TOTAL, "Tunnels that were established.")?,
            open_tunnels: gauge(r, names::OPEN_TUNNELS, "Tunnels that are open.")?,
            queue_depth: gauge(
                r,
                names::GATEWAY_QUEUE_DEPTH,
                "Requests that wait for a connection to the local pool.",
            )?,
            queued: counter(
                r,
                names::GATEWAY_QUEUED_TOTAL,
                "Requests that had to wait for a connection to the local pool.",
            )?,
            queue_wait: histogram(
                r,
                names::GATEWAY_QUEUE_WAIT_SECONDS,
                "How long requests waited for a connection to the local pool.",
                REQUEST_BUCKETS,
            )?,
            reloads_succeeded: reloads.with_label_values(&["success"]),
            reloads_incomplete: reloads.with_label_values(&["partial"]),
            reloads_failed: reloads.with_label_values(&["failure"]),
            losses: Losses {
                overflow: dropped.with_label_values(&["overflow"]),
                write_error: dropped.with_label_values(&["write_error"]),
            },
            process: Process::register(r)?,
            registry,
        })
    }

    /// Counts a request that was answered, its bytes apart.
    pub(crate) fn count_request(&self, record: &Record) {
        if let Some(requests) = self.requests.get(role_index(record.role)) {
            requests.inc(record.status);
        }
        if let Some(duration) = self.request_duration.get(role_index(record.role)) {
            duration.observe(record.duration.as_secs_f64());
        }
        if let Some(connect) = record.connect {
            self.connect_duration.observe(connect.as_secs_f64());
        }
        if let Some(by) = record.decided_by
            && record.denied
        {
            self.denied.inc(by.label());
        }
        for rule in record.observed {
            self.observed.inc(rule.as_str());
        }
        self.count_error(record);
    }

    pub(crate) fn count_tunnel_end(&self, record: &Record) {
        self.tunnel_duration.observe(record.duration.as_secs_f64());
        self.tunnels_ended
            .inc(record.end_reason.unwrap_or("unknown"));
        self.count_error(record);
    }

    fn count_error(&self, record: &Record) {
        if let Some(kind) = record.error
            && !record.is_challenge()
        {
            self.errors.inc(kind);
        }
    }

    pub(crate) fn observe_queue_wait(&self, wait: Duration) {
        self.queue_wait.observe(wait.as_secs_f64());
    }

    pub(crate) fn bytes(&self, role: Option<Role>) -> Option<&Bytes> {
        self.bytes.get(role_index(role))
    }

    /// Bytes of all roles, from clients and to clients.
    pub(crate) fn total_bytes(&self) -> (u64, u64) {
        self.bytes.iter().fold((0, 0), |(from, to), bytes| {
            (
                from.saturating_add(bytes.from_client.get()),
                to.saturating_add(bytes.to_client.get()),
            )
        })
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Everything in the text exposition format.
    pub(crate) fn render(&self) -> String {
        self.process.refresh();
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap_or_else(|error| {
                // Only a family without name, type or series can do this.
                log::error!("metrics: cannot render: {error}");
                String::new()
            })
    }
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    registered(registry, IntCounter::new(name, help)?)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntCounterVec> {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntGauge> {
    registered(registry, IntGauge::new(name, help)?)
}

fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> prometheus::Result<Histogram> {
    let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    registered(registry, Histogram::with_opts(opts)?)
}

fn labelled(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
    max: usize,
) -> prometheus::Result<LabelledCounters> {
    LabelledCounters::register(registry, Opts::new(name, help), label, max)
}

#[cfg(test)]
mod tests;
