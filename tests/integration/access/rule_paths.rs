//! Rules and expressions that read the path, the query and fields: on the wire, in every role and version, and by
//! `explain` and `policy_tests`.

use serde_json::json;

use super::explain::{explain, explain_json};
use crate::support::command::tollgate;
use crate::support::http2::{Client, bare, request, run};
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, basic, connect, credentials, request_of};

/// Team A may use its own path, bob nothing below `/admin`.
const RULES: &str = "policy: { default: deny, rules: [ \
    { name: no-admin, action: deny, users: [bob], paths: [/admin], status: 404 }, \
    { name: team-a, action: admit, users: [alice], paths: [/v2/team-a, /health] }, \
    { name: bob, action: admit, users: [bob] } ] }\n";

fn start(rules: &str, gateway: &Origin) -> Proxy {
    let upstreams = format!("gateway: {{ upstreams: [\"{}\"] }}\n", gateway.address);
    Setup::new().config(&upstreams).config(rules).start()
}

/// A request for this path of the origin, to forward and to the gateway.
fn both(user: (&str, &str), origin: &Origin, path: &str) -> [String; 2] {
    let url = format!("http://{}{path}", origin.address);
    [request_of(user, "GET", &url), request_of(user, "GET", path)]
}

#[test]
fn spellings_do_not_evade_rules() {
    let origin = Origin::ok("in");
    let proxy = start(RULES, &origin);
    // What alice gets by `team-a`, which admits, and bob by `no-admin`, which denies, with `/admin` for `/v2/team-a`.
    for (path, admitted, denied) in [
        ("/v2/team-a", true, true),
        ("/v2/team-a/x?y", true, true),
        ("/v2/team%2Da", true, true),
        ("/v2/team-b/%2e%2e/team-a/x", true, true),
        ("/v2/team-a/%2e%2e/team-b", false, false),
        ("/v2/team-a/../team-b", false, false),
        ("/v2/team-b?/v2/team-a", false, false),
        ("/v2/team-a/..%2Fteam-b", false, true),
        ("/v2/team-b/..%2fteam-a", false, true),
        ("/v2/team-a%2Fx", false, true),
        ("//v2/team-a/x", false, true),
        ("/x/..//v2/team-a", false, true),
        ("/v2/team-a;x=1/y", false, true),
        ("/v2/team-a/..;/team-b", false, true),
        ("/v2/team-a/..\\team-b", false, true),
        ("/v2/team-a%5cx", false, true),
    ] {
        for text in both(ALICE, &origin, path) {
            let (answer, record) = proxy.ask(text);
            let expected = if admitted {
                (200, "team-a")
            } else {
                (403, "default")
            };
            assert_eq!(answer.status(), expected.0, "{path}: {record}");
            assert_eq!(record["rule"], expected.1, "{path}: {record}");
        }
        let path = path
            .replace("/v2/team-a", "/admin")
            .replace("team-a", "admin");
        let path = path.replace("/v2/", "/").replace("team%2Da", "%61dmin");
        for text in both(BOB, &origin, &path) {
            let (answer, record) = proxy.ask(text);
            let expected = if denied {
                (404, "no-admin")
            } else {
                (200, "bob")
            };
            assert_eq!(answer.status(), expected.0, "{path}: {record}");
            assert_eq!(record["rule"], expected.1, "{path}: {record}");
        }
    }
}

/// A tunnel hides the path: the rule that admits does not match, nor the one that denies.
#[test]
fn a_tunnel_has_no_path() {
    let origin = Origin::ok("in");
    let proxy = start(RULES, &origin);
    let (answer, record) = proxy.ask(connect(origin.address));
    assert_eq!((answer.status(), &record["rule"]), (403, &json!("default")));
    let (answer, record) = proxy.ask(request_of(BOB, "OPTIONS", "*"));
    assert_eq!((answer.status(), &record["rule"]), (200, &json!("bob")));
    let mut wire = proxy.connect();
    let tunnel = request_of(BOB, "CONNECT", &origin.address.to_string());
    assert_eq!(wire.exchange(tunnel).status(), 200);
    // Some servers ignore case.
    for text in both(BOB, &origin, "/Admin/x") {
        let (answer, record) = proxy.ask(text);
        assert_eq!(
            (answer.status(), &record["rule"]),
            (404, &json!("no-admin"))
        );
    }
    // The handshake of a WebSocket has one.
    for [start, path] in [["http://", "/admin/ws"], ["", "/admin/ws"]] {
        let host = if start.is_empty() {
            String::new()
        } else {
            origin.address.to_string()
        };
        let text = request_of(BOB, "GET", &format!("{start}{host}{path}"));
        let handshake = "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let (answer, record) = proxy.ask(text.replacen("\r\n\r\n", handshake, 1));
        assert_eq!(
            (answer.status(), &record["rule"]),
            (404, &json!("no-admin"))
        );
    }
}

