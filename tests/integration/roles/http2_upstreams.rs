//! Requests that go on in HTTP/2: to upstreams of the gateway, and to https origins.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{Method, Version};
use tokio::sync::{Notify, Semaphore};

use crate::support::client::Wire;
use crate::support::frames;
use crate::support::http2::{self, Client, run, within};
use crate::support::http2_origin::{Http2Origin, Stream, body_of, send_all};
use crate::support::message::Response;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, auth, basic};
use crate::support::tls::Authority;
use crate::support::{eventually, within as within_time};

/// A gateway to this upstream; `only` without TLS.
fn gateway(origin: &Http2Origin) -> String {
    format!(
        "gateway: {{ upstreams: ['{}'], http2: only }}",
        origin.address
    )
}

fn authorization() -> String {
    format!("Authorization: {}\r\n", basic(ALICE.0, ALICE.1))
}

fn get(path: &str, fields: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: gate.test\r\n{}{fields}\r\n",
        authorization()
    )
}

fn post(path: &str, fields: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: gate.test\r\n{}Content-Length: {}\r\n{fields}\r\n{body}",
        authorization(),
        body.len()
    )
}

/// A proxy that trusts the authority which has issued what the server shows.
fn trusting(authority: &Authority, yaml: &str) -> Proxy {
    Setup::new()
        .file("ca.pem", authority.pem())
        .server("ca_file: ca.pem")
        .config(yaml)
        .start()
}

#[test]
fn an_upstream_without_tls_by_prior_knowledge() {
    let origin = Http2Origin::plain(Http2Origin::telling());
    let proxy = Proxy::start(&gateway(&origin));
    let mut wire = proxy.connect();
    for _ in 0..3 {
        let answer = wire.exchange(get(
            "/a?b=c",
            "X-Own: 1\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n",
        ));
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, "GET http://gate.test/a?b=c 0")
        );
    }
    let answer = wire.exchange(post("/p", "", &"x".repeat(300_000)));
    assert_eq!(answer.text(), "POST http://gate.test/p 300000");
    let chunked = format!(
        "PUT /c HTTP/1.1\r\nHost: gate.test\r\n{}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        authorization()
    );
    assert_eq!(wire.exchange(chunked).text(), "PUT http://gate.test/c 3");
    let options = format!(
        "OPTIONS * HTTP/1.1\r\nHost: gate.test\r\n{}\r\n",
        authorization()
    );
    assert!(wire.exchange(options).text().starts_with("OPTIONS "));
    // One connection, since there was one request at a time.
    assert_eq!(origin.connections(), 1);
    let seen = &origin.requests()[0];
    assert_eq!(seen.version, Version::HTTP_2);
    assert_eq!(seen.headers["x-own"], "1");
    assert_eq!(seen.headers["x-forwarded-for"], "127.0.0.1");
    let via = seen.headers["via"].to_str().unwrap();
    assert!(via.starts_with("1.1 "), "{via}");
    for name in [
        "host",
        "connection",
        "te",
        "transfer-encoding",
        "authorization",
        "x-hop",
    ] {
        assert!(!seen.headers.contains_key(name), "{name}: {seen:?}");
    }
    let record = &proxy.wait_records(1)[0];
    assert_eq!(record["upstream"], origin.address.to_string(), "{record}");
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let uri = format!("http://{}/two", proxy.address);
        let answer = client.ask(http2::request("GET", &uri)).await;
        assert_eq!(answer.text(), format!("GET {uri} 0"));
        let answer = client
            .post(http2::request("POST", &uri), &[7; 500_000])
            .await;
        assert_eq!(answer.text(), format!("POST {uri} 500000"));
    });
}

