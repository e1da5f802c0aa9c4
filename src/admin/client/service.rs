//! Where the admin service is, and a connection to it for each request. Nothing here follows a redirect or asks a proxy.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pingora_core::tls::{load_ca_file_into_store, load_platform_certs_incl_env_into_store};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use zeroize::Zeroizing;

use super::answer::Reply;
use super::{Ask, AskError};
use crate::http::secret::{Password, Secret};
use crate::http::target::{Host, Scheme};
use crate::http::url::HttpUrl;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;
/// Far more than a list of 1000 rows, or than a hundred errors with long paths.
const MAX_ANSWER: u64 = 8 << 20;

/// An admin service.
#[derive(Debug)]
pub struct Service {
    place: Place,
    /// The `Host` field.
    host: String,
    /// As messages name it.
    name: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    authorization: Option<Secret<Zeroizing<Vec<u8>>>>,
}

#[derive(Debug)]
enum Place {
    Address(SocketAddr),
    /// A name that is looked up for each connection.
    Name(String, u16),
}

/// The files for TLS.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Authorities, in place of those of the system.
    pub ca: Option<PathBuf>,
    /// A certificate to show, with its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why a service cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A file for TLS cannot be used.
    #[error("{}: {problem}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The authorities of the system cannot be read.
    #[error("cannot read the certificate authorities of this system: {0}; name a file with --ca")]
    Authorities(String),
    /// Certificate and key do not fit, or cannot be used.
    #[error("the certificate and its key cannot be used: {0}")]
    Identity(rustls::Error),
    /// No certificate can be for such a name.
    #[error("{0:?} is not the name of a host")]
    Name(String),
    /// Others could read the password.
    #[error(
        "{0}: a password would go there in plain text; use https, or an address of this machine"
    )]
    Plain(String),
}

