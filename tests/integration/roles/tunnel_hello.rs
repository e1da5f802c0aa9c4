//! `tunnel`: the first bytes of a client are judged before one of them goes upstream.

use serde_json::Value;

use crate::support::dns::Dns;
use crate::support::hello::{
    ACCESS_DENIED, MATCH, Server, UNRECOGNIZED_NAME, assert_carried, assert_refused, closed, hello,
};
use crate::support::http2::{Client, read_all, run, send_all};
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, auth, connect};
use crate::support::tls::Authority;

#[test]
fn a_hello_for_another_host_gets_an_alert_and_nothing_goes_upstream() {
    let other = hello("b.localhost");
    let record = assert_refused(
        MATCH,
        "a.localhost",
        &other,
        &UNRECOGNIZED_NAME,
        "sni_mismatch",
    );
    assert_eq!(record["rule"], "tunnel_hello");
    assert_eq!(record["sni"], "b.localhost");
    assert!(
        record["ja4"].as_str().unwrap().starts_with("t13d"),
        "{record}"
    );
    // A subdomain is another host, and so is the parent.
    for (host, sni) in [
        ("a.localhost", "x.a.localhost"),
        ("x.a.localhost", "a.localhost"),
    ] {
        assert_refused(MATCH, host, &hello(sni), &UNRECOGNIZED_NAME, "sni_mismatch");
    }
}

#[test]
fn a_hello_for_the_host_is_carried_whatever_its_spelling() {
    let same = hello("a.localhost");
    let record = assert_carried(MATCH, "a.localhost", &[&same]);
    assert_eq!(record["sni"], "a.localhost", "{record}");
    assert_eq!(record["alpn"], Value::Null, "{record}");
    // What the client sends right behind it is not lost, and the names are compared as the policy has them.
    let upper = same.iter().map(u8::to_ascii_uppercase).collect::<Vec<_>>();
    let at = same
        .windows(11)
        .position(|part| part == b"a.localhost")
        .unwrap();
    let spelled = [&same[..at], &upper[at..at + 11], &same[at + 11..], b"more"].concat();
    let record = assert_carried(MATCH, "A.LocalHost.", &[&spelled]);
    assert_eq!(record["sni"], "A.LOCALHOST", "{record}");
}

#[test]
fn a_name_that_is_missing_and_targets_that_are_addresses() {
    // An address as the name of a server: rustls sends no SNI for it.
    let none = hello("127.0.0.1");
    assert_refused(
        MATCH,
        "a.localhost",
        &none,
        &UNRECOGNIZED_NAME,
        "sni_missing",
    );
    assert_carried(MATCH, "127.0.0.1", &[&none]);
    let name = hello("a.localhost");
    assert_refused(
        MATCH,
        "127.0.0.1",
        &name,
        &UNRECOGNIZED_NAME,
        "sni_mismatch",
    );
    let present = "tunnel: { sni: present }";
    assert_refused(
        present,
        "127.0.0.1",
        &none,
        &UNRECOGNIZED_NAME,
        "sni_missing",
    );
    let record = assert_carried(present, "127.0.0.1", &[&name]);
    assert_eq!(record["sni"], "a.localhost");
}

#[test]
fn ech_is_admitted_unless_it_is_denied() {
    // Chromium 156, with GREASE: what it sends to each server.
    let chromium = include_bytes!("../../../fuzz/corpus/client_hello/chromium");
    let dns = Dns::table(&[("name.example", &["127.0.0.1"])]);
    let with = |tunnel: &str| format!("dns: {{ servers: ['{}'] }}\ntunnel: {tunnel}", dns.address);
    let record = assert_carried(&with("{ sni: match }"), "name.example", &[chromium]);
    assert_eq!(record["ech"], "offered", "{record}");
    assert_eq!(record["alpn"], "h2,http/1.1", "{record}");
    assert_eq!(
        record["ja4"], "t13d1517h2_8daaf6152771_cb7bf5808d99",
        "{record}"
    );
    let denied = with("{ ech: deny }");
    assert_refused(
        &denied,
        "name.example",
        chromium,
        &UNRECOGNIZED_NAME,
        "ech_denied",
    );
}

