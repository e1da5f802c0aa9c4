//! The entries of `upstreams`: where a server of a pool is, and whether it is spoken to with TLS.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::super::host::{self, AddressUse};
use super::super::listeners::{Listener, canonical, collide};
use super::super::reader::Item;
use crate::http::target::{Authority, Host, TargetError};

pub(super) const MAX_UPSTREAMS: usize = 1024;
/// The longest path of a socket that the kernel takes (unix(7)), without the zero at its end.
const MAX_SOCKET_PATH: usize = 107;

/// The version of the PROXY protocol with which connections to an upstream begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyHeader {
    /// Version 1, a line of text.
    V1,
    /// Version 2, in binary.
    V2,
}

/// Whether requests go on to an upstream in HTTP/2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Http2 {
    /// In HTTP/1.1.
    #[default]
    Off,
    /// Where the upstream offers it in the TLS handshake.
    Auto,
    /// Always: without TLS by prior knowledge.
    Only,
}

/// One server of a pool, or the name of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    pub address: UpstreamAddress,
    /// Whether it is spoken to with TLS. Never at the path of a socket.
    pub is_tls: bool,
}

/// Where an upstream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// At an IP address.
    Ip(SocketAddr),
    /// At every address of a name, which is in lower case.
    Name(Box<str>, u16),
    /// At a socket of this machine; the path is absolute.
    Unix(PathBuf),
}

impl From<SocketAddr> for Upstream {
    fn from(address: SocketAddr) -> Self {
        Self {
            address: UpstreamAddress::Ip(address),
            is_tls: false,
        }
    }
}

impl Upstream {
    /// Reads an entry. What is wrong, and what to write instead, comes back without the text.
    fn parse(text: &str) -> Result<Self, (&'static str, String)> {
        if host::is_variable(text) {
            return Err((host::VARIABLE, host::FILL_IN.to_owned()));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self {
                address: socket(path)?,
                is_tls: false,
            });
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let (is_tls, default_port) = match scheme {
                "http" => (false, 80),
                "https" => (true, 443),
                _ => {
                    return Err((
                        "a scheme other than http and https",
                        AddressUse::Upstream.example().to_owned(),
                    ));
                }
            };
            let address = in_url(rest, default_port)?;
            if is_tls
                && let UpstreamAddress::Name(name, _) = &address
                && has_odd_label(name)
            {
                return Err((
                    "its first label has an underscore, for which a certificate may be another server's",
                    "name the server without the underscore".to_owned(),
                ));
            }
            return Ok(Self { address, is_tls });
        }
        Ok(Self {
            address: with_port(text)?,
            is_tls: false,
        })
    }
}

/// Whether Pingora would verify another name than this: it puts a hyphen for each underscore in the first of three
/// labels and more.
pub(in crate::config) fn has_odd_label(name: &str) -> bool {
    let (first, rest) = name.split_once('.').unwrap_or((name, ""));
    first.contains('_') && rest.contains('.')
}

fn socket(path: &str) -> Result<UpstreamAddress, (&'static str, String)> {
    const ABSOLUTE: &str = "write it as unix:/run/app.sock";
    if path.starts_with("//") {
        return Err(("two slashes behind `unix:`", ABSOLUTE.to_owned()));
    }
    if !path.starts_with('/') {
        return Err(("not an absolute path", ABSOLUTE.to_owned()));
    }
    if path.len() > MAX_SOCKET_PATH {
        let advice = format!("have the socket at a path of at most {MAX_SOCKET_PATH} bytes");
        return Err(("the path is too long for a socket", advice));
    }
    Ok(UpstreamAddress::Unix(
        Path::new(path).components().collect(),
    ))
}

fn in_url(rest: &str, default_port: u16) -> Result<UpstreamAddress, (&'static str, String)> {
    if rest.contains('@') {
        let advice = "leave out everything up to `@`; upstreams get no credentials from here";
        return Err(("has a user or a password", advice.to_owned()));
    }
    if rest.contains(['/', '?', '#']) {
        let advice = "leave out everything from the `/`, `?` or `#` behind the host on";
        return Err(("a URL with a path", advice.to_owned()));
    }
    let authority = Authority::parse_with_default(rest.as_bytes(), Some(default_port));
    match authority {
        Ok(authority) => of_authority(authority, rest),
        Err(error) => Err(mistake(error, rest)),
    }
}

fn with_port(text: &str) -> Result<UpstreamAddress, (&'static str, String)> {
    // An IPv6 address with a zone is no authority.
    if let Some(address) = text.parse::<SocketAddr>().ok().filter(|it| it.port() != 0) {
        return Ok(UpstreamAddress::Ip(canonical(address)));
    }
    match Authority::parse(text.as_bytes()) {
        Ok(authority) => of_authority(authority, text),
        Err(error) => Err(mistake(error, text)),
    }
}

/// Other spellings of an IPv4 address than four numbers are refused: not every reader takes them for the same.
fn of_authority(
    authority: Authority,
    written: &str,
) -> Result<UpstreamAddress, (&'static str, String)> {
    let port = authority.port;
    match authority.host {
        Host::Name(name) => Ok(UpstreamAddress::Name(name, port)),
        Host::Ip(ip) => {
            let host = written.strip_suffix(&format!(":{port}")).unwrap_or(written);
            let host = host.trim_start_matches('[').trim_end_matches([']', ':']);
            if host.parse::<IpAddr>().is_err() {
                return Err(host::address(written, AddressUse::Upstream));
            }
            Ok(UpstreamAddress::Ip(canonical((ip, port).into())))
        }
    }
}

