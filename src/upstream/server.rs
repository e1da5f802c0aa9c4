//! The identity of a server that is connected to: where it is, and whether it is spoken to with TLS.
//!
//! Two servers are the same when a connection to one may be used for the other.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use crate::config::{Http2, ProxyHeader};
use crate::http::target::Host;

/// Where a server is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// By TCP.
    Tcp(SocketAddr),
    /// At a socket of this machine, by its absolute path.
    Unix(Arc<Path>),
}

/// A server that requests go to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    pub address: Address,
    /// How connections to it begin; none for HTTP without anything before it.
    pub manner: Option<Arc<Manner>>,
}

/// How connections to a server begin. Behind one pointer: each request and each tunnel has a server.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Manner {
    tls: Option<Host>,
    proxy_header: Option<ProxyHeader>,
    http2: Http2,
}

impl Manner {
    /// With TLS to a server whose certificate is for this host, with this PROXY header before it, and with HTTP/2 behind
    /// it.
    pub fn of(
        tls: Option<Host>,
        proxy_header: Option<ProxyHeader>,
        http2: Http2,
    ) -> Option<Arc<Self>> {
        // Without TLS nothing is offered.
        let http2 = match http2 {
            Http2::Auto if tls.is_none() => Http2::Off,
            http2 => http2,
        };
        let is_plain = tls.is_none() && proxy_header.is_none() && http2 == Http2::Off;
        (!is_plain).then(|| {
            Arc::new(Self {
                tls,
                proxy_header,
                http2,
            })
        })
    }
}

impl Server {
    /// Whom its certificate has to be for; none without TLS.
    pub fn tls(&self) -> Option<&Host> {
        self.manner.as_ref()?.tls.as_ref()
    }

    /// The header with which connections to it begin; none for none.
    pub fn proxy_header(&self) -> Option<ProxyHeader> {
        self.manner.as_ref()?.proxy_header
    }

    /// Whether requests go on to it in HTTP/2.
    pub fn http2(&self) -> Http2 {
        self.manner
            .as_ref()
            .map_or(Http2::Off, |manner| manner.http2)
    }

    /// The value of `Host` for a request that has none.
    pub fn host_field(&self) -> String {
        match (&self.address, self.tls()) {
            (Address::Unix(_), _) => "localhost".to_owned(),
            (Address::Tcp(address), Some(Host::Name(name))) => {
                format!("{name}:{}", address.port())
            }
            (Address::Tcp(address), _) => address.to_string(),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<SocketAddr> for Server {
    /// One without TLS.
    fn from(address: SocketAddr) -> Self {
        Self {
            address: address.into(),
            manner: None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Server {
    /// The address, or `https://10.0.0.1:8443 as NAME`; behind it `with PROXY v2` and `with HTTP/2`, where that is so.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tls() {
            None => self.address.fmt(f)?,
            Some(Host::Ip(_)) => write!(f, "https://{}", self.address)?,
            Some(Host::Name(name)) => write!(f, "https://{} as {name}", self.address)?,
        }
        match self.proxy_header() {
            None => {}
            Some(ProxyHeader::V1) => f.write_str(" with PROXY v1")?,
            Some(ProxyHeader::V2) => f.write_str(" with PROXY v2")?,
        }
        match self.http2() {
            Http2::Off => Ok(()),
            Http2::Auto => f.write_str(" with HTTP/2"),
            Http2::Only => f.write_str(" with HTTP/2 alone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_and_asked_as() {
        let tcp = SocketAddr::from(([10, 0, 0, 1], 8443));
        let unix = Address::Unix(Path::new("/run/app.sock").into());
        let with = |address: Address, tls: Option<&str>| {
            let tls = tls.map(|host| Host::parse(host.as_bytes()).unwrap());
            let manner = Manner::of(tls, None, Http2::Off);
            Server { address, manner }
        };
        for (server, shown, host) in [
            (tcp.into(), "10.0.0.1:8443", "10.0.0.1:8443"),
            (
                with(tcp.into(), Some("10.0.0.1")),
                "https://10.0.0.1:8443",
                "10.0.0.1:8443",
            ),
            (
                with(tcp.into(), Some("api")),
                "https://10.0.0.1:8443 as api",
                "api:8443",
            ),
            (with(unix, None), "unix:/run/app.sock", "localhost"),
            (
                Server {
                    manner: Manner::of(None, Some(ProxyHeader::V2), Http2::Auto),
                    ..tcp.into()
                },
                "10.0.0.1:8443 with PROXY v2",
                "10.0.0.1:8443",
            ),
            (
                Server {
                    manner: Manner::of(
                        Some(Host::parse(b"api").unwrap()),
                        Some(ProxyHeader::V1),
                        Http2::Auto,
                    ),
                    ..tcp.into()
                },
                "https://10.0.0.1:8443 as api with PROXY v1 with HTTP/2",
                "api:8443",
            ),
            (
                Server {
                    manner: Manner::of(None, None, Http2::Only),
                    ..tcp.into()
                },
                "10.0.0.1:8443 with HTTP/2 alone",
                "10.0.0.1:8443",
            ),
        ] {
            assert_eq!(
                (server.to_string().as_str(), server.host_field().as_str()),
                (shown, host)
            );
        }
    }
}
