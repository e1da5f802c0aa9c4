//! Tunnels that a client of SOCKS5 asks for: what is relayed and recorded, and the reply to each failure.

use std::net::SocketAddr;
use std::sync::{Mutex, mpsc};

use crate::support::client::Wire;
use crate::support::dns::Dns;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::port::{FullQueue, Port};
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, fetch};
use crate::support::socks5::{
    self, BOTH, CONNECT, LOGIN, address, ask, log_in, login, name, reply,
};
use crate::support::tls::Authority;

fn proxy() -> Proxy {
    socks5::proxy("{}")
}

fn assert_echoes(mut wire: Wire) {
    wire.send("over and out").unwrap();
    wire.finish().unwrap();
    assert_eq!(wire.rest(), b"over and out");
}

#[test]
fn a_tunnel_to_each_type_of_address_has_the_record_of_a_connect() {
    let dns = Dns::table(&[("origin.test", &["127.0.0.1"])]);
    let proxy = socks5::proxy(&dns.config());
    let v4 = Origin::echo();
    let v6 = Origin::bind("[::1]:0", |mut wire, _| {
        let sent = wire.read_to_end()?;
        wire.send(sent)?;
        wire.finish()
    });
    let (v4, v6) = (v4.address, v6.address);
    let by_name = name(CONNECT, "Origin.Test.", v4.port());
    for (request, target, upstream) in [
        (by_name, format!("origin.test:{}", v4.port()), v4),
        (address(CONNECT, v4), v4.to_string(), v4),
        (address(CONNECT, v6), v6.to_string(), v6),
        (name(CONNECT, "127.0.0.1", v4.port()), v4.to_string(), v4),
    ] {
        let (code, wire) = ask(&proxy, ALICE, &request);
        assert_eq!(code, 0, "{target}");
        assert_echoes(wire);
        let is_it = |record: &serde_json::Value| {
            record["target"] == target.as_str() && record["event"] == "tunnel_close"
        };
        let record = proxy.record(&target, is_it);
        for (field, expected) in [
            ("role", "tunnel"),
            ("method", "CONNECT"),
            ("version", "SOCKS5"),
            ("user", ALICE.0),
            ("auth", "password"),
            ("upstream", &upstream.to_string()),
        ] {
            assert_eq!(record[field], expected, "{field} of {record}");
        }
        assert_eq!(record["status"], 200, "{record}");
        assert_eq!(record["bytes_from_client"], 12, "{record}");
        assert_eq!(record["bytes_from_upstream"], 12, "{record}");
    }
    let metrics = proxy.admin("/metrics").text();
    assert!(
        metrics.contains("tollgate_requests_total{code=\"200\",role=\"tunnel\"} 4\n"),
        "{metrics}"
    );
}

#[test]
fn the_bound_address_is_that_of_the_socket_to_the_target() {
    let (heard, peers) = mpsc::channel();
    let heard = Mutex::new(heard);
    let origin = Origin::raw(move |wire, _| {
        let _gone = heard.lock().unwrap().send(wire.socket().peer_addr()?);
        Ok(())
    });
    let proxy = proxy();
    let mut wire = proxy.connect();
    log_in(&mut wire, ALICE);
    wire.send(address(CONNECT, origin.address)).unwrap();
    let (code, bound) = reply(&mut wire).unwrap();
    assert_eq!((code, bound), (0, peers.recv().unwrap()));
}

#[test]
fn one_port_serves_http_and_socks5() {
    let proxy = socks5::setup("also").start();
    let (echo, page) = (Origin::echo(), Origin::fixed(ok("page")));
    let (code, wire) = ask(&proxy, ALICE, &address(CONNECT, echo.address));
    assert_eq!(code, 0);
    assert_echoes(wire);
    assert_echoes(proxy.tunnel(echo.address));
    let answer = proxy.fetch(&format!("http://{}/", page.address));
    assert_eq!(answer.text(), "page");
    // A byte behind an HTTP request is none of a greeting.
    let mut wire = proxy.connect();
    let url = format!("http://{}/", page.address);
    assert_eq!(wire.exchange(fetch(&url)).status(), 200);
    wire.send(BOTH).unwrap();
    assert!(wire.rest().starts_with(b"HTTP/1.1 400 "));
}

#[test]
fn it_is_off_unless_it_is_configured() {
    for proxy in [Proxy::plain(), socks5::setup("never").start()] {
        let mut wire = proxy.connect();
        wire.send(BOTH).unwrap();
        assert_eq!(wire.rest(), [5, 0xff]);
        proxy.record("the greeting", |record| {
            record["error"] == "wrong_protocol_socks"
        });
    }
}

#[test]
fn behind_a_proxy_header_and_tls_it_is_the_same() {
    let authority = Authority::new();
    let keys =
        "tls: { certificate: cert.pem, key: key.pem }\n    proxy_protocol: true\n    socks5: only";
    let setup = Setup::new().secure_listener(&authority.issue(&["proxy.test"]), keys);
    let proxy = setup.start();
    let echo = Origin::echo();
    let mut socket = std::net::TcpStream::connect(proxy.secure_address()).unwrap();
    let header = b"PROXY TCP4 192.0.2.77 198.51.100.1 5000 443\r\n";
    std::io::Write::write_all(&mut socket, header).unwrap();
    let mut wire = authority.wrap(socket, "proxy.test");
    log_in(&mut wire, ALICE);
    wire.send(address(CONNECT, echo.address)).unwrap();
    assert_eq!(reply(&mut wire).unwrap().0, 0);
    wire.send("hidden").unwrap();
    assert_eq!(wire.read_bytes(6).unwrap(), b"hidden");
    drop(wire);
    let record = proxy.record("the tunnel", |record| record["version"] == "SOCKS5");
    assert_eq!(record["client"], "192.0.2.77:5000", "{record}");
}

