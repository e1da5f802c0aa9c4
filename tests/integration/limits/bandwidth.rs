//! Bandwidths of classes over every way that bytes go. Upper limits are strict: a busy machine only makes bytes later. Lower
//! ones are the deadlines of the suite; bench/bandwidth.py measures how near the limit they are.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::Wire;
use crate::support::command::is_installed;
use crate::support::http2::{Client, request_of as stream_of, run};
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::programs::{assert_output, curl, proxy_url};
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, connect, credentials};
use crate::support::tls::Authority;

/// The limit of most tests, in a second, and what it lets through at once.
const RATE: u64 = 1 << 20;
const BURST: u64 = RATE * 8 / 100;

/// What each of them moves, for a third of a second.
const BODY: usize = 400_000;

/// Heads of responses and chunk lines, which count and are not looked at; and what the client's connection adds for TLS.
const SLACK: u64 = 2_000;

/// Serves `/down` with a body, takes one at `/up`, and speaks HTTP too after an upgrade to something else.
fn origin() -> Origin {
    Origin::raw(|mut wire, _| {
        while let Some(request) = wire.request()? {
            if request.head.fields.has("upgrade") {
                wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
                continue;
            }
            let length = match request.head.target() {
                target if target.ends_with("/down") => BODY,
                target if target.ends_with("/endless") => 1 << 40,
                _ => 0,
            };
            wire.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"
            ))?;
            let block = payload::bytes(length.min(BODY));
            let mut left = length;
            while left > 0 {
                let part = &block[..left.min(BODY)];
                wire.send(part)?;
                left -= part.len();
            }
        }
        Ok(())
    })
}

/// Looks at bytes as they come: never more than the limit and its burst.
struct Watch {
    rate: u64,
    burst: u64,
    begun: Instant,
    got: u64,
}

impl Watch {
    fn new(rate: u64, burst: u64) -> Self {
        let begun = Instant::now();
        Self {
            rate,
            burst: burst + SLACK,
            begun,
            got: 0,
        }
    }

    fn add(&mut self, what: &str, bytes: usize) {
        self.got += bytes as u64;
        let time = u64::try_from(self.begun.elapsed().as_micros()).unwrap();
        let most = self.rate * time / 1_000_000 + self.burst;
        assert!(
            self.got <= most,
            "{what}: {} of {most} bytes in {time} us",
            self.got
        );
    }
}

/// What no limited body of [`BODY`] bytes is faster than.
fn least() -> Duration {
    Duration::from_micros((BODY as u64 - BURST - SLACK) * 1_000_000 / RATE)
}

/// One download and one upload on `wire`, of targets that begin with `prefix`.
fn both_ways(what: &str, wire: &mut Wire, prefix: &str, fields: &str) {
    let head = |method: &str, path: &str| {
        format!("{method} {prefix}{path} HTTP/1.1\r\nHost: origin.test\r\n{fields}")
    };
    let mut watch = Watch::new(RATE, BURST);
    wire.send(format!("{}\r\n", head("GET", "/down"))).unwrap();
    let answer = wire.read_head().unwrap().unwrap();
    assert_eq!(answer.status(), 200, "{what}: {}", answer.start);
    let framing = answer.response_framing("GET");
    wire.read_body(framing, |part| watch.add(what, part.len()))
        .unwrap();
    assert_eq!(watch.got, BODY as u64, "{what}");

    let begun = Instant::now();
    wire.send(format!(
        "{}Content-Length: {BODY}\r\n\r\n",
        head("POST", "/up")
    ))
    .unwrap();
    wire.send(payload::bytes(BODY)).unwrap();
    assert_eq!(wire.response("POST").unwrap().status(), 200, "{what}");
    // The origin answers when it has all of it.
    let took = begun.elapsed();
    assert!(took >= least(), "{what}: {took:?}");
}

