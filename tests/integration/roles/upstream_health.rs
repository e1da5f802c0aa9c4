//! Which upstreams of the pool get requests: what health checks say, what requests meet, and what is tried when nothing
//! is left.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::message::{ok, response};
use crate::support::origin::Origin;
use crate::support::port::Port;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::auth;

fn pool(addresses: &[SocketAddr], more: &str) -> Proxy {
    let list: Vec<_> = addresses
        .iter()
        .map(|address| format!("\"{address}\""))
        .collect();
    let yaml = format!("gateway:\n  upstreams: [{}]\n{more}", list.join(", "));
    Setup::new()
        .config(&yaml)
        .config("timeouts: { response: 200ms }")
        .start()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth())
}

fn is_up(proxy: &Proxy, upstream: &Origin) -> u64 {
    proxy.metric(&format!(
        "tollgate_upstream_up{{upstream=\"{}\"}}",
        upstream.address
    ))
}

/// Answers each health check with the next of these statuses, then with the last one; everything else with its name.
fn checked(name: &'static str, statuses: &'static [&str]) -> (Origin, Arc<AtomicUsize>) {
    let checks = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&checks);
    let origin = Origin::http(move |request| {
        if request.head.target() != "/up" {
            return ok(name);
        }
        assert_eq!(request.head.fields.all("host"), ["health.test"]);
        let number = count.fetch_add(1, Ordering::SeqCst);
        response(statuses[number.min(statuses.len() - 1)], "", "")
    });
    (origin, checks)
}

const CHECK: &str =
    "  health_check: { interval: 50ms, path: /up, host: health.test, status: 200-299";

#[test]
fn the_status_of_a_check_counts() {
    let (good, _) = checked("good", &["204 No Content"]);
    let (bad, _) = checked("bad", &["503 Service Unavailable"; 40]);
    let proxy = pool(&[good.address, bad.address], &format!("{CHECK} }}\n"));
    let down = format!(
        "upstream {} is down: GET /up: status 503; 1 of 2 are up",
        bad.address
    );
    eventually("the line of the upstream that is down", || {
        proxy.errors().contains(&down).then_some(())
    });
    assert_eq!((is_up(&proxy, &good), is_up(&proxy, &bad)), (1, 0));
    let mut wire = proxy.connect();
    for _ in 0..6 {
        assert_eq!(wire.exchange(get("/")).text(), "good");
    }
}

#[test]
fn an_upstream_rises_and_falls_after_checks_in_a_row() {
    // Twice in a row is not three times; then three times, and one good check is not two.
    const STATUSES: [&str; 10] = [
        "200 OK", "500 E", "500 E", "200 OK", "500 E", "500 E", "500 E", "200 OK", "500 E",
        "200 OK",
    ];
    let (origin, checks) = checked("in", &STATUSES);
    let proxy = pool(
        &[origin.address],
        &format!("{CHECK}, rise: 2, fall: 3 }}\n"),
    );
    let lines = |part: &str| proxy.errors().matches(part).count();
    eventually("the upstream to be up again", || {
        (lines("is up;") == 1).then_some(())
    });
    assert_eq!(lines("is down:"), 1, "{}", proxy.errors());
    assert!(checks.load(Ordering::SeqCst) >= 11);
    assert_eq!(is_up(&proxy, &origin), 1);
}

#[test]
fn a_silent_upstream_is_ejected() {
    let (good, silent) = (Origin::ok("good"), Origin::deaf());
    let proxy = pool(
        &[good.address, silent.address],
        "  ejection: { failures: 2, time: 1h }\n",
    );
    let statuses: Vec<u16> = (0..10).map(|_| proxy.exchange(get("/")).status()).collect();
    let silent_ones = statuses.iter().filter(|status| **status == 504).count();
    assert_eq!(silent_ones, 2, "{statuses:?}");
    assert!(
        statuses.iter().all(|status| [200, 504].contains(status)),
        "{statuses:?}"
    );
    let line = format!("upstream {} gets no requests for 3600s", silent.address);
    assert!(proxy.errors().contains(&line), "{}", proxy.errors());
    assert_eq!((is_up(&proxy, &good), is_up(&proxy, &silent)), (1, 0));
}

