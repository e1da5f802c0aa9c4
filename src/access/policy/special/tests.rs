use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;

fn name_of(ip: IpAddr) -> &'static str {
    block_of(ip).map_or("-", |block| block.name)
}

fn step(ip: IpAddr, by: i128) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => {
            let bits = i128::from(ip.to_bits()) + by;
            Some(IpAddr::V4(u32::try_from(bits).ok()?.into()))
        }
        IpAddr::V6(ip) => {
            let bits = if by < 0 {
                ip.to_bits().checked_sub(1)
            } else {
                ip.to_bits().checked_add(1)
            };
            Some(IpAddr::V6(bits?.into()))
        }
    }
}

/// Every row of both registries and what is denied beside them: the names of the first address, the last,
/// the one before and the one after; `-` is a public address, `none` the end of the address space.
const REGISTRY: &[(&str, [&str; 4])] = &[
    ("0.0.0.0/8", ["unspecified", "this_network", "none", "-"]),
    (
        "0.0.0.0/32",
        ["unspecified", "unspecified", "none", "this_network"],
    ),
    ("10.0.0.0/8", ["private_use", "private_use", "-", "-"]),
    (
        "100.64.0.0/10",
        ["shared_address_space", "shared_address_space", "-", "-"],
    ),
    ("127.0.0.0/8", ["loopback", "loopback", "-", "-"]),
    ("169.254.0.0/16", ["link_local", "link_local", "-", "-"]),
    ("172.16.0.0/12", ["private_use", "private_use", "-", "-"]),
    (
        "192.0.0.0/24",
        ["service_continuity", "ietf_protocol", "-", "-"],
    ),
    (
        "192.0.0.0/29",
        [
            "service_continuity",
            "service_continuity",
            "-",
            "dummy_address",
        ],
    ),
    (
        "192.0.0.8/32",
        [
            "dummy_address",
            "dummy_address",
            "service_continuity",
            "pcp_anycast",
        ],
    ),
    (
        "192.0.0.9/32",
        [
            "pcp_anycast",
            "pcp_anycast",
            "dummy_address",
            "turn_anycast",
        ],
    ),
    (
        "192.0.0.10/32",
        [
            "turn_anycast",
            "turn_anycast",
            "pcp_anycast",
            "ietf_protocol",
        ],
    ),
    (
        "192.0.0.170/32",
        [
            "nat64_discovery",
            "nat64_discovery",
            "ietf_protocol",
            "nat64_discovery",
        ],
    ),
    (
        "192.0.0.171/32",
        [
            "nat64_discovery",
            "nat64_discovery",
            "nat64_discovery",
            "ietf_protocol",
        ],
    ),
    ("192.0.2.0/24", ["documentation", "documentation", "-", "-"]),
    ("192.31.196.0/24", ["as112", "as112", "-", "-"]),
    ("192.52.193.0/24", ["amt", "amt", "-", "-"]),
    (
        "192.88.99.0/24",
        ["6to4_relay_anycast", "6to4_relay_anycast", "-", "-"],
    ),
    (
        "192.88.99.2/32",
        [
            "6a44_relay_anycast",
            "6a44_relay_anycast",
            "6to4_relay_anycast",
            "6to4_relay_anycast",
        ],
    ),
    ("192.168.0.0/16", ["private_use", "private_use", "-", "-"]),
    ("192.175.48.0/24", ["as112", "as112", "-", "-"]),
    ("198.18.0.0/15", ["benchmarking", "benchmarking", "-", "-"]),
    (
        "198.51.100.0/24",
        ["documentation", "documentation", "-", "-"],
    ),
    (
        "203.0.113.0/24",
        ["documentation", "documentation", "-", "-"],
    ),
    ("224.0.0.0/4", ["multicast", "multicast", "-", "reserved"]),
    (
        "240.0.0.0/4",
        ["reserved", "broadcast", "multicast", "none"],
    ),
    (
        "255.255.255.255/32",
        ["broadcast", "broadcast", "reserved", "none"],
    ),
    ("::/128", ["unspecified", "unspecified", "none", "loopback"]),
    (
        "::1/128",
        ["loopback", "loopback", "unspecified", "ipv4_compatible"],
    ),
    (
        "::/96",
        ["unspecified", "ipv4_compatible", "none", "reserved"],
    ),
    (
        "::ffff:0:0:0/96",
        ["ipv4_translated", "ipv4_translated", "reserved", "reserved"],
    ),
    ("64:ff9b::/96", ["-", "-", "reserved", "reserved"]),
    (
        "64:ff9b:1::/48",
        ["nat64_local_use", "nat64_local_use", "reserved", "reserved"],
    ),
    (
        "100::/64",
        ["discard_only", "discard_only", "reserved", "dummy_prefix"],
    ),
    (
        "100:0:0:1::/64",
        ["dummy_prefix", "dummy_prefix", "discard_only", "reserved"],
    ),
    ("2001::/23", ["teredo", "ietf_protocol", "-", "-"]),
    ("2001::/32", ["teredo", "teredo", "-", "ietf_protocol"]),
    (
        "2001:1::1/128",
        [
            "pcp_anycast",
            "pcp_anycast",
            "ietf_protocol",
            "turn_anycast",
        ],
    ),
    (
        "2001:1::2/128",
        ["turn_anycast", "turn_anycast", "pcp_anycast", "srp_anycast"],
    ),
    (
        "2001:1::3/128",
        [
            "srp_anycast",
            "srp_anycast",
            "turn_anycast",
            "ietf_protocol",
        ],
    ),
    (
        "2001:2::/48",
        [
            "benchmarking",
            "benchmarking",
            "ietf_protocol",
            "ietf_protocol",
        ],
    ),
    (
        "2001:3::/32",
        ["amt", "amt", "ietf_protocol", "ietf_protocol"],
    ),
    (
        "2001:4:112::/48",
        ["as112", "as112", "ietf_protocol", "ietf_protocol"],
    ),
    (
        "2001:10::/28",
        ["orchid", "orchid", "ietf_protocol", "orchid_v2"],
    ),
    (
        "2001:20::/28",
        ["orchid_v2", "orchid_v2", "orchid", "drone_remote_id"],
    ),
    (
        "2001:30::/28",
        [
            "drone_remote_id",
            "drone_remote_id",
            "orchid_v2",
            "ietf_protocol",
        ],
    ),
    (
        "2001:db8::/32",
        ["documentation", "documentation", "-", "-"],
    ),
    ("2002::/16", ["6to4", "6to4", "-", "-"]),
    ("2620:4f:8000::/48", ["as112", "as112", "-", "-"]),
    ("3fff::/20", ["documentation", "documentation", "-", "-"]),
    (
        "5f00::/16",
        ["srv6_sids", "srv6_sids", "reserved", "reserved"],
    ),
    (
        "fc00::/7",
        ["unique_local", "unique_local", "reserved", "reserved"],
    ),
    (
        "fe80::/10",
        ["link_local", "link_local", "reserved", "site_local"],
    ),
    (
        "fec0::/10",
        ["site_local", "site_local", "link_local", "multicast"],
    ),
    ("ff00::/8", ["multicast", "multicast", "site_local", "none"]),
    ("2000::/3", ["-", "-", "reserved", "reserved"]),
];

