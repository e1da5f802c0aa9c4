//! Rules and requests in one line each, for the tables of the tests.

use super::super::decision::DenyReason;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::access::policy::*;
use crate::http::path::Prefix;

/// `NAME ACTION KEY=VALUE,VALUE ...`; `when` comes last and takes the rest of the line. `deny:451` has a status, and
/// with the word `ask` the rule asks the authoriser.
pub(in crate::access::policy) fn rule(text: &str) -> Rule {
    let (text, when) = match text.split_once(" when=") {
        Some((text, when)) => (text, Some(Expression::parse(when).unwrap())),
        None => (text, None),
    };
    let mut words = text.split_whitespace();
    let name = Name::parse(words.next().unwrap()).unwrap();
    let action = match words.next().unwrap() {
        "admit" => Action::Admit,
        "observe" => Action::Observe,
        "deny" => Action::Deny(Refusal::default()),
        deny => Action::Deny(Refusal {
            status: deny.strip_prefix("deny:").unwrap().parse().unwrap(),
            message: Some("ask it@example.org".into()),
        }),
    };
    let mut matchers = Matchers {
        when,
        ..Matchers::default()
    };
    let mut asks = false;
    for word in words {
        if word == "ask" {
            asks = true;
            continue;
        }
        let (key, values) = word.split_once('=').unwrap();
        let values: Vec<&str> = values.split(',').collect();
        let boxed = || Some(values.iter().map(|value| Box::from(*value)).collect());
        match key {
            "users" => matchers.users = boxed(),
            "groups" => matchers.groups = boxed(),
            "methods" => matchers.methods = boxed(),
            "roles" => {
                let role = |value: &&str| {
                    let mut roles = Role::ALL.into_iter();
                    roles.find(|role| role.as_str() == *value).unwrap()
                };
                matchers.roles = Some(values.iter().map(role).collect());
            }
            "domains" => matchers.domains = Some(Domains::parse(values).unwrap().into()),
            "networks" => matchers.networks = Some(Networks::parse(values).unwrap()),
            "client_networks" => matchers.client_networks = Some(Networks::parse(values).unwrap()),
            "paths" => {
                let prefix = |value: &&str| Prefix::parse(value).unwrap();
                matchers.paths = Some(Paths::new(values.iter().map(prefix)));
            }
            "ports" => matchers.ports = Some(Ports::parse(values).unwrap()),
            // `time=from-until`, in UTC.
            "time" => {
                let (from, until) = values[0].split_once('-').unwrap();
                let [from, until] = [from, until].map(|time| Some(TimeOfDay::parse(time).unwrap()));
                let schedule = Schedule::new(None, from, until, Zone::UTC, None, None);
                matchers.time = Some(schedule.unwrap());
            }
            _ => panic!("{key}"),
        }
    }
    Rule {
        name,
        action,
        matchers,
        upgrade: None,
        tunnel: None,
        asks,
        via: None,
    }
}

/// Alice is in ci and ops, bob in ci, carol in none that counts.
pub(in crate::access::policy) fn groups() -> Groups {
    Groups::parse("ci: alice bob\nops: alice\nempty:\nothers: carol\n").unwrap()
}

pub(in crate::access::policy) fn policy(
    guard: Guard,
    default: Decision,
    rules: &[&str],
) -> Arc<Policy> {
    let rules = rules.iter().map(|text| rule(text)).collect();
    let rules = Rules::new(rules, default, &groups()).unwrap();
    Arc::new(Policy::new(guard, rules))
}

/// `USER METHOD TARGET`, at noon, which resolves to `resolve`.
pub(in crate::access::policy) fn scenario(text: &str, resolve: &[&str]) -> Scenario {
    let words: Vec<&str> = text.split(' ').collect();
    let time = Moment::parse("2026-11-24T12:00:00Z").unwrap();
    let mut scenario = Scenario::new(words[0], words[2], Some(words[1]), time).unwrap();
    scenario.client = "192.168.1.1".parse().unwrap();
    scenario.resolve = resolve.iter().map(|ip| ip.parse().unwrap()).collect();
    scenario
}

/// What the policy says: `-` and who denies the request before an address is known; else `+` or `-` and who
/// decides for each address, or `+` and who admits where there is none; `?` before those who observe.
///
/// That explaining says the same is asserted in passing.
pub(in crate::access::policy) fn decide(
    policy: &Arc<Policy>,
    text: &str,
    resolve: &[&str],
) -> String {
    let scenario = scenario(text, resolve);
    let explanation = policy.explain(&scenario);
    let request = scenario.request();
    let admission = match policy.admit_request(&request) {
        Ok(admission) => admission,
        Err(denied) => {
            assert_eq!(explanation.decision, ExplainedDecision::Deny, "{text}");
            assert_eq!(explanation.rule, denied.by.to_string(), "{text}");
            assert_eq!(explanation.reason, Some(denied.reason.kind()), "{text}");
            return format!("-{}", denied.by);
        }
    };
    let port = request
        .destination
        .authority()
        .map_or(0, |authority| authority.port);
    let literal = request
        .destination
        .authority()
        .and_then(|authority| authority.host.ip());
    let addresses: Vec<IpAddr> = match literal {
        Some(ip) => vec![ip],
        None => scenario.resolve.clone(),
    };
    let observed = |ip| {
        admission
            .observed(ip)
            .map(|name| format!("?{name}"))
            .collect::<Vec<_>>()
    };
    let mut said = Vec::new();
    let mut admitted = None;
    for (index, ip) in addresses.iter().enumerate() {
        let judged = admission.admit_address(SocketAddr::new(*ip, port));
        let explained = &explanation.addresses[index];
        let (by, verdict) = match &judged {
            Ok(by) => (by, Decision::Admit),
            Err(denied) => {
                assert_eq!(denied.reason, DenyReason::DestinationIpProhibited);
                (&denied.by, Decision::Deny)
            }
        };
        assert_eq!(
            (explained.decision, &explained.rule),
            (verdict, &by.to_string()),
            "{text}"
        );
        let sign = if judged.is_ok() { '+' } else { '-' };
        said.push(format!("{sign}{by}"));
        if judged.is_ok() && admitted.is_none() {
            admitted = Some(*ip);
            let observed = observed(Some(*ip));
            assert_eq!(explanation.decision, ExplainedDecision::Admit, "{text}");
            assert_eq!(explanation.observed.len(), observed.len(), "{text}");
            said.extend(observed);
        }
    }
    if addresses.is_empty() {
        assert_ne!(explanation.decision, ExplainedDecision::Deny, "{text}");
        said.push(format!("+{}", admission.decided_by()));
        said.extend(observed(None));
    } else if admitted.is_none() {
        assert_eq!(explanation.decision, ExplainedDecision::Deny, "{text}");
        assert_eq!(
            explanation.reason,
            Some("destination_ip_prohibited"),
            "{text}"
        );
    }
    said.join(" ")
}
