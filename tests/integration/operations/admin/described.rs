//! docs/api/openapi.yaml against the running program, both ways: what it describes is served as it says, and nothing else is.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::events::Listener;
use crate::support::admin::{CHANGE, ROOT, ask, json as body_of, login, root, with_users};
use crate::support::documents::{self, read};
use crate::support::message::Response;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::fetch;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

struct Described(Value);

impl Described {
    fn read() -> Self {
        let text = read(&documents::root().join("docs/api/openapi.yaml"));
        Self(serde_yaml::from_str(&text).unwrap())
    }

    /// Path, method in upper case, and what is said of it.
    fn operations(&self) -> Vec<(&str, String, &Value)> {
        let paths = self.0["paths"].as_object().unwrap();
        let mut all = Vec::new();
        for (path, methods) in paths {
            for (method, operation) in methods.as_object().unwrap() {
                all.push((path.as_str(), method.to_uppercase(), operation));
            }
        }
        all
    }

    /// Fails unless the answer is one that the operation describes.
    fn assert_described(&self, what: &str, operation: &Value, answer: &Response) {
        let status = answer.status().to_string();
        let described = &operation["responses"][&status];
        assert!(
            described.is_object(),
            "{what}: {status} is not described: {}",
            answer.text()
        );
        let media_type = answer.field("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap();
        let Some(content) = described.get("content") else {
            assert!(answer.body.is_empty(), "{what}: {}", answer.text());
            return;
        };
        let schema = &content[media_type]["schema"];
        assert!(
            schema.is_object(),
            "{what}: {media_type} is not described for {status}"
        );
        if media_type != "application/json" {
            return;
        }
        self.assert_valid(what, schema, &body_of(answer));
    }

    /// Fails unless the value is of this form.
    fn assert_valid(&self, what: &str, schema: &Value, value: &Value) {
        let mut document = schema.clone();
        document["components"] = self.0["components"].clone();
        let validator = jsonschema::draft202012::new(&document).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(value)
            .map(|it| format!("{}: {it}", it.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{what}: {errors:#?}\n{value:#}");
    }
}

/// A process in which there is something of everything.
fn busy() -> (Proxy, Origin, Vec<crate::support::client::Wire>) {
    let echo = Origin::echo();
    let upstream = Origin::ok("behind");
    let proxy = with_users()
        .config(&format!(
            "gateway: {{ upstreams: ['{}'] }}\n\
             parents: {{ next: {{ urls: ['http://127.0.0.1:9'] }} }}\n\
             limits: {{ store: {{ file: quota.redb }}, classes: [ {{ name: all, requests: 1000/s, quota: {{ day: 1GiB }} }} ] }}\n\
             policy: {{ rules: [ {{ name: no, action: deny, domains: [denied.test] }}, {{ name: ok, action: admit, users: [alice] }} ] }}",
            upstream.address
        ))
        .start();
    let tunnels = (0..2).map(|_| proxy.tunnel(echo.address)).collect();
    assert_eq!(proxy.fetch("http://denied.test/").status(), 403);
    let _gateway = proxy.exchange("GET / HTTP/1.1\r\nHost: gate\r\n\r\n");
    (proxy, echo, tunnels)
}

#[test]
fn what_is_described_is_served_as_it_says() {
    let described = Described::read();
    let (proxy, _echo, _tunnels) = busy();
    let mut operations = described.operations();
    // What changes most comes last.
    operations.sort_by_key(|(path, method, _)| (method.clone(), path.ends_with("/drain")));
    operations.sort_by_key(|(path, _, _)| path.ends_with("/drain"));
    for (path, method, operation) in operations {
        let what = format!("{method} {path}");
        if path == "/api/v1/events" {
            // It does not end; see below.
            continue;
        }
        let tunnels = body_of(&root(&proxy, "GET", "/api/v1/tunnels", ""));
        let id = tunnels["tunnels"][0]["id"]
            .as_str()
            .unwrap_or("none")
            .to_owned();
        let target = path.replace("{id}", &id).replace("{user}", "alice");
        let target = match path {
            "/quotas/reset" => format!("{path}?user=alice"),
            "/quotas/grant" => format!("{path}?user=alice&bytes=1GiB"),
            _ => target,
        };
        let body = match path {
            "/api/v1/explain" => r#"{"user": "alice", "target": "http://denied.test/"}"#,
            "/api/v1/log-level" => r#"{"level": "info"}"#,
            _ => "",
        };
        // Without a user first.
        let answer = ask(&proxy, &method, &target, CHANGE, body);
        described.assert_described(&format!("{what} without a user"), operation, &answer);
        let is_open = operation["security"] == json!([{}]);
        assert_eq!(answer.status() == 401, !is_open, "{what}");
        // Without the field that every change has.
        let mut parameters = operation["parameters"].as_array().into_iter().flatten();
        if parameters.any(|it| it["name"] == "Tollgate-Request") {
            let answer = ask(&proxy, &method, &target, &login(ROOT), body);
            assert_eq!(answer.status(), 403, "{what}");
            described.assert_described(&what, operation, &answer);
        }
        let answer = root(&proxy, &method, &target, body);
        let first = operation["responses"]
            .as_object()
            .unwrap()
            .keys()
            .next()
            .unwrap()
            .clone();
        assert_eq!(
            answer.status().to_string(),
            first,
            "{what}: {}",
            answer.text()
        );
        described.assert_described(&what, operation, &answer);
        // What the parameters say is out of range.
        if method == "GET" && operation["parameters"].is_array() {
            let answer = root(&proxy, "GET", &format!("{path}?unknown=1"), "");
            assert_eq!(answer.status(), 400, "{what}");
            described.assert_described(&what, operation, &answer);
        }
    }
}

#[test]
fn events_are_as_described() {
    let described = Described::read();
    let (proxy, _echo, _tunnels) = busy();
    let mut listener = Listener::open(&proxy);
    let mut wire = proxy.connect();
    for _ in 0..60 {
        let answer = wire.exchange(fetch("http://denied.test/"));
        assert_eq!(answer.status(), 403);
    }
    let mut missing = BTreeSet::from(["snapshot", "denial", "denials_skipped"]);
    while !missing.is_empty() {
        let (event, data) = listener.next();
        let name = match &*event {
            "snapshot" => "Snapshot",
            "denial" => "Denial",
            "denials_skipped" => "Skipped",
            other => panic!("{other} is not described"),
        };
        let schema = json!({"$ref": format!("#/components/schemas/{name}")});
        described.assert_valid(&event, &schema, &data);
        missing.remove(&*event);
    }
}

/// Explanations with all that they can have.
#[test]
fn explanations_are_as_described() {
    let described = Described::read();
    let proxy = with_users()
        .config(
            "policy: { rules: [ \
             { name: watch, action: observe, domains: [a.test] }, \
             { name: path, action: deny, paths: [/x], message: 'no' }, \
             { name: bound, action: admit, domains: [a.test], tunnel: { when: 'tls.sni != \"\"' } }, \
             { name: net, action: deny, networks: [127.0.0.7] } ] }",
        )
        .config("limits: { classes: [ { name: all, requests: 100/s, tunnels: 3 } ] }")
        .start();
    let schema = json!({"$ref": "#/components/schemas/Explanation"});
    for (question, member) in [
        (
            r#"{"user": "alice", "target": "http://a.test/x", "resolve": ["127.0.0.1"]}"#,
            "/message",
        ),
        (
            r#"{"user": "alice", "target": "a.test:443", "resolve": ["127.0.0.1"]}"#,
            "/tunnel/when",
        ),
        (
            r#"{"user": "alice", "target": "a.test:443", "resolve": ["127.0.0.1"]}"#,
            "/observed/0",
        ),
        (
            r#"{"user": "alice", "target": "b.test:80", "resolve": ["127.0.0.7"]}"#,
            "/addresses/0/rules/0",
        ),
        (r#"{"user": "nobody", "target": "/"}"#, "/notes/0"),
        (
            r#"{"user": "alice", "target": "http://a.test/", "resolve": ["127.0.0.1"]}"#,
            "/ways/0/class/tunnels",
        ),
    ] {
        let answer = root(&proxy, "POST", "/api/v1/explain", question);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let value = body_of(&answer);
        assert!(
            value.pointer(member).is_some(),
            "{question}: {member}: {value}"
        );
        described.assert_valid(question, &schema, &value);
    }
}

#[test]
fn nothing_else_is_served() {
    let described = Described::read();
    let proxy = with_users().start();
    let operations = described.operations();
    let paths: BTreeSet<&str> = operations.iter().map(|(path, _, _)| *path).collect();
    for path in &paths {
        let own = operations.iter().filter(|(other, _, _)| other == path);
        let mut allowed: BTreeSet<&str> = own.map(|(_, method, _)| method.as_str()).collect();
        if allowed.contains("GET") {
            allowed.insert("HEAD");
        }
        let target = path.replace("{id}", "x").replace("{user}", "x");
        for method in METHODS
            .into_iter()
            .filter(|method| !allowed.contains(method))
        {
            let answer = root(&proxy, method, &target, "");
            assert_eq!(answer.status(), 405, "{method} {path}");
            let told: BTreeSet<&str> = answer.field("allow").unwrap().split(", ").collect();
            assert_eq!(told, allowed, "{path}");
        }
    }
    // The hint of a 404 has the whole table, apart from the page.
    let hint = root(&proxy, "GET", "/nothing", "").text();
    let hint = hint.trim().strip_prefix("try ").unwrap();
    let told: BTreeSet<String> = hint
        .split(", ")
        .filter(|part| *part != "HEAD")
        .map(|part| part.rsplit(' ').next().unwrap().to_owned())
        .collect();
    let mut wanted: BTreeSet<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    wanted.retain(|path| path != "/" && !path.starts_with("/assets/"));
    assert_eq!(told, wanted);
}
