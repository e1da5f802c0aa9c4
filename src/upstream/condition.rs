//! Whether a server gets requests: what health checks say of it, and what requests met. Of upstreams of pools and of
//! parents.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// When requests take a server out by themselves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ejection {
    /// How many requests have to fail, one after the other; 0: none takes it out.
    pub(super) failures: usize,
    /// How long it then gets no requests.
    pub(super) time: Duration,
}

/// The condition of one server.
#[derive(Debug)]
pub(super) struct Condition {
    /// What the health checks say.
    is_up: AtomicBool,
    /// Requests that failed since one was answered.
    failures: AtomicUsize,
    is_ejected: AtomicBool,
    ejected_until: Mutex<Option<Instant>>,
}

impl Condition {
    /// One that is up, until it is found out.
    pub(super) fn new() -> Self {
        Self {
            is_up: AtomicBool::new(true),
            failures: AtomicUsize::new(0),
            is_ejected: AtomicBool::new(false),
            ejected_until: Mutex::new(None),
        }
    }

    /// What the health checks say.
    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// Notes what the health checks say from now on.
    pub(super) fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::Relaxed);
    }

    /// Whether it gets requests. `on_return` is called once when its time out is over.
    pub(super) fn is_usable(&self, on_return: impl FnOnce()) -> bool {
        self.is_up() && !self.is_ejected(on_return)
    }

    /// The same as of the last call, without another look at the clock.
    pub(super) fn was_usable(&self) -> bool {
        self.is_up() && !self.is_ejected.load(Ordering::Relaxed)
    }

    fn is_ejected(&self, on_return: impl FnOnce()) -> bool {
        if !self.is_ejected.load(Ordering::Relaxed) {
            return false;
        }
        let mut until = self.ejected_until.lock();
        let is_ejected = until.is_some_and(|until| Instant::now() < until);
        if !is_ejected && until.take().is_some() {
            self.is_ejected.store(false, Ordering::Relaxed);
            on_return();
        }
        is_ejected
    }

    /// Notes a request that it failed. How many of them take it out, if this one does.
    pub(super) fn failed(&self, ejection: Ejection) -> Option<usize> {
        let failures = self
            .failures
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        if ejection.failures == 0 || failures < ejection.failures {
            return None;
        }
        let until = Instant::now().checked_add(ejection.time);
        let before = std::mem::replace(&mut *self.ejected_until.lock(), until);
        self.is_ejected.store(true, Ordering::Relaxed);
        before.is_none().then_some(failures)
    }

    /// Notes a request that it answered. Whether it was out, and comes back: it may be the one that was tried since all
    /// were out.
    pub(super) fn answered(&self) -> bool {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.failures.store(0, Ordering::Relaxed);
        if self.ejected_until.lock().take().is_none() {
            return false;
        }
        self.is_ejected.store(false, Ordering::Relaxed);
        true
    }
}
