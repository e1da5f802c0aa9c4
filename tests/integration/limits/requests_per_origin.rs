//! How many forwarded requests one origin gets at once, and what becomes of the rest.

use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::request;

/// One place for each origin, and `connect` as the time to get it.
fn narrow(connect: &str) -> Proxy {
    narrow_on(2, connect)
}

fn narrow_on(threads: usize, connect: &str) -> Proxy {
    let more =
        format!("limits: {{ connections_per_origin: 1 }}\ntimeouts: {{ connect: {connect} }}");
    Setup::new()
        .server(&format!("threads: {threads}"))
        .config(&more)
        .start()
}

#[test]
fn over_the_bound_requests_wait() {
    assert_eq!(of_twenty_clients(2).peak_requests(), 1);
}

/// With one thread, since Pingora may lose an idle connection that another thread takes:
/// it is closed then, but the next is opened already.
#[test]
fn over_the_bound_requests_open_no_connection() {
    let origin = of_twenty_clients(1);
    assert_eq!((origin.connections(), origin.peak_requests()), (1, 1));
}

/// An origin with one place, of which twenty clients have asked something at once.
fn of_twenty_clients(threads: usize) -> Origin {
    let (origin, release) = Origin::held();
    let proxy = narrow_on(threads, "15s");
    let mut clients: Vec<Wire> = (0..20).map(|_| proxy.connect()).collect();
    for wire in &mut clients {
        wire.send(request("GET", &origin, "", "")).unwrap();
    }
    // The first is held until all the clients are there.
    origin.request();
    eventually("all to be accepted", || {
        let metrics = proxy.admin("/metrics").text();
        metrics
            .contains("tollgate_open_connections 20\n")
            .then_some(())
    });
    for _ in &clients {
        release.send(()).unwrap();
    }
    for wire in &mut clients {
        assert_eq!(wire.response("GET").unwrap().status(), 200);
    }
    origin
}

#[test]
fn a_request_whose_turn_does_not_come_is_503_and_the_next_one_goes_on() {
    let (origin, release) = Origin::held();
    let proxy = narrow("1s");
    let mut first = proxy.connect();
    first.send(request("GET", &origin, "", "")).unwrap();
    origin.request();
    let mut second = proxy.connect();
    let answer = second.exchange(request("GET", &origin, "", ""));
    assert_eq!(answer.status(), 503);
    assert!(answer.text().contains("origin_queue_timeout"));
    assert!(answer.field("retry-after").is_some());
    // Another origin has places of its own.
    let other = Origin::ok("other");
    let answer = second.exchange(request("GET", &other, "", ""));
    assert_eq!(answer.text(), "other");

    release.send(()).unwrap();
    assert_eq!(first.response("GET").unwrap().status(), 200);
    release.send(()).unwrap();
    let answer = second.exchange(request("GET", &origin, "", ""));
    assert_eq!(answer.status(), 200);
}

/// A client that leaves the queue must not use up its turn.
#[test]
fn a_client_that_leaves_gives_up_its_turn() {
    let (origin, release) = Origin::held();
    let proxy = narrow("15s");
    let mut first = proxy.connect();
    first.send(request("GET", &origin, "", "")).unwrap();
    origin.request();
    let mut gone = proxy.connect();
    gone.send(request("GET", &origin, "", "")).unwrap();
    gone.reset();
    let mut last = proxy.connect();
    last.send(request("GET", &origin, "", "")).unwrap();
    // It left its record before anybody was released.
    proxy.record("the client that left", |record| {
        record["error"] == "client_gone"
    });
    release.send(()).unwrap();
    assert_eq!(first.response("GET").unwrap().status(), 200);
    release.send(()).unwrap();
    assert_eq!(last.response("GET").unwrap().status(), 200);
    assert_eq!(origin.requests().len(), 2);
}

/// An upgrade is a request until it is one: then it is a tunnel, which does not count.
#[test]
fn an_upgrade_takes_a_place_until_its_101() {
    let origin = Origin::raw(|mut wire, seen| {
        while let Some(request) = wire.request()? {
            let upgrade = request.head.fields.has("upgrade");
            seen.keep(request);
            if upgrade {
                wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
                wire.read_to_end()?;
                return Ok(());
            }
            wire.send(ok("in"))?;
        }
        Ok(())
    });
    let proxy = narrow("1s");
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let mut wire = proxy.connect();
        wire.send(request("GET", &origin, fields, "")).unwrap();
        assert_eq!(wire.read_head().unwrap().unwrap().status(), 101);
        sockets.push(wire);
    }
    assert_eq!(proxy.exchange(request("GET", &origin, "", "")).text(), "in");

    let (held, release) = Origin::held();
    let mut first = proxy.connect();
    first.send(request("GET", &held, "", "")).unwrap();
    held.request();
    let busy = proxy.exchange(request("GET", &held, fields, ""));
    assert_eq!(busy.status(), 503);
    release.send(()).unwrap();
    assert_eq!(first.response("GET").unwrap().status(), 200);
}
