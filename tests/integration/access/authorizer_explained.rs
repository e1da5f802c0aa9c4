//! `tollgate explain --ask` and what `tollgate check` says of the service.

use serde_json::{Value, json};

use crate::support::authorizer::{admitting, config, question, questions, service};
use crate::support::command::{Outcome, tollgate};
use crate::support::message::response;
use crate::support::origin::Origin;
use crate::support::port::Port;
use crate::support::proxy::Setup;
use crate::support::request::{ALICE, request_of};

/// Explains a request with this service.
fn explain(service: &Origin, keys: &str, policy: &str, arguments: &[&str]) -> Outcome {
    let setup = Setup::new()
        .config(&config(service, keys))
        .config(&format!("policy: {policy}"));
    let path = setup.write();
    let mut all = vec!["explain", "-c", path.to_str().unwrap(), "--ask"];
    all.extend(arguments);
    tollgate(all)
}

const ALL: &str = "{ default: admit }";

#[test]
fn the_question_is_that_of_the_proxy() {
    let service = admitting();
    let setup = Setup::new().config(&config(&service, "ask: always"));
    let proxy = setup.start();
    let url = "http://192.0.2.1/a/..%2fb?q=1";
    // Denied behind the question, since the address is no public one.
    assert_eq!(proxy.exchange(request_of(ALICE, "GET", url)).status(), 403);
    let target = ["--user", "alice", "--target", url, "--json"];
    let outcome = explain(&service, "ask: always", ALL, &target);
    let asked = questions(&service);
    // Both ways, the usual one first.
    assert_eq!(asked.len(), 3);
    let mut pair = [asked[0].clone(), asked[1].clone()];
    for question in &mut pair {
        question["id"] = Value::Null;
    }
    assert_eq!(pair[0], pair[1]);
    assert_eq!(
        (&asked[2]["role"], &asked[2]["target"]),
        (&json!("tunnel"), &json!("192.0.2.1:80"))
    );
    let explained: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let said = &explained["ways"][0]["authorizer"];
    let shown: Value = serde_json::from_str(said["question"].as_str().unwrap()).unwrap();
    assert_eq!(shown, asked[1]);
    assert_eq!(said["answer"], "200 {\"allow\":true}");
    assert_eq!(said["meaning"], "admits");
}

#[test]
fn what_follows_from_the_answer() {
    let service = service(|asked| match asked["user"].as_str() {
        Some("ann") => json!({"allow": true, "user": "svc:ann", "groups": ["ci", "dev"]}),
        Some("rob") => json!({"allow": false, "status": 451, "message": "not rob"}),
        Some("eve") => json!({"allow": true, "group": ["ci"]}),
        Some("taken") => json!({"allow": true, "user": "alice"}),
        _ => json!({"allow": false}),
    });
    let policy = "{ default: deny, rules: [{ name: ci, action: admit, groups: [ci] }] }";
    let keys = "send_password: true";
    let target = "9.9.9.9:443";
    for (user, parts) in [
        (
            "ann",
            &[
                "admit, by ci\n",
                "svc:ann, in ci, dev",
                "\"user\":\"ann\"",
                "=> admits, as the user \"svc:ann\", with the groups ci, dev",
                "the question has no password",
            ][..],
        ),
        (
            "rob",
            &[
                "deny, by external (451, http_request_denied): not rob",
                "=> denies",
            ],
        ),
        (
            "zoe",
            &[
                "deny, by external (407, credentials_wrong)",
                "=> the credentials are wrong",
            ],
        ),
        (
            "eve",
            &[
                "fail, by external (503, authorizer_failed)",
                "did you mean \"groups\"?",
            ],
        ),
        (
            "taken",
            &["fail, by external (503", "a user of the password file"],
        ),
        (
            "alice",
            &[
                "deny, by default",
                "is not asked about a request of this user",
            ],
        ),
    ] {
        let outcome = explain(
            &service,
            keys,
            policy,
            &["--user", user, "--target", target],
        );
        let said = outcome.output();
        for part in parts {
            assert!(said.contains(part), "{user}: {part}: {said}");
        }
        assert_eq!(outcome.code(), Some(i32::from(user != "ann")), "{said}");
        assert!(!said.contains("is not asked here"), "{said}");
    }
    for asked in service.requests().iter().map(question) {
        assert!(asked.get("password").is_none(), "{asked}");
    }
}

