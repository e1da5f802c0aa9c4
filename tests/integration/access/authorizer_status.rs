//! An external authoriser that answers by its status, as for `auth_request` of nginx.

use serde_json::{Value, json};

use crate::support::authorizer::proxy;
use crate::support::message::response;
use crate::support::origin::Origin;
use crate::support::request::{ALICE, UNICODE, basic, connect, fetch, request_of};

const STATUS: &str = "mode: status, ask: always, cache: 0s";

#[test]
fn the_fields_of_a_question() {
    let service = Origin::fixed(response("204 No Content", "", ""));
    let proxy = proxy(&service, STATUS);
    let origin = Origin::ok("in");
    let url = format!("http://{}/a?b", origin.address);
    let with_cookie = fetch(&url).replace("\r\n\r\n", "\r\nCookie: canary\r\n\r\n");
    let (answer, record) = proxy.ask(with_cookie);
    assert_eq!(answer.status(), 200);
    let head = service.request().head;
    assert_eq!(head.start, "GET /check?key=k HTTP/1.1");
    for (name, value) in [
        ("x-original-method", "GET"),
        ("x-original-uri", &url),
        ("x-tollgate-user", "alice"),
        ("x-tollgate-client", "127.0.0.1"),
        ("x-tollgate-role", "forward"),
        ("x-request-id", record["request_id"].as_str().unwrap()),
    ] {
        assert_eq!(head.fields.all(name), [value], "{name}");
    }
    let raw = String::from_utf8_lossy(&head.raw).to_ascii_lowercase();
    for secret in [
        "canary",
        "authorization",
        "cookie",
        &basic(ALICE.0, ALICE.1)[6..],
    ] {
        assert!(!raw.contains(&secret.to_ascii_lowercase()), "{raw}");
    }
    for (request, uri) in [
        (connect(origin.address), origin.address.to_string()),
        (request_of(UNICODE, "GET", "/?y"), "/?y".to_owned()),
    ] {
        assert_eq!(proxy.exchange(request).status(), 200);
        let head = service.requests().pop().unwrap().head;
        assert_eq!(head.fields.value("x-original-uri"), Some(&*uri));
    }
    let raw = service.requests().pop().unwrap().head.raw;
    let user = "x-tollgate-user: zoë\r\n".to_ascii_lowercase();
    assert!(
        String::from_utf8(raw)
            .unwrap()
            .to_ascii_lowercase()
            .contains(&user)
    );
}

#[test]
fn what_each_status_does() {
    for (status, expected, error) in [
        ("200 OK", 200, Value::Null),
        ("204 No Content", 200, Value::Null),
        ("299 Odd", 200, Value::Null),
        ("401 Unauthorized", 407, json!("credentials_wrong")),
        ("403 Forbidden", 403, json!("http_request_denied")),
        ("302 Found", 503, json!("authorizer_failed")),
        ("404 Not Found", 503, json!("authorizer_failed")),
        ("407 Odd", 503, json!("authorizer_failed")),
        ("500 Oops", 503, json!("authorizer_failed")),
    ] {
        let service = Origin::fixed(response(
            status,
            "WWW-Authenticate: Negotiate\r\n",
            // No one reads it.
            if status.starts_with("20") {
                String::new()
            } else {
                "<p>".repeat(9999)
            },
        ));
        let proxy = proxy(&service, STATUS);
        let origin = Origin::ok("in");
        let (answer, record) = proxy.ask(fetch(&format!("http://{}/", origin.address)));
        assert_eq!(
            (answer.status(), &record["error"]),
            (expected, &error),
            "{status}"
        );
        assert_eq!(
            answer.field("proxy-authenticate").is_some(),
            expected == 407
        );
        let (answer, _) = proxy.ask(request_of(ALICE, "GET", "/").replace("Proxy-", ""));
        let expected = if expected == 407 { 401 } else { expected };
        assert_eq!(answer.status(), expected, "{status}");
        if expected == 403 {
            assert_eq!(answer.head.start, "HTTP/1.1 403 denied by external");
            assert_eq!(record["rule"], "external");
        }
    }
}

#[test]
fn it_authenticates_with_the_field_of_the_client() {
    let service = Origin::http(|request| {
        let value = request.head.fields.value("authorization");
        match value == Some(&basic("ann", "canary-of-ann")) {
            true => response(
                "200 OK",
                "X-Tollgate-User: sso:ann\r\nX-Tollgate-Groups: dev, ops\r\n",
                "",
            ),
            false => response("401 Unauthorized", "", ""),
        }
    });
    let proxy = proxy(&service, "mode: status, send_password: true");
    proxy
        .rewrite("policy: { default: deny, rules: [{ name: ops, action: admit, groups: [ops] }] }");
    assert_eq!(proxy.reload().status(), 200);
    let (answer, record) = proxy.ask(request_of(("ann", "canary-of-ann"), "GET", "/"));
    assert_eq!(answer.status(), 200);
    assert_eq!(
        (&record["user"], &record["rule"]),
        (&json!("sso:ann"), &json!("ops"))
    );
    let (answer, _) = proxy.ask(request_of(("ann", "guess"), "GET", "/"));
    assert_eq!(answer.status(), 407);
    // A server would read another name than the client has sent.
    let before = service.requests().len();
    let (answer, record) = proxy.ask(request_of((" ann", "x"), "GET", "/"));
    assert_eq!(
        (answer.status(), &record["error"]),
        (503, &json!("authorizer_failed"))
    );
    assert_eq!(service.requests().len(), before);
}
