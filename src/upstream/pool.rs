//! The pool of local upstreams, and the embedded page that answers where there is none.
//!
//! Pingora's load balancer checks which upstream is up; the next one in turn is chosen here.

mod health;
mod page;
mod probe;
mod state;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pingora::lb::LoadBalancer;
use pingora::lb::selection::RoundRobin;

pub use page::serve;
use probe::Probe;
use state::{Ejection, Upstream};

use super::dial::Sources;
use super::limit::{Capacity, Limit, Turn, WhenFull};
use crate::access::client::Client;
use crate::config;
use crate::http::error::{ErrorKind, RequestError};
use crate::telemetry::Telemetry;

pub struct Pool {
    /// To run its health checks.
    pub balancer: Arc<LoadBalancer<RoundRobin>>,
    upstreams: Arc<[Upstream]>,
    /// Where the next turn begins.
    next: AtomicUsize,
    when_full: WhenFull,
    ejection: Ejection,
    /// Whether an upstream ever failed a request: none is looked for after each answer before.
    has_failures: AtomicBool,
}

impl Pool {
    /// The pool that the configuration names; `None` when it names no upstream. So many
    /// threads have connections of their own.
    ///
    /// Nothing is started: the health checks run when the balancer is given to
    /// Pingora as a service.
    ///
    /// # Errors
    /// The addresses are not ones that Pingora can use.
    pub fn new(
        gateway: &config::Gateway,
        threads: usize,
        timeouts: &config::Timeouts,
        sources: Sources,
        telemetry: &Arc<Telemetry>,
    ) -> std::io::Result<Option<Self>> {
        if gateway.upstreams.is_empty() {
            return Ok(None);
        }
        let mut balancer = LoadBalancer::try_from_iter(&gateway.upstreams)?;
        let capacity = Capacity {
            permits: gateway.max_connections_per_upstream,
            threads,
            keep_alive: timeouts.upstream_keep_alive,
        };
        let upstream =
            |address: &SocketAddr| Upstream::new(Limit::new(*address, capacity), telemetry);
        let upstreams: Arc<[Upstream]> = gateway.upstreams.iter().map(upstream).collect();
        balancer.set_health_check(Box::new(health::Check {
            upstreams: Arc::clone(&upstreams),
            sources,
            probe: Probe::new(&gateway.health_check),
            rule: gateway.health_check.clone(),
        }));
        balancer.health_check_frequency = Some(gateway.health_check.interval);
        balancer.parallel_health_check = true;
        Ok(Some(Self {
            balancer: Arc::new(balancer),
            upstreams,
            next: AtomicUsize::new(0),
            when_full: WhenFull {
                wait: gateway.queue_timeout,
                error: ErrorKind::QueueTimeout,
                counted_in: Some(Arc::clone(telemetry)),
            },
            has_failures: AtomicBool::new(false),
            ejection: Ejection {
                failures: gateway.ejection.failures,
                time: gateway.ejection.time,
            },
        }))
    }

    pub fn len(&self) -> usize {
        self.upstreams.len()
    }

    /// The turn of a request of this thread at the next upstream that gets requests and is not among `failed`: one
    /// that has a free permit, else the next one of all. When no upstream gets requests, a request tries one all the
    /// same: it may have come back since.
    ///
    /// # Errors
    /// [`ErrorKind::UpstreamsDown`] when there is no such upstream.
    pub fn turn(
        &self,
        failed: &[SocketAddr],
        thread: u16,
        client: Client,
    ) -> Result<Turn, RequestError> {
        let mut first = None;
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.upstreams.len();
        let start = next.checked_rem(count).unwrap_or(0);
        for upstream in self.upstreams.iter().cycle().skip(start).take(count) {
            if !upstream.is_usable() || failed.contains(&upstream.address()) {
                continue;
            }
            if let Some(permit) = upstream.limit.try_take(thread, client) {
                return Ok(Turn::Ready(permit));
            }
            first.get_or_insert(upstream);
        }
        match first.or_else(|| self.upstreams.get(start).filter(|_| failed.is_empty())) {
            Some(upstream) => Ok(upstream.limit.turn(thread, client, &self.when_full)),
            None => Err(self.none_left(failed)),
        }
    }

    /// Notes that the upstream failed a request, and why.
    pub fn failed(&self, address: SocketAddr, why: &str) {
        self.has_failures.store(true, Ordering::Relaxed);
        if let Some(upstream) = self.find(address) {
            upstream.failed(self.ejection, why);
        }
    }

