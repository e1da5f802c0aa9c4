//! The errors between a target's authority and a connected socket.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use thiserror::Error;

use crate::access::policy::{Denied, RuleNames};
use crate::http::error::{ErrorKind, RequestError};

/// The `Retry-After` of a request that failed because this host has no sockets left.
pub const EXHAUSTED_PAUSE: Duration = Duration::from_secs(1);

/// Why a target could not be dialled.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DialError {
    /// The name has no usable answer.
    #[error("name resolution failed")]
    Dns(#[source] Unresolved),
    /// [`DnsOptions::max_lookups`] look-ups are in progress.
    ///
    /// [`DnsOptions::max_lookups`]: super::DnsOptions::max_lookups
    #[error("too many name look-ups are under way")]
    TooManyLookups,
    /// No address of the target is admitted; with the first denial.
    #[error("every address of the target is denied")]
    Prohibited(#[source] Denied),
    /// There was no address to dial.
    #[error("no address to dial")]
    NoAddress,
    /// The target refuses connections to this port.
    #[error("connection refused")]
    Refused,
    /// The connection was reset while it was made.
    #[error("connection reset while connecting")]
    Terminated,
    /// There is no route to the address, or the local firewall denies it.
    #[error("no route to the address")]
    Unreachable(#[source] io::Error),
    /// No address accepted the connection in time.
    #[error("connection not accepted in time")]
    Timeout,
    /// This host is out of descriptors, ports or socket memory.
    #[error("out of sockets")]
    Exhausted(#[source] io::Error),
    /// Another error of the operating system.
    #[error("connection failed")]
    Io(#[source] io::Error),
}

impl DialError {
    /// What this means for the request.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Dns(unresolved) => unresolved.failure.kind(),
            Self::NoAddress => ErrorKind::NameNotFound,
            Self::TooManyLookups => ErrorKind::DnsOverloaded,
            Self::Prohibited(_) => ErrorKind::AddressDenied,
            Self::Refused => ErrorKind::ConnectionRefused,
            Self::Terminated => ErrorKind::ConnectionTerminated,
            Self::Unreachable(_) => ErrorKind::Unroutable,
            Self::Timeout => ErrorKind::ConnectTimeout,
            Self::Exhausted(error) => exhaustion(error).unwrap_or(ErrorKind::OutOfSockets),
            Self::Io(_) => ErrorKind::Unreachable,
        }
    }

    /// Classifies an error of `socket(2)` or `connect(2)`.
    ///
    /// `sourceless`: this host has no source address for the destination.
    pub(super) fn from_connect(error: io::Error, sourceless: bool) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::CONNREFUSED) => Self::Refused,
            Some(Errno::CONNRESET | Errno::CONNABORTED) => Self::Terminated,
            Some(Errno::TIMEDOUT) => Self::Timeout,
            // A host without IPv6.
            Some(Errno::AFNOSUPPORT) => Self::Unreachable(error),
            Some(Errno::ADDRNOTAVAIL) if sourceless => Self::Unreachable(error),
            _ if exhaustion(&error).is_some() => Self::Exhausted(error),
            Some(
                Errno::NETUNREACH
                | Errno::HOSTUNREACH
                | Errno::NETDOWN
                | Errno::HOSTDOWN
                | Errno::PERM
                | Errno::ACCESS,
            ) => Self::Unreachable(error),
            _ => Self::Io(error),
        }
    }

    /// The more informative of two errors: first a shortage of this host, which
    /// only its operator can end, then a response of the target, then a timeout.
    /// A missing route comes last: on a host without IPv6 every name with an IPv6
    /// address has this error.
    pub(super) fn more_telling(self, other: Self) -> Self {
        if other.rank() > self.rank() {
            other
        } else {
            self
        }
    }

    const fn rank(&self) -> u8 {
        match self {
            Self::Exhausted(_) => 6,
            Self::Refused => 5,
            Self::Terminated => 4,
            Self::Timeout => 3,
            Self::Io(_) => 2,
            Self::Unreachable(_) => 1,
            Self::Dns(_) | Self::TooManyLookups | Self::Prohibited(_) | Self::NoAddress => 0,
        }
    }
}

impl From<DialError> for RequestError {
    fn from(error: DialError) -> Self {
        match error {
            // A request is answered by `route`, which knows whether its policy shows names.
            DialError::Prohibited(denied) => denied.into_error(RuleNames::Hidden),
            error => {
                let kind = error.kind();
                let failed = Self::new(kind).because(error);
                match kind {
                    ErrorKind::OutOfSockets | ErrorKind::OutOfPorts => {
                        failed.retry_after(EXHAUSTED_PAUSE)
                    }
                    _ => failed,
                }
            }
        }
    }
}

/// The resource of this host that is used up according to an error, if any.
pub fn exhaustion(error: &io::Error) -> Option<ErrorKind> {
    match Errno::from_io_error(error)? {
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM => Some(ErrorKind::OutOfSockets),
        // From connect(2), and from bind(2) of a source address.
        Errno::ADDRNOTAVAIL | Errno::ADDRINUSE => Some(ErrorKind::OutOfPorts),
        _ => None,
    }
}

/// Whether an error of connect(2) on a UDP socket means that this host has no port or descriptor left.
pub(super) fn is_out_of_udp(error: &io::Error) -> bool {
    match Errno::from_io_error(error) {
        // udp(7): all ephemeral ports are in use.
        Some(Errno::AGAIN) => true,
        Some(Errno::ADDRNOTAVAIL) | None => false,
        Some(_) => exhaustion(error).is_some(),
    }
}

