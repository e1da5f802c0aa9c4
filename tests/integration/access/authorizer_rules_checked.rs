//! Rules that ask an external authoriser, before a request comes: what `check` refuses, what tests of the policy can
//! expect, and what `explain` says. None of them asks.

use crate::support::authorizer::{admitting, config};
use crate::support::command::{Outcome, tollgate};
use crate::support::origin::Origin;
use crate::support::proxy::Setup;

fn check(external: Option<(&Origin, &str)>, policy: &str) -> Outcome {
    let setup = Setup::new().config(policy);
    let setup = match external {
        Some((service, keys)) => setup.config(&config(service, keys)),
        None => setup,
    };
    tollgate(["check".as_ref(), "-c".as_ref(), setup.write().as_os_str()])
}

const ASKS: &str = "policy: { rules: [{ name: r, action: admit, ask: true }] }";
const NONE: &str = "policy: { rules: [{ name: r, action: admit, ask: false }] }";

#[test]
fn a_rule_and_the_authoriser_need_each_other() {
    let service = admitting();
    for (keys, policy, expected) in [
        (
            None,
            ASKS,
            "tollgate.policy.rules[0].ask: no authoriser to ask: `auth.external` is missing; configure it",
        ),
        (
            Some("ask: always"),
            ASKS,
            "tollgate.policy.rules[0].ask: `auth.external` is asked before the rules, and not by one; write `ask: rule`",
        ),
        (
            Some("send_password: true"),
            ASKS,
            "tollgate.policy.rules[0].ask: `auth.external` is asked before the rules",
        ),
        (
            Some("ask: rule"),
            NONE,
            "tollgate.auth.external.ask: no rule asks, so that the authoriser is asked about no request; write `ask: true`",
        ),
        (
            Some("ask: rule"),
            "policy: { rules: [{ name: r, action: deny, ask: true }, { name: s, action: admit, ask: true }] }",
            "tollgate.policy.rules[0].ask: only for rules that admit",
        ),
        (
            Some("ask: rule"),
            "policy: { rules: [{ name: r, action: admit, ask: rule }] }",
            "tollgate.policy.rules[0].ask: neither true nor false",
        ),
        // No rule has a group that no file has: the groups of its answers come too late.
        (
            Some("ask: rule"),
            "policy: { rules: [{ name: r, action: admit, ask: true, groups: [staff] }] }",
            "tollgate.policy.rules[0].groups[0]: no such group",
        ),
    ] {
        let outcome = check(keys.map(|keys| (&service, keys)), policy);
        assert_eq!(outcome.code(), Some(78), "{}", outcome.output());
        let said = outcome.output();
        assert!(said.contains(expected), "{expected}: {said}");
        // One problem, said once.
        assert_eq!(
            said.matches("tollgate.").count(),
            expected.matches("tollgate.").count(),
            "{said}"
        );
    }
    for (keys, policy) in [
        (None, NONE),
        (Some("ask: rule"), ASKS),
        (Some("ask: always"), NONE),
    ] {
        let outcome = check(keys.map(|keys| (&service, keys)), policy);
        assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    }
    // Checks connect, and ask nothing.
    assert!(service.requests().is_empty());
}

const RULES: &str = "
policy:
  default: deny
  rules:
    - { name: lab, action: admit, ask: true, networks: [10.9.0.0/16] }
    - { name: free, action: admit, domains: [free.test] }
    - { name: rest, action: admit, ask: true }
";

#[test]
fn tests_of_the_policy_expect_it() {
    let service = admitting();
    let run = |test: &str| {
        check(
            Some((&service, "ask: rule")),
            &format!("{RULES}policy_tests: [{{ user: alice, {test} }}]\n"),
        )
    };
    for test in [
        "target: 'a.test:443', resolve: [9.9.9.9], expect: admit, rule: rest",
        "target: 'a.test:443', resolve: [9.9.9.9], expect: admit, rule: rest, expect_ask: true",
        "target: 'a.test:443', resolve: [10.9.0.1], expect: admit, rule: lab, expect_ask: true",
        "target: 'free.test:443', resolve: [9.9.9.9], expect: admit, expect_ask: false",
        "target: 'a.test:443', resolve: [10.8.0.1], expect: deny, expect_ask: false",
    ] {
        let outcome = run(test);
        assert_eq!(outcome.code(), Some(0), "{test}: {}", outcome.output());
    }
    for (test, expected) in [
        (
            "target: 'a.test:443', resolve: [9.9.9.9], expect: admit, expect_ask: false",
            "policy_tests[0]: expected that the request is not put to auth.external, found that it is; correct",
        ),
        (
            "target: 'free.test:443', resolve: [9.9.9.9], expect: admit, expect_ask: true",
            "policy_tests[0]: expected that the request is put to auth.external, found that it is not; correct",
        ),
        (
            "target: 'a.test:443', resolve: [10.8.0.1], expect: deny, expect_ask: true",
            "policy_tests[0]: expected that the request is put to auth.external, found that it is not; correct",
        ),
    ] {
        let outcome = run(test);
        assert_eq!(outcome.code(), Some(78), "{test}");
        assert!(
            outcome.output().contains(expected),
            "{test}: {}",
            outcome.output()
        );
    }
    // Checks connect, and ask nothing.
    assert!(service.requests().is_empty());
}

#[test]
fn explain_says_who_is_asked() {
    let service = admitting();
    let explain = |target: &str, more: &[&str]| {
        let setup = Setup::new()
            .config(&config(&service, "ask: rule"))
            .config(RULES);
        let path = setup.write();
        let mut arguments = vec![
            "explain",
            "-c",
            path.to_str().unwrap(),
            "--user",
            "alice",
            "--target",
            target,
        ];
        arguments.extend(more);
        tollgate(arguments).output()
    };
    let note = "auth.external is asked about this request, and is not asked here: it may deny";
    let said = explain("a.test:443", &["--resolve", "9.9.9.9"]);
    assert!(
        said.starts_with("admit, by rest, if auth.external admits it\n"),
        "{said}"
    );
    assert!(said.contains(note), "{said}");
    let said = explain("a.test:443", &["--resolve", "10.9.0.1", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&json["decision"], &json["asks"]),
        (&"admit".into(), &"yes".into()),
        "{said}"
    );
    for (target, resolve) in [("free.test:443", "9.9.9.9"), ("a.test:443", "10.8.0.1")] {
        let said = explain(target, &["--resolve", resolve]);
        assert!(!said.contains("auth.external"), "{said}");
    }
    service.assert_untouched();
}
