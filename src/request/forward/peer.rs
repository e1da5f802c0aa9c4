//! The peer that Pingora connects to for one request.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::SocketDigest;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use rustls::pki_types::ServerName;
use tokio_util::either::Either;

use super::context::Forwarded;
use super::failure;
use super::http2;
use super::through::{self, ByTunnel, ToParent};
use super::verification::Verification;
use crate::config::{Http2, ParentScheme};
use crate::http::error::{ErrorKind, RequestError};
use crate::http::http1::Framing;
use crate::http::target::Scheme;
use crate::request::app::App;
use crate::request::facts::Request;
use crate::request::route::Route;
use crate::request::route::parent::ParentRoute;
use crate::upstream::dial::Candidates;
use crate::upstream::limit::Permit;
use crate::upstream::proxy_protocol::Ends;
use crate::upstream::server::{Address, Server};
use crate::upstream::tls::server_name;

/// Pooled connections of the two roles are kept apart: an address can be a local
/// upstream and a target as well.
const GATEWAY_GROUP: u64 = 1;
const FORWARD_GROUP: u64 = 2;

/// Marks a client's own group: the number of a connection may be 0.
pub(super) const DEDICATED_GROUP: u64 = 4;

/// The peer at which `permit` was reserved.
pub(super) fn at(
    app: &Arc<App>,
    forwarded: &mut Forwarded,
    permit: Option<Permit>,
) -> Result<Box<HttpPeer>, RequestError> {
    // When the process stops, one request that is aborted makes room for the next.
    if forwarded.connection.is_aborted() {
        return Err(ErrorKind::Draining.into());
    }
    let permit = permit.ok_or(ErrorKind::Internal)?;
    let request = &forwarded.exchange.request;
    let timeouts = &app.timeouts;
    // For a handshake with a parent.
    let mut more_time = Duration::ZERO;
    let (mut peer, role_group) = match &forwarded.route {
        Some(Route::Pool(_)) => {
            let mut peer = of_upstream(app, &permit.server, request.source.ends())?;
            peer.options.connection_timeout = Some(timeouts.connect);
            http2::allow(&mut peer, permit.server.http2(), request, timeouts.send)?;
            verify(app, &mut peer, &mut forwarded.verification);
            (peer, GATEWAY_GROUP)
        }
        Some(Route::Direct(candidates)) => {
            let mut peer = of_target(app, request, candidates)?;
            let http2 = of_origin(app, &peer);
            http2::allow(&mut peer, http2, request, timeouts.send)?;
            verify(app, &mut peer, &mut forwarded.verification);
            (peer, FORWARD_GROUP)
        }
        Some(Route::Parent(route)) => {
            let mut peer = of_parent(app, request, route)?;
            if !route.is_absolute_form(request.scheme) {
                let http2 = of_origin(app, &peer);
                http2::allow(&mut peer, http2, request, timeouts.send)?;
            }
            verify(app, &mut peer, &mut forwarded.verification);
            more_time = route.parent.settings().timeout + timeouts.tls_handshake;
            (peer, FORWARD_GROUP)
        }
        None => return Err(ErrorKind::Internal.into()),
    };
    peer.group_key = match &forwarded.route {
        Some(Route::Parent(route)) => through::group(app, request, route, &permit),
        _ => group(role_group, request, &permit),
    };
    // The dial has a bound of its own; this one covers the TLS handshake, too.
    peer.options.total_connection_timeout =
        Some(timeouts.connect + timeouts.tls_handshake + more_time);
    peer.options.read_timeout = (!is_watched(request))
        .then(|| timeouts.response + forwarded.exchange.outcome.longest_wait());
    peer.options.write_timeout = Some(timeouts.send);
    // A connection that names its client is of no use without it.
    let kept = match permit.server.proxy_header() {
        Some(_) => timeouts.upstream_keep_alive.min(timeouts.keep_alive),
        None => timeouts.upstream_keep_alive,
    };
    peer.options.idle_timeout = Some(kept);
    forwarded.permit = Some(permit);
    Ok(peer)
}

