//! The times of a record, each with the one phase slow that it measures: `resolve_seconds`, `queue_seconds` and
//! `connect_seconds` are the lengths of their phases, `first_byte_seconds` and `duration_seconds` count from the first
//! byte of the request head. They mean the same in every role.

use std::collections::HashSet;
use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use chrono::DateTime;
use rustls::{ServerConnection, StreamOwned};
use serde_json::Value;

use crate::support::client::Wire;
use crate::support::dns::Dns;
use crate::support::eventually;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{auth, connect, fetch};
use crate::support::tls::{Authority, Identity};

/// How long the slow phase takes: more than all the others together.
const PAUSE: Duration = Duration::from_millis(700);

/// The slow phase. Not to wait for something: its length is what is measured.
fn pause() {
    std::thread::sleep(PAUSE);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Forward,
    Gateway,
    Connect,
    WebSocket,
}

const ALL: [Role; 4] = [Role::Forward, Role::Gateway, Role::Connect, Role::WebSocket];

impl Role {
    /// A request in this role to an `authority` by a URL's scheme.
    fn request(self, scheme: &str, authority: &str) -> String {
        match self {
            Self::Forward => fetch(&format!("{scheme}://{authority}/")),
            Self::Gateway => format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth()),
            Self::Connect => connect(authority),
            Self::WebSocket => format!(
                "GET {scheme}://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n{}Connection: Upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                auth()
            ),
        }
    }

    fn status(self) -> u16 {
        match self {
            Self::WebSocket => 101,
            _ => 200,
        }
    }

    /// An origin that does this before it answers. To CONNECT it says nothing.
    fn origin(self, before: impl Fn() + Send + Sync + 'static) -> Origin {
        Origin::raw(move |wire, _| self.serve(wire, &before))
    }

    fn serve(self, mut wire: Wire, before: &impl Fn()) -> io::Result<()> {
        match self {
            Self::Connect => drop(wire.read_to_end()?),
            Self::WebSocket => {
                wire.read_head()?;
                before();
                wire.send(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
                )?;
                wire.read_to_end()?;
            }
            Self::Forward | Self::Gateway => {
                while wire.request()?.is_some() {
                    before();
                    wire.send(ok("in"))?;
                }
            }
        }
        Ok(())
    }
}

/// The times of one record, in seconds.
#[derive(Debug)]
struct Times {
    resolve: Option<f64>,
    queue: Option<f64>,
    connect: Option<f64>,
    first_byte: Option<f64>,
    duration: f64,
}

impl Times {
    fn of(record: &Value) -> Self {
        let read = |name: &str| record.get(name).map(|value| value.as_f64().unwrap());
        Self {
            resolve: read("resolve_seconds"),
            queue: read("queue_seconds"),
            connect: read("connect_seconds"),
            first_byte: read("first_byte_seconds"),
            duration: read("duration_seconds").unwrap(),
        }
    }

    /// What holds whatever is slow: the phases are apart from each other and within the whole, which is no longer than
    /// what the client saw.
    fn check(&self, longest: Duration) {
        let phases = [self.resolve, self.queue, self.connect];
        let sum: f64 = phases.into_iter().flatten().sum();
        let first_byte = self.first_byte.unwrap_or(self.duration);
        assert!(sum <= first_byte + 0.001, "{self:?}");
        assert!(first_byte <= self.duration, "{self:?}");
        // The record is made once the response was sent, which the client may have read by then.
        assert!(
            self.duration <= longest.as_secs_f64() + 0.1,
            "{self:?} in {longest:?}"
        );
    }
}

/// What tells a phase with the pause from one without. Less than the pause: the program may read a byte late, and
/// the clocks of two processors may differ.
const SLOW: f64 = 0.6;

/// Whether a phase was the slow one.
fn is_slow(seconds: Option<f64>) -> bool {
    seconds.is_some_and(|seconds| seconds >= SLOW)
}

/// Whether a phase took place and was not the slow one.
fn is_quick(seconds: Option<f64>) -> bool {
    seconds.is_some_and(|seconds| seconds < SLOW)
}

/// The record of a request on a connection of its own that ends with its answer. `send` writes the request.
fn times(proxy: &Proxy, role: Role, send: impl FnOnce(&mut Wire)) -> Times {
    let before = proxy.records().len();
    let begun = Instant::now();
    let mut wire = proxy.connect();
    send(&mut wire);
    let method = if role == Role::Connect {
        "CONNECT"
    } else {
        "GET"
    };
    let answer = wire.response(method).unwrap();
    assert_eq!(
        answer.status(),
        role.status(),
        "{role:?}: {}",
        answer.text()
    );
    wire.finish().unwrap();
    wire.rest();
    let record = proxy.wait_records(before + 1).remove(before);
    let times = Times::of(&record);
    times.check(begun.elapsed());
    times
}