/// All of them at once: each address has the limit for itself.
#[test]
fn every_way_keeps_both_limits() {
    let origin = origin();
    let ca = Authority::new();
    let identity = ca.issue(&["localhost"]);
    let proxy = Setup::new()
        .config("limits: { classes: [{ name: all, per: client_network, download: 1MiB/s, upload: 1MiB/s }] }")
        .config(&format!("gateway: {{ upstreams: [\"{}\"] }}", origin.address))
        .tls(&identity)
        .start();
    let url = format!("http://{}", origin.address);
    let fields = credentials(ALICE);
    let secure = proxy.secure_address();
    let address = proxy.address;
    let begun = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut wire = Wire::connect_from("127.0.0.11", address).unwrap();
            both_ways("forward", &mut wire, &url, &fields);
        });
        scope.spawn(|| {
            let mut wire = Wire::connect_from("127.0.0.12", address).unwrap();
            both_ways("gateway", &mut wire, "", &fields);
        });
        scope.spawn(|| {
            // From 256 KiB on, by splice(2).
            let mut wire = Wire::connect_from("127.0.0.13", address).unwrap();
            assert_eq!(wire.exchange(connect(origin.address)).status(), 200);
            both_ways("tunnel", &mut wire, "", "");
        });
        scope.spawn(|| {
            let plain = Wire::connect_from("127.0.0.14", secure).unwrap();
            let socket = plain.socket().try_clone().unwrap();
            let mut wire = ca.wrap(socket, "localhost");
            assert_eq!(wire.exchange(connect(origin.address)).status(), 200);
            both_ways("tunnel in TLS", &mut wire, "", "");
        });
        scope.spawn(|| {
            let mut wire = Wire::connect_from("127.0.0.15", address).unwrap();
            let upgrade = format!(
                "GET {url}/ HTTP/1.1\r\nHost: {}\r\n{fields}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
                origin.address
            );
            assert_eq!(wire.exchange(upgrade).status(), 101);
            both_ways("WebSocket", &mut wire, "", "");
        });
        scope.spawn(|| http2(address, &url));
    });
    // At once, and not one after the other.
    assert!(begun.elapsed() < 6 * 2 * least(), "{:?}", begun.elapsed());
}

/// Two streams of one connection share its member's limit.
fn http2(proxy: SocketAddr, url: &str) {
    run(async {
        let mut client = Client::connect(proxy).await;
        let begun = Instant::now();
        let mut watch = Watch::new(RATE, BURST);
        let (down, _) = client
            .open(stream_of(ALICE, "GET", &format!("{url}/down")), true)
            .await;
        let download = async {
            let mut body = down.await.unwrap().into_body();
            while let Some(part) = body.data().await {
                let part = part.unwrap();
                watch.add("HTTP/2", part.len());
                body.flow_control().release_capacity(part.len()).unwrap();
            }
            assert_eq!(watch.got, BODY as u64);
        };
        let url = format!("{url}/up");
        let body = payload::bytes(BODY);
        let upload = client.post(stream_of(ALICE, "POST", &url), &body);
        let ((), answer) = tokio::join!(download, upload);
        assert_eq!(answer.status.as_u16(), 200);
        let took = begun.elapsed();
        assert!(took >= least(), "HTTP/2: {took:?}");
    });
}

#[test]
fn curl_gets_and_sends_at_the_limit() {
    if !is_installed(&["curl", "--version"]) {
        return;
    }
    let origin = origin();
    let proxy =
        Proxy::start("limits: { classes: [{ name: all, download: 1MiB/s, upload: 1MiB/s }] }");
    let file = proxy.path("body");
    std::fs::write(&file, payload::bytes(BODY)).unwrap();
    let file = file.to_str().unwrap();
    let through = proxy_url(&proxy);
    let url = |path: &str| format!("http://{}{path}", origin.address);
    for extra in [
        vec![url("/down")],
        vec!["-p".to_owned(), url("/down")],
        vec!["-T".to_owned(), file.to_owned(), url("/up")],
        vec![
            "-p".to_owned(),
            "-T".to_owned(),
            file.to_owned(),
            url("/up"),
        ],
    ] {
        let begun = Instant::now();
        let mut arguments = vec!["-x", &through, "-o", "/dev/null", "-w", "%{http_code}"];
        arguments.extend(extra.iter().map(String::as_str));
        assert_output(&curl(&arguments), "200");
        // Each has a burst, since the one before is over for longer than that takes.
        let took = begun.elapsed();
        assert!(
            took + Duration::from_millis(80) >= least(),
            "{extra:?}: {took:?}"
        );
    }
}

