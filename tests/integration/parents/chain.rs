//! A second Tollgate as the parent: every kind of request goes through it, in both spellings of names, with TLS and
//! without, and what belongs to the client alone stays at the first one.

use crate::support::http2::{self, Client};
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, auth, connect, fetch, request};
use crate::support::tls::Authority;

/// Two proxies and two origins. The near one is Bob at the far one.
pub(super) struct Chain {
    pub(super) near: Proxy,
    pub(super) far: Proxy,
    pub(super) plain: Origin,
    pub(super) secure: Origin,
    pub(super) authority: Authority,
}

/// The parent's keys beside `urls`.
const BOBS: &str = "user: bob, password: far";

impl Chain {
    pub(super) fn new(scheme: &str, keys: &str) -> Self {
        let authority = Authority::new();
        let identity = authority.issue(&["127.0.0.1", "localhost"]);
        let far = Setup::new()
            .tls(&identity)
            .config("log: { tunnel_open: true }");
        let far = far
            .file("ca.pem", authority.pem())
            .server("ca_file: ca.pem");
        let far = far.start();
        let address = match scheme {
            "https" => far.secure_address(),
            _ => far.address,
        };
        let near = Setup::new()
            .file("far.secret", BOB.1)
            .file("ca.pem", authority.pem())
            .server("ca_file: ca.pem")
            .config(&format!(
                "secrets: {{ far: {{ file: far.secret, clear_text: true }} }}
parents: {{ far: {{ urls: ['{scheme}://{address}'], {BOBS}, {keys} }} }}
via: far"
            ))
            .start();
        Self {
            near,
            far,
            plain: Origin::http(|request| {
                crate::support::message::ok(format!(
                    "{} {}",
                    request.head.start,
                    request.body.len()
                ))
            }),
            secure: Origin::https(identity.server(), |request| {
                crate::support::message::ok(&request.head.start)
            }),
            authority,
        }
    }

    /// Those that differ in what a parent is told, and how.
    fn each(test: impl Fn(&Self, &str)) {
        for scheme in ["http", "https"] {
            for names in ["resolved", "client"] {
                let chain = Self::new(scheme, &format!("names: {names}"));
                test(&chain, &format!("{scheme} {names}"));
            }
        }
    }

    /// Nothing of the client's credentials left the near proxy, and the far one had its own.
    fn assert_apart(&self, what: &str) {
        for request in self.plain.requests().iter().chain(&self.secure.requests()) {
            let raw = String::from_utf8_lossy(&request.head.raw).into_owned();
            assert!(!raw.to_lowercase().contains("proxy-auth"), "{what}: {raw}");
        }
        for record in self.far.records() {
            assert_eq!(record["user"], BOB.0, "{what}: {record}");
        }
        let log = std::fs::read_to_string(self.near.path("access.log")).unwrap();
        for secret in [ALICE.1, BOB.1] {
            assert!(
                !log.contains(secret) && !self.near.errors().contains(secret),
                "{what}"
            );
        }
    }
}

#[test]
fn requests_go_through() {
    Chain::each(|chain, what| {
        let url = format!("http://localhost:{}/a?b", chain.plain.port());
        for _ in 0..2 {
            let answer = chain.near.fetch(&url);
            assert_eq!(
                (answer.status(), answer.text().as_str()),
                (200, "GET /a?b HTTP/1.1 0"),
                "{what}"
            );
        }
        let body = "x".repeat(100_000);
        let length = format!("Content-Length: {}\r\n", body.len());
        let answer = chain
            .near
            .exchange(request("POST", &chain.plain, &length, &body));
        assert_eq!(
            answer.text(),
            "POST /path?query=1 HTTP/1.1 100000",
            "{what}"
        );
        let answer = chain
            .near
            .fetch(&format!("https://localhost:{}/s", chain.secure.port()));
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, "GET /s HTTP/1.1"),
            "{what}"
        );
        let seen = chain.plain.request();
        assert_eq!(
            seen.head.fields.value("host"),
            Some(&*format!("localhost:{}", chain.plain.port())),
            "{what}"
        );
        let record = chain.near.record("the first", |it| it["status"] == 200);
        assert_eq!(record["parent"], "far", "{what}: {record}");
        assert!(
            record["upstream"]
                .as_str()
                .unwrap()
                .starts_with("127.0.0.1:"),
            "{record}"
        );
        chain.assert_apart(what);
    });
}

