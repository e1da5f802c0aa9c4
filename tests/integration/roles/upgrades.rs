//! Upgrades of HTTP/1.1 to another protocol, where an origin is fast or declines.

use crate::support::client::Wire;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::auth;

/// An upgrade was lost when the origin's 101 was there before the proxy had noted
/// that the request has no body (cloudflare/pingora#946). It takes an origin that
/// answers at once and a machine with other things to do.
#[test]
fn upgrades_survive_an_origin_that_answers_at_once() {
    let proxy = Proxy::plain();
    let origin = Origin::raw(|mut wire, _| {
        wire.read_head()?;
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")?;
        let ping = wire.read_bytes(4)?;
        wire.send(ping)
    });
    let request = format!(
        "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        origin.address,
        auth()
    );
    let address = proxy.address;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for number in 0..40 {
                    let mut wire = Wire::connect(address).unwrap();
                    let answer = wire.exchange(request.as_str());
                    assert_eq!(answer.status(), 101, "{number}");
                    assert_eq!(wire.read_bytes(5).unwrap(), b"first", "{number}");
                    wire.send("ping").unwrap();
                    assert_eq!(wire.read_bytes(4).unwrap(), b"ping", "{number}");
                    assert_eq!(wire.read_to_end().unwrap(), b"", "{number}");
                }
            });
        }
    });
}

/// An origin that declines an upgrade answers like any other, and its answer
/// reaches the client whole, whatever frames it.
#[test]
fn declined_upgrades_are_passed_on_whole() {
    let proxy = Proxy::plain();
    for (framing, body) in [
        ("Content-Length: 4\r\n", "nope"),
        ("Transfer-Encoding: chunked\r\n", "4\r\nnope\r\n0\r\n\r\n"),
        ("", "nope"),
    ] {
        let answer = format!(
            "HTTP/1.1 403 Forbidden\r\nX-Own: 1\r\nKeep-Alive: timeout=5\r\n{framing}\r\n{body}"
        );
        let origin = Origin::raw(move |mut wire, _| {
            wire.read_head()?;
            wire.send(answer.as_str())
        });
        let mut wire = proxy.connect();
        let answer = wire.exchange(format!(
            "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            origin.address,
            auth()
        ));
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (403, "nope"),
            "{framing}"
        );
        assert_eq!(answer.field("x-own"), Some("1"));
        assert_eq!(answer.field("keep-alive"), None);
        assert!(answer.head.fields.lists("connection", "close"));
    }
}

/// An origin gets `Upgrade` in a WebSocket handshake and in no other request.
#[test]
fn only_a_websocket_handshake_passes_upgrade_on() {
    let proxy = Proxy::plain();
    let option = "Connection: Upgrade\r\n";
    for (method, fields, body, expected) in [
        ("GET", "Upgrade: x, WebSocket\r\n", "", &["websocket"][..]),
        (
            "GET",
            "Upgrade: x\r\nUpgrade: websocket\r\n",
            "",
            &["websocket"],
        ),
        ("GET", "Upgrade: h2c\r\n", "", &[]),
        ("HEAD", "Upgrade: websocket\r\n", "", &[]),
        ("POST", "Upgrade: websocket\r\n", "", &[]),
        (
            "GET",
            "Upgrade: websocket\r\nContent-Length: 2\r\n",
            "hi",
            &[],
        ),
    ] {
        let origin = Origin::ok("plain");
        let mut wire = proxy.connect();
        wire.send(format!(
            "{method} http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}{option}{fields}\r\n{body}",
            origin.address,
            auth()
        ))
        .unwrap();
        let answer = wire.response(method).unwrap();
        assert_eq!(answer.status(), 200, "{method} {fields}");
        let upgrade = origin.request().head.fields;
        assert_eq!(upgrade.all("upgrade"), expected, "{method} {fields}");
    }
}

/// A refusal of the proxy's own is no content of an upstream.
#[test]
fn refused_handshake_has_nothing_from_upstream_in_its_record() {
    let proxy = Proxy::plain();
    let (answer, record) = proxy.ask(format!(
        "GET http://10.0.0.1/ HTTP/1.1\r\nHost: 10.0.0.1\r\n{}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        auth()
    ));
    assert_eq!(answer.status(), 403, "{record}");
    assert_eq!(record["bytes_to_client"], answer.body.len());
    assert_eq!(record["bytes_from_upstream"], 0);
}
