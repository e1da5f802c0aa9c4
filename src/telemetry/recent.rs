//! The last denials of the process, and the feed of those that come, for the admin service.
//!
//! A denial takes one lock and is built once, whoever looks. A request that is not denied does not come here.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::Telemetry;
use super::denials::{MAX_MESSAGE, MAX_TARGET};
use super::record::{Record, max, role_name};
use super::rows::{DenialList, DenialRow, RuleCount};
use super::text::{Clock, shown, shown_uri};
use crate::http::denial::Denial;

/// Denials that are kept.
pub(crate) const KEPT: usize = 200;

/// Denials that wait for a subscriber. One that is slower misses the oldest, and learns how many.
const FEED: usize = 256;

/// Rows of the list of what denied most.
const TOP_RULES: usize = 100;

#[derive(Debug)]
pub(crate) struct Recent {
    /// Newest first.
    rows: Mutex<VecDeque<Arc<DenialRow>>>,
    feed: broadcast::Sender<Arc<DenialRow>>,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self {
            rows: Mutex::default(),
            feed: broadcast::Sender::new(FEED),
        }
    }

    /// Keeps a denial, and sends it to those who subscribe.
    pub(crate) fn add(&self, record: &Record<'_>, denial: &Denial) {
        let row = Arc::new(DenialRow::new(record, denial));
        {
            let mut rows = self.rows.lock();
            rows.truncate(KEPT - 1);
            rows.push_front(Arc::clone(&row));
        }
        if self.feed.receiver_count() > 0 {
            // The last one may have gone meanwhile.
            let _ = self.feed.send(row);
        }
    }
}

impl DenialRow {
    /// The row of a denial. As in the list that its user may read, the target has no query: it may hold secrets.
    fn new(record: &Record<'_>, denial: &Denial) -> Self {
        let target = record.target.split(|byte| *byte == b'?').next();
        let decided_by = record.decided_by.map(|by| by.name());
        Self {
            time: Clock::default().rfc3339(record.time),
            id: record.request_id.to_owned(),
            user: record.user.map(|user| shown(user.as_bytes(), max::USER)),
            client: canonical(record.client),
            role: role_name(record.role),
            method: shown(record.method, max::METHOD),
            target: shown_uri(target.unwrap_or_default(), MAX_TARGET),
            status: record.status,
            error: denial.kind().name(),
            rule: decided_by.map(|name| shown(name.as_bytes(), max::RULE)),
            message: shown(denial.text().as_bytes(), MAX_MESSAGE),
        }
    }
}

/// The address of a client; one that is mapped to IPv6 as IPv4, as in the log.
pub fn canonical(client: SocketAddr) -> String {
    SocketAddr::new(client.ip().to_canonical(), client.port()).to_string()
}

impl Telemetry {
    /// The last denials of the process, at most `limit`; none where they are not kept.
    pub fn last_denials(&self, limit: usize) -> DenialList {
        let rows = match self.kept.get() {
            None => Vec::new(),
            Some(kept) => {
                let rows = kept.recent.rows.lock();
                rows.iter().take(limit).map(Arc::clone).collect()
            }
        };
        let mut top = self.metrics.denied.counts();
        top.sort_unstable_by(|(a, x), (b, y)| y.cmp(x).then_with(|| a.cmp(b)));
        top.truncate(TOP_RULES);
        let top = top.into_iter();
        DenialList {
            total: self.stats.denials(),
            denials: rows.iter().map(|row| DenialRow::clone(row)).collect(),
            top: top.map(|(rule, count)| RuleCount { rule, count }).collect(),
        }
    }

    /// Denials from now on, as they happen; none where they are not kept. A subscriber that is slow misses some, and
    /// is told how many.
    pub fn watch_denials(&self) -> Option<broadcast::Receiver<Arc<DenialRow>>> {
        self.kept.get().map(|kept| kept.recent.feed.subscribe())
    }
}

#[cfg(test)]
mod tests;
