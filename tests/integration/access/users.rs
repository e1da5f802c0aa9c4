//! The file of users: its hash formats, what they cost, and how it is reloaded.

use std::time::Instant;

use rustix::process::Signal;

use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::message::Response;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, credentials, sha_line};

/// A hash of each format: made by openssl, libcrypt and argon2, not by the program.
const HASHES: [(&str, &str, &str); 8] = [
    ("apr1", "pw-apr1", "$apr1$saltsalt$Nr81gN4S67ZNoJYCWfx0n1"),
    (
        "sha256",
        "pw-sha256",
        "$5$saltsaltsalt$U0lKpbPHeq6ByWytzGE7Ic52v/eoB/bU94IBCK9rpe7",
    ),
    (
        "sha512",
        "pw-sha512",
        "$6$saltsaltsalt$k4nwCvvvLdcJJurhxrP379bGtpkM.obZBi2HRJRwRK3ht/YJDNVjG8qq76iCgRvfKG/yVRmsby5JmvDOrx/0Q1",
    ),
    (
        "bcrypt-2b",
        "pw-bcrypt",
        "$2b$05$abcdefghijklmnopqrstuu05PhAplxWqDxnJScpSYqKmGxTbks2mG",
    ),
    (
        "bcrypt-2y",
        "pw-bcrypt",
        "$2y$05$abcdefghijklmnopqrstuu05PhAplxWqDxnJScpSYqKmGxTbks2mG",
    ),
    (
        "argon2",
        "pw-argon2",
        "$argon2id$v=19$m=1024,t=1,p=1$YnnLJ0B/E4C8kw9ielnGJw$m9WejQnB7o7KXakfa+F8JfemmHoovf4I9mqnKxFTmJk",
    ),
    ("slow", "pw-slow", SLOW_HASH),
    ("sha1", "password", "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="),
];

/// Argon2id with 19 MiB and three passes.
const SLOW_HASH: &str = "$argon2id$v=19$m=19456,t=3,p=1$hM1fxCUyV6MA+9CHSnPRyg$UgpqhQ91hJJj2hahuM7r8P9R3CtaoNrezlU3q7gyMWY";

fn ask(proxy: &Proxy, user: &str, password: &str) -> Response {
    proxy.exchange(format!(
        "GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n",
        credentials((user, password))
    ))
}

#[test]
fn every_hash_format_is_accepted() {
    let lines = HASHES.map(|(user, _, hash)| format!("{user}:{hash}\n"));
    let file = format!("# a comment and an empty line\n\n{}", lines.concat());
    let proxy = Setup::new().file("users.htpasswd", file).start();
    for (user, password, _) in HASHES {
        assert_eq!(ask(&proxy, user, password).status(), 200, "{user}");
        assert_eq!(
            ask(&proxy, user, password).status(),
            200,
            "{user}, verified before"
        );
        assert_eq!(ask(&proxy, user, "pw-other").status(), 407, "{user}");
        assert_eq!(ask(&proxy, user, "").status(), 407, "{user}");
    }
}

#[test]
fn slow_hash_costs_once() {
    let proxy = Setup::new()
        .file("users.htpasswd", format!("slow:{SLOW_HASH}\n"))
        .start();
    let start = Instant::now();
    assert_eq!(ask(&proxy, "slow", "pw-slow").status(), 200);
    let first = start.elapsed();
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(ask(&proxy, "slow", "pw-slow").status(), 200);
    }
    assert!(
        start.elapsed() < first * 10,
        "twenty cost {:?}, the first {first:?}",
        start.elapsed()
    );
}

#[test]
fn unknown_user_costs_what_a_wrong_password_costs() {
    let proxy = Setup::new()
        .file("users.htpasswd", format!("slow:{SLOW_HASH}\n"))
        .start();
    let time = |user: &str, attempt: u32| {
        let start = Instant::now();
        let answer = ask(&proxy, user, &format!("wrong-{attempt}"));
        assert_eq!(answer.status(), 407);
        start.elapsed()
    };
    // The attempts alternate, so that other load on the machine delays both. The fastest of each is compared.
    let pairs: Vec<_> = (0..5)
        .map(|at| (time("slow", at), time("nobody", at)))
        .collect();
    let known = pairs.iter().map(|(known, _)| *known).min().unwrap();
    let unknown = pairs.iter().map(|(_, unknown)| *unknown).min().unwrap();
    assert!(
        unknown * 3 > known && known * 3 > unknown,
        "known user {known:?}, unknown user {unknown:?}"
    );
}

