//! What a decision costs: 200 rules, each by users or groups and by domains, every fourth by networks, and one
//! with a list of a million domains.
//!
//! `cargo bench --features internals --bench policy`. A decision is both phases: the request, and one address. Every decision is
//! about another name, so that nothing of the large list is in a cache because it was just asked for.

use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use criterion::{Criterion, Throughput};
use tollgate::internals::policy::{
    Action, Decision, Destination, Domains, Groups, Guard, Matchers, Name, Networks, Policy,
    Request, Rule, Rules,
};
use tollgate::internals::target::{Authority, Host};

const RULES: usize = 200;
const LIST: usize = 1_000_000;
const NAMES: usize = 1 << 16;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let policy = policy();
    let none = Arc::new(Policy::new(Guard::default(), Rules::default()));
    let elsewhere = targets("example.net");
    let in_networks = targets("shared.example");

    let mut group = criterion.benchmark_group("decision");
    group.throughput(Throughput::Elements(1));
    for (label, policy, user, targets) in [
        ("no rules", &none, "alice", &elsewhere),
        // No rule is about the user.
        ("200 rules, a stranger", &policy, "stranger", &elsewhere),
        // Every rule is about the user, so that every list of domains is asked.
        ("200 rules, all lists asked", &policy, "alice", &elsewhere),
        // Those by networks match the name too, so that each of their networks is asked of the address.
        (
            "200 rules, all lists and networks asked",
            &policy,
            "alice",
            &in_networks,
        ),
    ] {
        let mut targets = targets.iter().cycle();
        group.bench_function(label, |b| {
            b.iter(|| {
                let Some(authority) = targets.next() else {
                    return false;
                };
                admit(policy, user, authority)
            });
        });
    }
    group.finish();
    criterion.final_summary();
}

/// Both phases; the default has to admit, after all rules were asked.
fn admit(policy: &Arc<Policy>, user: &str, authority: &Authority) -> bool {
    let request = Request {
        destination: Destination::Tunnel(authority),
        scheme: None,
        method: "CONNECT",
        user,
        groups: &[],
        client: IpAddr::from([192, 0, 2, 1]),
        time: SystemTime::UNIX_EPOCH,
        head: None,
        claims: &[],
        hello: None,
    };
    let address = SocketAddr::from(([93, 184, 216, 34], authority.port));
    let admitted = policy
        .admit_request(black_box(&request))
        .is_ok_and(|admission| admission.admit_address(black_box(address)).is_ok());
    assert!(admitted, "{authority} is denied");
    admitted
}

fn policy() -> Arc<Policy> {
    let members = (0..RULES).map(|index| format!("group{index}: alice user{index}\n"));
    let groups = Groups::parse(&members.collect::<String>()).unwrap_or_default();
    let rules: Vec<Rule> = (0..RULES).map(rule).collect();
    let rules = Rules::new(rules, Decision::Admit, &groups).unwrap_or_default();
    assert_eq!(rules.len(), RULES);
    Arc::new(Policy::new(Guard::default(), rules))
}

fn rule(index: usize) -> Rule {
    let mut matchers = Matchers::default();
    if index.is_multiple_of(2) {
        let users = [
            "alice".to_owned(),
            format!("user{index}"),
            format!("bot{index}"),
        ];
        matchers.users = Some(users.map(Box::from).into());
    } else {
        matchers.groups = Some(vec![format!("group{index}").into()]);
    }
    let mut domains = vec![
        format!(".team{index}.example.org"),
        format!("registry{index}.example.com"),
        format!(".cdn{index}.test"),
    ];
    if index.is_multiple_of(4) {
        domains.push(".shared.example".to_owned());
        let networks = [format!("10.{index}.0.0/16"), format!("172.16.{index}.0/24")];
        matchers.networks = Networks::parse(networks).ok();
    }
    if index == RULES / 2 + 1 {
        domains = (0..LIST)
            .map(|i| format!("host{i}.blocked{}.example", i % 977))
            .collect();
    }
    matchers.domains = Domains::parse(domains).ok().map(Into::into);
    Rule {
        name: name(index),
        action: Action::Deny(Default::default()),
        matchers,
        upgrade: None,
        tunnel: None,
        asks: false,
        via: None,
    }
}

fn name(index: usize) -> Name {
    match Name::parse(&format!("rule-{index}")) {
        Ok(name) => name,
        Err(error) => unreachable!("{error}"),
    }
}

fn targets(below: &str) -> Vec<Authority> {
    let target = |i: usize| Authority {
        host: Host::Name(format!("www{i}.site{}.{below}", i % 1009).into()),
        port: 443,
    };
    (0..NAMES).map(target).collect()
}
