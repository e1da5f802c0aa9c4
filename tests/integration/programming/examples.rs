//! The examples of hooks, as their readers run them.

use std::process::Command;

use crate::support::command::{example, run};
use crate::support::dns::Dns;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, auth, connect, fetch, request, request_of};
use crate::support::tls::Authority;

fn start(name: &str, setup: Setup) -> Option<Proxy> {
    Some(setup.start_by(Command::new(example(name)?)))
}

/// One user in these groups.
fn grouped(groups: &str, yaml: &str) -> Setup {
    Setup::new()
        .file("groups", groups)
        .config(&format!("auth: {{ groups: groups }}\n{yaml}"))
}

#[test]
fn a_field() {
    let dns = Dns::table(&[
        ("a.corp.example", &["127.0.0.1"]),
        ("b.example", &["127.0.0.1"]),
    ]);
    let setup = grouped("blue: alice\n", &dns.config());
    let Some(proxy) = start("hook_field", setup) else {
        return;
    };
    let origin = Origin::http(|request| ok(request.head.fields.all("x-team").join(",")));
    for (host, expected) in [("a.corp.example", "blue"), ("b.example", "")] {
        let answer = proxy.exchange(format!(
            "GET http://{host}:{0}/ HTTP/1.1\r\nHost: {host}:{0}\r\n{1}X-Team: red\r\n\r\n",
            origin.port(),
            auth()
        ));
        assert_eq!(answer.text(), expected, "{host}");
    }
}

#[test]
fn a_denial() {
    let Some(proxy) = start("hook_denial", Setup::new()) else {
        return;
    };
    let origin = Origin::ok("in");
    let zip = "Content-Type: application/zip\r\nContent-Length: 0\r\n";
    let answer = proxy.exchange(request("POST", &origin, zip, ""));
    assert_eq!(answer.status(), 451);
    let line = "HTTP/1.1 451 denied by hook:NoArchives: archives stay here; ask it@corp.example";
    assert_eq!(answer.head.start, line);
    let text = "Content-Type: text/plain\r\nContent-Length: 0\r\n";
    assert_eq!(
        proxy.exchange(request("POST", &origin, text, "")).text(),
        "in"
    );
}

#[test]
fn a_pool() {
    let (stable, beta) = (Origin::ok("stable"), Origin::ok("beta"));
    let pools = format!(
        "gateway:\n  upstreams: [\"{}\"]\n  pools: [{{ name: beta, path: /nowhere, upstreams: [\"{}\"] }}]\n",
        stable.address, beta.address
    );
    let Some(proxy) = start("hook_pool", grouped("beta: alice\n", &pools)) else {
        return;
    };
    let ask = |path: &str| {
        let credentials = auth().replace("Proxy-", "");
        proxy.exchange(format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\n{credentials}\r\n"
        ))
    };
    assert_eq!(ask("/api/x").text(), "beta");
    assert_eq!(ask("/apix").text(), "stable");
    // Servers may read this path in two ways: neither answer is safe.
    assert_eq!(ask("/x/..%2fapi").status(), 400);
}

#[test]
fn a_tunnel() {
    let Some(proxy) = start("hook_tunnel", Setup::new()) else {
        return;
    };
    let origin = Origin::raw(|mut wire, _| wire.read_to_end().map(drop));
    let mut wire = proxy.connect();
    assert_eq!(wire.exchange(connect(origin.address)).status(), 200);
    let sent = (0..1000).try_for_each(|_| wire.send([7; 16384]));
    let ended = sent.and_then(|()| wire.read_to_end().map(drop));
    assert!(ended.is_err(), "the tunnel goes on");
    let records = proxy.wait_records(1);
    assert_eq!(records[0]["end_reason"], "hook");
}

