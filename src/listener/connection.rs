//! One client connection: its requests, one after the other.
//!
//! A head is read and checked here; CONNECT goes to [`connect`], everything else
//! to Pingora. The connection always comes back here, and whether it goes on is
//! decided here alone.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;
use http::Method;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::time::Instant;

use super::clock::Clock;

use crate::app::App;
use crate::client::{ClientStream, Lease};
use crate::connect;
use crate::error::{Kind, RequestError};
use crate::exchange::{Exchange, Source};
use crate::forward::Forward;
use crate::http1::{HeadError, HeadScanner, RequestHead};
use crate::target::TargetError;
use crate::upgrade;

/// Serves requests until the connection ends.
pub(super) async fn serve(
    app: &Arc<App>,
    proxy: &Arc<HttpProxy<Forward>>,
    mut stream: Box<ClientStream>,
    source: Source,
) {
    let mut draining = app.lifecycle.watch();
    let mut waiting = Waiting::new(app);
    // The first head is due at once; the next may take the keep-alive time to begin.
    let mut idle_limit = app.timeouts.request_head;
    loop {
        let read = waiting.read_head(app, &mut stream, idle_limit).await;
        let head = match read.and_then(|bytes| parse(app, bytes)) {
            Ok(head) => head,
            Err(NoHead::Gone) => return,
            Err(NoHead::Refused(error)) => {
                let exchange = Exchange::unread(app.ids.next(), source);
                refuse(app, stream, exchange, &error).await;
                return;
            }
        };
        idle_limit = app.timeouts.keep_alive;
        let exchange = Exchange::new(app.ids.next(), source, &head);
        let served = if head.method == Method::CONNECT {
            connect::serve(app, stream, &head, exchange).await
        } else if upgrade::is_for(app, &head, &exchange) {
            upgrade::serve(app, stream, &head, exchange).await
        } else {
            hand_to_pingora(proxy, stream, head, exchange, &draining).await
        };
        stream = match served {
            Some(stream) => stream,
            None => return,
        };
        if *draining.borrow_and_update() {
            stream.linger_briefly().await;
            return;
        }
        stream.release_buffers();
    }
}

/// Why there is no request to serve.
enum NoHead {
    /// The client left, or nobody has to be told.
    Gone,
    /// The client is told why.
    Refused(RequestError),
}

impl From<HeadError> for NoHead {
    fn from(error: HeadError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Kind> for NoHead {
    fn from(kind: Kind) -> Self {
        Self::Refused(kind.into())
    }
}

fn parse(app: &App, head: BytesMut) -> Result<RequestHead, NoHead> {
    Ok(RequestHead::parse(head, &app.head_limits)?)
}

/// What a connection waits with between requests. Made once: to set up a timer
/// and a place among those who wait for the end of the process for each request
/// would cost more than reading it.
struct Waiting {
    clock: Clock,
    drained: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Waiting {
    fn new(app: &App) -> Self {
        let mut draining = app.lifecycle.watch();
        Self {
            clock: Clock::new(Instant::now() + app.timeouts.request_head),
            drained: Box::pin(async move {
                // The sender lives as long as the process.
                let _ = draining.wait_for(|draining| *draining).await;
            }),
        }
    }

    /// Reads one head. `idle_limit` is for its first byte, from then on all of it
    /// has to arrive within the time for a head.
    async fn read_head(
        &mut self,
        app: &App,
        stream: &mut ClientStream,
        idle_limit: std::time::Duration,
    ) -> Result<BytesMut, NoHead> {
        let mut scanner = HeadScanner::default();
        let mut deadline = Instant::now() + idle_limit;
        let mut begun = false;
        loop {
            if let Some(len) = scanner.scan(stream.inbox(), &app.head_limits)? {
                return Ok(stream.take(len));
            }
            if stream.ended() {
                return Err(NoHead::Gone);
            }
            if !begun && !stream.inbox().is_empty() {
                begun = true;
                deadline = Instant::now() + app.timeouts.request_head;
            }
            match self.wait(stream, deadline, begun).await {
                Wake::Filled(Ok(_)) => {}
                Wake::Filled(Err(_)) | Wake::Draining => return Err(NoHead::Gone),
                Wake::Late if begun => return Err(Kind::HeadTimeout.into()),
                Wake::Late => return Err(NoHead::Gone),
            }
        }
    }

    async fn wait(&mut self, stream: &mut ClientStream, deadline: Instant, begun: bool) -> Wake {
        poll_fn(|cx| {
            if let Poll::Ready(filled) = stream.poll_fill(cx) {
                return Poll::Ready(Wake::Filled(filled));
            }
            // A request that has begun is served; an idle connection is not kept.
            if !begun && self.is_draining(cx) {
                return Poll::Ready(Wake::Draining);
            }
            self.clock.poll(cx, deadline).map(|()| Wake::Late)
        })
        .await
    }

    fn is_draining(&mut self, cx: &mut std::task::Context<'_>) -> bool {
        self.drained.as_mut().poll(cx).is_ready()
    }
}

enum Wake {
    Filled(io::Result<usize>),
    Draining,
    Late,
}

/// Has Pingora serve one request. Gives the connection back when it can go on.
async fn hand_to_pingora(
    proxy: &Arc<HttpProxy<Forward>>,
    stream: Box<ClientStream>,
    head: RequestHead,
    mut exchange: Exchange,
    draining: &ShutdownWatch,
) -> Option<Box<ClientStream>> {
    let lease = Arc::new(Lease::default());
    exchange.lease = Some(Arc::clone(&lease));
    let RequestHead {
        canonical,
        framing,
        keep_alive,
        ..
    } = head;
    let mut session = ServerSession::new_http1(Box::new(lease.lend(stream, framing)));
    session.set_pipelined_prefix(canonical);
    session.set_connection_user_context(Some(Box::new(exchange)));
    let reusable = proxy.process_new_http(session, draining).await.is_some();

    // Pingora has dropped its side by now, so the connection is back.
    let stream = lease.reclaim()?;
    let goes_on = (reusable || lease.is_kept())
        && keep_alive
        && stream.body_is_done()
        && !stream.ended()
        && !lease.is_upgraded();
    if goes_on {
        return Some(stream);
    }
    stream.linger_briefly().await;
    None
}

/// Answers what cannot be a request, and closes: where the next one would begin
/// is not known.
async fn refuse(
    app: &App,
    mut stream: Box<ClientStream>,
    mut exchange: Exchange,
    error: &RequestError,
) {
    let reply = app.refuse(&mut exchange, error);
    let bytes = reply.to_bytes(true, false);
    let sent = tokio::time::timeout(app.timeouts.send, stream.send(&bytes)).await;
    let mut record = exchange.record();
    record.status = Some(reply.status().as_u16());
    app.telemetry.record(&record);
    if let Ok(Ok(())) = sent {
        stream.linger_briefly().await;
    }
}

impl From<HeadError> for RequestError {
    fn from(error: HeadError) -> Self {
        let kind = match error.status() {
            414 => Kind::TargetTooLong,
            417 => Kind::ExpectationFailed,
            431 => Kind::HeadTooLarge,
            501 if error == HeadError::Target(TargetError::Scheme) => Kind::SchemeUnsupported,
            501 => Kind::MethodUnknown,
            505 => Kind::VersionUnsupported,
            _ => Kind::BadRequest,
        };
        Self::new(kind).because(error)
    }
}
