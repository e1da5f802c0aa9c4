//! `tollgate.listeners`: addresses to bind, those of `tollgate.admin` too, and which of them collide.
//!
//! `[::]` alone means every IPv6 and every IPv4 address. It is bound as two sockets, `[::]` for IPv6 alone
//! and `0.0.0.0`, and not as one socket for both: then a system's default (`bindv6only`) does not matter, and
//! an upgrade between `[::]` alone and both addresses apart finds each socket under its own name.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use super::files::Base;
use super::host::{self, AddressUse};
use super::keys::form::Absent::{Means, Required};
use super::keys::form::{Flag, OneOf, Raw};
use super::keys::keys;
use super::reader::{Item, Section};
use super::senders::{self, ProxyProtocol, Senders};
use super::tls::{self, ListenerTls, Reading};

const LISTENER: &str = "write a list with `- address: \"127.0.0.1:8888\"`";

/// The port of name servers (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;

/// Where clients connect.
#[derive(Clone)]
pub struct Listener {
    /// Never port 0.
    pub address: SocketAddr,
    /// What TLS is served with; none on a plain listener.
    pub tls: Option<Arc<ListenerTls>>,
    /// Whether the certificates of clients are users.
    pub makes_users: bool,
    /// Who begins every connection with a PROXY protocol header (v1 or v2); none where clients connect themselves.
    pub proxy_protocol: Option<Senders>,
    /// Whether clients may speak HTTP/2.
    pub http2: bool,
    /// Whether clients may speak SOCKS5.
    pub socks5: Socks5,
}

/// Whether the clients of a listener may speak SOCKS5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Socks5 {
    #[default]
    Never,
    /// Beside HTTP: the first byte of a connection tells.
    Also,
    Only,
}

impl Socks5 {
    const WORDS: [(&'static str, Self); 3] = [
        ("never", Self::Never),
        ("also", Self::Also),
        ("only", Self::Only),
    ];
}

impl Listener {
    /// Whether only programs on this machine can connect.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.address)
    }
}

impl fmt::Debug for Listener {
    /// Leaves out what TLS is served with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .field("tls", &self.tls.is_some())
            .field("proxy_protocol", &self.proxy_protocol.is_some())
            .field("http2", &self.http2)
            .field("socks5", &self.socks5)
            .finish()
    }
}

keys! {
    /// One listener.
    pub(super) struct ListenerKeys<'d> {
        /// Where clients connect. `"[::]:8888"` alone takes IPv6 and IPv4, `"0.0.0.0:8888"` IPv4. Both can have the
        /// same port, with settings of their own and in either order; then `[::]` takes IPv6 alone. In all cases a
        /// client of IPv4 has an IPv4 address, in rules, log and fields.
        address: Option<Item<'d>> = Required, Raw => Shape::address();
        /// Whether clients may speak HTTP/2: offered in the TLS handshake (ALPN), or from a client's first byte on
        /// (prior knowledge), plain listeners included.
        http2: bool = true, Flag;
        /// Whether clients may speak SOCKS5, with names, IPv4 and IPv6: `also` beside HTTP, told by the first byte of a
        /// connection, or `only`. Users, policy, limits and log are those of CONNECT.
        socks5: Socks5 = Socks5::Never, OneOf(&Socks5::WORDS);
        /// What TLS is served with.
        tls: Option<Item<'d>> = Means("none: a plain listener"), Raw => Shape::Map(tls::Keys::keys);
        /// Whether each connection begins with a PROXY protocol header, v1 or v2, which names the client's address.
        /// For a load balancer that always sends one. `true` takes the header from every peer.
        proxy_protocol: Option<Senders> = None, ProxyProtocol;
    }
}

/// Which files of TLS are read.
pub(super) enum TlsFiles<'a> {
    /// All.
    All,
    /// Those of the listeners that have TLS in the running process.
    Of(&'a [SocketAddr]),
    /// None.
    Nothing,
}

impl TlsFiles<'_> {
    /// Those of the listener on an address.
    pub(super) fn of(&self, listener: Option<SocketAddr>) -> Reading {
        match self {
            Self::All => Reading::All,
            Self::Of(running) if listener.is_some_and(|it| running.contains(&it)) => {
                Reading::Readable
            }
            Self::Of(_) | Self::Nothing => Reading::Nothing,
        }
    }
}

