//! Clients that speak another protocol than the listener: named in the log, and told in their own words.

use std::net::SocketAddr;

use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{auth, fetch};
use crate::support::tls::Authority;

/// What a client gets that sends these bytes, and ends its side.
fn answer(address: SocketAddr, bytes: &[u8]) -> String {
    let mut wire = Wire::connect(address).unwrap();
    wire.send(bytes).unwrap();
    let _maybe_closed = wire.finish();
    wire.rest().escape_ascii().to_string()
}

fn expect_line(proxy: &Proxy, text: &str) {
    eventually(text, || proxy.errors().contains(text).then_some(()));
}

#[test]
fn other_protocols_on_a_plain_listener() {
    let proxy = Proxy::plain();
    let cases: &[(&[u8], &str, &str, &str)] = &[
        (
            b"\x05\x01\x00",
            r"\x05\xff",
            "a SOCKS5 greeting",
            "wrong_protocol_socks",
        ),
        (
            b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00",
            r"\x00[",
            "a SOCKS4 request",
            "wrong_protocol_socks",
        ),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            "HTTP/1.1 400",
            "a TLS handshake",
            "wrong_protocol_tls",
        ),
        (
            b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n",
            "This port is an HTTP proxy",
            "an SSH banner",
            "wrong_protocol_ssh",
        ),
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n\r\n",
            "HTTP/1.1 400",
            "a PROXY protocol header",
            "proxy_header_unexpected",
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\0",
            "HTTP/1.1 400",
            "a PROXY protocol header",
            "proxy_header_unexpected",
        ),
        (
            b"OPTIONS rtsp://h/ RTSP/1.0\r\nCSeq: 1\r\n\r\n",
            "HTTP/1.1 400",
            "an RTSP request",
            "wrong_protocol_other",
        ),
        (
            b"EHLO x\r\n",
            "554 ",
            "an SMTP command",
            "wrong_protocol_other",
        ),
        (
            b"PASS hunter2\r\n",
            "421 ",
            "an FTP command",
            "wrong_protocol_other",
        ),
        (
            b"*1\r\n$4\r\nPING\r\n",
            "-ERR ",
            "a Redis command",
            "wrong_protocol_other",
        ),
        (
            b"\x00\x00\x00\x08\x04\xd2\x16\x2f",
            "HTTP/1.1 400",
            "a PostgreSQL start-up",
            "wrong_protocol_other",
        ),
        (
            b"\x55\x00\x00\x01\x85\xa6\xff\x01",
            "HTTP/1.1 400",
            "binary data",
            "wrong_protocol_other",
        ),
        (
            b"\xff\xfe\x00\x01",
            "HTTP/1.1 400",
            "binary data",
            "wrong_protocol_other",
        ),
        (
            b"0032git-upload-pack /p.git\0host=h\0",
            "0055ERR this port is an HTTP proxy",
            "a request of git://",
            "wrong_protocol_other",
        ),
        (
            b"\x10\x12\0\x06MQIsdp\x03\x02\0\x3c\0\x04test",
            "HTTP/1.1 400",
            "an MQTT connect",
            "wrong_protocol_other",
        ),
        (
            b"CAPA\r\n",
            "-ERR ",
            "a POP3 command",
            "wrong_protocol_other",
        ),
    ];
    for (number, (bytes, expected, name, kind)) in (1..).zip(cases) {
        let said = answer(proxy.address, bytes);
        assert!(said.starts_with(expected), "{name}: {said}");
        let records = proxy.wait_records(number);
        let record = &records[number - 1];
        assert_eq!(record["error"], *kind, "{name}: {record}");
        assert!(!record.to_string().contains("hunter2"), "{record}");
        expect_line(&proxy, name);
    }
    let log = proxy.errors();
    assert!(
        log.contains("where the listener expects plain HTTP; "),
        "{log}"
    );
    assert!(!log.contains("hunter2"), "{log}");
    let reason = |reason| format!("tollgate_connections_rejected_total{{reason=\"{reason}\"}}");
    assert_eq!(proxy.metric(&reason("wrong_protocol_socks")), 2);
    assert_eq!(proxy.metric(&reason("proxy_header_unexpected")), 2);
    // Any number of them has a line in a while.
    for _ in 0..20 {
        answer(proxy.address, b"\x05\x01\x00");
    }
    assert_eq!(proxy.errors().matches("a SOCKS5 greeting").count(), 1);
    // What is HTTP with a mistake in it stays that.
    assert!(
        answer(
            proxy.address,
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"
        )
        .contains("http_request_error")
    );
}

