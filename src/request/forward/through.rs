//! Connections of Pingora through parents.

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_core::protocols::l4::stream::Stream;
use smallvec::SmallVec;
use tokio::io::{copy, split};
use tokio::net::UnixStream;
use tokio_util::either::Either;

use super::context::Forwarded;
use super::failure;
use crate::config::ParentCredentials;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::target::Scheme;
use crate::request::app::App;
use crate::request::facts::Request;
use crate::request::route::parent::{ParentRoute, forwarding};
use crate::request::tunnel::refuse_early;
use crate::upstream::limit::Permit;
use crate::upstream::parent::{Parent, ParentStream, Target, Tunnel, is_own_answer, of_answer};

/// Which pooled connections a request may use: those to the same URL of the parent, with the same credentials, and to the
/// same target where they are tunnels; of the same shard, or of the same client. The hasher has keys of its own in each
/// process, so that no client can make two of them alike.
pub(super) fn group(app: &App, request: &Request, route: &ParentRoute, permit: &Permit) -> u64 {
    let mut hasher = app.pool_hasher.build_hasher();
    route.parent.name().hash(&mut hasher);
    route.member().map(|member| member.url()).hash(&mut hasher);
    let credentials = route.parent.settings().credentials.as_ref();
    let credentials = credentials.map(|credentials| credentials.basic().as_bytes());
    credentials.hash(&mut hasher);
    if !route.is_absolute_form(request.scheme) {
        request.scheme.as_str().hash(&mut hasher);
        let authority = request.authority.as_ref().map(ToString::to_string);
        authority.hash(&mut hasher);
        if let Target::Addresses(candidates) = &route.tunnel.target {
            // A tunnel may lead to any of these addresses. A request may use it only if the policy admits them all. Their
            // order changes with the address that answered last.
            let mut all: SmallVec<[SocketAddr; 4]> = candidates.iter().collect();
            all.sort_unstable();
            all.hash(&mut hasher);
        }
    }
    match request.has_dedicated_upstream {
        true => (1u8, request.source.connection).hash(&mut hasher),
        false => (0u8, u64::from(permit.shard)).hash(&mut hasher),
    }
    hasher.finish()
}

/// Writes what a parent reads of a request: the target in absolute-form, and who this proxy is. The last to be written,
/// so that no hook sees or changes it.
///
/// # Errors
/// A defect.
pub(super) fn complete(
    forwarded: &Forwarded,
    head: &mut RequestHeader,
) -> Result<(), RequestError> {
    let request = &forwarded.exchange.request;
    let Some(route) = forwarding(forwarded.route.as_ref(), request.role, request.scheme) else {
        return Ok(());
    };
    let authority = request.authority.as_ref().ok_or(ErrorKind::Internal)?;
    let host = authority.host_field(Scheme::Http).to_string();
    // `OPTIONS *` is for the host itself, and has no path in absolute-form (RFC 9112 §3.2.4).
    let path = head.raw_path();
    let path = if path == b"*" { &[][..] } else { path };
    let target = [b"http://", host.as_bytes(), path].concat();
    let defect = |error: Box<pingora_core::Error>| ErrorKind::Internal.because(error.to_string());
    head.set_raw_path(&target).map_err(defect)?;
    let host = HeaderValue::from_str(&host);
    let host = host.map_err(|error| ErrorKind::Internal.because(error))?;
    head.insert_header(HOST, host).map_err(defect)?;
    if let Some(credentials) = &route.parent.settings().credentials {
        let value = ParentCredentials::basic(credentials).clone();
        head.insert_header(PROXY_AUTHORIZATION, value)
            .map_err(defect)?;
    }
    Ok(())
}

/// Refuses what a parent answers itself to a request in absolute-form.
///
/// # Errors
/// It does.
pub(super) fn refuse_own_answer(
    forwarded: &Forwarded,
    response: &ResponseHeader,
) -> Result<(), RequestError> {
    let request = &forwarded.exchange.request;
    let route = forwarding(forwarded.route.as_ref(), request.role, request.scheme);
    match route.and_then(ParentRoute::member) {
        Some(member) if is_own_answer(response.status, &response.headers) => {
            Err(of_answer(member, response.status))
        }
        _ => Ok(()),
    }
}

/// Connects Pingora to a parent.
#[derive(Debug)]
pub(super) struct ToParent {
    pub(super) parent: Arc<Parent>,
    pub(super) number: usize,
}

#[async_trait]
impl Connect for ToParent {
    async fn connect(&self, _: &PingoraAddr) -> pingora_core::Result<Stream> {
        let connected = self.parent.connect_tcp(self.number).await;
        connected.map(Stream::from).map_err(failure::into_pingora)
    }
}

/// Connects Pingora to a target through a tunnel of a parent.
pub(super) struct ByTunnel {
    pub(super) parent: Arc<Parent>,
    pub(super) number: usize,
    pub(super) tunnel: Tunnel,
    pub(super) app: Arc<App>,
}

impl fmt::Debug for ByTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ByTunnel").field(&self.parent).finish()
    }
}

#[async_trait]
impl Connect for ByTunnel {
    async fn connect(&self, _: &PingoraAddr) -> pingora_core::Result<Stream> {
        let opened = self.parent.open(self.number, &self.tunnel).await;
        let opened = opened.and_then(|opened| {
            refuse_early(&opened.early)?;
            with_descriptor(&self.app, opened.stream)
        });
        opened.map_err(failure::into_pingora)
    }
}

/// The stream as Pingora keeps it for the next request: by a descriptor. TLS of our own has none, so a pair of sockets
/// stands before it.
fn with_descriptor(app: &App, stream: ParentStream) -> Result<Stream, RequestError> {
    let tls = match stream {
        Either::Left(stream) => return Ok(Stream::from(stream)),
        Either::Right(tls) => tls,
    };
    let pair = UnixStream::pair();
    let (theirs, ours) = pair.map_err(|error| ErrorKind::OutOfSockets.because(error))?;
    let aborted = app.lifecycle.aborted();
    tokio::spawn(async move {
        let ((mut from_parent, mut to_parent), (mut from_here, mut to_here)) =
            (split(tls), split(ours));
        // Either end is the end of the connection: HTTP/1 does not close one side alone.
        tokio::select! {
            _ = copy(&mut from_parent, &mut to_here) => {}
            _ = copy(&mut from_here, &mut to_parent) => {}
            () = aborted => {}
        }
    });
    Ok(Stream::from(theirs))
}
