//! Whether an upstream can be connected to, as far as this host can find out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use pingora::lb::Backend;
use pingora::lb::health_check::HealthCheck;
use pingora_core::{Error as PingoraError, ErrorType};

use super::probe::Probe;
use super::state::Upstream;
use crate::config;
use crate::http::error::RequestError;
use crate::upstream::dial::{DialError, Sources, connect_any};

/// Connects, asks where it is to ask, and notes what it finds. A host that has no socket to connect with does not mislead it: an upstream
/// is then taken to be what it was.
pub(super) struct Check {
    pub(super) upstreams: Arc<[Upstream]>,
    pub(super) sources: Sources,
    /// The request; none to connect alone.
    pub(super) probe: Option<Probe>,
    pub(super) rule: config::HealthCheck,
}

impl Check {
    fn upstream(&self, backend: &Backend) -> Option<(SocketAddr, &Upstream)> {
        let address = *backend.addr.as_inet()?;
        let mut upstreams = self.upstreams.iter();
        let found = upstreams.find(|upstream| upstream.address() == address);
        Some((address, found?))
    }
}

#[async_trait]
impl HealthCheck for Check {
    async fn check(&self, backend: &Backend) -> pingora_core::Result<()> {
        let Some((address, upstream)) = self.upstream(backend) else {
            return PingoraError::e_explain(ErrorType::InternalError, "not an upstream");
        };
        let trouble = match connect_any([address], &self.sources, self.rule.timeout).await {
            Ok(dialed) => match &self.probe {
                Some(probe) => {
                    let asked = probe.ask(dialed.stream, address);
                    let asked = tokio::time::timeout(self.rule.timeout, asked).await;
                    asked.unwrap_or_else(|_late| {
                        Err(format!("GET {}: no answer in time", probe.path))
                    })
                }
                None => Ok(()),
            },
            Err(DialError::Exhausted(_)) if upstream.is_up.load(Ordering::Relaxed) => Ok(()),
            Err(error) => Err(RequestError::from(error).detail().unwrap_or_default()),
        };
        trouble.or_else(|trouble| {
            *upstream.trouble.lock() = trouble;
            PingoraError::e_explain(ErrorType::ConnectError, "health check")
        })
    }

    async fn health_status_change(&self, backend: &Backend, healthy: bool) {
        let Some((address, upstream)) = self.upstream(backend) else {
            return;
        };
        upstream.checked(healthy);
        let is_up = |it: &&Upstream| it.is_up.load(Ordering::Relaxed);
        let up = self.upstreams.iter().filter(is_up).count();
        let all = self.upstreams.len();
        if healthy {
            log::info!("upstream {address} is up; {up} of {all} are");
        } else {
            let trouble = upstream.trouble.lock();
            log::warn!("upstream {address} is down: {trouble}; {up} of {all} are up");
        }
    }

    fn health_threshold(&self, success: bool) -> usize {
        if success {
            self.rule.rise
        } else {
            self.rule.fall
        }
    }
}
