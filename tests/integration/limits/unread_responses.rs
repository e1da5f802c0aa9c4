//! Clients that ask and never read: what small answers pile up to is bounded by the time for
//! sending, as a large body is.

use std::time::{Duration, Instant};

use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::auth;

/// More than a connection's buffers hold at both ends.
const PILE: usize = 12 << 20;

/// Sends `request` again and again without reading, until the answers (of at least `size` bytes
/// each) must fill every buffer on the way, and waits until the proxy gives the client up.
/// Returns the proxy's records.
fn pile_up(proxy: &Proxy, request: &str, size: usize) -> Vec<serde_json::Value> {
    let mut wire = Wire::connect_narrow(proxy.address).unwrap();
    let mut writer = wire.socket().try_clone().unwrap();
    let requests = request.repeat(PILE / size);
    let start = Instant::now();
    let sending = std::thread::spawn(move || {
        // Ends when all is sent, or when the proxy has closed.
        let _refused = std::io::Write::write_all(&mut writer, requests.as_bytes());
    });
    eventually("connections", || (count_open(proxy) == 1).then_some(()));
    eventually("the client to be given up", || {
        (count_open(proxy) == 0).then_some(())
    });
    assert!(
        start.elapsed() > Duration::from_millis(900),
        "{:?}: before its time",
        start.elapsed()
    );
    // What it has not taken by then is gone, and so is the connection.
    wire.rest();
    sending.join().unwrap();
    proxy.records()
}

fn count_open(proxy: &Proxy) -> usize {
    let metrics = proxy.admin("/metrics").text();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("tollgate_open_connections "));
    line.unwrap().parse().unwrap()
}

/// The longest keep-alive, so that only the time for sending can end a connection.
const SEND: &str = "timeouts: { send: 1s, keep_alive: 1h, request_head: 5m, request_body: 5m }";

/// Checks what became of answers that an origin gives without a body.
fn check_origin(method: &str, head: &str) {
    let proxy = Proxy::start(SEND);
    let pad = "p".repeat(6000);
    let answer = format!("HTTP/1.1 {head}X-Pad: {pad}\r\n\r\n");
    let origin = Origin::fixed(answer.as_str());
    let request = format!(
        "{method} http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}\r\n",
        origin.address,
        auth()
    );
    let records = pile_up(&proxy, &request, pad.len());
    let (last, before) = records.split_last().unwrap();
    assert!(!before.is_empty() && records.len() < PILE / pad.len());
    for record in before {
        assert!(record.get("error").is_none(), "{record}");
    }
    assert_eq!(last["error"], "client_gone", "{last}");
    assert_eq!(records.len(), origin.requests().len(), "a record for each");
}

#[test]
fn unread_answers_to_head_end_the_connection() {
    check_origin("HEAD", "200 OK\r\nContent-Length: 999\r\n");
}

#[test]
fn unread_304_end_the_connection() {
    check_origin("GET", "304 Not Modified\r\nETag: \"a\"\r\n");
}

#[test]
fn unread_204_end_the_connection() {
    check_origin("GET", "204 No Content\r\n");
}

#[test]
fn unread_refusals_end_the_connection() {
    // No CONNECT: bytes behind a refused one close the connection at once.
    for (target, status) in [("/", 401), ("http://127.0.0.1:1/", 407)] {
        let proxy = Proxy::start(SEND);
        let request = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n");
        let records = pile_up(&proxy, &request, 300);
        assert!(records.len() > 1 && records.len() < PILE / 300, "{target}");
        for record in &records {
            assert_eq!(record["status"], status, "{record}");
        }
    }
}

#[test]
fn unread_small_answers_end_the_connection() {
    let proxy = Proxy::start(SEND);
    let body = "b".repeat(4000);
    let origin = Origin::fixed(ok(&body));
    let request = format!(
        "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}\r\n",
        origin.address,
        auth()
    );
    let records = pile_up(&proxy, &request, body.len());
    assert!(records.len() > 1 && records.len() < PILE / body.len());
    assert_eq!(records.last().unwrap()["error"], "client_gone");
}

/// A reader that is slow but reads is none that stalls: any byte begins the wait anew.
#[test]
fn slow_reader_of_small_answers_gets_all() {
    const ANSWERS: usize = 1500;
    let proxy = Proxy::start("timeouts: { send: 2s }");
    let origin = Origin::fixed(ok("b".repeat(6000)));
    let request = format!(
        "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}\r\n",
        origin.address,
        auth()
    );
    let mut wire = Wire::connect_narrow(proxy.address).unwrap();
    let mut writer = wire.socket().try_clone().unwrap();
    let requests = request.repeat(ANSWERS);
    let sending =
        std::thread::spawn(move || std::io::Write::write_all(&mut writer, requests.as_bytes()));
    let mut numbers = 0..ANSWERS;
    let mut read_one = || {
        let number = numbers.next()?;
        assert_eq!(wire.response("GET").unwrap().body.len(), 6000, "{number}");
        Some(number)
    };
    // Time is what this is about: two clients that read nothing are given up meanwhile, one after the other.
    for _ in 0..2 {
        let mut stalled = Wire::connect_narrow(proxy.address).unwrap();
        let mut writer = stalled.socket().try_clone().unwrap();
        let requests = request.repeat(PILE / 6000);
        let piling = std::thread::spawn(move || {
            // Ends when the proxy has closed.
            let _refused = std::io::Write::write_all(&mut writer, requests.as_bytes());
        });
        eventually("the one that stalls", || {
            read_one().expect("answers are left");
            (count_open(&proxy) == 2).then_some(())
        });
        eventually("the one that stalls to be given up", || {
            read_one().expect("answers are left");
            (count_open(&proxy) == 1).then_some(())
        });
        stalled.rest();
        piling.join().unwrap();
    }
    while read_one().is_some() {}
    sending.join().unwrap().unwrap();
}
