//! What is under way: guards that count connections, tunnels and waiting
//! requests for as long as they live.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use prometheus::IntGauge;

use super::Telemetry;
use super::record::{Event, Record};
use super::text::unix_seconds;
use super::top::Weight;
use super::users::Usage;
use crate::http::role::Role;

/// An open client connection. Drop it when the connection is closed.
#[derive(Debug)]
#[must_use = "the connection counts as closed once this is dropped"]
pub struct OpenConnection {
    open: IntGauge,
}

impl OpenConnection {
    pub(crate) fn new(open: &IntGauge) -> Self {
        open.inc();
        OpenConnection { open: open.clone() }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// A request that waits for a connection to the local pool. Drop it when the
/// wait is over, however it ended.
#[must_use = "the wait is over once this is dropped"]
pub struct Queued {
    telemetry: Arc<Telemetry>,
    since: Instant,
}

impl Queued {
    pub(crate) fn new(telemetry: Arc<Telemetry>) -> Self {
        telemetry.metrics.queue_depth.inc();
        telemetry.metrics.queued.inc();
        Queued {
            telemetry,
            since: Instant::now(),
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.telemetry.metrics.queue_depth.dec();
        self.telemetry
            .metrics
            .observe_queue_wait(self.since.elapsed());
    }
}

/// An open tunnel. Its bytes show in metrics and statistics while it lasts.
///
/// Dropped without [`close`](OpenTunnel::close) it no longer counts as open,
/// but leaves no record of its end.
#[must_use = "the tunnel counts as ended once this is dropped"]
pub struct OpenTunnel {
    telemetry: Arc<Telemetry>,
    usage: Option<Arc<Usage>>,
    from_client: AtomicU64,
    from_upstream: AtomicU64,
    /// Bytes that its site does not count yet.
    not_of_site: AtomicU64,
}

/// The site of a tunnel counts its bytes in parts of this size, and the rest at its end.
const SITE_PART: u64 = 16 * 1024 * 1024;

impl OpenTunnel {
    pub(crate) fn new(telemetry: Arc<Telemetry>, user: Option<&str>) -> Self {
        let usage = user.map(|user| telemetry.users.usage(user));
        telemetry.metrics.tunnels.inc();
        telemetry.metrics.open_tunnels.inc();
        if let Some(usage) = &usage {
            usage.open_tunnels.inc();
        }
        OpenTunnel {
            telemetry,
            usage,
            from_client: AtomicU64::new(0),
            from_upstream: AtomicU64::new(0),
            not_of_site: AtomicU64::new(0),
        }
    }

    /// Adds bytes that were relayed since the last call, to `site`.
    ///
    /// Both directions may call it at once. It costs about seven atomic
    /// additions: call it per hundred kilobytes or per second, not per read.
    pub fn add_bytes(&self, site: &str, from_client: u64, from_upstream: u64) {
        self.from_client.fetch_add(from_client, Ordering::Relaxed);
        self.from_upstream
            .fetch_add(from_upstream, Ordering::Relaxed);
        self.telemetry
            .add_bytes(Some(Role::Tunnel), from_client, from_upstream);
        if let Some(usage) = &self.usage {
            usage.add_bytes(from_client, from_upstream);
            let bytes = from_client.saturating_add(from_upstream);
            let part = self.not_of_site.fetch_add(bytes, Ordering::Relaxed);
            if part.saturating_add(bytes) >= SITE_PART {
                self.tell_site(site);
            }
        }
    }

    /// Has the site count the bytes that it does not count yet. Only sites that users visit are counted.
    fn tell_site(&self, site: &str) {
        let bytes = self.not_of_site.swap(0, Ordering::Relaxed);
        self.telemetry.stats.add_bytes(site, bytes);
    }

    /// Records the end of the tunnel.
    ///
    /// Bytes that the record has beyond those given to
    /// [`add_bytes`](OpenTunnel::add_bytes) are added; where it has fewer, the
    /// log shows what was added. So each may be left to the other.
    pub fn close(self, record: &Record<'_>) {
        self.telemetry
            .with_shown_user(record, |record| self.count_end(record));
    }

    /// With the name of the user as it is shown.
    fn count_end(&self, record: &Record<'_>) {
        let mut record = *record;
        let from_client = self.from_client.load(Ordering::Relaxed);
        let from_upstream = self.from_upstream.load(Ordering::Relaxed);
        self.add_bytes(
            record.site.unwrap_or_default(),
            record.bytes_from_client.saturating_sub(from_client),
            record.bytes_from_upstream.saturating_sub(from_upstream),
        );
        if let Some(site) = record.visited_site() {
            self.tell_site(site);
        }
        record.bytes_from_client = record.bytes_from_client.max(from_client);
        record.bytes_from_upstream = record.bytes_from_upstream.max(from_upstream);
        if record.bytes_to_client == 0 {
            record.bytes_to_client = record.bytes_from_upstream;
        }
        self.telemetry.metrics.count_tunnel_end(&record);
        self.telemetry.stats.count_failure(&record);
        if let Some(user) = record.user {
            let ended = record.time.checked_add(record.duration);
            let used = Weight {
                denials: u64::from(record.denial.is_some()),
                last_seen: unix_seconds(ended.unwrap_or(record.time)),
                ..Weight::default()
            };
            self.telemetry.users.count(user, &used);
            // Counters have them already.
            let relayed = Weight {
                from_client: record.bytes_from_client,
                to_client: record.bytes_from_upstream,
                ..Weight::default()
            };
            self.telemetry.users.note_rest(user, &relayed);
        }
        record.event = Event::TunnelClose;
        self.telemetry.log.write(&record);
        self.telemetry.trace(&record);
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.telemetry.metrics.open_tunnels.dec();
        if let Some(usage) = &self.usage {
            usage.open_tunnels.dec();
        }
    }
}