/// What is asked for with a command in place of CONNECT, or wrongly.
#[test]
fn each_failure_has_its_reply_and_its_record() {
    let dns = Dns::table(&[("inside.test", &["10.0.0.1"])]);
    let queue = FullQueue::new();
    let closed = Port::reserve();
    let yaml = format!(
        "{}\ntimeouts: {{ connect: 300ms }}
policy: {{ rules: [{{ name: no_paste, action: deny, domains: [paste.test] }}, {{ name: rest, action: admit }}] }}",
        dns.config()
    );
    let proxy = socks5::proxy(&yaml);
    let far: SocketAddr = "192.0.2.1:80".parse().unwrap();
    let port = closed.address.port();
    let mut bad_type = address(CONNECT, far);
    bad_type[3] = 2;
    let mut reserved = address(CONNECT, far);
    reserved[2] = 1;
    let cases = [
        (name(CONNECT, "paste.test", 443), 2, "http_request_denied"),
        (
            name(CONNECT, "inside.test", 443),
            2,
            "destination_ip_prohibited",
        ),
        (
            name(CONNECT, "169.254.169.254", 80),
            2,
            "destination_ip_prohibited",
        ),
        (
            name(CONNECT, "0xa9fea9fe", 80),
            2,
            "destination_ip_prohibited",
        ),
        (
            name(CONNECT, "::ffff:169.254.169.254", 80),
            2,
            "destination_ip_prohibited",
        ),
        (name(CONNECT, "no.test", 443), 4, "name_not_found"),
        (address(CONNECT, closed.address), 5, "connection_refused"),
        (address(CONNECT, queue.address), 6, "connection_timeout"),
        (address(2, far), 7, "socks5_command_unsupported"),
        (
            address(3, "0.0.0.0:0".parse().unwrap()),
            7,
            "socks5_command_unsupported",
        ),
        (address(0x7f, far), 7, "socks5_command_unsupported"),
        (bad_type, 8, "socks5_address_type_unsupported"),
        (reserved, 1, "http_request_error"),
        (name(CONNECT, "host.test", 0), 1, "http_request_error"),
        (name(CONNECT, "", 80), 1, "http_request_error"),
        (name(CONNECT, "a b", 80), 1, "http_request_error"),
        (name(CONNECT, "a\r\nb", 80), 1, "http_request_error"),
        (name(CONNECT, b"\xff\xfe", 80), 1, "http_request_error"),
        (
            name(CONNECT, format!("user@127.0.0.1:{port}"), 80),
            1,
            "http_request_error",
        ),
        (name(CONNECT, [b'a'; 255], 80), 1, "http_request_error"),
    ];
    for (number, (request, code, error)) in (1..).zip(cases) {
        let shown = request.escape_ascii().to_string();
        let (answer, mut wire) = ask(&proxy, ALICE, &request);
        assert_eq!(answer, code, "{shown}");
        wire.assert_closed();
        let records = proxy.wait_records(number);
        let record = &records[number - 1];
        assert_eq!(record["error"], error, "{shown}: {record}");
        assert_eq!(record["version"], "SOCKS5", "{record}");
        assert_eq!(record["role"], "tunnel", "{record}");
    }
    let open = proxy.metric("tollgate_open_connections");
    assert_eq!(open, 0);
}

#[test]
fn a_limit_and_a_script_refuse_as_they_do_for_a_connect() {
    let setup = socks5::setup("only").file(
        "deny.rhai",
        "fn authorize(r) { if r.host == \"127.0.0.2\" && r.version == \"SOCKS5\" { return deny(403, \"not there\"); } }",
    );
    let yaml = "scripts: [{ name: deny, file: deny.rhai }]
limits: { classes: [{ name: ci, users: [bob], tunnels: 1 }] }";
    let proxy = setup.config(yaml).start();
    let echo = Origin::echo();
    let elsewhere = address(CONNECT, "127.0.0.2:1".parse().unwrap());
    assert_eq!(ask(&proxy, ALICE, &elsewhere).0, 2);
    let there = address(CONNECT, echo.address);
    let (code, _open) = ask(&proxy, BOB, &there);
    assert_eq!(code, 0);
    assert_eq!(ask(&proxy, BOB, &there).0, 1);
    let record = proxy.record("the refusal", |record| record["error"] == "limit_reached");
    assert_eq!(record["status"], 429, "{record}");
}

#[test]
fn data_that_comes_with_the_request_goes_on() {
    let proxy = proxy();
    let echo = Origin::echo();
    let mut wire = proxy.connect();
    let all = [
        LOGIN,
        &login(ALICE),
        &address(CONNECT, echo.address),
        b"early",
    ]
    .concat();
    wire.send(all).unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), [5, 2, 1, 0]);
    assert_eq!(reply(&mut wire).unwrap().0, 0);
    assert_eq!(wire.read_bytes(5).unwrap(), b"early");
    assert_echoes(wire);
}

/// What follows a refused request is not read as one.
#[test]
fn bytes_behind_a_refusal_do_nothing() {
    let proxy = socks5::setup("also").start();
    let origin = Origin::ok("in");
    let mut wire = proxy.connect();
    let hidden = fetch(&format!("http://{}/admin", origin.address));
    let denied = name(CONNECT, "169.254.169.254", 80);
    wire.send([LOGIN, &login(ALICE), &denied, hidden.as_bytes()].concat())
        .unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), [5, 2, 1, 0]);
    assert_eq!(reply(&mut wire).unwrap().0, 2);
    wire.assert_closed();
    origin.assert_untouched();
}
