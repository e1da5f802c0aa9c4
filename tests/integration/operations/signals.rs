//! Signals, drains, daemons and upgrades.

use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::client::Wire;
use crate::support::command::{program, run};
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::frames;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{auth, connect, fetch};
use crate::support::upgrade::{Load, Successor};

/// Longer than any drain here, far shorter than Pingora's 300 seconds.
const SOON: Duration = Duration::from_secs(8);

fn gate() -> String {
    format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth())
}

#[test]
fn sigterm_ends_an_idle_proxy_at_once() {
    let mut proxy = Proxy::plain();
    let mut idle: Vec<Wire> = (0..5).map(|_| proxy.connect()).collect();
    for wire in &mut idle {
        assert_eq!(wire.exchange(gate()).status(), 200);
    }
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    for wire in &mut idle {
        wire.assert_closed();
    }
    let status = proxy.wait_exit(SOON);
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    assert!(status.success(), "{status}");
    assert!(TcpStream::connect(proxy.address).is_err());
}

/// An origin that answers when told to.
fn held_origin() -> (Origin, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel();
    let released = std::sync::Mutex::new(released);
    let origin = Origin::raw(move |mut wire, seen| {
        if let Some(request) = wire.request()? {
            seen.keep(request);
            let waited = released
                .lock()
                .unwrap()
                .recv_timeout(Duration::from_secs(15));
            waited.map_err(std::io::Error::other)?;
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n")?;
            payload::generate(3_000_000, |part| wire.send(part))?;
        }
        Ok(())
    });
    (origin, release)
}

#[test]
fn sigterm_lets_a_request_finish() {
    let mut proxy = Proxy::plain();
    let (origin, release) = held_origin();
    let mut wire = proxy.connect();
    wire.send(fetch(&format!("http://{}/", origin.address)))
        .unwrap();
    origin.request();
    proxy.signal(Signal::TERM);
    eventually("the listener to close", || {
        TcpStream::connect(proxy.address).err()
    });
    assert!(proxy.is_running());
    release.send(()).unwrap();
    let answer = wire.response("GET").unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(blake3::hash(&answer.body), payload::hash(3_000_000));
    wire.assert_closed();
    assert!(proxy.wait_exit(SOON).success());
    let records = proxy.records();
    assert_eq!(
        records.len(),
        1,
        "the last request is in the log: {records:?}"
    );
}

#[test]
fn sigterm_gives_tunnels_the_drain_time_and_no_more() {
    let mut proxy = Proxy::start("timeouts: { drain: 2s }");
    let origin = Origin::echo();
    let mut tunnel = proxy.tunnel(origin.address);
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    eventually("the listener to close", || {
        TcpStream::connect(proxy.address).err()
    });
    tunnel.send("still here").unwrap();
    assert_eq!(tunnel.read_bytes(10).unwrap(), b"still here");
    tunnel.rest();
    let lived = start.elapsed();
    assert!(
        lived > Duration::from_millis(1500) && lived < Duration::from_secs(6),
        "{lived:?}"
    );
    assert!(proxy.wait_exit(SOON).success());
    let record = proxy.record("the tunnel", |record| record["event"] == "tunnel_close");
    assert_eq!(record["bytes_from_client"], 10, "{record}");
}

#[test]
fn last_tunnel_ends_the_drain() {
    let mut proxy = Proxy::start("timeouts: { drain: 60s }");
    let origin = Origin::echo();
    let tunnel = proxy.tunnel(origin.address);
    proxy.signal(Signal::TERM);
    eventually("the listener to close", || {
        TcpStream::connect(proxy.address).err()
    });
    assert!(proxy.is_running());
    drop(tunnel);
    assert!(proxy.wait_exit(SOON).success());
}

#[test]
fn request_that_never_ends_is_cut_after_the_drain() {
    let mut proxy = Proxy::start("timeouts: { drain: 1s }");
    let (origin, _held) = held_origin();
    let mut wire = proxy.connect();
    wire.send(fetch(&format!("http://{}/", origin.address)))
        .unwrap();
    origin.request();
    proxy.signal(Signal::TERM);
    proxy.wait_exit(SOON);
    wire.rest();
}