fn mistake(error: TargetError, text: &str) -> (&'static str, String) {
    match error {
        TargetError::Port if text.parse::<SocketAddr>().is_ok_and(|it| it.port() == 0) => {
            ("port 0", "write a port from 1 to 65535".to_owned())
        }
        _ => host::address(text, AddressUse::Upstream),
    }
}

/// Reads a list of upstreams.
pub(super) fn read(items: &[Item<'_>], listeners: &[Listener]) -> Vec<Upstream> {
    if let Some(item) = items.get(MAX_UPSTREAMS) {
        item.report("too many upstreams", format!("keep {MAX_UPSTREAMS}"));
    }
    let mut upstreams: Vec<Upstream> = Vec::new();
    for item in items.iter().take(MAX_UPSTREAMS) {
        let Some(upstream) = read_one(item) else {
            continue;
        };
        if upstreams.contains(&upstream) {
            item.report("given twice", "keep one of the two");
        } else if is_own(&upstream.address, listeners) {
            item.report(
                "one of tollgate's own listeners",
                "name the server behind it",
            );
        } else {
            upstreams.push(upstream);
        }
    }
    upstreams
}

fn read_one(item: &Item<'_>) -> Option<Upstream> {
    match Upstream::parse(item.text()?) {
        Ok(upstream) => Some(upstream),
        Err((message, remedy)) => {
            item.report(message, remedy);
            None
        }
    }
}

fn is_own(address: &UpstreamAddress, listeners: &[Listener]) -> bool {
    match address {
        UpstreamAddress::Ip(address) => listeners.iter().any(|it| leads_to(*address, it.address)),
        // What a name means is not known before it is looked up.
        UpstreamAddress::Name(..) | UpstreamAddress::Unix(_) => false,
    }
}

/// Whether connecting to the address surely arrives at the listener. Other addresses of this
/// machine, which a listener on `0.0.0.0` takes too, are not known here.
pub(in crate::config) fn leads_to(address: SocketAddr, listener: SocketAddr) -> bool {
    let local = address.ip().to_canonical();
    let bound = listener.ip().to_canonical();
    collide(address, listener) && (local == bound || local.is_loopback() || local.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let name = |name: &str, port| UpstreamAddress::Name(name.into(), port);
        let ip = |text: &str| UpstreamAddress::Ip(text.parse().unwrap());
        for (text, address, is_tls) in [
            ("127.0.0.1:80", ip("127.0.0.1:80"), false),
            ("[::1]:80", ip("[::1]:80"), false),
            ("[::ffff:127.0.0.1]:80", ip("127.0.0.1:80"), false),
            ("Backend:80", name("backend", 80), false),
            ("web_1.example.:8080", name("web_1.example", 8080), false),
            ("http://backend", name("backend", 80), false),
            ("http://127.0.0.1:81", ip("127.0.0.1:81"), false),
            ("https://backend:8443", name("backend", 8443), true),
            ("https://10.0.0.1", ip("10.0.0.1:443"), true),
            ("https://web_1.test", name("web_1.test", 443), true),
            ("https://[::1]:8443", ip("[::1]:8443"), true),
            (
                "unix:/run/app.sock",
                UpstreamAddress::Unix("/run/app.sock".into()),
                false,
            ),
        ] {
            let expected = Upstream { address, is_tls };
            assert_eq!(Upstream::parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn mistakes() {
        for (text, message) in [
            (
                "https://web_1.shop.test",
                "its first label has an underscore, for which a certificate may be another server's",
            ),
            ("backend", "a name without a port"),
            ("backend:0", "not a name with a port"),
            ("backend:http", "not an address with a port"),
            ("127.0.0.1:0", "port 0"),
            ("127.0.0.1:65536", "the port is out of range"),
            ("127.0.0.1", "an address without a port"),
            ("127.1:80", "not an IPv4 address"),
            ("0x7f000001:80", "not a name with a port"),
            ("[::1]", "an address without a port"),
            ("256.0.0.1:80", "not an IPv4 address"),
            (":80", "a port without an address"),
            ("80", "a port without an address"),
            ("a..b:80", "not a name with a port"),
            ("*:80", "a wildcard, where an address is expected"),
            ("a b:80", "more than one address, or a space in one"),
            ("ftp://backend:21", "a scheme other than http and https"),
            ("https://hunter2@backend:1", "has a user or a password"),
            ("https://backend:1/", "a URL with a path"),
            ("https://backend:1?x", "a URL with a path"),
            ("https://", "not an address with a port"),
            ("unix:run/app.sock", "not an absolute path"),
            ("unix:", "not an absolute path"),
            ("unix:///run/app.sock", "two slashes behind `unix:`"),
            ("/run/app.sock", "a path, where an address is expected"),
            ("${BACKEND}:80", "a variable of a template"),
        ] {
            assert_eq!(Upstream::parse(text).unwrap_err().0, message, "{text}");
        }
        let long = format!("unix:/{}", "a".repeat(MAX_SOCKET_PATH));
        assert_eq!(
            Upstream::parse(&long).unwrap_err().0,
            "the path is too long for a socket"
        );
    }
}
