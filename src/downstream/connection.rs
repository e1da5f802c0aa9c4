//! One HTTP/1 connection: its requests, one after the other. Its first bytes may make it one of HTTP/2, whatever was
//! agreed on in the TLS handshake.
//!
//! A head is read and checked here, and its request served by `request`. The
//! connection always comes back, and whether it goes on is decided here and there alone.

use std::future::{Future, poll_fn};
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::Acceptor;
use super::http2;
use super::protocol::{Door, Protocol};
use super::socks5;
use crate::client::ClientStream;
use crate::config::Socks5;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::http1::{HeadError, HeadScanner, RefusedHead, RequestHead, Scanned};
use crate::request::app::App;
use crate::request::dispatch::Requests;
use crate::request::facts::{Arrival, Source};
use crate::request::lifecycle::Subscription;
use crate::socks5::VERSION;

/// Serves requests until the connection ends.
///
/// Not async: what it is given would be part of the connection's future beside what is made of it.
pub(super) fn serve(
    acceptor: &Arc<Acceptor>,
    mut stream: Box<ClientStream>,
    source: Source,
    protocols: Protocols,
) -> impl Future<Output = ()> + Send {
    let app = &acceptor.app;
    let mut idle = IdleConnection::new(app, protocols);
    let mut requests = Requests::new(&acceptor.ways, source);
    async move {
        let outcome = loop {
            let read = idle.read_head(app, &mut stream).await;
            let (head, arrival) = match read.and_then(|read| parse(app, read)) {
                Ok(parsed) => parsed,
                Err(outcome) => break outcome,
            };
            idle.is_first = false;
            stream = match requests.serve(stream, head, arrival).await {
                Some(stream) => stream,
                None => return,
            };
        };
        match outcome {
            HeadOutcome::Gone => {}
            HeadOutcome::Refused(error, head) => {
                let door = idle.door();
                let refused = refuse(acceptor, requests, stream, error, head, door);
                Box::pin(refused).await;
            }
            HeadOutcome::Socks5 => {
                let shaken = socks5::shake_hands(acceptor, &mut idle, &mut requests, stream);
                // Its box is gone before the tunnel opens.
                let tunnel = Box::pin(shaken).await;
                if let Some(tunnel) = tunnel {
                    tunnel.await;
                }
            }
            HeadOutcome::Http2 => {
                Box::pin(http2::serve(acceptor, stream, requests.source())).await;
            }
        }
    }
}

/// Reads one head on a connection that began with the wrong protocol for its `door`, and refuses it by name. The
/// client has the time for a head that any has.
pub(super) async fn refuse_at(
    acceptor: &Arc<Acceptor>,
    mut stream: Box<ClientStream>,
    source: Source,
    door: Door,
) {
    let app = &acceptor.app;
    let requests = Requests::new(&acceptor.ways, source);
    let mut idle = IdleConnection::new(app, Protocols::default());
    let head = match idle.read_head(app, &mut stream).await {
        Ok(read) => read.bytes,
        Err(HeadOutcome::Gone | HeadOutcome::Http2 | HeadOutcome::Socks5) => return,
        Err(HeadOutcome::Refused(_, _)) => stream.take(stream.inbox().len()),
    };
    let protocol = Protocol::guess_at(door, &head);
    Box::pin(refuse_protocol(
        acceptor, requests, stream, protocol, door, &head,
    ))
    .await;
}

/// Refuses a head: by its mistake in HTTP, or by the protocol that it is of.
///
/// `head` is the head where it was whole; else it is what has come so far. `door` is what the connection could begin with,
/// if this is its begin.
async fn refuse(
    acceptor: &Arc<Acceptor>,
    mut requests: Requests<'_>,
    mut stream: Box<ClientStream>,
    error: RequestError,
    head: BytesMut,
    door: Option<Door>,
) {
    if !head.is_empty() {
        return requests
            .refuse(stream, &error, &RefusedHead::read(&head))
            .await;
    }
    let seen = stream.take(stream.inbox().len());
    // What follows a request is of a client that speaks HTTP.
    match (Protocol::guess(&seen), door) {
        (Some(protocol), Some(door)) => {
            refuse_protocol(acceptor, requests, stream, protocol, door, &seen).await;
        }
        _ => {
            requests
                .refuse(stream, &error, &RefusedHead::read(&seen))
                .await
        }
    }
}

