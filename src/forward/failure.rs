//! Pingora's errors and ours, one into the other.

use std::error::Error as _;
use std::io;

use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{BError, Error, ErrorSource, ErrorType};
use pingora_proxy::Session;

use crate::error::{Kind, RequestError, Side};

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

/// What an error of Pingora means.
pub(super) fn classify(error: &Error) -> RequestError {
    let mut layer = error;
    while let Some(cause) = layer.cause.as_deref() {
        if let Some(own) = cause.downcast_ref::<RequestError>() {
            return repeat(own);
        }
        match cause.downcast_ref::<BError>() {
            Some(inner) => layer = inner,
            None => break,
        }
    }
    RequestError::new(kind(layer, error.esource())).because(error.to_string())
}

/// A copy for the client's answer: the original is Pingora's to keep.
fn repeat(error: &RequestError) -> RequestError {
    let mut copy = RequestError::new(error.kind());
    if let Some(delay) = error.retry_delay() {
        copy = copy.retry_after(delay);
    }
    match error.source() {
        Some(source) => copy.because(source.to_string()),
        None => copy,
    }
}

fn kind(error: &Error, source: &ErrorSource) -> Kind {
    use ErrorType::{
        ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout, ConnectionClosed,
        HandshakeError, InternalError, InvalidCert, ReadError, ReadTimedout, TLSHandshakeFailure,
        TLSHandshakeTimedout, TLSWantX509Lookup, WriteError, WriteTimedout,
    };
    if *source == ErrorSource::Downstream {
        return match error.etype() {
            ReadTimedout => Kind::BodyTimeout,
            ReadError if is_framing(error) => Kind::BadRequest,
            ReadError | WriteError | WriteTimedout | ConnectionClosed => Kind::ClientGone,
            _ => Kind::BadRequest,
        };
    }
    if *source == ErrorSource::Internal {
        return Kind::Internal;
    }
    if *source == ErrorSource::Unset {
        // What comes from the upstream is marked; writing to the client may not be.
        return match error.etype() {
            ReadError | ReadTimedout | WriteError | WriteTimedout | ConnectionClosed => {
                Kind::ClientGone
            }
            _ => Kind::Internal,
        };
    }
    match error.etype() {
        ConnectTimedout | TLSHandshakeTimedout => Kind::ConnectTimeout,
        ConnectRefused => Kind::ConnectionRefused,
        ConnectNoRoute => Kind::Unroutable,
        ConnectError => Kind::Unreachable,
        InternalError => Kind::Internal,
        InvalidCert => Kind::TlsCertificate,
        TLSHandshakeFailure if names_certificate(error) => Kind::TlsCertificate,
        TLSHandshakeFailure | TLSWantX509Lookup | HandshakeError => Kind::TlsProtocol,
        ReadTimedout => Kind::ResponseTimeout,
        WriteTimedout => Kind::WriteTimeout,
        ReadError | WriteError | ConnectionClosed => Kind::ConnectionTerminated,
        _ => Kind::ProtocolError,
    }
}

/// The body's framing broke: the client's fault, and told to it.
fn is_framing(error: &Error) -> bool {
    error
        .cause
        .as_deref()
        .and_then(|cause| cause.downcast_ref::<io::Error>())
        .is_some_and(|cause| cause.kind() == io::ErrorKind::InvalidData)
}

/// Pingora keeps only the text of a failed handshake.
fn names_certificate(error: &Error) -> bool {
    // How rustls begins every complaint about a certificate.
    const COMPLAINT: &str = "invalid peer certificate";
    error
        .context
        .as_ref()
        .is_some_and(|context| context.as_str().contains(COMPLAINT))
        || error
            .cause
            .as_deref()
            .is_some_and(|cause| cause.to_string().contains(COMPLAINT))
}

/// Whether the request may be sent again: nothing of an answer was seen, the
/// method allows it (RFC 9110 §9.2.2), the body is still here, and the connection
/// was a pooled one that the upstream may have closed meanwhile.
pub(super) fn judge_retry(
    peer: &HttpPeer,
    session: &Session,
    error: Box<Error>,
    reused_and_unanswered: bool,
) -> Box<Error> {
    let mut error = error.more_context(format!("peer {peer}"));
    let connection_lost = matches!(
        error.root_etype(),
        ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed
    );
    let repeatable = session.req_header().method.is_idempotent()
        && !session.as_downstream().retry_buffer_truncated();
    let upstream = *error.esource() == ErrorSource::Upstream;
    error.set_retry(upstream && connection_lost && repeatable && reused_and_unanswered);
    error
}
