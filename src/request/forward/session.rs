//! Small questions about a request that is with Pingora.

use std::time::Duration;

use http::header::MAX_FORWARDS;
use http::{Method, StatusCode};
use pingora::http::RequestHeader;
use pingora_proxy::Session;

use crate::http::response::is_final;

/// How long the body of a request that was refused may still take.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// Ready when the client has broken its connection. One that has only ended its side still wants its response.
/// A client that sends a body is not watched: Pingora reads it.
pub(super) async fn client_gone(session: &mut Session, has_body: bool) {
    if has_body {
        std::future::pending::<()>().await;
    }
    let _gone = session.as_downstream_mut().read_body_or_idle(true).await;
}

/// The status of the answer, once the client gets it.
pub(super) fn final_status(session: &Session) -> Option<StatusCode> {
    let status = session.response_written()?.status;
    is_final(status).then_some(status)
}

/// A client that is told no may stop sending its body. Once the answer is whole the
/// rest is taken for a while and not waited for.
pub(super) fn stop_waiting(session: &mut Session) {
    if !session.is_body_done() {
        session.set_read_timeout(Some(DRAIN_TIMEOUT));
    }
}

/// How many proxies may still forward an OPTIONS or TRACE (RFC 9110 §7.6.2).
pub(super) fn forwards_left(request: &RequestHeader) -> Option<u64> {
    if request.method != Method::OPTIONS && request.method != Method::TRACE {
        return None;
    }
    let value = request.headers.get(MAX_FORWARDS)?;
    value.to_str().ok()?.parse().ok()
}
