//! `log.users: hashed` in the API: no answer has a plain name, and an operator closes tunnels by the name that is shown.

use serde_json::Value;

use crate::support::admin::{ROOT, json, root, with_users};
use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::ALICE;

fn hashed() -> Proxy {
    with_users()
        .config("log: { users: hashed, users_key: users.key }")
        .config(
            "policy: { rules: [ \
             { name: puts, action: deny, users: [alice], methods: [PUT] }, \
             { name: other, action: deny, users: [bob], when: 'user.name == \"bob\"' }, \
             { name: of-ops, action: deny, users: [bob], groups: [ops] }, \
             { name: no-admin, action: deny, domains: [denied.test] }, \
             { name: tunnels, action: admit, roles: [tunnel], domains: [tunnel.test], tunnel: { when: 'user.name == \"alice\"' } } ] }",
        )
        .config("policy_tests: [ { user: alice, target: 'http://denied.test/', expect: deny } ]")
        .config("auth: { groups: groups, trusted_networks: [ { networks: [127.0.0.9], user: alicia } ] }")
        .file("groups", "staff: alice\nops: bob\n")
        .file("users.key", "a key of sixteen bytes or more")
        .start()
}

fn get(proxy: &Proxy, path: &str) -> Value {
    let answer = root(proxy, "GET", path, "");
    assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
    let text = answer.text();
    assert!(!text.contains(ALICE.0), "{path}: {text}");
    json(&answer)
}

/// The name that the list shows.
fn shown(list: &Value) -> String {
    list[0]["user"].as_str().unwrap().to_owned()
}