/// What the handshake agrees on, and `off` unless it is asked for.
#[test]
fn upstreams_and_origins_with_tls_are_asked() {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost"]);
    let both = Http2Origin::tls(&identity, &["h2", "http/1.1"], Http2Origin::telling());
    let old = Http2Origin::tls(&identity, &["http/1.1"], Http2Origin::telling());
    let new = Http2Origin::tls(&identity, &["h2"], Http2Origin::telling());
    let pools = |http2: &str| {
        let pool = |name: &str, origin: &Http2Origin| {
            format!(
                "{{ name: {name}, path: /{name}, upstreams: ['https://localhost:{}'] }}",
                origin.port()
            )
        };
        format!(
            "gateway: {{ http2: {http2}, pools: [{}, {}, {}] }}",
            pool("both", &both),
            pool("old", &old),
            pool("new", &new)
        )
    };
    let ask = |proxy: &Proxy, path: &str| proxy.exchange(get(path, ""));
    let proxy = trusting(&authority, &pools("off"));
    assert_eq!(ask(&proxy, "/both").text(), "one");
    assert_eq!(ask(&proxy, "/old").text(), "one");
    assert_eq!(ask(&proxy, "/new").status(), 502);
    let proxy = trusting(&authority, &pools("auto"));
    assert_eq!(ask(&proxy, "/both").text(), "GET https://gate.test/both 0");
    assert_eq!(ask(&proxy, "/old").text(), "one");
    assert_eq!(ask(&proxy, "/new").text(), "GET https://gate.test/new 0");
    let proxy = trusting(&authority, &pools("only"));
    assert_eq!(ask(&proxy, "/both").text(), "GET https://gate.test/both 0");
    assert_eq!(ask(&proxy, "/old").status(), 502);
    // Origins.
    let forward = |wire: &mut Wire, origin: &Http2Origin, fields: &str| -> Response {
        let host = format!("localhost:{}", origin.port());
        wire.exchange(format!(
            "GET https://{host}/f HTTP/1.1\r\nHost: {host}\r\n{}{fields}\r\n",
            auth()
        ))
    };
    let proxy = trusting(&authority, "{}");
    let mut wire = proxy.connect();
    assert_eq!(forward(&mut wire, &both, "").text(), "one");
    let proxy = trusting(&authority, "origin_http2: auto");
    let mut wire = proxy.connect();
    let expected = format!("GET https://localhost:{}/f 0", both.port());
    let before = both.connections();
    for _ in 0..3 {
        assert_eq!(forward(&mut wire, &both, "").text(), expected);
    }
    // The first one may be of the address that is not tried first any more.
    assert!(both.connections() - before <= 2);
    assert_eq!(forward(&mut wire, &old, "").text(), "one");
    // A scheme that authenticates the connection needs HTTP/1.1.
    let negotiate = "Authorization: Negotiate YII=\r\n";
    assert_eq!(forward(&mut wire, &both, negotiate).text(), "one");
    // So does a WebSocket.
    let host = format!("localhost:{}", both.port());
    let mut wire = proxy.connect();
    let handshake = format!(
        "GET https://{host}/w HTTP/1.1\r\nHost: {host}\r\n{}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        auth()
    );
    assert_eq!(wire.exchange(handshake).status(), 101);
    assert_eq!(wire.read_bytes(5).unwrap(), b"first");
}

/// One request is on a connection at a time: no client waits for what another one does not read.
#[test]
fn requests_at_the_same_time_have_connections_of_their_own() {
    let turns = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&turns);
    let origin = Http2Origin::plain(move |mut stream: Stream| {
        let waiting = Arc::clone(&waiting);
        async move {
            let _turn = waiting.acquire().await.unwrap();
            let text = stream.number.to_string();
            stream.answer(200, &[], text.as_bytes(), None).await
        }
    });
    let proxy = Proxy::start(&gateway(&origin));
    let mut wires: Vec<Wire> = (0..4).map(|_| proxy.connect()).collect();
    for wire in &mut wires {
        wire.send(get("/", "")).unwrap();
    }
    eventually("four requests", || {
        (origin.requests().len() == 4).then_some(())
    });
    assert_eq!(origin.connections(), 4);
    turns.add_permits(4);
    for wire in &mut wires {
        assert_eq!(wire.response("GET").unwrap().status(), 200);
    }
}

/// A client that reads nothing: what is read ahead for it is the window, and not all of the answer.
#[test]
fn an_unread_answer_stays_with_the_upstream() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let origin = Http2Origin::plain(move |mut stream: Stream| {
        let counted = Arc::clone(&counted);
        async move {
            let mut send = stream.begin(200, &[], false)?;
            for _ in 0..2000 {
                send_all(&mut send, &[7; 16 * 1024]).await?;
                counted.fetch_add(16 * 1024, Ordering::SeqCst);
            }
            send.send_data(Bytes::new(), true)
        }
    });
    let proxy = Proxy::start(&gateway(&origin));
    let mut wire = Wire::connect_narrow(proxy.address).unwrap();
    wire.send(get("/", "")).unwrap();
    // It stops: the same for a while.
    let mut last = (0, 0);
    within_time(Duration::from_secs(15), || {
        let now = sent.load(Ordering::SeqCst);
        last = if now == last.0 {
            (now, last.1 + 1)
        } else {
            (now, 0)
        };
        (now > 0 && last.1 > 100).then_some(())
    })
    .unwrap();
    assert!(last.0 < 6 << 20, "{} bytes", last.0);
    let answer = wire.response("GET").unwrap();
    assert_eq!(answer.body.len(), 2000 * 16 * 1024);
}