#[test]
fn a_server_that_speaks_first_is_not_held_up() {
    // Nothing is asked of SSH, and whatever else is asked, its server's words pass at once.
    for yaml in ["tunnel: { sni: match, non_tls: admit }", MATCH] {
        let (proxy, server) = (Proxy::start(yaml), Server::new(b"SSH-2.0-server\r\n"));
        let mut wire = proxy.tunnel(server.target("a.localhost"));
        assert_eq!(wire.read_until(b"\n").unwrap(), b"SSH-2.0-server\r\n");
        wire.send("SSH-2.0-client\r\n").unwrap();
        let is_admitted = yaml != MATCH;
        if is_admitted {
            wire.finish().unwrap();
        }
        wire.assert_closed();
        let got = server.got();
        assert_eq!(got == b"SSH-2.0-client\r\n", is_admitted);
        let record = closed(&proxy);
        assert_eq!(record["bytes_from_upstream"], 16, "{record}");
        assert_eq!(record["bytes_from_client"], got.len(), "{record}");
    }
}

#[test]
fn a_hello_that_came_with_the_connect_is_judged_as_well() {
    for (name, is_admitted) in [("a.localhost", true), ("b.localhost", false)] {
        let (proxy, server) = (Proxy::start(MATCH), Server::new(b""));
        let mut wire = proxy.connect();
        let hello = hello(name);
        let both = [connect(server.target("a.localhost")).as_bytes(), &hello].concat();
        wire.send(both).unwrap();
        assert_eq!(wire.read_head().unwrap().unwrap().status(), 200);
        if is_admitted {
            wire.finish().unwrap();
            wire.assert_closed();
            assert_eq!(server.got(), hello);
        } else {
            assert_eq!(wire.read_to_end().unwrap(), UNRECOGNIZED_NAME);
            assert_eq!(server.got(), b"");
        }
    }
}

#[test]
fn streams_of_http2_and_tls_listeners_are_judged_too() {
    let proxy = Proxy::start(MATCH);
    for (name, is_admitted) in [("a.localhost", true), ("b.localhost", false)] {
        let server = Server::new(b"");
        let hello = hello(name);
        run(async {
            let mut client = Client::connect(proxy.address).await;
            let (mut send, mut receive) = client.tunnel(server.target("a.localhost")).await;
            for byte in hello.chunks(100) {
                send_all(&mut send, byte, false).await.unwrap();
            }
            if is_admitted {
                send_all(&mut send, b"", true).await.unwrap();
                assert_eq!(read_all(&mut receive).await.unwrap(), b"");
            } else {
                assert_eq!(read_all(&mut receive).await.unwrap(), UNRECOGNIZED_NAME);
            }
        });
        let expected = if is_admitted { &hello[..] } else { b"" };
        assert_eq!(server.got(), expected);
    }
    let authority = Authority::new();
    let proxy = Setup::new()
        .tls(&authority.issue(&["127.0.0.1"]))
        .config(MATCH)
        .start();
    let server = Server::new(b"hi");
    let socket = std::net::TcpStream::connect(proxy.secure_address()).unwrap();
    let mut wire = authority.wrap(socket, "127.0.0.1");
    let answer = wire.exchange(connect(server.target("a.localhost")));
    assert_eq!(answer.status(), 200);
    assert_eq!(wire.read_bytes(2).unwrap(), b"hi");
    wire.send(hello("b.localhost")).unwrap();
    assert_eq!(wire.read_to_end().unwrap(), UNRECOGNIZED_NAME);
    assert_eq!(server.got(), b"");
}

#[test]
fn rules_have_terms_of_their_own() {
    let yaml = |port: u16| {
        format!(
            "
tunnel: {{ sni: match }}
policy:
  default: deny
  rules:
    - name: plain
      action: admit
      ports: [{port}]
      tunnel: {{ sni: 'off', non_tls: admit }}
    - name: by-name
      action: admit
      domains: [b.localhost]
      tunnel: {{ when: 'tls.sni == \"b.localhost\" && !(\"h2\" in tls.alpn) && user.name == \"alice\" && !tls.ech' }}
    - name: by-client
      action: admit
      domains: [c.localhost]
      tunnel: {{ sni: 'off', when: 'tls.ja4.startsWith(\"t12\")' }}
    - name: rest
      action: admit
"
        )
    };
    let plain = Server::new(b"");
    let proxy = Proxy::start(&yaml(plain.origin.port()));
    let ask = |host: &str, server: &Server, bytes: &[u8]| {
        let before = proxy.records().len();
        let mut wire = proxy.tunnel(server.target(host));
        wire.send(bytes).unwrap();
        wire.finish().unwrap();
        let answer = wire.rest();
        let record = proxy.wait_records(before + 1).remove(before);
        (answer, record)
    };
    let (_, record) = ask("a.localhost", &plain, b"anything");
    assert_eq!(record["error"], Value::Null, "{record}");
    assert_eq!(record["ja4"], Value::Null, "{record}");
    for (host, sni, alert, error, rule) in [
        ("b.localhost", "b.localhost", &b""[..], None, "by-name"),
        (
            "b.localhost",
            "a.localhost",
            &UNRECOGNIZED_NAME,
            Some("sni_mismatch"),
            "by-name",
        ),
        (
            "c.localhost",
            "x.localhost",
            &ACCESS_DENIED,
            Some("http_request_denied"),
            "by-client",
        ),
        ("d.localhost", "d.localhost", b"", None, "rest"),
        (
            "d.localhost",
            "e.localhost",
            &UNRECOGNIZED_NAME,
            Some("sni_mismatch"),
            "rest",
        ),
    ] {
        let server = Server::new(b"");
        let (answer, record) = ask(host, &server, &hello(sni));
        assert_eq!(answer, alert, "{record}");
        assert_eq!(record["error"].as_str(), error, "{record}");
        // The terms for all tunnels are not those of a rule that has none.
        let expected = match (rule, error) {
            ("rest", Some(_)) => "tunnel_hello",
            _ => rule,
        };
        assert_eq!(record["rule"], expected, "{record}");
        assert_eq!(record["user"], ALICE.0);
    }
}

