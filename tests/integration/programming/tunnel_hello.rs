//! The phase `tunnel_hello`: hooks and scripts see a ClientHello, and cut its tunnel.

use tollgate::hook::{Hook, Outcome, Phases, Traffic, Tunnel, TunnelFlow};

use crate::support::client::Wire;
use crate::support::command::tollgate;
use crate::support::embedded::Embedded;
use crate::support::hello::{ACCESS_DENIED, Server, closed, hello};
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::connect;

/// Cuts tunnels to another host than a.localhost.
struct Named;

impl Hook for Named {
    type State = ();

    fn phases(&self) -> Phases {
        Phases::TUNNEL_HELLO.and(Phases::TUNNEL_CLOSE)
    }

    fn tunnel_hello(&self, tunnel: &mut Tunnel<'_>, (): &mut ()) -> Outcome<TunnelFlow> {
        let hello = tunnel
            .hello()
            .ok_or("no hello")
            .map_err(std::io::Error::other)?;
        let sni = hello.sni().unwrap_or("none").to_owned();
        let alpn: Vec<&str> = hello.alpn().collect();
        assert!(alpn.is_empty() && !hello.has_ech() && hello.ja4().starts_with("t13"));
        tunnel.request.tag("sni", &sni)?;
        Ok(TunnelFlow::cut_if(sni != "a.localhost"))
    }

    fn tunnel_close(&self, tunnel: &mut Tunnel<'_>, _: Traffic, (): &mut ()) -> Outcome<()> {
        let has_hello = tunnel.hello().is_some();
        tunnel.request.tag("has-hello", &has_hello.to_string())?;
        Ok(())
    }
}

#[test]
fn a_hook_cuts_by_the_hello_before_a_byte_goes_upstream() {
    for (name, is_admitted) in [("a.localhost", true), ("b.localhost", false)] {
        let proxy = Embedded::start("  tunnel: { peek: true }\n", Named);
        let server = Server::new(b"");
        let mut wire = Wire::connect(proxy.address()).unwrap();
        let answer = wire.exchange(connect(server.target("c.localhost")));
        assert_eq!(answer.status(), 200);
        wire.send(hello(name)).unwrap();
        if is_admitted {
            wire.finish().unwrap();
        }
        let expected: &[u8] = if is_admitted { b"" } else { &ACCESS_DENIED };
        assert_eq!(wire.read_to_end().unwrap(), expected);
        assert_eq!(server.got().is_empty(), !is_admitted);
        let record = proxy.record_with(|record| record["event"] == "tunnel_close");
        assert_eq!(record["tags"]["sni"], name, "{record}");
        assert_eq!(record["tags"]["has-hello"], "true", "{record}");
        let reason = if is_admitted { "complete" } else { "hook" };
        assert_eq!(record["end_reason"], reason, "{record}");
    }
}

#[test]
fn a_hook_does_not_have_a_hello_read() {
    let proxy = Embedded::start("", Named);
    let server = Server::new(b"");
    let mut wire = Wire::connect(proxy.address()).unwrap();
    assert_eq!(
        wire.exchange(connect(server.target("c.localhost")))
            .status(),
        200
    );
    wire.send(hello("b.localhost")).unwrap();
    wire.finish().unwrap();
    wire.assert_closed();
    assert!(!server.got().is_empty());
    let record = proxy.record_with(|record| record["event"] == "tunnel_close");
    assert_eq!(record["tags"]["has-hello"], "false", "{record}");
    assert_eq!(record["tags"]["sni"], serde_json::Value::Null, "{record}");
}

const SCRIPT: &str = r#"
fn tunnel_hello(t) {
    t.tag("seen", `${t.sni} ${t.alpn.len()} ${t.ech} ${t.ja4.len()}`);
    if t.sni != t.host { return cut(); }
}
fn tunnel_close(t, total) { t.tag("later", t.sni ?? "none"); }
"#;

#[test]
fn a_script_cuts_by_the_hello() {
    let start = |tunnel: &str| -> Proxy {
        Setup::new()
            .file("t.rhai", SCRIPT)
            .config(&format!(
                "tunnel: {tunnel}\nscripts: [{{ name: named, file: t.rhai }}]"
            ))
            .start()
    };
    for (name, error) in [
        ("a.localhost", None),
        ("b.localhost", Some("http_request_denied")),
    ] {
        let (proxy, server) = (start("{ peek: true }"), Server::new(b""));
        let mut wire = proxy.tunnel(server.target("a.localhost"));
        wire.send(hello(name)).unwrap();
        if error.is_none() {
            wire.finish().unwrap();
        }
        let expected: &[u8] = if error.is_none() { b"" } else { &ACCESS_DENIED };
        assert_eq!(wire.read_to_end().unwrap(), expected);
        let record = closed(&proxy);
        assert_eq!(record["error"].as_str(), error, "{record}");
        assert_eq!(
            record["tags"]["seen"],
            format!("{name} 0 false 36"),
            "{record}"
        );
        assert_eq!(record["tags"]["later"], name, "{record}");
        assert_eq!(server.got().is_empty(), error.is_some());
    }
    // `explain` calls it for the hello that it is given, where it would be read.
    for (tunnel, name, expected) in [
        (
            "{ peek: true }",
            "a.localhost",
            "script named, tunnel_hello: goes on",
        ),
        (
            "{ peek: true }",
            "b.localhost",
            "script named, tunnel_hello: cuts the tunnel",
        ),
        ("{}", "b.localhost", ""),
        ("{ sni: match }", "b.localhost", ""),
    ] {
        let setup = Setup::new().file("t.rhai", SCRIPT).config(&format!(
            "tunnel: {tunnel}\nscripts: [{{ name: named, file: t.rhai }}]"
        ));
        let path = setup.write();
        let explain = |more: &[&str]| {
            let start = ["explain", "-c", path.to_str().unwrap(), "--user", "alice"];
            let target = ["--target", "a.localhost:443", "--resolve", "127.0.0.1"];
            tollgate(start.iter().chain(&target).chain(more))
        };
        let outcome = explain(&["--sni", name]);
        let text = &outcome.stdout;
        assert_eq!(
            text.contains("script named, tunnel_hello:"),
            !expected.is_empty(),
            "{text}"
        );
        assert!(
            text.contains(expected),
            "{tunnel} {name}: {}",
            outcome.output()
        );
        if expected.ends_with("cuts the tunnel") {
            assert!(text.starts_with("deny, by hook:named\n"), "{text}");
            assert_eq!(outcome.code(), Some(1));
            assert!(text.contains("b.localhost 0 false"), "{text}");
        }
        // Without one there is nothing to call it with.
        assert!(!explain(&[]).stdout.contains("script named, tunnel_hello:"));
    }
    // Where it is not read, the script sees nothing of it.
    let (proxy, server) = (start("{}"), Server::new(b""));
    let mut wire = proxy.tunnel(server.target("a.localhost"));
    wire.send(hello("b.localhost")).unwrap();
    wire.finish().unwrap();
    wire.assert_closed();
    assert!(!server.got().is_empty());
    assert_eq!(closed(&proxy)["tags"]["later"], "none");
}
