//! Rules with `paths`, expressions with facts of the head, and what of both no spelling evades.

use std::sync::Arc;

use allocation_counter::measure;
use proptest::prelude::*;

use super::rule_text::{decide, policy, scenario};
use crate::access::policy::*;
use crate::http::path::{Prefix, ReadPath};

/// Spellings that some server reads as a path below `/v2/team-a`, and another one not.
const AMBIGUOUS: &[&str] = &[
    "/v2/team-b/..%2fteam-a/x",
    "/v2/team-a/..%2fteam-b/x",
    "/v2/team-a/..\\team-b",
    "/v2/team-a/..;/team-b",
    "/v2/team-a;x/y",
    "/v2/team-a%2fx",
    "/v2/team-a/..%5cteam-b",
    "//v2/team-a/x",
    "/v2//team-a/x",
    "/v2/TEAM-A/x",
    "/V2/%54eam-a",
    "/x/v2/..//team-a/../../v2/team-a",
];
/// Spellings that every server reads as a path below it.
const INSIDE: &[&str] = &[
    "/v2/team-a",
    "/v2/team-a/",
    "/v2/team-a/x?y=/../..",
    "/v2/team%2Da/x",
    "/v2/team-b/%2e%2e/team-a/x",
    "/v2/./team-a/x//y",
];
/// Spellings of other paths.
const OUTSIDE: &[&str] = &[
    "/",
    "/v2/team-ab",
    "/v2/team-b/x?/v2/team-a",
    "/v2/team-a/../team-b",
    "/v2/team-a/%2e%2E/team-b",
    "/v2/%2574eam-a",
];

fn with_rules(default: Decision, rules: &[&str]) -> Arc<Policy> {
    policy(Guard::default(), default, rules)
}

/// What decides about a GET of this path, to forward and at the gateway.
fn decided(policy: &Arc<Policy>, path: &str) -> String {
    let forward = decide(policy, &format!("alice GET http://a.example{path}"), &[]);
    let gateway = decide(policy, &format!("alice GET {path}"), &[]);
    assert_eq!(forward, gateway, "{path}");
    forward
}

#[test]
fn no_spelling_evades_a_rule() {
    let admits = with_rules(Decision::Deny, &["a admit paths=/v2/team-a,/health"]);
    let denies = with_rules(Decision::Admit, &["d deny paths=/v2/team-a,/health"]);
    let observes = with_rules(Decision::Admit, &["o observe paths=/v2/team-a,/health"]);
    for (paths, expected) in [
        (INSIDE, ["+a", "-d", "+default ?o"]),
        (AMBIGUOUS, ["-default", "-d", "+default ?o"]),
        (OUTSIDE, ["-default", "+default", "+default"]),
    ] {
        for path in paths {
            let found = [&admits, &denies, &observes].map(|policy| decided(policy, path));
            assert_eq!(found, expected, "{path}");
        }
    }
    let long = format!("/v2/x;{}", "y".repeat(4096));
    assert_eq!(decided(&admits, &long), "-default");
    assert_eq!(decided(&denies, &long), "-d");
}

#[test]
fn requests_without_a_path() {
    let rules = [
        "a admit paths=/ users=alice",
        "d deny paths=/ users=bob",
        "rest admit",
    ];
    let policy = with_rules(Decision::Deny, &rules);
    for (text, expected) in [
        ("alice GET http://a.example", "+a"),
        ("bob GET http://a.example", "-d"),
        ("alice CONNECT a.example:443", "+rest"),
        ("bob CONNECT a.example:443", "+rest"),
        ("alice OPTIONS *", "+rest"),
        ("bob OPTIONS *", "+rest"),
        ("bob OPTIONS /x", "-d"),
    ] {
        assert_eq!(decide(&policy, text, &[]), expected, "{text}");
    }
    assert!(policy.needs_head());
    assert!(!with_rules(Decision::Deny, &["c admit when=claim('a') == ''"]).needs_head());
    for when in ["field('a') == ''", "request.query == ''", "path_under('/')"] {
        let policy = with_rules(Decision::Deny, &[&format!("c admit when={when}")]);
        assert!(policy.needs_head(), "{when}");
    }
}

