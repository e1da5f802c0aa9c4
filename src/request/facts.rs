//! What is known of a request from its head alone. Nothing here changes while it is served.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::Method;

use super::request_id::RequestId;
use crate::access::auth::{Identity, IdentityFacts};
use crate::access::policy::{self, Destination};
use crate::client::ClientCertificate;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::http1::{Framing, KeptHead, RequestHead, Version};
use crate::http::role::Role;
use crate::http::target::{Authority, Scheme, Target};
use crate::upstream::pool::Choice;
use crate::upstream::proxy_protocol::Ends;

/// Where requests of one connection come from.
#[derive(Clone, Debug)]
pub struct Source {
    pub client: SocketAddr,
    /// Where it was accepted; none where no upstream learns of it by the PROXY protocol.
    pub listener: Option<SocketAddr>,
    /// The number of the connection.
    pub connection: u64,
    /// Whether it is encrypted.
    pub tls: bool,
    /// The number of the thread that serves it; 0 where threads share their work.
    pub thread: u16,
    /// What the client has shown in its TLS handshake; none where it was not asked to.
    pub certificate: Option<Arc<ClientCertificate>>,
}

impl Source {
    /// What an upstream learns by the PROXY protocol.
    pub fn ends(&self) -> Option<Ends> {
        Some(Ends {
            client: self.client,
            listener: self.listener?,
        })
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// When its first byte was read; of one that came with the request before, when that was over.
    pub started: Instant,
    /// When its last byte was read.
    pub completed: Instant,
}

impl Arrival {
    /// That of a head that was read as a whole, just now.
    pub fn now() -> Self {
        Self::at(Instant::now())
    }

    /// That of a head that was read as a whole.
    pub fn at(read: Instant) -> Self {
        Self {
            started: read,
            completed: read,
        }
    }
}

#[derive(Debug)]
pub struct Request {
    /// What the client can quote.
    pub id: RequestId,
    /// When the head was complete.
    pub time: SystemTime,
    pub arrival: Arrival,
    pub source: Source,
    /// The role in which it is served; none for a head that could not be read.
    pub role: Option<Role>,
    pub method: Method,
    pub version: Version,
    /// Scheme of the target: that of an absolute-form, else the connection's.
    pub scheme: Scheme,
    /// What the target names; none for the gateway.
    pub authority: Option<Authority>,
    /// Whether this proxy answers it itself, see [`own`](super::own).
    pub is_own: bool,
    /// Whether that is the PAC file.
    pub is_pac: bool,
    /// Whether it asks for a tunnel: CONNECT, or the handshake of a WebSocket.
    pub is_tunnel: bool,
    /// Where a request to the gateway goes.
    pub pool: Choice,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the client waits for a 100 before it sends the body.
    pub expect_continue: bool,
    /// Whether the client takes trailer fields in the answer.
    pub wants_trailers: bool,
    /// Whether the request came through this proxy before.
    pub is_loop: bool,
    /// The value of its `Via`, where there are parents, who learn through whom it came.
    pub via: Option<Box<[u8]>>,
    /// Whether the client's connection has upstream connections to itself.
    pub has_dedicated_upstream: bool,
}

impl Request {
    pub fn new(id: RequestId, source: Source, head: &RequestHead, arrival: Arrival) -> Self {
        let scheme = match &head.target {
            Target::Absolute { scheme, .. } => *scheme,
            _ if source.tls => Scheme::Https,
            _ => Scheme::Http,
        };
        Self {
            role: Some(Role::of(&head.target)),
            method: head.method.clone(),
            version: head.version,
            scheme,
            authority: head.target.authority().cloned(),
            framing: head.framing,
            expect_continue: head.expect_continue,
            wants_trailers: head.wants_trailers,
            ..Self::unread(id, source, arrival)
        }
    }

    /// A request of SOCKS5 of which only the protocol is known.
    pub fn of_socks5(id: RequestId, source: Source, arrival: Arrival) -> Self {
        Self {
            role: Some(Role::Tunnel),
            method: Method::CONNECT,
            version: Version::Socks5,
            ..Self::unread(id, source, arrival)
        }
    }

    /// A request whose head could not be read.
    pub fn unread(id: RequestId, source: Source, arrival: Arrival) -> Self {
        Self {
            id,
            time: SystemTime::now(),
            arrival,
            source,
            role: None,
            method: Method::GET,
            version: Version::Http11,
            scheme: Scheme::Http,
            authority: None,
            is_own: false,
            is_pac: false,
            is_tunnel: false,
            pool: Choice::Page,
            framing: Framing::None,
            expect_continue: false,
            wants_trailers: false,
            is_loop: false,
            via: None,
            has_dedicated_upstream: false,
        }
    }

    /// Whether the client sends content.
    pub fn has_body(&self) -> bool {
        !matches!(self.framing, Framing::None | Framing::Length(0))
    }

    /// The request of this identity as the policy sees it.
    ///
    /// # Errors
    /// It has no role: a defect, since a head that could not be read is refused before.
    pub fn for_policy<'a>(
        &'a self,
        identity: &'a Identity,
        head: Option<&'a KeptHead>,
    ) -> Result<policy::Request<'a>, RequestError> {
        let role = self.role.ok_or(ErrorKind::Internal)?;
        Ok(policy::Request {
            destination: Destination::new(role, self.authority.as_ref()),
            scheme: (role == Role::Forward).then_some(self.scheme),
            method: self.method.as_str(),
            user: identity.user().as_str(),
            groups: identity.groups(),
            client: self.source.client.ip(),
            time: self.time,
            head,
            claims: identity.claims(),
            hello: None,
        })
    }

    /// The tunnel that it opened, as the policy sees it.
    pub fn in_tunnel<'a>(
        &'a self,
        user: &'a str,
        facts: Option<&'a IdentityFacts>,
    ) -> policy::Request<'a> {
        policy::Request {
            destination: Destination::new(Role::Tunnel, self.authority.as_ref()),
            scheme: None,
            method: self.method.as_str(),
            user,
            groups: facts.map_or(&[], IdentityFacts::groups),
            client: self.source.client.ip(),
            time: self.time,
            head: None,
            claims: facts.map_or(&[], IdentityFacts::claims),
            hello: None,
        }
    }

    /// The target as the log shows it: canonical, and without anything that could
    /// be a credential. `path` is the path and query that is sent on.
    pub fn canonical_target<'a>(&self, path: &'a str) -> Cow<'a, str> {
        match (self.role, &self.authority) {
            (Some(Role::Forward), Some(authority)) => {
                let host = authority.host_field(self.scheme);
                Cow::Owned(format!("{}://{host}{path}", self.scheme.as_str()))
            }
            (Some(Role::Tunnel), Some(authority)) => Cow::Owned(authority.to_string()),
            _ => Cow::Borrowed(path),
        }
    }
}
