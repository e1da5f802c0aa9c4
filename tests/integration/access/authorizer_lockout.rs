//! Failed logins that an authoriser decides about: they lock out as those of the password file do, however many come at
//! once.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::authorizer::{self, answer, question};
use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, credentials, sha_line};

const LOCKS_OF_USERS: &str = "tollgate_lockouts_total{scope=\"user\"}";
const LOCKS_OF_NETWORKS: &str = "tollgate_lockouts_total{scope=\"network\"}";

const KEYS: &str = "send_password: true, cache: 0s, timeout: 20s";

/// A service that knows the password `right`, and answers when the other side is dropped.
fn held() -> (Origin, Sender<()>) {
    let (release, receiver) = channel::<()>();
    let receiver = Mutex::new(receiver);
    let service = Origin::http(move |request| {
        let _dropped = receiver.lock().map(|end| end.recv());
        answer(&json!({"allow": question(request)["password"] == "right"}))
    });
    (service, release)
}

/// A proxy where locks outlast every test.
fn proxy(service: &Origin, lockout: &str) -> Proxy {
    let lockout = format!("auth: {{ lockout: {{ first: 1h, max: 1h, window: 1h, {lockout} }} }}");
    let setup = Setup::new().config(&lockout);
    setup.config(&authorizer::config(service, KEYS)).start()
}

fn login(user: (&str, &str)) -> String {
    format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", credentials(user))
}

/// A login of each of so many names, at once.
fn names(proxy: &Proxy, count: usize, password: &str) -> Vec<Wire> {
    let wire = |number| {
        let mut wire = proxy.connect();
        let name = format!("name-{number}");
        wire.send(login((&name, password))).unwrap();
        wire
    };
    (0..count).map(wire).collect()
}

fn statuses(wires: &mut [Wire]) -> Vec<u16> {
    let statuses = wires
        .iter_mut()
        .map(|wire| wire.response("GET").unwrap().status());
    statuses.collect()
}

#[test]
fn names_that_are_guessed_at_once_are_no_more_than_one_after_the_other() {
    let (service, release) = held();
    let proxy = proxy(&service, "network_failures: 10");
    let mut wires = names(&proxy, 60, "wrong");
    eventually("ten calls", || {
        (service.peak_requests() == 10).then_some(())
    });
    for wire in &wires {
        wire.stays_quiet(Duration::from_millis(5)).unwrap();
    }
    // Another network has calls of its own.
    let mut other = Wire::connect_from("127.0.0.2", proxy.address).unwrap();
    other.send(login(("eve", "right"))).unwrap();
    eventually("one more", || (service.peak_requests() == 11).then_some(()));
    drop(release);
    let statuses = statuses(&mut wires);
    let wrong = statuses.iter().filter(|status| **status == 407).count();
    let locked = statuses.iter().filter(|status| **status == 429).count();
    assert_eq!((wrong, locked), (10, 50), "{statuses:?}");
    assert_eq!(other.response("GET").unwrap().status(), 200);
    assert_eq!(service.requests().len(), 11);
    assert_eq!(proxy.metric(LOCKS_OF_NETWORKS), 1);
}

#[test]
fn names_that_the_service_knows_take_turns_and_are_not_refused() {
    let (service, release) = held();
    let proxy = proxy(&service, "network_failures: 10");
    let mut wires = names(&proxy, 60, "right");
    eventually("ten calls", || {
        (service.peak_requests() == 10).then_some(())
    });
    drop(release);
    assert_eq!(statuses(&mut wires), [200; 60]);
    assert_eq!(proxy.metric(LOCKS_OF_NETWORKS), 0);
    // What the service has accepted is no guess any more, and does not wait for a turn of guesses.
    let mut again = names(&proxy, 60, "right");
    assert_eq!(statuses(&mut again), [200; 60]);
}

