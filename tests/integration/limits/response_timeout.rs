//! Upstreams that fall silent, before an answer or inside one, and upstreams that only take
//! their time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::Wire;
use crate::support::http2::{Client, request as http2_request, run};
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::{auth, fetch, request};

/// How long an upstream may be silent.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long those are that take their time: twice that is too long.
const PACE: Duration = Duration::from_millis(600);

const TIMEOUTS: &str = "timeouts: { response: 1s }";

/// Answers each request with `parts`, each of them after a while, in which the proxy must leave the connection alone.
fn slow(parts: &'static [&'static str]) -> Origin {
    Origin::raw(move |mut wire, _| {
        while wire.request()?.is_some() {
            for part in parts {
                wire.stays_quiet(PACE)?;
                wire.send(part)?;
            }
        }
        Ok(())
    })
}

fn url(origin: &Origin) -> String {
    format!("http://{}/", origin.address)
}

fn assert_in_time(start: Instant, what: &str) {
    let took = start.elapsed();
    let span = PATIENCE..PATIENCE + Duration::from_secs(4);
    assert!(span.contains(&took), "{what}: {took:?}");
}

#[test]
fn silence_before_an_answer_is_504_and_the_connection_goes_on() {
    let (silent, after) = (slow(&[]), Origin::ok("in"));
    let proxy = Proxy::start(&format!(
        "{TIMEOUTS}\ngateway: {{ upstreams: [\"{}\"], health_check: {{ interval: 60s }} }}",
        silent.address
    ));
    let gate = format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth());
    for first in [fetch(&url(&silent)), gate] {
        let mut wire = proxy.connect();
        let start = Instant::now();
        // The next request is here before there is an answer.
        wire.send(first + &fetch(&url(&after))).unwrap();
        assert_eq!(wire.response("GET").unwrap().status(), 504);
        assert_in_time(start, "the answer");
        assert_eq!(wire.response("GET").unwrap().text(), "in");
    }
    for role in ["forward", "gateway"] {
        let record = proxy.record(role, |it| it["role"] == role && it["status"] == 504);
        assert_eq!(record["error"], "http_response_timeout", "{record}");
    }
    let ended = || {
        let mut wire = proxy.connect();
        wire.send(fetch(&url(&silent))).unwrap();
        wire.finish().unwrap();
        wire.response("GET").unwrap().status()
    };
    assert_eq!(ended(), 504, "a client that has ended its side");
}

#[test]
fn silence_inside_an_answer_cuts_it() {
    let proxy = Proxy::start(TIMEOUTS);
    for parts in [
        &["HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n"][..],
        &["HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf"],
        &["HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n", "half"],
        &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"],
        &["HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf"],
    ] {
        let origin = slow(parts);
        let start = Instant::now();
        let mut wire = proxy.connect();
        wire.send(fetch(&url(&origin))).unwrap();
        assert_eq!(wire.read_head().unwrap().unwrap().status(), 200);
        let rest = String::from_utf8_lossy(&wire.rest()).into_owned();
        assert_eq!(rest.contains("half"), parts.concat().contains("half"));
        assert!(!rest.contains("HTTP/1.1"), "{parts:?}: {rest}");
        assert_in_time(start, &format!("{parts:?}"));
        origin.wait_all_closed();
        let path = format!("{}/", origin.address);
        let record = proxy.record("its record", |record| {
            record["target"]
                .as_str()
                .is_some_and(|it| it.contains(&path))
        });
        assert_eq!(record["error"], "http_response_timeout", "{record}");
        assert_eq!(record["status"], 200, "{record}");
    }
}

#[test]
fn what_takes_its_time_is_waited_for() {
    let proxy = Proxy::start(TIMEOUTS);
    const EARLY: &str = "HTTP/1.1 103 Early Hints\r\n\r\n";
    for (parts, status, body) in [
        (
            &[
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                "w",
                "ho",
                "le",
            ][..],
            200,
            "whole",
        ),
        (
            &[
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "1\r\nw\r\n",
                "3\r\nhol\r\n",
                "1\r\ne\r\n0\r\n\r\n",
            ],
            200,
            "whole",
        ),
        (
            &[
                EARLY,
                EARLY,
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            ],
            404,
            "",
        ),
    ] {
        let origin = slow(parts);
        let mut wire = proxy.connect();
        wire.send(fetch(&url(&origin))).unwrap();
        let mut answer = wire.response("GET").unwrap();
        while answer.status() == 103 {
            answer = wire.response("GET").unwrap();
        }
        assert_eq!((answer.status(), answer.text().as_str()), (status, body));
    }
}

#[test]
fn a_body_on_its_way_up_is_no_silence() {
    let proxy = Proxy::start(TIMEOUTS);
    let (origin, silent) = (Origin::http(|request| ok(&request.body)), slow(&[]));
    let mut wire = proxy.connect();
    wire.send(request("POST", &origin, "Content-Length: 4\r\n", ""))
        .unwrap();
    for piece in ["b", "o", "d", "y"] {
        wire.stays_quiet(PACE).unwrap();
        wire.send(piece).unwrap();
    }
    assert_eq!(wire.response("POST").unwrap().text(), "body");
    // But what comes behind it is one.
    let start = Instant::now();
    let answer = wire.exchange(request("POST", &silent, "Content-Length: 4\r\n", "body"));
    assert_eq!(answer.status(), 504);
    assert_in_time(start, "the answer");
}