#[test]
fn every_block_from_edge_to_edge() {
    for (net, expected) in REGISTRY {
        let net: IpNet = net.parse().unwrap();
        let (first, last) = (net.network(), net.broadcast());
        let beside = |ip| step(first, ip).map_or("none", name_of);
        let after = step(last, 1).map_or("none", name_of);
        assert_eq!(
            [name_of(first), name_of(last), beside(-1), after],
            *expected,
            "{net}"
        );
    }
    // IPv4-mapped addresses are never looked up as IPv6, so they have no row above.
    let listed = |ipv4| move |net: &&str| net.contains(':') != ipv4;
    let nets = || REGISTRY.iter().map(|(net, _)| *net);
    for block in IPV4.iter().chain(&IPV6) {
        let net = block.network().unwrap().to_string();
        let known = nets()
            .filter(listed(block.ipv4))
            .any(|listed| listed == net);
        assert!(
            known || block.name == "reserved" || block.name == "nat64_discovery",
            "{net}"
        );
        assert!(!block.reference.is_empty());
    }
}

#[test]
fn the_first_match_is_the_most_specific() {
    for table in [&IPV4[..], &IPV6[..]] {
        for (index, early) in table.iter().enumerate() {
            for late in &table[index + 1..] {
                let hides = early.covers(late.base) && early.prefix_len <= late.prefix_len;
                assert!(!hides, "{early:?} hides {late:?}");
            }
        }
    }
}

