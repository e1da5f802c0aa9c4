//! Whether an upstream can be connected to, as far as this host can find out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use pingora::lb::Backend;
use pingora::lb::health_check::HealthCheck;
use pingora_core::{Error as PingoraError, ErrorType};

use super::Upstream;
use crate::http::error::RequestError;
use crate::upstream::dial::{DialError, Sources, connect_any};

/// Connects, and notes what it finds. A host that has no socket to connect with does not mislead it: an upstream
/// is then taken to be what it was.
pub(super) struct Check {
    pub(super) upstreams: Arc<[Upstream]>,
    pub(super) sources: Sources,
    pub(super) timeout: Duration,
}

impl Check {
    fn upstream(&self, backend: &Backend) -> Option<(SocketAddr, &Upstream)> {
        let address = *backend.addr.as_inet()?;
        let mut upstreams = self.upstreams.iter();
        let found = upstreams.find(|upstream| upstream.limit.address() == address);
        Some((address, found?))
    }
}

#[async_trait]
impl HealthCheck for Check {
    async fn check(&self, backend: &Backend) -> pingora_core::Result<()> {
        let Some((address, upstream)) = self.upstream(backend) else {
            return PingoraError::e_explain(ErrorType::InternalError, "not an upstream");
        };
        match connect_any([address], &self.sources, self.timeout).await {
            Ok(_) => Ok(()),
            Err(DialError::Exhausted(_)) if upstream.is_up.load(Ordering::Relaxed) => Ok(()),
            Err(error) => {
                let chain = RequestError::from(error);
                *upstream.trouble.lock() = chain.detail().unwrap_or_default();
                PingoraError::e_explain(ErrorType::ConnectError, "health check")
            }
        }
    }

    async fn health_status_change(&self, backend: &Backend, healthy: bool) {
        let Some((address, upstream)) = self.upstream(backend) else {
            return;
        };
        upstream.is_up.store(healthy, Ordering::Relaxed);
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

    fn health_threshold(&self, _: bool) -> usize {
        1
    }
}
