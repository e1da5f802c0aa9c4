//! What a rule that denies, only observes, or cannot be evaluated does: the answer, the log and the
//! metrics.

use serde_json::Value;

use crate::support::dns::Dns;
use crate::support::eventually;
use crate::support::message::Response;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, COLON, auth, connect, fetch, request_of};

/// What an operator tells, with all that has a meaning to JSON or HTML.
const MESSAGE: &str = "\"ask\" \\ <it@example.org>, günstig; {\"a\":1}";

fn everywhere() -> Dns {
    Dns::with(60, |_, _| Some(vec!["127.0.0.1".parse().unwrap()]))
}

/// Checks a denial, as text or as JSON.
fn assert_refused(
    answer: &Response,
    status: u16,
    error: &str,
    rule: &str,
    message: &str,
    json: bool,
) {
    assert_eq!(answer.status(), status, "{}", answer.text());
    let expected = format!("tollgate; error={error}; details=\"rule {rule}\"");
    assert_eq!(answer.field("proxy-status"), Some(&*expected));
    let phrase = format!(
        "HTTP/1.1 {status} denied by {rule}: {}",
        message.replace('ü', "u")
    );
    assert_eq!(answer.head.start, phrase);
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(answer.field("proxy-authenticate"), None);
    let id = answer.field("x-request-id").unwrap();
    let kind = answer.field("content-type").unwrap();
    if json {
        assert_eq!(kind, "application/json");
        let value: Value = serde_json::from_slice(&answer.body).unwrap();
        let expected = serde_json::json!(
            {"status": status, "error": error, "rule": rule, "message": message, "request_id": id}
        );
        assert_eq!(value, expected);
    } else {
        assert_eq!(kind, "text/plain; charset=utf-8");
        let text = answer.text();
        let (first, rest) = text.split_once("\n\n").unwrap();
        assert!(first.starts_with(&status.to_string()), "{text}");
        let expected = format!("{message}\n\n{error} by {rule} (request {id})\n");
        assert_eq!(rest, expected);
    }
}

#[test]
fn denial_tells_what_its_rule_says() {
    let dns = everywhere();
    let mut rules = Vec::new();
    for status in [404, 429, 451, 503] {
        let message = serde_json::to_string(MESSAGE).unwrap();
        rules.push(format!(
            "{{ name: s{status}, action: deny, domains: [s{status}.test], status: {status}, message: {message} }}"
        ));
    }
    rules.push("{ name: gate, action: deny, roles: [gateway], status: 404, message: no }".into());
    rules.push(
        "{ name: net, action: deny, networks: [127.0.0.0/8], status: 451, message: near }".into(),
    );
    let proxy = Proxy::start(&format!(
        "policy: {{ rules: [ {} ] }}\n{}",
        rules.join(", "),
        dns.config()
    ));
    let denied = "http_request_denied";
    let prohibited = "destination_ip_prohibited";
    let mut cases = Vec::new();
    for status in [404, 429, 451, 503] {
        for (method, target) in [
            ("GET", format!("http://s{status}.test/")),
            ("POST", format!("http://s{status}.test/")),
            ("CONNECT", format!("s{status}.test:443")),
        ] {
            let rule = format!("s{status}");
            cases.push((method, target, status, denied, MESSAGE, rule));
        }
    }
    for (method, target, error) in [
        ("GET", "http://a.test/", prohibited),
        ("CONNECT", "a.test:443", prohibited),
        ("CONNECT", "127.0.0.1:443", prohibited),
    ] {
        cases.push((method, target.to_owned(), 451, error, "near", "net".into()));
    }
    cases.push(("GET", "/".into(), 404, denied, "no", "gate".into()));
    for (method, target, status, error, message, rule) in cases {
        for json in [false, true] {
            let request = request_of(ALICE, method, &target);
            let accept = if json {
                "Accept: text/html, application/json\r\n\r\n"
            } else {
                "Accept: */*\r\n\r\n"
            };
            let request = request.trim_end().to_owned() + "\r\n" + accept;
            let (answer, record) = proxy.ask(request);
            assert_refused(&answer, status, error, &rule, message, json);
            assert_eq!(record["rule"], rule, "{record}");
            assert_eq!(record["error"], error, "{record}");
            assert_eq!(record["status"], status, "{record}");
            assert_eq!(record["event"], "request", "{record}");
        }
    }
    assert_eq!(proxy.metric("tollgate_denied_total{rule=\"s451\"}"), 6);
    assert_eq!(proxy.metric("tollgate_denied_total{rule=\"net\"}"), 6);
    assert_eq!(proxy.metric("tollgate_denied_total{rule=\"gate\"}"), 2);
}

