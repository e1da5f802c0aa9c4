//! A small HTTP client for what the program itself asks for: keys of token issuers, and the authoriser. No request of
//! a client goes through it, and no policy evaluates it: its URLs are of the configuration.
//!
//! It follows no redirect, asks no proxy and keeps no cookie. Every answer is limited in size and time. TLS is verified
//! with the authorities of `ca_file`, or those of the system.

mod failure;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pingora::http::RequestHeader;
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::v1::Connector;
use pingora_core::protocols::http::v1::client::HttpSession;
use pingora_core::tls::{
    RootCertStore, load_ca_file_into_store, load_platform_certs_incl_env_into_store,
};
use pingora_core::upstreams::peer::HttpPeer;
use thiserror::Error;
use tokio::net::TcpStream;

use self::failure::Place;
use super::dial::{DialError, Dialer};
use crate::http::response::MAX_INTERIM;
use crate::http::target::{Host, Scheme};
use crate::http::url::HttpUrl;

/// Idle connections that are kept, of all servers.
const KEPT_CONNECTIONS: usize = 64;

/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

const NO_ADDRESS: &str = "the name has no address; correct the URL";

const AGENT: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"));

/// What to ask.
#[derive(Clone, Debug)]
pub struct FetchRequest<'a> {
    /// GET or POST.
    pub method: Method,
    /// Where.
    pub url: &'a HttpUrl,
    /// The content, with its media type.
    pub content: Option<(&'static str, Bytes)>,
    /// The media type that is wanted.
    pub accept: &'static str,
    /// Further fields.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// Whether the server may get it twice: then it is sent again when the server has closed a connection that was
    /// kept. A GET always is.
    pub is_repeatable: bool,
    /// The longest content of the answer.
    pub max_body: usize,
    /// Whether longer content is left out, and is no error.
    pub cuts_body: bool,
    /// The longest time for all of it.
    pub timeout: Duration,
}

/// An answer, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchResponse {
    /// The final status.
    pub status: StatusCode,
    /// The fields of its head.
    pub fields: HeaderMap,
    /// The content.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum FetchError {
    /// The authorities cannot be read.
    #[error("cannot read the certificate authorities: {0}")]
    Authorities(String),
    /// The name does not resolve.
    #[error("cannot resolve {0}")]
    Resolve(Host, #[source] DialError),
    /// No connection, or one that broke.
    #[error("{0}")]
    Exchange(String),
    /// The content is longer than allowed.
    #[error("the answer is larger than {0} bytes; correct the URL, or the service")]
    TooLarge(usize),
    /// The answer is not complete.
    #[error("the answer is not complete; see the log of the service")]
    Incomplete,
    /// It took too long.
    #[error("no answer within {0:?}; see why the service is slow")]
    Timeout(Duration),
}

/// The client. It keeps connections open for the next request.
pub struct Fetcher {
    /// Made with the first request: it reads the authorities.
    connector: OnceLock<Connector>,
    ca_file: Option<String>,
    sources: Vec<IpAddr>,
    dialer: Arc<Dialer>,
    connect_timeout: Duration,
}

impl Fetcher {
    /// A client that connects from `sources`. Opens and reads nothing yet.
    pub fn new(
        dialer: Arc<Dialer>,
        ca_file: Option<String>,
        sources: Vec<IpAddr>,
        connect_timeout: Duration,
    ) -> Self {
        Self {
            connector: OnceLock::new(),
            ca_file,
            sources,
            dialer,
            connect_timeout,
        }
    }

    /// Asks, and reads the whole answer. A GET, or another request that is
    /// repeatable, that fails on a connection of an earlier request is tried on a new one.
    ///
    /// # Errors
    /// [`FetchError`]. A status is none.
    pub async fn fetch(&self, request: FetchRequest<'_>) -> Result<FetchResponse, FetchError> {
        let timeout = request.timeout;
        let fetched = tokio::time::timeout(timeout, self.fetch_in_time(&request)).await;
        fetched.unwrap_or(Err(FetchError::Timeout(timeout)))
    }

    async fn fetch_in_time(&self, request: &FetchRequest<'_>) -> Result<FetchResponse, FetchError> {
        let connector = self.connector()?;
        let HttpUrl {
            scheme, authority, ..
        } = request.url;
        let addresses = self.addresses(request.url).await?;
        let may_repeat = request.is_repeatable || request.method == Method::GET;
        let mut last = FetchError::Exchange(NO_ADDRESS.to_owned());
        for address in addresses {
            let is_tls = *scheme == Scheme::Https;
            let name = match &authority.host {
                Host::Name(name) => name.to_string(),
                Host::Ip(ip) => ip.to_string(),
            };
            let mut peer = HttpPeer::new(address, is_tls, name);
            let place = Place {
                url: request.url,
                address,
                connect_timeout: self.connect_timeout.min(request.timeout),
            };
            let exchange =
                |error: Box<pingora_core::Error>| FetchError::Exchange(place.explain(&error));
            peer.options.connection_timeout = Some(self.connect_timeout);
            peer.options.total_connection_timeout = Some(request.timeout);
            peer.options.read_timeout = Some(request.timeout);
            peer.options.write_timeout = Some(request.timeout);
            loop {
                let (mut session, is_reused) = match connector.get_http_session(&peer).await {
                    Ok(found) => found,
                    Err(error) => {
                        last = exchange(error);
                        break;
                    }
                };
                match ask(&mut session, request, exchange).await {
                    Ok((response, is_complete)) => {
                        if is_complete {
                            let kept = Some(KEEP_ALIVE);
                            connector.release_http_session(session, &peer, kept).await;
                        }
                        return Ok(response);
                    }
                    // The server may have closed it meanwhile.
                    Err(FetchError::Exchange(_)) if is_reused && may_repeat => {}
                    // A server that accepts has answered for its name.
                    Err(error) => return Err(error),
                }
            }
        }
        Err(last)
    }