#[test]
fn http_on_the_tls_port_is_answered_in_plain_http() {
    let authority = Authority::new();
    let proxy = Setup::new().tls(&authority.issue(&["proxy.test"])).start();
    let address = proxy.secure_address();
    let mut wire = Wire::connect(address).unwrap();
    let said = wire.exchange(format!(
        "GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\nAccept: application/json\r\n{}\r\n",
        auth()
    ));
    assert_eq!(said.status(), 400);
    assert_eq!(said.field("content-type"), Some("application/json"));
    assert!(said.text().contains("https://"), "{}", said.text());
    wire.assert_closed();
    let record = proxy.record("the request", |record| {
        record["error"] == "wrong_protocol_plain"
    });
    assert_eq!(
        (&record["method"], &record["target"]),
        (&"GET".into(), &"http://example.org/".into())
    );
    expect_line(
        &proxy,
        "an HTTP request without TLS, where the listener expects TLS",
    );
    assert_eq!(answer(address, b"\x05\x01\x00"), r"\x05\xff");
    assert!(answer(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").starts_with("HTTP/1.1 400"));
    // The hello of SSL 2 is no TLS at a plain port, and a word is no HTTP.
    let said = answer(address, b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10");
    assert!(said.contains("wrong_protocol_other"), "{said}");
    expect_line(
        &proxy,
        "SSL 2, or TLS without a handshake, where the listener expects TLS; have",
    );
    answer(address, b"hello there\r\n");
    expect_line(
        &proxy,
        "text of no known protocol, where the listener expects TLS; ",
    );
    // One byte at a time, and TLS as ever.
    let mut wire = Wire::connect(address).unwrap();
    for byte in b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" {
        wire.send([*byte]).unwrap();
    }
    assert_eq!(wire.response("GET").unwrap().status(), 400);
    let socket = std::net::TcpStream::connect(address).unwrap();
    assert_eq!(
        authority
            .wrap(socket, "proxy.test")
            .exchange(fetch("http://10.0.0.1/"))
            .status(),
        403
    );
}

#[test]
fn a_missing_proxy_header_is_named() {
    let proxy = Setup::new().proxy_protocol().start();
    let said = answer(proxy.address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(
        said.starts_with("HTTP/1.1 400") && said.contains("PROXY protocol header"),
        "{said}"
    );
    expect_line(
        &proxy,
        "where the listener expects a PROXY protocol header first; have the load balancer send",
    );
    assert!(answer(proxy.address, b"\x16\x03\x01\x02\x00").starts_with("HTTP/1.1 400"));
    assert_eq!(
        proxy.metric("tollgate_connections_rejected_total{reason=\"proxy_header_missing\"}"),
        2
    );
}

#[test]
fn http2_where_it_is_off() {
    let setup = Setup::new();
    let yaml = format!(
        "listeners: [{{ address: \"{}\", http2: false }}]",
        setup.address()
    );
    let proxy = setup.config(&yaml).start();
    let said = answer(proxy.address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(
        said.starts_with("HTTP/1.1 505") && said.contains("HTTP/2 is off"),
        "{said}"
    );
    expect_line(
        &proxy,
        "HTTP/2 without TLS, where the listener expects plain HTTP; set http2: true",
    );
}
