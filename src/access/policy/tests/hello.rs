//! The terms of tunnels: which are judged, by what, and how.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::rule_text::{groups, rule, scenario};
use crate::access::policy::*;
use crate::hello::Hello;

fn terms(rule: Option<&str>, sni: SniDemand, when: Option<&str>) -> HelloTerms {
    let asks = sni != SniDemand::Off || when.is_some();
    HelloTerms {
        sni,
        non_tls: !asks,
        ech: true,
        peek: false,
        when: when.map(|when| Expression::parse(when).unwrap()),
        timeout: Duration::from_secs(1),
        rule: rule.map(|rule| Name::parse(rule).unwrap()),
    }
}

fn hello(sni: Option<&str>) -> Hello {
    Hello {
        sni: sni.map(Into::into),
        alpn: vec!["h2".into(), "http/1.1".into()],
        ja4: "t13d1516h2_8daaf6152771_e5627efa2ab1".into(),
        ech: false,
    }
}

/// One rule with terms of its own, one without, and one by the address.
fn policy(of_all: HelloTerms, when: &str) -> Arc<Policy> {
    let of_rule = |name, text: &str, terms: HelloTerms| Rule {
        tunnel: Some(Arc::new(HelloTerms {
            rule: Some(Name::parse(name).unwrap()),
            ..terms
        })),
        ..rule(text)
    };
    let rules = vec![
        of_rule(
            "lan",
            "lan admit networks=10.0.0.0/8",
            terms(None, SniDemand::Present, None),
        ),
        of_rule(
            "own",
            "own admit domains=.own.example",
            terms(None, SniDemand::Off, Some(when)),
        ),
        rule("rest admit domains=.example"),
    ];
    let rules = Rules::new(rules, Decision::Deny, &groups()).unwrap();
    Arc::new(Policy::new(Guard::default(), rules).with_tunnel_terms(of_all))
}

/// What is decided about a tunnel and the first bytes in it.
fn decided(policy: &Policy, target: &str, resolve: &[&str], hello: Hello) -> String {
    let mut scenario = scenario(&format!("alice CONNECT {target}"), resolve);
    scenario.hello = Some(hello);
    match policy.evaluate_scenario(&scenario).result {
        Ok(by) => format!("admit {by}"),
        Err(denied) => format!("{} {}", denied.reason.kind(), denied.by),
    }
}

#[test]
fn the_terms_are_those_of_the_rule_that_admits() {
    let when = "tls.sni == \"a.own.example\" && tls.alpn.exists(p, p == \"http/1.1\") && tls.alpn[0] == \"h2\" && !tls.ech \
                && tls.ja4.startsWith(\"t13d\") && \"ops\" in user.groups && request.port == 443";
    let policy = policy(terms(None, SniDemand::Match, None), when);
    for (target, resolve, sni, expected) in [
        ("a.example:443", "1.1.1.1", Some("a.example"), "admit rest"),
        (
            "A.Example.:443",
            "1.1.1.1",
            Some("a.EXAMPLE."),
            "admit rest",
        ),
        (
            "a.example:443",
            "1.1.1.1",
            Some("b.example"),
            "sni_mismatch tunnel_hello",
        ),
        (
            "a.example:443",
            "1.1.1.1",
            Some("a.example.."),
            "sni_mismatch tunnel_hello",
        ),
        (
            "a.example:443",
            "1.1.1.1",
            Some("1.1.1.1"),
            "sni_mismatch tunnel_hello",
        ),
        ("a.example:443", "1.1.1.1", None, "sni_missing tunnel_hello"),
        (
            "a.own.example:443",
            "1.1.1.1",
            Some("A.own.example"),
            "admit own",
        ),
        (
            "a.own.example:443",
            "1.1.1.1",
            Some("b.example"),
            "http_request_denied own",
        ),
        (
            "a.own.example:443",
            "10.0.0.1",
            Some("b.example"),
            "admit lan",
        ),
        ("a.own.example:443", "10.0.0.1", None, "sni_missing lan"),
        // What the request is denied for is no matter of the hello.
        (
            "a.test:443",
            "1.1.1.1",
            Some("a.test"),
            "destination_ip_prohibited default",
        ),
        (
            "a.example:22",
            "1.1.1.1",
            Some("a.example"),
            "http_request_denied connect_ports",
        ),
        ("10.0.0.7:443", "10.0.0.7", Some("x.example"), "admit lan"),
    ] {
        let found = decided(&policy, target, &[resolve], hello(sni));
        assert_eq!(found, expected, "{target} {sni:?}");
    }
}

#[test]
fn an_expression_that_fails_denies() {
    let policy = policy(
        terms(None, SniDemand::Off, None),
        "user.groups[9] == tls.sni",
    );
    let found = decided(&policy, "a.own.example:443", &["1.1.1.1"], hello(None));
    assert_eq!(found, "http_request_denied own");
}

#[test]
fn targets_that_are_addresses() {
    let rules = vec![rule("all admit")];
    let rules = Rules::new(rules, Decision::Deny, &groups()).unwrap();
    let of_all = terms(None, SniDemand::Match, None);
    let policy = Policy::new(Guard::default(), rules).with_tunnel_terms(of_all);
    for (target, sni, expected) in [
        ("1.1.1.1:443", None, "admit all"),
        ("1.1.1.1:443", Some("1.1.1.1"), "admit all"),
        ("1.1.1.1:443", Some("1.1.1.2"), "sni_mismatch tunnel_hello"),
        (
            "1.1.1.1:443",
            Some("one.example"),
            "sni_mismatch tunnel_hello",
        ),
        ("[2606:4700::1]:443", Some("2606:4700:0::1"), "admit all"),
        ("[2606:4700::1]:443", None, "admit all"),
    ] {
        let found = decided(&policy, target, &[], hello(sni));
        assert_eq!(found, expected, "{target} {sni:?}");
    }
}

