//! WebSockets over HTTP/2 (RFC 8441): an extended CONNECT on a stream, and the handshake of HTTP/1.1 towards the server.

use std::io;

use h2::Reason;
use h2::ext::Protocol;
use http::Request;
use serde_json::Value;
use tokio_rustls::TlsConnector;

use crate::support::client::Wire;
use crate::support::http2::{
    Answer, Client, bare, read_all, read_bytes, request as request_of_alice, reset_of, run,
    send_all, whole, within,
};
use crate::support::message::{Head, response};
use crate::support::origin::Origin;
use crate::support::port::Port;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::ALICE;
use crate::support::tls::Authority;
use crate::support::websocket::{accept, extended, open, switching, websocket};

/// Begins a WebSocket, and sends the first bytes and what comes back.
fn echo(mut wire: Wire) -> io::Result<()> {
    let head = wire.read_head()?.unwrap();
    let more = "Sec-WebSocket-Protocol: chat\r\nX-Own: 1\r\n";
    wire.send(switching(&accept(&head), more) + "first")?;
    let mut from = wire.socket().try_clone()?;
    let mut to = from.try_clone()?;
    io::copy(&mut from, &mut to)?;
    wire.finish()
}

/// What a server answers to a handshake.
type Answering = Box<dyn Fn(&Head) -> String + Send + Sync>;

/// An answer that refuses.
async fn refused(client: &mut Client, request: Request<()>) -> Answer {
    let (answer, _send) = client.open(request, false).await;
    whole(within(answer).await.unwrap()).await.unwrap()
}

#[test]
fn a_stream_becomes_a_handshake_of_http1_and_a_tunnel() {
    let origin = Origin::raw(|mut wire, seen| {
        let request = wire.request()?.unwrap();
        let greeting = switching(
            &accept(&request.head),
            "Sec-WebSocket-Protocol: chat\r\nX-Own: 1\r\n",
        );
        seen.keep(request);
        wire.send(greeting + "first")?;
        let sent = wire.read_to_end()?;
        wire.send(sent)?;
        wire.finish()
    });
    let proxy = Proxy::plain();
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let uri = format!("http://{}/chat?room=1", origin.address);
        let fields = [
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat, other"),
            // No key is used here (RFC 8441 §5.1).
            ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ];
        let (head, mut send, mut receive) =
            open(&mut client, extended("websocket", &uri, &fields)).await;
        // Only known once the settings of the server have come.
        assert!(client.send.is_extended_connect_protocol_enabled());
        assert_eq!(head["sec-websocket-protocol"], "chat");
        assert_eq!(head["x-own"], "1");
        for name in [
            "sec-websocket-accept",
            "upgrade",
            "connection",
            "content-length",
        ] {
            assert!(!head.contains_key(name), "{head:?}");
        }
        assert_eq!(read_bytes(&mut receive, 5).await, b"first");
        send_all(&mut send, b"to the server", true).await.unwrap();
        assert_eq!(read_all(&mut receive).await.unwrap(), b"to the server");
    });
    let seen = origin.request().head;
    assert_eq!(seen.start, "GET /chat?room=1 HTTP/1.1");
    assert!(seen.fields.lists("connection", "upgrade"));
    assert_eq!(seen.fields.value("upgrade"), Some("websocket"));
    assert_eq!(
        seen.fields.value("host"),
        Some(&*origin.address.to_string())
    );
    assert_eq!(
        seen.fields.value("sec-websocket-protocol"),
        Some("chat, other")
    );
    let keys = seen.fields.all("sec-websocket-key");
    assert_eq!((keys.len(), keys[0].len()), (1, 24), "{keys:?}");
    assert_ne!(keys[0], "AAAAAAAAAAAAAAAAAAAAAA==");
    for name in ["content-length", "transfer-encoding", "proxy-authorization"] {
        assert!(!seen.fields.has(name), "{name}");
    }
    let record = proxy.wait_records(1).remove(0);
    for (field, expected) in [
        ("method", Value::from("GET")),
        ("version", "HTTP/2.0".into()),
        ("status", 200.into()),
        ("user", ALICE.0.into()),
        ("bytes_from_client", 13.into()),
        ("bytes_from_upstream", 18.into()),
        ("end_reason", "complete".into()),
    ] {
        assert_eq!(record[field], expected, "{field}: {record}");
    }
}

