//! The URL of a parent. A text that is none is never repeated: it may have a password in it.

use std::fmt;
use std::net::IpAddr;

use super::super::gateway::{has_odd_label, leads_to};
use super::super::host;
use super::super::listeners::Listener;
use super::super::reader::Item;
use crate::http::target::{Authority, Host};

/// How a parent is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParentScheme {
    /// HTTP/1.1.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// SOCKS5 (RFC 1928).
    Socks5,
}

/// Where a parent is. Prints as `http://10.0.0.1:3128`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ParentUrl {
    /// How it is spoken to.
    pub scheme: ParentScheme,
    /// Where.
    pub authority: Authority,
}

const EXAMPLE: &str =
    "write it as http://10.0.0.1:3128, https://proxy.example.org:443 or socks5://127.0.0.1:1080";

impl ParentScheme {
    fn parse(text: &str) -> Option<(Self, u16)> {
        match text {
            "http" => Some((Self::Http, 80)),
            "https" => Some((Self::Https, 443)),
            "socks5" => Some((Self::Socks5, 1080)),
            _ => None,
        }
    }

    /// As in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
        }
    }
}

impl ParentUrl {
    /// Whether what it is told can be read on its way, as far as the URL says.
    pub(super) fn is_in_clear(&self) -> bool {
        self.scheme != ParentScheme::Https
            && !self
                .authority
                .host
                .ip()
                .is_some_and(|ip| ip.to_canonical().is_loopback())
    }

    fn parse(text: &str) -> Result<Self, (&'static str, String)> {
        if host::is_variable(text) {
            return Err((host::VARIABLE, host::FILL_IN.to_owned()));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(("not a URL", EXAMPLE.to_owned()));
        };
        let Some((scheme, port)) = ParentScheme::parse(scheme) else {
            let remedy = match scheme {
                "socks5h" => {
                    "write socks5://, and `names: client` where the parent is to resolve names"
                }
                "socks" | "socks4" | "socks4a" => "write socks5://; SOCKS4 is not spoken",
                _ => EXAMPLE,
            };
            return Err(("another scheme", remedy.to_owned()));
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            let remedy = "leave out everything up to `@`, and write `user: NAME` and `password: SECRET` beside `urls`";
            return Err(("has a user or a password", remedy.to_owned()));
        }
        if rest.contains(['/', '?', '#']) {
            let remedy = "leave out everything from the `/`, `?` or `#` behind the host on";
            return Err(("a URL with a path", remedy.to_owned()));
        }
        let authority = Authority::parse_with_default(rest.as_bytes(), Some(port));
        let Ok(mut authority) = authority else {
            return Err(("not a host with a port", EXAMPLE.to_owned()));
        };
        match &authority.host {
            Host::Ip(ip) => {
                let host = rest
                    .strip_suffix(&format!(":{}", authority.port))
                    .unwrap_or(rest);
                let host = host.trim_start_matches('[').trim_end_matches([']', ':']);
                if host.parse::<IpAddr>().is_err() {
                    return Err(("not an IP address", EXAMPLE.to_owned()));
                }
                authority.host = Host::Ip(ip.to_canonical());
            }
            Host::Name(name) if scheme == ParentScheme::Https && has_odd_label(name) => {
                return Err((
                    "its first label has an underscore, for which a certificate may be another server's",
                    "name the parent without the underscore".to_owned(),
                ));
            }
            Host::Name(_) => {}
        }
        Ok(Self { scheme, authority })
    }
}

impl fmt::Display for ParentUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority)
    }
}

/// Reads a URL.
pub(super) fn read(item: &Item<'_>, listeners: &[Listener]) -> Option<ParentUrl> {
    let url = match ParentUrl::parse(item.text()?) {
        Ok(url) => url,
        Err((message, remedy)) => {
            item.report(message, remedy);
            return None;
        }
    };
    let authority = &url.authority;
    let address = authority.host.ip().map(|ip| (ip, authority.port).into());
    if address.is_some_and(|address| listeners.iter().any(|it| leads_to(address, it.address))) {
        item.report(
            "one of tollgate's own listeners",
            "name the proxy behind it",
        );
        return None;
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, shown) in [
            ("http://10.0.0.1:3128", "http://10.0.0.1:3128"),
            ("http://Proxy.Example./", "http://proxy.example:80"),
            ("https://proxy.test", "https://proxy.test:443"),
            ("socks5://[::1]", "socks5://[::1]:1080"),
            ("http://[::ffff:10.0.0.1]:1", "http://10.0.0.1:1"),
        ] {
            assert_eq!(ParentUrl::parse(text).unwrap().to_string(), shown);
        }
        for (text, message) in [
            ("10.0.0.1:3128", "not a URL"),
            ("ftp://a.test", "another scheme"),
            ("socks5h://a.test", "another scheme"),
            ("http://u:hunter2@a.test", "has a user or a password"),
            ("http://a.test/x", "a URL with a path"),
            ("http://127.1:80", "not an IP address"),
            ("http://a b", "not a host with a port"),
            (
                "https://a_b.c.test",
                "its first label has an underscore, for which a certificate may be another server's",
            ),
            ("${PROXY}", "a variable of a template"),
        ] {
            let (found, remedy) = ParentUrl::parse(text).unwrap_err();
            assert_eq!(found, message, "{text}");
            assert!(!remedy.contains("hunter2"));
        }
    }
}
