//! IPv4 and IPv6 on one port, and clients that are IPv4 whichever socket took them.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::client::Wire;
use crate::support::command::{program, tollgate};
use crate::support::origin::Origin;
use crate::support::port::Port;
use crate::support::proxy::{Proxy, Setup, reload};
use crate::support::request::{auth, fetch};
use crate::support::tls::Authority;

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// A proxy on those addresses of one port, besides the usual listener.
fn proxy_on(port: u16, hosts: &[&str], more: &str) -> Proxy {
    setup_on(port, hosts).config(more).start()
}

fn setup_on(port: u16, hosts: &[&str]) -> Setup {
    let setup = Setup::new();
    let mut listeners = vec![format!("{{ address: \"{}\" }}", setup.address())];
    listeners.extend(
        hosts
            .iter()
            .map(|host| format!("{{ address: \"{host}:{port}\" }}")),
    );
    let yaml = format!("listeners: [{}]", listeners.join(", "));
    setup.config(&yaml)
}

/// The status that Alice gets at an address; none when nothing listens there.
fn status(address: SocketAddr, origin: &Origin) -> Option<u16> {
    let mut wire = Wire::connect(address).ok()?;
    Some(
        wire.exchange(fetch(&format!("http://{}/", origin.address)))
            .status(),
    )
}

#[test]
fn both_families_are_served_on_one_port() {
    let origin = Origin::ok("in");
    for hosts in [
        &["[::]"][..],
        &["[::]", "0.0.0.0"],
        &["0.0.0.0", "[::]"],
        &["127.0.0.1", "[::1]"],
        &["0.0.0.0", "[::1]"],
    ] {
        let reserved = Port::reserve();
        let port = reserved.address.port();
        let proxy = proxy_on(port, hosts, "log: {}");
        for ip in ["127.0.0.1", "::1"] {
            assert_eq!(status(at(ip, port), &origin), Some(200), "{hosts:?} {ip}");
        }
        drop(proxy);
    }
}