/// A connection with its limits of time.
#[derive(Debug)]
pub struct Timed {
    stream: TcpStream,
    silence: Duration,
    until: Option<Instant>,
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// Without TLS.
    Plain(Timed),
    /// With TLS.
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Service {
    /// A service without TLS.
    pub fn plain(address: SocketAddr) -> Self {
        let address = connectable(address);
        Self {
            place: Place::Address(address),
            host: address.to_string(),
            name: address.to_string(),
            tls: None,
            authorization: None,
        }
    }

    /// A service with TLS on an address, whose certificate is for `name`, or for the address.
    ///
    /// # Errors
    /// A file cannot be used, or the name.
    pub fn secure(
        address: SocketAddr,
        name: Option<&str>,
        trust: &Trust,
    ) -> Result<Self, ServiceError> {
        let address = connectable(address);
        let host = match name {
            Some(name) => format!("{name}:{}", address.port()),
            None => address.to_string(),
        };
        let server = match name {
            Some(name) => server_name(name)?,
            None => ServerName::from(address.ip()),
        };
        Ok(Self {
            place: Place::Address(address),
            name: format!("https://{host}"),
            host,
            tls: Some((tls(trust)?, server)),
            authorization: None,
        })
    }

    /// The service of a URL.
    ///
    /// # Errors
    /// A file cannot be used, or the name.
    pub fn at(url: &HttpUrl, trust: &Trust) -> Result<Self, ServiceError> {
        let authority = &url.authority;
        let (place, server) = match &authority.host {
            Host::Ip(ip) => {
                let address = SocketAddr::new(*ip, authority.port);
                (Place::Address(address), Ok(ServerName::from(*ip)))
            }
            Host::Name(name) => (
                Place::Name(name.to_string(), authority.port),
                server_name(name),
            ),
        };
        let tls = match url.scheme {
            Scheme::Http => None,
            Scheme::Https => Some((tls(trust)?, server?)),
        };
        Ok(Self {
            place,
            host: authority.to_string(),
            name: url.as_str().trim_end_matches('/').to_owned(),
            tls,
            authorization: None,
        })
    }

    /// The same with a user.
    ///
    /// # Errors
    /// Others could read the password.
    pub fn with_user(mut self, user: &str, password: &Password) -> Result<Self, ServiceError> {
        let is_here = match &self.place {
            Place::Address(address) => address.ip().to_canonical().is_loopback(),
            Place::Name(name, _) => name == "localhost",
        };
        if self.tls.is_none() && !is_here {
            return Err(ServiceError::Plain(self.name));
        }
        let pair = Zeroizing::new([user.as_bytes(), b":", password.expose()].concat());
        let encoded = Zeroizing::new(STANDARD.encode(&*pair));
        let value = format!("Basic {}", *encoded).into_bytes();
        self.authorization = Some(Secret::hide(Zeroizing::new(value)));
        Ok(self)
    }

    /// As messages name it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks, and reads the head of the answer.
    ///
    /// # Errors
    /// The service cannot be reached, or is another program.
    pub fn ask(&self, ask: &Ask<'_>) -> Result<Reply<Stream>, AskError> {
        self.exchange(ask).map_err(|error| self.error(error))
    }

    /// The content of an answer.
    ///
    /// # Errors
    /// The connection ends early, or the content is longer than any of the service.
    pub fn read(&self, reply: Reply<Stream>) -> Result<Vec<u8>, AskError> {
        let mut body = Vec::new();
        let read = reply.body.take(MAX_ANSWER + 1).read_to_end(&mut body);
        match read {
            Ok(_) if body.len() as u64 <= MAX_ANSWER => Ok(body),
            Ok(_) => Err(AskError::Other(self.name.clone())),
            Err(error) => Err(self.error(error)),
        }
    }

    fn error(&self, error: io::Error) -> AskError {
        let name = self.name.clone();
        // What is no HTTP; an error of TLS has another one inside.
        let is_other = error.kind() == io::ErrorKind::InvalidData
            && error
                .get_ref()
                .is_none_or(|inner| !inner.is::<rustls::Error>());
        if is_other {
            return AskError::Other(name);
        }
        let error = match error.kind() {
            // A timeout of a socket.
            io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
            _ => error,
        };
        AskError::Io { name, error }
    }

    fn exchange(&self, ask: &Ask<'_>) -> io::Result<Reply<Stream>> {
        let mut stream = self.connect(ask)?;
        stream.write_all(&self.head(ask))?;
        stream.write_all(ask.body.unwrap_or_default())?;
        stream.flush()?;
        Reply::read(stream)
    }

    fn connect(&self, ask: &Ask<'_>) -> io::Result<Stream> {
        let addresses: Vec<SocketAddr> = match &self.place {
            Place::Address(address) => vec![*address],
            Place::Name(name, port) => look_up(name, *port)?,
        };
        let mut outcome = Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        ));
        for address in addresses.iter().take(MAX_ADDRESSES) {
            outcome = TcpStream::connect_timeout(address, CONNECT_TIMEOUT);
            if outcome.is_ok() {
                break;
            }
        }
        let stream = outcome?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(CONNECT_TIMEOUT))?;
        let timed = Timed {
            stream,
            silence: ask.silence,
            until: ask.time.and_then(|time| Instant::now().checked_add(time)),
        };
        let Some((config, name)) = &self.tls else {
            return Ok(Stream::Plain(timed));
        };
        let connection = ClientConnection::new(Arc::clone(config), name.clone())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(Stream::Tls(Box::new(StreamOwned::new(connection, timed))))
    }

    fn head(&self, ask: &Ask<'_>) -> Zeroizing<Vec<u8>> {
        let Ask { method, path, .. } = ask;
        let host = &self.host;
        let mut head = Zeroizing::new(Vec::with_capacity(512));
        let begin = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tollgate/{}\r\nTollgate-Request: 1\r\nConnection: close\r\n",
            env!("CARGO_PKG_VERSION")
        );
        head.extend_from_slice(begin.as_bytes());
        if let Some(authorization) = &self.authorization {
            head.extend_from_slice(b"Authorization: ");
            head.extend_from_slice(authorization.expose());
            head.extend_from_slice(b"\r\n");
        }
        if *method != "GET" {
            let length = ask.body.map_or(0, <[u8]>::len);
            if ask.body.is_some() {
                head.extend_from_slice(b"Content-Type: application/json\r\n");
            }
            head.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

/// The address to connect to; for a service on all addresses, loopback.
fn connectable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command asks its service: it has no I/O threads, and no policy evaluates it"
)]
fn look_up(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((name, port).to_socket_addrs()?.collect())
}

