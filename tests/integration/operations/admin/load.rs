//! A crowd at the admin service, which requests of clients do not notice.

use std::time::Duration;

use super::events::{LISTENERS, Listener};
use crate::support::admin::{ROOT, login, request, with_users};
use crate::support::allow_many_connections;
use crate::support::client::Wire;
use crate::support::load::{self, quantile};
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::fetch;

/// Connections to the admin service.
const CROWD: usize = 1000;

/// Requests of clients in a second, and in all.
const RATE: u32 = 100;
const TURNS: usize = 500;

/// Requests of clients are answered, and soon.
fn assert_unnoticed(proxy: &Proxy) {
    let origin = Origin::ok("in");
    let url = format!("http://{}/", origin.address);
    let answers = load::run(proxy.address, RATE, 0..TURNS, |_| fetch(&url));
    assert_eq!(answers.len(), TURNS);
    assert!(answers.iter().all(|answer| answer.status == 200));
    let times: Vec<Duration> = answers.iter().map(|answer| answer.took).collect();
    let slowest = quantile(&times, 0.99);
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

#[test]
fn traffic_does_not_notice_a_thousand_connections() {
    allow_many_connections();
    let proxy = with_users().start();
    let address = proxy.admin_address();
    let asking = request(address, "GET", "/api/v1/status", &login(ROOT), "");
    let guessing = request(
        address,
        "GET",
        "/api/v1/status",
        &login(("root", "canary-no")),
        "",
    );
    let mut crowd = Vec::with_capacity(CROWD);
    for number in 0..CROWD {
        let Ok(mut wire) = Wire::connect(address) else {
            continue;
        };
        // Half a request, a whole one that is not read, a guess, or nothing.
        let sent = match number % 4 {
            0 => wire.send(asking.get(..40).unwrap()),
            1 => wire.send(&asking),
            2 => wire.send(&guessing),
            _ => Ok(()),
        };
        // One over its client's share is closed.
        if sent.is_ok() {
            crowd.push(wire);
        }
    }
    assert_unnoticed(&proxy);
    // Another operator is served meanwhile.
    let mut other = Wire::connect_from("127.0.0.2", address).unwrap();
    assert_eq!(other.exchange(&asking).status(), 200);
    drop(crowd);
}

#[test]
fn traffic_does_not_notice_slow_listeners() {
    let proxy = with_users().start();
    let echo = Origin::echo();
    let _tunnels: Vec<Wire> = (0..200).map(|_| proxy.tunnel(echo.address)).collect();
    // A few snapshots fill what the system keeps of each of them.
    let slow: Vec<Listener> = (0..LISTENERS)
        .map(|_| Listener::new(&proxy, true))
        .collect();
    assert_unnoticed(&proxy);
    drop(slow);
}
