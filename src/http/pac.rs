//! A proxy auto-configuration (PAC) file: where it is served, which proxies it names, and which hosts it lets clients
//! reach directly. Pure.
//!
//! It has what the operator writes for it and nothing else: neither the policy, nor other settings, nor a field of the
//! request.

mod script;

use std::fmt;

use bytes::Bytes;
use http::HeaderValue;
use ipnet::IpNet;

use super::target::{Authority, Host};

/// The media type that browsers expect.
pub const CONTENT_TYPE: &str = "application/x-ns-proxy-autoconfig";

/// The path at which clients look for the file of their domain (WPAD).
pub const WPAD_PATH: &str = "/wpad.dat";

/// The file, and the paths that it is served at.
#[derive(Debug)]
pub struct Pac {
    path: Box<str>,
    has_wpad: bool,
    needs_user: bool,
    script: Bytes,
    tag: HeaderValue,
}

/// What a file is made of.
#[derive(Debug)]
pub struct Parts {
    /// The path, which has one spelling and no query.
    pub path: Box<str>,
    /// Whether it is at [`WPAD_PATH`] too.
    pub has_wpad: bool,
    /// Whether a client has to authenticate to read it.
    pub needs_user: bool,
    /// In the order in which clients try them.
    pub proxies: Vec<Hop>,
    /// What clients reach without a proxy.
    pub direct: Vec<Direct>,
}

/// One way out that a client tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hop {
    /// A proxy that is spoken to with HTTP.
    Http(Authority),
    /// A proxy that is spoken to with HTTP in TLS.
    Https(Authority),
    /// A proxy that is spoken to with SOCKS5.
    Socks5(Authority),
    /// No proxy.
    Direct,
}

/// Hosts that a client reaches without a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Direct {
    /// The host of this name, which is in lower case.
    Exact(Box<str>),
    /// The host of this name and all below it.
    Suffix(Box<str>),
    /// All hosts below this name, and not the one of this name.
    Below(Box<str>),
    /// Hosts that are given as an address in this network. A name is not resolved.
    Network(IpNet),
}

impl Pac {
    /// Writes the file.
    pub fn new(parts: Parts) -> Self {
        let script = script::write(&parts.proxies, &parts.direct);
        let digest = blake3::hash(script.as_bytes()).to_hex();
        let tag = format!("\"{}\"", digest.get(..16).unwrap_or_default());
        Self {
            path: parts.path,
            has_wpad: parts.has_wpad,
            needs_user: parts.needs_user,
            script: script.into(),
            // Hex digits and quotes are always a value.
            tag: HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\"")),
        }
    }

    /// Whether a request for this target is one for the file. Other spellings of its path are not.
    pub fn is_at(&self, target: &[u8]) -> bool {
        let path = target.split(|byte| *byte == b'?').next();
        let path = path.unwrap_or_default();
        path == self.path.as_bytes() || (self.has_wpad && path == WPAD_PATH.as_bytes())
    }

    /// Whether a client has to authenticate to read it.
    pub fn needs_user(&self) -> bool {
        self.needs_user
    }

    /// The file.
    pub fn script(&self) -> Bytes {
        self.script.clone()
    }

    /// Its entity tag (RFC 9110 §8.8.3).
    pub fn tag(&self) -> HeaderValue {
        self.tag.clone()
    }

    /// Whether a client that sends this `If-None-Match` has the file (RFC 9110 §13.1.2).
    pub fn is_held(&self, if_none_match: &[u8]) -> bool {
        if_none_match.split(|byte| *byte == b',').any(|tag| {
            let tag = tag.trim_ascii();
            tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == self.tag.as_bytes()
        })
    }
}

impl Hop {
    /// Reads one, such as `PROXY proxy.example.com:8888`. None for what it is not.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let (kind, address) = (words.next()?, words.next());
        if words.next().is_some() {
            return None;
        }
        if kind.eq_ignore_ascii_case("DIRECT") {
            return address.is_none().then_some(Self::Direct);
        }
        let address = Authority::parse(address?.as_bytes()).ok()?;
        match kind.to_ascii_uppercase().as_str() {
            "PROXY" => Some(Self::Http(address)),
            "HTTPS" => Some(Self::Https(address)),
            "SOCKS5" => Some(Self::Socks5(address)),
            _ => None,
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(address) => write!(f, "PROXY {address}"),
            Self::Https(address) => write!(f, "HTTPS {address}"),
            Self::Socks5(address) => write!(f, "SOCKS5 {address}"),
            Self::Direct => f.write_str("DIRECT"),
        }
    }
}

