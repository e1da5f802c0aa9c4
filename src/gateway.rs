//! The gateway's side: the pool of local upstreams, or the embedded origin that
//! stands in for it.
//!
//! Which upstream is up is for Pingora's load balancer to know; how many requests
//! each may have at once is bounded here. A request over the bound waits its turn
//! instead of opening one more connection: that is what keeps a proxy fast when
//! thousands of clients ask at the same moment.

mod origin;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pingora::lb::LoadBalancer;
use pingora::lb::health_check::TcpHealthCheck;
use pingora::lb::selection::RoundRobin;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use origin::{Page, serve};

use crate::config;
use crate::error::{Kind, RequestError};
use crate::telemetry::Telemetry;

/// The local upstreams.
pub struct Pool {
    balancer: Arc<LoadBalancer<RoundRobin>>,
    /// Few, so that a walk is faster than a hash.
    slots: Vec<(SocketAddr, Arc<Semaphore>)>,
    queue_timeout: Duration,
}

/// The right to have one request at an upstream, until dropped.
#[derive(Debug)]
pub struct Slot {
    /// Where to connect.
    pub address: SocketAddr,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    /// The pool that the configuration names; `None` when it names no upstream.
    ///
    /// Nothing is started: the health checks run when the balancer is given to
    /// Pingora as a service.
    ///
    /// # Errors
    /// The addresses are not ones that Pingora can use.
    pub fn new(gateway: &config::Gateway) -> std::io::Result<Option<Self>> {
        if gateway.upstreams.is_empty() {
            return Ok(None);
        }
        let mut balancer = LoadBalancer::try_from_iter(&gateway.upstreams)?;
        let mut check = TcpHealthCheck::new();
        check.peer_template.options.connection_timeout = Some(gateway.health_check.timeout);
        balancer.set_health_check(check);
        balancer.health_check_frequency = Some(gateway.health_check.interval);
        balancer.parallel_health_check = true;
        let bound = gateway.max_connections_per_upstream;
        let slots = gateway
            .upstreams
            .iter()
            .map(|address| (*address, Arc::new(Semaphore::new(bound))))
            .collect();
        Ok(Some(Self {
            balancer: Arc::new(balancer),
            slots,
            queue_timeout: gateway.queue_timeout,
        }))
    }

    /// The load balancer, to run its health checks.
    pub fn balancer(&self) -> Arc<LoadBalancer<RoundRobin>> {
        Arc::clone(&self.balancer)
    }

    /// How many upstreams there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none; a pool that exists has one.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Takes a slot at the next upstream that is up and not among `failed`: one
    /// that is free, else a place in the queue of the next one.
    ///
    /// # Errors
    /// [`Kind::UpstreamsDown`] at once when there is no such upstream,
    /// [`Kind::QueueTimeout`] when no slot came free in time.
    pub async fn slot(
        &self,
        failed: &[SocketAddr],
        telemetry: &Arc<Telemetry>,
    ) -> Result<Slot, RequestError> {
        let mut first = None;
        let mut seen = 0;
        // Each pass asks for the next in turn; a full one is passed over.
        while seen < self.slots.len() {
            seen += 1;
            let Some((address, slots)) = self.next(failed) else {
                break;
            };
            if let Ok(permit) = Arc::clone(slots).try_acquire_owned() {
                return Ok(Slot {
                    address,
                    _permit: permit,
                });
            }
            first.get_or_insert((address, slots));
        }
        let (address, slots) = first.ok_or(Kind::UpstreamsDown)?;
        let _queued = telemetry.gateway_queued();
        let wait = Arc::clone(slots).acquire_owned();
        match pingora_timeout::timeout(self.queue_timeout, wait).await {
            Ok(Ok(permit)) => Ok(Slot {
                address,
                _permit: permit,
            }),
            // The semaphore is never closed, so this is the time-out.
            Ok(Err(_)) | Err(_) => {
                Err(RequestError::new(Kind::QueueTimeout).retry_after(self.queue_timeout))
            }
        }
    }

    fn next(&self, failed: &[SocketAddr]) -> Option<(SocketAddr, &Arc<Semaphore>)> {
        let backend =
            self.balancer
                .select_with(b"", self.slots.len().max(1) * 2, |backend, healthy| {
                    healthy && !inet(&backend.addr).is_some_and(|address| failed.contains(&address))
                })?;
        let address = inet(&backend.addr)?;
        let (_, slots) = self.slots.iter().find(|(own, _)| *own == address)?;
        Some((address, slots))
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("upstreams", &self.slots.len())
            .finish_non_exhaustive()
    }
}

fn inet(address: &PingoraAddr) -> Option<SocketAddr> {
    address.as_inet().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(upstreams: &[&str], bound: usize) -> Pool {
        let gateway = config::Gateway {
            upstreams: upstreams.iter().map(|text| text.parse().unwrap()).collect(),
            max_connections_per_upstream: bound,
            queue_timeout: Duration::from_millis(50),
            ..config::Gateway::default()
        };
        Pool::new(&gateway).unwrap().unwrap()
    }

    #[tokio::test]
    async fn requests_take_turns_and_a_failed_upstream_is_passed_over() {
        let telemetry = Arc::new(Telemetry::new(&Default::default()).unwrap());
        let pool = pool(&["127.0.0.1:81", "127.0.0.1:82"], 8);
        let first = pool.slot(&[], &telemetry).await.unwrap();
        let second = pool.slot(&[], &telemetry).await.unwrap();
        assert_ne!(first.address, second.address);
        for _ in 0..4 {
            let slot = pool.slot(&[first.address], &telemetry).await.unwrap();
            assert_eq!(slot.address, second.address);
        }
        let none = pool
            .slot(&[first.address, second.address], &telemetry)
            .await;
        assert_eq!(none.unwrap_err().kind(), Kind::UpstreamsDown);
    }

    #[tokio::test]
    async fn a_full_upstream_is_passed_over_and_then_waited_for() {
        let telemetry = Arc::new(Telemetry::new(&Default::default()).unwrap());
        let pool = pool(&["127.0.0.1:81", "127.0.0.1:82"], 1);
        let first = pool.slot(&[], &telemetry).await.unwrap();
        let second = pool.slot(&[], &telemetry).await.unwrap();
        assert_ne!(first.address, second.address);

        let error = pool.slot(&[], &telemetry).await.unwrap_err();
        assert_eq!(error.kind(), Kind::QueueTimeout);
        assert!(error.retry_delay().is_some());

        let freed = first.address;
        let taken = [second.address];
        let (slot, ()) = tokio::join!(pool.slot(&taken, &telemetry), async { drop(first) });
        assert_eq!(slot.unwrap().address, freed);
    }

    #[test]
    fn no_upstreams_no_pool() {
        assert!(Pool::new(&config::Gateway::default()).unwrap().is_none());
    }
}