#[test]
fn what_is_no_hello_is_refused_where_something_is_asked() {
    let request = scenario("alice CONNECT a.example:443", &[]);
    let refused = |terms: &HelloTerms, opening| {
        let judged = terms.admit(None, &request.request(), opening);
        judged.err().map(|denied| denied.reason.kind())
    };
    let nothing = terms(None, SniDemand::Off, None);
    let peek = HelloTerms {
        peek: true,
        ..terms(None, SniDemand::Off, None)
    };
    let no_ech = HelloTerms {
        ech: false,
        ..terms(None, SniDemand::Off, None)
    };
    let tls_alone = HelloTerms {
        non_tls: false,
        ..terms(None, SniDemand::Off, None)
    };
    let any = HelloTerms {
        non_tls: true,
        ..terms(None, SniDemand::Match, None)
    };
    let ech = Hello {
        ech: true,
        ..hello(Some("a.example"))
    };
    for (terms, reads, not_tls, unreadable, late, with_ech) in [
        (&nothing, false, None, None, None, None),
        (&peek, true, None, None, None, None),
        (
            &no_ech,
            true,
            None,
            Some("hello_unreadable"),
            Some("hello_timeout"),
            Some("ech_denied"),
        ),
        (
            &tls_alone,
            true,
            Some("not_tls"),
            Some("hello_unreadable"),
            Some("hello_timeout"),
            None,
        ),
        (
            &any,
            true,
            None,
            Some("hello_unreadable"),
            Some("hello_timeout"),
            None,
        ),
    ] {
        assert_eq!(terms.reads(), reads, "{terms:?}");
        assert_eq!(refused(terms, Opening::NotTls), not_tls, "{terms:?}");
        assert_eq!(refused(terms, Opening::Unreadable), unreadable, "{terms:?}");
        assert_eq!(refused(terms, Opening::Late), late, "{terms:?}");
        assert_eq!(refused(terms, Opening::Hello(&ech)), with_ech, "{terms:?}");
    }
}

#[test]
fn tunnels_alone_have_terms_and_only_where_something_is_asked() {
    let reading = |policy: &Arc<Policy>, request: &str| {
        let scenario = scenario(request, &[]);
        let admission = policy.admit_request(&scenario.request()).unwrap();
        admission.tunnel_terms(None).is_some()
    };
    let asks = policy(terms(None, SniDemand::Match, None), "true");
    assert!(reading(&asks, "alice CONNECT a.example:443"));
    let rule_alone = policy(terms(None, SniDemand::Off, None), "true");
    assert!(!reading(&rule_alone, "alice CONNECT a.example:443"));
    assert!(reading(&rule_alone, "alice CONNECT a.own.example:443"));
    let none = super::guarded(Guard::default());
    assert!(!reading(&none, "alice CONNECT a.example:443"));
    // The terms of a request to forward are never looked at.
    let forward = scenario("alice GET http://a.example/", &["1.1.1.1"]);
    assert!(asks.evaluate_scenario(&forward).terms.is_none());
}

#[test]
fn explained() {
    let policy = policy(terms(None, SniDemand::Match, None), "tls.ech");
    let mut scenario = scenario("alice CONNECT a.example:443", &["1.1.1.1"]);
    let text = policy.explain(&scenario).to_string();
    let expected = "the ClientHello in the tunnel: sni match, non_tls deny, ech admit; it is not judged here: give one with --sni";
    assert!(
        text.starts_with("admit, by rest") && text.contains(expected),
        "{text}"
    );
    scenario.hello = Some(hello(Some("b.example")));
    let text = policy.explain(&scenario).to_string();
    assert!(
        text.starts_with("deny, by tunnel_hello (403, sni_mismatch)"),
        "{text}"
    );
    assert!(!text.contains("--sni"), "{text}");
    let json = serde_json::to_value(policy.explain(&scenario)).unwrap();
    assert_eq!(json["tunnel"]["sni"], "match", "{json}");
}

proptest! {
    /// `match` admits a name if and only if the policy takes it for the host of the target.
    #[test]
    fn a_name_matches_as_the_policy_reads_it(
        host in "[a-zA-Z][a-z0-9-]{0,5}[a-z]([.][a-z]{1,4}){0,2}[.]?",
        sni in "[a-zA-Z][a-z0-9-]{0,5}[a-z]([.][a-z]{1,4}){0,2}[.]?",
        same: bool,
    ) {
        let sni = if same { host.to_ascii_uppercase() } else { sni };
        let policy = policy(terms(None, SniDemand::Match, None), "true");
        let of = |name: &str| format!("{name}.example:443").replace("..", ".").parse::<Authority>();
        let name = format!("{sni}.example").replace("..", ".");
        let target = of(&host).unwrap();
        let found = decided(&policy, &target.to_string(), &["1.1.1.1"], hello(Some(&name)));
        let is_same = of(&sni).unwrap() == target;
        prop_assert_eq!(found == "admit rest", is_same, "{}", found);
    }
}
