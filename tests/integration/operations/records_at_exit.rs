//! What is left in the log of a process that was told to end while work went on.

use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::client::Wire;
use crate::support::origin::Origin;
use crate::support::proxy::Proxy;
use crate::support::request::{auth, connect, fetch};
use crate::support::{DEADLINE, allow_many_connections, eventually};

/// Far shorter than the drain of those tests in which it must be cut short.
const SOON: Duration = Duration::from_secs(8);

/// One of each kind of work that does not end by itself.
struct Work {
    unanswered: Wire,
    half_answered: Wire,
    half_sent: Wire,
    upgraded: Wire,
    tunnel: Wire,
    gone_after: (Origin, Origin, Origin, Origin),
}

/// Says those bytes after a request's head and then waits for the end.
fn origin_saying(bytes: &'static str) -> Origin {
    Origin::raw(move |mut wire, _| {
        wire.read_head()?;
        wire.send(bytes)?;
        wire.read_to_end().map(drop)
    })
}

impl Work {
    fn begin(proxy: &Proxy) -> Self {
        let silent = origin_saying("");
        let half = origin_saying("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf");
        let switching = origin_saying(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        let echo = Origin::echo();
        let url = |origin: &Origin, path: &str| format!("http://{}/{path}", origin.address);

        let mut unanswered = proxy.connect();
        unanswered.send(fetch(&url(&silent, "unanswered"))).unwrap();
        let mut half_sent = proxy.connect();
        half_sent
            .send(format!(
                "POST {} HTTP/1.1\r\nHost: {}\r\n{}Content-Length: 10\r\n\r\nhalf",
                url(&silent, "half-sent"),
                silent.address,
                auth()
            ))
            .unwrap();
        silent.wait_connections(2);

        let mut half_answered = proxy.connect();
        half_answered
            .send(fetch(&url(&half, "half-answered")))
            .unwrap();
        half_answered.read_head().unwrap().unwrap();
        assert_eq!(half_answered.read_until(b"half").unwrap(), b"4\r\nhalf");

        let mut upgraded = proxy.connect();
        let answer = upgraded.exchange(format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\n{}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            url(&switching, "upgraded"),
            switching.address,
            auth()
        ));
        assert_eq!(answer.status(), 101);

        let mut tunnel = proxy.tunnel(echo.address);
        tunnel.send("ping").unwrap();
        assert_eq!(tunnel.read_bytes(4).unwrap(), b"ping");
        Self {
            unanswered,
            half_answered,
            half_sent,
            upgraded,
            tunnel,
            gone_after: (silent, half, switching, echo),
        }
    }

    /// Checks that every connection has ended, at both ends.
    fn assert_ended(mut self) {
        let unanswered = self.unanswered.rest();
        let unanswered = String::from_utf8_lossy(&unanswered);
        assert!(!unanswered.starts_with("HTTP/1.1 2"), "{unanswered}");
        self.half_sent.rest();
        let half = String::from_utf8_lossy(&self.half_answered.rest()).into_owned();
        assert_eq!(half.trim(), "", "half an answer stays half");
        assert_eq!(self.upgraded.rest(), b"");
        assert_eq!(self.tunnel.rest(), b"");
        let (silent, half, switching, echo) = &self.gone_after;
        for origin in [silent, half, switching, echo] {
            origin.wait_all_closed();
        }
    }
}

/// Checks that the log of a process that has ended holds one record of each kind.
fn assert_records(proxy: &Proxy) {
    let records = proxy.records();
    let shown = format!("{records:#?}\n{}", proxy.errors());
    let of = |path: &str| -> &Value {
        let found: Vec<_> = records
            .iter()
            .filter(|record| record["target"].as_str().unwrap().ends_with(path))
            .collect();
        assert_eq!(found.len(), 1, "{path}: {shown}");
        assert_eq!(found[0]["user"], "alice", "{shown}");
        found[0]
    };
    assert_eq!(records.len(), 5, "{shown}");
    for path in ["/unanswered", "/half-sent"] {
        let record = of(path);
        assert_eq!(record["event"], "request", "{shown}");
        assert!(record["error"].is_string(), "{path}: {shown}");
        assert_ne!(record["status"], 200, "{path}: {shown}");
    }
    let half = of("/half-answered");
    assert_eq!(half["status"], 200, "{shown}");
    assert_eq!(half["bytes_to_client"], 4, "{shown}");
    assert!(half["error"].is_string(), "it was not whole: {shown}");
    let upgraded = of("/upgraded");
    assert_eq!(upgraded["status"], 101, "{shown}");
    let tunnel = records
        .iter()
        .find(|record| record["event"] == "tunnel_close");
    let tunnel = tunnel.unwrap_or_else(|| panic!("{shown}"));
    assert_eq!(tunnel["end_reason"], "drained", "{shown}");
    assert_eq!(tunnel["bytes_from_client"], 4, "{shown}");
    assert_eq!(tunnel["bytes_from_upstream"], 4, "{shown}");
    assert!(!proxy.errors().contains("without a record"), "{shown}");
}

fn wait_refusing(proxy: &Proxy) {
    eventually("the listener to close", || {
        TcpStream::connect(proxy.address).err()
    });
}

#[test]
fn drain_that_is_cut_short_leaves_every_record() {
    let mut proxy = Proxy::start("timeouts: { drain: 1s }");
    let work = Work::begin(&proxy);
    proxy.signal(Signal::TERM);
    let status = proxy.wait_exit(SOON);
    assert!(status.success(), "{status}");
    work.assert_ended();
    assert_records(&proxy);
    eventually("the line of the end", || {
        let errors = proxy.errors();
        errors.contains("did not end in time").then_some(())
    });
}

