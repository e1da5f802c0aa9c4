//! Classes of limits in the configuration: errors, reloads, the recipes, and curl.

use std::time::Instant;

use serde_json::Value;

use crate::support::client::Wire;
use crate::support::command::{check, is_installed};
use crate::support::dns::Dns;
use crate::support::documents::{read, root, yaml_blocks};
use crate::support::origin::Origin;
use crate::support::programs::{assert_output, curl, proxy_url};
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, request_of, sha_line};

#[test]
fn mistakes_are_reported_with_their_place() {
    let setup = Setup::new()
        .file("groups.htgroup", "runners: alice\n")
        .config("auth: { groups: groups.htgroup }")
        .config(
            "limits: { classes: [ \
             { name: ci, groups: [runers], requests: 5/d }, \
             { name: default, requests: 0/s, burst: 0 }, \
             { name: Bad, users: [], tunnels: none }, \
             { requests: 1/s }, \
             { name: slow, burst: 3, per: users }, \
             { name: odd, users: [alice], request: 5/s }, \
             { name: wide, users: [alice], download: 50M/s, upload: 1KiB }, \
             { name: thin, users: [alice], download: 1023B/s, upload: 1TB/s }, \
             { name: tail }, \
             { name: tail, users: [bob], roles: [tunel] }, \
             { name: last } ] }",
        );
    let outcome = check(&setup);
    assert_eq!(outcome.code(), Some(78), "{}", outcome.output());
    for expected in [
        "limits.classes[0].requests: not a rate; write a number and a unit, as in 200/s, 30/m or 1000/h",
        "limits.classes[1].requests: out of range; write one from 1 to 1000000",
        "limits.classes[1].burst: out of range; write one from 1 to 1000000",
        "limits.classes[2].name: not a name",
        "limits.classes[2].users: an empty list, which nothing matches",
        "limits.classes[2].tunnels: not a whole number",
        "limits.classes[3].name: missing",
        "limits.classes[4].burst: without requests, which it is a part of",
        "limits.classes[4].per: not what can have limits for itself; write user, client_network, host or class",
        "limits.classes[5].request: unknown key; did you mean \"requests\"?",
        "limits.classes[6].download: not a bandwidth; write a size in a second, as in 50MiB/s, 10MB/s or 512KiB/s",
        "limits.classes[6].upload: not a bandwidth",
        "limits.classes[7].download: out of range; write one from 1KiB/s to 100GB/s",
        "limits.classes[7].upload: out of range",
        "limits.classes[9].roles[0]: not a role; did you mean tunnel?",
        "limits.classes[10]: never holds: class tail before it matches every request; move the class without matchers",
    ] {
        let output = outcome.output();
        assert!(
            output.contains(&format!("tollgate.{expected}")),
            "{expected}\n{output}"
        );
    }
    let setup = Setup::new()
        .file("groups.htgroup", "runners: alice\n")
        .config("auth: { groups: groups.htgroup }")
        .config(
            "limits: { classes: [ { name: ci, groups: [runers] }, { name: ci, users: [bob, dora] } ] }",
        );
    let output = check(&setup).output();
    for expected in [
        "limits.classes[0].groups[0]: no such group; did you mean \"runners\"?",
        "limits.classes[1].name: tollgate.limits.classes[0] has the same name",
    ] {
        assert!(output.contains(expected), "{expected}\n{output}");
    }
    let setup = Setup::new().config("limits: { classes: [{ name: ci, users: [dora] }] }");
    let outcome = check(&setup);
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    let warning = "class ci names user \"dora\", who is not in";
    assert!(outcome.output().contains(warning), "{}", outcome.output());
}

/// What a tunnel has, and what a member has used, is kept where the class has the same limits.
#[test]
fn a_reload_keeps_members_of_unchanged_classes() {
    let classes = |alice: &str, bob: u32| {
        format!(
            "limits: {{ classes: [ {{ name: other, roles: [gateway] }}, \
             {{ name: alice, users: [alice], requests: {alice}, burst: 2, tunnels: 1 }}, \
             {{ name: bob, users: [bob], tunnels: {bob} }} ] }}"
        )
    };
    let proxy = Proxy::start(&classes("1/h", 1));
    let echo = Origin::echo();
    let open = |user| -> (u16, Wire) {
        let mut wire = proxy.connect();
        let request = request_of(user, "CONNECT", &echo.address.to_string());
        (wire.exchange(request).status(), wire)
    };
    let (alice, bob) = (open(ALICE), open(BOB));
    assert_eq!((alice.0, bob.0), (200, 200));
    let reload = |yaml: &str| {
        proxy.rewrite(yaml);
        let answer = proxy.reload();
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let answer: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(answer["restart_needed"], serde_json::json!([]), "{answer}");
    };
    // Another place in the list, and another class.
    reload(&classes("1/h", 2).replace("{ name: other, roles: [gateway] }, ", ""));
    assert_eq!(open(ALICE).0, 429, "its tunnel is still open");
    let second = open(BOB);
    assert_eq!((second.0, open(BOB).0), (200, 200), "the class began anew");
    // A rate in place of another one: nothing is known of its members.
    reload(&classes("2/h", 2));
    assert_eq!(open(ALICE).0, 200);
    // And without classes there is no limit.
    proxy.rewrite("limits: { classes: [] }");
    assert_eq!(proxy.reload().status(), 200);
    for _ in 0..4 {
        assert_eq!(open(ALICE).0, 200);
    }
    drop((alice, bob, second));
    let reply = proxy.reload();
    assert_eq!(reply.status(), 200);
}

