//! Connections to origins and upstreams: from where they are made, how often, and how long they are kept.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::proxy::Setup;
use crate::support::request::{ALICE, fetch, request_of};
use crate::support::tls::Authority;

/// A request inside of a tunnel.
const GET: &str = "GET / HTTP/1.1\r\nHost: in\r\n\r\n";

/// Closes each connection that gets a second request, without an answer.
fn forgetful() -> Origin {
    Origin::raw(|mut wire, seen| {
        wire.request()?.into_iter().for_each(|it| seen.keep(it));
        wire.send(ok("once"))?;
        wire.request()?.into_iter().for_each(|it| seen.keep(it));
        Ok(())
    })
}

fn url(origin: &Origin) -> String {
    format!("http://{}/", origin.address)
}

#[test]
fn max_retries_is_the_number_of_tries() {
    for (tries, status) in [(1, 502), (2, 200)] {
        let origin = forgetful();
        let proxy = Setup::new()
            .server(&format!("max_retries: {tries}"))
            .start();
        let mut wire = proxy.connect();
        let ask = fetch(&url(&origin));
        assert_eq!(wire.exchange(&ask).status(), 200);
        assert_eq!(wire.exchange(&ask).status(), status, "{tries}");
        assert_eq!(origin.requests().len(), tries + 1);
    }
}

/// Answers with the address that it is asked from.
fn mirror(address: &str) -> Origin {
    Origin::bind(address, |mut wire, _| {
        let peer: SocketAddr = wire.socket().peer_addr()?;
        while wire.request()?.is_some() {
            wire.send(ok(peer.ip().to_string()))?;
        }
        Ok(())
    })
}

/// In every role, and in turns.
#[test]
fn connections_come_from_the_source_addresses() {
    for (listen, key, source) in [
        ("127.0.0.1:0", "client_bind_to_ipv4", "127.0.0.2"),
        ("[::1]:0", "client_bind_to_ipv6", "::1"),
    ] {
        let origin = mirror(listen);
        let proxy = Setup::new()
            .server(&format!("{key}: [\"{source}\"]"))
            .config(&format!(
                "gateway: {{ upstreams: [\"{}\"] }}",
                origin.address
            ))
            .start();
        assert_eq!(proxy.exchange(request_of(ALICE, "GET", "/")).text(), source);
        assert_eq!(proxy.fetch(&url(&origin)).text(), source);
        let mut tunnel = proxy.tunnel(origin.address);
        assert_eq!(tunnel.exchange(GET).text(), source);
    }
    let (origin, other) = (mirror("127.0.0.1:0"), mirror("127.0.0.1:0"));
    let proxy = Setup::new()
        .server("client_bind_to_ipv4: [\"127.0.0.2\", \"127.0.0.3\"]")
        .start();
    let [mut first, mut second] = [&origin, &other].map(|origin| proxy.tunnel(origin.address));
    let seen = [&mut first, &mut second].map(|it| it.exchange(GET).text());
    assert_eq!(seen, ["127.0.0.2", "127.0.0.3"]);
}

#[test]
fn pool_keeps_no_more_idle_connections_than_it_may() {
    let proxy = Setup::new()
        .server("threads: 1\nupstream_keepalive_pool_size: 1")
        .start();
    let (first, second) = (Origin::ok("first"), Origin::ok("second"));
    assert_eq!(proxy.fetch(&url(&first)).text(), "first");
    assert_eq!(proxy.fetch(&url(&second)).text(), "second");
    first.wait_all_closed();
    assert_eq!(proxy.fetch(&url(&second)).text(), "second");
    assert_eq!(second.connections(), 1, "kept");
}

/// Time is what this is about: the connection is kept for that long, and not much longer.
#[test]
fn idle_connection_is_kept_for_upstream_keep_alive() {
    let proxy = Setup::new()
        .config("timeouts: { upstream_keep_alive: 1s }")
        .start();
    let origin = Origin::ok("in");
    proxy.fetch(&url(&origin));
    let start = Instant::now();
    origin.wait_all_closed();
    let kept = start.elapsed();
    let span = Duration::from_millis(800)..Duration::from_secs(6);
    assert!(span.contains(&kept), "{kept:?}");
}

/// The same for the handshake with an origin: it gets `timeouts.tls_handshake` besides the time to connect.
#[test]
fn origin_that_does_not_finish_its_handshake_is_504() {
    let proxy = Setup::new()
        .config("timeouts: { connect: 500ms, tls_handshake: 500ms }")
        .start();
    let origin = Origin::deaf();
    let start = Instant::now();
    let answer = proxy.fetch(&format!("https://{}/", origin.address));
    assert_eq!(answer.status(), 504, "{}", answer.text());
    let waited = start.elapsed();
    let span = Duration::from_millis(900)..Duration::from_secs(6);
    assert!(span.contains(&waited), "{waited:?}");
}

/// Only where both the key and the variable ask for it.
#[test]
fn tls_keys_go_to_the_file_that_is_asked_for() {
    for (wanted, expected) in [(true, true), (false, false)] {
        let authority = Authority::new();
        let origin = Origin::https(authority.issue(&["127.0.0.1"]).server(), |_| ok("in"));
        let setup = Setup::new().file("ca.pem", authority.pem());
        let server = format!(
            "ca_file: {}\nupstream_debug_ssl_keylog: {wanted}",
            setup.path("ca.pem").display()
        );
        let proxy = setup
            .server(&server)
            .environment("SSLKEYLOGFILE", "keys.log")
            .start();
        let answer = proxy.fetch(&format!("https://{}/", origin.address));
        assert_eq!(answer.text(), "in");
        let keys = std::fs::read_to_string(proxy.path("keys.log")).unwrap_or_default();
        assert_eq!(
            keys.contains("TRAFFIC_SECRET"),
            expected,
            "{wanted}: {keys}"
        );
    }
}

#[test]
fn connections_can_be_made_by_threads_of_their_own() {
    let proxy = Setup::new()
        .server(
            "upstream_connect_offload_threadpools: 1\nupstream_connect_offload_thread_per_pool: 1",
        )
        .start();
    let origin = Origin::ok("in");
    let mut wire = proxy.connect();
    for _ in 0..2 {
        assert_eq!(wire.exchange(fetch(&url(&origin))).text(), "in");
    }
    // The name of a thread is cut to 15 characters.
    let threads = proxy.threads();
    assert!(
        threads.iter().any(|name| name == "upstream connec"),
        "{threads:?}"
    );
}
