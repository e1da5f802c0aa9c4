//! Answers of an external authoriser that are kept and shared, turns for the next call, and reloads.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::authorizer::{answer, config, proxy, question, questions, service};
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, connect, credentials, request_of};

const HITS: &str = "tollgate_authorizer_cache_hits_total";

fn get(proxy: &Proxy, user: (&str, &str), path: &str) -> u16 {
    proxy.exchange(request_of(user, "GET", path)).status()
}

#[test]
fn an_answer_counts_for_the_same_question() {
    let service = service(|asked| match asked["query"].as_str().unwrap_or_default() {
        "never" => json!({"allow": true, "ttl": 0}),
        "deny" => json!({"allow": false, "ttl": 3600}),
        _ => json!({"allow": true, "ttl": 3600}),
    });
    let proxy = proxy(&service, "ask: always");
    for _ in 0..3 {
        assert_eq!(get(&proxy, ALICE, "/"), 200);
    }
    assert_eq!((service.requests().len(), proxy.metric(HITS)), (1, 2));
    // Another path, another user, another method.
    assert_eq!(get(&proxy, ALICE, "/?other"), 200);
    assert_eq!(get(&proxy, BOB, "/"), 200);
    proxy.exchange(request_of(ALICE, "DELETE", "/"));
    assert_eq!((service.requests().len(), proxy.metric(HITS)), (4, 2));
    for _ in 0..3 {
        assert_eq!(get(&proxy, ALICE, "/?never"), 200);
    }
    assert_eq!((service.requests().len(), proxy.metric(HITS)), (7, 2));
    // A denial is asked about again after a second.
    let begun = Instant::now();
    assert_eq!(get(&proxy, ALICE, "/?deny"), 403);
    eventually("another question", || {
        assert_eq!(get(&proxy, ALICE, "/?deny"), 403);
        (service.requests().len() > 8).then_some(())
    });
    assert!(begun.elapsed() >= Duration::from_millis(900));
    let admitted = "tollgate_authorizer_requests_total{result=\"admit\"}";
    let denied = "tollgate_authorizer_requests_total{result=\"deny\"}";
    assert_eq!((proxy.metric(admitted), proxy.metric(denied)), (7, 2));
    assert_eq!(
        proxy.metric("tollgate_authorizer_duration_seconds_count"),
        9
    );
}

/// The password is a part of the question where it is sent.
#[test]
fn an_answer_is_that_of_one_password() {
    let service = service(|asked| json!({"allow": asked["password"] == "right"}));
    let proxy = proxy(&service, "send_password: true");
    for (password, status) in [
        ("right", 200),
        ("wrong", 401),
        ("right", 200),
        ("other", 401),
    ] {
        let request = request_of(("ann", password), "GET", "/").replace("Proxy-", "");
        assert_eq!(proxy.exchange(request).status(), status, "{password}");
    }
    assert_eq!(service.requests().len(), 3);
}

/// Who asks is known from the record alone: the user and the groups that the service says, as many as a line may have.
#[test]
fn the_record_has_the_user_and_the_groups() {
    let service = service(|asked| {
        let groups = match asked["user"].as_str() {
            Some("few") => vec!["ci".to_owned(), "d\"v".to_owned()],
            Some("many") => (0..100).map(|number| format!("{number:0100}")).collect(),
            _ => vec![],
        };
        json!({"allow": asked["password"] == "right", "user": "svc:ann", "groups": groups})
    });
    let setup = Setup::new().config("log: { tunnel_open: true }");
    let proxy = setup
        .config(&config(&service, "send_password: true"))
        .start();
    let origin = Origin::ok("in");
    let url = format!("http://{}/", origin.address);
    let many: Vec<_> = (0..16).map(|_| json!("0".repeat(64) + "…")).collect();
    for (user, groups) in [
        ("few", json!(["ci", "d\"v"])),
        ("none", Value::Null),
        ("many", Value::Array(many)),
    ] {
        let (answer, record) = proxy.ask(request_of((user, "right"), "GET", &url));
        assert_eq!(answer.status(), 200);
        assert_eq!(
            (&record["user"], &record["groups"]),
            (&json!("svc:ann"), &groups),
            "{user}"
        );
    }
    let (answer, record) = proxy.ask(request_of(("few", "wrong"), "GET", &url));
    assert_eq!((answer.status(), &record["groups"]), (407, &Value::Null));
    // A tunnel has them in both lines.
    let field = credentials(("few", "right"));
    let tunnel = format!(
        "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n{field}\r\n",
        origin.address
    );
    assert_eq!(proxy.exchange(tunnel).status(), 200);
    for event in ["tunnel_open", "tunnel_close"] {
        let record = proxy.record(event, |record| record["event"] == event);
        assert_eq!(record["groups"], json!(["ci", "d\"v"]), "{event}");
    }
}

