//! The end of a token's time: for its tunnels, and in the cache.

use std::time::Duration;

use serde_json::json;

use crate::support::client::Wire;
use crate::support::issuer::{Signer, claims_with, config, key_set, seconds};
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};

fn start(signer: &Signer, more: &str) -> Proxy {
    Setup::new()
        .file("keys.json", key_set([signer.jwk("k")]))
        .config(&config("keys.json", &format!(", leeway: 0s{more}")))
        .start()
}

/// A token for two to three seconds.
fn short(signer: &Signer) -> String {
    signer.token("k", &claims_with(json!({"exp": seconds(3)})))
}

fn connect(proxy: &Proxy, origin: &Origin, token: &str) -> Wire {
    let mut wire = proxy.connect();
    let authority = origin.address;
    let answer = wire.exchange(format!(
        "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
    ));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    wire
}

/// One exchange through the tunnel.
fn ping(wire: &mut Wire) {
    wire.send("ping").unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
}

#[test]
fn a_tunnel_ends_with_its_token() {
    let signer = Signer::ec();
    let proxy = start(&signer, "");
    let origin = Origin::echo();
    let token = short(&signer);
    let mut idle = connect(&proxy, &origin, &token);
    ping(&mut idle);
    // It is verified once, and so a cached one for the next.
    let mut web_socket = proxy.connect();
    let sockets = Origin::raw(|mut wire, _| {
        wire.read_head()?;
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )?;
        let ping = wire.read_bytes(4)?;
        wire.send(ping)?;
        wire.read_to_end().map(drop)
    });
    let answer = web_socket.exchange(format!(
        "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\nProxy-Authorization: Bearer {token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        sockets.address
    ));
    assert_eq!(answer.status(), 101);
    ping(&mut web_socket);
    // Both are reset, and the record says why.
    assert!(idle.hears_within(Duration::from_secs(10)).unwrap());
    assert!(web_socket.hears_within(Duration::from_secs(10)).unwrap());
    let ended = |record: &serde_json::Value| record["end_reason"] == "token_expired";
    let tunnel = proxy.record("the tunnel", |record| {
        ended(record) && record["role"] == "tunnel"
    });
    assert_eq!(tunnel["bytes_from_client"], 4, "{tunnel}");
    assert_eq!(tunnel["user"], "gh:org/repo");
    proxy.record("the WebSocket", |record| {
        ended(record) && record["role"] == "forward"
    });
    let counted = proxy.metric("tollgate_tunnels_ended_total{reason=\"token_expired\"}");
    assert_eq!(counted, 1);

    // It is in the cache for five minutes, and counts no longer.
    let authority = origin.address;
    let (answer, record) = proxy.ask(format!(
        "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
    ));
    assert_eq!(
        (answer.status(), &record["error"]),
        (407, &"token_expired".into())
    );
}

#[test]
fn a_tunnel_goes_on_where_it_is_not_cut() {
    let signer = Signer::ec();
    let proxy = start(&signer, ", cut_at_expiry: false");
    let origin = Origin::echo();
    let token = short(&signer);
    let mut wire = connect(&proxy, &origin, &token);
    wire.stays_quiet(Duration::from_secs(4)).unwrap();
    ping(&mut wire);
    let authority = origin.address;
    let refused = proxy.exchange(format!(
        "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
    ));
    assert_eq!(refused.status(), 407);
}
