//! What is far behind parents: a chain of three, and a parent that dies while it carries a tunnel.

use rustix::process::Signal;

use crate::support::client::{Wire, is_reset};
use crate::support::eventually;
use crate::support::http2::{self, Client, read_bytes, run, send_all};
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{BOB, auth, request};

/// A proxy whose parent is this one, with Bob's credentials and these keys more.
fn child(scheme: &str, parent: &Proxy, keys: &str) -> Proxy {
    Setup::new()
        .file("p.secret", BOB.1)
        .config(&format!(
            "secrets: {{ p: {{ file: p.secret, clear_text: true }} }}
parents: {{ p: {{ urls: ['{scheme}://{}'], user: bob, password: p{keys} }} }}
via: p
log: {{ tunnel_open: true }}",
            parent.address
        ))
        .start()
}

#[test]
fn three_in_a_row() {
    let far = Proxy::start("log: { tunnel_open: true }");
    let middle = child("http", &far, ", names: client");
    let near = child("http", &middle, ", names: client");
    let plain =
        Origin::http(|request| ok(format!("{} {}", request.head.start, request.body.len())));
    let body = "x".repeat(200_000);
    let length = format!("Content-Length: {}\r\n", body.len());
    let answer = near.exchange(request("POST", &plain, &length, &body));
    assert_eq!(
        answer.text(),
        "POST /path?query=1 HTTP/1.1 200000",
        "{:?}",
        near.records()
    );
    let seen = plain.request().head.fields;
    // One member for each, no two the same, and nothing of the credentials.
    let members = seen.all("via").join(", ");
    let members: Vec<&str> = members.split(", ").collect();
    let distinct: std::collections::BTreeSet<_> = members.iter().collect();
    assert_eq!((members.len(), distinct.len()), (3, 3), "{members:?}");
    assert!(!seen.has("proxy-authorization"));
    let echo = Origin::echo();
    let bytes = payload::bytes(3_000_000);
    let mut wire = near.tunnel(echo.address);
    std::thread::scope(|scope| {
        let mut other = wire.socket().try_clone().unwrap();
        let sent = &bytes;
        scope.spawn(move || {
            use std::io::Write;
            other.write_all(sent).unwrap();
            other.shutdown(std::net::Shutdown::Write).unwrap();
        });
        assert!(wire.read_to_end().unwrap() == bytes);
    });
    let socket = Origin::raw(|mut wire, _| {
        wire.read_head()?;
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")?;
        let ping = wire.read_bytes(4)?;
        wire.send(ping)
    });
    let handshake = format!(
        "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        socket.address,
        auth()
    );
    let mut wire = near.connect();
    assert_eq!(wire.exchange(handshake).status(), 101);
    assert_eq!(wire.read_bytes(5).unwrap(), b"first");
    wire.send("ping").unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
    run(async {
        let mut client = Client::connect(near.address).await;
        let (mut send, mut receive) = client.tunnel(echo.address).await;
        send_all(&mut send, b"stream", false).await.unwrap();
        assert_eq!(read_bytes(&mut receive, 6).await, b"stream");
        let uri = format!("http://{}/two", plain.address);
        let answer = client.ask(http2::request("GET", &uri)).await;
        assert_eq!(answer.text(), "GET /two HTTP/1.1 0");
    });
    // Each one knows the user of the one before it.
    for (proxy, user) in [(&near, "alice"), (&middle, BOB.0), (&far, BOB.0)] {
        let records = proxy.wait_records(4);
        assert!(records.iter().all(|it| it["user"] == user), "{records:?}");
    }
    // What the last one refuses is refused by the one before it, and nothing of it reaches the client.
    let answer = near.fetch("http://10.0.0.1/");
    assert_eq!(answer.status(), 403);
}

/// The last one leads back to the first one: the first one has seen the request before.
#[test]
fn three_in_a_circle_end() {
    let first = Setup::new();
    let address = first.address();
    let parents = |to: std::net::SocketAddr| {
        format!(
            "secrets: {{ p: {{ file: p.secret, clear_text: true }} }}
parents: {{ p: {{ urls: ['http://{to}'], user: bob, password: p }} }}
via: p"
        )
    };
    let last = Setup::new()
        .file("p.secret", BOB.1)
        .config(&parents(address))
        .start();
    let middle = child("http", &last, "");
    let first = first
        .file("p.secret", BOB.1)
        .config(&parents(middle.address))
        .start();
    let origin = Origin::ok("never");
    let answer = first.fetch(&format!("http://{}/", origin.address));
    assert!([502, 508].contains(&answer.status()), "{}", answer.text());
    let found = eventually("the loop", || {
        let records = [&first, &middle, &last].map(Proxy::records).concat();
        records
            .into_iter()
            .find(|it| it["error"] == "proxy_loop_detected")
    });
    assert_eq!(found["status"], 508, "{found}");
    origin.assert_untouched();
}

/// The client learns of it at once, the record says so, and what comes later has its own error.
#[test]
fn a_parent_that_dies_in_mid_tunnel() {
    for scheme in ["http", "socks5"] {
        let far = match scheme {
            "http" => Setup::new(),
            _ => crate::support::socks5::setup("only"),
        };
        let mut far = far.start();
        let near = child(scheme, &far, "");
        let echo = Origin::echo();
        let mut tunnels: Vec<Wire> = (0..3).map(|_| near.tunnel(echo.address)).collect();
        for wire in &mut tunnels {
            wire.send("ping").unwrap();
            assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
        }
        far.signal(Signal::KILL);
        far.wait_exit(std::time::Duration::from_secs(15));
        for wire in &mut tunnels {
            match wire.read_to_end() {
                Ok(rest) => assert!(rest.is_empty(), "{scheme}"),
                Err(error) => assert!(is_reset(&error), "{scheme}: {error}"),
            }
        }
        // To the proxy it may look like a server that has ended its side alone: then the client's end is the end.
        drop(tunnels);
        let closed = eventually("the records", || {
            let records = near.records();
            let closed: Vec<_> = records
                .into_iter()
                .filter(|it| !it["end_reason"].is_null())
                .collect();
            (closed.len() == 3).then_some(closed)
        });
        for record in &closed {
            let reason = record["end_reason"].as_str().unwrap();
            assert!(
                ["complete", "upstream_reset"].contains(&reason),
                "{scheme}: {record}"
            );
            assert_eq!(record["bytes_from_client"], 4, "{record}");
            assert_eq!(record["parent"], "p", "{record}");
        }
        let answer = near.exchange(crate::support::request::connect(echo.address));
        assert_eq!(answer.status(), 502, "{scheme}");
        let status = answer.field("proxy-status").unwrap();
        assert!(status.contains("next-hop=\"p\""), "{scheme}: {status}");
        echo.wait_all_closed();
    }
}