    /// Whether something listens where this URL leads, within this time. Nothing is sent.
    ///
    /// # Errors
    /// [`FetchError`]: nothing does.
    pub async fn try_connect(&self, url: &HttpUrl, timeout: Duration) -> Result<(), FetchError> {
        let late = FetchError::Timeout(timeout);
        let found = tokio::time::timeout(timeout, self.addresses(url)).await;
        let mut last = None;
        for address in found.unwrap_or(Err(late))? {
            let connected = tokio::time::timeout(timeout, TcpStream::connect(address)).await;
            let place = Place {
                url,
                address,
                connect_timeout: timeout,
            };
            last = match connected {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => Some(place.explain_connect(&error)),
                Err(_elapsed) => Some(place.not_connected()),
            };
        }
        let why = last.unwrap_or_else(|| NO_ADDRESS.to_owned());
        Err(FetchError::Exchange(why))
    }

    /// The addresses of the server, as many as are tried.
    async fn addresses(&self, url: &HttpUrl) -> Result<Vec<SocketAddr>, FetchError> {
        let authority = &url.authority;
        let ips = match &authority.host {
            Host::Ip(ip) => vec![*ip],
            Host::Name(name) => {
                let found = self.dialer.addresses(name).await;
                found.map_err(|error| FetchError::Resolve(authority.host.clone(), error))?
            }
        };
        let ips = ips.into_iter().take(MAX_ADDRESSES);
        Ok(ips.map(|ip| SocketAddr::new(ip, authority.port)).collect())
    }

    fn connector(&self) -> Result<&Connector, FetchError> {
        if let Some(connector) = self.connector.get() {
            return Ok(connector);
        }
        // Pingora panics where they cannot be read.
        let mut roots = RootCertStore::empty();
        let read = match &self.ca_file {
            Some(path) => load_ca_file_into_store(path, &mut roots),
            None => load_platform_certs_incl_env_into_store(&mut roots),
        };
        read.map_err(|error| FetchError::Authorities(error.to_string()))?;
        let mut options = ConnectorOptions::new(KEPT_CONNECTIONS);
        options.ca_file.clone_from(&self.ca_file);
        let from = |ip: &IpAddr| SocketAddr::new(*ip, 0);
        let (v4, v6) = self
            .sources
            .iter()
            .partition::<Vec<_>, _>(|ip| ip.is_ipv4());
        options.bind_to_v4 = v4.into_iter().map(|ip| from(&ip)).collect();
        options.bind_to_v6 = v6.into_iter().map(|ip| from(&ip)).collect();
        Ok(self.connector.get_or_init(|| Connector::new(Some(options))))
    }
}

/// One exchange on a connection, and whether all of the answer was read.
async fn ask(
    session: &mut HttpSession,
    request: &FetchRequest<'_>,
    exchange: impl Fn(Box<pingora_core::Error>) -> FetchError,
) -> Result<(FetchResponse, bool), FetchError> {
    let HttpUrl {
        scheme,
        authority,
        path,
        ..
    } = request.url;
    let build = || -> pingora_core::Result<RequestHeader> {
        let mut head = RequestHeader::build(request.method.clone(), path.as_bytes(), None)?;
        head.insert_header(HOST, authority.host_field(*scheme).to_string())?;
        head.insert_header(USER_AGENT, AGENT)?;
        head.insert_header(ACCEPT, request.accept)?;
        if let Some((kind, content)) = &request.content {
            head.insert_header(CONTENT_TYPE, *kind)?;
            head.insert_header(CONTENT_LENGTH, content.len())?;
        }
        for (name, value) in &request.fields {
            head.append_header(name.clone(), value.clone())?;
        }
        Ok(head)
    };
    let head = Box::new(build().map_err(&exchange)?);
    session
        .write_request_header(head)
        .await
        .map_err(&exchange)?;
    if let Some((_, content)) = &request.content {
        session.write_body(content).await.map_err(&exchange)?;
    }
    session.finish_body().await.map_err(&exchange)?;
    let mut status = None;
    for _ in 0..=MAX_INTERIM {
        session.read_response().await.map_err(&exchange)?;
        status = session.get_status();
        if status.is_none_or(|status| !status.is_informational()) {
            break;
        }
    }
    let status = status.filter(|status| !status.is_informational());
    let status = status.ok_or(FetchError::Incomplete)?;
    let fields = session.resp_header().map(|head| head.headers.clone());
    let mut body = BytesMut::new();
    let mut is_cut = false;
    while let Some(part) = session.read_body_bytes().await.map_err(&exchange)? {
        if body.len() + part.len() > request.max_body {
            if !request.cuts_body {
                return Err(FetchError::TooLarge(request.max_body));
            }
            is_cut = true;
            break;
        }
        body.extend_from_slice(&part);
    }
    if !is_cut && !session.is_body_done() {
        return Err(FetchError::Incomplete);
    }
    let response = FetchResponse {
        status,
        fields: fields.unwrap_or_default(),
        body: body.freeze(),
    };
    Ok((response, !is_cut))
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
