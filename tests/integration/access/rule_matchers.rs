//! The rules of `tollgate.policy`, one matcher after the other: who may do what, and which rule the
//! log names for it.

use serde_json::Value;

use crate::support::client::Wire;
use crate::support::dns::Dns;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, COLON, UNICODE, connect, fetch, request_of};

/// What is asked by whom, and what has to come out: the status, and the rule in the log.
struct Case {
    user: (&'static str, &'static str),
    method: &'static str,
    target: String,
    status: u16,
    rule: &'static str,
}

fn case(
    user: (&'static str, &'static str),
    method: &'static str,
    target: impl Into<String>,
    status: u16,
    rule: &'static str,
) -> Case {
    Case {
        user,
        method,
        target: target.into(),
        status,
        rule,
    }
}

/// Asks all of it, one after the other.
fn assert_decided(proxy: &Proxy, cases: impl IntoIterator<Item = Case>) {
    for case in cases {
        let shown = format!("{} {} {}", case.user.0, case.method, case.target);
        let (answer, record) = proxy.ask(request_of(case.user, case.method, &case.target));
        assert_eq!(answer.status(), case.status, "{shown}: {}", answer.text());
        assert_eq!(record["rule"], case.rule, "{shown}: {record}");
        assert_eq!(record["status"], case.status, "{shown}: {record}");
        assert_eq!(record["user"], case.user.0, "{shown}: {record}");
    }
}

/// Every name is on this machine.
fn everywhere() -> Dns {
    Dns::with(60, |_, _| Some(vec!["127.0.0.1".parse().unwrap()]))
}

/// A proxy with those rules, each in one line of YAML, that denies the rest.
fn ruled(setup: Setup, rules: &[&str], dns: &Dns) -> Proxy {
    let yaml = format!(
        "policy: {{ default: deny, rules: [ {} ] }}\n{}",
        rules.join(", "),
        dns.config()
    );
    setup.config(&yaml).start()
}

#[test]
fn users_and_groups_tell_who() {
    let dns = everywhere();
    let origin = Origin::ok("in");
    let setup = Setup::new()
        .file(
            "groups.htgroup",
            "# who works where\nops: carol \"zoë\"\nci:\nci: bob\nnobody:\n",
        )
        .config("auth: { groups: groups.htgroup }");
    let proxy = ruled(
        setup,
        &[
            "{ name: no-one, action: deny, groups: [nobody] }",
            "{ name: of-alice, action: admit, users: [alice] }",
            "{ name: of-ops-or-bob, action: admit, users: [bob], groups: [ops], methods: [GET] }",
            "{ name: of-ci, action: deny, groups: [ci], status: 404 }",
        ],
        &dns,
    );
    let url = format!("http://{}/", origin.address);
    assert_decided(
        &proxy,
        [
            case(ALICE, "GET", &url, 200, "of-alice"),
            case(ALICE, "HEAD", &url, 200, "of-alice"),
            case(BOB, "GET", &url, 200, "of-ops-or-bob"),
            case(BOB, "HEAD", &url, 404, "of-ci"),
            case(COLON, "GET", &url, 200, "of-ops-or-bob"),
            case(COLON, "HEAD", &url, 403, "default"),
            case(UNICODE, "GET", &url, 200, "of-ops-or-bob"),
            case(UNICODE, "HEAD", &url, 403, "default"),
        ],
    );
}

#[test]
fn roles_and_methods_tell_what() {
    let dns = everywhere();
    let origin = Origin::ok("in");
    let proxy = ruled(
        Setup::new(),
        &[
            "{ name: tunnels, action: admit, roles: [tunnel], users: [alice] }",
            "{ name: reading, action: admit, roles: [forward], methods: [GET, HEAD] }",
            "{ name: no-writing, action: deny, methods: [POST, PUT, DELETE], status: 451 }",
            "{ name: gate, action: admit, roles: [gateway], users: [alice, bob] }",
        ],
        &dns,
    );
    let (url, authority) = (
        format!("http://{}/", origin.address),
        origin.address.to_string(),
    );
    assert_decided(
        &proxy,
        [
            case(ALICE, "CONNECT", &authority, 200, "tunnels"),
            case(BOB, "CONNECT", &authority, 403, "default"),
            case(ALICE, "GET", &url, 200, "reading"),
            case(BOB, "HEAD", &url, 200, "reading"),
            case(ALICE, "POST", &url, 451, "no-writing"),
            case(ALICE, "OPTIONS", &url, 403, "default"),
            // Methods are compared as a whole.
            case(ALICE, "GETX", &url, 403, "default"),
            case(ALICE, "GET", "/", 200, "gate"),
            case(BOB, "HEAD", "/", 200, "gate"),
            case(COLON, "GET", "/", 403, "default"),
            case(ALICE, "POST", "/", 451, "no-writing"),
        ],
    );
}

