//! What rules open and what they leave to the guard: a private network is opened by a rule that
//! names it, for whom the rule is about, and the address that is dialled is always a judged one.

use serde_json::Value;

use super::dns_rebinding::{
    alternating, ask_by_each_kind, assert_dialled, origin_at, origin_over, pair,
};
use crate::support::dns::Dns;
use crate::support::origin::Origin;
use crate::support::port::one_port_of;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::attempt;
use crate::support::request::{ALICE, BOB, connect, fetch, request_of};

/// Nothing is allowed but by rules, and any port.
const CLOSED: &str = "egress: { allow_networks: [], connect_ports: any, http_ports: any }";

fn ruled(rules: &str, dns: &Dns) -> Proxy {
    Setup::new()
        .config(CLOSED)
        .config(&format!("policy: {{ {rules} }}\n{}", dns.config()))
        .start()
}

fn named(record: &Value) -> &str {
    record["rule"].as_str().unwrap_or("")
}

#[test]
fn no_rule_opens_a_private_network_by_accident() {
    let dns = Dns::table(&[
        ("loop.test", &["127.0.0.1"]),
        ("six.test", &["::1", "::ffff:127.0.0.1"]),
        ("ten.test", &["10.0.0.1", "192.168.0.1"]),
        ("meta.test", &["169.254.169.254"]),
        ("carried.test", &["64:ff9b::7f00:1", "2002:7f00:1::"]),
    ]);
    let origin = Origin::ok("reached");
    let port = origin.port();
    for matchers in [
        String::new(),
        "users: [alice]".to_owned(),
        "roles: [tunnel, forward]".to_owned(),
        "methods: [GET, CONNECT]".to_owned(),
        format!("ports: [{port}]"),
        "ports: any".to_owned(),
        "client_networks: [127.0.0.0/8]".to_owned(),
        "when: 'request.host == \"127.0.0.1\" || request.host.endsWith(\".test\")'".to_owned(),
        // One that names another network.
        "networks: [192.0.3.0/24, 127.0.0.2/32]".to_owned(),
    ] {
        let comma = if matchers.is_empty() { "" } else { ", " };
        let proxy = ruled(
            &format!("rules: [ {{ name: open, action: admit{comma}{matchers} }} ]"),
            &dns,
        );
        for host in [
            "127.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "0x7f.1",
            "10.0.0.1",
            "loop.test",
            "six.test",
            "ten.test",
            "meta.test",
            "carried.test",
        ] {
            for answer in attempt(&proxy, host, port) {
                assert_eq!(answer.status(), 403, "{matchers}: {host}");
                let status = answer.field("proxy-status").unwrap();
                assert!(status.contains("destination_ip_prohibited"), "{status}");
            }
        }
        for record in proxy.wait_records(22) {
            assert!(named(&record).starts_with("special_purpose:"), "{record}");
        }
    }
    origin.assert_untouched();
}

#[test]
fn rule_with_networks_opens_them_for_its_users() {
    let dns = Dns::table(&[
        ("one.test", &["127.0.0.1"]),
        ("two.test", &["127.0.0.2"]),
        ("mapped.test", &["::ffff:127.0.0.1"]),
    ]);
    let origin = Origin::ok("in");
    let other = origin_at("127.0.0.2:0", "other");
    let proxy = ruled(
        "rules: [ { name: lab, action: admit, users: [alice], networks: [127.0.0.1/32] } ]",
        &dns,
    );
    let port = origin.port();
    for (user, target, rule) in [
        (ALICE, format!("127.0.0.1:{port}"), "lab"),
        (ALICE, format!("[::ffff:127.0.0.1]:{port}"), "lab"),
        (ALICE, format!("one.test:{port}"), "lab"),
        (ALICE, format!("mapped.test:{port}"), "lab"),
        (
            ALICE,
            format!("two.test:{}", other.port()),
            "special_purpose:loopback",
        ),
        (
            ALICE,
            format!("127.0.0.2:{}", other.port()),
            "special_purpose:loopback",
        ),
        (BOB, format!("127.0.0.1:{port}"), "special_purpose:loopback"),
        (BOB, format!("one.test:{port}"), "special_purpose:loopback"),
    ] {
        let expected = if rule == "lab" { 200 } else { 403 };
        for (method, target) in [("GET", format!("http://{target}/")), ("CONNECT", target)] {
            let (answer, record) = proxy.ask(request_of(user, method, &target));
            assert_eq!(answer.status(), expected, "{record}");
            assert_eq!(named(&record), rule, "{record}");
        }
    }
    other.assert_untouched();
    // Connections to the origin are kept; they are no way in for others, on whatever connection.
    let mut wire = proxy.connect();
    let url = format!("http://one.test:{port}/");
    for _ in 0..4 {
        assert_eq!(wire.exchange(fetch(&url)).text(), "in");
        assert_eq!(wire.exchange(request_of(BOB, "GET", &url)).status(), 403);
    }
}

