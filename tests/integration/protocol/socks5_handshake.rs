//! Clients of SOCKS5 that stop, break off or talk nonsense at each step: an answer within the time for a head, and nothing
//! that stays open.

use std::time::{Duration, Instant};

use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::ALICE;
use crate::support::socks5::{self, BOTH, CONNECT, LOGIN, address, login, reply};

const HEAD_LIMIT: Duration = Duration::from_millis(400);

fn proxy(word: &str) -> Proxy {
    socks5::setup(word)
        .config("timeouts: { request_head: 400ms }")
        .start()
}

/// The messages of a client, and the answer to each when it never ends or makes no sense.
fn steps() -> [(Vec<u8>, Vec<u8>, &'static [u8]); 3] {
    let target = address(CONNECT, "127.0.0.1:9".parse().unwrap());
    let failed: &[u8] = &[5, 1, 0, 1, 0, 0, 0, 0, 0, 0];
    [
        (Vec::new(), BOTH.to_vec(), &[5, 0xff]),
        (vec![5, 2], login(ALICE), &[1, 1]),
        (vec![1, 0], target, failed),
    ]
}

/// Goes up to the step with this number.
fn reach(proxy: &Proxy, step: usize) -> Wire {
    let mut wire = proxy.connect();
    let steps = steps();
    for number in 0..step {
        wire.send(&steps[number].1).unwrap();
        let answer = &steps[number + 1].0;
        assert_eq!(&wire.read_bytes(answer.len()).unwrap(), answer);
    }
    wire
}

fn assert_nothing_is_left(proxy: &Proxy) {
    eventually("all connections to end", || {
        (proxy.metric("tollgate_open_connections") == 0).then_some(())
    });
}

#[test]
fn a_client_that_stops_is_answered_in_time() {
    for word in ["only", "also"] {
        let proxy = proxy(word);
        let mut expected = 0;
        for (step, (_, message, answer)) in (0..).zip(steps()) {
            for sent in [0, 1, message.len() - 1] {
                let begun = Instant::now();
                let mut wire = reach(&proxy, step);
                wire.send(&message[..sent]).unwrap();
                let rest = wire.rest();
                let took = begun.elapsed();
                assert!(took < HEAD_LIMIT * 10, "{took:?} at {step}");
                if (step, sent) == (0, 0) {
                    // It has not begun, as a connection without a request.
                    assert_eq!(rest, b"", "{word}");
                    continue;
                }
                assert!(took >= HEAD_LIMIT, "{took:?} at {step}");
                assert_eq!(rest, answer, "{word} {step} {sent}");
                expected += 1;
                let records = proxy.wait_records(expected);
                let record = &records[expected - 1];
                assert_eq!(record["error"], "http_request_timeout", "{record}");
                assert_eq!(record["status"], 408, "{record}");
            }
        }
        assert_nothing_is_left(&proxy);
    }
}

/// A byte now and then does not buy time.
#[test]
fn the_time_is_that_of_the_whole_handshake() {
    let proxy = proxy("only");
    let begun = Instant::now();
    let mut wire = proxy.connect();
    wire.send(LOGIN).unwrap();
    assert_eq!(wire.read_bytes(2).unwrap(), [5, 2]);
    for byte in login(("alice", &"x".repeat(200))) {
        if wire.hears_within(HEAD_LIMIT / 20).unwrap() || wire.send([byte]).is_err() {
            break;
        }
    }
    assert_eq!(wire.rest(), [1, 1]);
    assert!(begun.elapsed() < HEAD_LIMIT * 5, "{:?}", begun.elapsed());
    assert_nothing_is_left(&proxy);
}

#[test]
fn a_client_that_breaks_off_leaves_nothing() {
    let proxy = proxy("only");
    for (step, (_, message, _)) in (0..).zip(steps()) {
        for sent in [0, 1, message.len() - 1] {
            let mut wire = reach(&proxy, step);
            wire.send(&message[..sent]).unwrap();
            wire.reset();
            let mut wire = reach(&proxy, step);
            wire.send(&message[..sent]).unwrap();
            wire.finish().unwrap();
            // It has ended in the middle of a message: nobody waits for an answer.
            wire.assert_closed();
        }
    }
    assert_nothing_is_left(&proxy);
    assert_eq!(proxy.records().len(), 0, "{:#?}", proxy.records());
}

#[test]
fn nonsense_is_refused_at_each_step() {
    let proxy = proxy("only");
    for (step, (_, _, answer)) in (0..).zip(steps()).skip(1) {
        for nonsense in [
            &b"\x00\x00"[..],
            b"GET / HTTP/1.1\r\n\r\n",
            b"\xff\xff\xff\xff",
            b"\x04\x01",
        ] {
            let mut wire = reach(&proxy, step);
            wire.send(nonsense).unwrap();
            assert_eq!(wire.rest(), answer, "{step} {}", nonsense.escape_ascii());
        }
    }
    // Long, and longer than what is read at once.
    let mut wire = reach(&proxy, 2);
    let _sent = wire.send(vec![b'x'; 1_000_000]);
    assert!(steps()[2].2.starts_with(&wire.rest()));
    assert_nothing_is_left(&proxy);
}

#[test]
fn one_byte_at_a_time_is_the_same() {
    let proxy = socks5::setup("also").start();
    let echo = Origin::echo();
    let mut wire = proxy.connect();
    let all = [
        LOGIN,
        &login(ALICE),
        &address(CONNECT, echo.address),
        b"first",
    ]
    .concat();
    for byte in all {
        wire.send([byte]).unwrap();
    }
    assert_eq!(wire.read_bytes(4).unwrap(), [5, 2, 1, 0]);
    assert_eq!(reply(&mut wire).unwrap().0, 0);
    assert_eq!(wire.read_bytes(5).unwrap(), b"first");
}

#[test]
fn another_protocol_is_told_so() {
    for (word, http) in [("only", 400), ("also", 407)] {
        let proxy = proxy(word);
        let answer = proxy.exchange("GET http://h.test/ HTTP/1.1\r\nHost: h.test\r\n\r\n");
        assert_eq!(answer.status(), http, "{}", answer.text());
        assert_eq!(
            answer.text().contains("SOCKS5"),
            word == "only",
            "{}",
            answer.text()
        );
        let mut wire = proxy.connect();
        wire.send(b"\x04\x01\x00\x50\x7f\x00\x00\x01user\x00")
            .unwrap();
        assert_eq!(wire.rest(), [0, 0x5b, 0, 0, 0, 0, 0, 0], "{word}");
        proxy.record("SOCKS4", |record| {
            record["error"] == "wrong_protocol_socks4"
        });
        let expects = match word {
            "only" => {
                "a SOCKS4 request, where the listener expects SOCKS5; have the client use SOCKS5"
            }
            _ => "a SOCKS4 request, where the listener expects plain HTTP or SOCKS5; have",
        };
        eventually("a line about SOCKS4", || {
            proxy.errors().contains(expects).then_some(())
        });
    }
}
