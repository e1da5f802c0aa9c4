//! Interim answers (1xx) of origins: passed on in order, and only so many of them.

use std::fmt::Write as _;

use crate::support::http2_origin::{Http2Origin, Stream, body_of};
use crate::support::message::{Response, ok};
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::{auth, fetch, request};

/// What one request may get before its answer.
const MOST: usize = 16;

/// `count` interim answers, each with its number.
fn interim(count: usize) -> String {
    (0..count).fold(String::new(), |mut text, number| {
        let status = ["102 Processing", "103 Early Hints", "100 Continue"][number % 3];
        write!(text, "HTTP/1.1 {status}\r\nX-Number: {number}\r\n\r\n").unwrap();
        text
    })
}

/// An origin that says so many before each of its answers.
fn origin_with(count: usize) -> Origin {
    Origin::fixed([interim(count).as_bytes(), &ok("end")].concat())
}

/// Everything up to the final answer.
fn answers(proxy: &Proxy, origin: &Origin) -> Vec<Response> {
    let mut wire = proxy.connect();
    let mut seen = vec![wire.exchange(fetch(&format!("http://{}/", origin.address)))];
    while seen.last().unwrap().status() / 100 == 1 {
        assert!(seen.len() < 100, "no end of them");
        seen.push(wire.response("GET").unwrap());
    }
    // Whatever came, the connection is in step or closed.
    let last = seen.last().unwrap();
    if !last.head.fields.lists("connection", "close") {
        let gate = wire.exchange(format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth()));
        assert_eq!(gate.status(), 200);
    }
    seen
}

#[test]
fn interim_answers_up_to_the_bound_are_relayed_in_order() {
    let proxy = Proxy::plain();
    for count in [0, 1, MOST] {
        let seen = answers(&proxy, &origin_with(count));
        let (last, before) = seen.split_last().unwrap();
        assert_eq!(
            (last.status(), last.text().as_str()),
            (200, "end"),
            "{count}"
        );
        let numbers: Vec<_> = before
            .iter()
            .map(|answer| answer.field("x-number").unwrap().to_owned())
            .collect();
        let expected: Vec<_> = (0..count).map(|number| number.to_string()).collect();
        assert_eq!(numbers, expected);
    }
}

#[test]
fn one_interim_answer_too_many_is_502() {
    let proxy = Proxy::plain();
    let origin = origin_with(MOST + 1);
    let seen = answers(&proxy, &origin);
    let last = seen.last().unwrap();
    assert_eq!(last.status(), 502, "{}", last.head.start);
    assert_eq!(seen.len(), MOST + 1, "sixteen, and the refusal");
    let record = proxy.record("the refusal", |record| record["status"] == 502);
    assert_eq!(record["error"], "http_protocol_error", "{record}");
    // The rest of what the origin said is not the next request's answer.
    let status = answers(&proxy, &origin_with(0)).last().unwrap().status();
    assert_eq!(status, 200);
}

#[test]
fn endless_interim_answers_end_the_exchange() {
    let proxy = Proxy::plain();
    let origin = Origin::raw(|mut wire, _| {
        wire.request()?;
        loop {
            wire.send(interim(100))?;
        }
    });
    let seen = answers(&proxy, &origin);
    assert_eq!(seen.last().unwrap().status(), 502);
    assert!(seen.len() <= MOST + 1, "{}", seen.len());
    origin.wait_all_closed();
}

// The count is a request's and not a connection's.
#[test]
fn each_request_has_the_whole_bound() {
    let proxy = Proxy::plain();
    let origin = origin_with(MOST);
    let mut wire = proxy.connect();
    for round in 0..4 {
        wire.send(request("POST", &origin, "Content-Length: 2\r\n", "hi"))
            .unwrap();
        let mut interim = 0;
        let last = loop {
            let answer = wire.response("POST").unwrap();
            if answer.status() / 100 != 1 {
                break answer;
            }
            interim += 1;
        };
        assert_eq!((last.status(), interim), (200, MOST), "round {round}");
    }
}

// RFC 9110 §15.2: an HTTP/1.0 client is not sent what it cannot know.
#[test]
fn http_1_0_clients_get_no_interim_answer() {
    let proxy = Proxy::plain();
    let origin = origin_with(3);
    let answer = proxy.exchange(format!(
        "GET http://{}/ HTTP/1.0\r\n{}\r\n",
        origin.address,
        auth()
    ));
    assert_eq!((answer.status(), answer.text().as_str()), (200, "end"));
}

/// Pingora reads over those of a server of HTTP/2: the client gets the answer alone, and the connection stays in step.
#[test]
fn those_of_http2_servers_do_not_pass() {
    let origin = Http2Origin::plain(|mut stream: Stream| async move {
        body_of(&mut stream.receive).await?;
        for status in [103, 102, 103] {
            let hint = http::Response::builder()
                .status(status)
                .header("x-number", "1")
                .body(())
                .unwrap();
            stream.respond.send_informational(hint)?;
        }
        stream.answer(200, &[], b"end", None).await
    });
    let proxy = Proxy::start(&format!(
        "gateway: {{ upstreams: ['{}'], http2: only }}",
        origin.address
    ));
    let mut wire = proxy.connect();
    for _ in 0..3 {
        let gate = format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth());
        let answer = wire.exchange(gate);
        assert_eq!((answer.status(), &*answer.text()), (200, "end"));
        assert_eq!(answer.field("x-number"), None);
    }
    assert_eq!(origin.requests().len(), 3);
}
