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
