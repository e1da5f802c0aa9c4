//! `auth.lockout`: clients that guess passwords are locked out, and other clients are served.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::authorizer;
use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::http2;
use crate::support::issuer::{self, Signer, claims, key_set};
use crate::support::message::Response;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, COLON, credentials, sha_line};

/// Locks that outlast every test: time has no part in it.
const LONG: &str = "auth: { lockout: { first: 1h, max: 1h, window: 1h } }";

const LOCKS_OF_USERS: &str = "tollgate_lockouts_total{scope=\"user\"}";
const LOCKS_OF_NETWORKS: &str = "tollgate_lockouts_total{scope=\"network\"}";
const REFUSALS: &str = "tollgate_lockout_refusals_total";

/// Takes some hundredths of a second to verify anything against.
const SLOW_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$hM1fxCUyV6MA+9CHSnPRyg$UgpqhQ91hJJj2hahuM7r8P9R3CtaoNrezlU3q7gyMWY";

/// Takes a second or so.
const STUCK_HASH: &str = "$argon2id$v=19$m=65536,t=16,p=1$hM1fxCUyV6MA+9CHSnPRyg$UgpqhQ91hJJj2hahuM7r8P9R3CtaoNrezlU3q7gyMWY";

fn login(user: (&str, &str)) -> String {
    format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", credentials(user))
}

fn try_from(proxy: &Proxy, client: &str, user: (&str, &str)) -> Response {
    let mut wire = Wire::connect_from(client, proxy.address).unwrap();
    wire.exchange(login(user))
}

fn status_from(proxy: &Proxy, client: &str, user: (&str, &str)) -> u16 {
    try_from(proxy, client, user).status()
}

/// So many wrong passwords of a user, which differ.
fn guess(proxy: &Proxy, client: &str, user: &str, count: usize) -> Vec<u16> {
    (0..count)
        .map(|number| status_from(proxy, client, (user, &format!("wrong-{number}"))))
        .collect()
}

/// Wrong passwords of so many users that do not exist.
fn guess_names(proxy: &Proxy, client: &str, count: usize) -> Vec<u16> {
    (0..count)
        .map(|number| status_from(proxy, client, (&format!("name-{number}"), "wrong")))
        .collect()
}

#[test]
fn the_fifth_failure_locks_the_user_at_this_network_in_every_role() {
    let proxy = Proxy::start(LONG);
    let origin = Origin::ok("in").address;
    assert_eq!(guess(&proxy, "127.0.0.1", ALICE.0, 5), [407; 5]);
    let right = credentials(ALICE);
    for start in [
        format!("CONNECT {origin} HTTP/1.1\r\nHost: {origin}\r\n"),
        format!("GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\n"),
        "GET / HTTP/1.1\r\nHost: gate\r\n".to_owned(),
        "GET /.tollgate/denials HTTP/1.1\r\nHost: gate\r\n".to_owned(),
    ] {
        let answer = proxy.exchange(format!("{start}{right}\r\n"));
        assert_eq!(
            answer.head.start, "HTTP/1.1 429 Too Many Requests",
            "{start}"
        );
        let seconds: u64 = answer.field("retry-after").unwrap().parse().unwrap();
        assert!((3500..=3600).contains(&seconds), "{seconds}");
        let status = answer.field("proxy-status");
        assert_eq!(status, Some("tollgate; error=http_request_denied"));
        assert_eq!(answer.field("proxy-authenticate"), None);
        let text = answer.text();
        assert!(
            text.contains(
                "\n\nToo many logins have failed; try again later.\n\nlocked_out (request "
            ),
            "{text}"
        );
    }
    // As an origin, and in JSON.
    let at_gateway = right.replace("Proxy-", "");
    let request =
        format!("GET / HTTP/1.1\r\nHost: gate\r\nAccept: application/json\r\n{at_gateway}\r\n");
    let answer = proxy.exchange(request);
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        (&body["status"], &body["error"]),
        (&json!(429), &json!("locked_out"))
    );
    let record = proxy.record("the refusal", |record| record["status"] == 429);
    assert_eq!(record["error"], "locked_out", "{record}");
    assert_eq!(record["user"], Value::Null, "{record}");

    // Neither other users nor other networks.
    assert_eq!(status_from(&proxy, "127.0.0.1", BOB), 200);
    assert_eq!(status_from(&proxy, "127.0.0.2", ALICE), 200);
    assert_eq!(
        (
            proxy.metric(LOCKS_OF_USERS),
            proxy.metric(LOCKS_OF_NETWORKS)
        ),
        (1, 0)
    );
    assert_eq!(proxy.metric(REFUSALS), 5);
    assert_eq!(
        proxy.metric("tollgate_errors_total{kind=\"locked_out\"}"),
        5
    );
    let stats: Value = serde_json::from_slice(&proxy.admin("/stats").body).unwrap();
    assert_eq!(
        stats["lockouts"],
        json!({"users": 1, "networks": 0, "refused": 5})
    );
    let line = "auth.lockout: the user \"alice\" at 127.0.0.1 is locked out for 3600s after 5 failed logins";
    assert!(proxy.errors().contains(line), "{}", proxy.errors());
}

