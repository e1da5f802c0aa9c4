//! The rules, and how they and the guard share the decision.

use super::super::decision::DenyReason;
use std::sync::Arc;

use super::rule_text::{decide, policy, scenario};
use super::{domains, networks};
use crate::access::policy::*;

/// A request as in [`scenario`], the addresses of its name, and the decision.
type Row<'a> = (&'a str, &'a [&'a str], &'a str);

fn check(guard: Guard, default: Decision, rules: &[&str], rows: &[Row<'_>]) {
    let policy = policy(guard, default, rules);
    for (request, resolve, expected) in rows {
        assert_eq!(
            decide(&policy, request, resolve),
            *expected,
            "{request} {resolve:?}"
        );
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    check(
        Guard::default(),
        Decision::Deny,
        &[
            "no-bad deny domains=.bad.example",
            "ci admit groups=ci domains=.npmjs.org,bad.example",
            "ops admit groups=ops",
            "carol admit users=carol roles=forward methods=GET,HEAD",
        ],
        &[
            ("alice CONNECT registry.npmjs.org:443", &[], "+ci"),
            ("bob CONNECT registry.npmjs.org:443", &["1.1.1.1"], "+ci"),
            ("bob CONNECT bad.example:443", &[], "-no-bad"),
            ("bob CONNECT example.org:443", &[], "-default"),
            (
                "alice CONNECT example.org:443",
                &["1.1.1.1", "127.0.0.1"],
                "+ops -special_purpose:loopback",
            ),
            ("carol CONNECT example.org:443", &[], "-default"),
            ("carol GET http://example.org/", &[], "+carol"),
            ("carol get http://example.org/", &[], "+carol"),
            ("carol POST http://example.org/", &[], "-default"),
            ("carol GET /", &[], "-default"),
            ("alice GET /", &[], "+ops"),
            ("Alice CONNECT example.org:443", &[], "-default"),
            ("dave CONNECT registry.npmjs.org:443", &[], "-default"),
        ],
    );
}

#[test]
fn users_and_groups_are_one_matcher() {
    check(
        Guard::default(),
        Decision::Deny,
        &[
            "both admit users=carol groups=ops",
            "empty admit groups=empty",
        ],
        &[
            ("alice CONNECT a.example:443", &[], "+both"),
            ("carol CONNECT a.example:443", &[], "+both"),
            ("bob CONNECT a.example:443", &[], "-default"),
        ],
    );
}

#[test]
fn without_rules_the_default_decides() {
    for (default, expected) in [(Decision::Admit, "+default"), (Decision::Deny, "-default")] {
        check(
            Guard::default(),
            default,
            &[],
            &[
                ("alice CONNECT a.example:443", &[], expected),
                ("alice GET /", &[], expected),
                ("alice CONNECT 1.1.1.1:443", &[], expected),
            ],
        );
    }
}

#[test]
fn a_rule_opens_only_the_ports_and_networks_that_it_lists() {
    let rules = [
        "ssh admit groups=ops networks=10.1.0.0/16,127.0.0.1,fd00::/8 ports=22",
        "lab admit groups=ci networks=10.2.0.0/16",
        "git admit ports=9418,443 domains=.git.example",
        "no-nine deny networks=9.0.0.0/8",
    ];
    let guard = || Guard {
        deny_networks: networks(&["10.1.9.0/24"]),
        own_listeners: vec![
            "127.0.0.1:22".parse().unwrap(),
            "10.1.1.1:22".parse().unwrap(),
        ],
        ..Guard::default()
    };
    check(
        guard(),
        Decision::Admit,
        &rules,
        &[
            // Port and network are named, so both are open, but only together.
            ("alice CONNECT h.example:22", &["10.1.2.3"], "+ssh"),
            (
                "alice CONNECT h.example:22",
                &["10.2.2.3", "1.1.1.1"],
                "-connect_ports -connect_ports",
            ),
            (
                "alice CONNECT h.example:22",
                &["fd00::1", "::ffff:10.1.2.3"],
                "+ssh +ssh",
            ),
            ("alice CONNECT 10.1.2.3:22", &[], "+ssh"),
            (
                "alice CONNECT [64:ff9b::10.1.2.3]:22",
                &[],
                "-connect_ports",
            ),
            ("bob CONNECT h.example:22", &["10.1.2.3"], "-connect_ports"),
            (
                "alice CONNECT h.example:443",
                &["10.1.2.3"],
                "-special_purpose:private_use",
            ),
            // A network without a port is open at the guard's ports.
            (
                "bob CONNECT h.example:443",
                &["10.2.2.3", "10.3.2.3"],
                "+lab -special_purpose:private_use",
            ),
            (
                "bob CONNECT h.example:8443",
                &["10.2.2.3"],
                "-connect_ports",
            ),
            ("bob GET http://h.example:8443/", &["10.2.2.3"], "+lab"),
            // A port without a network opens no private address.
            (
                "bob CONNECT x.git.example:9418",
                &["1.1.1.1", "10.2.2.3", "10.3.0.1"],
                "+git -connect_ports -special_purpose:private_use",
            ),
            // The guard's own denials stay.
            (
                "alice CONNECT h.example:22",
                &["10.1.9.1"],
                "-deny_networks:10.1.9.0/24",
            ),
            ("alice CONNECT h.example:22", &["10.1.1.1"], "-own_listener"),
            // Nor does a host route lift it: that is for allow_networks.
            (
                "alice CONNECT h.example:22",
                &["127.0.0.1"],
                "-own_listener",
            ),
            (
                "alice CONNECT h.example:22",
                &["127.0.0.2"],
                "-connect_ports",
            ),
            (
                "bob CONNECT h.example:443",
                &["9.9.9.9", "64:ff9b::9.9.9.9", "8.8.8.8"],
                "-no-nine -no-nine +default",
            ),
            ("bob CONNECT 9.9.9.9:443", &[], "-no-nine"),
        ],
    );
}

#[test]
fn rules_by_network_wait_for_the_address() {
    let rules = [
        "in admit networks=10.0.0.0/8 domains=.corp.example",
        "out deny domains=.corp.example",
        "lan deny networks=10.0.0.0/9",
        "lan-too admit networks=10.0.0.0/8",
    ];
    check(
        Guard::default(),
        Decision::Deny,
        &rules,
        &[
            ("alice CONNECT a.corp.example:443", &["10.1.1.1"], "+in"),
            (
                "alice CONNECT a.corp.example:443",
                &["1.1.1.1", "10.200.1.1"],
                "-out +in",
            ),
            (
                "alice CONNECT a.example:443",
                &["10.1.1.1", "10.200.1.1", "1.1.1.1"],
                "-lan +lan-too -default",
            ),
            // No address is needed where none could be admitted.
            ("alice GET /", &[], "-default"),
            (
                "alice CONNECT a.example:22",
                &["10.200.1.1"],
                "-connect_ports",
            ),
            ("alice CONNECT 10.1.1.1:443", &[], "-lan"),
            ("alice CONNECT 10.200.1.1:443", &[], "+lan-too"),
            ("alice CONNECT 10.200.1.1:22", &[], "-connect_ports"),
            ("alice CONNECT 1.1.1.1:443", &[], "-default"),
        ],
    );
    // Networks that only deny do not make a request wait that is denied anyway.
    check(
        Guard::default(),
        Decision::Deny,
        &["lan deny networks=10.0.0.0/8", "all deny:451 users=alice"],
        &[
            ("alice CONNECT a.example:443", &["10.1.1.1"], "-all"),
            ("alice CONNECT 10.1.1.1:443", &[], "-lan"),
            ("alice CONNECT 1.1.1.1:443", &[], "-all"),
        ],
    );
}

#[test]
fn addresses_with_embedded_ones_are_evaluated_inside_and_outside() {
    check(
        Guard::default(),
        Decision::Deny,
        &[
            "no-lab deny networks=10.9.0.0/16",
            "lan admit networks=10.0.0.0/8,64:ff9b::/96",
            "public admit networks=1.0.0.0/8",
        ],
        &[
            (
                "alice CONNECT a.example:443",
                &["64:ff9b::10.1.1.1", "64:ff9b::10.9.1.1"],
                "+lan -no-lab",
            ),
            (
                "alice CONNECT a.example:443",
                &["64:ff9b::1.1.1.1", "64:ff9b::2.2.2.2"],
                "+lan -default",
            ),
            (
                "alice CONNECT a.example:443",
                &["2002:a01:101::"],
                "-default",
            ),
        ],
    );
}

#[test]
fn the_guard_on_domains_goes_before_the_rules() {
    let guard = Guard {
        allow_domains: domains(&[".example"]),
        deny_domains: domains(&["bad.example"]),
        allow_networks: networks(&["10.0.0.0/8"]),
        ..Guard::default()
    };
    check(
        guard,
        Decision::Admit,
        &["all admit users=alice", "bob deny users=bob"],
        &[
            (
                "alice CONNECT bad.example:443",
                &[],
                "-deny_domains:bad.example",
            ),
            ("alice CONNECT a.test:443", &[], "-allow_domains"),
            ("alice CONNECT 1.1.1.1:443", &[], "-allow_domains"),
            (
                "alice CONNECT a.example:443",
                &["10.1.1.1", "192.168.1.1"],
                "+all -special_purpose:private_use",
            ),
            (
                "bob CONNECT bad.example:443",
                &[],
                "-deny_domains:bad.example",
            ),
            ("bob CONNECT a.example:443", &[], "-bob"),
            (
                "carol CONNECT a.example:443",
                &["10.1.1.1"],
                "+allow_networks:10.0.0.0/8",
            ),
            // The gateway has no domain.
            ("alice GET /", &[], "+all"),
            ("bob GET /", &[], "-bob"),
        ],
    );
}

#[test]
fn a_rule_that_observes_denies_nothing() {
    check(
        Guard::default(),
        Decision::Admit,
        &[
            "uploads observe methods=POST",
            "lab observe networks=1.0.0.0/8",
            "nets admit networks=2.0.0.0/8",
            "late observe domains=.example",
            "bob deny users=bob",
            "never observe users=bob",
        ],
        &[
            (
                "alice CONNECT a.example:443",
                &["1.1.1.1"],
                "+default ?lab ?late",
            ),
            (
                "alice CONNECT a.example:443",
                &["8.8.8.8"],
                "+default ?late",
            ),
            (
                "alice CONNECT a.example:443",
                &["64:ff9b::1.1.1.1"],
                "+default ?lab ?late",
            ),
            (
                "alice POST http://a.test/",
                &["8.8.8.8"],
                "+default ?uploads",
            ),
            // Rules after the deciding one are not evaluated.
            (
                "alice POST http://a.example/",
                &["2.2.2.2"],
                "+nets ?uploads",
            ),
            ("alice CONNECT 1.1.1.1:443", &[], "+default ?lab"),
            ("alice POST /", &[], "+default ?uploads"),
            ("bob POST http://a.test/", &["8.8.8.8"], "-bob"),
        ],
    );
}

#[test]
fn an_expression_that_fails_denies() {
    let rules = [
        "watch observe when=user.groups[5] == \"x\"",
        "net admit networks=10.0.0.0/8 when=user.groups[1] == \"ops\"",
        "by-group admit roles=tunnel when=user.groups[0] == \"ci\"",
    ];
    check(
        Guard::default(),
        Decision::Admit,
        &rules,
        &[
            (
                "alice CONNECT a.example:443",
                &["1.1.1.1"],
                "+by-group ?watch",
            ),
            ("alice CONNECT a.example:443", &["10.1.1.1"], "+net ?watch"),
            // Bob has one group, so the expression of the network's rule fails: it denies the addresses in its networks.
            (
                "bob CONNECT a.example:443",
                &["10.1.1.1", "1.1.1.1"],
                "-net +by-group ?watch",
            ),
            (
                "carol CONNECT a.example:443",
                &["1.1.1.1"],
                "+default ?watch",
            ),
            ("nobody CONNECT a.example:443", &["1.1.1.1"], "-by-group"),
            (
                "nobody GET http://a.example/",
                &["1.1.1.1"],
                "+default ?watch",
            ),
        ],
    );
    let policy = policy(Guard::default(), Decision::Admit, &rules);
    let scenario = scenario("nobody CONNECT a.example:443", &[]);
    let denied = policy.admit_request(&scenario.request()).unwrap_err();
    assert_eq!(denied.failure, Some(EvaluationError::NoElement));
    assert_eq!(denied.refusal, Refusal::default());
}

#[test]
fn the_other_matchers() {
    check(
        Guard {
            connect_ports: Ports::any(),
            ..Guard::default()
        },
        Decision::Deny,
        &[
            "client admit client_networks=192.168.1.0/24 ports=1-9",
            "elsewhere admit client_networks=192.168.2.0/24",
            "day admit time=08:00-18:00 ports=10-19",
            "night admit time=18:00-08:00",
            "when admit when=request.port == 30 && client.ip == \"192.168.1.1\" && request.host == \"\"",
            "host admit when=request.host == \"8.8.8.8\" || request.host == \"2600::1\"",
            "whole admit when=user.groups[0] == \"ci\" && user.groups.size() == 2 && request.method == \"CONNECT\" && request.port == 50",
        ],
        &[
            ("alice CONNECT a.example:5", &[], "+client"),
            ("alice CONNECT a.example:15", &[], "+day"),
            ("alice CONNECT a.example:20", &[], "-default"),
            ("alice CONNECT a.example:30", &[], "-default"),
            ("alice CONNECT [::ffff:8.8.8.8]:443", &[], "+host"),
            ("alice CONNECT [2600::1]:443", &[], "+host"),
            ("alice CONNECT a.example:50", &[], "+whole"),
            ("bob CONNECT a.example:50", &[], "-default"),
        ],
    );
}

#[test]
fn a_denial_has_the_answer_of_its_rule() {
    let policy = policy(
        Guard::default(),
        Decision::Admit,
        &[
            "law deny:451 domains=.example",
            "net deny:429 networks=1.0.0.0/8",
        ],
    );
    let asked = scenario("alice CONNECT a.example:443", &[]);
    let denied = policy.admit_request(&asked.request()).unwrap_err();
    assert_eq!(
        denied.refusal.status,
        http::StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS
    );
    assert_eq!(
        denied.refusal.message.as_deref(),
        Some("ask it@example.org")
    );
    assert_eq!(denied.reason, DenyReason::HttpRequestDenied);

    let asked = scenario("alice CONNECT 1.1.1.1:443", &[]);
    let denied = policy.admit_request(&asked.request()).unwrap_err();
    assert_eq!(denied.refusal.status, http::StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(denied.reason, DenyReason::DestinationIpProhibited);
}

#[test]
fn an_admission_keeps_its_policy() {
    let old = policy(
        Guard::default(),
        Decision::Admit,
        &["net admit networks=10.0.0.0/8"],
    );
    let asked = scenario("alice CONNECT a.example:443", &[]);
    let admission = old.admit_request(&asked.request()).unwrap();
    drop(old);
    let address = "10.1.1.1:443".parse().unwrap();
    let by = admission.admit_address(address).unwrap();
    assert_eq!(by.to_string(), "net");
}

#[test]
fn own_addresses_are_added() {
    let guard = Guard {
        own_listeners: vec!["0.0.0.0:443".parse().unwrap()],
        ..Guard::default()
    };
    let policy = policy(guard, Decision::Admit, &["net admit networks=10.0.0.0/8"]);
    let here = Arc::new(policy.with_own_addresses(["::ffff:10.1.1.1".parse().unwrap()]));
    let asked = "alice CONNECT a.example:443";
    assert_eq!(decide(&policy, asked, &["10.1.1.1"]), "+net");
    assert_eq!(
        decide(&here, asked, &["10.1.1.1", "10.1.1.2"]),
        "-own_listener +net"
    );
}
