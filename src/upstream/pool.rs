//! The gateway's side: the pool of local upstreams, or the embedded origin that
//! stands in for it.
//!
//! Which upstream is up is for Pingora's load balancer to find out; whose turn it is
//! is decided here.

mod health;
mod origin;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pingora::lb::LoadBalancer;
use pingora::lb::selection::RoundRobin;

pub use origin::{Page, serve};

use crate::config;
use crate::http::error::{Kind, RequestError};
use crate::telemetry::Telemetry;
use crate::upstream::limit::{Bound, Slot, Slots};

/// The local upstreams.
pub struct Pool {
    balancer: Arc<LoadBalancer<RoundRobin>>,
    upstreams: Arc<[Upstream]>,
    /// Where the next turn begins.
    turn: AtomicUsize,
    queue_timeout: Duration,
}

/// One local upstream.
struct Upstream {
    slots: Slots,
    /// What the last health check said. Kept here because to ask the balancer for a
    /// turn hashes every backend that it passes.
    is_up: AtomicBool,
    /// Why the last health check failed.
    trouble: Mutex<String>,
}

/// When a request may go to an upstream.
#[derive(Debug)]
pub enum Turn<'a> {
    /// It has its slot.
    Now(Slot),
    /// All slots are taken.
    Later(Queue<'a>),
}

/// The queue in front of one upstream.
#[derive(Debug)]
pub struct Queue<'a> {
    slots: &'a Slots,
    thread: u16,
    limit: Duration,
}