/// Reads `listeners`, and notes in `bound` what is to be bound.
pub(super) fn read(
    tollgate: &Section<'_>,
    item: Option<&Item<'_>>,
    base: &Base,
    files: &TlsFiles<'_>,
    bound: &mut Bindings,
) -> Vec<Listener> {
    let items = match item {
        Some(item) if item.written().is_some_and(|text| !text.is_empty()) => {
            item.report("a single value, where a list is expected", LISTENER);
            Vec::new()
        }
        Some(item) => {
            let items = item.list();
            if items.as_ref().is_some_and(Vec::is_empty) {
                item.report("no listener", LISTENER);
            }
            items.unwrap_or_default()
        }
        None => {
            tollgate.report("listeners", "missing", LISTENER);
            Vec::new()
        }
    };
    let mut listeners = Vec::new();
    for item in &items {
        if item.written().is_some_and(|text| !text.is_empty()) {
            let advice = "write `address: ` before it, as in `- address: \"127.0.0.1:8888\"`";
            item.report("a single value, where a map of keys is expected", advice);
            continue;
        }
        let mut section = item.section();
        let keys = ListenerKeys::take(&mut section);
        let address = address(&section, keys.address.as_ref(), bound);
        let senders = keys.proxy_protocol;
        if let Some(address) = address.filter(|address| !is_loopback(*address))
            && senders.as_ref().is_some_and(Senders::are_anyone)
        {
            let message = format!(
                "every peer of {address} can claim any client address in its PROXY protocol header"
            );
            section.warn("proxy_protocol", message, senders::REMEDY);
        }
        let (http2, socks5) = (keys.http2, keys.socks5);
        let reading = files.of(address);
        let tls = keys.tls.as_ref();
        let tls = tls.map(|item| tls::read(item, base, reading, tls::Use::Proxy { http2 }));
        let tls = tls.unwrap_or_default();
        section.finish();
        if let Some(address) = address {
            listeners.push(Listener {
                address,
                tls: tls.listener,
                makes_users: tls.makes_users,
                proxy_protocol: senders,
                http2,
                socks5,
            });
        }
    }
    listeners
}

/// An address of this program that is bound already, with the path of its key.
pub(super) type Bound = (SocketAddr, String);

/// What this program binds.
pub(super) struct Bindings {
    /// Each address so far.
    pub(super) addresses: Vec<Bound>,
    /// Whether a port 0 is a free port.
    free_ports: bool,
    /// The sockets of those.
    pub(super) sockets: Vec<BoundSocket>,
}

/// A socket that is bound already, and its address.
pub type BoundSocket = (SocketAddr, TcpListener);

impl Bindings {
    pub(super) fn new(free_ports: bool) -> Self {
        Self {
            addresses: Vec::new(),
            free_ports,
            sockets: Vec::new(),
        }
    }

    /// Binds a free port where the address is of port 0 and may be. None where it is not.
    fn free_port(&mut self, item: &Item<'_>) -> Option<SocketAddr> {
        let address: SocketAddr = item.written()?.parse().ok()?;
        if !self.free_ports || address.port() != 0 {
            return None;
        }
        let bound = TcpListener::bind(address);
        match bound.and_then(|socket| Ok((socket.local_addr()?, socket))) {
            Ok((address, socket)) => {
                self.sockets.push((address, socket));
                Some(address)
            }
            Err(error) => {
                let message = format!("no port is free: {error}");
                item.report(message, "write an address of this machine");
                None
            }
        }
    }
}

/// Reads the address of a listener, and notes it as one to bind.
pub(super) fn address(
    section: &Section<'_>,
    item: Option<&Item<'_>>,
    bound: &mut Bindings,
) -> Option<SocketAddr> {
    let Some(item) = item else {
        section.report("address", "missing", "write one such as \"127.0.0.1:8888\"");
        return None;
    };
    if let Some(address) = bound.free_port(item) {
        return Some(address);
    }
    let address = parse_address(item, AddressUse::Listener)?;
    let addresses = &mut bound.addresses;
    if let Some((there, other)) = addresses.iter().find(|(other, _)| collide(*other, address)) {
        let (message, remedy) = collision(*there, address, other);
        item.report(message, remedy);
        return None;
    }
    addresses.push((address, item.path.clone()));
    Some(address)
}