/// Ends the first connections that bring a request without an answer.
fn dropping(first: usize) -> Origin {
    let requests = AtomicUsize::new(0);
    Origin::raw(move |mut wire: Wire, _| {
        while wire.request()?.is_some() {
            if requests.fetch_add(1, Ordering::SeqCst) < first {
                return Ok(());
            }
            wire.send(ok("back"))?;
        }
        Ok(())
    })
}

#[test]
fn an_ejected_upstream_returns() {
    let origin = dropping(2);
    let proxy = pool(&[origin.address], "  ejection: { failures: 2, time: 1h }\n");
    for _ in 0..2 {
        assert_eq!(proxy.exchange(get("/")).status(), 502);
    }
    assert_eq!(is_up(&proxy, &origin), 0);
    // It is the only one, so it is tried all the same, and answers.
    assert_eq!(proxy.exchange(get("/")).text(), "back");
    assert_eq!(is_up(&proxy, &origin), 1);

    let (good, late) = (Origin::ok("good"), dropping(1));
    let proxy = pool(
        &[good.address, late.address],
        "  ejection: { failures: 1, time: 200ms }\n",
    );
    let mut wire = proxy.connect();
    for _ in 0..2 {
        assert_eq!(wire.exchange(get("/")).text(), "good");
    }
    eventually("the upstream to get requests again", || {
        (wire.exchange(get("/")).text() == "back").then_some(())
    });
    assert_eq!(is_up(&proxy, &late), 1);
}

/// Failures count in a row: an answer begins the count anew.
#[test]
fn an_upstream_that_fails_now_and_then_is_not_ejected() {
    let requests = AtomicUsize::new(0);
    let origin = Origin::raw(move |mut wire: Wire, _| {
        if wire.request()?.is_some() && requests.fetch_add(1, Ordering::SeqCst) % 2 == 1 {
            wire.send(response("200 OK", "Connection: close\r\n", "in"))?;
        }
        Ok(())
    });
    let more = "  ejection: { failures: 2, time: 1h }\n";
    let proxy = pool(&[origin.address], more);
    for _ in 0..4 {
        assert_eq!(proxy.exchange(get("/")).status(), 502);
        assert_eq!(proxy.exchange(get("/")).status(), 200);
        assert_eq!(is_up(&proxy, &origin), 1);
    }
    assert!(
        !proxy.errors().contains("gets no requests"),
        "{}",
        proxy.errors()
    );
}

#[test]
fn what_can_be_repeated_is_tried_at_the_next_upstream() {
    let (good, bad) = (Origin::ok("good"), dropping(usize::MAX));
    let proxy = pool(
        &[good.address, bad.address],
        "  ejection: { failures: 0 }\n",
    );
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        for _ in 0..4 {
            let request = get("/").replacen("GET", method, 1);
            let answer = proxy.connect();
            let mut wire = answer;
            wire.send(request).unwrap();
            assert_eq!(wire.response(method).unwrap().status(), 200, "{method}");
        }
    }
    let body = get("/")
        .replacen("GET", "POST", 1)
        .replace("Host", "Content-Length: 0\r\nHost");
    let statuses: Vec<u16> = (0..4).map(|_| proxy.exchange(&body).status()).collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 502).count(),
        2,
        "{statuses:?}"
    );
}

#[test]
fn when_all_are_down_one_is_tried_all_the_same() {
    let port = Port::reserve();
    let proxy = pool(
        &[port.address],
        "  health_check: { interval: 1h, fall: 1 }\n",
    );
    eventually("the upstream to be down", || {
        proxy.errors().contains("is down").then_some(())
    });
    let (answer, record) = proxy.ask(get("/"));
    assert_eq!(
        (answer.status(), &record["error"]),
        (502, &"connection_refused".into())
    );
    let origin = Origin::bind(&port.address.to_string(), |mut wire, _| {
        while wire.request()?.is_some() {
            wire.send(ok("back"))?;
        }
        Ok(())
    });
    assert_eq!(proxy.exchange(get("/")).text(), "back");
    drop(origin);
}
