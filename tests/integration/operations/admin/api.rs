//! The API: what it shows of traffic, what it closes and changes, its bounds.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::admin::{CHANGE, ROOT, ask, json, kind, login, request, root, with_users};
use crate::support::client::Wire;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::{ALICE, auth};
use crate::support::{DEADLINE, eventually};

fn get(proxy: &Proxy, path: &str) -> Value {
    let answer = root(proxy, "GET", path, "");
    assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
    assert_eq!(
        answer.field("content-type"),
        Some("application/json"),
        "{path}"
    );
    json(&answer)
}

/// A row is found by each of its texts.
fn assert_is_found(proxy: &Proxy, path: &str, row: &Value) {
    for (name, value) in row.as_object().unwrap() {
        let Some(text) = value.as_str() else { continue };
        // A millisecond may be another one in the next answer.
        let text = if name == "since" { &text[..16] } else { text };
        let text: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let found = get(proxy, &format!("{path}?q={text}"));
        assert_eq!(found["total"], 1, "{text}: {row}");
    }
}

/// One that denies by a rule.
fn denying() -> Proxy {
    with_users()
        .config(
            "policy: { rules: [ { name: no-admin, action: deny, domains: [denied.test] }, \
             { name: watched, action: observe, roles: [tunnel] } ] }",
        )
        .start()
}

#[test]
fn a_tunnel_is_shown_and_closed() {
    let proxy = denying();
    let echo = Origin::echo();
    let mut tunnel = proxy.tunnel(echo.address);
    tunnel.send("ping").unwrap();
    assert_eq!(tunnel.read_bytes(4).unwrap(), b"ping");
    let list = get(&proxy, "/api/v1/tunnels");
    assert_eq!(list["total"], 1, "{list}");
    let row = &list["tunnels"][0];
    assert_eq!(row["user"], ALICE.0);
    assert_eq!(row["kind"], "connect");
    assert_eq!(row["target"], echo.address.to_string());
    assert_eq!(row["state"], "open");
    for (query, total) in [
        ("?user=alice", 1),
        ("?user=bob", 0),
        ("?q=ALICE", 1),
        ("?q=nothing", 0),
        ("?sort=age&limit=1", 1),
    ] {
        assert_eq!(
            get(&proxy, &format!("/api/v1/tunnels{query}"))["total"],
            total,
            "{query}"
        );
    }
    assert_is_found(&proxy, "/api/v1/tunnels", row);
    let path = format!("/api/v1/tunnels/{}", row["id"].as_str().unwrap());
    let answer = root(&proxy, "DELETE", &path, "");
    assert_eq!((answer.status(), answer.body.len()), (204, 0));
    let _ended = tunnel.rest();
    let record = proxy.record("the tunnel", |record| record["event"] == "tunnel_close");
    assert_eq!(record["end_reason"], "closed_by_admin");
    eventually("the table to be empty", || {
        (get(&proxy, "/api/v1/tunnels")["total"] == 0).then_some(())
    });
    assert_eq!(root(&proxy, "DELETE", &path, "").status(), 404);
    let line = "admin: DELETE /api/v1/tunnels/{id} by \"root\" at 127.0.0.1:";
    assert!(proxy.errors().contains(line), "{}", proxy.errors());
}

#[test]
fn all_tunnels_of_a_user_are_closed_and_no_others() {
    let proxy = with_users().start();
    let echo = Origin::echo();
    let mut own: Vec<Wire> = (0..3).map(|_| proxy.tunnel(echo.address)).collect();
    let mut other = proxy.connect();
    let fields = format!(
        "Proxy-Authorization: {}\r\n",
        crate::support::request::basic("bob", crate::support::request::BOB.1)
    );
    let connect = format!(
        "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n{fields}\r\n",
        echo.address
    );
    assert_eq!(other.exchange(connect).status(), 200);
    let answer = root(&proxy, "DELETE", "/api/v1/users/alice/tunnels", "");
    assert_eq!(json(&answer)["closed"], 3);
    for tunnel in &mut own {
        let _ended = tunnel.rest();
    }
    other.send("ping").unwrap();
    assert_eq!(other.read_bytes(4).unwrap(), b"ping");
    let answer = root(&proxy, "DELETE", "/api/v1/users/al%69ce/tunnels", "");
    assert_eq!(json(&answer)["closed"], 0);
    assert_eq!(
        root(&proxy, "DELETE", "/api/v1/users/%ff/tunnels", "").status(),
        400
    );
}