#[test]
fn each_websocket_has_a_key_of_its_own_and_other_streams_go_on() {
    let origin = Origin::raw(|wire, _| echo(wire));
    let plain = Origin::ok("beside");
    let proxy = Proxy::plain();
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let uri = format!("http://{}/", origin.address);
        let mut sockets = Vec::new();
        for _ in 0..8 {
            sockets.push(open(&mut client, websocket(&uri)).await);
        }
        let beside = request_of_alice("GET", &format!("http://{}/", plain.address));
        assert_eq!(client.ask(beside).await.text(), "beside");
        for (number, (_, send, receive)) in sockets.iter_mut().enumerate() {
            assert_eq!(read_bytes(receive, 5).await, b"first");
            let sent = [number as u8; 40_000];
            send_all(send, &sent, false).await.unwrap();
            assert_eq!(read_bytes(receive, sent.len()).await, sent);
        }
    });
}

#[test]
fn what_is_no_websocket_is_refused() {
    let origin = Origin::ok("never");
    let proxy = Proxy::start("policy: { rules: [{ name: no, action: deny, paths: [/denied] }] }");
    let uri = format!("http://{}/", origin.address);
    run(async {
        let mut client = Client::connect(proxy.address).await;
        // RFC 9220 §3: a protocol that is not served.
        for protocol in ["connect-udp", "webtransport", "websocket/13", "h2c"] {
            let answer = refused(&mut client, extended(protocol, &uri, &[])).await;
            assert_eq!(answer.status, 501, "{protocol}");
            let status = answer.field("proxy-status").unwrap();
            assert!(status.contains("http_request_error"), "{status}");
        }
        let length = [("content-length", "5")];
        let answer = refused(&mut client, extended("websocket", &uri, &length)).await;
        assert_eq!(answer.status, 400);
        let stranger = {
            let mut request = bare("CONNECT", &uri, &[]);
            let protocol = Protocol::from_static("websocket");
            request.extensions_mut().insert(protocol);
            request
        };
        let answer = refused(&mut client, stranger).await;
        assert_eq!(answer.status, 407);
        assert!(answer.field("proxy-authenticate").is_some());
        for (uri, status) in [
            (format!("{uri}denied"), 403),
            ("http://10.0.0.1/".to_owned(), 403),
            (format!("http://{}/", Port::reserve().address), 502),
            ("ftp://a.test/".to_owned(), 501),
        ] {
            let answer = refused(&mut client, websocket(&uri)).await;
            assert_eq!(answer.status, status, "{uri}");
        }
    });
    origin.assert_untouched();
    let records = proxy.wait_records(10);
    let of = |reason: &str| {
        let is = |it: &&Value| {
            it["error_detail"]
                .as_str()
                .is_some_and(|it| it.starts_with(reason))
        };
        records.iter().filter(is).count()
    };
    assert_eq!(
        (of("connect_protocol: "), of("connect_body: ")),
        (4, 1),
        "{records:#?}"
    );
    assert_eq!(records[0]["error"], "connect_protocol_unsupported");
}

