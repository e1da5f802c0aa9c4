//! An external authoriser that rules ask: which requests it decides about, and that it only denies.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::authorizer::{admitting, answer, asked_by, question, questions, service};
use crate::support::http2::{Client, request, run};
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::{ALICE, BOB, connect, fetch, request_of};

fn proxy(service: &Origin, keys: &str, rules: &str) -> Proxy {
    asked_by(service, keys, rules).start()
}

/// Uploads ask, the rest does not.
const UPLOADS: &str = "{ name: uploads, action: admit, ask: true, methods: [PUT, CONNECT] },
    { name: rest, action: admit }";

/// The questions of each role, and the requests that are no question.
#[test]
fn what_is_asked_by_a_rule() {
    let service = admitting();
    let origin = Origin::ok("in");
    let upstream = origin.address;
    let proxy = asked_by(&service, "", UPLOADS)
        .file("groups", "dev: alice\n")
        .config(&format!(
            "{{ auth: {{ groups: groups }}, gateway: {{ upstreams: [\"{upstream}\"] }} }}"
        ))
        .start();
    let url = format!("http://{upstream}/a%20b?c=d");
    for (user, method, target) in [
        (ALICE, "GET", &*url),
        (BOB, "POST", "/x?y"),
        (ALICE, "PUT", &url),
    ] {
        let (answer, record) = proxy.ask(request_of(user, method, target));
        assert_eq!(answer.status(), 200, "{method}");
        let rule = match method {
            "PUT" => "external:uploads",
            _ => "rest",
        };
        assert_eq!(record["rule"], rule, "{method}");
    }
    let (answer, record) = proxy.ask(request_of(BOB, "PUT", "/x?y"));
    assert_eq!(
        (answer.status(), &record["rule"]),
        (200, &json!("external:uploads"))
    );
    drop(proxy.tunnel(upstream));

    let expected = [
        json!({"user":"alice","client":"127.0.0.1","role":"forward","method":"PUT","scheme":"http",
            "target":upstream.to_string(),"path":"/a%20b","query":"c=d","tls":false,"groups":["dev"],"rule":"uploads"}),
        json!({"user":"bob","client":"127.0.0.1","role":"gateway","method":"PUT","scheme":"http",
            "path":"/x","query":"y","tls":false,"rule":"uploads"}),
        json!({"user":"alice","client":"127.0.0.1","role":"tunnel","method":"CONNECT",
            "target":upstream.to_string(),"tls":false,"groups":["dev"],"rule":"uploads"}),
    ];
    let ids: Vec<Value> = proxy
        .wait_records(5)
        .iter()
        .map(|record| record["request_id"].clone())
        .collect();
    let asked = service.requests();
    assert_eq!(asked.len(), expected.len());
    for (request, expected) in asked.iter().zip(expected) {
        let mut asked = question(request);
        let id = asked.as_object_mut().unwrap().remove("id").unwrap();
        assert!(ids.contains(&id), "{id}");
        assert_eq!(asked, expected);
        let whole = String::from_utf8_lossy(&request.head.raw).to_ascii_lowercase();
        assert!(!whole.contains("authorization"), "{whole}");
    }
}

