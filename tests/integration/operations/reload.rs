//! Reloads: users, groups, lists and rules change as one, or not at all.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::Wire;
use crate::support::dns::Dns;
use crate::support::message::Response;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, COLON, connect, fetch, request_of, sha_line};
use crate::support::{DEADLINE, eventually};

const GOOD: &str = "tollgate_reloads_total{result=\"success\"}";
const BAD: &str = "tollgate_reloads_total{result=\"failure\"}";

fn everywhere() -> Dns {
    Dns::with(60, |_, _| Some(vec!["127.0.0.1".parse().unwrap()]))
}

/// Rules whose only names are those.
fn rules(admits: &str, denies: &str) -> String {
    format!(
        "policy: {{ rules: [ \
         {{ name: {admits}, action: admit, groups: [team], domains: [\"@list.txt\"] }}, \
         {{ name: {denies}, action: deny, status: 404 }} ] }}"
    )
}

/// Alice's team may go to one.test.
fn first_state(dns: &Dns) -> Setup {
    Setup::new()
        .file("users.htpasswd", sha_line(ALICE) + &sha_line(COLON))
        .file("groups.htgroup", "team: alice\n")
        .file("list.txt", "one.test\n")
        .config("auth: { groups: groups.htgroup }")
        .config(&rules("one", "one-rest"))
        .config(&dns.config())
}

/// Bob's team may go to two.test: every file is another one.
fn write_second_state(proxy: &Proxy) {
    let users = [sha_line(BOB), sha_line(COLON), sha_line(("dora", "x"))].concat();
    std::fs::write(proxy.path("users.htpasswd"), users).unwrap();
    std::fs::write(proxy.path("groups.htgroup"), "team: bob\nmore: carol\n").unwrap();
    std::fs::write(proxy.path("list.txt"), "0.0.0.0 two.test\n").unwrap();
    proxy.rewrite(&rules("two", "two-rest"));
}

/// What three users get of two names: the status, and the rule where there was one.
fn decisions(proxy: &Proxy, port: u16) -> Vec<(u16, String)> {
    let users = [ALICE, BOB, COLON].into_iter();
    let asked = users.flat_map(|user| [(user, "one.test"), (user, "two.test")]);
    asked
        .map(|(user, host)| {
            let url = format!("http://{host}:{port}/");
            let (answer, record) = proxy.ask(request_of(user, "GET", &url));
            let rule = record["rule"].as_str().unwrap_or("").to_owned();
            (answer.status(), rule)
        })
        .collect()
}

fn first_decisions() -> Vec<(u16, String)> {
    [
        (200, "one"),
        (404, "one-rest"),
        (407, ""),
        (407, ""),
        (404, "one-rest"),
        (404, "one-rest"),
    ]
    .map(|(status, rule)| (status, rule.to_owned()))
    .to_vec()
}

fn second_decisions() -> Vec<(u16, String)> {
    [
        (407, ""),
        (407, ""),
        (404, "two-rest"),
        (200, "two"),
        (404, "two-rest"),
        (404, "two-rest"),
    ]
    .map(|(status, rule)| (status, rule.to_owned()))
    .to_vec()
}

/// A request to the admin service.
fn admin(address: SocketAddr, method: &str, path: &str, fields: &str) -> Response {
    let host = if fields.contains("Host:") {
        String::new()
    } else {
        format!("Host: {address}\r\n")
    };
    let mut wire = Wire::connect(address).unwrap();
    wire.exchange(format!(
        "{method} {path} HTTP/1.1\r\n{host}{fields}Content-Length: 0\r\nConnection: close\r\n\r\n"
    ))
}

