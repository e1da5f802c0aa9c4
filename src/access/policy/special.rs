//! Special-purpose addresses, which are not hosts on the public Internet, and IPv4 addresses inside IPv6.
//!
//! The blocks are those of the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, RFC 8190)
//! with multicast, deprecated forms and the space that IANA has not opened for unicast.
//!
//! The registries call some blocks globally reachable: the anycast addresses of PCP, TURN and DNS-SD
//! registration, AMT, AS112, ORCHIDv2 and drone identifiers. They are denied like the others. The nearest
//! node answers for an anycast address, often the network's own gateway, AS112 is a sink, the identifiers
//! are not routed: no web server is there, and some of them reach infrastructure.
//!
//! Two blocks of the registry are not in the tables, because the IPv4 address inside decides: IPv4-mapped
//! addresses (`::ffff:0:0/96`), which are IPv4 to the system, and the well-known prefix of NAT64
//! (`64:ff9b::/96`), by which an IPv6-only network reaches all of IPv4. 6to4 and Teredo are denied whole:
//! both are retired, and both carry an address that another party chose.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

#[cfg(test)]
mod tests;

/// A block of addresses that is denied by default.
#[derive(PartialEq, Eq)]
pub struct Block {
    /// The stable name in rules and logs, such as `loopback`.
    pub name: &'static str,
    /// The document that set the block aside.
    pub reference: &'static str,
    /// The network address; IPv4 in the upper 32 bits.
    base: u128,
    mask: u128,
    prefix_len: u8,
    ipv4: bool,
}

/// The IPv4 blocks; where they overlap, the more specific comes first.
pub(super) static IPV4: [Block; 26] = [
    v4("unspecified", [0, 0, 0, 0], 32, "RFC 1122"),
    v4("this_network", [0, 0, 0, 0], 8, "RFC 791"),
    v4("private_use", [10, 0, 0, 0], 8, "RFC 1918"),
    v4("shared_address_space", [100, 64, 0, 0], 10, "RFC 6598"),
    v4("loopback", [127, 0, 0, 0], 8, "RFC 1122"),
    v4("link_local", [169, 254, 0, 0], 16, "RFC 3927"),
    v4("private_use", [172, 16, 0, 0], 12, "RFC 1918"),
    v4("service_continuity", [192, 0, 0, 0], 29, "RFC 7335"),
    v4("dummy_address", [192, 0, 0, 8], 32, "RFC 7600"),
    v4("pcp_anycast", [192, 0, 0, 9], 32, "RFC 7723"),
    v4("turn_anycast", [192, 0, 0, 10], 32, "RFC 8155"),
    v4("nat64_discovery", [192, 0, 0, 170], 31, "RFC 8880"),
    v4("ietf_protocol", [192, 0, 0, 0], 24, "RFC 6890"),
    v4("documentation", [192, 0, 2, 0], 24, "RFC 5737"),
    v4("as112", [192, 31, 196, 0], 24, "RFC 7535"),
    v4("amt", [192, 52, 193, 0], 24, "RFC 7450"),
    v4("6a44_relay_anycast", [192, 88, 99, 2], 32, "RFC 6751"),
    v4("6to4_relay_anycast", [192, 88, 99, 0], 24, "RFC 7526"),
    v4("private_use", [192, 168, 0, 0], 16, "RFC 1918"),
    v4("as112", [192, 175, 48, 0], 24, "RFC 7534"),
    v4("benchmarking", [198, 18, 0, 0], 15, "RFC 2544"),
    v4("documentation", [198, 51, 100, 0], 24, "RFC 5737"),
    v4("documentation", [203, 0, 113, 0], 24, "RFC 5737"),
    v4("multicast", [224, 0, 0, 0], 4, "RFC 5771"),
    v4("broadcast", [255, 255, 255, 255], 32, "RFC 919"),
    v4("reserved", [240, 0, 0, 0], 4, "RFC 1112"),
];

