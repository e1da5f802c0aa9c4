//! Connections that begin with a PROXY header, versions 1 and 2: who the client is, and what is
//! refused.

use std::time::{Duration, Instant};

use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::message::Response;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{auth, connect, fetch};
use crate::support::tls::Authority;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V4: &[u8] = &[192, 0, 2, 77, 198, 51, 100, 1, 0x13, 0x88, 0x01, 0xbb];

/// A header of version 2. `command` 0 is LOCAL, 1 is PROXY; `family` 0x11 is TCP over IPv4.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x20 | command, family], &length, rest].concat()
}

/// IPv4 addresses and further fields, of which one is `size` bytes long.
fn v2_with_field(size: u16) -> Vec<u8> {
    let [high, low] = size.to_be_bytes();
    // PP2_TYPE_AUTHORITY, and a PP2_TYPE_NOOP with nothing in it.
    let fields = [
        &[0x02, high, low][..],
        &vec![b'a'; size.into()],
        &[0x04, 0, 0],
    ]
    .concat();
    v2(1, 0x11, &[V4, &fields].concat())
}

fn v2_ipv6() -> Vec<u8> {
    let mut addresses = Vec::new();
    for address in ["2001:db8::77", "2001:db8::1"] {
        let address: std::net::Ipv6Addr = address.parse().unwrap();
        addresses.extend(address.octets());
    }
    addresses.extend([0x13, 0x88, 0x01, 0xbb]);
    v2(1, 0x21, &addresses)
}

fn gate() -> String {
    format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth())
}

fn ask(proxy: &Proxy, header: &[u8]) -> (Response, Wire) {
    let mut wire = proxy.connect();
    wire.send([header, gate().as_bytes()].concat()).unwrap();
    let answer = wire.response("GET").unwrap();
    (answer, wire)
}