#[test]
fn a_client_that_waits_for_100_gets_it() {
    let origin = Http2Origin::plain(Http2Origin::telling());
    let proxy = Proxy::start(&gateway(&origin));
    let mut wire = proxy.connect();
    let head = post("/", "Expect: 100-continue\r\n", "12345");
    let head = head.strip_suffix("12345").unwrap();
    wire.send(head).unwrap();
    assert_eq!(wire.read_head().unwrap().unwrap().status(), 100);
    wire.send("12345").unwrap();
    let answer = wire.response("POST").unwrap();
    assert_eq!(answer.text(), "POST http://gate.test/ 5");
    assert!(!origin.requests()[0].headers.contains_key("expect"));
}

/// HTTP/1.0 has no chunks, and an answer of HTTP/2 may have no length.
#[test]
fn http10_is_not_made_http2() {
    let authority = Authority::new();
    let identity = authority.issue(&["localhost"]);
    let both = Http2Origin::tls(&identity, &["h2", "http/1.1"], Http2Origin::telling());
    let yaml = format!(
        "gateway: {{ http2: auto, upstreams: ['https://localhost:{}'] }}",
        both.port()
    );
    let proxy = trusting(&authority, &yaml);
    let old = format!("GET / HTTP/1.0\r\n{}\r\n", authorization());
    assert_eq!(proxy.exchange(&old).text(), "one");
    let plain = Http2Origin::plain(Http2Origin::telling());
    let proxy = Proxy::start(&gateway(&plain));
    assert_eq!(proxy.exchange(&old).status(), 505);
    // Without a name, an upstream is told its own.
    let empty = get("/", "").replace("Host: gate.test", "Host:");
    let answer = proxy.exchange(empty);
    assert_eq!(answer.text(), format!("GET http://{}/ 0", plain.address));
}

/// What a server says of a stream that it has not begun to serve (RFC 9113 §8.7), and of one that it has.
#[test]
fn a_stream_that_was_not_served_is_sent_again() {
    for (reason, path, status) in [
        (Reason::REFUSED_STREAM, "/once", 200),
        (Reason::INTERNAL_ERROR, "/once", 502),
        (Reason::CANCEL, "/once", 502),
    ] {
        let failed = Arc::new(AtomicBool::new(false));
        let origin = Http2Origin::plain(move |mut stream: Stream| {
            let failed = Arc::clone(&failed);
            async move {
                if !failed.swap(true, Ordering::SeqCst) {
                    stream.respond.send_reset(reason);
                    return Ok(());
                }
                let body = body_of(&mut stream.receive).await?;
                stream.answer(200, &[], &body, None).await
            }
        });
        let proxy = Proxy::start(&gateway(&origin));
        let answer = proxy.exchange(post(path, "", "body"));
        assert_eq!(answer.status(), status, "{reason:?}");
        if status == 200 {
            assert_eq!(answer.text(), "body");
        } else {
            let record = &proxy.wait_records(1)[0];
            assert_eq!(record["error"], "connection_terminated", "{record}");
        }
        assert_eq!(origin.requests().len(), if status == 200 { 2 } else { 1 });
    }
}

/// A client that goes takes its stream with it.
#[test]
fn a_client_that_leaves_cancels_its_stream() {
    let (cancelled, begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, started) = (Arc::clone(&cancelled), Arc::clone(&begun));
    let origin = Http2Origin::plain(move |mut stream: Stream| {
        let (told, started) = (Arc::clone(&told), Arc::clone(&started));
        async move {
            let mut send = stream.begin(200, &[], false)?;
            started.notify_one();
            let reason = std::future::poll_fn(|cx| send.poll_reset(cx)).await?;
            assert_eq!(reason, Reason::CANCEL);
            told.notify_one();
            Ok(())
        }
    });
    let proxy = Proxy::start(&gateway(&origin));
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let uri = format!("http://{}/", proxy.address);
        let (answer, mut send) = client.open(http2::request("POST", &uri), false).await;
        within(begun.notified()).await;
        send.send_reset(Reason::CANCEL);
        drop(answer);
        within(cancelled.notified()).await;
    });
}

