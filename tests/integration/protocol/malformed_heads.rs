//! Request heads, malformed in every way that has fooled a proxy before.

use std::time::Duration;

use super::smuggling::assert_rejected;
use crate::support::client::is_timeout;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::{auth, fetch};

// Case 9
#[test]
fn malformed_heads_are_rejected() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let good = format!("http://{}/", origin.address);
    let rest = format!("Host: {}\r\n{}", origin.address, auth());
    let lines: [&[u8]; 13] = [
        b"X : y",
        b"X\t: y",
        b"X: y\r\n folded",
        b"X: y\r\n\tfolded",
        b": empty",
        b"no colon",
        b"X\x00Y: z",
        b"X: a\x00b",
        b"X: a\rb",
        b"X: a\x01b",
        b"X: a\x7fb",
        b"X(Y): z",
        b"\xffX: z",
    ];
    for line in lines {
        let request = [
            format!("GET {good} HTTP/1.1\r\n{rest}").as_bytes(),
            line,
            b"\r\n\r\n",
        ]
        .concat();
        assert_rejected(&proxy, &origin, &request);
    }
    for start in [
        format!(" GET {good} HTTP/1.1"),
        format!("GET  {good} HTTP/1.1"),
        format!("GET {good}  HTTP/1.1"),
        format!("GET {good} HTTP/1.1 "),
        format!("GET\t{good} HTTP/1.1"),
        format!("GET {good}"),
        format!("GET {good} HTTP/1.1x"),
        format!("GET {good} http/1.1"),
        format!("GET {good} HTTP/1"),
        format!("GET {good}a b HTTP/1.1"),
        format!("GET {good}\0 HTTP/1.1"),
        format!("GET {good}\x7f HTTP/1.1"),
        format!("GET {good}\r HTTP/1.1"),
        format!("G(T {good} HTTP/1.1"),
        format!("G\0T {good} HTTP/1.1"),
        "GET".to_owned(),
    ] {
        assert_rejected(&proxy, &origin, format!("{start}\r\n{rest}\r\n").as_bytes());
    }
}

// Case 9: bare LF ends no line.
#[test]
fn bare_line_feeds_are_rejected() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let address = origin.address;
    let auth = auth();
    for request in [
        format!("GET http://{address}/ HTTP/1.1\nHost: {address}\r\n{auth}\r\n"),
        format!("GET http://{address}/ HTTP/1.1\r\nHost: {address}\n{auth}\r\n"),
        format!("GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\n{auth}\n\r\n"),
        format!("GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\n{auth}X: a\nY: b\r\n\r\n"),
        format!(
            "GET http://{address}/ HTTP/1.1\nHost: {address}\n{}\n",
            auth.trim_end()
        ),
    ] {
        assert_rejected(&proxy, &origin, request.as_bytes());
    }
}

#[test]
fn other_versions_are_refused() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let address = origin.address;
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/3.0", "HTTP/1.2", "HTTP/9.9"] {
        let mut wire = proxy.connect();
        wire.send(format!(
            "GET http://{address}/ {version}\r\nHost: {address}\r\n{}\r\n",
            auth()
        ))
        .unwrap();
        let answer = wire.response("GET").unwrap();
        let expected: &[u16] = if version == "HTTP/1.2" {
            &[200, 400, 505]
        } else {
            &[400, 505]
        };
        assert!(
            expected.contains(&answer.status()),
            "{version}: {}",
            answer.head.start
        );
    }
}

// Case 10: sizes at and around what a 16-bit field holds.
#[test]
fn lengths_around_64_kib_neither_wrap_nor_crash() {
    let mut proxy = Proxy::start("limits: { request_head: 256KiB }");
    let origin = Origin::ok("in");
    let address = origin.address;
    for size in [65_535, 65_536, 65_537] {
        for (name, value) in [(size, 1), (1, size), (size, size)] {
            let line = format!("{}: {}\r\n", "n".repeat(name), "v".repeat(value));
            let mut wire = proxy.connect();
            wire.send(format!(
                "GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\n{}{line}\r\n",
                auth()
            ))
            .unwrap();
            let answer = wire.response("GET").unwrap();
            assert!([200, 400, 431].contains(&answer.status()), "{name}/{value}");
            if answer.status() == 200 {
                let got = origin.requests().pop().unwrap().head.fields;
                assert_eq!(got.value(&"n".repeat(name)).map(str::len), Some(value));
            }
        }
    }
    assert!(proxy.is_running());
    assert_eq!(proxy.fetch(&format!("http://{address}/")).status(), 200);
}

