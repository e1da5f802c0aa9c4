//! The keys of issuers: fetched and rotated, from a URL and from a file.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::eventually;
use crate::support::issuer::{KeyServer, Signer, claims, claims_with, config, key_set};
use crate::support::message::{ok, response};
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::tls::Authority;

fn bearer(origin: &Origin, token: &str) -> String {
    let address = origin.address;
    format!(
        "GET http://{address}/ HTTP/1.1\r\nHost: {address}\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
    )
}

fn status(proxy: &Proxy, origin: &Origin, token: &str) -> u16 {
    proxy.ask(bearer(origin, token)).0.status()
}

fn fetched(proxy: &Proxy, result: &str) -> u64 {
    proxy.metric(&format!(
        "tollgate_token_key_fetches_total{{result=\"{result}\"}}"
    ))
}

#[test]
fn a_rotated_key_takes_effect_with_the_first_token_that_names_it() {
    let (old, new, origin) = (Signer::ec(), Signer::ec(), Origin::ok("in"));
    let keys = KeyServer::with([old.jwk("old")]);
    let proxy = Proxy::start(&config(&keys.url(), ", min_refetch: 1s"));
    let (by_old, by_new) = (old.token("old", &claims()), new.token("new", &claims()));
    // The first request may be here before the keys: it waits for them.
    assert_eq!(status(&proxy, &origin, &by_old), 200);
    assert_eq!(keys.fetches(), 1);
    let request = keys.origin.request();
    assert_eq!(request.head.target(), "/jwks");
    assert!(
        request
            .head
            .fields
            .value("user-agent")
            .unwrap()
            .starts_with("tollgate/")
    );

    keys.publish([new.jwk("new")]);
    // Within a second of the fetch before, the new key is not looked for.
    eventually("the new key", || {
        (status(&proxy, &origin, &by_new) == 200).then_some(())
    });
    assert_eq!(keys.fetches(), 2);
    // The old key is gone, and with it the token that was verified and cached.
    let (answer, record) = proxy.ask(bearer(&origin, &by_old));
    assert_eq!(answer.status(), 407, "{record}");
    assert!(
        record["error_detail"]
            .as_str()
            .unwrap()
            .starts_with("key: "),
        "{record}"
    );
    // One connection for both fetches.
    assert_eq!(keys.origin.connections(), 1);
    assert_eq!(
        (fetched(&proxy, "success"), fetched(&proxy, "failure")),
        (2, 0)
    );
}

#[test]
fn unknown_keys_cost_no_fetch_each() {
    let (signer, origin) = (Signer::ec(), Origin::ok("in"));
    let keys = KeyServer::with([signer.jwk("k")]);
    let proxy = Proxy::start(&config(&keys.url(), ", min_refetch: 1h"));
    assert_eq!(status(&proxy, &origin, &signer.token("k", &claims())), 200);
    let begun = Instant::now();
    for number in 0..200 {
        let token = signer.token(&format!("random-{number}"), &claims());
        assert_eq!(status(&proxy, &origin, &token), 407);
    }
    // None waits either.
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(keys.fetches(), 1);
}

#[test]
fn keys_stay_while_they_cannot_be_fetched() {
    let (signer, origin) = (Signer::ec(), Origin::ok("in"));
    let keys = KeyServer::with([signer.jwk("k")]);
    let proxy = Proxy::start(&config(&keys.url(), ", refresh: 1s, min_refetch: 1s"));
    assert_eq!(status(&proxy, &origin, &signer.token("k", &claims())), 200);
    let elsewhere = KeyServer::with([Signer::ec().jwk("k")]);
    let redirect = format!("Location: {}\r\n", elsewhere.url());
    for (answer, why) in [
        (response("302 Found", &redirect, ""), "answers 302"),
        (response("503 Service Unavailable", "", "no"), "answers 503"),
        (ok("<html>"), "not JSON"),
        (ok("{\"keys\":[]}"), "no key for RS256"),
        (ok(" ".repeat(300 * 1024)), "larger than 262144 bytes"),
        (b"no HTTP at all\r\n\r\n".to_vec(), ""),
    ] {
        let failures = fetched(&proxy, "failure");
        keys.answer(answer);
        eventually(why, || {
            (fetched(&proxy, "failure") >= failures + 2).then_some(())
        });
        let fresh = signer.token("k", &claims_with(json!({"jti": why})));
        assert_eq!(status(&proxy, &origin, &fresh), 200, "{why}");
    }
    let log = proxy.errors();
    assert!(
        log.contains("tokens of https://issuer.test") && log.contains("stay in use"),
        "{log}"
    );
    // Throttled: not a line for each.
    assert!(log.matches("stay in use").count() < 10, "{log}");
    assert_eq!(elsewhere.fetches(), 0);
    keys.publish([Signer::ec().jwk("k")]);
    let token = signer.token("k", &claims());
    eventually("the new keys", || {
        (status(&proxy, &origin, &token) == 407).then_some(())
    });
}

