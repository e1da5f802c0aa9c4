//! Where Pingora connects to, and how: the peer of one request.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::Session;

use super::{failure, verification};
use crate::client::ClientStream;
use crate::http::error::{Kind, RequestError};
use crate::http::http1::{Framing, RequestHead};
use crate::http::target::{Host, Scheme};
use crate::request::app::App;
use crate::request::exchange::{Exchange, Verification};
use crate::telemetry::Role;
use crate::upstream::dial::Candidates;
use crate::upstream::limit::Slot;
use crate::upstream::pool::{Queue, Turn};

/// Pooled connections of the two roles are kept apart: an address can be a local
/// upstream and a target as well.
const GATEWAY_GROUP: u64 = 1;
const FORWARD_GROUP: u64 = 2;

/// Marks a client's own group: the number of a connection may be 0.
const OWN_GROUP: u64 = 4;

/// A place at the next local upstream that is up.
pub(super) async fn of_pool(
    app: &App,
    exchange: &mut Exchange,
    session: &mut Session,
) -> Result<Box<HttpPeer>, RequestError> {
    let slot = slot(app, exchange, session).await?;
    let mut peer = Box::new(HttpPeer::new(slot.address, false, String::new()));
    peer.group_key = group(GATEWAY_GROUP, exchange, &slot);
    peer.options.connection_timeout = Some(app.timeouts.connect);
    set_timeouts(&mut peer, app, exchange);
    exchange.slot = Some(slot);
    Ok(peer)
}

/// The admitted addresses of the target, and a place at the first.
pub(super) async fn of_target(
    app: &Arc<App>,
    exchange: &mut Exchange,
    session: &mut Session,
) -> Result<Box<HttpPeer>, RequestError> {
    let slot = slot(app, exchange, session).await?;
    let (Some(authority), Some(candidates)) = (&exchange.authority, &exchange.candidates) else {
        return Err(Kind::Internal.into());
    };
    let first = candidates.first();
    let tls = exchange.scheme == Scheme::Https;
    // Pingora pools by this address. When another one wins the race, its connection
    // is pooled under the wrong one and thrown away on the next use, when Pingora
    // compares the peer's address; the winner goes first from then on.
    //
    // Never empty with TLS: Pingora takes an empty name for "do not verify".
    let name = match (&authority.host, tls) {
        (_, false) => String::new(),
        (Host::Name(name), true) => name.to_string(),
        (Host::Ip(address), true) => address.to_string(),
    };
    let verification = match tls {
        true => Some(verification::choose(app, exchange.verification, &name)?),
        false => None,
    };
    let mut peer = Box::new(HttpPeer::new(first, tls, name));
    peer.group_key = group(FORWARD_GROUP, exchange, &slot);
    // It is judged once it is connected, before anything is sent.
    peer.options.verify_cert = verification != Some(Verification::Named);
    peer.options.custom_l4 = Some(Arc::new(Race {
        app: Arc::clone(app),
        candidates: candidates.clone(),
    }));
    set_timeouts(&mut peer, app, exchange);
    exchange.verification = verification;
    exchange.slot = Some(slot);
    Ok(peer)
}

/// The place that the request has waited for already, else the next one.
async fn slot(
    app: &App,
    exchange: &mut Exchange,
    session: &mut Session,
) -> Result<Slot, RequestError> {
    let slot = match exchange.place.take() {
        Some(place) => place?,
        None => match place(app, exchange)? {
            Place::Free(slot) => slot,
            taken => {
                let place = taken.wait(app, exchange.thread);
                unless_gone(exchange, session, place).await??
            }
        },
    };
    // When the process stops, one request that is cut makes room for the next.
    if exchange.is_cut() {
        return Err(Kind::Draining.into());
    }
    Ok(slot)
}

/// Where a request goes: at once, or when a place comes free there.
enum Place<'a> {
    Free(Slot),
    AtUpstream(Queue<'a>),
    AtOrigin(SocketAddr),
}

impl Place<'_> {
    async fn wait(self, app: &App, thread: u16) -> Result<Slot, RequestError> {
        match self {
            Self::Free(slot) => Ok(slot),
            Self::AtUpstream(queue) => queue.wait(&app.telemetry).await,
            Self::AtOrigin(address) => app.place(address, thread).await,
        }
    }
}

/// A place for the request: at the next local upstream that is up, or at the first
/// address of its target.
fn place<'a>(app: &'a App, exchange: &Exchange) -> Result<Place<'a>, RequestError> {
    if exchange.role == Role::Gateway {
        let pool = app.pool.as_ref().ok_or(Kind::Internal)?;
        return Ok(match pool.next(&exchange.failed, exchange.thread)? {
            Turn::Now(slot) => Place::Free(slot),
            Turn::Later(queue) => Place::AtUpstream(queue),
        });
    }
    let first = exchange.candidates.as_ref().ok_or(Kind::Internal)?.first();
    Ok(match app.origins.of(first).try_take(exchange.thread) {
        Some(slot) => Place::Free(slot),
        None => Place::AtOrigin(first),
    })
}

