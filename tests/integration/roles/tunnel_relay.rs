//! Tunnels that are open: bytes, ends, resets and what is left behind.

use std::io::{Read, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::support::client::{Wire, is_reset};
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::port::Port;
use crate::support::proxy::Proxy;
use crate::support::request::connect;
use crate::support::{DEADLINE, allow_many_connections};

#[test]
fn half_close_by_the_client_delivers_what_is_in_flight() {
    let proxy = Proxy::plain();
    let length = 8 * 1024 * 1024;
    let origin = Origin::raw(move |mut wire, _| {
        // Nothing is answered until the client has ended.
        let got = wire.read_to_end()?;
        wire.send(blake3::hash(&got).as_bytes())?;
        payload::generate(length, |part| wire.send(part))?;
        wire.finish()
    });
    let mut wire = proxy.tunnel(origin.address);
    let sent = payload::generate(3_000_000, |part| wire.send(part)).unwrap();
    wire.finish().unwrap();
    assert_eq!(wire.read_bytes(32).unwrap(), sent.as_bytes());
    let back = wire.read_to_end().unwrap();
    assert_eq!(blake3::hash(&back), payload::hash(length));
}

#[test]
fn half_close_by_the_origin_delivers_what_is_in_flight() {
    let proxy = Proxy::plain();
    let (report, reported) = std::sync::mpsc::channel();
    let origin = Origin::raw(move |mut wire, _| {
        payload::generate(3_000_000, |part| wire.send(part))?;
        wire.finish()?;
        let got = wire.read_to_end()?;
        report
            .send(blake3::hash(&got))
            .map_err(std::io::Error::other)
    });
    let mut wire = proxy.tunnel(origin.address);
    let got = wire.read_to_end().unwrap();
    assert_eq!(blake3::hash(&got), payload::hash(3_000_000));
    // The origin has ended; the other direction still stands.
    let sent = payload::generate(3_000_000, |part| wire.send(part)).unwrap();
    wire.finish().unwrap();
    let arrived = reported.recv_timeout(Duration::from_secs(15)).unwrap();
    assert_eq!(arrived, sent);
}

#[test]
fn tunnel_ends_when_both_have_ended() {
    let proxy = Proxy::plain();
    let origin = Origin::raw(|mut wire, _| {
        wire.send("bye")?;
        wire.finish()?;
        wire.read_to_end().map(drop)
    });
    let mut wire = proxy.tunnel(origin.address);
    assert_eq!(wire.read_to_end().unwrap(), b"bye");
    wire.finish().unwrap();
    origin.wait_all_closed();
    let record = proxy.record("the tunnel", |record| record["method"] == "CONNECT");
    assert_eq!(record["bytes_from_upstream"], 3, "{record}");
}

// Case 8: what goes in comes out, both ways at once.
#[test]
fn hundred_megabytes_each_way_are_identical() {
    const LENGTH: u64 = 100_000_000;
    let proxy = Proxy::plain();
    let origin = Origin::echo();
    let wire = proxy.tunnel(origin.address);
    let mut writer = wire.socket().try_clone().unwrap();
    let mut reader = wire.socket().try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let hash = payload::generate(LENGTH, |part| writer.write_all(part)).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
        hash
    });
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut chunk).unwrap() {
            0 => break,
            count => hasher.update(&chunk[..count]),
        };
    }
    assert_eq!(hasher.finalize(), sending.join().unwrap());
    drop(wire);
    let record = proxy.record("the tunnel", |record| record["method"] == "CONNECT");
    assert_eq!(record["bytes_from_client"], LENGTH, "{record}");
    assert_eq!(record["bytes_from_upstream"], LENGTH, "{record}");
}

#[test]
fn idle_tunnel_is_closed_and_a_busy_one_is_not() {
    let proxy = Proxy::start("timeouts: { tunnel_idle: 1s }");
    let origin = Origin::echo();
    let mut busy = proxy.tunnel(origin.address);
    // Time is what this is about: two tunnels are given up meanwhile, one after the other.
    for _ in 0..2 {
        let start = Instant::now();
        let mut idle = proxy.tunnel(origin.address);
        // Traffic of one direction at a time, each gap shorter than the time-out.
        while !idle.hears_within(Duration::from_millis(200)).unwrap() {
            busy.send("x").unwrap();
            assert_eq!(busy.read_bytes(1).unwrap(), b"x");
            assert!(start.elapsed() < DEADLINE, "an idle tunnel is kept");
        }
        assert!(idle.rest().is_empty());
        assert!(
            start.elapsed() > Duration::from_millis(900),
            "{:?}",
            start.elapsed()
        );
    }
    busy.send("still").unwrap();
    assert_eq!(busy.read_bytes(5).unwrap(), b"still");
    let record = proxy.record("the idle tunnel", |record| record["method"] == "CONNECT");
    assert!(
        record.to_string().contains("idle"),
        "the reason it ended: {record}"
    );
}

