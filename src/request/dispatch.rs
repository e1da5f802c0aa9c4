//! One request of a connection, from its head to its record.
//!
//! CONNECT goes to [`connect`], a WebSocket to [`upgrade`], everything else to Pingora.
//! The connection always comes back here.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;

use http::Method;
use pingora_core::apps::{HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

use crate::client::{ClientStream, Lease, Transport};
use crate::http::error::{Kind, RequestError};
use crate::http::http1::{HeadError, RefusedHead, RequestHead, Version};
use crate::http::target::TargetError;
use crate::request::app::App;
use crate::request::connect;
use crate::request::exchange::{Exchange, Source};
use crate::request::forward::{Forward, wait_outside};
use crate::request::upgrade;
use crate::telemetry::Role;

/// Serves the requests of one connection, and holds what they share.
pub struct Requests<'a> {
    app: &'a Arc<App>,
    proxy: &'a Arc<HttpProxy<Forward>>,
    source: Source,
    lease: Arc<Lease>,
    draining: ShutdownWatch,
    cut: Registered,
    /// The field lines by which a local server learns of the client. Written once, at
    /// the first need.
    of_the_client: String,
    bound: bool,
}

impl<'a> Requests<'a> {
    /// For one connection.
    pub fn new(app: &'a Arc<App>, proxy: &'a Arc<HttpProxy<Forward>>, source: Source) -> Self {
        Self {
            app,
            proxy,
            source,
            lease: Arc::new(Lease::default()),
            draining: app.lifecycle.watch(),
            cut: Registered::new(app.lifecycle.when_cut()),
            of_the_client: String::new(),
            bound: false,
        }
    }

    /// Where they come from.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Serves one request. Gives the connection back when it can go on.
    pub async fn serve(
        &mut self,
        mut stream: Box<ClientStream>,
        mut head: RequestHead,
    ) -> Option<Box<ClientStream>> {
        let app = self.app;
        let mut exchange = Box::new(Exchange::new(app.ids.next(), self.source, &mut head));
        exchange.seen = head.has_via && app.pseudonym.is_in_fields(head.fields());
        // For good: the handshake of such a scheme takes several requests.
        self.bound |= head.authenticates_connection;
        exchange.bound_upstream = self.bound;
        announce(app, &mut head, &exchange, &mut self.of_the_client);
        if head.method == Method::CONNECT {
            // Boxed, as the next: a connection that waits holds no room for a tunnel.
            return Box::pin(connect::serve(app, stream, &head, exchange)).await;
        }
        if upgrade::is_for(app, &head, &exchange) {
            return Box::pin(upgrade::serve(app, stream, &head, exchange)).await;
        }
        if app.crowd.is_large() {
            Box::pin(wait_outside(app, &mut stream, &head, &mut exchange)).await;
        }
        let _inside = app.crowd.enter();
        let keep_alive = head.keep_alive;
        let served = lend(
            self.proxy,
            &self.lease,
            stream,
            head,
            exchange,
            &self.draining,
        );
        take_back(app, &self.lease, served, keep_alive, &mut self.cut).await
    }

    /// Answers what cannot be a request, and closes: where the next one would begin
    /// is not known. `head` is what could be read of it.
    pub async fn refuse(
        &mut self,
        stream: Box<ClientStream>,
        error: &RequestError,
        head: &RefusedHead,
    ) {
        let mut exchange = Exchange::unread(self.app.ids.next(), self.source);
        let reply = self
            .app
            .refuse(&mut exchange, error, head.accept.as_deref());
        let mut record = exchange.record();
        record.method = &head.method;
        record.target = &head.target;
        record.version = match stream.transport() {
            Transport::Http2(_) => Version::Http2.as_str(),
            _ => &head.version,
        };
        record.referer = head.referer.as_deref();
        record.user_agent = head.user_agent.as_deref();
        record.status = Some(reply.status().as_u16());
        record.bytes_to_client = reply.body_len();
        self.app.telemetry.record(&record);
        self.app.answer(stream, &reply, true).await;
    }

    /// Answers a client that does not speak HTTP in words of its own, and closes.
    pub async fn refuse_without_http(
        &mut self,
        mut stream: Box<ClientStream>,
        error: &RequestError,
        answer: &[u8],
    ) {
        let mut exchange = Exchange::unread(self.app.ids.next(), self.source);
        exchange.fail(error);
        let mut record = exchange.record();
        record.version = "";
        self.app.telemetry.record(&record);
        let limit = self.app.timeouts.send;
        if let Ok(Ok(())) = tokio::time::timeout(limit, stream.send(answer)).await {
            stream.linger_briefly().await;
        }
    }
}

/// Adds what the next hop is told: that the message came through here (RFC 9110
/// §7.6.3), and a local server, which sees only this proxy's address, who the client
/// is. Here and not by Pingora's hooks: a line more for its parser costs less than
/// two maps that have to grow.
///
/// `of_the_client` is filled in at the first need.
fn announce(app: &App, head: &mut RequestHead, exchange: &Exchange, of_the_client: &mut String) {
    let via = app.pseudonym.via_line(head.version.into());
    match exchange.role {
        Role::Tunnel | Role::Unknown => {}
        Role::Forward => head.push_lines(&[via]),
        Role::Gateway => {
            if of_the_client.is_empty() {
                *of_the_client = format!(
                    "X-Forwarded-For: {}\r\nX-Forwarded-Proto: {}\r\n",
                    exchange.client.ip(),
                    exchange.scheme.as_str()
                );
            }
            head.push_lines(&[via, of_the_client.as_bytes()]);
        }
    }
}

/// A future that is polled once to be woken by it, and then only asked.
pub struct Registered {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    polled: bool,
}

impl Registered {
    /// Not polled yet.
    pub fn new(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            future: Box::pin(future),
            polled: false,
        }
    }

    /// Has `cx` woken when the future is ready.
    pub fn register(&mut self, cx: &mut std::task::Context<'_>) {
        if !self.polled {
            self.polled = true;
            // Whether it is ready already is asked of what it stands for; polled again
            // then, it would panic.
            let _ = self.future.as_mut().poll(cx);
        }
    }
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
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn what_is_ready_already_is_registered_once() {
        let mut ready = Registered::new(async {});
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            ready.register(&mut cx);
        }
        assert!(ready.polled);
    }
}
