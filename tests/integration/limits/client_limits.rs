//! Deadlines and bounds: no client holds more than its share for longer than its time.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::support::allow_many_connections;
use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{auth, connect, fetch};
use crate::support::tls::Authority;

/// Checks that a wait took about a second and no eternity.
fn assert_about_a_second(start: Instant) {
    let waited = start.elapsed();
    assert!(
        waited > Duration::from_millis(500) && waited < Duration::from_secs(6),
        "{waited:?}"
    );
}

// Case 29: a head has one deadline as a whole.
#[test]
fn unfinished_head_is_408() {
    let proxy = Proxy::start("timeouts: { request_head: 1s }");
    for part in [
        "G",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX: ",
    ] {
        let start = Instant::now();
        let mut wire = proxy.connect();
        wire.send(part).unwrap();
        let answer = wire.response("GET").unwrap();
        assert_eq!(answer.status(), 408, "{part:?}");
        wire.assert_closed();
        assert_about_a_second(start);
    }
}

#[test]
fn head_in_drips_is_408() {
    let proxy = Proxy::start("timeouts: { request_head: 1s }");
    let mut wire = proxy.connect();
    let start = Instant::now();
    let head = "GET / HTTP/1.1\r\nHost: x\r\nX: "
        .bytes()
        .chain(std::iter::repeat_n(b'a', 500));
    for byte in head {
        wire.send([byte]).unwrap();
        if wire.hears_within(Duration::from_millis(50)).unwrap() {
            break;
        }
    }
    assert_eq!(wire.response("GET").unwrap().status(), 408);
    assert_about_a_second(start);
}

#[test]
fn second_head_has_the_same_deadline() {
    let proxy = Proxy::start("timeouts: { request_head: 1s, keep_alive: 30s }");
    let mut wire = proxy.connect();
    assert_eq!(wire.exchange(fetch("http://10.0.0.1/")).status(), 403);
    let start = Instant::now();
    wire.send("GET / HTTP/1.1\r\n").unwrap();
    assert_eq!(wire.response("GET").unwrap().status(), 408);
    wire.assert_closed();
    assert_about_a_second(start);
}

#[test]
fn silent_connection_is_closed() {
    let proxy = Proxy::start("timeouts: { request_head: 1s }");
    let start = Instant::now();
    let mut wire = proxy.connect();
    let said = wire.rest();
    assert!(
        said.is_empty() || said.starts_with(b"HTTP/1.1 408"),
        "{said:?}"
    );
    assert_about_a_second(start);
}

#[test]
fn idle_connection_is_closed_without_a_word() {
    let proxy = Proxy::start("timeouts: { keep_alive: 1s }");
    let mut wire = proxy.connect();
    assert_eq!(wire.exchange(fetch("http://10.0.0.1/")).status(), 403);
    let start = Instant::now();
    wire.assert_closed();
    assert_about_a_second(start);
}

#[test]
fn stalled_body_is_given_up() {
    let proxy = Proxy::start("timeouts: { request_body: 1s }");
    let origin = Origin::http(|request| ok(&request.body));
    let address = origin.address;
    for framing in [
        "Content-Length: 100\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n64\r\nhalf",
    ] {
        let start = Instant::now();
        let mut wire = proxy.connect();
        wire.send(format!(
            "POST http://{address}/ HTTP/1.1\r\nHost: {address}\r\n{}{framing}",
            auth()
        ))
        .unwrap();
        let said = String::from_utf8_lossy(&wire.rest()).into_owned();
        assert!(
            said.is_empty() || said.starts_with("HTTP/1.1 408"),
            "{framing:?}: {said}"
        );
        assert_about_a_second(start);
    }
    origin.wait_all_closed();
    assert!(origin.requests().is_empty());
}

#[test]
fn unfinished_tls_handshake_is_closed() {
    let authority = Authority::new();
    let proxy = Setup::new()
        .tls(&authority.issue(&["proxy.test"]))
        .config("timeouts: { tls_handshake: 1s, request_head: 1s }")
        .start();
    for part in [b"".as_slice(), b"\x16\x03\x01\x02\x00\x01\x00"] {
        let start = Instant::now();
        let mut wire = Wire::connect(proxy.secure_address()).unwrap();
        wire.send(part).unwrap();
        wire.rest();
        assert_about_a_second(start);
    }
}

#[test]
fn plain_text_at_a_tls_listener_is_closed() {
    let authority = Authority::new();
    let mut proxy = Setup::new().tls(&authority.issue(&["proxy.test"])).start();
    let mut wire = Wire::connect(proxy.secure_address()).unwrap();
    wire.send(fetch("http://127.0.0.1/")).unwrap();
    let said = wire.rest();
    assert!(!said.starts_with(b"HTTP/1.1 2"));
    assert!(proxy.is_running());
}

