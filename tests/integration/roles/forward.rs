//! The forward proxy: absolute-form requests and what becomes of them.

use crate::support::client::Wire;
use crate::support::dns::Dns;
use crate::support::message::{ok, response};
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{auth, fetch, request};
use crate::support::tls::Authority;

#[test]
fn request_reaches_the_origin_in_origin_form() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let address = origin.address;
    for (url, target) in [
        (format!("http://{address}/a/b?c=d&e"), "/a/b?c=d&e"),
        (format!("http://{address}"), "/"),
        (format!("http://{address}/"), "/"),
        (format!("http://{address}?x=1"), "/?x=1"),
        (format!("HTTP://{address}/Case"), "/Case"),
        (
            format!("http://{address}/%2f..%00//a;b/..;/"),
            "/%2f..%00//a;b/..;/",
        ),
    ] {
        let answer = proxy.fetch(&url);
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, "in"),
            "{url}"
        );
        let got = origin.requests().pop().unwrap();
        assert_eq!(got.head.start, format!("GET {target} HTTP/1.1"), "{url}");
        assert_eq!(got.head.fields.all("host"), [address.to_string()], "{url}");
    }
}

#[test]
fn every_method_is_forwarded_with_its_answer() {
    let proxy = Proxy::plain();
    let origin = Origin::http(|request| {
        let length = request.head.method().len();
        if request.head.method() == "HEAD" {
            return b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n".to_vec();
        }
        let body = request.head.method().to_owned();
        assert_eq!(body.len(), length);
        ok(body)
    });
    let mut wire = proxy.connect();
    for method in [
        "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "REPORT",
        "MKCOL", "PURGE", "QUERY", "M-SEARCH",
    ] {
        let length = if ["POST", "PUT"].contains(&method) {
            "Content-Length: 0\r\n"
        } else {
            ""
        };
        let answer = wire.exchange(request(method, &origin, length, ""));
        assert_eq!(answer.status(), 200, "{method}");
        assert_eq!(answer.text(), if method == "HEAD" { "" } else { method });
        let got = origin.requests().pop().unwrap();
        assert_eq!(got.head.start, format!("{method} /path?query=1 HTTP/1.1"));
    }
}

#[test]
fn options_asterisk_is_told_the_origin() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("");
    let address = origin.address;
    // RFC 9112 §3.2.4: an absolute-form OPTIONS without a path means the server.
    let answer = proxy.exchange(format!(
        "OPTIONS http://{address} HTTP/1.1\r\nHost: {address}\r\n{}\r\n",
        auth()
    ));
    assert_eq!(answer.status(), 200);
    assert_eq!(origin.request().head.start, "OPTIONS * HTTP/1.1");
}

#[test]
fn http_1_0_client_may_keep_its_connection() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let mut wire = proxy.connect();
    for _ in 0..2 {
        let answer = wire.exchange(format!(
            "GET http://{}/ HTTP/1.0\r\nConnection: keep-alive\r\n{}\r\n",
            origin.address,
            auth()
        ));
        assert_eq!(answer.text(), "in");
        assert!(answer.head.fields.lists("connection", "keep-alive"));
    }
    let fields = origin.request().head.fields;
    assert_eq!(fields.all("host"), [origin.address.to_string()]);
}

#[test]
fn connection_close_is_obeyed() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let mut wire = proxy.connect();
    let answer = wire.exchange(request("GET", &origin, "Connection: close\r\n", ""));
    assert_eq!(answer.text(), "in");
    assert!(answer.head.fields.lists("connection", "close"));
    wire.assert_closed();
}

const HOP_BY_HOP: [&str; 6] = [
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "x-nominated",
    "proxy-authenticate",
];

#[test]
fn hop_by_hop_fields_of_the_request_stay() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let fields = "Connection: keep-alive, X-Nominated, TE\r\nKeep-Alive: timeout=5\r\n\
                  Proxy-Connection: keep-alive\r\nTE: trailers\r\nTrailer: X\r\n\
                  X-Nominated: secret\r\nProxy-Authenticate: Basic\r\nX-End: to-end\r\n";
    assert_eq!(
        proxy.exchange(request("GET", &origin, fields, "")).status(),
        200
    );
    let got = origin.request().head;
    for name in HOP_BY_HOP {
        assert!(
            !got.fields.has(name),
            "{name} in {}",
            String::from_utf8_lossy(&got.raw)
        );
    }
    assert_eq!(got.fields.value("x-end"), Some("to-end"));
}

