//! Request-targets: one parser decides where a host begins, and the rest is refused.

use crate::support::dns::Dns;
use crate::support::http2;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::attempt;
use crate::support::request::auth;

// Case 25: one parser decides where a host begins.
#[test]
fn ambiguous_targets_are_rejected() {
    let proxy = Proxy::plain();
    let (good, evil) = (Origin::ok("good"), Origin::ok("evil"));
    let (good, evil) = (&good, &evil);
    let (a, b) = (good.address, evil.address);
    for target in [
        format!("http://{a}@{b}/"),
        format!("http://user:pass@{b}/"),
        format!("http://@{b}/"),
        format!("http://{b}#@{a}/"),
        format!("http://{b}/#fragment"),
        format!("http://{b}\\@{a}/"),
        format!("http:\\\\{b}\\"),
        format!("http:/{b}/"),
        format!("http:{b}"),
        format!("http:///{b}/"),
        format!("http:// {b}/"),
        format!("//{b}/"),
        format!("{b}/"),
        format!("http://[{}]:{}/", b.ip(), b.port()),
        "http://".to_owned(),
        "http:///".to_owned(),
        "http://?".to_owned(),
        "http://:80/".to_owned(),
        "http://exa%6dple/".to_owned(),
        "http://127.0.0.1%00.example/".to_owned(),
        "http://a b/".to_owned(),
        "http://exa\tmple/".to_owned(),
    ] {
        let mut wire = proxy.connect();
        wire.send(format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\n{}\r\n",
            auth()
        ))
        .unwrap();
        let answer = wire.response("GET").unwrap();
        let gateway = target.starts_with("//");
        assert!(
            answer.status() == 400 || gateway,
            "{target}: {}",
            answer.head.start
        );
    }
    good.assert_untouched();
    evil.assert_untouched();
}

// Case 25: what looks like a second authority is part of a path or query.
#[test]
fn authority_ends_where_the_path_begins() {
    let proxy = Proxy::plain();
    let (good, evil) = (Origin::ok("good"), Origin::ok("evil"));
    for rest in [
        format!("/@{}/", evil.address),
        format!("?@{}/", evil.address),
        format!("/http://{}/", evil.address),
    ] {
        let answer = proxy.fetch(&format!("http://{}{rest}", good.address));
        assert_eq!(answer.text(), "good", "{rest}");
    }
    evil.assert_untouched();
}

// Case 28
#[test]
fn other_schemes_are_refused() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("reached");
    for scheme in [
        "ftp",
        "gopher",
        "ws",
        "wss",
        "file",
        "urn",
        "javascript",
        "unix",
        "data",
        "httpx",
        "h2c",
    ] {
        let mut wire = proxy.connect();
        let target = format!("{scheme}://{}/", origin.address);
        wire.send(format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\n{}\r\n",
            origin.address,
            auth()
        ))
        .unwrap();
        let answer = wire.response("GET").unwrap();
        assert!(
            [400, 501].contains(&answer.status()),
            "{target}: {}",
            answer.head.start
        );
    }
    origin.assert_untouched();
}

// Case 28
#[test]
fn odd_ports_are_rejected() {
    let proxy = Proxy::plain();
    for port in [
        "0",
        "65536",
        "99999",
        "+80",
        "-1",
        "8O",
        "0x50",
        "80 ",
        "4294967376",
        "80:80",
        "\u{b2}",
    ] {
        let mut wire = proxy.connect();
        wire.send(format!(
            "GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: x\r\n{}\r\n",
            auth()
        ))
        .unwrap();
        assert_eq!(wire.response("GET").unwrap().status(), 400, "{port}");
    }
}

/// RFC 9110 §4.2.1, RFC 3986 §3.2.3.
#[test]
fn an_empty_port_is_the_default_one() {
    let local = Origin::ok("local");
    // Each port that a request may be for has an answer of its own; nothing is dialled.
    let proxy = Proxy::start(&format!(
        "gateway: {{ upstreams: [\"{}\"] }}\n\
         policy: {{ rules: [ {{ name: http, action: deny, ports: [80], status: 451, message: x }}, \
         {{ name: https, action: deny, ports: [443], status: 429, message: x }} ] }}",
        local.address
    ));
    for (target, status) in [
        ("http://a.test:/", 451),
        ("http://a.test:", 451),
        ("http://a.test:?q", 451),
        ("http://[2001:db8::1]:/", 451),
        ("https://a.test:/", 429),
        ("http://a.test::/", 400),
        ("http://:/", 400),
        ("CONNECT a.test:", 400),
        ("CONNECT [::1]:", 400),
    ] {
        let (method, target) = target.split_once(' ').unwrap_or(("GET", target));
        for host in ["a.test:", "a.test", "b.test:"] {
            let answer = proxy.exchange(format!(
                "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{}\r\n",
                auth()
            ));
            assert_eq!(answer.status(), status, "{target} {host}");
        }
    }
    http2::run(async {
        let mut client = http2::Client::connect(proxy.address).await;
        for (uri, host, status) in [
            ("http://a.test:/", "a.test", 451),
            ("http://a.test:/", "a.test:80", 451),
            ("http://a.test/", "a.test:", 451),
            ("https://a.test:/", "a.test:443", 429),
            ("http://a.test:8080/", "a.test:", 400),
        ] {
            let mut request = http2::request("GET", uri);
            request.headers_mut().insert("host", host.parse().unwrap());
            assert_eq!(client.ask(request).await.status, status, "{uri} {host}");
        }
        let mut connect = http2::request("CONNECT", "a.test:");
        assert_eq!(client.ask(connect.clone()).await.status, 400);
        *connect.uri_mut() = "[::1]:".parse().unwrap();
        assert_eq!(client.ask(connect).await.status, 400);
    });
    // To the gateway, the field is passed on as it came.
    let answer = proxy.exchange(format!("GET / HTTP/1.1\r\nHost: a.test:\r\n{}\r\n", auth()));
    assert_eq!(answer.text(), "local");
    assert_eq!(local.request().head.fields.value("host"), Some("a.test:"));
}

#[test]
fn idn_and_its_ascii_form_are_one_name() {
    let dns = Dns::with(60, |name, _| {
        (name == "xn--bcher-kva.test").then(|| vec!["127.0.0.1".parse().unwrap()])
    });
    let proxy = Proxy::start(&format!(
        "egress: {{ deny_domains: [\"xn--strae-oqa.test\"] }}\n{}",
        dns.config()
    ));
    let origin = Origin::ok("in");
    for answer in attempt(&proxy, "xn--bcher-kva.test", origin.port()) {
        assert_eq!(answer.status(), 200);
    }
    // Raw UTF-8 is converted or rejected, and never slips past a rule.
    for (host, expected) in [("bücher.test", [200, 400]), ("straße.test", [403, 400])] {
        for answer in attempt(&proxy, host, origin.port()) {
            assert!(
                expected.contains(&answer.status()),
                "{host}: {}",
                answer.head.start
            );
        }
    }
}
