//! What the next hop is told about the client and about this proxy, by role, as the table in
//! docs/operations.md says.

use crate::support::message::Request;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::auth;

/// What a client may send of the fields that proxies set.
const CLAIMED: [(&str, &str); 6] = [
    ("X-Forwarded-For", "192.0.2.9"),
    ("X-Forwarded-Proto", "gopher"),
    ("X-Forwarded-Host", "claimed.test"),
    ("X-Real-IP", "192.0.2.8"),
    ("X-Client-IP", "192.0.2.7"),
    ("Forwarded", "for=192.0.2.6"),
];

fn claimed() -> String {
    CLAIMED
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect()
}

fn assert_one_via(request: &Request) {
    let via = request.head.fields.all("via");
    let pseudonym = via
        .first()
        .and_then(|via| via.strip_prefix("1.1 tollgate-"));
    assert_eq!(via.len(), 1, "{via:?}");
    assert_eq!(pseudonym.map(str::len), Some(8), "{via:?}");
}

#[test]
fn an_origin_gets_what_the_client_sent_and_via() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("page");
    let answer = proxy.exchange(format!(
        "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}{2}\r\n",
        origin.address,
        auth(),
        claimed()
    ));
    assert_eq!(answer.status(), 200);
    assert!(answer.field("via").unwrap().starts_with("1.1 tollgate-"));
    let request = origin.request();
    for (name, value) in CLAIMED {
        assert_eq!(request.head.fields.all(name), [value], "{name}");
    }
    assert_one_via(&request);
    assert!(!request.head.fields.has("proxy-authorization"));
}

#[test]
fn an_upstream_learns_of_the_client_from_the_proxy_alone() {
    let upstream = Origin::ok("page");
    let proxy = Setup::new()
        .config(&format!(
            "gateway: {{ upstreams: [\"{}\"] }}",
            upstream.address
        ))
        .start();
    let answer = proxy.exchange(format!(
        "GET /path HTTP/1.1\r\nHost: site.test\r\nAuthorization: Basic eA==\r\n{}{}\r\n",
        auth(),
        claimed()
    ));
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.field("via"), None);
    let request = upstream.request();
    let fields = &request.head.fields;
    assert_eq!(fields.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(fields.all("x-forwarded-proto"), ["http"]);
    for (name, _) in &CLAIMED[2..] {
        assert!(!fields.has(name), "{name}");
    }
    assert_eq!(fields.all("host"), ["site.test"]);
    assert_eq!(fields.all("authorization"), ["Basic eA=="]);
    assert_one_via(&request);
    assert!(!fields.has("proxy-authorization"));
}

/// A proxy whose upstream gets these fields; the client is the one that a PROXY header names.
fn forwarded(upstream: &Origin, keys: &str) -> Proxy {
    Setup::new()
        .proxy_protocol()
        .config(&format!(
            "gateway:\n  upstreams: [\"{}\"]\n  forwarded: {{ {keys} }}\n",
            upstream.address
        ))
        .start()
}

/// What the upstream is told of a client at this address.
fn told(proxy: &Proxy, upstream: &Origin, client: &str, fields: &str) -> [Vec<String>; 3] {
    let family = if client.contains(':') { "TCP6" } else { "TCP4" };
    let mut wire = proxy.connect();
    wire.send(format!(
        "PROXY {family} {client} {client} 5000 80\r\nGET / HTTP/1.1\r\nHost: gate\r\n{}{fields}\r\n",
        auth()
    ))
    .unwrap();
    assert_eq!(wire.response("GET").unwrap().status(), 200);
    let request = upstream.requests().pop().unwrap();
    let fields = request.head.fields;
    ["forwarded", "x-forwarded-for", "x-forwarded-proto"]
        .map(|name| fields.all(name).iter().map(|it| (*it).to_owned()).collect())
}

#[test]
fn an_operator_says_what_an_upstream_learns() {
    let upstream = Origin::ok("page");
    let claimed = claimed().replace("gopher", "https");
    let cases: [(&str, &str, [&str; 3]); 7] = [
        ("x_forwarded_for: remove", "192.0.2.1", ["", "", ""]),
        (
            "forwarded: replace",
            "2001:db8::7",
            ["for=\"[2001:db8::7]\";proto=http", "2001:db8::7", "http"],
        ),
        (
            "forwarded: append, x_forwarded_for: append, trusted: [192.0.2.0/24]",
            "192.0.2.1",
            [
                "for=192.0.2.6, for=192.0.2.1;proto=http",
                "192.0.2.9, 192.0.2.1",
                "https",
            ],
        ),
        (
            "forwarded: append, x_forwarded_for: append, trusted: [192.0.2.0/24]",
            "198.51.100.1",
            ["for=198.51.100.1;proto=http", "198.51.100.1", "http"],
        ),
        (
            "forwarded: remove, x_forwarded_for: append, trusted: [192.0.2.0/24]",
            "192.0.2.1",
            ["", "192.0.2.9, 192.0.2.1", "https"],
        ),
        (
            "forwarded: append, x_forwarded_for: remove, trusted: ['2001:db8::/32']",
            "2001:db8::7",
            ["for=192.0.2.6, for=\"[2001:db8::7]\";proto=http", "", ""],
        ),
        ("", "192.0.2.1", ["", "192.0.2.1", "http"]),
    ];
    for (keys, client, expected) in cases {
        let proxy = forwarded(&upstream, keys);
        let expected = expected.map(|value| match value {
            "" => vec![],
            value => vec![value.to_owned()],
        });
        assert_eq!(
            told(&proxy, &upstream, client, &claimed),
            expected,
            "{keys} {client}"
        );
    }
}

/// What a trusted sender passes on of its own clients cannot hide what is added, and the size is limited.
#[test]
fn what_is_appended_to_is_checked() {
    let upstream = Origin::ok("page");
    let keys = "forwarded: append, x_forwarded_for: append, trusted: [192.0.2.1]";
    let proxy = forwarded(&upstream, keys);
    for fields in [
        "Forwarded: for=\"1.2.3.4\r\nX-Forwarded-For: \"1.2.3.4\r\n".to_owned(),
        format!(
            "Forwarded: for={0}\r\nX-Forwarded-For: {0}\r\n",
            "a".repeat(5000)
        ),
    ] {
        let [forwarded, addresses, _] = told(&proxy, &upstream, "192.0.2.1", &fields);
        assert_eq!(forwarded, ["for=192.0.2.1;proto=http"]);
        assert_eq!(addresses, ["192.0.2.1"]);
    }
    // As many fields as a head may have, and those that are added.
    let proxy = Setup::new()
        .config(&format!(
            "limits: {{ request_fields: 253 }}\ngateway:\n  upstreams: [\"{}\"]\n  forwarded: {{ forwarded: replace }}\n",
            upstream.address
        ))
        .start();
    let most = |count: usize| {
        let fields = "A: b\r\n".repeat(count - 2);
        proxy.exchange(format!(
            "GET / HTTP/1.1\r\nHost: gate\r\n{}{fields}\r\n",
            auth()
        ))
    };
    assert_eq!(most(252).status(), 200);
    assert_eq!(most(253).status(), 431);
}
