//! `tollgate explain`: what it prints, how it ends, and that it says what the running proxy does.

use serde_json::{Value, json};

use crate::support::command::{Outcome, tollgate};
use crate::support::dns::Dns;
use crate::support::message::Response;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, COLON, request_of};

const EX_USAGE: Option<i32> = Some(64);
const EX_CONFIG: Option<i32> = Some(78);

/// Rules of every kind; the ports are those of origins.
pub(super) fn setup(dns: &Dns, web: u16) -> Setup {
    let rules = format!(
        "policy: {{ default: deny, rules: [ \
         {{ name: watched, action: observe, methods: [PUT] }}, \
         {{ name: no-uploads, action: deny, roles: [forward], methods: [POST], status: 451, message: \"ask it\" }}, \
         {{ name: ssh, action: admit, groups: [ops], ports: [22, {web}], domains: [.ssh.test] }}, \
         {{ name: lab, action: admit, users: [alice], groups: [ops], networks: [127.0.0.1/32], domains: [.lab.test] }}, \
         {{ name: no-lab, action: deny, domains: [.lab.test], networks: [127.0.0.0/8], status: 404 }}, \
         {{ name: office, action: admit, client_networks: [10.9.0.0/16] }}, \
         {{ name: old, action: admit, time: {{ days: [mon-fri], from: \"08:00\", until: \"18:00\", zone: Europe/Berlin, not_after: 2026-01-31T18:00:00Z }} }}, \
         {{ name: own, action: admit, when: 'request.host == user.name + \".test\"' }}, \
         {{ name: odd, action: admit, domains: [odd.test], when: 'user.groups[0] == \"ops\"' }}, \
         {{ name: gate, action: admit, roles: [gateway], users: [alice] }} ] }}\n"
    );
    Setup::new()
        .file("groups.htgroup", "ops: carol\nall: carol bob\n")
        .config("auth: { groups: groups.htgroup }")
        .config("egress: { connect_ports: [443], deny_domains: [bad.test] }")
        .config(&rules)
        .config(&dns.config())
}

pub(super) fn names() -> Dns {
    Dns::table(&[
        ("a.ssh.test", &["127.0.0.1"]),
        ("one.lab.test", &["127.0.0.1"]),
        ("two.lab.test", &["127.0.0.2"]),
        ("out.lab.test", &["203.0.113.9"]),
        ("alice.test", &["127.0.0.1"]),
        ("ten.test", &["10.0.0.1"]),
        ("odd.test", &["127.0.0.1"]),
        ("bad.test", &["127.0.0.1"]),
    ])
}

/// `tollgate explain` with those arguments, in words divided by blanks.
pub(super) fn explain(setup: &Setup, arguments: &str) -> Outcome {
    let path = setup.write();
    let start = ["explain".as_ref(), "-c".as_ref(), path.as_os_str()];
    tollgate(
        start
            .into_iter()
            .chain(arguments.split(' ').map(AsRef::as_ref)),
    )
}

pub(super) fn explain_json(setup: &Setup, arguments: &str) -> (Outcome, Value) {
    let outcome = explain(setup, &format!("{arguments} --json"));
    let value = serde_json::from_str(&outcome.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", outcome.output()));
    (outcome, value)
}

/// The lines of the text, each with its blanks made one.
fn lines(text: &str) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().map(words).collect()
}

#[test]
fn denial_is_explained() {
    let dns = names();
    let setup = setup(&dns, 8080);
    let arguments = "--user bob --method POST --target http://a.ssh.test/up";
    let outcome = explain(&setup, arguments);
    assert_eq!(outcome.code(), Some(1), "{}", outcome.output());
    assert!(!outcome.stderr.contains("note:"), "{}", outcome.stderr);
    let text = lines(&outcome.stdout);
    assert_eq!(
        text[0],
        "deny, by no-uploads (451, http_request_denied): ask it"
    );
    for line in [
        "user bob, in all",
        "client 127.0.0.1",
        "request POST a.ssh.test:80 (forward)",
        "watched observe no match: methods: POST",
        "no-uploads deny decides",
    ] {
        assert!(text.iter().any(|have| have == line), "{line}: {text:#?}");
    }
    assert!(
        !outcome.stdout.contains("office"),
        "asked after the decision: {text:#?}"
    );

    let (outcome, value) = explain_json(&setup, arguments);
    assert_eq!(outcome.code(), Some(1));
    for (key, expected) in [
        ("decision", json!("deny")),
        ("rule", json!("no-uploads")),
        ("reason", json!("http_request_denied")),
        ("status", json!(451)),
        ("message", json!("ask it")),
        ("user", json!("bob")),
        ("groups", json!(["all"])),
        ("role", json!("forward")),
        ("addresses", json!([])),
        ("observed", json!([])),
    ] {
        assert_eq!(value[key], expected, "{key}: {value:#}");
    }
    assert_eq!(
        value["rules"],
        json!([
            {"rule": "watched", "action": "observe", "outcome": "no_match", "matcher": "methods", "value": "POST"},
            {"rule": "no-uploads", "action": "deny", "outcome": "decides"}
        ])
    );
}

