//! The cache of successful verifications: a password is hashed once, and again when `auth.cache_ttl` is over.

use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::credentials;

/// SHA-256-crypt of `pw-slow`, with as many rounds as are accepted: some tenths of a second.
const SLOW_HASH: &str =
    "$5$rounds=1000000$saltsaltsalt$pqtnctvg57RCc3PDW3QBEij1D7GLwWGEXbCWv9PEOM5";

/// What a request of the user costs the proxy, in ticks of the processor's time: those do not pass while other
/// programs run.
fn cost(proxy: &Proxy) -> u64 {
    let before = proxy.processor_ticks();
    let user = credentials(("slow", "pw-slow"));
    let answer = proxy.exchange(format!("GET / HTTP/1.1\r\nHost: gate\r\n{user}\r\n"));
    assert_eq!(answer.status(), 200);
    proxy.processor_ticks() - before
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
