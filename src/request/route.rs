//! When an admitted request goes on, where, and its turn there: the one [`wait_turn`], [`route`] and [`reserve`].
//!
//! Pingora's hooks and the opening of tunnels call them.

pub mod parent;

use std::time::Instant;

use self::parent::ParentRoute;
use super::admit::Admitted;
use super::app::App;
use super::hooks::{ended, resolve};
use super::live::State;
use super::outcome::Exchange;
use crate::access::client::Client;
use crate::access::limits::Turn as AwaitedTurn;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::role::Role;
use crate::telemetry::traces::Phase;
use crate::upstream::dial::{Candidates, DialError, Dialer};
use crate::upstream::limit::{Permit, Presence, Turn};
use crate::upstream::pool::PoolNumber;
use crate::upstream::server::Server;

/// Where a request goes.
///
/// The embedded page is not a route, since nothing connects to it: `request_filter` answers with it.
#[derive(Debug)]
pub enum Route {
    /// To the target itself, at one of these addresses.
    Direct(Candidates),
    /// To the next upstream of this pool.
    Pool(PoolNumber),
    /// To the target through a parent.
    Parent(Box<ParentRoute>),
}

/// Waits until it is the turn of an admitted request, where it is over a rate of its class that has requests wait.
///
/// # Errors
/// The client is gone.
pub async fn wait_turn(
    exchange: &mut Exchange,
    gone: impl Future<Output = ()> + Send,
) -> Result<(), RequestError> {
    match exchange.outcome.take_turn() {
        None => Ok(()),
        // Boxed: few requests wait, and none is to be larger for it.
        Some(turn) => Box::pin(wait(exchange, turn, gone)).await,
    }
}

async fn wait(
    exchange: &mut Exchange,
    turn: AwaitedTurn,
    gone: impl Future<Output = ()> + Send,
) -> Result<(), RequestError> {
    exchange.is_now(State::Queued);
    let begun = Instant::now();
    let came = tokio::select! {
        biased;
        () = tokio::time::sleep_until(turn.comes().into()) => Ok(()),
        () = gone => Err(ErrorKind::ClientGone.into()),
    };
    exchange.spent(Phase::Queue, begun.elapsed());
    exchange.is_now(State::Admitting);
    came
}

/// Chooses the route of an admitted request: for a target, its name is resolved and each address evaluated.
/// Notes in the exchange what admits the first address.
///
/// # Errors
/// The name cannot be resolved, the policy denies every address, or the external authoriser denies the request, where a
/// rule asks it by the address.
pub async fn route(
    app: &App,
    exchange: &mut Exchange,
    admitted: &Admitted,
) -> Result<Route, RequestError> {
    if exchange.request.authority.is_none() {
        return exchange.request.pool.pool().map(Route::Pool);
    }
    let Some(parents) = admitted.parents() else {
        return addresses(app, exchange, admitted).await.map(Route::Direct);
    };
    if let Some(route) = parent::by_name(app, exchange, admitted, parents)? {
        exchange.show_decision();
        return Ok(route);
    }
    let found = addresses(app, exchange, admitted).await?;
    parent::by_address(app, exchange, admitted, parents, found)
}

/// The addresses of the target that the policy admits. Notes in the exchange what admits the first one.
async fn addresses(
    app: &App,
    exchange: &mut Exchange,
    admitted: &Admitted,
) -> Result<Candidates, RequestError> {
    let authority = exchange.request.authority.as_ref();
    let authority = authority.ok_or(ErrorKind::Internal)?;
    let evaluate = |address| admitted.admit_address(address);
    let given = match &mut exchange.run {
        Some(run) if authority.host.is_name() => resolve(run).await,
        _ => Ok(None),
    };
    let given = match given {
        Ok(given) => given,
        Err(stop) => return Err(ended(exchange, stop)),
    };
    let user = exchange.outcome.user.as_ref();
    let client = || Client::new(user, exchange.request.source.client.ip());
    let mut look_up = None;
    let found = match given {
        Some(addresses) => Dialer::candidates_of(addresses, authority.port, &evaluate),
        None => {
            let candidates = app
                .dialer
                .candidates(authority, client, &evaluate, &mut look_up);
            candidates.await
        }
    };
    if let Some(time) = look_up {
        exchange.spent(Phase::Resolve, time);
    }
    match found {
        Ok(found) => {
            if admitted.is_unasked() {
                let addresses = found.candidates.iter();
                // Boxed: few requests wait for it, and none is to be larger for it.
                Box::pin(app.access.ask_by_address(admitted, addresses, exchange)).await?;
            }
            let first = found.candidates.first();
            exchange
                .outcome
                .admit(admitted, found.decided_by, Some(first));
            exchange.show_decision();
            Ok(found.candidates)
        }
        Err(DialError::Prohibited(denied)) => Err(exchange.outcome.deny(denied, admitted.names())),
        Err(error) => Err(error.into()),
    }
}

/// Reserves the turn of a request: at the next upstream of the pool that is up and not among `failed`, or at
/// the first address of its target. Waits while that server has as many requests as it may have, or as many of this
/// client, unless the client goes.
///
/// The permit is the right to have one request there, until dropped. A tunnel of CONNECT has none: it is not
/// limited by its target.
///
/// # Errors
/// No upstream is up, no permit came free in time, or the client is gone.
pub async fn reserve(
    app: &App,
    exchange: &mut Exchange,
    route: &mut Route,
    failed: &[Server],
    presence: Presence<'_, impl Future<Output = ()> + Send>,
) -> Result<Option<Permit>, RequestError> {
    let queue = match turn(app, exchange, route, failed)? {
        None => {
            exchange.is_now(State::Connecting);
            return Ok(None);
        }
        Some(Turn::Ready(permit)) => {
            exchange.is_now(State::Connecting);
            return Ok(Some(permit));
        }
        Some(Turn::Queued(queue)) => queue,
    };
    exchange.is_now(State::Queued);
    let begun = Instant::now();
    let permit = queue.wait(presence).await;
    exchange.spent(Phase::Queue, begun.elapsed());
    exchange.is_now(State::Connecting);
    permit.map(Some)
}

/// The turn of a request at its server. None for a tunnel of CONNECT.
fn turn(
    app: &App,
    exchange: &Exchange,
    route: &mut Route,
    failed: &[Server],
) -> Result<Option<Turn>, RequestError> {
    let source = &exchange.request.source;
    let client = Client::new(exchange.outcome.user.as_ref(), source.client.ip());
    match route {
        Route::Direct(_) if exchange.request.role == Some(Role::Tunnel) => Ok(None),
        Route::Direct(candidates) => Ok(Some(app.origins.turn(
            candidates.first(),
            source.thread,
            client,
        ))),
        Route::Parent(route) => {
            let (number, turn) = route.parent.turn(&route.failed, parent::sender(exchange))?;
            route.number = number;
            Ok(Some(turn))
        }
        Route::Pool(number) => {
            let pool = app.pools.get(*number).ok_or(ErrorKind::Internal)?;
            Ok(Some(pool.turn(failed, source.thread, client)?))
        }
    }
}
