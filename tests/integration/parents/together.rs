//! SOCKS5 in front, a parent behind, and the ClientHello judged between them.

use crate::support::hello::{Server, UNRECOGNIZED_NAME, closed, hello};
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB};
use crate::support::socks5;

/// A proxy with SOCKS5 whose way out is `far`.
fn near(far: &Proxy, keys: &str, terms: &str) -> Proxy {
    socks5::setup("also")
        .file("far.secret", BOB.1)
        .config(&format!(
            "secrets: {{ far: {{ file: far.secret, clear_text: true }} }}
parents: {{ far: {{ urls: ['http://{}'], user: bob, password: far, {keys} }} }}
via: far
{terms}",
            far.address
        ))
        .start()
}

#[test]
fn a_tunnel_by_socks5_through_a_parent_is_bound_to_its_host() {
    for names in ["names: resolved", "names: client"] {
        let far = Setup::new().start();
        let open = |proxy: &Proxy, server: &Server| {
            let request = socks5::name(1, "a.localhost", server.origin.port());
            let (code, mut wire) = socks5::ask(proxy, ALICE, &request);
            assert_eq!(code, 0, "{names}");
            // The server speaks first, and is not held up.
            assert_eq!(wire.read_bytes(2).unwrap(), b"hi", "{names}");
            wire
        };
        let (proxy, server) = (
            near(&far, names, "tunnel: { sni: match }"),
            Server::new(b"hi"),
        );
        let mut wire = open(&proxy, &server);
        let same = hello("a.localhost");
        wire.send(&same).unwrap();
        drop(wire);
        assert_eq!(server.got(), same, "{names}");
        let record = closed(&proxy);
        assert_eq!(record["sni"], "a.localhost", "{record}");
        assert_eq!(record["parent"], "far", "{record}");
        assert_eq!(record["version"], "SOCKS5", "{record}");
        assert_eq!(record["bytes_from_upstream"], 2, "{record}");

        let (proxy, server) = (
            near(&far, names, "tunnel: { sni: match }"),
            Server::new(b"hi"),
        );
        let mut wire = open(&proxy, &server);
        wire.send(hello("b.localhost")).unwrap();
        assert_eq!(wire.read_to_end().unwrap(), UNRECOGNIZED_NAME, "{names}");
        assert_eq!(server.got(), b"", "{names}: nothing goes upstream");
        let record = closed(&proxy);
        assert_eq!(record["error"], "sni_mismatch", "{record}");
    }
}

/// The terms are those of the rule that admits the address that the parent was asked for.
#[test]
fn the_terms_of_a_tunnel_through_a_parent_are_those_of_its_address() {
    let far = Setup::new().start();
    let rules = "policy: { default: deny, rules: [
  { name: local, action: admit, networks: [127.0.0.0/8], tunnel: { sni: match } },
  { name: all, action: admit } ] }";
    let (proxy, server) = (near(&far, "names: resolved", rules), Server::new(b"hi"));
    let request = socks5::name(1, "a.localhost", server.origin.port());
    let (code, mut wire) = socks5::ask(&proxy, ALICE, &request);
    assert_eq!(code, 0);
    assert_eq!(wire.read_bytes(2).unwrap(), b"hi");
    wire.send(hello("b.localhost")).unwrap();
    assert_eq!(wire.read_to_end().unwrap(), UNRECOGNIZED_NAME);
    assert_eq!(closed(&proxy)["rule"], "local");
}
