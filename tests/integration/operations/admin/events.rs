//! `/api/v1/events`: snapshots and denials as they happen, their bounds, and slow readers.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::admin::{ROOT, ask, login, request, root, with_users};
use crate::support::client::Wire;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::fetch;
use crate::support::{eventually, within};

/// Of one client; two places are left for others.
pub(super) const LISTENERS: usize = 6;

/// The address of another client.
const OTHER: &str = "127.0.0.2";

/// A listener.
pub(super) struct Listener(Wire);

impl Listener {
    /// A listener, which is slow where its system takes little at once.
    pub(super) fn new(proxy: &Proxy, narrow: bool) -> Self {
        let address = proxy.admin_address();
        let connect = match narrow {
            true => Wire::connect_narrow,
            false => Wire::connect,
        };
        let mut wire = connect(address).unwrap();
        wire.send(request(address, "GET", "/api/v1/events", &login(ROOT), ""))
            .unwrap();
        Self(wire)
    }

    pub(super) fn open(proxy: &Proxy) -> Self {
        Self::new(proxy, false).begun()
    }

    fn open_from(address: &str, proxy: &Proxy) -> Self {
        let service = proxy.admin_address();
        let mut wire = Wire::connect_from(address, service).unwrap();
        wire.send(request(service, "GET", "/api/v1/events", &login(ROOT), ""))
            .unwrap();
        Self(wire).begun()
    }

    fn begun(self) -> Self {
        let mut listener = self;
        let head = listener.0.read_head().unwrap().unwrap();
        assert_eq!(head.status(), 200, "{}", head.start);
        assert_eq!(head.fields.value("content-type"), Some("text/event-stream"));
        listener
    }

    /// The next event: its name and its data.
    pub(super) fn next(&mut self) -> (String, Value) {
        loop {
            let block = self.0.read_until(b"\n\n").unwrap();
            let block = String::from_utf8(block).unwrap();
            let lines = || block.split(['\n', '\r']);
            let of = |name: &str| lines().find_map(|line| line.strip_prefix(name));
            if let (Some(event), Some(data)) = (of("event: "), of("data: ")) {
                return (event.to_owned(), serde_json::from_str(data).unwrap());
            }
        }
    }

    fn next_of(&mut self, name: &str) -> Value {
        loop {
            let (event, data) = self.next();
            if event == name {
                return data;
            }
        }
    }
}

#[test]
fn a_snapshot_each_second_and_denials_as_they_happen() {
    let proxy = with_users()
        .config("policy: { rules: [ { name: no, action: deny, domains: [denied.test] } ] }")
        .start();
    let mut listener = Listener::open(&proxy);
    let echo = Origin::echo();
    let _tunnel = proxy.tunnel(echo.address);
    let first = listener.next_of("snapshot");
    let begun = Instant::now();
    let shown = (0..5).map(|_| listener.next_of("snapshot")).last().unwrap();
    let took = begun.elapsed();
    assert!(
        took > Duration::from_millis(3500) && took < Duration::from_secs(12),
        "{took:?}"
    );
    assert!(shown["now"]["time"].as_u64() > first["now"]["time"].as_u64());
    assert_eq!(shown["tunnels"]["total"], 1, "{shown}");
    // They come one by one, but for those of a second that has had its share: these are counted.
    let mut wire = proxy.connect();
    let begun = Instant::now();
    for _ in 0..100 {
        let answer = wire.exchange(fetch("http://denied.test/path?key=canary"));
        assert_eq!(answer.status(), 403);
    }
    let (mut told, mut skipped, mut last) = (0, 0, Duration::ZERO);
    while told + skipped < 100 {
        let (event, data) = listener.next();
        match event.as_str() {
            "denial" => {
                assert_eq!(data["rule"], "no");
                assert_eq!(data["target"], "http://denied.test/path");
                (told, last) = (told + 1, begun.elapsed());
            }
            "denials_skipped" => skipped += data["count"].as_u64().unwrap(),
            _ => {}
        }
    }
    assert_eq!(told + skipped, 100);
    // The first second may have begun before.
    let seconds = last.as_secs() + 2;
    assert!(told >= 20 && told <= 20 * seconds, "{told} in {last:?}");
}

