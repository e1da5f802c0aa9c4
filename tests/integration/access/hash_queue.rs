//! The queue of passwords to verify, shared fairly: one client that guesses does not keep the
//! others out.

use std::sync::mpsc::{Receiver, channel};

use crate::support::DEADLINE;
use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::message::Response;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, COLON, credentials, fetch, sha_line};

/// Takes a second or so to verify anything against.
const STUCK_HASH: &str = "$argon2id$v=19$m=65536,t=16,p=1$hM1fxCUyV6MA+9CHSnPRyg$UgpqhQ91hJJj2hahuM7r8P9R3CtaoNrezlU3q7gyMWY";

/// One hash at a time and three that wait: two of the four places are one client's at most. Without lock-out, which would
/// keep floods out of the queue.
const PLACES: &str = "auth: { hash_threads: 1, hash_queue: 3, lockout: off }";

fn setup() -> Setup {
    let quick = [ALICE, BOB, COLON].map(sha_line).concat();
    Setup::new()
        .file("users.htpasswd", format!("stuck:{STUCK_HASH}\n{quick}"))
        .config(PLACES)
}

fn login(user: (&str, &str)) -> String {
    format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", credentials(user))
}

/// Sends a wrong password on each connection; gives the answers as they come.
fn guess(wires: Vec<Wire>) -> Receiver<Response> {
    let (answered, answers) = channel();
    for (number, mut wire) in wires.into_iter().enumerate() {
        let answered = answered.clone();
        let request = login(("stuck", &format!("wrong-{number}")));
        std::thread::spawn(move || {
            wire.send(request).unwrap();
            let answer = wire.response("GET").unwrap();
            // Nobody listens any more when the test is over.
            let _unheard = answered.send(answer);
        });
    }
    answers
}

/// Takes that many answers, which must all be told to come back.
fn assert_turned_away(answers: &Receiver<Response>, count: usize) {
    for _ in 0..count {
        let answer = answers.recv_timeout(DEADLINE).unwrap();
        assert_eq!(answer.status(), 503, "{}", answer.head.start);
        assert_eq!(answer.field("retry-after"), Some("1"));
        let status = answer.field("proxy-status").unwrap();
        assert!(status.contains("connection_limit_reached"), "{status}");
    }
}

// Case 33: half of the places, rounded up, and no more. That the user exists helps its first attempt alone.
#[test]
fn one_client_cannot_take_all_places_of_the_hash_queue() {
    let proxy = setup().start();
    let flood = (0..8).map(|_| proxy.connect()).collect();
    let answers = guess(flood);
    // Six of eight are refused at once, so the other two are under way: the queue is as full
    // as this client can make it.
    assert_turned_away(&answers, 6);
    let record = proxy.record("the refusal", |record| record["status"] == 503);
    assert_eq!(record["error"], "authentication_overloaded", "{record}");

    // Another client finds the other half free, with names that were never verified.
    let mut others = Vec::new();
    for user in [ALICE, BOB] {
        let mut wire = Wire::connect_from("127.0.0.2", proxy.address).unwrap();
        wire.send(login(user)).unwrap();
        others.push(wire);
    }
    for wire in &mut others {
        let answer = wire.response("GET").unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }

    // What the flood had comes back to it.
    for _ in 0..2 {
        assert_eq!(answers.recv_timeout(DEADLINE).unwrap().status(), 407);
    }
    assert_eq!(proxy.exchange(login(COLON)).status(), 200);
}

// As long as it goes on: no login of another client is ever turned away.
#[test]
fn logins_go_through_while_another_client_floods() {
    let proxy = setup().start();
    let address = proxy.address;
    let (stop, stopped) = channel::<()>();
    let flood = std::thread::spawn(move || {
        let mut rounds = 0;
        while stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
            let wires = (0..6).map(|_| Wire::connect(address).unwrap()).collect();
            assert_turned_away(&guess(wires), 4);
            rounds += 1;
        }
        rounds
    });
    proxy.record("the flood", |record| record["status"] == 503);
    // A password that is new each time is verified each time.
    for number in 0..5 {
        let mut wire = Wire::connect_from("127.0.0.2", proxy.address).unwrap();
        let answer = wire.exchange(login((ALICE.0, &format!("mistyped-{number}"))));
        assert_eq!(answer.status(), 407, "login {number}");
    }
    let mut wire = Wire::connect_from("127.0.0.2", proxy.address).unwrap();
    assert_eq!(wire.exchange(login(ALICE)).status(), 200);
    drop(stop);
    // A flood of which nothing was turned away would have shown nothing.
    assert!(flood.join().unwrap_or(1) > 0);
}