#[test]
fn domains_come_from_entries_and_lists_of_every_format() {
    let dns = everywhere();
    let origin = Origin::ok("in");
    let setup = Setup::new()
        .file(
            "plain.txt",
            "# plain\nplain.test\n.below.test # and all below\n\nM\u{fc}nchen.test\n",
        )
        .file(
            "hosts.txt",
            "127.0.0.1 localhost\n0.0.0.0 hosts.test second.test # two\n",
        )
        .file(
            "adblock.txt",
            "[Adblock Plus 2.0]\n! ads\n||adblock.test^\n",
        );
    let proxy = ruled(
        setup,
        &[
            "{ name: ads, action: deny, domains: [\"@adblock.txt\"], status: 404 }",
            "{ name: listed, action: admit, domains: [\"@plain.txt\", \"@hosts.txt\", inline.test] }",
        ],
        &dns,
    );
    for (host, status, rule) in [
        ("plain.test", 200, "listed"),
        ("PLAIN.test.", 200, "listed"),
        ("www.plain.test", 403, "default"),
        ("below.test", 200, "listed"),
        ("a.b.below.test", 200, "listed"),
        ("notbelow.test", 403, "default"),
        ("xn--mnchen-3ya.test", 200, "listed"),
        ("hosts.test", 200, "listed"),
        ("second.test", 200, "listed"),
        ("sub.hosts.test", 403, "default"),
        ("localhost", 403, "default"),
        ("adblock.test", 404, "ads"),
        ("any.where.adblock.test", 404, "ads"),
        ("inline.test", 200, "listed"),
        ("other.test", 403, "default"),
        // An address is in no list of domains.
        ("127.0.0.1", 403, "default"),
    ] {
        let port = origin.port();
        assert_decided(
            &proxy,
            [
                case(ALICE, "GET", format!("http://{host}:{port}/"), status, rule),
                case(ALICE, "CONNECT", format!("{host}:{port}"), status, rule),
            ],
        );
    }
}

#[test]
fn ports_are_opened_for_whom_the_rule_is_about_alone() {
    let dns = everywhere();
    let (ssh, other) = (Origin::ok("ssh"), Origin::ok("other"));
    let proxy = ruled(
        Setup::new().config("egress: { connect_ports: [443], http_ports: [80] }"),
        &[
            &format!(
                "{{ name: ssh, action: admit, users: [alice], ports: [22, {}] }}",
                ssh.port()
            ),
            "{ name: rest, action: admit }",
        ],
        &dns,
    );
    assert_decided(
        &proxy,
        [
            case(ALICE, "CONNECT", ssh.address.to_string(), 200, "ssh"),
            case(ALICE, "GET", format!("http://{}/", ssh.address), 200, "ssh"),
            case(
                ALICE,
                "CONNECT",
                format!("ssh.test:{}", ssh.port()),
                200,
                "ssh",
            ),
            case(
                BOB,
                "CONNECT",
                ssh.address.to_string(),
                403,
                "connect_ports",
            ),
            case(
                BOB,
                "CONNECT",
                format!("ssh.test:{}", ssh.port()),
                403,
                "connect_ports",
            ),
            case(BOB, "CONNECT", "ssh.test:22", 403, "connect_ports"),
            case(
                BOB,
                "GET",
                format!("http://{}/", ssh.address),
                403,
                "http_ports",
            ),
            case(
                ALICE,
                "CONNECT",
                other.address.to_string(),
                403,
                "connect_ports",
            ),
        ],
    );
    // Nobody listens there, or somebody does: the policy has no objection.
    let (answer, record) = proxy.ask(connect("127.0.0.1:22"));
    assert!([200, 502].contains(&answer.status()), "{record}");
    assert_eq!(record["rule"], "ssh", "{record}");
    other.assert_untouched();
}

