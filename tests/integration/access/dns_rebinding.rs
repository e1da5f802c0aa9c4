//! Names whose addresses change or are mixed: what is dialled was always judged, whatever kind of
//! request asks for it.

use std::net::TcpListener;

use rustix::process::Signal;

use crate::support::client::Wire;
use crate::support::dns::Dns;
use crate::support::eventually;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::port::one_port_of;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::attempt;
use crate::support::request::{auth, connect, fetch};
use crate::support::tls::Authority;

/// 127.0.0.2 stands for a public address, all other loopback for what nobody may reach.
const ONE_ADMITTED: &str = "egress: { allow_networks: [\"127.0.0.2/32\"] }";

fn proxy(dns: &Dns) -> Proxy {
    Proxy::start(&format!("{ONE_ADMITTED}\n{}", dns.config()))
}

/// An origin on that address that says who it is.
pub(crate) fn origin_at(address: &str, name: &'static str) -> Origin {
    origin_over(TcpListener::bind(address).unwrap(), name)
}

/// The same over what listens already.
pub(crate) fn origin_over(listener: TcpListener, name: &'static str) -> Origin {
    Origin::over(listener, move |mut wire, seen| {
        // A client that begins with TLS would wait for an answer to it.
        while wire.read_bytes(1)? != [0x16] {
            if let Some(request) = wire.request()? {
                seen.keep(request);
                wire.send(ok(name))?;
            }
        }
        Ok(())
    })
}

/// A port where 127.0.0.2 has `public` and 127.0.0.1 has `private`.
pub(crate) fn pair() -> (Origin, Origin) {
    let [private, public] = one_port_of(["127.0.0.1", "127.0.0.2"]);
    (
        origin_over(public, "public"),
        origin_over(private, "private"),
    )
}

/// Public for the first look-up, loopback for the next, and so on, all with a TTL of zero.
pub(crate) fn alternating(first: &'static str, second: &'static str) -> Dns {
    Dns::with(0, move |_, asked| {
        let address = if asked % 2 == 0 { first } else { second };
        Some(vec![address.parse().unwrap()])
    })
}

/// Every kind of request that a name can be asked for in, with the bytes it begins with.
fn kinds(host: &str, port: u16) -> Vec<(&'static str, String)> {
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let url = format!("http://{host}:{port}/");
    vec![
        ("GET", fetch(&url)),
        (
            "POST",
            format!(
                "POST {url} HTTP/1.1\r\nHost: {host}:{port}\r\n{}Content-Length: 2\r\n\r\nhi",
                auth()
            ),
        ),
        ("GET", fetch(&url.replace("http:", "https:"))),
        (
            "GET",
            format!(
                "GET {url} HTTP/1.1\r\nHost: {host}:{port}\r\n{}{upgrade}\r\n",
                auth()
            ),
        ),
        ("CONNECT", connect(format!("{host}:{port}"))),
    ]
}

/// Checks that every dial that is in the log went to the admitted address.
pub(crate) fn assert_dialled(proxy: &Proxy) {
    for record in proxy.records() {
        if let Some(upstream) = record["upstream"].as_str() {
            assert!(upstream.starts_with("127.0.0.2:"), "{record}");
        }
    }
}

/// Asks for `rebind.test` by every kind of request; none may reach the private origin. The
/// statuses of the answers.
pub(crate) fn ask_by_each_kind(proxy: &Proxy, port: u16) -> Vec<u16> {
    let ask = |(method, request): (&str, String)| {
        let mut wire = proxy.connect();
        wire.send(&request).unwrap();
        let answer = wire.response(method).unwrap();
        assert_ne!(answer.text(), "private", "{request}");
        // 502 when TLS is spoken to the plain one.
        assert!([200, 403, 502].contains(&answer.status()), "{request}");
        answer.status()
    };
    kinds("rebind.test", port).into_iter().map(ask).collect()
}

