//! Classes of limits: what each user and network gets, over every protocol, and what it is told beyond.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::http2::{Client, request_of as stream_of, run, whole, within};
use crate::support::message::{Response, ok};
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::{ALICE, BOB, auth, connect, fetch, request_of};

/// A proxy with these classes.
fn with(classes: &str) -> Proxy {
    Proxy::start(&format!("limits: {{ classes: [{classes}] }}"))
}

/// The value of a member of the statistics of a class.
fn stat(proxy: &Proxy, class: &str, member: &str) -> u64 {
    let stats: Value = serde_json::from_str(&proxy.admin("/stats").text()).unwrap();
    stats["classes"][class][member].as_u64().unwrap()
}

/// Waits until the origin has so many requests, none of which is answered.
fn wait_requests(origin: &Origin, count: usize) {
    eventually("requests at the origin", || {
        (origin.requests().len() == count).then_some(())
    });
}

fn url(origin: &Origin) -> String {
    format!("http://{}/", origin.address)
}

/// The limit that an answer names, and the seconds until the client may come back.
fn over(answer: &Response) -> (String, u64) {
    assert_eq!(answer.status(), 429, "{}", answer.text());
    let field = answer.field("proxy-status").unwrap();
    let limit = field
        .strip_prefix("tollgate; error=connection_limit_reached; details=\"")
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or_else(|| panic!("{field}"));
    let phrase = format!("HTTP/1.1 429 Too Many Requests: {limit}");
    assert_eq!(answer.head.start, phrase);
    let wait = answer.field("retry-after").unwrap().parse().unwrap();
    (limit.to_owned(), wait)
}

/// For a crawler: each host has the limits for itself, whoever asks it and at whatever port.
#[test]
fn hosts_have_limits_for_themselves() {
    let proxy = with("{ name: polite, per: host, requests: 1/h, burst: 2 }");
    let (one, other) = (Origin::ok("one"), Origin::ok("other"));
    let get = |user, url: String| proxy.exchange(request_of(user, "GET", &url));
    assert_eq!(get(ALICE, url(&one)).text(), "one");
    assert_eq!(get(BOB, url(&other)).text(), "other");
    assert_eq!(over(&get(ALICE, url(&one))).0, "polite.requests");
    assert_eq!(
        over(&proxy.exchange(connect(one.address))).0,
        "polite.requests"
    );
    // The same address by its name is another host.
    let by_name = format!("http://localhost:{}/", one.address.port());
    assert_eq!(get(ALICE, by_name).text(), "one");
}

#[test]
fn a_rate_is_for_each_user_and_for_every_role() {
    let proxy = with("{ name: all, requests: 1/h, burst: 3 }");
    let origin = Origin::ok("in");
    // On one connection and on another, and a tunnel counts like the others.
    let mut wire = proxy.connect();
    for _ in 0..2 {
        assert_eq!(wire.exchange(fetch(&url(&origin))).text(), "in");
    }
    drop(proxy.tunnel(origin.address));
    let answer = wire.exchange(fetch(&url(&origin)));
    let (limit, wait) = over(&answer);
    assert_eq!(limit, "all.requests");
    assert!((3500..=3600).contains(&wait), "{wait}");
    // The connection stays, and what was refused counts for nothing.
    assert_eq!(over(&wire.exchange(fetch(&url(&origin)))).0, "all.requests");
    assert_eq!(
        over(&proxy.exchange(connect(origin.address))).0,
        "all.requests"
    );
    assert_eq!(
        over(&proxy.exchange(request_of(ALICE, "GET", "/"))).0,
        "all.requests"
    );
    let json = wire.exchange(format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\n{}\r\n",
        url(&origin),
        origin.address,
        auth()
    ));
    let body: Value = serde_json::from_str(&json.text()).unwrap();
    assert_eq!(
        (&body["status"], &body["error"], &body["limit"]),
        (&json!(429), &json!("limit_reached"), &json!("all.requests"))
    );
    // Another user has a whole burst.
    for _ in 0..3 {
        let answer = proxy.exchange(request_of(BOB, "GET", &url(&origin)));
        assert_eq!(answer.text(), "in");
    }
    assert_eq!(origin.requests().len(), 5);

    let record = proxy.record("a refused request", |record| record["status"] == 429);
    assert_eq!(
        (&record["error"], &record["class"], &record["user"]),
        (&json!("limit_reached"), &json!("all"), &json!("alice"))
    );
    assert_eq!(record["error_detail"], "over all.requests of its user");
    let admitted = proxy.record("an admitted request", |record| record["status"] == 200);
    assert_eq!(admitted["class"], "all");
    let series = "tollgate_limited_total{class=\"all\",limit=\"requests\"}";
    assert_eq!(proxy.metric(series), 5);
    eventually("the tunnel to end", || {
        (stat(&proxy, "all", "tunnels") == 0).then_some(())
    });
    let members = ["admitted", "limited", "requests", "members"];
    assert_eq!(
        members.map(|name| stat(&proxy, "all", name)),
        [6, 5, 0, 2],
        "{}",
        proxy.admin("/stats").text()
    );
}