#[test]
fn networks_are_those_of_the_address_that_is_dialled() {
    let (one, two) = (
        Origin::ok("one"),
        Origin::bind("127.0.0.2:0", |mut wire, _| {
            wire.request()?;
            wire.send(crate::support::message::ok("two"))
        }),
    );
    let dns = Dns::table(&[
        ("one.test", &["127.0.0.1"]),
        ("two.test", &["127.0.0.2"]),
        ("three.test", &["127.0.0.3"]),
    ]);
    let proxy = ruled(
        Setup::new(),
        &[
            "{ name: no-two, action: deny, networks: [127.0.0.2/32], users: [bob], status: 404 }",
            "{ name: by-network, action: admit, networks: [127.0.0.0/30] }",
            "{ name: by-name, action: admit, domains: [three.test], methods: [CONNECT] }",
        ],
        &dns,
    );
    let url = |host: &str, port: u16| format!("http://{host}:{port}/");
    assert_decided(
        &proxy,
        [
            case(ALICE, "GET", url("one.test", one.port()), 200, "by-network"),
            case(
                ALICE,
                "GET",
                url("127.0.0.1", one.port()),
                200,
                "by-network",
            ),
            case(ALICE, "GET", url("two.test", two.port()), 200, "by-network"),
            case(BOB, "GET", url("two.test", two.port()), 404, "no-two"),
            case(BOB, "GET", url("127.0.0.2", two.port()), 404, "no-two"),
            case(
                BOB,
                "CONNECT",
                format!("two.test:{}", two.port()),
                404,
                "no-two",
            ),
            case(BOB, "GET", url("one.test", one.port()), 200, "by-network"),
            case(ALICE, "GET", url("127.0.0.4", 80), 403, "default"),
            // The gateway has no address, so such a rule is not about it.
            case(ALICE, "GET", "/", 403, "default"),
        ],
    );
    let (answer, record) = proxy.ask(fetch(&url("two.test", two.port())));
    assert_eq!(
        (answer.text(), &record["rule"]),
        ("two".to_owned(), &"by-network".into())
    );
}

#[test]
fn client_networks_tell_from_where() {
    let dns = everywhere();
    let proxy = ruled(
        Setup::new().proxy_protocol(),
        &[
            "{ name: office, action: admit, client_networks: [192.168.1.0/24, \"2001:db8::/32\"] }",
            "{ name: guests, action: deny, client_networks: [192.168.0.0/16], status: 429 }",
            "{ name: by-text, action: admit, when: 'ip_in(client.ip, [\"10.9.0.0/16\"])' }",
        ],
        &dns,
    );
    for (family, client, status, rule) in [
        ("TCP4", "192.168.1.7", 200, "office"),
        ("TCP4", "192.168.2.7", 429, "guests"),
        ("TCP4", "10.9.8.7", 200, "by-text"),
        ("TCP4", "10.10.8.7", 403, "default"),
        ("TCP6", "2001:db8::7", 200, "office"),
        ("TCP6", "2001:db9::7", 403, "default"),
        // IPv4 in IPv6 is IPv4.
        ("TCP6", "::ffff:192.168.1.7", 200, "office"),
    ] {
        let to = if family == "TCP4" { "192.0.2.1" } else { "::1" };
        let header = format!("PROXY {family} {client} {to} 5000 443\r\n");
        let before = proxy.records().len();
        let mut wire: Wire = proxy.connect();
        wire.send(header + &request_of(ALICE, "GET", "/")).unwrap();
        assert_eq!(wire.response("GET").unwrap().status(), status, "{client}");
        let record = &proxy.wait_records(before + 1)[before];
        assert_eq!(record["rule"], rule, "{client}: {record}");
    }
}

/// The day of the week in a zone so many hours east of UTC, so many days from now.
fn weekday(east: i64, from_now: i64) -> String {
    let there = chrono::Utc::now() + chrono::TimeDelta::hours(east + 24 * from_now);
    there.format("%a").to_string().to_lowercase()
}