/// The client of a CONNECT that is aborted has learnt nothing, but its next one would.
#[test]
fn a_guess_counts_though_its_client_is_gone() {
    let (service, release) = held();
    let proxy = proxy(&service, "failures: 2");
    for password in ["one", "two", "three"] {
        let mut wire = proxy.connect();
        let field = credentials(("eve", password));
        let head = format!("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n{field}\r\n");
        wire.send(head).unwrap();
        if password == "three" {
            // Two are under way, as many as may fail.
            assert_eq!(wire.response("CONNECT").unwrap().status(), 429);
            continue;
        }
        let calls = if password == "one" { 1 } else { 2 };
        eventually("the question", || {
            (service.peak_requests() == calls).then_some(())
        });
        let gone = |record: &Value| record["error"] == "client_gone";
        wire.reset();
        eventually("its record", || {
            let records = proxy.records();
            (records.iter().filter(|record| gone(record)).count() == calls).then_some(())
        });
    }
    drop(release);
    eventually("the lock", || {
        (proxy.metric(LOCKS_OF_USERS) == 1).then_some(())
    });
    assert_eq!(service.requests().len(), 2);
    let answer = proxy.exchange(login(("eve", "right")));
    assert_eq!(answer.status(), 429);
}

/// What the service has accepted says nothing of a password of the file.
#[test]
fn a_user_of_the_file_is_no_user_of_the_service_any_more() {
    let service = authorizer::service(|asked| json!({"allow": asked["password"] == "old"}));
    let proxy = proxy(&service, "failures: 2");
    assert_eq!(proxy.exchange(login(("ann", "old"))).status(), 200);
    let users = format!("{}{}", sha_line(ALICE), sha_line(("ann", "new")));
    std::fs::write(proxy.path("users.htpasswd"), users).unwrap();
    assert_eq!(proxy.reload().status(), 200);
    for password in ["one", "two"] {
        let answer = proxy.exchange(login(("ann", password)));
        assert_eq!(answer.status(), 407, "{password}");
    }
    assert_eq!(proxy.metric(LOCKS_OF_USERS), 1);
    for password in ["new", "old"] {
        let answer = proxy.exchange(login(("ann", password)));
        assert_eq!(answer.status(), 429, "{password}");
    }
    assert_eq!(service.requests().len(), 1);
}

/// Another service has not accepted what the one before has.
#[test]
fn credentials_of_another_service_are_guesses() {
    let (one, other) = (
        authorizer::service(|asked| json!({"allow": asked["password"] == "old"})),
        authorizer::service(|_| json!({"allow": false})),
    );
    let proxy = proxy(&one, "failures: 1");
    assert_eq!(proxy.exchange(login(("ann", "old"))).status(), 200);
    proxy.rewrite(&authorizer::config(&other, KEYS));
    assert_eq!(proxy.reload().status(), 200);
    assert_eq!(proxy.exchange(login(("ann", "new"))).status(), 407);
    assert_eq!(proxy.exchange(login(("ann", "old"))).status(), 429);
    assert_eq!(other.requests().len(), 1);
}

/// A failure is counted once, whatever failed in the moment between.
#[test]
fn failures_on_several_threads_count_once_each() {
    const FAILURES: usize = 400;
    let setup = Setup::new().config(&format!(
        "auth: {{ hash_threads: 8, hash_queue: 10000, lockout: {{ first: 1h, max: 1h, window: 1h, \
         failures: {FAILURES}, network_failures: 100000 }} }}"
    ));
    let proxy = setup.start();
    let mut wires: Vec<Wire> = (0..FAILURES - 1)
        .map(|number| {
            let mut wire = proxy.connect();
            wire.send(login((ALICE.0, &format!("wrong-{number}"))))
                .unwrap();
            wire
        })
        .collect();
    assert_eq!(statuses(&mut wires), [407; FAILURES - 1]);
    assert_eq!(proxy.metric(LOCKS_OF_USERS), 0);
    assert_eq!(proxy.exchange(login((ALICE.0, "last"))).status(), 407);
    assert_eq!(proxy.metric(LOCKS_OF_USERS), 1);
}
