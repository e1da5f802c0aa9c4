//! One request of a connection, from its head to its record.
//!
//! CONNECT goes to [`ConnectService`], a WebSocket handshake to [`websocket`], everything else to Pingora.
//! The connection always comes back here.

mod socks5;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use http::Method;
use pingora_core::apps::{HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

pub use self::socks5::{LoggedIn, Stage};
use super::app::App;
use super::connect::ConnectService;
use super::facts::{Arrival, Request, Source};
use super::forward::{Forward, Forwarded};
use super::lifecycle::Subscription;
use super::outcome::Exchange;
use super::own;
use super::tunnel::TunnelRequest;
use super::websocket::{self, message};
use crate::client::{ClientStream, ConnectionReturn};
use crate::http::credentials::Credentials;
use crate::http::error::RequestError;
use crate::http::http1::{HeadError, RefusedHead, RequestHead, Version};
use crate::http::role::Role;
use crate::upstream::pool::Choice;

/// How many short turns a task has one after the other before it yields to others.
const TURNS: usize = 8;

/// What serves requests: the two ways that a request can go.
pub struct Ways {
    /// What all requests share.
    pub app: Arc<App>,
    pub connect: ConnectService,
    /// Everything that Pingora carries.
    pub proxy: Arc<HttpProxy<Forward>>,
    /// Tells Pingora that the process drains.
    pub draining: ShutdownWatch,
}

/// Serves the requests of one connection, and holds what they share.
pub struct Requests<'a> {
    ways: &'a Ways,
    source: Source,
    connection: Arc<ConnectionReturn>,
    abort: Subscription,
    /// The field lines by which a local server learns of the client. Written with the first request that needs
    /// them.
    forwarded_fields: Option<String>,
    has_dedicated_upstream: bool,
}

impl<'a> Requests<'a> {
    pub fn new(ways: &'a Ways, source: Source) -> Self {
        let lifecycle = &ways.app.lifecycle;
        Self {
            ways,
            source,
            connection: Arc::default(),
            abort: Subscription::new(lifecycle.aborted()),
            forwarded_fields: None,
            has_dedicated_upstream: false,
        }
    }

    /// Where they come from.
    pub fn source(&self) -> Source {
        self.source.clone()
    }

    /// Serves one request. Gives the connection back when it can go on.
    ///
    /// Not async, nor is what begins the request: the head would be part of the connection's future as long as
    /// the request lasts.
    pub fn serve(
        &mut self,
        stream: Box<ClientStream>,
        head: RequestHead,
        arrival: Arrival,
    ) -> impl Future<Output = Option<Box<ClientStream>>> + Send {
        let keep_alive = head.keep_alive;
        let begun = self.begin(stream, head, arrival);
        async move {
            match begun {
                Begun::Tunnel(tunnel) => tunnel.await,
                Begun::Proxy(proxy) => self.take_back(proxy, keep_alive).await,
            }
        }
    }

