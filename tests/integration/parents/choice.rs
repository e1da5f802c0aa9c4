//! Which parent takes a request, which of its URLs, and what follows when none can.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::dns::Dns;
use crate::support::eventually;
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::port::Port;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, connect, fetch, request_of};

/// A parent that opens a tunnel and says its name in it.
fn parent(name: &'static str) -> Origin {
    Origin::raw(move |mut wire, seen| {
        let Some(request) = wire.request()? else {
            return Ok(());
        };
        seen.keep(request);
        wire.send(format!("HTTP/1.1 200 OK\r\n\r\n{name}\n"))?;
        wire.read_to_end().map(drop)
    })
}

/// Who answers a tunnel of this user.
fn asked_by(proxy: &Proxy, user: (&str, &str), target: &str) -> String {
    let mut wire = proxy.connect();
    let answer = wire.exchange(request_of(user, "CONNECT", target));
    if answer.status() != 200 {
        return format!(
            "{} {}",
            answer.status(),
            answer.text().lines().last().unwrap_or_default()
        );
    }
    let line = wire.read_until(b"\n").unwrap();
    String::from_utf8(line).unwrap().trim().to_owned()
}

fn asked(proxy: &Proxy, target: &str) -> String {
    asked_by(proxy, ALICE, target)
}