// Behind a load balancer all connections come from one address: the header tells clients apart.
#[test]
fn clients_behind_a_load_balancer_have_their_own_shares() {
    let proxy = setup().proxy_protocol().start();
    let from = |client: &str| {
        let mut wire = proxy.connect();
        wire.send(format!("PROXY TCP4 {client} 192.0.2.1 5000 8888\r\n"))
            .unwrap();
        wire
    };
    let answers = guess((0..8).map(|_| from("198.51.100.7")).collect());
    assert_turned_away(&answers, 6);
    let answer = from("198.51.100.8").exchange(login(ALICE));
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

/// Sends these requests at once, each on a connection of its own, and gives the statuses in their order.
fn at_once(proxy: &Proxy, client: &str, requests: impl Iterator<Item = String>) -> Vec<u16> {
    let mut wires: Vec<Wire> = requests
        .map(|request| {
            let mut wire = Wire::connect_from(client, proxy.address).unwrap();
            wire.send(request).unwrap();
            wire
        })
        .collect();
    let statuses = wires
        .iter_mut()
        .map(|wire| wire.response("GET").unwrap().status());
    statuses.collect()
}

/// A proxy with so many users besides the one whose hash is slow, and their names.
fn with_users(count: usize) -> (Proxy, Vec<String>) {
    let names: Vec<String> = (0..count).map(|number| format!("user-{number}")).collect();
    let lines: String = names.iter().map(|name| sha_line((name, "in"))).collect();
    let setup = Setup::new().file("users.htpasswd", format!("stuck:{STUCK_HASH}\n{lines}"));
    (setup.config(PLACES).start(), names)
}

// As after a start: none of them was verified, and all come from one address (NAT).
#[test]
fn many_users_of_one_address_all_get_in() {
    const USERS: usize = 30;
    let (proxy, names) = with_users(USERS);
    // The thread is busy, so that they wait.
    let mut held = proxy.connect();
    held.send(login(("stuck", "wrong"))).unwrap();
    let statuses = at_once(
        &proxy,
        "127.0.0.2",
        names.iter().map(|name| login((name, "in"))),
    );
    assert_eq!(statuses, [200; USERS]);
    assert_eq!(held.response("GET").unwrap().status(), 407);

    // Names that no user has are guesses: they have the places of one client.
    held.send(login(("stuck", "wrong again"))).unwrap();
    let guesses = (0..USERS).map(|number| login((&format!("nobody-{number}"), "in")));
    let statuses = at_once(&proxy, "127.0.0.3", guesses);
    assert!(
        statuses.iter().all(|status| [407, 503].contains(status)),
        "{statuses:?}"
    );
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert!(refused >= USERS / 2, "{statuses:?}");
}

// The first attempts of users have a bound too: sixteen times the places, half of them for one client.
#[test]
fn first_attempts_are_bounded() {
    const USERS: usize = 60;
    let (proxy, names) = with_users(USERS);
    // The thread is busy, so that they wait.
    let held = guess((0..8).map(|_| proxy.connect()).collect());
    assert_turned_away(&held, 6);
    let statuses = at_once(
        &proxy,
        "127.0.0.2",
        names.iter().map(|name| login((name, "in"))),
    );
    let admitted = statuses.iter().filter(|status| **status == 200).count();
    assert!((32..USERS).contains(&admitted), "{statuses:?}");
    let status_is_known = |status: &u16| [200, 503].contains(status);
    assert!(statuses.iter().all(status_is_known), "{statuses:?}");
}

// Three addresses that guess fill every place between them. They take turns with whoever comes.
#[test]
fn guesses_from_several_addresses_do_not_keep_a_new_user_out() {
    let proxy = setup().start();
    let mut floods = Vec::new();
    for client in ["127.0.0.1", "127.0.0.3", "127.0.0.4"] {
        let from = |_| Wire::connect_from(client, proxy.address).unwrap();
        floods.push(guess((0..6).map(from).collect()));
    }
    // No place is left: one that is refused has said so.
    proxy.record("the refusal", |record| record["status"] == 503);
    for user in [ALICE, BOB, COLON] {
        let mut wire = Wire::connect_from("127.0.0.9", proxy.address).unwrap();
        let answer = wire.exchange(login(user));
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    drop(floods);
}

// One hash for all who bring the same credentials: they cost one place together.
#[test]
fn equal_credentials_share_one_place() {
    let proxy = setup().start();
    let origin = Origin::ok("in");
    let url = format!("http://{}/", origin.address);
    let held = guess((0..3).map(|_| proxy.connect()).collect());
    assert_turned_away(&held, 1);
    // Both places of this client are taken; from another, forty with the same pair need one.
    let mut wires: Vec<Wire> = (0..40)
        .map(|_| Wire::connect_from("127.0.0.2", proxy.address).unwrap())
        .collect();
    for wire in &mut wires {
        wire.send(fetch(&url)).unwrap();
    }
    for wire in &mut wires {
        assert_eq!(wire.response("GET").unwrap().status(), 200);
    }
    eventually("the requests at the origin", || {
        (origin.requests().len() == 40).then_some(())
    });
}