#[test]
fn tunnels_and_web_sockets_go_through() {
    let echo = Origin::raw(|mut wire, _| {
        // The server speaks first.
        wire.send("220 ready\r\n")?;
        let line = wire.read_until(b"\n")?;
        wire.send(line)
    });
    let socket = |mut wire: crate::support::client::Wire, _: &_| {
        let head = wire.read_head()?.unwrap();
        assert!(!head.fields.has("proxy-authorization"));
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")?;
        let ping = wire.read_bytes(4)?;
        wire.send(ping)
    };
    Chain::each(|chain, what| {
        let mut wire = chain.near.tunnel(format!("localhost:{}", echo.port()));
        assert_eq!(wire.read_until(b"\n").unwrap(), b"220 ready\r\n", "{what}");
        wire.send("ping\n").unwrap();
        assert_eq!(wire.read_until(b"\n").unwrap(), b"ping\n", "{what}");
        drop(wire);
        let plain = Origin::raw(socket);
        let identity = chain.authority.issue(&["localhost"]);
        let secure = Origin::https_raw(identity.server(), socket);
        for (scheme, port) in [("http", plain.port()), ("https", secure.port())] {
            let mut wire = chain.near.connect();
            let handshake = format!(
                "GET {scheme}://localhost:{port}/ HTTP/1.1\r\nHost: localhost:{port}\r\n{}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
                auth()
            );
            assert_eq!(wire.exchange(handshake).status(), 101, "{what} {scheme}");
            assert_eq!(wire.read_bytes(5).unwrap(), b"first", "{what} {scheme}");
            wire.send("ping").unwrap();
            assert_eq!(wire.read_bytes(4).unwrap(), b"ping", "{what} {scheme}");
        }
        chain.assert_apart(what);
    });
}

#[test]
fn streams_of_http2_go_through() {
    let chain = Chain::new("http", "names: client");
    http2::run(async {
        let mut client = Client::connect(chain.near.address).await;
        let url = format!("http://localhost:{}/two", chain.plain.port());
        let answer = client.ask(http2::request("GET", &url)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (200, "GET /two HTTP/1.1 0")
        );
    });
    chain.assert_apart("http2");
}

/// What a parent is told: a name, or the address that the policy has admitted.
#[test]
fn the_parent_is_told_what_names_says() {
    for (names, target) in [("client", "localhost"), ("resolved", "127.0.0.1")] {
        let chain = Chain::new("http", &format!("names: {names}"));
        let port = chain.plain.port();
        assert_eq!(
            chain
                .near
                .fetch(&format!("http://localhost:{port}/x"))
                .status(),
            200
        );
        drop(chain.near.tunnel(format!("localhost:{port}")));
        let records = chain.far.wait_records(2);
        let asked: Vec<_> = records
            .iter()
            .map(|it| it["target"].as_str().unwrap())
            .collect();
        let is_told =
            |it: &&str| it.contains(target) || (names == "resolved" && it.contains("[::1]"));
        assert!(asked.iter().all(is_told), "{names}: {asked:?}");
        let forwarded = asked.iter().any(|it| it.starts_with("http://"));
        assert_eq!(forwarded, names == "client", "{asked:?}");
    }
}

/// A target that is an address is the same in both spellings, and goes as names do.
#[test]
fn a_target_that_is_an_address_goes_as_names_do() {
    for (names, is_forwarded) in [("client", true), ("resolved", false)] {
        let chain = Chain::new("http", &format!("names: {names}"));
        let url = format!("http://127.0.0.1:{}/x", chain.plain.port());
        assert_eq!(chain.near.fetch(&url).status(), 200);
        let target = chain.far.wait_records(1)[0]["target"].to_string();
        assert_eq!(target.contains("http://"), is_forwarded, "{target}");
    }
}

/// Connections to a parent, and tunnels through it, are used again by the same request.
#[test]
fn connections_are_pooled() {
    for (scheme, names, secure) in [
        ("http", "client", false),
        ("http", "resolved", false),
        ("http", "resolved", true),
        ("https", "client", false),
        ("https", "resolved", true),
    ] {
        let chain = Chain::new(scheme, &format!("names: {names}"));
        let (origin, of) = match secure {
            true => (&chain.secure, "https"),
            false => (&chain.plain, "http"),
        };
        // A name with two addresses has the winner of the first race pooled under the other one.
        let url = format!("{of}://127.0.0.1:{}/", origin.port());
        for _ in 0..5 {
            assert_eq!(
                chain.near.fetch(&url).status(),
                200,
                "{scheme} {names} {secure}"
            );
        }
        // A request may come before the connection of the one before is free.
        assert!(origin.connections() <= 2, "{scheme} {names} {secure}");
        let dials = chain
            .near
            .metric("tollgate_parent_dials_total{parent=\"far\",result=\"success\"}");
        assert!(dials <= 2, "{scheme} {names} {secure}: {dials}");
    }
}