/// To a client of HTTP/2 any success begins the WebSocket: no other may reach it.
#[test]
fn only_a_server_that_begins_the_websocket_has_it_begun() {
    let proxy = Proxy::plain();
    let right = |head: &Head| accept(head);
    let answers: [(&str, Answering); 6] = [
        (
            "wrong key",
            Box::new(move |head| switching(&format!("A{}", &right(head)[1..]), "")),
        ),
        (
            "no key",
            Box::new(|_| {
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".into()
            }),
        ),
        (
            "two keys",
            Box::new(move |head| switching(&right(head), "Sec-WebSocket-Accept: x\r\n")),
        ),
        (
            "other protocol",
            Box::new(move |head| switching(&right(head), "").replace("websocket", "h2c")),
        ),
        (
            "a page",
            Box::new(|_| "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage".into()),
        ),
        (
            "nothing",
            Box::new(|_| "HTTP/1.1 204 No Content\r\n\r\n".into()),
        ),
    ];
    for (what, answer) in answers {
        let origin = Origin::raw(move |mut wire, _| {
            let head = wire.read_head()?.unwrap();
            wire.send(answer(&head))?;
            wire.read_to_end().map(drop)
        });
        run(async {
            let mut client = Client::connect(proxy.address).await;
            let uri = format!("http://{}/", origin.address);
            let answer = refused(&mut client, websocket(&uri)).await;
            assert_eq!(answer.status, 502, "{what}");
            assert_eq!(
                answer.field("proxy-status"),
                Some("tollgate; error=http_upgrade_failed"),
                "{what}"
            );
        });
        let record = proxy.record(what, |it| {
            it["target"]
                .as_str()
                .unwrap()
                .contains(&origin.address.to_string())
        });
        assert_eq!(record["error"], "http_upgrade_failed", "{record}");
        origin.wait_all_closed();
    }
    // What refuses is passed on as it came.
    for (status, code) in [
        ("403 Forbidden", 403),
        ("302 Found", 302),
        ("426 Upgrade Required", 426),
    ] {
        let origin = Origin::fixed(response(status, "X-Own: 1\r\n", "why"));
        run(async {
            let mut client = Client::connect(proxy.address).await;
            let uri = format!("http://{}/", origin.address);
            let answer = refused(&mut client, websocket(&uri)).await;
            assert_eq!(
                (answer.status.as_u16(), answer.text().as_str()),
                (code, "why")
            );
            assert_eq!(answer.field("x-own"), Some("1"));
        });
    }
}

#[test]
fn resets_pass_both_ways() {
    let proxy = Proxy::plain();
    let resetting = Origin::raw(|mut wire, _| {
        let head = wire.read_head()?.unwrap();
        wire.send(switching(&accept(&head), ""))?;
        wire.read_bytes(4)?;
        wire.reset();
        Ok(())
    });
    let held = Origin::raw(|wire, _| echo(wire));
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let uri = format!("http://{}/", resetting.address);
        let (_, mut send, mut receive) = open(&mut client, websocket(&uri)).await;
        send_all(&mut send, b"ping", false).await.unwrap();
        // RFC 8441 §5.
        assert_eq!(reset_of(&mut receive).await, Reason::CANCEL);
        let uri = format!("http://{}/", held.address);
        let (_, mut send, mut receive) = open(&mut client, websocket(&uri)).await;
        assert_eq!(read_bytes(&mut receive, 5).await, b"first");
        send.send_reset(Reason::CANCEL);
        held.wait_all_closed();
    });
    proxy.record("the server's", |it| it["end_reason"] == "upstream_reset");
    proxy.record("the client's", |it| it["end_reason"] == "client_reset");
}

/// Where this proxy answers itself, there is no WebSocket: a success would be taken for one.
#[test]
fn there_is_none_to_the_proxy_itself() {
    let upstream = Origin::ok("never");
    let pool = format!(
        "gateway: {{ pools: [{{ name: p, path: /pool, upstreams: ['{}'] }}] }}\npac: {{ proxy: 'PROXY a.test:1' }}",
        upstream.address
    );
    let proxy = Proxy::start(&pool);
    run(async {
        let mut client = Client::connect(proxy.address).await;
        for path in ["/", "/.tollgate/denials", "/%2etollgate/x", "/proxy.pac"] {
            let uri = format!("http://{}{path}", proxy.address);
            let answer = refused(&mut client, websocket(&uri)).await;
            assert_eq!(answer.status, 405, "{path}");
        }
        let uri = format!("http://{}/.tollgate/denials", proxy.address);
        let mut stranger = bare("CONNECT", &uri, &[]);
        let protocol = Protocol::from_static("websocket");
        stranger.extensions_mut().insert(protocol);
        assert_eq!(refused(&mut client, stranger).await.status, 401);
        let uri = format!("http://{}/.tollgate/denials", proxy.address);
        assert_eq!(client.ask(request_of_alice("GET", &uri)).await.status, 200);
    });
    assert!(upstream.requests().is_empty());
}

