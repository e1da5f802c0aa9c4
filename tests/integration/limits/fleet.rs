//! Three instances that share their limits: the sum of what they admit.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::admin::{given_users, json, root};
use crate::support::client::Wire;
use crate::support::command::tollgate;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::proxy::{Proxy, Setup};
use crate::support::redis::Redis;
use crate::support::request::{connect, fetch};
use crate::support::upgrade::Successor;
use crate::support::zone::steady_zone;
use crate::support::{DEADLINE, eventually};

fn setup(redis: &Redis, class: &str) -> Setup {
    Setup::new().config(&format!(
        "limits: {{ time_zone: {}, store: {{ redis: '{}', timeout: 2s }}, classes: [{{ name: all, {class} }}] }}",
        steady_zone(),
        redis.url()
    ))
}

/// Three instances that know of each other.
fn three(redis: &Redis, class: &str) -> [Proxy; 3] {
    let proxies = [(); 3].map(|()| given_users(setup(redis, class)).start());
    wait_instances(redis, 3);
    proxies
}

fn wait_instances(redis: &Redis, expected: usize) {
    eventually("the instances to know of each other", || {
        (redis.instances() == expected).then_some(())
    });
}

/// Asks as fast as it can for some time. How many were admitted.
fn hammer(proxy: SocketAddr, request: &str, until: Instant) -> u64 {
    let mut admitted = 0;
    let mut wire = Wire::connect(proxy).unwrap();
    while Instant::now() < until {
        let answer = wire.exchange(request);
        match answer.status() {
            200 => admitted += 1,
            429 => {}
            other => panic!("{other}: {}", answer.text()),
        }
        if answer.head.fields.lists("connection", "close") {
            wire = Wire::connect(proxy).unwrap();
        }
    }
    admitted
}

#[test]
fn a_rate_is_kept_by_all_together() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let origin = Origin::ok("in");
    // With all of them busy, and with one alone.
    for (class, rate, burst, busy) in [
        ("requests: 100/s, burst: 60", 100.0, 60.0, 3),
        ("requests: 100/s, burst: 60", 100.0, 60.0, 1),
        ("per: class, requests: 40/s, burst: 3", 40.0, 3.0, 3),
        ("per: class, requests: 40/s, burst: 3", 40.0, 3.0, 1),
    ] {
        let proxies = three(&redis, class);
        let request = &fetch(&format!("http://{}/", origin.address));
        let begun = Instant::now();
        let until = begun + Duration::from_secs(5);
        let sum: u64 = std::thread::scope(|scope| {
            let busy = proxies.iter().take(busy);
            let threads: Vec<_> = busy
                .clone()
                .chain(busy)
                .map(|proxy| proxy.address)
                .map(|proxy| scope.spawn(move || hammer(proxy, request, until)))
                .collect();
            threads.into_iter().map(|it| it.join().unwrap()).sum()
        });
        let limit = rate * begun.elapsed().as_secs_f64() + burst;
        assert!(sum as f64 <= limit * 1.05, "{class}: {sum} of {limit}");
        assert!(sum as f64 >= limit * 0.9, "{class}: {sum} of {limit}");
        drop(proxies);
        redis.ask(&["FLUSHALL"]);
    }
}

/// A burst at one instance is the whole burst, although it begins with a part of it.
#[test]
fn one_instance_may_have_all_of_a_burst() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let origin = Origin::ok("in");
    let proxies = three(&redis, "requests: 1/m, burst: 30");
    let request = fetch(&format!("http://{}/", origin.address));
    let admitted = (0..40)
        .filter(|_| proxies[0].exchange(&request).status() == 200)
        .count();
    assert!((30..=31).contains(&admitted), "{admitted}");
    eventually("the others to know", || {
        let status = [&proxies[1], &proxies[2]].map(|proxy| proxy.exchange(&request).status());
        (status == [429, 429]).then_some(())
    });
}

fn tunnels(proxy: SocketAddr, origin: SocketAddr, count: usize) -> Vec<Wire> {
    let mut open = Vec::new();
    for _ in 0..count {
        let mut wire = Wire::connect(proxy).unwrap();
        let answer = wire.exchange(connect(origin));
        match answer.status() {
            200 => open.push(wire),
            429 => {}
            other => panic!("{other}: {}", answer.text()),
        }
    }
    open
}

#[test]
fn tunnels_at_once_are_never_more_than_the_limit() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let origin = &Origin::ok("in");
    for limit in [5, 60] {
        let mut proxies = three(&redis, &format!("tunnels: {limit}"));
        let mut open: Vec<Vec<Wire>> = std::thread::scope(|scope| {
            let threads: Vec<_> = proxies
                .iter()
                .map(|proxy| proxy.address)
                .map(|proxy| scope.spawn(move || tunnels(proxy, origin.address, limit)))
                .collect();
            threads.into_iter().map(|it| it.join().unwrap()).collect()
        });
        let sum: usize = open.iter().map(Vec::len).sum();
        assert!(sum <= limit, "{sum} of {limit}");
        // What is spare at one instance comes back when nothing happens there.
        eventually("the last places", || {
            for (proxy, open) in proxies.iter().zip(&mut open) {
                open.extend(tunnels(proxy.address, origin.address, 1));
            }
            let sum: usize = open.iter().map(Vec::len).sum();
            assert!(sum <= limit, "{sum} of {limit}");
            (sum == limit).then_some(())
        });
        // Closed at one, free at another.
        open[0].clear();
        let mut more = Vec::new();
        eventually("a place that was given back", || {
            more.extend(tunnels(proxies[1].address, origin.address, 1));
            (!more.is_empty()).then_some(())
        });
        // An instance that ends without a word gives its places back too, after the lease.
        let lost = open[2].len();
        proxies[2].signal(Signal::KILL);
        proxies[2].wait_exit(DEADLINE);
        let mut after = Vec::new();
        eventually("the places of an instance that was killed", || {
            after.extend(tunnels(proxies[0].address, origin.address, 1));
            let sum = open[1].len() + more.len() + after.len();
            assert!(sum <= limit, "{sum} of {limit}");
            (sum + lost > limit || sum == limit).then_some(())
        });
        drop(proxies);
        redis.ask(&["FLUSHALL"]);
    }
}

