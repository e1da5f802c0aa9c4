//! HTTP/2: answers that a client has no window for are held for `timeouts.send`, and not for longer.

use std::time::{Duration, Instant};

use crate::support::client::Wire;
use crate::support::frames::{self, Frame};
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;

/// As many streams as a connection may have.
const STREAMS: u32 = 100;

/// A client that keeps its connection busy with PINGs and reads every answer to them.
struct Pinger {
    wire: Wire,
    /// What came beside those answers.
    frames: Vec<Frame>,
}

impl Pinger {
    /// It has no window for the answers to its requests.
    fn connect(proxy: &Proxy) -> Self {
        let mut wire = Wire::connect(proxy.address).unwrap();
        wire.send(frames::opening(0)).unwrap();
        Self {
            wire,
            frames: Vec::new(),
        }
    }

    /// Sends one, and reads up to the answer. False when the connection has ended.
    fn ping(&mut self) -> bool {
        if self
            .wire
            .send(frames::frame(frames::PING, 0, 0, &[7; 8]))
            .is_err()
        {
            return false;
        }
        while let Ok(frame) = frames::read(&mut self.wire) {
            // The server sends some of its own.
            if frame.kind == frames::PING && frame.payload == [7; 8] {
                return true;
            }
            self.frames.push(frame);
        }
        false
    }

    fn count(&self, kind: u8) -> usize {
        self.frames
            .iter()
            .filter(|frame| frame.kind == kind)
            .count()
    }

    /// Goes on until the connection ends; how long that took.
    fn ping_to_the_end(&mut self) -> Duration {
        let start = Instant::now();
        while self.ping() {
            assert!(
                start.elapsed() < crate::support::DEADLINE,
                "{:?}",
                self.frames
            );
        }
        start.elapsed()
    }
}

const TIMEOUTS: &str = "timeouts: { send: 500ms, keep_alive: 1s }";

#[test]
fn refusals_that_are_not_taken_end_and_so_does_the_connection() {
    let proxy = Proxy::start(TIMEOUTS);
    let mut client = Pinger::connect(&proxy);
    for stream in 0..STREAMS {
        let request = frames::get_as(2 * stream + 1, ("nobody", "x"), proxy.address, "/");
        client.wire.send(request).unwrap();
    }
    client.ping_to_the_end();
    let resets = client.count(frames::RST_STREAM);
    assert_eq!(client.count(frames::HEADERS), resets, "{:?}", client.frames);
    assert_eq!(resets, usize::try_from(STREAMS).unwrap());
    assert_eq!(client.count(frames::DATA), 0);
    assert_ne!(client.count(frames::GOAWAY), 0);
}

#[test]
fn answers_that_are_passed_on_and_not_taken_end() {
    let proxy = Proxy::start(TIMEOUTS);
    // Over at once for their streams, and never.
    for size in [2_000, 2_000_000] {
        let origin = Origin::fixed(ok("x".repeat(size)));
        let mut client = Pinger::connect(&proxy);
        for stream in [1, 3, 5] {
            client
                .wire
                .send(frames::get(stream, origin.address, "/"))
                .unwrap();
        }
        client.ping_to_the_end();
        assert_eq!(client.count(frames::RST_STREAM), 3, "{:?}", client.frames);
    }
}

/// A tunnel that stays keeps its connection, and no answers of others with it.
#[test]
fn a_stream_that_stays_keeps_no_answers() {
    let proxy = Proxy::start(TIMEOUTS);
    let echo = Origin::echo();
    let mut client = Pinger::connect(&proxy);
    client.wire.send(frames::connect(1, echo.address)).unwrap();
    client
        .wire
        .send(frames::get_as(3, ("nobody", "x"), proxy.address, "/"))
        .unwrap();
    let start = Instant::now();
    while client.count(frames::RST_STREAM) == 0 {
        assert!(client.ping(), "{:?}", client.frames);
        assert!(start.elapsed() < crate::support::DEADLINE);
    }
    let reset = client
        .frames
        .iter()
        .rfind(|frame| frame.kind == frames::RST_STREAM);
    assert_eq!(reset.unwrap().stream, 3);
    assert!(client.ping());
}

#[test]
fn who_only_sends_pings_is_an_idle_client() {
    let proxy = Proxy::start("timeouts: { request_head: 500ms, keep_alive: 500ms }");
    let mut client = Pinger::connect(&proxy);
    let took = client.ping_to_the_end();
    assert!(took >= Duration::from_millis(500), "{took:?}");
    assert_ne!(client.count(frames::GOAWAY), 0, "{:?}", client.frames);
}

/// A reader that is slow but reads is none that stalls.
#[test]
fn a_small_answer_that_is_taken_slowly_arrives() {
    const SIZE: usize = 2_000;
    let proxy = Proxy::start("timeouts: { send: 1s }");
    let origin = Origin::fixed(ok("x".repeat(SIZE)));
    let mut client = Pinger::connect(&proxy);
    client
        .wire
        .send(frames::get(1, origin.address, "/"))
        .unwrap();
    let mut got = 0;
    while got < SIZE {
        // Time is what this is about: the client takes half a second for each part.
        let pause = Instant::now();
        while pause.elapsed() < Duration::from_millis(500) {
            assert!(client.ping());
        }
        let more = 500_u32.to_be_bytes();
        let update = frames::frame(frames::WINDOW_UPDATE, 0, 1, &more);
        client.wire.send(update).unwrap();
        assert!(client.ping());
        client.ping();
        assert_eq!(client.count(frames::RST_STREAM), 0, "{got} bytes");
        let data = client
            .frames
            .iter()
            .filter(|frame| frame.kind == frames::DATA);
        got = data.map(|frame| frame.payload.len()).sum();
    }
    assert_eq!(got, SIZE);
}
