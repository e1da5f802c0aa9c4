//! An external authoriser that does not answer, or not as it should.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::authorizer::{admitting, answer, config, proxy, service};
use crate::support::message::response;
use crate::support::origin::Origin;
use crate::support::port::Port;
use crate::support::proxy::Setup;
use crate::support::request::{ALICE, connect, request_of};
use crate::support::tls::Authority;

const CLOSED: &str = "the connection was closed before the end of an answer; see the log of the service, and whether http or \
                      https is right";

/// Each way to fail, with what the log says of it.
fn failing() -> Vec<(&'static str, Origin)> {
    let close = |bytes: &'static str| {
        Origin::raw(move |mut wire, _| {
            wire.request()?;
            wire.send(bytes)
        })
    };
    let huge = format!("{{\"allow\":true,\"x\":\"{}\"}}", "x".repeat(16 * 1024));
    let endless = || {
        Origin::raw(|mut wire, _| {
            wire.request()?;
            wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            loop {
                wire.send(format!("1000\r\n{}\r\n", " ".repeat(0x1000)))?;
            }
        })
    };
    vec![
        (
            "no answer within 300ms, the turn among other calls included; see why it is slow, or raise `timeout` or `concurrency`",
            Origin::deaf(),
        ),
        (CLOSED, close("")),
        (
            "not an answer of HTTP/1.1; correct the URL, or the service",
            close("no HTTP at all\r\n\r\n"),
        ),
        (
            CLOSED,
            close("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
        ),
        (
            "the answer is not JSON, or JSON with a member twice, with too many values or nested too deep; it has to be \
             an object such as {\"allow\":true}",
            Origin::ok("allow"),
        ),
        ("the answer is not a JSON object; it", Origin::ok("[true]")),
        (
            "the answer has \"group\", which has no meaning; did you mean \"groups\"?",
            service(|_| json!({"allow": true, "group": ["ci"]})),
        ),
        (
            "the member allow of the answer is not true or false",
            service(|_| json!({"allow": "yes"})),
        ),
        (
            "the member groups of the answer is not a list of up to 256 names of groups",
            service(|_| json!({"allow": true, "groups": [1]})),
        ),
        (
            "the answer is larger than 16384 bytes; correct the URL, or the service",
            Origin::ok(&huge),
        ),
        (
            "the answer is larger than 16384 bytes; correct the URL, or the service",
            endless(),
        ),
        (
            "the service answers 500, and not 200 with a JSON object",
            Origin::fixed(response("500 Oops", "", "{\"allow\":true}")),
        ),
        (
            "the service answers 302, and not 200 with a JSON object",
            Origin::fixed(response("302 Found", "Location: /\r\n", "")),
        ),
    ]
}

#[test]
fn a_failure_is_503_or_as_if_not_asked() {
    let origin = Origin::ok("in");
    let url = format!("http://{}/", origin.address);
    for (expected, service) in failing() {
        let denying = proxy(&service, "ask: always, timeout: 300ms");
        let (answer, record) = denying.ask(request_of(ALICE, "GET", &url));
        assert_eq!(answer.status(), 503, "{expected}: {}", answer.text());
        assert_eq!(answer.field("retry-after"), Some("1"));
        let status = answer.field("proxy-status").unwrap();
        assert!(status.contains("error=proxy_internal_error"), "{status}");
        assert_eq!(
            (&record["error"], &record["user"]),
            (&json!("authorizer_failed"), &json!("alice"))
        );
        let detail = record["error_detail"].as_str().unwrap();
        // Neither its URL, which may have a key, nor a password.
        let errors = denying.errors();
        let said = format!("auth.external at {}: ", service.address);
        assert!(detail.starts_with(&format!("{said}{expected}")), "{detail}");
        assert!(errors.contains(&said), "{errors}");
        assert!(
            !errors.contains("key=k") && !errors.contains("canary"),
            "{errors}"
        );
        let result = if expected.contains("within") {
            "timeout"
        } else {
            "failure"
        };
        let series = format!("tollgate_authorizer_requests_total{{result=\"{result}\"}}");
        assert_eq!(denying.metric(&series), 1, "{expected}");
        let errors = "tollgate_errors_total{kind=\"authorizer_failed\"}";
        assert_eq!(denying.metric(errors), 1);
        let tunnel = denying.exchange(connect(origin.address));
        assert_eq!(tunnel.status(), 503);
    }
    assert_eq!(origin.requests().len(), 0);
    for (expected, service) in failing().into_iter().take(7) {
        let admitting = proxy(&service, "ask: always, timeout: 300ms, on_failure: admit");
        let (answer, record) = admitting.ask(request_of(ALICE, "GET", &url));
        assert_eq!(
            (answer.status(), &record["user"]),
            (200, &json!("alice")),
            "{expected}"
        );
        // It is no way around the password.
        let answer = admitting.exchange(request_of(("alice", "x"), "GET", &url));
        assert_eq!(answer.status(), 407);
    }
}

