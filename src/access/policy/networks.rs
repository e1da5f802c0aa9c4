//! Sets of networks, searched for the longest prefix that covers an address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::entry::{EntryError, EntryProblem, read_entries};
use super::reach::Ranges;

/// The first IPv4-mapped address, `::ffff:0:0`.
const MAPPED: u128 = 0xffff_0000_0000;

/// A set of networks. IPv4-mapped IPv6 addresses are compared as IPv4.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    v4: Vec<Prefixes<u32>>,
    v6: Vec<Prefixes<u128>>,
}

/// The networks of one prefix length; longer lengths come first.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Prefixes<A> {
    len: u8,
    mask: A,
    /// Network addresses, in order, each once.
    networks: Vec<A>,
}

impl Networks {
    /// Reads entries: networks `10.0.0.0/8`, `2001:db8::/32`, and single addresses as host routes.
    ///
    /// A network with host bits set is an error: `10.1.2.3/8` is ambiguous, and one meaning admits
    /// 16 million addresses too many.
    ///
    /// # Errors
    /// One [`EntryError`] for each other entry.
    pub fn parse<S: AsRef<str>>(
        entries: impl IntoIterator<Item = S>,
    ) -> Result<Networks, Vec<EntryError>> {
        let mut networks = Vec::new();
        read_entries(entries, |text| {
            networks.push(parse_network(text)?);
            Ok(())
        })?;
        Ok(networks.into_iter().collect())
    }

    /// The networks, each once; those that are longer first.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.v4.iter().flat_map(|prefixes| {
            let starts = prefixes.networks.iter();
            starts.map(|start| IpNet::new(Ipv4Addr::from(*start).into(), prefixes.len))
        });
        let v6 = self.v6.iter().flat_map(|prefixes| {
            let starts = prefixes.networks.iter();
            starts.map(|start| IpNet::new(Ipv6Addr::from(*start).into(), prefixes.len))
        });
        v4.chain(v6).flatten()
    }

    /// Whether there is no network in the set.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether every address is in one of them.
    pub fn are_all(&self) -> bool {
        self.ranges().covers(&Ranges::all())
    }

    /// The addresses as ranges; an IPv4 address counts as the IPv4-mapped one. Networks such as `::/0` are
    /// returned without the mapped addresses, since they do not cover IPv4.
    pub(super) fn ranges(&self) -> Ranges {
        let mapped = MAPPED..=MAPPED + u128::from(u32::MAX);
        let v4 = self.v4.iter().flat_map(|prefixes| {
            let last = u128::from(!prefixes.mask);
            let starts = prefixes.networks.iter();
            starts.map(move |start| (MAPPED + u128::from(*start), last))
        });
        let v4 = v4.map(|(start, last)| (start, start + last));
        let v6 = self.v6.iter().flat_map(|prefixes| {
            let last = !prefixes.mask;
            prefixes
                .networks
                .iter()
                .map(move |start| (*start, start + last))
        });
        let v6 = v6.flat_map(move |(start, end)| {
            if start <= *mapped.start() && end >= *mapped.end() {
                [(start, mapped.start() - 1), (mapped.end() + 1, end)].map(Some)
            } else {
                [Some((start, end)), None]
            }
        });
        // A network may begin or end with the mapped block.
        let v6 = v6.flatten().filter(|(start, end)| start <= end);
        v4.chain(v6).collect()
    }

    /// The network with the longest prefix that covers the address.
    ///
    /// IPv4 networks cover an IPv4-mapped address; networks such as `::/0` do not.
    pub fn matching(&self, ip: IpAddr) -> Option<IpNet> {
        match ip.to_canonical() {
            IpAddr::V4(ip) => longest(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => longest(&self.v6, ip.to_bits()),
        }
        .and_then(|len| IpNet::new(ip.to_canonical(), len).ok())
        .map(|net| net.trunc())
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Networks {
        let mut set = Networks::default();
        for network in networks {
            match as_ipv4(network) {
                IpNet::V4(net) => {
                    let mask = net.netmask().to_bits();
                    insert(&mut set.v4, net.prefix_len(), mask, net.network().to_bits());
                }
                IpNet::V6(net) => {
                    let mask = net.netmask().to_bits();
                    insert(&mut set.v6, net.prefix_len(), mask, net.network().to_bits());
                }
            }
        }
        for prefixes in &mut set.v4 {
            prefixes.networks.sort_unstable();
            prefixes.networks.dedup();
        }
        for prefixes in &mut set.v6 {
            prefixes.networks.sort_unstable();
            prefixes.networks.dedup();
        }
        set
    }
}

fn insert<A>(set: &mut Vec<Prefixes<A>>, len: u8, mask: A, network: A) {
    let index = set.partition_point(|prefixes| prefixes.len > len);
    match set.get_mut(index) {
        Some(prefixes) if prefixes.len == len => prefixes.networks.push(network),
        _ => {
            let networks = vec![network];
            set.insert(
                index,
                Prefixes {
                    len,
                    mask,
                    networks,
                },
            );
        }
    }
}

fn longest<A>(set: &[Prefixes<A>], address: A) -> Option<u8>
where
    A: Copy + Ord + std::ops::BitAnd<Output = A>,
{
    set.iter()
        .find(|prefixes| {
            let network = address & prefixes.mask;
            prefixes.networks.binary_search(&network).is_ok()
        })
        .map(|prefixes| prefixes.len)
}

/// Converts an IPv4-mapped network (`::ffff:10.0.0.0/104`) to the IPv4 network.
fn as_ipv4(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(net) => net
            .addr()
            .to_ipv4_mapped()
            .zip(net.prefix_len().checked_sub(96))
            .and_then(|(ip, len)| IpNet::new(IpAddr::V4(ip), len).ok()),
        IpNet::V4(_) => None,
    };
    mapped.unwrap_or(network)
}