/// What to say of an address that collides with one that is bound already, at the key `other`.
fn collision(there: SocketAddr, address: SocketAddr, other: &str) -> (String, String) {
    let own_port = "give each one its own port".to_owned();
    if there.ip() == address.ip() {
        return (format!("the same address as {other}"), own_port);
    }
    let wide = if covers(there.ip(), address.ip()) {
        there.ip()
    } else {
        address.ip()
    };
    let reach = match wide {
        IpAddr::V4(_) => "0.0.0.0 takes the connections to every IPv4 address",
        IpAddr::V6(_) if there.is_ipv6() && address.is_ipv6() => {
            "[::] takes the connections to every IPv6 address"
        }
        IpAddr::V6(_) => "[::] takes the connections to every IPv4 address too",
    };
    (
        format!("in the way of {other}: {reach}"),
        format!("{own_port}, or keep only the one on {}", bracketed(wide)),
    )
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// Reads an IP address with a port, which may be left out for a name server. An IPv4-mapped one is the
/// IPv4 address.
pub(super) fn parse_address(item: &Item<'_>, for_use: AddressUse) -> Option<SocketAddr> {
    let text = item.text()?;
    let address = text.parse::<SocketAddr>().ok();
    let with_default = || {
        let text = text
            .strip_prefix('[')
            .map_or(Some(text), |text| text.strip_suffix(']'))?;
        let ip = text.parse().ok()?;
        (for_use == AddressUse::NameServer).then(|| SocketAddr::new(ip, DNS_PORT))
    };
    match address.or_else(with_default) {
        Some(address) if address.port() == 0 => {
            item.report("port 0", "write a port from 1 to 65535");
            None
        }
        Some(address) => Some(canonical(address)),
        None => {
            let (message, remedy) = host::address(text, for_use);
            item.report(message, remedy);
            None
        }
    }
}

/// Whether binding both fails, or takes connections from one for the other.
pub(super) fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let (ip_a, ip_b) = (a.ip().to_canonical(), b.ip().to_canonical());
    let scope = |address| match address {
        SocketAddr::V6(address) => address.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    a.port() == b.port()
        && (covers(ip_a, ip_b) || covers(ip_b, ip_a) || (ip_a == ip_b && scope(a) == scope(b)))
}

/// Whether a listener on `wide` takes the connections to `ip`. With 0.0.0.0 on the same port `[::]` leaves
/// IPv4 to it.
fn covers(wide: IpAddr, ip: IpAddr) -> bool {
    match wide {
        IpAddr::V4(wide) => wide.is_unspecified() && ip.is_ipv4(),
        IpAddr::V6(wide) => wide.is_unspecified() && ip != IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }
}

/// The addresses to bind for `address`, which is one of `all`: `[::]` means every IPv4 address too, unless
/// 0.0.0.0 is there as well with that port.
pub(super) fn bound_addresses(
    address: SocketAddr,
    all: &[SocketAddr],
) -> impl Iterator<Item = SocketAddr> + use<> {
    let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    let takes_both = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !all.contains(&ipv4);
    std::iter::once(address).chain(takes_both.then_some(ipv4))
}

/// The addresses of the configuration.
pub(super) fn configured_addresses(
    listeners: &[Listener],
    admin: Option<SocketAddr>,
) -> Vec<SocketAddr> {
    let addresses = listeners.iter().map(|listener| listener.address);
    addresses.chain(admin).collect()
}

/// Where this program can be reached.
pub(super) fn own_listeners(listeners: &[Listener], admin: Option<SocketAddr>) -> Vec<SocketAddr> {
    let all = configured_addresses(listeners, admin);
    let bound = all
        .iter()
        .flat_map(|address| bound_addresses(*address, &all));
    bound.collect()
}

/// An IPv4-mapped address (`::ffff:192.0.2.1`) as the IPv4 address that it means; others as they are.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        IpAddr::V6(_) => address,
    }
}

/// Whether only programs on this machine can connect.
pub(super) fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collisions() {
        let cases = [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:81", false),
            ("0.0.0.0:80", "[::1]:80", false),
            ("0.0.0.0:80", "[::]:80", false),
            ("0.0.0.0:80", "[::ffff:0.0.0.0]:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "[::1]:80", true),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true),
            ("[fe80::1%1]:80", "[fe80::1%2]:80", false),
        ];
        for (a, b, expected) in cases {
            let (first, second) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(collide(first, second), expected, "{a} {b}");
            assert_eq!(collide(second, first), expected, "{b} {a}");
        }
    }

    #[test]
    fn an_unspecified_ipv6_address_is_for_both_families_unless_ipv4_has_its_own() {
        let bound = |address: &str, all: &[&str]| -> Vec<String> {
            let all: Vec<SocketAddr> = all.iter().map(|text| text.parse().unwrap()).collect();
            let bound = bound_addresses(address.parse().unwrap(), &all);
            bound.map(|address| address.to_string()).collect()
        };
        assert_eq!(bound("[::]:80", &["[::]:80"]), ["[::]:80", "0.0.0.0:80"]);
        assert_eq!(bound("[::]:80", &["[::]:80", "0.0.0.0:81"]).len(), 2);
        assert_eq!(bound("[::]:80", &["0.0.0.0:80", "[::]:80"]), ["[::]:80"]);
        assert_eq!(bound("0.0.0.0:80", &["0.0.0.0:80"]), ["0.0.0.0:80"]);
        assert_eq!(bound("[::1]:80", &["[::1]:80"]), ["[::1]:80"]);
    }

    #[test]
    fn collisions_are_explained() {
        let cases = [
            ("127.0.0.1:80", "127.0.0.1:80", "the same address as K"),
            (
                "0.0.0.0:80",
                "127.0.0.1:80",
                "in the way of K: 0.0.0.0 takes the connections to every IPv4 address",
            ),
            (
                "127.0.0.1:80",
                "[::]:80",
                "in the way of K: [::] takes the connections to every IPv4 address too",
            ),
            (
                "[::1]:80",
                "[::]:80",
                "in the way of K: [::] takes the connections to every IPv6 address",
            ),
        ];
        for (there, address, expected) in cases {
            let (message, remedy) =
                collision(there.parse().unwrap(), address.parse().unwrap(), "K");
            assert_eq!(message, expected);
            assert!(remedy.starts_with("give each one its own port"), "{remedy}");
        }
    }

    #[test]
    fn loopback() {
        for (text, expected) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("192.0.2.1:1", false),
        ] {
            assert_eq!(is_loopback(text.parse().unwrap()), expected, "{text}");
        }
    }
}
