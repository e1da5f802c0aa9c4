//! Headers of the PROXY protocol that begin connections to upstreams: who the client is that a connection is for.
//!
//! The reader, for load balancers in front of us, is `downstream::proxy_protocol`. The crate `ppp`, on which it stands,
//! could write headers too; this writer cannot fail, and what it writes is read by code that is not its own.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::config::ProxyHeader;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2 and the command, in the byte behind the signature.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
/// Addresses of no family, and TCP over each of the two.
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// The two ends of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The client, as Tollgate knows it.
    pub client: SocketAddr,
    /// Where Tollgate has accepted it.
    pub listener: SocketAddr,
}

/// Writes the header of a connection for a client; for none, that of a connection which Tollgate makes for itself.
pub fn header(version: ProxyHeader, ends: Option<Ends>) -> Vec<u8> {
    match version {
        ProxyHeader::V1 => text(ends).into_bytes(),
        ProxyHeader::V2 => binary(ends),
    }
}

fn text(ends: Option<Ends>) -> String {
    let Some(ends) = ends else {
        return "PROXY UNKNOWN\r\n".to_owned();
    };
    let ports = (ends.client.port(), ends.listener.port());
    let line = |family, client: &dyn std::fmt::Display, listener: &dyn std::fmt::Display| {
        format!(
            "PROXY {family} {client} {listener} {} {}\r\n",
            ports.0, ports.1
        )
    };
    match ends.addresses() {
        (IpAddr::V4(client), IpAddr::V4(listener)) => line("TCP4", &client, &listener),
        (client, listener) => {
            let (client, listener) = (plain(client), plain(listener));
            line("TCP6", &client, &listener)
        }
    }
}

/// The address without a form that has dots: `::ffff:192.0.2.1` is not among those that readers of version 1 have to
/// know.
fn plain(ip: IpAddr) -> String {
    let ip = wide(ip);
    match ip.to_ipv4_mapped() {
        Some(_) => {
            let [.., high, low] = ip.segments();
            format!("::ffff:{high:x}:{low:x}")
        }
        None => ip.to_string(),
    }
}

fn binary(ends: Option<Ends>) -> Vec<u8> {
    let mut out = Vec::with_capacity(52);
    out.extend_from_slice(SIGNATURE);
    let Some(ends) = ends else {
        out.extend_from_slice(&[LOCAL, UNSPECIFIED, 0, 0]);
        return out;
    };
    out.push(PROXY);
    match ends.addresses() {
        (IpAddr::V4(client), IpAddr::V4(listener)) => {
            out.extend_from_slice(&[TCP4, 0, 12]);
            out.extend_from_slice(&client.octets());
            out.extend_from_slice(&listener.octets());
        }
        (client, listener) => {
            out.extend_from_slice(&[TCP6, 0, 36]);
            out.extend_from_slice(&wide(client).octets());
            out.extend_from_slice(&wide(listener).octets());
        }
    }
    out.extend_from_slice(&ends.client.port().to_be_bytes());
    out.extend_from_slice(&ends.listener.port().to_be_bytes());
    out
}

impl Ends {
    /// Both addresses, of one family where they can be. A header has one family: a load balancer may have named a client
    /// of another one than it has connected with.
    fn addresses(&self) -> (IpAddr, IpAddr) {
        let canonical = |address: SocketAddr| address.ip().to_canonical();
        (canonical(self.client), canonical(self.listener))
    }
}

/// The address as one of IPv6.
fn wide(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(client: &str, listener: &str) -> Option<Ends> {
        let (client, listener) = (client.parse().unwrap(), listener.parse().unwrap());
        Some(Ends { client, listener })
    }

    #[test]
    fn version_1() {
        let line = |ends| String::from_utf8(header(ProxyHeader::V1, ends)).unwrap();
        for (client, listener, expected) in [
            (
                "192.0.2.1:5000",
                "[::ffff:198.51.100.1]:443",
                "PROXY TCP4 192.0.2.1 198.51.100.1 5000 443\r\n",
            ),
            (
                "[2001:db8::1]:5000",
                "[::1]:443",
                "PROXY TCP6 2001:db8::1 ::1 5000 443\r\n",
            ),
            (
                "[2001:db8::1]:5000",
                "198.51.100.1:443",
                "PROXY TCP6 2001:db8::1 ::ffff:c633:6401 5000 443\r\n",
            ),
        ] {
            assert_eq!(line(ends(client, listener)), expected);
        }
        assert_eq!(line(None), "PROXY UNKNOWN\r\n");
        let longest = "[1111:1111:1111:1111:1111:1111:1111:1111]:65535";
        assert!(line(ends(longest, longest)).len() <= 107);
    }

    #[test]
    fn version_2() {
        let bytes = header(ProxyHeader::V2, ends("192.0.2.1:5000", "198.51.100.1:443"));
        let rest = [
            0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 1, 0x13, 0x88, 0x01, 0xbb,
        ];
        assert_eq!(bytes, [SIGNATURE, &rest].concat());
        let bytes = header(
            ProxyHeader::V2,
            ends("[2001:db8::1]:5000", "198.51.100.1:443"),
        );
        assert_eq!(
            (bytes.len(), &bytes[12..16]),
            (52, &[0x21, 0x21, 0, 36][..])
        );
        assert_eq!(
            &bytes[32..48],
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 198, 51, 100, 1]
        );
        let local = header(ProxyHeader::V2, None);
        assert_eq!(local, [SIGNATURE, &[0x20, 0, 0, 0]].concat());
    }
}