/// A client may ask for a WebSocket where there is none: the upstream has not failed.
#[test]
fn an_upstream_without_websockets_is_not_taken_out() {
    let upstream = Origin::ok("page");
    let proxy = Proxy::start(&format!(
        "gateway: {{ upstreams: ['{}'], ejection: {{ failures: 1, time: 10m }} }}",
        upstream.address
    ));
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let uri = format!("http://{}/page", proxy.address);
        for _ in 0..3 {
            let answer = refused(&mut client, websocket(&uri)).await;
            assert_eq!(answer.status, 502);
        }
        let answer = client.ask(request_of_alice("GET", &uri)).await;
        assert_eq!(answer.text(), "page");
    });
    assert!(!proxy.errors().contains("gets no requests"));
}

/// A gateway with TLS, as browsers reach it, in front of upstreams with TLS and without; and an origin with TLS.
#[test]
fn tls_on_either_side() {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost", "127.0.0.1"]);
    let serve = |mut wire: Wire, _: &_| {
        let head = wire.read_head()?.unwrap();
        wire.send(switching(&accept(&head), "") + &head.start)?;
        let ping = wire.read_bytes(4)?;
        wire.send(ping)
    };
    let plain = Origin::raw(serve);
    let secure = Origin::https_raw(identity.server(), serve);
    let proxy = Setup::new()
        .tls(&identity)
        .file("ca.pem", authority.pem())
        .server("ca_file: ca.pem")
        .config(&format!(
            "gateway:
  upstreams: ['{}']
  pools: [{{ name: s, path: /secure, upstreams: ['https://localhost:{}'] }}]",
            plain.address,
            secure.port()
        ))
        .start();
    let gate = format!("https://localhost:{}", proxy.secure_address().port());
    let origin = format!("https://localhost:{}", secure.port());
    run(async {
        let connector = TlsConnector::from(authority.http2_client(None));
        let socket = tokio::net::TcpStream::connect(proxy.secure_address())
            .await
            .unwrap();
        let name = "localhost".try_into().unwrap();
        let tls = within(connector.connect(name, socket)).await.unwrap();
        let (send, connection) = within(h2::client::handshake(tls)).await.unwrap();
        let mut client = Client::over(send, connection);
        for (uri, path) in [
            (format!("{gate}/plain"), "/plain"),
            (format!("{gate}/secure/x"), "/secure/x"),
            (format!("{origin}/forward"), "/forward"),
        ] {
            let (_, mut send, mut receive) = open(&mut client, websocket(&uri)).await;
            let line = format!("GET {path} HTTP/1.1");
            assert_eq!(read_bytes(&mut receive, line.len()).await, line.as_bytes());
            send_all(&mut send, b"ping", false).await.unwrap();
            assert_eq!(read_bytes(&mut receive, 4).await, b"ping", "{uri}");
        }
    });
}

/// Limits, the table and the drain are those of every tunnel.
#[test]
fn it_counts_as_a_tunnel() {
    let origin = Origin::raw(|wire, _| echo(wire));
    let proxy = Proxy::start(
        "limits: { classes: [{ name: c, tunnels: 1 }] }\ntimeouts: { tunnel_idle: 1s }",
    );
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let uri = format!("http://{}/", origin.address);
        let (_, _send, mut receive) = open(&mut client, websocket(&uri)).await;
        assert_eq!(read_bytes(&mut receive, 5).await, b"first");
        let answer = refused(&mut client, websocket(&uri)).await;
        assert_eq!(answer.status, 429);
        // It is idle, and ends.
        let _end = within(receive.data()).await;
    });
    let record = proxy.record("the idle one", |it| it["status"] == 200);
    assert_eq!(record["end_reason"], "idle_timeout", "{record}");
}