/// The standard library parses the address, because it accepts one spelling only: no `010.0.0.1`, no zones. Nor
/// has the length of the prefix a second one: `/010` is 10 to some readers, and 8 to others.
fn parse_network(text: &str) -> Result<IpNet, EntryProblem> {
    let (ip, len) = match text.split_once('/') {
        Some((ip, len)) => (ip, Some(len)),
        None => (text, None),
    };
    let ip: IpAddr = ip.parse().or(Err(EntryProblem::Network))?;
    let network = match len {
        None => IpNet::from(ip),
        Some(len) => Some(len)
            .filter(|len| len.bytes().all(|b| b.is_ascii_digit()))
            .filter(|len| *len == "0" || !len.starts_with('0'))
            .and_then(|len| IpNet::new(ip, len.parse().ok()?).ok())
            .ok_or(EntryProblem::Network)?,
    };
    if network != network.trunc() {
        return Err(EntryProblem::HostBits(network.trunc()));
    }
    match as_ipv4(network) {
        IpNet::V4(net) if network.addr().is_ipv6() => Err(EntryProblem::Mapped(IpNet::V4(net))),
        _ => Ok(network),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn longest_prefix() {
        let entries = [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.1.0.0/16 # lab",
            "10.1.2.3",
            "2001:db8::/32",
            "::1",
        ];
        let networks = Networks::parse(entries).unwrap();
        for (ip, expected) in [
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("10.1.2.4", Some("10.1.0.0/16")),
            ("10.2.0.0", Some("10.0.0.0/8")),
            ("11.0.0.0", Some("0.0.0.0/0")),
            ("::ffff:10.1.2.3", Some("10.1.2.3/32")),
            ("2001:db8:ffff::", Some("2001:db8::/32")),
            ("2001:db9::", None),
            ("::1", Some("::1/128")),
            ("::2", None),
        ] {
            let found = networks
                .matching(ip.parse().unwrap())
                .map(|net| net.to_string());
            assert_eq!(found.as_deref(), expected, "{ip}");
        }
        assert!(Networks::default().is_empty() && !networks.is_empty());
        // All of IPv6 is none of IPv4.
        let v6 = Networks::parse(["::/0"]).unwrap();
        assert!(v6.matching("::ffff:1.1.1.1".parse().unwrap()).is_none());
        assert!(v6.matching("2600::".parse().unwrap()).is_some());
    }

    #[test]
    fn errors() {
        let entries = [
            "",
            "x",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "::/00",
            "010.0.0.1",
            "10.0.0",
            "[::1]",
            "fe80::1%eth0",
            "::/129",
            "10.0.0.0/8/8",
            "10.0.0.0/255.0.0.0",
        ];
        let errors = Networks::parse(entries).unwrap_err();
        assert_eq!(errors.len(), entries.len() - 1);
        assert!(
            errors
                .iter()
                .all(|error| error.problem == EntryProblem::Network)
        );
        assert_eq!((errors[0].number, &*errors[0].text), (2, "x"));

        let error = Networks::parse(["10.1.2.3/8"]).unwrap_err().remove(0);
        let net = "10.0.0.0/8".parse().unwrap();
        assert_eq!(error.problem, EntryProblem::HostBits(net));
        let error = Networks::parse(["::ffff:0:0/96"]).unwrap_err().remove(0);
        let net = "0.0.0.0/0".parse().unwrap();
        assert_eq!(error.problem, EntryProblem::Mapped(net));
        assert!(Networks::parse(["::ffff:10.0.0.1"]).is_err());
        assert!(Networks::parse(["::ffff:0:0/95"]).is_err());
    }

    #[test]
    fn many_errors_are_counted() {
        let errors = Networks::parse(std::iter::repeat_n("\u{1b}[2J", 1000)).unwrap_err();
        assert_eq!(errors.len(), 51);
        assert_eq!(errors[50].problem, EntryProblem::More(950));
        assert!(
            errors[0]
                .to_string()
                .starts_with("entry 1 \"\\u{1b}[2J\": ")
        );
    }

    proptest! {
        #[test]
        fn agrees_with_a_scan(
            nets in proptest::collection::vec((any::<IpAddr>(), 0u8..=128), 0..12),
            ip: IpAddr,
            near in 0usize..12,
            flip in 0u32..128,
        ) {
            let nets: Vec<IpNet> = nets
                .into_iter()
                .filter_map(|(ip, len)| IpNet::new(ip.to_canonical(), len).ok())
                .map(|net| net.trunc())
                .collect();
            let networks: Networks = nets.iter().copied().collect();
            // Half of the addresses are near a network: one bit away from its first.
            let ip = match nets.get(near).map(IpNet::network) {
                Some(IpAddr::V4(ip)) => IpAddr::V4((ip.to_bits() ^ 1 << (flip % 32)).into()),
                Some(IpAddr::V6(ip)) => IpAddr::V6((ip.to_bits() ^ 1 << flip).into()),
                None => ip,
            }
            .to_canonical();
            let plain = nets.iter().filter(|net| net.contains(&ip)).max_by_key(|net| net.prefix_len());
            prop_assert_eq!(networks.matching(ip), plain.copied());
            let listed: HashSet<IpNet> = networks.iter().collect();
            prop_assert_eq!(networks.iter().count(), listed.len());
            prop_assert_eq!(listed, nets.into_iter().map(as_ipv4).collect());
        }

        #[test]
        fn ranges_have_what_matches(
            nets in proptest::collection::vec((any::<IpAddr>(), 0u8..=128), 0..6),
            ip: IpAddr,
            near in 0usize..6,
        ) {
            let nets: Vec<IpNet> = nets
                .into_iter()
                .filter_map(|(ip, len)| IpNet::new(ip, len).ok())
                .map(|net| net.trunc())
                .collect();
            let networks: Networks = nets.iter().copied().collect();
            let ip = nets.get(near).map_or(ip, IpNet::broadcast).to_canonical();
            let number = match ip {
                IpAddr::V4(ip) => MAPPED + u128::from(ip.to_bits()),
                IpAddr::V6(ip) => ip.to_bits(),
            };
            prop_assert_eq!(networks.ranges().contains(number), networks.matching(ip).is_some());
            let all: Networks = ["0.0.0.0/0", "::/0"].map(|net| net.parse::<IpNet>().unwrap()).into_iter().collect();
            prop_assert_eq!(all.ranges(), Ranges::all());
        }

        #[test]
        fn never_panics(entries in proptest::collection::vec(".{0,20}", 0..8)) {
            let _ = Networks::parse(entries);
        }
    }
}