/// A connection goes on after a denied request, and each request on it is judged by itself.
#[test]
fn denial_does_not_end_the_connection() {
    let origin = Origin::ok("in");
    let proxy = Proxy::start(
        "policy: { rules: [ { name: no-post, action: deny, methods: [POST], status: 429 }, \
         { name: no-tunnel, action: deny, roles: [tunnel], status: 404 } ] }",
    );
    let url = format!("http://{}/", origin.address);
    let mut wire = proxy.connect();
    for _ in 0..3 {
        assert_eq!(wire.exchange(fetch(&url)).text(), "in");
        let post = format!(
            "POST {url} HTTP/1.1\r\nHost: {}\r\n{}Content-Length: 2\r\n\r\nhi",
            origin.address,
            auth()
        );
        assert_eq!(wire.exchange(post).status(), 429);
    }
    // What would have left HTTP ends it.
    assert_eq!(wire.exchange(connect(origin.address)).status(), 404);
    wire.assert_closed();
    assert!(
        origin
            .requests()
            .iter()
            .all(|seen| seen.head.method() == "GET")
    );
}

/// In each role the log names who admitted and who denied, and the guard by its own names.
#[test]
fn log_names_the_rule_of_every_decision() {
    let origin = Origin::echo();
    let web = Origin::ok("in");
    let proxy = Setup::new()
        .config("log: { tunnel_open: true }")
        .config(
            "egress: { deny_domains: [.bad.test], deny_networks: [127.0.0.9/32], allow_networks: [127.0.0.0/8] }",
        )
        .config(
            "policy: { rules: [ { name: of-alice, action: admit, users: [alice] }, \
             { name: of-bob, action: deny, users: [bob] } ] }",
        )
        .start();
    let (url, tunnel) = (
        format!("http://{}/", web.address),
        origin.address.to_string(),
    );
    for (user, rule) in [
        (ALICE, "of-alice"),
        (BOB, "of-bob"),
        (COLON, "allow_networks:127.0.0.0/8"),
    ] {
        let (_, record) = proxy.ask(request_of(user, "GET", &url));
        assert_eq!(
            (&record["role"], &record["rule"]),
            (&"forward".into(), &rule.into())
        );
        let (_, record) = proxy.ask(request_of(user, "GET", "/"));
        let at_gate = if user == COLON { "default" } else { rule };
        assert_eq!(
            (&record["role"], &record["rule"]),
            (&"gateway".into(), &at_gate.into())
        );

        let before = proxy.records().len();
        let answer = proxy.exchange(request_of(user, "CONNECT", &tunnel));
        let events: &[&str] = match answer.status() {
            200 => &["tunnel_open", "tunnel_close"],
            _ => &["request"],
        };
        let records = proxy.wait_records(before + events.len());
        for (record, event) in records[before..].iter().zip(events) {
            assert_eq!(
                (&record["event"], &record["rule"]),
                (&(*event).into(), &rule.into())
            );
            assert_eq!(record["role"], "tunnel");
        }
    }
    for (target, rule) in [
        ("a.bad.test:443", "deny_domains:.bad.test"),
        ("127.0.0.9:443", "deny_networks:127.0.0.9/32"),
        ("10.0.0.1:443", "special_purpose:private-use"),
    ] {
        let (answer, record) = proxy.ask(connect(target));
        assert_eq!(answer.status(), 403);
        let named = record["rule"].as_str().unwrap();
        let same_part = named.split(':').next() == rule.split(':').next();
        assert!(
            named == rule || (same_part && target.starts_with("10.")),
            "{record}"
        );
    }
    // Who is not known meets no rule.
    let (answer, record) = proxy.ask(format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_eq!(
        (answer.status(), record.get("rule")),
        (407, None),
        "{record}"
    );
}

#[test]
fn observing_rules_are_logged_and_counted_but_not_enforced() {
    let dns = everywhere();
    let (web, echo) = (Origin::ok("in"), Origin::echo());
    let proxy = Setup::new()
        .config("log: { tunnel_open: true }")
        .config(
            "policy: { default: deny, rules: [ \
             { name: would-a, action: observe, users: [alice] }, \
             { name: would-net, action: observe, networks: [127.0.0.0/8] }, \
             { name: would-not, action: observe, users: [bob] }, \
             { name: stop, action: deny, domains: [stop.test] }, \
             { name: go, action: admit, users: [alice, carol] }, \
             { name: too-late, action: observe } ] }",
        )
        .config(&dns.config())
        .start();
    let observed = |record: &Value| -> Vec<String> {
        let names = record.get("observed").and_then(Value::as_array);
        let names = names.into_iter().flatten();
        names
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    };
    let url = |host: &str| format!("http://{host}:{}/", web.port());
    let near = ["would-a", "would-net"];
    for (request, status, expected) in [
        (fetch(&url("127.0.0.1")), 200, &near[..]),
        (fetch(&url("any.test")), 200, &near),
        (request_of(COLON, "GET", &url("any.test")), 200, &near[1..]),
        (request_of(ALICE, "GET", "/"), 200, &near[..1]),
        (request_of(COLON, "GET", "/"), 200, &[]),
    ] {
        let (answer, record) = proxy.ask(&request);
        assert_eq!(answer.status(), status, "{request}");
        assert_eq!(record["rule"], "go", "{record}");
        assert_eq!(observed(&record), expected, "{record}");
    }
    // What is denied in earnest is.
    let (answer, record) = proxy.ask(fetch(&url("stop.test")));
    assert_eq!(
        (answer.status(), &record["rule"]),
        (403, &"stop".into()),
        "{record}"
    );
    // A tunnel has it in both of its lines, and is counted once.
    let before = proxy.records().len();
    drop(proxy.tunnel(echo.address));
    for record in &proxy.wait_records(before + 2)[before..] {
        assert_eq!(observed(record), near, "{record}");
    }
    let counted = |rule: &str| proxy.metric(&format!("tollgate_observed_total{{rule=\"{rule}\"}}"));
    eventually("the tunnel to be counted", || {
        (counted("would-a") == 4).then_some(())
    });
    assert_eq!(counted("would-net"), 4);
    assert_eq!(counted("too-late"), 0);
    assert_eq!(counted("would-not"), 0);
    assert_eq!(proxy.metric("tollgate_denied_total{rule=\"would-a\"}"), 0);
}

/// Expressions that nothing is wrong with when they are loaded, and that have no value for some requests.
#[test]
fn expression_without_a_value_denies() {
    let dns = everywhere();
    let origin = Origin::ok("in");
    let mut groups: String = (0..300).map(|n| format!("g{n}: bob\n")).collect();
    groups.push_str("ops: carol bob\n");
    let proxy = Setup::new()
        .file("groups.htgroup", groups)
        .config("auth: { groups: groups.htgroup }")
        .config(&dns.config())
        .config(
            "policy: { rules: [ \
             { name: watched, action: observe, when: '1 / (request.port - 8000) > 2' }, \
             { name: ops, action: admit, domains: [.ops.test], when: '\"ops\" in user.groups' }, \
             { name: first, action: admit, domains: [.first.test], when: 'user.groups[0] == \"ops\"' }, \
             { name: divided, action: deny, domains: [.div.test], status: 451, message: odd, \
               when: '100 / (request.port - 8000) == 7' }, \
             { name: near, action: admit, domains: [near.test], networks: [127.0.0.0/8], \
               when: 'user.groups[0] == \"ops\"' }, \
             { name: rest, action: admit } ] }",
        )
        .start();
    let port = origin.port();
    for (user, target, status, rule) in [
        // Three hundred groups are more than an expression is evaluated with.
        (COLON, format!("http://a.ops.test:{port}/"), 200, "ops"),
        (ALICE, format!("http://a.ops.test:{port}/"), 200, "rest"),
        (BOB, format!("http://a.ops.test:{port}/"), 403, "ops"),
        // Whoever is in no group has no first one.
        (COLON, format!("http://a.first.test:{port}/"), 200, "first"),
        (ALICE, format!("http://a.first.test:{port}/"), 403, "first"),
        // A division by zero.
        (ALICE, format!("http://a.div.test:{port}/"), 200, "rest"),
        (ALICE, "http://a.div.test:8000/".to_owned(), 451, "divided"),
        // A rule that goes by networks and denies, since its expression fails, opens nothing.
        (COLON, format!("http://near.test:{port}/"), 200, "near"),
        (ALICE, format!("http://near.test:{port}/"), 403, "near"),
    ] {
        let (answer, record) = proxy.ask(request_of(user, "GET", &target));
        assert_eq!(answer.status(), status, "{target}: {record}");
        assert_eq!(record["rule"], rule, "{target}: {record}");
        if status == 451 {
            assert!(answer.text().contains("odd"), "{}", answer.text());
        }
    }
    // One that only observes counts as one that would have denied. Nobody may be listening there.
    let (answer, record) = proxy.ask(fetch("http://127.0.0.1:8000/"));
    assert!(answer.status() != 403, "{record}");
    assert_eq!(
        record["observed"],
        serde_json::json!(["watched"]),
        "{record}"
    );
}