/// A rule is never skipped because the head is missing.
#[test]
fn without_the_head_rules_are_strict() {
    for (rule, expected) in [
        ("r admit paths=/", "denied by default"),
        ("r deny paths=/x", "denied by r"),
        ("r admit when=request.path == ''", "denied by r"),
        ("r admit when=request.query == ''", "denied by r"),
        ("r admit when=field('a') == ''", "denied by r"),
        ("r admit when=!path_under('/x')", "denied by r"),
    ] {
        let policy = with_rules(Decision::Deny, &[rule]);
        let scenario = scenario("alice GET http://a.example/", &[]);
        let request = Request {
            head: None,
            ..scenario.request()
        };
        let denied = policy.admit_request(&request).unwrap_err();
        assert_eq!(denied.to_string(), expected, "{rule}");
    }
}

/// The decision about a request with these fields, or why its expression fails.
fn with_fields(when: &str, text: &str, fields: &[(&str, &str)]) -> String {
    let policy = with_rules(Decision::Deny, &[&format!("r admit when={when}")]);
    let scenario = scenario(text, &[]).with_fields(fields).unwrap();
    match policy.admit_request(&scenario.request()) {
        Ok(_) => "true".to_owned(),
        Err(Denied {
            failure: Some(error),
            ..
        }) => error.to_string(),
        Err(_) => "false".to_owned(),
    }
}

#[test]
fn facts_of_the_head() {
    let get = "alice GET http://a.example/a%20b/c?d=e?f";
    let long = "x".repeat(2048);
    let half = "x".repeat(1023);
    let too_long = "x".repeat(2049);
    for (when, fields, expected) in [
        ("request.path == '/a%20b/c'", &[][..], "true"),
        ("request.query == 'd=e?f'", &[], "true"),
        ("path_under('/') && !path_under('/a')", &[], "true"),
        ("field('x-a') == ''", &[("X-B", "1")], "true"),
        ("field('X-a') == '1'", &[("x-A", " 1 ")], "true"),
        (
            "field('x-a') == '1, 2'",
            &[("x-a", "1"), ("X-A", "2")],
            "true",
        ),
        (
            "field('x-a') == '1, , 2'",
            &[("x-a", "1"), ("b", ""), ("x-a", ""), ("x-a", "2")],
            "true",
        ),
        (
            "field('host') == 'a.example'",
            &[("Host", "b.example")],
            "true",
        ),
        ("size(field('x-a')) == 2048", &[("x-a", &long)], "true"),
        (
            "size(field('x-a')) == 2048",
            &[("x-a", &half), ("x-a", &half)],
            "true",
        ),
        (
            "field('x-a') == ''",
            &[("x-a", &too_long)],
            "a field that it reads is longer than 2048 bytes",
        ),
        (
            "request.port == 80 || field('x-a') == ''",
            &[("x-a", &long), ("x-a", "")],
            "a field that it reads is longer than 2048 bytes",
        ),
        ("request.port == 80", &[("x-a", &too_long)], "true"),
        (
            "field('authorization') == 'Bearer t'",
            &[("Authorization", "Bearer t")],
            "true",
        ),
    ] {
        assert_eq!(with_fields(when, get, fields), expected, "{when}");
    }
    for (when, text, expected) in [
        (
            "request.path == '' && request.query == ''",
            "alice CONNECT a.example:443",
            "true",
        ),
        ("path_under('/')", "alice CONNECT a.example:443", "false"),
        (
            "field('user-agent') == 'a'",
            "alice CONNECT a.example:443",
            "true",
        ),
        (
            "request.path == '/' && request.query == ''",
            "alice GET http://a.example",
            "true",
        ),
        (
            "request.path == '/' && request.query == 'q'",
            "alice GET http://a.example?q",
            "true",
        ),
        ("request.path == ''", "alice OPTIONS *", "true"),
        // Where servers differ, the call fails, also behind a `!`.
        (
            "!path_under('/v2/team-a')",
            "alice GET /v2/team-a/..%2fteam-b",
            "servers may read the path in several ways, and only some of them are below that of path_under",
        ),
        ("request.path == '/'", "alice GET /\u{e4}", "false"),
    ] {
        let fields = [("User-Agent", "a")];
        assert_eq!(with_fields(when, text, &fields), expected, "{when}");
    }
    let path = format!("alice GET /{too_long}");
    let expected = "request.path is longer than 2048 bytes";
    assert_eq!(with_fields("request.path != ''", &path, &[]), expected);
    let query = format!("alice GET /?{too_long}");
    let expected = "request.query is longer than 2048 bytes";
    assert_eq!(with_fields("request.query != ''", &query, &[]), expected);
}

