//! What the admin service shows of counts that exist anyway. It is read when it is asked for.

use std::collections::BTreeMap;

use super::Telemetry;
use super::rows::{ClassRow, ProcessRow, ReloadRow, RuleCount, SiteList, TopBy, UserList};
use super::stats::{CertificateReport, ParentReport};
use crate::http::role::Role;

impl Telemetry {
    /// What the system says of the process.
    ///
    /// Reads `/proc`: not for a thread that serves requests.
    pub fn process(&self) -> ProcessRow {
        ProcessRow {
            reload: self.last_reload.lock().clone(),
            log_dropped: self.metrics.losses.sum(),
            ..self.process.row(self.stats.started)
        }
    }

    /// The last reload, if there was one.
    pub fn last_reload(&self) -> Option<ReloadRow> {
        self.last_reload.lock().clone()
    }

    /// The certificates and revocation lists of the listeners.
    pub fn certificates(&self) -> Vec<CertificateReport> {
        let shown = self.certificates.lock();
        shown.iter().map(CertificateReport::from).collect()
    }

    /// The URLs of the parents.
    pub fn parents(&self) -> Vec<ParentReport> {
        let states = self.parents.states().into_iter();
        states.map(ParentReport::from).collect()
    }

    /// The classes of limits, in the order of the configuration.
    pub fn classes(&self) -> Vec<ClassRow> {
        let classes = self.metrics.class_bytes.classes();
        let classes = classes.iter().flat_map(|classes| classes.iter());
        classes.map(ClassRow::from).collect()
    }

    /// How often requests and tunnels failed, by error kind; denials too.
    pub fn errors_by_kind(&self) -> BTreeMap<String, u64> {
        self.metrics.errors.counts().into_iter().collect()
    }

    /// The users who use the most, among those that `is_wanted`.
    pub fn top_users(&self, by: TopBy, limit: usize, is_wanted: impl Fn(&str) -> bool) -> UserList {
        self.users.top(by, limit, is_wanted)
    }

    /// The sites with the most requests, bytes or denials.
    pub fn top_sites(&self, by: TopBy, limit: usize) -> SiteList {
        let gateway = self.metrics.bytes.of(Some(Role::Gateway));
        let bytes = gateway
            .from_client
            .get()
            .saturating_add(gateway.to_client.get());
        self.stats.top(by, limit, bytes)
    }

    /// How often a rule, or a part of the guard, has admitted or denied since the start, and how often it would have
    /// denied.
    pub fn hits(&self, rule: &str) -> (u64, u64) {
        let metrics = &self.metrics;
        let hits = metrics.admitted.count(rule) + metrics.denied.count(rule);
        (hits, metrics.observed.count(rule))
    }

    /// All that has admitted or denied since the start, by its name.
    pub fn all_hits(&self) -> Vec<RuleCount> {
        let mut counts: BTreeMap<String, u64> =
            self.metrics.admitted.counts().into_iter().collect();
        for (rule, count) in self.metrics.denied.counts() {
            *counts.entry(rule).or_default() += count;
        }
        let counts = counts.into_iter();
        counts
            .map(|(rule, count)| RuleCount { rule, count })
            .collect()
    }
}
