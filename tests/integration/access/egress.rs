//! Where requests may go: ports, special-purpose addresses, domains, and never the proxy itself.

use crate::support::dns::Dns;
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::port::one_port_of;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{attempt, connect};
use rustix::process::Signal;

/// The policy of someone who has configured nothing.
const DEFAULTS: &str = "egress: { allow_networks: [], connect_ports: any, http_ports: any }";

/// Every spelling of an address that nobody outside may reach.
const SPECIAL: [&str; 46] = [
    "127.0.0.1",
    "127.1.2.3",
    "127.1",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "0x7f000001",
    "2130706433",
    "017700000001",
    "127.0.1",
    "0.0.0.0",
    "0",
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::]",
    "[fe80::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[ff02::1]",
    "[2001:db8::1]",
    "[100::1]",
    "[fe80::5efe:10.0.0.1]",
    "[::5efe:10.0.0.1]",
    "[fec0::1]",
    "127.0.0.1.",
    "[0:0:0:0:0:ffff:127.0.0.1]",
];

/// Whether a record names that rule; the entry that matched may follow it.
fn is_rule(record: &serde_json::Value, rule: &str) -> bool {
    let named = record["rule"].as_str().unwrap_or("");
    named.split(':').next() == Some(rule)
}

// Case 22: one table of spellings, all denied by default.
#[test]
fn special_addresses_are_denied_in_every_spelling() {
    let dns = Dns::table(&[]);
    let proxy = Proxy::start(&format!("{DEFAULTS}\n{}", dns.config()));
    let origin = Origin::ok("reached");
    for host in SPECIAL {
        for answer in attempt(&proxy, host, origin.port()) {
            assert!(
                [400, 403].contains(&answer.status()),
                "{host}: {} {}",
                answer.head.start,
                answer.text()
            );
        }
    }
    origin.assert_untouched();
    // Scoped addresses and names in brackets are no authorities at all.
    for host in [
        "[fe80::1%25eth0]",
        "[fe80::1%eth0]",
        "[example.com]",
        "[127.0.0.1]",
        "[::1",
        "::1",
    ] {
        for answer in attempt(&proxy, host, origin.port()) {
            assert_eq!(answer.status(), 400, "{host}");
        }
    }
}

// Case 22: what was asked for in an odd spelling is logged in the one that was judged.
#[test]
fn denied_targets_are_logged_canonically_with_their_rule() {
    let proxy = Proxy::start(DEFAULTS);
    for (spelling, canonical) in [
        ("127.0.0.1:443", "127.0.0.1:443"),
        ("[0:0:0:0:0:0:0:1]:0443", "[::1]:443"),
        ("[::FFFF:127.0.0.1]:443", "[::ffff:127.0.0.1]:443"),
    ] {
        let answer = proxy.exchange(connect(spelling));
        if answer.status() == 400 {
            continue;
        }
        assert_eq!(answer.status(), 403, "{spelling}");
        let record = proxy.record(canonical, |record| record["target"] == canonical);
        assert!(
            record["rule"].as_str().unwrap().contains("special_purpose"),
            "{record}"
        );
        assert_eq!(record["user"], "alice", "{record}");
    }
}

#[test]
fn localhost_is_denied_by_its_address() {
    let proxy = Proxy::start(DEFAULTS);
    let origin = Origin::ok("reached");
    for host in [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "foo.localhost",
        "ip6-localhost",
    ] {
        for answer in attempt(&proxy, host, origin.port()) {
            assert!(
                [403, 502, 504].contains(&answer.status()),
                "{host}: {}",
                answer.head.start
            );
        }
    }
    origin.assert_untouched();
}

#[test]
fn names_are_judged_by_the_address_they_resolve_to() {
    let dns = Dns::table(&[
        ("loop.test", &["127.0.0.1"]),
        ("six.test", &["::1"]),
        ("mapped.test", &["::ffff:127.0.0.1"]),
        ("meta.test", &["169.254.169.254"]),
        ("private.test", &["10.1.2.3", "192.168.1.1"]),
    ]);
    let proxy = Proxy::start(&format!("{DEFAULTS}\n{}", dns.config()));
    let origin = Origin::ok("reached");
    for host in [
        "loop.test",
        "LOOP.test",
        "loop.test.",
        "six.test",
        "mapped.test",
        "meta.test",
        "private.test",
    ] {
        for answer in attempt(&proxy, host, origin.port()) {
            assert_eq!(answer.status(), 403, "{host}");
            let status = answer.field("proxy-status").unwrap();
            assert!(
                status.contains("destination_ip_prohibited"),
                "{host}: {status}"
            );
        }
    }
    origin.assert_untouched();
}

