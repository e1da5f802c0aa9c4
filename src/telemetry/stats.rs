//! The statistics for people and scripts: a small JSON document, and one line
//! of text for the end of the program.

pub(crate) mod declare;
mod report;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

pub(crate) use self::report::Report;
use self::report::Site;
pub use self::report::{human_bytes, human_seconds};
use super::record::{GATEWAY_SITE, Record};
use super::top::Top;

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