#[test]
fn http2_is_decided_alike() {
    let origin = Origin::ok("in");
    let proxy = start(RULES, &origin);
    run(async {
        let mut client = Client::connect(proxy.address).await;
        for (path, status) in [
            ("/v2/team-a/x", 200),
            ("/v2/team-a/..%2fteam-b", 403),
            ("/v2/team-a/%2e%2e/team-b", 403),
            ("//v2/team-a", 403),
        ] {
            for authority in [origin.address, proxy.address] {
                let uri = format!("http://{authority}{path}");
                let answer = client.ask(request("GET", &uri)).await;
                assert_eq!(answer.status.as_u16(), status, "{uri}");
            }
        }
    });
}

/// Two lines of a field are one value, credentials are none, and a value that is too long denies.
#[test]
fn fields_of_requests() {
    let origin = Origin::ok("in");
    let proxy = start(
        "policy: { default: deny, rules: [ \
         { name: two, action: admit, when: 'field(\"X-Team\") == \"a, b\"' }, \
         { name: query, action: admit, when: 'request.query == \"go\" && request.path == \"/q\"' }, \
         { name: hidden, action: deny, when: 'field(\"authorization\") != \"\"', status: 451 }, \
         { name: agent, action: admit, when: 'field(\"user-agent\").startsWith(\"curl/\")' } ] }\n",
        &origin,
    );
    let long = "x".repeat(2049);
    let team_twice = "X-Team: a\r\nx-team:  b \r\n";
    let too_long = format!("X-Team: {long}\r\nUser-Agent: curl/8\r\n");
    let split = format!(
        "X-Team: {}\r\nX-Team: {}\r\nUser-Agent: curl/8\r\n",
        &long[..1024],
        &long[..1024]
    );
    let origin_token = "Authorization: Bearer t\r\nUser-Agent: curl/8\r\n";
    for (path, lines, expected) in [
        ("/", team_twice, (200, "two")),
        ("/", "X-Team: a\r\nX-Team: c\r\n", (403, "default")),
        ("/", "User-Agent: curl/8\r\n", (200, "agent")),
        (
            "/",
            "X-Team: \u{e4}\r\nUser-Agent: curl/8\r\n",
            (200, "agent"),
        ),
        ("/", &too_long, (403, "two")),
        ("/", &split, (403, "two")),
        ("/q?go", "", (200, "query")),
        ("/q?go2", "", (403, "default")),
        ("/", origin_token, (451, "hidden")),
    ] {
        let url = format!("http://{}{path}", origin.address);
        let text = request_of(ALICE, "GET", &url);
        let text = text.replacen("\r\n\r\n", &format!("\r\n{lines}\r\n"), 1);
        let (answer, record) = proxy.ask(text);
        assert_eq!(
            (answer.status(), &record["rule"]),
            (expected.0, &json!(expected.1)),
            "{lines:.60}"
        );
        assert!(!record.to_string().contains("Bearer t"), "{record}");
    }
    // Bytes that are no text deny too.
    let mut bytes = request_of(ALICE, "GET", "/").into_bytes();
    bytes.truncate(bytes.len() - 2);
    bytes.extend_from_slice(b"X-Team: \xe4\r\nUser-Agent: curl/8\r\n\r\n");
    let (answer, record) = proxy.ask(bytes);
    assert_eq!((answer.status(), &record["rule"]), (403, &json!("two")));
    // What authenticates at the gateway is no field; so is `Proxy-Authorization` in no role.
    let gate = format!(
        "GET / HTTP/1.1\r\nHost: gate\r\nAuthorization: {}\r\nUser-Agent: curl/8\r\n\r\n",
        basic(ALICE.0, ALICE.1)
    );
    let (answer, record) = proxy.ask(gate);
    assert_eq!((answer.status(), &record["rule"]), (200, &json!("agent")));
    // Those of a CONNECT are read.
    let tunnel = format!(
        "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n{1}User-Agent: curl/8\r\n\r\n",
        origin.address,
        credentials(ALICE)
    );
    let mut wire = proxy.connect();
    assert_eq!(wire.exchange(tunnel).status(), 200);
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let credentials = basic(ALICE.0, ALICE.1);
        let fields = [
            ("proxy-authorization", credentials.as_str()),
            ("x-team", "a"),
            ("x-team", "b"),
        ];
        let uri = format!("http://{}/", origin.address);
        let answer = client.ask(bare("GET", &uri, &fields)).await;
        assert_eq!(answer.status.as_u16(), 200);
    });
}

