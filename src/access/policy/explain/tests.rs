use super::*;
use crate::access::policy::tests::rule_text::{policy, scenario};
use crate::access::policy::{Decision, Guard};

const RULES: &[&str] = &[
    "no-uploads deny:451 methods=POST",
    "watch observe domains=.npmjs.org",
    "ops admit users=dave groups=ops time=18:00-08:00",
    "lan admit networks=10.0.0.0/8",
    "ports admit ports=22",
    "third admit when=user.groups[2] == \"x\" && request.port == 443 && request.host == \"c.example\"",
    "ci admit groups=ci domains=.npmjs.org",
];

fn explain(text: &str, resolve: &[&str]) -> Explanation {
    policy(Guard::default(), Decision::Deny, RULES).explain(&scenario(text, resolve))
}

#[test]
fn for_people() {
    let explanation = explain(
        "alice CONNECT registry.npmjs.org:443",
        &["10.1.1.1", "1.1.1.1"],
    );
    assert_eq!(
        explanation.to_string(),
        "admit, by lan

user     alice, in ci, ops
client   192.168.1.1
request  CONNECT registry.npmjs.org:443 (tunnel)
time     2026-11-24T12:00:00Z

rules in order
  no-uploads  deny     no match: methods: CONNECT
  watch       observe  matches, and observes
  ops         admit    no match: time: Tue 12:00 in UTC (2026-11-24T12:00:00Z)
  lan         admit    depends on the address
  ports       admit    no match: ports: 443
  third       admit    no match: when: false
  ci          admit    decides

address 10.1.1.1: admit, by lan
  lan  admit    decides

address 1.1.1.1: admit, by ci
  lan  admit    no match: networks: 1.1.1.1

would be denied by rules that observe: watch"
    );
    assert_eq!(
        explain("bob POST http://a.example/", &[]).to_string(),
        "deny, by no-uploads (451, http_request_denied): ask it@example.org

user     bob, in ci
client   192.168.1.1
request  POST a.example:80 (forward)
time     2026-11-24T12:00:00Z

rules in order
  no-uploads  deny     decides"
    );
}

#[test]
fn decisions_that_depend_on_the_address() {
    let explanation = explain("carol CONNECT a.example:443", &[]);
    assert_eq!(explanation.decision, ExplainedDecision::DependsOnAddress);
    let text = explanation.to_string();
    assert!(
        text.starts_with("depends on the address: by default for addresses in no network below\n"),
        "{text}"
    );
    assert!(
        text.ends_with("every address of the name is evaluated too; give addresses with --resolve"),
        "{text}"
    );
    assert!(
        text.contains("ops         admit    no match: users, groups: carol, in others\n"),
        "{text}"
    );
    assert!(
        text.contains("ci          admit    no match: groups: carol, in others\n"),
        "{text}"
    );
}

#[test]
fn an_expression_that_fails() {
    let explanation = explain("alice CONNECT c.example:443", &[]);
    let third = explanation
        .rules
        .iter()
        .find(|rule| rule.rule == "third")
        .unwrap();
    assert_eq!(third.outcome, "decides");
    assert_eq!(third.error.as_deref(), Some("the list has no such element"));
    let text = explanation.to_string();
    assert!(
        text.contains("third       admit    decides: its expression failed, so it denies: the list has no such element"),
        "{text}"
    );
}

#[test]
fn the_guard_and_the_gateway() {
    let explanation = explain("alice GET /status", &[]);
    assert_eq!(explanation.decision, ExplainedDecision::Deny);
    let shown: Vec<_> = explanation
        .rules
        .iter()
        .map(|rule| {
            format!(
                "{} {}",
                rule.matcher.unwrap(),
                rule.value.as_deref().unwrap()
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "methods GET",
            "domains none, for the gateway",
            "time Tue 12:00 in UTC (2026-11-24T12:00:00Z)",
            "networks none, for the gateway",
            "ports none, for the gateway",
            "when false",
            "domains none, for the gateway",
        ]
    );
    let explanation = explain("stranger CONNECT 127.0.0.1:443", &[]);
    assert_eq!(
        (explanation.decision, &*explanation.rule),
        (ExplainedDecision::Deny, "default")
    );
    let users = &explanation.rules[2];
    assert_eq!(users.value.as_deref(), Some("stranger, in no group"));
}

#[test]
fn the_guard_explains_its_decision() {
    let guard = Guard {
        http_ports: crate::access::policy::Ports::from(80),
        deny_networks: crate::access::policy::Networks::parse(["11.0.0.0/8"]).unwrap(),
        deny_domains: crate::access::policy::Domains::parse([".bad.example"])
            .unwrap()
            .into(),
        own_listeners: vec!["9.9.9.9:80".parse().unwrap()],
        ..Guard::default()
    };
    let policy = policy(guard, Decision::Admit, &["a observe users=bob"]);
    for (text, because) in [
        (
            "bob CONNECT a.example:8443",
            "connect_ports: port 8443 is not in tollgate.egress.connect_ports, and no rule opens it by its ports",
        ),
        (
            "bob GET https://a.example/",
            "http_ports: port 443 is not in tollgate.egress.http_ports, and no rule opens it by its ports",
        ),
        (
            "bob GET http://a.example/",
            "default: no rule decides, so tollgate.policy.default does",
        ),
        (
            "bob GET http://x.bad.example/",
            "deny_domains:.bad.example: the target is in tollgate.egress.deny_domains, as .bad.example",
        ),
        (
            "bob GET http://11.1.1.1/",
            "deny_networks:11.0.0.0/8: the address is in tollgate.egress.deny_networks, as 11.0.0.0/8",
        ),
        (
            "bob GET http://127.0.0.1/",
            "special_purpose:loopback: the address is special-purpose (loopback), and neither the networks of a \
             rule nor tollgate.egress.allow_networks open it",
        ),
        (
            "bob GET http://9.9.9.9/",
            "own_listener: this program itself listens on the address",
        ),
    ] {
        let said = policy.explain(&scenario(text, &[])).to_string() + "\n";
        assert!(said.contains(&format!("\n\n{because}\n")), "{said}");
    }
}

#[test]
fn for_programs() {
    let explanation = explain("alice CONNECT registry.npmjs.org:443", &["127.0.0.1"]);
    let json = serde_json::to_value(&explanation).unwrap();
    assert_eq!(json["decision"], "deny");
    assert_eq!(json["rule"], "special_purpose:loopback");
    assert_eq!(json["reason"], "destination_ip_prohibited");
    assert_eq!(json["status"], 403);
    assert_eq!(json["message"], serde_json::Value::Null);
    assert_eq!(json["groups"], serde_json::json!(["ci", "ops"]));
    assert_eq!(
        json["rules"][0],
        serde_json::json!({"rule": "no-uploads", "action": "deny", "outcome": "no_match",
            "matcher": "methods", "value": "CONNECT"})
    );
    assert_eq!(json["addresses"][0]["decision"], "deny");
    let depends = explain("carol CONNECT a.example:443", &[]);
    let json = serde_json::to_value(&depends).unwrap();
    assert_eq!(json["decision"], "depends_on_address");
}