/// What comes when it was told to come is served.
#[test]
fn retry_after_is_when_the_next_one_is_due() {
    let proxy = with("{ name: all, requests: 40/m, burst: 1 }");
    let origin = Origin::ok("in");
    let begun = Instant::now();
    let mut wire = proxy.connect();
    assert_eq!(wire.exchange(fetch(&url(&origin))).status(), 200);
    // One each 1.5 s: in whole seconds two, not one.
    let answer = wire.exchange(fetch(&url(&origin)));
    assert_eq!(over(&answer), ("all.requests".to_owned(), 2));
    wire.stays_quiet(Duration::from_secs(2)).unwrap();
    assert_eq!(wire.exchange(fetch(&url(&origin))).status(), 200);
    assert!(begun.elapsed() >= Duration::from_millis(1500));
}

#[test]
fn requests_at_once_are_for_each_user() {
    let proxy = with("{ name: all, concurrent_requests: 2 }");
    let (origin, release) = Origin::held();
    let mut held: Vec<Wire> = (0..2).map(|_| proxy.connect()).collect();
    for wire in &mut held {
        wire.send(fetch(&url(&origin))).unwrap();
    }
    wait_requests(&origin, 2);
    let answer = proxy.fetch(&url(&origin));
    assert_eq!(over(&answer), ("all.concurrent_requests".to_owned(), 1));
    // Tunnels are none of them, and another user has its own.
    drop(proxy.tunnel(origin.address));
    let mut other = proxy.connect();
    other.send(request_of(BOB, "GET", &url(&origin))).unwrap();
    wait_requests(&origin, 3);
    assert_eq!(stat(&proxy, "all", "requests"), 3);
    for _ in 0..3 {
        release.send(()).unwrap();
    }
    for wire in held.iter_mut().chain([&mut other]) {
        assert_eq!(wire.response("GET").unwrap().status(), 200);
    }
    // On the same connection there is no request between an answer and the next one.
    for _ in 0..20 {
        release.send(()).unwrap();
        let answer = held[0].exchange(fetch(&url(&origin)));
        assert_eq!(answer.status(), 200);
    }
}

/// A client that goes does not keep its place, nor does a request that fails.
#[test]
fn a_place_is_given_back_however_a_request_ends() {
    let proxy = with("{ name: all, concurrent_requests: 1, tunnels: 1 }");
    let (origin, _release) = Origin::held();
    let mut wire = proxy.connect();
    wire.send(fetch(&url(&origin))).unwrap();
    origin.request();
    wire.reset();
    eventually("the place of a client that has gone", || {
        (stat(&proxy, "all", "requests") == 0).then_some(())
    });
    let refusing = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    for _ in 0..3 {
        let answer = proxy.exchange(connect(refusing));
        assert_eq!(answer.status(), 502);
        eventually("the place of a tunnel that failed", || {
            (stat(&proxy, "all", "tunnels") == 0).then_some(())
        });
    }
}

