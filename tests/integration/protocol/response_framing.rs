//! How origins frame their answers: passed on so that it has one meaning, or refused, and the
//! client's connection stays in step.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::client::Wire;
use crate::support::message::{Framing, Response, ok};
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::{auth, fetch};

/// What a client must get to see of an answer.
enum Expected {
    /// Refused, since it can be read in two ways.
    Refused,
    /// That status, framing and body.
    Passed(u16, Framing, &'static str),
    /// A length that is not followed by what it promises, or chunks that break: never whole.
    Broken,
}

use Expected::{Broken, Passed, Refused};

/// An origin that answers each connection's first request with those bytes and closes, so that
/// nothing it says could be the answer to a second one.
fn origin_saying(bytes: &'static [u8]) -> Origin {
    Origin::raw(move |mut wire, seen| {
        if let Some(request) = wire.request()? {
            seen.keep(request);
            wire.send(bytes)?;
        }
        Ok(())
    })
}

/// Asks for something of the gateway's own page: an answer that only it gives.
fn assert_in_step(wire: &mut Wire, what: &str) {
    let answer = wire.exchange(format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth()));
    assert_eq!(answer.status(), 200, "{what}: {}", answer.head.start);
    assert!(answer.field("via").is_none(), "{what}: from an origin");
    assert_eq!(answer.field("x-evil"), None, "{what}");
}

/// Checks that one field at most frames the body.
fn assert_one_meaning(answer: &Response, what: &str) {
    let fields = &answer.head.fields;
    let lengths = fields.all("content-length").len();
    let codings = fields.all("transfer-encoding").len();
    assert!(lengths + codings <= 1, "{what}: {:?}", answer.head);
}

fn check(method: &str, table: &[(&'static [u8], Expected)]) {
    let proxy = Proxy::plain();
    for (bytes, expected) in table {
        let what = bytes.escape_ascii().to_string();
        let origin = origin_saying(bytes);
        let mut wire = proxy.connect();
        wire.send(format!(
            "{method} http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}\r\n",
            origin.address,
            auth()
        ))
        .unwrap();
        let answer = wire.response(method);
        match expected {
            Broken => {
                let whole = answer.as_ref().is_ok_and(|answer| answer.status() != 502);
                assert!(!whole, "{what}: {answer:?}");
                continue;
            }
            Refused => {
                let answer = answer.unwrap();
                assert_eq!(answer.status(), 502, "{what}");
                let status = answer.field("proxy-status").unwrap();
                assert!(status.contains("http_protocol_error"), "{what}: {status}");
                assert_one_meaning(&answer, &what);
                if !answer.head.fields.lists("connection", "close") {
                    assert_in_step(&mut wire, &what);
                }
            }
            Passed(status, framing, body) => {
                let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(answer.status(), *status, "{what}");
                assert_eq!(answer.framing, *framing, "{what}: {:?}", answer.head);
                assert_eq!(answer.text(), *body, "{what}");
                assert_one_meaning(&answer, &what);
                if *status == 204 {
                    let fields = &answer.head.fields;
                    let framed = fields.has("content-length") || fields.has("transfer-encoding");
                    assert!(!framed, "{what}: {:?}", answer.head);
                }
                if *framing == Framing::UntilClose {
                    assert!(answer.head.fields.lists("connection", "close"), "{what}");
                    wire.assert_closed();
                } else {
                    assert_in_step(&mut wire, &what);
                }
            }
        }
        assert_eq!(origin.requests().len(), 1, "{what}: sent once");
    }
}

#[test]
fn answers_without_a_body_are_not_framed() {
    check(
        "GET",
        &[
            (
                b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
                Passed(204, Framing::None, ""),
            ),
            (
                b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
                Passed(204, Framing::None, ""),
            ),
            (
                b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
                Passed(204, Framing::None, ""),
            ),
            (
                b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                Passed(204, Framing::None, ""),
            ),
            (
                b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nX-Evil: 1\r\nContent-Length: 0\r\n\r\n",
                Passed(204, Framing::None, ""),
            ),
            (
                b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: \"a\"\r\n\r\n",
                Passed(304, Framing::None, ""),
            ),
            (
                b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
                Passed(304, Framing::None, ""),
            ),
        ],
    );
    check(
        "HEAD",
        &[
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
                Passed(200, Framing::None, ""),
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                Passed(200, Framing::None, ""),
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                Passed(200, Framing::None, ""),
            ),
            (b"HTTP/1.1 200 OK\r\n\r\n", Passed(200, Framing::None, "")),
        ],
    );
}

#[test]
fn lengths_have_one_reading_or_are_refused() {
    let five = || Passed(200, Framing::Length(5), "hello");
    check(
        "GET",
        &[
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", five()),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
                five(),
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
                five(),
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
                Refused,
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Length: 5\r\n\r\nhello!",
                Refused,
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!",
                Refused,
            ),
            (b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", Refused),
            (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", Refused),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello", Refused),
            (b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nhello", Refused),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
                Refused,
            ),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", Broken),
            // What follows the length is nobody's answer.
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nX-Evil: 1\r\nContent-Length: 0\r\n\r\n",
                five(),
            ),
        ],
    );
}

