//! Which rules ask an external authoriser where networks decide which rule admits a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::authorizer::{asked_by, questions, service};
use crate::support::dns::Dns;
use crate::support::origin::Origin;
use crate::support::request::{ALICE, BOB, connect, fetch, request_of};

/// The name of a request that is denied goes to no name server; where networks decide, they decide who is asked.
#[test]
fn the_address_decides_where_a_rule_has_networks() {
    let dns = Dns::table(&[("one.test", &["127.0.0.1"]), ("two.test", &["127.0.0.2"])]);
    let admits = Arc::new(AtomicBool::new(false));
    let service = service({
        let admits = Arc::clone(&admits);
        move |_| json!({"allow": admits.load(Ordering::SeqCst), "message": "no"})
    });
    let rules = "{ name: early, action: admit, ask: true, users: [bob] },
        { name: free, action: admit, networks: [127.0.0.2/32] },
        { name: lab, action: admit, ask: true, networks: [127.0.0.1/32] }";
    let proxy = asked_by(&service, ", cache: 0s, send_password: true", rules)
        .config("egress: { allow_networks: [], connect_ports: any, http_ports: any }")
        .config(&dns.config())
        .start();
    let origin = Origin::ok("in");
    let port = origin.port();
    let (answer, record) = proxy.ask(request_of(BOB, "CONNECT", "canary-of-bob.test:443"));
    assert_eq!(
        (answer.status(), &record["rule"]),
        (403, &json!("external:early"))
    );
    assert_eq!(dns.asked(), 0);
    for text in [
        connect(format!("one.test:{port}")),
        fetch(&format!("http://one.test:{port}/x")),
        connect(origin.address),
    ] {
        let before = service.requests().len();
        let (answer, record) = proxy.ask(&text);
        assert_eq!(
            answer.head.start, "HTTP/1.1 403 denied by external:lab: no",
            "{text}"
        );
        assert_eq!(
            (&record["rule"], &record["error"]),
            (&json!("external:lab"), &json!("http_request_denied"))
        );
        let asked = questions(&service);
        assert_eq!(asked.len(), before + 1);
        let last = asked.last().unwrap();
        assert_eq!(
            (&last["rule"], &last["password"]),
            (&json!("lab"), &json!(ALICE.1))
        );
        let path = if text.starts_with("GET") {
            json!("/x")
        } else {
            Value::Null
        };
        assert_eq!(last["path"], path);
    }
    origin.assert_untouched();
    // Nothing listens there: what counts is that nothing is asked.
    let before = service.requests().len();
    for text in [
        connect(format!("two.test:{port}")),
        connect(format!("127.0.0.2:{port}")),
    ] {
        let (answer, record) = proxy.ask(&text);
        assert_eq!(
            (answer.status(), &record["rule"]),
            (502, &json!("free")),
            "{text}"
        );
    }
    assert_eq!(service.requests().len(), before);
    admits.store(true, Ordering::SeqCst);
    let (answer, record) = proxy.ask(fetch(&format!("http://one.test:{port}/")));
    assert_eq!(
        (answer.status(), &record["rule"]),
        (200, &json!("external:lab"))
    );
    drop(proxy.tunnel(format!("one.test:{port}")));
}

/// A client may choose the name server of a name: no rule that asks is passed over for another one.
#[test]
fn each_rule_that_admits_an_address_has_it_asked() {
    let dns = Dns::table(&[("both.test", &["127.0.0.1", "127.0.0.2", "127.0.0.3"])]);
    let service = service(|asked| json!({"allow": asked["rule"] != "two", "message": "not two"}));
    let rules = "{ name: one, action: admit, ask: true, networks: [127.0.0.1/32] },
        { name: two, action: admit, ask: true, networks: [127.0.0.2/32] },
        { name: free, action: admit, networks: [127.0.0.3/32] }";
    let proxy = asked_by(&service, "", rules)
        .config("egress: { allow_networks: [], connect_ports: any, http_ports: any }")
        .config(&dns.config())
        .start();
    let (answer, record) = proxy.ask(connect("both.test:443"));
    assert_eq!(
        answer.head.start,
        "HTTP/1.1 403 denied by external:two: not two"
    );
    assert_eq!(record["rule"], "external:two");
    let asked = questions(&service);
    assert!(
        asked.iter().any(|asked| asked["rule"] == "two")
            && asked.iter().all(|asked| asked["rule"] != "free"),
        "{asked:?}"
    );
}