/// Admits a request and waits for its place before Pingora gets it, as far as that
/// can be: Pingora's hooks then find both decided. For a crowd alone, since one that
/// does not have to wait is with Pingora sooner.
pub async fn wait_outside(
    app: &App,
    client: &mut ClientStream,
    head: &RequestHead,
    exchange: &mut Exchange,
) {
    // A body would have to be kept somewhere meanwhile.
    let has_body = !matches!(head.framing, Framing::None | Framing::Length(0));
    if has_body || (exchange.role == Role::Gateway && app.pool.is_none()) {
        return;
    }
    let admitted = app.admit(exchange, &head.method).await;
    if admitted.is_ok() {
        exchange.place = tokio::select! {
            biased;
            place = async { place(app, exchange)?.wait(app, exchange.thread).await } => Some(place),
            () = client.broken() => Some(Err(Kind::ClientGone.into())),
            // For Pingora's end of it to notice as well.
            () = app.lifecycle.when_cut() => None,
        };
    }
    exchange.verdict = Some(admitted);
}

/// Waits for a place, unless the client breaks its connection meanwhile: then it gives
/// up its turn. One that has only ended its side still wants its answer.
async fn unless_gone<T>(
    exchange: &Exchange,
    session: &mut Session,
    place: impl Future<Output = T>,
) -> Result<T, RequestError> {
    let has_body = !matches!(exchange.framing, Framing::None | Framing::Length(0));
    tokio::select! {
        biased;
        place = place => Ok(place),
        _ = session.as_downstream_mut().read_body_or_idle(true), if !has_body => {
            Err(Kind::ClientGone.into())
        }
    }
}

/// Which pooled connections a request may use. Schemes such as NTLM authenticate a
/// connection: a client that uses one has its upstream connections to itself. Else it is
/// those of the share that its slot is of, which is its thread's where that can be: of
/// another's, that one is told when there is something to read, and has to wake this one.
fn group(role: u64, exchange: &Exchange, slot: &Slot) -> u64 {
    if exchange.bound_upstream {
        exchange.connection.wrapping_shl(8) | OWN_GROUP | role
    } else {
        u64::from(slot.share).wrapping_shl(8) | role
    }
}

/// Whether the client's connection keeps the time that the upstream may be silent. Only
/// where nothing is read from the client but whether it is still there: with a body on its
/// way Pingora may wait for the upstream and not look at the client.
pub(super) fn is_timed_by_lease(exchange: &Exchange) -> bool {
    !exchange.upgrade && exchange.framing == Framing::None
}

fn set_timeouts(peer: &mut HttpPeer, app: &App, exchange: &Exchange) {
    let timeouts = &app.timeouts;
    // The dial has a bound of its own; this one covers the TLS handshake, too.
    peer.options.total_connection_timeout = Some(timeouts.connect + timeouts.tls_handshake);
    peer.options.read_timeout = if exchange.upgrade {
        Some(timeouts.tunnel_idle)
    } else if is_timed_by_lease(exchange) {
        None
    } else {
        Some(timeouts.response)
    };
    peer.options.write_timeout = Some(timeouts.send);
    peer.options.idle_timeout = Some(timeouts.upstream_keep_alive);
}

/// Connects Pingora by our own dial, so that every admitted address is tried and
/// no other.
struct Race {
    app: Arc<App>,
    candidates: Candidates,
}

impl fmt::Debug for Race {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Race").field(&self.candidates).finish()
    }
}

#[async_trait]
impl Connect for Race {
    async fn connect(&self, _: &PingoraAddr) -> pingora_core::Result<Stream> {
        match self.app.dialer.connect(&self.candidates).await {
            Ok(dialed) => Ok(Stream::from(dialed.stream)),
            Err(error) => Err(failure::into_pingora(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::exchange::Source;
    use crate::request::request_id::RequestId;
    use crate::upstream::limit::{Bound, Slots};

    #[test]
    fn pooled_connections_are_of_a_role_and_a_share_or_of_one_client() {
        let bound = Bound {
            slots: 2,
            threads: 2,
            keep_alive: std::time::Duration::ZERO,
        };
        let slots = Slots::new(([127, 0, 0, 1], 80).into(), bound);
        let slots = [slots.try_take(0).unwrap(), slots.try_take(1).unwrap()];
        let key = |role, connection, share: usize, bound_upstream| {
            let source = Source {
                client: ([127, 0, 0, 1], 9).into(),
                connection,
                tls: false,
                thread: 0,
            };
            let mut exchange = Exchange::unread(RequestId::new(1), source);
            exchange.bound_upstream = bound_upstream;
            group(role, &exchange, &slots[share])
        };
        let keys = [
            key(GATEWAY_GROUP, 0, 0, false),
            key(FORWARD_GROUP, 0, 0, false),
            key(FORWARD_GROUP, 0, 1, false),
            key(FORWARD_GROUP, 0, 1, true),
            key(FORWARD_GROUP, 1, 1, true),
            key(GATEWAY_GROUP, 1, 1, true),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(
                !keys.iter().skip(at + 1).any(|other| other == key),
                "{keys:?}"
            );
        }
        // Clients of one share share.
        assert_eq!(
            key(FORWARD_GROUP, 7, 1, false),
            key(FORWARD_GROUP, 8, 1, false)
        );
        // To one's own, the share is nothing.
        assert_eq!(
            key(FORWARD_GROUP, 7, 0, true),
            key(FORWARD_GROUP, 7, 1, true)
        );
    }
}