#[test]
fn listeners_have_a_bound_and_give_their_place_back() {
    let proxy = with_users().start();
    let mut listeners: Vec<Listener> = (0..LISTENERS).map(|_| Listener::open(&proxy)).collect();
    let answer = root(&proxy, "GET", "/api/v1/events", "");
    assert_eq!(answer.status(), 503, "{}", answer.text());
    assert!(answer.field("retry-after").is_some());
    // Another client gets what one may not take.
    listeners.extend((0..2).map(|_| Listener::open_from(OTHER, &proxy)));
    // All get the same snapshot.
    let time = |value: Value| value["now"]["time"].as_u64().unwrap();
    let times: Vec<u64> = listeners
        .iter_mut()
        .map(|it| time(it.next_of("snapshot")))
        .collect();
    assert!(
        times.iter().max().unwrap() - times.iter().min().unwrap() <= 3,
        "{times:?}"
    );
    listeners.truncate(1);
    eventually("a place", || {
        let mut again = Listener::new(&proxy, false);
        let head = again.0.read_head().unwrap().unwrap();
        (head.status() == 200).then_some(())
    });
}

#[test]
fn a_slow_reader_is_closed_and_others_are_served() {
    let proxy = with_users().start();
    let echo = Origin::echo();
    let _tunnels: Vec<Wire> = (0..200).map(|_| proxy.tunnel(echo.address)).collect();
    let slow: Vec<Listener> = (0..LISTENERS - 1)
        .map(|_| Listener::new(&proxy, true))
        .collect();
    let mut quick = Listener::open(&proxy);
    assert_eq!(quick.next_of("snapshot")["tunnels"]["total"], 200);
    let resident = proxy.resident();
    // They take nothing, and so they lose their places.
    let reopened = within(Duration::from_secs(60), || {
        let begun = Instant::now();
        let _snapshot = quick.next_of("snapshot");
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
        let mut again = Listener::new(&proxy, false);
        let mut second = Listener::new(&proxy, false);
        let heads = [&mut again, &mut second].map(|it| it.0.read_head().unwrap().unwrap().status());
        (heads == [200, 200]).then_some(())
    });
    assert!(reopened.is_some(), "slow readers are not closed");
    drop(slow);
    // What waited for them was little.
    let grown = proxy.resident().saturating_sub(resident);
    assert!(grown < 32 * 1024, "{grown} KiB");
}

#[test]
fn events_end_when_the_process_drains() {
    let mut proxy = with_users().config("timeouts: { drain: 60s }").start();
    let mut listener = Listener::open(&proxy);
    let _snapshot = listener.next_of("snapshot");
    proxy.signal(Signal::TERM);
    let rest = listener.0.rest();
    assert!(
        rest.ends_with(b"0\r\n\r\n"),
        "{:?}",
        String::from_utf8_lossy(&rest)
    );
    assert!(proxy.wait_exit(crate::support::DEADLINE).success());
}

#[test]
fn nobody_else_listens() {
    let proxy = with_users().start();
    assert_eq!(ask(&proxy, "GET", "/api/v1/events", "", "").status(), 401);
    assert_eq!(
        ask(&proxy, "POST", "/api/v1/events", &login(ROOT), "").status(),
        405
    );
    // HTTP/1.0 has no chunks: the end of the connection is that of the events.
    let address = proxy.admin_address();
    let mut wire = Wire::connect(address).unwrap();
    let old =
        request(address, "GET", "/api/v1/events", &login(ROOT), "").replace("HTTP/1.1", "HTTP/1.0");
    wire.send(old).unwrap();
    let head = wire.read_head().unwrap().unwrap();
    assert!(!head.fields.has("transfer-encoding"), "{}", head.start);
    assert!(head.fields.lists("connection", "close"));
    let _retry = wire.read_until(b"retry: 2000\n\n").unwrap();
    let _snapshot = wire.read_until(b"event: snapshot\ndata: {").unwrap();
}
