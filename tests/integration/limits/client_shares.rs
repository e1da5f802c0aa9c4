//! What clients share: one that takes all that it can get leaves the others something.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use crate::support::client::Wire;
use crate::support::dns::{Dns, answer};
use crate::support::eventually;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, credentials, fetch};

/// A request to the gateway.
fn get(user: (&str, &str), path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: gate\r\n{}\r\n",
        credentials(user)
    )
}

/// An origin that answers `/slow` never, and everything else at once.
fn slow() -> Origin {
    Origin::raw(|mut wire, seen| {
        while let Some(request) = wire.request()? {
            let is_slow = request.head.target().ends_with("/slow");
            seen.keep(request);
            if is_slow {
                // Until the proxy is gone.
                let _ = wire.rest();
                return Ok(());
            }
            wire.send(ok("quick"))?;
        }
        Ok(())
    })
}

fn send_all(proxy: &Proxy, count: usize, request: &str) -> Vec<Wire> {
    let send = |_| {
        let mut wire = proxy.connect();
        wire.send(request).unwrap();
        wire
    };
    (0..count).map(send).collect()
}

#[test]
fn slow_requests_of_one_user_leave_places_at_an_upstream() {
    let origin = slow();
    let proxy = Proxy::start(&format!(
        "gateway: {{ upstreams: [\"{}\"], max_connections_per_upstream: 16, queue_timeout: 30s, health_check: {{ interval: 1h }} }}",
        origin.address
    ));
    let held = send_all(&proxy, 40, &get(ALICE, "/slow"));
    eventually("the share of the user to be taken", || {
        (origin.requests().len() == 12).then_some(())
    });
    for _ in 0..3 {
        assert_eq!(proxy.exchange(get(BOB, "/quick")).text(), "quick");
    }
    assert_eq!(origin.requests().len(), 12 + 3, "the others wait");
    drop(held);
}

#[test]
fn slow_requests_of_one_user_leave_places_at_an_origin() {
    let origin = slow();
    let proxy = Proxy::start("limits: { connections_per_origin: 8 }\ntimeouts: { connect: 30s }");
    let of = |user: (&str, &str), path: &str| {
        let host = origin.address;
        format!(
            "GET http://{host}/{path} HTTP/1.1\r\nHost: {host}\r\n{}\r\n",
            credentials(user)
        )
    };
    let held = send_all(&proxy, 20, &of(ALICE, "slow"));
    eventually("the share of the user to be taken", || {
        (origin.requests().len() == 6).then_some(())
    });
    assert_eq!(proxy.exchange(of(BOB, "quick")).text(), "quick");
    assert_eq!(origin.requests().len(), 6 + 1, "the others wait");
    drop(held);
}

#[test]
fn clients_take_turns_at_an_upstream() {
    let (origin, release) = Origin::held();
    let proxy = Proxy::start(&format!(
        "gateway: {{ upstreams: [\"{}\"], max_connections_per_upstream: 1, queue_timeout: 30s, health_check: {{ interval: 1h }} }}",
        origin.address
    ));
    let depth = || proxy.metric("tollgate_gateway_queue_depth");
    let mut first = send_all(&proxy, 1, &get(ALICE, "/alice"));
    origin.request();
    let mut many = send_all(&proxy, 10, &get(ALICE, "/alice"));
    eventually("ten to queue", || (depth() == 10).then_some(()));
    let mut late = send_all(&proxy, 1, &get(BOB, "/bob"));
    eventually("one more to queue", || (depth() == 11).then_some(()));
    for _ in 0..12 {
        release.send(()).unwrap();
    }
    for wire in first.iter_mut().chain(&mut many).chain(&mut late) {
        assert_eq!(wire.response("GET").unwrap().status(), 200);
    }
    let requests = origin.requests();
    let order: Vec<&str> = requests.iter().map(|it| it.head.target()).collect();
    assert_eq!(order[..3], ["/alice", "/alice", "/bob"], "{order:?}");
}