// Case 23, for each kind of request, and whichever answer comes first.
#[test]
fn rebound_names_reach_nothing_by_any_kind_of_request() {
    for (first, second) in [("127.0.0.2", "127.0.0.1"), ("127.0.0.1", "127.0.0.2")] {
        let (public, private) = pair();
        let dns = alternating(first, second);
        let proxy = proxy(&dns);
        for _ in 0..6 {
            ask_by_each_kind(&proxy, private.port());
        }
        private.assert_untouched();
        assert!(public.connections() > 0);
        assert!(dns.asked() > 20, "asked anew each time: {}", dns.asked());
        assert_dialled(&proxy);
    }
}

// Case 23: on one connection, where the origin's connection is kept as well.
#[test]
fn kept_connections_are_judged_with_each_request() {
    let (public, private) = pair();
    let dns = alternating("127.0.0.2", "127.0.0.1");
    let proxy = proxy(&dns);
    let mut wire = proxy.connect();
    let url = format!("http://rebind.test:{}/", private.port());
    let mut statuses = Vec::new();
    for _ in 0..10 {
        let answer = wire.exchange(fetch(&url));
        assert_ne!(answer.text(), "private");
        statuses.push(answer.status());
    }
    assert!(
        statuses.contains(&200) && statuses.contains(&403),
        "{statuses:?}"
    );
    private.assert_untouched();
    assert!(!public.requests().is_empty());
    assert_dialled(&proxy);
}

// Case 23: a request that is sent again, since its kept connection was closed, is judged anew.
#[test]
fn retry_goes_to_a_judged_address() {
    let private = origin_at("127.0.0.1:0", "private");
    // Closes each connection after its answer, without saying so.
    let public = Origin::bind(
        &format!("127.0.0.2:{}", private.port()),
        |mut wire, seen| {
            if let Some(request) = wire.request()? {
                seen.keep(request);
                wire.send(ok("public"))?;
            }
            Ok(())
        },
    );
    let dns = alternating("127.0.0.2", "127.0.0.1");
    let proxy = proxy(&dns);
    let url = format!("http://rebind.test:{}/", private.port());
    for _ in 0..20 {
        let answer = proxy.fetch(&url);
        assert!(
            [200, 403, 502].contains(&answer.status()),
            "{}",
            answer.head.start
        );
        assert_ne!(answer.text(), "private");
    }
    private.assert_untouched();
    assert!(!public.requests().is_empty());
    assert_dialled(&proxy);
}

// Case 23: of a mixed set the denied ones are no fall-back when the admitted ones fail.
#[test]
fn denied_addresses_are_no_fall_back() {
    let [private, six] = one_port_of(["127.0.0.1", "::1"]).map(|it| origin_over(it, "private"));
    for addresses in [
        &["127.0.0.2", "127.0.0.1"][..],
        &["127.0.0.1", "127.0.0.2"],
        &["127.0.0.1", "127.0.0.2", "::1"],
        &["::1", "127.0.0.2"],
        &["127.0.0.2", "::ffff:127.0.0.1"],
    ] {
        let dns = Dns::table(&[("mixed.test", addresses)]);
        let proxy = proxy(&dns);
        // Nobody listens on 127.0.0.2 there.
        for (method, request) in kinds("mixed.test", private.port()) {
            let mut wire = proxy.connect();
            wire.send(&request).unwrap();
            let answer = wire.response(method).unwrap();
            assert!(
                [403, 502].contains(&answer.status()),
                "{addresses:?}: {}",
                answer.head.start
            );
        }
        private.assert_untouched();
        six.assert_untouched();
        assert_dialled(&proxy);
    }
}

// The other way round: of a mixed set the admitted one is reached, wherever it stands.
#[test]
fn admitted_address_of_a_mixed_set_is_reached_or_all_are_denied() {
    let (public, private) = pair();
    let mut statuses = Vec::new();
    for addresses in [
        &["127.0.0.2", "127.0.0.1"][..],
        &["127.0.0.1", "127.0.0.2"],
        &["::1", "127.0.0.1", "127.0.0.2", "10.0.0.1"],
    ] {
        let dns = Dns::table(&[("mixed.test", addresses)]);
        for answer in attempt(&proxy(&dns), "mixed.test", private.port()) {
            assert!([200, 403].contains(&answer.status()), "{addresses:?}");
            assert_ne!(answer.text(), "private");
            statuses.push(answer.status());
        }
    }
    // One rule for all orders.
    statuses.dedup();
    assert_eq!(statuses.len(), 1, "{statuses:?}");
    private.assert_untouched();
    drop(public);
}