#[test]
fn all_files_are_taken_over_as_one() {
    let dns = everywhere();
    let origin = Origin::ok("in");
    for by_signal in [false, true] {
        let proxy = first_state(&dns).start();
        assert_eq!(decisions(&proxy, origin.port()), first_decisions());
        write_second_state(&proxy);
        assert_eq!(
            decisions(&proxy, origin.port()),
            first_decisions(),
            "taken over before anybody asked"
        );
        if by_signal {
            proxy.signal(Signal::HUP);
            eventually("the reload", || {
                let done = proxy
                    .errors()
                    .contains("SIGHUP: reloaded; 3 users, 2 rules");
                done.then_some(())
            });
        } else {
            let answer = proxy.reload();
            assert_eq!(answer.status(), 200, "{}", answer.text());
            assert_eq!(answer.field("content-type"), Some("application/json"));
            assert_eq!(answer.field("cache-control"), Some("no-store"));
            let said: Value = serde_json::from_slice(&answer.body).unwrap();
            let applied = [
                "tollgate.auth.groups",
                "tollgate.auth.htpasswd",
                "tollgate.policy.rules",
            ];
            assert_eq!(
                said,
                json!({
                    "result": "success", "users": 3, "rules": 2,
                    "applied": applied, "restart_needed": [], "not_compared": [],
                })
            );
            eventually("the log", || {
                let done = proxy.errors().contains("admin: reloaded; 3 users, 2 rules");
                done.then_some(())
            });
        }
        assert_eq!(decisions(&proxy, origin.port()), second_decisions());
        assert_eq!((proxy.metric(GOOD), proxy.metric(BAD)), (1, 0));
    }
}

/// Whatever is broken, nothing of the new state is taken over, and it is said why.
#[test]
fn broken_input_keeps_the_old_state_and_says_why() {
    let dns = everywhere();
    let origin = Origin::ok("in");
    let proxy = first_state(&dns).start();
    let config = std::fs::read(proxy.path("pingora.yaml")).unwrap();
    let broken: &[(&str, &[u8], &str)] = &[
        ("users.htpasswd", b"bob:plain\n", "users.htpasswd:1: "),
        (
            "users.htpasswd",
            b"",
            "users.htpasswd is empty: every request would get 407",
        ),
        ("users.htpasswd", b"bob:{SHA}\xff\n", "htpasswd"),
        (
            "groups.htgroup",
            b"# teams\nteam bob\n",
            "groups.htgroup:2: no colon",
        ),
        (
            "groups.htgroup",
            b"others: bob\n",
            "groups[0]: no such group",
        ),
        ("list.txt", b"two.test\nhttp://two.test/\n", "list.txt:2: "),
        ("pingora.yaml", b"version: 1\ntollgate: [", "pingora.yaml:"),
        ("pingora.yaml", b"", "pingora.yaml"),
        (
            "pingora.yaml",
            b"version: 1\ntollgate: {}\n",
            "tollgate.auth.htpasswd: missing",
        ),
    ];
    for (number, (file, content, said)) in (1..).zip(broken) {
        write_second_state(&proxy);
        std::fs::write(proxy.path(file), content).unwrap();
        assert_refused(&proxy, said, number);
        assert_eq!(
            decisions(&proxy, origin.port()),
            first_decisions(),
            "{said}"
        );
        // Only `rewrite` is built on what was there.
        std::fs::write(proxy.path("pingora.yaml"), &config).unwrap();
    }
    let mut failures = broken.len() as u64;
    for (file, said) in [
        ("users.htpasswd", "users.htpasswd does not exist; make one"),
        ("groups.htgroup", "groups.htgroup does not exist"),
        ("list.txt", "tollgate.policy.rules[0].domains[0]: "),
        ("pingora.yaml", "pingora.yaml: does not exist"),
    ] {
        write_second_state(&proxy);
        std::fs::remove_file(proxy.path(file)).unwrap();
        failures += 1;
        assert_refused(&proxy, said, failures);
        assert_eq!(
            decisions(&proxy, origin.port()),
            first_decisions(),
            "{file}"
        );
        std::fs::write(proxy.path("pingora.yaml"), &config).unwrap();
    }
    // A test of the policy that fails is as good as a broken file.
    write_second_state(&proxy);
    proxy.rewrite("policy_tests: [ { user: bob, target: /, expect: admit } ]");
    assert_refused(
        &proxy,
        "policy_tests[0]: expected admit, found deny by two-rest",
        failures + 1,
    );
    proxy.rewrite("policy_tests: [ { user: bob, target: /, expect: deny, rule: two-rest } ]");
    assert_eq!(proxy.reload().status(), 200);
    assert_eq!(decisions(&proxy, origin.port()), second_decisions());
    assert_eq!(proxy.metric(GOOD), 1);
}

