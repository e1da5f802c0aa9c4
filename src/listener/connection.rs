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
use std::time::Duration;

use bytes::BytesMut;
use http::Method;
use pingora_core::apps::{HttpServerApp, ReusedHttpStream};
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
use crate::forward::{Forward, wait_outside};
use crate::http1::{HeadError, HeadScanner, RequestHead};
use crate::target::TargetError;
use crate::telemetry::Role;
use crate::upgrade;

/// Serves requests until the connection ends.
pub(super) async fn serve(
    app: &Arc<App>,
    proxy: &Arc<HttpProxy<Forward>>,
    mut stream: Box<ClientStream>,
    source: Source,
) {
    let draining = app.lifecycle.watch();
    let mut waiting = Waiting::new(app);
    let lease = Arc::new(Lease::default());
    let mut client_address = String::new();
    let mut bound = false;
    loop {
        let read = waiting.read_head(app, &mut stream).await;
        let mut head = match read.and_then(|bytes| parse(app, bytes)) {
            Ok(head) => head,
            Err(NoHead::Gone) => return,
            Err(NoHead::Refused(error)) => {
                let exchange = Box::new(Exchange::unread(app.ids.next(), source));
                Box::pin(refuse(app, stream, exchange, &error)).await;
                return;
            }
        };
        waiting.is_first = false;
        let mut exchange = Box::new(Exchange::new(app.ids.next(), source, &mut head));
        exchange.seen = head.has_via && app.pseudonym.is_in_fields(head.fields());
        // For good: the handshake of such a scheme takes several requests.
        bound |= head.authenticates_connection;
        exchange.bound_upstream = bound;
        announce(app, &mut head, &exchange, &mut client_address);
        let served = if head.method == Method::CONNECT {
            // Boxed, as the next: a connection that waits holds no room for a tunnel.
            Box::pin(connect::serve(app, stream, &head, exchange)).await
        } else if upgrade::is_for(app, &head, &exchange) {
            Box::pin(upgrade::serve(app, stream, &head, exchange)).await
        } else {
            if app.crowd.is_large() {
                Box::pin(wait_outside(app, &mut stream, &head, &mut exchange)).await;
            }
            let _inside = app.crowd.enter();
            let cut = &mut waiting.cut;
            let keep_alive = head.keep_alive;
            let served = lend(proxy, &lease, stream, head, exchange, &draining);
            take_back(app, &lease, served, keep_alive, cut).await
        };
        stream = match served {
            Some(stream) => stream,
            None => return,
        };
    }
}

/// Adds what the next hop is told: that the message came through here (RFC 9110
/// §7.6.3), and a local server, which sees only this proxy's address, who the client
/// is. Here and not by Pingora's hooks: a line more for its parser costs less than
/// two maps that have to grow.
///
/// `client_address` is filled in at the first need, and so written once a connection.
fn announce(app: &App, head: &mut RequestHead, exchange: &Exchange, client_address: &mut String) {
    if exchange.role == Role::Tunnel {
        return;
    }
    let via = app.pseudonym.via(head.version.into());
    head.push_field("Via", via.as_bytes());
    if exchange.role == Role::Gateway {
        if client_address.is_empty() {
            *client_address = exchange.client.ip().to_string();
        }
        head.push_field("X-Forwarded-For", client_address.as_bytes());
        head.push_field("X-Forwarded-Proto", exchange.scheme.as_str().as_bytes());
    }
}

/// See [`Waiting::grace`].
const DRAIN_GRACE: Duration = Duration::from_secs(2);

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
    draining: Registered,
    cut: Registered,
    /// When an idle connection is closed because the process drains.
    given_up_at: Option<Instant>,
    is_first: bool,
}

/// A future that is polled once to be woken by it, and then only asked.
struct Registered {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    polled: bool,
}

impl Registered {
    fn register(&mut self, cx: &mut std::task::Context<'_>) {
        if !self.polled {
            self.polled = self.future.as_mut().poll(cx).is_pending();
        }
    }
}

