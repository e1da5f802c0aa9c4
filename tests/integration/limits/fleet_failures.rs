//! The store of a fleet that fails: limits go on or requests are denied as configured, that is seen, and it is recovered from.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::command::check;
use crate::support::documents::{read, root};
use crate::support::eventually;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::proxy::{Proxy, Setup};
use crate::support::redis::Redis;
use crate::support::request::{connect, fetch};
use crate::support::tls::Authority;
use crate::support::zone::steady_zone;

fn setup(url: &str, more: &str, class: &str) -> Setup {
    Setup::new().config(&format!(
        "limits: {{ time_zone: {}, store: {{ redis: '{url}'{more} }}, classes: [{{ name: all, {class} }}] }}",
        steady_zone()
    ))
}

fn wait_up(proxy: &Proxy, expected: u64) {
    let line = format!("tollgate_store_up{{store=\"redis\"}} {expected}");
    eventually("the state of the store", || {
        proxy.admin("/metrics").text().contains(&line).then_some(())
    });
}

fn failures(proxy: &Proxy, kind: &str) -> u64 {
    proxy.metric(&format!("tollgate_store_failures_total{{kind=\"{kind}\"}}"))
}

fn state(proxy: &Proxy) -> String {
    let stats: Value = serde_json::from_str(&proxy.admin("/stats").text()).unwrap();
    stats["quotas"]["store"].as_str().unwrap().to_owned()
}

fn used(proxy: &Proxy) -> u64 {
    let answer = proxy.admin("/quotas");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let body: Value = serde_json::from_str(&answer.text()).unwrap();
    body["balances"][0]["used"].as_u64().unwrap_or_default()
}

const CLASS: &str = "requests: 1/m, burst: 10, tunnels: 3, quota: { month: 1GB }";

/// Stopped, and started again without its data.
#[test]
fn a_store_that_goes_away_is_told_and_recovered_from() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let origin = Origin::http(|_| ok(payload::bytes(100_000)));
    for on_failure in ["admit", "deny"] {
        let more = format!(", on_failure: {on_failure}");
        let proxy = setup(&redis.url(), &more, CLASS).start();
        let request = fetch(&format!("http://{}/", origin.address));
        wait_up(&proxy, 1);
        assert_eq!(state(&proxy), "works");
        assert_eq!(proxy.exchange(&request).status(), 200);
        let before = eventually("the bytes to count", || {
            Some(used(&proxy)).filter(|sum| *sum > 100_000)
        });
        let tunnel = proxy.tunnel(origin.address);
        redis.stop();
        wait_up(&proxy, 0);
        assert!(failures(&proxy, "unreachable") > 0);
        assert!(state(&proxy).starts_with("failed: "), "{}", state(&proxy));
        let answer = proxy.exchange(&request);
        let sum = match on_failure {
            "admit" => {
                assert_eq!(answer.status(), 200);
                before + 100_000
            }
            _ => {
                assert_eq!(answer.status(), 503);
                let record = proxy.record("a denied request", |it| it["status"] == 503);
                assert_eq!(record["error"], "quota_store_failed");
                before
            }
        };
        let errors = proxy.errors();
        assert!(errors.contains("limits: redis://127.0.0.1:"), "{errors}");
        redis.restart();
        wait_up(&proxy, 1);
        // What the store has forgotten, the instance knows.
        eventually("the bytes to be told again", || {
            (used(&proxy) >= sum).then_some(())
        });
        // The tunnel that is open still takes a place.
        let status = || proxy.exchange(connect(origin.address)).status();
        assert_eq!([(); 2].map(|()| hold(&proxy, &origin)).len(), 2);
        eventually("places to be leased", || (status() != 503).then_some(()));
        drop(tunnel);
        drop(proxy);
        redis.ask(&["FLUSHALL"]);
    }
}

fn hold(proxy: &Proxy, origin: &Origin) -> u16 {
    proxy.exchange(connect(origin.address)).status()
}

/// Stopped by a signal: connections are accepted, and nothing is answered.
#[test]
fn a_store_that_is_slow_does_not_hold_requests() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let origin = Origin::ok("in");
    let proxy = setup(&redis.url(), ", timeout: 300ms", CLASS).start();
    let request = fetch(&format!("http://{}/", origin.address));
    wait_up(&proxy, 1);
    redis.signal(Signal::STOP);
    let begun = std::time::Instant::now();
    // A request that asks waits for the timeout, and then the instance is alone.
    assert_eq!(proxy.exchange(&request).status(), 200);
    assert!(begun.elapsed().as_secs() < 5);
    wait_up(&proxy, 0);
    assert!(failures(&proxy, "timeout") > 0);
    redis.signal(Signal::CONT);
    wait_up(&proxy, 1);
    assert_eq!(proxy.exchange(&request).status(), 200);
}

/// The script is gone too, and what instances know is written back.
#[test]
fn a_store_that_is_emptied_is_filled_again() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let origin = Origin::http(|_| ok(payload::bytes(100_000)));
    let class = "tunnels: 3, quota: { month: 1GB }";
    let proxies = [(); 2].map(|()| setup(&redis.url(), ", timeout: 2s", class).start());
    let request = fetch(&format!("http://{}/", origin.address));
    for proxy in &proxies {
        assert_eq!(proxy.exchange(&request).status(), 200);
    }
    let sum = eventually("the bytes to count", || {
        Some(used(&proxies[0])).filter(|sum| *sum > 200_000)
    });
    let open = proxies.each_ref().map(|proxy| proxy.tunnel(origin.address));
    redis.ask(&["SCRIPT", "FLUSH"]);
    redis.ask(&["FLUSHALL"]);
    eventually("the bytes to be told again", || {
        let now = used(&proxies[1]);
        assert!(now <= sum, "{now} of {sum}");
        (now == sum).then_some(())
    });
    // Two of three places are taken.
    let third = eventually("the last place", || {
        let mut wire = proxies[0].connect();
        (wire.exchange(connect(origin.address)).status() == 200).then_some(wire)
    });
    for proxy in &proxies {
        assert_eq!(hold(proxy, &origin), 429);
    }
    drop((open, third));
    for proxy in &proxies {
        assert!(
            !proxy.errors().contains("until it works"),
            "{}",
            proxy.errors()
        );
    }
}