/// Every header that is good, and the client that it names; none: whoever connects.
fn headers() -> Vec<(Vec<u8>, Option<&'static str>)> {
    let v4 = Some("192.0.2.77:5000");
    let v6 = Some("[2001:db8::77]:5000");
    vec![
        (
            b"PROXY TCP4 192.0.2.77 198.51.100.1 5000 443\r\n".to_vec(),
            v4,
        ),
        (
            b"PROXY TCP6 2001:db8::77 2001:db8::1 5000 443\r\n".to_vec(),
            v6,
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
        (v2(1, 0x11, V4), v4),
        (v2_ipv6(), v6),
        (v2_with_field(10), v4),
        (v2_with_field(3000), v4),
        // A health check of the load balancer itself.
        (v2(0, 0x00, b""), None),
        (v2(0, 0x11, V4), None),
        // A family that is none of ours.
        (v2(1, 0x00, b""), None),
    ]
}

#[test]
fn client_is_who_the_header_names() {
    let origin = Origin::ok("behind");
    let proxy = Setup::new()
        .proxy_protocol()
        .config(&format!(
            "gateway: {{ upstreams: [\"{}\"] }}",
            origin.address
        ))
        .start();
    for (number, (header, named)) in headers().iter().enumerate() {
        let shown = header.escape_ascii().to_string();
        let (answer, mut wire) = ask(&proxy, header);
        assert_eq!(answer.text(), "behind", "{shown}");
        let peer = wire.socket().local_addr().unwrap().to_string();
        let client = named.map_or(peer, str::to_owned);
        let records = proxy.wait_records(2 * number + 1);
        assert_eq!(records[2 * number]["client"], *client, "{shown}");
        let told = origin.requests().pop().unwrap().head.fields;
        let address = client.rsplit_once(':').unwrap().0;
        let address = address.trim_matches(['[', ']']);
        assert_eq!(told.all("x-forwarded-for"), [address], "{shown}");
        // The header counts for all of the connection.
        assert_eq!(wire.exchange(gate()).status(), 200, "{shown}");
        let records = proxy.wait_records(2 * number + 2);
        assert_eq!(records[2 * number + 1]["client"], *client, "{shown}");
    }
}

#[test]
fn header_in_single_bytes_is_read() {
    let proxy = Setup::new().proxy_protocol().start();
    let echo = Origin::echo();
    for (header, _) in headers()
        .into_iter()
        .filter(|(header, _)| header.len() < 200)
    {
        let mut wire = proxy.connect();
        for byte in header {
            wire.send([byte]).unwrap();
        }
        wire.send(connect(echo.address) + "early").unwrap();
        assert_eq!(wire.response("CONNECT").unwrap().status(), 200);
        assert_eq!(wire.read_bytes(5).unwrap(), b"early");
    }
    for record in proxy.wait_records(1) {
        assert_eq!(record["method"], "CONNECT");
    }
}

#[test]
fn anything_but_a_header_is_refused() {
    let proxy = Setup::new().proxy_protocol().start();
    let mut udp = v2(1, 0x12, V4);
    let mut version = v2(1, 0x11, V4);
    version[12] = 0x11;
    let mut command = v2(1, 0x11, V4);
    command[12] = 0x2f;
    udp.truncate(udp.len());
    let mut long_v1 = b"PROXY TCP4 ".to_vec();
    long_v1.extend([b'1'; 200]);
    let mut cases: Vec<Vec<u8>> = vec![
        gate().into_bytes(),
        fetch("http://10.0.0.1/").into_bytes(),
        b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
        b"proxy TCP4 192.0.2.77 198.51.100.1 5000 443\r\n".to_vec(),
        b"PROXY TCP4 999.0.2.77 198.51.100.1 5000 443\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.77 198.51.100.1 5000 99999\r\n".to_vec(),
        b"PROXY TCP4 2001:db8::77 2001:db8::1 5000 443\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.77\r\n".to_vec(),
        b"PROXY UDP4 192.0.2.77 198.51.100.1 5000 443\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.77 198.51.100.1 5000 443\n".to_vec(),
        b"PROXY\r\n".to_vec(),
        long_v1,
        udp,
        version,
        command,
        // Addresses that are shorter than their family.
        v2(1, 0x11, &V4[..8]),
        v2(1, 0x21, V4),
        // Longer than any that is sent, though not than what the field can say.
        v2_with_field(5000),
        v2_with_field(60_000),
    ];
    // A header that is followed by another one is followed by no request.
    let twice = v2(1, 0x11, V4).repeat(2);
    cases.push(twice);
    for case in &cases {
        let shown = case[..case.len().min(80)].escape_ascii().to_string();
        let mut wire = proxy.connect();
        // It may be closed before all of it is sent.
        let _maybe_closed = wire.send([case.as_slice(), gate().as_bytes()].concat());
        let said = String::from_utf8_lossy(&wire.rest()).into_owned();
        assert!(
            said.is_empty() || said.starts_with("HTTP/1.1 400"),
            "{shown}: {said}"
        );
    }
    let metrics = proxy.admin("/metrics").text();
    let rejected: usize = [
        "handshake_failed",
        "proxy_header_missing",
        "wrong_protocol_socks",
    ]
    .iter()
    .filter_map(|reason| {
        let line = format!("tollgate_connections_rejected_total{{reason=\"{reason}\"}} ");
        let count = metrics
            .lines()
            .find_map(|found| found.strip_prefix(&line))?;
        count.parse::<usize>().ok()
    })
    .sum();
    // All but the doubled one, and the connection that found the proxy up.
    assert!(rejected >= cases.len() - 1, "{rejected} of {}", cases.len());
    for record in proxy.records() {
        assert_eq!(record["status"], 400, "{record}");
    }
    let line = format!(
        " to {} ended before its first request: its PROXY protocol header is not well-formed; \
         have the load balancer send version 1 or 2 of the PROXY protocol",
        proxy.address
    );
    let log = proxy.errors();
    assert!(log.contains(&line), "{log}");
    assert_eq!(ask(&proxy, b"PROXY UNKNOWN\r\n").0.status(), 200);
}

#[test]
fn unfinished_header_has_a_deadline() {
    let proxy = Setup::new()
        .proxy_protocol()
        .config("timeouts: { tls_handshake: 1s, request_head: 5m, keep_alive: 5m }")
        .start();
    let long = v2_with_field(3000);
    for part in [
        b"".as_slice(),
        b"PROXY",
        b"PROXY TCP4 192.0.2.77 198.51",
        b"PROXY TCP4 192.0.2.77 198.51.100.1 5000 443\r",
        &SIGNATURE[..5],
        SIGNATURE,
        &v2(1, 0x11, V4)[..20],
        &long[..1000],
    ] {
        let shown = part.escape_ascii().to_string();
        let start = Instant::now();
        let mut wire = proxy.connect();
        wire.send(part).unwrap();
        assert_eq!(wire.rest(), b"", "{shown}");
        let waited = start.elapsed();
        assert!(
            waited > Duration::from_millis(700) && waited < Duration::from_secs(8),
            "{shown}: {waited:?}"
        );
    }
    let line = "tollgate_connections_rejected_total{reason=\"handshake_timeout\"} 8\n";
    eventually("the rejections to be counted", || {
        proxy.admin("/metrics").text().contains(line).then_some(())
    });
    let log = proxy.errors();
    assert!(
        log.contains("did not arrive within timeouts.tls_handshake; "),
        "{log}"
    );
    assert!(!log.contains("elapsed"), "{log}");
    // An end inside a header is an end.
    let mut wire = proxy.connect();
    wire.send("PROXY TCP4 192").unwrap();
    wire.finish().unwrap();
    wire.assert_closed();
}

/// The header is in the clear, and TLS begins right behind it, perhaps in the same segment.
#[test]
fn tls_begins_behind_the_header() {
    let authority = Authority::new();
    let proxy = Setup::new()
        .tls_behind_proxy_protocol(&authority.issue(&["proxy.test"]))
        .start();
    for (number, (header, named)) in headers().iter().enumerate() {
        let mut outer = Wire::connect(proxy.secure_address()).unwrap();
        outer.send(header).unwrap();
        let socket = outer.socket().try_clone().unwrap();
        let mut wire = authority.wrap(socket, "proxy.test");
        assert_eq!(wire.exchange(gate()).status(), 200);
        let records = proxy.wait_records(number + 1);
        if let Some(client) = named {
            assert_eq!(records[number]["client"], *client);
        }
    }
    // Without the header the handshake is not even begun.
    let outer = Wire::connect(proxy.secure_address()).unwrap();
    let mut wire = authority.wrap(outer.socket().try_clone().unwrap(), "proxy.test");
    let refused = wire.send(gate()).and_then(|()| wire.response("GET"));
    assert!(refused.is_err());
}

/// Only the load balancer is believed: whoever else connects could name any client.
#[test]
fn header_of_a_stranger_is_refused() {
    let setup = Setup::new();
    let yaml = format!(
        "listeners: [{{ address: \"{}\", proxy_protocol: {{ from: [127.0.0.1, 198.51.100.0/24] }} }}]",
        setup.address()
    );
    let proxy = setup.config(&yaml).start();
    let stranger = |bytes: &[u8]| {
        let mut wire = Wire::connect_from("127.0.0.2", proxy.address).unwrap();
        wire.send(bytes).unwrap();
        wire
    };
    let v1 = b"PROXY TCP4 198.51.100.9 198.51.100.1 5000 443\r\n".as_slice();
    let cases = [
        [v1, gate().as_bytes()].concat(),
        [v2(1, 0x11, V4).as_slice(), gate().as_bytes()].concat(),
        [b"PROXY UNKNOWN\r\n".as_slice(), gate().as_bytes()].concat(),
        gate().into_bytes(),
        b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
    ];
    for (number, case) in cases.iter().enumerate() {
        let shown = case.escape_ascii().to_string();
        let mut wire = stranger(case);
        let answer = wire.response("GET").unwrap();
        assert_eq!(answer.status(), 403, "{shown}: {}", answer.text());
        let status = answer.field("proxy-status").unwrap();
        assert!(status.contains("error=http_request_denied"), "{status}");
        wire.assert_closed();
        let record = proxy.wait_records(number + 1).remove(number);
        assert_eq!(record["error"], "proxy_header_untrusted", "{record}");
        assert_eq!(record["user"], serde_json::Value::Null, "{record}");
        let client = record["client"].as_str().unwrap();
        assert!(client.starts_with("127.0.0.2:"), "{record}");
    }
    let metric = "tollgate_connections_rejected_total{reason=\"proxy_header_untrusted\"}";
    assert_eq!(proxy.metric(metric), 5);
    let line = "where the listener expects connections from `proxy_protocol.from` alone; \
        have the client connect to the load balancer, or add the address";
    let log = proxy.errors();
    assert!(log.contains(line), "{log}");
    // Who is named need not be in `from`.
    let (answer, _) = ask(&proxy, &v2(1, 0x11, V4));
    assert_eq!(answer.status(), 200);
    assert_eq!(proxy.wait_records(6)[5]["client"], "192.0.2.77:5000");
}

/// A listener that is not told to expect a header takes it for what it is: no request.
#[test]
fn header_at_a_plain_listener_is_no_request() {
    let proxy = Proxy::plain();
    for (header, _) in headers() {
        let mut wire = proxy.connect();
        wire.send([header.as_slice(), gate().as_bytes()].concat())
            .unwrap();
        let answer = wire.response("GET").unwrap();
        assert_eq!(answer.status(), 400, "{}", header.escape_ascii());
        wire.assert_closed();
    }
    for record in proxy.records() {
        assert!(record["client"].as_str().unwrap().starts_with("127.0.0.1:"));
    }
}
