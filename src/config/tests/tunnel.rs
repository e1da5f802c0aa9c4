//! `tunnel`, globally and of rules, and the hello of tests.

use std::time::Duration;

use super::{Setup, check, with};
use crate::access::policy::{HelloTerms, Policy, SniDemand};

fn setup() -> Setup {
    Setup::new()
}

/// The terms of the rules, in their order.
fn terms(policy: &Policy) -> Vec<Option<(SniDemand, bool, bool, bool)>> {
    let shown = |terms: &HelloTerms| (terms.sni, terms.non_tls, terms.ech, terms.peek);
    let rules = policy.rules().iter();
    rules
        .map(|rule| rule.tunnel.as_deref().map(shown))
        .collect()
}

#[test]
fn a_rule_has_what_it_does_not_say_from_all_tunnels() {
    let setup = setup();
    let rules = "  policy:
    rules:
      - {name: a, action: admit, users: [alice]}
      - {name: b, action: admit, users: [alice], tunnel: {}}
      - {name: c, action: admit, users: [alice], tunnel: {sni: present, ech: deny}}
      - {name: d, action: admit, users: [alice], tunnel: {sni: off}}
      - {name: e, action: admit, users: [alice], tunnel: {sni: off, when: 'tls.sni != \"x\"'}}
      - {name: f, action: admit, users: [alice], tunnel: {non_tls: admit, peek: true}}
";
    for (global, expected) in [
        (
            "  tunnel: {sni: match}\n",
            [
                None,
                Some((SniDemand::Match, false, true, false)),
                Some((SniDemand::Present, false, false, false)),
                Some((SniDemand::Off, true, true, false)),
                Some((SniDemand::Off, false, true, false)),
                Some((SniDemand::Match, true, true, true)),
            ],
        ),
        (
            "  tunnel: {ech: deny, non_tls: deny, peek: true, hello_timeout: 3s}\n",
            [
                None,
                Some((SniDemand::Off, false, false, true)),
                Some((SniDemand::Present, false, false, true)),
                Some((SniDemand::Off, false, false, true)),
                Some((SniDemand::Off, false, false, true)),
                Some((SniDemand::Off, true, false, true)),
            ],
        ),
    ] {
        let config = setup.load(&with(&format!("{global}{rules}"))).unwrap();
        assert_eq!(terms(&config.policy), expected, "{global}");
        let rule = config.policy.rules().iter().nth(4).unwrap();
        let terms = rule.tunnel.as_deref().unwrap();
        assert_eq!(terms.rule.as_ref(), Some(&rule.name));
        let seconds = if global.contains("3s") { 3 } else { 10 };
        assert_eq!(terms.timeout, Duration::from_secs(seconds));
    }
}

#[test]
fn what_cannot_be_asked() {
    check(
        "  tunnel: {sni: yes, non_tls: off, ech: maybe, hello_timeout: 1h, when: 'true'}
  policy:
    rules:
      - {name: a, action: deny, users: [alice], tunnel: {sni: match}}
      - {name: b, action: admit, roles: [forward], tunnel: {sni: match}}
      - {name: c, action: admit, users: [alice], when: 'tls.sni == \"a\"'}
      - {name: d, action: admit, users: [alice], tunnel: {when: 'request.path == \"/a\"'}}
      - {name: e, action: admit, users: [alice], tunnel: {when: 'tls.sni == \"A.example\"'}}
      - {name: f, action: admit, users: [alice], tunnel: {when: 'tls.snj == \"a\"'}}
  policy_tests:
    - {user: alice, target: 'http://a.example/', hello: {sni: a.example}, expect: deny}
    - {user: alice, target: 'a.example:443', hello: {alpn: []}, expect: deny}
",
        "f.yaml:5: tollgate.tunnel.sni: another word; write match or present or off\n\
         f.yaml:5: tollgate.tunnel.non_tls: another word; write admit or deny\n\
         f.yaml:5: tollgate.tunnel.ech: another word; write admit or deny\n\
         f.yaml:5: tollgate.tunnel.hello_timeout: out of range; write one from 10ms to 1m, such as 1m\n\
         f.yaml:5: tollgate.tunnel.when: unknown key; known here: sni, non_tls, ech, peek, hello_timeout\n\
         f.yaml:8: tollgate.policy.rules[0].tunnel: only for rules that admit; remove it, or write `action: admit`\n\
         f.yaml:9: tollgate.policy.rules[1].tunnel: only for tunnels, which the roles of this rule leave out; remove it, or add tunnel to `roles`\n\
         f.yaml:10: tollgate.policy.rules[2].when: reads the ClientHello of a tunnel, which is not there before the tunnel is admitted; write it as `when` below `tunnel` of the rule\n\
         f.yaml:11: tollgate.policy.rules[3].tunnel.when: reads the path, the query or a field, which are gone when a tunnel is open; write that as `when` of the rule itself\n\
         f.yaml:12: tollgate.policy.rules[4].tunnel.when: column 9: tls.sni is never \"A.example\": hosts are in lower case; write \"a.example\"\n\
         f.yaml:13: tollgate.policy.rules[5].tunnel.when: column 5: tls has no field snj; write tls.sni\n\
         f.yaml:15: tollgate.policy_tests[0].hello: only for a tunnel, whose target is `host:port`; remove it, or write such a target\n\
         f.yaml:16: tollgate.policy_tests[1].hello.alpn: an empty list, which nothing matches; fill it, or remove the key to match everything",
    );
}

#[test]
fn tests_judge_a_hello() {
    let lines = |hello: &str, expect: &str| {
        format!(
            "  tunnel: {{sni: match}}
  policy:
    rules:
      - {{name: late, action: admit, domains: [late.example], tunnel: {{when: 'time > timestamp(\"2026-01-01T00:00:00Z\")'}}}}
      - {{name: all, action: admit}}
  policy_tests:
    - {{user: alice, target: '{}:443', hello: {hello}, expect: {expect}}}
",
            if expect.contains("late") { "late.example" } else { "a.example" }
        )
    };
    let setup = setup();
    for (hello, expect) in [
        ("{sni: A.example}", "admit, rule: all"),
        ("{sni: b.example}", "deny, rule: tunnel_hello"),
        ("{}", "deny, rule: tunnel_hello"),
        (
            "{sni: late.example}",
            "admit, rule: late, time: 2026-11-30T00:00:00Z",
        ),
        (
            "{sni: late.example}",
            "deny, rule: late, time: 2025-11-30T00:00:00Z",
        ),
    ] {
        let loaded = setup.load(&with(&lines(hello, expect)));
        assert!(loaded.is_ok(), "{hello} {expect}: {}", loaded.unwrap_err());
    }
    check(
        &lines("{sni: b.example, alpn: [h2], ech: true}", "admit"),
        "f.yaml:11: tollgate.policy_tests[0]: expected admit, found deny by tunnel_hello; correct the rules or the test; \
         `tollgate explain -c f.yaml --user alice --target a.example:443 --sni b.example --alpn h2 --ech` says why",
    );
    check(
        &lines("{sni: late.example}", "admit, rule: late"),
        "f.yaml:11: tollgate.policy_tests[0]: rule late depends on the time; add when, as in `time: 2027-01-31T18:00:00Z`",
    );
}
