//! CONNECT: a tunnel is bytes and nothing but bytes.

use crate::support::client::Wire;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{auth, connect, fetch};
use crate::support::tls::Authority;
use crate::support::{dns::Dns, payload};

// Case 8: a 2xx to CONNECT has no framing.
#[test]
fn success_has_no_framing_fields() {
    let proxy = Proxy::plain();
    let origin = Origin::echo();
    let mut wire = proxy.connect();
    wire.send(connect(origin.address)).unwrap();
    let head = wire.read_head().unwrap().unwrap();
    assert!(head.start.starts_with("HTTP/1.1 200"), "{}", head.start);
    for name in [
        "content-length",
        "transfer-encoding",
        "connection",
        "trailer",
    ] {
        assert!(
            !head.fields.has(name),
            "{name} in {}",
            String::from_utf8_lossy(&head.raw)
        );
    }
    wire.send("ping").unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
}

#[test]
fn success_comes_before_any_byte_of_the_client() {
    let proxy = Proxy::plain();
    // The server speaks first, as SMTP or SSH do.
    let origin = Origin::raw(|mut wire, _| {
        wire.send("220 ready\r\n")?;
        wire.read_to_end().map(drop)
    });
    let mut wire = proxy.tunnel(origin.address);
    assert_eq!(wire.read_until(b"\r\n").unwrap(), b"220 ready\r\n");
}

#[test]
fn bytes_in_the_segment_of_the_head_are_delivered() {
    let proxy = Proxy::plain();
    let origin = Origin::echo();
    for length in [1, 100, 3000, 4096, 5000, 16 * 1024, 70_000, 300_000] {
        let early = payload::bytes(length);
        let mut wire = proxy.connect();
        wire.send([connect(origin.address).as_bytes(), &early].concat())
            .unwrap();
        assert_eq!(wire.response("CONNECT").unwrap().status(), 200, "{length}");
        assert_eq!(wire.read_bytes(length).unwrap(), early, "{length}");
        wire.send("after").unwrap();
        assert_eq!(wire.read_bytes(5).unwrap(), b"after", "{length}");
        wire.finish().unwrap();
        wire.assert_closed();
    }
}

#[test]
fn head_in_single_bytes_opens_a_tunnel() {
    let proxy = Proxy::plain();
    let origin = Origin::echo();
    let mut wire = proxy.connect();
    for byte in connect(origin.address).bytes() {
        wire.send([byte]).unwrap();
    }
    assert_eq!(wire.response("CONNECT").unwrap().status(), 200);
    wire.send("ping").unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
}

#[test]
fn bytes_that_look_like_http_are_not_read() {
    let proxy = Proxy::plain();
    let origin = Origin::echo();
    let mut wire = proxy.tunnel(origin.address);
    let text = "HTTP/1.1 407 x\r\nContent-Length: 9\r\n\r\nGET / HTTP/1.1\r\n\r\n\0\r\n0\r\n\r\n";
    wire.send(text).unwrap();
    assert_eq!(wire.read_bytes(text.len()).unwrap(), text.as_bytes());
}

#[test]
fn early_bytes_count_in_the_log() {
    let proxy = Proxy::plain();
    let origin = Origin::echo();
    let mut wire = proxy.connect();
    wire.send(connect(origin.address) + "12345").unwrap();
    assert_eq!(wire.response("CONNECT").unwrap().status(), 200);
    wire.send("678").unwrap();
    wire.finish().unwrap();
    assert_eq!(wire.read_to_end().unwrap(), b"12345678");
    drop(wire);
    let record = proxy.record("the tunnel", |record| record["method"] == "CONNECT");
    assert_eq!(record["bytes_from_client"], 8, "{record}");
    assert_eq!(record["bytes_from_upstream"], 8, "{record}");
}

