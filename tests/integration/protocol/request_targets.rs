//! Request-targets: one parser decides where a host begins, and the rest is refused.

use crate::support::dns::Dns;
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