#[test]
fn hop_by_hop_fields_of_the_response_stay() {
    let proxy = Proxy::plain();
    let origin = Origin::fixed(response(
        "200 OK",
        "Connection: keep-alive, X-Nominated\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\nTrailer: X\r\nX-Nominated: secret\r\nTE: x\r\n\
         Proxy-Authenticate: Basic\r\nProxy-Authentication-Info: x\r\nUpgrade: h2c\r\n\
         X-End: to-end\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nWWW-Authenticate: Basic\r\n",
        "in",
    ));
    let answer = proxy.fetch(&format!("http://{}/", origin.address));
    let shown = String::from_utf8_lossy(&answer.head.raw).into_owned();
    for name in HOP_BY_HOP
        .iter()
        .chain(&["upgrade", "proxy-authentication-info"])
    {
        assert!(!answer.head.fields.has(name), "{name} in {shown}");
    }
    assert_eq!(answer.field("x-end"), Some("to-end"));
    assert_eq!(answer.head.fields.all("set-cookie"), ["a=1", "b=2"]);
    assert!(
        answer.head.fields.has("www-authenticate"),
        "meant for the client"
    );
}

#[test]
fn via_is_added_both_ways_behind_what_is_there() {
    let proxy = Proxy::plain();
    let origin = Origin::fixed(response("200 OK", "Via: 1.0 inner\r\n", "in"));
    let answer = proxy.exchange(request("GET", &origin, "Via: 1.0 outer\r\n", ""));
    for (fields, before) in [
        (origin.request().head.fields, "1.0 outer"),
        (answer.head.fields, "1.0 inner"),
    ] {
        let via = fields.all("via").join(", ");
        let (first, ours) = via.split_once(", ").unwrap_or_else(|| panic!("Via: {via}"));
        assert_eq!(first, before);
        assert!(ours.starts_with("1.1 "), "Via: {via}");
    }
}

// Case 24: a request that has been here is not sent round again.
#[test]
fn loop_is_refused_with_508() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    assert_eq!(
        proxy.exchange(request("GET", &origin, "", "")).status(),
        200
    );
    let via = origin
        .request()
        .head
        .fields
        .value("via")
        .unwrap()
        .to_owned();
    let line = format!("Via: 1.1 other, {via}, 1.1 another\r\n");
    let answer = proxy.exchange(request("GET", &origin, &line, ""));
    assert_eq!(answer.status(), 508);
    assert!(
        answer
            .field("proxy-status")
            .unwrap()
            .contains("proxy_loop_detected")
    );
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn two_instances_may_be_chained_and_are_no_loop() {
    let (first, second) = (Proxy::plain(), Proxy::plain());
    let origin = Origin::ok("in");
    assert_eq!(
        first.exchange(request("GET", &origin, "", "")).status(),
        200
    );
    let via = origin
        .request()
        .head
        .fields
        .value("via")
        .unwrap()
        .to_owned();
    let line = format!("Via: {via}\r\n");
    assert_eq!(
        second.exchange(request("GET", &origin, &line, "")).status(),
        200
    );
}

// Case 21: the target decides; Host is rewritten to it.
#[test]
fn host_is_taken_from_the_target() {
    let proxy = Proxy::plain();
    let (right, wrong) = (Origin::ok("right"), Origin::ok("wrong"));
    let address = right.address;
    for host in [
        wrong.address.to_string(),
        "elsewhere.example".to_owned(),
        address.ip().to_string(),
        String::new(),
    ] {
        let answer = proxy.exchange(format!(
            "GET http://{address}/ HTTP/1.1\r\nHost: {host}\r\n{}\r\n",
            auth()
        ));
        assert_eq!(
            answer.text(),
            "right",
            "Host: {host}: {}",
            answer.head.start
        );
        let got = right.requests().pop().unwrap();
        assert_eq!(
            got.head.fields.all("host"),
            [address.to_string()],
            "Host: {host}"
        );
    }
    wrong.assert_untouched();
}

