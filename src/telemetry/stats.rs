//! The statistics for people and scripts: a small JSON document, and one line
//! of text for the end of the program.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;

use super::Telemetry;
use super::record::{GATEWAY_SITE, Record};
use super::top::{Entry, Top};
use super::users::UsageReport;
use crate::text::count;

/// Sites in the document.
const TOP_SITES: usize = 20;
/// Sites in the line at the end.
const SUMMARY_SITES: usize = 3;

/// Counts that the metrics do not have.
pub(crate) struct Stats {
    pub(crate) started: Instant,
    successful: AtomicU64,
    failed: AtomicU64,
    /// Requests that were asked for credentials, since they had none.
    challenged: AtomicU64,
    /// Visits of the local pool: one site that every request to the gateway counts, and
    /// so with a counter of its own.
    gateway: AtomicU64,
    sites: Top,
}

impl Stats {
    pub(crate) fn new() -> Stats {
        Stats {
            started: Instant::now(),
            successful: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            challenged: AtomicU64::new(0),
            gateway: AtomicU64::new(0),
            sites: Top::new(),
        }
    }

    pub(crate) fn count_request(&self, record: &Record) {
        let visits = if record.succeeded() {
            &self.successful
        } else if record.is_challenge() {
            &self.challenged
        } else {
            &self.failed
        };
        visits.fetch_add(1, Ordering::Relaxed);
        match record.visited_site() {
            Some(GATEWAY_SITE) => {
                self.gateway.fetch_add(1, Ordering::Relaxed);
            }
            Some(site) => self.sites.add(site),
            None => {}
        }
    }

    /// The `n` most visited sites, the most visited first.
    fn top_sites(&self, n: usize) -> Vec<Site> {
        let mut sites: Vec<Site> = self.sites.top(n).into_iter().map(Site::from).collect();
        let visits = self.gateway.load(Ordering::Relaxed);
        if visits > 0 {
            let place = sites.partition_point(|site| site.visits >= visits);
            let gateway = Site {
                url: GATEWAY_SITE.to_owned(),
                visits,
                max_overcount: 0,
            };
            sites.insert(place, gateway);
            sites.truncate(n);
        }
        sites
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    version: &'static str,
    uptime_seconds: u64,
    bandwidth_usage: String,
    bandwidth_bytes: Bandwidth,
    total_requests: u64,
    successful_visits: u64,
    failed_visits: u64,
    challenges: u64,
    open_connections: i64,
    open_tunnels: i64,
    total_tunnels: u64,
    top_sites: Vec<Site>,
    users: BTreeMap<String, UsageReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other_users: Option<UsageReport>,
    log_dropped: u64,
}

#[derive(Debug, Serialize)]
struct Bandwidth {
    from_client: u64,
    to_client: u64,
    total: u64,
}

#[derive(Debug, Serialize)]
struct Site {
    url: String,
    visits: u64,
    max_overcount: u64,
}

impl From<Entry> for Site {
    fn from(entry: Entry) -> Site {
        Site {
            url: entry.key.to_string(),
            visits: entry.count,
            max_overcount: entry.max_overcount,
        }
    }
}

impl Report {
    pub(crate) fn of(telemetry: &Telemetry) -> Report {
        let (stats, metrics) = (&telemetry.stats, &telemetry.metrics);
        let (from_client, to_client) = metrics.total_bytes();
        let total = from_client.saturating_add(to_client);
        let successful_visits = stats.successful.load(Ordering::Relaxed);
        let failed_visits = stats.failed.load(Ordering::Relaxed);
        let challenges = stats.challenged.load(Ordering::Relaxed);
        let (users, other_users) = telemetry.users.report();
        Report {
            version: super::VERSION,
            uptime_seconds: stats.started.elapsed().as_secs(),
            bandwidth_usage: human_bytes(total),
            bandwidth_bytes: Bandwidth {
                from_client,
                to_client,
                total,
            },
            total_requests: successful_visits
                .saturating_add(failed_visits)
                .saturating_add(challenges),
            successful_visits,
            failed_visits,
            challenges,
            open_connections: metrics.open_connections.get(),
            open_tunnels: metrics.open_tunnels.get(),
            total_tunnels: metrics.tunnels.get(),
            top_sites: stats.top_sites(TOP_SITES),
            users,
            other_users,
            log_dropped: metrics
                .losses
                .overflow
                .get()
                .saturating_add(metrics.losses.write_error.get()),
        }
    }