pub(super) async fn refuse_protocol(
    acceptor: &Arc<Acceptor>,
    mut requests: Requests<'_>,
    stream: Box<ClientStream>,
    protocol: Protocol,
    door: Door,
    seen: &[u8],
) {
    acceptor.tell_of_protocol(&stream, protocol, door);
    let error = RequestError::new(protocol.kind(door)).because(protocol.name());
    match protocol.answer_at(door) {
        Some(answer) => requests.refuse_without_http(stream, &error, answer).await,
        None => {
            // Other protocols have their passwords in their first lines.
            let head = match protocol {
                Protocol::Http => RefusedHead::read(seen),
                _ => RefusedHead::default(),
            };
            requests.refuse(stream, &error, &head).await;
        }
    }
}

/// See [`IdleConnection::grace`].
const DRAIN_GRACE: Duration = Duration::from_secs(2);

/// What a connection that is HTTP/2 from its first byte begins with (RFC 9113 §3.4),
/// and no request can. The HTTP/2 decoder checks the rest of the preface.
const PREFACE_LINE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// Why there is no request to serve.
enum HeadOutcome {
    /// The client closed the connection, or was idle for too long. It gets no answer.
    Gone,
    /// The client is told why. With the head where it was whole.
    Refused(RequestError, BytesMut),
    /// The client speaks HTTP/2, and has done so from the first byte.
    Http2,
    /// The client speaks SOCKS5, or the listener nothing else.
    Socks5,
}

impl From<HeadError> for HeadOutcome {
    fn from(error: HeadError) -> Self {
        Self::Refused(error.into(), BytesMut::new())
    }
}

impl From<ErrorKind> for HeadOutcome {
    fn from(kind: ErrorKind) -> Self {
        Self::Refused(kind.into(), BytesMut::new())
    }
}

/// A complete head.
struct ReadHead {
    bytes: BytesMut,
    scanned: Scanned,
    arrival: Arrival,
}

fn parse(app: &App, read: ReadHead) -> Result<(RequestHead, Arrival), HeadOutcome> {
    let ReadHead {
        mut bytes,
        scanned,
        arrival,
    } = read;
    match RequestHead::of(&mut bytes, scanned, &app.head_limits) {
        Ok(head) => Ok((head, arrival)),
        Err(error) => Err(HeadOutcome::Refused(error.into(), bytes)),
    }
}

/// What clients of a listener may speak beside HTTP/1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Protocols {
    pub(super) http2: bool,
    pub(super) socks5: Socks5,
}

/// What a connection has while it waits for a request, besides its clock. Made once: to
/// subscribe to the end of the process for each request would cost more than reading it.
pub(super) struct IdleConnection {
    draining: Subscription,
    protocols: Protocols,
    /// When an idle connection is closed because the process drains.
    given_up_at: Option<Instant>,
    is_first: bool,
}

impl Protocols {
    /// What begins with these bytes, if it is not HTTP/1.
    fn begun_by(self, bytes: &[u8]) -> Option<HeadOutcome> {
        let is_socks5 = match self.socks5 {
            Socks5::Never => false,
            Socks5::Also => bytes.first() == Some(&VERSION),
            Socks5::Only => true,
        };
        if is_socks5 {
            return Some(HeadOutcome::Socks5);
        }
        (self.http2 && bytes.starts_with(PREFACE_LINE)).then_some(HeadOutcome::Http2)
    }
}