#[test]
fn a_name_that_no_user_has_is_locked_in_the_same_way() {
    let proxy = Proxy::start(LONG);
    let [existing, other] = [ALICE.0, "canary-name"].map(|user| {
        let client = "127.0.0.1";
        let mut answers: Vec<Response> = Vec::new();
        for number in 0..7 {
            answers.push(try_from(&proxy, client, (user, &format!("wrong-{number}"))));
        }
        answers
    });
    for (existing, other) in existing.iter().zip(&other) {
        assert_eq!(existing.head.start, other.head.start);
        let line = |answer: &Response| answer.text().lines().nth(2).map(str::to_owned);
        assert_eq!(line(existing), line(other));
        assert_eq!(existing.field("proxy-status"), other.field("proxy-status"));
        let has_delay = |answer: &Response| answer.field("retry-after").is_some();
        assert_eq!(has_delay(existing), has_delay(other));
    }
    assert_eq!(existing.last().unwrap().status(), 429);
    // An unknown name may be a password in the wrong place.
    assert!(!proxy.errors().contains("canary"), "{}", proxy.errors());
}

#[test]
fn a_network_is_locked_and_its_verified_users_are_served() {
    let proxy = Proxy::start(LONG);
    assert_eq!(status_from(&proxy, "127.0.0.1", ALICE), 200);
    assert_eq!(status_from(&proxy, "127.0.0.2", BOB), 200);
    // Within the first failures.
    assert_eq!(guess_names(&proxy, "127.0.0.1", 49), [407; 49]);
    assert_eq!(status_from(&proxy, "127.0.0.1", COLON), 200);
    assert_eq!(status_from(&proxy, "127.0.0.1", ("last", "wrong")), 407);
    assert_eq!(
        (
            proxy.metric(LOCKS_OF_USERS),
            proxy.metric(LOCKS_OF_NETWORKS)
        ),
        (0, 1)
    );
    let line = "auth.lockout: the network 127.0.0.1 is locked out for 3600s after 50 failed logins";
    assert!(proxy.errors().contains(line), "{}", proxy.errors());
    // Random names do not push the entry of their network out.
    assert_eq!(guess_names(&proxy, "127.0.0.1", 2_000), [429; 2_000]);
    for _ in 0..3 {
        assert_eq!(status_from(&proxy, "127.0.0.1", ALICE), 200);
        assert_eq!(status_from(&proxy, "127.0.0.1", COLON), 200);
    }
    // That bob is verified elsewhere does not tell a client that guesses that the password is right.
    assert_eq!(status_from(&proxy, "127.0.0.1", BOB), 429);
    assert_eq!(status_from(&proxy, "127.0.0.1", (BOB.0, "wrong")), 429);
    assert_eq!(status_from(&proxy, "127.0.0.2", BOB), 200);
    assert_eq!(status_from(&proxy, "127.0.0.3", ALICE), 200);
}