#[test]
fn embedded_ipv4() {
    for (ip, carried, name) in [
        ("::ffff:8.8.8.8", "", "-"),
        ("::ffff:127.0.0.1", "", "loopback"),
        ("::ffff:169.254.169.254", "", "link_local"),
        ("::", "", "unspecified"),
        ("::1", "", "loopback"),
        ("::8.8.8.8", "8.8.8.8", "ipv4_compatible"),
        ("::127.0.0.1", "127.0.0.1", "loopback"),
        ("::ffff:0:10.0.0.1", "10.0.0.1", "private_use"),
        ("64:ff9b::8.8.8.8", "8.8.8.8", "-"),
        ("64:ff9b::7f00:1", "127.0.0.1", "loopback"),
        ("64:ff9b::10.0.0.1", "10.0.0.1", "private_use"),
        ("64:ff9b:1::10.0.0.1", "10.0.0.1", "private_use"),
        ("64:ff9b:1::8.8.8.8", "8.8.8.8", "nat64_local_use"),
        // 10.1.2.3 and 192.168.1.2 behind prefixes of 48, 56 and 64 bits; other readings come along.
        (
            "64:ff9b:1:a01:2:300::",
            "10.1.2.3 1.2.3.0 2.3.0.0",
            "private_use",
        ),
        (
            "64:ff9b:1:c0:a8:102::",
            "192.168.1.2 168.1.2.0",
            "private_use",
        ),
        (
            "64:ff9b:1::c0:a801:200:0",
            "192.168.1.2 2.0.0.0",
            "private_use",
        ),
        ("2002:7f00:1::", "127.0.0.1", "loopback"),
        ("2002:808:808::1", "8.8.8.8", "6to4"),
        ("2001:0:a00:1::f7f7:f7f7", "10.0.0.1 8.8.8.8", "private_use"),
        ("2001:0:808:808::80ff:fffe", "8.8.8.8 127.0.0.1", "loopback"),
        ("2001:0:808:808::f7f7:f7f7", "8.8.8.8 8.8.8.8", "teredo"),
        ("::5efe:10.0.0.1", "10.0.0.1", "private_use"),
        ("fe80::5efe:8.8.8.8", "8.8.8.8", "link_local"),
        ("fe80::200:5efe:10.0.0.1", "10.0.0.1", "private_use"),
        ("2606:4700::5efe:192.168.0.1", "192.168.0.1", "private_use"),
        ("2606:4700::200:5efe:127.0.0.1", "127.0.0.1", "loopback"),
        ("2606:4700::5efe:8.8.8.8", "8.8.8.8", "-"),
        (
            "2002:a00:1::5efe:127.0.0.1",
            "10.0.0.1 127.0.0.1",
            "private_use",
        ),
        ("2606:4700::1111", "", "-"),
    ] {
        let ip: IpAddr = ip.parse().unwrap();
        let found: Vec<String> = match ip.to_canonical() {
            IpAddr::V4(_) => Vec::new(),
            IpAddr::V6(ip) => embedded(ip).map(|ip| ip.to_string()).collect(),
        };
        assert_eq!(found.join(" "), carried, "{ip}");
        let block = special_purpose(ip).map_or("-", |block| block.name);
        assert_eq!(block, name, "{ip}");
    }
}

/// Addresses near what the tables talk about, and any others.
fn address() -> impl Strategy<Value = IpAddr> {
    let nets: Vec<IpNet> = REGISTRY
        .iter()
        .map(|(net, _)| net.parse().unwrap())
        .collect();
    let near = (proptest::sample::select(nets), any::<u128>()).prop_map(|(net, bits)| match net {
        IpNet::V4(net) => {
            let ip = net.network().to_bits() | (bits as u32 & net.hostmask().to_bits());
            IpAddr::V4(Ipv4Addr::from(ip))
        }
        IpNet::V6(net) => {
            let ip = net.network().to_bits() | (bits & net.hostmask().to_bits());
            IpAddr::V6(Ipv6Addr::from(ip))
        }
    });
    prop_oneof![near, any::<IpAddr>()]
}

proptest! {
    #[test]
    fn agrees_with_plain_networks(ip in address()) {
        let block = block_of(ip);
        let nat64: IpNet = "64:ff9b::/96".parse().unwrap();
        let plain = IPV4.iter().chain(&IPV6)
            .filter(|block| block.network().unwrap().contains(&ip))
            .max_by_key(|block| block.prefix_len)
            .filter(|_| !nat64.contains(&ip));
        prop_assert_eq!(block, plain);
    }

    #[test]
    fn covers_what_the_standard_library_knows(ip in address()) {
        let special = match ip.to_canonical() {
            IpAddr::V4(ip) => {
                ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_broadcast()
                    || ip.is_documentation() || ip.is_multicast() || ip.is_unspecified()
            }
            IpAddr::V6(ip) => {
                ip.is_loopback() || ip.is_multicast() || ip.is_unspecified()
                    || ip.is_unique_local() || ip.is_unicast_link_local()
            }
        };
        prop_assert!(!special || special_purpose(ip).is_some());
    }

    #[test]
    fn no_wrapping_opens_an_ipv4_address(ip in address(), wrap in 0usize..8) {
        if let IpAddr::V4(inner) = ip && block_of(ip).is_some() {
            let bits = u128::from(inner.to_bits());
            let outer = match wrap {
                0 => bits,
                1 => 0xffff << 32 | bits,
                2 => 0xffff << 48 | bits,
                3 => 0x0064_ff9b << 96 | bits,
                4 => 0x0064_ff9b_0001 << 80 | bits,
                5 => 0x2002 << 112 | bits << 80,
                6 => 0x2001 << 112 | u128::from(!inner.to_bits()),
                _ => 0x2606_4700 << 96 | 0x5efe << 32 | bits,
            };
            prop_assert!(special_purpose(IpAddr::V6(outer.into())).is_some());
        }
    }
}
