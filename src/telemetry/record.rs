//! What is known about one request or tunnel when it is counted and logged.
//!
//! The fields are in the table of `fields`. There is none for credentials, so that
//! no credential can be logged.

mod declare;
mod fields;
mod form;

use std::net::SocketAddr;
use std::path::Path;
use std::time::SystemTime;

pub use fields::Record;
pub(crate) use fields::max;

use crate::http::error::ErrorKind;
use crate::http::role::Role;

/// The error of a request without credentials.
const CHALLENGE: &str = ErrorKind::CredentialsMissing.name();

/// The site of a request to the local pool, which is none that a client can name: those
/// have a port.
pub const GATEWAY_SITE: &str = "gateway";

/// Every role of a record. A head that was refused has none: the form of its target is not known.
pub(crate) const ROLES: [Option<Role>; 4] = [
    Some(Role::Forward),
    Some(Role::Tunnel),
    Some(Role::Gateway),
    None,
];

/// The name of a role in log and metrics.
pub(crate) const fn role_name(role: Option<Role>) -> &'static str {
    match role {
        Some(role) => role.as_str(),
        None => "unknown",
    }
}

/// Which moment a line of the access log is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Event {
    /// A request was answered, or a CONNECT was refused.
    #[default]
    Request,
    /// A tunnel was established.
    TunnelOpen,
    /// A tunnel ended.
    TunnelClose,
}

/// Where a request was connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamAddress<'a> {
    /// By TCP.
    Tcp(SocketAddr),
    /// At a socket of this machine.
    Unix(&'a Path),
}

impl Event {
    /// The stable name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Event::Request => "request",
            Event::TunnelOpen => "tunnel_open",
            Event::TunnelClose => "tunnel_close",
        }
    }
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
        self.site
            .filter(|_| self.user.is_some() && self.denial.is_none())
    }
}
