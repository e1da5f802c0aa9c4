//! A rule that is said never to apply decides on no request, and is noted for none: rules and requests are
//! generated.

use std::time::SystemTime;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::access::policy::tests::agreement::{ADDRESSES, HOSTS, USERS, row, walls};
use crate::access::policy::tests::rule_text::{policy, scenario};
use crate::access::policy::tests::{domains, networks};
use crate::access::policy::*;

/// A request: user, host, port, method or `gateway`, path, addresses, client and time.
type RequestParts = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Vec<&'static str>,
    &'static str,
    &'static str,
);

fn requests() -> impl Strategy<Value = Vec<RequestParts>> {
    let request = (
        select(USERS),
        prop_oneof![select(HOSTS), select(ADDRESSES)],
        select(vec!["22", "443", "85", "90"]),
        select(vec!["CONNECT", "GET", "POST", "gateway"]),
        select(vec!["/", "/v2/a/x", "/v2/..%2fb", "/b;/v2", "//v2/a", "/c"]),
        subsequence(ADDRESSES.to_vec(), 0..4),
        select(vec!["192.168.1.1", "172.16.1.1", "9.9.9.9"]),
        select(vec![
            "2026-11-24T12:00:00Z",
            "2026-11-24T22:00:00Z",
            "2026-11-24T08:00:00Z",
        ]),
    );
    prop::collection::vec(request, 30)
}

/// Rules with one or two coarse matchers each, so that they often cover each other together.
fn coarse_rules() -> impl Strategy<Value = Vec<String>> {
    let matchers = vec![
        "roles=tunnel",
        "roles=forward",
        "roles=gateway",
        "methods=GET",
        "methods=CONNECT,POST",
        "users=alice,bob",
        "users=alice",
        "groups=ci",
        "ports=1-443",
        "ports=444-65535",
        "ports=443",
        "networks=10.0.0.0/8",
        "networks=0.0.0.0/0",
        "networks=::/0",
        "client_networks=0.0.0.0/1",
        "client_networks=128.0.0.0/1,::/0",
        "domains=.example",
        "domains=a.example,.test",
        "time=08:00-18:00",
        "time=18:00-08:00",
        "paths=/v2",
        "paths=/v2/a,/b",
        "paths=/",
        "when=request.port == 443",
        "when=path_under('/v2')",
    ];
    let rule = (
        select(vec!["admit", "deny", "deny", "observe"]),
        subsequence(matchers, 1..=2),
    );
    prop::collection::vec(rule, 3..12).prop_map(|rules| {
        let text = |(index, (action, matchers)): (usize, (&str, Vec<&str>))| {
            let mut keys: Vec<&str> = Vec::new();
            let mut text = format!("r{index} {action}");
            for matcher in matchers {
                let key = matcher.split('=').next().unwrap();
                let of_authority = ["ports", "networks", "domains"].contains(&key);
                let clashes = (matcher == "roles=gateway" || of_authority || key == "methods")
                    && (keys.contains(&"roles") || matcher == "roles=gateway" && !keys.is_empty());
                if !keys.contains(&key) && !clashes {
                    text += &format!(" {matcher}");
                    keys.push(key);
                }
            }
            text
        };
        rules.into_iter().enumerate().map(text).collect()
    })
}

/// Fails when a rule that is said to be dead decides on a request, or is noted.
fn check(policy: &Policy, requests: &[RequestParts]) -> Result<(), TestCaseError> {
    let dead = policy.dead_rules(SystemTime::UNIX_EPOCH);
    for (user, host, port, method, path, resolve, client, time) in requests {
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            (*host).to_owned()
        };
        let text = match *method {
            "CONNECT" => format!("{user} CONNECT {host}:{port}"),
            "gateway" => format!("{user} GET {path}"),
            _ => format!("{user} {method} http://{host}:{port}{path}"),
        };
        let mut scenario = scenario(&text, resolve);
        scenario.client = client.parse().unwrap();
        scenario.time = Moment::parse(time).unwrap();
        let explained = policy.explain(&scenario);
        let mut deciders = vec![&explained.rule];
        deciders.extend(explained.addresses.iter().map(|judged| &judged.rule));
        deciders.extend(&explained.observed);
        for rule in &dead {
            let name = rule.name.to_string();
            prop_assert!(!deciders.contains(&&name), "{text}: {rule}\n{explained}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn reports_are_true(
        rows in prop::collection::vec(row(), 2..9),
        walls in walls(),
        deny_by_default: bool,
        requests in requests(),
    ) {
        let default = if deny_by_default { Decision::Deny } else { Decision::Admit };
        let lines: Vec<String> = rows.iter().enumerate().map(|(index, row)| row.text(index)).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let guard = Guard {
            allow_networks: networks(&walls.allow_networks),
            deny_networks: networks(&walls.deny_networks),
            allow_domains: domains(&walls.allow_domains),
            deny_domains: domains(&walls.deny_domains),
            ..Guard::default()
        };
        check(&policy(guard, default, &lines), &requests)?;
    }

    #[test]
    fn reports_about_several_rules_are_true(
        rules in coarse_rules(),
        deny_by_default: bool,
        requests in requests(),
    ) {
        let default = if deny_by_default { Decision::Deny } else { Decision::Admit };
        let lines: Vec<&str> = rules.iter().map(String::as_str).collect();
        let guard = Guard { connect_ports: Ports::any(), ..Guard::default() };
        check(&policy(guard, default, &lines), &requests)?;
    }
}
