//! Threads that share their work, which has to be asked for.

use std::net::TcpStream;

use rustix::process::Signal;

use super::signals::assert_upgrade_fails_no_request;
use crate::support::client::Wire;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::proxy::Setup;
use crate::support::request::ALICE;
use crate::support::request::{auth, fetch, request, request_of};
use crate::support::{DEADLINE, eventually};

/// Two threads, and two tasks that accept for each listener.
fn sharing() -> Setup {
    Setup::new().server("threads: 2\nwork_stealing: true\nlistener_tasks_per_fd: 2")
}

/// Opens WebSockets at each upgrade, and sends back what comes on them.
fn web_and_socket() -> Origin {
    Origin::raw(|mut wire, seen| {
        while let Some(request) = wire.request()? {
            let is_upgrade = request.head.fields.has("upgrade");
            let target = request.head.target().to_owned();
            seen.keep(request);
            if is_upgrade {
                wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
                let ping = wire.read_bytes(4)?;
                wire.send(ping)?;
                return wire.finish();
            }
            wire.send(ok(target))?;
        }
        Ok(())
    })
}

#[test]
fn threads_that_share_their_work_serve_everything() {
    let (web, echo) = (web_and_socket(), Origin::echo());
    let mut proxy = sharing()
        .config(&format!("gateway: {{ upstreams: [\"{}\"] }}", web.address))
        .start();
    let mut clients: Vec<Wire> = (0..20).map(|_| proxy.connect()).collect();
    for round in 0..3 {
        for (number, wire) in clients.iter_mut().enumerate() {
            let path = format!("/{round}/{number}");
            let url = format!("http://{}{path}", web.address);
            wire.send(fetch(&url) + &request_of(ALICE, "GET", &path))
                .unwrap();
        }
        for (number, wire) in clients.iter_mut().enumerate() {
            for _ in ["forward", "gateway"] {
                let answer = wire.response("GET").unwrap();
                assert_eq!(answer.text(), format!("/{round}/{number}"));
            }
        }
    }
    let mut tunnels: Vec<Wire> = (0..20).map(|_| proxy.tunnel(echo.address)).collect();
    for wire in &mut tunnels {
        wire.send("ping").unwrap();
        assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
    }
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    for _ in 0..20 {
        let mut wire = proxy.connect();
        wire.send(request("GET", &web, upgrade, "")).unwrap();
        assert_eq!(wire.read_head().unwrap().unwrap().status(), 101);
        wire.send("ping").unwrap();
        assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
        wire.finish().unwrap();
        wire.assert_closed();
    }
    drop((tunnels, clients));
    assert_eq!(proxy.wait_records(160).len(), 160);
    proxy.signal(Signal::TERM);
    assert!(proxy.wait_exit(DEADLINE).success());
}

/// The bound is on requests. Pingora may lose an idle connection that another thread takes: the next is opened
/// while that one closes, so that there may be one more connection for each request.
#[test]
fn bound_of_an_upstream_holds_for_all_threads() {
    const CLIENTS: usize = 40;
    let (origin, release) = Origin::held();
    let proxy = sharing()
        .config(&format!(
            "gateway: {{ upstreams: [\"{}\"], max_connections_per_upstream: 3, health_check: {{ interval: 1h }} }}",
            origin.address
        ))
        .start();
    let mut clients: Vec<Wire> = (0..CLIENTS).map(|_| proxy.connect()).collect();
    for round in 0..3 {
        for (number, wire) in clients.iter_mut().enumerate() {
            let path = format!("/{round}/{number}");
            wire.send(request_of(ALICE, "GET", &path)).unwrap();
        }
        eventually("the others to queue", || {
            let waiting = proxy.metric("tollgate_gateway_queue_depth");
            (waiting == CLIENTS as u64 - 3).then_some(())
        });
        clients.iter().for_each(|_| release.send(()).unwrap());
        for (number, wire) in clients.iter_mut().enumerate() {
            let answer = wire.response("GET").unwrap();
            assert_eq!(answer.text(), format!("/{round}/{number}"));
        }
    }
    assert_eq!(origin.peak_requests(), 3);
    // One is a health check.
    let peak = origin.peak_connections();
    assert!(peak <= 2 * 3 + 1, "{peak} connections at once");
}

/// The same for an origin, whose clients are forwarded.
#[test]
fn bound_of_an_origin_holds_for_all_threads() {
    let (origin, release) = Origin::held();
    let proxy = sharing()
        .config("limits: { connections_per_origin: 1 }\ntimeouts: { connect: 15s }")
        .start();
    let mut clients: Vec<Wire> = (0..20).map(|_| proxy.connect()).collect();
    for wire in &mut clients {
        wire.send(request("GET", &origin, "", "")).unwrap();
    }
    origin.request();
    eventually("all to be accepted", || {
        (proxy.metric("tollgate_open_connections") == 20).then_some(())
    });
    clients.iter().for_each(|_| release.send(()).unwrap());
    for wire in &mut clients {
        assert_eq!(wire.response("GET").unwrap().status(), 200);
    }
    assert_eq!(origin.peak_requests(), 1);
}

#[test]
fn drain_lets_requests_finish_and_gives_tunnels_their_time() {
    let mut proxy = sharing().config("timeouts: { drain: 2s }").start();
    let (origin, release) = Origin::held();
    let echo = Origin::echo();
    let mut tunnel = proxy.tunnel(echo.address);
    let mut idle = proxy.connect();
    let gate = format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth());
    assert_eq!(idle.exchange(gate).status(), 200);
    let mut wire = proxy.connect();
    wire.send(request("GET", &origin, "", "")).unwrap();
    origin.request();
    proxy.signal(Signal::TERM);
    eventually("the listener to close", || {
        TcpStream::connect(proxy.address).err()
    });
    idle.assert_closed();
    release.send(()).unwrap();
    assert_eq!(wire.response("GET").unwrap().status(), 200);
    tunnel.send("ping").unwrap();
    assert_eq!(tunnel.read_bytes(4).unwrap(), b"ping");
    assert!(tunnel.rest().is_empty());
    assert!(proxy.wait_exit(DEADLINE).success());
    assert_eq!(proxy.records().len(), 3);
}

#[test]
fn upgrade_under_load_fails_no_request() {
    assert_upgrade_fails_no_request(sharing());
}