#[test]
fn time_tells_when() {
    let dns = everywhere();
    // The day that it is in the east is never the day that it is in the west, 26 hours behind; and
    // should midnight come while this runs, the next one counts too.
    let days = format!("{}, {}", weekday(14, 0), weekday(14, 1));
    let times = [
        ("past", "not_after: 2026-01-01T00:00:00Z".to_owned()),
        ("future", "not_before: 2999-01-01T00:00:00Z".to_owned()),
        ("west", format!("days: [{days}], zone: Etc/GMT+12")),
        (
            "now",
            "not_before: 2026-01-01T00:00:00Z, not_after: 2999-01-01T00:00:00+01:00".to_owned(),
        ),
        ("east", format!("days: [{days}], zone: Etc/GMT-14")),
    ];
    let rules: Vec<String> = times
        .iter()
        .map(|(name, time)| {
            let users = if *name == "now" { ", users: [bob]" } else { "" };
            format!("{{ name: {name}, action: admit, time: {{ {time} }}{users} }}")
        })
        .chain(["{ name: later, action: deny, status: 503 }".to_owned()])
        .collect();
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let proxy = ruled(Setup::new(), &rules, &dns);
    assert_decided(
        &proxy,
        [
            case(ALICE, "GET", "/", 200, "east"),
            case(BOB, "GET", "/", 200, "now"),
        ],
    );
}

#[test]
fn expressions_tell_the_rest() {
    let dns = everywhere();
    let origin = Origin::ok("in");
    let setup = Setup::new()
        .file("groups.htgroup", "team-red: bob\nops: bob carol\n")
        .config("auth: { groups: groups.htgroup }");
    let rules = [
        ("own", "request.host == user.name + \".dev.test\""),
        (
            "team",
            "user.groups.exists(g, g.startsWith(\"team-\")) && request.method == \"GET\"",
        ),
        (
            "ops",
            "\"ops\" in user.groups && request.role == \"tunnel\"",
        ),
        ("past", "time < timestamp(\"2026-01-01T00:00:00Z\")"),
        ("port", "request.port == 7 && client.ip == \"127.0.0.1\""),
        (
            "gate",
            "request.role == \"gateway\" && request.host == \"\"",
        ),
    ];
    let rules =
        rules.map(|(name, when)| format!("{{ name: {name}, action: admit, when: '{when}' }}"));
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let proxy = ruled(setup, &rules, &dns);
    let port = origin.port();
    let own = format!("http://alice.dev.test:{port}/");
    let tunnel = format!("x.test:{port}");
    assert_decided(
        &proxy,
        [
            case(ALICE, "GET", &own, 200, "own"),
            case(COLON, "GET", &own, 403, "default"),
            case(BOB, "GET", &own, 200, "team"),
            case(BOB, "POST", &own, 403, "default"),
            case(COLON, "CONNECT", &tunnel, 200, "ops"),
            case(ALICE, "CONNECT", &tunnel, 403, "default"),
            case(ALICE, "GET", "/", 200, "gate"),
        ],
    );
    let (_, record) = proxy.ask(fetch("http://x.test:7/"));
    assert_eq!(record["rule"], "port", "{record}");
}

/// The first rule that matches decides, whatever the others say, and the default is what is left.
#[test]
fn first_match_decides() {
    let dns = everywhere();
    let origin = Origin::ok("in");
    let rules = [
        "{ name: one, action: deny, domains: [.a.test], users: [alice] }",
        "{ name: two, action: admit, domains: [.test], users: [alice, bob] }",
        "{ name: three, action: deny, domains: [.test], status: 404 }",
    ];
    for (order, expected) in [
        ([0, 1, 2], [(403, "one"), (200, "two"), (404, "three")]),
        ([1, 0, 2], [(200, "two"), (200, "two"), (404, "three")]),
        ([2, 1, 0], [(404, "three"), (404, "three"), (404, "three")]),
    ] {
        for (default, left) in [("admit", 200), ("deny", 403)] {
            let rules = order.map(|at| rules[at]).join(", ");
            let yaml = format!(
                "policy: {{ default: {default}, rules: [ {rules} ] }}\n{}",
                dns.config()
            );
            let proxy = Proxy::start(&yaml);
            let port = origin.port();
            let url = format!("http://x.a.test:{port}/");
            let users = [ALICE, BOB, COLON];
            let cases = users.into_iter().zip(expected);
            assert_decided(
                &proxy,
                cases.map(|(user, (status, rule))| case(user, "GET", &url, status, rule)),
            );
            // The default has no name of its own but that.
            let (answer, record) = proxy.ask(fetch(&format!("http://x.example:{port}/")));
            assert_eq!(answer.status(), left, "{record}");
            let decided = if default == "admit" {
                // The network that had to be allowed for it is said.
                Value::from("allow_networks:127.0.0.0/8")
            } else {
                Value::from("default")
            };
            assert_eq!(record["rule"], decided, "{record}");
        }
    }
}