/// Networks open networks: not ports, not what is denied to everyone, and not the proxy itself.
#[test]
fn guard_holds_for_what_a_rule_does_not_name() {
    let dns = Dns::table(&[("two.test", &["127.0.0.2"]), ("self.test", &["127.0.0.1"])]);
    let origin = Origin::ok("in");
    let denied = Origin::bind("127.0.0.2:0", |_, _| Ok(()));
    let proxy = Setup::new()
        .config(CLOSED)
        .config("egress: { connect_ports: [443], deny_networks: [127.0.0.2/32], deny_domains: [bad.test] }")
        .config(&dns.config())
        .config(
            "policy: { rules: [ \
             { name: all, action: admit, users: [bob], networks: [\"0.0.0.0/0\", \"::/0\"], ports: any }, \
             { name: lab, action: admit, networks: [127.0.0.0/8] } ] }",
        )
        .start();
    for (user, method, target, status, rule) in [
        (
            ALICE,
            "GET",
            format!("http://{}/", origin.address),
            200,
            "lab",
        ),
        (
            ALICE,
            "CONNECT",
            origin.address.to_string(),
            403,
            "connect_ports",
        ),
        (BOB, "CONNECT", origin.address.to_string(), 200, "all"),
        (
            BOB,
            "CONNECT",
            denied.address.to_string(),
            403,
            "deny_networks:127.0.0.2/32",
        ),
        (
            BOB,
            "CONNECT",
            format!("two.test:{}", denied.port()),
            403,
            "deny_networks:127.0.0.2/32",
        ),
        (
            BOB,
            "CONNECT",
            "bad.test:443".to_owned(),
            403,
            "deny_domains:bad.test",
        ),
        (
            BOB,
            "CONNECT",
            proxy.address.to_string(),
            403,
            "own_listener",
        ),
        (
            BOB,
            "CONNECT",
            format!("self.test:{}", proxy.port()),
            403,
            "own_listener",
        ),
        (
            BOB,
            "GET",
            format!("http://{}/stats", proxy.admin_address()),
            403,
            "own_listener",
        ),
    ] {
        let (answer, record) = proxy.ask(request_of(user, method, &target));
        assert_eq!(answer.status(), status, "{record}");
        assert_eq!(named(&record), rule, "{record}");
    }
    denied.assert_untouched();
}

/// Who opens a network to the outside is the rule; case 23 with every way a rule can say it.
#[test]
fn rebound_names_reach_nothing_that_no_rule_admits() {
    let rules = [
        // Only what a rule names.
        "default: deny, rules: [ { name: public, action: admit, networks: [127.0.0.2/32] } ]",
        // All but what a rule denies.
        "rules: [ { name: private, action: deny, networks: [127.0.0.1/32, \"::1/128\"] }, \
         { name: lab, action: admit, networks: [127.0.0.0/8] } ]",
        // By name, where the guard knows the address.
        "default: deny, rules: [ { name: public, action: admit, networks: [127.0.0.2/32] }, \
         { name: named, action: admit, domains: [rebind.test] } ]",
    ];
    for rules in rules {
        for (first, second) in [("127.0.0.2", "127.0.0.1"), ("127.0.0.1", "127.0.0.2")] {
            let (public, private) = pair();
            let dns = alternating(first, second);
            let proxy = ruled(rules, &dns);
            let mut statuses = Vec::new();
            for _ in 0..4 {
                statuses.extend(ask_by_each_kind(&proxy, private.port()));
            }
            assert!(
                statuses.contains(&200) && statuses.contains(&403),
                "{statuses:?}"
            );
            private.assert_untouched();
            assert!(public.connections() > 0);
            assert!(dns.asked() > 10, "asked anew each time: {}", dns.asked());
            assert_dialled(&proxy);
        }
    }
}