/// The IPv6 blocks; where they overlap, the more specific comes first.
pub(super) static IPV6: [Block; 30] = [
    v6("unspecified", [0], 128, "RFC 4291"),
    v6("loopback", [0, 0, 0, 0, 0, 0, 0, 1], 128, "RFC 4291"),
    v6("ipv4_compatible", [0], 96, "RFC 4291"),
    v6("ipv4_translated", [0, 0, 0, 0, 0xffff], 96, "RFC 2765"),
    v6("nat64_local_use", [0x64, 0xff9b, 1], 48, "RFC 8215"),
    v6("discard_only", [0x100], 64, "RFC 6666"),
    v6("dummy_prefix", [0x100, 0, 0, 1], 64, "RFC 9780"),
    v6("teredo", [0x2001], 32, "RFC 4380"),
    v6(
        "pcp_anycast",
        [0x2001, 1, 0, 0, 0, 0, 0, 1],
        128,
        "RFC 7723",
    ),
    v6(
        "turn_anycast",
        [0x2001, 1, 0, 0, 0, 0, 0, 2],
        128,
        "RFC 8155",
    ),
    v6(
        "srp_anycast",
        [0x2001, 1, 0, 0, 0, 0, 0, 3],
        128,
        "RFC 9665",
    ),
    v6("benchmarking", [0x2001, 2], 48, "RFC 5180"),
    v6("amt", [0x2001, 3], 32, "RFC 7450"),
    v6("as112", [0x2001, 4, 0x112], 48, "RFC 7535"),
    v6("orchid", [0x2001, 0x10], 28, "RFC 4843"),
    v6("orchid_v2", [0x2001, 0x20], 28, "RFC 7343"),
    v6("drone_remote_id", [0x2001, 0x30], 28, "RFC 9374"),
    v6("ietf_protocol", [0x2001], 23, "RFC 2928"),
    v6("documentation", [0x2001, 0xdb8], 32, "RFC 3849"),
    v6("6to4", [0x2002], 16, "RFC 3056"),
    v6("as112", [0x2620, 0x4f, 0x8000], 48, "RFC 7534"),
    v6("documentation", [0x3fff], 20, "RFC 9637"),
    v6("srv6_sids", [0x5f00], 16, "RFC 9602"),
    v6("unique_local", [0xfc00], 7, "RFC 4193"),
    v6("link_local", [0xfe80], 10, "RFC 4291"),
    v6("site_local", [0xfec0], 10, "RFC 3879"),
    v6("multicast", [0xff00], 8, "RFC 4291"),
    // Only 2000::/3 is global unicast; the rest is not routed.
    v6("reserved", [0], 3, "RFC 4291"),
    v6("reserved", [0x4000], 2, "RFC 4291"),
    v6("reserved", [0x8000], 1, "RFC 4291"),
];

/// The first bytes of addresses that need a table look-up: of the public IPv4 space only a few.
static IPV4_FIRST: [bool; 256] = first_bytes(&IPV4);
static IPV6_FIRST: [bool; 256] = first_bytes(&IPV6);

/// The IPv4 addresses inside an IPv6 address, as found by [`embedded`].
#[derive(Clone, Debug)]
pub(super) struct Embedded {
    found: [Ipv4Addr; 5],
    len: u8,
    next: u8,
}

/// The special-purpose block that an address is in, or that an IPv4 address inside it is in.
pub fn special_purpose(ip: IpAddr) -> Option<&'static Block> {
    let ip = ip.to_canonical();
    let inner = match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => embedded(ip).find_map(|inner| block_of(IpAddr::V4(inner))),
    };
    inner.or_else(|| block_of(ip))
}

/// The block that the address itself is in. The caller converts IPv4-mapped addresses to IPv4.
pub(super) fn block_of(ip: IpAddr) -> Option<&'static Block> {
    match ip {
        IpAddr::V4(ip) => {
            let bits = u128::from(ip.to_bits()) << 96;
            look_up(&IPV4, &IPV4_FIRST, bits)
        }
        IpAddr::V6(ip) if is_nat64(ip.segments()) => None,
        IpAddr::V6(ip) => look_up(&IPV6, &IPV6_FIRST, ip.to_bits()),
    }
}

