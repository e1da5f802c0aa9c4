//! What is known of one request or tunnel, from its head to its record.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::access::auth::User;
use crate::access::policy::{Admission, DecidedBy, Denied, Name};
use crate::client::Lease;
use crate::http::error::{Kind, RequestError};
use crate::http::http1::{Confidential, Framing, RequestHead, Version};
use crate::http::target::{Authority, Scheme, Target};
use crate::request::request_id::RequestId;
use crate::telemetry::{Record, Role};
use crate::upstream::dial::Candidates;
use crate::upstream::limit::Slot;

/// Where requests of one connection come from.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The client's address.
    pub client: SocketAddr,
    /// The number of the connection.
    pub connection: u64,
    /// Whether it is encrypted.
    pub tls: bool,
    /// The number of the thread that serves it; 0 where threads share their work.
    pub thread: u16,
}

/// How the certificate of an https origin is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// As a chain that ends at an authority.
    Chain,
    /// As the very certificate that `ca_file` names.
    Named,
}

impl Verification {
    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Chain => Self::Named,
            Self::Named => Self::Chain,
        }
    }
}

/// One request on its way through.
#[derive(Debug)]
pub struct Exchange {
    /// What the client can quote.
    pub id: RequestId,
    /// When the head was complete.
    pub time: SystemTime,
    /// The same on the monotonic clock.
    pub started: Instant,
    /// Who asks.
    pub client: SocketAddr,
    /// In which role it is served.
    pub role: Role,
    /// The HTTP version of the request.
    pub version: Version,
    /// Scheme of the target; what an absolute-form says, else the connection's.
    pub scheme: Scheme,
    /// What the target names; none for the gateway.
    pub authority: Option<Authority>,
    /// The number of the client's connection.
    pub connection: u64,
    /// See [`Source::thread`].
    pub thread: u16,
    /// Whether the client's connection has one upstream connection to itself.
    pub bound_upstream: bool,
    /// Whether the upstream's answer says no (4xx, 5xx).
    pub declined: bool,
    /// Interim answers so far.
    pub interim: usize,
    /// Where the body ends.
    pub framing: Framing,
    /// Whether the client waits for a 100 before it sends the body.
    pub expect_continue: bool,
    /// Whether the request asks for another protocol on the connection.
    pub upgrade: bool,
    /// Whether the request came through this proxy before.
    pub seen: bool,
    /// Whether it is admitted, when that was decided before Pingora got it.
    pub verdict: Option<Result<(), RequestError>>,
    /// The place that it waited for before Pingora got it.
    pub place: Option<Result<Slot, RequestError>>,
    /// Who the client says that it is, until that was verified.
    pub credentials: Option<Confidential>,
    /// Who was authenticated.
    pub user: Option<User>,
    /// What the policy goes by, until it is known which address is dialled.
    pub admission: Option<Admission>,
    /// Whether an address was noted already.
    pub retried: bool,
    /// Who decided whether it may happen.
    pub decided_by: Option<DecidedBy>,
    /// Rules that only observe, and would have denied it.
    pub observed: Vec<Name>,
    /// How it failed.
    pub error: Option<Kind>,
    /// Why, for the log.
    pub error_detail: Option<Box<str>>,
    /// How the certificate of an https origin is verified; none before that is chosen.
    pub verification: Option<Verification>,
    /// Whether it was verified the other way before.
    pub verified_otherwise: bool,
    /// The address that was dialled.
    pub upstream: Option<SocketAddr>,
    /// How long the dial took; none on a pooled connection.
    pub connect: Option<Duration>,
    /// When the upstream's answer began, from the start.
    pub first_byte: Option<Duration>,
    /// Where a forwarded request may go.
    pub candidates: Option<Candidates>,
    /// The place that the request has at its upstream or origin.
    pub slot: Option<Slot>,
    /// Upstreams that did not take this request.
    pub failed: Vec<SocketAddr>,
    /// The client's connection, while it is with Pingora.
    pub lease: Option<Arc<Lease>>,
}