// Case 29: a half-closed tunnel is subject to the idle time-out too.
#[test]
fn half_closed_idle_tunnel_is_closed() {
    let proxy = Proxy::start("timeouts: { tunnel_idle: 1s }");
    // Never answers, never ends by itself.
    let origin = Origin::deaf();
    let mut wire = proxy.tunnel(origin.address);
    wire.finish().unwrap();
    let start = Instant::now();
    assert!(wire.rest().is_empty());
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn reset_by_the_client_reaches_the_origin_within_a_second() {
    let proxy = Proxy::plain();
    let (report, reported) = std::sync::mpsc::channel();
    let origin = Origin::raw(move |mut wire, _| {
        wire.read_bytes(1)?;
        let ended = wire.read_to_end();
        report
            .send((Instant::now(), ended.is_err_and(|e| is_reset(&e))))
            .map_err(std::io::Error::other)
    });
    let mut wire = proxy.tunnel(origin.address);
    wire.send("x").unwrap();
    // The byte has come through before the reset can overtake it.
    proxy_settled(&origin);
    let start = Instant::now();
    wire.reset();
    let (ended, reset) = reported.recv_timeout(Duration::from_secs(5)).unwrap();
    assert!(
        ended - start < Duration::from_secs(1),
        "{:?}",
        ended - start
    );
    assert!(reset, "a reset and no orderly end");
}

fn proxy_settled(origin: &Origin) {
    origin.wait_connections(1);
}

#[test]
fn reset_by_the_origin_reaches_the_client_within_a_second() {
    let proxy = Proxy::plain();
    let origin = Origin::raw(|mut wire, _| {
        wire.read_bytes(1)?;
        wire.reset();
        Ok(())
    });
    let mut wire = proxy.tunnel(origin.address);
    let start = Instant::now();
    wire.send("x").unwrap();
    let ended = wire.read_to_end();
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    let error = ended.expect_err("a reset and no orderly end");
    assert!(is_reset(&error), "{error}");
}

// Case 34: tunnels that end in every odd way leave nothing behind.
#[test]
fn churn_leaves_no_descriptors_and_no_memory() {
    let proxy = Proxy::plain();
    let origin = Origin::echo();
    let nobody = Port::reserve();
    let round = || {
        for index in 0..200 {
            let mut wire = proxy.connect();
            match index % 5 {
                0 => wire.send(connect(nobody.address)).unwrap(),
                1 => wire.send("CONNECT ").unwrap(),
                2 => {
                    wire.send(connect(origin.address)).unwrap();
                    wire.reset();
                    continue;
                }
                3 => {
                    assert_eq!(wire.exchange(connect(origin.address)).status(), 200);
                    wire.reset();
                    continue;
                }
                _ => {
                    assert_eq!(wire.exchange(connect(origin.address)).status(), 200);
                    wire.finish().unwrap();
                    wire.assert_closed();
                }
            }
        }
        origin.wait_all_closed();
    };
    round();
    let (descriptors, memory) = (proxy.descriptors(), proxy.resident());
    for _ in 0..4 {
        round();
    }
    crate::support::eventually("descriptors to be given back", || {
        (proxy.descriptors() <= descriptors + 8).then_some(())
    });
    let grown = proxy.resident().saturating_sub(memory);
    assert!(grown < 16 * 1024, "{grown} KiB more after 800 tunnels");
}

/// With its line in the table of open tunnels.
#[test]
fn an_idle_tunnel_takes_little() {
    /// 6.5 KiB.
    const MOST: u64 = 6_656;
    const TUNNELS: u64 = 1_000;
    allow_many_connections();
    let proxy = Proxy::plain();
    let held = Mutex::new(Vec::new());
    let origin = Origin::raw(move |wire, _| {
        held.lock().unwrap().push(wire);
        Ok(())
    });
    let open = |count| -> Vec<Wire> { (0..count).map(|_| proxy.tunnel(origin.address)).collect() };
    // What there is once for all tunnels is there.
    let first = open(200);
    let before = proxy.resident();
    let second = open(TUNNELS);
    let each = proxy.resident().saturating_sub(before) * 1024 / TUNNELS;
    assert!(each <= MOST, "{each} bytes for each idle tunnel");
    drop((first, second));
}
