//! The bytes of a class: those of each role and protocol count, while they pass and to the last one.

use std::ops::RangeInclusive;

use serde_json::Value;

use crate::support::client::Wire;
use crate::support::eventually;
use crate::support::http2::{Client, request_of as stream_of, run};
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::payload;
use crate::support::proxy::Proxy;
use crate::support::request::{ALICE, BOB, auth, request_of};

/// Heads of responses, and the lines between chunks.
const AROUND: u64 = 2_000;

/// What class `all` has carried, from and to clients.
fn carried(proxy: &Proxy) -> [u64; 2] {
    let stats: Value = serde_json::from_str(&proxy.admin("/stats").text()).unwrap();
    let class = &stats["classes"]["all"];
    ["bytes_from_client", "bytes_to_client"].map(|member| class[member].as_u64().unwrap())
}

/// Counts on from what was carried before.
struct Count<'a> {
    proxy: &'a Proxy,
    before: [u64; 2],
}

impl<'a> Count<'a> {
    fn of(proxy: &'a Proxy) -> Self {
        let before = carried(proxy);
        Self { proxy, before }
    }

    /// Waits until so many bytes more were carried, from and to clients; there are never more.
    fn expect(&mut self, what: &str, expected: [RangeInclusive<u64>; 2]) {
        let now = eventually(what, || {
            let now = carried(self.proxy);
            let is_enough = (0..2).all(|way| now[way] - self.before[way] >= *expected[way].start());
            is_enough.then_some(now)
        });
        for way in 0..2 {
            let more = now[way] - self.before[way];
            assert!(
                expected[way].contains(&more),
                "{what}: {more}, direction {way}"
            );
        }
        self.before = now;
    }
}

fn exactly(bytes: u64) -> RangeInclusive<u64> {
    bytes..=bytes
}

fn about(bytes: u64) -> RangeInclusive<u64> {
    bytes..=bytes + AROUND
}

/// Answers each request with as many bytes as its path says.
fn sized() -> Origin {
    Origin::http(|request| {
        let target = request.head.target();
        let length = target.rsplit('/').next().and_then(|it| it.parse().ok());
        ok(payload::bytes(length.unwrap_or_default()))
    })
}

#[test]
fn bodies_and_tunnels_count_in_both_directions() {
    let origin = sized();
    let echo = Origin::echo();
    let proxy = Proxy::start(&format!(
        "{{ limits: {{ classes: [{{ name: bob, users: [bob] }}, {{ name: all, requests: 1000/s }}] }}, \
           gateway: {{ upstreams: [\"{}\"] }} }}",
        origin.address
    ));
    let mut count = Count::of(&proxy);
    let mut wire = proxy.connect();
    let url = |length: u64| format!("http://{}/{length}", origin.address);
    for target in [url(1_000_000), "/1000000".to_owned()] {
        let answer = wire.exchange(request_of(ALICE, "GET", &target));
        assert_eq!(answer.body.len(), 1_000_000);
        count.expect(&target, [exactly(0), about(1_000_000)]);
        let head = request_of(ALICE, "POST", &target);
        let head = head.strip_suffix("\r\n").unwrap();
        let body = payload::bytes(700_000);
        wire.send(format!("{head}Content-Length: 700000\r\n\r\n"))
            .unwrap();
        wire.send(&body).unwrap();
        assert_eq!(wire.response("POST").unwrap().status(), 200);
        count.expect(&target, [exactly(700_000), about(1_000_000)]);
        wire.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n3e8\r\n"))
            .unwrap();
        wire.send(&body[..1000]).unwrap();
        wire.send("\r\n0\r\n\r\n").unwrap();
        assert_eq!(wire.response("POST").unwrap().status(), 200);
        count.expect(&target, [about(1000), about(1_000_000)]);
    }
    // Those of another class are none of them.
    assert_eq!(
        wire.exchange(request_of(BOB, "GET", &url(5000))).status(),
        200
    );

    let mut tunnel = proxy.tunnel(echo.address);
    let bytes = payload::bytes(600_000);
    for part in bytes.chunks(100_000) {
        tunnel.send(part).unwrap();
        assert_eq!(tunnel.read_bytes(part.len()).unwrap(), part);
    }
    // Live; the last report is of 256 KiB or a second.
    count.expect("an open tunnel", [300_000..=600_000, 300_000..=600_000]);
    let open = count.before;
    drop(tunnel);
    let ended = eventually("the rest of the tunnel", || {
        let now = carried(&proxy);
        let record = proxy
            .records()
            .into_iter()
            .find(|it| it["event"] == "tunnel_close");
        record.map(|_| now)
    });
    assert!(ended >= open);
    let series = |way| format!("tollgate_class_bytes_total{{class=\"all\",direction=\"{way}\"}}");
    let metrics = ["from_client", "to_client"].map(|way| proxy.metric(&series(way)));
    assert_eq!(metrics, carried(&proxy));
    assert_eq!(metrics[0], 2 * 700_000 + 600_000 + 2 * 1012);
}

#[test]
fn websockets_count_from_their_first_byte() {
    let proxy = Proxy::start("limits: { classes: [{ name: all }] }");
    let mut count = Count::of(&proxy);
    let handshake = |origin: &Origin| {
        format!(
            "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            origin.address,
            auth()
        )
    };
    let upgrading = Origin::raw(|mut wire: Wire, _| {
        wire.read_head()?;
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello",
        )?;
        let ping = wire.read_bytes(4)?;
        wire.send(ping)
    });
    let mut socket = proxy.connect();
    assert_eq!(socket.exchange(handshake(&upgrading)).status(), 101);
    socket.send("ping").unwrap();
    assert_eq!(socket.read_to_end().unwrap(), b"helloping");
    drop(socket);
    count.expect("a WebSocket", [exactly(4), exactly(9)]);

    let refusing = sized();
    let answer = proxy.exchange(handshake(&refusing));
    assert_eq!(answer.status(), 200);
    count.expect("an answer without one", [exactly(0), 1..=AROUND]);
}

#[test]
fn streams_of_http2_count() {
    let proxy = Proxy::start("limits: { classes: [{ name: all }] }");
    let (origin, echo) = (sized(), Origin::echo());
    let mut count = Count::of(&proxy);
    run(async {
        let mut client = Client::connect(proxy.address).await;
        let url = format!("http://{}/300000", origin.address);
        let answer = client
            .post(stream_of(ALICE, "POST", &url), &payload::bytes(200_000))
            .await;
        assert_eq!(answer.body.len(), 300_000);
        let (mut send, mut receive) = client.tunnel(echo.address).await;
        send.send_data("ping".into(), true).unwrap();
        let echoed = crate::support::http2::read_all(&mut receive).await.unwrap();
        assert_eq!(echoed, b"ping");
    });
    count.expect("two streams", [about(200_004), about(300_004)]);
}