#[test]
fn a_denial_is_one_by_the_rule() {
    let service = service(|asked| match asked["path"].as_str().unwrap_or_default() {
        "/451" => json!({"allow": false, "status": 451, "message": "not in this country"}),
        "/401" => json!({"allow": false, "status": 401}),
        _ => json!({"allow": false, "message": "ask\r\nops@corp.example"}),
    });
    let origin = Origin::ok("in");
    let upstream = origin.address;
    let proxy = proxy(&service, "", UPLOADS);
    let expected = "HTTP/1.1 403 denied by external:uploads: askops@corp.example";
    let url = |path: &str| format!("http://{upstream}{path}");
    for text in [
        connect(upstream),
        request_of(ALICE, "PUT", &url("/")),
        request_of(ALICE, "PUT", "/x"),
    ] {
        let (answer, record) = proxy.ask(text);
        assert_eq!(answer.head.start, expected);
        let status = answer.field("proxy-status").unwrap();
        assert!(
            status.contains("error=http_request_denied; details=\"rule external:uploads\""),
            "{status}"
        );
        assert_eq!(
            (&record["user"], &record["rule"], &record["error"]),
            (
                &json!("alice"),
                &json!("external:uploads"),
                &json!("http_request_denied")
            )
        );
    }
    let (answer, _) = proxy.ask(request_of(ALICE, "PUT", &url("/451")));
    assert_eq!(
        answer.head.start,
        "HTTP/1.1 451 denied by external:uploads: not in this country"
    );
    // The credentials are not enough: as by a proxy, and at the gateway as by an origin.
    let (answer, record) = proxy.ask(request_of(ALICE, "PUT", &url("/401")));
    assert_eq!(
        (answer.status(), &record["error"], &record["rule"]),
        (407, &json!("credentials_wrong"), &json!("external:uploads"))
    );
    let (answer, _) = proxy.ask(request_of(ALICE, "PUT", "/401").replace("Proxy-", ""));
    assert_eq!(answer.status(), 401);
    assert_eq!(proxy.metric("tollgate_denied_total{rule=\"external\"}"), 4);
    let denials = proxy.exchange(request_of(ALICE, "GET", "/.tollgate/denials"));
    let denials: Value = serde_json::from_slice(&denials.body).unwrap();
    let last = &denials["denials"][1];
    assert_eq!(
        (&last["rule"], &last["message"]),
        (&json!("external:uploads"), &json!("askops@corp.example")),
        "{denials}"
    );
    origin.assert_untouched();
}

/// What the policy or the guard denies is no question, and an answer opens nothing.
#[test]
fn it_only_tightens() {
    let service =
        service(|_| json!({"allow": true, "user": "root", "groups": ["admins"], "pool": "gone"}));
    let origin = Origin::ok("in");
    let rules = "{ name: bad, action: deny, domains: [.bad.test] },
        { name: admins, action: deny, groups: [ops] },
        { name: asked, action: admit, ask: true, roles: [tunnel, forward] }";
    let proxy = asked_by(&service, "", rules)
        .file("groups", "ops: bob\n")
        .config("auth: { groups: groups }")
        .start();
    for (text, status, rule) in [
        (connect("x.bad.test:443"), 403, json!("bad")),
        (
            request_of(BOB, "CONNECT", "a.test:443"),
            403,
            json!("admins"),
        ),
        (
            connect("10.0.0.1:443"),
            403,
            json!("special_purpose:private_use"),
        ),
        (request_of(ALICE, "GET", "/"), 403, json!("default")),
        (
            request_of(("alice", "guess"), "CONNECT", "a.test:443"),
            407,
            Value::Null,
        ),
        (
            request_of(ALICE, "GET", "/.tollgate/denials"),
            200,
            Value::Null,
        ),
    ] {
        let (answer, record) = proxy.ask(&text);
        assert_eq!(
            (answer.status(), &record["rule"]),
            (status, &rule),
            "{text}"
        );
    }
    service.assert_untouched();
    let (answer, record) = proxy.ask(fetch(&format!("http://{}/", origin.address)));
    assert_eq!(
        (answer.status(), &record["user"], &record["rule"]),
        (200, &json!("alice"), &json!("external:asked"))
    );
    assert_eq!(service.requests().len(), 1);
}