/// The reasons why a name has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DnsFailure {
    /// The name does not exist (NXDOMAIN, RFC 2308 §2.1), or cannot exist.
    #[error("the name does not exist")]
    NotFound,
    /// The name exists and has no address (NODATA, RFC 2308 §2.2).
    #[error("the name has no address")]
    NoAddress,
    /// The name server failed (SERVFAIL and every response code without a name here).
    #[error("the name server failed")]
    ServerFailure,
    /// The name server refused to answer.
    #[error("the name server refused to answer")]
    ServerRefused,
    /// No name server answered in time.
    #[error("no name server answered in time")]
    Timeout,
    /// This host has no descriptor left to query a name server.
    #[error("out of sockets to query the name server")]
    Exhausted,
    /// This host has no local port left to query a name server from.
    #[error("out of local ports to query the name server")]
    OutOfPorts,
    /// No name server could be reached, or its response could not be parsed.
    #[error("no name server could be queried")]
    Transport,
}

/// Why a name has no address, with the failure of each name server where it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The reason.
    pub failure: DnsFailure,
    /// For the log only: it has the addresses of the name servers.
    pub detail: Option<Arc<str>>,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{}: {detail}", self.failure),
            None => self.failure.fmt(f),
        }
    }
}

impl std::error::Error for Unresolved {}

impl From<DnsFailure> for Unresolved {
    fn from(failure: DnsFailure) -> Self {
        Self {
            failure,
            detail: None,
        }
    }
}

impl DnsFailure {
    /// What this means for the request.
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::Exhausted => ErrorKind::OutOfSockets,
            Self::OutOfPorts => ErrorKind::OutOfPorts,
            Self::NotFound | Self::NoAddress => ErrorKind::NameNotFound,
            Self::Timeout => ErrorKind::DnsTimeout,
            Self::ServerFailure | Self::ServerRefused | Self::Transport => ErrorKind::DnsError,
        }
    }

    /// Whether a name server answered that there is no address. The other failures
    /// leave that open.
    pub(super) const fn is_negative_answer(self) -> bool {
        matches!(self, Self::NotFound | Self::NoAddress)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_errors_are_classified() {
        let cases = [
            (Errno::CONNREFUSED, false, "connection_refused"),
            (Errno::CONNRESET, false, "connection_terminated"),
            (Errno::TIMEDOUT, false, "connection_timeout"),
            (Errno::MFILE, false, "out_of_sockets"),
            (Errno::NFILE, true, "out_of_sockets"),
            (Errno::NOBUFS, false, "out_of_sockets"),
            (Errno::ADDRNOTAVAIL, false, "out_of_local_ports"),
            (Errno::ADDRNOTAVAIL, true, "destination_ip_unroutable"),
            (Errno::ADDRINUSE, false, "out_of_local_ports"),
            (Errno::AFNOSUPPORT, false, "destination_ip_unroutable"),
            (Errno::NETUNREACH, true, "destination_ip_unroutable"),
            (Errno::HOSTUNREACH, false, "destination_ip_unroutable"),
            (Errno::PERM, false, "destination_ip_unroutable"),
            (Errno::INVAL, false, "connection_failed"),
        ];
        for (errno, sourceless, kind) in cases {
            let error = DialError::from_connect(errno.into(), sourceless);
            assert_eq!(error.kind().name(), kind, "{errno:?}");
        }
    }

    #[test]
    fn a_missing_route_is_distinguished_from_a_missing_port() {
        for (errno, expected) in [
            (Errno::AGAIN, true),
            (Errno::MFILE, true),
            (Errno::ADDRNOTAVAIL, false),
            (Errno::NETUNREACH, false),
        ] {
            assert_eq!(is_out_of_udp(&errno.into()), expected, "{errno:?}");
        }
    }

    #[test]
    fn a_shortage_of_sockets_has_a_retry_delay() {
        for errno in [Errno::MFILE, Errno::ADDRNOTAVAIL] {
            let error: RequestError = DialError::from_connect(errno.into(), false).into();
            assert_eq!(
                (error.status().as_u16(), error.retry_delay()),
                (503, Some(EXHAUSTED_PAUSE))
            );
        }
        let error: RequestError = DialError::Dns(DnsFailure::Exhausted.into()).into();
        assert_eq!(error.retry_delay(), Some(EXHAUSTED_PAUSE));
        assert_eq!(RequestError::from(DialError::Refused).retry_delay(), None);
    }

    #[test]
    fn dns_failures_have_a_kind() {
        let cases = [
            (DnsFailure::NotFound, "name_not_found"),
            (DnsFailure::NoAddress, "name_not_found"),
            (DnsFailure::ServerFailure, "dns_error"),
            (DnsFailure::ServerRefused, "dns_error"),
            (DnsFailure::Timeout, "dns_timeout"),
            (DnsFailure::Transport, "dns_error"),
            (DnsFailure::Exhausted, "out_of_sockets"),
            (DnsFailure::OutOfPorts, "out_of_local_ports"),
        ];
        for (failure, name) in cases {
            assert_eq!(DialError::Dns(failure.into()).kind().name(), name);
        }
    }

    #[test]
    fn the_more_informative_error_wins_in_either_order() {
        let unreachable = || DialError::Unreachable(Errno::NETUNREACH.into());
        let exhausted = || DialError::Exhausted(Errno::MFILE.into());
        let cases = [
            (unreachable(), DialError::Refused, "connection_refused"),
            (DialError::Refused, unreachable(), "connection_refused"),
            (DialError::Timeout, unreachable(), "connection_timeout"),
            (DialError::Timeout, DialError::Refused, "connection_refused"),
            (DialError::Refused, exhausted(), "out_of_sockets"),
        ];
        for (one, other, kind) in cases {
            assert_eq!(one.more_telling(other).kind().name(), kind);
        }
    }
}