/// A proxy with an upstream and more configuration.
fn proxy(upstream: &Origin, more: &str) -> Proxy {
    let gateway = format!("gateway: {{ upstreams: [\"{}\"] }}", upstream.address);
    Setup::new().config(&gateway).config(more).start()
}

#[test]
fn slow_resolver() {
    for role in [Role::Forward, Role::Connect, Role::WebSocket] {
        let asked = AtomicBool::new(false);
        let dns = Dns::with(60, move |_, _| {
            // A look-up has two questions.
            if !asked.swap(true, Ordering::SeqCst) {
                pause();
            }
            Some(vec![[127, 0, 0, 1].into()])
        });
        let origin = role.origin(|| {});
        let proxy = proxy(&origin, &dns.config());
        let request = role.request("http", &format!("slow.test:{}", origin.port()));
        let first = times(&proxy, role, |wire| wire.send(&request).unwrap());
        assert!(is_slow(first.resolve), "{role:?}: {first:?}");
        assert!(is_quick(first.connect), "{role:?}: {first:?}");
        assert!(is_slow(Some(first.duration)), "{role:?}: {first:?}");
        assert_eq!(first.queue, None, "{role:?}");
        if role != Role::Connect {
            assert!(is_slow(first.first_byte), "{role:?}: {first:?}");
        }
        // The name is in the cache.
        let second = times(&proxy, role, |wire| wire.send(&request).unwrap());
        assert_eq!(second.resolve, None, "{role:?}");
        assert!(is_quick(Some(second.duration)), "{role:?}: {second:?}");
    }
}

/// A look-up that finds nothing takes its time as well.
#[test]
fn slow_resolver_without_an_answer() {
    let paused = Mutex::new(HashSet::new());
    let dns = Dns::with(60, move |name, _| {
        // Once for each name: a look-up has two questions, and asks again what is not answered in time.
        if paused.lock().unwrap().insert(name.to_owned()) {
            pause();
        }
        None
    });
    let proxy = Setup::new().config(&dns.config()).start();
    for role in [Role::Forward, Role::Connect] {
        let request = role.request("http", &format!("{}.test:80", role as u8));
        let (answer, record) = proxy.ask(&request);
        assert_eq!(answer.status(), 502, "{record}");
        let times = Times::of(&record);
        assert!(is_slow(times.resolve), "{role:?}: {times:?}");
        assert_eq!((times.queue, times.connect), (None, None), "{role:?}");
    }
}

/// The head arrives byte by byte, with a pause behind its first one.
#[test]
fn slow_head() {
    for role in ALL {
        let origin = role.origin(|| {});
        let proxy = proxy(&origin, "");
        let request = role.request("http", &origin.address.to_string());
        let mut sent = None;
        let times = times(&proxy, role, |wire| {
            let (first, rest) = request.as_bytes().split_at(1);
            wire.send(first).unwrap();
            sent = Some(SystemTime::now());
            pause();
            for byte in rest {
                wire.send([*byte]).unwrap();
            }
        });
        assert!(is_slow(Some(times.duration)), "{role:?}: {times:?}");
        assert!(is_quick(times.connect), "{role:?}: {times:?}");
        assert_eq!((times.resolve, times.queue), (None, None), "{role:?}");
        if role != Role::Connect {
            assert!(is_slow(times.first_byte), "{role:?}: {times:?}");
        }
        let records = proxy.records();
        let time = records[0]["time"].as_str().unwrap();
        let time = SystemTime::from(DateTime::parse_from_rfc3339(time).unwrap());
        let late = time.duration_since(sent.unwrap()).unwrap_or_default();
        assert!(late < PAUSE, "{role:?}: {late:?} after the first byte");
    }
}

/// One request holds the only permit of the upstream or origin while the next one waits. A CONNECT needs none.
#[test]
fn full_queue() {
    for role in [Role::Forward, Role::Gateway, Role::WebSocket] {
        let (origin, release) = Origin::held();
        let gateway = format!(
            "gateway: {{ upstreams: [\"{}\"], max_connections_per_upstream: 1 }}\n\
             limits: {{ connections_per_origin: 1 }}",
            origin.address
        );
        let proxy = Proxy::start(&gateway);
        let authority = origin.address.to_string();
        let holder = match role {
            Role::Gateway => Role::Gateway,
            _ => Role::Forward,
        };
        let mut first = proxy.connect();
        first.send(holder.request("http", &authority)).unwrap();
        eventually("the first request at its origin", || {
            (origin.peak_requests() == 1).then_some(())
        });
        let begun = Instant::now();
        let mut second = proxy.connect();
        second.send(role.request("http", &authority)).unwrap();
        pause();
        release.send(()).unwrap();
        assert_eq!(first.response("GET").unwrap().status(), 200);
        // The origin answers 200, so that an upgrade is declined.
        release.send(()).unwrap();
        assert_eq!(second.response("GET").unwrap().status(), 200, "{role:?}");
        drop(second);
        let longest = begun.elapsed();
        let records = proxy.wait_records(2);
        let first = Times::of(&records[0]);
        assert_eq!(first.queue, None, "{role:?}");
        let second = Times::of(&records[1]);
        second.check(longest);
        // It may have been read some time after it was sent.
        let queue = second.queue.unwrap_or_default();
        assert!(queue >= PAUSE.as_secs_f64() / 2.0, "{role:?}: {second:?}");
        assert!(
            second.connect.is_none() || is_quick(second.connect),
            "{role:?}: {second:?}"
        );
        assert_eq!(second.resolve, None, "{role:?}");
    }
}