/// An upstream of a pool. The connections to one are kept apart from those to another, by address, TLS and name.
fn of_upstream(
    app: &Arc<App>,
    server: &Server,
    ends: Option<Ends>,
) -> Result<Box<HttpPeer>, RequestError> {
    let mut peer = match (&server.address, server.tls()) {
        (Address::Tcp(address), None) => HttpPeer::new(*address, false, String::new()),
        (Address::Tcp(address), Some(host)) => {
            // Never empty with TLS: Pingora takes an empty name for "do not verify".
            let name = server_name(host)?.to_str().into_owned();
            HttpPeer::new(*address, true, name)
        }
        (Address::Unix(_), _) => of_socket(server),
    };
    if server.proxy_header().is_some() || matches!(server.address, Address::Unix(_)) {
        peer.options.custom_l4 = Some(Arc::new(UpstreamDial {
            app: Arc::clone(app),
            server: server.clone(),
            ends,
        }));
    }
    Ok(Box::new(peer))
}

/// An upstream at a socket of this machine.
fn of_socket(server: &Server) -> HttpPeer {
    // Before Pingora uses an idle connection again it compares the address of the peer with what the kernel says. For a
    // socket that is the path to which the server bound it: relative, before it was renamed, or as the container of the
    // server has it. So the peer stands at 0.0.0.0, which Pingora does not compare, and its name keeps its connections
    // apart. Without TLS the name is nothing else.
    HttpPeer::new(NOWHERE, false, server.to_string())
}

/// In place of the address of a socket.
const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

fn of_target(
    app: &Arc<App>,
    request: &Request,
    candidates: &Candidates,
) -> Result<Box<HttpPeer>, RequestError> {
    let authority = request.authority.as_ref().ok_or(ErrorKind::Internal)?;
    let is_https = request.scheme == Scheme::Https;
    // Never empty with TLS: Pingora takes an empty name for "do not verify".
    let mut name = String::new();
    if is_https {
        name = server_name(&authority.host)?.to_str().into_owned();
    }
    // Pingora pools by this address. When another one wins the race, its connection
    // is pooled under the wrong one and thrown away on the next use, when Pingora
    // compares the peer's address; the winner goes first from then on.
    let mut peer = Box::new(HttpPeer::new(candidates.first(), is_https, name));
    peer.options.custom_l4 = Some(Arc::new(Race {
        app: Arc::clone(app),
        candidates: candidates.clone(),
    }));
    Ok(peer)
}

/// A parent, for requests in absolute-form, or the target through a tunnel of it. Both stand at 0.0.0.0, which Pingora
/// does not compare with the address of a connection: that is the parent's.
fn of_parent(
    app: &Arc<App>,
    request: &Request,
    route: &ParentRoute,
) -> Result<Box<HttpPeer>, RequestError> {
    let member = route.member().ok_or(ErrorKind::Internal)?;
    let is_absolute = route.is_absolute_form(request.scheme);
    // Never empty with TLS: Pingora takes an empty name for "do not verify".
    let server = if is_absolute {
        let url = member.url();
        (url.scheme == ParentScheme::Https).then_some(&url.authority.host)
    } else {
        let authority = request.authority.as_ref().ok_or(ErrorKind::Internal)?;
        (request.scheme == Scheme::Https).then_some(&authority.host)
    };
    let name = server.map(server_name).transpose()?;
    let name = name.map(|name| name.to_str().into_owned());
    let mut peer = Box::new(HttpPeer::new(
        NOWHERE,
        name.is_some(),
        name.unwrap_or_default(),
    ));
    let (parent, number) = (Arc::clone(&route.parent), route.number);
    peer.options.custom_l4 = Some(if is_absolute {
        Arc::new(ToParent { parent, number })
    } else {
        Arc::new(ByTunnel {
            parent,
            number,
            tunnel: route.tunnel.clone(),
            app: Arc::clone(app),
        })
    });
    Ok(peer)
}

/// Whether an origin is spoken to in HTTP/2.
fn of_origin(app: &App, peer: &HttpPeer) -> Http2 {
    match app.origin_http2 && peer.is_tls() {
        true => Http2::Auto,
        false => Http2::Off,
    }
}

/// Has the certificate of a server with TLS verified. One that `ca_file` names is evaluated once it is connected,
/// before anything is sent.
fn verify(app: &App, peer: &mut HttpPeer, verification: &mut Option<Verification>) {
    if peer.is_tls()
        && let Ok(name) = ServerName::try_from(peer.sni.as_str())
    {
        verification.get_or_insert_with(|| Verification::first(app, &name));
    }
    peer.options.verify_cert = *verification != Some(Verification::Named);
}

