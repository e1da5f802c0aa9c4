//! What is kept from whom: a service without users beyond loopback, pages of other sites, requests without a host; and who changed what.

use crate::support::admin::{CHANGE, ask, kind, root, with_users};
use crate::support::client::Wire;
use crate::support::command::tollgate;
use crate::support::eventually;
use crate::support::proxy::{Proxy, Setup};

const STATUS: &str = "/api/v1/status";

/// Beyond loopback nobody sees what is for users, where there are none.
#[test]
fn beyond_loopback_what_is_for_users_needs_users() {
    let everywhere = |more: &str| {
        let setup = Setup::new();
        let port = setup.admin_address().port();
        setup
            .config(&format!("admin: {{ address: \"0.0.0.0:{port}\"{more} }}"))
            .start()
    };
    let proxy = everywhere("");
    assert_eq!(ask(&proxy, "GET", "/healthz", "", "").status(), 200);
    for (method, path) in [
        ("GET", STATUS),
        ("GET", "/api/v1/users"),
        ("GET", "/api/v1/nothing"),
        ("POST", "/api/v1/reload"),
    ] {
        let answer = ask(&proxy, method, path, CHANGE, "");
        assert_eq!(
            (answer.status(), &*kind(&answer)),
            (403, "users_missing"),
            "{path}"
        );
    }
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/stats"),
        ("GET", "/metrics"),
        ("POST", "/reload"),
    ] {
        let answer = ask(&proxy, method, path, CHANGE, "");
        assert_eq!(answer.status(), 403, "{path}");
        assert!(
            answer.text().contains("configure admin.users"),
            "{}",
            answer.text()
        );
    }
    // The command says what the service says: there is no user to name.
    let conf = proxy.path("pingora.yaml");
    let reload = tollgate(["reload".as_ref(), "-c".as_ref(), conf.as_os_str()]);
    assert_eq!(reload.code(), Some(1), "{}", reload.output());
    assert!(
        reload.stderr.contains("configure admin.users") && !reload.stderr.contains("--user"),
        "{}",
        reload.stderr
    );
    let metrics = everywhere(", public_metrics: true");
    assert_eq!(ask(&metrics, "GET", "/metrics", "", "").status(), 200);
    assert_eq!(ask(&metrics, "GET", "/stats", "", "").status(), 403);
    assert!(
        !metrics.errors().contains("has no users"),
        "{}",
        metrics.errors()
    );
}

/// RFC 9112 §3.2.
#[test]
fn a_request_has_one_host() {
    let proxy = Proxy::plain();
    let status = |head: &str| {
        let mut wire = Wire::connect(proxy.admin_address()).unwrap();
        wire.exchange(format!("{head}\r\n")).status()
    };
    assert_eq!(status("GET /healthz HTTP/1.1\r\n"), 400);
    assert_eq!(
        status("GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n"),
        400
    );
    assert_eq!(status("GET /healthz HTTP/1.1\r\nHost: localhost\r\n"), 200);
    assert_eq!(status("GET /healthz HTTP/1.0\r\n"), 200);
}

/// A page of another site cannot hold the places of those who look.
#[test]
fn what_another_site_asks_for_is_refused() {
    let proxy = Proxy::plain();
    let foreign = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\n";
    for path in ["/api/v1/events", STATUS] {
        let answer = ask(&proxy, "GET", path, foreign, "");
        assert_eq!(
            (answer.status(), &*kind(&answer)),
            (403, "origin_refused"),
            "{path}"
        );
    }
    // A link leads there, and a frame shows nothing of it.
    for (destination, status) in [("document", 200), ("iframe", 403)] {
        let fields = format!(
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: {destination}\r\n"
        );
        assert_eq!(ask(&proxy, "GET", STATUS, &fields, "").status(), status);
    }
}

#[test]
fn the_log_has_each_change_with_who_made_it() {
    let proxy = with_users()
        .config("limits: { store: { file: quota.redb }, classes: [{ name: all, quota: { day: 1GiB } }] }")
        .start();
    for (method, path, body, status) in [
        ("POST", "/reload", "", 200),
        (
            "POST",
            "/quotas/grant?class=all&user=alice&bytes=1GiB",
            "",
            200,
        ),
        // Nothing is changed.
        ("POST", "/quotas/reset?user=nobody", "", 404),
        ("DELETE", "/api/v1/users/alice%0a/tunnels", "", 200),
        // What is done is logged, whatever is logged of all else.
        ("POST", "/api/v1/log-level", r#"{"level": "off"}"#, 200),
        ("POST", "/api/v1/reload", "", 200),
        ("POST", "/api/v1/drain", "", 202),
    ] {
        let answer = root(&proxy, method, path, body);
        assert_eq!(answer.status(), status, "{path}: {}", answer.text());
    }
    let lines = eventually("the last line", || {
        let errors = proxy.errors();
        let changes = errors
            .lines()
            .filter(|line| line.contains("admin: ") && line.contains(" by "));
        let changes: Vec<String> = changes
            .map(|line| {
                let line = line.split("admin: ").last().unwrap();
                let (done, rest) = line.split_once(" at 127.0.0.1:").unwrap();
                let about = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
                format!("{done}{about}")
            })
            .collect();
        (changes.last()? == "POST /api/v1/drain by \"root\"").then_some(changes)
    });
    assert_eq!(
        lines,
        [
            "POST /reload by \"root\"",
            "POST /quotas/grant by \"root\": 1GiB, user \"alice\", class \"all\"",
            "DELETE /api/v1/users/{user}/tunnels by \"root\": user \"alice\\n\"",
            "POST /api/v1/log-level by \"root\": off, before info",
            "POST /api/v1/reload by \"root\"",
            "POST /api/v1/drain by \"root\"",
        ]
    );
}