/// Its password is hashed again when `cache_ttl` is over, and that clears no lock.
#[test]
fn a_verified_user_leaves_the_lock_of_its_neighbours() {
    const TTL: Duration = Duration::from_secs(1);
    let proxy =
        Proxy::start("auth: { cache_ttl: 1s, lockout: { first: 1h, max: 1h, window: 1h } }");
    let here = "127.0.0.1";
    assert_eq!(status_from(&proxy, here, ALICE), 200);
    let verified = Instant::now();
    assert_eq!(guess(&proxy, here, ALICE.0, 5), [407; 5]);
    eventually("cache_ttl to be over", || {
        let is_over = verified.elapsed() > 2 * TTL;
        assert_eq!(status_from(&proxy, here, ALICE), 200);
        assert_eq!(status_from(&proxy, here, (ALICE.0, "another")), 429);
        is_over.then_some(())
    });
}

// As a device with an old password, and a client that waits for the challenge.
#[test]
fn what_is_repeated_counts_once_and_what_has_no_credentials_never() {
    let proxy = Proxy::start(LONG);
    let nothing = "GET / HTTP/1.1\r\nHost: gate\r\n\r\n";
    let unreadable = "GET / HTTP/1.1\r\nHost: gate\r\nProxy-Authorization: Basic !!!\r\n\r\n";
    for _ in 0..60 {
        assert_eq!(status_from(&proxy, "127.0.0.1", (ALICE.0, "old")), 407);
        assert_eq!(status_from(&proxy, "127.0.0.1", (ALICE.0, "older")), 407);
        assert_eq!(proxy.exchange(nothing).status(), 401);
        assert_eq!(proxy.exchange(unreadable).status(), 407);
    }
    assert_eq!(guess(&proxy, "127.0.0.1", ALICE.0, 2), [407; 2]);
    assert_eq!(status_from(&proxy, "127.0.0.1", ALICE), 200);
    // Right ones clear the failures of the user.
    assert_eq!(guess(&proxy, "127.0.0.1", ALICE.0, 5), [407; 5]);
    assert_eq!(status_from(&proxy, "127.0.0.1", (ALICE.0, "another")), 429);
    assert_eq!(
        status_from(&proxy, "127.0.0.1", ALICE),
        200,
        "verified before"
    );
    assert_eq!(proxy.metric(LOCKS_OF_NETWORKS), 0);
}

/// Sends each request on a connection of its own, at once. The number of answers with 407; all others are 429.
fn wrong_at_once(proxy: &Proxy, requests: impl Iterator<Item = String>) -> usize {
    let mut wires: Vec<Wire> = requests
        .map(|request| {
            let mut wire = proxy.connect();
            wire.send(request).unwrap();
            wire
        })
        .collect();
    let statuses = wires
        .iter_mut()
        .map(|wire| wire.response("GET").unwrap().status());
    let statuses: Vec<u16> = statuses.collect();
    let is_known = |status: &u16| [407, 429].contains(status);
    assert!(statuses.iter().all(is_known), "{statuses:?}");
    statuses.iter().filter(|status| **status == 407).count()
}

#[test]
fn guesses_at_once_are_no_more_than_one_after_the_other() {
    let setup = Setup::new().file("users.htpasswd", format!("slow:{SLOW_HASH}\n"));
    let proxy = setup.config(LONG).start();
    let guesses = (0..200).map(|number| login(("slow", &format!("wrong-{number}"))));
    assert_eq!(wrong_at_once(&proxy, guesses), 5);
    assert_eq!(proxy.metric(LOCKS_OF_USERS), 1);
}

// They wait for the one thread, and most are locked out when their turn comes.
#[test]
fn guesses_that_wait_are_not_hashed_when_the_network_is_locked_meanwhile() {
    let setup = Setup::new().file("users.htpasswd", format!("slow:{SLOW_HASH}\n"));
    let proxy = setup.config(LONG);
    let proxy = proxy
        .config("auth: { hash_threads: 1, lockout: { network_failures: 3 } }")
        .start();
    let guesses = (0..40).map(|number| login((&format!("name-{number}"), "wrong")));
    assert_eq!(wrong_at_once(&proxy, guesses), 3);
    assert_eq!(proxy.metric(LOCKS_OF_NETWORKS), 1);
}