/// Where a request of the pool or to `peer` has gone, by a connection that is made now where its `socket` is given.
///
/// The socket is asked: Pingora's own digest repeats the address of the peer, which is the first that was tried, not the
/// one that was reached.
pub(super) fn connected_to(
    server: Option<&Server>,
    peer: &HttpPeer,
    socket: Option<RawFd>,
) -> Option<Address> {
    if let Some(Server {
        address: address @ Address::Unix(_),
        ..
    }) = server
    {
        return Some(address.clone());
    }
    if let Some(socket) = socket.map(SocketDigest::from_raw_fd)
        && let Some(address) = socket.peer_addr().and_then(|address| address.as_inet())
    {
        return Some(Address::Tcp(*address));
    }
    peer.address().as_inet().copied().map(Address::Tcp)
}

/// Which pooled connections a request may use. Schemes such as NTLM authenticate a connection, and a PROXY header names
/// the client of one: then a client's connection has its upstream connections to itself. A later connection of the same
/// client, even from the same port, is another one. Else it is those of its permit's shard, which is that of its
/// thread where possible: the events of another thread's connection arrive there, and it has to wake this one.
fn group(role: u64, request: &Request, permit: &Permit) -> u64 {
    if request.has_dedicated_upstream || permit.server.proxy_header().is_some() {
        request.source.connection.wrapping_shl(8) | DEDICATED_GROUP | role
    } else {
        u64::from(permit.shard).wrapping_shl(8) | role
    }
}

/// Whether the client's connection keeps the time that the upstream may be silent. Only
/// where nothing is read from the client but whether it is still there: with a body on its
/// way Pingora may wait for the upstream and not look at the client.
pub(super) fn is_watched(request: &Request) -> bool {
    request.framing == Framing::None
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

/// Connects Pingora to an upstream by our own dial: to a socket of this machine, or to what a PROXY header comes first
/// for.
struct UpstreamDial {
    app: Arc<App>,
    server: Server,
    ends: Option<Ends>,
}

impl fmt::Debug for UpstreamDial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UpstreamDial").field(&self.server).finish()
    }
}

#[async_trait]
impl Connect for UpstreamDial {
    async fn connect(&self, _: &PingoraAddr) -> pingora_core::Result<Stream> {
        let limit = self.app.timeouts.connect;
        match self.app.pools.open(&self.server, self.ends, limit).await {
            Ok(Either::Left(stream)) => Ok(Stream::from(stream)),
            Ok(Either::Right(stream)) => Ok(Stream::from(stream)),
            Err(error) => Err(failure::into_pingora(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::client::Client;
    use crate::config::ProxyHeader;
    use crate::request::facts::{Arrival, Source};
    use crate::request::request_id::RequestId;
    use crate::upstream::limit::{Capacity, Limit};
    use crate::upstream::server::Manner;

    #[test]
    fn pooled_connections_are_of_a_role_and_a_share_or_of_one_client() {
        let capacity = Capacity {
            permits: 2,
            threads: 2,
            keep_alive: std::time::Duration::ZERO,
        };
        let limit = Limit::new(std::net::SocketAddr::from(([127, 0, 0, 1], 80)), capacity);
        let client = Client::site([127, 0, 0, 1].into());
        let permits = [0, 1].map(|thread| limit.try_take(thread, client).unwrap());
        let key_of = |permit, role, connection, is_dedicated| {
            let source = Source {
                client: ([127, 0, 0, 1], 9).into(),
                listener: None,
                connection,
                tls: false,
                thread: 0,
                certificate: None,
            };
            let mut request = Request::unread(RequestId::new(1), source, Arrival::now());
            request.has_dedicated_upstream = is_dedicated;
            group(role, &request, permit)
        };
        let key = |role, connection, shard: usize, is_dedicated| {
            key_of(&permits[shard], role, connection, is_dedicated)
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
        // A header names the client: each of its connections has its own.
        let named = Server {
            manner: Manner::of(None, Some(ProxyHeader::V1), Http2::Off),
            ..std::net::SocketAddr::from(([127, 0, 0, 1], 80)).into()
        };
        let named = Limit::new(named, capacity).try_take(0, client).unwrap();
        let named = |connection| key_of(&named, GATEWAY_GROUP, connection, false);
        assert_ne!(named(7), named(8));
        assert_ne!(named(0), key(GATEWAY_GROUP, 0, 0, false));
        // To one's own, the share is nothing.
        assert_eq!(
            key(FORWARD_GROUP, 7, 0, true),
            key(FORWARD_GROUP, 7, 1, true)
        );
    }
}
