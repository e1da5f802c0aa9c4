//! `tollgate explain` of what clients ask for in several ways: the decision on each, and the exit status of the usual
//! one.

use serde_json::Value;

use super::explain::{explain, explain_json, names, setup};
use crate::support::port::Port;
use crate::support::proxy::Setup;
use crate::support::request::{ALICE, request_of};

const EX_USAGE: Option<i32> = Some(64);

/// The decision on each way, `ROLE METHOD TARGET DECISION RULE`, the usual way first.
fn ways(value: &Value) -> Vec<String> {
    let word = |way: &Value, key: &str| way[key].as_str().unwrap_or("-").to_owned();
    let ways = value["ways"].as_array().unwrap().iter();
    ways.map(|way| {
        ["role", "method", "target", "decision", "rule"]
            .map(|key| word(way, key))
            .join(" ")
    })
    .collect()
}

/// A URL is asked for in two ways, which the ports of the guard and the roles of rules tell apart.
#[test]
fn each_way_to_ask_is_answered() {
    let setup = Setup::new()
        .config("egress: { connect_ports: [443], http_ports: [80, 8443] }")
        .config("policy: { rules: [{ name: no-posts, action: deny, roles: [forward], methods: [POST] }, { name: lab, action: deny, roles: [tunnel], domains: [lab.test] }] }");
    let table: &[(&str, i32, &[&str])] = &[
        (
            "https://a.test:8443/x",
            1,
            &[
                "tunnel CONNECT a.test:8443 deny connect_ports",
                "forward GET a.test:8443 admit default",
            ],
        ),
        (
            "https://A.test./",
            0,
            &[
                "tunnel CONNECT a.test:443 admit default",
                "forward GET a.test:443 deny http_ports",
            ],
        ),
        (
            "https://lab.test:8443/",
            1,
            &[
                "tunnel CONNECT lab.test:8443 deny lab",
                "forward GET lab.test:8443 admit default",
            ],
        ),
        (
            "--method POST https://a.test/",
            0,
            &[
                "tunnel CONNECT a.test:443 admit default",
                "forward POST a.test:443 deny no-posts",
            ],
        ),
        (
            "--method CONNECT https://a.test/",
            0,
            &["tunnel CONNECT a.test:443 admit default"],
        ),
        (
            "http://a.test/",
            0,
            &[
                "forward GET a.test:80 admit default",
                "tunnel CONNECT a.test:80 deny connect_ports",
            ],
        ),
        (
            "--method POST http://a.test/",
            1,
            &[
                "forward POST a.test:80 deny no-posts",
                "tunnel CONNECT a.test:80 deny connect_ports",
            ],
        ),
        (
            "wss://a.test/chat",
            0,
            &[
                "tunnel CONNECT a.test:443 admit default",
                "forward GET a.test:443 deny http_ports",
            ],
        ),
        (
            "ws://a.test/chat",
            1,
            &[
                "tunnel CONNECT a.test:80 deny connect_ports",
                "forward GET a.test:80 admit default",
            ],
        ),
        (
            "https://[2606:4700::1]:8443/",
            1,
            &[
                "tunnel CONNECT [2606:4700::1]:8443 deny connect_ports",
                "forward GET [2606:4700::1]:8443 admit default",
            ],
        ),
        (
            "https://b\u{fc}cher.test/",
            0,
            &[
                "tunnel CONNECT xn--bcher-kva.test:443 admit default",
                "forward GET xn--bcher-kva.test:443 deny http_ports",
            ],
        ),
        (
            "a.test:8443",
            1,
            &["tunnel CONNECT a.test:8443 deny connect_ports"],
        ),
        ("/status", 0, &["gateway GET /status admit default"]),
        ("*", 0, &["gateway OPTIONS * admit default"]),
    ];
    for (target, code, expected) in table {
        let arguments = match target.rsplit_once(' ') {
            Some((method, target)) => format!("{method} --target {target}"),
            None => format!("--target {target}"),
        };
        let resolve = if target.contains(".test") {
            " --resolve 9.9.9.9"
        } else {
            ""
        };
        let arguments = format!("--user alice {arguments}{resolve}");
        let (outcome, value) = explain_json(&setup, &arguments);
        assert_eq!(ways(&value), *expected, "{arguments}: {value:#}");
        assert_eq!(outcome.code(), Some(*code), "{arguments}");
        // What was there before there were several ways is that of the usual one.
        for (key, of_usual) in value["ways"][0].as_object().unwrap() {
            if key != "sent_by" {
                assert_eq!(&value[key], of_usual, "{arguments}: {key}");
            }
        }
        // The text has each decision, with the request that it is for.
        let outcome = explain(&setup, &arguments);
        assert_eq!(outcome.code(), Some(*code), "{arguments}");
        for way in *expected {
            let words: Vec<&str> = way.split(' ').collect();
            let [role, method, target, decision, rule] = words[..] else {
                panic!("{way}")
            };
            assert!(
                outcome.stdout.contains(&format!("{decision}, by {rule}")),
                "{way}: {}",
                outcome.stdout
            );
            let request = format!("{method} {target} ({role})");
            assert!(
                outcome.stdout.contains(&request),
                "{way}: {}",
                outcome.stdout
            );
        }
    }
}