fn websocket(origin: &Origin) -> String {
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\n{}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        url(origin),
        origin.address,
        auth()
    )
}

#[test]
fn tunnels_of_connect_and_of_websockets_are_counted_alike() {
    let proxy = with("{ name: all, tunnels: 2 }");
    let echo = Origin::echo();
    let upgrading = Origin::raw(|mut wire, _| {
        wire.read_head()?;
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )?;
        let ping = wire.read_bytes(4)?;
        wire.send(ping)
    });
    let tunnel = proxy.tunnel(echo.address);
    let mut socket = proxy.connect();
    assert_eq!(socket.exchange(websocket(&upgrading)).status(), 101);
    assert_eq!(stat(&proxy, "all", "tunnels"), 2);
    for request in [connect(echo.address), websocket(&upgrading)] {
        let answer = proxy.exchange(request);
        assert_eq!(over(&answer), ("all.tunnels".to_owned(), 1));
    }
    // An open tunnel goes on, and a request is none.
    assert_eq!(proxy.fetch(&url(&Origin::ok("in"))).text(), "in");
    socket.send("ping").unwrap();
    assert_eq!(socket.read_to_end().unwrap(), b"ping");
    drop((socket, tunnel));
    eventually("places of tunnels that ended", || {
        (stat(&proxy, "all", "tunnels") == 0).then_some(())
    });
    let _tunnels = [proxy.tunnel(echo.address), proxy.tunnel(echo.address)];
    let record = proxy.record("a tunnel that ended", |it| it["event"] == "tunnel_close");
    assert_eq!(record["class"], "all");
}

#[test]
fn new_tunnels_have_a_rate_of_their_own() {
    let proxy = with("{ name: all, new_tunnels: 2/h }");
    let echo = Origin::echo();
    drop([proxy.tunnel(echo.address), proxy.tunnel(echo.address)]);
    let (limit, wait) = over(&proxy.exchange(connect(echo.address)));
    assert_eq!(limit, "all.new_tunnels");
    assert!((1700..=1800).contains(&wait), "{wait}");
    assert_eq!(over(&proxy.exchange(websocket(&echo))).0, "all.new_tunnels");
    assert_eq!(proxy.fetch(&url(&Origin::ok("in"))).text(), "in");
}

#[test]
fn streams_of_http2_are_requests() {
    let proxy = with("{ name: all, concurrent_requests: 2, tunnels: 1 }");
    let (origin, release) = Origin::held();
    let echo = Origin::echo();
    // The runtime has one thread, which must not be held up.
    let at_origin = |count| {
        let origin = &origin;
        within(async move {
            while origin.requests().len() < count {
                tokio::task::yield_now().await;
            }
        })
    };
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            let request = stream_of(ALICE, "GET", &url(&origin));
            held.push(client.open(request, true).await.0);
        }
        at_origin(2).await;
        let (_send, _receive) = client.tunnel(echo.address).await;
        for (method, target, limit) in [
            ("GET", url(&origin), "all.concurrent_requests"),
            ("CONNECT", echo.address.to_string(), "all.tunnels"),
        ] {
            let answer = client.ask(stream_of(ALICE, method, &target)).await;
            assert_eq!(answer.status.as_u16(), 429, "{limit}");
            assert_eq!(answer.field("retry-after"), Some("1"));
            let expected = format!("tollgate; error=connection_limit_reached; details=\"{limit}\"");
            assert_eq!(answer.field("proxy-status"), Some(expected.as_str()));
        }
        // Another user on the same connection.
        let other = client.open(stream_of(BOB, "GET", &url(&origin)), true);
        held.push(other.await.0);
        at_origin(3).await;
        // Which of them the origin answers first is not known.
        for _ in &held {
            release.send(()).unwrap();
        }
        for answer in held {
            let answer = whole(within(answer).await.unwrap()).await.unwrap();
            assert_eq!(answer.status.as_u16(), 200);
        }
    });
}

