//! Whether an upstream can be connected to, as far as this host can find out.

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::lb::Backend;
use pingora::lb::health_check::HealthCheck;
use pingora_core::{Error as PingoraError, ErrorType};

use super::dial::Connector;
use super::probe::Probe;
use super::state::Upstream;
use crate::config;
use crate::http::error::ErrorKind;

/// Connects, asks where it is to ask, and notes what it finds. A host that has no socket to connect with does not
/// mislead it: an upstream is then taken to be what it was.
pub(super) struct Check {
    /// Those of all pools.
    pub(super) upstreams: Arc<ArcSwap<Vec<Arc<Upstream>>>>,
    pub(super) connector: Connector,
    /// The request; none to connect alone.
    pub(super) probe: Option<Probe>,
    pub(super) rule: config::HealthCheck,
}

/// What `Discovery` has put there.
fn upstream(backend: &Backend) -> Option<&Arc<Upstream>> {
    backend.ext.get::<Arc<Upstream>>()
}

#[async_trait]
impl HealthCheck for Check {
    async fn check(&self, backend: &Backend) -> pingora_core::Result<()> {
        let Some(upstream) = upstream(backend) else {
            return PingoraError::e_explain(ErrorType::InternalError, "not an upstream");
        };
        let server = upstream.server();
        let connected = self.connector.connect_to_check(server, self.rule.timeout);
        let trouble = match connected.await {
            Ok((stream, is_http2)) => match &self.probe {
                Some(probe) => {
                    let asked = async {
                        match is_http2 {
                            true => probe.ask_in_http2(stream, server).await,
                            false => probe.ask(stream, server).await,
                        }
                    };
                    let asked = tokio::time::timeout(self.rule.timeout, asked).await;
                    asked.unwrap_or_else(|_late| {
                        Err(format!("GET {}: no answer in time", probe.path))
                    })
                }
                None => Ok(()),
            },
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::OutOfSockets | ErrorKind::OutOfPorts
                ) && upstream.is_up() =>
            {
                Ok(())
            }
            Err(error) => Err(error.detail().unwrap_or_default()),
        };
        trouble.or_else(|trouble| {
            *upstream.trouble.lock() = trouble;
            PingoraError::e_explain(ErrorType::ConnectError, "health check")
        })
    }

    async fn health_status_change(&self, backend: &Backend, healthy: bool) {
        let Some(upstream) = upstream(backend) else {
            return;
        };
        upstream.checked(healthy);
        let upstreams = self.upstreams.load();
        let is_up = |it: &&Arc<Upstream>| it.is_up();
        let up = upstreams.iter().filter(is_up).count();
        let (all, server) = (upstreams.len(), upstream.server());
        if healthy {
            log::info!("upstream {server} is up; {up} of {all} are");
        } else {
            let trouble = upstream.trouble.lock();
            log::warn!("upstream {server} is down: {trouble}; {up} of {all} are up");
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