/// A reload may make rules that need the head, and back.
#[test]
fn a_reload_brings_and_removes_paths() {
    let origin = Origin::ok("in");
    let proxy = start(
        "policy: { rules: [ { name: all, action: admit } ] }\n",
        &origin,
    );
    let ask = || {
        let [forward, gateway] = both(ALICE, &origin, "/v2/team-b");
        [proxy.ask(forward).0.status(), proxy.ask(gateway).0.status()]
    };
    assert_eq!(ask(), [200, 200]);
    proxy.rewrite(RULES);
    assert_eq!(proxy.reload().status(), 200);
    assert_eq!(ask(), [403, 403]);
}

fn hiding() -> Setup {
    Setup::new().config("policy: { default: deny, rules: [ \
         { name: no-curl, action: deny, when: 'field(\"user-agent\").startsWith(\"curl/\") && request.query == \"\"' }, \
         { name: watch, action: observe, paths: [/v2] }, \
         { name: team-a, action: admit, users: [alice], paths: [/v2/team-a], domains: [registry.test] }, \
         { name: other, action: deny, paths: [/v2], domains: [other.test] }, \
         { name: tunnels, action: admit, roles: [tunnel] } ] }\n")
}

#[test]
fn explain_says_what_a_tunnel_hides() {
    let setup = hiding();
    let arguments = "--user alice --resolve 9.9.9.9 --target https://registry.test/v2/team-a/x?y";
    let outcome = explain(&setup, arguments);
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    for line in [
        "admit, by tunnels\n  for CONNECT registry.test:443 (tunnel)",
        "admit, by team-a\n  for GET registry.test:443 (forward)",
        "  no-curl  deny     no match: when: false\n                    not visible in a tunnel: query, fields\n",
        "  team-a   admit    no match: paths: none\n                    not visible in a tunnel: path\n",
        "rules that could decide otherwise if the request in the tunnel came in the clear, as a URL to forward: no-curl, team-a\n",
    ] {
        assert!(outcome.stdout.contains(line), "{line}\n{}", outcome.stdout);
    }
    assert_eq!(
        outcome.stdout.matches("not visible in a tunnel").count(),
        4,
        "{}",
        outcome.stdout
    );
    let (_, value) = explain_json(&setup, arguments);
    assert_eq!(
        value["in_the_clear"],
        json!(["no-curl", "team-a"]),
        "{value:#}"
    );
    assert_eq!(value["rules"][0]["hidden"], json!(["query", "fields"]));
    assert_eq!(value["rules"][2]["hidden"], json!(["path"]));
    let ways = &value["ways"];
    assert_eq!(ways[0]["path"], json!(null));
    assert_eq!(ways[1]["path"], json!("/v2/team-a/x?y"));
    assert_eq!(ways[1]["in_the_clear"], json!(null));
    assert_eq!(ways[1]["rules"][0]["hidden"], json!(null));
    // A path with two readings is named as such.
    let outcome = explain(
        &setup,
        "--user alice --target http://registry.test/v2/x/..%2fteam-a",
    );
    let line = "paths: /v2/x/..%2fteam-a, which servers may read in several ways";
    assert!(outcome.stdout.contains(line), "{}", outcome.stdout);
    // `host:port` is explained alike; nothing is said where no rule reads what is hidden.
    let (_, value) = explain_json(
        &setup,
        "--user alice --resolve 9.9.9.9 --target registry.test:443",
    );
    assert_eq!(value["in_the_clear"], json!(["no-curl", "team-a"]));
    let plain = Setup::new();
    let (_, value) = explain_json(
        &plain,
        "--user alice --resolve 9.9.9.9 --target https://a.test/x",
    );
    assert_eq!(
        (&value["in_the_clear"], &value["ways"][1]["path"]),
        (&json!(null), &json!(null))
    );
}

