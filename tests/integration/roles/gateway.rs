//! The gateway: origin-form requests and the local pool behind them.

use std::time::{Duration, Instant};

use crate::support::client::Wire;
use crate::support::message::{Framing, ok, response};
use crate::support::nginx::Nginx;
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::port::Port;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::auth;
use crate::support::{allow_many_connections, eventually};

/// Alice's origin-form request.
fn get(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: gate.example\r\n{}\r\n",
        auth()
    )
}

fn pool(addresses: &[std::net::SocketAddr], more: &str) -> String {
    let list: Vec<_> = addresses
        .iter()
        .map(|address| format!("\"{address}\""))
        .collect();
    format!("gateway:\n  upstreams: [{}]\n{more}", list.join(", "))
}

fn queue_depth(proxy: &Proxy) -> String {
    let text = proxy.admin("/metrics").text();
    let line = text
        .lines()
        .find(|line| line.starts_with("tollgate_gateway_queue_depth"));
    line.and_then(|line| line.rsplit(' ').next())
        .unwrap_or("absent")
        .to_owned()
}

#[test]
fn embedded_origin_serves_a_page() {
    let proxy = Proxy::plain();
    let mut wire = proxy.connect();
    for _ in 0..3 {
        let answer = wire.exchange(get("/"));
        assert_eq!(answer.status(), 200);
        assert!(
            answer
                .field("content-type")
                .unwrap()
                .starts_with("text/html")
        );
        assert!(matches!(answer.framing, Framing::Length(1..)));
    }
    let head = wire.exchange(get("/").replacen("GET", "HEAD", 1));
    assert_eq!((head.status(), head.body.len()), (200, 0));
    assert_eq!(wire.exchange(get("/")).status(), 200);
}

#[test]
fn embedded_origin_takes_bodies_without_mixing_them_up() {
    let proxy = Proxy::plain();
    let mut wire = proxy.connect();
    let hidden = get("/");
    wire.send(format!(
        "POST / HTTP/1.1\r\nHost: gate\r\n{}Content-Length: {}\r\n\r\n{hidden}",
        auth(),
        hidden.len()
    ))
    .unwrap();
    wire.response("POST").unwrap();
    wire.send("GET /last HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n")
        .unwrap();
    // One answer more, or none when the first one closed: never two.
    let rest = String::from_utf8_lossy(&wire.rest()).into_owned();
    assert!(rest.matches("HTTP/1.1 ").count() <= 1, "{rest}");
}

#[test]
fn request_passes_as_it_is() {
    let origin = Origin::ok("behind");
    let proxy = Proxy::start(&pool(&[origin.address], ""));
    // Case 26: no path is made nicer than it was sent.
    for path in [
        "/",
        "/a/../b",
        "/%2f..%2F",
        "//double//",
        "/..;x/",
        "/a?b=c&d",
        "/%00",
        "/a%20b",
        "/?",
    ] {
        let answer = proxy.exchange(get(path));
        assert_eq!(answer.text(), "behind", "{path}");
        let head = origin.requests().pop().unwrap().head;
        assert_eq!(head.target(), path);
        assert_eq!(head.fields.all("host"), ["gate.example"]);
        assert!(!head.fields.has("proxy-authorization"), "{path}");
        assert!(head.fields.has("via"), "{path}");
    }
}