    /// Sends a request on its way.
    fn begin(
        &mut self,
        stream: Box<ClientStream>,
        mut head: RequestHead,
        arrival: Arrival,
    ) -> Begun<'a> {
        let Ways {
            app,
            connect,
            proxy,
            draining,
        } = self.ways;
        let mut request = Request::new(app.ids.next(), self.source.clone(), &head, arrival);
        request.is_loop = head.has_via && app.pseudonym.is_in_fields(head.fields());
        // For the rest of the connection: the handshake of such a scheme takes several requests.
        self.has_dedicated_upstream |= head.authenticates_connection;
        request.has_dedicated_upstream = self.has_dedicated_upstream;
        let is_gateway = request.role == Some(Role::Gateway);
        if is_gateway {
            let target = head.request_target();
            request.is_pac = app.pac.as_ref().is_some_and(|pac| pac.is_at(target));
            request.is_own = request.is_pac || own::is_own(target);
            request.pool = app.pools.choose(&head);
        }
        let is_local = is_gateway && (request.is_own || request.pool == Choice::Page);
        let access = app.access.current();
        if head.has_via && access.parents().is_some() {
            let lines = head.fields();
            let lines = lines.filter(|(name, _)| name.eq_ignore_ascii_case(b"via"));
            let lines: Vec<&[u8]> = lines.map(|(_, value)| value).collect();
            request.via = Some(lines.join(&b", "[..]).into());
        }
        let kept = access.keep(&head, &request);
        self.add_forwarding_fields(&mut head, &request);
        let credentials = std::mem::take(&mut head.credentials);
        let is_connect = head.method == Method::CONNECT;
        // Over HTTP/2 it has no meaning without the WebSocket, where HTTP/1.1 makes a GET of it.
        let is_websocket =
            head.is_websocket_handshake && (!is_local || head.version == Version::Http2);
        request.is_tunnel = is_connect || is_websocket;
        if request.is_tunnel {
            let mut exchange = Exchange::new(request, credentials);
            exchange.begin(access, kept);
            let request = Box::new(TunnelRequest::new(exchange, &head));
            return Begun::Tunnel(if is_connect {
                Box::pin(connect.serve(stream, request))
            } else {
                let message = message::request(&head);
                Box::pin(websocket::serve(connect, stream, request, message))
            });
        }
        // In its box before it begins: each move of a request costs.
        let exchange = Exchange::new(request, credentials);
        let mut forwarded = Box::new(Forwarded::new(exchange, Arc::clone(&self.connection)));
        forwarded.exchange.begin(access, kept);
        let stream = self.connection.lend(stream, head.framing);
        let mut session = ServerSession::new_http1(Box::new(stream));
        session.set_pipelined_prefix(head.wire_head);
        session.set_connection_user_context(Some(forwarded));
        Begun::Proxy(proxy.process_new_http(session, draining))
    }

    /// Writes forwarding fields into the request head: `Via` (RFC 9110 §7.6.3), and for a local server, which sees
    /// only this proxy's address, who the client is. A line more for Pingora's parser costs less than its hooks, with
    /// two maps that grow.
    fn add_forwarding_fields(&mut self, head: &mut RequestHead, request: &Request) {
        let via = self.ways.app.pseudonym.via_line(head.version.into());
        match request.role {
            Some(Role::Tunnel) | None => {}
            Some(Role::Forward) => head.push_lines(&[via]),
            Some(Role::Gateway) => {
                let forwarding = &self.ways.app.forwarding;
                let client = request.source.client.ip();
                let scheme = request.scheme.as_str();
                let sent = head.sent_forwarding.take();
                if let Some(sent) = sent.filter(|_| forwarding.trusts(client)) {
                    let lines = forwarding.actions.lines(client, scheme, Some(&sent));
                    head.push_lines(&[via, lines.as_bytes()]);
                    return;
                }
                let lines = self
                    .forwarded_fields
                    .get_or_insert_with(|| forwarding.actions.lines(client, scheme, None));
                head.push_lines(&[via, lines.as_bytes()]);
            }
        }
    }

    /// Waits for the end of a request. Gives the connection back when it can go on.
    async fn take_back(
        &mut self,
        mut served: Boxed<'_, Option<ReusedHttpStream>>,
        keep_alive: bool,
    ) -> Option<Box<ClientStream>> {
        let mut is_aborted = false;
        let reused = poll_fn(|cx| {
            self.abort.register(cx);
            if !is_aborted && self.ways.app.lifecycle.is_aborted() {
                // Ends with an error, and so with a record.
                self.connection.abort();
                is_aborted = true;
            }
            let pace = &self.connection.pace;
            for _ in 0..TURNS {
                if !is_aborted && !pace.begin_turn(cx) {
                    return Poll::Pending;
                }
                let polled = served.as_mut().poll(cx);
                if polled.is_ready() || !pace.end_turn() {
                    return polled;
                }
            }
            // Its task was woken when a turn ended.
            Poll::Pending
        })
        .await;
        drop(served);
        let is_reusable = reused.is_some();
        // The stream in it gives the connection back.
        drop(reused);
        let stream = self.connection.reclaim()?;
        if is_aborted {
            // There is no time to linger, and its response is incomplete anyway.
            return None;
        }
        let goes_on = (is_reusable || self.connection.is_kept())
            && keep_alive
            && stream.body_is_done()
            && !stream.ended();
        if goes_on {
            return Some(stream);
        }
        Box::pin(stream.linger_briefly()).await;
        None
    }

    /// Answers what cannot be a request, and closes: where the next one would begin
    /// is not known. `head` is what could be read of it.
    pub async fn refuse(
        &mut self,
        stream: Box<ClientStream>,
        error: &RequestError,
        head: &RefusedHead,
    ) {
        let mut exchange = self.unread();
        let app = &self.ways.app;
        let reply = app.refuse(&mut exchange, error, head.accept.as_deref());
        let mut record = exchange.record();
        record.method = &head.method;
        record.target = &head.target;
        record.version = if stream.is_http2() {
            Version::Http2.as_str()
        } else {
            &head.version
        };
        record.referer = head.referer.as_deref();
        record.user_agent = head.user_agent.as_deref();
        record.status = Some(reply.status().as_u16());
        record.bytes_to_client = reply.body_len();
        record.malformation = HeadError::of(error).map(HeadError::reason);
        app.telemetry.record(&record);
        app.answer(stream, &reply.to_bytes(true), true).await;
    }

    /// A request of which nothing is known.
    fn unread(&self) -> Exchange {
        let id = self.ways.app.ids.next();
        let request = Request::unread(id, self.source.clone(), Arrival::now());
        Exchange::new(request, Credentials::Missing)
    }

    /// Sends `answer`, in the protocol of a client that does not speak HTTP, and closes.
    pub async fn refuse_without_http(
        &mut self,
        stream: Box<ClientStream>,
        error: &RequestError,
        answer: &[u8],
    ) {
        let app = &self.ways.app;
        let mut exchange = self.unread();
        exchange.outcome.fail(error);
        let mut record = exchange.record();
        record.version = "";
        app.telemetry.record(&record);
        app.answer(stream, answer, true).await;
    }
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A request on its way.
enum Begun<'a> {
    /// To a tunnel, if it is not refused.
    Tunnel(Boxed<'a, Option<Box<ClientStream>>>),
    /// With Pingora.
    Proxy(Boxed<'a, Option<ReusedHttpStream>>),
}
