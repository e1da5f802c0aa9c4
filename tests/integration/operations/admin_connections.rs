//! The life of connections to the admin listener: their own places, and none of the drain.

use std::net::TcpStream;

use rustix::process::Signal;

use crate::support::client::{Wire, is_timeout};
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;

/// How many of one client it serves at one time.
const PLACES: usize = 64;

fn stats(proxy: &Proxy) -> String {
    format!(
        "GET /stats HTTP/1.1\r\nHost: {}\r\n\r\n",
        proxy.admin_address()
    )
}

fn connect(proxy: &Proxy) -> Wire {
    Wire::connect(proxy.admin_address()).unwrap()
}

#[test]
fn connection_is_kept_for_the_next_scrape() {
    let proxy = Proxy::plain();
    let mut wire = connect(&proxy);
    for _ in 0..5 {
        let answer = wire.exchange(stats(&proxy));
        assert_eq!(answer.status(), 200);
        assert!(!answer.head.fields.lists("connection", "close"));
    }
    // HEAD has the length of the answer to GET and no body, so the next one is in step.
    let head = stats(&proxy).replacen("GET", "HEAD", 1);
    let answer = wire.exchange(head);
    assert_eq!((answer.status(), answer.body.len()), (200, 0));
    assert_eq!(wire.exchange(stats(&proxy)).status(), 200);
}

#[test]
fn draining_closes_admin_connections_at_once() {
    let mut proxy = Proxy::start("timeouts: { drain: 60s }");
    let echo = Origin::echo();
    let mut tunnel = proxy.tunnel(echo.address);
    let mut new = connect(&proxy);
    let mut half = connect(&proxy);
    half.send("GET /stats HTTP/1.1\r\nHost:").unwrap();
    let mut idle = connect(&proxy);
    assert_eq!(idle.exchange(stats(&proxy)).status(), 200);
    proxy.signal(Signal::TERM);
    for wire in [&mut new, &mut half, &mut idle] {
        wire.assert_closed();
    }
    eventually("the admin listener to close", || {
        TcpStream::connect(proxy.admin_address()).err()
    });
    // All that while the drain goes on, which waits for the tunnel alone.
    tunnel.send("ping").unwrap();
    assert_eq!(tunnel.read_bytes(4).unwrap(), b"ping");
    assert!(proxy.is_running());
    drop(tunnel);
    assert!(proxy.wait_exit(crate::support::DEADLINE).success());
}

#[test]
fn admin_is_reached_when_clients_have_taken_all_places() {
    let proxy = Proxy::start("limits: { max_connections: 2 }");
    let echo = Origin::echo();
    // The place of the connection that found the proxy up comes back in a moment.
    let tunnels: Vec<Wire> = (0..2).map(|_| proxy.tunnel(echo.address)).collect();
    let mut waiting = proxy.connect();
    waiting
        .send("GET / HTTP/1.1\r\nHost: gate\r\n\r\n")
        .unwrap();
    for _ in 0..3 {
        assert_eq!(proxy.admin("/stats").status(), 200);
    }
    drop(tunnels);
    assert_eq!(waiting.response("GET").unwrap().status(), 401);
}

#[test]
fn admin_connections_have_a_bound_and_take_no_client_places() {
    let proxy = Proxy::start("limits: { max_connections: 4 }");
    let mut held: Vec<Wire> = (0..PLACES)
        .map(|_| {
            // Served, so it has its place: the one that found the proxy up has given its back.
            let mut wire = connect(&proxy);
            assert_eq!(wire.exchange(stats(&proxy)).status(), 200);
            wire
        })
        .collect();
    let mut late = connect(&proxy);
    late.send(stats(&proxy)).unwrap();
    // Nothing tells that it will not be served, so the time for it is short.
    late.set_deadline(std::time::Duration::from_millis(500));
    let answer = late.response("GET");
    assert!(answer.as_ref().is_err_and(is_timeout), "{answer:?}");
    assert_eq!(proxy.fetch("http://10.0.0.1/").status(), 403);
    // Another client does not wait for this one.
    let mut other = Wire::connect_from("127.0.0.2", proxy.admin_address()).unwrap();
    assert_eq!(other.exchange(stats(&proxy)).status(), 200);
    drop(other);
    held.pop();
    late.set_deadline(crate::support::DEADLINE);
    assert_eq!(late.response("GET").unwrap().status(), 200);
}
