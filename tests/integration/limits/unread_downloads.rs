//! Downloads that clients do not read: the memory that each takes, and the requests of other clients meanwhile.

use std::fs::File;

use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::nginx::Nginx;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::auth;

/// Downloads at once. More of them take as much each, and longer.
const DOWNLOADS: u64 = 200;

/// What one may hold, in KiB; the allocator's slack is in it.
const MOST_EACH: u64 = 256;

/// Waits until the process holds what it will hold.
fn settled(proxy: &Proxy, nginx: &Nginx) -> u64 {
    let mut before = (0, 0);
    eventually("the downloads to be held up", || {
        let now = (
            crate::support::sockets::unacknowledged(nginx.address()),
            proxy.resident(),
        );
        let is_settled = now.0 > 0 && now == before;
        before = now;
        is_settled.then_some(now.1)
    })
}

/// Leaves downloads of `target` unread, and asks for another page meanwhile.
fn check(proxy: &Proxy, nginx: &Nginx, origin: &str) {
    let get = |path: &str| {
        format!(
            "GET {origin}{path} HTTP/1.1\r\nHost: gate\r\n{}\r\n",
            auth()
        )
    };
    assert_eq!(proxy.connect().exchange(get("/")).text(), "small");
    let before = proxy.resident();
    let mut unread = Vec::new();
    for _ in 0..DOWNLOADS {
        let mut wire = Wire::connect_narrow(proxy.address).unwrap();
        wire.send(get("/large")).unwrap();
        unread.push(wire);
    }
    let held = settled(proxy, nginx).saturating_sub(before) / DOWNLOADS;
    assert!(held < MOST_EACH, "{held} KiB for each download");
    assert_eq!(proxy.connect().exchange(get("/")).text(), "small");
    // It goes on when the client does.
    let wire = unread.last_mut().unwrap();
    assert_eq!(wire.read_bytes(4 << 20).unwrap().len(), 4 << 20);
}

fn nginx() -> Nginx {
    let nginx = Nginx::start("small");
    let large = File::create(nginx.path("large")).unwrap();
    large.set_len(100 << 20).unwrap();
    nginx
}

#[test]
fn unread_downloads_through_the_gateway_hold_little() {
    let nginx = nginx();
    let proxy = Setup::new()
        .config(&format!(
            "gateway: {{ upstreams: [\"{}\"], max_connections_per_upstream: 1024 }}",
            nginx.address()
        ))
        .start();
    check(&proxy, &nginx, "");
}

#[test]
fn unread_downloads_from_origins_hold_little() {
    let nginx = nginx();
    let proxy = Setup::new()
        .config("limits: { connections_per_origin: 1024 }")
        .start();
    check(&proxy, &nginx, &format!("http://{}", nginx.address()));
}
