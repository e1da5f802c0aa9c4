//! Classes of limits in `tollgate explain` and in the tests of a policy.

use serde_json::Value;

use super::explain::explain;
use crate::support::command::check;
use crate::support::proxy::Setup;

const CLASSES: &str = "limits: { classes: [ \
    { name: team, groups: [team], requests: 5/s, burst: 9, tunnels: 3, download: 50MiB/s }, \
    { name: gate, roles: [gateway] }, \
    { name: rest, client_networks: [127.0.0.0/8], per: client_network, new_tunnels: 2/m, upload: 1mb/s } ] }";

fn teams() -> Setup {
    Setup::new()
        .file("groups.htgroup", "team: alice\n")
        .config("auth: { groups: groups.htgroup }")
        .config(CLASSES)
}

#[test]
fn policy_tests_expect_classes() {
    let test = |user: &str, target: &str, expect: &str, class: &str| {
        let setup = teams()
            .config("policy: { rules: [{ name: no, action: deny, domains: [no.test] }] }")
            .config(&format!(
                "policy_tests: [{{ user: {user}, target: \"{target}\", expect: {expect}, class: {class} }}]"
            ));
        let outcome = check(&setup);
        match outcome.code() {
            Some(0) => "OK".to_owned(),
            _ => outcome.output(),
        }
    };
    for (user, target, expect, class, expected) in [
        ("alice", "a.test:443", "admit", "team", "OK"),
        ("bob", "a.test:443", "admit", "rest", "OK"),
        ("bob", "/", "admit", "gate", "OK"),
        (
            "bob",
            "a.test:443",
            "admit",
            "team",
            "policy_tests[0].class: expected class team, found rest",
        ),
        (
            "bob",
            "a.test:443",
            "admit",
            "reste",
            "policy_tests[0].class: no such class; did you mean rest?",
        ),
        (
            "bob",
            "no.test:443",
            "deny",
            "rest",
            "policy_tests[0].class: no class holds for a request that is denied",
        ),
    ] {
        let found = test(user, target, expect, class);
        assert!(found.contains(expected), "{user} {target} {class}: {found}");
    }
}

#[test]
fn explain_shows_the_class_and_its_limits() {
    let setup = teams();
    for (arguments, expected) in [
        (
            "--user alice --target a.test:443 --resolve 127.0.0.1",
            "\nclass team: requests 5/s, burst 9; tunnels 3; download 50MiB/s, for each user",
        ),
        (
            "--user bob --target a.test:443 --resolve 127.0.0.1",
            "\nclass rest: new_tunnels 2/m, burst 2; upload 1MB/s, for each client network",
        ),
        ("--user bob --target /", "\nclass gate: no limits"),
        (
            "--user bob --client 10.1.1.1 --target a.test:443 --resolve 127.0.0.1",
            "\nclass none: no class of tollgate.limits.classes matches",
        ),
        (
            "--user alice --target http://a.test/ --resolve 127.0.0.1",
            "\nclass team: requests",
        ),
    ] {
        let outcome = explain(&setup, arguments);
        assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
        assert_eq!(
            outcome.stdout.matches("\nclass ").count(),
            1,
            "{}",
            outcome.stdout
        );
        assert!(outcome.stdout.contains(expected), "{}", outcome.stdout);
    }
    let outcome = explain(&setup, "--user alice --target 10.0.0.1:443 --json");
    assert!(!outcome.stdout.contains("class"), "{}", outcome.stdout);
    let outcome = explain(&setup, "--user alice --target 127.0.0.1:443 --json");
    let json: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(
        json["ways"][0]["class"],
        serde_json::json!({ "name": "team", "per": "user", "requests": "5/s", "burst": 9, "tunnels": 3, "download": "50MiB/s" })
    );
}
