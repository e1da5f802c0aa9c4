//! The turns of requests in a pool.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use pingora::lb::health_check::HealthCheck;

use super::*;
use crate::upstream::certificates::Certificates;
use crate::upstream::dial::DnsOptions;
use crate::upstream::limit::{Permit, Presence};

fn pools(gateway: &config::Gateway) -> Pools {
    let telemetry = Arc::new(Telemetry::new(&Default::default()).unwrap());
    let second = Duration::from_secs(1);
    let tls = OriginTls::new(None, &Certificates::default(), second).unwrap();
    let parts = Parts {
        threads: 1,
        timeouts: &config::Timeouts::default(),
        sources: Sources::default(),
        tls: Arc::new(tls),
        dialer: Arc::new(Dialer::new(
            DnsOptions::default(),
            Sources::default(),
            second,
        )),
        is_own: Arc::new(|_| false),
        telemetry: &telemetry,
    };
    Pools::new(gateway, parts)
}

fn pool(upstreams: &[&str], bound: usize) -> Pools {
    let address = |text: &&str| text.parse::<SocketAddr>().unwrap().into();
    pools(&config::Gateway {
        upstreams: upstreams.iter().map(address).collect(),
        max_connections_per_upstream: bound,
        queue_timeout: Duration::from_millis(50),
        ..config::Gateway::default()
    })
}

async fn permit(pools: &Pools, failed: &[Server]) -> Result<Permit, RequestError> {
    let pool = pools.get(PoolNumber(0)).unwrap();
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
    assert_ne!(first.server, second.server);
    for _ in 0..4 {
        let got = permit(&pool, std::slice::from_ref(&first.server))
            .await
            .unwrap();
        assert_eq!(got.server, second.server);
    }
    let none = permit(&pool, &[first.server.clone(), second.server.clone()]).await;
    let expected = "destination_unavailable: 127.0.0.1:81 did not take this request, \
                    127.0.0.1:82 did not take this request";
    assert_eq!(none.unwrap_err().chain(), expected);
}

#[tokio::test]
async fn a_full_upstream_is_passed_over_and_then_waited_for() {
    let pool = pool(&["127.0.0.1:81", "127.0.0.1:82"], 1);
    let first = permit(&pool, &[]).await.unwrap();
    let second = permit(&pool, &[]).await.unwrap();
    assert_ne!(first.server, second.server);

    let error = permit(&pool, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::QueueTimeout);
    assert!(error.retry_delay().is_some());

    let freed = first.server.clone();
    let taken = [second.server.clone()];
    let (got, ()) = tokio::join!(permit(&pool, &taken), async { drop(first) });
    assert_eq!(got.unwrap().server, freed);
}

#[tokio::test]
async fn an_upstream_that_is_down_is_passed_over_until_it_is_up() {
    let pool = pool(&["127.0.0.1:81", "127.0.0.1:82"], 8);
    let check = health::Check {
        upstreams: Arc::default(),
        connector: pool.connector.clone(),
        probe: None,
        rule: config::HealthCheck::default(),
    };
    let balancer = pool.balancer.as_ref().unwrap();
    balancer.update().await.unwrap();
    let backends = balancer.backends().get_backend();
    let first = backends.first().unwrap();
    check.health_status_change(first, false).await;
    for _ in 0..4 {
        let got = permit(&pool, &[]).await.unwrap();
        assert_eq!(got.server.to_string(), "127.0.0.1:82");
    }
    check.health_status_change(first, true).await;
    let (one, other) = (permit(&pool, &[]), permit(&pool, &[]));
    assert_ne!(one.await.unwrap().server, other.await.unwrap().server);
}

#[test]
fn no_upstreams_no_pool() {
    let pools = pools(&config::Gateway::default());
    assert!(pools.balancer.is_none() && pools.default.is_none());
}

/// A server in two pools is one server: what it answers in one of them is between its failures in the other.
#[tokio::test]
async fn an_answer_in_another_pool_counts() {
    let upstreams: Vec<config::Upstream> = vec![SocketAddr::from(([127, 0, 0, 1], 81)).into()];
    let named = config::NamedPool {
        name: "api".into(),
        hosts: None,
        path: crate::http::path::Prefix::parse("/api"),
        upstreams: upstreams.clone(),
        proxy_protocol: None,
        http2: None,
    };
    let pools = pools(&config::Gateway {
        upstreams,
        pools: vec![named],
        ..config::Gateway::default()
    });
    let [api, default] = [0, 1].map(|number| pools.get(PoolNumber(number)).unwrap());
    let server = permit(&pools, &[]).await.unwrap().server.clone();
    for _ in 0..5 {
        api.failed(&server, "connection_terminated");
        api.failed(&server, "connection_terminated");
        default.answered(&server);
    }
    assert!(
        api.members
            .now()
            .iter()
            .all(|upstream| upstream.is_usable())
    );
    api.failed(&server, "connection_terminated");
    api.failed(&server, "connection_terminated");
    api.failed(&server, "connection_terminated");
    assert!(
        !default
            .members
            .now()
            .iter()
            .any(|upstream| upstream.is_usable())
    );
}
