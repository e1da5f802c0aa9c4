//! A client's connection in Pingora's hands for one request.

use std::io;

use pingora_core::{ErrorSource, ErrorType};

use super::{Event, GET, Harness, Options, plain};
use crate::support::message::ok;
use crate::support::origin::Origin;

const POST: &str = "POST / HTTP/1.1\r\nHost: origin\r\nContent-Length: 4\r\n\r\n";

/// `request::dispatch` hands the facts of each request to `request::forward` this way.
#[test]
fn user_context_reaches_the_first_request_of_a_connection() {
    let origin = Origin::ok("in");
    let harness = Harness::to(origin.address);
    let mut client = harness.serve_with(GET, Some(Box::new(7_u32)));
    assert_eq!(client.wire.response("GET").unwrap().status(), 200);
    assert_eq!(harness.event(), Event::Context(7), "before every hook");
    assert_eq!(harness.event(), Event::RequestFilter);
}

/// `request::dispatch` gives the checked head as the prefix, and lends a stream that has the body alone.
#[test]
fn prefix_is_the_head_and_the_stream_has_the_body() {
    let origin = Origin::http(|request| ok(&request.body));
    let harness = Harness::to(origin.address);
    let mut client = harness.serve(POST);
    client.wire.send("body").unwrap();
    assert_eq!(client.wire.response("POST").unwrap().text(), "body");
    assert_eq!(origin.request().body, b"body");
}

/// `request::dispatch` goes on with the connection when Pingora would, and the lent stream of `client` comes back when
/// Pingora drops it.
#[test]
fn connection_comes_back_after_a_whole_answer() {
    let origin = Origin::ok("in");
    let harness = Harness::to(origin.address);
    let client = harness.serve(GET);
    assert!(client.is_reusable());
    assert!(client.lent.is_back());

    let client = harness.serve("GET / HTTP/1.1\r\nHost: origin\r\nConnection: close\r\n\r\n");
    assert!(!client.is_reusable());
    assert!(client.lent.is_back());
}

/// The same for a request that failed: whether the connection goes on is then decided by `request::forward`.
#[test]
fn connection_comes_back_after_an_answer_of_ours_to_a_failure() {
    let origin = Origin::raw(|mut wire, _| wire.request().map(drop));
    let options = Options {
        answer_failure: true,
        ..Options::default()
    };
    let harness = Harness::with(options, plain(origin.address));
    let mut client = harness.serve(GET);
    assert_eq!(client.wire.response("GET").unwrap().status(), 502);
    assert!(!client.is_reusable());
    assert!(client.lent.is_back());
}

/// `request::dispatch` gives the watch of `request::lifecycle`: in a drain the answer says that the connection ends.
#[test]
fn draining_ends_the_connection_with_the_answer() {
    let origin = Origin::ok("in");
    let harness = Harness::to(origin.address);
    harness.draining.send_replace(true);
    let mut client = harness.serve(GET);
    let answer = client.wire.response("GET").unwrap();
    assert!(answer.head.fields.lists("connection", "close"));
    assert!(!client.is_reusable());
}

/// The lent stream of `client` fails this watch when the upstream is silent for too long.
#[test]
fn client_without_a_body_is_read_from_while_its_answer_is_awaited() {
    let (origin, _release) = Origin::held();
    let harness = Harness::to(origin.address);
    let client = harness.serve(GET);
    origin.request();
    client.lent.fail(io::ErrorKind::TimedOut);
    let failure = harness.failure();
    assert_eq!(failure.source, ErrorSource::Downstream);
    assert_eq!(failure.io, Some(io::ErrorKind::TimedOut));
}

/// `request::forward::failure` takes this for a client that is gone.
#[test]
fn client_that_resets_is_noticed_while_its_answer_is_awaited() {
    let (origin, _release) = Origin::held();
    let harness = Harness::to(origin.address);
    let client = harness.serve(GET);
    origin.request();
    client.wire.reset();
    let failure = harness.failure();
    assert_eq!(failure.source, ErrorSource::Downstream);
    assert_eq!(failure.kind, ErrorType::ReadError);
}

/// `request::forward::peer` waits this way for a client to leave the queue.
#[test]
fn client_can_be_watched_before_there_is_an_upstream() {
    let options = Options {
        wait_for_client: true,
        ..Options::default()
    };
    let origin = Origin::ok("in");
    let harness = Harness::with(options, plain(origin.address));
    let client = harness.serve(GET);
    assert_eq!(harness.event(), Event::RequestFilter);
    assert_eq!(harness.event(), Event::UpstreamPeer);
    client.wire.reset();
    assert_eq!(harness.event(), Event::ClientGone);
    origin.assert_untouched();
}

/// `request::forward` reads a short body of a refused request, so that the connection goes on.
#[test]
fn drained_body_of_a_refused_request_keeps_the_connection() {
    let options = Options {
        refuse: true,
        ..Options::default()
    };
    let origin = Origin::ok("in");
    let harness = Harness::with(options, plain(origin.address));
    let mut client = harness.serve(POST);
    client.wire.send("body").unwrap();
    assert_eq!(client.wire.response("POST").unwrap().status(), 403);
    assert!(client.is_reusable());
    origin.assert_untouched();
}