#[test]
fn asterisk_form_is_answered() {
    let origin = Origin::ok("");
    let proxy = Proxy::start(&pool(&[origin.address], ""));
    let request = format!("OPTIONS * HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth());
    let answer = proxy.exchange(request);
    assert!(
        [200, 204].contains(&answer.status()),
        "{}",
        answer.head.start
    );
}

#[test]
fn bodies_pass_both_ways() {
    let origin = Origin::http(|request| ok(blake3::hash(&request.body).to_hex().as_bytes()));
    let proxy = Proxy::start(&pool(&[origin.address], ""));
    let mut wire = proxy.connect();
    for size in [0, 1, 65_536, 5_000_000] {
        wire.send(format!(
            "POST /up HTTP/1.1\r\nHost: gate\r\n{}Content-Length: {size}\r\n\r\n",
            auth()
        ))
        .unwrap();
        let sent = payload::generate(size, |part| wire.send(part)).unwrap();
        assert_eq!(
            wire.response("POST").unwrap().text(),
            sent.to_hex().as_str(),
            "{size}"
        );
    }
}

#[test]
fn load_is_spread_over_the_pool() {
    let origins = [Origin::ok("a"), Origin::ok("b"), Origin::ok("c")];
    let addresses = origins.each_ref().map(|origin| origin.address);
    let proxy = Proxy::start(&pool(&addresses, ""));
    let mut wire = proxy.connect();
    for _ in 0..60 {
        assert_eq!(wire.exchange(get("/")).status(), 200);
    }
    for origin in &origins {
        let count = origin.requests().len();
        assert!((10..=30).contains(&count), "{count} of 60");
    }
}

#[test]
fn connections_to_the_pool_are_kept() {
    let origin = Origin::ok("kept");
    let proxy = Proxy::start(&pool(
        &[origin.address],
        "  health_check: { interval: 1h, timeout: 1s }",
    ));
    let mut wire = proxy.connect();
    for _ in 0..50 {
        assert_eq!(wire.exchange(get("/")).status(), 200);
    }
    assert!(
        origin.connections() <= 6,
        "{} connections",
        origin.connections()
    );
}

#[test]
fn upstream_that_is_down_is_passed_over() {
    let (up, down) = (Origin::ok("up"), Port::reserve());
    let proxy = Proxy::start(&pool(&[down.address, up.address], ""));
    for _ in 0..20 {
        assert_eq!(proxy.exchange(get("/")).text(), "up");
    }
}

#[test]
fn all_upstreams_down_is_502_at_once() {
    let (first, second) = (Port::reserve(), Port::reserve());
    let proxy = Proxy::start(&pool(&[first.address, second.address], ""));
    let mut wire = proxy.connect();
    for _ in 0..5 {
        let start = Instant::now();
        let answer = wire.exchange(get("/"));
        assert_eq!(answer.status(), 502);
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
        assert!(answer.field("proxy-status").is_some());
        assert!(!answer.body.is_empty());
    }
}

#[test]
fn upstream_that_comes_back_is_used_again() {
    let port = Port::reserve();
    let more = "  health_check: { interval: 1s, timeout: 1s }";
    let proxy = Proxy::start(&pool(&[port.address], more));
    assert_eq!(proxy.exchange(get("/")).status(), 502);
    let address = port.address.to_string();
    drop(port);
    let _origin = Origin::bind(&address, |mut wire, _| {
        while wire.request()?.is_some() {
            wire.send(ok("back"))?;
        }
        Ok(())
    });
    eventually("the upstream to be used again", || {
        (proxy.exchange(get("/")).status() == 200).then_some(())
    });
}

#[test]
fn no_more_requests_than_the_bound_are_at_an_upstream() {
    assert_eq!(of_forty_clients(2).peak_requests(), 3);
}

/// With one thread, since Pingora may lose an idle connection that another thread takes:
/// it is closed then, but the next is opened already.
#[test]
fn no_more_connections_than_the_bound_are_opened() {
    let origin = of_forty_clients(1);
    assert_eq!(origin.peak_requests(), 3);
    // One more may be a health check.
    let peak = origin.peak_connections();
    assert!(peak <= 4, "{peak} connections at once");
}

/// An upstream with three places, of which forty clients have asked something at once.
fn of_forty_clients(threads: usize) -> Origin {
    let (origin, release) = Origin::held();
    let more = "  max_connections_per_upstream: 3\n  health_check: { interval: 1h, timeout: 1s }";
    let proxy = Setup::new()
        .server(&format!("threads: {threads}"))
        .config(&pool(&[origin.address], more))
        .start();
    let mut clients: Vec<Wire> = (0..40).map(|_| proxy.connect()).collect();
    for round in 0..2 {
        for (number, wire) in clients.iter_mut().enumerate() {
            wire.send(get(&format!("/{round}/{number}"))).unwrap();
        }
        // All are there before the first is answered.
        eventually("the others to queue", || {
            (queue_depth(&proxy) == "37").then_some(())
        });
        for _ in &clients {
            release.send(()).unwrap();
        }
        for (number, wire) in clients.iter_mut().enumerate() {
            let answer = wire.response("GET").unwrap();
            assert_eq!(answer.text(), format!("/{round}/{number}"));
        }
    }
    origin
}

#[test]
fn queue_time_out_is_503_with_retry_after() {
    let (origin, release) = Origin::held();
    let more = "  max_connections_per_upstream: 1\n  queue_timeout: 1s";
    let proxy = Proxy::start(&pool(&[origin.address], more));
    let mut first = proxy.connect();
    first.send(get("/first")).unwrap();
    origin.request();
    let start = Instant::now();
    let mut second = proxy.connect();
    let answer = second.exchange(get("/second"));
    assert_eq!(answer.status(), 503);
    let waited = start.elapsed();
    assert!(
        waited > Duration::from_millis(800) && waited < Duration::from_secs(4),
        "{waited:?}"
    );
    let retry: u64 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!(retry >= 1);
    assert!(answer.field("proxy-status").is_some());
    release.send(()).unwrap();
    assert_eq!(first.response("GET").unwrap().text(), "/first");
    // The place in the queue was given back, and the connection lives.
    release.send(()).unwrap();
    assert_eq!(second.exchange(get("/third")).text(), "/third");
    assert_eq!(origin.requests().len(), 2, "the second one never left");
}

#[test]
fn queue_is_first_come_first_served() {
    let (origin, release) = Origin::held();
    let more = "  max_connections_per_upstream: 1\n  queue_timeout: 30s";
    let proxy = Proxy::start(&pool(&[origin.address], more));
    let mut clients = Vec::new();
    for number in 0..6 {
        let mut wire = proxy.connect();
        wire.send(get(&format!("/{number}"))).unwrap();
        clients.push(wire);
        if number == 0 {
            origin.request();
        } else {
            eventually("the request to queue", || {
                (queue_depth(&proxy) == number.to_string()).then_some(())
            });
        }
    }
    for (number, wire) in clients.iter_mut().enumerate() {
        release.send(()).unwrap();
        assert_eq!(wire.response("GET").unwrap().text(), format!("/{number}"));
    }
    let order: Vec<_> = origin
        .requests()
        .iter()
        .map(|request| request.head.target().to_owned())
        .collect();
    assert_eq!(order, ["/0", "/1", "/2", "/3", "/4", "/5"]);
}

#[test]
fn clients_that_leave_the_queue_leave_no_hole() {
    let (origin, release) = Origin::held();
    let more = "  max_connections_per_upstream: 1\n  queue_timeout: 30s";
    let proxy = Proxy::start(&pool(&[origin.address], more));
    let mut first = proxy.connect();
    first.send(get("/first")).unwrap();
    origin.request();
    let gone: Vec<Wire> = (0..20)
        .map(|number| {
            let mut wire = proxy.connect();
            wire.send(get(&format!("/gone/{number}"))).unwrap();
            wire
        })
        .collect();
    eventually("twenty to queue", || {
        (queue_depth(&proxy) == "20").then_some(())
    });
    for wire in gone {
        wire.reset();
    }
    // Whoever has left does not wait on.
    eventually("the queue to empty", || {
        (queue_depth(&proxy) == "0").then_some(())
    });
    release.send(()).unwrap();
    release.send(()).unwrap();
    assert_eq!(first.response("GET").unwrap().text(), "/first");
    assert_eq!(proxy.exchange(get("/after")).text(), "/after");
    assert_eq!(
        origin.requests().len(),
        2,
        "the first and the last, nobody between"
    );
}

#[test]
fn request_with_a_body_is_not_sent_twice() {
    let origin = Origin::raw(|mut wire, seen| {
        if let Some(request) = wire.request()? {
            seen.keep(request);
            wire.reset();
        }
        Ok(())
    });
    let proxy = Proxy::start(&pool(&[origin.address], ""));
    let answer = proxy.exchange(format!(
        "POST /pay HTTP/1.1\r\nHost: gate\r\n{}Content-Length: 3\r\n\r\none",
        auth()
    ));
    assert_eq!(answer.status(), 502);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn upstream_answers_pass_with_their_status() {
    let origin = Origin::http(|request| {
        let status = request.head.target().trim_start_matches('/').to_owned();
        response(&format!("{status} Text"), "X-Mine: yes\r\n", "body")
    });
    let proxy = Proxy::start(&pool(&[origin.address], ""));
    let mut wire = proxy.connect();
    for status in [200, 201, 301, 400, 401, 404, 418, 500, 502, 503, 599] {
        let answer = wire.exchange(get(&format!("/{status}")));
        assert_eq!(answer.status(), status);
        assert_eq!(
            (answer.text().as_str(), answer.field("x-mine")),
            ("body", Some("yes"))
        );
    }
}

#[test]
fn nginx_pool_survives_the_loss_of_one() {
    let (first, mut second) = (Nginx::start("first"), Nginx::start("second"));
    let proxy = Proxy::start(&pool(&[first.address(), second.address()], ""));
    let mut wire = proxy.connect();
    for _ in 0..40 {
        let body = wire.exchange(get("/")).text();
        assert!(["first", "second"].contains(&body.as_str()), "{body}");
    }
    let (one, two) = (first.requests(), second.requests());
    assert_eq!(one + two, 40, "nginx has logged what was asked");
    assert!(one >= 10 && two >= 10, "{one} and {two}");
    second.stop();
    for _ in 0..40 {
        assert_eq!(wire.exchange(get("/index.html")).text(), "first");
    }
    assert_eq!(wire.exchange(get("/absent")).status(), 404);
    drop(first);
    let answer = wire.exchange(get("/"));
    assert_eq!(answer.status(), 502);
}

/// A request that waits for its permit is admitted, holds little, and gives up its turn when its client leaves. The
/// rest are served in their order.
#[test]
fn a_long_queue_is_served_in_order() {
    const LEAVING: usize = 128;
    const QUEUED: usize = 1000;
    /// What a request may take while it waits, in bytes; 9,000 are to fit into 240 MiB with their connections.
    const MOST: u64 = 36 * 1024;
    allow_many_connections();
    let (origin, release) = Origin::held();
    let more = "  max_connections_per_upstream: 1\n  queue_timeout: 60s";
    let proxy = Proxy::start(&pool(&[origin.address], more));
    let ask = |path: &str| {
        let mut wire = proxy.connect();
        wire.send(get(path)).unwrap();
        wire
    };
    let mut first = ask("/first");
    origin.request();
    let before = proxy.resident();
    let leaving: Vec<Wire> = (1..LEAVING).map(|_| ask("/leaving")).collect();
    let depth = |wanted: usize| {
        eventually("so many to queue", || {
            (queue_depth(&proxy) == wanted.to_string()).then_some(())
        });
    };
    depth(LEAVING - 1);
    let mut queued: Vec<Wire> = (0..QUEUED)
        .map(|number| ask(&format!("/queued/{number}")))
        .collect();
    depth(LEAVING - 1 + QUEUED);
    let each = (proxy.resident() - before) * 1024 / (LEAVING - 1 + QUEUED) as u64;
    assert!(each <= MOST, "{each} bytes for each request that waits");
    // Without credentials there is no wait.
    let refused = proxy.exchange("GET /refused HTTP/1.1\r\nHost: g\r\n\r\n");
    assert_eq!(refused.status(), 401);
    let mut with_body = proxy.connect();
    let length = "Content-Length: 4\r\n";
    with_body
        .send(
            get("/body")
                .replace("GET", "POST")
                .replace("Host", &format!("{length}Host")),
        )
        .unwrap();
    with_body.send("body").unwrap();
    depth(LEAVING + QUEUED);
    // A client that leaves gives up its turn, and has its record.
    queued.drain(..QUEUED / 2).for_each(Wire::reset);
    depth(LEAVING + QUEUED / 2);
    leaving.into_iter().for_each(Wire::reset);
    depth(1 + QUEUED / 2);

    for _ in 0..QUEUED / 2 + 2 {
        release.send(()).unwrap();
    }
    assert_eq!(first.response("GET").unwrap().text(), "/first");
    for (number, wire) in queued.iter_mut().enumerate() {
        let path = format!("/queued/{}", QUEUED / 2 + number);
        assert_eq!(wire.response("GET").unwrap().text(), path);
    }
    assert_eq!(with_body.response("POST").unwrap().text(), "/body");
    let records = proxy.wait_records(LEAVING + QUEUED + 2);
    let of = |prefix: &str, error: Option<&str>| {
        let is = |record: &&serde_json::Value| {
            record["target"].as_str().unwrap().starts_with(prefix)
                && record["error"].as_str() == error
                && (record["user"] == "alice") == (prefix != "/refused")
        };
        records.iter().filter(is).count()
    };
    assert_eq!(of("/queued", Some("client_gone")), QUEUED / 2);
    assert_eq!(of("/queued", None), QUEUED / 2);
    assert_eq!(of("/leaving", Some("client_gone")), LEAVING - 1);
    assert_eq!(of("/refused", Some("credentials_missing")), 1);
}