#[test]
fn health_checks_ask_in_http2() {
    let is_well = Arc::new(AtomicBool::new(true));
    let well = Arc::clone(&is_well);
    let serve = move |mut stream: Stream| {
        let well = Arc::clone(&well);
        async move {
            let status = if well.load(Ordering::SeqCst) {
                200
            } else {
                503
            };
            let path = stream.request.uri.path().to_owned();
            let status = if path == "/up" { status } else { 200 };
            stream.answer(status, &[], path.as_bytes(), None).await
        }
    };
    let authority = Authority::new();
    let identity = authority.issue(&["localhost"]);
    let plain = Http2Origin::plain(serve.clone());
    let secure = Http2Origin::tls(&identity, &["h2"], serve);
    for (upstream, origin) in [
        (plain.address.to_string(), &plain),
        (format!("https://localhost:{}", secure.port()), &secure),
    ] {
        is_well.store(true, Ordering::SeqCst);
        let proxy = trusting(
            &authority,
            &format!(
                "gateway:
  upstreams: ['{upstream}']
  http2: only
  health_check: {{ path: /up, host: check.test, interval: 50ms, timeout: 5s, rise: 1, fall: 1 }}"
            ),
        );
        let asked = eventually("a check", || {
            let requests = origin.requests();
            requests.into_iter().find(|it| it.uri.path() == "/up")
        });
        assert_eq!(asked.method, Method::GET);
        assert_eq!(asked.uri.authority().unwrap(), "check.test");
        assert_eq!(asked.headers["user-agent"], "tollgate-health-check");
        assert_eq!(proxy.exchange(get("/x", "")).text(), "/x");
        is_well.store(false, Ordering::SeqCst);
        eventually("the upstream down", || {
            proxy.errors().contains("GET /up: status 503").then_some(())
        });
        is_well.store(true, Ordering::SeqCst);
        eventually("the upstream up", || {
            proxy.errors().contains(" is up; ").then_some(())
        });
    }
}

/// A handshake of HTTP/1.1 does not go where only HTTP/2 is taken, and the upstream has not failed.
#[test]
fn a_websocket_to_http2_alone_is_refused() {
    let origin = Http2Origin::plain(Http2Origin::telling());
    let yaml = format!(
        "gateway: {{ upstreams: ['{}'], http2: only, ejection: {{ failures: 1, time: 10m }} }}",
        origin.address
    );
    let proxy = Proxy::start(&yaml);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    for _ in 0..3 {
        let answer = proxy.exchange(get("/w", upgrade));
        assert_eq!(answer.status(), 502);
        let status = answer.field("proxy-status").unwrap();
        assert!(status.contains("http_upgrade_failed"), "{status}");
    }
    assert_eq!(proxy.exchange(get("/", "")).status(), 200);
    assert!(!proxy.errors().contains("gets no requests"));
}

/// A server that takes nothing any more: its connection ends, although all of a request is to be written first.
#[test]
fn a_server_that_takes_nothing_leaves_no_connection() {
    let kept = Mutex::new(Vec::new());
    let origin = Origin::raw(move |mut wire, _| {
        // The settings of a server are those of a client, without the preface.
        let opening = frames::opening((1 << 31) - 1);
        wire.send(&opening[24..])?;
        kept.lock().unwrap().push(wire);
        Ok(())
    });
    let proxy = Proxy::start(&format!(
        "gateway:
  upstreams: ['{}']
  http2: only
  health_check: {{ interval: 1h }}
  ejection: {{ failures: 0 }}
timeouts: {{ send: 1s, response: 2s }}",
        origin.address
    ));
    origin.wait_connections(1);
    let before = proxy.descriptors();
    for _ in 0..3 {
        let mut wire = proxy.connect();
        let body = "x".repeat(30_000_000);
        // It may be cut while it is sent.
        let _cut = wire.send(post("/", "", &body));
        if let Ok(answer) = wire.response("POST") {
            // Whichever notices first, the proxy or the kernel.
            assert!([502, 504].contains(&answer.status()), "{}", answer.text());
        }
    }
    proxy.wait_records(3);
    eventually("no connection is left", || {
        (proxy.descriptors() <= before).then_some(())
    });
}