#[test]
fn requests_at_once_are_shared_too() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let origin = Origin::raw(|mut wire, _| {
        wire.read_head()?;
        wire.read_to_end().map(drop)
    });
    let proxies = three(&redis, "concurrent_requests: 2");
    let request = fetch(&format!("http://{}/", origin.address));
    let mut open = Vec::new();
    for proxy in &proxies[..2] {
        let mut wire = proxy.connect();
        wire.send(&request).unwrap();
        eventually("the request to be served", || {
            (stats(proxy, "requests") == 1).then_some(())
        });
        open.push(wire);
    }
    assert_eq!(proxies[2].exchange(&request).status(), 429);
    drop(open);
}

fn stats(proxy: &Proxy, member: &str) -> u64 {
    let stats = json(&root(proxy, "GET", "/stats", ""));
    let class = &stats["classes"]["all"];
    class[member].as_u64().unwrap_or_else(|| panic!("{stats}"))
}

fn used(proxy: &Proxy) -> u64 {
    json(&root(proxy, "GET", "/quotas", ""))["balances"][0]["used"]
        .as_u64()
        .unwrap_or_default()
}

const MB: u64 = 1_000_000;

/// Answers with a megabyte.
fn megabytes() -> Origin {
    Origin::http(|_| ok(payload::bytes(MB as usize)))
}

#[test]
fn a_quota_is_used_up_by_all_together() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let origin = megabytes();
    let proxies = three(&redis, "quota: { hour: 200MB, month: 1GB }");
    let request = fetch(&format!("http://{}/", origin.address));
    let closing = request.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
    let received = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for proxy in &proxies {
            let (address, received, request) = (proxy.address, &received, &closing);
            scope.spawn(move || {
                loop {
                    let mut wire = Wire::connect(address).unwrap();
                    wire.send(request).unwrap();
                    let answer = wire.rest();
                    if answer.starts_with(b"HTTP/1.1 429") {
                        break;
                    }
                    let sum = received.fetch_add(answer.len() as u64, Ordering::SeqCst);
                    assert!(sum < 400 * MB, "it never ends");
                }
            });
        }
    });
    let received = received.load(Ordering::SeqCst);
    assert!((190 * MB..=210 * MB).contains(&received), "{received}");
    let sums = proxies.each_ref().map(used);
    assert_eq!(sums, [sums[0]; 3]);

    // The command asks the same store, and what it changes holds for all, also for those that only refuse.
    let config = |proxy: &Proxy| proxy.path("pingora.yaml").display().to_string();
    let listed = tollgate(["quota", "-c", &config(&proxies[1]), "--json"]);
    let rows: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(
        (rows[0]["period"].as_str(), rows[0]["used"].as_u64()),
        (Some("hour"), Some(sums[0]))
    );
    assert_eq!(rows.as_array().unwrap().len(), 2);
    let granted = tollgate([
        "quota",
        "-c",
        &config(&proxies[1]),
        "--user",
        "alice",
        "--grant",
        "30MB",
    ]);
    assert_eq!(granted.code(), Some(0), "{}", granted.output());
    for proxy in &proxies {
        eventually("the grant", || {
            (proxy.exchange(&request).status() == 200).then_some(())
        });
    }
    let answer = root(&proxies[2], "POST", "/quotas/reset?user=alice", "");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    eventually("the reset", || {
        let sums = proxies.each_ref().map(used);
        (sums[0] < 10 * MB && sums == [sums[0]; 3]).then_some(())
    });
    // It is not forgotten when an instance that knew more tells of a byte.
    for proxy in &proxies {
        assert_eq!(proxy.exchange(&request).status(), 200);
    }
    eventually("the bytes to count", || {
        let sum = used(&proxies[0]);
        assert!(sum < 10 * MB, "{sum}");
        (sum >= 3 * MB).then_some(())
    });
}

/// An instance that is killed loses the bytes of a moment; the next process of an upgrade is one more instance.
#[test]
fn processes_come_and_go() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let origin = megabytes();
    let mut proxy = setup(&redis, "quota: { month: 1GB }, tunnels: 4").start();
    let request = fetch(&format!("http://{}/", origin.address));
    assert_eq!(proxy.exchange(&request).status(), 200);
    let counted = eventually("the bytes to count", || {
        Some(used(&proxy)).filter(|sum| *sum > MB)
    });
    let mut successor = Successor::start(&proxy);
    let tunnel = proxy.tunnel(origin.address);
    proxy.signal(Signal::QUIT);
    eventually("the next process to serve", || {
        (redis.instances() == 2 && proxy.errors().contains("the new process serves")).then_some(())
    });
    assert_eq!(proxy.exchange(&request).status(), 200);
    eventually("both to count", || {
        (used(&proxy) >= counted * 2).then_some(())
    });
    // Four in all: one of the old process.
    let open = tunnels(proxy.address, origin.address, 6);
    assert_eq!(open.len(), 3);
    drop(tunnel);
    proxy.wait_exit(DEADLINE);
    assert!(successor.is_running());
    eventually("the old process to be forgotten", || {
        (redis.instances() == 1).then_some(())
    });
}
