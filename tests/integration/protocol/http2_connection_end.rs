//! HTTP/2 from clients: a connection that ends takes nothing from a slow client.

use std::collections::HashMap;

use rustix::process::Signal;

use crate::support::DEADLINE;
use crate::support::client::Wire;
use crate::support::frames;
use crate::support::message::response;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;

const STREAMS: usize = 100;
const PAGE: usize = 60_000;

/// A client that asks for many pages and reads nothing; all answers are over for the
/// proxy, and most of their bytes still there.
fn slow_client(proxy: &Proxy, origin: &Origin) -> Wire {
    let mut wire = Wire::connect_narrow(proxy.address).unwrap();
    let mut bytes = frames::opening(1 << 20);
    for stream in (1..).step_by(2).take(STREAMS) {
        bytes.extend(frames::get(stream, origin.address, "/"));
    }
    wire.send(bytes).unwrap();
    let records = proxy.wait_records(STREAMS);
    assert!(
        records.iter().all(|record| record["error"].is_null()),
        "{records:#?}"
    );
    wire
}

/// A connection that has nothing to give any more.
fn without_streams(proxy: &Proxy) -> Wire {
    let mut wire = proxy.connect();
    wire.send(frames::opening(1 << 20)).unwrap();
    frames::read_until(&mut wire, |frame| frame.kind == frames::WINDOW_UPDATE);
    wire
}

/// Reads all of it after all.
fn assert_whole(mut wire: Wire) {
    let (mut lengths, mut ended) = (HashMap::<u32, usize>::new(), 0);
    while ended < STREAMS {
        let frame = frames::read(&mut wire).unwrap_or_else(|error| {
            panic!(
                "{ended} streams, {} bytes: {error}",
                lengths.values().sum::<usize>()
            )
        });
        if frame.kind == frames::DATA {
            *lengths.entry(frame.stream).or_default() += frame.payload.len();
            ended += usize::from(frame.flags & frames::END_STREAM);
        }
        assert_ne!(frame.kind, frames::RST_STREAM, "{frame:?}");
    }
    assert!(
        lengths.values().all(|length| *length == PAGE),
        "{lengths:?}"
    );
}

fn pages() -> Origin {
    Origin::fixed(response("200 OK", "", vec![b'x'; PAGE]))
}

#[test]
fn a_connection_that_was_idle_for_long() {
    let proxy = Proxy::start("timeouts: { request_head: 200ms, keep_alive: 200ms }");
    let origin = pages();
    let wire = slow_client(&proxy, &origin);
    // It is closed after as long a time, and that began later.
    without_streams(&proxy).rest();
    assert_whole(wire);
}

#[test]
fn a_process_that_drains() {
    let mut proxy = Proxy::plain();
    let origin = pages();
    let wire = slow_client(&proxy, &origin);
    let mut other = without_streams(&proxy);
    proxy.signal(Signal::TERM);
    // Both are told at the same time.
    other.rest();
    assert_whole(wire);
    assert!(proxy.wait_exit(DEADLINE).success());
}

#[test]
fn a_client_that_has_read_everything_is_not_waited_for() {
    let mut proxy = Proxy::plain();
    let origin = pages();
    let mut wire = proxy.connect();
    wire.send(frames::opening(1 << 20)).unwrap();
    wire.send(frames::get(1, origin.address, "/")).unwrap();
    frames::read_until(&mut wire, |frame| {
        frame.stream == 1 && frame.flags & frames::END_STREAM != 0
    });
    proxy.signal(Signal::TERM);
    // Answers what it is asked, and leaves its side open.
    while frames::read(&mut wire).is_ok() {}
    assert!(proxy.wait_exit(DEADLINE).success());
    drop(wire);
}
