//! `POST /api/v1/log-level`: which messages are in the error log.

use serde_json::Value;

use crate::support::admin::{json, kind, root, with_users};
use crate::support::eventually;
use crate::support::proxy::Proxy;
use crate::support::request::fetch;

fn level_of(proxy: &Proxy) -> Value {
    json(&root(proxy, "GET", "/api/v1/status", ""))["log_level"].clone()
}

#[test]
fn the_level_of_messages_changes() {
    let proxy = with_users().start();
    let answer = root(&proxy, "POST", "/api/v1/log-level", r#"{"level": "error"}"#);
    assert_eq!(
        json(&answer),
        serde_json::json!({"level": "error", "before": "info"})
    );
    assert_eq!(level_of(&proxy), "error");
    assert_eq!(root(&proxy, "POST", "/api/v1/reload", "").status(), 200);
    // Who has done it is logged at each level, and after what it does.
    eventually("the line of who has done it", || {
        let errors = proxy.errors();
        errors
            .contains("admin: POST /api/v1/reload by")
            .then_some(())
    });
    assert!(!proxy.errors().contains("admin: reloaded"));
    assert_eq!(
        root(&proxy, "POST", "/api/v1/log-level", r#"{"level": "info"}"#).status(),
        200
    );
    assert_eq!(root(&proxy, "POST", "/api/v1/reload", "").status(), 200);
    eventually("the line of the reload", || {
        proxy.errors().contains("admin: reloaded").then_some(())
    });
    assert_eq!(
        root(&proxy, "POST", "/api/v1/log-level", r#"{"level": "loud"}"#).status(),
        400
    );
    // Why a request failed, and nothing of libraries.
    let debug = r#"{"level": "debug"}"#;
    assert_eq!(
        root(&proxy, "POST", "/api/v1/log-level", debug).status(),
        200
    );
    assert_eq!(level_of(&proxy), "debug");
    assert_eq!(proxy.exchange(fetch("http://127.0.0.1:1/")).status(), 502);
    eventually("why it failed", || {
        proxy.errors().contains("DEBUG tollgate").then_some(())
    });
    let errors = proxy.errors();
    let mut below = errors.lines().filter(|line| line.contains(" DEBUG "));
    assert!(
        below.all(|line| line.contains(" DEBUG tollgate")),
        "{errors}"
    );
    // What the filter of the start keeps out cannot be had.
    let proxy = with_users().variable("RUST_LOG", "info").start();
    for level in ["debug", "trace"] {
        let body = format!(r#"{{"level": "{level}"}}"#);
        let answer = root(&proxy, "POST", "/api/v1/log-level", &body);
        assert_eq!(
            (answer.status(), kind(&answer)),
            (409, "level_unavailable".to_owned())
        );
        let text = answer.text();
        assert!(
            text.contains(&format!("RUST_LOG=tollgate={level}")),
            "{text}"
        );
        assert_eq!(level_of(&proxy), "info");
    }
}