fn server_name(name: &str) -> Result<ServerName<'static>, ServiceError> {
    ServerName::try_from(name.to_owned()).map_err(|_no_name| ServiceError::Name(name.to_owned()))
}

fn tls(trust: &Trust) -> Result<Arc<ClientConfig>, ServiceError> {
    let mut roots = RootCertStore::empty();
    match &trust.ca {
        Some(file) => {
            load_ca_file_into_store(file, &mut roots).map_err(|error| unusable(file, &error))?
        }
        None => load_platform_certs_incl_env_into_store(&mut roots)
            .map_err(|error| ServiceError::Authorities(error.to_string()))?,
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12, &rustls::version::TLS13])
        .map_err(ServiceError::Identity)?
        .with_root_certificates(roots);
    let mut config = match &trust.identity {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_file_iter(certificate)
                .and_then(|certificates| certificates.collect::<Result<Vec<_>, _>>())
                .map_err(|error| unusable(certificate, &error))?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, &error))?;
            config
                .with_client_auth_cert(chain, key)
                .map_err(ServiceError::Identity)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn unusable(file: &Path, error: &dyn std::fmt::Display) -> ServiceError {
    ServiceError::File {
        file: file.to_owned(),
        problem: crate::text::without_numbers(&error.to_string()),
    }
}

impl Read for Timed {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut longest = self.silence;
        if let Some(until) = self.until {
            longest = longest.min(until.saturating_duration_since(Instant::now()));
        }
        if longest.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(longest))?;
        self.stream.read(out)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Read for Stream {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(out),
            Self::Tls(stream) => stream.read(out),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_reached_on_loopback() {
        for (address, expected) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("192.0.2.1:1", "192.0.2.1:1"),
        ] {
            assert_eq!(
                connectable(address.parse().unwrap()),
                expected.parse().unwrap()
            );
        }
    }

    #[test]
    fn passwords_stay_on_this_machine_without_tls() {
        let password = Password::new("secret");
        for (url, is_sent) in [
            ("http://127.0.0.1:9090", true),
            ("http://[::1]:9090/", true),
            ("http://localhost:9090", true),
            ("http://192.0.2.1:9090", false),
            ("http://ops.example.org:9090", false),
        ] {
            let url = HttpUrl::parse(url).unwrap();
            let service = Service::at(&url, &Trust::default()).unwrap();
            let service = service.with_user("alice", &password);
            assert_eq!(service.is_ok(), is_sent, "{url}");
            if let Ok(service) = service {
                assert!(!format!("{service:?}").contains("YWxpY2U6c2VjcmV0"));
            }
        }
    }

    #[test]
    fn what_is_sent() {
        let service = Service::plain("0.0.0.0:9090".parse().unwrap());
        let service = service
            .with_user("alice", &Password::new("secret"))
            .unwrap();
        let mut ask = Ask {
            method: "GET",
            path: "/api/v1/status",
            body: None,
            silence: CONNECT_TIMEOUT,
            time: None,
        };
        let version = env!("CARGO_PKG_VERSION");
        let sent = |ask: &Ask<'_>| String::from_utf8(service.head(ask).to_vec()).unwrap();
        let head = format!(
            "Host: 127.0.0.1:9090\r\nUser-Agent: tollgate/{version}\r\nTollgate-Request: 1\r\nConnection: close\r\n\
             Authorization: Basic YWxpY2U6c2VjcmV0\r\n"
        );
        assert_eq!(
            sent(&ask),
            format!("GET /api/v1/status HTTP/1.1\r\n{head}\r\n")
        );
        (ask.method, ask.path, ask.body) = ("POST", "/api/v1/explain", Some(b"{}".as_slice()));
        assert_eq!(
            sent(&ask),
            format!(
                "POST /api/v1/explain HTTP/1.1\r\n{head}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n"
            )
        );
    }
}