#[test]
fn harmless_differences_of_host_are_accepted() {
    let dns = Dns::table(&[("name.test", &["127.0.0.1"])]);
    let proxy = Proxy::start(&dns.config());
    let origin = Origin::ok("in");
    let port = origin.port();
    for (target, host) in [
        (format!("NAME.test:{port}"), format!("name.test:{port}")),
        (format!("name.test:{port}"), format!("Name.Test:{port}")),
        (format!("name.test:{port}"), "name.test".to_owned()),
        (format!("name.test.:{port}"), format!("name.test:{port}")),
    ] {
        let answer = proxy.exchange(format!(
            "GET http://{target}/ HTTP/1.1\r\nHost: {host}\r\n{}\r\n",
            auth()
        ));
        assert_eq!(answer.status(), 200, "{target} with Host {host}");
    }
}

#[test]
fn missing_host_is_400_in_1_1_alone() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let address = origin.address;
    for target in [format!("http://{address}/"), "/".to_owned()] {
        let answer = proxy.exchange(format!("GET {target} HTTP/1.1\r\n{}\r\n", auth()));
        assert_eq!(answer.status(), 400, "{target}");
        let answer = proxy.exchange(format!("GET {target} HTTP/1.0\r\n{}\r\n", auth()));
        assert_eq!(answer.status(), 200, "{target}");
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn two_hosts_are_400() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let host = format!("Host: {}\r\n", origin.address);
    assert_eq!(
        proxy.exchange(request("GET", &origin, &host, "")).status(),
        400
    );
    origin.assert_untouched();
}

#[test]
fn requests_in_one_segment_are_answered_in_order() {
    let proxy = Proxy::plain();
    let origin = Origin::http(|request| ok(request.head.target()));
    let mut wire = proxy.connect();
    let all: String = (0..20)
        .map(|number| fetch(&format!("http://{}/{number}", origin.address)))
        .collect();
    wire.send(all).unwrap();
    for number in 0..20 {
        let answer = wire.response("GET").unwrap();
        assert_eq!(answer.text(), format!("/{number}"));
    }
}

#[test]
fn one_connection_reaches_many_origins_and_the_gateway() {
    let proxy = Proxy::plain();
    let origins = [
        Origin::ok("first"),
        Origin::ok("second"),
        Origin::ok("third"),
    ];
    let mut wire = proxy.connect();
    for _ in 0..3 {
        for (origin, body) in origins.iter().zip(["first", "second", "third"]) {
            let answer = wire.exchange(fetch(&format!("http://{}/", origin.address)));
            assert_eq!(answer.text(), body);
        }
        let gate = wire.exchange(format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth()));
        assert_eq!(gate.status(), 200);
    }
}

#[test]
fn every_own_answer_carries_a_request_id() {
    let proxy = Proxy::plain();
    let mut ids = std::collections::HashSet::new();
    for _ in 0..3 {
        let answer = proxy.fetch("http://10.0.0.1/");
        assert_eq!(answer.status(), 403);
        let fields = String::from_utf8_lossy(&answer.head.raw).to_ascii_lowercase();
        let line = fields.lines().find(|line| line.contains("request-id"));
        ids.insert(
            line.unwrap_or_else(|| panic!("no request id in {fields}"))
                .to_owned(),
        );
    }
    assert_eq!(ids.len(), 3, "{ids:?}");
}

#[test]
fn forwarding_through_a_tls_listener() {
    let authority = Authority::new();
    let proxy = Setup::new().tls(&authority.issue(&["proxy.test"])).start();
    let origin = Origin::ok("in");
    let outer = Wire::connect(proxy.secure_address()).unwrap();
    let mut wire = authority.wrap(outer.socket().try_clone().unwrap(), "proxy.test");
    let bare = format!(
        "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n",
        origin.address
    );
    assert_eq!(wire.exchange(bare).status(), 407);
    let answer = wire.exchange(fetch(&format!("http://{}/", origin.address)));
    assert_eq!(answer.text(), "in");
}