#[test]
fn a_rule_that_asks() {
    let service = service(|asked| json!({"allow": asked["method"] == "PUT"}));
    let policy =
        "{ default: deny, rules: [{ name: uploads, action: admit, ask: true, roles: [forward] }] }";
    let explain = |method: &str| {
        let arguments = [
            "--user",
            "alice",
            "--target",
            "http://9.9.9.9/x",
            "--method",
            method,
        ];
        explain(&service, "ask: rule", policy, &arguments).output()
    };
    let said = explain("PUT");
    assert!(said.contains("admit, by external:uploads\n"), "{said}");
    assert!(said.contains("\"rule\":\"uploads\""), "{said}");
    let said = explain("POST");
    assert!(said.contains("deny, by external:uploads (403"), "{said}");
    assert!(said.contains("=> denies"), "{said}");
    // Of the tunnel, which no rule admits, nothing is asked.
    assert_eq!(service.requests().len(), 2);
}

#[test]
fn a_service_that_fails_and_one_by_status() {
    let closed = Port::reserve();
    let run = |url: &str, keys: &str| {
        let keys = format!("auth: {{ external: {{ url: \"{url}\", {keys} }} }}");
        let setup = Setup::new().config(&keys);
        let path = setup.write();
        let arguments = ["--user", "alice", "--target", "9.9.9.9:443", "--ask"];
        let mut all = vec!["explain", "-c", path.to_str().unwrap()];
        all.extend(arguments);
        tollgate(all).output()
    };
    let url = format!("http://{}/", closed.address);
    let said = run(&url, "ask: always");
    let why = "connection refused: nothing listens there; start the service, or correct the URL";
    assert!(
        said.contains(&format!(
            "fail, by external (503, authorizer_failed): {why}"
        )),
        "{said}"
    );
    let said = run(&url, "ask: always, on_failure: admit");
    assert!(said.contains("admit, by default"), "{said}");
    assert!(said.contains("the request goes on without it"), "{said}");
    let by_status = Origin::fixed(response("204 No Content", "X-Tollgate-Groups: ci\r\n", ""));
    let url = format!("http://{}/", by_status.address);
    let said = run(&url, "ask: always, mode: status");
    for part in [
        "x-original-uri: 9.9.9.9:443",
        "204 x-tollgate-groups: ci",
        "=> admits, with the groups ci",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// Nothing is asked by a check, and nothing at a start.
#[test]
fn a_check_tries_the_address_of_the_service() {
    let check = |url: &str| {
        let keys = format!("auth: {{ external: {{ url: \"{url}\", ask: always }} }}");
        let setup = Setup::new().config(&keys);
        let path = setup.write();
        tollgate(["check".as_ref(), "-c".as_ref(), path.as_os_str()])
    };
    let service = admitting();
    let outcome = check(&format!("http://{}/", service.address));
    assert_eq!(outcome.code(), Some(0));
    assert!(
        !outcome.output().contains("auth.external"),
        "{}",
        outcome.output()
    );
    assert!(service.requests().is_empty());
    let closed = Port::reserve();
    let outcome = check(&format!("http://{}/?key=canary", closed.address));
    let said = outcome.output();
    assert_eq!(outcome.code(), Some(0), "{said}");
    let expected = format!(
        "warning: tollgate.auth.external.url: {}: connection refused: nothing listens there; start the service, or correct \
         the URL",
        closed.address
    );
    assert!(said.contains(&expected), "{said}");
    assert!(!said.contains("canary"), "{said}");
}