impl IdleConnection {
    fn new(app: &App, protocols: Protocols) -> Self {
        Self {
            draining: Subscription::new(app.lifecycle.drain_begun()),
            protocols,
            given_up_at: None,
            is_first: true,
        }
    }

    /// Reads one head. Its first byte may take the keep-alive time, on a new
    /// connection only that for a head; from then on all of it has to arrive within
    /// the time for a head.
    async fn read_head(
        &mut self,
        app: &App,
        stream: &mut ClientStream,
    ) -> Result<ReadHead, HeadOutcome> {
        let idle_limit = if self.is_first {
            app.timeouts.request_head
        } else {
            app.timeouts.keep_alive
        };
        let mut scanner = HeadScanner::default();
        let mut deadline = Instant::now() + idle_limit;
        let mut arrival: Option<Arrival> = None;
        loop {
            if self.is_first
                && let Some(other) = self.protocols.begun_by(stream.inbox())
            {
                return Err(other);
            }
            if !stream.inbox().is_empty() {
                let now = std::time::Instant::now();
                let arrival = arrival.get_or_insert_with(|| {
                    deadline = Instant::from_std(now) + app.timeouts.request_head;
                    Arrival::at(now)
                });
                arrival.completed = now;
                if let Some(scanned) = scanner.scan(stream.inbox(), &app.head_limits)? {
                    return Ok(ReadHead {
                        bytes: stream.take(scanned.len),
                        scanned,
                        arrival: *arrival,
                    });
                }
            }
            if stream.ended() {
                // A client of another protocol may have sent all that it sends, and read on.
                if self.is_first && Protocol::guess(stream.inbox()).is_some() {
                    return Err(ErrorKind::BadRequest.into());
                }
                return Err(HeadOutcome::Gone);
            }
            let begun = arrival.is_some();
            match self.wait(app, stream, deadline, begun).await {
                Event::Filled(Ok(_)) => {}
                Event::Filled(Err(_)) | Event::Draining => return Err(HeadOutcome::Gone),
                Event::Late if begun => return Err(ErrorKind::HeadTimeout.into()),
                Event::Late => return Err(HeadOutcome::Gone),
            }
        }
    }

    pub(super) async fn wait(
        &mut self,
        app: &App,
        stream: &mut ClientStream,
        mut deadline: Instant,
        begun: bool,
    ) -> Event {
        poll_fn(|cx| {
            if let Poll::Ready(filled) = stream.poll_fill(cx) {
                return Poll::Ready(Event::Filled(filled));
            }
            // A request that has begun is served; an idle connection is not kept.
            self.draining.register(cx);
            if !begun && app.lifecycle.is_draining() {
                let now = Instant::now();
                let given_up_at = *self.given_up_at.get_or_insert(now + self.grace(app));
                if now >= given_up_at {
                    return Poll::Ready(Event::Draining);
                }
                deadline = deadline.min(given_up_at);
            }
            stream.release_buffers();
            stream.poll_deadline(cx, deadline).map(|()| Event::Late)
        })
        .await
    }

    /// What the connection may begin with; none once it has had a request.
    fn door(&self) -> Option<Door> {
        self.is_first.then_some(match self.protocols.socks5 {
            Socks5::Never => Door::Plain,
            Socks5::Also | Socks5::Only => Door::HttpOrSocks5,
        })
    }

    /// How long a draining process waits for a request that may be on its way: always on a
    /// new connection, and on any connection when another process takes over, so that the
    /// hand-over loses no request.
    fn grace(&self, app: &App) -> Duration {
        if self.is_first || app.lifecycle.has_successor() {
            DRAIN_GRACE
        } else {
            Duration::ZERO
        }
    }
}

pub(super) enum Event {
    Filled(io::Result<usize>),
    Draining,
    Late,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, D, F: Future>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_that_waits_is_small() {
        let size = size(|acceptor: &Arc<Acceptor>, stream, source, protocols| {
            serve(acceptor, stream, source, protocols)
        });
        assert!(size < 704, "{size} bytes for each connection");
    }
}
