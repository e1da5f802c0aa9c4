//! Tunnels, whatever protocol asks for one: the one way to open them, and to relay until they end.
//!
//! CONNECT and WebSocket call [`open`], in HTTP/1 and HTTP/2 alike, and have words of their own for what it
//! returns.

mod asked;
mod hello;
mod table;

use std::future::pending;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

pub use self::asked::TunnelRequest;
pub use self::hello::{Demand, judge};
pub use self::table::{OpenTunnel, Tunnel, Tunnels};
use super::app::App;
use super::facts::Request;
use super::outcome::Exchange;
use super::route::parent::{ParentRoute, fallback, goes_on};
use super::route::{Route, reserve, route, wait_turn};
use crate::client::ClientStream;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::role::Role;
use crate::http::target::Scheme;
use crate::telemetry::traces::Phase;
use crate::tunnel::{self, Ended, MaybeTls, Traffic};
use crate::upstream::limit::{Permit, Presence};
use crate::upstream::pool::Pool;
use crate::upstream::server::{Address, Server};
use crate::upstream::tls::UpstreamStream;

/// The upstream's end of a tunnel.
#[derive(Debug)]
pub struct Opened {
    pub stream: UpstreamStream,
    /// The permit that was reserved for it, if it needs one.
    pub permit: Option<Permit>,
    /// What the server has sent already, which comes before all else.
    pub early: Box<[u8]>,
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
) -> Result<Box<Opened>, RequestError> {
    let admitted = app.access.admit(exchange).await?;
    // `unless_in_vain` sees whether the client goes.
    wait_turn(exchange, pending()).await?;
    let mut route = route(app, exchange, &admitted).await?;
    // A successor gets the sockets and not the connections: those that are here are served here.
    if app.lifecycle.is_draining() && !app.lifecycle.has_successor() {
        return Err(ErrorKind::Draining.into());
    }
    if let Route::Pool(number) = &route
        && app.pools.get(*number).is_some_and(Pool::is_http2)
    {
        // What is asked for is HTTP/1.1. An upstream that cannot read it has not failed.
        return Err(ErrorKind::UpgradeFailed.because("the upstreams take HTTP/2 alone"));
    }
    let mut failed = Vec::new();
    loop {
        let presence = Presence {
            gone: pin!(pending()),
            has_ended,
        };
        let permit = match reserve(app, exchange, &mut route, &failed, presence).await {
            Ok(permit) => permit,
            Err(error) => {
                let next = fallback(app, exchange, Some(&admitted), &route, &error).await?;
                route = next.ok_or(error)?;
                continue;
            }
        };
        let begun = Instant::now();
        match dial(app, &exchange.request, &route, permit.as_ref()).await {
            Ok(dialed) => {
                exchange.spent(Phase::Connect, begun.elapsed());
                let is_at_target = matches!(route, Route::Direct(_));
                if let Some(address) = dialed.address {
                    let admitted = is_at_target.then_some(&admitted);
                    exchange.outcome.connected(address, admitted);
                }
                // The TLS of a WebSocket is Tollgate's.
                let is_opaque = exchange.request.role == Some(Role::Tunnel);
                let terms = || admitted.tunnel_terms(dialed.target);
                if let Some(terms) = is_opaque.then(terms).flatten() {
                    exchange.outcome.terms().demand = Some(Demand::new(terms));
                }
                // Boxed, since it is moved several times, and each place is a part of an open tunnel.
                return Ok(Box::new(Opened {
                    stream: dialed.stream,
                    early: dialed.early,
                    permit,
                }));
            }
            Err(error) if goes_on(&mut route, &error) => {}
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

/// A connection to a server, or to a parent that has opened a tunnel to it.
struct Dialed {
    stream: UpstreamStream,
    /// Where it was connected to.
    address: Option<Address>,
    /// The address of the target, if this proxy knows it.
    target: Option<IpAddr>,
    early: Box<[u8]>,
}

impl Dialed {
    fn at(stream: UpstreamStream, address: Address) -> Self {
        let target = match &address {
            Address::Tcp(address) => Some(address.ip()),
            Address::Unix(_) => None,
        };
        Self {
            stream,
            address: Some(address),
            target,
            early: Box::default(),
        }
    }
}

/// Connects, with TLS to an https origin or upstream.
async fn dial(
    app: &App,
    request: &Request,
    route: &Route,
    permit: Option<&Permit>,
) -> Result<Dialed, RequestError> {
    let is_https = request.role == Some(Role::Forward) && request.scheme == Scheme::Https;
    let dialed = match route {
        Route::Direct(candidates) => app.dialer.connect(candidates).await?,
        Route::Pool(_) => {
            let server = &permit.ok_or(ErrorKind::Internal)?.server;
            let client = request.source.ends();
            let stream = app.pools.connect(server, client, app.timeouts.connect);
            let stream = stream.await?;
            return Ok(Dialed::at(stream, server.address.clone()));
        }
        // Boxed, since it takes more room than an open tunnel.
        Route::Parent(route) => return Box::pin(through(app, request, route, is_https)).await,
    };
    let stream = match &request.authority {
        // Boxed, since a handshake takes more room than an open tunnel.
        Some(authority) if is_https => {
            Box::pin(app.origin_tls.connect(dialed.stream, &authority.host)).await?
        }
        _ => UpstreamStream::Left(MaybeTls::Left(dialed.stream)),
    };
    Ok(Dialed::at(stream, dialed.address.into()))
}

/// Opens a tunnel through a parent, with TLS in it to an https origin.
async fn through(
    app: &App,
    request: &Request,
    route: &ParentRoute,
    is_https: bool,
) -> Result<Dialed, RequestError> {
    let opened = route.parent.open(route.number, &route.tunnel).await?;
    let stream = match &request.authority {
        Some(authority) if is_https => {
            refuse_early(&opened.early)?;
            let through = app
                .origin_tls
                .connect_through(opened.stream, &authority.host);
            through.await?
        }
        _ => UpstreamStream::Left(opened.stream),
    };
    Ok(Dialed {
        stream,
        address: route.reached().map(Address::Tcp),
        target: opened.target.map(|target| target.ip()),
        early: Box::from(&*opened.early),
    })
}

/// Refuses what a server of HTTP or TLS has sent before it was asked: it would be taken for an answer.
///
/// # Errors
/// It has sent something.
pub fn refuse_early(early: &[u8]) -> Result<(), RequestError> {
    match early.is_empty() {
        true => Ok(()),
        false => Err(ErrorKind::ProtocolError.because("the target answers before it is asked")),
    }
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
        tunnel.begin_relay();
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
        Ended::Drained if tunnel.is_closed_by_admin() => Ended::Stopped("closed_by_admin"),
        Ended::Drained if tunnel.is_expired() => Ended::Stopped("token_expired"),
        Ended::Drained if tunnel.is_refused() => Ended::Stopped("certificate_refused"),
        ended => ended,
    }
}
