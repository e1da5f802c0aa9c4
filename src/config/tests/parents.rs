//! `parents`, `via` and `no_proxy`.

use super::*;
use crate::access::policy::Via;

const CANARY: &str = "canary-parent-5e";

fn load(setup: &Setup, lines: &str) -> Config {
    setup
        .load(&with(lines))
        .unwrap_or_else(|error| panic!("{error}\n{lines}"))
}

/// The way of alice's request to a target, at these addresses.
fn way(config: &Config, target: &str, resolve: &[&str]) -> String {
    let time = Moment::parse("2026-11-24T10:00:00Z").unwrap();
    let mut scenario = Scenario::new("alice", target, None, time).unwrap();
    scenario.resolve = resolve.iter().map(|ip| ip.parse().unwrap()).collect();
    let explanation = config.policy.explain(&scenario);
    explanation.via.unwrap_or_else(|| "none".to_owned())
}

#[test]
fn parents_as_they_are_meant() {
    let setup = Setup::new();
    setup.file("s", CANARY);
    let config = load(
        &setup,
        "  secrets: { s: { file: s, clear_text: true } }
  parents:
    corp: { urls: ['http://10.0.0.1:3128', 'https://proxy.test'], user: u, password: s, choose: least, fallback: tor }
    tor: { urls: ['socks5://127.0.0.1'], fallback: direct }
  via: corp
  no_proxy: [.own.test, 10.0.0.0/8, 1.2.3.1]
  policy: { rules: [{ name: r, action: admit, domains: [a.test], via: tor }, { name: d, action: admit, domains: [b.test], via: direct }] }
  policy_tests:
    - { user: alice, target: 'a.test:443', expect: admit, expect_via: tor }
    - { user: alice, target: 'x.own.test:443', expect: admit, expect_via: direct }
",
    );
    let corp = &config.parents[0];
    assert_eq!((corp.name.as_str(), corp.choose), ("corp", Choose::Least));
    assert_eq!(corp.urls[1].to_string(), "https://proxy.test:443");
    let tor = corp.fallback.clone();
    assert_eq!(tor, Fallback::Via(Via::named("tor").unwrap()));
    assert_eq!(config.parents[1].fallback, Fallback::Via(Via::Direct));
    assert!(config.warnings.is_empty(), "{}", config.warnings);
    for (target, resolve, expected) in [
        ("a.test:443", &["1.2.3.9"][..], "tor"),
        ("b.test:443", &["1.2.3.9"], "direct"),
        ("c.test:443", &["1.2.3.9"], "corp"),
        ("c.test:443", &["1.2.3.1"], "direct"),
        ("c.test:443", &[], "corp"),
        ("x.own.test:443", &[], "direct"),
        ("/gateway", &[], "none"),
    ] {
        assert_eq!(
            way(&config, target, resolve),
            expected,
            "{target} {resolve:?}"
        );
    }
    // No value of a secret is shown.
    let shown = format!("{:?}", config.parents);
    assert!(
        !shown.contains(CANARY) && !shown.contains("dTpjYW5"),
        "{shown}"
    );
}

#[test]
fn a_parent_that_resolves_names_is_told_of() {
    let setup = Setup::new();
    let config = load(
        &setup,
        "  parents: { tor: { urls: ['socks5://127.0.0.1:9050'], names: client } }\n  via: tor\n",
    );
    let warnings = config.warnings.to_string();
    assert!(
        warnings.contains("tollgate.parents.tor.names: tor resolves names itself: address rules"),
        "{warnings}"
    );
    assert_eq!(way(&config, "a.test:443", &["10.0.0.1"]), "tor");
    assert_eq!(decision(&config.policy, "a.test:443"), "admit default");
    assert_eq!(
        decision(&config.policy, "10.0.0.1:443"),
        "deny special_purpose:private_use"
    );
    // The password would be readable.
    setup.file("s", CANARY);
    let config = load(
        &setup,
        "  secrets: { s: { file: s } }\n  parents: { p: { urls: ['http://10.0.0.1:1'], user: u, password: s } }\n",
    );
    let warnings = config.warnings.to_string();
    let expected =
        "tollgate.parents.p.password: the password goes to http://10.0.0.1:1 without encryption";
    assert!(
        warnings.contains(expected) && !warnings.contains(CANARY),
        "{warnings}"
    );
}

