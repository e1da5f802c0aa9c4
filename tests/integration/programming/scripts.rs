//! Scripts in the real program: one in each phase, over HTTP/1, HTTP/2, CONNECT and WebSocket, and across a reload.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::client::Wire;
use crate::support::http2;
use crate::support::message::response;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, auth, connect, fetch, request_of};

pub(super) const SECRET: &str = "s3cr3t-v4lu3-9d1f";

/// Every phase of a request, with a secret.
pub(super) const ALL: &str = r#"
fn request(r) {
    if r.path == "/old" { r.set_header("x-old", "1"); }
    if r.path == "/whoami" { return answer(200, #{ "x-by": "script" }, `${r.method} ${r.client}`); }
}
fn authorize(r) {
    if r.path == "/denied" { return deny(451, `not for ${r.user}`); }
    if r.path == "/throws" { throw "odd"; }
    if r.path == "/endless" { loop { } }
}
fn upstream_request(r) {
    r.set_header("x-team", settings.team);
    r.remove_header("cookie");
    r.set_header("authorization", bearer(secret("token")));
}
fn response(r) { r.remove_header("server"); r.set_header("x-status", r.status); }
fn log(r) { r.tag("team", settings.team); r.count("seen", r.role); }
"#;

fn with_scripts(scripts: &str) -> Setup {
    Setup::new()
        .file("token", format!("{SECRET}\n"))
        .config("secrets: { token: { file: token, clear_text: true } }")
        .config(scripts)
}

pub(super) fn all() -> Setup {
    with_scripts(
        "scripts: [{ name: all, file: all.rhai, roles: [forward], settings: { team: blue } }]",
    )
    .file("all.rhai", ALL)
}

fn origin() -> Origin {
    Origin::http(|_| response("200 OK", "Server: origin\r\n", "in"))
}

#[test]
fn a_script_edits_denies_and_answers() {
    let (proxy, origin) = (all().start(), origin());
    let url = |path: &str| format!("http://{}{path}", origin.address);
    let (answer, _) = proxy.ask(format!(
        "GET {0} HTTP/1.1\r\nHost: x\r\n{1}Cookie: a=1\r\n\r\n",
        url("/old"),
        auth()
    ));
    assert_eq!(
        (answer.status(), answer.field("x-status")),
        (200, Some("200"))
    );
    assert_eq!(answer.field("server"), None);
    let fields = origin.request().head.fields;
    assert_eq!(
        (fields.all("x-team"), fields.all("x-old")),
        (vec!["blue"], vec!["1"])
    );
    assert_eq!(fields.all("authorization"), [format!("Bearer {SECRET}")]);
    assert!(!fields.has("cookie"));

    let (answer, _) = proxy.ask(fetch(&url("/whoami")));
    assert_eq!(
        (answer.status(), answer.field("x-by")),
        (200, Some("script"))
    );
    assert_eq!(answer.text(), "GET 127.0.0.1");
    let (answer, record) = proxy.ask(fetch(&url("/denied")));
    assert_eq!(answer.status(), 451);
    assert!(answer.text().contains("not for alice"), "{}", answer.text());
    assert_eq!(record["rule"], "hook:all", "{record}");
    assert_eq!(record["tags"]["team"], "blue");
    for (path, reason) in [
        ("/throws", "throws odd (line 8)"),
        ("/endless", "more than 50000 operations"),
    ] {
        let (answer, record) = proxy.ask(fetch(&url(path)));
        assert_eq!(answer.status(), 500, "{path}");
        let shown = record.to_string();
        assert!(
            shown.contains("hook:all in authorize") && shown.contains(reason),
            "{shown}"
        );
        assert!(!answer.text().contains("odd"));
    }
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(
        proxy.metric("tollgate_hook_failures_total{hook=\"all\"}"),
        2
    );
    assert_eq!(
        proxy.metric("tollgate_hook_events_total{label=\"forward\",name=\"seen\"}"),
        5
    );
    assert!(!proxy.output().contains(SECRET) && !proxy.errors().contains(SECRET));
    let records: Vec<String> = proxy.records().iter().map(ToString::to_string).collect();
    assert!(!records.concat().contains(SECRET));
}

#[test]
fn a_request_of_http2_is_treated_alike() {
    let (proxy, origin) = (all().start(), origin());
    let url = |path: &str| format!("http://{}{path}", origin.address);
    let address = proxy.connect().socket().peer_addr().unwrap();
    http2::run(async {
        let mut client = http2::Client::connect(address).await;
        let answer = client
            .ask(http2::request_of(ALICE, "GET", &url("/old")))
            .await;
        assert_eq!(
            (answer.field("x-status"), answer.field("server")),
            (Some("200"), None)
        );
        let answer = client
            .ask(http2::request_of(ALICE, "GET", &url("/whoami")))
            .await;
        assert_eq!(answer.field("x-by"), Some("script"));
        let answer = client
            .ask(http2::request_of(ALICE, "GET", &url("/denied")))
            .await;
        assert!(answer.text().contains("not for alice"));
    });
    assert_eq!(origin.request().head.fields.all("x-team"), ["blue"]);
}

const TUNNELS: &str = r#"
fn request(r) { if r.port == 9 { r.set_target(settings.target); } }
fn tunnel_open(t) {
    t.report_every(4096);
    if t.in_group("none") || t.user == "bob" { return deny(403, "no tunnels"); }
}
fn tunnel_bytes(t, moved) { if moved.total_from_client >= 8192 { return cut(); } }
fn tunnel_close(t, total) { t.tag("sent", total.bytes_from_client); }
"#;

fn tunnels(target: std::net::SocketAddr) -> Proxy {
    let scripts =
        format!("scripts: [{{ name: tunnels, file: t.rhai, settings: {{ target: '{target}' }} }}]");
    Setup::new()
        .file("t.rhai", TUNNELS)
        .config(&scripts)
        .start()
}

#[test]
fn a_script_opens_cuts_and_tags_tunnels() {
    let echo = Origin::echo();
    let proxy = tunnels(echo.address);
    let mut wire = proxy.connect();
    assert_eq!(wire.exchange(connect(echo.address)).status(), 200);
    wire.send("ping").unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
    drop(wire);
    let record = proxy.record("a tunnel", |record| record["tags"]["sent"].is_string());
    assert_eq!(record["tags"]["sent"], "4", "{record}");
    // Another user, who has no tunnels.
    let authority = echo.address.to_string();
    let bob = request_of(crate::support::request::BOB, "CONNECT", &authority);
    let answer = proxy.exchange(bob);
    assert_eq!(answer.status(), 403);
    assert!(answer.text().contains("no tunnels"), "{}", answer.text());
    // Another target, chosen before the policy.
    let mut wire = proxy.connect();
    assert_eq!(wire.exchange(connect("127.0.0.1:9")).status(), 200);
    wire.send("ping").unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
    // Too much for one report.
    let sent = (0..1000).try_for_each(|_| wire.send([7; 4096]));
    assert!(
        sent.and_then(|()| wire.read_to_end().map(drop)).is_err(),
        "the tunnel goes on"
    );
    let record = proxy.record("a cut", |record| record["end_reason"] == "hook");
    assert_eq!(record["rule"], "hook:tunnels", "{record}");
}

#[test]
fn a_websocket_has_the_fields_and_the_tunnel_of_a_script() {
    let origin = Origin::raw(|mut wire, seen| {
        let head = wire.read_head()?.unwrap();
        seen.keep(crate::support::message::Request {
            head,
            body: Vec::new(),
        });
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nServer: o\r\n\r\n",
        )?;
        let sent = wire.read_bytes(4)?;
        wire.send(sent)
    });
    let proxy = all()
        .config("scripts: [{ name: all, file: all.rhai, settings: { team: blue } }, { name: t, file: t.rhai, settings: { target: 'a:1' } }]")
        .file("t.rhai", TUNNELS)
        .config("secrets: { token: { file: token, clear_text: true } }")
        .start();
    let mut wire = proxy.connect();
    let answer = wire.exchange(format!(
        "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        origin.address,
        auth()
    ));
    assert_eq!(
        (answer.status(), answer.field("x-status")),
        (101, Some("101"))
    );
    assert_eq!(answer.field("server"), None);
    wire.send("ping").unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
    drop(wire);
    let record = proxy.record("a websocket", |record| record["tags"]["sent"].is_string());
    assert_eq!(record["tags"]["sent"], "4", "{record}");
    assert_eq!(origin.request().head.fields.all("x-team"), ["blue"]);
}

#[test]
fn a_skipped_failure_costs_nothing_and_is_counted() {
    let proxy =
        with_scripts("scripts: [{ name: odd, file: odd.rhai, roles: [forward], on_error: skip }]")
            .file(
                "odd.rhai",
                "fn upstream_request(r) { r.set_header(\"x-odd\", \"1\"); throw \"odd\"; }",
            )
            .start();
    let origin = origin();
    let answer = proxy.fetch(&format!("http://{}/", origin.address));
    assert_eq!(answer.status(), 200);
    assert!(!origin.request().head.fields.has("x-odd"));
    // It is counted before the record is written.
    proxy.wait_records(1);
    assert_eq!(
        proxy.metric("tollgate_hook_failures_total{hook=\"odd\"}"),
        1
    );
    let errors = proxy.errors();
    assert!(
        errors.contains("hook odd failed in upstream_request: throws odd (line 1)"),
        "{errors}"
    );
}

#[test]
fn a_reload_replaces_scripts_and_secrets_at_once_or_not_at_all() {
    let script = |team: &str| {
        format!(
            "fn upstream_request(r) {{ r.set_header(\"x-team\", \"{team}\"); r.set_header(\"x-token\", secret(\"token\")); }}"
        )
    };
    let proxy = with_scripts("scripts: [{ name: team, file: team.rhai, roles: [forward] }]")
        .file("team.rhai", script("one"))
        .file("token", "one")
        .start();
    let origin = Origin::ok("in");
    let url = format!("http://{}/", origin.address);
    let pair = || {
        let seen = origin.requests();
        let fields = &seen.last().unwrap().head.fields;
        (
            fields.all("x-team").concat(),
            fields.all("x-token").concat(),
        )
    };
    proxy.fetch(&url);
    assert_eq!(pair(), ("one".to_owned(), "one".to_owned()));
    // A fault keeps everything as it is.
    std::fs::write(proxy.path("token"), "two").unwrap();
    std::fs::write(
        proxy.path("team.rhai"),
        "fn upstream_request(r) { r.set_heder(1); }",
    )
    .unwrap();
    let answer = proxy.reload();
    assert!(answer.text().contains("set_heder"), "{}", answer.text());
    proxy.fetch(&url);
    assert_eq!(pair(), ("one".to_owned(), "one".to_owned()));
    // Requests on all threads while scripts are replaced: each has one pair.
    let done = AtomicBool::new(false);
    let address = proxy.connect().socket().peer_addr().unwrap();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut wire = Wire::connect(address).unwrap();
                    let mut count = 0;
                    while !done.load(Ordering::Relaxed) {
                        assert_eq!(wire.exchange(fetch(&url)).status(), 200);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for round in 0..10 {
            let value = format!("v{round}");
            std::fs::write(proxy.path("token"), &value).unwrap();
            std::fs::write(proxy.path("team.rhai"), script(&value)).unwrap();
            assert_eq!(proxy.reload().status(), 200);
        }
        done.store(true, Ordering::Relaxed);
        for client in clients {
            assert!(client.join().unwrap() > 0);
        }
    });
    for request in origin.requests() {
        let fields = request.head.fields;
        assert_eq!(fields.all("x-team"), fields.all("x-token"));
    }
    proxy.fetch(&url);
    assert_eq!(pair(), ("v9".to_owned(), "v9".to_owned()));
}

/// A client of another role is not touched.
#[test]
fn a_script_has_the_roles_of_its_configuration() {
    let proxy = all().start();
    let mut wire = Wire::connect(proxy.connect().socket().peer_addr().unwrap()).unwrap();
    let answer = wire.exchange(format!("GET /denied HTTP/1.1\r\nHost: a\r\n{}\r\n", auth()));
    assert_ne!(answer.status(), 451);
}