#[test]
fn sigint_stops_without_a_drain() {
    let mut proxy = Proxy::start("timeouts: { drain: 60s }");
    let origin = Origin::echo();
    let mut tunnel = proxy.tunnel(origin.address);
    let mut idle = proxy.connect();
    assert_eq!(idle.exchange(gate()).status(), 200);
    proxy.signal(Signal::INT);
    proxy.wait_exit(SOON);
    tunnel.rest();
    idle.rest();
}

#[test]
fn second_signal_ends_a_drain() {
    let mut proxy = Proxy::start("timeouts: { drain: 60s }");
    let origin = Origin::echo();
    let _tunnel = proxy.tunnel(origin.address);
    proxy.signal(Signal::TERM);
    eventually("the listener to close", || {
        TcpStream::connect(proxy.address).err()
    });
    proxy.signal(Signal::INT);
    proxy.wait_exit(SOON);
}

#[test]
fn sighup_drops_nothing() {
    let mut proxy = Proxy::plain();
    let (web, echo) = (Origin::ok("page"), Origin::echo());
    let mut tunnel = proxy.tunnel(echo.address);
    let mut kept = proxy.connect();
    let url = format!("http://{}/", web.address);
    assert_eq!(kept.exchange(fetch(&url)).status(), 200);
    for _ in 0..20 {
        proxy.signal(Signal::HUP);
        assert_eq!(kept.exchange(fetch(&url)).text(), "page");
        tunnel.send("ping").unwrap();
        assert_eq!(tunnel.read_bytes(4).unwrap(), b"ping");
    }
    assert!(proxy.is_running());
}

#[test]
fn daemon_writes_its_pid_and_serves() {
    let setup = Setup::new();
    let (address, pid_file) = (setup.address(), setup.path("tollgate.pid"));
    let path = setup.write();
    let mut command = Command::new(program());
    command.arg("-d").arg("-c").arg(path.file_name().unwrap());
    // Relative paths must survive the change of directory.
    command.current_dir(setup.directory.path());
    let outcome = run(&mut command, "");
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    let daemon = Daemon::of(&pid_file);
    let mut wire = eventually("the daemon to accept", || Wire::connect(address).ok());
    assert_eq!(wire.exchange(gate()).status(), 200);
    drop(wire);
    eventually("the access log", || {
        let log = std::fs::read_to_string(setup.path("access.log")).ok()?;
        log.ends_with('\n').then_some(())
    });
    daemon.signal(Signal::TERM);
    daemon.wait_end();
}

#[test]
fn upgrade_under_load_fails_no_request() {
    assert_upgrade_fails_no_request(Setup::new());
}

/// Upgrades a proxy that clients never stop asking.
pub(super) fn assert_upgrade_fails_no_request(setup: Setup) {
    let mut proxy = setup.config("timeouts: { drain: 2s }").start();
    let origin = Origin::http(|_| ok("page"));
    let echo = Origin::echo();
    let mut tunnel = proxy.tunnel(echo.address);
    let load = Arc::new(Load::default());
    let request = fetch(&format!("http://{}/", origin.address));
    let address = proxy.address;
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let (load, request) = (Arc::clone(&load), request.clone());
            std::thread::spawn(move || match number % 2 {
                0 => load.new_connections(address, &request),
                _ => load.kept_connections(address, &request),
            })
        })
        .collect();
    eventually("load", || {
        (load.served.load(Ordering::SeqCst) > 50).then_some(())
    });

    proxy.signal(Signal::QUIT);
    let mut successor = Successor::start(&proxy);
    // The old one ends by itself, with the tunnel it had.
    tunnel.send("ping").unwrap();
    assert_eq!(tunnel.read_bytes(4).unwrap(), b"ping");
    drop(tunnel);
    let status = proxy.wait_exit(Duration::from_secs(30));
    assert!(status.success(), "{status}");
    let before = load.served.load(Ordering::SeqCst);
    eventually("the successor to serve", || {
        (load.served.load(Ordering::SeqCst) > before + 50).then_some(())
    });
    load.stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().unwrap();
    }
    let failed = load.failed.lock().unwrap().clone();
    assert!(
        failed.is_empty(),
        "{} failed: {:?}",
        failed.len(),
        &failed[..failed.len().min(5)]
    );
    assert!(successor.is_running(), "the successor runs");
    // It judges as the first one did (case 40).
    let mut wire = Wire::connect(address).unwrap();
    assert_eq!(wire.exchange(connect("10.0.0.1:443")).status(), 403);
}

