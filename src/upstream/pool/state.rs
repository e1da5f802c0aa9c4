//! What is known of one upstream: what health checks say, and what requests met.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::telemetry::Telemetry;
use crate::upstream::limit::Limit;
use crate::upstream::server::Server;

/// When requests take an upstream out by themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ejection {
    /// How many requests have to fail, one after the other; 0: none takes it out.
    pub(super) failures: usize,
    /// How long it then gets no requests.
    pub(super) time: Duration,
}

pub(super) struct Upstream {
    pub(super) limit: Limit,
    /// Which one of those with its address it is.
    pub(super) number: usize,
    /// What the health checks say. Kept here because to ask the balancer for a turn hashes every backend that it
    /// passes.
    pub(super) is_up: AtomicBool,
    /// Requests that failed since one was answered.
    failures: AtomicUsize,
    is_ejected: AtomicBool,
    ejected_until: Mutex<Option<Instant>>,
    /// Why the last health check failed.
    pub(super) trouble: Mutex<String>,
    telemetry: Arc<Telemetry>,
}

impl Upstream {
    pub(super) fn new(limit: Limit, number: usize, telemetry: &Arc<Telemetry>) -> Self {
        telemetry.upstream_state(limit.server(), true);
        Self {
            limit,
            number,
            is_up: AtomicBool::new(true),
            failures: AtomicUsize::new(0),
            is_ejected: AtomicBool::new(false),
            ejected_until: Mutex::new(None),
            trouble: Mutex::default(),
            telemetry: Arc::clone(telemetry),
        }
    }

    pub(super) fn server(&self) -> &Server {
        self.limit.server()
    }

    /// Whether it gets requests.
    pub(super) fn is_usable(&self) -> bool {
        self.is_up.load(Ordering::Relaxed) && !self.is_ejected()
    }

    fn is_ejected(&self) -> bool {
        if !self.is_ejected.load(Ordering::Relaxed) {
            return false;
        }
        let mut until = self.ejected_until.lock();
        let is_ejected = until.is_some_and(|until| Instant::now() < until);
        if !is_ejected && until.take().is_some() {
            self.is_ejected.store(false, Ordering::Relaxed);
            self.show();
            log::info!("upstream {} gets requests again", self.server());
        }
        is_ejected
    }

    /// What the health checks say from now on.
    pub(super) fn checked(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::Relaxed);
        self.show();
    }

    /// Notes a request that it failed: it refused or ended the connection, or was silent for too long.
    pub(super) fn failed(&self, ejection: Ejection, why: &str) {
        let failures = self
            .failures
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        if ejection.failures == 0 || failures < ejection.failures {
            return;
        }
        let until = Instant::now().checked_add(ejection.time);
        let before = std::mem::replace(&mut *self.ejected_until.lock(), until);
        self.is_ejected.store(true, Ordering::Relaxed);
        if before.is_none() {
            self.show();
            log::warn!(
                "upstream {} gets no requests for {:?}: it failed {failures} of them one after the other, the last one with \
                 {why}",
                self.server(),
                ejection.time
            );
        }
    }

    /// Notes a request that it answered, whatever the status. Whether others failed before.
    pub(super) fn answered(&self) {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.failures.store(0, Ordering::Relaxed);
        // It may be the one that was tried since all were out.
        if self.ejected_until.lock().take().is_some() {
            self.is_ejected.store(false, Ordering::Relaxed);
            self.show();
            log::info!(
                "upstream {} answers, and gets requests again",
                self.server()
            );
        }
    }

    fn show(&self) {
        let is_usable =
            self.is_up.load(Ordering::Relaxed) && !self.is_ejected.load(Ordering::Relaxed);
        self.telemetry.upstream_state(self.server(), is_usable);
    }
}
