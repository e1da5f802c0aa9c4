//! HTTP/2 from clients: what one connection may take, in streams, memory and time.

use std::time::{Duration, Instant};

use h2::Reason;
use rustix::process::Signal;

use crate::support::client::Wire;
use crate::support::frames;
use crate::support::http2::{Client, read_bytes, request, run, send_all, whole, within};
use crate::support::message::response;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::{DEADLINE, eventually};

fn url(origin: &Origin) -> String {
    format!("http://{}/", origin.address)
}

fn wait_rejected(proxy: &Proxy, reason: &str, count: u64) {
    let series = format!("tollgate_connections_rejected_total{{reason=\"{reason}\"}}");
    eventually(&series, || (proxy.metric(&series) == count).then_some(()));
}

#[test]
fn so_many_streams_and_no_more() {
    let proxy = Proxy::start("limits: { streams_per_connection: 2 }");
    let echo = Origin::echo();
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let (mut first, _receive) = client.tunnel(echo.address).await;
        let _second = client.tunnel(echo.address).await;
        let third = request("CONNECT", &echo.address.to_string());
        let (mut answer, _send) = client.send.send_request(third, false).unwrap();
        let early = tokio::time::timeout(Duration::from_millis(300), &mut answer).await;
        assert!(early.is_err(), "{early:?}");
        assert_eq!(echo.connections(), 2);
        send_all(&mut first, b"", true).await.unwrap();
        assert_eq!(within(answer).await.unwrap().status(), 200);
    });
}

#[test]
fn streams_take_places_of_connections() {
    let proxy = Proxy::start("limits: { max_connections: 3 }");
    let echo = Origin::echo();
    run(async {
        let mut client = Client::connect(proxy.address).await;
        // One has that of the connection.
        let first = client.tunnel(echo.address).await;
        let _second = client.tunnel(echo.address).await;
        let _third = client.tunnel(echo.address).await;
        let refused = client
            .try_ask(request("GET", &url(&echo)))
            .await
            .unwrap_err();
        assert_eq!(refused.reason(), Some(Reason::REFUSED_STREAM));
        drop(first);
        proxy.record("the first tunnel", |record| record["role"] == "tunnel");
        let _again = client.tunnel(echo.address).await;
    });
    let series = "tollgate_connections_rejected_total{reason=\"stream\"}";
    drop(echo);
    assert_eq!(proxy.metric(series), 1);
}

#[test]
fn connections_that_have_taken_all_places_are_served() {
    let proxy = Proxy::start("limits: { max_connections: 2 }");
    let web = Origin::ok("page");
    run(async {
        let mut clients = [
            Client::connect(proxy.address).await,
            Client::connect(proxy.address).await,
        ];
        // Waits, and would take each place that is given back.
        let _outside = proxy.connect();
        for turn in 0..6 {
            let client = &mut clients[turn % 2];
            assert_eq!(client.ask(request("GET", &url(&web))).await.status, 200);
        }
    });
}

#[test]
fn who_has_no_credentials_holds_no_places_by_not_reading() {
    let proxy = Proxy::start("limits: { max_connections: 2 }");
    let mut wire = Wire::connect(proxy.address).unwrap();
    wire.send(frames::opening(0)).unwrap();
    for stream in (1..100).step_by(2) {
        wire.send(frames::get_as(stream, ("nobody", "x"), proxy.address, "/"))
            .unwrap();
        // Its answer begins, and cannot go on.
        let answer = frames::read_until(&mut wire, |frame| frame.stream == stream);
        assert_eq!(
            (answer.kind, answer.flags & frames::END_STREAM),
            (frames::HEADERS, 0)
        );
    }
    let records = proxy.wait_records(50);
    assert!(
        records.iter().all(|record| record["status"] == 407),
        "{records:#?}"
    );
}

#[test]
fn a_page_that_is_left_resets_all_its_requests() {
    let proxy = Proxy::plain();
    let web = Origin::ok("page");
    let mut wire = Wire::connect(proxy.address).unwrap();
    let mut bytes = frames::opening(65_535);
    for stream in (1..160).step_by(2) {
        bytes.extend(frames::get(stream, web.address, "/"));
        bytes.extend(frames::frame(
            frames::RST_STREAM,
            0,
            stream,
            &8_u32.to_be_bytes(),
        ));
    }
    bytes.extend(frames::get(161, web.address, "/"));
    wire.send(bytes).unwrap();
    let answer = frames::read_until(&mut wire, |frame| {
        frame.kind == frames::GOAWAY || frame.stream == 161
    });
    assert_eq!(answer.kind, frames::HEADERS, "{answer:?}");
}