impl Direct {
    /// Reads an entry: a name, a name behind `.` or `*.`, an address or a network. None for what it is not.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(network) = text.parse::<IpNet>() {
            return Some(Self::Network(network.trunc()));
        }
        let name = |text: &str| match Host::parse(text.as_bytes()) {
            Ok(Host::Name(name)) => Some(name),
            Ok(Host::Ip(_)) | Err(_) => None,
        };
        if let Some(below) = text.strip_prefix("*.") {
            return name(below).map(Self::Below);
        }
        if let Some(suffix) = text.strip_prefix('.') {
            return name(suffix).map(Self::Suffix);
        }
        match Host::parse(text.as_bytes()) {
            Ok(Host::Name(name)) => Some(Self::Exact(name)),
            Ok(Host::Ip(ip)) => Some(Self::Network(ip.into())),
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn served_at_its_paths_in_one_spelling() {
        let pac = |has_wpad| {
            Pac::new(Parts {
                path: "/proxy.pac".into(),
                has_wpad,
                needs_user: false,
                proxies: vec![Hop::parse("PROXY p.test:1").unwrap()],
                direct: vec![],
            })
        };
        for (target, is_at) in [
            ("/proxy.pac", true),
            ("/proxy.pac?x=/", true),
            ("/wpad.dat", true),
            ("/proxy.pac/", false),
            ("/%70roxy.pac", false),
            ("//proxy.pac", false),
            ("/Proxy.pac", false),
            ("/x?/proxy.pac", false),
            ("*", false),
            ("", false),
        ] {
            assert_eq!(pac(true).is_at(target.as_bytes()), is_at, "{target}");
        }
        assert!(!pac(false).is_at(b"/wpad.dat"));
    }

    #[test]
    fn tags_are_compared_weakly() {
        let pac = Pac::new(Parts {
            path: "/proxy.pac".into(),
            has_wpad: false,
            needs_user: false,
            proxies: vec![Hop::Direct],
            direct: vec![],
        });
        let tag = pac.tag().to_str().unwrap().to_owned();
        assert_eq!(tag.len(), 18);
        for held in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"a\" , {tag}"),
            "*".to_owned(),
        ] {
            assert!(pac.is_held(held.as_bytes()), "{held}");
        }
        for other in ["", "\"\"", "\"a\", \"b\"", tag.trim_matches('"')] {
            assert!(!pac.is_held(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn hops() {
        for (text, shown) in [
            (
                "PROXY Proxy.Corp.Example:8888",
                "PROXY proxy.corp.example:8888",
            ),
            ("https 10.0.0.1:8443", "HTTPS 10.0.0.1:8443"),
            ("SOCKS5 [2001:DB8::1]:1080", "SOCKS5 [2001:db8::1]:1080"),
            ("DIRECT", "DIRECT"),
        ] {
            assert_eq!(Hop::parse(text).unwrap().to_string(), shown);
        }
        for text in [
            "",
            "PROXY",
            "proxy.corp.example:8888",
            "PROXY proxy.corp.example",
            "PROXY a:1 b:2",
            "PROXY a:1;",
            "PROXY user@a:1",
            "PROXY a\":1",
            "DIRECT a:1",
            "SOCKS a:1",
            "QUIC a:1",
        ] {
            assert_eq!(Hop::parse(text), None, "{text}");
        }
    }

    #[test]
    fn direct_entries() {
        let network = |text: &str| Direct::Network(text.parse().unwrap());
        for (text, entry) in [
            ("Intranet", Direct::Exact("intranet".into())),
            (".Corp.Example", Direct::Suffix("corp.example".into())),
            ("*.local", Direct::Below("local".into())),
            (
                ".bücher.example",
                Direct::Suffix("xn--bcher-kva.example".into()),
            ),
            ("10.0.0.1/8", network("10.0.0.0/8")),
            ("192.0.2.1", network("192.0.2.1/32")),
            ("2001:db8::/32", network("2001:db8::/32")),
        ] {
            assert_eq!(Direct::parse(text), Some(entry), "{text}");
        }
        for text in [
            "",
            ".",
            "*",
            "*.",
            "*local",
            "a b",
            "a:80",
            "http://a",
            "a/b",
            ".10.0.0.1",
            "*.1",
            "a\"b",
            "..a",
            "*.*.a",
            "10.0.0.0/33",
        ] {
            assert_eq!(Direct::parse(text), None, "{text}");
        }
    }
}
