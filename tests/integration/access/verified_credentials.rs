//! The cache of successful verifications: a password is hashed once, and again when `auth.cache_ttl` is over.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::eventually;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{credentials, sha_line};

/// SHA-256-crypt of `pw-slow`, with as many rounds as are accepted: some tenths of a second.
const SLOW_HASH: &str =
    "$5$rounds=1000000$saltsaltsalt$pqtnctvg57RCc3PDW3QBEij1D7GLwWGEXbCWv9PEOM5";

/// What a request of the user costs the proxy, in ticks of the processor's time: those do not pass while other
/// programs run.
fn cost(proxy: &Proxy) -> u64 {
    let before = proxy.processor_ticks();
    assert_eq!(status(proxy, "slow", "pw-slow"), 200);
    proxy.processor_ticks() - before
}

fn status(proxy: &Proxy, user: &str, password: &str) -> u16 {
    let user = credentials((user, password));
    let answer = proxy.exchange(format!("GET / HTTP/1.1\r\nHost: gate\r\n{user}\r\n"));
    answer.status()
}

#[test]
fn verification_is_repeated_when_cache_ttl_is_over() {
    const TTL: Duration = Duration::from_secs(2);
    let proxy = Setup::new()
        .file("users.htpasswd", format!("slow:{SLOW_HASH}\n"))
        .config("auth: { cache_ttl: 2s }")
        .start();
    let start = Instant::now();
    let hashed = cost(&proxy);
    assert!(
        hashed >= 10,
        "{hashed} ticks are not told from a cached one"
    );
    let verified = Instant::now();
    assert!(cost(&proxy) < hashed / 2, "cached");
    // Time is what this is about: the request that is hashed again comes after the time, and soon.
    eventually("the password to be hashed again", || {
        (cost(&proxy) >= hashed / 2).then_some(())
    });
    assert!(start.elapsed() > TTL, "{:?}", start.elapsed());
    assert!(verified.elapsed() < 3 * TTL, "{:?}", verified.elapsed());
    assert!(cost(&proxy) < hashed / 2, "cached anew");
}

/// A reload must not cost what a start costs: all users at once would wait for their hash again.
#[test]
fn reload_forgets_only_users_whose_hash_has_changed() {
    const USERS: usize = 6;
    let lines = |slow: std::ops::Range<usize>| -> String {
        slow.map(|user| format!("user-{user}:{SLOW_HASH}\n"))
            .collect()
    };
    let proxy = Setup::new().file("users.htpasswd", lines(0..USERS)).start();
    let ask_all = |users: std::ops::Range<usize>| {
        let before = proxy.processor_ticks();
        for user in users {
            assert_eq!(status(&proxy, &format!("user-{user}"), "pw-slow"), 200);
        }
        proxy.processor_ticks() - before
    };
    let hashed = ask_all(0..USERS);
    assert!(hashed >= 60, "{hashed} ticks are not told from cached ones");
    assert_eq!(proxy.reload().status(), 200);
    let again = ask_all(0..USERS);
    assert!(
        again < hashed / 6,
        "{again} ticks, as cached as before: {hashed}"
    );

    // One has another password, one is gone, and one is new.
    let changed = sha_line(("user-0", "pw-new")) + &sha_line(("new", "pw-new"));
    std::fs::write(proxy.path("users.htpasswd"), changed + &lines(2..USERS)).unwrap();
    proxy.signal(Signal::HUP);
    eventually("the reload", || {
        (status(&proxy, "new", "pw-new") == 200).then_some(())
    });
    assert_eq!(status(&proxy, "user-0", "pw-slow"), 407);
    assert_eq!(status(&proxy, "user-0", "pw-new"), 200);
    assert_eq!(status(&proxy, "user-1", "pw-slow"), 407);
    let rest = ask_all(2..USERS);
    assert!(
        rest < hashed / 6,
        "{rest} ticks, as cached as before: {hashed}"
    );

    // Who comes back is verified anew.
    std::fs::write(proxy.path("users.htpasswd"), lines(0..USERS)).unwrap();
    assert_eq!(proxy.reload().status(), 200);
    assert_eq!(status(&proxy, "user-0", "pw-new"), 407);
    assert!(ask_all(0..2) >= hashed / 6, "two are hashed");
}