#[test]
fn websockets_http2_and_upgrades_are_asked_about() {
    let service = service(|asked| {
        let path = asked["path"].as_str().unwrap_or_default();
        let target = asked["target"].as_str().unwrap();
        let scheme = asked["scheme"].as_str().unwrap_or("none");
        let is_denied = path.starts_with("/deny") || target == "deny.test:443";
        json!({"allow": !is_denied, "message": format!("{scheme} {target}")})
    });
    let rules = "{ name: secret, action: admit, ask: true, upgrade: https, domains: [deny.test] },
        { name: asked, action: admit, ask: true }";
    let proxy = proxy(&service, "", rules);
    // The question is about the request as it is sent.
    let (answer, record) = proxy.ask(fetch("http://deny.test/"));
    assert_eq!(
        answer.head.start,
        "HTTP/1.1 403 denied by external:secret: https deny.test:443"
    );
    assert_eq!(record["rule"], "external:secret");
    let origin = Origin::raw(|mut wire, _| {
        wire.read_head()?;
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
    });
    let url = format!("http://{}", origin.address);
    for (path, status) in [("/deny", 403), ("/", 101)] {
        let request = request_of(ALICE, "GET", &format!("{url}{path}"));
        let request =
            request.trim_end().to_owned() + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(proxy.connect().exchange(request).status(), status, "{path}");
    }
    let plain = Origin::ok("in");
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let url = format!("http://{}", plain.address);
        for (method, target, status) in [
            ("GET", format!("{url}/deny"), 403),
            ("GET", format!("{url}/"), 200),
            ("CONNECT", "deny.test:443".to_owned(), 403),
        ] {
            let answer = client.ask(request(method, &target)).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {target}");
        }
        drop(client.tunnel(plain.address).await);
    });
    assert_eq!(service.requests().len(), 7);
}

/// The rules decide about the target that a script chooses, and so does the service.
#[test]
fn another_target_is_another_question() {
    let service = service(|asked| json!({"allow": asked["target"] != "there.test:443"}));
    let rules = "{ name: here, action: admit, domains: [here.test] },
        { name: there, action: admit, ask: true, domains: [there.test] }";
    let proxy = asked_by(&service, "", rules)
        .config("policy: { show_rules: false }")
        .file(
            "move.rhai",
            "fn request(r) { if r.method == \"CONNECT\" { r.set_target(\"there.test:443\"); } }",
        )
        .config("scripts: [{ name: move, file: move.rhai }]")
        .start();
    let (answer, record) = proxy.ask(connect("here.test:443"));
    assert_eq!(
        (&*answer.head.start, &record["rule"]),
        ("HTTP/1.1 403 denied by policy", &json!("external:there"))
    );
    let asked = question(&service.request());
    assert_eq!(
        (&asked["target"], &asked["rule"]),
        (&json!("there.test:443"), &json!("there"))
    );
}

/// The password that was verified before is that of the next question too.
#[test]
fn the_password_and_the_pool() {
    let (one, two) = (Origin::ok("one"), Origin::ok("two"));
    let service = service(|asked| match asked["path"].as_str().unwrap_or_default() {
        "/other" => json!({"allow": true, "pool": "other"}),
        "/gone" => json!({"allow": true, "pool": "gone"}),
        _ => json!({"allow": true}),
    });
    let gateway = format!(
        "gateway: {{ upstreams: [\"{}\"], pools: [{{ name: other, path: /none, upstreams: [\"{}\"] }}] }}",
        one.address, two.address
    );
    let proxy = asked_by(
        &service,
        ", send_password: true, cache: 0s",
        "{ name: all, action: admit, ask: true }",
    )
    .config(&gateway)
    .start();
    for (path, status, body) in [
        ("/", 200, "one"),
        ("/other", 200, "two"),
        ("/", 200, "one"),
        ("/gone", 503, ""),
    ] {
        let answer = proxy.exchange(request_of(ALICE, "GET", path));
        assert_eq!(answer.status(), status, "{path}");
        assert!(answer.text().contains(body), "{path}: {}", answer.text());
    }
    let asked = questions(&service);
    assert_eq!(asked.len(), 4);
    assert!(
        asked.iter().all(|asked| asked["password"] == ALICE.1),
        "{asked:?}"
    );
    let log = std::fs::read_to_string(proxy.path("access.log")).unwrap();
    assert!(
        !log.contains("canary") && !proxy.errors().contains("canary"),
        "{log}"
    );
}

