//! Which requests are put to the external authoriser, and when that is known.

use std::net::IpAddr;

use super::rule_text::{policy, scenario};
use crate::access::policy::*;

const RULES: &[&str] = &[
    "no deny domains=no.example",
    "lan admit networks=10.0.0.0/8 users=alice",
    "lab admit ask networks=10.9.0.0/16,192.168.0.0/16 domains=.lab.example",
    "nat admit ask networks=64:ff9b::/96 domains=.lab.example",
    "free admit domains=free.example",
    "push admit ask roles=gateway methods=PUT",
    "page admit roles=gateway",
    "rest admit ask",
];

/// What is known before the look-up, and then for each address, `-` where it is denied.
fn asks(text: &str, resolve: &[&str]) -> String {
    let policy = policy(Guard::default(), Decision::Deny, RULES);
    let scenario = scenario(text, resolve);
    let request = scenario.request();
    let explained = policy.explain(&scenario).asks;
    let Ok(admission) = policy.admit_request(&request) else {
        assert_eq!(explained, None, "{text}");
        return "denied".to_owned();
    };
    let before = admission.asks();
    let mut said = match before {
        Asks::Never => "never".to_owned(),
        Asks::By(rule) => rule.to_string(),
        Asks::ByAddress => "by address:".to_owned(),
    };
    let literal = request.destination.address();
    let addresses: Vec<IpAddr> = match literal {
        Some(literal) => vec![literal.ip()],
        None => scenario.resolve.clone(),
    };
    let mut is_asked = matches!(before, Asks::By(_));
    if before == Asks::ByAddress {
        for ip in &addresses {
            if admission.admit_address((*ip, 443).into()).is_err() {
                said += " -";
                continue;
            }
            let rules: Vec<&str> = admission.asks_at(*ip).map(Name::as_str).collect();
            is_asked |= !rules.is_empty();
            let rules = match rules.is_empty() {
                true => "never".to_owned(),
                false => rules.join("+"),
            };
            said = format!("{said} {rules}");
        }
    }
    if !addresses.is_empty() || before != Asks::ByAddress {
        assert_eq!(explained.is_some(), is_asked, "{text}: {explained:?}");
    } else {
        assert_eq!(explained, Some("depends_on_address"), "{text}");
    }
    said
}

#[test]
fn the_rule_that_admits_has_it_asked() {
    for (text, resolve, expected) in [
        ("bob CONNECT a.example:443", &[][..], "rest"),
        ("bob CONNECT a.example:443", &["9.9.9.9"], "rest"),
        ("bob GET http://a.example/", &[], "rest"),
        ("bob CONNECT free.example:443", &[], "never"),
        ("bob CONNECT no.example:443", &[], "denied"),
        ("bob PUT /x", &[], "push"),
        ("bob GET /x", &[], "never"),
        // The guard denies, before and behind the rules.
        ("bob CONNECT a.example:22", &[], "denied"),
        ("bob CONNECT 127.0.0.1:443", &[], "denied"),
        ("bob CONNECT [::ffff:10.0.0.1]:443", &[], "denied"),
        ("bob CONNECT 9.9.9.9:443", &[], "rest"),
        // A rule with networks comes first, and the address decides.
        ("alice CONNECT a.example:443", &[], "by address:"),
        (
            "alice CONNECT a.example:443",
            &["10.1.1.1", "9.9.9.9", "192.168.1.1"],
            "by address: never rest -",
        ),
        (
            "alice CONNECT a.example:443",
            &["10.1.1.1"],
            "by address: never",
        ),
        ("alice CONNECT free.example:443", &[], "never"),
        ("alice CONNECT 10.1.1.1:443", &[], "by address: never"),
        ("alice CONNECT 9.9.9.9:443", &[], "by address: rest"),
        // So does one with networks that asks.
        (
            "bob CONNECT a.lab.example:443",
            &["10.9.1.1", "10.8.1.1", "192.168.1.1", "::ffff:10.9.1.1"],
            "by address: lab - lab lab",
        ),
        (
            "alice CONNECT a.lab.example:443",
            &["10.9.1.1"],
            "by address: never",
        ),
        // An address with another one in it is both.
        (
            "bob CONNECT a.lab.example:443",
            &["64:ff9b::c0a8:101"],
            "by address: lab+nat",
        ),
        (
            "bob CONNECT a.lab.example:443",
            &["64:ff9b::808:808"],
            "by address: rest+nat",
        ),
    ] {
        assert_eq!(asks(text, resolve), expected, "{text} {resolve:?}");
    }
}

#[test]
fn a_policy_without_such_rules_asks_never() {
    let policy = policy(Guard::default(), Decision::Admit, &RULES[..2]);
    let scenario = scenario("alice CONNECT a.example:443", &["10.1.1.1"]);
    let admission = policy.admit_request(&scenario.request()).unwrap();
    assert_eq!(admission.asks(), Asks::Never);
}
