//! Requests that are refused in their head: answered in the form that was asked for, and with their request
//! line in the log. And a first 407, which is no failure.

use serde_json::Value;

use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::fetch;

fn refused(accept: &str) -> Vec<(u16, String)> {
    let accept = if accept.is_empty() {
        String::new()
    } else {
        format!("Accept: {accept}\r\n")
    };
    let long = "a".repeat(20_000);
    vec![
        (
            400,
            format!("GET http://x/ HTTP/1.1\r\nHost: a\r\n{accept}Host: b\r\n\r\n"),
        ),
        (
            400,
            format!("GET http://x/ HTTP/1.1\r\n{accept}no colon\r\nHost: x\r\n\r\n"),
        ),
        (400, format!("GET http://x/ HTTP/1.1\r\n{accept}\r\n")),
        (400, format!("GET /a b HTTP/1.1\r\nHost: x\r\n{accept}\r\n")),
        (
            414,
            format!("GET http://x/{long} HTTP/1.1\r\nHost: x\r\n{accept}\r\n"),
        ),
        (
            431,
            format!(
                "GET http://x/ HTTP/1.1\r\nHost: x\r\n{accept}{}\r\n",
                "X: y\r\n".repeat(200)
            ),
        ),
        (
            501,
            format!("GET ftp://x/ HTTP/1.1\r\nHost: x\r\n{accept}\r\n"),
        ),
        (
            505,
            format!("GET http://x/ HTTP/3.0\r\nHost: x\r\n{accept}\r\n"),
        ),
        (
            417,
            format!("GET http://x/ HTTP/1.1\r\nHost: x\r\nExpect: magic\r\n{accept}\r\n"),
        ),
    ]
}

#[test]
fn every_refusal_of_a_head_has_the_form_that_was_asked_for() {
    let proxy = Proxy::plain();
    for (accept, json) in [
        ("application/json", true),
        ("text/html;q=0.3, application/json;q=0.5", true),
        ("text/html, application/json;q=0.5", false),
        ("application/json;q=0, */*", false),
        ("*/*", false),
        ("", false),
    ] {
        for (status, request) in refused(accept) {
            let answer = proxy.exchange(&request);
            let shown = &request[..request.len().min(60)];
            assert_eq!(answer.status(), status, "{shown}");
            let expected = if json {
                "application/json"
            } else {
                "text/plain; charset=utf-8"
            };
            assert_eq!(
                answer.field("content-type"),
                Some(expected),
                "{accept}: {shown}"
            );
            assert_eq!(serde_json::from_slice::<Value>(&answer.body).is_ok(), json);
        }
    }
}

#[test]
fn the_combined_log_keeps_method_and_target() {
    let proxy = Setup::new().config("log: { format: combined }").start();
    for (_, request) in refused("") {
        proxy.exchange(&request);
    }
    proxy.exchange("GET http://u:secret@x:99999/ HTTP/1.1\r\nHost: x\r\n\r\n");
    proxy.exchange("GET \r\n\r\n");
    let log = crate::support::eventually("the log", || {
        let log = std::fs::read_to_string(proxy.path("access.log")).ok()?;
        (log.lines().count() == 11).then_some(log)
    });
    for expected in [
        "\"GET http://x/ HTTP/1.1\" 400 ",
        "\"GET /a b HTTP/1.1\" 400 ",
        "\"GET http://x/aaaaaaaa",
        "aaaa... HTTP/1.1\" 414 ",
        "\"GET http://x/ HTTP/1.1\" 431 ",
        "\"GET ftp://x/ HTTP/1.1\" 501 ",
        "\"GET http://x/ HTTP/3.0\" 505 ",
        "\"GET http://x/ HTTP/1.1\" 417 ",
        "***@x:99999/",
    ] {
        assert!(log.contains(expected), "{expected}: {log}");
    }
    assert!(!log.contains("secret"), "{log}");
    assert!(log.lines().all(|line| line.len() < 4096));
}

/// The `@` behind a password is what is missing: nothing of it is kept, in either format.
#[test]
fn a_password_in_a_target_that_is_cut_is_not_kept() {
    let long = "secret".repeat(3000);
    for format in ["json", "combined"] {
        let proxy = Setup::new()
            .config("timeouts: { request_head: 500ms }")
            .config(&format!("log: {{ format: {format} }}"))
            .start();
        proxy.exchange(format!(
            "GET http://u:{long}@h/ HTTP/1.1\r\nHost: h\r\n\r\n"
        ));
        let mut wire = proxy.connect();
        wire.send("GET http://u:secret").unwrap();
        assert_eq!(wire.response("GET").unwrap().status(), 408);
        let log = crate::support::eventually("the log", || {
            let log = std::fs::read_to_string(proxy.path("access.log")).ok()?;
            (log.lines().count() == 2).then_some(log)
        });
        assert_eq!(log.matches("http://u:***").count(), 2, "{log}");
        assert!(!log.contains("secret"), "{log}");
    }
}

#[test]
fn a_first_challenge_is_no_failed_visit() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("in");
    let url = format!("http://{}/", origin.address);
    let mut wire = proxy.connect();
    let asked = format!("GET {url} HTTP/1.1\r\nHost: {}\r\n\r\n", origin.address);
    assert_eq!(wire.exchange(asked).status(), 407);
    assert_eq!(wire.exchange(fetch(&url)).status(), 200);
    let wrong = fetch(&url).replace("Basic ", "Basic eA==");
    assert_eq!(proxy.exchange(wrong).status(), 407);
    proxy.wait_records(3);
    let stats: Value = serde_json::from_slice(&proxy.admin("/stats").body).unwrap();
    assert_eq!(
        [
            &stats["total_requests"],
            &stats["successful_visits"],
            &stats["challenges"],
            &stats["failed_visits"]
        ],
        [&3.into(), &1.into(), &1.into(), &1.into()] as [&Value; 4],
        "{stats}"
    );
    assert_eq!(
        proxy.metric("tollgate_errors_total{kind=\"credentials_missing\"}"),
        0
    );
    assert_eq!(
        proxy.metric("tollgate_auth_failures_total{reason=\"credentials_missing\"}"),
        1
    );
}
