//! Ends of tunnels that are not resets by a peer: complete, half-closed, aborted.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{
    Mode, Tunnel, assert_reset, in_every_mode, outcome, payload, reset, rest_of, splicing, within,
};
use crate::tunnel::{Ended, is_reset};

/// More than the sockets' buffers hold.
const BULK: usize = 12_345_678;

/// Less than they hold.
const TAIL: usize = 200_000;

async fn half_close_by_the_client_delivers_what_is_in_flight(mode: Mode) {
    let mut tunnel = Tunnel::open(mode);
    let sent = payload(1, BULK);
    let (_, (got, end)) = tokio::join!(
        async {
            tunnel.client.write_all(&sent).await.unwrap();
            tunnel.client.shutdown().await.unwrap();
        },
        rest_of(&mut tunnel.upstream),
    );
    end.unwrap();
    assert!(got == sent);
    assert!(!tunnel.relay.is_finished());
    // The other direction is still open, for as many bytes.
    let (_, (got, end)) = tokio::join!(
        async {
            tunnel.upstream.write_all(&sent).await.unwrap();
            tunnel.upstream.shutdown().await.unwrap();
        },
        rest_of(&mut tunnel.client),
    );
    end.unwrap();
    assert!(got == sent);
    let (ended, traffic) = outcome(tunnel.relay).await;
    assert_eq!(ended, Ended::Complete);
    assert_eq!(traffic.bytes_from_client, BULK as u64);
    assert_eq!(traffic.bytes_from_upstream, BULK as u64);
}

async fn half_close_by_the_upstream_delivers_what_is_in_flight(mode: Mode) {
    let mut tunnel = Tunnel::open(mode);
    let sent = payload(2, BULK);
    let (_, (got, end)) = tokio::join!(
        async {
            tunnel.upstream.write_all(&sent).await.unwrap();
            tunnel.upstream.shutdown().await.unwrap();
        },
        rest_of(&mut tunnel.client),
    );
    end.unwrap();
    assert!(got == sent);
    assert!(!tunnel.relay.is_finished());
    tunnel.client.write_all(b"bye").await.unwrap();
    tunnel.client.shutdown().await.unwrap();
    let (got, end) = rest_of(&mut tunnel.upstream).await;
    end.unwrap();
    assert_eq!(got, b"bye");
    assert_eq!(outcome(tunnel.relay).await.0, Ended::Complete);
}

async fn a_complete_tunnel_delivers_what_its_sockets_still_hold(mode: Mode) {
    let mut tunnel = Tunnel::open(mode);
    let sent = payload(3, TAIL);
    tunnel.upstream.write_all(&sent).await.unwrap();
    tunnel.upstream.shutdown().await.unwrap();
    tunnel.client.shutdown().await.unwrap();
    assert_eq!(outcome(tunnel.relay).await.0, Ended::Complete);
    // The relay has ended, and nothing was read yet.
    let (got, end) = rest_of(&mut tunnel.client).await;
    end.unwrap();
    assert!(got == sent);
    let (got, end) = rest_of(&mut tunnel.upstream).await;
    end.unwrap();
    assert!(got.is_empty());
}

async fn a_drained_tunnel_is_reset_on_both_sides(mode: Mode) {
    let mut tunnel = Tunnel::open(mode);
    tunnel.client.write_all(b"question").await.unwrap();
    let mut got = [0; 8];
    within("the question", tunnel.upstream.read_exact(&mut got))
        .await
        .unwrap();
    tunnel.idle().await;
    tunnel.cancel.send(()).unwrap();
    let (ended, traffic) = outcome(tunnel.relay).await;
    assert_eq!(ended, Ended::Drained);
    assert_eq!(traffic.bytes_from_client, 8);
    assert_reset("the client", &tunnel.client).await;
    assert_reset("the upstream", &tunnel.upstream).await;
}

async fn a_dropped_tunnel_is_reset_on_both_sides(mode: Mode) {
    let mut tunnel = Tunnel::open(mode);
    tunnel.idle().await;
    tunnel.relay.abort();
    assert_reset("the client", &tunnel.client).await;
    assert_reset("the upstream", &tunnel.upstream).await;
}

async fn an_idle_tunnel_is_reset_on_both_sides(mode: Mode) {
    let tunnel = Tunnel::open_with(
        splicing(mode),
        Vec::new(),
        Duration::from_millis(100),
        |stream| stream,
    );
    assert_eq!(outcome(tunnel.relay).await.0, Ended::Idle);
    assert_reset("the client", &tunnel.client).await;
    assert_reset("the upstream", &tunnel.upstream).await;
}

#[tokio::test]
async fn a_reset_is_distinguished_from_an_end() {
    let (near, mut far) = super::support::pair();
    assert!(!is_reset(&near));
    far.write_all(b"x").await.unwrap();
    far.shutdown().await.unwrap();
    within("the byte", near.readable()).await.unwrap();
    assert!(!is_reset(&near), "an end is none");
    reset(far);
    within("the reset", near.ready(tokio::io::Interest::ERROR))
        .await
        .unwrap();
    assert!(is_reset(&near));
    assert!(is_reset(&near), "looking does not take it away");

    // Closed in order by both, with bytes still to read.
    let (mut near, mut far) = super::support::pair();
    far.write_all(b"x").await.unwrap();
    far.shutdown().await.unwrap();
    near.shutdown().await.unwrap();
    let (got, end) = rest_of(&mut far).await;
    assert!(got.is_empty());
    end.unwrap();
    within("the byte", near.readable()).await.unwrap();
    assert!(!is_reset(&near), "nor are two");

    let (near, far) = super::support::pair();
    reset(far);
    within("the reset", near.ready(tokio::io::Interest::ERROR))
        .await
        .unwrap();
    assert!(is_reset(&near));
    let error = near.try_write(b"x").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn every_reason_has_its_own_name() {
    let reasons = [
        (Ended::Complete, "complete"),
        (Ended::Idle, "idle_timeout"),
        (Ended::ClientReset, "client_reset"),
        (Ended::UpstreamReset, "upstream_reset"),
        (Ended::Drained, "drained"),
    ];
    for (ended, name) in reasons {
        assert_eq!(ended.name(), name);
    }
}

in_every_mode! {
    half_close_by_the_client_delivers_what_is_in_flight,
    half_close_by_the_upstream_delivers_what_is_in_flight,
    a_complete_tunnel_delivers_what_its_sockets_still_hold,
    a_drained_tunnel_is_reset_on_both_sides,
    a_dropped_tunnel_is_reset_on_both_sides,
    an_idle_tunnel_is_reset_on_both_sides,
}