/// The rule in the log is the one of the address that was judged: with each new address another.
#[test]
fn rule_and_answer_are_those_of_the_address() {
    let (_public, private) = pair();
    let dns = alternating("127.0.0.2", "127.0.0.1");
    let proxy = ruled(
        "rules: [ { name: inner, action: deny, networks: [127.0.0.1/32], status: 451, message: inner }, \
         { name: outer, action: admit, networks: [127.0.0.2/32] }, { name: rest, action: deny } ]",
        &dns,
    );
    let mut seen = Vec::new();
    for _ in 0..8 {
        let (answer, record) = proxy.ask(fetch(&format!("http://rebind.test:{}/", private.port())));
        let expected = match answer.status() {
            200 => "outer",
            451 => "inner",
            _ => "?",
        };
        assert_eq!(named(&record), expected, "{record}");
        assert_eq!(answer.text().contains("inner"), expected == "inner");
        seen.push(answer.status());
    }
    assert!(seen.contains(&200) && seen.contains(&451), "{seen:?}");
    private.assert_untouched();
}

/// Of a mixed set the admitted addresses are dialled, in whatever order, and no other when they fail.
#[test]
fn mixed_sets_are_judged_address_by_address() {
    let hosts = ["127.0.0.1", "127.0.0.2", "::1"];
    let [private, public, six] = one_port_of(hosts);
    let _public = origin_over(public, "public");
    let [private, six] = [private, six].map(|it| origin_over(it, "private"));
    let rules = "default: deny, rules: [ \
        { name: first, action: admit, networks: [127.0.0.4/32] }, \
        { name: second, action: admit, networks: [127.0.0.2/32] }, \
        { name: third, action: deny, networks: [127.0.0.1/32], status: 404 } ]";
    for (addresses, dialled) in [
        (&["127.0.0.1", "127.0.0.2"][..], true),
        (&["127.0.0.2", "127.0.0.1", "::1"], true),
        // Nobody listens on the first, so that the second is tried, which another rule admits.
        (&["127.0.0.4", "127.0.0.2"], true),
        (&["127.0.0.1", "127.0.0.4", "::1", "127.0.0.2"], true),
        (&["127.0.0.1", "127.0.0.4"], false),
        (&["::1", "127.0.0.4", "::ffff:127.0.0.1"], false),
    ] {
        let dns = Dns::table(&[("mixed.test", addresses)]);
        let proxy = ruled(rules, &dns);
        for request in [
            fetch(&format!("http://mixed.test:{}/", private.port())),
            connect(format!("mixed.test:{}", private.port())),
        ] {
            let (answer, record) = proxy.ask(request);
            let (status, rule) = if dialled {
                (200, "second")
            } else {
                (502, "first")
            };
            assert_eq!(answer.status(), status, "{addresses:?}: {record}");
            assert_eq!(named(&record), rule, "{addresses:?}: {record}");
        }
        if dialled {
            assert_dialled(&proxy);
        }
    }
    // None is left: the client is told what one of them was denied by.
    let dns = Dns::table(&[("mixed.test", &["127.0.0.1", "::1"])]);
    let (answer, record) = ruled(rules, &dns).ask(fetch("http://mixed.test/"));
    let told = (answer.status(), named(&record));
    assert!(
        [(403, "default"), (404, "third")].contains(&told),
        "{record}"
    );
    assert_eq!(record["error"], "destination_ip_prohibited", "{record}");
    private.assert_untouched();
    six.assert_untouched();
}