// Case 23: of a mixed answer the denied addresses are not dialled.
#[test]
fn mixed_answers_reach_admitted_addresses_alone() {
    let [admitted, denied] = one_port_of(["127.0.0.2", "127.0.0.3"]);
    let admitted = Origin::over(admitted, |mut wire, _| {
        wire.request()?;
        wire.send(crate::support::message::ok("admitted"))
    });
    let denied = Origin::over(denied, |mut wire, _| {
        wire.request()?;
        wire.send(crate::support::message::ok("denied"))
    });
    let dns = Dns::table(&[("mixed.test", &["127.0.0.3", "127.0.0.2", "::1"])]);
    let proxy = Proxy::start(&format!(
        "egress: {{ allow_networks: [\"127.0.0.2/32\"] }}\n{}",
        dns.config()
    ));
    for _ in 0..5 {
        let answer = proxy.fetch(&format!("http://mixed.test:{}/", admitted.port()));
        // The whole set may be refused; the denied address may not be reached.
        assert!(
            [200, 403].contains(&answer.status()),
            "{}",
            answer.head.start
        );
        assert_ne!(answer.text(), "denied");
    }
    denied.assert_untouched();
}

// Case 23: an answer that changes between the check and the dial changes nothing.
#[test]
fn rebinding_gets_nothing() {
    let [victim, decoy] = one_port_of(["127.0.0.1", "127.0.0.2"]);
    let victim = Origin::over(victim, |mut wire, _| {
        wire.request()?;
        wire.send(crate::support::message::ok("secret"))
    });
    let decoy = Origin::over(decoy, |mut wire, _| {
        while wire.request()?.is_some() {
            wire.send(crate::support::message::ok("decoy"))?;
        }
        Ok(())
    });
    let dns = Dns::with(0, |_, asked| {
        let address = if asked % 2 == 0 {
            "127.0.0.2"
        } else {
            "127.0.0.1"
        };
        Some(vec![address.parse().unwrap()])
    });
    let proxy = Proxy::start(&format!(
        "egress: {{ allow_networks: [\"127.0.0.2/32\"] }}\n{}",
        dns.config()
    ));
    for _ in 0..20 {
        for answer in attempt(&proxy, "rebind.test", victim.port()) {
            assert_ne!(answer.text(), "secret");
            assert!(
                [200, 403].contains(&answer.status()),
                "{}",
                answer.head.start
            );
        }
    }
    victim.assert_untouched();
    assert!(decoy.connections() > 0, "the admitted address is reached");
}

// Case 24: the proxy is no way to its own ports, by address or by name.
#[test]
fn own_listeners_are_denied_even_where_loopback_is_allowed() {
    let dns = Dns::table(&[("self.test", &["127.0.0.1"]), ("zero.test", &["0.0.0.0"])]);
    let proxy = Proxy::start(&format!(
        "egress: {{ allow_networks: [\"0.0.0.0/0\", \"::/0\"] }}\n{}",
        dns.config()
    ));
    let hosts = [
        "127.0.0.1",
        "self.test",
        "0.0.0.0",
        "zero.test",
        "[::ffff:127.0.0.1]",
        "localhost",
    ];
    for host in hosts {
        for port in [proxy.port(), proxy.admin_address().port()] {
            for answer in attempt(&proxy, host, port) {
                assert!(
                    // Its other address may have nobody listening.
                    [400, 403].contains(&answer.status())
                        || (host == "localhost" && answer.status() == 502),
                    "{host}:{port}: {} {}",
                    answer.head.start,
                    answer.text()
                );
            }
        }
    }
    let answer = proxy.exchange(connect(proxy.address));
    assert_eq!(answer.status(), 403);
    proxy.record("the rule", |record| is_rule(record, "own_listener"));
}

#[test]
fn connect_ports_are_443_by_default() {
    let setup = Setup::new();
    // The base configuration opens them, so this one is written in full.
    let yaml = format!(
        "version: 1\ntollgate:\n  listeners: [{{ address: \"{}\" }}]\n  auth: {{ realm: r, htpasswd: users.htpasswd }}\n  \
         admin: {{ address: \"{}\" }}\n  egress: {{ allow_networks: [\"127.0.0.0/8\"] }}\n  \
         log: {{ access: access.log, format: json }}\n",
        setup.address(),
        setup.admin_address()
    );
    let proxy = setup.whole(&yaml).start();
    let origin = Origin::ok("reached");
    let answer = proxy.exchange(connect(origin.address));
    assert_eq!(answer.status(), 403);
    proxy.record("the rule", |record| is_rule(record, "connect_ports"));
    origin.assert_untouched();
    assert_ne!(proxy.exchange(connect("127.0.0.1:443")).status(), 403);
    // http_ports are any by default.
    assert_eq!(
        proxy.fetch(&format!("http://{}/", origin.address)).text(),
        "reached"
    );
}