#[test]
fn keys_come_over_tls_that_is_verified() {
    let (signer, origin, authority) = (Signer::ec(), Origin::ok("in"), Authority::new());
    let set = key_set([signer.jwk("k")]);
    let server = Origin::https(authority.issue(&["127.0.0.1"]).server(), move |_| {
        ok(set.as_str())
    });
    let url = format!("https://{}/jwks", server.address);
    let token = signer.token("k", &claims());
    let with_authority = |name: &Authority| {
        Setup::new()
            .file("ca.pem", name.pem())
            .server("ca_file: ca.pem")
            .config(&config(&url, ", min_refetch: 1s"))
            .start()
    };
    assert_eq!(status(&with_authority(&authority), &origin, &token), 200);
    let proxy = with_authority(&Authority::new());
    assert_eq!(status(&proxy, &origin, &token), 407);
    eventually("the failure", || {
        (fetched(&proxy, "failure") > 0).then_some(())
    });
}

#[test]
fn a_reload_reads_keys_and_issuers_again() {
    let (old, new, origin) = (Signer::ec(), Signer::ec(), Origin::ok("in"));
    let proxy = Setup::new()
        .file("keys.json", key_set([old.jwk("old"), new.jwk("new")]))
        .config(&config("keys.json", ""))
        .start();
    let (by_old, by_new) = (old.token("old", &claims()), new.token("new", &claims()));
    let both = |expected: [u16; 2]| {
        for _ in 0..2 {
            let found = [&by_old, &by_new].map(|token| status(&proxy, &origin, token));
            assert_eq!(found, expected);
        }
    };
    both([200, 200]);
    // The file alone is nothing; a reload is.
    std::fs::write(proxy.path("keys.json"), key_set([new.jwk("new")])).unwrap();
    both([200, 200]);
    let report = proxy.reload();
    assert_eq!(report.status(), 200);
    assert!(
        report.text().contains("tollgate.auth.tokens.issuers"),
        "{}",
        report.text()
    );
    both([407, 200]);
    // A broken file changes nothing.
    std::fs::write(proxy.path("keys.json"), "{}").unwrap();
    assert_ne!(proxy.reload().status(), 200);
    both([407, 200]);
    // Another audience, and none of the tokens is for it.
    std::fs::write(
        proxy.path("keys.json"),
        key_set([old.jwk("old"), new.jwk("new")]),
    )
    .unwrap();
    assert_eq!(proxy.reload().status(), 200);
    both([200, 200]);
    proxy.rewrite(&config("keys.json", "").replace("audience: tollgate", "audience: other"));
    assert_eq!(proxy.reload().status(), 200);
    both([407, 407]);
    proxy.rewrite(&config("keys.json", ""));
    assert_eq!(proxy.reload().status(), 200);
    both([200, 200]);
    // Keys of a URL by a reload: the first request waits for them.
    let keys = KeyServer::with([new.jwk("new")]);
    proxy.rewrite(&config(&keys.url(), ""));
    assert_eq!(proxy.reload().status(), 200);
    both([407, 200]);
    assert_eq!(keys.fetches(), 1);
}
