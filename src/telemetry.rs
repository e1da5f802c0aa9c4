//! Telemetry: the access log, the metrics and the statistics.
//!
//! One call per request, [`Telemetry::record`], does all three; a tunnel has
//! one at its start and one at its end, and its bytes show in between. Calls
//! never wait for a disk or a scrape, and none of them can fail: a proxy that
//! cannot log goes on and counts what it lost.
//!
//! `denials` keeps the last denials of each user for that user, `recent` those of the process and `history` its last 15
//! minutes for an admin service.
//!
//! What must not be here: decisions about requests, and anything that holds a
//! credential. [`Record`] has no field for one.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

mod access_log;
mod certificates;
mod classes;
mod counters;
mod denials;
mod format;
mod history;
mod levels;
pub mod log_file;
mod metrics;
mod names;
mod open;
mod parents;
mod process;
mod quotas;
mod recent;
mod record;
mod rows;
mod sink;
mod stats;
mod text;
pub mod throttle;
mod top;
pub mod traces;
mod users;
mod view;

use crate::access::limits::Classes;
use crate::access::limits::quota::Ledgers;
use crate::http::role::Role;
use access_log::AccessLog;
pub use access_log::{Destination, Format};
pub use certificates::ShownCertificate;
use denials::Denials;
use history::Samples;
pub use history::{Gauges, STEP};
pub use levels::Levels;
use levels::{ShownLevels, gauge};
use metrics::Metrics;
pub use names::{ShownUser, UserHash, UserKey, UserNames};
pub use open::{OpenConnection, OpenTunnel, Queued};
pub use parents::ParentState;
use parents::ShownParents;
use parking_lot::Mutex;
use process::Process;
use prometheus::Registry;
use recent::Recent;
pub use recent::canonical;
pub use record::{Event, GATEWAY_SITE, Record, UpstreamAddress};
pub use rows::{
    ClassRow, DenialRow, Descriptors, Point, ReloadRow, RuleCount, SiteList, Thousandths, TopBy,
    Totals, UserList,
};
// The description of the API names them.
#[cfg(test)]
pub use rows::{DenialList, History, ProcessRow, SiteRow, UserRow};
pub use sink::{JournalTarget, SyslogForm, SyslogTarget, Transport};
pub(crate) use stats::declare::members;
#[cfg(test)]
pub(crate) use stats::schema::{Schema, schema_of};
pub use stats::{CertificateReport, ParentReport};
use stats::{Report, Stats};
pub use stats::{human_bytes, human_seconds};
use text::{Clock, unix_seconds};
pub use text::{rfc3339, shown, shown_uri};
use top::Weight;
use traces::{TraceSettings, Traces};
use users::Users;

/// `Content-Type` of [`Telemetry::render_metrics`].
pub const METRICS_CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;
/// `Content-Type` of [`Telemetry::render_stats`].
pub const STATS_CONTENT_TYPE: &str = "application/json";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What can be chosen about the telemetry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Where the access log goes. A relative path is one in the working
    /// directory of the moment when [`Telemetry::new`] is called.
    pub access: Destination,
    /// How its lines look.
    pub format: Format,
    /// Whether a tunnel gets a line when it opens too. Only the JSON format
    /// can tell the two apart, so the combined one never has it.
    pub tunnel_open: bool,
    /// How names of users are shown, in the log and everywhere else.
    pub users: UserNames,
    /// How requests are traced, if they are.
    pub traces: Option<TraceSettings>,
}

/// Why the telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The access log's file cannot be opened.
    #[error("cannot open the access log {}", path.display())]
    AccessLog {
        /// Its path, as configured.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// The metrics contradict each other: a mistake in this program.
    #[error("cannot register the metrics")]
    Metrics(#[source] prometheus::Error),
}

/// How a reload of files ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// The new files are in use.
    Succeeded,
    /// What a reload applies is in use, and a changed key waits for a restart.
    Incomplete,
    /// The new files are broken and the old state stays.
    Failed,
}

