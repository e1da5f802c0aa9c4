//! Which type and which source an error has: `request::forward::failure` reads the two.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{ErrorSource, ErrorType, Result};

use super::{Failure, GET, Harness, Options, plain};
use crate::support::origin::Origin;
use crate::support::port::Port;

/// The time that a test lets pass.
const SOON: Duration = Duration::from_millis(200);

const POST: &str = "POST / HTTP/1.1\r\nHost: origin\r\nContent-Length: 4\r\n\r\n";

/// The error of a GET to `origin`.
fn failure_of(origin: &Origin) -> Failure {
    let harness = Harness::to(origin.address);
    let _client = harness.serve(GET);
    harness.failure()
}

fn assert_is(failure: &Failure, source: ErrorSource, kind: ErrorType) {
    assert_eq!(
        (&failure.source, &failure.kind),
        (&source, &kind),
        "{failure:?}"
    );
}

/// `Kind::ConnectionRefused`. `request::forward::failure` finds the error of connect(2) below.
#[test]
fn refused_connection() {
    let nobody = Port::reserve();
    let harness = Harness::to(nobody.address);
    let _client = harness.serve(GET);
    let failure = harness.failure();
    assert_is(&failure, ErrorSource::Upstream, ErrorType::ConnectRefused);
    assert_eq!(failure.io, Some(io::ErrorKind::ConnectionRefused));
}

/// Never connects.
#[derive(Debug)]
struct Never;

#[async_trait]
impl Connect for Never {
    async fn connect(&self, _: &PingoraAddr) -> Result<Stream> {
        pending().await
    }
}

/// `Kind::ConnectTimeout`; the bound covers a dial of ours.
#[test]
fn connection_that_takes_too_long() {
    let harness = Harness::with(Options::default(), |_| {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let mut peer = Box::new(HttpPeer::new(address, false, String::new()));
        peer.options.custom_l4 = Some(Arc::new(Never));
        peer.options.total_connection_timeout = Some(SOON);
        Ok(peer)
    });
    let _client = harness.serve(GET);
    let failure = harness.failure();
    assert_is(&failure, ErrorSource::Upstream, ErrorType::ConnectTimedout);
}

/// `Kind::ConnectionTerminated`, as the next two.
#[test]
fn upstream_that_closes_before_its_answer() {
    let origin = Origin::raw(|mut wire, _| wire.request().map(drop));
    assert_is(
        &failure_of(&origin),
        ErrorSource::Upstream,
        ErrorType::ConnectionClosed,
    );
}

#[test]
fn upstream_that_resets_before_its_answer() {
    let origin = Origin::raw(|mut wire, _| {
        wire.request()?;
        wire.reset();
        Ok(())
    });
    assert_is(
        &failure_of(&origin),
        ErrorSource::Upstream,
        ErrorType::ReadError,
    );
}

#[test]
fn upstream_that_closes_inside_its_answer() {
    let origin = Origin::raw(|mut wire, _| {
        wire.request()?;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    });
    assert_is(
        &failure_of(&origin),
        ErrorSource::Upstream,
        ErrorType::ConnectionClosed,
    );
}

/// `Kind::ProtocolError`. `request::forward::failure` leaves the context out, which is the head.
#[test]
fn answer_that_is_not_http() {
    let origin = Origin::fixed("nonsense\r\n\r\n");
    let failure = failure_of(&origin);
    assert_is(
        &failure,
        ErrorSource::Upstream,
        ErrorType::InvalidHTTPHeader,
    );
    assert!(failure.context.starts_with("buf: "), "{failure:?}");
}

/// `Kind::ResponseTimeout`, where Pingora keeps the time.
#[test]
fn upstream_that_is_silent() {
    let origin = Origin::deaf();
    let address = origin.address;
    let harness = Harness::with(Options::default(), move |_| {
        let mut peer = Box::new(HttpPeer::new(address, false, String::new()));
        peer.options.read_timeout = Some(SOON);
        Ok(peer)
    });
    let _client = harness.serve(GET);
    let failure = harness.failure();
    assert_is(&failure, ErrorSource::Upstream, ErrorType::ReadTimedout);
}

/// `Kind::WriteTimeout`. Pingora waits for an answer all the same, for the time-out of reading.
#[test]
fn upstream_that_takes_nothing() {
    let origin = Origin::deaf();
    let address = origin.address;
    let harness = Harness::with(Options::default(), move |_| {
        let mut peer = Box::new(HttpPeer::new(address, false, String::new()));
        peer.options.write_timeout = Some(SOON);
        peer.options.read_timeout = Some(SOON);
        Ok(peer)
    });
    let mut client =
        harness.serve("POST / HTTP/1.1\r\nHost: origin\r\nContent-Length: 99000000\r\n\r\n");
    let sending = std::thread::spawn(move || {
        // Ends when Pingora has given up.
        while client.wire.send([b'x'; 1 << 16]).is_ok() {}
    });
    let failure = harness.failure();
    assert_is(&failure, ErrorSource::Upstream, ErrorType::WriteTimedout);
    drop(harness);
    sending.join().unwrap();
}

/// `Kind::BodyTimeout`.
#[test]
fn client_that_is_silent_in_its_body() {
    let origin = Origin::ok("in");
    let options = Options {
        body_timeout: Some(SOON),
        ..Options::default()
    };
    let harness = Harness::with(options, plain(origin.address));
    let _client = harness.serve(POST);
    let failure = harness.failure();
    assert_is(&failure, ErrorSource::Downstream, ErrorType::ReadTimedout);
}

/// `Kind::BadRequest`: `request::forward::failure` finds the error of our stream below.
#[test]
fn framing_that_our_stream_calls_invalid() {
    let origin = Origin::ok("in");
    let harness = Harness::to(origin.address);
    let client = harness.serve(POST);
    client.lent.fail(io::ErrorKind::InvalidData);
    let failure = harness.failure();
    assert_is(&failure, ErrorSource::Downstream, ErrorType::ReadError);
    assert_eq!(failure.io, Some(io::ErrorKind::InvalidData));
}

/// `Kind::ClientGone`.
#[test]
fn client_that_ends_inside_its_body() {
    let origin = Origin::ok("in");
    let harness = Harness::to(origin.address);
    let mut client = harness.serve(POST);
    client.wire.send("bo").unwrap();
    client.wire.finish().unwrap();
    let failure = harness.failure();
    assert_is(
        &failure,
        ErrorSource::Downstream,
        ErrorType::ConnectionClosed,
    );
}

/// `Kind::ClientGone`, whether the source is set or not.
#[test]
fn client_that_resets_while_its_answer_is_written() {
    let origin = Origin::ok(&"x".repeat(32 << 20));
    let harness = Harness::to(origin.address);
    let mut client = harness.serve(GET);
    client.wire.read_head().unwrap();
    client.wire.reset();
    let failure = harness.failure();
    let source = &failure.source;
    assert!(
        matches!(source, ErrorSource::Unset | ErrorSource::Downstream),
        "{failure:?}"
    );
    let of_the_socket = [
        ErrorType::ReadError,
        ErrorType::WriteError,
        ErrorType::ConnectionClosed,
    ];
    assert!(of_the_socket.contains(&failure.kind), "{failure:?}");
}