/// A client that has ended its side may be gone. One that is there does not wait for it.
#[test]
fn those_that_ended_their_side_are_served_last() {
    let (origin, release) = Origin::held();
    let proxy = Setup::new()
        .config(&format!(
            "gateway: {{ upstreams: [\"{}\"], max_connections_per_upstream: 1, queue_timeout: 30s, health_check: {{ interval: 1h }} }}",
            origin.address
        ))
        .config("timeouts: { half_closed: 1m }")
        .start();
    let depth = || proxy.metric("tollgate_gateway_queue_depth");
    let mut first = send_all(&proxy, 1, &get(ALICE, "/first"));
    origin.request();
    let mut ended = send_all(&proxy, 10, &get(ALICE, "/ended"));
    for wire in &ended {
        wire.finish().unwrap();
    }
    eventually("ten to queue", || (depth() == 10).then_some(()));
    let mut there = send_all(&proxy, 1, &get(ALICE, "/there"));
    eventually("one more to queue", || (depth() == 11).then_some(()));
    for _ in 0..12 {
        release.send(()).unwrap();
    }
    for wire in first.iter_mut().chain(&mut there).chain(&mut ended) {
        assert_eq!(wire.response("GET").unwrap().status(), 200);
    }
    let requests = origin.requests();
    let order: Vec<&str> = requests.iter().map(|it| it.head.target()).collect();
    assert_eq!(order[..2], ["/first", "/there"], "{order:?}");
}

/// 600 look-ups at a name server that is silent about these names.
#[test]
fn look_ups_of_one_user_leave_some_to_the_others() {
    crate::support::allow_many_connections();
    let origin = Origin::ok("found");
    let dns = Dns::odd(|query, asked| {
        let name = query.queries.first()?.name().to_ascii();
        if name.starts_with("silent") {
            asked.fetch_add(1, Ordering::SeqCst);
            return None;
        }
        let found = |_: &str, _: usize| Some(vec![IpAddr::from([127, 0, 0, 1])]);
        Some(answer(query, 60, asked, &found).to_vec().unwrap())
    });
    let proxy = Setup::new()
        .config(&dns.config())
        .config("dns: { timeout: 1m }\ntimeouts: { connect: 1m }")
        .start();
    let held: Vec<Wire> = (0..600)
        .map(|number| {
            let mut wire = proxy.connect();
            let url = format!("http://silent{number}.test/");
            wire.send(fetch(&url)).unwrap();
            wire
        })
        .collect();
    // 384 of 512 are under way; the rest is told so.
    eventually("the share to be taken", || {
        let records = proxy.records();
        let refused = records.iter().filter(|it| it["error"] == "dns_overloaded");
        (refused.count() == 600 - 384).then_some(())
    });
    let url = format!("http://other.test:{}/", origin.port());
    let request = fetch(&url).replace(&credentials(ALICE), &credentials(BOB));
    let answer = proxy.exchange(request);
    assert_eq!((answer.status(), answer.text().as_str()), (200, "found"));
    drop(held);
}

/// The place of a connection that the client closed is free in a moment.
#[test]
fn connections_of_one_address_leave_some_to_the_others() {
    let proxy = Proxy::start("limits: { max_connections: 16 }");
    let page = get(ALICE, "/");
    let served = |wire: &mut Wire| {
        let sent = wire.send(&page);
        sent.is_ok()
            && wire
                .response("GET")
                .is_ok_and(|answer| answer.status() == 200)
    };
    let from = |source: &str| Wire::connect_from(source, proxy.address).unwrap();
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut wire = from("127.0.0.2");
        if served(&mut wire) {
            held.push(wire);
        }
    }
    assert_eq!(held.len(), 12);
    assert_eq!(
        proxy.metric("tollgate_connections_rejected_total{reason=\"share\"}"),
        8
    );
    let mut others: Vec<Wire> = (0..2).map(|_| from("127.0.0.3")).collect();
    assert!(others.iter_mut().all(served));
    held.truncate(4);
    eventually("the place of a closed connection", || {
        let mut wire = from("127.0.0.2");
        served(&mut wire).then_some(())
    });
}