#[test]
fn an_authenticator() {
    let rules =
        "policy: { default: deny, rules: [{ name: robots, action: admit, groups: [robots] }] }";
    let Some(proxy) = start(
        "hook_authenticator",
        grouped("robots: alice\nguests: bob\n", rules),
    ) else {
        return;
    };
    let origin = Origin::ok("in");
    let url = format!("http://{}/", origin.address);
    for (user, password, status) in [
        ("ci", "let-me-in", 200),
        ("ci", "let-me-in ", 407),
        ("ci", "", 407),
        ("eve", "open", 403),
        // The users of the file are users still.
        ("alice", ALICE.1, 200),
        ("alice", "wrong", 407),
        ("bob", BOB.1, 403),
    ] {
        let answer = proxy.exchange(request_of((user, password), "GET", &url));
        assert_eq!(answer.status(), status, "{user}:{password}");
    }
    let connect = request_of(("ci", "let-me-in"), "CONNECT", &origin.address.to_string());
    assert_eq!(proxy.exchange(connect).status(), 200);
    let gateway = request_of(("ci", "wrong"), "GET", "/").replace("Proxy-", "");
    assert_eq!(proxy.exchange(gateway).status(), 401);
}

#[test]
fn a_resolver() {
    let dns = Dns::table(&[("other.test", &["127.0.0.1"])]);
    let Some(proxy) = start("hook_resolver", Setup::new().config(&dns.config())) else {
        return;
    };
    let origin = Origin::ok("in");
    for (host, status) in [("wiki.svc", 200), ("old.svc", 403), ("other.test", 200)] {
        let url = format!("http://{host}:{}/", origin.port());
        assert_eq!(proxy.exchange(fetch(&url)).status(), status, "{host}");
    }
}

#[test]
fn a_secret() {
    const TOKEN: &str = "t0k3n-of-the-operator";
    let Some(program) = example("hook_secret") else {
        return;
    };
    let dns = Dns::table(&[("api.corp.example", &["127.0.0.1"])]);
    let authority = Authority::new();
    let identity = authority.issue(&["api.corp.example"]);
    let seen = |request: &crate::support::message::Request| {
        let fields = &request.head.fields;
        ok([fields.all("authorization"), fields.all("cookie")]
            .concat()
            .join(","))
    };
    let (secure, plain) = (Origin::https(identity.server(), seen), Origin::http(seen));
    let setup = grouped("agents: alice\n", &dns.config())
        .file("ca.pem", authority.pem())
        .server("ca_file: ca.pem");
    let mut command = Command::new(program);
    command.env("API_TOKEN", TOKEN);
    let proxy = setup.start_by(command);
    let ask = |user, url: String| {
        let request = request_of(user, "GET", &url);
        let request = request.replacen("\r\n\r\n", "\r\nCookie: a=1\r\n\r\n", 1);
        proxy.exchange(request).text()
    };
    let url =
        |scheme: &str, origin: &Origin| format!("{scheme}://api.corp.example:{}/", origin.port());
    assert_eq!(ask(ALICE, url("https", &secure)), format!("Bearer {TOKEN}"));
    assert_eq!(ask(ALICE, url("http", &plain)), "a=1");
    assert_eq!(ask(BOB, url("https", &secure)), "a=1");
    let records: Vec<String> = proxy
        .wait_records(3)
        .iter()
        .map(ToString::to_string)
        .collect();
    for text in [proxy.output(), proxy.errors(), records.concat()] {
        assert!(!text.contains(TOKEN), "{text}");
    }
}

#[test]
fn an_example_without_a_file_says_what_is_missing() {
    let Some(program) = example("hook_denial") else {
        return;
    };
    let outcome = run(Command::new(program).env_remove("RUST_BACKTRACE"), "");
    assert_eq!(outcome.code(), Some(1));
    let expected = "Error: no configuration file is named; give one, such as conf/pingora.yaml\n";
    assert_eq!(outcome.stderr, expected);
}

#[test]
fn a_log_field() {
    let Some(proxy) = start("hook_log", Setup::new()) else {
        return;
    };
    let origin = Origin::ok("in");
    proxy.exchange(request("GET", &origin, "X-CI-Job: build \"7\"\r\n", ""));
    let refusing = "http://127.0.0.1:1/";
    assert_eq!(proxy.fetch(refusing).status(), 502);
    proxy.record("the job", |record| record["tags"]["job"] == "build \"7\"");
    let metrics = proxy.admin("/metrics").text();
    let line = "tollgate_hook_events_total{label=\"127.0.0.1\",name=\"failed\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}