#[test]
fn codings_have_one_reading_or_are_refused() {
    let chunks = || Passed(200, Framing::Chunked, "hello");
    check(
        "GET",
        &[
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                chunks(),
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n5;x=y\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
                chunks(),
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                chunks(),
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                Refused,
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello",
                Refused,
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                Refused,
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                Refused,
            ),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                Refused,
            ),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: xchunked\r\n\r\nhello",
                Refused,
            ),
        ],
    );
}

#[test]
fn broken_chunks_are_never_a_whole_answer() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "zz\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\nzz\r\n\r\n",
        "5\r\nhello\r\n",
        "5\r\nhel",
        "5",
    ] {
        let bytes: &'static str = format!("{HEAD}{body}").leak();
        check("GET", &[(bytes.as_bytes(), Broken)]);
    }
}

#[test]
fn answers_that_end_with_the_connection_are_whole() {
    let proxy = Proxy::plain();
    let answers: [(&'static [u8], &str); 4] = [
        (b"HTTP/1.0 200 OK\r\n\r\nold page", "old page"),
        (b"HTTP/1.1 200 OK\r\n\r\nnew page", "new page"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", ""),
        // A length that an HTTP/1.0 origin gives counts as well.
        (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\npage", "page"),
    ];
    for (bytes, body) in answers {
        let what = bytes.escape_ascii().to_string();
        let origin = origin_saying(bytes);
        let mut wire = proxy.connect();
        let answer = wire.exchange(fetch(&format!("http://{}/", origin.address)));
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, body),
            "{what}"
        );
        assert!(answer.head.start.starts_with("HTTP/1.1 "), "{what}");
        assert_one_meaning(&answer, &what);
        match answer.framing {
            Framing::UntilClose => wire.assert_closed(),
            // Chunked by the proxy, which keeps the connection and the end visible.
            _ => assert_in_step(&mut wire, &what),
        }
    }
}

/// An origin that keeps its connections open and says those bytes for its first request of all,
/// and its own page for every later one.
fn keeping_origin(first: &'static str) -> Origin {
    let asked = AtomicUsize::new(0);
    Origin::http(move |_| {
        if asked.fetch_add(1, Ordering::SeqCst) == 0 {
            first.into()
        } else {
            ok("page")
        }
    })
}

// What an origin says too much is not the answer to somebody else's request.
#[test]
fn bytes_behind_an_answer_are_never_the_next_answer() {
    const MORE: &str = "HTTP/1.1 200 OK\r\nX-Evil: 1\r\nContent-Length: 4\r\n\r\nevil";
    let proxy = Proxy::plain();
    for (method, first) in [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        ),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        ),
        // No size at all, which some take for the last chunk.
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n\r\n",
        ),
    ] {
        let what = first.escape_debug().to_string();
        let origin = keeping_origin(format!("{first}{MORE}").leak());
        let address = origin.address;
        let mut wire = proxy.connect();
        wire.send(format!(
            "{method} http://{address}/ HTTP/1.1\r\nHost: {address}\r\n{}\r\n",
            auth()
        ))
        .unwrap();
        let _judged_elsewhere = wire.response(method);
        for _ in 0..3 {
            // From others, too: the pool is shared.
            let answer = proxy.fetch(&format!("http://{address}/"));
            assert_eq!(answer.field("x-evil"), None, "{what}");
            assert_eq!(answer.text(), "page", "{what}");
        }
    }
}
