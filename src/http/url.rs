//! A URL of the configuration that the program itself asks.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::target::{Authority, Host, Scheme, Target, TargetError};

/// An http or https URL, without a user and without a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    text: Box<str>,
    /// Its scheme.
    pub scheme: Scheme,
    /// Its server.
    pub authority: Authority,
    /// Path and query.
    pub path: Box<str>,
}

impl HttpUrl {
    /// Reads a URL, as strictly as the target of a request.
    ///
    /// # Errors
    /// [`TargetError`]; [`TargetError::Form`] for a target without a scheme.
    pub fn parse(text: &str) -> Result<HttpUrl, TargetError> {
        let Target::Absolute {
            scheme,
            authority,
            path_start,
        } = Target::parse(b"GET", text.as_bytes())?
        else {
            return Err(TargetError::Form);
        };
        let path = text.get(path_start..).unwrap_or_default();
        let path = match path.starts_with('/') {
            true => path.into(),
            false => format!("/{path}").into(),
        };
        Ok(HttpUrl {
            text: text.into(),
            scheme,
            authority,
            path,
        })
    }

    /// The URL as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The addresses of its server that are known without a look-up: the one that it names, or those of `localhost`.
    pub fn local_addresses(&self) -> Vec<SocketAddr> {
        let ips = match &self.authority.host {
            Host::Ip(ip) => vec![*ip],
            Host::Name(name) if **name == *"localhost" => {
                vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
            }
            Host::Name(_) => Vec::new(),
        };
        let ips = ips.into_iter();
        ips.map(|ip| SocketAddr::new(ip, self.authority.port))
            .collect()
    }

    /// Whether others can read and change what is sent: no TLS, and not to this machine.
    pub fn is_exposed(&self) -> bool {
        let is_loopback = match &self.authority.host {
            Host::Ip(ip) => ip.to_canonical().is_loopback(),
            Host::Name(name) => **name == *"localhost",
        };
        self.scheme == Scheme::Http && !is_loopback
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, path, exposed) in [
            ("https://Example.org/a?b", "/a?b", false),
            ("http://127.0.0.1:81", "/", false),
            ("http://[::1]?q", "/?q", false),
            ("http://localhost/", "/", false),
            ("http://example.org/", "/", true),
        ] {
            let url = HttpUrl::parse(text).unwrap();
            assert_eq!((&*url.path, url.is_exposed()), (path, exposed), "{text}");
            assert_eq!((url.as_str(), url.to_string()), (text, text.to_owned()));
        }
        for text in [
            "/jwks",
            "example.org:443",
            "ftp://a/",
            "https://u:p@a/",
            "https://a/#b",
            "*",
        ] {
            assert!(HttpUrl::parse(text).is_err(), "{text}");
        }
    }
}