/// An https origin that accepts, and whose ServerHello comes late.
fn with_slow_handshake(role: Role, identity: &Identity) -> Origin {
    let config = identity.server();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Origin::over(listener, move |wire, _| {
        let socket = wire.socket().try_clone()?;
        pause();
        let tls = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
        let stream = StreamOwned::new(tls, socket.try_clone()?);
        role.serve(Wire::over(Box::new(stream), socket)?, &|| {})
    })
}

#[test]
fn slow_handshake() {
    for role in [Role::Forward, Role::WebSocket] {
        let authority = Authority::new();
        let origin = with_slow_handshake(role, &authority.issue(&["127.0.0.1"]));
        let setup = Setup::new().file("ca.pem", authority.pem());
        let ca_file = format!("ca_file: {}", setup.path("ca.pem").display());
        let proxy = setup.server(&ca_file).start();
        let request = role.request("https", &origin.address.to_string());
        let times = times(&proxy, role, |wire| wire.send(&request).unwrap());
        assert!(is_slow(times.connect), "{role:?}: {times:?}");
        assert!(is_slow(times.first_byte), "{role:?}: {times:?}");
        assert_eq!((times.resolve, times.queue), (None, None), "{role:?}");
    }
}

#[test]
fn slow_origin() {
    for role in [Role::Forward, Role::Gateway, Role::WebSocket] {
        let origin = role.origin(pause);
        let proxy = proxy(&origin, "");
        let request = role.request("http", &origin.address.to_string());
        let times = times(&proxy, role, |wire| wire.send(&request).unwrap());
        assert!(is_slow(times.first_byte), "{role:?}: {times:?}");
        assert!(is_quick(times.connect), "{role:?}: {times:?}");
        assert_eq!((times.resolve, times.queue), (None, None), "{role:?}");
    }
}

/// An answer that begins at once and ends late.
#[test]
fn slow_body() {
    for role in [Role::Forward, Role::Gateway] {
        let origin = Origin::raw(|mut wire, _| {
            wire.request()?;
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\ni")?;
            pause();
            wire.send("n")
        });
        let proxy = proxy(&origin, "");
        let request = role.request("http", &origin.address.to_string());
        let times = times(&proxy, role, |wire| wire.send(&request).unwrap());
        assert!(is_quick(times.first_byte), "{role:?}: {times:?}");
        assert!(is_slow(Some(times.duration)), "{role:?}: {times:?}");
    }
}

/// A tunnel has two lines: the time to its establishment, and its life.
#[test]
fn open_tunnel() {
    let origin = Origin::echo();
    let proxy = Proxy::start("log: { tunnel_open: true }");
    let mut wire = proxy.tunnel(origin.address);
    pause();
    wire.finish().unwrap();
    wire.rest();
    let records = proxy.wait_records(2);
    assert_eq!(records[0]["event"], "tunnel_open");
    let (opened, closed) = (Times::of(&records[0]), Times::of(&records[1]));
    assert!(is_quick(Some(opened.duration)), "{opened:?}");
    assert!(is_slow(Some(closed.duration)), "{closed:?}");
    assert!(is_quick(closed.connect), "{closed:?}");
    assert_eq!(opened.connect, closed.connect);
}

/// A pooled connection was not opened for the request that uses it.
#[test]
fn pooled_connection() {
    for role in [Role::Forward, Role::Gateway] {
        let origin = role.origin(|| {});
        let gateway = format!("gateway: {{ upstreams: [\"{}\"] }}", origin.address);
        // One thread, one pool.
        let proxy = Setup::new().server("threads: 1").config(&gateway).start();
        let mut wire = proxy.connect();
        let request = role.request("http", &origin.address.to_string());
        for _ in 0..2 {
            assert_eq!(wire.exchange(&request).status(), 200);
        }
        let records = proxy.wait_records(2);
        assert!(is_quick(Times::of(&records[0]).connect), "{records:?}");
        assert_eq!(Times::of(&records[1]).connect, None, "{role:?}");
    }
}
