//! The statistics at one moment: as JSON, and as one line of text.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::declare::members;
use chrono::{DateTime, SecondsFormat, Utc};

use crate::access::limits::Class;
use crate::access::limits::quota::Row;
use crate::telemetry::quotas::Quotas;
use crate::telemetry::rows::ClassRow;
use crate::telemetry::top::Entry;
use crate::telemetry::users::UsageReport;
use crate::telemetry::{ParentState, ShownCertificate, Telemetry, VERSION};
use crate::text::count;

/// Sites in the document.
const TOP_SITES: usize = 20;
/// Sites in the line at the end.
const SUMMARY_SITES: usize = 3;

members! {
    /// The document.
    pub(crate) struct Report;
    version: &'static str, "The version of the program.";
    uptime_seconds: u64, "Seconds since the start.";
    bandwidth_usage: String, "All content relayed, for people: text such as `1.5 GiB`.";
    bandwidth_bytes: Bandwidth as "bandwidth_bytes" of Bandwidth, "The same in bytes.";
    total_requests: u64, "Successful and failed visits, and challenges.";
    successful_visits: u64,
        "Requests answered with a status below 400 and no error, and tunnels established.";
    failed_visits: u64, "All other requests but challenges.";
    denied_visits: u64,
        "Those of them that were denied, by the policy, a hook or the external authoriser.";
    challenges: u64,
        "Requests without credentials, answered with 407 or 401: a browser's first one, before it asks its user. Wrong credentials are failed visits.";
    lockouts: Lockouts as "lockouts" of Lockouts, "Logins that failed too often.";
    open_connections: i64, "Client connections that are open.";
    open_tunnels: i64, "Tunnels that are open.";
    total_tunnels: u64, "Tunnels established.";
    top_sites: Vec<Site> as "top_sites" of Site,
        "The 20 most visited sites, the most visited first.";
    users: BTreeMap<String, UsageReport> as "users.NAME" of UsageReport,
        "What each user used.";
    #[serde(skip_serializing_if = "Option::is_none")]
    other_users: Option<UsageReport>,
        "The same for all users beyond the first 1000 together; left out if there are none.";
    classes: BTreeMap<String, ClassReport> as "classes.NAME" of ClassReport,
        "What each class of `limits.classes` counts.";
    #[serde(skip_serializing_if = "Option::is_none")]
    quotas: Option<QuotaReport> as "quotas" of QuotaReport,
        "What members have used of their [quotas](limits.md#quotas); left out without a store.";
    parents: Vec<ParentReport> as "parents" of ParentReport,
        "The URLs of the [parents](parents.md).";
    certificates: Vec<CertificateReport> as "certificates" of CertificateReport,
        "The certificates and revocation lists of the TLS listeners.";
    log_dropped: u64, "Access-log records lost.";
}

members! {
    /// What members have used of their quotas.
    pub(crate) struct QuotaReport;
    store: Option<String>, "`works`, or `failed:` and why; `null` before it was opened.";
    ledgers: usize, "Users and networks that are remembered.";
    top: Vec<QuotaBalance> as "quotas.top" of QuotaBalance, "The 100 largest balances, the largest first.";
}

members! {
    /// A balance.
    pub(crate) struct QuotaBalance;
    class: String, "The class.";
    member: String, "The user, the network, `(the class)`, or `(others)` for those without room.";
    period: String, "`hour`, `day`, `week` or `month`.";
    used: u64, "Bytes used.";
    limit: Option<u64>, "Bytes that may be used, with what was granted.";
    granted: u64, "Those of them that were granted.";
    resets_at: String, "When the period ends.";
}

impl QuotaReport {
    fn of(quotas: Quotas, telemetry: &Telemetry) -> QuotaReport {
        let rows = quotas.top.into_iter().map(|row| telemetry.show_row(row));
        QuotaReport {
            store: quotas.store,
            ledgers: quotas.ledgers,
            top: rows.map(QuotaBalance::from).collect(),
        }
    }
}

impl From<Row> for QuotaBalance {
    fn from(row: Row) -> QuotaBalance {
        QuotaBalance {
            class: row.class,
            member: row.member,
            period: row.period,
            used: row.used,
            limit: row.limit,
            granted: row.granted,
            resets_at: row.resets_at,
        }
    }
}

members! {
    /// Bytes of all roles.
    pub(crate) struct Bandwidth;
    from_client: u64, "Content read from clients.";
    to_client: u64, "Content written to clients.";
    total: u64, "The sum of both.";
}

members! {
    /// Logins that failed too often.
    pub(crate) struct Lockouts;
    users: u64, "Times that a user was locked out at a network.";
    networks: u64, "Times that a network was locked out.";
    refused: u64, "Logins refused with 429 while a lock lasted. They are failed visits too.";
}

members! {
    /// A site and its visits.
    pub(crate) struct Site;
    url: String, "The site: `host:port`, or `gateway`.";
    visits: u64, "Requests and tunnels to it.";
    max_overcount: u64, "By how much `visits` may be too high.";
}