#[test]
fn the_first_class_that_matches_holds_and_networks_may_be_its_members() {
    let proxy = with(
        "{ name: free, users: [bob] }, \
         { name: lab, client_networks: [127.0.0.8/29], per: client_network, requests: 1/h, burst: 1 }, \
         { name: gate, roles: [gateway], per: class, requests: 1/h, burst: 1 }",
    );
    let origin = Origin::ok("in");
    let from = |source: &str, request: String| {
        let mut wire = Wire::connect_from(source, proxy.address).unwrap();
        let answer = wire.exchange(request);
        match answer.status() {
            429 => over(&answer).0,
            status => status.to_string(),
        }
    };
    let get = |user| request_of(user, "GET", &url(&origin));
    for (source, request, expected) in [
        ("127.0.0.9", get(ALICE), "200"),
        ("127.0.0.9", get(ALICE), "lab.requests"),
        ("127.0.0.10", get(ALICE), "200"),
        ("127.0.0.9", get(BOB), "200"),
        ("127.0.0.1", get(ALICE), "200"),
        ("127.0.0.1", get(ALICE), "200"),
        ("127.0.0.1", request_of(ALICE, "GET", "/"), "200"),
        ("127.0.0.2", request_of(ALICE, "GET", "/"), "gate.requests"),
        ("127.0.0.2", request_of(BOB, "GET", "/"), "200"),
    ] {
        assert_eq!(from(source, request), expected, "{source}");
    }
    let classes = proxy.wait_records(9).into_iter();
    let classes: Vec<_> = classes
        .map(|record| record["class"].as_str().unwrap_or("none").to_owned())
        .collect();
    let expected = [
        "lab", "lab", "lab", "free", "none", "none", "gate", "gate", "free",
    ];
    assert_eq!(classes, expected);
}

/// What the policy denies counts for nothing.
#[test]
fn denied_requests_take_nothing() {
    let proxy = Proxy::start(
        "limits: { classes: [{ name: all, requests: 1/h, burst: 1, concurrent_requests: 1 }] }\n\
         policy: { show_rules: false, rules: [{ name: no-posts, action: deny, methods: [POST] }] }",
    );
    let origin = Origin::fixed(ok("in"));
    for _ in 0..3 {
        let answer = proxy.exchange(request_of(ALICE, "POST", &url(&origin)));
        assert_eq!(answer.status(), 403);
        let stranger = request_of(("alice", "wrong"), "GET", &url(&origin));
        assert_eq!(proxy.exchange(stranger).status(), 407);
    }
    assert_eq!(proxy.fetch(&url(&origin)).status(), 200);
    // Names are hidden, that of a class too.
    assert_eq!(over(&proxy.fetch(&url(&origin))).0, "requests");
}

/// Two users at the limit at once, each by many threads: neither gets more, and neither less.
#[test]
fn each_of_two_users_gets_its_burst_at_once() {
    let proxy = with("{ name: all, requests: 1/h, burst: 50 }");
    let origin = Origin::ok("in");
    let (address, url) = (proxy.address, url(&origin));
    let served = |user| {
        let ask = || {
            let mut wire = Wire::connect(address).unwrap();
            let request = request_of(user, "GET", &url);
            let served = (0..20).filter(|_| wire.exchange(&request).status() == 200);
            served.count()
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            let served = threads.into_iter().map(|thread| thread.join().unwrap());
            served.sum::<usize>()
        })
    };
    let (alice, bob) = std::thread::scope(|scope| {
        let alice = scope.spawn(|| served(ALICE));
        (served(BOB), alice.join().unwrap())
    });
    assert_eq!((alice, bob), (50, 50));
}
