//! Origins of every kind: how they are found, spoken to, and what becomes of their failures.

use std::time::{Duration, Instant};

use crate::support::dns::Dns;
use crate::support::message::{ok, response};
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::port::Port;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{auth, fetch, request};
use crate::support::tls::Authority;

#[test]
fn origin_connections_are_used_again() {
    let proxy = Setup::new().server("threads: 1").start();
    let origin = Origin::ok("in");
    let mut wire = proxy.connect();
    for _ in 0..20 {
        assert_eq!(
            wire.exchange(fetch(&format!("http://{}/", origin.address)))
                .status(),
            200
        );
    }
    assert!(
        origin.connections() <= 3,
        "{} connections",
        origin.connections()
    );
}

#[test]
fn kept_connection_that_the_origin_closed_is_no_failure() {
    let proxy = Proxy::plain();
    let origin = Origin::raw(|mut wire, _| {
        // One answer that promises to keep the connection, then a close.
        wire.request()?;
        wire.send(ok("in"))
    });
    let mut wire = proxy.connect();
    for _ in 0..10 {
        let answer = wire.exchange(fetch(&format!("http://{}/", origin.address)));
        assert_eq!(answer.status(), 200);
    }
}

#[test]
fn early_answer_to_an_unfinished_body_reaches_the_client() {
    let proxy = Proxy::plain();
    let origin = Origin::raw(|mut wire, _| {
        wire.read_head()?;
        wire.send(response("413 Too Large", "Connection: close\r\n", "no"))?;
        wire.finish()?;
        wire.read_to_end().map(drop)
    });
    let mut wire = proxy.connect();
    wire.send(request(
        "POST",
        &origin,
        "Content-Length: 1000000\r\n",
        "some of it",
    ))
    .unwrap();
    let answer = wire.response("POST").unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (413, "no"));
    // The rest of the body is not waited for.
    assert_eq!(wire.read_to_end().unwrap(), b"");
}

#[test]
fn origin_that_breaks_off_is_never_a_whole_answer() {
    let proxy = Proxy::plain();
    let heads: [&str; 2] = [
        "Content-Length: 100\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n64\r\nhalf",
    ];
    for head in heads {
        let bytes = format!("HTTP/1.1 200 OK\r\n{head}");
        let origin = Origin::raw(move |mut wire, _| {
            wire.request()?;
            wire.send(&bytes)
        });
        let mut wire = proxy.connect();
        wire.send(fetch(&format!("http://{}/", origin.address)))
            .unwrap();
        let broken = wire.response("GET");
        assert!(
            broken
                .as_ref()
                .map_or(true, |answer| answer.status() == 502),
            "{head:?}: {broken:?}"
        );
    }
}

#[test]
fn broken_origins_are_502() {
    let proxy = Proxy::plain();
    let nobody = Port::reserve();
    let answer = proxy.fetch(&format!("http://{}/", nobody.address));
    assert_eq!(answer.status(), 502);
    assert!(
        answer
            .field("proxy-status")
            .unwrap()
            .contains("error=connection_refused")
    );
    assert!(!answer.body.is_empty());

    let answers: [&'static [u8]; 6] = [
        b"",
        b"rubbish\r\n\r\n",
        b"HTTP/1.1 200",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ];
    for bytes in answers {
        let origin = Origin::raw(move |mut wire, _| {
            wire.request()?;
            wire.send(bytes)
        });
        let answer = proxy.fetch(&format!("http://{}/", origin.address));
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(answer.status(), 502, "{shown:?}");
        assert!(answer.field("proxy-status").is_some(), "{shown:?}");
    }
}

#[test]
fn reset_by_the_origin_is_502() {
    let proxy = Proxy::plain();
    let origin = Origin::raw(|mut wire, _| {
        wire.request()?;
        wire.reset();
        Ok(())
    });
    assert_eq!(
        proxy.fetch(&format!("http://{}/", origin.address)).status(),
        502
    );
}

#[test]
fn silent_origin_is_504() {
    let proxy = Proxy::start("timeouts: { response: 1s }");
    let origin = Origin::raw(|mut wire, _| {
        wire.request()?;
        wire.read_to_end().map(drop)
    });
    let start = Instant::now();
    let answer = proxy.fetch(&format!("http://{}/", origin.address));
    assert_eq!(answer.status(), 504);
    assert!(
        answer.field("proxy-status").unwrap().contains("time"),
        "{:?}",
        answer.head
    );
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
    origin.wait_all_closed();
}