#[test]
fn a_lock_ends_and_attempts_do_not_make_it_longer() {
    let proxy = Proxy::start("auth: { lockout: { failures: 2, first: 2s } }");
    let begun = Instant::now();
    assert_eq!(guess(&proxy, "127.0.0.1", ALICE.0, 2), [407; 2]);
    let mut refused = 0;
    eventually("the end of the lock", || {
        let wrong = format!("more-{refused}");
        match status_from(&proxy, "127.0.0.1", (ALICE.0, &wrong)) {
            429 => refused += 1,
            other => {
                assert_eq!(other, 407);
                return Some(());
            }
        }
        None
    });
    assert!(begun.elapsed() >= Duration::from_secs(2));
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "{:?}",
        begun.elapsed()
    );
    assert!(refused > 0);
    // The next one is twice as long.
    let answer = try_from(&proxy, "127.0.0.1", ALICE);
    assert_eq!(answer.status(), 429);
    assert!(
        ["3", "4"].contains(&answer.field("retry-after").unwrap()),
        "{}",
        answer.text()
    );
}

#[test]
fn streams_of_http2_count_as_requests() {
    let proxy = Proxy::start(LONG);
    let origin = Origin::ok("in");
    http2::run(async {
        let mut client = http2::Client::connect(proxy.address).await;
        for number in 0..5 {
            let wrong = (ALICE.0, &*format!("wrong-{number}"));
            let request = http2::request_of(wrong, "CONNECT", &origin.address.to_string());
            assert_eq!(client.ask(request).await.status.as_u16(), 407);
        }
        let url = format!("http://{}/", origin.address);
        for (method, uri) in [
            ("CONNECT", origin.address.to_string()),
            ("GET", url.clone()),
        ] {
            let answer = client.ask(http2::request_of(ALICE, method, &uri)).await;
            assert_eq!(answer.status.as_u16(), 429, "{method}");
            assert!(answer.field("retry-after").is_some());
        }
        let answer = client.ask(http2::request_of(BOB, "GET", &url)).await;
        assert_eq!(answer.status.as_u16(), 200);
    });
}

#[test]
fn a_reload_keeps_locks_and_off_ends_them() {
    let proxy = Proxy::start(LONG);
    guess(&proxy, "127.0.0.1", ALICE.0, 5);
    for (lockout, expected) in [
        ("{ failures: 6, first: 2h, max: 2h }", 429),
        ("{ failures: 6, entries: 1000 }", 429),
        ("off", 200),
        ("{ failures: 7 }", 200),
    ] {
        proxy.rewrite(&format!("auth: {{ lockout: {lockout} }}"));
        let reload = proxy.reload();
        assert_eq!(reload.status(), 200, "{}", reload.text());
        assert_eq!(
            status_from(&proxy, "127.0.0.1", ALICE),
            expected,
            "{lockout}"
        );
    }
}

#[test]
fn off_locks_nothing() {
    let proxy = Proxy::start("auth: { lockout: off }");
    assert_eq!(guess(&proxy, "127.0.0.1", ALICE.0, 60), [407; 60]);
    assert_eq!(status_from(&proxy, "127.0.0.1", ALICE), 200);
    assert_eq!(
        (proxy.metric(LOCKS_OF_USERS), proxy.metric(REFUSALS)),
        (0, 0)
    );
}

#[test]
fn a_locked_login_is_not_asked_about() {
    let service = authorizer::service(|asked| json!({"allow": asked["password"] == "right"}));
    let setup = Setup::new().config(LONG);
    let config = authorizer::config(&service, "send_password: true, cache: 0s");
    let proxy = setup.config(&config).start();
    assert_eq!(status_from(&proxy, "127.0.0.2", ("eve", "right")), 200);
    assert_eq!(guess(&proxy, "127.0.0.1", "eve", 5), [407; 5]);
    let asked = service.requests().len();
    for password in ["more", "right", "wrong-0"] {
        assert_eq!(status_from(&proxy, "127.0.0.1", ("eve", password)), 429);
    }
    assert_eq!(service.requests().len(), asked);
    // What the service has accepted at a network goes on there.
    assert_eq!(guess(&proxy, "127.0.0.2", "eve", 5), [407; 5]);
    assert_eq!(status_from(&proxy, "127.0.0.2", ("eve", "more")), 429);
    assert_eq!(status_from(&proxy, "127.0.0.2", ("eve", "right")), 200);
}