#[test]
fn long_target_is_414() {
    let proxy = Proxy::start("limits: { request_target: 4KiB }");
    let origin = Origin::ok("in");
    let url = |length: usize| format!("http://{}/{}", origin.address, "a".repeat(length));
    assert_eq!(proxy.fetch(&url(3000)).status(), 200);
    for length in [5000, 20_000, 60_000] {
        let mut wire = proxy.connect();
        wire.send(fetch(&url(length))).unwrap();
        let answer = wire.response("GET").unwrap();
        assert_eq!(answer.status(), 414, "{length}");
        assert!(wire.rest().is_empty());
    }
    // Without an end, too.
    let mut wire = proxy.connect();
    let endless = url(1_000_000);
    let _maybe_closed = wire.send(format!("GET {endless}"));
    let status = wire.response("GET").unwrap().status();
    assert!([414, 431].contains(&status), "{status}");
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn large_head_is_431() {
    let proxy = Proxy::start("limits: { request_head: 8KiB }");
    let origin = Origin::ok("in");
    let address = origin.address;
    let request = |length: usize| {
        format!(
            "GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\n{}X: {}\r\n\r\n",
            auth(),
            "a".repeat(length)
        )
    };
    assert_eq!(proxy.exchange(request(6000)).status(), 200);
    for length in [9000, 70_000, 2_000_000] {
        let mut wire = proxy.connect();
        let _maybe_closed = wire.send(request(length));
        let answer = wire.response("GET").unwrap();
        assert_eq!(answer.status(), 431, "{length}");
        assert!(wire.rest().is_empty());
    }
    assert_eq!(origin.requests().len(), 1);
}

/// The most that can be configured, with those that are added: Pingora reads 256.
#[test]
fn as_many_fields_as_can_be_configured_are_served() {
    let proxy = Proxy::start("limits: { request_fields: 253 }");
    let fields: String = (0..251)
        .map(|number| format!("X-{number}: 1\r\n"))
        .collect();
    let request = format!("GET / HTTP/1.1\r\nHost: gate\r\n{}{fields}\r\n", auth());
    assert_eq!(proxy.exchange(request).status(), 200);
    assert_eq!(proxy.wait_records(1)[0]["status"], 200);
}

#[test]
fn too_many_fields_are_431() {
    let proxy = Proxy::start("limits: { request_fields: 50 }");
    let origin = Origin::ok("in");
    let address = origin.address;
    let request = |count: usize| {
        let fields: String = (0..count)
            .map(|number| format!("X-{number}: y\r\n"))
            .collect();
        format!(
            "GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\n{}{fields}\r\n",
            auth()
        )
    };
    assert_eq!(proxy.exchange(request(40)).status(), 200);
    for count in [60, 300, 1000] {
        let mut wire = proxy.connect();
        let _maybe_closed = wire.send(request(count));
        assert_eq!(wire.response("GET").unwrap().status(), 431, "{count}");
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn default_bounds_hold() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let address = origin.address;
    let head = format!(
        "GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\n{}",
        auth()
    );
    // 40 KiB of cookies and 100 fields are in use out there.
    let fields: String = (0..90).map(|number| format!("X-{number}: y\r\n")).collect();
    let cookie = format!("Cookie: {}\r\n", "c".repeat(40 * 1024));
    assert_eq!(
        proxy
            .exchange(format!("{head}{fields}{cookie}\r\n"))
            .status(),
        200
    );
    let mut wire = proxy.connect();
    let _maybe_closed = wire.send(format!("{head}Cookie: {}\r\n\r\n", "c".repeat(200 * 1024)));
    assert_eq!(wire.response("GET").unwrap().status(), 431);
}

/// Opens connections until `count` of them have got `status` and are still open.
fn fill(proxy: &Proxy, count: usize, request: &str, status: u16) -> Vec<Wire> {
    let method = request.split(' ').next().unwrap_or("");
    (0..count)
        .map(|_| {
            // The place of a connection that was just closed comes back in a moment.
            eventually("a place", || {
                let mut wire = proxy.connect();
                wire.set_deadline(Duration::from_secs(5));
                let _maybe_closed = wire.send(request);
                let answer = wire.response(method).ok()?;
                (answer.status() == status).then_some(wire)
            })
        })
        .collect()
}

/// Checks that a connection more is not served until one of `held` is closed, and then is.
///
/// Whether it waits meanwhile, is answered with 503 or is closed is the program's choice.
fn assert_full(proxy: &Proxy, mut held: Vec<Wire>, request: &str, status: u16) {
    let method = request.split(' ').next().unwrap_or("");
    let mut wire = proxy.connect();
    // Nothing tells that it will never be served, so the time for it is short.
    wire.set_deadline(Duration::from_millis(500));
    let _maybe_closed = wire.send(request);
    let answer = wire.response(method);
    assert!(
        answer
            .as_ref()
            .map_or(true, |answer| answer.status() == 503),
        "{answer:?}"
    );
    drop(wire);
    held.pop();
    fill(proxy, 1, request, status);
}

#[test]
fn connections_above_the_maximum_are_not_served_and_places_come_back() {
    let proxy = Proxy::start("limits: { max_connections: 5 }");
    let request = fetch("http://10.0.0.1/");
    let held = fill(&proxy, 5, &request, 403);
    assert_full(&proxy, held, &request, 403);
}

#[test]
fn open_tunnels_count_as_connections() {
    let proxy = Proxy::start("limits: { max_connections: 3 }");
    let origin = Origin::echo();
    let request = connect(origin.address);
    let held = fill(&proxy, 3, &request, 200);
    assert_full(&proxy, held, &request, 200);
}

/// Streams for as long as somebody takes it.
fn fountain(head: &'static str) -> Origin {
    Origin::raw(move |mut wire, _| {
        if !head.is_empty() {
            wire.request()?;
            wire.send(head)?;
        }
        payload::generate(400_000_000, |part| wire.send(part)).map(drop)
    })
}

// Case 29: what a slow reader does not take stays at the origin.
#[test]
fn slow_readers_hold_bounded_memory() {
    let proxy = Proxy::plain();
    let web = fountain("HTTP/1.1 200 OK\r\nContent-Length: 400000000\r\n\r\n");
    let raw = fountain("");
    let echo = Origin::echo();
    let pair = || {
        let mut wire = proxy.connect();
        wire.send(fetch(&format!("http://{}/", web.address)))
            .unwrap();
        wire.read_head().unwrap();
        [wire, proxy.tunnel(raw.address)]
    };
    let neighbour = || {
        let mut wire = proxy.tunnel(echo.address);
        let data = payload::bytes(200_000);
        let mut writer = wire.socket().try_clone().unwrap();
        let sent = data.clone();
        let sending = std::thread::spawn(move || writer.write_all(&sent));
        assert_eq!(wire.read_bytes(data.len()).unwrap(), data);
        sending.join().unwrap().unwrap();
    };
    // The program itself comes into memory at its first use.
    drop(pair());
    neighbour();
    let before = proxy.resident();
    let _clients: Vec<_> = (0..8).map(|_| pair()).collect();
    // A neighbour is served while the slow ones hold what they hold.
    for _ in 0..20 {
        neighbour();
    }
    let grown = proxy.resident().saturating_sub(before);
    assert!(grown < 40 * 1024, "{grown} KiB for sixteen slow readers");
}

#[test]
fn slow_origins_hold_bounded_memory() {
    let proxy = Proxy::plain();
    let web = Origin::deaf();
    let before = proxy.resident();
    let mut clients = Vec::new();
    for number in 0..8 {
        let mut wire = proxy.connect();
        if number % 2 == 0 {
            wire.send(format!(
                "POST http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}Content-Length: 900000000\r\n\r\n",
                web.address,
                auth()
            ))
            .unwrap();
        } else {
            assert_eq!(wire.exchange(connect(web.address)).status(), 200);
        }
        wire.socket()
            .set_write_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        // Ends when every buffer on the way is full.
        let full = payload::generate(900_000_000, |part| wire.send(part));
        assert!(full.is_err(), "all of it was taken");
        clients.push(wire);
    }
    let grown = proxy.resident().saturating_sub(before);
    assert!(grown < 40 * 1024, "{grown} KiB for eight slow origins");
}

#[test]
fn reader_that_takes_nothing_is_given_up() {
    let proxy = Proxy::start("timeouts: { send: 1s }");
    let web = fountain("HTTP/1.1 200 OK\r\nContent-Length: 400000000\r\n\r\n");
    let mut wire = proxy.connect();
    wire.send(fetch(&format!("http://{}/", web.address)))
        .unwrap();
    wire.read_head().unwrap();
    // The origin's side is closed when the client is given up.
    web.wait_connections(1);
    web.wait_all_closed();
    let mut taken = 0;
    let mut chunk = vec![0; 1 << 20];
    let mut socket = wire.socket().try_clone().unwrap();
    while let Ok(count @ 1..) = socket.read(&mut chunk) {
        taken += count;
    }
    assert!(taken < 400_000_000, "the whole body came");
}

// Case 29: slow clients leave the service as it was.
#[test]
fn slow_heads_do_not_disturb_others() {
    allow_many_connections();
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    // The pages of the program itself that a first request touches are no client's.
    proxy.fetch(&format!("http://{}/", origin.address));
    let before = proxy.resident();
    let slow: Vec<Wire> = (0..400)
        .map(|_| {
            let mut wire = proxy.connect();
            wire.send("GET / HTTP/1.1\r\nHost:").unwrap();
            wire
        })
        .collect();
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(
            proxy.fetch(&format!("http://{}/", origin.address)).status(),
            200
        );
    }
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    let grown = proxy.resident().saturating_sub(before);
    assert!(grown < 400 * 40, "{grown} KiB for 400 slow heads");
    drop(slow);
}

#[test]
fn endless_response_head_is_502() {
    let proxy = Proxy::plain();
    let origin = Origin::raw(|mut wire, _| {
        wire.request()?;
        wire.send("HTTP/1.1 200 OK\r\n")?;
        loop {
            wire.send(format!("X: {}\r\n", "a".repeat(10_000)))?;
        }
    });
    let before = proxy.resident();
    let answer = proxy.fetch(&format!("http://{}/", origin.address));
    assert_eq!(answer.status(), 502);
    assert!(proxy.resident().saturating_sub(before) < 32 * 1024);
}