impl Exchange {
    /// The exchange that `head` asks for. Takes the credentials out of it.
    pub fn new(id: RequestId, source: Source, head: &mut RequestHead) -> Self {
        let connection_scheme = if source.tls {
            Scheme::Https
        } else {
            Scheme::Http
        };
        let (role, scheme, authority) = match &head.target {
            Target::Absolute {
                scheme, authority, ..
            } => (Role::Forward, *scheme, Some(authority.clone())),
            Target::Authority(authority) => {
                (Role::Tunnel, connection_scheme, Some(authority.clone()))
            }
            Target::Origin | Target::Asterisk => (Role::Gateway, connection_scheme, None),
        };
        Self {
            role,
            version: head.version,
            scheme,
            authority,
            upgrade: head.upgrade,
            framing: head.framing,
            expect_continue: head.expect_continue,
            credentials: head.credentials.take(),
            ..Self::unread(id, source)
        }
    }

    /// An exchange whose head could not be read.
    pub fn unread(id: RequestId, source: Source) -> Self {
        Self {
            id,
            time: SystemTime::now(),
            started: Instant::now(),
            client: source.client,
            connection: source.connection,
            thread: source.thread,
            role: Role::Unknown,
            version: Version::Http11,
            scheme: Scheme::Http,
            authority: None,
            bound_upstream: false,
            declined: false,
            interim: 0,
            framing: Framing::None,
            expect_continue: false,
            upgrade: false,
            seen: false,
            verdict: None,
            place: None,
            credentials: None,
            user: None,
            admission: None,
            retried: false,
            decided_by: None,
            observed: Vec::new(),
            error: None,
            error_detail: None,
            verification: None,
            verified_otherwise: false,
            upstream: None,
            connect: None,
            first_byte: None,
            candidates: None,
            slot: None,
            failed: Vec::new(),
            lease: None,
        }
    }

    /// Whether the process stops and takes the client's connection away.
    pub fn is_cut(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.is_aborted())
    }

    /// The upstream has sent something.
    pub fn heard(&self) {
        if let Some(lease) = &self.lease {
            lease.heard();
        }
    }

    /// Whether the upstream was silent for too long, as far as its lease keeps that time.
    pub fn is_late(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.is_late())
    }

    /// Notes how it failed.
    pub fn fail(&mut self, error: &RequestError) {
        self.error = Some(error.kind());
        self.error_detail = error.detail().map(String::into_boxed_str);
    }

    /// Notes who denied it.
    pub fn deny(&mut self, denied: Denied) -> RequestError {
        self.decided_by = Some(denied.by.clone());
        denied.into()
    }

    /// Notes who admitted it to `address`, and who would not have.
    pub fn admitted(&mut self, address: Option<SocketAddr>) {
        let Some(admission) = &self.admission else {
            return;
        };
        self.decided_by = match address {
            Some(address) => admission.admit_address(address).ok(),
            None => Some(admission.decided_by()),
        };
        let ip = address.map(|address| address.ip());
        self.observed.clear();
        self.observed.extend(admission.observed(ip).cloned());
    }

    /// Notes where it went: not always to the first address that was tried, and to
    /// another one when it is tried again.
    pub fn connected(&mut self, address: SocketAddr) {
        self.upstream = Some(address);
        if self.admission.is_none() {
            return;
        }
        let first = self.candidates.as_ref().map(Candidates::first);
        if first != Some(address) || self.retried {
            self.admitted(Some(address));
        }
        self.retried = true;
    }

    /// The target as the log shows it: canonical, and without anything that could
    /// be a credential. `path` is the path and query that is sent on.
    pub fn canonical_target<'a>(&self, path: &'a str) -> Cow<'a, str> {
        match (self.role, &self.authority) {
            (Role::Forward, Some(authority)) => {
                let host = authority.host_field(self.scheme);
                Cow::Owned(format!("{}://{host}{path}", self.scheme.as_str()))
            }
            (Role::Tunnel, Some(authority)) => Cow::Owned(authority.to_string()),
            _ => Cow::Borrowed(path),
        }
    }

    /// The record of this exchange, to be filled in with what only its end knows.
    pub fn record(&self) -> Record<'_> {
        let mut record = Record::new(self.time, self.id.as_str(), self.role, self.client);
        record.user = self.user.as_ref().map(User::as_str);
        record.version = self.version.as_str();
        record.duration = self.started.elapsed();
        record.upstream = self.upstream;
        record.connect = self.connect;
        record.first_byte = self.first_byte;
        record.error = self.error.map(Kind::name);
        record.error_detail = self.error_detail.as_deref();
        record.decided_by = self.decided_by.as_ref();
        record.observed = &self.observed;
        record.denied = matches!(self.error, Some(Kind::Denied | Kind::AddressDenied));
        record
    }
}