#[test]
fn a_connection_takes_what_all_its_streams_may_send() {
    let proxy = Proxy::start("limits: { streams_per_connection: 30 }");
    let mut wire = Wire::connect(proxy.address).unwrap();
    wire.send(frames::opening(65_535)).unwrap();
    let update = frames::read_until(&mut wire, |frame| frame.kind == frames::WINDOW_UPDATE);
    let more = u32::from_be_bytes(update.payload.try_into().unwrap());
    assert_eq!((update.stream, more + 65_535), (0, 30 * 256 * 1024));
}

#[test]
fn heads_have_the_bounds_of_http1() {
    let proxy =
        Proxy::start("limits: { request_head: 2KiB, request_target: 1KiB, request_fields: 10 }");
    let web = Origin::ok("page");
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let mut large = request("GET", &url(&web));
        large
            .headers_mut()
            .insert("x", "y".repeat(2000).parse().unwrap());
        assert_eq!(client.ask(large).await.status, 431);
        let long = format!("{}{}", url(&web), "y".repeat(1100));
        assert_eq!(client.ask(request("GET", &long)).await.status, 414);
        let mut many = request("GET", &url(&web));
        for _ in 0..10 {
            many.headers_mut().append("x", "y".parse().unwrap());
        }
        assert_eq!(client.ask(many).await.status, 431);
        // Far above the bound: the crate answers before it has all of it.
        let mut huge = request("GET", &url(&web));
        for _ in 0..12 {
            huge.headers_mut()
                .append("x", "y".repeat(4000).parse().unwrap());
        }
        let refused = client.try_ask(huge).await;
        assert!(refused.is_err() || refused.unwrap().status == 431);
    });
    web.assert_untouched();
    let mut client = proxy.connect();
    assert_eq!(
        client
            .exchange(crate::support::request::fetch(&url(&web)))
            .status(),
        200
    );
}

#[test]
fn a_connection_without_requests_ends() {
    let proxy = Proxy::start("timeouts: { request_head: 300ms, keep_alive: 300ms }");
    let web = Origin::ok("page");
    run(async {
        // None at all, and none any more; both are told so.
        for asks in [false, true] {
            let mut client = Client::connect(proxy.address).await;
            if asks {
                assert_eq!(client.ask(request("GET", &url(&web))).await.status, 200);
            }
            within(client.connection).await.unwrap().unwrap();
        }
    });
    // A preface, or the settings behind it, that do not come.
    for sent in ["PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut wire = proxy.connect();
        let start = Instant::now();
        wire.send(sent).unwrap();
        wire.rest();
        assert!(start.elapsed() < DEADLINE / 2, "{sent:?}");
    }
}

#[test]
fn an_idle_tunnel_is_not_an_idle_connection() {
    let proxy = Proxy::start("timeouts: { request_head: 200ms, keep_alive: 200ms }");
    let echo = Origin::echo();
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let (mut send, mut receive) = client.tunnel(echo.address).await;
        let quiet = tokio::time::timeout(Duration::from_millis(700), receive.data()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        send_all(&mut send, b"ping", false).await.unwrap();
        assert_eq!(read_bytes(&mut receive, 4).await, b"ping");
    });
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let proxy = Proxy::start("timeouts: { send: 400ms }");
    let body = vec![b'x'; 8 << 20];
    let web = Origin::fixed(response("200 OK", "", body));
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let (answer, _send) = client.open(request("GET", &url(&web)), true).await;
        // The head, and nothing of the body.
        let answer = within(answer).await.unwrap();
        let record = tokio::task::spawn_blocking(move || {
            let record = proxy.record("the request", |record| record["role"] == "forward");
            (proxy, record)
        });
        let (proxy, record) = within(record).await.unwrap();
        assert_eq!(record["status"], 200, "{record}");
        assert!(record["error"].is_string(), "{record}");
        assert!(whole(answer).await.is_err());
        // What it left unread is not in the way of the next.
        let page = Origin::ok("page");
        assert_eq!(client.ask(request("GET", &url(&page))).await.status, 200);
        drop(proxy);
    });
}

