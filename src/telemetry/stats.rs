//! The statistics for people and scripts: a small JSON document, and one line
//! of text for the end of the program.

pub(crate) mod declare;
mod report;
#[cfg(test)]
pub(crate) mod schema;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

pub(crate) use self::report::Report;
use self::report::Site;
pub use self::report::{CertificateReport, ParentReport, human_bytes, human_seconds};
use super::record::{GATEWAY_SITE, Record};
use super::rows::{SiteList, SiteRow, TopBy};
use super::top::{Top, Weight};

/// Counts that the metrics do not have.
pub(crate) struct Stats {
    pub(crate) started: Instant,
    successful: AtomicU64,
    /// Neither successful nor denied nor challenged.
    failed: AtomicU64,
    /// By the policy, a hook or the external authoriser.
    denied: AtomicU64,
    /// Requests that were asked for credentials, since they had none.
    challenged: AtomicU64,
    /// Visits of the local pool: one site that every request to the gateway counts, and
    /// so with a counter of its own.
    gateway: AtomicU64,
    sites: Top,
    /// Requests and tunnels that were denied, tunnels that were open already too.
    denials: AtomicU64,
    /// Those that failed otherwise.
    errors: AtomicU64,
    /// The sites of requests of users that were denied. Apart, so that the names in them do not replace sites that are
    /// visited.
    denied_sites: OnceLock<Top>,
    denied_gateway: AtomicU64,
}

impl Stats {
    pub(crate) fn new() -> Stats {
        Stats {
            started: Instant::now(),
            successful: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            challenged: AtomicU64::new(0),
            gateway: AtomicU64::new(0),
            sites: Top::new(),
            denials: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            denied_sites: OnceLock::new(),
            denied_gateway: AtomicU64::new(0),
        }
    }

    pub(crate) fn count_request(&self, record: &Record) {
        let visits = if record.succeeded() {
            &self.successful
        } else if record.is_challenge() {
            &self.challenged
        } else if record.denial.is_some() {
            &self.denied
        } else {
            &self.failed
        };
        visits.fetch_add(1, Ordering::Relaxed);
        match record.visited_site() {
            Some(GATEWAY_SITE) => {
                self.gateway.fetch_add(1, Ordering::Relaxed);
            }
            Some(site) => {
                let weight = Weight {
                    from_client: record.bytes_from_client,
                    to_client: record.bytes_to_client,
                    ..Weight::ONE
                };
                self.sites.add(site, &weight);
            }
            None => {}
        }
        self.count_failure(record);
    }

    /// Counts bytes of a tunnel to a site.
    pub(crate) fn add_bytes(&self, site: &str, bytes: u64) {
        let weight = Weight {
            to_client: bytes,
            ..Weight::default()
        };
        self.sites.add(site, &weight);
    }

    /// Counts a denial or an error; of a tunnel, at its end too.
    pub(crate) fn count_failure(&self, record: &Record) {
        if record.denial.is_some() {
            self.denials.fetch_add(1, Ordering::Relaxed);
            match record.site.filter(|_| record.user.is_some()) {
                Some(GATEWAY_SITE) => {
                    self.denied_gateway.fetch_add(1, Ordering::Relaxed);
                }
                Some(site) => self
                    .denied_sites
                    .get_or_init(Top::new)
                    .add(site, &Weight::ONE),
                None => {}
            }
        } else if record.error.is_some() && !record.is_challenge() {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Requests and tunnels that were denied.
    pub(crate) fn denials(&self) -> u64 {
        self.denials.load(Ordering::Relaxed)
    }

    /// Requests and tunnels that failed otherwise.
    pub(crate) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
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

    /// The sites with the most requests, bytes or denials. `gateway_bytes` are those of the local pool.
    pub(crate) fn top(&self, by: TopBy, limit: usize, gateway_bytes: u64) -> SiteList {
        let mut denied: HashMap<Arc<str>, (u64, u64)> = HashMap::new();
        for entry in self.denied_sites.get().iter().flat_map(|top| top.entries()) {
            denied.insert(entry.key, (entry.count, entry.max_overcount));
        }
        let is_by_denials = by == TopBy::Denials;
        let mut rows: Vec<SiteRow> = Vec::new();
        for entry in self.sites.entries() {
            let (denials, denials_overcount) = denied.remove(&entry.key).unwrap_or_default();
            rows.push(SiteRow {
                requests: entry.count,
                bytes: entry.weight.bytes(),
                denials,
                max_overcount: match is_by_denials {
                    true => denials_overcount,
                    false => entry.max_overcount,
                },
                site: entry.key.to_string(),
            });
        }
        // What was denied only.
        rows.extend(
            denied
                .into_iter()
                .map(|(site, (denials, overcount))| SiteRow {
                    site: site.to_string(),
                    requests: 0,
                    bytes: 0,
                    denials,
                    max_overcount: if is_by_denials { overcount } else { 0 },
                }),
        );
        let (requests, denials) = (
            self.gateway.load(Ordering::Relaxed),
            self.denied_gateway.load(Ordering::Relaxed),
        );
        if requests > 0 || denials > 0 {
            rows.push(SiteRow {
                site: GATEWAY_SITE.to_owned(),
                requests,
                bytes: gateway_bytes,
                denials,
                max_overcount: 0,
            });
        }
        let key = |row: &SiteRow| match by {
            TopBy::Requests => row.requests,
            TopBy::Bytes => row.bytes,
            TopBy::Denials => row.denials,
        };
        rows.retain(|row| key(row) > 0);
        rows.sort_unstable_by(|a, b| key(b).cmp(&key(a)).then_with(|| a.site.cmp(&b.site)));
        rows.truncate(limit);
        SiteList { sites: rows }
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
}
