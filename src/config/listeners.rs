//! `tollgate.listeners` and `tollgate.admin`: addresses to bind, and which of them collide.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::files::Base;
use super::host::{self, AddressUse};
use super::reader::{Item, Section};
use super::tls;

const LISTENER: &str = "write a list with `- address: \"127.0.0.1:8888\"`";

/// The port of name servers (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;

/// Where clients connect.
#[derive(Clone)]
pub struct Listener {
    /// Never port 0.
    pub address: SocketAddr,
    /// What TLS is served with; none on a plain listener. Offers `h2` where `http2` is on, and
    /// asks for a client certificate where `client_ca` is configured.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Whether every connection begins with a PROXY protocol header (v1 or v2).
    pub proxy_protocol: bool,
    /// Whether clients may speak HTTP/2.
    pub http2: bool,
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
            .field("proxy_protocol", &self.proxy_protocol)
            .field("http2", &self.http2)
            .finish()
    }
}

/// Reads `listeners` and `admin`, and says what is to be bound.
pub(super) fn read(
    tollgate: &mut Section<'_>,
    base: &Base,
    open: bool,
) -> (Vec<Listener>, Option<SocketAddr>, Vec<Bound>) {
    let mut bound = Vec::new();
    let mut listeners = Vec::new();
    let items = match tollgate.item("listeners") {
        Some(item) if item.written().is_some_and(|text| !text.is_empty()) => {
            item.report("a single value, where a list is wanted", LISTENER);
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
    for item in &items {
        if item.written().is_some_and(|text| !text.is_empty()) {
            let advice = "write `address: ` before it, as in `- address: \"127.0.0.1:8888\"`";
            item.report("a single value, where a map of keys is wanted", advice);
            continue;
        }
        let mut section = item.section();
        let address = address(&mut section, &mut bound);
        let http2 = section.flag("http2", true);
        let tls = section
            .item("tls")
            .map(|item| tls::read(&item, base, open, http2));
        let proxy_protocol = section.flag("proxy_protocol", false);
        section.finish();
        if let Some(address) = address {
            listeners.push(Listener {
                address,
                tls: tls.flatten(),
                proxy_protocol,
                http2,
            });
        }
    }
    // `admin:` without anything below it is a problem: it says neither on nor off.
    let admin = tollgate.item("admin").and_then(|item| {
        let mut section = item.section();
        let address = address(&mut section, &mut bound);
        section.finish();
        if open && address.is_some_and(|address| !is_loopback(address)) {
            item.warn(
                "the admin service has no authentication, and its address is not loopback",
                "write 127.0.0.1 or [::1], or let a firewall admit those who may use it",
            );
        }
        address
    });
    (listeners, admin, bound)
}

/// An address of this program that is bound already, with the path of its key.
pub(super) type Bound = (SocketAddr, String);

fn address(section: &mut Section<'_>, bound: &mut Vec<Bound>) -> Option<SocketAddr> {
    let Some(item) = section.item("address") else {
        section.report("address", "missing", "write one such as \"127.0.0.1:8888\"");
        return None;
    };
    let address = parse_address(&item, AddressUse::Listener)?;
    if let Some((_, other)) = bound.iter().find(|(other, _)| collide(*other, address)) {
        item.report(
            format!("the same address as {other}"),
            "give each one its own port",
        );
        return None;
    }
    bound.push((address, item.path.clone()));
    Some(address)
}

/// Reads an IP address with a port, which may be left out for a name server.
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
        Some(address) => Some(address),
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
    let covers = |wide: IpAddr, ip: IpAddr| {
        // An unspecified IPv6 address takes IPv4 connections too (ipv6(7), bindv6only = 0).
        wide.is_unspecified() && (wide.is_ipv6() || ip.is_ipv4())
    };
    let scope = |address| match address {
        SocketAddr::V6(address) => address.scope_id(),
        SocketAddr::V4(_) => 0,
    };
    a.port() == b.port()
        && (covers(ip_a, ip_b) || covers(ip_b, ip_a) || (ip_a == ip_b && scope(a) == scope(b)))
}

fn is_loopback(address: SocketAddr) -> bool {
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
            ("0.0.0.0:80", "[::]:80", true),
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
