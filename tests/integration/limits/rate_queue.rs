//! Requests over a rate that wait for their turn, over every protocol.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::http2::{Client, request_of as stream_of, run, whole, within};
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::redis::Redis;
use crate::support::request::{ALICE, auth, connect, fetch};

fn with(class: &str) -> Proxy {
    Proxy::start(&format!(
        "limits: {{ classes: [{{ name: all, {class} }}] }}"
    ))
}

fn stat(proxy: &Proxy, member: &str) -> u64 {
    let stats: Value = serde_json::from_str(&proxy.admin("/stats").text()).unwrap();
    stats["classes"]["all"][member].as_u64().unwrap()
}

fn url(origin: &Origin) -> String {
    format!("http://{}/", origin.address)
}

fn websocket(origin: &Origin) -> String {
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\n{}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        url(origin),
        origin.address,
        auth()
    )
}

/// Accepts every WebSocket.
fn upgrading() -> Origin {
    Origin::raw(|mut wire, _| {
        wire.read_head()?;
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )?;
        wire.read_to_end().map(drop)
    })
}

/// One a second, and two that do not wait: the third comes after a second, the fourth after two.
#[test]
fn requests_wait_for_their_turn() {
    let proxy = with("requests: 1/s, burst: 2, queue: 3s");
    let origin = Origin::ok("in");
    let begun = Instant::now();
    let mut wires: Vec<Wire> = (0..4).map(|_| proxy.connect()).collect();
    for (wire, known) in wires.iter_mut().zip(1..) {
        wire.send(fetch(&url(&origin))).unwrap();
        // In this order.
        eventually("the request to have its turn", || {
            (stat(&proxy, "admitted") == known).then_some(())
        });
    }
    let mut times = Vec::new();
    for wire in &mut wires {
        assert_eq!(wire.response("GET").unwrap().text(), "in");
        times.push(begun.elapsed());
    }
    assert!(times[2] >= Duration::from_millis(999), "{times:?}");
    assert!(times[3] >= Duration::from_millis(1999), "{times:?}");
    let queued = stat(&proxy, "queued");
    assert!((1..=2).contains(&queued), "{queued}");
    assert_eq!(proxy.metric("tollgate_queued_total{class=\"all\"}"), queued);
    assert_eq!((stat(&proxy, "limited"), stat(&proxy, "waiting")), (0, 0));
    let record = proxy.record("a request that waited", |it| {
        it["queue_seconds"].as_f64().is_some_and(|time| time > 0.1)
    });
    assert_eq!(
        (&record["status"], &record["class"]),
        (&json!(200), &json!("all"))
    );
}

/// One whose turn comes too late does not wait.
#[test]
fn a_turn_that_comes_too_late_is_not_waited_for() {
    let proxy = with("requests: 6/m, burst: 1, queue: 1s");
    let origin = Origin::ok("in");
    let mut wire = proxy.connect();
    assert_eq!(wire.exchange(fetch(&url(&origin))).status(), 200);
    let begun = Instant::now();
    let answer = wire.exchange(fetch(&url(&origin)));
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.field("retry-after"), Some("10"));
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!((stat(&proxy, "queued"), stat(&proxy, "limited")), (0, 1));
}

/// The class has one new tunnel each two thirds of a second, and one at once.
#[test]
fn tunnels_of_connect_and_of_websockets_wait() {
    let proxy = with("requests: 90/m, burst: 1, queue: 5s");
    let (echo, sockets) = (Origin::echo(), upgrading());
    let begun = Instant::now();
    let mut open = Vec::new();
    for request in [
        connect(echo.address),
        websocket(&sockets),
        connect(echo.address),
    ] {
        let mut wire = proxy.connect();
        let status = wire.exchange(request).status();
        assert!(matches!(status, 200 | 101), "{status}");
        open.push(wire);
    }
    assert!(begun.elapsed() >= Duration::from_millis(1330));
    // Bytes behind it pass as before.
    open[2].send("ping").unwrap();
    assert_eq!(open[2].read_bytes(4).unwrap(), b"ping");
    drop(open);
    let record = proxy.record("a tunnel that waited", |it| {
        it["queue_seconds"].as_f64().is_some_and(|time| time > 0.1)
    });
    assert_eq!(record["class"], "all");
}