impl ReloadOutcome {
    /// The name in metrics and in the admin API.
    pub const fn as_str(self) -> &'static str {
        match self {
            ReloadOutcome::Succeeded => "success",
            ReloadOutcome::Incomplete => "partial",
            ReloadOutcome::Failed => "failure",
        }
    }
}

/// The telemetry of one process; shared by all that serve requests.
pub struct Telemetry {
    log: AccessLog,
    log_tunnel_open: bool,
    names: UserNames,
    traces: Option<Traces>,
    registry: Registry,
    metrics: Metrics,
    process: Process,
    stats: Stats,
    users: Users,
    denials: Denials,
    /// The certificates of the listeners, for metrics and statistics.
    certificates: Mutex<Vec<ShownCertificate>>,
    parents: ShownParents,
    /// What is kept for an admin service, where there is one.
    kept: OnceLock<Box<Kept>>,
    last_reload: Mutex<Option<ReloadRow>>,
    levels: ShownLevels,
}

/// What is kept for an admin service to show.
struct Kept {
    samples: Samples,
    recent: Recent,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Opens the access log and sets all counts to nothing.
    ///
    /// Starts no thread, so it may be called before the process daemonizes.
    ///
    /// # Errors
    /// [`TelemetryError::AccessLog`] when the file cannot be opened.
    pub fn new(settings: &Settings) -> Result<Telemetry, TelemetryError> {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).map_err(TelemetryError::Metrics)?;
        let users = Users::register(&registry).map_err(TelemetryError::Metrics)?;
        let process = Process::register(&registry).map_err(TelemetryError::Metrics)?;
        metrics.build_info.with_label_values(&[VERSION]).set(1);
        metrics.last_reload_successful.set(1);
        metrics
            .last_reload
            .set(gauge(unix_seconds(SystemTime::now())));
        let log = AccessLog::open(&settings.access, settings.format, metrics.losses.clone())
            .map_err(|error| TelemetryError::AccessLog {
                path: settings.access.path().to_owned(),
                error,
            })?;
        Ok(Telemetry {
            log,
            log_tunnel_open: settings.tunnel_open,
            names: settings.users.clone(),
            traces: settings.traces.clone().map(Traces::new),
            registry,
            metrics,
            process,
            stats: Stats::new(),
            users,
            denials: Denials::new(),
            certificates: Mutex::default(),
            parents: ShownParents::default(),
            kept: OnceLock::new(),
            last_reload: Mutex::default(),
            levels: ShownLevels::default(),
        })
    }

    /// Keeps history, denials and hits of rules from now on, for an admin service to show.
    pub fn keep(&self) {
        self.kept.get_or_init(|| {
            Box::new(Kept {
                samples: Samples::default(),
                recent: Recent::new(),
            })
        });
    }

    /// Records a request that is over, or a CONNECT that was refused.
    pub fn record(&self, record: &Record<'_>) {
        self.with_shown_user(record, |record| self.record_shown(record));
    }

    fn record_shown(&self, record: &Record<'_>) {
        self.count(record);
        self.add_bytes(
            record.role,
            record.bytes_from_client,
            record.bytes_to_client,
        );
        if let Some(user) = record.user {
            let used = Weight {
                requests: 1,
                from_client: record.bytes_from_client,
                to_client: record.bytes_to_client,
                denials: u64::from(record.denial.is_some()),
                last_seen: unix_seconds(record.time),
            };
            self.users.count(user, &used);
        }
        self.log.write(record);
        self.trace(record);
    }

    /// Keeps a denial for its user and for the admin service to read, if the record is one. To be called before the client is
    /// answered, so that the user finds it at once.
    pub fn denied(&self, record: &Record<'_>) {
        self.denials.add(record);
        if let (Some(denial), Some(kept)) = (record.denial, self.kept.get()) {
            self.with_shown_user(record, |record| kept.recent.add(record, denial));
        }
    }

    /// The last denials of a user as one JSON object.
    pub fn render_denials(&self, user: &str) -> Vec<u8> {
        self.denials.to_json(user)
    }

    /// Shows these classes of limits in metrics and statistics from now on.
    pub fn show_classes(&self, classes: Option<Arc<Classes>>) {
        self.metrics.class_queued.show(classes.clone());
        self.metrics.class_bytes.show(classes);
    }

    /// Shows what members have used of their quotas from now on.
    pub fn show_ledgers(&self, ledgers: Arc<Ledgers>) {
        self.metrics.quota_used.show(ledgers);
    }

    /// Notes that the store of the balances works.
    pub fn store_works(&self, kind: &'static str) {
        self.metrics.store_up.with_label_values(&[kind]).set(1);
        self.metrics.quota_used.set_store("works");
    }

    /// Notes that it does not.
    pub fn store_failed(&self, kind: &'static str, why: &str) {
        self.metrics.store_up.with_label_values(&[kind]).set(0);
        self.metrics.quota_used.set_store(&format!("failed: {why}"));
    }

    /// Notes a call of the store of a fleet that was answered.
    pub fn store_synced(&self, time: Duration) {
        self.metrics.store_sync.observe(time.as_secs_f64());
    }

    /// Notes one that was not, or a connection that could not be made.
    pub fn sync_failed(&self, kind: &'static str) {
        self.metrics.store_failures.inc(kind);
    }

    /// Whether records are written: the statistics take less from one.
    pub fn logs(&self) -> bool {
        self.log.is_on()
    }

    /// Records a tunnel that was established, to be called once its 200 is sent.
    ///
    /// It counts as a request here, and not again when it closes. Bytes in the
    /// record are not counted: give them to [`OpenTunnel::add_bytes`].
    pub fn tunnel_opened(self: &Arc<Self>, record: &Record<'_>) -> OpenTunnel {
        self.with_shown_user(record, |record| self.shown_tunnel_opened(record))
    }

    fn shown_tunnel_opened(self: &Arc<Self>, record: &Record<'_>) -> OpenTunnel {
        self.count(record);
        let tunnel = OpenTunnel::new(Arc::clone(self), record.user);
        if let Some(user) = record.user {
            let used = Weight {
                last_seen: unix_seconds(record.time),
                ..Weight::ONE
            };
            self.users.count(user, &used);
        }
        if self.log_tunnel_open {
            self.log.write(&Record {
                event: Event::TunnelOpen,
                ..*record
            });
        }
        tunnel
    }

    /// Counts a client connection as open until the guard is dropped.
    pub fn connection_opened(&self) -> OpenConnection {
        self.metrics.connections.inc();
        OpenConnection::new(&self.metrics.open_connections)
    }

    /// Counts a client connection that was closed before a request was read,
    /// as for a limit or a failed handshake.
    pub fn connection_rejected(&self, reason: &'static str) {
        self.metrics.connections_rejected.inc(reason);
    }

    /// Counts credentials that were missing or wrong.
    pub fn auth_failed(&self, reason: &'static str) {
        self.metrics.auth_failures.inc(reason);
    }

    /// Counts that a user is locked out at a network.
    pub fn user_locked_out(&self) {
        self.metrics.lockouts.users.inc();
    }

    /// Counts that a network is locked out.
    pub fn network_locked_out(&self) {
        self.metrics.lockouts.networks.inc();
    }

    /// Counts a login that was refused since its user or its network is locked out.
    pub fn lockout_refused(&self) {
        self.metrics.lockout_refusals.inc();
    }

    /// Counts a hook that failed where no record tells it.
    pub fn hook_failed(&self, hook: &str) {
        self.metrics.hook_failures.inc(hook);
    }

    /// Counts what a hook counts.
    pub fn hook_event(&self, name: &str, label: &str) {
        self.metrics.hook_events.inc(name, label);
    }

    /// Counts a token that was not accepted.
    pub fn token_refused(&self, reason: &'static str) {
        self.metrics.tokens_refused.inc(reason);
    }

    /// Counts a fetch of the keys of an issuer of tokens.
    pub fn keys_fetched(&self, succeeded: bool) {
        let result = if succeeded { "success" } else { "failure" };
        self.metrics.key_fetches.inc(result);
    }

    /// Counts a request to the external authoriser.
    pub fn authorizer_asked(&self, result: &'static str, duration: Duration) {
        self.metrics.authorizer_requests.inc(result);
        let seconds = duration.as_secs_f64();
        self.metrics.authorizer_duration.observe(seconds);
    }

    /// Counts an answer of the external authoriser that was kept.
    pub fn authorizer_cache_hit(&self) {
        self.metrics.authorizer_cache_hits.inc();
    }

    /// Counts a request as waiting for the local pool until the guard is dropped.
    pub fn gateway_queued(self: &Arc<Self>) -> Queued {
        Queued::new(Arc::clone(self))
    }

    /// Notes whether an upstream gets requests.
    pub fn upstream_state(&self, upstream: &impl ToString, is_up: bool) {
        let gauge = self
            .metrics
            .upstream_up
            .with_label_values(&[upstream.to_string()]);
        gauge.set(i64::from(is_up));
    }

    /// Notes that an upstream is no part of a pool any more.
    pub fn upstream_removed(&self, upstream: &impl ToString) {
        let removed = self
            .metrics
            .upstream_up
            .remove_label_values(&[upstream.to_string()]);
        debug_assert!(removed.is_ok(), "an upstream that was never shown");
    }

    /// Counts a reload. `restart_needed` are the changed keys that wait for a restart.
    pub fn reloaded(&self, outcome: ReloadOutcome, restart_needed: &[String]) {
        let now = SystemTime::now();
        match outcome {
            ReloadOutcome::Succeeded => self.metrics.reloads.succeeded.inc(),
            ReloadOutcome::Incomplete => self.metrics.reloads.incomplete.inc(),
            ReloadOutcome::Failed => self.metrics.reloads.failed.inc(),
        }
        let is_successful = outcome != ReloadOutcome::Failed;
        self.metrics
            .last_reload_successful
            .set(i64::from(is_successful));
        if is_successful {
            self.metrics.last_reload.set(gauge(unix_seconds(now)));
        }
        *self.last_reload.lock() = Some(ReloadRow {
            last_at: Clock::default().rfc3339(now),
            outcome: outcome.as_str(),
            restart_needed: restart_needed.to_vec(),
        });
    }

    /// The metrics in Prometheus' text format.
    ///
    /// Reads `/proc` and walks every series: milliseconds at worst, so not for
    /// a thread that serves requests.
    pub fn render_metrics(&self) -> String {
        self.process.refresh();
        self.refresh_levels();
        metrics::render(&self.registry)
    }

    /// The statistics as one JSON object.
    pub fn render_stats(&self) -> String {
        Report::of(self).to_json()
    }

    /// One line of text on what was served, for the end of the program.
    pub fn summary(&self) -> String {
        Report::of(self).summary()
    }

    /// Waits until every record so far is written, for `timeout` at most.
    ///
    /// Returns whether they are. Blocks: for the end of the program.
    pub fn flush(&self, timeout: Duration) -> bool {
        self.log.flush(timeout)
    }

    /// Opens the access log's file by its path again, for log rotation.
    ///
    /// Returns at once. If the file cannot be opened the old one stays in use
    /// and the failure is logged.
    pub fn reopen(&self) {
        self.log.reopen();
    }

    fn count(&self, record: &Record<'_>) {
        self.metrics.count_request(record);
        if self.kept.get().is_some() {
            self.metrics.count_phases(record);
        }
        self.stats.count_request(record);
    }

    fn add_bytes(&self, role: Option<Role>, from_client: u64, to_client: u64) {
        self.metrics.bytes.of(role).add(from_client, to_client);
    }
}

#[cfg(test)]
mod tests;