impl Queue<'_> {
    /// Waits for the next slot that comes free.
    ///
    /// # Errors
    /// [`Kind::QueueTimeout`] when none came free in time.
    pub async fn wait(self, telemetry: &Arc<Telemetry>) -> Result<Slot, RequestError> {
        let _queued = telemetry.gateway_queued();
        let slot = self.slots.wait(self.thread, self.limit).await;
        slot.ok_or_else(|| RequestError::new(Kind::QueueTimeout).retry_after(self.limit))
    }
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
    ) -> std::io::Result<Option<Self>> {
        if gateway.upstreams.is_empty() {
            return Ok(None);
        }
        let mut balancer = LoadBalancer::try_from_iter(&gateway.upstreams)?;
        let bound = Bound {
            slots: gateway.max_connections_per_upstream,
            threads,
            keep_alive: timeouts.upstream_keep_alive,
        };
        let upstream = |address: &SocketAddr| Upstream {
            slots: Slots::new(*address, bound),
            is_up: AtomicBool::new(true),
            trouble: Mutex::default(),
        };
        let upstreams: Arc<[Upstream]> = gateway.upstreams.iter().map(upstream).collect();
        balancer.set_health_check(Box::new(health::Check::new(
            Arc::clone(&upstreams),
            gateway.health_check.timeout,
        )));
        balancer.health_check_frequency = Some(gateway.health_check.interval);
        balancer.parallel_health_check = true;
        Ok(Some(Self {
            balancer: Arc::new(balancer),
            upstreams,
            turn: AtomicUsize::new(0),
            queue_timeout: gateway.queue_timeout,
        }))
    }

    /// The load balancer, to run its health checks.
    pub fn balancer(&self) -> Arc<LoadBalancer<RoundRobin>> {
        Arc::clone(&self.balancer)
    }

    /// How many upstreams there are.
    pub fn len(&self) -> usize {
        self.upstreams.len()
    }

    /// Whether there is none; a pool that exists has one.
    pub fn is_empty(&self) -> bool {
        self.upstreams.is_empty()
    }

    /// Takes a slot as [`next`](Self::next) has it, when it is this request's turn.
    ///
    /// # Errors
    /// [`Kind::UpstreamsDown`] at once, [`Kind::QueueTimeout`] when no slot came free in
    /// time.
    pub async fn slot(
        &self,
        failed: &[SocketAddr],
        thread: u16,
        telemetry: &Arc<Telemetry>,
    ) -> Result<Slot, RequestError> {
        match self.next(failed, thread)? {
            Turn::Now(slot) => Ok(slot),
            Turn::Later(queue) => queue.wait(telemetry).await,
        }
    }

    /// A slot at the next upstream that is up and not among `failed`: one that is free,
    /// else the queue of the next one.
    ///
    /// # Errors
    /// [`Kind::UpstreamsDown`] when there is no such upstream.
    pub fn next(&self, failed: &[SocketAddr], thread: u16) -> Result<Turn<'_>, RequestError> {
        let mut first = None;
        // In turn from the next one on; a full one is passed over.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        for upstream in self.from(turn) {
            let usable = upstream.is_up.load(Ordering::Relaxed);
            if !usable || failed.contains(&upstream.slots.address()) {
                continue;
            }
            if let Some(slot) = upstream.slots.try_take(thread) {
                return Ok(Turn::Now(slot));
            }
            first.get_or_insert(upstream);
        }
        Ok(Turn::Later(Queue {
            slots: &first.ok_or_else(|| self.none_left(failed))?.slots,
            thread,
            limit: self.queue_timeout,
        }))
    }

    /// The error when no upstream is left, with what is known of the first ones.
    fn none_left(&self, failed: &[SocketAddr]) -> RequestError {
        let trouble = |upstream: &Upstream| {
            let address = upstream.slots.address();
            if upstream.is_up.load(Ordering::Relaxed) && failed.contains(&address) {
                format!("{address} did not take this request")
            } else {
                format!("{address} is down: {}", upstream.trouble.lock())
            }
        };
        let troubles: Vec<_> = self.upstreams.iter().take(8).map(trouble).collect();
        RequestError::new(Kind::UpstreamsDown).because(troubles.join(", "))
    }

    /// Every upstream once, from `turn` on.
    fn from(&self, turn: usize) -> impl Iterator<Item = &Upstream> {
        let start = turn.checked_rem(self.upstreams.len()).unwrap_or(0);
        let (after, before) = (self.upstreams.get(start..), self.upstreams.get(..start));
        after.into_iter().chain(before).flatten()
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("upstreams", &self.upstreams.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use pingora::lb::Backend;
    use pingora::lb::health_check::HealthCheck;

    use super::*;

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
        Pool::new(gateway, 1, &config::Timeouts::default()).unwrap()
    }

    #[tokio::test]
    async fn requests_take_turns_and_a_failed_upstream_is_passed_over() {
        let telemetry = Arc::new(Telemetry::new(&Default::default()).unwrap());
        let pool = pool(&["127.0.0.1:81", "127.0.0.1:82"], 8);
        let first = pool.slot(&[], 0, &telemetry).await.unwrap();
        let second = pool.slot(&[], 0, &telemetry).await.unwrap();
        assert_ne!(first.address, second.address);
        for _ in 0..4 {
            let slot = pool.slot(&[first.address], 0, &telemetry).await.unwrap();
            assert_eq!(slot.address, second.address);
        }
        let none = pool
            .slot(&[first.address, second.address], 0, &telemetry)
            .await;
        let expected = "destination_unavailable: 127.0.0.1:81 did not take this request, \
                        127.0.0.1:82 did not take this request";
        assert_eq!(none.unwrap_err().chain(), expected);
    }

    #[tokio::test]
    async fn a_full_upstream_is_passed_over_and_then_waited_for() {
        let telemetry = Arc::new(Telemetry::new(&Default::default()).unwrap());
        let pool = pool(&["127.0.0.1:81", "127.0.0.1:82"], 1);
        let first = pool.slot(&[], 0, &telemetry).await.unwrap();
        let second = pool.slot(&[], 0, &telemetry).await.unwrap();
        assert_ne!(first.address, second.address);

        let error = pool.slot(&[], 0, &telemetry).await.unwrap_err();
        assert_eq!(error.kind(), Kind::QueueTimeout);
        assert!(error.retry_delay().is_some());

        let freed = first.address;
        let taken = [second.address];
        let (slot, ()) = tokio::join!(pool.slot(&taken, 0, &telemetry), async { drop(first) });
        assert_eq!(slot.unwrap().address, freed);
    }

    #[tokio::test]
    async fn an_upstream_that_is_down_is_passed_over_until_it_is_up() {
        let telemetry = Arc::new(Telemetry::new(&Default::default()).unwrap());
        let pool = pool(&["127.0.0.1:81", "127.0.0.1:82"], 8);
        let check = health::Check::new(Arc::clone(&pool.upstreams), Duration::from_secs(1));
        let first = Backend::new("127.0.0.1:81").unwrap();
        check.health_status_change(&first, false).await;
        for _ in 0..4 {
            let slot = pool.slot(&[], 0, &telemetry).await.unwrap();
            assert_eq!(slot.address.port(), 82);
        }
        check.health_status_change(&first, true).await;
        let (one, other) = (pool.slot(&[], 0, &telemetry), pool.slot(&[], 0, &telemetry));
        assert_ne!(one.await.unwrap().address, other.await.unwrap().address);
    }

    #[test]
    fn no_upstreams_no_pool() {
        assert!(pool_of(&config::Gateway::default()).is_none());
    }
}