#[test]
fn answers_are_kept_and_failures_follow_the_configuration() {
    let kept = admitting();
    let keeping = proxy(&kept, "", UPLOADS);
    let origin = Origin::ok("in");
    for _ in 0..5 {
        drop(keeping.tunnel(origin.address));
    }
    assert_eq!(kept.requests().len(), 1);
    assert_eq!(keeping.metric("tollgate_authorizer_cache_hits_total"), 4);

    let failing = Origin::ok("no JSON");
    let denying = proxy(&failing, "", UPLOADS);
    let (answer, record) = denying.ask(connect(origin.address));
    assert_eq!(
        (answer.status(), &record["error"], &record["rule"]),
        (503, &json!("authorizer_failed"), &json!("external:uploads"))
    );
    assert_eq!(
        (answer.field("retry-after"), &record["user"]),
        (Some("1"), &json!("alice"))
    );
    let url = format!("http://{}/", origin.address);
    assert_eq!(denying.fetch(&url).status(), 200);
    let admitting = proxy(&failing, ", on_failure: admit", UPLOADS);
    let (answer, record) = admitting.ask(connect(origin.address));
    assert_eq!((answer.status(), &record["rule"]), (200, &json!("uploads")));
    let wrong = request_of(("alice", "x"), "CONNECT", &origin.address.to_string());
    assert_eq!(admitting.exchange(wrong).status(), 407);
}

#[test]
fn a_slow_service_delays_only_what_such_a_rule_decides() {
    let slow = Origin::deaf();
    let proxy = proxy(&slow, ", timeout: 5s, concurrency: 4", UPLOADS);
    let origin = Origin::ok("in");
    let url = format!("http://{}/", origin.address);
    let mut waiting: Vec<_> = (0..20)
        .map(|number| {
            let mut wire = proxy.connect();
            wire.send(request_of(ALICE, "PUT", &format!("/{number}")))
                .unwrap();
            wire
        })
        .collect();
    slow.wait_connections(3);
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(proxy.fetch(&url).status(), 200);
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    // One client has three quarters of the places.
    assert_eq!(slow.connections(), 3);
    for wire in &mut waiting {
        assert_eq!(wire.response("PUT").unwrap().status(), 503);
    }
}

#[test]
fn by_status_the_rule_is_a_field() {
    let service = Origin::http(|request| {
        let rule = request
            .head
            .fields
            .value("x-tollgate-rule")
            .unwrap_or("none");
        let status = if rule == "uploads" {
            "403 Forbidden"
        } else {
            "200 OK"
        };
        crate::support::message::response(status, "", "")
    });
    let proxy = proxy(&service, ", mode: status", UPLOADS);
    let (answer, record) = proxy.ask(connect("a.test:443"));
    assert_eq!(
        (answer.status(), &record["rule"]),
        (403, &json!("external:uploads"))
    );
    let fields = &service.request().head.fields;
    assert_eq!(fields.value("x-original-uri"), Some("a.test:443"));
    assert_eq!(fields.value("x-tollgate-user"), Some("alice"));
}

/// Rules and authoriser are of one reload.
#[test]
fn a_reload_changes_who_is_asked() {
    let service = Origin::http(|_| answer(&json!({"allow": false, "message": "no"})));
    let proxy = proxy(&service, "", UPLOADS);
    let get = fetch(&format!("http://{}/", Origin::ok("gone").address));
    assert_eq!(proxy.exchange(&get).status(), 502);
    let rules = |rules: &str| format!("policy: {{ default: deny, rules: [{rules}] }}");
    proxy.rewrite(&rules("{ name: all, action: admit, ask: true }"));
    assert_eq!(proxy.reload().status(), 200);
    let answer = proxy.exchange(&get);
    assert_eq!(answer.head.start, "HTTP/1.1 403 denied by external:all: no");
    // One that would never be asked is not applied.
    proxy.rewrite(&rules("{ name: all, action: admit }"));
    let answer = proxy.reload();
    assert_eq!(answer.status(), 422);
    assert!(answer.text().contains("no rule asks"), "{}", answer.text());
    assert_eq!(proxy.exchange(&get).status(), 403);
}