#[test]
fn a_service_that_is_not_there_lets_in_no_unknown_user() {
    let gone = Origin::ok("");
    let keys = config(&gone, "send_password: true");
    drop(gone);
    let proxy = Setup::new().config(&keys).start();
    let (answer, record) = proxy.ask(request_of(("ann", "x"), "GET", "/"));
    assert_eq!(
        (answer.status(), &record["error"]),
        (503, &json!("authorizer_failed"))
    );
    assert!(
        record.get("user").is_none_or(serde_json::Value::is_null),
        "{record}"
    );
    // Users of the file do not need it.
    assert_eq!(proxy.exchange(request_of(ALICE, "GET", "/")).status(), 200);
}

/// What the newcomer sees whose service is not started, or speaks the other scheme.
#[test]
fn a_service_that_is_not_there_is_told_in_a_sentence() {
    let closed = Port::reserve();
    let plain = Origin::raw(|mut wire, _| wire.send("HTTP/1.1 400 Bad Request\r\n\r\n"));
    for (url, why) in [
        (
            format!("http://{}/check?key=k", closed.address),
            "connection refused: nothing listens there; start the service, or correct the URL",
        ),
        (
            format!("https://{}/", plain.address),
            "no TLS: what answers on this port does not speak TLS: is http:// meant, or another port?",
        ),
    ] {
        let config =
            format!("auth: {{ external: {{ url: \"{url}\", ask: always, timeout: 10s }} }}");
        let proxy = Setup::new().config(&config).start();
        let (answer, record) = proxy.ask(request_of(ALICE, "GET", "/"));
        assert_eq!(answer.status(), 503);
        let authority = url.split('/').nth(2).unwrap();
        let line = format!("auth.external at {authority}: {why}");
        assert_eq!(record["error_detail"], line);
        let errors = proxy.errors();
        assert!(errors.lines().any(|it| it.ends_with(&line)), "{errors}");
    }
}

/// A denial stays one, though its answer has a name that is misspelt: that is told in the log.
#[test]
fn a_denial_with_a_misspelt_member_is_a_denial() {
    let service = service(|_| json!({"allow": false, "mesage": "no"}));
    let proxy = proxy(&service, "ask: always, on_failure: admit");
    let (answer, record) = proxy.ask(request_of(ALICE, "GET", "/"));
    assert_eq!(
        (answer.status(), &record["rule"]),
        (403, &json!("external"))
    );
    let line = format!(
        "auth.external at {}: the answer has \"mesage\", which has no meaning; did you mean \"message\"?",
        service.address
    );
    let errors = proxy.errors();
    assert!(errors.lines().any(|it| it.ends_with(&line)), "{errors}");
}

/// A slow service holds up those who need it, and no longer than the time that they have.
#[test]
fn a_slow_service_delays_only_those_who_need_it() {
    let slow = Origin::deaf();
    let proxy = proxy(&slow, "send_password: true, timeout: 3s, concurrency: 8");
    let mut waiting: Vec<_> = (0..40)
        .map(|number| {
            let mut wire = proxy.connect();
            let user = (format!("ann{number}"), "x");
            wire.send(request_of((&user.0, user.1), "GET", "/"))
                .unwrap();
            wire
        })
        .collect();
    slow.wait_connections(6);
    let begun = Instant::now();
    for _ in 0..20 {
        let answer = proxy.exchange(request_of(ALICE, "GET", "/"));
        assert_eq!(answer.status(), 200);
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    // One client has three quarters of the places.
    assert_eq!(slow.connections(), 6);
    for wire in &mut waiting {
        assert_eq!(wire.response("GET").unwrap().status(), 503);
    }
    let all = begun.elapsed();
    assert!(all < Duration::from_secs(6), "{all:?}");
}

/// A connection that the service has closed in the meantime is replaced.
#[test]
fn a_connection_that_was_closed_is_no_failure() {
    let service = Origin::raw(|mut wire, seen| {
        if let Some(request) = wire.request()? {
            seen.keep(request);
            wire.send(answer(&json!({"allow": true})))?;
        }
        Ok(())
    });
    let proxy = proxy(&service, "ask: always, cache: 0s");
    for number in 0..20 {
        let answer = proxy.exchange(request_of(ALICE, "GET", &format!("/?{number}")));
        assert_eq!(answer.status(), 200, "{number}");
    }
    assert_eq!(service.requests().len(), 20);
    let kept = admitting();
    let other = self::proxy(&kept, "ask: always, cache: 0s");
    for number in 0..20 {
        let answer = other.exchange(request_of(ALICE, "GET", &format!("/?{number}")));
        assert_eq!(answer.status(), 200, "{number}");
    }
    assert!(kept.connections() < 10, "{}", kept.connections());
}

#[test]
fn the_certificate_of_the_service_is_verified() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for (signer, status) in [(&authority, 200), (&stranger, 503)] {
        let identity = signer.issue(&["127.0.0.1"]);
        let service = Origin::https(identity.server(), |_| answer(&json!({"allow": true})));
        let proxy = Setup::new()
            .file("ca.pem", authority.pem())
            .server("ca_file: ca.pem")
            .config(&format!(
                "auth: {{ external: {{ url: \"https://{}/\", ask: always, timeout: 10s }} }}",
                service.address
            ))
            .start();
        let answer = proxy.exchange(request_of(ALICE, "GET", "/"));
        assert_eq!(answer.status(), status);
        assert_eq!(service.requests().len(), usize::from(status == 200));
    }
}
