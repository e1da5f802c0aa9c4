//! What is known of one upstream: what health checks say, and what requests met.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::telemetry::Telemetry;
use crate::upstream::condition::{Condition, Ejection};
use crate::upstream::limit::{Limit, Load};
use crate::upstream::server::Server;

/// What an operator is told of an upstream.
#[derive(Clone, Debug)]
pub struct UpstreamReport {
    /// Which one.
    pub server: Server,
    /// `up`, `down` by health checks, or `ejected` after failed requests.
    pub condition: &'static str,
    /// Its requests.
    pub load: Load,
    /// Why the last health check failed, if it did.
    pub trouble: Option<String>,
}

pub(super) struct Upstream {
    pub(super) limit: Limit,
    /// Which one of those with its address it is.
    pub(super) number: usize,
    /// Kept here because to ask the balancer for a turn hashes every backend that it passes.
    condition: Condition,
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
            condition: Condition::new(),
            trouble: Mutex::default(),
            telemetry: Arc::clone(telemetry),
        }
    }

    pub(super) fn server(&self) -> &Server {
        self.limit.server()
    }

    /// What the health checks say.
    pub(super) fn is_up(&self) -> bool {
        self.condition.is_up()
    }

    /// Whether it gets requests.
    pub(super) fn is_usable(&self) -> bool {
        self.condition.is_usable(|| {
            self.show();
            log::info!("upstream {} gets requests again", self.server());
        })
    }

    /// All of it, for an operator.
    pub(super) fn report(&self) -> UpstreamReport {
        let condition = match (self.is_up(), self.condition.was_usable()) {
            (false, _) => "down",
            (true, false) => "ejected",
            (true, true) => "up",
        };
        UpstreamReport {
            server: self.server().clone(),
            condition,
            load: self.limit.load(),
            trouble: (!self.is_up()).then(|| self.trouble.lock().clone()),
        }
    }

    /// What the health checks say from now on.
    pub(super) fn checked(&self, is_up: bool) {
        self.condition.set_up(is_up);
        self.show();
    }

    /// Notes a request that it failed: it refused or ended the connection, or was silent for too long.
    pub(super) fn failed(&self, ejection: Ejection, why: &str) {
        if let Some(failures) = self.condition.failed(ejection) {
            self.show();
            log::warn!(
                "upstream {} gets no requests for {:?}: it failed {failures} of them one after the other, the last one with \
                 {why}",
                self.server(),
                ejection.time
            );
        }
    }

    /// Notes a request that it answered, whatever the status.
    pub(super) fn answered(&self) {
        if self.condition.answered() {
            self.show();
            log::info!(
                "upstream {} answers, and gets requests again",
                self.server()
            );
        }
    }

    fn show(&self) {
        let is_usable = self.condition.was_usable();
        self.telemetry.upstream_state(self.server(), is_usable);
    }
}