/// Of each rule before the one that decided it is said which matcher did not match, and with what.
#[test]
fn each_earlier_rule_has_its_reason() {
    let dns = names();
    let setup = setup(&dns, 8080);
    let (outcome, value) = explain_json(
        &setup,
        "--user alice --method PUT --target http://alice.test/x --time 2026-11-24T17:45:00Z",
    );
    assert_eq!(outcome.code(), Some(0), "{value:#}");
    let said: Vec<_> = value["rules"].as_array().unwrap().iter().collect();
    let shown: Vec<String> = said
        .iter()
        .map(|rule| {
            let word = |key: &str| rule[key].as_str().unwrap_or("-").to_owned();
            format!(
                "{} {} {} {}",
                word("rule"),
                word("outcome"),
                word("matcher"),
                word("value")
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "watched observes - -",
            "no-uploads no_match methods PUT",
            "ssh no_match groups alice, in no group",
            "lab no_match domains alice.test",
            "no-lab no_match domains alice.test",
            "office no_match client_networks 127.0.0.1",
            "old no_match time Tue 18:45 in Europe/Berlin (2026-11-24T17:45:00Z)",
            "own decides - -",
        ]
    );
    assert_eq!(value["observed"], json!(["watched"]));
    assert_eq!(value["time"], "2026-11-24T17:45:00Z");
    // Looked up by the server of the configuration, and judged.
    assert_eq!(value["addresses"][0]["address"], "127.0.0.1");
    assert_eq!(value["addresses"][0]["decision"], "admit");

    let (_, value) = explain_json(
        &setup,
        "--user carol --method GET --target http://a.ssh.test:23/ --client 192.0.2.1 --time 2025-07-01T06:00:00Z",
    );
    // In July it is eight in Berlin.
    assert_eq!(
        (&value["decision"], &value["rule"]),
        (&json!("admit"), &json!("old")),
        "{value:#}"
    );
    assert_eq!(value["rules"][2]["matcher"], "ports");
    assert_eq!(value["rules"][2]["value"], "23");
    for (time, decision) in [
        ("2025-07-01T05:59:59Z", "deny"),
        ("2025-07-01T15:59:59Z", "admit"),
        ("2025-07-01T16:00:00Z", "deny"),
        ("2025-07-05T10:00:00Z", "deny"),
        // In January it is an hour less, and the zone may be the writer's own.
        ("2026-01-30T06:59:59Z", "deny"),
        ("2026-01-30T08:00:00+01:00", "admit"),
        ("2026-02-02T10:00:00Z", "deny"),
    ] {
        let arguments =
            format!("--user bob --target http://ten.test/ --resolve 1.1.1.1 --time {time}");
        let (_, value) = explain_json(&setup, &arguments);
        assert_eq!(value["decision"], decision, "{time}: {value:#}");
    }
}

#[test]
fn addresses_decide_where_rules_go_by_them() {
    let dns = names();
    let setup = setup(&dns, 8080);
    for (target, resolve, code, rule, decision) in [
        ("one.lab.test:443", "", 0, "lab", "admit"),
        ("two.lab.test:443", "", 1, "no-lab", "deny"),
        ("out.lab.test:443", "", 1, "default", "deny"),
        ("any.lab.test:443", "127.0.0.1", 0, "lab", "admit"),
        ("any.lab.test:443", "127.0.0.9,127.0.0.1", 0, "lab", "admit"),
        (
            "any.lab.test:443",
            "127.0.0.9,127.0.0.8",
            1,
            "no-lab",
            "deny",
        ),
        ("any.lab.test:443", "::ffff:127.0.0.1", 0, "lab", "admit"),
        // Not looked up: there is no such name.
        ("any.lab.test:443", "", 1, "default", "depends_on_address"),
    ] {
        let mut arguments = format!("--user alice --target {target}");
        if !resolve.is_empty() {
            arguments = format!("{arguments} --resolve {resolve}");
        }
        let (outcome, value) = explain_json(&setup, &arguments);
        let said = (outcome.code(), &value["rule"], &value["decision"]);
        let expected = (Some(code), &json!(rule), &json!(decision));
        assert_eq!(said, expected, "{arguments}: {value:#}");
        let judged = value["addresses"].as_array().unwrap().len();
        if decision == "depends_on_address" {
            assert_eq!(judged, 0);
            assert!(
                outcome.stderr.contains("note: any.lab.test: "),
                "{}",
                outcome.stderr
            );
            assert!(outcome.stderr.contains("--resolve"), "{}", outcome.stderr);
        } else {
            assert_eq!(judged, resolve.split(',').count(), "{value:#}");
            assert!(!outcome.stderr.contains("note:"), "{}", outcome.stderr);
        }
        if decision == "deny" {
            assert_eq!(value["reason"], "destination_ip_prohibited", "{value:#}");
        }
    }
    let outcome = explain(&setup, "--user alice --target any.lab.test:443");
    let text = lines(&outcome.stdout);
    assert_eq!(
        text[0],
        "depends on the address: by default for addresses in no network below"
    );
    assert!(
        text.contains(&"lab admit depends on the address".to_owned()),
        "{text:#?}"
    );
    let outcome = explain(
        &setup,
        "--user alice --target any.lab.test:443 --resolve 127.0.0.9",
    );
    let text = lines(&outcome.stdout);
    for line in [
        "address 127.0.0.9: deny, by no-lab",
        "lab admit no match: networks: 127.0.0.9",
        "no-lab deny decides",
    ] {
        assert!(text.contains(&line.to_owned()), "{line}: {text:#?}");
    }
}

#[test]
fn gateway_unknown_users_and_failing_expressions() {
    let dns = names();
    let setup = setup(&dns, 8080);
    let (outcome, value) = explain_json(&setup, "--user alice --target /status");
    assert_eq!(
        (outcome.code(), &value["rule"]),
        (Some(0), &json!("gate")),
        "{value:#}"
    );
    assert_eq!(
        (&value["role"], &value["method"]),
        (&json!("gateway"), &json!("GET"))
    );
    assert_eq!(value["rules"][2]["matcher"], "groups");
    let outcome = explain(&setup, "--user alice --target /status");
    assert!(
        !outcome.stdout.contains("every address"),
        "{}",
        outcome.stdout
    );

    let outcome = explain(&setup, "--user mallory --target /status");
    assert_eq!(outcome.code(), Some(1));
    assert!(
        outcome
            .stderr
            .contains("note: \"mallory\" is not in the htpasswd file"),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stdout.starts_with("deny, by default"),
        "{}",
        outcome.stdout
    );

    let (outcome, value) = explain_json(&setup, "--user alice --target odd.test:443");
    assert_eq!(
        (outcome.code(), &value["rule"]),
        (Some(1), &json!("odd")),
        "{value:#}"
    );
    let decided = value["rules"].as_array().unwrap().last().unwrap();
    assert!(
        decided["error"]
            .as_str()
            .is_some_and(|error| !error.is_empty()),
        "{value:#}"
    );
    let outcome = explain(&setup, "--user alice --target odd.test:443");
    assert!(
        outcome
            .stdout
            .contains("its expression failed, so it denies"),
        "{}",
        outcome.stdout
    );

    // Without a rule that goes by networks the name is admitted, if its addresses are.
    let outcome = explain(
        &setup,
        "--user alice --client 10.9.1.1 --target nowhere.test:443",
    );
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    assert!(
        outcome
            .stdout
            .contains("every address of the name is evaluated too"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn what_cannot_be_asked_ends_with_a_code_of_its_own() {
    let dns = names();
    let setup = setup(&dns, 8080);
    for arguments in [
        "--user alice --target example.org",
        "--user alice --target example.org:0x50",
        "--user alice --target ftp://example.org/",
        "--user alice --target [fe80::1%25eth0]:443",
        "--user alice --target example.org:443 --method GET",
        "--user alice --target /x --method CONNECT",
        "--user alice --target / --time yesterday",
        "--user alice --target / --time 2026-11-24",
        "--user alice --target / --client nowhere",
        "--user alice --target a.test:443 --resolve b.test",
        "--user alice --target / --what",
        "--target /",
        "--user alice",
    ] {
        let outcome = explain(&setup, arguments);
        assert_eq!(
            outcome.code(),
            EX_USAGE,
            "{arguments}: {}",
            outcome.output()
        );
        assert_eq!(outcome.stdout, "", "{arguments}");
        assert!(!outcome.stderr.is_empty(), "{arguments}");
    }
    let outcome = tollgate([
        "explain",
        "-c",
        "/no/such.yaml",
        "--user",
        "a",
        "--target",
        "/",
    ]);
    assert_eq!(outcome.code(), EX_CONFIG, "{}", outcome.output());
    let broken = setup.config("policy: { default: maybe }");
    let outcome = explain(&broken, "--user alice --target /");
    assert_eq!(outcome.code(), EX_CONFIG, "{}", outcome.output());
    assert!(
        outcome.stderr.contains("tollgate.policy.default"),
        "{}",
        outcome.stderr
    );
}

/// Asks as a client at that address; gives the answer with its record.
fn ask_from(proxy: &Proxy, client: &str, method: &str, request: &str) -> (Response, Value) {
    let before = proxy.records().len();
    let mut wire = proxy.connect();
    wire.send(format!(
        "PROXY TCP4 {client} 192.0.2.1 5000 443\r\n{request}"
    ))
    .unwrap();
    let answer = wire.response(method).unwrap();
    drop(wire);
    (answer, proxy.wait_records(before + 1).remove(before))
}

/// The table that both are asked: what explain says is what happens.
#[test]
fn running_proxy_does_what_explain_says() {
    let dns = names();
    let web = Origin::ok("in");
    let port = web.port();
    let proxy = setup(&dns, port).proxy_protocol().start();
    let (near, office) = ("127.0.0.1", "10.9.8.7");
    let url = |host: &str| format!("http://{host}:{port}/");
    let at = |host: &str| format!("{host}:{port}");
    let mut denied = 0;
    let table = [
        (ALICE, near, "GET", url("alice.test")),
        (ALICE, near, "PUT", url("alice.test")),
        (ALICE, near, "POST", url("alice.test")),
        (ALICE, near, "CONNECT", at("alice.test")),
        (BOB, near, "GET", url("alice.test")),
        (BOB, office, "GET", url("alice.test")),
        (BOB, office, "PUT", url("127.0.0.1")),
        (BOB, office, "CONNECT", at("127.0.0.1")),
        (BOB, office, "CONNECT", "10.0.0.1:443".to_owned()),
        (BOB, office, "GET", "http://ten.test/".to_owned()),
        (COLON, near, "GET", url("a.ssh.test")),
        (COLON, near, "CONNECT", at("a.ssh.test")),
        (ALICE, near, "CONNECT", at("a.ssh.test")),
        (COLON, near, "CONNECT", "a.ssh.test:23".to_owned()),
        (ALICE, near, "GET", url("one.lab.test")),
        (ALICE, near, "CONNECT", at("one.lab.test")),
        (BOB, near, "GET", url("one.lab.test")),
        (COLON, near, "GET", url("two.lab.test")),
        (BOB, office, "GET", url("two.lab.test")),
        (BOB, near, "CONNECT", "out.lab.test:443".to_owned()),
        (BOB, office, "CONNECT", "out.lab.test:443".to_owned()),
        (COLON, near, "GET", url("odd.test")),
        (BOB, near, "GET", url("odd.test")),
        (ALICE, near, "GET", url("bad.test")),
        (ALICE, near, "CONNECT", "bad.test:443".to_owned()),
        (
            ALICE,
            near,
            "GET",
            format!("http://127.0.0.1:{}/", proxy.port()),
        ),
        (
            BOB,
            office,
            "GET",
            format!("http://127.0.0.1:{}/", proxy.port()),
        ),
        (ALICE, near, "GET", "/".to_owned()),
        (BOB, near, "GET", "/".to_owned()),
        (BOB, office, "GET", "/?any=thing".to_owned()),
        (BOB, near, "POST", "/".to_owned()),
        (BOB, near, "GET", url("ALICE.test.")),
        (ALICE, near, "GET", url("0x7f.1")),
    ];
    for (user, client, method, target) in &table {
        let arguments = format!(
            "--user {} --client {client} --method {method} --target {target}",
            user.0
        );
        let (outcome, said) = explain_json(&proxy.setup, &arguments);
        let request = request_of(*user, method, target);
        let (answer, record) = ask_from(&proxy, client, method, &request);
        let shown = format!("{arguments}\n{said:#}\n{record:#}");
        assert!(!outcome.stderr.contains("note:"), "{shown}");
        assert_eq!(record["rule"], said["rule"], "{shown}");
        assert_eq!(record["role"], said["role"], "{shown}");
        let observed = record.get("observed").cloned().unwrap_or(json!([]));
        assert_eq!(observed, said["observed"], "{shown}");
        let decision = said["decision"].as_str().unwrap();
        if decision == "admit" {
            assert_eq!((outcome.code(), answer.status()), (Some(0), 200), "{shown}");
        } else {
            assert_eq!((decision, outcome.code()), ("deny", Some(1)), "{shown}");
            assert_eq!(said["status"], answer.status(), "{shown}");
            let reason = said["reason"].as_str().unwrap();
            assert_eq!(record["error"], reason, "{shown}");
            let told = answer.field("proxy-status").unwrap();
            let rule = said["rule"].as_str().unwrap();
            let (name, _) = rule.split_once(':').unwrap_or((rule, ""));
            let expected = format!("error={reason}; details=\"rule {name}\"");
            assert!(told.ends_with(&expected), "{shown}: {told}");
            if let Some(message) = said.get("message") {
                assert!(answer.text().contains(message.as_str().unwrap()), "{shown}");
            }
            denied += 1;
        }
    }
    // Neither side of the table is empty.
    assert!(
        denied >= 10 && table.len() - denied >= 10,
        "{denied} of {}",
        table.len()
    );
}
