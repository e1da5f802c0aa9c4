//! A process that has no descriptor left: clients are told when to come back, the operator once.

use std::collections::BTreeSet;

use rustix::process::{Resource, Rlimit, Signal, prlimit};

use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, connect, fetch, request_of};

/// Lowers the limit of the running proxy so far that `left` more descriptors can be opened.
fn leave(proxy: &Proxy, left: usize) {
    let directory = format!("/proc/{}/fd", proxy.id().as_raw_nonzero());
    let number = |name: std::ffi::OsString| name.to_str().unwrap().parse::<u64>().unwrap();
    let read = || -> BTreeSet<u64> {
        let entries = std::fs::read_dir(&directory).unwrap();
        entries
            .map(|entry| number(entry.unwrap().file_name()))
            .collect()
    };
    // That of a health check is open for a moment only, and its number must not count as taken.
    let open = (0..64).fold(read(), |open, _| &open & &read());
    // The limit is on the number of a descriptor, and the lowest that is free is taken.
    let limit = (0..)
        .filter(|number| !open.contains(number))
        .nth(left)
        .unwrap();
    let limit = Rlimit {
        current: Some(limit),
        maximum: prlimit_of(proxy).maximum,
    };
    prlimit(Some(proxy.id()), Resource::Nofile, limit).unwrap();
}

fn prlimit_of(proxy: &Proxy) -> Rlimit {
    let text =
        std::fs::read_to_string(format!("/proc/{}/limits", proxy.id().as_raw_nonzero())).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let numbers: Vec<_> = line
        .split_whitespace()
        .skip(3)
        .map(|word| word.parse().ok())
        .collect();
    Rlimit {
        current: numbers[0],
        maximum: numbers[1],
    }
}

fn lines(proxy: &Proxy, text: &str) -> usize {
    proxy
        .errors()
        .lines()
        .filter(|line| line.contains(text))
        .count()
}

#[test]
fn requests_get_503_and_one_line_is_logged() {
    let origin = Origin::ok("in");
    let proxy = Setup::new()
        .config(&format!(
            "gateway: {{ upstreams: [\"{}\"], health_check: {{ interval: 50ms }} }}",
            origin.address
        ))
        .start();
    let url = format!("http://{}/", origin.address);
    // What is only opened with the first request.
    assert_eq!(proxy.fetch(&url).status(), 200);
    let mut wires: Vec<_> = (0..4).map(|_| proxy.connect()).collect();
    eventually("the connections", || {
        let open = proxy.admin("/stats").text();
        open.contains("\"open_connections\": 4").then_some(())
    });
    // Accepted, and kept.
    let mut admin = Wire::connect(proxy.admin_address()).unwrap();
    let mut count_failed = || {
        let metrics = admin.exchange(format!(
            "GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n",
            proxy.admin_address()
        ));
        let failed = "tollgate_connections_rejected_total{reason=\"accept_error\"} ";
        let text = metrics.text();
        let value = text.lines().find_map(|line| line.strip_prefix(failed));
        value.map_or(0, |value| value.parse::<u64>().unwrap())
    };
    assert_eq!(count_failed(), 0);
    leave(&proxy, 0);
    let websocket = format!(
        "GET ws HTTP/1.1\r\nHost: gate\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n{}\r\n",
        crate::support::request::auth()
    )
    .replace("GET ws", "GET /ws");
    // No idle connection may be left for these: each goes where none was.
    let other = Origin::ok("other");
    let requests = [
        connect(origin.address),
        fetch(&format!("http://{}/", other.address)),
        request_of(ALICE, "GET", "/page"),
        websocket,
    ];
    for (wire, request) in wires.iter_mut().zip(&requests) {
        let answer = wire.exchange(request);
        assert_eq!(answer.status(), 503, "{request}: {}", answer.text());
        assert_eq!(answer.field("retry-after"), Some("1"), "{request}");
        assert_eq!(
            answer.field("proxy-status"),
            Some("tollgate; error=connection_limit_reached"),
            "{request}"
        );
        assert!(
            answer.text().contains("out_of_sockets"),
            "{}",
            answer.text()
        );
    }
    assert_eq!(lines(&proxy, "requests get 503"), 1, "{}", proxy.errors());
    assert!(
        proxy.errors().contains("LimitNOFILE="),
        "{}",
        proxy.errors()
    );
    assert_eq!(lines(&proxy, "defect"), 0);
    // A client that comes now waits, and is served when there is room.
    let mut late = Wire::connect(proxy.address).unwrap();
    late.send(fetch(&url)).unwrap();
    eventually("the line about accepting", || {
        (lines(&proxy, "cannot accept a connection") > 0).then_some(())
    });
    // Further tries leave no line.
    let first = count_failed();
    eventually("more tries to accept", || {
        (count_failed() > first + 5).then_some(())
    });
    assert_eq!(
        lines(&proxy, "cannot accept a connection"),
        1,
        "{}",
        proxy.errors()
    );
    // The upstream that could not be checked is what it was.
    assert_eq!(lines(&proxy, "is down"), 0, "{}", proxy.errors());
    leave(&proxy, 64);
    assert_eq!(late.response("GET").unwrap().status(), 200);
    assert_eq!(proxy.fetch(&url).status(), 200);
}

