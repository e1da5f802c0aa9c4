//! CONNECT over HTTP/2 (RFC 9113 §8.5): a tunnel on a stream.

use h2::Reason;

use crate::support::http2::{
    Client, read_all, read_bytes, request, reset_of, run, send_all, whole, within,
};
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::proxy::Proxy;

#[test]
fn tunnels_that_cannot_be_opened_say_why() {
    let proxy = Proxy::plain();
    let refusing = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    run(async {
        let mut client = Client::connect(proxy.address).await;
        for (authority, status) in [
            (refusing.to_string(), 502),
            ("10.0.0.1:443".to_owned(), 403),
            (proxy.address.to_string(), 403),
        ] {
            let (answer, mut send) = client.open(request("CONNECT", &authority), false).await;
            // Sent too early, and read by nobody.
            send_all(&mut send, b"GET / HTTP/1.1\r\n\r\n", false)
                .await
                .unwrap();
            let answer = whole(within(answer).await.unwrap()).await.unwrap();
            assert_eq!(answer.status.as_u16(), status, "{authority}");
            assert!(
                answer
                    .field("proxy-status")
                    .unwrap()
                    .starts_with("tollgate; error=")
            );
        }
    });
    assert_eq!(proxy.wait_records(3).len(), 3);
}

#[test]
fn a_half_closed_tunnel_delivers_what_is_in_flight() {
    let proxy = Proxy::plain();
    let sum = Origin::raw(|mut wire, _| {
        let sent = wire.read_to_end()?;
        wire.send(sent.len().to_string())?;
        wire.finish()
    });
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let (mut send, mut receive) = client.tunnel(sum.address).await;
        send_all(&mut send, &payload::bytes(2_000_000), true)
            .await
            .unwrap();
        assert_eq!(read_all(&mut receive).await.unwrap(), b"2000000");
    });
}

#[test]
fn much_through_many_tunnels_at_once() {
    let proxy = Proxy::plain();
    let echo = Origin::echo();
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let mut tunnels = Vec::new();
        for _ in 0..20 {
            tunnels.push(client.tunnel(echo.address).await);
        }
        let all = tunnels.into_iter().map(|(mut send, mut receive)| {
            tokio::spawn(async move {
                let bytes = payload::bytes(500_000);
                let (sent, got) =
                    tokio::join!(send_all(&mut send, &bytes, true), read_all(&mut receive));
                sent.unwrap();
                assert!(got.unwrap() == bytes);
            })
        });
        for tunnel in all.collect::<Vec<_>>() {
            tunnel.await.unwrap();
        }
    });
}

#[test]
fn resets_of_tunnels_pass_both_ways_and_leave_the_others_alone() {
    let proxy = Proxy::plain();
    let echo = Origin::echo();
    let resetting = Origin::raw(|mut wire, _| {
        wire.read_bytes(4)?;
        wire.reset();
        Ok(())
    });
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let (mut other, mut others) = client.tunnel(echo.address).await;
        let (mut send, mut receive) = client.tunnel(resetting.address).await;
        send_all(&mut send, b"ping", false).await.unwrap();
        assert_eq!(reset_of(&mut receive).await, Reason::CONNECT_ERROR);
        proxy.record("the upstream's reset", |record| {
            record["end_reason"] == "upstream_reset"
        });
        // With its side ended first, nothing is read from the client any more.
        for end in [false, true] {
            let held = Origin::raw(|mut wire, _| {
                wire.read_bytes(1)?;
                let end = wire.read_to_end();
                wire.send("on").and(end.map(drop))
            });
            let (mut send, receive) = client.tunnel(held.address).await;
            send_all(&mut send, b"x", end).await.unwrap();
            held.wait_connections(1);
            send.send_reset(Reason::CANCEL);
            drop(receive);
            if end {
                held.wait_all_closed();
            } else {
                proxy.record("the client's reset", |record| {
                    record["end_reason"] == "client_reset"
                });
            }
        }
        send_all(&mut other, b"still", false).await.unwrap();
        assert_eq!(read_bytes(&mut others, 5).await, b"still");
    });
}
