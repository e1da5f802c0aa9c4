//! Whether a request is sent again, and what the pool learns of an upstream that failed one.

use pingora_core::{Error, ErrorSource, ErrorType};
use pingora_proxy::Session;

use super::context::Forwarded;
use super::{failure, http2, verification};
use crate::http::error::{ErrorKind, RequestError};
use crate::request::app::App;
use crate::request::route::{Route, parent};
use crate::upstream::pool::Pool;

/// After a connection that was not made: another upstream may accept. Without a socket of this host, none does.
pub(super) fn after_connecting(
    app: &App,
    forwarded: &mut Forwarded,
    mut error: Box<Error>,
) -> Box<Error> {
    if verification::may_try_again(forwarded, &mut error) {
        return error;
    }
    if matches!(forwarded.route, Some(Route::Parent(_))) {
        return at_parent(forwarded, error);
    }
    if pool(app, forwarded).is_some() && failure::exhaustion(&error).is_none() {
        // The next upstream_peer passes over those that failed.
        try_next(app, forwarded, &mut error);
    }
    error
}

/// After a certificate that was not accepted once the connection was made: nothing was sent, so another upstream may
/// take the request.
pub(super) fn after_refusal(
    app: &App,
    forwarded: &mut Forwarded,
    mut error: Box<Error>,
) -> Box<Error> {
    if !error.retry() && matches!(forwarded.route, Some(Route::Parent(_))) {
        return at_parent(forwarded, error);
    }
    if !error.retry() && pool(app, forwarded).is_some() {
        try_next(app, forwarded, &mut error);
    }
    error
}

/// After a connection to or through a parent that was not made. What failed of TLS to a parent is its fault, and not that
/// of the target.
fn at_parent(forwarded: &mut Forwarded, mut error: Box<Error>) -> Box<Error> {
    let facts = &forwarded.exchange.request;
    let absolute = parent::forwarding(forwarded.route.as_ref(), facts.role, facts.scheme);
    if let Some(route) = absolute
        && !failure::is_of_parent(&error)
    {
        let failed = failure::classify(&error);
        let failed = route.parent.not_connected(route.number, failed);
        error = failure::into_pingora(failed);
    }
    let failed = failure::classify(&error);
    let goes_on = forwarded
        .route
        .as_mut()
        .is_some_and(|route| parent::goes_on(route, &failed));
    if goes_on {
        forwarded.permit = None;
    }
    error.set_retry(goes_on);
    error
}

/// After an exchange that broke off. The request is sent again where nothing of an answer was seen, the method allows
/// it (RFC 9110 §9.2.2) and the body is still here: over a new connection where a pooled one may have been closed
/// meanwhile, else at the next upstream of the pool. A server of HTTP/2 may say that it has not begun to serve it; then
/// any method allows it.
pub(super) fn after_exchange(
    app: &App,
    session: &Session,
    forwarded: &mut Forwarded,
    mut error: Box<Error>,
    is_reused: bool,
) -> Box<Error> {
    if failure::is_ours(&error) {
        // It says itself whether to.
        return error;
    }
    let is_lost = matches!(
        error.root_etype(),
        ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed
    ) && *error.esource() == ErrorSource::Upstream;
    let is_unprocessed = http2::is_unprocessed(&error);
    let is_repeatable = session.response_written().is_none()
        && (is_unprocessed || session.req_header().method.is_idempotent())
        && !session.as_downstream().retry_buffer_truncated();
    if is_lost && !is_reused && pool(app, forwarded).is_some() {
        try_next(app, forwarded, &mut error);
    } else {
        error.set_retry(is_unprocessed || (is_lost && is_reused));
    }
    error.set_retry(error.retry() && is_repeatable);
    error
}

/// Notes in the pool that its upstream failed the request, and frees the place there for the next try.
fn try_next(app: &App, forwarded: &mut Forwarded, error: &mut Error) {
    let Some(pool) = pool(app, forwarded) else {
        return;
    };
    if let Some(permit) = forwarded.permit.take() {
        pool.failed(&permit.server, failure::classify(error).kind().name());
        forwarded.failed.push(permit.server.clone());
    }
    error.set_retry(forwarded.failed.len() < pool.len());
}

/// After a failure that ends the request: an upstream that is silent is one that fails.
pub(super) fn after_failure(app: &App, forwarded: &Forwarded, failure: &RequestError) {
    if let (Some(pool), Some(permit)) = (pool(app, forwarded), &forwarded.permit)
        && matches!(
            failure.kind(),
            ErrorKind::ResponseTimeout | ErrorKind::WriteTimeout
        )
    {
        pool.failed(&permit.server, failure.kind().name());
    }
}

/// After the first byte of an answer.
pub(super) fn after_answer(app: &App, forwarded: &Forwarded) {
    if let (Some(pool), Some(permit)) = (pool(app, forwarded), &forwarded.permit) {
        pool.answered(&permit.server);
    }
    if let Some(Route::Parent(route)) = &forwarded.route {
        route.parent.answered(route.number);
    }
}

/// The pool, for a request that goes there.
fn pool<'a>(app: &'a App, forwarded: &Forwarded) -> Option<&'a Pool> {
    match forwarded.route {
        Some(Route::Pool(number)) => app.pools.get(number),
        _ => None,
    }
}
