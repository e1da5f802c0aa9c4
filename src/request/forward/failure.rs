//! Pingora's errors and ours, one into the other.

use std::error::Error as StdError;
use std::io;

use pingora_core::{BError, Error, ErrorSource, ErrorType, ImmutStr};

use crate::access::limits::OverLimit;
use crate::http::error::{ErrorKind, RequestError, Side};
use crate::upstream::dial;
use crate::upstream::handshake::{self, words};

/// Carries our error through Pingora as the cause of one of its own.
pub(super) fn into_pingora(error: RequestError) -> BError {
    let side = error.kind().side();
    let mut carrier = Error::because(ErrorType::Custom("Tollgate"), "", error);
    carrier.esource = match side {
        Side::Downstream => ErrorSource::Downstream,
        Side::Upstream => ErrorSource::Upstream,
        Side::Internal => ErrorSource::Internal,
    };
    carrier
}

/// A request that reached `upstream_peer` without an admission: a defect, and never sent on.
pub(super) fn not_admitted() -> BError {
    into_pingora(ErrorKind::Internal.because("the request was not admitted"))
}

/// An answer of the upstream that is not passed on, and why.
pub(super) fn invalid_answer(why: impl Into<Box<dyn StdError + Send + Sync>>) -> BError {
    into_pingora(ErrorKind::ProtocolError.because(why))
}

/// Whether an error is ours, that Pingora only carries.
pub(super) fn is_ours(error: &Error) -> bool {
    cause::<RequestError>(error).is_some()
}

/// Whether an error is ours, of a connection to a parent.
pub(super) fn is_of_parent(error: &Error) -> bool {
    let own = cause::<RequestError>(innermost(error));
    own.is_some_and(|own| own.next_hop().is_some())
}

/// What an error of Pingora means.
pub(super) fn classify(error: &Error) -> RequestError {
    let inner = innermost(error);
    if let Some(own) = cause::<RequestError>(inner) {
        // The original belongs to Pingora.
        return own.repeat();
    }
    if let Some(over) = of_limit(inner) {
        return RequestError::new(ErrorKind::LimitReached)
            .told(over.limit.as_str())
            .because(over.clone());
    }
    if *error.esource() == ErrorSource::Upstream
        && let Some(failed) = of_handshake(inner)
    {
        return failed;
    }
    match exhaustion(error) {
        Some(kind) => kind
            .because(in_words(inner))
            .retry_after(dial::EXHAUSTED_PAUSE),
        None => kind(inner, error.esource()).because(in_words(inner)),
    }
}

/// Whether the handshake failed because the origin shows the certificate of an authority as its own.
pub(super) fn is_authority(error: &Error) -> bool {
    of_handshake(innermost(error)).is_some_and(|failed| handshake::is_authority(&failed))
}

/// The limit behind an error of the client's stream, which carries no more.
fn of_limit(error: &Error) -> Option<&OverLimit> {
    cause::<io::Error>(error)?.get_ref()?.downcast_ref()
}

/// The failed handshake behind an error, or the alert that ended the connection later.
fn of_handshake(error: &Error) -> Option<RequestError> {
    if *error.etype() == ErrorType::TLSHandshakeFailure {
        let context = error.context.as_ref().map(ImmutStr::as_str);
        return Some(handshake::of_pingora(context.unwrap_or_default()));
    }
    let of_tls = cause::<io::Error>(error)?.get_ref()?;
    let of_tls = of_tls.downcast_ref::<rustls::Error>()?;
    Some(handshake::of_rustls(&of_tls.to_string()))
}

/// Which resource of this host an error says is used up, if it says so.
pub(super) fn exhaustion(error: &Error) -> Option<ErrorKind> {
    // What connect(2) said is below a layer that is Pingora's own.
    let cause = innermost(error).cause.as_deref()?;
    let mut layer: Option<&(dyn StdError + 'static)> = Some(cause);
    while let Some(error) = layer {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return dial::exhaustion(error);
        }
        layer = error.source();
    }
    None
}

/// The error of Pingora that all the others are about.
fn innermost(error: &Error) -> &Error {
    cause::<BError>(error).map_or(error, |inner| innermost(inner))
}

/// The cause of an error, where it is of this type.
fn cause<T: StdError + 'static>(error: &Error) -> Option<&T> {
    error.cause.as_deref()?.downcast_ref()
}

/// What Pingora says, without names of Rust and without the peer, which the log has.
fn in_words(error: &Error) -> String {
    let mut text = match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => {
            return "not connected within timeouts.connect and timeouts.tls_handshake".to_owned();
        }
        ErrorType::ReadTimedout => return "silent for too long".to_owned(),
        ErrorType::WriteTimedout => {
            return "nothing taken for longer than timeouts.send".to_owned();
        }
        ErrorType::ConnectionClosed => return "the connection was closed".to_owned(),
        ErrorType::InvalidHTTPHeader => "the head of the answer is invalid".to_owned(),
        other => words(other.as_str()),
    };
    // The head of the answer, with its cookies, is not for a log.
    let context = error.context.as_ref().map(ImmutStr::as_str);
    let context = context.filter(|context| !context.is_empty() && !context.starts_with("buf: "));
    let cause = error.cause.as_ref().map(ToString::to_string);
    for part in context.into_iter().chain(cause.as_deref()) {
        text.push_str(": ");
        text.push_str(part);
    }
    text
}

fn kind(error: &Error, source: &ErrorSource) -> ErrorKind {
    use ErrorType::{
        ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout, ConnectionClosed, H2Error,
        HandshakeError, InternalError, InvalidCert, ReadError, ReadTimedout, TLSHandshakeFailure,
        TLSHandshakeTimedout, TLSWantX509Lookup, WriteError, WriteTimedout,
    };
    match source {
        ErrorSource::Downstream => match error.etype() {
            ReadTimedout => ErrorKind::BodyTimeout,
            // The body's framing broke: the client's fault, and told to it.
            ReadError
                if cause::<io::Error>(error)
                    .is_some_and(|cause| cause.kind() == io::ErrorKind::InvalidData) =>
            {
                ErrorKind::BadRequest
            }
            ReadError | WriteError | WriteTimedout | ConnectionClosed => ErrorKind::ClientGone,
            _ => ErrorKind::BadRequest,
        },
        ErrorSource::Internal => ErrorKind::Internal,
        // What comes from the upstream is marked; writing to the client may not be.
        ErrorSource::Unset => match error.etype() {
            ReadError | ReadTimedout | WriteError | WriteTimedout | ConnectionClosed => {
                ErrorKind::ClientGone
            }
            _ => ErrorKind::Internal,
        },
        ErrorSource::Upstream => match error.etype() {
            ConnectTimedout | TLSHandshakeTimedout => ErrorKind::ConnectTimeout,
            ConnectRefused => ErrorKind::ConnectionRefused,
            ConnectNoRoute => ErrorKind::Unroutable,
            ConnectError => ErrorKind::Unreachable,
            InternalError => ErrorKind::Internal,
            InvalidCert => ErrorKind::TlsCertificate,
            TLSHandshakeFailure | TLSWantX509Lookup | HandshakeError => ErrorKind::TlsProtocol,
            ReadTimedout => ErrorKind::ResponseTimeout,
            WriteTimedout => ErrorKind::WriteTimeout,
            ReadError | WriteError | ConnectionClosed => ErrorKind::ConnectionTerminated,
            // The stream was reset, or its connection ended.
            H2Error if cause::<h2::Error>(error).is_some_and(h2::Error::is_remote) => {
                ErrorKind::ConnectionTerminated
            }
            _ => ErrorKind::ProtocolError,
        },
    }
}