#[test]
fn streams_of_http2_wait() {
    let proxy = with("requests: 90/m, burst: 1, queue: 5s");
    let (origin, echo) = (Origin::ok("in"), Origin::echo());
    run(async {
        let begun = Instant::now();
        let mut client = Client::connect(proxy.address).await;
        let mut open = Vec::new();
        for _ in 0..2 {
            let request = stream_of(ALICE, "GET", &url(&origin));
            open.push(client.open(request, true).await.0);
        }
        for answer in open {
            let answer = whole(within(answer).await.unwrap()).await.unwrap();
            assert_eq!(answer.status.as_u16(), 200);
        }
        let _tunnel = client.tunnel(echo.address).await;
        assert!(begun.elapsed() >= Duration::from_millis(1330));
    });
}

/// The turns would come in a minute.
#[test]
fn a_client_that_goes_does_not_wait() {
    let (origin, sockets) = (Origin::ok("in"), upgrading());
    for request in [
        fetch(&url(&origin)),
        connect(origin.address),
        websocket(&sockets),
    ] {
        let proxy = with("requests: 1/m, burst: 1, queue: 60s");
        assert_eq!(proxy.exchange(fetch(&url(&origin))).status(), 200);
        let mut wire = proxy.connect();
        wire.send(&request).unwrap();
        wait(&proxy, 1);
        // Its turn is taken.
        assert_eq!(proxy.exchange(fetch(&url(&origin))).status(), 429);
        wire.reset();
        wait(&proxy, 0);
        assert_eq!(stat(&proxy, "requests") + stat(&proxy, "tunnels"), 0);
        let record = proxy.record("a client that went", |it| {
            it["error"]
                .as_str()
                .is_some_and(|error| error != "limit_reached")
        });
        assert_eq!(
            (&record["error"], &record["class"]),
            (&json!("client_gone"), &json!("all"))
        );
    }
    let proxy = with("requests: 1/m, burst: 1, queue: 60s");
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let request = || stream_of(ALICE, "GET", &url(&origin));
        assert_eq!(client.ask(request()).await.status.as_u16(), 200);
        let (answer, send) = client.open(request(), true).await;
        let known = async {
            while proxy.metric("tollgate_queued_total{class=\"all\"}") == 0 {
                tokio::task::yield_now().await;
            }
        };
        within(known).await;
        drop((answer, send));
        let gone = async {
            while stat(&proxy, "waiting") > 0 {
                tokio::task::yield_now().await;
            }
        };
        within(gone).await;
    });
}

fn wait(proxy: &Proxy, count: u64) {
    eventually("so many to wait", || {
        (stat(proxy, "waiting") == count).then_some(())
    });
}

fn address(proxies: &[Proxy], at: usize) -> SocketAddr {
    proxies[at % proxies.len()].address
}

/// Three instances have one rate, whichever of them requests wait at.
#[test]
fn instances_of_a_fleet_share_the_turns() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let origin = Origin::ok("in");
    let proxies = [(); 3].map(|()| {
        Setup::new()
            .config(&format!(
                "limits: {{ store: {{ redis: '{}', timeout: 2s }}, \
                 classes: [{{ name: all, requests: 20/s, burst: 10, queue: 2s }}] }}",
                redis.url()
            ))
            .start()
    });
    eventually("the instances to know of each other", || {
        (redis.instances() == 3).then_some(())
    });
    let request = &fetch(&url(&origin));
    let begun = Instant::now();
    let until = begun + Duration::from_secs(5);
    // Each client asks again when it is answered, as clients do that wait.
    let served: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..12)
            .map(|at| address(&proxies, at))
            .map(|proxy| {
                scope.spawn(move || {
                    let mut served = 0;
                    let mut wire = Wire::connect(proxy).unwrap();
                    while Instant::now() < until {
                        assert_eq!(wire.exchange(request).status(), 200);
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        threads.into_iter().map(|it| it.join().unwrap()).sum()
    });
    let limit = 20.0 * begun.elapsed().as_secs_f64() + 10.0;
    let served = served as f64;
    assert!(served <= limit * 1.05, "{served} of {limit}");
    assert!(served >= limit * 0.85, "{served} of {limit}");
}
