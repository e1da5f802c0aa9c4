//! Framing: nobody can make two parsers disagree, and nothing unparsed goes upstream.

use crate::support::eventually;
use crate::support::message::{Framing, ok};
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{auth, fetch};
use std::time::Duration;

/// Sends bytes and checks that they are answered with 400, that the connection ends, and that
/// nothing reached the origin.
pub(crate) fn assert_rejected(proxy: &Proxy, origin: &Origin, bytes: &[u8]) {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned();
    let mut wire = proxy.connect();
    // The program may close before everything is written.
    let _maybe_closed = wire.send(bytes);
    let answer = wire
        .response("POST")
        .unwrap_or_else(|error| panic!("{shown:?}: {error}"));
    assert_eq!(answer.status(), 400, "{shown:?}");
    assert!(wire.rest().is_empty(), "more than one answer to {shown:?}");
    origin.assert_untouched();
}

/// Alice's POST in absolute-form with those field lines, and what follows the head.
fn post(origin: &Origin, fields: &[u8], body: &[u8]) -> Vec<u8> {
    let address = origin.address;
    let head = format!(
        "POST http://{address}/ HTTP/1.1\r\nHost: {address}\r\n{}",
        auth()
    );
    [head.as_bytes(), fields, b"\r\n\r\n", body].concat()
}

fn check_rejected(table: &[(&[u8], &[u8])]) {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    for (fields, body) in table {
        assert_rejected(&proxy, &origin, &post(&origin, fields, body));
    }
}

// Case 1
#[test]
fn length_and_chunked_together_are_rejected() {
    check_rejected(&[
        (
            b"Content-Length: 5\r\nTransfer-Encoding: chunked",
            b"0\r\n\r\n",
        ),
        (
            b"Transfer-Encoding: chunked\r\nContent-Length: 0",
            b"0\r\n\r\n",
        ),
        (
            b"Transfer-Encoding: chunked\r\nContent-Length: 4",
            b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ),
    ]);
}

// Case 2
#[test]
fn odd_content_lengths_are_rejected() {
    check_rejected(&[
        (b"Content-Length: 5\r\nContent-Length: 6", b"hello!"),
        (b"Content-Length: 5, 6", b"hello!"),
        (b"Content-Length:", b""),
        (b"Content-Length: ,", b""),
        (b"Content-Length: +5", b"hello"),
        (b"Content-Length: -5", b"hello"),
        (b"Content-Length: 0x5", b"hello"),
        (b"Content-Length: 5 5", b"hello"),
        (b"Content-Length: 5;", b"hello"),
        (b"Content-Length: 5.0", b"hello"),
        (b"Content-Length: \x0b5", b"hello"),
        (b"Content-Length: five", b"hello"),
        (b"Content-Length: \"5\"", b"hello"),
        (b"Content-Length: 18446744073709551616", b"hello"),
        (b"Content-Length: 99999999999999999999999999", b"hello"),
        (b"Content-Length : 5", b"hello"),
        (b" Content-Length: 5", b"hello"),
        (b"Content-Length\x00: 5", b"hello"),
    ]);
}

// Case 2: equal ones are one, or are refused; never two upstream.
#[test]
fn equal_content_lengths_go_upstream_once_at_most() {
    let proxy = Proxy::plain();
    for fields in [
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
    ] {
        let origin = Origin::http(|request| ok(&request.body));
        let mut wire = proxy.connect();
        wire.send(post(&origin, fields.as_bytes(), b"hello"))
            .unwrap();
        let answer = wire.response("POST").unwrap();
        if answer.status() == 200 {
            assert_eq!(answer.text(), "hello");
            let lengths = origin.request().head.fields;
            assert_eq!(lengths.all("content-length"), ["5"], "{fields}");
        } else {
            assert_eq!(answer.status(), 400, "{fields}");
            origin.assert_untouched();
        }
    }
}