#[test]
fn a_store_denies_and_refuses() {
    let secret = "canary-redis-7";
    let Some(redis) = Redis::start_with(&["--requirepass", secret], Some(secret)) else {
        return;
    };
    let origin = Origin::ok("in");
    let setup = |password: &str| {
        setup(&redis.url(), ", password: STORE", CLASS)
            .config("secrets: { STORE: { file: store.secret } }")
            .file("store.secret", format!("{password}\n"))
    };
    let request = fetch(&format!("http://{}/", origin.address));
    let wrong = setup("canary-wrong-9").start();
    wait_up(&wrong, 0);
    assert_eq!(wrong.exchange(&request).status(), 200);
    assert!(failures(&wrong, "denied") > 0);
    assert!(!wrong.errors().contains("canary"), "{}", wrong.errors());
    let proxy = setup(secret).start();
    wait_up(&proxy, 1);
    assert_eq!(proxy.exchange(&request).status(), 200);
    // A user with the rights that operations.md lists.
    let text = read(&root().join("docs/operations.md"));
    let (_, rights) = text.split_once("`~tollgate:* ").unwrap();
    let (rights, _) = rights.split_once('`').unwrap();
    let mut words = vec![
        "ACL",
        "SETUSER",
        "tollgate",
        "on",
        ">canary-acl-3",
        "~tollgate:*",
    ];
    words.extend(rights.split_whitespace());
    assert!(redis.ask(&words).starts_with("+OK"));
    let limited = setup("canary-acl-3").config("limits: { store: { user: tollgate } }");
    let limited = limited.start();
    wait_up(&limited, 1);
    assert_eq!(limited.exchange(&request).status(), 200);
    eventually("the bytes to count", || (used(&limited) > 0).then_some(()));
    drop(limited);
    for (set, kind, back) in [
        (
            ["CONFIG", "SET", "maxmemory", "1"],
            "out_of_memory",
            ["CONFIG", "SET", "maxmemory", "0"],
        ),
        (
            ["REPLICAOF", "127.0.0.1", "1", ""],
            "read_only",
            ["REPLICAOF", "NO", "ONE", ""],
        ),
    ] {
        let trim = |words: [&'static str; 4]| -> Vec<&str> {
            words.into_iter().filter(|word| !word.is_empty()).collect()
        };
        redis.ask(&trim(set));
        wait_up(&proxy, 0);
        eventually("the kind of the failure", || {
            (failures(&proxy, kind) > 0).then_some(())
        });
        redis.ask(&trim(back));
        wait_up(&proxy, 1);
    }
}

#[test]
fn a_store_is_reached_over_tls_and_a_socket() {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost"]);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("cert.pem"), &identity.certificate_pem).unwrap();
    std::fs::write(path("key.pem"), &identity.key_pem).unwrap();
    let port = crate::support::port::Port::reserve();
    let number = port.address.port().to_string();
    let Some(_redis) = Redis::start_with(
        &[
            "--tls-port",
            &number,
            "--tls-cert-file",
            &path("cert.pem"),
            "--tls-key-file",
            &path("key.pem"),
            "--tls-auth-clients",
            "no",
            "--unixsocket",
            &path("redis.sock"),
        ],
        None,
    ) else {
        return;
    };
    let origin = Origin::ok("in");
    let request = fetch(&format!("http://{}/", origin.address));
    let url = format!("rediss://localhost:{number}");
    let proxy = setup(&url, ", ca_file: store-ca.pem", CLASS)
        .file("store-ca.pem", authority.pem())
        .start();
    wait_up(&proxy, 1);
    assert_eq!(proxy.exchange(&request).status(), 200);
    // Of an authority that is not trusted.
    let stranger = setup(&url, ", ca_file: store-ca.pem", CLASS)
        .file("store-ca.pem", Authority::new().pem())
        .start();
    wait_up(&stranger, 0);
    let proxy = setup(&format!("unix://{}", path("redis.sock")), "", CLASS).start();
    wait_up(&proxy, 1);
}

#[test]
fn what_cannot_be_a_store_is_told() {
    for (store, expected) in [
        (
            "redis: 'redis://:hunter2@127.0.0.1'",
            "has credentials, which belong in a secret",
        ),
        (
            "redis: 'redis://127.0.0.1', password: hunter2",
            "not the name of a secret",
        ),
        ("redis: 'redis://127.0.0.1', file: a.redb", "beside a file"),
        ("redis: 'redis://127.0.0.1', prefix: 'a*'", "not a prefix"),
        ("redis: 'redis://127.0.0.1', user: u", "without a password"),
        ("redis: 'redis://127.0.0.1', ca_file: none.pem", "none.pem"),
        ("redis: 'http://127.0.0.1'", "another scheme"),
        ("on_failure: deny", "missing"),
        (
            "file: a.redb, password: hunter2",
            "for a server, beside a file",
        ),
    ] {
        let setup = Setup::new().config(&format!("limits: {{ store: {{ {store} }} }}"));
        let outcome = check(&setup);
        let output = outcome.output();
        assert_eq!(outcome.code(), Some(78), "{store}: {output}");
        assert!(output.contains(expected), "{store}: {output}");
        assert!(!output.contains("hunter2"), "{output}");
    }
}