/// Reads `most` bytes from a tunnel of `user`, or until one has read all of its bytes.
fn drink(
    addresses: [SocketAddr; 2],
    user: (&str, &str),
    most: u64,
    got: &AtomicU64,
    stop: &AtomicBool,
) {
    let [proxy, host] = addresses;
    let mut wire = Wire::connect(proxy).unwrap();
    let head = format!(
        "CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{}\r\n",
        credentials(user)
    );
    assert_eq!(wire.exchange(head).status(), 200);
    wire.send("GET /endless HTTP/1.1\r\nHost: origin.test\r\n\r\n")
        .unwrap();
    assert_eq!(wire.read_head().unwrap().unwrap().status(), 200);
    while !stop.load(Ordering::Relaxed) && got.load(Ordering::Relaxed) < most {
        let part = wire.read_bytes(4096).unwrap();
        got.fetch_add(part.len() as u64, Ordering::Relaxed);
    }
    stop.store(true, Ordering::Relaxed);
}

/// Eight of Alice and one of Bob: hers share her limit evenly, his has one of its own.
#[test]
fn connections_of_a_user_share_and_users_do_not() {
    let origin = origin();
    let proxy = Proxy::start("limits: { classes: [{ name: all, download: 2MiB/s }] }");
    let stop = AtomicBool::new(false);
    let counts: Vec<AtomicU64> = (0..9).map(|_| AtomicU64::new(0)).collect();
    let addresses = [proxy.address, origin.address];
    let begun = Instant::now();
    thread::scope(|scope| {
        for (number, count) in counts.iter().enumerate() {
            let (user, most) = match number {
                8 => (BOB, 2 * RATE),
                _ => (ALICE, u64::MAX),
            };
            let stop = &stop;
            scope.spawn(move || drink(addresses, user, most, count, stop));
        }
    });
    let took = u64::try_from(begun.elapsed().as_millis()).unwrap();
    let counts: Vec<u64> = counts.into_iter().map(AtomicU64::into_inner).collect();
    let (alice, bob) = (&counts[..8], counts[8]);
    let sum: u64 = alice.iter().sum();
    let most = 2 * (RATE * took / 1000 + BURST + SLACK);
    assert!(sum <= most && bob <= most, "{counts:?} in {took} ms");
    assert!(alice.iter().all(|got| *got >= sum / 8 / 2), "{counts:?}");
    assert!(sum >= bob / 2, "{counts:?}");
}

/// Below 1 MiB/s, no more than 64 KiB come at once; here 16 KiB.
#[test]
fn a_small_limit_has_small_bursts() -> io::Result<()> {
    let origin = origin();
    let proxy = Proxy::start("limits: { classes: [{ name: all, download: 64KiB/s }] }");
    let url = format!("http://{}/endless", origin.address);
    for through_tunnel in [false, true] {
        let mut watch = Watch::new(64 << 10, 16 << 10);
        let mut wire = if through_tunnel {
            proxy.tunnel(origin.address)
        } else {
            proxy.connect()
        };
        let fields = credentials(ALICE);
        wire.send(format!(
            "GET {url} HTTP/1.1\r\nHost: origin.test\r\n{fields}\r\n"
        ))?;
        assert_eq!(wire.read_head()?.unwrap().status(), 200);
        while watch.got < 40 << 10 {
            let part = wire.read_bytes(512)?;
            watch.add("a small limit", part.len());
        }
        wire.reset();
    }
    Ok(())
}