// Case 11: nothing that is decoded on the way becomes a line of its own.
#[test]
fn encoded_line_breaks_stay_encoded() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let address = origin.address;
    let target = "/a%0d%0aX-Injected:%20yes%0d%0a%0d%0aGET%20/b";
    assert_eq!(
        proxy.fetch(&format!("http://{address}{target}")).status(),
        200
    );
    let head = origin.request().head;
    assert_eq!(head.target(), target);
    assert!(!head.fields.has("x-injected"));
    let answer = proxy.fetch(&format!("http://a%0d%0aX-Injected:x@{address}/"));
    assert_eq!(answer.status(), 400);
    assert!(!answer.head.fields.has("x-injected"));
}

// Case 13
#[test]
fn connection_may_not_take_away_what_protects() {
    let mut proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let address = origin.address;
    let many = "close, X-Forwarded-For, Via, Host, Connection, Proxy-Authorization, ".repeat(20);
    let thousand = "X, ".repeat(1000);
    for list in [
        "Via",
        "Host",
        "Content-Length",
        "Connection",
        "close, close",
        "",
        ",,,",
        &many,
        &thousand,
    ] {
        let mut wire = proxy.connect();
        wire.send(format!(
            "POST http://{address}/ HTTP/1.1\r\nHost: {address}\r\n{}Connection: {list}\r\n\
             Content-Length: 5\r\n\r\nhello",
            auth()
        ))
        .unwrap();
        let answer = wire.response("POST").unwrap();
        assert!(
            [200, 400].contains(&answer.status()),
            "{list}: {}",
            answer.head.start
        );
        if answer.status() == 200 {
            let got = origin.requests().pop().unwrap();
            assert!(got.head.fields.has("via"), "{list}");
            assert!(got.head.fields.has("host"), "{list}");
            assert_eq!(got.body, b"hello", "{list}");
            assert!(!got.head.fields.has("proxy-authorization"), "{list}");
        }
    }
    assert!(proxy.is_running());
}

// Case 31 and 32: rubbish of every kind is answered or closed, and the program goes on.
#[test]
fn rubbish_never_ends_the_program() {
    let mut proxy = Proxy::plain();
    let mut state: u32 = 7;
    for round in 0_usize..200 {
        let noise: Vec<u8> = (0..round * 7 % 900 + 1)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            })
            .collect();
        let prefix: &[u8] = match round % 6 {
            0 => b"",
            1 => b"GET http://127.0.0.1:1/ HTTP/1.1\r\n",
            2 => b"CONNECT ",
            3 => b"GET / HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic ",
            4 => b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
            _ => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        };
        let mut wire = proxy.connect();
        let _maybe_closed = wire.send([prefix, &noise, b"\r\n\r\n"].concat());
        let _maybe_closed = wire.finish();
        let answer = wire.rest();
        assert!(
            !String::from_utf8_lossy(&answer).contains(" 200 "),
            "round {round}"
        );
    }
    assert!(proxy.is_running());
    assert!(!proxy.errors().contains("panicked"), "{}", proxy.errors());
}

#[test]
fn empty_lines_before_a_request_are_skipped_or_refused() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let mut wire = proxy.connect();
    // RFC 9112 §2.2: at least one empty line should be ignored.
    wire.send(format!(
        "\r\n{}",
        fetch(&format!("http://{}/", origin.address))
    ))
    .unwrap();
    let status = wire.response("GET").unwrap().status();
    assert!([200, 400].contains(&status), "{status}");
    let mut wire = proxy.connect();
    wire.set_deadline(Duration::from_secs(8));
    let flood = "\r\n".repeat(100_000);
    let _maybe_closed = wire.send(flood);
    match wire.read_to_end() {
        Ok(_) => {}
        Err(error) => assert!(!is_timeout(&error), "empty lines without end are read"),
    }
}
