//! What is known about one request or tunnel when it is counted and logged.
//!
//! Everything is borrowed, so that building a record allocates nothing. There
//! is no field for credentials: whoever fills a record cannot hand one over.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use crate::access::policy::{DecidedBy, Name};
use crate::http::error::Kind;
use crate::http::role::Role;

/// The error of a request without credentials.
const CHALLENGE: &str = Kind::CredentialsMissing.name();

/// The site of a request to the local pool, which is none that a client can name: those
/// have a port.
pub const GATEWAY_SITE: &str = "gateway";

/// Every role and, last, that of a request whose target was not read.
pub(crate) const ROLES: [Option<Role>; Role::ALL.len() + 1] = {
    let [tunnel, forward, gateway] = Role::ALL;
    [Some(tunnel), Some(forward), Some(gateway), None]
};

/// The name of a role in log and metrics; `unknown` of one that could not be told.
pub(crate) const fn role_name(role: Option<Role>) -> &'static str {
    match role {
        Some(role) => role.as_str(),
        None => "unknown",
    }
}

/// The place of a role in [`ROLES`].
pub(crate) const fn role_index(role: Option<Role>) -> usize {
    match role {
        Some(role) => role.index(),
        None => Role::ALL.len(),
    }
}

/// Which moment a line of the access log is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A request was answered, or a CONNECT was refused.
    Request,
    /// A tunnel was established.
    TunnelOpen,
    /// A tunnel ended.
    TunnelClose,
}

impl Event {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Event::Request => "request",
            Event::TunnelOpen => "tunnel_open",
            Event::TunnelClose => "tunnel_close",
        }
    }
}

/// One request, or one tunnel.
///
/// Text may hold any bytes: it is escaped and cut where it is written. Take
/// [`Record::new`] and set what is known; the rest means "not known".
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// When the request's first byte was read.
    pub time: SystemTime,
    /// The id that the client also gets in the answer.
    pub request_id: &'a str,
    /// The role in which the request was served; none when its head was refused before the target was read.
    pub role: Option<Role>,
    /// The TCP peer, or the address that a trusted PROXY header gave.
    pub client: SocketAddr,
    /// The user whose password was verified. A name that was only claimed must
    /// not be put here: people type passwords into the wrong box.
    pub user: Option<&'a str>,
    /// Request method as received.
    pub method: &'a [u8],
    /// Canonical request-target. Empty when it could not be parsed; should one
    /// with userinfo arrive all the same, the userinfo is masked.
    pub target: &'a [u8],
    /// Canonical authority that was asked for (`host:port`), counted as a site.
    pub site: Option<&'a str>,
    /// Protocol of the downstream request, as in `HTTP/1.1`.
    pub version: &'a str,
    /// Status sent to the client; `None` when no answer was sent.
    pub status: Option<u16>,
    /// Bytes of content read from the client.
    pub bytes_from_client: u64,
    /// Bytes of content written to the client. For a tunnel 0 means "not
    /// measured apart": what was read from the upstream is taken.
    pub bytes_to_client: u64,
    /// Bytes of content read from the upstream.
    pub bytes_from_upstream: u64,
    /// From the first byte of the request to the end of the answer; for a
    /// tunnel's close, to the end of the tunnel.
    pub duration: Duration,
    /// The address that was dialled.
    pub upstream: Option<SocketAddr>,
    /// Time the dial took; `None` when a pooled connection was used.
    pub connect: Option<Duration>,
    /// From the first byte of the request to the first byte of the upstream's
    /// answer.
    pub first_byte: Option<Duration>,
    /// Error kind, with the names of RFC 9209 §2.3 where one fits.
    pub error: Option<&'static str>,
    /// What led to the error, in words.
    pub error_detail: Option<&'a str>,
    /// Who decided whether the request may be made, once somebody did.
    pub decided_by: Option<&'a DecidedBy>,
    /// Whether the policy denied it.
    pub denied: bool,
    /// Rules that only observe, and would have denied it.
    pub observed: &'a [Name],
    /// Why the tunnel ended.
    pub end_reason: Option<&'static str>,
    /// `Referer` field as received.
    pub referer: Option<&'a [u8]>,
    /// `User-Agent` field as received.
    pub user_agent: Option<&'a [u8]>,
}

impl<'a> Record<'a> {
    /// A record of which nothing but this is known.
    pub fn new(
        time: SystemTime,
        request_id: &'a str,
        role: Option<Role>,
        client: SocketAddr,
    ) -> Self {
        Record {
            time,
            request_id,
            role,
            client,
            ..Record::default()
        }
    }

    /// Whether the request got what it asked for: an answer below 400 and no error.
    pub(crate) fn succeeded(&self) -> bool {
        self.error.is_none() && self.status.is_some_and(|status| status < 400)
    }

    /// Whether the client was only asked for credentials: a browser sends none until it is.
    pub(crate) fn is_challenge(&self) -> bool {
        self.error == Some(CHALLENGE)
    }

    /// The site to count, if this request may count one.
    ///
    /// Strangers and denied requests must not be able to fill the table of
    /// sites with names of their choice.
    pub(crate) fn visited_site(&self) -> Option<&'a str> {
        self.site.filter(|_| self.user.is_some() && !self.denied)
    }
}

impl Default for Record<'_> {
    fn default() -> Self {
        Record {
            time: SystemTime::UNIX_EPOCH,
            request_id: "",
            role: None,
            client: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            user: None,
            method: b"",
            target: b"",
            site: None,
            version: "",
            status: None,
            bytes_from_client: 0,
            bytes_to_client: 0,
            bytes_from_upstream: 0,
            duration: Duration::ZERO,
            upstream: None,
            connect: None,
            first_byte: None,
            error: None,
            error_detail: None,
            decided_by: None,
            denied: false,
            observed: &[],
            end_reason: None,
            referer: None,
            user_agent: None,
        }
    }
}