#[test]
fn explain_takes_fields() {
    let setup = hiding();
    let file = setup.write();
    let ask = |target: &str, fields: &[&str]| {
        let mut arguments = vec![
            "explain",
            "-c",
            file.to_str().unwrap(),
            "--user",
            "alice",
            "--json",
        ];
        arguments.extend(["--resolve", "9.9.9.9", "--target", target]);
        for field in fields {
            arguments.extend(["--header", field]);
        }
        tollgate(arguments)
    };
    let rules = |target: &str, fields: &[&str]| -> Vec<String> {
        let outcome = ask(target, fields);
        let value: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        let ways = value["ways"].as_array().unwrap().iter();
        ways.map(|way| way["rule"].as_str().unwrap().to_owned())
            .collect()
    };
    let url = "https://registry.test/v2/team-a";
    assert_eq!(rules(url, &[]), ["tunnels", "team-a"]);
    assert_eq!(
        rules(url, &["X-A: b", "User-Agent: curl/8"]),
        ["tunnels", "no-curl"]
    );
    assert_eq!(
        rules(&format!("{url}?q"), &["User-Agent: curl/8"]),
        ["tunnels", "team-a"]
    );
    // Those of `host:port` are in the CONNECT.
    assert_eq!(
        rules("registry.test:443", &["User-Agent: curl/8"]),
        ["no-curl"]
    );
    for (field, words) in [
        (
            "User-Agent",
            "--header: no colon; write it as in --header 'User-Agent: curl/8.5.0'",
        ),
        ("a b: canary", "--header: a client cannot send these"),
    ] {
        let outcome = ask(url, &[field]);
        assert_eq!(outcome.code(), Some(64), "{}", outcome.output());
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
        assert!(!outcome.stderr.contains("canary"), "{}", outcome.stderr);
    }
}

#[test]
fn policy_tests_have_paths_and_fields() {
    let check = |tests: &str| {
        let setup = hiding().config(&format!("policy_tests: [{tests}]"));
        let file = setup.write();
        tollgate(["check".as_ref(), "-c".as_ref(), file.as_os_str()])
    };
    let good = check(
        "{ user: alice, target: 'https://registry.test/v2/team-a/x', expect: admit, rule: team-a }, \
         { user: alice, target: 'https://registry.test/v2/team-b', expect: deny, rule: default }, \
         { user: alice, target: 'http://registry.test/v2/team-a/..%2fteam-b', expect: deny, rule: default }, \
         { user: alice, target: 'http://registry.test/v2/team-a', request_headers: { User-Agent: curl/8, X-A: '1' }, expect: deny, rule: no-curl }, \
         { user: alice, target: 'registry.test:443', expect: admit, rule: tunnels }",
    );
    assert_eq!(good.code(), Some(0), "{}", good.output());
    for (test, words) in [
        (
            "{ user: alice, target: 'http://registry.test/v2/team-b', expect: admit }",
            "tollgate.policy_tests[0]: expected admit, found deny by default",
        ),
        (
            "{ user: alice, target: /, request_headers: { 'a b': canary }, expect: deny }",
            "tollgate.policy_tests[0].request_headers: a client cannot send these: ",
        ),
        (
            "{ user: alice, target: /, request_headers: [a], expect: deny }",
            "tollgate.policy_tests[0].request_headers: ",
        ),
    ] {
        let outcome = check(test);
        assert_eq!(outcome.code(), Some(78), "{}", outcome.output());
        assert!(outcome.output().contains(words), "{}", outcome.output());
        assert!(!outcome.output().contains("canary"), "{}", outcome.output());
    }
}

#[test]
fn wrong_paths_are_errors() {
    for (path, remedy) in [
        ("v2", "write segments of letters, digits"),
        ("/v2/*", "write the path alone, such as /v2/team-a"),
        ("/v2//a", "write segments of letters, digits"),
        ("/v2/%61", "write segments of letters, digits"),
        ("/v2/../a", "write segments of letters, digits"),
    ] {
        let rule = format!("{{ name: a, action: deny, paths: [/ok, '{path}'] }}");
        let setup = Setup::new().config(&format!("policy: {{ rules: [{rule}] }}"));
        let file = setup.write();
        let outcome = tollgate(["check".as_ref(), "-c".as_ref(), file.as_os_str()]);
        assert_eq!(outcome.code(), Some(78), "{}", outcome.output());
        let words = "tollgate.policy.rules[0].paths[1]: not a path that has one spelling; ";
        let line = format!("{words}{remedy}");
        assert!(
            outcome.output().contains(&line),
            "{line}\n{}",
            outcome.output()
        );
    }
}