/// The query of a WebSocket may hold a secret.
#[test]
fn a_websocket_is_a_tunnel_without_its_query() {
    let proxy = with_users().start();
    let origin = Origin::raw(|mut wire, _| {
        wire.read_head()?;
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )?;
        wire.read_bytes(4).map(drop)
    });
    let mut wire = proxy.connect();
    let answer = wire.exchange(format!(
        "GET http://{0}/chat?key=canary-query HTTP/1.1\r\nHost: {0}\r\n{1}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        origin.address,
        auth()
    ));
    assert_eq!(answer.status(), 101);
    let list = eventually("the tunnel", || {
        let list = get(&proxy, "/api/v1/tunnels");
        (list["total"] == 1).then_some(list)
    });
    let target = list["tunnels"][0]["target"].as_str().unwrap();
    assert!(target.ends_with("/chat"), "{list}");
    assert!(!list.to_string().contains("canary"), "{list}");
    wire.send("ping").unwrap();
}

#[test]
fn a_request_is_shown_while_it_is_served() {
    let proxy = with_users().start();
    let (origin, release) = Origin::held();
    let mut wire = proxy.connect();
    wire.send(format!(
        "GET http://{0}/path?secret=canary-query HTTP/1.1\r\nHost: {0}\r\n{1}\r\n",
        origin.address,
        auth()
    ))
    .unwrap();
    let row = eventually("the request", || {
        let list = get(&proxy, "/api/v1/requests");
        let row = list["requests"].as_array()?.first()?.clone();
        (row["state"] == "waiting").then_some(row)
    });
    assert_eq!(row["user"], ALICE.0);
    assert_eq!(row["method"], "GET");
    assert!(row["target"].as_str().unwrap().ends_with("/path"), "{row}");
    assert!(!row.to_string().contains("canary"), "{row}");
    assert_is_found(&proxy, "/api/v1/requests", &row);
    release.send(()).unwrap();
    let _answer = wire.response("GET").unwrap();
    eventually("the table to be empty", || {
        (get(&proxy, "/api/v1/requests")["total"] == 0).then_some(())
    });
}

#[test]
fn denials_users_sites_and_rules_are_shown() {
    let proxy = denying();
    let origin = Origin::ok("in");
    let url = format!("http://{}/?key=canary-query", origin.address);
    assert_eq!(proxy.fetch(&url).status(), 200);
    assert_eq!(
        proxy
            .fetch("http://denied.test/secret?key=canary-query")
            .status(),
        403
    );
    let denials = get(&proxy, "/api/v1/denials");
    assert_eq!(denials["total"], 1, "{denials}");
    let row = &denials["denials"][0];
    assert_eq!(row["rule"], "no-admin");
    assert_eq!(row["user"], ALICE.0);
    assert_eq!(row["target"], "http://denied.test/secret");
    let users = get(&proxy, "/api/v1/users?sort=denials");
    assert_eq!(users["users"][0]["user"], ALICE.0);
    assert_eq!(users["users"][0]["denials"], 1, "{users}");
    assert_eq!(get(&proxy, "/api/v1/users?q=ALI")["total"], 1);
    assert_eq!(get(&proxy, "/api/v1/users?q=bob")["total"], 0);
    let sites = get(&proxy, "/api/v1/sites");
    assert_eq!(
        sites["sites"][0]["site"],
        origin.address.to_string(),
        "{sites}"
    );
    let policy = get(&proxy, "/api/v1/policy");
    assert_eq!(policy["rules"][0]["name"], "no-admin");
    assert_eq!(policy["rules"][0]["hits"], 1, "{policy}");
    let status = get(&proxy, "/api/v1/status");
    assert_eq!(status["totals"]["denials"], 1, "{status}");
    assert_eq!(status["state"], "running");
    for value in [denials, users, sites, policy, status] {
        assert!(!value.to_string().contains("canary"), "{value}");
    }
}