    /// Notes that the upstream answered a request.
    pub fn answered(&self, address: SocketAddr) {
        if !self.has_failures.load(Ordering::Relaxed) {
            return;
        }
        if let Some(upstream) = self.find(address) {
            upstream.answered();
        }
    }

    fn find(&self, address: SocketAddr) -> Option<&Upstream> {
        self.upstreams
            .iter()
            .find(|upstream| upstream.address() == address)
    }

    /// The error when no upstream is left, with what is known of the first ones.
    fn none_left(&self, failed: &[SocketAddr]) -> RequestError {
        let trouble = |upstream: &Upstream| {
            let address = upstream.address();
            if failed.contains(&address) {
                format!("{address} did not take this request")
            } else {
                format!("{address} is down: {}", upstream.trouble.lock())
            }
        };
        let troubles: Vec<_> = self.upstreams.iter().take(8).map(trouble).collect();
        RequestError::new(ErrorKind::UpstreamsDown).because(troubles.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::time::Duration;

    use pingora::lb::Backend;
    use pingora::lb::health_check::HealthCheck;

    use super::*;
    use crate::upstream::limit::{Permit, Presence};

    fn pool(upstreams: &[&str], bound: usize) -> Pool {
        let gateway = config::Gateway {
            upstreams: upstreams.iter().map(|text| text.parse().unwrap()).collect(),
            max_connections_per_upstream: bound,
            queue_timeout: Duration::from_millis(50),
            ..config::Gateway::default()
        };
        pool_of(&gateway).unwrap()
    }

    fn pool_of(gateway: &config::Gateway) -> Option<Pool> {
        let telemetry = Arc::new(Telemetry::new(&Default::default()).unwrap());
        let timeouts = config::Timeouts::default();
        Pool::new(gateway, 1, &timeouts, Sources::default(), &telemetry).unwrap()
    }

    async fn permit(pool: &Pool, failed: &[SocketAddr]) -> Result<Permit, RequestError> {
        let client = Client::site([127, 0, 0, 1].into());
        match pool.turn(failed, 0, client)? {
            Turn::Ready(permit) => Ok(permit),
            Turn::Queued(queue) => {
                let presence = Presence {
                    gone: pin!(std::future::pending()),
                    has_ended: &AtomicBool::new(false),
                };
                queue.wait(presence).await
            }
        }
    }

    #[tokio::test]
    async fn requests_take_turns_and_a_failed_upstream_is_passed_over() {
        let pool = pool(&["127.0.0.1:81", "127.0.0.1:82"], 8);
        let first = permit(&pool, &[]).await.unwrap();
        let second = permit(&pool, &[]).await.unwrap();
        assert_ne!(first.address, second.address);
        for _ in 0..4 {
            let got = permit(&pool, &[first.address]).await.unwrap();
            assert_eq!(got.address, second.address);
        }
        let none = permit(&pool, &[first.address, second.address]).await;
        let expected = "destination_unavailable: 127.0.0.1:81 did not take this request, \
                        127.0.0.1:82 did not take this request";
        assert_eq!(none.unwrap_err().chain(), expected);
    }

    #[tokio::test]
    async fn a_full_upstream_is_passed_over_and_then_waited_for() {
        let pool = pool(&["127.0.0.1:81", "127.0.0.1:82"], 1);
        let first = permit(&pool, &[]).await.unwrap();
        let second = permit(&pool, &[]).await.unwrap();
        assert_ne!(first.address, second.address);

        let error = permit(&pool, &[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::QueueTimeout);
        assert!(error.retry_delay().is_some());

        let freed = first.address;
        let taken = [second.address];
        let (got, ()) = tokio::join!(permit(&pool, &taken), async { drop(first) });
        assert_eq!(got.unwrap().address, freed);
    }

    #[tokio::test]
    async fn an_upstream_that_is_down_is_passed_over_until_it_is_up() {
        let pool = pool(&["127.0.0.1:81", "127.0.0.1:82"], 8);
        let check = health::Check {
            upstreams: Arc::clone(&pool.upstreams),
            sources: Sources::default(),
            probe: None,
            rule: config::HealthCheck::default(),
        };
        let first = Backend::new("127.0.0.1:81").unwrap();
        check.health_status_change(&first, false).await;
        for _ in 0..4 {
            let got = permit(&pool, &[]).await.unwrap();
            assert_eq!(got.address.port(), 82);
        }
        check.health_status_change(&first, true).await;
        let (one, other) = (permit(&pool, &[]), permit(&pool, &[]));
        assert_ne!(one.await.unwrap().address, other.await.unwrap().address);
    }

    #[test]
    fn no_upstreams_no_pool() {
        assert!(pool_of(&config::Gateway::default()).is_none());
    }
}
