//! Threads that do not share their work, which is the default.

use std::collections::HashSet;
use std::sync::Barrier;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::client::Wire;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{credentials, fetch};
use crate::support::{DEADLINE, eventually};

#[test]
fn threads_that_share_nothing_serve_everything() {
    const CLIENTS: usize = 30;
    // It answers the first requests once all of them are there.
    let together = Barrier::new(CLIENTS);
    let web = Origin::http(move |request| {
        let path = request.head.target();
        if path.starts_with("/0/") {
            together.wait();
        }
        ok(path)
    });
    let echo = Origin::echo();
    let mut proxy = Setup::new().server("threads: 3").start();
    let mut clients: Vec<Wire> = (0..CLIENTS).map(|_| proxy.connect()).collect();
    let request = |path: &str| fetch(&format!("http://{}{path}", web.address));
    for (number, wire) in clients.iter_mut().enumerate() {
        wire.send(request(&format!("/0/{number}"))).unwrap();
    }
    for (number, wire) in clients.iter_mut().enumerate() {
        let answer = wire.response("GET").unwrap();
        assert_eq!(
            (answer.status(), answer.text()),
            (200, format!("/0/{number}"))
        );
    }
    // Each thread has connections of its own by now, and uses them again.
    for round in 1..3 {
        for (number, wire) in clients.iter_mut().enumerate() {
            let path = format!("/{round}/{number}");
            let answer = wire.exchange(request(&path));
            assert_eq!((answer.status(), answer.text()), (200, path));
        }
    }
    assert_eq!(web.connections(), CLIENTS);
    let mut tunnels: Vec<Wire> = (0..CLIENTS).map(|_| proxy.tunnel(echo.address)).collect();
    for wire in &mut tunnels {
        wire.send("ping").unwrap();
        assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
    }
    drop((tunnels, clients));
    let records = proxy.wait_records(120);
    let ids: HashSet<_> = records
        .iter()
        .map(|record| record["request_id"].to_string())
        .collect();
    assert_eq!(ids.len(), 120);
    proxy.signal(Signal::TERM);
    assert!(proxy.wait_exit(DEADLINE).success());
}

/// Takes a second or so to verify anything against.
const SLOW_HASH: &str = "$argon2id$v=19$m=65536,t=16,p=1$hM1fxCUyV6MA+9CHSnPRyg$UgpqhQ91hJJj2hahuM7r8P9R3CtaoNrezlU3q7gyMWY";

/// They hash passwords, and end a second after the last one, not after the ten that are the default.
#[test]
fn threads_for_calls_that_block_are_limited_and_end() {
    const HASHES: usize = 4;
    // The limit is that of each thread.
    for (threads, limit, most) in [
        (1, "", HASHES),
        (1, "max_blocking_threads: 1\n", 1),
        (2, "max_blocking_threads: 1\n", 2),
    ] {
        let proxy = Setup::new()
            .file("users.htpasswd", format!("slow:{SLOW_HASH}\n"))
            .server(&format!(
                "threads: {threads}\n{limit}blocking_threads_ttl_seconds: 1"
            ))
            .config(&format!("auth: {{ hash_threads: {HASHES} }}"))
            .start();
        // As Tokio names them.
        let blocking = || {
            let names = proxy.threads();
            names
                .iter()
                .filter(|name| *name == "tokio-rt-worker")
                .count()
        };
        let (answered, answers) = channel();
        for number in 0..HASHES {
            let (mut wire, answered) = (proxy.connect(), answered.clone());
            let credentials = credentials(("slow", &format!("wrong-{number}")));
            std::thread::spawn(move || {
                let ask = format!("GET / HTTP/1.1\r\nHost: gate\r\n{credentials}\r\n");
                answered.send(wire.exchange(ask).status()).unwrap();
            });
        }
        drop(answered);
        let mut peak = 0;
        let mut statuses = Vec::new();
        eventually("every answer", || {
            peak = peak.max(blocking());
            statuses.extend(answers.try_iter());
            (statuses.len() == HASHES).then_some(())
        });
        assert_eq!((statuses, peak), (vec![407; HASHES], most));
        let begun = Instant::now();
        eventually("the threads to end", || (blocking() == 0).then_some(()));
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(8), "{took:?}");
    }
}

/// Memory of many small pieces is not rounded up to 2 MiB.
#[test]
fn huge_pages_are_off() {
    let proxy = Proxy::plain();
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", proxy.id().as_raw_nonzero())).unwrap();
    let enabled = status
        .lines()
        .find_map(|line| line.strip_prefix("THP_enabled:"));
    // Older kernels do not say.
    assert!(
        enabled.is_none_or(|enabled| enabled.trim() == "0"),
        "{enabled:?}"
    );
}
