//! The data of a fleet's store: loaded at its start, older than what instances know, and outlived by them.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::proxy::{Proxy, Setup};
use crate::support::redis::Redis;
use crate::support::request::{connect, fetch};
use crate::support::zone::steady_zone;
use crate::support::{DEADLINE, eventually};

fn setup(redis: &Redis, class: &str) -> Setup {
    Setup::new().config(&format!(
        "limits: {{ time_zone: {}, store: {{ redis: '{}', timeout: 2s }}, classes: [{{ name: all, {class} }}] }}",
        steady_zone(),
        redis.url()
    ))
}

fn used(proxy: &Proxy) -> u64 {
    let answer = proxy.admin("/quotas");
    let body: Value = serde_json::from_str(&answer.text()).unwrap_or_default();
    body["balances"][0]["used"].as_u64().unwrap_or_default()
}

fn is_up(proxy: &Proxy) -> bool {
    proxy.metric("tollgate_store_up{store=\"redis\"}") == 1
}

/// Balances that were used since they were saved are known by the instance, and count once.
#[test]
fn a_store_that_loads_old_data_is_awaited() {
    let Some(mut redis) = Redis::start() else {
        return;
    };
    let origin = Origin::http(|_| ok(payload::bytes(100_000)));
    let proxy = setup(&redis, "requests: 100/s, tunnels: 5, quota: { month: 1GB }").start();
    let request = fetch(&format!("http://{}/", origin.address));
    let ask = || assert_eq!(proxy.exchange(&request).status(), 200);
    let await_sum = |sum: u64| {
        eventually("the bytes to count", || {
            let found = used(&proxy);
            assert!(found <= sum, "{found} of {sum}");
            (found == sum).then_some(())
        });
    };
    ask();
    let each = eventually("the first bytes to count", || {
        Some(used(&proxy)).filter(|sum| *sum > 100_000)
    });
    // So many that they take seconds to load.
    let fill = "for key = 1, 3000 do redis.call('SET', 'other:' .. key, key) end return 1";
    assert!(redis.ask(&["EVAL", fill, "0"]).starts_with(":1"));
    assert!(redis.ask(&["SAVE"]).starts_with("+OK"));
    ask();
    await_sum(2 * each);
    redis.restart_loading();
    eventually("the store to say that it loads", || {
        let kind = "tollgate_store_failures_total{kind=\"loading\"}";
        (proxy.metric(kind) > 0).then_some(())
    });
    assert!(!is_up(&proxy));
    // Nothing holds it meanwhile.
    ask();
    eventually("the store to work", || is_up(&proxy).then_some(()));
    await_sum(3 * each);
}

/// The bytes of a moment are lost, and no others.
#[test]
fn the_bytes_of_an_instance_that_is_killed_are_known() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let origin = Origin::http(|_| ok(payload::bytes(100_000)));
    let class = "quota: { month: 250kB }, on_quota: refuse_new";
    let mut killed = setup(&redis, class).start();
    let request = fetch(&format!("http://{}/", origin.address));
    assert_eq!(killed.exchange(&request).status(), 200);
    let each = eventually("the bytes to count", || {
        Some(used(&killed)).filter(|sum| *sum > 100_000)
    });
    killed.signal(Signal::KILL);
    killed.wait_exit(DEADLINE);
    let next = setup(&redis, class).start();
    let answers = [(); 3].map(|()| next.exchange(&request).status());
    // Those that are left: the third one of all exceeds the quota, and is the last.
    assert_eq!(answers, [200, 200, 403]);
    eventually("the sum", || (used(&next) >= 2 * each).then_some(()));
}

/// All leases are over when a store has not run for as long: those that it is told of first do not get what others hold.
#[test]
fn leases_that_ended_while_the_store_stood_still_are_told_again() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let origin = Origin::ok("in");
    let proxies = [(); 2].map(|()| setup(&redis, "tunnels: 3").start());
    eventually("the instances to know of each other", || {
        (redis.instances() == 2).then_some(())
    });
    let held = [(); 3].map(|()| proxies[0].tunnel(origin.address));
    for _ in 0..10 {
        // What the store has after the time of a lease.
        redis.ask(&[
            "DEL",
            "tollgate:instances",
            "tollgate:p:all:tunnels:user:alice",
        ]);
        let answer = proxies[1].exchange(connect(origin.address));
        assert_eq!(answer.status(), 429);
    }
    drop(held);
    eventually("places to be leased again", || {
        let status = proxies[1].exchange(connect(origin.address)).status();
        (status == 200).then_some(())
    });
}