#[test]
fn the_api_shows_hashes_and_finds_and_closes_by_them() {
    let proxy = hashed();
    let echo = Origin::echo();
    let (origin, release) = Origin::held();
    let mut tunnels: Vec<Wire> = (0..2).map(|_| proxy.tunnel(echo.address)).collect();
    let mut waiting = proxy.connect();
    waiting
        .send(format!(
            "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}\r\n",
            origin.address,
            crate::support::request::auth()
        ))
        .unwrap();
    assert_eq!(proxy.fetch("http://denied.test/").status(), 403);

    let label = shown(&get(&proxy, "/api/v1/tunnels")["tunnels"]);
    assert_eq!(label.len(), 16, "{label}");
    let found = |path: &str| get(&proxy, path)["total"].clone();
    assert_eq!(found(&format!("/api/v1/tunnels?user={label}")), 2);
    assert_eq!(found(&format!("/api/v1/tunnels?q={label}")), 2);
    // Who knows the names alone finds nothing by them.
    for query in ["user", "q"] {
        let path = format!("/api/v1/tunnels?{query}={}", ALICE.0);
        assert_eq!(found(&path), 0, "{path}");
    }
    eventually("the request", || {
        let list = get(&proxy, "/api/v1/requests");
        list["requests"].as_array()?.first()?["user"]
            .as_str()
            .is_some_and(|user| user == label)
            .then_some(())
    });
    let denials = get(&proxy, "/api/v1/denials");
    assert_eq!(shown(&denials["denials"]), label);
    let users = get(&proxy, "/api/v1/users");
    assert_eq!(shown(&users["users"]), label);
    let question =
        format!(r#"{{"target":"http://denied.test/","user":"{label}","resolve":["192.0.2.1"]}}"#);
    let explain = |question: &str| {
        let explained = root(&proxy, "POST", "/api/v1/explain", question);
        let text = explained.text();
        assert_eq!(explained.status(), 200, "{text}");
        assert!(
            ![ALICE.0, "alicia"].iter().any(|it| text.contains(it)),
            "{text}"
        );
        json(&explained)
    };
    let explained = explain(&question);
    // What a rule compared is the name, too.
    let rules = &explained["rules"];
    assert_eq!(rules[1]["value"], *label, "{explained}");
    assert_eq!(
        rules[2]["value"],
        format!("{label}, in staff"),
        "{explained}"
    );
    let tunnel = explain(
        &question
            .replace("http://denied.test/", "tunnel.test:443")
            .replace("192.0.2.1", "127.0.0.1"),
    );
    assert_eq!(tunnel["tunnel"]["when"], "***", "{tunnel}");
    // The user of a client without credentials, asked for by the hash too.
    let trusted = explain(r#"{"target":"http://denied.test/","client":"127.0.0.9"}"#);
    assert_eq!(
        trusted["user"].as_str().map(str::len),
        Some(16),
        "{trusted}"
    );
    assert_eq!(trusted["rules"][1]["value"], trusted["user"], "{trusted}");
    let again = explain(&format!(
        r#"{{"target":"http://denied.test/","client":"127.0.0.9","user":{}}}"#,
        trusted["user"]
    ));
    assert_eq!(
        (&again["rules"], &again["notes"]),
        (&trusted["rules"], &trusted["notes"])
    );
    assert_eq!(
        (&explained["user"], &explained["notes"]),
        (&label.clone().into(), &Value::Array(Vec::new())),
        "{explained}"
    );

    let config = get(&proxy, "/api/v1/config");
    let yaml = config["yaml"].as_str().unwrap();
    for name in ["bob", "alicia"] {
        assert!(!yaml.contains(name), "{yaml}");
    }
    assert!(yaml.contains(&format!("users: [\"{label}\"]")), "{yaml}");
    assert!(yaml.contains("when: \"***\""), "{yaml}");

    let page = root(&proxy, "GET", "/", "");
    assert_eq!(page.status(), 200);
    assert!(page.text().contains(&label));
    assert!(!page.text().contains(ALICE.0));

    let of = |user: &str| format!("/api/v1/users/{user}/tunnels");
    let plain = root(&proxy, "DELETE", &of(ALICE.0), "");
    assert_eq!(json(&plain)["closed"], 0);
    let by_label = root(&proxy, "DELETE", &of(&label), "");
    assert_eq!(json(&by_label)["closed"], 2);
    for tunnel in &mut tunnels {
        let _ended = tunnel.rest();
    }
    eventually("the tunnels to end", || {
        (found("/api/v1/tunnels") == 0).then_some(())
    });
    // What counts the end of a tunnel knows no plain name either.
    for path in ["/api/v1/users", "/stats"] {
        get(&proxy, path);
    }
    let metrics = root(&proxy, "GET", "/metrics", "");
    assert!(!metrics.text().contains(ALICE.0), "{}", metrics.text());
    // The operator is a user, too.
    let line = eventually("the line of the change", || {
        let errors = proxy.errors();
        let mut lines = errors.lines().map(str::to_owned);
        lines.find(|line| line.contains("DELETE /api/v1/users/{user}/tunnels"))
    });
    assert!(!line.contains(ROOT.0), "{line}");
    for name in [ALICE.0, ROOT.0, "alicia"] {
        let named = proxy
            .errors()
            .lines()
            .find(|line| line.contains(&format!("{name:?}")))
            .map(str::to_owned);
        assert_eq!(named, None);
    }
    release.send(()).unwrap();
    let _answer = waiting.response("GET").unwrap();
}

/// Whoever asks about a hash learns no name by it: not from notes, and not from what scripts make of it.
#[test]
fn explanations_turn_no_hash_into_a_name() {
    let proxy = with_users()
        .config("log: { users: hashed, users_key: users.key }")
        .config("policy: { rules: [ { name: r, action: deny, users: [dave], methods: [PUT] } ] }")
        .config("scripts: [ { name: s, file: s.rhai } ]")
        .file(
            "s.rhai",
            "fn authorize(r) { r.set_header(\"x-user\", r.user); r.tag(\"user\", r.user); \
             return deny(\"no for \" + r.user); }",
        )
        .file("users.key", "a key of sixteen bytes or more")
        .start();
    let yaml = get(&proxy, "/api/v1/config")["yaml"].clone();
    let yaml = yaml.as_str().unwrap();
    let (_, dave) = yaml.split_once("users: [\"").unwrap();
    let dave = dave.split_once('"').unwrap().0;
    assert_eq!(proxy.fetch("http://127.0.0.1:1/").status(), 403);
    let alice = shown(&get(&proxy, "/api/v1/users")["users"]);
    let explain = |user: &str| {
        let question = format!(r#"{{"target":"http://127.0.0.1:1/","user":"{user}"}}"#);
        let explained = root(&proxy, "POST", "/api/v1/explain", &question);
        let text = explained.text();
        assert_eq!(explained.status(), 200, "{text}");
        for name in ["dave", ALICE.0] {
            assert!(!text.contains(name), "{text}");
        }
        json(&explained)
    };
    let of_alice = explain(&alice);
    assert_eq!(of_alice["user"], *alice);
    assert_eq!(of_alice["rule"], "hook:s", "{of_alice}");
    assert_eq!(of_alice["message"], "***", "{of_alice}");
    let effects = &of_alice["scripts"][0]["effects"];
    assert_eq!(effects[0]["set_header"], "x-user", "{of_alice}");
    assert_eq!(effects[0]["value"], "***", "{of_alice}");
    assert_eq!(of_alice["scripts"][0]["message"], "***", "{of_alice}");
    let of_dave = explain(dave);
    let note = of_dave["notes"][0].as_str().unwrap();
    assert!(note.starts_with(&format!("\"{dave}\" is not in")), "{note}");
    // A hash of nobody is no name, and that is said.
    let nobody = "0123456789abcdef";
    let of_nobody = explain(nobody);
    let note = of_nobody["notes"][0].as_str().unwrap();
    assert!(
        note.contains(&format!(
            "no user of the configuration is shown as {nobody}"
        )),
        "{note}"
    );
}