#[test]
fn tunnel_after_407_and_after_requests_on_one_connection() {
    let proxy = Proxy::plain();
    let (web, echo) = (Origin::ok("page"), Origin::echo());
    let mut wire = proxy.connect();
    let bare = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", echo.address);
    assert_eq!(wire.exchange(&bare).status(), 407);
    for _ in 0..2 {
        let answer = wire.exchange(fetch(&format!("http://{}/", web.address)));
        assert_eq!(answer.text(), "page");
    }
    assert_eq!(wire.exchange(&bare).status(), 407);
    assert_eq!(wire.exchange(connect(echo.address)).status(), 200);
    wire.send("ping").unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
}

#[test]
fn http_1_0_client_gets_a_tunnel() {
    let proxy = Proxy::plain();
    let origin = Origin::echo();
    let mut wire = proxy.connect();
    let answer = wire.exchange(format!(
        "CONNECT {} HTTP/1.0\r\n{}\r\n",
        origin.address,
        auth()
    ));
    assert_eq!(answer.status(), 200);
    wire.send("ping").unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
}

#[test]
fn connection_close_and_proxy_connection_do_not_matter() {
    let proxy = Proxy::plain();
    let origin = Origin::echo();
    for line in [
        "Connection: close",
        "Proxy-Connection: keep-alive",
        "Connection: keep-alive",
    ] {
        let mut wire = proxy.connect();
        let answer = wire.exchange(format!(
            "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n{line}\r\n{1}\r\n",
            origin.address,
            auth()
        ));
        assert_eq!(answer.status(), 200, "{line}");
        wire.send("ping").unwrap();
        assert_eq!(wire.read_bytes(4).unwrap(), b"ping", "{line}");
    }
}

#[test]
fn tls_inside_the_tunnel_is_between_client_and_origin() {
    let proxy = Proxy::plain();
    let authority = Authority::new();
    let identity = authority.issue(&["inner.test"]);
    let origin = Origin::https(identity.server(), |_| crate::support::message::ok("secret"));
    let wire = proxy.tunnel(origin.address);
    let mut inner = authority.wrap(wire.socket().try_clone().unwrap(), "inner.test");
    let answer = inner.exchange("GET / HTTP/1.1\r\nHost: inner.test\r\n\r\n");
    assert_eq!(answer.text(), "secret");
}

#[test]
fn tunnel_through_a_tls_listener() {
    let authority = Authority::new();
    let proxy = Setup::new().tls(&authority.issue(&["proxy.test"])).start();
    let (web, origin) = (Origin::ok("page"), Origin::echo());
    let outer = Wire::connect(proxy.secure_address()).unwrap();
    let mut wire = authority.wrap(outer.socket().try_clone().unwrap(), "proxy.test");
    let answer = wire.exchange(fetch(&format!("http://{}/", web.address)));
    assert_eq!(answer.text(), "page");
    wire.send(connect(origin.address) + "early").unwrap();
    assert_eq!(wire.response("CONNECT").unwrap().status(), 200);
    assert_eq!(wire.read_bytes(5).unwrap(), b"early");
    let big = payload::bytes(50_000);
    wire.send(&big).unwrap();
    assert_eq!(wire.read_bytes(big.len()).unwrap(), big);
}

#[test]
fn tunnel_over_ipv6() {
    let proxy = Proxy::plain();
    let origin = Origin::bind("[::1]:0", |mut wire, _| {
        wire.send("six")?;
        wire.read_to_end().map(drop)
    });
    let mut wire = proxy.tunnel(format!("[::1]:{}", origin.port()));
    assert_eq!(wire.read_bytes(3).unwrap(), b"six");
}

#[test]
fn tunnel_to_a_name() {
    let dns = Dns::table(&[("echo.test", &["127.0.0.1"])]);
    let proxy = Proxy::start(&dns.config());
    let origin = Origin::echo();
    let mut wire = proxy.tunnel(format!("ECHO.test:{}", origin.port()));
    wire.send("ping").unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
    drop(wire);
    let record = proxy.record("the tunnel", |record| record["method"] == "CONNECT");
    let canonical = format!("echo.test:{}", origin.port());
    assert_eq!(record["target"], canonical, "{record}");
}