#[test]
fn https_is_fetched_with_the_certificate_verified() {
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1", "secure.test"]);
    let origin = Origin::https(identity.server(), |request| ok(request.head.target()));
    let dns = Dns::table(&[
        ("secure.test", &["127.0.0.1"]),
        ("other.test", &["127.0.0.1"]),
    ]);
    let setup = Setup::new()
        .file("ca.pem", authority.pem())
        .config(&dns.config());
    let ca_file = format!("ca_file: {}", setup.path("ca.pem").display());
    let proxy = setup.server(&ca_file).start();
    for host in ["127.0.0.1", "secure.test"] {
        let answer = proxy.fetch(&format!("https://{host}:{}/deep?q", origin.port()));
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, "/deep?q"),
            "{host}"
        );
    }
    // The name is verified and not the authority alone.
    let answer = proxy.fetch(&format!("https://other.test:{}/", origin.port()));
    assert_eq!(answer.status(), 502);
    let status = answer.field("proxy-status").unwrap();
    assert!(status.contains("tls_certificate_error"), "{status}");
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn https_of_an_unknown_authority_is_refused() {
    let origin = Origin::https(Authority::new().issue(&["127.0.0.1"]).server(), |_| {
        ok("no")
    });
    let setup = Setup::new().file("ca.pem", Authority::new().pem());
    let ca_file = format!("ca_file: {}", setup.path("ca.pem").display());
    let proxy = setup.server(&ca_file).start();
    let answer = proxy.fetch(&format!("https://127.0.0.1:{}/", origin.port()));
    assert_eq!(answer.status(), 502);
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn https_is_never_sent_in_the_clear() {
    let proxy = Proxy::plain();
    let (report, reported) = std::sync::mpsc::channel();
    let origin = Origin::raw(move |mut wire, _| {
        let got = wire.read_bytes(1)?;
        report.send(got).map_err(std::io::Error::other)
    });
    let answer = proxy.fetch(&format!("https://{}/", origin.address));
    assert!([501, 502].contains(&answer.status()), "{}", answer.status());
    if answer.status() == 502 {
        // A TLS handshake record and no method.
        assert_eq!(
            reported.recv_timeout(Duration::from_secs(5)).unwrap(),
            [0x16]
        );
    }
}

#[test]
fn websocket_goes_through_both_ways() {
    let proxy = Proxy::plain();
    let origin = Origin::raw(|wire, _| {
        let mut socket =
            tungstenite::accept(wire.socket().try_clone()?).map_err(std::io::Error::other)?;
        socket.send("hello".into()).map_err(std::io::Error::other)?;
        loop {
            let message = socket.read().map_err(std::io::Error::other)?;
            if message.is_close() {
                return Ok(());
            }
            socket.send(message).map_err(std::io::Error::other)?;
        }
    });
    let address = origin.address;
    for _ in 0..5 {
        let mut wire = proxy.connect();
        let answer = wire.exchange(format!(
            "GET http://{address}/chat HTTP/1.1\r\nHost: {address}\r\n{}Connection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            auth()
        ));
        assert_eq!(answer.status(), 101);
        assert_eq!(
            answer.field("sec-websocket-accept"),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        assert!(answer.head.fields.lists("connection", "upgrade"));
        // The greeting may have come with the head: what was read goes first.
        let greeting = wire.read_bytes(7).unwrap();
        assert_eq!(&greeting[2..], b"hello");
        let socket = wire.socket().try_clone().unwrap();
        let mut client = tungstenite::WebSocket::from_raw_socket(
            socket,
            tungstenite::protocol::Role::Client,
            None,
        );
        for size in [0, 1, 125, 126, 70_000, 1_000_000] {
            let message: tungstenite::Message = payload::bytes(size).into();
            client.send(message.clone()).unwrap();
            assert_eq!(client.read().unwrap(), message, "{size}");
        }
        client.close(None).unwrap();
    }
}

#[test]
fn names_are_resolved_and_remembered() {
    let dns = Dns::table(&[("web.test", &["127.0.0.1"])]);
    let proxy = Proxy::start(&dns.config());
    let origin = Origin::ok("in");
    for name in ["web.test", "WEB.TEST", "web.test."] {
        let answer = proxy.fetch(&format!("http://{name}:{}/", origin.port()));
        assert_eq!(answer.text(), "in", "{name}");
    }
    assert_eq!(dns.asked(), 1, "one look-up for one name");
    let host = origin.requests().pop().unwrap().head.fields;
    assert_eq!(
        host.value("host"),
        Some(format!("web.test:{}", origin.port()).as_str())
    );
}

#[test]
fn unknown_name_is_502() {
    let dns = Dns::table(&[]);
    let proxy = Proxy::start(&dns.config());
    let answer = proxy.fetch("http://nowhere.test/");
    assert_eq!(answer.status(), 502);
    let status = answer.field("proxy-status").unwrap();
    // RFC 9209 §2.3.2 and §2.3.3: both fit a name that does not exist.
    assert!(status.contains("dns_error"), "{status}");
}

#[test]
fn all_addresses_of_a_name_are_tried() {
    let origin = Origin::bind("127.0.0.9:0", |mut wire, _| {
        wire.request()?;
        wire.send(ok("ninth"))
    });
    let addresses: &[&str] = &["127.0.0.5", "127.0.0.6", "::1", "127.0.0.9"];
    let dns = Dns::table(&[("many.test", addresses)]);
    let proxy = Proxy::start(&dns.config());
    for _ in 0..3 {
        let answer = proxy.fetch(&format!("http://many.test:{}/", origin.port()));
        assert_eq!(answer.text(), "ninth", "{}", answer.head.start);
    }
}

#[test]
fn origin_in_ipv6_is_reached() {
    let proxy = Proxy::plain();
    let origin = Origin::bind("[::1]:0", |mut wire, seen| {
        let request = wire.request()?.unwrap();
        seen.keep(request);
        wire.send(ok("six"))
    });
    let address = format!("[::1]:{}", origin.port());
    assert_eq!(proxy.fetch(&format!("http://{address}/")).text(), "six");
    assert_eq!(
        origin.request().head.fields.value("host"),
        Some(address.as_str())
    );
}