#[test]
fn explain_is_of_the_policy_in_use() {
    let proxy = denying();
    let explained = |question: &str| {
        let answer = root(&proxy, "POST", "/api/v1/explain", question);
        (answer.status(), json(&answer))
    };
    let question = r#"{"user": "alice", "target": "http://denied.test/"}"#;
    let (status, value) = explained(question);
    assert_eq!(
        (status, &value["decision"]),
        (200, &"deny".into()),
        "{value}"
    );
    assert_eq!(value["rule"], "no-admin");
    // What is in the file and not in use is not explained.
    proxy.rewrite("policy: { rules: [] }");
    assert_eq!(explained(question).1["decision"], "deny");
    assert_eq!(root(&proxy, "POST", "/api/v1/reload", "").status(), 200);
    let (_, value) = explained(
        r#"{"user": "alice", "target": "http://denied.test/", "resolve": ["192.88.100.1"]}"#,
    );
    assert_eq!(value["decision"], "admit", "{value}");
    for (question, expected) in [
        (r#"{"target": "http://a.test/"}"#, "user"),
        (r#"{"user": "alice"}"#, "target"),
        (r#"{"user": "alice", "target": "http://[/"}"#, "target"),
        (
            r#"{"user": "alice", "target": "a.test:443", "time": "soon"}"#,
            "time",
        ),
        (
            r#"{"user": "alice", "target": "a.test:443", "fields": ["no colon"]}"#,
            "fields",
        ),
        (
            r#"{"user": "alice", "target": "a.test:443", "ask": true}"#,
            "ask",
        ),
        ("{\"target\"", "EOF"),
    ] {
        let (status, value) = explained(question);
        assert_eq!(status, 400, "{question}: {value}");
        let message = value["message"].as_str().unwrap();
        assert!(
            message.contains(expected) && !message.contains("--"),
            "{message}"
        );
    }
}

#[test]
fn the_configuration_is_shown_without_secrets() {
    let proxy = with_users()
        .file("secret", "canary-secret\n")
        .config(
            "secrets: { corp: { file: secret } }\n\
             parents: { corp: { urls: ['http://10.9.9.9:3128'], user: tollgate, password: corp } }\n\
             scripts: [ { name: s, source: 'fn request(r) { let canary_x = 1; }', settings: { key: canary-setting } } ]",
        )
        .start();
    let config = get(&proxy, "/api/v1/config");
    let yaml = config["yaml"].as_str().unwrap();
    assert!(!yaml.contains("canary"), "{yaml}");
    let value: serde_yaml::Value = serde_yaml::from_str(yaml).unwrap();
    assert_eq!(value["tollgate"]["parents"]["corp"]["password"], "***");
    assert_eq!(value["tollgate"]["admin"]["users"], "admins.htpasswd");
    assert_eq!(config["restart_needed"].as_array().unwrap().len(), 0);
    proxy.rewrite("timeouts: { drain: 7s }");
    assert_eq!(root(&proxy, "POST", "/api/v1/reload", "").status(), 200);
    let config = get(&proxy, "/api/v1/config");
    assert!(
        config["yaml"].as_str().unwrap().contains("drain: 7s"),
        "{config}"
    );
    assert_eq!(config["restart_needed"][0], "tollgate.timeouts.drain");
}

#[test]
fn bodies_have_a_form_and_a_bound() {
    let proxy = with_users().start();
    let address = proxy.admin_address();
    let fields = format!("{}{CHANGE}", login(ROOT));
    let plain = format!("{fields}Content-Type: text/plain\r\nContent-Length: 2\r\n");
    let mut wire = Wire::connect(address).unwrap();
    let answer = wire.exchange(request(address, "POST", "/api/v1/explain", &plain, "") + "{}");
    assert_eq!(
        (answer.status(), kind(&answer)),
        (415, "not_json".to_owned())
    );
    let long = format!("{{\"target\": \"{}\"}}", "a".repeat(70_000));
    let answer = root(&proxy, "POST", "/api/v1/explain", &long);
    assert_eq!(
        (answer.status(), kind(&answer)),
        (413, "too_large".to_owned())
    );
    // In chunks too, without an end.
    let mut wire = Wire::connect(address).unwrap();
    let chunked =
        format!("{fields}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n");
    wire.send(request(address, "POST", "/api/v1/explain", &chunked, ""))
        .unwrap();
    let chunk = format!("1000\r\n{}\r\n", "a".repeat(0x1000));
    for _ in 0..17 {
        wire.send(&chunk).unwrap();
    }
    assert_eq!(wire.response("POST").unwrap().status(), 413);
    // A body that never comes.
    let deep = "[".repeat(60_000);
    assert_eq!(root(&proxy, "POST", "/api/v1/explain", &deep).status(), 400);
}

#[test]
fn queries_are_checked() {
    let proxy = with_users().start();
    for path in [
        "/api/v1/tunnels?limit=0",
        "/api/v1/tunnels?limit=1001",
        "/api/v1/tunnels?limit=-1",
        "/api/v1/tunnels?sort=color",
        "/api/v1/tunnels?color=red",
        "/api/v1/users?user=alice",
        "/api/v1/sites?q=x",
        "/api/v1/denials?sort=rule",
        "/api/v1/requests?sort=age",
        "/api/v1/quotas?bytes=1GiB",
    ] {
        let answer = root(&proxy, "GET", path, "");
        assert_eq!(
            (answer.status(), kind(&answer)),
            (400, "malformed".to_owned()),
            "{path}"
        );
    }
    for path in [
        "/api/v1/tunnels?limit=1000",
        "/api/v1/users?q=%ff",
        "/api/v1/status?x=y",
    ] {
        assert_eq!(root(&proxy, "GET", path, "").status(), 200, "{path}");
    }
}

#[test]
fn one_connection_serves_many_requests_in_order() {
    let proxy = with_users().start();
    let address = proxy.admin_address();
    let user = login(ROOT);
    let of = |method: &str, path: &str| request(address, method, path, &user, "");
    // All at once.
    let mut wire = Wire::connect(address).unwrap();
    let paths = [
        "/healthz",
        "/api/v1/status",
        "/api/v1/nothing",
        "/api/v1/limits",
    ];
    wire.send(paths.map(|path| of("GET", path)).concat())
        .unwrap();
    let answers = paths.map(|_| wire.response("GET").unwrap());
    let statuses = answers.each_ref().map(|answer| answer.status());
    assert_eq!(statuses, [200, 200, 404, 200]);
    assert_eq!(answers[0].text(), "ok\n");
    assert!(json(&answers[3])["classes"].is_array());
    // HEAD has no body, and the next answer is in step.
    for path in ["/healthz", "/metrics", "/api/v1/status", "/api/v1/events"] {
        let answer = wire.exchange(of("HEAD", path));
        assert_eq!((answer.status(), answer.body.len()), (200, 0), "{path}");
    }
    assert_eq!(wire.exchange(of("GET", "/healthz")).status(), 200);
    // A body that no route wants.
    let with_body =
        of("GET", "/healthz").replacen("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\nhello", 1);
    wire.send(with_body).unwrap();
    assert_eq!(wire.response("GET").unwrap().status(), 200);
    // A request whose end can be read in two ways is the last one, and so is one of HTTP/1.0.
    let fields = format!("{user}{CHANGE}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n");
    let two = request(address, "POST", "/reload", &fields, "") + "0\r\n\r\n";
    let old = of("GET", "/healthz").replace("HTTP/1.1", "HTTP/1.0");
    for last in [two, old] {
        let mut wire = Wire::connect(address).unwrap();
        wire.send(last + &of("GET", "/healthz")).unwrap();
        let answer = wire.response("GET").unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.head.fields.lists("connection", "close"));
        wire.assert_closed();
    }
    // What cannot be read gets 400 and an end.
    let mut wire = Wire::connect(address).unwrap();
    wire.send("nonsense\r\n\r\n").unwrap();
    let answer = wire.response("GET").unwrap();
    assert_eq!(answer.status(), 400);
    wire.assert_closed();
}

#[test]
fn drain_answers_and_ends_the_process() {
    let mut proxy = with_users().start();
    let echo = Origin::echo();
    let tunnel = proxy.tunnel(echo.address);
    let answer = root(&proxy, "POST", "/api/v1/drain", "");
    assert_eq!(answer.status(), 202, "{}", answer.text());
    assert_eq!(json(&answer)["state"], "draining");
    eventually("the line of the log", || {
        proxy.errors().contains("admin: draining for").then_some(())
    });
    assert!(proxy.is_running());
    drop(tunnel);
    assert!(proxy.wait_exit(DEADLINE).success());
}

/// A setup without an admin service is as it was.
#[test]
fn a_signal_ends_a_process_that_was_asked_to_drain() {
    let mut proxy = with_users().config("timeouts: { drain: 1h }").start();
    let echo = Origin::echo();
    let _tunnel = proxy.tunnel(echo.address);
    assert_eq!(root(&proxy, "POST", "/api/v1/drain", "").status(), 202);
    eventually("the drain", || {
        proxy.errors().contains("draining").then_some(())
    });
    proxy.signal(Signal::TERM);
    assert!(proxy.wait_exit(DEADLINE).success());
}

#[test]
fn old_paths_are_as_they_were() {
    let proxy = Proxy::plain();
    let metrics = ask(&proxy, "GET", "/metrics", "", "");
    assert!(
        metrics
            .field("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    let stats = ask(&proxy, "GET", "/stats", "", "");
    assert_eq!(json(&stats)["total_requests"], 0);
    let missing = ask(&proxy, "GET", "/nothing", "", "");
    assert_eq!(missing.status(), 404);
    assert!(
        missing
            .text()
            .starts_with("try /healthz, /metrics, /stats, POST /reload"),
        "{}",
        missing.text()
    );
    assert_eq!(
        ask(&proxy, "POST", "/stats", "", "").text(),
        "the methods are GET, HEAD\n"
    );
}
