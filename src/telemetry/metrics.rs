//! The Prometheus metrics. Every series that a request touches is resolved
//! when the program starts or when it first occurs: counting is an addition.
//!
//! To add a metric, add its line to a table (this one, or that of users or of
//! the process), count it, and run `make reference`, which writes it into
//! `docs/observability.md`. Dashboards and alerts are built on the names: a name
//! is added, not changed.

pub(crate) mod declare;
pub(crate) mod series;

use std::time::Duration;

use prometheus::{
    Histogram, HistogramVec, IntCounter, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use self::declare::metrics;
use self::series::{ByRole, Bytes, Lockouts, Losses, Reloads};
use super::classes::{ClassBytes, ClassQueued};
use super::counters::{LabelledCounters, PairCounters, StatusCounters};
use super::quotas::QuotaUsage;
use super::record::Record;
use crate::http::error::ErrorKind;

/// Distinct values that a label found while running may have.
const MAX_KINDS: usize = 96;
/// Rules can be as many as an operator writes; the sketch of a graph needs few.
const MAX_RULES: usize = 1280;

/// Pairs of a class and a limit: eight limits for each class, and classes of former configurations.
const MAX_CLASS_LIMITS: usize = 1024;

/// Pairs of a parent and a result.
const MAX_PARENT_RESULTS: usize = 512;

/// Pairs of name and label that hooks may count.
const MAX_EVENTS: usize = 1024;

/// The errors of look-ups.
const LOOKUP_ERRORS: [&str; 4] = [
    ErrorKind::NameNotFound.name(),
    ErrorKind::DnsError.name(),
    ErrorKind::DnsTimeout.name(),
    ErrorKind::DnsOverloaded.name(),
];

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

metrics! {
    /// What is counted of requests, tunnels and connections.
    pub(crate) struct Metrics;
    "tollgate_requests_total" counter ["role", "code"] => requests: ByRole<StatusCounters>,
        "Requests by role and status code; a tunnel counts when it is established.";
    "tollgate_request_duration_seconds" histogram ["role"] REQUEST_BUCKETS => request_duration: ByRole<Histogram>,
        "Time to the end of the answer; for a tunnel, to its establishment."
        "From the first byte of the request head.";
    "tollgate_admitted_total" counter ["rule"] => admitted: LabelledCounters<MAX_RULES>,
        "Requests and tunnels admitted, by rule."
        "As `rule` in the access log, without what follows a colon. A request that was admitted may fail afterwards. Counted where an admin service is configured.";
    "tollgate_denied_total" counter ["rule"] => denied: LabelledCounters<MAX_RULES>,
        "Requests denied, by rule."
        "As `rule` in the access log, without what follows a colon. A tunnel that is denied by its first bytes counts when it ends.";
    "tollgate_observed_total" counter ["rule"] => observed: LabelledCounters<MAX_RULES>,
        "Requests that a rule which only observes would have denied, by rule."
        "Such a rule has `action: observe`.";
    "tollgate_limited_total" counter ["class", "limit"] => limited: PairCounters<MAX_CLASS_LIMITS>,
        "Requests over a limit of their class, by class and limit."
        "Limits by their keys in `limits.classes`: `requests`, `concurrent_requests`, `new_tunnels`, `tunnels`; `quota_hour` to `quota_month`. They count in `tollgate_errors_total` too.";
    "tollgate_queued_total" counter ["class"] => class_queued: ClassQueued,
        "Requests that had to wait for their turn of a rate, by class."
        "With `queue` of the class. They are not over a limit.";
    "tollgate_class_bytes_total" counter ["class", "direction"] => class_bytes: ClassBytes,
        "Bytes that requests and tunnels of a class have carried, by class and direction; live."
        "`from_client` and `to_client`. [limits.md](limits.md#what-counts-as-bytes) says which bytes.";
    "tollgate_quota_used_bytes" gauge ["class", "period"] => quota_used: QuotaUsage,
        "Bytes that all members of a class have used of their quotas in the current periods, by class and period."
        "`hour`, `day`, `week`, `month`. What each member has used is in `/stats`, `/quotas` and `tollgate quota`.";
    "tollgate_store_up" gauge ["store"] => store_up: IntGaugeVec,
        "Whether the store of the balances works: 1 or 0."
        "By kind: `file`, `redis`. There is none without `limits.store`.";
    "tollgate_store_sync_seconds" histogram CONNECT_BUCKETS => store_sync: Histogram,
        "Time from a call of the store of a fleet to its answer.";
    "tollgate_store_failures_total" counter ["kind"] => store_failures: LabelledCounters<MAX_KINDS>,
        "Calls of the store of a fleet that failed, and connections to it, by kind."
        "`unreachable`, `timeout`, `denied` (wrong password, or no right), `loading`, `read_only`, `out_of_memory`, `other`.";
    "tollgate_errors_total" counter ["kind"] => errors: LabelledCounters<MAX_KINDS>,
        "Requests and tunnels that failed, by error kind."
        "Kinds as `error` in the access log. A request without credentials counts in `tollgate_auth_failures_total` alone.";
    "tollgate_auth_failures_total" counter ["reason"] => auth_failures: LabelledCounters<MAX_KINDS>,
        "Requests whose credentials were missing or wrong, by reason."
        "`credentials_missing`, `credentials_malformed`, `credentials_wrong`, `token_invalid`, `token_expired`.";
    "tollgate_lockouts_total" counter ["scope"] => lockouts: Lockouts,
        "Times that failed logins have locked out, by scope."
        "`user`, a user at one network; `network`, all users of a network.";
    "tollgate_lockout_refusals_total" counter => lockout_refusals: IntCounter,
        "Logins refused with 429 since the user or the network is locked out, or has as many under way as may fail."
        "They count in `tollgate_errors_total` too.";
    "tollgate_tokens_refused_total" counter ["reason"] => tokens_refused: LabelledCounters<MAX_KINDS>,
        "Requests whose token was not accepted, by reason."
        "Reasons as in [the table of tokens.md](tokens.md#errors). They count in `tollgate_auth_failures_total` too.";
    "tollgate_token_key_fetches_total" counter ["result"] => key_fetches: LabelledCounters<MAX_KINDS>,
        "Fetches of the keys of issuers of tokens, by result."
        "`success`; `failure`, after which the keys from before stay in use.";
    "tollgate_authorizer_requests_total" counter ["result"] => authorizer_requests: LabelledCounters<MAX_KINDS>,
        "Requests to the external authoriser, by result."
        "`admit`, `deny`, `challenge` (the credentials are wrong), `timeout`, `failure`. Requests of clients that share one count once.";
    "tollgate_authorizer_duration_seconds" histogram CONNECT_BUCKETS => authorizer_duration: Histogram,
        "Time to the answer of the external authoriser, or to its failure.";
    "tollgate_authorizer_cache_hits_total" counter => authorizer_cache_hits: IntCounter,
        "Requests of clients for which an answer of the external authoriser was kept.";
    "tollgate_bytes_total" counter ["role", "direction"] => bytes: ByRole<Bytes>,
        "Bytes of content by role and direction; of a tunnel, live.";
    "tollgate_open_connections" gauge => open_connections: IntGauge,
        "Client connections that are open.";
    "tollgate_connections_total" counter => connections: IntCounter,
        "Client connections that were accepted.";
    "tollgate_connections_rejected_total" counter ["reason"] => connections_rejected: LabelledCounters<MAX_KINDS>,
        "Client connections closed before a request was read, by reason."
        "`accept_error`, `share` (the address has its share of `limits.max_connections`), `handshake_failed`, `handshake_timeout`, `http2_preface`, and for a client of [another protocol](#another-protocol) the names in the table of errors that begin with `wrong_protocol` and `proxy_header`. Of HTTP/2 also: `stream`, a stream refused because of `limits.max_connections` or the share of it; `http_1_1_required`, a stream with NTLM or Negotiate for its origin; `http2_error`, a connection that broke the protocol, also by floods of resets or empty frames.";
    "tollgate_heads_rejected_total" counter ["reason"] => heads_rejected: LabelledCounters<MAX_KINDS>,
        "Request heads that were refused, by what is wrong with them."
        "Reasons as in [the table of malformed requests](#malformed-requests).";
    "tollgate_open_tunnels" gauge => open_tunnels: IntGauge,
        "Tunnels that are open.";
    "tollgate_tunnels_total" counter => tunnels: IntCounter,
        "Tunnels that were established.";
    "tollgate_tunnels_ended_total" counter ["reason"] => tunnels_ended: LabelledCounters<MAX_KINDS>,
        "Tunnels that ended, by reason."
        "Reasons as `end_reason` in the access log.";
    "tollgate_tunnel_duration_seconds" histogram TUNNEL_BUCKETS => tunnel_duration: Histogram,
        "Life of tunnels that ended.";
    "tollgate_connect_duration_seconds" histogram ["role"] CONNECT_BUCKETS => connect_duration: ByRole<Histogram>,
        "Time to connect to an upstream: TCP, and TLS where the upstream has it.";
    "tollgate_resolve_duration_seconds" histogram ["role"] CONNECT_BUCKETS => resolve_duration: ByRole<Histogram>,
        "Time of the look-ups of names that requests waited for."
        "As `resolve_seconds` in the access log; names in the cache are not among them.";
    "tollgate_queue_duration_seconds" histogram ["role"] REQUEST_BUCKETS => queue_duration: ByRole<Histogram>,
        "Time that requests waited for their turn, of those that had to wait."
        "As `queue_seconds` in the access log: of a rate of their class, and at the upstream or origin.";
    "tollgate_first_byte_duration_seconds" histogram ["role"] REQUEST_BUCKETS => first_byte_duration: ByRole<Histogram>,
        "Time to the first byte of the answer of the upstream."
        "As `first_byte_seconds` in the access log.";
    "tollgate_name_lookups_total" counter ["result"] => name_lookups: LabelledCounters<MAX_KINDS>,
        "Look-ups of names that requests waited for, by result."
        "`success`, or an error kind: `name_not_found`, `dns_error`, `dns_timeout` and others.";
    "tollgate_cached_names" gauge => cached_names: IntGauge,
        "Names in the cache of the resolver, failures and expired ones too.";
    "tollgate_cached_credentials" gauge => cached_credentials: IntGauge,
        "Credentials whose verification is cached, expired ones too.";
    "tollgate_hash_queue_length" gauge => hash_queue: IntGauge,
        "Passwords that are verified now or wait for it."
        "With `auth.hash_threads` and `auth.hash_queue`.";
    "tollgate_hash_queue_limit" gauge => hash_queue_limit: IntGauge,
        "How many passwords may be verified or wait at once; first logins of known users may be more.";
    "tollgate_gateway_queue_depth" gauge => queue_depth: IntGauge,
        "Requests that wait for a connection to the local pool.";
    "tollgate_gateway_queued_total" counter => queued: IntCounter,
        "Requests that had to wait for a connection to the local pool.";
    "tollgate_gateway_queue_wait_seconds" histogram REQUEST_BUCKETS => queue_wait: Histogram,
        "How long requests waited for a connection to the local pool.";
    "tollgate_upstream_up" gauge ["upstream"] => upstream_up: IntGaugeVec,
        "Whether an upstream of the pool gets requests: 1 or 0."
        "0 after failed health checks, and while `gateway.ejection` keeps it out.";
    "tollgate_parent_up" gauge ["parent", "url"] => parent_up: IntGaugeVec,
        "Whether a URL of a parent gets requests: 1 or 0."
        "0 after failed health checks, and while `ejection` of the parent keeps it out.";
    "tollgate_parent_dials_total" counter ["parent", "result"] => parent_dials: PairCounters<MAX_PARENT_RESULTS>,
        "Connections and tunnels through parents, by parent and result."
        "`success`; `refused` and `auth`, when the parent answers so; `failed`, when it cannot be connected to or does not answer properly. Connections that are used again do not count.";
    "tollgate_parent_dial_seconds" histogram ["parent"] CONNECT_BUCKETS => parent_dial_duration: HistogramVec,
        "Time to connect to a parent and to open a tunnel through it, or to its failure.";
    "tollgate_certificate_expiry_timestamp_seconds" gauge ["listener", "name"] => certificate_expiry: IntGaugeVec,
        "When the certificate of a TLS listener expires, in seconds since 1970, by its first name."
        "Of two certificates with the same first name, the one that expires first.";
    "tollgate_crl_expiry_timestamp_seconds" gauge ["listener", "name"] => crl_expiry: IntGaugeVec,
        "When a revocation list of a TLS listener expires, in seconds since 1970, by its file."
        "From then on no client with a certificate of its authority gets in.";
    "tollgate_certificate_reloads_total" counter ["result"] => certificate_reloads: LabelledCounters<MAX_KINDS>,
        "Changed files of certificates, keys and revocation lists, by what became of them."
        "`success`; `failure`, when they could not be used and those from before stay in use. By a reload they count in `tollgate_reloads_total`.";
    "tollgate_log_dropped_total" counter ["reason"] => losses: Losses,
        "Access-log records that were lost, by reason."
        "`overflow`, `write_error`.";
    "tollgate_reloads_total" counter ["result"] => reloads: Reloads,
        "Reloads of files by result."
        "By signal and by `POST /reload`: `success`; `partial`, when a changed key waits for a restart; `failure`, when nothing was changed.";
    "tollgate_config_last_reload_successful" gauge => last_reload_successful: IntGauge,
        "Whether the last reload succeeded: 1 or 0; the start counts as one."
        "A reload with a changed key that waits for a restart has succeeded.";
    "tollgate_config_last_reload_success_timestamp_seconds" gauge => last_reload: IntGauge,
        "When a reload succeeded last, or the process started, in seconds since 1970.";
    "tollgate_hook_failures_total" counter ["hook"] => hook_failures: LabelledCounters<MAX_KINDS>,
        "Requests that a hook or a script failed, by its name."
        "A client gets 500, unless it has its answer; the log has the reason.";
    "tollgate_hook_events_total" counter ["name", "label"] => hook_events: PairCounters<MAX_EVENTS>,
        "What hooks and scripts count, by the name and the label that they give."
        "At most 1,024 pairs; further ones count as `other`.";
    "tollgate_build_info" gauge ["version"] => build_info: IntGaugeVec,
        "Always 1; the version is a label.";
}

impl Metrics {
    /// Counts a request that was answered, its bytes apart.
    pub(crate) fn count_request(&self, record: &Record) {
        self.requests.of(record.role).inc(record.status);
        self.request_duration
            .of(record.role)
            .observe(record.duration.as_secs_f64());
        if let Some(connect) = record.connect {
            let histogram = self.connect_duration.of(record.role);
            histogram.observe(connect.as_secs_f64());
        }
        self.count_denial(record);
        if let (Some(class), Some(limit)) = (record.class, record.limit) {
            self.limited.inc(class, limit);
        }
        for rule in record.observed {
            self.observed.inc(rule.as_str());
        }
        if let Some(hook) = record.failed_hook {
            self.hook_failures.inc(hook);
        }
        if let Some(reason) = record.malformation {
            self.heads_rejected.inc(reason);
        }
        self.count_error(record);
    }

    /// Counts what admitted a request, and its phases. Where an admin service is configured: nothing else shows them.
    pub(crate) fn count_phases(&self, record: &Record) {
        if let Some(by) = record.decided_by
            && record.denial.is_none()
        {
            self.admitted.inc(by.label());
        }
        if let Some(first_byte) = record.first_byte {
            let histogram = self.first_byte_duration.of(record.role);
            histogram.observe(first_byte.as_secs_f64());
        }
        if let Some(queue) = record.queue {
            let histogram = self.queue_duration.of(record.role);
            histogram.observe(queue.as_secs_f64());
        }
        if let Some(resolve) = record.resolve {
            let histogram = self.resolve_duration.of(record.role);
            histogram.observe(resolve.as_secs_f64());
            let failed = record.error.filter(|kind| LOOKUP_ERRORS.contains(kind));
            self.name_lookups.inc(failed.unwrap_or("success"));
        }
    }

    pub(crate) fn count_tunnel_end(&self, record: &Record) {
        self.tunnel_duration.observe(record.duration.as_secs_f64());
        self.tunnels_ended
            .inc(record.end_reason.unwrap_or("unknown"));
        self.count_denial(record);
        self.count_error(record);
    }

    fn count_denial(&self, record: &Record<'_>) {
        if let Some(by) = record.decided_by
            && record.denial.is_some()
        {
            self.denied.inc(by.label());
        }
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

    /// Bytes of all roles, from clients and to clients.
    pub(crate) fn total_bytes(&self) -> (u64, u64) {
        self.bytes.iter().fold((0, 0), |(from, to), bytes| {
            (
                from.saturating_add(bytes.from_client.get()),
                to.saturating_add(bytes.to_client.get()),
            )
        })
    }
}

/// Every metric in the text exposition format.
pub(crate) fn render(registry: &Registry) -> String {
    TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap_or_else(|error| {
            // Only a family without name, type or series can do this.
            log::error!("metrics: cannot render: {error}");
            String::new()
        })
}

#[cfg(test)]
mod tests;
