//! Requests that Pingora carries: absolute-form to the origin that the target
//! names, origin-form to the local pool.
//!
//! The hooks stand in the order in which Pingora calls them and are thin: they
//! call the parts that decide, and put into Pingora's terms what these say.

mod failure;
mod framing;
mod handshake;
mod peer;
mod session;
mod verification;

use std::any::Any;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, HOST, HeaderValue, MAX_FORWARDS, REFERER, TRANSFER_ENCODING, USER_AGENT, VIA,
};
use http::{Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora_core::protocols::{Digest, SocketDigest};
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

pub use self::peer::wait_outside;
use self::session::{DRAIN_TIMEOUT, accept, forwards_left, is_final, stop_waiting};
use crate::http::error::{Kind, RequestError};
use crate::http::fields::Survey;
use crate::http::http1::{self, Framing};
use crate::request::app::App;
use crate::request::exchange::Exchange;
use crate::request::reply::Reply;
use crate::telemetry::{GATEWAY_SITE, Role};

/// Interim answers that one request may get: each is passed on, and a flood of them
/// would be neither an answer nor bounded.
const MAX_INTERIM: usize = 16;

/// A refused request's body up to this size is read and dropped, so that the
/// connection can go on; a longer one costs the connection.
const MAX_DRAINED_BODY: u64 = 64 * 1024;

/// Forward proxy and gateway as Pingora's application.
#[derive(Debug)]
pub struct Forward {
    app: Arc<App>,
}

/// The exchange of a request. Pingora makes the context before it has one.
#[derive(Debug, Default)]
pub struct Context(Option<Box<Exchange>>);

impl Context {
    fn exchange(&mut self) -> Result<&mut Exchange> {
        self.0
            .as_deref_mut()
            .ok_or_else(|| Error::explain(ErrorType::InternalError, "a request without exchange"))
    }
}

impl Forward {
    /// Serves with the parts of `app`.
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// Everything that must hold before a request is sent anywhere.
    async fn admit(&self, session: &Session, exchange: &mut Exchange) -> Result<(), RequestError> {
        if let Some(verdict) = exchange.verdict.take() {
            return verdict;
        }
        self.app
            .admit(exchange, &session.req_header().method)
            .await?;
        if let (Some(limit), Framing::Length(length)) =
            (self.app.limits.request_body, exchange.framing)
            && length > limit
        {
            return Err(Kind::BodyTooLarge.into());
        }
        Ok(())
    }

    /// Answers in place of an upstream, where that is for Tollgate to do.
    fn own_answer(&self, session: &Session, exchange: &Exchange) -> Result<Option<Reply>, Kind> {
        let request = session.req_header();
        // RFC 9110 §7.6.2: at zero the request is for us.
        if forwards_left(request) == Some(0) {
            return match request.method {
                Method::OPTIONS => Ok(Some(Reply::new(StatusCode::OK, "text/plain", Bytes::new()))),
                _ => Err(Kind::MethodUnknown),
            };
        }
        if exchange.role != Role::Gateway || self.app.pool.is_some() {
            return Ok(None);
        }
        let page = crate::upstream::pool::serve(&request.method, request.uri.path())?;
        let body = Bytes::from_static(page.body.as_bytes());
        Ok(Some(Reply::new(page.status, page.content_type, body)))
    }

    /// Refuses a request that has not been sent anywhere. The connection stays
    /// usable unless the client may still be sending a long body.
    async fn refuse(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        error: &RequestError,
    ) -> Result<()> {
        let short = matches!(exchange.framing, Framing::Length(len) if len <= MAX_DRAINED_BODY);
        if short && !exchange.expect_continue {
            // Not drained in time, or gone: the answer is the same, the connection ends.
            if session
                .as_downstream_mut()
                .drain_request_body()
                .await
                .is_err()
            {
                session.set_keepalive(None);
            }
        }
        let reply = self.app.refuse(exchange, error, accept(session));
        reply.write_to(session).await
    }
}

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::default()
    }

    /// No modules: the default one, response compression, costs each request.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    /// The connection hands each request's exchange over this way.
    fn on_connection_reuse(
        &self,
        _: &mut Session,
        ctx: &mut Context,
        handed_over: Box<dyn Any + Send + Sync>,
    ) {
        ctx.0 = handed_over.downcast::<Exchange>().ok();
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        let exchange = ctx.exchange()?;
        session.set_read_timeout(Some(self.app.timeouts.request_body));
        // Interim answers are news to HTTP/1.0 (RFC 9110 §15.2).
        session.set_ignore_info_resp(exchange.version == http1::Version::Http10);
        session.set_total_drain_timeout(Some(DRAIN_TIMEOUT));
        if let Err(error) = self.admit(session, exchange).await {
            self.refuse(session, exchange, &error).await?;
            return Ok(true);
        }
        match self.own_answer(session, exchange) {
            Ok(None) => Ok(false),
            Ok(Some(reply)) => {
                reply.write_to(session).await?;
                Ok(true)
            }
            Err(kind) => {
                self.refuse(session, exchange, &kind.into()).await?;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        let exchange = ctx.exchange()?;
        if let Some(lease) = &exchange.lease {
            // There is none yet, and that of an earlier try is not awaited any more.
            lease.await_nothing();
        }
        let peer = match exchange.role {
            Role::Gateway => peer::of_pool(&self.app, exchange, session).await,
            _ => peer::of_target(&self.app, exchange, session).await,
        };
        peer.map_err(failure::into_pingora)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        peer: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let Ok(exchange) = ctx.exchange() else {
            return error;
        };
        verification::may_try_again(exchange, &mut error);
        let Some(pool) = &self.app.pool else {
            return error;
        };
        // Another upstream needs a socket as well.
        if exchange.role == Role::Gateway && failure::exhaustion(&error).is_none() {
            exchange.slot = None;
            exchange.failed.extend(peer.address().as_inet().copied());
            // The next upstream_peer passes over those that failed, and says so
            // when none is left.
            error.set_retry(exchange.failed.len() < pool.len());
        }
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        peer: &HttpPeer,
        socket: RawFd,
        digest: Option<&Digest>,
        ctx: &mut Context,
    ) -> Result<()> {
        let exchange = ctx.exchange()?;
        verification::judge(&self.app, exchange, peer, digest)?;
        let mut upstream = peer.address().as_inet().copied();
        if !reused && let Some(digest) = digest {
            // The socket is asked: Pingora's own digest repeats the address of the peer, which
            // is the first that was tried, not the one that was reached.
            let socket = SocketDigest::from_raw_fd(socket);
            let dialled = socket.peer_addr().and_then(|address| address.as_inet());
            upstream = dialled.copied().or(upstream);
            exchange.connect = digest
                .timing_digest
                .iter()
                .flatten()
                .filter_map(|timing| timing.establishment_duration)
                .reduce(|sum, layer| sum + layer);
        }
        if let Some(upstream) = upstream {
            exchange.connected(upstream);
        }
        if let Some(lease) = &exchange.lease
            && peer::is_timed_by_lease(exchange)
        {
            lease.await_upstream(self.app.timeouts.response);
        }
        Ok(())
    }

    /// `Via` and what a local server learns of the client stand in the canonical head,
    /// and the client's credentials do not.
    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if let Some(left) = forwards_left(request) {
            request.insert_header(MAX_FORWARDS, left.saturating_sub(1).to_string())?;
        }
        // Host is passed as it came. HTTP/1.0 needs none, but it is sent on as HTTP/1.1.
        let exchange = ctx.exchange()?;
        if exchange.version == http1::Version::Http10
            && !request.headers.contains_key(HOST)
            && let Some(slot) = &exchange.slot
        {
            request.insert_header(HOST, slot.address.to_string())?;
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        _: &mut Option<Bytes>,
        _: bool,
        _: &mut Context,
    ) -> Result<()> {
        match self.app.limits.request_body {
            Some(limit) if session.body_bytes_read() as u64 > limit && !session.was_upgraded() => {
                Err(failure::into_pingora(Kind::BodyTooLarge.into()))
            }
            _ => Ok(()),
        }
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let exchange = ctx.exchange()?;
        exchange.heard();
        if exchange.first_byte.is_none() {
            exchange.first_byte = Some(exchange.started.elapsed());
            // From now on there is no other try, and so no other address.
            exchange.admission = None;
        }
        let upgraded = response.status == StatusCode::SWITCHING_PROTOCOLS;
        if upgraded && !exchange.upgrade {
            return Err(failure::invalid_answer("another protocol, not asked for"));
        }
        if response.status.is_informational() && !upgraded {
            exchange.interim += 1;
            if exchange.interim > MAX_INTERIM {
                return Err(failure::invalid_answer("too many interim answers"));
            }
        }
        let survey = Survey::of(&response.headers, upgraded);
        framing::settle(response, &survey)?;
        for name in survey.hop_by_hop {
            response.remove_header(&name);
        }
        // A proxy must say so, a gateway may (RFC 9110 §7.6.3): its clients take it for
        // the server.
        if exchange.role == Role::Forward {
            response.append_header(VIA, self.app.pseudonym.via(response.version))?;
        }
        // The version is that of this hop (RFC 9112 §2.3).
        response.set_version(Version::HTTP_11);
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            let exchange = ctx.exchange()?;
            if let Some(lease) = &exchange.lease {
                lease.upgrade();
            }
            if exchange.role == Role::Forward {
                // A tunnel now, and those do not count.
                exchange.slot = None;
            }
            session.set_read_timeout(Some(self.app.timeouts.tunnel_idle));
            return Ok(());
        }
        let exchange = ctx.exchange()?;
        exchange.declined = response.status.as_u16() >= 400;
        // Without a body the answer ends here, see `response_body_filter`.
        if exchange.declined
            && response
                .headers
                .get(CONTENT_LENGTH)
                .is_some_and(|length| length == "0")
        {
            stop_waiting(session);
        }
        // HTTP/1.0 knows no chunks (RFC 9112 §6.1): there the end of the
        // connection ends the body.
        if session.req_header().version == Version::HTTP_10
            && response.headers.contains_key(TRANSFER_ENCODING)
        {
            response.remove_header(&TRANSFER_ENCODING);
            session.set_keepalive(None);
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        _: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        let exchange = ctx.exchange()?;
        exchange.heard();
        if end && exchange.declined {
            stop_waiting(session);
        }
        Ok(None)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        let unanswered = session.response_written().is_none();
        let error = failure::judge_retry(session, error, reused && unanswered);
        if error.retry()
            && let Ok(exchange) = ctx.exchange()
        {
            log::debug!("request {}: again after {error}", exchange.id);
            exchange.slot = None;
        }
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Context,
    ) -> FailToProxy {
        let mut reply = FailToProxy {
            error_code: 0,
            can_reuse_downstream: false,
        };
        let Ok(exchange) = ctx.exchange() else {
            return reply;
        };
        let cut = exchange.is_cut();
        let failure = if cut {
            Kind::Draining.into()
        } else if exchange.is_late() {
            RequestError::new(Kind::ResponseTimeout).because("the upstream is silent")
        } else {
            failure::classify(error)
        };
        // The place at the upstream is free, whether the client reads on or not.
        exchange.slot = None;
        let status = session.response_written().map(|head| head.status);
        if let Some(status) = status.filter(|status| is_final(*status)) {
            // Half a response cannot be taken back: closing says that it is broken.
            // One that was a refusal is whole; that its request was not is no news.
            if !(status.as_u16() >= 400 && failure.kind() == Kind::BodyTimeout) {
                exchange.fail(&failure);
            }
            return reply;
        }
        if cut || failure.kind() == Kind::ClientGone {
            exchange.fail(&failure);
            return reply;
        }
        let answer = self.app.refuse(exchange, &failure, accept(session));
        reply.error_code = answer.status().as_u16();
        match answer.write_to(session).await {
            Ok(()) => {
                if let Some(lease) = &exchange.lease
                    && session.get_keepalive().is_some()
                {
                    lease.keep();
                }
            }
            Err(error) => log::debug!("request {}: answering: {error}", exchange.id),
        }
        reply
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, ctx: &mut Context) {
        let Ok(exchange) = ctx.exchange() else {
            return;
        };
        let request = session.req_header();
        let site = exchange.authority.as_ref().map(ToString::to_string);
        let (path, target);
        let mut record = exchange.record();
        if self.app.telemetry.logs() {
            path = String::from_utf8_lossy(request.raw_path());
            target = exchange.canonical_target(&path);
            let field = |name| request.headers.get(name).map(HeaderValue::as_bytes);
            record.method = request.method.as_str().as_bytes();
            record.target = target.as_bytes();
            record.referer = field(REFERER);
            record.user_agent = field(USER_AGENT);
        }
        record.site = Some(site.as_deref().unwrap_or(GATEWAY_SITE));
        let status = session.response_written().map(|head| head.status);
        record.status = status
            .filter(|status| is_final(*status))
            .map(|status| status.as_u16());
        record.bytes_from_client = session.body_bytes_read() as u64;
        record.bytes_to_client = session.body_bytes_sent() as u64;
        record.bytes_from_upstream = session.upstream_body_bytes_received() as u64;
        self.app.telemetry.record(&record);
        // The place at the upstream is free now, not when Pingora lets go.
        exchange.slot = None;
    }

    /// Every failure has its record; the error log is for what needs a person.
    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Context,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
