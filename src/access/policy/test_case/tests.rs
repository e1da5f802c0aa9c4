use super::*;
use crate::access::policy::tests::rule_text::{policy, scenario};
use crate::access::policy::{EvaluationError, Guard};

const RULES: &[&str] = &[
    "no-bad deny domains=.bad.example",
    "evening deny time=18:00-08:00 domains=.late.example",
    "third admit domains=c.example when=user.groups[2] == \"x\"",
    "clock admit domains=.clock.example when=time.getHours() == 12",
    "lan admit networks=10.0.0.0/8 users=alice",
    "ci admit groups=ci",
];

/// `USER METHOD TARGET [IP ...] -> VERDICT [RULE]`, with `@` before what has a time.
fn run(text: &str) -> String {
    let (asked, expected) = text.split_once(" -> ").unwrap();
    let timed = asked.starts_with('@');
    let words: Vec<&str> = asked.trim_start_matches('@').split(' ').collect();
    let (asked, resolve) = words.split_at(3);
    let (verdict, rule) = expected.split_once(' ').unwrap_or((expected, ""));
    let case = TestCase {
        scenario: scenario(&asked.join(" "), resolve),
        timed,
        expect: match verdict {
            "admit" => Decision::Admit,
            _ => Decision::Deny,
        },
        ask: None,
        via: None,
        rule: Some(rule).filter(|rule| !rule.is_empty()).map(Box::from),
    };
    match case.run(&policy(Guard::default(), Decision::Deny, RULES)) {
        Ok(()) => "passes".to_owned(),
        Err(failure) => failure.to_string(),
    }
}

#[test]
fn outcomes() {
    for (text, expected) in [
        ("bob CONNECT a.example:443 -> admit", "passes"),
        ("bob CONNECT a.example:443 -> admit ci", "passes"),
        (
            "bob CONNECT a.example:443 -> deny",
            "expected deny, found admit by ci",
        ),
        (
            "bob CONNECT a.example:443 -> admit lan",
            "expected admit by lan, found admit by ci",
        ),
        (
            "bob CONNECT x.bad.example:443 -> admit",
            "expected admit, found deny by no-bad",
        ),
        ("carol CONNECT a.example:443 -> deny default", "passes"),
        ("bob CONNECT a.example:22 -> deny connect_ports", "passes"),
        (
            "bob CONNECT a.example:443 127.0.0.1 -> deny special_purpose",
            "passes",
        ),
        (
            "bob CONNECT a.example:443 127.0.0.1 -> deny special_purpose:loopback",
            "passes",
        ),
        (
            "bob CONNECT a.example:443 127.0.0.1 -> deny special_purpose:link_local",
            "expected deny by special_purpose:link_local, found deny by special_purpose:loopback",
        ),
        // One address that is admitted will do.
        (
            "bob CONNECT a.example:443 127.0.0.1 1.1.1.1 -> admit ci",
            "passes",
        ),
        (
            "alice CONNECT a.example:443 -> admit",
            "rule lan depends on the address of the target",
        ),
        (
            "alice CONNECT a.example:443 10.1.1.1 -> admit lan",
            "passes",
        ),
        ("alice CONNECT 10.1.1.1:443 -> admit lan", "passes"),
        ("alice GET / -> admit ci", "passes"),
        (
            "bob CONNECT late.example:443 -> admit",
            "rule evening depends on the time",
        ),
        ("@bob CONNECT late.example:443 -> admit ci", "passes"),
        (
            "bob CONNECT clock.example:443 -> admit",
            "rule clock depends on the time",
        ),
        ("@bob CONNECT clock.example:443 -> admit clock", "passes"),
        (
            "bob CONNECT c.example:443 -> admit",
            "expected admit, found deny by third, because its expression failed: the list has no such element",
        ),
        ("bob CONNECT c.example:443 -> deny third", "passes"),
    ] {
        assert_eq!(run(text), expected, "{text}");
    }
    assert_eq!(
        EvaluationError::NoElement.to_string(),
        "the list has no such element"
    );
}
