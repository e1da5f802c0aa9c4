//! One URL of a parent: its limit, its condition, and the connection to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::Parts;
use crate::config::{Http2, ParentScheme, ParentUrl};
use crate::http::error::{ErrorKind, RequestError};
use crate::http::target::Host;
use crate::telemetry::{ParentState, Telemetry};
use crate::tunnel::{MaybeTls, Tls};
use crate::upstream::condition::{Condition, Ejection};
use crate::upstream::dial::connect_any;
use crate::upstream::limit::{Capacity, Limit};
use crate::upstream::server::{Address, Manner, Server};

/// A connection to a parent.
pub type ParentStream = MaybeTls<TlsStream<TcpStream>>;

/// One URL of a parent.
#[derive(Debug)]
pub struct Member {
    parent: Arc<str>,
    url: ParentUrl,
    /// The URL as it is shown.
    shown: Arc<str>,
    pub(super) limit: Limit,
    capacity: usize,
    condition: Condition,
    /// The health checks in a row that went alike, and whether they succeeded.
    pub(super) checks: Mutex<(bool, usize)>,
    /// Where it was connected to last.
    reached: Mutex<Option<SocketAddr>>,
    telemetry: Arc<Telemetry>,
}

impl Member {
    pub(super) fn new(parent: Arc<str>, url: ParentUrl, capacity: Capacity, parts: &Parts) -> Self {
        let authority = &url.authority;
        // The identity of a server is an address. The name of one is looked up with each connection, and its limit is that
        // of all its addresses.
        let ip = authority.host.ip().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let tls = (url.scheme == ParentScheme::Https).then(|| authority.host.clone());
        let server = Server {
            address: Address::Tcp(SocketAddr::new(ip, authority.port)),
            manner: Manner::of(tls, None, Http2::Off),
        };
        let shown: Arc<str> = url.to_string().into();
        parts.telemetry.parent_state(&parent, &shown, true);
        Self {
            parent,
            shown,
            limit: Limit::new(server, capacity),
            capacity: capacity.permits,
            condition: Condition::new(),
            checks: Mutex::new((true, 0)),
            reached: Mutex::new(None),
            telemetry: Arc::clone(&parts.telemetry),
            url,
        }
    }

    /// Where it is.
    pub fn url(&self) -> &ParentUrl {
        &self.url
    }

    /// The URL as text. It has no credentials.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// The name of its parent.
    pub fn parent(&self) -> &str {
        &self.parent
    }

    pub(super) fn is_shown_as(&self, other: &Member) -> bool {
        self.parent == other.parent && self.shown == other.shown
    }

    /// Where it was connected to last.
    pub fn reached(&self) -> Option<SocketAddr> {
        *self.reached.lock()
    }

    /// Requests and tunnels through it now.
    pub(super) fn in_use(&self) -> usize {
        self.capacity.saturating_sub(self.limit.free())
    }

    /// What is known of it.
    pub(super) fn state(&self) -> ParentState {
        ParentState {
            parent: self.parent.to_string(),
            url: self.shown.to_string(),
            is_up: self.condition.was_usable(),
            in_use: self.in_use(),
        }
    }

    /// Whether it gets requests.
    pub(super) fn is_usable(&self) -> bool {
        self.condition.is_usable(|| {
            self.show();
            log::info!("parent {}: {} gets requests again", self.parent, self.shown);
        })
    }

    /// What the health checks say.
    pub(super) fn is_up(&self) -> bool {
        self.condition.is_up()
    }

    /// What the health checks say from now on.
    pub(super) fn checked(&self, is_up: bool) {
        self.condition.set_up(is_up);
        self.show();
    }

    pub(super) fn failed(&self, ejection: Ejection, why: &str) {
        if let Some(failures) = self.condition.failed(ejection) {
            self.show();
            log::warn!(
                "parent {}: {} gets no requests for {:?}: it failed {failures} of them one after the other, the last one \
                 with {why}",
                self.parent,
                self.shown,
                ejection.time
            );
        }
    }

    pub(super) fn answered(&self) {
        if self.condition.answered() {
            self.show();
            log::info!(
                "parent {}: {} answers, and gets requests again",
                self.parent,
                self.shown
            );
        }
    }

    fn show(&self) {
        let is_up = self.condition.was_usable();
        self.telemetry
            .parent_state(&self.parent, &self.shown, is_up);
    }

    /// Connects by TCP, without TLS.
    ///
    /// # Errors
    /// The name does not resolve, it leads here, or the connection is not made.
    pub(super) async fn connect_tcp(&self, parts: &Parts) -> Result<TcpStream, RequestError> {
        let authority = &self.url.authority;
        let port = authority.port;
        let ips = match &authority.host {
            Host::Ip(ip) => vec![*ip],
            Host::Name(name) => {
                let found =
                    tokio::time::timeout(parts.connect_timeout, parts.dialer.addresses(name));
                found.await.map_err(|_late| ErrorKind::DnsTimeout)??
            }
        };
        let addresses = ips.into_iter().map(|ip| SocketAddr::new(ip, port));
        let addresses: Vec<_> = addresses.filter(|it| !(parts.is_own)(*it)).collect();
        if addresses.is_empty() {
            let why = "it leads to one of tollgate's own listeners";
            return Err(ErrorKind::Loop.because(why));
        }
        let dialed = connect_any(addresses, &parts.sources, parts.connect_timeout).await?;
        *self.reached.lock() = Some(dialed.address);
        Ok(dialed.stream)
    }

    /// Connects, with TLS to an https:// parent.
    ///
    /// # Errors
    /// As [`connect_tcp`](Self::connect_tcp), and those of the handshake.
    pub(super) async fn connect(&self, parts: &Parts) -> Result<ParentStream, RequestError> {
        let stream = self.connect_tcp(parts).await?;
        if self.url.scheme != ParentScheme::Https {
            return Ok(ParentStream::Left(stream));
        }
        let stream = parts
            .tls
            .handshake(stream, &self.url.authority.host)
            .await?;
        Ok(ParentStream::Right(Box::new(Tls(stream))))
    }
}