#[test]
fn a_slow_origin_bounds_what_is_taken_of_a_client() {
    let proxy = Proxy::plain();
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let origin = Origin::raw(move |wire, _| {
        let _released = held.lock().unwrap().recv_timeout(DEADLINE);
        drop(wire);
        Ok(())
    });
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let (mut send, _receive) = client.tunnel(origin.address).await;
        let before = proxy.resident();
        let much = vec![b'x'; 64 << 20];
        let sent = send_all(&mut send, &much, false);
        let sent = tokio::time::timeout(Duration::from_secs(1), sent).await;
        assert!(sent.is_err(), "all of it was taken");
        let grown = proxy.resident().saturating_sub(before);
        assert!(grown < 8 * 1024, "{grown} KiB");
    });
    drop(hold);
}

#[test]
fn rapid_resets_end_the_connection_and_nothing_else() {
    let proxy = Proxy::plain();
    let (held, release) = Origin::held();
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let mut opened = 0;
        for _ in 0..20_000 {
            let Ok(ready) = within(client.send.clone().ready()).await else {
                break;
            };
            client.send = ready;
            let Ok((answer, mut send)) =
                client.send.send_request(request("GET", &url(&held)), true)
            else {
                break;
            };
            send.send_reset(Reason::CANCEL);
            drop((answer, send));
            opened += 1;
            tokio::task::yield_now().await;
        }
        assert!(opened < 20_000, "the connection is still there");
        let mut other = Client::connect(proxy.address).await;
        let page = Origin::ok("page");
        assert_eq!(other.ask(request("GET", &url(&page))).await.status, 200);
    });
    wait_rejected(&proxy, "http2_error", 1);
    drop(release);
}

#[test]
fn a_process_that_drains_says_so_and_finishes() {
    let mut proxy = Proxy::plain();
    let (held, release) = Origin::held();
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let (answer, _send) = client.open(request("GET", &url(&held)), true).await;
        held.wait_connections(1);
        proxy.signal(Signal::TERM);
        // The other end of its connection learns that there are to be no more streams.
        within(async {
            while client.send.clone().ready().await.is_ok() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(proxy.is_running(), "with a request under way");
        release.send(()).unwrap();
        let answer = whole(within(answer).await.unwrap()).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "/"));
        within(client.connection).await.unwrap().unwrap();
    });
    assert!(proxy.wait_exit(DEADLINE).success());
}

#[test]
fn a_process_that_stops_cuts_and_records() {
    let mut proxy = Proxy::start("timeouts: { drain: 200ms }");
    let (held, release) = Origin::held();
    let echo = Origin::echo();
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let _tunnel = client.tunnel(echo.address).await;
        let (answer, _send) = client.open(request("GET", &url(&held)), true).await;
        held.wait_connections(1);
        proxy.signal(Signal::TERM);
        assert!(within(answer).await.is_err());
    });
    assert!(proxy.wait_exit(DEADLINE).success());
    let records = proxy.records();
    assert_eq!(records.len(), 2, "{records:#?}");
    let tunnel = records.iter().find(|record| record["role"] == "tunnel");
    assert_eq!(tunnel.unwrap()["end_reason"], "drained", "{records:#?}");
    drop(release);
}

#[test]
fn frames_that_are_none_end_the_connection() {
    let proxy = Proxy::plain();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    for garbage in [
        // Something else than the rest of the preface, a frame that is too long, a
        // continuation of nothing, a head that is no HPACK.
        &b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..],
        &[
            &preface[..],
            settings,
            b"\xff\xff\xff\x01\x05\x00\x00\x00\x01",
        ]
        .concat(),
        &[
            &preface[..],
            settings,
            b"\x00\x00\x01\x09\x04\x00\x00\x00\x01\x82",
        ]
        .concat(),
        &[
            &preface[..],
            settings,
            b"\x00\x00\x01\x01\x05\x00\x00\x00\x01\xff",
        ]
        .concat(),
    ] {
        let mut wire: Wire = proxy.connect();
        let _maybe_closed = wire.send(garbage);
        wire.rest();
    }
    let web = Origin::ok("page");
    assert_eq!(proxy.fetch(&url(&web)).status(), 200);
    wait_rejected(&proxy, "http2_preface", 1);
    wait_rejected(&proxy, "http2_error", 3);
}

#[test]
fn a_client_that_leaves_before_it_begins_is_no_news() {
    let mut proxy = Proxy::plain();
    let mut wire = proxy.connect();
    wire.send("PRI * HTTP/2.0\r\n\r\nSM").unwrap();
    wire.finish().unwrap();
    wire.rest();
    proxy.signal(Signal::TERM);
    assert!(proxy.wait_exit(DEADLINE).success());
    let errors = proxy.errors();
    assert!(!errors.contains("before its first request"), "{errors}");
}
