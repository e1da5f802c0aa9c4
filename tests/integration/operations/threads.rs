//! Threads that do not share their work, which is the default.

use std::collections::HashSet;

use rustix::process::Signal;

use crate::support::DEADLINE;
use crate::support::client::Wire;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::proxy::Setup;
use crate::support::request::fetch;

#[test]
fn threads_that_share_nothing_serve_everything() {
    const THREADS: usize = 3;
    let web = Origin::http(|request| ok(request.head.target()));
    let echo = Origin::echo();
    let mut proxy = Setup::new().server(&format!("threads: {THREADS}")).start();
    let mut clients: Vec<Wire> = (0..30).map(|_| proxy.connect()).collect();
    for round in 0..3 {
        for (number, wire) in clients.iter_mut().enumerate() {
            let path = format!("/{round}/{number}");
            let answer = wire.exchange(fetch(&format!("http://{}{path}", web.address)));
            assert_eq!(
                (answer.status(), answer.text().as_str()),
                (200, path.as_str())
            );
        }
    }
    // Each thread has one of its own at least, and all of them use theirs again.
    let connections = web.connections();
    assert!((THREADS..60).contains(&connections), "{connections}");
    let mut tunnels: Vec<Wire> = (0..30).map(|_| proxy.tunnel(echo.address)).collect();
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