impl Waiting {
    fn new(app: &App) -> Self {
        let mut draining = app.lifecycle.watch();
        Self {
            clock: Clock::new(Instant::now() + app.timeouts.request_head),
            draining: Registered {
                future: Box::pin(async move {
                    // The sender lives as long as the process.
                    let _ = draining.wait_for(|draining| *draining).await;
                }),
                polled: false,
            },
            cut: Registered {
                future: Box::pin(app.lifecycle.when_cut()),
                polled: false,
            },
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
    ) -> Result<BytesMut, NoHead> {
        let idle_limit = if self.is_first {
            app.timeouts.request_head
        } else {
            app.timeouts.keep_alive
        };
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
            match self.wait(app, stream, deadline, begun).await {
                Wake::Filled(Ok(_)) => {}
                Wake::Filled(Err(_)) | Wake::Draining => return Err(NoHead::Gone),
                Wake::Late if begun => return Err(Kind::HeadTimeout.into()),
                Wake::Late => return Err(NoHead::Gone),
            }
        }
    }

    async fn wait(
        &mut self,
        app: &App,
        stream: &mut ClientStream,
        mut deadline: Instant,
        begun: bool,
    ) -> Wake {
        poll_fn(|cx| {
            if let Poll::Ready(filled) = stream.poll_fill(cx) {
                return Poll::Ready(Wake::Filled(filled));
            }
            // A request that has begun is served; an idle connection is not kept.
            self.draining.register(cx);
            if !begun && app.lifecycle.is_draining() {
                let now = Instant::now();
                let given_up_at = *self.given_up_at.get_or_insert(now + self.grace(app));
                if now >= given_up_at {
                    return Poll::Ready(Wake::Draining);
                }
                deadline = deadline.min(given_up_at);
            }
            stream.release_buffers();
            self.clock.poll(cx, deadline).map(|()| Wake::Late)
        })
        .await
    }

    /// How long a draining process waits for a request that may be on its way: on a
    /// new connection certainly, and on any when another process takes over, since
    /// then nobody is to notice.
    fn grace(&self, app: &App) -> Duration {
        if self.is_first || app.lifecycle.has_successor() {
            DRAIN_GRACE
        } else {
            Duration::ZERO
        }
    }
}

enum Wake {
    Filled(io::Result<usize>),
    Draining,
    Late,
}

/// Pingora at work on a request.
type Served<'a> = Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 'a>>;

/// Has Pingora serve one request. Not async itself: a future would have room for
/// all of this as long as the connection lives.
fn lend<'a>(
    proxy: &'a Arc<HttpProxy<Forward>>,
    lease: &Arc<Lease>,
    stream: Box<ClientStream>,
    head: RequestHead,
    mut exchange: Box<Exchange>,
    draining: &'a ShutdownWatch,
) -> Served<'a> {
    exchange.lease = Some(Arc::clone(lease));
    let mut session = ServerSession::new_http1(Box::new(lease.lend(stream, head.framing)));
    session.set_pipelined_prefix(head.canonical);
    session.set_connection_user_context(Some(exchange));
    proxy.process_new_http(session, draining)
}

/// Waits for the end of a request. Gives the connection back when it can go on.
async fn take_back(
    app: &App,
    lease: &Lease,
    mut served: Served<'_>,
    keep_alive: bool,
    cut: &mut Registered,
) -> Option<Box<ClientStream>> {
    let mut aborted = false;
    let reused = poll_fn(|cx| {
        cut.register(cx);
        if !aborted && app.lifecycle.is_cut() {
            // Ends with an error, and so with a record.
            lease.abort();
            aborted = true;
        }
        served.as_mut().poll(cx)
    })
    .await;
    drop(served);
    let reusable = reused.is_some();
    // Pingora's end of the loan.
    drop(reused);
    let stream = lease.reclaim()?;
    if aborted {
        // There is no time to linger, and its answer is broken anyway.
        return None;
    }
    let goes_on = (reusable || lease.is_kept())
        && keep_alive
        && stream.body_is_done()
        && !stream.ended()
        && !lease.is_upgraded();
    if goes_on {
        return Some(stream);
    }
    Box::pin(stream.linger_briefly()).await;
    None
}

/// Answers what cannot be a request, and closes: where the next one would begin
/// is not known.
async fn refuse(
    app: &App,
    stream: Box<ClientStream>,
    mut exchange: Box<Exchange>,
    error: &RequestError,
) {
    let reply = app.refuse(&mut exchange, error, None);
    let mut record = exchange.record();
    record.status = Some(reply.status().as_u16());
    record.bytes_to_client = reply.body_len();
    app.telemetry.record(&record);
    app.answer(stream, &reply, true).await;
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
#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, D, F: Future>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connection_that_waits_is_small() {
        let size = size(
            |app: &Arc<App>, proxy: &Arc<HttpProxy<Forward>>, stream, source| {
                serve(app, proxy, stream, source)
            },
        );
        assert!(size < 1024, "{size} bytes for each connection");
    }
}