/// A refused reload, first asked for over HTTP, then by a signal.
fn assert_refused(proxy: &Proxy, said: &str, number: u64) {
    let answer = proxy.reload();
    assert_eq!(answer.status(), 422, "{said}: {}", answer.text());
    let value: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(value["result"], "failure", "{value:#}");
    let problems = value["problems"].as_array().unwrap();
    let first = problems.first().unwrap().as_str().unwrap();
    let named = problems
        .iter()
        .any(|one| one.as_str().unwrap().contains(said));
    assert!(named, "{said}: {value:#}");
    proxy.signal(Signal::HUP);
    eventually("the signal's reload to fail", || {
        (proxy.metric(BAD) == 2 * number).then_some(())
    });
    for asked_by in ["admin", "SIGHUP"] {
        let start = format!("{asked_by}: nothing was changed");
        eventually("the reason in the log", || {
            let log = proxy.errors();
            let (_, told) = log.rsplit_once(&start)?;
            told.contains(first).then_some(())
        });
    }
}

#[test]
fn reload_is_a_post_by_an_operator() {
    let proxy = Proxy::plain();
    let address = proxy.admin_address();
    for origin in ["http://evil.example", "null", "http://127.0.0.1", ""] {
        let answer = admin(address, "POST", "/reload", &format!("Origin: {origin}\r\n"));
        assert_eq!(answer.status(), 403, "{origin}");
    }
    let foreign = admin(address, "POST", "/reload", "Host: evil.example\r\n");
    assert_eq!(foreign.status(), 421);
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = admin(address, method, "/reload", "");
        assert_eq!(answer.status(), 405, "{method}");
        assert_eq!(answer.field("allow"), Some("POST"), "{method}");
    }
    for path in ["/reload/", "/Reload", "/stats", "/"] {
        assert_ne!(admin(address, "POST", path, "").status(), 200, "{path}");
    }
    // The proxy's own port does not have it.
    let answer = proxy.exchange(request_of(ALICE, "POST", "/reload"));
    assert_ne!(answer.status(), 200);
    assert_eq!((proxy.metric(GOOD), proxy.metric(BAD)), (0, 0));
    assert_eq!(
        admin(address, "POST", "/reload", "Host: localhost\r\n").status(),
        200
    );
    assert_eq!((proxy.metric(GOOD), proxy.metric(BAD)), (1, 0));
}

