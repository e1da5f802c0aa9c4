//! Why a request does not get through a parent, and what that means for it.

use std::io;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use thiserror::Error;

use super::Member;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::response::ResponseHeadError;
use crate::socks5::ReplyCode;
use crate::socks5::client::HandshakeError;

/// Why a tunnel does not open.
#[derive(Debug, Error)]
pub(super) enum Failure {
    /// There is no connection to the parent.
    #[error("{0}")]
    Dial(#[source] RequestError),
    #[error("no answer in time")]
    Silent,
    #[error("it closed the connection before its answer was complete")]
    Closed,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Head(#[from] ResponseHeadError),
    #[error("{0}")]
    Protocol(&'static str),
    #[error("it answers {}", .0.as_u16())]
    Refused(StatusCode),
    #[error("{0}")]
    Socks(#[from] HandshakeError),
    /// The target is none that SOCKS5 can be told.
    #[error("{0}")]
    Target(#[from] crate::socks5::EncodeError),
}

impl Failure {
    /// Whether the parent may reach, or admit, another address of the target.
    pub(super) fn is_about_address(&self) -> bool {
        match self {
            Self::Refused(status) => matches!(status.as_u16(), 403 | 502..=504),
            // From a general failure to a type of address that it does not know, but for a command that it does not.
            Self::Socks(HandshakeError::Refused(ReplyCode(code))) => matches!(code, 1..=6 | 8),
            _ => false,
        }
    }

    /// Whether the parent has answered, in its protocol.
    pub(super) fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::Refused(_)
                | Self::Socks(
                    HandshakeError::Refused(_)
                        | HandshakeError::LoginRefused
                        | HandshakeError::NoAcceptableMethod
                )
        )
    }

    /// Whether this host has no socket, which says nothing of the parent.
    pub(super) fn exhaustion(&self) -> bool {
        matches!(self, Self::Dial(error) if is_exhaustion(error.kind()))
    }

    /// The word for the metrics.
    pub(super) fn result(&self) -> &'static str {
        match self.kind().0 {
            ErrorKind::ParentAuth => "auth",
            ErrorKind::ParentRefused | ErrorKind::Loop if self.is_answer() => "refused",
            _ => "failed",
        }
    }

    pub(super) fn kind(&self) -> (ErrorKind, Option<StatusCode>) {
        match self {
            Self::Dial(error) if is_exhaustion(error.kind()) => (error.kind(), None),
            Self::Refused(status) => (of_status(*status), Some(*status)),
            Self::Socks(HandshakeError::LoginRefused | HandshakeError::NoAcceptableMethod) => {
                (ErrorKind::ParentAuth, None)
            }
            Self::Socks(HandshakeError::Refused(_)) | Self::Target(_) => {
                (ErrorKind::ParentRefused, None)
            }
            _ => (ErrorKind::ParentFailed, None),
        }
    }

    /// What it means for the request.
    pub(super) fn into_error(self, member: &Member) -> RequestError {
        let (kind, received) = self.kind();
        let why = match self {
            Self::Dial(error) => error.chain(),
            other => other.to_string(),
        };
        at(kind, received, member, &why)
    }
}

fn at(kind: ErrorKind, received: Option<StatusCode>, member: &Member, why: &str) -> RequestError {
    let (parent, url) = (member.parent(), member.shown());
    let parent_name: Arc<str> = parent.into();
    kind.because(format!("parent {parent}, {url}: {why}"))
        .at_next_hop(parent_name, received)
}

fn is_exhaustion(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::OutOfSockets | ErrorKind::OutOfPorts)
}

fn of_status(status: StatusCode) -> ErrorKind {
    match status {
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => ErrorKind::ParentAuth,
        // The next hop has found this proxy in `Via`, or itself.
        StatusCode::LOOP_DETECTED => ErrorKind::Loop,
        _ => ErrorKind::ParentRefused,
    }
}

/// The error of a request that was forwarded in absolute-form, and that the parent answers itself.
pub fn of_answer(member: &Member, status: StatusCode) -> RequestError {
    let why = format!("it answers {}", status.as_u16());
    at(of_status(status), Some(status), member, &why)
}

/// Whether an answer to a request in absolute-form is one of the parent itself, as far as that can be seen: it asks for
/// credentials, or says that it is an error of a proxy (RFC 9209 §2.1.1, or as Squid does).
pub fn is_own_answer(status: StatusCode, fields: &HeaderMap) -> bool {
    if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        return true;
    }
    if status.is_success() || status.is_informational() {
        return false;
    }
    let has_error = |value: &[u8]| {
        // The last member is of the hop nearest to this one; an origin of its own is behind it.
        let last = value.rsplit(|byte| *byte == b',').next();
        let mut parameters = last.unwrap_or_default().split(|byte| *byte == b';').skip(1);
        parameters.any(|parameter| parameter.trim_ascii().starts_with(b"error="))
    };
    fields.contains_key("x-squid-error")
        || fields
            .get_all("proxy-status")
            .iter()
            .next_back()
            .is_some_and(|value| has_error(value.as_bytes()))
}