// Case 3
#[test]
fn odd_transfer_encodings_are_rejected() {
    let body = b"0\r\n\r\n";
    check_rejected(&[
        (b"Transfer-Encoding: xchunked", body),
        (b"Transfer-Encoding: chunkedx", body),
        (b"Transfer-Encoding: chunked, identity", body),
        (b"Transfer-Encoding: identity", body),
        (b"Transfer-Encoding: chunked, chunked", body),
        (
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            body,
        ),
        (
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            body,
        ),
        (
            b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            body,
        ),
        (b"Transfer-Encoding:", body),
        (b"Transfer-Encoding: ,", body),
        (b"Transfer-Encoding: chunked;q=1", body),
        (b"Transfer-Encoding: \"chunked\"", body),
        (b"Transfer-Encoding: \x0bchunked", body),
        (b"Transfer-Encoding : chunked", body),
        (b"Transfer-Encoding:\r\n chunked", body),
        (b"Transfer-Encoding: chunked\x00", body),
    ]);
}

// Case 3
#[test]
fn chunked_in_http_1_0_is_rejected() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let address = origin.address;
    let request = format!(
        "POST http://{address}/ HTTP/1.0\r\n{}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        auth()
    );
    assert_rejected(&proxy, &origin, request.as_bytes());
}

// Case 4: a broken chunk is never passed on, and what follows it is not a request.
#[test]
fn broken_chunks_are_rejected() {
    let proxy = Proxy::plain();
    for chunks in [
        b"-1\r\nx\r\n0\r\n\r\n".as_slice(),
        b"+1\r\nx\r\n0\r\n\r\n",
        b"0x1\r\nx\r\n0\r\n\r\n",
        b"\r\n\r\n",
        b"g\r\nx\r\n0\r\n\r\n",
        b" 1\r\nx\r\n0\r\n\r\n",
        b"1 1\r\nx\r\n0\r\n\r\n",
        b"1;\nx\r\n0\r\n\r\n",
        b"1\nx\n0\n\n",
        b"1\r\nx\n0\r\n\r\n",
        b"1\r\nxx\r\n0\r\n\r\n",
        b"1\r\nx0\r\n\r\n",
        b"fffffffffffffffff\r\nx\r\n0\r\n\r\n",
        b"10000000000000001\r\nx\r\n0\r\n\r\n",
        b"ffffffffffffffff\r\nx\r\n0\r\n\r\n",
        b"1\x00\r\nx\r\n0\r\n\r\n",
    ] {
        let shown = String::from_utf8_lossy(chunks).into_owned();
        // The origin may see a head and a body that never ends; never a whole request.
        let origin = Origin::http(|request| ok(&request.body));
        let mut wire = proxy.connect();
        let hidden = fetch(&format!("http://{}/hidden", origin.address));
        wire.send(post(
            &origin,
            b"Transfer-Encoding: chunked",
            &[chunks, hidden.as_bytes()].concat(),
        ))
        .unwrap();
        // "ffffffffffffffff" is a number; its chunk does not end, so neither does the request.
        if chunks.starts_with(b"ffffffffffffffff\r") {
            wire.finish().unwrap();
        }
        let answers = wire.rest();
        let text = String::from_utf8_lossy(&answers).into_owned();
        assert!(text.matches("HTTP/1.1 ").count() <= 1, "{shown:?}: {text}");
        assert!(!text.contains(" 200 "), "{shown:?}: {text}");
        assert!(
            origin.requests().is_empty(),
            "{shown:?}: {:?}",
            origin.requests()
        );
    }
}

// Case 4: extensions have no end; memory and patience have.
#[test]
fn endless_chunk_extension_is_bounded() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let before = proxy.resident();
    let mut wire = proxy.connect();
    wire.send(post(&origin, b"Transfer-Encoding: chunked", b"1;"))
        .unwrap();
    let noise = [b'a'; 64 * 1024];
    let mut sent = 0;
    while sent < 256 * 1024 * 1024 && wire.send(noise).is_ok() {
        sent += noise.len();
    }
    assert!(sent < 256 * 1024 * 1024, "all of it was read");
    let grown = proxy.resident().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB");
    assert!(origin.requests().is_empty());
}