#[test]
fn by_rule_by_script_by_default_and_not_by_no_proxy() {
    let (rule, script, default) = (parent("rule"), parent("script"), parent("default"));
    let own = Origin::raw(|mut wire, _| wire.send("direct\n"));
    let dns = Dns::table(&[
        ("a.rule.test", &["127.0.0.1"]),
        ("a.script.test", &["127.0.0.1"]),
        ("a.own.test", &["127.0.0.1"]),
        ("a.other.test", &["127.0.0.1"]),
        ("a.near.test", &["127.0.0.1"]),
    ]);
    let proxy = Setup::new()
        .config(&format!(
            "dns: {{ servers: ['{}'] }}
parents:
  r: {{ urls: ['http://{}'] }}
  s: {{ urls: ['http://{}'] }}
  d: {{ urls: ['http://{}'] }}
via: d
no_proxy: [.own.test, 127.0.0.0/30]
scripts:
  - name: way
    roles: [tunnel]
    source: |
      fn route(r) {{ if r.host_under(\"script.test\") || r.host_under(\"rule.test\") {{ r.via(\"s\"); }} if r.host_under(\"near.test\") {{ r.via(\"direct\"); }} }}
policy: {{ rules: [{{ name: ruled, action: admit, domains: [.rule.test], via: r }}] }}
",
            dns.address, rule.address, script.address, default.address
        ))
        .start();
    for (host, expected) in [
        ("a.rule.test", "rule"),
        ("a.script.test", "script"),
        ("a.own.test", "direct"),
        ("a.near.test", "direct"),
        // A network of no_proxy counts for the address of a name that is resolved here.
        ("a.other.test", "direct"),
    ] {
        assert_eq!(
            asked(&proxy, &format!("{host}:{}", own.port())),
            expected,
            "{host}"
        );
    }
    proxy.rewrite("no_proxy: [.own.test]");
    assert_eq!(proxy.reload().status(), 200);
    assert_eq!(
        asked(&proxy, &format!("a.other.test:{}", own.port())),
        "default"
    );
    // A parent is told the address, and this proxy is in its Via.
    let seen = default.request();
    assert_eq!(seen.head.target(), format!("127.0.0.1:{}", own.port()));
    assert!(
        seen.head
            .fields
            .value("via")
            .unwrap()
            .starts_with("1.1 tollgate-"),
        "{:?}",
        seen.head.fields
    );
}

#[test]
fn urls_take_turns_as_choose_says() {
    let parents = [parent("one"), parent("two"), parent("three")];
    let urls = parents.iter().map(|it| format!("'http://{}'", it.address));
    let urls = urls.collect::<Vec<_>>().join(", ");
    let start = |choose: &str| {
        Proxy::start(&format!(
            "parents: {{ p: {{ urls: [{urls}], choose: {choose} }} }}\nvia: p"
        ))
    };
    let several = |proxy: &Proxy, user| -> Vec<String> {
        (0..6)
            .map(|_| asked_by(proxy, user, "127.0.0.1:9"))
            .collect()
    };
    assert_eq!(several(&start("failover"), ALICE), ["one"; 6]);
    let turns = several(&start("round_robin"), ALICE);
    for name in ["one", "two", "three"] {
        assert_eq!(
            turns.iter().filter(|it| *it == name).count(),
            2,
            "{turns:?}"
        );
    }
    let proxy = start("hash_user");
    let (of_alice, of_bob) = (several(&proxy, ALICE), several(&proxy, BOB));
    for turns in [&of_alice, &of_bob] {
        assert!(turns.iter().all(|it| it == &turns[0]), "{turns:?}");
    }
    // Another process sends the same user to the same one.
    assert_eq!(several(&start("hash_user"), ALICE), of_alice);
    let proxy = start("least");
    let open: Vec<_> = (0..3)
        .map(|_| {
            let mut wire = proxy.tunnel("127.0.0.1:9");
            let line = wire.read_until(b"\n").unwrap();
            (wire, String::from_utf8(line).unwrap())
        })
        .collect();
    let mut names: Vec<_> = open.iter().map(|(_, name)| name.trim()).collect();
    names.sort_unstable();
    assert_eq!(names, ["one", "three", "two"]);
}

#[test]
fn a_url_that_fails_is_passed_over() {
    let good = parent("good");
    let bad = Port::reserve();
    let origin = Origin::ok("never");
    let proxy = Proxy::start(&format!(
        "parents: {{ p: {{ urls: ['http://{}', 'http://{}'], health: {{ interval: 1h }} }} }}\nvia: p",
        bad.address, good.address
    ));
    for _ in 0..4 {
        assert_eq!(asked(&proxy, "127.0.0.1:9"), "good");
    }
    // Requests of the role forward too; the parent is no server for them, and says so.
    let answer = proxy.exchange(fetch(&format!("http://127.0.0.1:{}/", origin.port())));
    assert_eq!(answer.status(), 502, "{}", answer.text());
    let up = |address| {
        proxy.metric(&format!(
            "tollgate_parent_up{{parent=\"p\",url=\"http://{address}\"}}"
        ))
    };
    assert_eq!((up(bad.address), up(good.address)), (0, 1));
    assert!(proxy.metric("tollgate_parent_dials_total{parent=\"p\",result=\"failed\"}") >= 3);
    let stats = proxy.admin("/stats").text();
    let stats: serde_json::Value = serde_json::from_str(&stats).unwrap();
    assert_eq!(stats["parents"][0]["up"], false, "{stats}");
    assert_eq!(stats["parents"][1]["up"], true, "{stats}");
}

#[test]
fn without_a_url_the_fallback_decides() {
    let nothing = Port::reserve();
    let other = parent("other");
    let direct = Origin::raw(|mut wire, _| wire.send("direct\n"));
    let page = Origin::ok("page");
    for (fallback, names, expected) in [
        ("none", "resolved", "502 parent_failed"),
        ("direct", "resolved", "direct"),
        ("direct", "client", "direct"),
        ("q", "resolved", "other"),
        ("q", "client", "other"),
    ] {
        let proxy = Proxy::start(&format!(
            "parents:
  p: {{ urls: ['http://{}'], names: {names}, fallback: {fallback} }}
  q: {{ urls: ['http://{}'], names: {names} }}
via: p",
            nothing.address, other.address
        ));
        for _ in 0..5 {
            let found = asked(&proxy, &format!("localhost:{}", direct.port()));
            assert!(found.starts_with(expected), "{fallback} {names}: {found}");
        }
        if fallback == "direct" {
            let answer = proxy.fetch(&format!("http://localhost:{}/", page.port()));
            assert_eq!(
                (answer.status(), answer.text().as_str()),
                (200, "page"),
                "{names}"
            );
        }
    }
    // The guard holds for what goes to its target after all.
    let proxy = Proxy::start(&format!(
        "parents: {{ p: {{ urls: ['http://{}'], names: client, fallback: direct }} }}
via: p
egress: {{ allow_networks: [] }}",
        nothing.address
    ));
    let found = asked(&proxy, &format!("localhost:{}", direct.port()));
    assert!(
        found.starts_with("403 destination_ip_prohibited"),
        "{found}"
    );
}

/// What a parent refuses never goes another way.
#[test]
fn a_refusal_has_no_fallback() {
    for status in [
        "403 Forbidden",
        "407 Proxy Authentication Required",
        "502 Bad Gateway",
    ] {
        let refusing = Origin::raw(move |mut wire, _| {
            wire.read_head()?;
            wire.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"))
        });
        let other = parent("other");
        let target = Origin::echo();
        let proxy = Proxy::start(&format!(
            "parents: {{ p: {{ urls: ['http://{}', 'http://{}'], fallback: direct }} }}\nvia: p",
            refusing.address, other.address
        ));
        let answer = proxy.exchange(connect(target.address));
        assert_eq!(answer.status(), 502, "{status}");
        target.assert_untouched();
        // Its health is checked, and it gets no request.
        assert!(other.requests().is_empty());
    }
}

#[test]
fn health_checks_take_a_url_out_and_bring_it_back() {
    let works = Arc::new(AtomicBool::new(true));
    let now = Arc::clone(&works);
    let checked = Origin::raw(move |mut wire, _| {
        let Some(head) = wire.read_head()? else {
            return Ok(());
        };
        match now.load(Ordering::SeqCst) {
            true => wire.send("HTTP/1.1 200 OK\r\n\r\nfirst\n")?,
            false => wire.send("HTTP/1.1 503 No\r\n\r\n")?,
        }
        assert_eq!(head.method(), "CONNECT");
        wire.read_to_end().map(drop)
    });
    let second = parent("second");
    let proxy = Proxy::start(&format!(
        "parents: {{ p: {{ urls: ['http://{}', 'http://{}'], health: {{ interval: 50ms, rise: 1, fall: 1, connect: 'a.test:443' }} }} }}
via: p",
        checked.address, second.address
    ));
    assert_eq!(asked(&proxy, "127.0.0.1:9"), "first");
    works.store(false, Ordering::SeqCst);
    eventually("the second one", || {
        (asked(&proxy, "127.0.0.1:9") == "second").then_some(())
    });
    assert!(
        proxy.errors().contains("is down: it answers 503"),
        "{}",
        proxy.errors()
    );
    works.store(true, Ordering::SeqCst);
    eventually("the first one", || {
        (asked(&proxy, "127.0.0.1:9") == "first").then_some(())
    });
}

#[test]
fn a_full_parent_has_a_queue() {
    let full = parent("full");
    let proxy = Proxy::start(&format!(
        "parents: {{ p: {{ urls: ['http://{}'], max_connections: 1, queue_timeout: 200ms, health: {{ interval: 1h }} }} }}\nvia: p",
        full.address
    ));
    let open = proxy.tunnel("127.0.0.1:9");
    let answer = proxy.exchange(connect("127.0.0.1:9"));
    assert_eq!(answer.status(), 503, "{}", answer.text());
    assert!(
        answer.text().contains("parent_queue_timeout") && answer.head.fields.has("retry-after")
    );
    drop(open);
    eventually("a place", || {
        (asked(&proxy, "127.0.0.1:9") == "full").then_some(())
    });
}

/// The second address of a target, where the parent does not reach the first.
#[test]
fn the_next_address_is_tried() {
    let dns = Dns::table(&[("two.test", &["127.0.0.2", "127.0.0.3"])]);
    let parent = Origin::raw(|mut wire, seen| {
        let Some(request) = wire.request()? else {
            return Ok(());
        };
        let reaches = request.head.target().starts_with("127.0.0.3");
        seen.keep(request);
        match reaches {
            true => wire.send("HTTP/1.1 200 OK\r\n\r\nthree\n")?,
            false => wire.send("HTTP/1.1 503 Service Unavailable\r\n\r\n")?,
        }
        wire.read_to_end().map(drop)
    });
    let proxy = Proxy::start(&format!(
        "dns: {{ servers: ['{}'] }}\nparents: {{ p: {{ urls: ['http://{}'], health: {{ interval: 1h }} }} }}\nvia: p",
        dns.address, parent.address
    ));
    assert_eq!(asked(&proxy, "two.test:9"), "three");
    assert_eq!(parent.requests().len(), 2);
    // It is remembered.
    assert_eq!(asked(&proxy, "two.test:9"), "three");
    assert_eq!(parent.requests().len(), 3);
}

/// SOCKS5 has no `Via`: what leads here is refused as a target and as a parent.
#[test]
fn over_socks5_own_addresses_are_refused() {
    let dns = Dns::table(&[("here.test", &["127.0.0.1"])]);
    let setup = Setup::new();
    let own = setup.address();
    let other = parent("other");
    let proxy = setup
        .config(&format!(
            "dns: {{ servers: ['{}'] }}
parents:
  here: {{ urls: ['socks5://here.test:{}'], health: {{ interval: 1h }} }}
  other: {{ urls: ['socks5://{}'], health: {{ interval: 1h }} }}
via: other
policy: {{ rules: [{{ name: r, action: admit, ports: [9], via: here }}] }}",
            dns.address,
            own.port(),
            other.address
        ))
        .start();
    for target in [own.to_string(), format!("here.test:{}", own.port())] {
        let answer = proxy.exchange(connect(&target));
        assert_eq!(answer.status(), 403, "{}", answer.text());
        assert!(answer.text().contains("own_listener"), "{}", answer.text());
    }
    let answer = proxy.exchange(connect("127.0.0.1:9"));
    assert_eq!(answer.status(), 502, "{}", answer.text());
    let record = proxy.record("the parent that leads here", |it| {
        it["error"] == "parent_failed"
    });
    let detail = record["error_detail"].as_str().unwrap();
    assert!(detail.contains("own listeners"), "{record}");
    assert!(other.requests().is_empty());
}

/// A tunnel that leads to the second address of one name is not for another name, whose address that is not.
#[test]
fn tunnels_of_one_name_are_not_for_another() {
    let dns = Dns::table(&[
        ("two.test", &["127.0.0.2", "127.0.0.3"]),
        ("one.test", &["127.0.0.2"]),
    ]);
    let parent = Origin::raw(|mut wire, seen| {
        let Some(request) = wire.request()? else {
            return Ok(());
        };
        let reaches = request.head.target().starts_with("127.0.0.3");
        seen.keep(request);
        if !reaches {
            return wire.send("HTTP/1.1 503 Service Unavailable\r\n\r\n");
        }
        wire.send("HTTP/1.1 200 OK\r\n\r\n")?;
        while wire.read_head()?.is_some() {
            wire.send(ok("three"))?;
        }
        Ok(())
    });
    let proxy = Proxy::start(&format!(
        "dns: {{ servers: ['{}'] }}\nparents: {{ p: {{ urls: ['http://{}'], health: {{ interval: 1h }} }} }}\nvia: p",
        dns.address, parent.address
    ));
    for _ in 0..5 {
        assert_eq!(proxy.fetch("http://two.test:9/").text(), "three");
    }
    assert!(
        parent.requests().len() <= 4,
        "not pooled: {:?}",
        parent.requests()
    );
    assert_eq!(proxy.fetch("http://one.test:9/").status(), 502);
}
