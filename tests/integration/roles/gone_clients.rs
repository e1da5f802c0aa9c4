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
