//! CONNECTs that open nothing: each with its status, its reason and no side effect.

use std::time::{Duration, Instant};

use crate::support::dns::Dns;
use crate::support::origin::Origin;
use crate::support::port::{FullQueue, Port};
use crate::support::proxy::Proxy;
use crate::support::request::{auth, connect, fetch};

// Case 21: CONNECT with a Host that has no port, another one, or none at all.
#[test]
fn target_decides_and_not_host() {
    let proxy = Proxy::plain();
    let (right, wrong) = (Origin::echo(), Origin::echo());
    let address = right.address;
    for host in [
        format!("Host: {}\r\n", address.ip()),
        format!("Host: {}\r\n", wrong.address),
        "Host: elsewhere.example:443\r\n".to_owned(),
        "Host: EXAMPLE\r\n".to_owned(),
    ] {
        let mut wire = proxy.connect();
        wire.send(format!(
            "CONNECT {address} HTTP/1.1\r\n{host}{}\r\n",
            auth()
        ))
        .unwrap();
        let answer = wire.response("CONNECT").unwrap();
        assert!(
            [200, 400].contains(&answer.status()),
            "{host}: {}",
            answer.head.start
        );
        if host.contains("127.0.0.1\r") {
            assert_eq!(answer.status(), 200, "{host}");
        }
    }
    wrong.assert_untouched();
}

// Case 7: what follows a refused CONNECT is not a request.
#[test]
fn refused_connect_with_bytes_behind_it_executes_nothing() {
    let proxy = Proxy::start("egress: { connect_ports: [443] }");
    let origin = Origin::ok("in");
    let hidden = fetch(&format!("http://{}/admin", origin.address));
    let unauthenticated = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", origin.address);
    let malformed = format!(
        "CONNECT nowhere HTTP/1.1\r\nHost: nowhere\r\n{}\r\n",
        auth()
    );
    for (head, status) in [
        (unauthenticated, 407),
        (connect(origin.address), 403),
        (connect("10.0.0.1:443"), 403),
        (malformed, 400),
    ] {
        let mut wire = proxy.connect();
        wire.send(head + &hidden).unwrap();
        assert_eq!(wire.response("CONNECT").unwrap().status(), status);
        wire.assert_closed();
        origin.assert_untouched();
    }
}

// Case 8: CONNECT has no body.
#[test]
fn declared_body_is_refused() {
    let proxy = Proxy::plain();
    let origin = Origin::echo();
    for (field, status) in [
        ("Content-Length: 5", 400),
        ("Transfer-Encoding: chunked", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("Content-Length: 0", 200),
    ] {
        let mut wire = proxy.connect();
        wire.send(format!(
            "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n{field}\r\n{1}\r\n",
            origin.address,
            auth()
        ))
        .unwrap();
        let answer = wire.response("CONNECT").unwrap();
        assert_eq!(answer.status(), status, "{field}");
        if status == 400 {
            wire.assert_closed();
        }
    }
}

/// Checks the status of a CONNECT and that `Proxy-Status` names one of those errors.
fn assert_error(authority: &str, proxy: &Proxy, status: u16, errors: &[&str]) {
    let mut wire = proxy.connect();
    let answer = wire.exchange(connect(authority));
    assert_eq!(answer.status(), status, "{authority}: {}", answer.text());
    let proxy_status = answer.field("proxy-status").unwrap_or("");
    assert!(
        errors
            .iter()
            .any(|error| proxy_status.contains(&format!("error={error}"))),
        "{authority}: Proxy-Status: {proxy_status}"
    );
    assert!(!answer.body.is_empty(), "{authority}: a text for a person");
    // Either the connection goes on, or the answer says that it does not.
    if answer.head.fields.lists("connection", "close") {
        wire.assert_closed();
    } else {
        let again = wire.exchange(connect(authority));
        assert_eq!(again.status(), status, "{authority}, again");
    }
}

#[test]
fn refused_connection_is_502() {
    let proxy = Proxy::plain();
    let nobody = Port::reserve();
    assert_error(
        &nobody.address.to_string(),
        &proxy,
        502,
        &["connection_refused"],
    );
}

#[test]
fn unknown_name_is_502() {
    let dns = Dns::table(&[]);
    let proxy = Proxy::start(&dns.config());
    assert_error("nowhere.test:443", &proxy, 502, &["dns_error"]);
}

#[test]
fn connect_time_out_is_504() {
    let proxy = Proxy::start("timeouts: { connect: 1s }");
    let full = FullQueue::new();
    let address = full.address;
    let start = Instant::now();
    assert_error(&address.to_string(), &proxy, 504, &["connection_timeout"]);
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn denied_port_is_403() {
    let proxy = Proxy::start("egress: { connect_ports: [443] }");
    assert_error("127.0.0.1:25", &proxy, 403, &["http_request_denied"]);
}

#[test]
fn denied_address_is_403() {
    let proxy = Proxy::plain();
    assert_error(
        "192.168.0.1:443",
        &proxy,
        403,
        &["destination_ip_prohibited"],
    );
}

#[test]
fn malformed_authorities_are_400() {
    let proxy = Proxy::plain();
    for target in [
        "example",
        "example:",
        ":443",
        "example:0",
        "example:65536",
        "example:+80",
        "example:8O",
        "u:p@example:443",
        "example:443/",
        "http://example:443",
        "/",
        "*",
        "[::1:443",
        "::1:443",
        "[example]:443",
        "exa mple:443",
        "good:443#evil:80",
        "a:1:2",
    ] {
        let mut wire = proxy.connect();
        wire.send(format!(
            "CONNECT {target} HTTP/1.1\r\nHost: x:443\r\n{}\r\n",
            auth()
        ))
        .unwrap();
        let answer = wire.response("CONNECT").unwrap();
        assert_eq!(answer.status(), 400, "{target}");
    }
}