#[test]
fn each_family_has_its_own_settings_where_it_has_its_own_listener() {
    let authority = Authority::new();
    let identity = authority.issue(&["proxy.test"]);
    let (reserved, setup) = (Port::reserve(), Setup::new());
    let port = reserved.address.port();
    let yaml = format!(
        "listeners:
  - {{ address: \"{}\" }}
  - {{ address: \"[::]:{port}\", tls: {{ certificate: cert.pem, key: key.pem }} }}
  - {{ address: \"0.0.0.0:{port}\" }}",
        setup.address()
    );
    let setup = setup
        .file("cert.pem", &identity.certificate_pem)
        .file("key.pem", &identity.key_pem);
    let _proxy = setup.config(&yaml).start();
    let origin = Origin::ok("in");
    assert_eq!(status(at("127.0.0.1", port), &origin), Some(200));
    let socket = std::net::TcpStream::connect(at("::1", port)).unwrap();
    let mut wire = authority.wrap(socket, "proxy.test");
    assert_eq!(
        wire.exchange(fetch(&format!("http://{}/", origin.address)))
            .status(),
        200
    );
}

#[test]
fn addresses_that_collide_are_an_error_with_a_remedy() {
    for (hosts, expected) in [
        (
            ["0.0.0.0", "127.0.0.1"],
            "0.0.0.0 takes the connections to every IPv4 address",
        ),
        (
            ["[::]", "127.0.0.1"],
            "[::] takes the connections to every IPv4 address too",
        ),
        (
            ["[::1]", "[::]"],
            "[::] takes the connections to every IPv6 address",
        ),
        (["[::ffff:127.0.0.1]", "127.0.0.1"], "the same address as"),
    ] {
        let setup = setup_on(8890, &hosts);
        let path = setup.write();
        let outcome = tollgate(["check".as_ref(), "-c".as_ref(), path.as_os_str()]);
        assert_eq!(outcome.code(), Some(78), "{hosts:?}: {}", outcome.output());
        assert!(
            outcome.stderr.contains(expected),
            "{hosts:?}: {}",
            outcome.stderr
        );
        assert!(
            outcome.stderr.contains("its own port"),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn a_client_of_ipv4_is_one_everywhere() {
    let upstream = Origin::ok("behind");
    let reserved = Port::reserve();
    let port = reserved.address.port();
    let rules = format!(
        "gateway: {{ upstreams: [\"{}\"] }}\npolicy: {{ default: deny, rules: [ \
         {{ name: ipv4, action: admit, client_networks: [127.0.0.0/8] }} ] }}",
        upstream.address
    );
    let proxy = proxy_on(port, &["[::]"], &rules);
    let request = format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth());
    let answer = Wire::connect(at("127.0.0.1", port))
        .unwrap()
        .exchange(&request);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let record = proxy.record("the request", |record| record["rule"] == "ipv4");
    assert!(
        record["client"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{record}"
    );
    let head = upstream.request().head;
    assert_eq!(head.fields.value("x-forwarded-for"), Some("127.0.0.1"));
    let answer = Wire::connect(at("::1", port)).unwrap().exchange(&request);
    assert_eq!(answer.status(), 403);
}

#[test]
fn explain_takes_a_mapped_client_for_ipv4() {
    let setup = Setup::new().config("policy: { default: deny, rules: [{ name: v4, action: admit, client_networks: [192.0.2.0/24] }] }");
    let path = setup.write();
    let outcome = tollgate([
        "explain".as_ref(),
        "-c".as_ref(),
        path.as_os_str(),
        "--user".as_ref(),
        "alice".as_ref(),
        "--client".as_ref(),
        "::ffff:192.0.2.7".as_ref(),
        "--target".as_ref(),
        "/".as_ref(),
    ]);
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    assert!(!outcome.stdout.contains("ffff"), "{}", outcome.stdout);
}

/// The proxy cannot be used to reach its own port, by whichever address.
#[test]
fn the_port_is_out_of_reach_through_the_proxy() {
    let reserved = Port::reserve();
    let port = reserved.address.port();
    let proxy = proxy_on(
        port,
        &["[::]"],
        "egress: { allow_networks: [127.0.0.0/8, \"::/64\"] }",
    );
    for host in [
        "127.0.0.1",
        "127.9.9.9",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[::]",
    ] {
        let (answer, record) = proxy.ask(fetch(&format!("http://{host}:{port}/")));
        assert_eq!(answer.status(), 403, "{host}");
        let rule = record["rule"].as_str().unwrap();
        assert!(
            rule == "own_listener" || rule.starts_with("special_purpose"),
            "{host}: {rule}"
        );
    }
}

/// The next program of the same configuration, which takes over.
struct Successor(Child);

impl Successor {
    fn of(proxy: &Proxy) -> Self {
        let child = Command::new(program())
            .args(["-u", "-c"])
            .arg(proxy.path("pingora.yaml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _already_gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// An upgrade finds both sockets, whether `[::]` was alone before or is alone now.
#[test]
fn an_upgrade_works_between_the_ways_to_write_it() {
    let origin = Origin::ok("in");
    for (before, after) in [
        (&["[::]"][..], &["[::]", "0.0.0.0"][..]),
        (&["[::]", "0.0.0.0"], &["[::]"]),
        (&["[::]"], &["0.0.0.0"]),
        (&["0.0.0.0"], &["[::]"]),
    ] {
        let reserved = Port::reserve();
        let port = reserved.address.port();
        let mut proxy = proxy_on(port, before, "timeouts: { drain: 1s }");
        let listeners = std::iter::once(format!("{{ address: \"{}\" }}", proxy.address)).chain(
            after
                .iter()
                .map(|host| format!("{{ address: \"{host}:{port}\" }}")),
        );
        let listeners: Vec<_> = listeners.collect();
        proxy.rewrite(&format!("listeners: [{}]", listeners.join(", ")));
        let said = reload(proxy.admin_address()).text();
        assert!(
            said.contains("tollgate.listeners[1].address") || said.contains("listeners[2]"),
            "{said}"
        );
        proxy.signal(Signal::QUIT);
        let successor = Successor::of(&proxy);
        assert!(
            proxy.wait_exit(Duration::from_secs(30)).success(),
            "{before:?} to {after:?}"
        );
        assert_eq!(
            status(at("127.0.0.1", port), &origin),
            Some(200),
            "{before:?} to {after:?}"
        );
        if after.contains(&"[::]") {
            assert_eq!(
                status(at("::1", port), &origin),
                Some(200),
                "{before:?} to {after:?}"
            );
        }
        drop(successor);
    }
}