/// A tunnel that moves much takes a pipe where there is one, and does without where there is none.
#[test]
fn an_open_tunnel_needs_no_further_descriptor() {
    let echo = Origin::echo();
    let proxy = Proxy::plain();
    let mut tunnel = proxy.tunnel(echo.address);
    leave(&proxy, 0);
    let block = vec![b'x'; 1 << 20];
    for _ in 0..8 {
        let mut sender = tunnel.socket().try_clone().unwrap();
        let sent = block.clone();
        let sending =
            std::thread::spawn(move || std::io::Write::write_all(&mut sender, &sent).unwrap());
        assert_eq!(tunnel.read_bytes(block.len()).unwrap(), block);
        sending.join().unwrap();
    }
}

#[test]
fn the_soft_limit_is_raised_and_a_hard_one_that_is_too_low_is_told() {
    let low = |max_connections: usize| {
        let proxy = Proxy::start(&format!("limits: {{ max_connections: {max_connections} }}"));
        let limit = prlimit_of(&proxy);
        assert_eq!(limit.current, limit.maximum);
        proxy
    };
    assert_eq!(lines(&low(10), "LimitNOFILE="), 0);
    let proxy = low(10_000_000);
    eventually("the line about the limit", || {
        (lines(&proxy, "LimitNOFILE=") == 1).then_some(())
    });
}

/// The files are not broken: it is this process that cannot open them.
#[test]
fn a_reload_without_a_descriptor_says_so_and_when_to_come_back() {
    let proxy = Proxy::plain();
    let mut wire = Wire::connect(proxy.admin_address()).unwrap();
    let request = |method: &str, path: &str| {
        let host = proxy.admin_address();
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    };
    // Accepted, and kept.
    assert_eq!(wire.exchange(request("GET", "/stats")).status(), 200);
    leave(&proxy, 0);
    let answer = wire.exchange(request("POST", "/reload"));
    assert_eq!(answer.status(), 503, "{}", answer.text());
    assert_eq!(answer.field("retry-after"), Some("1"));
    let said = "no file descriptor left to read the files with";
    assert!(answer.text().contains(said), "{}", answer.text());
    assert_eq!(lines(&proxy, "broken"), 0, "{}", proxy.errors());
    leave(&proxy, 64);
    assert_eq!(wire.exchange(request("POST", "/reload")).status(), 200);
}

/// After its file was renamed the log goes on in the old one, and in the new one as soon as that can be made.
#[test]
fn a_log_is_reopened_once_there_is_a_descriptor() {
    let proxy = Proxy::plain();
    proxy.fetch("http://127.0.0.1:1/");
    proxy.wait_records(1);
    std::fs::rename(proxy.path("access.log"), proxy.path("access.log.1")).unwrap();
    leave(&proxy, 0);
    proxy.signal(Signal::USR1);
    eventually("the line about the log", || {
        (lines(&proxy, "cannot reopen") > 0).then_some(())
    });
    leave(&proxy, 64);
    eventually("a record in the new file", || {
        proxy.fetch("http://127.0.0.1:1/");
        proxy.path("access.log").exists().then_some(())
    });
    assert_eq!(lines(&proxy, "cannot reopen"), 1, "{}", proxy.errors());
    assert!(!proxy.errors().contains("os error"), "{}", proxy.errors());
}