// Case 33: a flood of wrong passwords meets a bounded queue; who was verified is not slowed.
#[test]
fn hash_flood_is_bounded_and_spares_verified_users() {
    let users = format!("slow:{SLOW_HASH}\n{}", sha_line(ALICE));
    let proxy = Setup::new()
        .file("users.htpasswd", users)
        .config("auth: { hash_threads: 1, hash_queue: 2 }")
        .start();
    assert_eq!(ask(&proxy, ALICE.0, ALICE.1).status(), 200);
    let before = proxy.resident();
    let mut flood: Vec<Wire> = (0..60).map(|_| proxy.connect()).collect();
    for (number, wire) in flood.iter_mut().enumerate() {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n",
            credentials(("slow", &format!("wrong-{number}")))
        );
        wire.send(request).unwrap();
    }
    assert_eq!(ask(&proxy, ALICE.0, ALICE.1).status(), 200);
    let statuses: Vec<u16> = flood
        .iter_mut()
        .map(|wire| wire.response("GET").unwrap().status())
        .collect();
    assert!(
        statuses.iter().all(|status| [407, 503].contains(status)),
        "{statuses:?}"
    );
    assert!(
        statuses.contains(&503),
        "the queue has no bound: {statuses:?}"
    );
    let grown = proxy.resident().saturating_sub(before);
    assert!(
        grown < 100 * 1024,
        "{grown} KiB more: hashes run side by side"
    );
}

/// Waits until a reload shows in what `user` gets.
fn wait_status(proxy: &Proxy, user: (&str, &str), status: u16) {
    eventually("the reload to show", || {
        (ask(proxy, user.0, user.1).status() == status).then_some(())
    });
}

#[test]
fn reload_takes_new_users_and_drops_old_ones() {
    let proxy = Proxy::plain();
    let late = ("late", "canary-late-88");
    assert_eq!(ask(&proxy, ALICE.0, ALICE.1).status(), 200);
    assert_eq!(ask(&proxy, late.0, late.1).status(), 407);
    let mut kept = proxy.connect();
    let request = |user| format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", credentials(user));
    assert_eq!(kept.exchange(request(ALICE)).status(), 200);

    std::fs::write(proxy.path("users.htpasswd"), sha_line(late)).unwrap();
    proxy.signal(Signal::HUP);
    wait_status(&proxy, late, 200);
    // Alice's verified pair is gone with her line, on a kept connection too.
    assert_eq!(kept.exchange(request(ALICE)).status(), 407);
    assert_eq!(kept.exchange(request(late)).status(), 200);
}

// Case 39: a broken file keeps the old one.
#[test]
fn reload_of_a_broken_file_keeps_the_old_users() {
    let mut proxy = Proxy::plain();
    std::fs::write(proxy.path("users.htpasswd"), "alice\nno hash here\n").unwrap();
    proxy.signal(Signal::HUP);
    eventually("the reload to be refused", || {
        let said = proxy.errors() + &proxy.output();
        said.contains("users.htpasswd").then_some(())
    });
    assert_eq!(ask(&proxy, ALICE.0, ALICE.1).status(), 200);
    assert_eq!(ask(&proxy, BOB.0, BOB.1).status(), 200);

    std::fs::remove_file(proxy.path("users.htpasswd")).unwrap();
    proxy.signal(Signal::HUP);
    let late = ("late", "canary-late-88");
    assert_eq!(ask(&proxy, BOB.0, BOB.1).status(), 200);
    std::fs::write(proxy.path("users.htpasswd"), sha_line(late)).unwrap();
    proxy.signal(Signal::HUP);
    wait_status(&proxy, late, 200);
    assert!(proxy.is_running());
}

// Case 39: during reloads every request sees one whole set of users.
#[test]
fn reloads_under_load_never_admit_or_refuse_wrongly() {
    let proxy = Proxy::plain();
    let mut good = proxy.connect();
    let mut bad = proxy.connect();
    let request = |user| format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", credentials(user));
    for round in 0..100 {
        proxy.signal(Signal::HUP);
        assert_eq!(good.exchange(request(ALICE)).status(), 200, "round {round}");
        assert_eq!(
            bad.exchange(request((ALICE.0, "no"))).status(),
            407,
            "round {round}"
        );
    }
}