#[test]
fn sigint_leaves_every_record() {
    let mut proxy = Proxy::start("timeouts: { drain: 60s }");
    let work = Work::begin(&proxy);
    proxy.signal(Signal::INT);
    let status = proxy.wait_exit(SOON);
    assert!(status.success(), "{status}");
    work.assert_ended();
    assert_records(&proxy);
}

#[test]
fn second_signal_leaves_every_record() {
    for second in [Signal::TERM, Signal::INT] {
        let mut proxy = Proxy::start("timeouts: { drain: 60s }");
        let work = Work::begin(&proxy);
        proxy.signal(Signal::TERM);
        wait_refusing(&proxy);
        assert!(proxy.is_running());
        proxy.signal(second);
        let status = proxy.wait_exit(SOON);
        assert!(status.success(), "{second:?}: {status}");
        work.assert_ended();
        assert_records(&proxy);
    }
}

/// So is a tunnel that is not open yet: one waits for a name, one for the 101.
#[test]
fn opening_tunnels_leave_their_records() {
    let name_server = UdpSocket::bind("127.0.0.1:0").unwrap();
    name_server.set_read_timeout(Some(DEADLINE)).unwrap();
    let silent = origin_saying("");
    let mut proxy = Proxy::start(&format!(
        "dns: {{ servers: [\"{}\"], timeout: 30s }}\ntimeouts: {{ drain: 60s }}",
        name_server.local_addr().unwrap()
    ));
    let (mut connecting, mut upgrading) = (proxy.connect(), proxy.connect());
    connecting.send(connect("slow.test:443")).unwrap();
    name_server.recv(&mut [0; 512]).unwrap();
    let authority = silent.address;
    upgrading
        .send(format!(
            "GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            auth()
        ))
        .unwrap();
    silent.wait_connections(1);
    proxy.signal(Signal::INT);
    assert!(proxy.wait_exit(SOON).success());
    assert_eq!((connecting.rest(), upgrading.rest()), (vec![], vec![]));
    let mut records = proxy.records();
    records.sort_by_key(|record| record["target"].to_string());
    let seen = records
        .iter()
        .map(|it| [&it["target"], &it["error"], &it["status"], &it["user"]]);
    let none = Value::Null;
    let url = json!(format!("http://{authority}/"));
    assert_eq!(
        seen.collect::<Vec<_>>(),
        [
            [&url, &json!("draining"), &none, &json!("alice")],
            [
                &json!("slow.test:443"),
                &json!("draining"),
                &none,
                &json!("alice")
            ],
        ]
    );
}

/// A request that waits for its turn at a local upstream is work, too.
#[test]
fn queued_request_leaves_its_record() {
    let held = origin_saying("");
    let mut proxy = Proxy::start(&format!(
        "gateway: {{ upstreams: [\"{}\"], max_connections_per_upstream: 1, queue_timeout: 60s }}\ntimeouts: {{ drain: 60s }}",
        held.address
    ));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth());
    let (mut first, mut queued) = (proxy.connect(), proxy.connect());
    first.send(get("/first")).unwrap();
    eventually("the first at its upstream", || {
        proxy
            .admin("/metrics")
            .text()
            .contains("tollgate_gateway_queue_depth 0")
            .then_some(())
    });
    held.wait_connections(1);
    queued.send(get("/queued")).unwrap();
    eventually("the second in the queue", || {
        proxy
            .admin("/metrics")
            .text()
            .contains("tollgate_gateway_queue_depth 1")
            .then_some(())
    });
    proxy.signal(Signal::INT);
    assert!(proxy.wait_exit(SOON).success());
    first.rest();
    queued.rest();
    let mut targets: Vec<_> = proxy
        .records()
        .iter()
        .map(|record| record["target"].as_str().unwrap().to_owned())
        .collect();
    targets.sort();
    assert_eq!(targets, ["/first", "/queued"]);
}

/// The same for many: in a drain that is cut short,
/// each has its record, and none is sent.
#[test]
fn many_queued_requests_leave_their_records() {
    const WAITING: usize = 530;
    allow_many_connections();
    let held = origin_saying("");
    let mut proxy = Proxy::start(&format!(
        "gateway: {{ upstreams: [\"{}\"], max_connections_per_upstream: 1, queue_timeout: 60s, health_check: {{ interval: 60s }} }}\ntimeouts: {{ drain: 60s }}",
        held.address
    ));
    let ask = |path: &str| {
        let mut wire = proxy.connect();
        let head = format!("GET {path} HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth());
        wire.send(head).unwrap();
        wire
    };
    let mut clients = vec![ask("/first")];
    held.wait_connections(1);
    clients.extend((0..WAITING).map(|_| ask("/waiting")));
    let depth = format!("tollgate_gateway_queue_depth {WAITING}\n");
    eventually("all to queue", || {
        proxy
            .admin("/metrics")
            .text()
            .contains(&depth)
            .then_some(())
    });
    // That of the first, and the health check's.
    let connections = held.connections();
    proxy.signal(Signal::INT);
    assert!(proxy.wait_exit(SOON).success());
    for wire in &mut clients {
        wire.rest();
    }
    let records = proxy.records();
    let waiting = |record: &&serde_json::Value| record["target"] == "/waiting";
    assert_eq!(records.len(), WAITING + 1);
    assert_eq!(records.iter().filter(waiting).count(), WAITING);
    assert_eq!(held.connections(), connections, "no one's turn came");
}