members! {
    /// A class of limits.
    pub(crate) struct ClassReport;
    admitted: u64, "Requests and tunnels within its limits.";
    queued: u64, "Those of `admitted` that had to wait for their turn of a rate.";
    waiting: u64, "Those that wait for it now.";
    limited: u64, "Requests over one of its limits.";
    requests: u64, "Requests that are served now.";
    tunnels: u64, "Tunnels that are open now.";
    bytes_from_client: u64, "Bytes from clients ([limits.md](limits.md#what-counts-as-bytes)).";
    bytes_to_client: u64, "Bytes to clients.";
    members: usize, "Users or networks that it remembers, of 65,536 at most.";
}

members! {
    /// A URL of a parent.
    pub struct ParentReport;
    parent: String, "The name of the parent.";
    url: String, "The URL, without credentials.";
    up: bool, "Whether it gets requests.";
    in_use: usize, "Requests and tunnels through it now.";
}

impl From<ParentState> for ParentReport {
    fn from(state: ParentState) -> ParentReport {
        ParentReport {
            parent: state.parent,
            url: state.url,
            up: state.is_up,
            in_use: state.in_use,
        }
    }
}

members! {
    /// A certificate or a revocation list.
    pub struct CertificateReport;
    listener: String, "The address of the listener.";
    kind: &'static str, "`certificate` or `crl`.";
    name: String, "The first name of the certificate, or the file of the list.";
    expires: String, "When it expires, in UTC (RFC 3339).";
    days_left: i64, "Whole days until then; negative when it has expired.";
}

impl From<&ShownCertificate> for CertificateReport {
    fn from(shown: &ShownCertificate) -> CertificateReport {
        let now = Utc::now();
        let expires = DateTime::from_timestamp(shown.expires, 0).unwrap_or(now);
        CertificateReport {
            listener: shown.listener.clone(),
            kind: if shown.is_list { "crl" } else { "certificate" },
            name: shown.name.clone(),
            expires: expires.to_rfc3339_opts(SecondsFormat::Secs, true),
            days_left: (expires - now).num_seconds().div_euclid(86_400),
        }
    }
}

impl From<&Class> for ClassReport {
    fn from(class: &Class) -> ClassReport {
        let tally = class.tally();
        let bytes = tally.bytes();
        ClassReport {
            admitted: tally.admitted(),
            queued: tally.queued(),
            waiting: tally.waiting(),
            limited: tally.limited(),
            requests: tally.requests(),
            tunnels: tally.tunnels(),
            bytes_from_client: bytes.upload,
            bytes_to_client: bytes.download,
            members: class.count_members(),
        }
    }
}

impl From<&Class> for ClassRow {
    fn from(class: &Class) -> ClassRow {
        let counts = ClassReport::from(class);
        ClassRow {
            name: class.name().to_owned(),
            per: class.per().as_str(),
            limits: class.limits().to_string(),
            admitted: counts.admitted,
            queued: counts.queued,
            waiting: counts.waiting,
            limited: counts.limited,
            requests: counts.requests,
            tunnels: counts.tunnels,
            bytes_from_client: counts.bytes_from_client,
            bytes_to_client: counts.bytes_to_client,
            members: counts.members,
        }
    }
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
        let denied_visits = stats.denied.load(Ordering::Relaxed);
        let failed_visits = stats.failed.load(Ordering::Relaxed);
        let failed_visits = failed_visits.saturating_add(denied_visits);
        let challenges = stats.challenged.load(Ordering::Relaxed);
        let (users, other_users) = telemetry.users.report();
        let classes = metrics.class_bytes.classes();
        let quotas = metrics.quota_used.report(classes.as_deref());
        let classes = classes.iter().flat_map(|classes| classes.iter());
        Report {
            version: VERSION,
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
            denied_visits,
            challenges,
            lockouts: Lockouts {
                users: metrics.lockouts.users.get(),
                networks: metrics.lockouts.networks.get(),
                refused: metrics.lockout_refusals.get(),
            },
            open_connections: metrics.open_connections.get(),
            open_tunnels: metrics.open_tunnels.get(),
            total_tunnels: metrics.tunnels.get(),
            top_sites: stats.top_sites(TOP_SITES),
            users,
            other_users,
            classes: classes
                .map(|class| (class.name().to_owned(), class.into()))
                .collect(),
            quotas: quotas.map(|quotas| QuotaReport::of(quotas, telemetry)),
            parents: telemetry.parents(),
            certificates: telemetry.certificates(),
            log_dropped: metrics.losses.sum(),
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
            "served {} ({} successful, {} denied, {} failed, {} asked for credentials) and {} in {}; \
             {} from clients, {} to clients; {}",
            count(self.total_requests, "request"),
            self.successful_visits,
            self.denied_visits,
            self.failed_visits.saturating_sub(self.denied_visits),
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

/// `512 B`, `1.5 KiB`, `2.0 GiB`: cut, not rounded up to a unit not reached.
pub fn human_bytes(bytes: u64) -> String {
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
pub fn human_seconds(seconds: u64) -> String {
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