/// Hands over to the next process.
fn upgrade(proxy: &Proxy) -> Successor {
    proxy.signal(Signal::QUIT);
    let successor = Successor::start(proxy);
    eventually("the new process to serve", || {
        proxy
            .errors()
            .contains("the new process serves")
            .then_some(())
    });
    successor
}

/// What a browser does: CONNECT, 407, and CONNECT again on the same connection.
#[test]
fn connection_from_before_an_upgrade_opens_its_tunnel() {
    let proxy = Proxy::plain();
    let echo = Origin::echo();
    let bare = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", echo.address);
    let mut wire = proxy.connect();
    assert_eq!(wire.exchange(&bare).status(), 407);
    let mut late = proxy.connect();
    assert_eq!(late.exchange(gate()).status(), 200);
    // It has begun before, so the test may take its time.
    let request = connect(echo.address);
    let (begin, rest) = request.split_at(20);
    wire.send(begin).unwrap();
    let (first, second) = bare.split_at(20);
    late.send(first).unwrap();
    let _successor = upgrade(&proxy);
    wire.send(rest).unwrap();
    assert_eq!(wire.response("CONNECT").unwrap().status(), 200);
    wire.send("ping").unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
    // A client that is asked for credentials now brings them to the next process.
    late.send(second).unwrap();
    let answer = late.response("CONNECT").unwrap();
    assert_eq!(answer.status(), 407);
    assert!(answer.head.fields.lists("connection", "close"));
    let mut next = proxy.tunnel(echo.address);
    next.send("ping").unwrap();
    assert_eq!(next.read_bytes(4).unwrap(), b"ping");
}

#[test]
fn stream_from_before_the_end_of_its_connection_opens_its_tunnel() {
    let proxy = Proxy::plain();
    let echo = Origin::echo();
    let mut wire = proxy.connect();
    wire.send(frames::opening(65_535)).unwrap();
    let is_open = |stream: u32, wire: &mut Wire| {
        let answers = [frames::HEADERS, frames::RST_STREAM];
        let answer = frames::read_until(wire, |frame| {
            frame.stream == stream && answers.contains(&frame.kind)
        });
        // `:status 200` (RFC 7541, appendix A).
        assert_eq!(
            (answer.kind, answer.payload[0]),
            (frames::HEADERS, 0x88),
            "{answer:?}"
        );
    };
    wire.send(frames::connect(1, echo.address)).unwrap();
    is_open(1, &mut wire);
    let _successor = upgrade(&proxy);
    // The last stream is named when the client has answered a PING, which comes behind this.
    frames::read_until(&mut wire, |frame| frame.kind == frames::GOAWAY);
    wire.send(frames::connect(3, echo.address)).unwrap();
    is_open(3, &mut wire);
    wire.send(frames::frame(frames::DATA, 0, 3, b"ping"))
        .unwrap();
    let data = frames::read_until(&mut wire, |frame| frame.kind == frames::DATA);
    assert_eq!((data.stream, data.payload.as_slice()), (3, &b"ping"[..]));
}

/// SIGTERM has no successor: a tunnel would be cut soon, and the client is sent elsewhere.
#[test]
fn no_tunnel_opens_after_sigterm() {
    let proxy = Proxy::plain();
    let echo = Origin::echo();
    let _open = proxy.tunnel(echo.address);
    let request = connect(echo.address);
    let (begin, rest) = request.split_at(20);
    let mut wire = proxy.connect();
    wire.send(begin).unwrap();
    proxy.signal(Signal::TERM);
    eventually("the drain", || {
        proxy.errors().contains("SIGTERM: draining").then_some(())
    });
    wire.send(rest).unwrap();
    assert_eq!(wire.response("CONNECT").unwrap().status(), 503);
}