#[test]
fn equal_questions_share_one_call() {
    let (service, release) = Origin::held();
    let proxy = proxy(&service, "ask: always, timeout: 10s, on_failure: admit");
    let mut clients: Vec<_> = (0..30)
        .map(|_| {
            let mut wire = proxy.connect();
            wire.send(request_of(ALICE, "GET", "/")).unwrap();
            wire
        })
        .collect();
    // Another question has a call of its own.
    let mut other = proxy.connect();
    other.send(request_of(BOB, "GET", "/")).unwrap();
    eventually("both questions", || {
        (questions(&service).len() == 2).then_some(())
    });
    for client in &clients {
        client.stays_quiet(Duration::from_millis(20)).unwrap();
    }
    release.send(()).unwrap();
    release.send(()).unwrap();
    for client in clients.iter_mut().chain([&mut other]) {
        assert_eq!(client.response("GET").unwrap().status(), 200);
    }
    assert_eq!(service.requests().len(), 2);
}

/// A client that asks for more than there is leaves a place to others, and gets the rest in turns.
#[test]
fn clients_take_turns() {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let receiver = std::sync::Mutex::new(receiver);
    let service = Origin::http(move |request| {
        if question(request)["user"] == "alice" {
            // Until the test drops the other side.
            let _dropped = receiver.lock().map(|end| end.recv());
        }
        answer(&json!({"allow": true}))
    });
    let proxy = proxy(&service, "ask: always, timeout: 20s, concurrency: 4");
    let mut clients: Vec<_> = (0..30)
        .map(|number| {
            let mut wire = proxy.connect();
            wire.send(request_of(ALICE, "GET", &format!("/?{number}")))
                .unwrap();
            wire
        })
        .collect();
    eventually("three calls", || {
        (service.peak_requests() == 3).then_some(())
    });
    let begun = Instant::now();
    for number in 0..10 {
        assert_eq!(get(&proxy, BOB, &format!("/?{number}")), 200);
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    drop(sender);
    for client in &mut clients {
        assert_eq!(client.response("GET").unwrap().status(), 200);
    }
    assert_eq!(service.requests().len(), 40);
    assert!(service.peak_requests() <= 4, "{}", service.peak_requests());
}

#[test]
fn a_reload_with_other_keys_forgets_the_answers() {
    let service = service(|_| json!({"allow": true}));
    let keys = |more: &str| config(&service, &format!("ask: always{more}"));
    let proxy = Setup::new().config(&keys("")).start();
    let ask = || {
        assert_eq!(proxy.exchange(connect(service.address)).status(), 200);
        service.requests().len()
    };
    assert_eq!((ask(), ask()), (1, 1));
    let reload = |yaml: &str| {
        proxy.rewrite(yaml);
        let answer = proxy.reload();
        assert_eq!(answer.status(), 200, "{}", answer.text());
        answer.text()
    };
    // Something else changes: they are kept.
    reload("policy: { default: admit, rules: [{ name: r, action: deny, users: [bob] }] }");
    assert_eq!(ask(), 1);
    let said = reload(&keys(", timeout: 700ms"));
    assert!(said.contains("tollgate.auth.external.timeout"), "{said}");
    assert_eq!((ask(), ask()), (2, 2));
    // It becomes one that authenticates, and is asked nothing about known users any more.
    reload(&config(&service, "ask: unknown_users, send_password: true"));
    assert_eq!(ask(), 2);
    let ann = request_of(("ann", "x"), "GET", "/");
    assert_eq!(proxy.exchange(&ann).status(), 200);
    assert_eq!(service.requests().len(), 3);
}