/// Two instances that are each other's parents.
#[test]
fn a_loop_ends_in_508() {
    for (names, scheme) in [
        ("client", "http"),
        ("resolved", "http"),
        ("client", "https"),
    ] {
        let authority = Authority::new();
        let identity = authority.issue(&["127.0.0.1"]);
        let setup = || {
            Setup::new()
                .tls(&identity)
                .file("ca.pem", authority.pem())
                .file("s", ALICE.1)
                .server("ca_file: ca.pem")
                .config("secrets: { s: { file: s, clear_text: true } }")
        };
        let (one, two) = (setup(), setup());
        let to = |setup: &Setup| {
            let address = match scheme {
                "https" => setup.secure_listener_address(),
                _ => setup.address(),
            };
            format!(
                "parents: {{ p: {{ urls: ['{scheme}://{address}'], user: alice, password: s, names: {names} }} }}\nvia: p"
            )
        };
        let (to_one, to_two) = (to(&one), to(&two));
        let (one, two) = (one.config(&to_two).start(), two.config(&to_one).start());
        let origin = Origin::ok("never");
        for answer in [
            one.fetch(&format!("http://localhost:{}/", origin.port())),
            one.exchange(connect(format!("localhost:{}", origin.port()))),
        ] {
            assert_eq!(answer.status(), 508, "{names} {scheme}: {}", answer.text());
            let status = answer.field("proxy-status").unwrap();
            assert!(
                status.contains("error=proxy_loop_detected")
                    && status.contains("received-status=508"),
                "{status}"
            );
        }
        origin.assert_untouched();
        assert!(two.records().len() <= 4, "{:?}", two.records());
    }
}

/// A parent's own answers are never passed on: what it says is in `Proxy-Status`.
#[test]
fn what_the_parent_refuses_is_a_502() {
    for names in ["client", "resolved"] {
        // At the far proxy Bob may not go there.
        let chain = Chain::new("http", &format!("names: {names}"));
        chain
            .far
            .rewrite("egress: { deny_networks: ['127.0.0.0/8'], allow_networks: [] }");
        assert_eq!(chain.far.reload().status(), 200);
        let port = chain.plain.port();
        for answer in [
            chain.near.fetch(&format!("http://localhost:{port}/")),
            chain.near.exchange(connect(format!("localhost:{port}"))),
        ] {
            assert_eq!(answer.status(), 502, "{}", answer.text());
            assert!(
                answer.text().contains("parent_refused"),
                "{}",
                answer.text()
            );
            assert_eq!(
                answer.field("proxy-status"),
                Some("tollgate; error=http_protocol_error; next-hop=\"far\"; received-status=403")
            );
        }
        chain.plain.assert_untouched();
        // And the password is another one.
        chain
            .near
            .rewrite("secrets: { far: { file: other.secret, clear_text: true } }");
        std::fs::write(chain.near.path("other.secret"), "wrong").unwrap();
        assert_eq!(chain.near.reload().status(), 200);
        for answer in [
            chain.near.fetch(&format!("http://localhost:{port}/")),
            chain.near.exchange(connect(format!("localhost:{port}"))),
        ] {
            assert_eq!(answer.status(), 502, "{}", answer.text());
            assert!(!answer.head.fields.has("proxy-authenticate"), "{names}");
            assert_eq!(
                answer.field("proxy-status"),
                Some("tollgate; error=http_protocol_error; next-hop=\"far\"; received-status=407")
            );
        }
    }
}

/// An origin's 403 is the origin's, and passed on.
#[test]
fn what_the_origin_refuses_is_passed_on() {
    let chain = Chain::new("http", "names: client");
    let origin = Origin::fixed(crate::support::message::response(
        "403 Forbidden",
        "X-Own: 1\r\n",
        "no",
    ));
    let answer = chain
        .near
        .exchange(fetch(&format!("http://localhost:{}/", origin.port())));
    assert_eq!(
        (
            answer.status(),
            answer.field("x-own"),
            answer.text().as_str()
        ),
        (403, Some("1"), "no")
    );
}
