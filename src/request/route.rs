//! Where an admitted request goes, and its turn there: the one [`route`] and the one [`reserve`].
//!
//! Pingora's `upstream_peer` and the opening of tunnels call both.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Instant;

use super::admit::Admitted;
use super::app::App;
use super::outcome::{Exchange, add_time};
use crate::http::error::{ErrorKind, RequestError};
use crate::http::role::Role;
use crate::upstream::dial::{Candidates, DialError};
use crate::upstream::limit::{Permit, Turn};

/// Where a request goes.
///
/// The embedded page is not a route, since nothing connects to it: `request_filter` answers with it.
#[derive(Debug)]
pub enum Route {
    /// To the target itself, at one of these addresses.
    Direct(Candidates),
    /// To the next upstream of the pool.
    Pool,
}

/// Chooses the route of an admitted request: for a target, its name is resolved and each address evaluated.
/// Notes in the exchange what admits the first address.
///
/// # Errors
/// The name cannot be resolved, or the policy denies every address.
pub async fn route(
    app: &App,
    exchange: &mut Exchange,
    admitted: &Admitted,
) -> Result<Route, RequestError> {
    let Some(authority) = &exchange.request.authority else {
        return match app.pool {
            Some(_) => Ok(Route::Pool),
            None => Err(ErrorKind::Internal.because("the gateway has no upstreams")),
        };
    };
    let evaluate = |address| admitted.admit_address(address);
    let look_up = &mut exchange.outcome.resolve;
    match app.dialer.candidates(authority, &evaluate, look_up).await {
        Ok(found) => {
            let first = found.candidates.first();
            exchange
                .outcome
                .admit(admitted, found.decided_by, Some(first));
            Ok(Route::Direct(found.candidates))
        }
        Err(DialError::Prohibited(denied)) => Err(exchange.outcome.deny(denied)),
        Err(error) => Err(error.into()),
    }
}

/// Reserves the turn of a request: at the next upstream of the pool that is up and not among `failed`, or at
/// the first address of its target. Waits while that server has as many requests as it may have, unless
/// `client_gone` is ready meanwhile.
///
/// The permit is the right to have one request there, until dropped. A tunnel of CONNECT has none: it is not
/// limited by its target.
///
/// # Errors
/// No upstream is up, no permit came free in time, or the client is gone.
pub async fn reserve(
    app: &App,
    exchange: &mut Exchange,
    route: &Route,
    failed: &[SocketAddr],
    client_gone: Pin<&mut impl Future<Output = ()>>,
) -> Result<Option<Permit>, RequestError> {
    let queue = match turn(app, exchange, route, failed)? {
        None => return Ok(None),
        Some(Turn::Ready(permit)) => return Ok(Some(permit)),
        Some(Turn::Queued(queue)) => queue,
    };
    let begun = Instant::now();
    let permit = tokio::select! {
        biased;
        permit = queue.wait() => permit,
        () = client_gone => Err(ErrorKind::ClientGone.into()),
    };
    add_time(&mut exchange.outcome.queue, begun);
    permit.map(Some)
}

/// The turn of a request at its server. None for a tunnel of CONNECT.
fn turn(
    app: &App,
    exchange: &Exchange,
    route: &Route,
    failed: &[SocketAddr],
) -> Result<Option<Turn>, RequestError> {
    let thread = exchange.request.source.thread;
    match route {
        Route::Direct(_) if exchange.request.role == Some(Role::Tunnel) => Ok(None),
        Route::Direct(candidates) => Ok(Some(app.origins.turn(candidates.first(), thread))),
        Route::Pool => {
            let pool = app.pool.as_ref().ok_or(ErrorKind::Internal)?;
            Ok(Some(pool.turn(failed, thread)?))
        }
    }
}