/// Every IPv4 address to which a packet for this IPv6 address may be delivered.
///
/// - IPv4-compatible `::a.b.c.d` (RFC 4291 §2.5.5.1) and IPv4-translated `::ffff:0:a.b.c.d` (RFC 2765)
/// - NAT64 `64:ff9b::a.b.c.d` (RFC 6052); in `64:ff9b:1::/48` (RFC 8215) the length of the prefix is the
///   operator's, so the address is read in all four ways. A reading in 0.0.0.0/8 is skipped: translators
///   cannot send there, and the other readings produce such zeros
/// - 6to4 `2002:aabb:ccdd::` (RFC 3056)
/// - Teredo `2001::/32` (RFC 4380 §4): the server, and the client with its bits inverted
/// - ISATAP `…:0:5efe:a.b.c.d` and `…:200:5efe:a.b.c.d` in any prefix (RFC 5214 §6.1)
pub(super) fn embedded(ip: Ipv6Addr) -> Embedded {
    let mut out = Embedded {
        found: [Ipv4Addr::UNSPECIFIED; 5],
        len: 0,
        next: 0,
    };
    let segments = ip.segments();
    let [_, b, c, _, e, f, g, h] = segments;
    match segments {
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => {}
        [0, 0, 0, 0, 0, 0, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _] => out.push(ipv4(g, h)),
        [0x64, 0xff9b, 1, ..] => {
            let [.., o6, o7, _, o9, o10, o11, o12, o13, o14, o15] = ip.octets();
            for reading in [
                [o6, o7, o9, o10],
                [o7, o9, o10, o11],
                [o9, o10, o11, o12],
                [o12, o13, o14, o15],
            ] {
                if reading.first() != Some(&0) {
                    out.push(Ipv4Addr::from(reading));
                }
            }
        }
        [0x2001, 0, ..] => {
            let [_, _, server_high, server_low, ..] = segments;
            out.push(ipv4(server_high, server_low));
            out.push(ipv4(!g, !h));
        }
        [0x2002, ..] => out.push(ipv4(b, c)),
        _ if is_nat64(segments) => out.push(ipv4(g, h)),
        _ => {}
    }
    if matches!((e, f), (0 | 0x200, 0x5efe)) {
        out.push(ipv4(g, h));
    }
    out
}

impl Block {
    /// The block as a network.
    pub fn network(&self) -> Option<IpNet> {
        let ip = if self.ipv4 {
            IpAddr::V4(Ipv4Addr::from((self.base >> 96) as u32))
        } else {
            IpAddr::V6(Ipv6Addr::from(self.base))
        };
        IpNet::new(ip, self.prefix_len).ok()
    }

    const fn covers(&self, bits: u128) -> bool {
        bits & self.mask == self.base
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Embedded {
    fn push(&mut self, ip: Ipv4Addr) {
        if let Some(slot) = self.found.get_mut(usize::from(self.len)) {
            *slot = ip;
            self.len += 1;
        } else {
            debug_assert!(false, "an address contains at most five others");
        }
    }
}

impl Iterator for Embedded {
    type Item = Ipv4Addr;

    fn next(&mut self) -> Option<Ipv4Addr> {
        if self.next == self.len {
            return None;
        }
        let ip = self.found.get(usize::from(self.next)).copied();
        self.next += 1;
        ip
    }
}

fn look_up(
    table: &'static [Block],
    first_bytes: &[bool; 256],
    bits: u128,
) -> Option<&'static Block> {
    let first = (bits >> 120) as usize;
    if !first_bytes.get(first).is_none_or(|&listed| listed) {
        return None;
    }
    table.iter().find(|block| block.covers(bits))
}

fn is_nat64(segments: [u16; 8]) -> bool {
    matches!(segments, [0x64, 0xff9b, 0, 0, 0, 0, _, _])
}

fn ipv4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))
}

const fn v4(name: &'static str, base: [u8; 4], prefix_len: u8, reference: &'static str) -> Block {
    Block {
        name,
        reference,
        base: (u32::from_be_bytes(base) as u128) << 96,
        mask: u128::MAX << (128 - prefix_len as u32),
        prefix_len,
        ipv4: true,
    }
}

/// Takes the first words of the base; the rest are zero.
#[expect(clippy::indexing_slicing, reason = "evaluated when compiling")]
const fn v6<const N: usize>(
    name: &'static str,
    first: [u16; N],
    prefix_len: u8,
    reference: &'static str,
) -> Block {
    let mut base = 0;
    let mut i = 0;
    while i < N {
        base |= (first[i] as u128) << (112 - 16 * i);
        i += 1;
    }
    Block {
        name,
        reference,
        base,
        mask: u128::MAX << (128 - prefix_len as u32),
        prefix_len,
        ipv4: false,
    }
}

#[expect(clippy::indexing_slicing, reason = "evaluated when compiling")]
const fn first_bytes<const N: usize>(table: &[Block; N]) -> [bool; 256] {
    let mut listed = [false; 256];
    let mut first = 0;
    while first < 256 {
        let mut i = 0;
        while i < N {
            let block = &table[i];
            let len = if block.prefix_len < 8 {
                block.prefix_len
            } else {
                8
            };
            let byte = (block.base >> 120) as usize;
            if (first ^ byte) >> (8 - len) == 0 {
                listed[first] = true;
            }
            i += 1;
        }
        first += 1;
    }
    listed
}