#[test]
fn a_denial_of_the_authorizer_is_no_failure() {
    let service = authorizer::service(|_| json!({"allow": false, "status": 403}));
    let setup = Setup::new().config(LONG);
    let proxy = setup
        .config(&authorizer::config(&service, "send_password: true"))
        .start();
    assert_eq!(guess(&proxy, "127.0.0.1", "eve", 8), [403; 8]);
}

#[test]
fn tokens_neither_count_nor_wait() {
    let signer = Signer::ec();
    let setup = Setup::new().file("keys.json", key_set(vec![signer.jwk("k")]));
    let proxy = setup
        .config(LONG)
        .config(&issuer::config("keys.json", ""))
        .start();
    let bearer = |token: &str| {
        let request =
            format!("GET / HTTP/1.1\r\nHost: gate\r\nProxy-Authorization: Bearer {token}\r\n\r\n");
        proxy.exchange(request).status()
    };
    let token = signer.token("k", &claims());
    for number in 0..60 {
        // Another token each time, of no key that is known.
        let forged = Signer::ec().token("k", &claims());
        assert_eq!(bearer(&forged), 407, "{number}");
    }
    assert_eq!(status_from(&proxy, "127.0.0.1", ALICE), 200);
    assert_eq!(proxy.metric(LOCKS_OF_NETWORKS), 0);
    guess_names(&proxy, "127.0.0.1", 50);
    assert_eq!(status_from(&proxy, "127.0.0.1", BOB), 429);
    assert_eq!(bearer(&token), 200);
}

// A wrong password of another network is verified together with one of this network, and counts at both.
#[test]
fn a_shared_verification_counts_at_each_network() {
    let users = format!("stuck:{STUCK_HASH}\n{}", sha_line(ALICE));
    let setup = Setup::new().file("users.htpasswd", users).config(LONG);
    let proxy = setup.config("auth: { lockout: { failures: 1 } }").start();
    let mut wires = ["127.0.0.1", "127.0.0.2"].map(|client| {
        let mut wire = Wire::connect_from(client, proxy.address).unwrap();
        wire.send(login(("stuck", "wrong"))).unwrap();
        wire
    });
    for wire in &mut wires {
        assert_eq!(wire.response("GET").unwrap().status(), 407);
    }
    for client in ["127.0.0.1", "127.0.0.2"] {
        assert_eq!(status_from(&proxy, client, ("stuck", "other")), 429);
    }
    assert_eq!(proxy.metric(LOCKS_OF_USERS), 2);
}

#[test]
fn behind_a_load_balancer_the_address_in_the_header_counts() {
    let proxy = Setup::new().config(LONG).proxy_protocol().start();
    let from = |client: &str, user: (&str, &str)| {
        let mut wire = proxy.connect();
        let family = if client.contains(':') { "TCP6" } else { "TCP4" };
        let to = if client.contains(':') {
            "2001:db8::1"
        } else {
            "192.0.2.1"
        };
        wire.send(format!("PROXY {family} {client} {to} 5000 8888\r\n"))
            .unwrap();
        wire.exchange(login(user)).status()
    };
    for number in 0..5 {
        // Each from another address of one /64.
        let client = format!("2001:db8:1:2::{number}");
        assert_eq!(from(&client, (ALICE.0, &format!("wrong-{number}"))), 407);
        let client = "198.51.100.7";
        assert_eq!(from(client, (BOB.0, &format!("wrong-{number}"))), 407);
    }
    assert_eq!(from("2001:db8:1:2:ffff::9", ALICE), 429);
    assert_eq!(from("2001:db8:1:3::1", ALICE), 200);
    assert_eq!(from("198.51.100.7", BOB), 429);
    assert_eq!(from("198.51.100.8", BOB), 200);
    let line = "the user \"alice\" at 2001:db8:1:2::/64 is locked out";
    assert!(proxy.errors().contains(line), "{}", proxy.errors());
}
