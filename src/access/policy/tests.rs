//! What all tests share, and the guard.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use proptest::prelude::*;

use super::special::special_purpose;
use super::*;
use crate::http::target::Host;

mod agreement;
mod allocation;
mod asking;
mod dead_rules;
mod evaluation;
mod hello;
mod paths;
pub(super) mod rule_text;
mod spellings;
mod upgrade;

fn networks(entries: &[&str]) -> Networks {
    Networks::parse(entries).unwrap()
}

fn domains(entries: &[&str]) -> DomainLists {
    Domains::parse(entries).unwrap().into()
}

fn authority(text: &str) -> Authority {
    text.parse().unwrap()
}

fn guarded(guard: Guard) -> Arc<Policy> {
    Arc::new(Policy::new(guard, Rules::default()))
}

fn request(destination: Destination<'_>) -> Request<'_> {
    Request {
        destination,
        scheme: None,
        method: match destination {
            Destination::Tunnel(_) => "CONNECT",
            Destination::Forward(_) | Destination::Gateway => "GET",
        },
        user: "alice",
        groups: &[],
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        time: SystemTime::UNIX_EPOCH,
        head: None,
        claims: &[],
        hello: None,
    }
}

/// An admission to any address on this port, by the guard's leave.
fn to_port(policy: &Arc<Policy>, port: u16) -> Admission {
    let authority = Authority {
        host: Host::Name("a.example".into()),
        port,
    };
    policy
        .admit_request(&request(Destination::Forward(&authority)))
        .unwrap()
}

/// What decides about an address, after `+` when it is admitted.
fn address_rule(policy: &Arc<Policy>, address: &str) -> String {
    let address: SocketAddr = address.parse().unwrap();
    match to_port(policy, address.port()).admit_address(address) {
        Ok(by) => format!("+{by}"),
        Err(denied) => {
            assert_eq!(denied.reason.kind(), "destination_ip_prohibited");
            denied.by.to_string()
        }
    }
}

/// What denies a target before it is resolved, or `+`.
fn target_rule(policy: &Arc<Policy>, role: Role, target: &str) -> String {
    let authority = authority(target);
    let destination = match role {
        Role::Tunnel => Destination::Tunnel(&authority),
        _ => Destination::Forward(&authority),
    };
    match policy.admit_request(&request(destination)) {
        Ok(_) => "+".to_owned(),
        Err(denied) => {
            if authority.host.is_name() {
                assert_eq!(denied.reason.kind(), "http_request_denied");
            }
            assert_eq!(denied.to_string(), format!("denied by {}", denied.by));
            denied.by.to_string()
        }
    }
}

#[test]
fn ports_by_role() {
    let policy = guarded(Guard::default());
    assert_eq!(target_rule(&policy, Role::Tunnel, "h:443"), "+");
    assert_eq!(target_rule(&policy, Role::Tunnel, "h:22"), "connect_ports");
    assert_eq!(target_rule(&policy, Role::Forward, "h:22"), "+");
    let policy = guarded(Guard {
        connect_ports: Ports::any(),
        http_ports: Ports::parse(["80", "8000-8099"]).unwrap(),
        ..Guard::default()
    });
    assert_eq!(target_rule(&policy, Role::Tunnel, "h:22"), "+");
    assert_eq!(target_rule(&policy, Role::Forward, "h:8099"), "+");
    assert_eq!(target_rule(&policy, Role::Forward, "h:443"), "http_ports");
}

#[test]
fn domains_before_resolving() {
    let policy = guarded(Guard {
        connect_ports: Ports::any(),
        allow_networks: networks(&["10.0.0.0/8", "8.8.4.4", "fd00::/8"]),
        allow_domains: domains(&[".example.org", "example.net"]),
        deny_domains: domains(&[".bad.example.org", "www.example.net"]),
        ..Guard::default()
    });
    for (target, expected) in [
        ("example.org:443", "+"),
        ("a.b.EXAMPLE.org.:443", "+"),
        ("bad.example.org:443", "deny_domains:.bad.example.org"),
        ("x.bad.example.org:443", "deny_domains:.bad.example.org"),
        ("notbad.example.org:443", "+"),
        ("example.net:443", "+"),
        ("www.example.net:443", "deny_domains:www.example.net"),
        ("a.example.net:443", "allow_domains"),
        ("notexample.org:443", "allow_domains"),
        ("org:443", "allow_domains"),
        ("8.8.8.8:443", "allow_domains"),
        ("8.8.4.4:443", "+"),
        ("134744068:443", "allow_domains"),
        ("10.1.2.3:443", "+"),
        ("[::ffff:10.1.2.3]:443", "+"),
        ("[64:ff9b::10.1.2.3]:443", "allow_domains"),
        ("[fd00::1]:443", "+"),
        ("[2606:4700::1]:443", "allow_domains"),
    ] {
        assert_eq!(
            target_rule(&policy, Role::Tunnel, target),
            expected,
            "{target}"
        );
    }
    // Of an address as the target all is known at once.
    let policy = guarded(Guard::default());
    for (target, expected) in [
        ("127.0.0.1:443", "special_purpose:loopback"),
        ("[64:ff9b::127.0.0.1]:443", "special_purpose:loopback"),
        ("8.8.8.8:443", "+"),
    ] {
        assert_eq!(
            target_rule(&policy, Role::Tunnel, target),
            expected,
            "{target}"
        );
    }
}

#[test]
fn a_deny_of_a_domain_is_not_undone_by_a_longer_allow() {
    let policy = guarded(Guard {
        allow_domains: domains(&["www.example.org"]),
        deny_domains: domains(&[".org"]),
        ..Guard::default()
    });
    let rule = target_rule(&policy, Role::Tunnel, "www.example.org:443");
    assert_eq!(rule, "deny_domains:.org");
}

#[test]
fn networks_by_longest_prefix() {
    let policy = guarded(Guard {
        allow_networks: networks(&[
            "10.1.0.0/16",
            "192.168.0.0/16",
            "8.8.8.8",
            "fd00::/8",
            "64:ff9b:1::/48",
        ]),
        deny_networks: networks(&[
            "10.0.0.0/8",
            "10.1.2.0/24",
            "192.168.0.0/16",
            "8.8.8.0/24",
            "2606:4700::/32",
        ]),
        ..Guard::default()
    });
    for (address, expected) in [
        ("10.0.0.1:80", "deny_networks:10.0.0.0/8"),
        ("10.1.1.1:80", "+allow_networks:10.1.0.0/16"),
        ("10.1.2.1:80", "deny_networks:10.1.2.0/24"),
        ("192.168.1.1:80", "deny_networks:192.168.0.0/16"),
        ("8.8.8.8:80", "+allow_networks:8.8.8.8/32"),
        ("8.8.8.9:80", "deny_networks:8.8.8.0/24"),
        ("8.8.4.4:80", "+default"),
        ("172.16.0.1:80", "special_purpose:private_use"),
        ("[::ffff:10.1.1.1]:80", "+allow_networks:10.1.0.0/16"),
        ("[::ffff:10.1.2.1]:80", "deny_networks:10.1.2.0/24"),
        ("[::ffff:8.8.4.4]:80", "+default"),
        ("[fd00::1]:80", "+allow_networks:fd00::/8"),
        ("[fc00::1]:80", "special_purpose:unique_local"),
        ("[2606:4700::1]:80", "deny_networks:2606:4700::/32"),
        ("[2606:4701::1]:80", "+default"),
        // The embedded address has to be admitted, and the outer one too.
        ("[64:ff9b::8.8.4.4]:80", "+default"),
        ("[64:ff9b::8.8.8.9]:80", "deny_networks:8.8.8.0/24"),
        ("[64:ff9b::10.1.2.1]:80", "deny_networks:10.1.2.0/24"),
        ("[64:ff9b::127.0.0.1]:80", "special_purpose:loopback"),
        ("[64:ff9b:1::8.8.4.4]:80", "+allow_networks:64:ff9b:1::/48"),
        ("[64:ff9b:1::8.8.8.9]:80", "deny_networks:8.8.8.0/24"),
        ("[64:ff9b:1::127.0.0.1]:80", "special_purpose:loopback"),
        ("[2002:a01:101::]:80", "special_purpose:6to4"),
        ("[fd00::5efe:172.16.0.1]:80", "special_purpose:private_use"),
    ] {
        assert_eq!(address_rule(&policy, address), expected, "{address}");
    }
}

#[test]
fn the_demo_opens_loopback_and_nothing_else() {
    let policy = guarded(Guard {
        allow_networks: networks(&["127.0.0.0/8", "::1"]),
        own_listeners: vec!["127.0.0.1:8888".parse().unwrap()],
        ..Guard::default()
    });
    for (address, expected) in [
        ("127.0.0.1:80", "+allow_networks:127.0.0.0/8"),
        ("[::1]:80", "+allow_networks:::1/128"),
        ("127.0.0.1:8888", "own_listener"),
        ("[::ffff:127.0.0.1]:8888", "own_listener"),
        ("0.0.0.0:80", "special_purpose:unspecified"),
        ("10.0.0.1:80", "special_purpose:private_use"),
        ("169.254.169.254:80", "special_purpose:link_local"),
    ] {
        assert_eq!(address_rule(&policy, address), expected, "{address}");
    }
}

#[test]
fn own_listeners() {
    let listeners = ["198.41.0.4:8888", "0.0.0.0:9000", "[::ffff:1.2.3.4]:7000"];
    let rules = Guard {
        own_listeners: listeners.map(|listener| listener.parse().unwrap()).to_vec(),
        own_addresses: ["9.9.9.9", "2606:4700::9", "::ffff:9.9.9.10"]
            .map(|ip| ip.parse().unwrap())
            .to_vec(),
        ..Guard::default()
    };
    let policy = guarded(rules.clone());
    for (address, expected) in [
        ("198.41.0.4:8888", "own_listener"),
        ("[::ffff:198.41.0.4]:8888", "own_listener"),
        ("[64:ff9b::198.41.0.4]:8888", "own_listener"),
        ("0.0.0.0:8888", "own_listener"),
        ("[::]:8888", "own_listener"),
        ("[::ffff:0.0.0.0]:8888", "own_listener"),
        ("198.41.0.4:443", "+default"),
        ("9.9.9.9:8888", "+default"),
        ("9.9.9.9:9000", "own_listener"),
        ("9.9.9.10:9000", "own_listener"),
        ("[::ffff:9.9.9.9]:9000", "own_listener"),
        ("[2606:4700::9]:9000", "own_listener"),
        ("127.0.0.1:9000", "own_listener"),
        ("127.9.9.9:9000", "own_listener"),
        ("[::1]:9000", "own_listener"),
        ("0.0.0.0:9000", "own_listener"),
        ("9.9.9.9:9001", "+default"),
        ("8.8.8.8:9000", "+default"),
        ("1.2.3.4:7000", "own_listener"),
        ("0.0.0.0:81", "special_purpose:unspecified"),
    ] {
        assert_eq!(address_rule(&policy, address), expected, "{address}");
    }
    // Only a host route lifts it, and only for its address.
    let policy = guarded(Guard {
        allow_networks: networks(&[
            "0.0.0.0/0",
            "9.9.9.9/32",
            "2606:4700::/32",
            "2606:4700::9/128",
        ]),
        deny_networks: networks(&["9.9.9.0/24"]),
        ..rules
    });
    for (address, expected) in [
        ("9.9.9.9:9000", "+allow_networks:9.9.9.9/32"),
        ("[2606:4700::9]:9000", "+allow_networks:2606:4700::9/128"),
        ("9.9.9.10:9000", "own_listener"),
        ("127.0.0.1:9000", "own_listener"),
        ("127.0.0.1:9001", "+allow_networks:0.0.0.0/0"),
        ("[::1]:9001", "special_purpose:loopback"),
    ] {
        assert_eq!(address_rule(&policy, address), expected, "{address}");
    }
}

#[test]
fn public_addresses_are_admitted() {
    let policy = guarded(Guard::default());
    for ip in [
        "1.1.1.1",
        "8.8.8.8",
        "192.0.1.1",
        "100.128.0.1",
        "172.32.0.1",
        "2606:4700::1111",
        "::ffff:1.1.1.1",
        "2a00:1450:4001::5e",
        "2001:4860:4860::8888",
        "64:ff9b::1.1.1.1",
        "2620:0:860::1",
    ] {
        let ip: IpAddr = ip.parse().unwrap();
        let admitted = to_port(&policy, 443).admit_address(SocketAddr::new(ip, 443));
        assert_eq!(admitted, Ok(DecidedBy::Default), "{ip}");
    }
}

#[test]
fn every_address_of_a_name_is_evaluated_separately() {
    // A name that answers with a public and a private address, as a rebinding one does.
    let admission = to_port(&guarded(Guard::default()), 443);
    let answers = [
        "1.1.1.1:443",
        "127.0.0.1:443",
        "[::ffff:10.0.0.1]:443",
        "[2606:4700::1]:443",
    ];
    let admitted: Vec<&str> = answers
        .into_iter()
        .filter(|answer| admission.admit_address(answer.parse().unwrap()).is_ok())
        .collect();
    assert_eq!(admitted, ["1.1.1.1:443", "[2606:4700::1]:443"]);
}

proptest! {
    #[test]
    fn mapped_is_evaluated_as_ipv4(ip: Ipv4Addr, port in 1u16..) {
        let policy = guarded(Guard {
            allow_networks: networks(&["10.0.0.0/9", "128.0.0.0/2"]),
            deny_networks: networks(&["64.0.0.0/2", "160.0.0.0/3"]),
            own_listeners: vec![SocketAddr::new(ip.into(), 443)],
            ..Guard::default()
        });
        let admission = to_port(&policy, port);
        let plain = admission.admit_address(SocketAddr::new(ip.into(), port));
        let mapped = admission.admit_address(SocketAddr::new(ip.to_ipv6_mapped().into(), port));
        prop_assert_eq!(plain, mapped);
    }

    /// Without exceptions, whatever is special is denied and whatever is admitted is not.
    #[test]
    fn default_rules_are_the_special_ranges(ip: IpAddr, port in 1u16..) {
        let policy = guarded(Guard::default());
        let admitted = to_port(&policy, port).admit_address(SocketAddr::new(ip, port)).is_ok();
        prop_assert_eq!(admitted, special_purpose(ip).is_none());
    }
}
