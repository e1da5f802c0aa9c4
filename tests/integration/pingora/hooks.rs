//! The hooks of an application: which are called, in which order, with what.

use super::{Event, GET, Harness, Options, plain};
use crate::support::message::ok;
use crate::support::origin::Origin;

/// `request::forward` relies on the order: admission, upstream, connection, request, response, record.
#[test]
fn hooks_come_in_the_order_of_a_request() {
    let origin = Origin::ok("in");
    let harness = Harness::to(origin.address);
    let mut client = harness.serve(GET);
    client.wire.response("GET").unwrap();
    let connected = Event::Connected {
        reused: false,
        dialled: origin.address,
    };
    assert_eq!(
        harness.all(),
        [
            Event::RequestFilter,
            Event::UpstreamPeer,
            connected,
            Event::UpstreamRequest,
            Event::UpstreamResponse(200),
            Event::Response(200),
            Event::Logged(0, 2, 2),
        ]
    );
}

/// `request::forward` answers refusals and the embedded page in this hook, and no upstream is asked.
#[test]
fn answer_of_the_request_filter_is_the_last_but_for_the_record() {
    let options = Options {
        refuse: true,
        ..Options::default()
    };
    let origin = Origin::ok("in");
    let harness = Harness::with(options, plain(origin.address));
    let mut client = harness.serve(GET);
    assert_eq!(client.wire.response("GET").unwrap().status(), 403);
    assert_eq!(harness.event(), Event::RequestFilter);
    assert!(matches!(harness.event(), Event::Logged(0, _, 0)));
}

/// `request::forward` writes these counts into the record.
#[test]
fn counters_have_the_content_and_no_framing() {
    let origin = Origin::fixed(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    let harness = Harness::to(origin.address);
    let mut client =
        harness.serve("POST / HTTP/1.1\r\nHost: origin\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.wire.send("4\r\nbody\r\n0\r\n\r\n").unwrap();
    assert_eq!(client.wire.response("POST").unwrap().text(), "abcde");
    assert_eq!(harness.all().last(), Some(&Event::Logged(4, 5, 5)));
}

const EARLY: &str = "HTTP/1.1 103 Early Hints\r\n\r\n";

fn early() -> Origin {
    let answer = [EARLY, EARLY, "HTTP/1.1 204 No Content\r\n\r\n"].concat();
    Origin::fixed(answer)
}

/// `request::forward` counts and limits interim responses in this hook.
#[test]
fn each_interim_response_passes_the_response_filter() {
    let origin = early();
    let harness = Harness::to(origin.address);
    let mut client = harness.serve(GET);
    for status in [103, 103, 204] {
        assert_eq!(client.wire.response("GET").unwrap().status(), status);
    }
    let responses: Vec<_> = harness
        .all()
        .into_iter()
        .filter(|event| matches!(event, Event::UpstreamResponse(_)))
        .collect();
    assert_eq!(responses, [103, 103, 204].map(Event::UpstreamResponse));
}

/// `request::forward` keeps interim responses from clients of HTTP/1.0.
#[test]
fn interim_responses_can_be_kept_from_the_client() {
    let origin = early();
    let options = Options {
        ignore_interim: true,
        ..Options::default()
    };
    let harness = Harness::with(options, plain(origin.address));
    let mut client = harness.serve(GET);
    assert_eq!(client.wire.response("GET").unwrap().status(), 204);
}

/// `request::forward::framing` keeps a coding with a length beside it, since Pingora drops the length.
#[test]
fn transfer_coding_wins_over_a_length_which_is_dropped() {
    let origin = Origin::fixed(
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nabcde\r\n0\r\n\r\n",
    );
    let harness = Harness::to(origin.address);
    let mut client = harness.serve(GET);
    let answer = client.wire.response("GET").unwrap();
    assert_eq!(answer.text(), "abcde");
    assert_eq!(answer.field("content-length"), None);
}

/// `http::http1` writes the head that goes upstream; Pingora changes neither its order nor its case.
#[test]
fn head_goes_upstream_in_order_and_in_its_case() {
    let origin = Origin::http(|_| ok("in"));
    let harness = Harness::to(origin.address);
    let mut client = harness.serve(
        "GET /a%2fb?c HTTP/1.1\r\nhOsT: origin\r\nX-Second: 2\r\nx-first: 1\r\nX-Second: 3\r\n\r\n",
    );
    client.wire.response("GET").unwrap();
    let raw = String::from_utf8(origin.request().head.raw).unwrap();
    assert!(raw.starts_with("GET /a%2fb?c HTTP/1.1\r\n"), "{raw}");
    for line in ["hOsT: origin", "X-Second: 2", "x-first: 1", "X-Second: 3"] {
        assert!(raw.contains(&format!("\r\n{line}\r\n")), "{line}: {raw}");
    }
}