#[test]
fn http_ports_restrict_forwarding_alone() {
    let (open, shut) = (Origin::ok("open"), Origin::ok("shut"));
    let proxy = Proxy::start(&format!("egress: {{ http_ports: [{}] }}", open.port()));
    assert_eq!(
        proxy.fetch(&format!("http://{}/", open.address)).text(),
        "open"
    );
    let answer = proxy.fetch(&format!("http://{}/", shut.address));
    assert_eq!(answer.status(), 403);
    shut.assert_untouched();
    assert_eq!(proxy.exchange(connect(shut.address)).status(), 200);
}

#[test]
fn denied_networks_win_over_allowed_ones() {
    let (open, shut) = (
        Origin::ok("open"),
        Origin::bind("127.0.0.7:0", |_, _| Ok(())),
    );
    let proxy = Proxy::start("egress: { deny_networks: [\"127.0.0.7/32\"] }");
    assert_eq!(
        proxy.fetch(&format!("http://{}/", open.address)).text(),
        "open"
    );
    assert_eq!(
        proxy.fetch(&format!("http://{}/", shut.address)).status(),
        403
    );
    assert_eq!(proxy.exchange(connect(shut.address)).status(), 403);
    proxy.record("the rule", |record| is_rule(record, "deny_networks"));
    shut.assert_untouched();
}

#[test]
fn domains_are_denied_and_allowed() {
    let dns = Dns::with(60, |_, _| Some(vec!["127.0.0.1".parse().unwrap()]));
    let origin = Origin::ok("in");
    let denying = Proxy::start(&format!(
        "egress: {{ deny_domains: [\"bad.test\"] }}\n{}",
        dns.config()
    ));
    let allowing = Proxy::start(&format!(
        "egress: {{ allow_domains: [\"good.test\"] }}\n{}",
        dns.config()
    ));
    for (proxy, host, status) in [
        (&denying, "bad.test", 403),
        (&denying, "BAD.test", 403),
        (&denying, "bad.test.", 403),
        (&denying, "notbad.test", 200),
        (&denying, "bad.test.example.test", 200),
        (&allowing, "good.test", 200),
        (&allowing, "GOOD.TEST.", 200),
        (&allowing, "other.test", 403),
        (&allowing, "good.test.evil.test", 403),
    ] {
        for answer in attempt(proxy, host, origin.port()) {
            assert_eq!(answer.status(), status, "{host}");
        }
    }
}

// Case 39: lists are reloaded as a whole, and a broken one keeps the old.
#[test]
fn domain_lists_are_reloaded() {
    let dns = Dns::with(60, |_, _| Some(vec!["127.0.0.1".parse().unwrap()]));
    let proxy = Setup::new()
        .file("deny.txt", "# denied\nold.test\n")
        .config(&format!(
            "egress: {{ deny_domains: [\"@deny.txt\"] }}\n{}",
            dns.config()
        ))
        .start();
    let origin = Origin::ok("in");
    let status = |host: &str| {
        let url = format!("http://{host}:{}/", origin.port());
        proxy.fetch(&url).status()
    };
    assert_eq!((status("old.test"), status("new.test")), (403, 200));
    // A tunnel and a connection that are there stay.
    let echo = Origin::echo();
    let mut tunnel = proxy.tunnel(echo.address);
    std::fs::write(proxy.path("deny.txt"), "new.test\n").unwrap();
    proxy.signal(Signal::HUP);
    eventually("the list to be reloaded", || {
        (status("new.test") == 403).then_some(())
    });
    assert_eq!(status("old.test"), 200);

    std::fs::write(proxy.path("deny.txt"), "http://not a domain/\n").unwrap();
    proxy.signal(Signal::HUP);
    eventually("the list to be refused", || {
        (proxy.errors() + &proxy.output())
            .contains("deny.txt")
            .then_some(())
    });
    assert_eq!((status("old.test"), status("new.test")), (200, 403));
    tunnel.send("ping").unwrap();
    assert_eq!(tunnel.read_bytes(4).unwrap(), b"ping");
}
