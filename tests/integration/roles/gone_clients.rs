//! Clients that reset their connection while they wait: what was done for them ends at once, in every role.

use std::io::Read;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::dns::Dns;
use crate::support::http2::{Client, request, run};
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{auth, connect, fetch};
use crate::support::{DEADLINE, eventually};

/// Far less than any time-out that would end it otherwise.
const SOON: Duration = Duration::from_secs(5);

/// Never answers; tells when a request is there, and when its connection has ended.
fn silent() -> (Origin, mpsc::Receiver<()>) {
    let (tell, told) = mpsc::channel();
    let origin = Origin::raw(move |mut wire, _| {
        if wire.read_head().is_err() {
            return Ok(());
        }
        tell.send(()).unwrap();
        // An error is an end as well.
        let _ = wire.socket().read_to_end(&mut Vec::new());
        tell.send(()).unwrap();
        Ok(())
    });
    (origin, told)
}

fn patient(yaml: &str) -> Proxy {
    Setup::new()
        .config("timeouts: { response: 10m, connect: 1m }")
        .config(yaml)
        .start()
}

#[test]
fn request_at_the_origin_ends() {
    let (origin, told) = silent();
    let proxy = patient(&format!(
        "gateway: {{ upstreams: [\"{}\"], health_check: {{ interval: 1h }} }}",
        origin.address
    ));
    let (host, auth) = (origin.address, auth());
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let url = format!("http://{host}/");
    for request in [
        fetch(&url),
        format!("GET / HTTP/1.1\r\nHost: gate\r\n{auth}\r\n"),
        format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n{auth}{upgrade}\r\n"),
        format!("GET / HTTP/1.1\r\nHost: gate\r\n{auth}{upgrade}\r\n"),
    ] {
        let before = proxy.records().len();
        let mut wire = proxy.connect();
        wire.send(&request).unwrap();
        told.recv_timeout(DEADLINE).unwrap();
        let begun = Instant::now();
        wire.reset();
        told.recv_timeout(DEADLINE).unwrap();
        let record = proxy.wait_records(before + 1).remove(before);
        assert!(begun.elapsed() < SOON, "{request}: {:?}", begun.elapsed());
        assert_eq!(record["error"], "client_gone", "{request}: {record}");
        assert!(
            record.get("status").is_none_or(|status| status.is_null()),
            "{record}"
        );
    }
}

/// A closed socket looks like one whose client has only ended its side: `nc -N` waits for its answer like that.
#[test]
fn client_that_has_ended_its_side_is_waited_for_in_bounds() {
    let (held, release) = Origin::held();
    let (silent, told) = silent();
    let proxy = patient("timeouts: { half_closed: 1s }");
    let mut there = proxy.connect();
    there
        .send(fetch(&format!("http://{}/", held.address)))
        .unwrap();
    there.finish().unwrap();
    held.request();
    release.send(()).unwrap();
    assert_eq!(there.response("GET").unwrap().status(), 200);
    proxy.wait_records(1);

    let host = silent.address;
    for request in [
        fetch(&format!("http://{host}/")),
        format!(
            "GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            auth()
        ),
    ] {
        let before = proxy.records().len();
        let mut gone = proxy.connect();
        gone.send(request).unwrap();
        told.recv_timeout(DEADLINE).unwrap();
        let begun = Instant::now();
        gone.finish().unwrap();
        told.recv_timeout(DEADLINE).unwrap();
        let took = begun.elapsed();
        assert!(
            (Duration::from_millis(900)..SOON).contains(&took),
            "{took:?}"
        );
        let record = proxy.wait_records(before + 1).remove(before);
        assert_eq!(record["error"], "client_gone", "{record}");
    }
}

/// Once its answer has begun, it reads as slowly as the origin sends.
#[test]
fn client_that_has_ended_its_side_gets_a_slow_answer_whole() {
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let may_go_on = std::sync::Mutex::new(may_go_on);
    let origin = Origin::raw(move |mut wire, _| {
        wire.read_head()?;
        let may_go_on = may_go_on.lock().unwrap();
        may_go_on.recv().unwrap();
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")?;
        may_go_on.recv().unwrap();
        wire.send("cd")
    });
    let proxy = patient("timeouts: { half_closed: 500ms }");
    let mut wire = proxy.connect();
    wire.send(fetch(&format!("http://{}/", origin.address)))
        .unwrap();
    wire.finish().unwrap();
    go_on.send(()).unwrap();
    assert_eq!(wire.read_head().unwrap().unwrap().status(), 200);
    assert_eq!(wire.read_bytes(2).unwrap(), b"ab");
    // The time that it had until its answer began, twice.
    let patience = Instant::now() + Duration::from_secs(1);
    eventually("more than its patience", || {
        (Instant::now() > patience).then_some(())
    });
    go_on.send(()).unwrap();
    assert_eq!(wire.read_bytes(2).unwrap(), b"cd");
}

#[test]
fn tunnel_that_opens_for_nobody_ends() {
    let dns = Dns::silent();
    let proxy = patient(&format!(
        "dns: {{ servers: [\"{}\"], timeout: 1m }}",
        dns.address
    ));
    let looked_up = |count| eventually("a look-up", || (dns.asked() >= count).then_some(()));
    let mut wire = proxy.connect();
    wire.send(connect("one.test:443")).unwrap();
    looked_up(1);
    let begun = Instant::now();
    wire.reset();
    let record = proxy.wait_records(1).remove(0);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(record["error"], "client_gone", "{record}");

    let before = dns.asked();
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let (answer, mut stream) = client.open(request("CONNECT", "two.test:443"), false).await;
        looked_up(before + 1);
        stream.send_reset(h2::Reason::CANCEL);
        drop(answer);
        let record = proxy.wait_records(2).remove(1);
        assert_eq!(record["error"], "client_gone", "{record}");
    });
}