#[test]
fn a_reload_changes_the_terms_of_new_tunnels() {
    let proxy = Proxy::plain();
    let server = Server::new(b"");
    let mut open = proxy.tunnel(server.target("a.localhost"));
    proxy.rewrite(MATCH);
    let answer = proxy.reload();
    assert_eq!(answer.status(), 200, "{}", answer.text());
    // Of one that is open nothing is asked.
    open.send(hello("b.localhost")).unwrap();
    open.finish().unwrap();
    open.assert_closed();
    assert!(!server.got().is_empty());
    let server = Server::new(b"");
    let mut wire = proxy.tunnel(server.target("a.localhost"));
    wire.send(hello("b.localhost")).unwrap();
    assert_eq!(wire.read_to_end().unwrap(), UNRECOGNIZED_NAME);
}

#[test]
fn peek_reads_for_the_log_and_refuses_nothing() {
    let peek = "tunnel: { peek: true, hello_timeout: 300ms }";
    let record = assert_carried(peek, "a.localhost", &[hello("b.localhost")]);
    assert_eq!(record["sni"], "b.localhost", "{record}");
    for bytes in [
        &b"SSH-2.0-x\r\n"[..],
        &[22, 3, 1, 0, 0],
        &hello("a.localhost")[..50],
    ] {
        let record = assert_carried(peek, "a.localhost", &[bytes]);
        assert_eq!(record["ja4"], Value::Null, "{record}");
    }
    // Nothing is read where nobody asks.
    let record = assert_carried("{}", "a.localhost", &[hello("b.localhost")]);
    assert_eq!(record["sni"], Value::Null, "{record}");
}

#[test]
fn a_websocket_is_not_judged() {
    let proxy = Proxy::start(MATCH);
    let origin = Origin::raw(|mut wire, _| {
        wire.read_head()?;
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )?;
        let ping = wire.read_bytes(4)?;
        wire.send(ping)
    });
    let request = format!(
        "GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{1}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        origin.address,
        auth()
    );
    let mut wire = proxy.connect();
    assert_eq!(wire.exchange(request).status(), 101);
    wire.send("ping").unwrap();
    assert_eq!(wire.read_bytes(4).unwrap(), b"ping");
}

/// What passes before the verdict counts once, refused or not, and has the bandwidth of its class.
#[test]
fn bytes_before_the_verdict_are_charged() {
    let yaml = format!("{MATCH}\nlimits: {{ classes: [{{ name: all, download: 1MiB/s }}] }}");
    let greeting: &'static [u8] = &[b'x'; 100_000];
    let (proxy, server) = (Proxy::start(&yaml), Server::new(greeting));
    let series = |direction: &str| {
        format!("tollgate_class_bytes_total{{class=\"all\",direction=\"{direction}\"}}")
    };
    let mut sent = 0;
    for (number, name) in [(1, "a.localhost"), (2, "b.localhost")] {
        let mut wire = proxy.tunnel(server.target("a.localhost"));
        assert_eq!(
            wire.read_bytes(greeting.len()).unwrap().len(),
            greeting.len()
        );
        let hello = hello(name);
        wire.send(&hello).unwrap();
        if number == 1 {
            sent = hello.len() as u64;
            wire.finish().unwrap();
        }
        wire.rest();
        proxy.wait_records(number);
        let carried = proxy.metric(&series("to_client"));
        assert_eq!(carried, greeting.len() as u64 * number as u64, "{name}");
        assert_eq!(proxy.metric(&series("from_client")), sent, "{name}");
    }
}
