//! Tunnels, whatever protocol asks for one: the one way to open them, and to relay until they end.
//!
//! CONNECT and WebSocket call [`open`], in HTTP/1 and HTTP/2 alike, and have words of their own for what it
//! returns.

mod asked;
mod hello;
mod table;

use std::future::pending;
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

pub use self::asked::TunnelRequest;
pub use self::hello::{Demand, judge};
pub use self::table::{OpenTunnel, Tunnels};
use super::app::App;
use super::facts::Request;
use super::outcome::{Exchange, add_time};
use super::route::{Route, reserve, route, wait_turn};
use crate::client::ClientStream;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::role::Role;
use crate::http::target::Scheme;
use crate::tunnel::{self, Ended, MaybeTls, Traffic};
use crate::upstream::limit::{Permit, Presence};
use crate::upstream::server::{Address, Server};
use crate::upstream::tls::UpstreamStream;

/// The upstream's end of a tunnel.
#[derive(Debug)]
pub struct Opened {
    pub stream: UpstreamStream,
    /// The permit that was reserved for it, if it needs one.
    pub permit: Option<Permit>,
}

/// Admits, routes, reserves and dials: all that can fail before a byte is sent upstream. `has_ended` says whether the
/// client has ended its side meanwhile.
///
/// # Errors
/// That of the first step that fails.
pub async fn open(
    app: &App,
    exchange: &mut Exchange,
    has_ended: &AtomicBool,
) -> Result<Opened, RequestError> {
    let admitted = app.access.admit(exchange).await?;
    // `unless_in_vain` sees whether the client goes.
    wait_turn(exchange, pending()).await?;
    let route = route(app, exchange, &admitted).await?;
    // A successor gets the sockets and not the connections: those that are here are served here.
    if app.lifecycle.is_draining() && !app.lifecycle.has_successor() {
        return Err(ErrorKind::Draining.into());
    }
    let mut failed = Vec::new();
    loop {
        let presence = Presence {
            gone: pin!(pending()),
            has_ended,
        };
        let permit = reserve(app, exchange, &route, &failed, presence).await?;
        let begun = Instant::now();
        match dial(app, &exchange.request, &route, permit.as_ref()).await {
            Ok((stream, address)) => {
                add_time(&mut exchange.outcome.connect, begun);
                let ip = match &address {
                    Address::Tcp(address) => Some(address.ip()),
                    Address::Unix(_) => None,
                };
                exchange.outcome.connected(address, Some(&admitted));
                // The TLS of a WebSocket is Tollgate's.
                let is_opaque = exchange.request.role == Some(Role::Tunnel);
                if let Some(terms) = is_opaque.then(|| admitted.tunnel_terms(ip)).flatten() {
                    exchange.outcome.terms().demand = Some(Demand::new(terms));
                }
                return Ok(Opened { stream, permit });
            }
            Err(error) => {
                failed.extend(permit.map(|permit| permit.server.clone()));
                if !may_try_next(app, &route, &failed, &error) {
                    return Err(error);
                }
            }
        }
    }
}

/// Awaits what precedes a tunnel, as long as the process is not aborted and the client is there. One that has only
/// ended its side still is; `has_ended` says so.
///
/// # Errors
/// That of `opening`, [`ErrorKind::Draining`] or [`ErrorKind::ClientGone`].
pub fn unless_in_vain<T>(
    app: &App,
    client: &mut ClientStream,
    has_ended: &AtomicBool,
    opening: impl Future<Output = Result<T, RequestError>>,
) -> impl Future<Output = Result<T, RequestError>> {
    // Boxed: what precedes a tunnel takes more room than the tunnel.
    let mut opening = Box::pin(opening);
    async move {
        tokio::select! {
            biased;
            opened = &mut opening => opened,
            () = app.lifecycle.aborted() => Err(ErrorKind::Draining.into()),
            () = client.broken(has_ended) => Err(ErrorKind::ClientGone.into()),
        }
    }
}

/// Whether another upstream of the pool may accept, which learns of the failure. Without a socket of this host, none
/// does.
fn may_try_next(app: &App, route: &Route, failed: &[Server], error: &RequestError) -> bool {
    let Route::Pool(number) = route else {
        return false;
    };
    let Some(pool) = app.pools.get(*number) else {
        return false;
    };
    let is_exhausted = matches!(
        error.kind(),
        ErrorKind::OutOfSockets | ErrorKind::OutOfPorts
    );
    if let Some(upstream) = failed.last().filter(|_| !is_exhausted) {
        pool.failed(upstream, error.kind().name());
    }
    !is_exhausted && failed.len() < pool.len()
}

/// Connects, with TLS to an https origin or upstream.
async fn dial(
    app: &App,
    request: &Request,
    route: &Route,
    permit: Option<&Permit>,
) -> Result<(UpstreamStream, Address), RequestError> {
    let dialed = match route {
        Route::Direct(candidates) => app.dialer.connect(candidates).await?,
        Route::Pool(_) => {
            let server = &permit.ok_or(ErrorKind::Internal)?.server;
            let stream = app.pools.connect(server, app.timeouts.connect).await?;
            return Ok((stream, server.address.clone()));
        }
    };
    let is_https = request.role == Some(Role::Forward) && request.scheme == Scheme::Https;
    let stream = match &request.authority {
        // Boxed, since a handshake takes more room than an open tunnel.
        Some(authority) if is_https => {
            Box::pin(app.origin_tls.connect(dialed.stream, &authority.host)).await?
        }
        _ => UpstreamStream::Left(MaybeTls::Left(dialed.stream)),
    };
    Ok((stream, dialed.address.into()))
}

/// Sends `greeting` to the client and relays until the tunnel ends.
pub async fn relay(
    app: &App,
    tunnel: &OpenTunnel<'_>,
    mut client: Box<ClientStream>,
    upstream: UpstreamStream,
    greeting: impl AsRef<[u8]>,
) -> (Ended, Traffic) {
    let sent = tokio::time::timeout(app.timeouts.send, client.send(greeting.as_ref())).await;
    drop(greeting);
    let (ended, traffic) = if let Ok(Ok(())) = sent {
        let (transport, early) = client.into_parts();
        let idle = app.timeouts.tunnel_idle;
        let aborted = pin!(tunnel.aborted());
        tunnel::relay(transport, upstream, early, idle, tunnel, aborted).await
    } else {
        (Ended::ClientReset, Traffic::default())
    };
    (true_end(app, tunnel, ended), traffic)
}

/// Why a tunnel has ended, where a stream alone cannot tell.
fn true_end(app: &App, tunnel: &OpenTunnel<'_>, ended: Ended) -> Ended {
    match ended {
        // When the process stops, the connection of an HTTP/2 stream may be gone before the relay hears of it.
        Ended::ClientReset if app.lifecycle.is_aborted() => Ended::Drained,
        Ended::Drained if tunnel.is_expired() => Ended::Stopped("token_expired"),
        Ended::Drained if tunnel.is_refused() => Ended::Stopped("certificate_refused"),
        ended => ended,
    }
}