#[test]
fn mistakes() {
    let parent =
        |keys: &str| format!("  parents: {{ p: {{ urls: ['http://10.0.0.1:1']{keys} }} }}\n");
    for (lines, expected) in [
        (
            "  parents: { p: { } }\n".to_owned(),
            "f.yaml:5: tollgate.parents.p.urls: missing; write where the parent is, as in `urls: [http://10.0.0.1:3128]`",
        ),
        (
            "  parents: { p: { urls: [] } }\n".to_owned(),
            "f.yaml:5: tollgate.parents.p.urls: no URL; write where the parent is",
        ),
        (
            "  parents: { p: { urls: ['http://127.0.0.1:8888'] } }\n".to_owned(),
            "f.yaml:5: tollgate.parents.p.urls[0]: one of tollgate's own listeners; name the proxy behind it",
        ),
        (
            "  parents: { direct: { urls: ['http://10.0.0.1:1'] } }\n".to_owned(),
            "f.yaml:5: tollgate.parents.direct: not the name of a parent; write up to 64 letters, digits, - and _, beginning \
             with a letter or a digit, and neither direct nor none",
        ),
        (
            parent(", user: u"),
            "f.yaml:5: tollgate.parents.p.password: missing; write both, user and password",
        ),
        (
            parent(", user: u, password: s"),
            "f.yaml:5: tollgate.parents.p.password: no such secret; name one of `tollgate.secrets`",
        ),
        (
            parent("") + "  via: q\n",
            "f.yaml:6: tollgate.via: no such parent; did you mean p?",
        ),
        (
            "  via: q\n".to_owned(),
            "f.yaml:5: tollgate.via: no such parent; name one of `tollgate.parents`, or write direct",
        ),
        (
            parent(", fallback: p"),
            "f.yaml:5: tollgate.parents.p.fallback: falls back to itself, at last; end with `none` or `direct`",
        ),
        (
            parent("") + "  policy: { rules: [{ name: r, action: deny, via: p }] }\n",
            "f.yaml:6: tollgate.policy.rules[0].via: only for rules that admit; remove it, or write `action: admit`",
        ),
        (
            parent("")
                + "  policy: { rules: [{ name: r, action: admit, roles: [gateway], via: p }] }\n",
            "f.yaml:6: tollgate.policy.rules[0].via: not for the role gateway alone, which has upstreams of its own; remove \
             it, or add forward or tunnel to `roles`",
        ),
        (
            parent(", names: client")
                + "  policy: { rules: [{ name: n, action: deny, networks: [192.0.2.0/24] }, { name: r, action: admit, via: p }] }\n",
            "f.yaml:6: tollgate.policy.rules[0].networks: rule r has names resolved by a parent (`names: client`): no \
             address is known where this rule decides; write `names: resolved` at the parent, move this rule behind it, or \
             remove `networks`",
        ),
        (
            parent(", names: client")
                + "  policy: { rules: [{ name: n, action: deny, networks: [192.0.2.0/24] }] }\n  via: p\n",
            "f.yaml:6: tollgate.policy.rules[0].networks: `tollgate.via` has names resolved by a parent (`names: client`): no \
             address is known where this rule decides; write `names: resolved` at the parent, move this rule behind it, or \
             remove `networks`",
        ),
        (
            parent("")
                + "  policy_tests: [{ user: alice, target: 'a.test:443', expect: admit, expect_via: p }]\n",
            "f.yaml:6: tollgate.policy_tests[0]: expected that the request goes via p, found that it goes via direct; \
             correct the rules or the test; `tollgate explain -c f.yaml --user alice --target a.test:443` says why",
        ),
    ] {
        let found = Setup::new().problems(&with(&lines));
        assert!(found.starts_with(expected), "{lines}\n{found}\n{expected}");
    }
    // In order with the address rules behind it.
    let setup = Setup::new();
    load(
        &setup,
        &(parent(", names: client")
            + "  policy: { rules: [{ name: r, action: admit, domains: [.t.test], via: p }, { name: n, action: deny, networks: [192.0.2.0/24] }] }\n"),
    );
    let password = format!("  parents: {{ p: {{ urls: ['http://u:{CANARY}@a.test:1'] }} }}\n");
    let problems = Setup::new().problems(&with(&password));
    assert!(
        problems.contains("has a user or a password") && !problems.contains(CANARY),
        "{problems}"
    );
}
