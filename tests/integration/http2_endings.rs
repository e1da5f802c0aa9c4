//! HTTP/2 from clients: a connection that ends takes nothing from a slow client.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::DEADLINE;
use crate::support::client::Wire;
use crate::support::frames;
use crate::support::message::response;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;

const STREAMS: usize = 100;
const PAGE: usize = 60_000;

/// Longer than a connection without streams takes to end.
const LONG: Duration = Duration::from_millis(2600);

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
    let proxy = Proxy::start("timeouts: { keep_alive: 200ms }");
    let origin = pages();
    let wire = slow_client(&proxy, &origin);
    thread::sleep(LONG);
    assert_whole(wire);
}

#[test]
fn a_process_that_drains() {
    let mut proxy = Proxy::plain();
    let origin = pages();
    let wire = slow_client(&proxy, &origin);
    proxy.signal(Signal::TERM);
    thread::sleep(LONG);
    assert_whole(wire);
    assert!(proxy.wait_exit(DEADLINE).success());
}