#[test]
fn curl_comes_back_when_it_is_told_to() {
    if !is_installed(&["curl", "--version"]) {
        return;
    }
    let proxy = Proxy::start("limits: { classes: [{ name: all, requests: 40/m, burst: 1 }] }");
    let origin = Origin::ok("in");
    let url = format!("http://{}/", origin.address);
    let proxy_url = proxy_url(&proxy);
    let begun = Instant::now();
    for _ in 0..2 {
        let outcome = curl(&["--fail", "--retry", "3", "-x", &proxy_url, &url]);
        assert_output(&outcome, "in");
    }
    // It came once too early, waited for the 2 s of `Retry-After`, and was served.
    let records = proxy.wait_records(3).into_iter();
    let statuses: Vec<_> = records.map(|record| record["status"].clone()).collect();
    assert_eq!(statuses, [200, 429, 200]);
    assert!(begun.elapsed().as_millis() >= 1500);
    let outcome = curl(&["-x", &proxy_url, "-p", &url]);
    assert!(
        outcome.output().contains("429"),
        "curl says why: {}",
        outcome.output()
    );
}

/// The recipe below a heading, on a proxy of its own.
fn recipe(heading: &str) -> (Proxy, Dns) {
    let text = read(&root().join("docs/limits.md"));
    let (_, text) = text.split_once(&format!("\n### {heading}\n")).unwrap();
    let (_, yaml) = yaml_blocks(text).remove(0);
    let recipe: serde_yaml::Value = serde_yaml::from_str(&yaml).unwrap();
    let dns = Dns::with(60, |_, _| Some(vec!["127.0.0.1".parse().unwrap()]));
    let users = ["ci-linux", "ci-deploy", "agent-7", "alice"];
    let users = users.map(|user| sha_line((user, "pw")));
    let proxy = Setup::new()
        .file("users.htpasswd", users.concat())
        .file(
            "groups.htgroup",
            "runners: ci-linux\ndeployers: ci-deploy\nagents: agent-7\n",
        )
        .config(&serde_yaml::to_string(&recipe["tollgate"]).unwrap())
        .config(&dns.config())
        .start();
    (proxy, dns)
}

/// How many of so many requests at once are not refused by a limit, and the limit.
fn at_once(proxy: &Proxy, user: &str, target: &str, count: usize) -> (usize, String) {
    let mut wire = proxy.connect();
    let request = request_of((user, "pw"), "GET", target);
    let answers = (0..count).map(|_| wire.exchange(&request));
    let answers: Vec<_> = answers.collect();
    let served = answers.iter().filter(|answer| answer.status() == 200);
    let over = answers.iter().find(|answer| answer.status() == 429);
    let over = over.map(|answer| answer.head.start.clone());
    (served.count(), over.unwrap_or_default())
}

#[test]
fn the_recipe_for_a_ci_fleet() {
    let (proxy, _dns) = recipe("A CI fleet");
    let origin = Origin::ok("in");
    let url = format!("http://{}/", origin.address);
    let begun = Instant::now();
    let (served, over) = at_once(&proxy, "alice", &url, 400);
    let rate = 20.0 * begun.elapsed().as_secs_f64();
    assert!(served >= 100 && (served as f64) <= 101.0 + rate, "{served}");
    assert!(over.ends_with("others.requests"), "{over}");
    let (served, over) = at_once(&proxy, "ci-deploy", &url, 400);
    assert_eq!((served, over.as_str()), (400, ""));
}

#[test]
fn the_recipe_for_ai_agents() {
    let (proxy, _dns) = recipe("AI agents");
    let echo = Origin::echo();
    let agent = || request_of(("agent-7", "pw"), "CONNECT", &echo.address.to_string());
    let mut tunnels: Vec<Wire> = (0..16).map(|_| proxy.connect()).collect();
    for wire in &mut tunnels {
        assert_eq!(wire.exchange(agent()).status(), 200);
    }
    let answer = proxy.exchange(agent());
    assert!(
        answer.head.start.ends_with("agents.tunnels"),
        "{}",
        answer.head.start
    );
    let alice = request_of(("alice", "pw"), "CONNECT", &echo.address.to_string());
    assert_eq!(proxy.exchange(alice).status(), 200);
}