#[test]
fn chunk_extensions_and_trailers_do_not_go_upstream() {
    let proxy = Proxy::plain();
    let (report, reported) = std::sync::mpsc::channel();
    let origin = Origin::raw(move |mut wire, _| {
        let head = wire.read_head()?.unwrap();
        assert_eq!(head.request_framing(), Framing::Chunked);
        let body = wire.read_until(b"0\r\n\r\n")?;
        report.send(body).map_err(std::io::Error::other)?;
        wire.send(ok("in"))
    });
    let body = b"5;name=\"smuggled\"\r\nhello\r\n0\r\nX-Smuggled: yes\r\n\r\n";
    let mut wire = proxy.connect();
    wire.send(post(&origin, b"Transfer-Encoding: chunked", body))
        .unwrap();
    assert_eq!(wire.response("POST").unwrap().status(), 200);
    let got = reported.recv_timeout(Duration::from_secs(5)).unwrap();
    let text = String::from_utf8_lossy(&got).to_ascii_lowercase();
    assert!(!text.contains("smuggled"), "{text}");
}

// Case 5: nothing passes unparsed before a 101.
#[test]
fn upgrade_that_is_not_granted_opens_nothing() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("plain");
    let address = origin.address;
    for upgrade in ["websocket", "x", "h2c", "websocket, x"] {
        let before = origin.requests().len();
        let mut wire = proxy.connect();
        // A second request that only the first hop could refuse: it has no credentials.
        wire.send(format!(
            "GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\n{}Connection: Upgrade\r\n\
             Upgrade: {upgrade}\r\n\r\nGET http://{address}/secret HTTP/1.1\r\nHost: {address}\r\n\r\n",
            auth()
        ))
        .unwrap();
        assert_eq!(wire.response("GET").unwrap().status(), 200, "{upgrade}");
        wire.finish().unwrap();
        let rest = String::from_utf8_lossy(&wire.rest()).into_owned();
        assert!(
            rest.is_empty() || rest.starts_with("HTTP/1.1 407"),
            "{upgrade}: {rest}"
        );
        let new = origin.requests().split_off(before);
        assert_eq!(new.len(), 1, "{upgrade}: {new:?}");
        assert!(!new[0].head.fields.has("upgrade") || upgrade.starts_with("websocket"));
    }
}

// Case 5: a switch that nobody asked for is no answer.
#[test]
fn unasked_101_is_refused() {
    let proxy = Proxy::plain();
    let origin = Origin::fixed(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    );
    let mut wire = proxy.connect();
    wire.send(fetch(&format!("http://{}/", origin.address)))
        .unwrap();
    if let Ok(answer) = wire.response("GET") {
        assert_eq!(answer.status(), 502);
    }
}

// Case 6: what is left of a refused body is never a request.
#[test]
fn body_of_a_refused_request_is_never_parsed() {
    let proxy = Setup::new().config("egress: { http_ports: [80] }").start();
    let origin = Origin::ok("in");
    let address = origin.address;
    let gate = format!("GET /hidden HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth());
    let framings = [
        format!("Content-Length: {}\r\n\r\n{gate}", gate.len()),
        format!("Content-Length: {}\r\n\r\n{gate}", gate.len() + 100_000),
        format!(
            "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{gate}\r\n0\r\n\r\n",
            gate.len()
        ),
        format!("Transfer-Encoding: chunked\r\n\r\nzz\r\n{gate}"),
    ];
    for framing in framings {
        for (credentials, status) in [(String::new(), 407), (auth(), 403)] {
            let mut wire = proxy.connect();
            wire.send(format!(
                "POST http://{address}/ HTTP/1.1\r\nHost: {address}\r\n{credentials}{framing}"
            ))
            .unwrap();
            assert_eq!(wire.response("POST").unwrap().status(), status, "{framing}");
            wire.finish().unwrap();
            let rest = String::from_utf8_lossy(&wire.rest()).into_owned();
            assert!(!rest.contains(" 200 "), "{framing}: {rest}");
        }
    }
    origin.assert_untouched();
}

#[test]
fn incomplete_body_leaves_the_origin_without_a_whole_request() {
    let proxy = Proxy::plain();
    let origin = Origin::http(|request| ok(&request.body));
    let mut wire = proxy.connect();
    wire.send(post(&origin, b"Content-Length: 100", b"half"))
        .unwrap();
    wire.finish().unwrap();
    let answers = wire.rest();
    assert!(!String::from_utf8_lossy(&answers).contains(" 200 "));
    origin.wait_all_closed();
    assert!(origin.requests().is_empty());
    eventually("a record of it", || {
        (!proxy.records().is_empty()).then_some(())
    });
}