    pub(crate) fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_else(|error| {
            // Strings and numbers alone cannot fail.
            log::error!("stats: cannot render: {error}");
            "{}".to_owned()
        });
        // Or the prompt of a shell follows the last brace.
        text.push('\n');
        text
    }

    /// One line without anything that a client chose, site names apart; those
    /// passed the target parser.
    pub(crate) fn summary(&self) -> String {
        let mut text = format!(
            "served {} ({} successful, {} failed, {} asked for credentials) and {} in {}; \
             {} from clients, {} to clients; {}",
            count(self.total_requests, "request"),
            self.successful_visits,
            self.failed_visits,
            self.challenges,
            count(self.total_tunnels, "tunnel"),
            human_seconds(self.uptime_seconds),
            human_bytes(self.bandwidth_bytes.from_client),
            human_bytes(self.bandwidth_bytes.to_client),
            count(self.users.len(), "user"),
        );
        for (i, site) in self.top_sites.iter().take(SUMMARY_SITES).enumerate() {
            let lead = if i == 0 { "; top sites: " } else { ", " };
            text.push_str(&format!(
                "{lead}{} ({})",
                site.url.escape_debug(),
                site.visits
            ));
        }
        if self.log_dropped > 0 {
            text.push_str(&format!(
                "; {} of the access log lost",
                count(self.log_dropped, "record")
            ));
        }
        text
    }
}

/// `1 user`, `2 users`.
/// `512 B`, `1.5 KiB`, `2.0 GiB`: cut, not rounded up to a unit not reached.
fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = "B";
    let mut whole = bytes;
    let mut below = 0;
    for name in UNITS {
        if whole < 1024 {
            break;
        }
        below = whole % 1024;
        whole /= 1024;
        unit = name;
    }
    format!("{whole}.{} {unit}", below * 10 / 1024)
}

/// `42s`, `3m 4s`, `2h 0m`, `5d 1h`.
fn human_seconds(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {}s", seconds % 60),
        3600..86400 => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_a_site_among_the_others() {
        let stats = Stats::new();
        for (site, visits) in [("a:80", 3), (GATEWAY_SITE, 2), ("b:80", 1), ("c:80", 4)] {
            for _ in 0..visits {
                stats.count_request(&Record {
                    site: Some(site),
                    user: Some("ann"),
                    ..Record::default()
                });
            }
        }
        let top = |n| -> Vec<(String, u64)> {
            let sites = stats.top_sites(n).into_iter();
            sites.map(|site| (site.url, site.visits)).collect()
        };
        let all = [("c:80", 4), ("a:80", 3), (GATEWAY_SITE, 2), ("b:80", 1)];
        let all = all.map(|(site, visits)| (site.to_owned(), visits));
        assert_eq!(top(9), all);
        assert_eq!(top(3), all[..3]);
        assert_eq!(top(2), all[..2]);
    }

    #[test]
    fn writes_bytes_for_people() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1023.9 KiB"),
            (1024 * 1024, "1.0 MiB"),
            (5 * 1024 * 1024 * 1024, "5.0 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(human_bytes(bytes), expected);
        }
    }

    #[test]
    fn writes_times_for_people() {
        for (seconds, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m 0s"),
            (3599, "59m 59s"),
            (7200, "2h 0m"),
            (90_000, "1d 1h"),
        ] {
            assert_eq!(human_seconds(seconds), expected);
        }
    }
}