/// What each way is said to get is what it gets.
#[test]
fn running_proxy_decides_each_way_as_explained() {
    let dns = names();
    // Not listened on: what is admitted ends at once, with 502.
    let port = Port::reserve();
    let closed = port.address.port();
    let proxy = setup(&dns, 1).start();
    let url = format!("https://alice.test:{closed}/");
    let (outcome, value) = explain_json(&proxy.setup, &format!("--user alice --target {url}"));
    assert_eq!(outcome.code(), Some(1), "{value:#}");
    let decisions: Vec<&Value> = value["ways"]
        .as_array()
        .unwrap()
        .iter()
        .map(|way| &way["decision"])
        .collect();
    assert_eq!(decisions, ["deny", "admit"], "{value:#}");
    for (way, target) in value["ways"]
        .as_array()
        .unwrap()
        .iter()
        .zip([format!("alice.test:{closed}"), url.clone()])
    {
        let method = way["method"].as_str().unwrap();
        let (answer, record) = proxy.ask(request_of(ALICE, method, &target));
        assert_eq!(
            (&record["role"], &record["rule"]),
            (&way["role"], &way["rule"]),
            "{record:#}"
        );
        assert_eq!(
            answer.status() == 403,
            way["decision"] == "deny",
            "{record:#}"
        );
    }
}

#[test]
fn targets_that_cannot_be_read_have_a_remedy() {
    let setup = Setup::new();
    for (target, words) in [
        (
            "example.org",
            &["missing port", "example.org:443", "https://example.org/"][..],
        ),
        (
            "https://bob:hunter2@example.org/",
            &["user information", "before the @"],
        ),
        ("https://example.org/#top", &["fragment", "leave out the #"]),
        ("ftp://example.org/", &["http://", "wss://"]),
        ("2001:db8::1:443", &["brackets", "[2001:db8::1]:443"]),
        (
            "https:/example.org/",
            &["write example.org:443 alone", "https://example.org/path"],
        ),
    ] {
        let outcome = explain(&setup, &format!("--user alice --target {target}"));
        assert_eq!(outcome.code(), EX_USAGE, "{}", outcome.output());
        for word in words {
            assert!(outcome.stderr.contains(word), "{word}: {}", outcome.stderr);
        }
        assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
    }
    let outcome = explain(&setup, "--user alice --target /x --resolve 9.9.9.9");
    assert!(
        outcome.stderr.contains("note: --resolve has no effect"),
        "{}",
        outcome.stderr
    );
}
