//! Gigabytes: whole, and without memory that grows with them.

use std::fs::File;
use std::io::{BufWriter, Write};

use crate::support::eventually;
use crate::support::message::Framing;
use crate::support::nginx::Nginx;
use crate::support::payload;
use crate::support::proxy::Proxy;
use crate::support::request::auth;
use crate::support::sockets::unacknowledged;

const GIGABYTE: u64 = 1_000_000_000;

/// What the process may hold while it passes, in KiB.
const MOST_RESIDENT: u64 = 100 * 1024;

/// Waits until the origin has bytes that it cannot send, and none of them leaves.
fn wait_held_up(nginx: &Nginx) {
    let mut before = 0;
    eventually("the origin to be held up", || {
        let now = unacknowledged(nginx.address());
        let held_up = now > 0 && now == before;
        before = now;
        held_up.then_some(())
    });
}

#[test]
fn gigabyte_through_the_gateway_is_identical_and_takes_no_memory() {
    let nginx = Nginx::start("small");
    let mut file = BufWriter::new(File::create(nginx.path("large")).unwrap());
    let sent = payload::generate(GIGABYTE, |part| file.write_all(part)).unwrap();
    file.flush().unwrap();
    drop(file);
    let proxy = Proxy::start(&format!(
        "gateway: {{ upstreams: [\"{}\"] }}",
        nginx.address()
    ));

    let mut wire = proxy.connect();
    wire.send(format!(
        "GET /large HTTP/1.1\r\nHost: gate\r\n{}\r\n",
        auth()
    ))
    .unwrap();
    let head = wire.read_head().unwrap().unwrap();
    assert_eq!(head.status(), 200, "{}", head.start);
    let framing = head.response_framing("GET");
    assert_eq!(framing, Framing::Length(GIGABYTE));
    let mut hasher = blake3::Hasher::new();
    let (mut got, mut looked, mut peak) = (0, 0, 0);
    wire.read_body(framing, |part| {
        hasher.update(part);
        got += part.len() as u64;
        if got - looked >= GIGABYTE / 100 {
            looked = got;
            peak = peak.max(proxy.resident());
            if got < GIGABYTE / 50 {
                // A reader that pauses lets the origin run ahead of it, if anything does.
                wait_held_up(&nginx);
                peak = peak.max(proxy.resident());
            }
        }
    })
    .unwrap();
    assert_eq!(hasher.finalize(), sent);
    assert!(peak < MOST_RESIDENT, "{peak} KiB");
    // The connection goes on, and the record has what passed.
    let answer = wire.exchange(format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth()));
    assert_eq!(answer.text(), "small");
    let record = proxy.record("the download", |record| record["target"] == "/large");
    assert_eq!(record["bytes_to_client"], GIGABYTE, "{record}");
    assert_eq!(record["bytes_from_upstream"], GIGABYTE, "{record}");
}