/// A connection to an origin that was admitted once is not used when it is denied now.
#[test]
fn reload_that_denies_an_address_counts_for_kept_connections() {
    let public = origin_at("127.0.0.2:0", "public");
    let setup = Setup::new()
        .file("deny.txt", "other.test\n")
        .config(ONE_ADMITTED)
        .config("egress: { deny_domains: [\"@deny.txt\"] }");
    let dns = Dns::table(&[("public.test", &["127.0.0.2"])]);
    let proxy = setup.config(&dns.config()).start();
    let url = format!("http://public.test:{}/", public.port());
    let mut wire = proxy.connect();
    assert_eq!(wire.exchange(fetch(&url)).text(), "public");
    std::fs::write(proxy.path("deny.txt"), "public.test\n").unwrap();
    proxy.signal(Signal::HUP);
    eventually("the reload", || {
        proxy.errors().contains("SIGHUP: reloaded").then_some(())
    });
    let before = public.requests().len();
    assert_eq!(wire.exchange(fetch(&url)).status(), 403);
    assert_eq!(
        proxy
            .exchange(connect(format!("public.test:{}", public.port())))
            .status(),
        403
    );
    assert_eq!(public.requests().len(), before);
}

// Case 24: a TLS listener is one of the proxy's own, too, by address and by name.
#[test]
fn own_tls_listener_is_denied() {
    let authority = Authority::new();
    let dns = Dns::table(&[("self.test", &["127.0.0.1"])]);
    let proxy = Setup::new()
        .tls(&authority.issue(&["proxy.test"]))
        .config(&dns.config())
        .start();
    let port = proxy.secure_address().port();
    for host in ["127.0.0.1", "self.test"] {
        for (method, request) in kinds(host, port) {
            let mut wire = proxy.connect();
            wire.send(&request).unwrap();
            assert_eq!(wire.response(method).unwrap().status(), 403, "{request}");
        }
    }
}

// Case 27: bytes that a rule does not expect do not make it miss.
#[test]
fn odd_spellings_of_a_denied_domain_are_denied_or_refused() {
    let origin = Origin::ok("reached");
    let dns = Dns::with(60, |_, _| Some(vec!["127.0.0.1".parse().unwrap()]));
    let denying = Proxy::start(&format!(
        "egress: {{ deny_domains: [\"bad.test\", \".bad.example\"] }}\n{}",
        dns.config()
    ));
    let allowing = Proxy::start(&format!(
        "egress: {{ allow_domains: [\"good.test\"] }}\n{}",
        dns.config()
    ));
    let names: [&[u8]; 16] = [
        b"bad.test",
        b"BAD.TEST",
        b"bad.test.",
        b"sub.bad.example",
        b"SUB.BAD.EXAMPLE.",
        // Full-width letters, an ideographic stop, a soft hyphen: IDNA maps them away.
        "\u{ff42}ad.test".as_bytes(),
        "bad\u{3002}test".as_bytes(),
        "ba\u{ad}d.test".as_bytes(),
        b"bad.test\xff",
        b"\xffbad.test",
        b"bad\xc0\xae.test",
        b"*.test",
        b"bad%2etest",
        b"bad.test..",
        b"bad..test",
        b"-bad.test\x00",
    ];
    for name in names {
        for proxy in [&denying, &allowing] {
            for start in [&b"CONNECT "[..], b"GET http://"] {
                let port = format!(":{}", origin.port()).into_bytes();
                let path = if start.starts_with(b"GET") {
                    &b"/"[..]
                } else {
                    b""
                };
                let fields = format!(" HTTP/1.1\r\nHost: x\r\n{}\r\n", auth());
                let request = [start, name, &port, path, fields.as_bytes()].concat();
                let mut wire: Wire = proxy.connect();
                wire.send(request).unwrap();
                let answer = wire.response("GET").unwrap();
                let shown = name.escape_ascii();
                assert!(
                    [400, 403].contains(&answer.status()),
                    "{shown}: {}",
                    answer.head.start
                );
            }
        }
    }
    origin.assert_untouched();
}