/// An upstream that neither reads nor answers is given up, too.
#[test]
fn a_body_that_nobody_takes_is_given_up() {
    let proxy = Proxy::start("timeouts: { response: 1s, send: 1s }");
    let (origin, release) = Origin::held();
    let mut wire = proxy.connect();
    let mut writer = wire.socket().try_clone().unwrap();
    let head = request("POST", &origin, "Content-Length: 67108864\r\n", "");
    let sending = std::thread::spawn(move || {
        let mut sent = std::io::Write::write_all(&mut writer, head.as_bytes());
        for _ in 0..64 {
            sent = sent.and_then(|()| std::io::Write::write_all(&mut writer, &[b'x'; 1 << 20]));
        }
    });
    assert_eq!(wire.response("POST").unwrap().status(), 504);
    drop(wire);
    sending.join().unwrap();
    drop(release);
}

/// Neither the turn of others nor another try counts.
#[test]
fn only_silence_since_the_upstream_was_asked_counts() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n";
    let origin = slow(&[ANSWER, "o", "nc", "e"]);
    let proxy = Proxy::start(&format!(
        "{TIMEOUTS}\nlimits: {{ connections_per_origin: 1 }}"
    ));
    let ask = |origin: &Origin| {
        let mut wire = proxy.connect();
        wire.send(fetch(&url(origin))).unwrap();
        wire
    };
    let once = |mut wire: Wire| wire.response("GET").unwrap().text();
    let (first, second) = (ask(&origin), ask(&origin));
    assert_eq!([once(first), once(second)], ["once", "once"]);

    let count = AtomicUsize::new(0);
    let forgetful = Origin::raw(move |mut wire, _| {
        wire.request()?;
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        if first {
            wire.send(ok("kept"))?;
            wire.request()?;
            // Closes the connection on the second request.
            wire.stays_quiet(PACE)?;
            return Ok(());
        }
        wire.stays_quiet(PACE)?;
        wire.send(ok("again"))
    });
    let mut wire = proxy.connect();
    for said in ["kept", "again"] {
        assert_eq!(wire.exchange(fetch(&url(&forgetful))).text(), said);
    }
}

/// As little counts the turn that another try has to wait for.
#[test]
fn the_turn_of_another_try_is_waited_for() {
    let count = AtomicUsize::new(0);
    let origin = Origin::raw(move |mut wire, seen| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            wire.request()?;
            wire.send(ok("kept"))?;
            wire.request()?.into_iter().for_each(|it| seen.keep(it));
            // Closes the connection on the second request.
            wire.stays_quiet(PACE)?;
            return Ok(());
        }
        while wire.request()?.is_some() {
            for part in [
                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n",
                "o",
                "nc",
                "e",
            ] {
                wire.stays_quiet(PACE)?;
                wire.send(part)?;
            }
        }
        Ok(())
    });
    let proxy = Proxy::start(&format!(
        "{TIMEOUTS}\nlimits: {{ connections_per_origin: 1 }}"
    ));
    let (mut first, mut second) = (proxy.connect(), proxy.connect());
    let ask = fetch(&url(&origin));
    assert_eq!(first.exchange(&ask).text(), "kept");
    first.send(&ask).unwrap();
    origin.request();
    // Is in the queue when the first one fails, a `PACE` from now, and so its turn is before the other try.
    second.send(&ask).unwrap();
    assert_eq!(second.response("GET").unwrap().text(), "once");
    assert_eq!(first.response("GET").unwrap().text(), "once");
}

#[test]
fn a_client_that_does_not_read_is_not_the_upstreams_silence() {
    const SIZE: usize = 16 << 20;
    let proxy = Proxy::start(TIMEOUTS);
    let origin = Origin::ok(&"x".repeat(SIZE));
    let mut wire = Wire::connect_narrow(proxy.address).unwrap();
    wire.send(fetch(&url(&origin))).unwrap();
    wire.read_head().unwrap();
    // Meanwhile two other upstreams are given up, one after the other, for a silence as long as this reader's.
    let silent = slow(&[]);
    for _ in 0..2 {
        assert_eq!(proxy.fetch(&url(&silent)).status(), 504);
    }
    assert_eq!(wire.read_bytes(SIZE).unwrap().len(), SIZE);
}

#[test]
fn streams_of_http2_have_the_same_patience() {
    let (silent, origin) = (
        slow(&[]),
        slow(&["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "wh", "ole"]),
    );
    let half = slow(&["HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwh"]);
    let proxy = Proxy::start(TIMEOUTS);
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let start = Instant::now();
        assert_eq!(
            client.ask(http2_request("GET", &url(&silent))).await.status,
            504
        );
        assert_in_time(start, "the answer");
        assert_eq!(
            client.ask(http2_request("GET", &url(&origin))).await.text(),
            "whole"
        );
        assert!(
            client
                .try_ask(http2_request("GET", &url(&half)))
                .await
                .is_err()
        );
    });
}