#[test]
fn credentials_are_not_visible() {
    let fields = [("Authorization", "Basic YTpi")];
    let when = "field('authorization') == ''";
    assert_eq!(with_fields(when, "alice GET /x", &fields), "true");
    // A token of the origin's is what the origin authenticates with.
    assert_eq!(
        with_fields(when, "alice GET http://a.example/", &fields),
        "false"
    );
}

#[test]
fn claims() {
    let claims = |text: &str| {
        vec![
            ("repository".into(), Box::from(text)),
            ("x".into(), "y".into()),
        ]
    };
    let long = "x".repeat(257);
    for (when, text, expected) in [
        ("claim('repository') == 'org/a'", "org/a", Some("default")),
        ("claim('Repository') == ''", "org/a", Some("default")),
        (
            "claim('none') == '' && claim('x') == 'y'",
            &long,
            Some("default"),
        ),
        ("claim('repository') == ''", &long, None),
        ("path_under('/' + claim('x'))", "", None),
    ] {
        let Ok(when) = Expression::parse(when) else {
            assert_eq!(expected, None, "{when}");
            continue;
        };
        let policy = with_rules(Decision::Admit, &[&format!("r deny when=!({when})")]);
        let mut scenario = scenario("alice GET /", &[]);
        scenario.claims = claims(text);
        let admitted = policy.admit_request(&scenario.request()).ok();
        let by = admitted.map(|admission| admission.decided_by().to_string());
        assert_eq!(by.as_deref(), expected, "{when}");
    }
}

#[test]
fn plain_paths_do_not_allocate() {
    let rules = [
        "no deny paths=/admin,/v2/secret roles=forward,gateway",
        "watch observe paths=/v2",
        "team-a admit paths=/v2/team-a groups=ci",
    ];
    let policy = with_rules(Decision::Deny, &rules);
    for text in [
        "alice GET http://a.example/v2/team-a/manifests/latest?x=%2f",
        "alice GET /v2/team-a",
    ] {
        let scenario = scenario(text, &[]);
        let request = scenario.request();
        let counted = measure(|| assert!(policy.admit_request(&request).is_ok()));
        assert_eq!(counted.count_total, 0, "{text}: {counted:?}");
    }
}

#[test]
fn heads_that_no_client_can_send() {
    for fields in [
        [("a b", "1")],
        [("a", "1\r\nb: 2")],
        [("a\nb", "1")],
        [("a:b", "1")],
        [("content-length", "x")],
        [("", "1")],
    ] {
        let scenario = scenario("alice GET http://a.example/", &[]);
        assert!(scenario.with_fields(&fields).is_err(), "{fields:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A rule that admits matches only where every reading is below its paths, any other one where one is.
    #[test]
    fn rules_agree_with_every_reading(path in r"/(v2|a|[.]{1,2}|%2e|%2E[.]|;|%3b|\\|%5[cC]|%2[fF]|/|%61|%|x){0,9}") {
        let prefixes = ["/v2/a", "/a"].map(|text| Prefix::parse(text).unwrap());
        let below: Vec<bool> = ReadPath::readings(path.as_bytes())
            .map(|path| prefixes.iter().any(|prefix| prefix.holds(&path)))
            .collect();
        let text = format!("alice GET http://a.example{path}");
        let admits = with_rules(Decision::Deny, &["a admit paths=/v2/a,/a"]);
        let denies = with_rules(Decision::Admit, &["d deny paths=/v2/a,/a"]);
        let every = below.iter().all(|below| *below);
        let any = below.contains(&true);
        prop_assert_eq!(decide(&admits, &text, &[]), if every { "+a" } else { "-default" });
        prop_assert_eq!(decide(&denies, &text, &[]), if any { "-d" } else { "+default" });
        // The call of expressions is stricter: each prefix alone, and no answer where the readings differ.
        let under = with_rules(Decision::Admit, &["d deny when=path_under('/a')"]);
        let spared = decide(&under, &text, &[]) == "+default";
        let in_a = ReadPath::readings(path.as_bytes()).any(|path| prefixes[1].holds(&path));
        prop_assert_eq!(spared, !in_a);
    }
}