/// What goes on goes on: a reload ends neither a tunnel nor a request, and judges the next one.
#[test]
fn established_traffic_survives_a_reload() {
    let dns = everywhere();
    let echo = Origin::echo();
    let origin = Origin::ok("in");
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let slow = Origin::raw(move |mut wire, _| {
        wire.request()?;
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")?;
        let waited = released.lock().unwrap().recv_timeout(DEADLINE);
        waited.map_err(std::io::Error::other)?;
        wire.send("lf")
    });
    let proxy = first_state(&dns).start();
    let mut tunnel = proxy.tunnel(format!("one.test:{}", echo.port()));
    let mut kept = proxy.connect();
    let url = format!("http://one.test:{}/", origin.port());
    assert_eq!(kept.exchange(fetch(&url)).text(), "in");
    let mut half = proxy.connect();
    half.send(fetch(&format!("http://one.test:{}/", slow.port())))
        .unwrap();
    half.read_until(b"ha").unwrap();
    for round in 0..10 {
        if round % 2 == 0 {
            write_second_state(&proxy);
            assert_eq!(proxy.reload().status(), 200);
        } else {
            std::fs::write(proxy.path("list.txt"), "not a domain\n").unwrap();
            assert_eq!(proxy.reload().status(), 422);
        }
        tunnel.send("ping").unwrap();
        assert_eq!(tunnel.read_bytes(4).unwrap(), b"ping");
    }
    // Alice is gone: what she has stays, what she asks for is refused.
    assert_eq!(kept.exchange(fetch(&url)).status(), 407);
    let again = connect(format!("one.test:{}", echo.port()));
    assert_eq!(proxy.exchange(again).status(), 407);
    release.send(()).unwrap();
    assert_eq!(half.read_bytes(2).unwrap(), b"lf");
    tunnel.send("last").unwrap();
    tunnel.finish().unwrap();
    assert_eq!(tunnel.read_to_end().unwrap(), b"last");
    let record = proxy.record("the tunnel", |record| record["event"] == "tunnel_close");
    assert_eq!(
        (&record["rule"], &record["user"]),
        (&"one".into(), &"alice".into())
    );
}

/// Who asks and does not wait, sends what nobody reads, or asks again and again, harms nothing.
#[test]
fn hasty_operators_do_no_harm() {
    let dns = everywhere();
    let origin = Origin::ok("in");
    let proxy = first_state(&dns).start();
    let address = proxy.admin_address();
    let head = format!("POST /reload HTTP/1.1\r\nHost: {address}\r\n");
    // A body is no request.
    let mut wire = Wire::connect(address).unwrap();
    let inner = format!("GET /nothing HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let body = format!("{head}Content-Length: {}\r\n\r\n{inner}", inner.len());
    assert_eq!(wire.exchange(body).status(), 200);
    let next = format!("GET /stats HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    // Closed, or in step.
    if wire.send(next).is_ok()
        && let Ok(answer) = wire.response("GET")
    {
        assert_eq!(answer.status(), 200, "{}", answer.text());
        wire.assert_closed();
    }

    write_second_state(&proxy);
    let before = proxy.metric(GOOD);
    let hasty: Vec<Wire> = (0..20)
        .map(|_| {
            let mut wire = Wire::connect(address).unwrap();
            wire.send(format!("{head}Content-Length: 0\r\n\r\n"))
                .unwrap();
            wire
        })
        .collect();
    drop(hasty);
    // At least one of them was heard, and one that waits is.
    eventually("a reload", || (proxy.metric(GOOD) > before).then_some(()));
    assert_eq!(proxy.reload().status(), 200);
    assert_eq!(decisions(&proxy, origin.port()), second_decisions());
    assert_eq!(proxy.metric(BAD), 0);
}

/// A reload that takes its time does not keep a drain from beginning.
#[test]
fn signals_are_heard_while_lists_are_read() {
    let mut list = String::new();
    for number in 0..400_000 {
        let _ = writeln!(list, "host-{number}.listed.test");
    }
    let dns = everywhere();
    let mut proxy = first_state(&dns).start();
    std::fs::write(proxy.path("list.txt"), list).unwrap();
    let start = Instant::now();
    assert_eq!(proxy.reload().status(), 200);
    let reading = start.elapsed();
    proxy.signal(Signal::HUP);
    // What takes a round trip is heard later than that.
    assert_eq!(proxy.admin("/stats").status(), 200);
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    eventually("the listener to close", || {
        TcpStream::connect(proxy.address).err()
    });
    let heard = start.elapsed();
    let bound = (reading / 2).max(Duration::from_millis(500));
    assert!(heard < bound, "{heard:?} where a reload takes {reading:?}");
    assert!(proxy.wait_exit(DEADLINE).success());
}
