//! Rules with `upgrade`: which requests they match, and how those are sent.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::rule_text::{rule, scenario};
use crate::access::policy::*;
use crate::http::target::Scheme;

const SECRET: &str = "hunter2";

/// One rule that injects, between others.
fn policy(before: &[&str], upgraded: &str, after: &[&str]) -> Arc<Policy> {
    let field = InjectedField::new(
        HeaderName::from_static("authorization"),
        HeaderValue::from_static(SECRET),
        "github",
    );
    let mut rules: Vec<Rule> = before.iter().map(|text| rule(text)).collect();
    rules.push(Rule {
        upgrade: Some(Arc::new(Upgrade::new(vec![field]))),
        ..rule(upgraded)
    });
    rules.extend(after.iter().map(|text| rule(text)));
    let rules = Rules::new(rules, Decision::Deny, &Groups::default()).unwrap();
    let guard = Guard {
        allow_networks: Networks::parse(["127.0.0.0/8"]).unwrap(),
        ..Guard::default()
    };
    Arc::new(Policy::new(guard, rules))
}

/// What is decided about a request, as it is sent.
fn sent(policy: &Arc<Policy>, request: &str) -> String {
    let scenario = scenario(request, &[]);
    let asked = scenario.request();
    let target = policy.upgraded(&asked);
    let asked = match &target {
        Some(target) => asked.to_https(target),
        None => asked,
    };
    let scheme = asked.scheme.map_or("-", Scheme::as_str);
    match policy.admit_request(&asked) {
        Ok(admission) => {
            let injects = admission.upgrade().is_some();
            format!("{scheme} {} {injects}", admission.decided_by())
        }
        Err(denied) => format!("{scheme} denied by {}", denied.by),
    }
}

#[test]
fn requests_over_http_become_https_where_the_rule_decides() {
    let policy = policy(
        &["closed deny domains=closed.example"],
        "github admit roles=forward domains=api.example,closed.example methods=GET,TRACE",
        &["other admit domains=.example"],
    );
    for (request, expected) in [
        ("alice GET http://api.example/", "https github true"),
        ("alice GET http://api.example:80/", "https github true"),
        ("alice GET https://api.example/", "https github true"),
        ("alice GET http://api.example:443/", "https github true"),
        // Another port is another origin.
        ("alice GET https://api.example:8443/", "https other false"),
        ("alice GET http://api.example:8080/", "http other false"),
        ("alice POST http://api.example/", "http other false"),
        ("alice GET http://b.example/", "http other false"),
        ("alice GET http://closed.example/", "http denied by closed"),
        ("alice GET http://elsewhere.test/", "http denied by default"),
        // Its response would show the secret.
        ("alice TRACE https://api.example/", "https denied by github"),
        ("alice trace https://api.example/", "https denied by github"),
        // A tunnel is not read: another rule decides.
        ("alice CONNECT api.example:443", "- other false"),
    ] {
        assert_eq!(sent(&policy, request), expected, "{request}");
    }
    // Without another rule that admits it, TRACE over http is denied.
    let alone = self::policy(&[], "github admit roles=forward domains=api.example", &[]);
    let trace = sent(&alone, "alice TRACE http://api.example/");
    assert_eq!(trace, "http denied by default");
}

#[test]
fn the_ports_of_rules_are_those_of_the_request_as_it_is_sent() {
    let policy = policy(
        &["plain deny ports=80"],
        "github admit roles=forward domains=api.example ports=443",
        &[],
    );
    let decided = sent(&policy, "alice GET http://api.example/");
    assert_eq!(decided, "https github true");
    let decided = sent(&policy, "alice GET http://b.example/");
    assert_eq!(decided, "http denied by plain");
    let other = self::policy(
        &[],
        "registry admit roles=forward domains=api.example ports=5000",
        &[],
    );
    for (request, expected) in [
        ("alice GET http://api.example:5000/", "https registry true"),
        ("alice GET https://api.example:5000/", "https registry true"),
        ("alice GET http://api.example/", "http denied by default"),
    ] {
        assert_eq!(sent(&other, request), expected, "{request}");
    }
}

#[test]
fn a_rule_with_upgrade_covers_no_other() {
    let policy = policy(
        &[],
        "github admit roles=forward domains=api.example",
        &[
            "later deny domains=api.example",
            "dead deny domains=api.example",
        ],
    );
    let dead = policy.dead_rules(std::time::SystemTime::UNIX_EPOCH);
    let names: Vec<_> = dead.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names, ["dead"]);
}

#[test]
fn explain_names_the_secret_and_does_not_show_it() {
    let policy = policy(&[], "github admit roles=forward domains=api.example", &[]);
    let explained = policy.explain(&scenario("alice GET http://api.example/x", &[]));
    let (text, json) = (
        explained.to_string(),
        serde_json::to_string(&explained).unwrap(),
    );
    let line = "sent over TLS to api.example:443, with authorization from the secret github";
    assert!(text.contains(line), "{text}");
    let upgrade = r#""upgrade":{"target":"api.example:443","fields":[{"name":"authorization","secret":"github"}]}"#;
    assert!(json.contains(upgrade), "{json}");
    let debug = format!(
        "{explained:?} {:?}",
        policy.rules().iter().collect::<Vec<_>>()
    );
    for shown in [text, json, debug] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
}

/// The rule matches over https alone, and what keeps it from that is said.
#[test]
fn explain_says_why_a_request_is_not_upgraded() {
    let policy = policy(
        &[],
        "push admit roles=forward domains=api.example methods=PUT paths=/v2/team-a when=request.port == 443",
        &[],
    );
    for (request, key, value) in [
        ("alice GET http://api.example/v2/team-a/x", "methods", "GET"),
        (
            "alice PUT http://api.example/v2/team-b/x",
            "paths",
            "/v2/team-b/x",
        ),
        ("alice PUT http://api.example/v2/team-a/x", "", ""),
        (
            "alice PUT http://api.example:8443/v2/team-a/x",
            "upgrade",
            "port 8443, which `ports` does not name",
        ),
    ] {
        let explained = serde_json::to_value(policy.explain(&scenario(request, &[]))).unwrap();
        let rule = &explained["rules"][0];
        let found = (rule["matcher"].as_str(), rule["value"].as_str());
        let found = (found.0.unwrap_or_default(), found.1.unwrap_or_default());
        assert_eq!(found, (key, value), "{request}: {explained}");
    }
}
