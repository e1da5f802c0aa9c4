//! Requests that Pingora carries: absolute-form to the origin that the target
//! names, origin-form to the local pool.
//!
//! The hooks are in the order in which Pingora calls them and are thin: they
//! call the parts that decide, and put their results into Pingora's terms.

mod answer;
mod context;
mod failure;
mod framing;
mod http2;
mod peer;
mod record;
mod retry;
mod session;
mod through;
mod turn;
mod verification;

use std::any::Any;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, DATE, HOST, MAX_FORWARDS, TRANSFER_ENCODING, VIA};
use http::{HeaderMap, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

pub use self::context::{Context, Forwarded};
use self::session::{DRAIN_TIMEOUT, client_gone, final_status, forwards_left, stop_waiting};
use super::app::App;
use super::hooks::settle;
use super::live::State;
use super::outgoing;
use super::own;
use super::route::{Route, wait_turn};
use crate::http::error::{ErrorKind, RequestError};
use crate::http::http1::{self, Framing};
use crate::http::response::{MAX_INTERIM, ResponseFields, is_final};
use crate::http::role::Role;
use crate::telemetry::traces::Phase;

/// Forward proxy and gateway as Pingora's application.
pub struct Forward {
    app: Arc<App>,
}

impl Forward {
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// Authenticates the client and evaluates the policy: the one admission. What this proxy answers itself is not
    /// for the policy.
    async fn admit(
        &self,
        session: &mut Session,
        forwarded: &mut Forwarded,
    ) -> Result<(), RequestError> {
        let exchange = &mut forwarded.exchange;
        if exchange.request.is_own {
            if own::needs_user(&self.app, &exchange.request) {
                self.app.access.identify(exchange).await?;
            }
        } else {
            forwarded.admitted = Some(self.app.access.admit(exchange).await?);
            let has_body = exchange.request.has_body();
            wait_turn(exchange, client_gone(session, has_body)).await?;
            if let Some(account) = exchange.outcome.account() {
                let timeout = self.app.timeouts.request_body + exchange.outcome.longest_wait();
                session.set_read_timeout(Some(timeout));
                forwarded.connection.account.begin(account.clone());
            }
        }
        match (self.app.limits.request_body, exchange.request.framing) {
            (Some(limit), Framing::Length(length)) if length > limit => {
                Err(ErrorKind::BodyTooLarge.into())
            }
            _ => Ok(()),
        }
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

    /// `dispatch` hands over what is known of each request.
    fn on_connection_reuse(
        &self,
        _: &mut Session,
        ctx: &mut Context,
        handed_over: Box<dyn Any + Send + Sync>,
    ) {
        ctx.0 = handed_over.downcast::<Forwarded>().ok();
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        let forwarded = ctx.forwarded()?;
        session.set_read_timeout(Some(self.app.timeouts.request_body));
        // HTTP/1.0 knows no interim responses (RFC 9110 §15.2).
        session.set_ignore_info_resp(forwarded.exchange.request.version == http1::Version::Http10);
        session.set_total_drain_timeout(Some(DRAIN_TIMEOUT));
        let admitted = self.admit(session, forwarded).await;
        let local = admitted.and_then(|()| self.local_reply(session, &forwarded.exchange));
        if !matches!(local, Ok(None)) {
            forwarded.exchange.is_now(State::Answering);
        }
        match local {
            Ok(None) => return Ok(false),
            Ok(Some(reply)) => reply.write_to(session).await?,
            Err(error) => drop(self.refuse(session, forwarded, &error).await?),
        }
        Ok(true)
    }

    /// Selects the next local upstream, or the origin that the target names.
    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Context,
    ) -> Result<Box<HttpPeer>> {
        let forwarded = ctx.forwarded()?;
        // The upstream of an earlier try is not awaited any more.
        forwarded.connection.response.stop();
        if let Some(permit) = forwarded.again.take() {
            return peer::at(&self.app, forwarded, Some(permit)).map_err(failure::into_pingora);
        }
        let permit = turn::reserve_turn(&self.app, session, forwarded).await?;
        peer::at(&self.app, forwarded, permit).map_err(failure::into_pingora)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        ctx: &mut Context,
        error: Box<Error>,
    ) -> Box<Error> {
        match ctx.forwarded() {
            Ok(forwarded) => retry::after_connecting(&self.app, forwarded, error),
            Err(_) => error,
        }
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
        let forwarded = ctx.forwarded()?;
        verification::evaluate(&self.app, forwarded, peer, digest)
            .map_err(|error| retry::after_refusal(&self.app, forwarded, error))?;
        if !reused && let Some(digest) = digest {
            let layers = digest.timing_digest.iter().flatten();
            let times = layers.filter_map(|timing| timing.establishment_duration);
            if let Some(time) = times.reduce(|sum, layer| sum + layer) {
                forwarded.exchange.spent(Phase::Connect, time);
            }
        }
        let server = forwarded.permit.as_ref().map(|permit| &permit.server);
        if let Some(Route::Parent(route)) = &forwarded.route {
            if let Some(address) = route.reached() {
                let outcome = &mut forwarded.exchange.outcome;
                outcome.connected(address.into(), None);
            }
        } else if let Some(upstream) = peer::connected_to(server, peer, (!reused).then_some(socket))
        {
            let admitted = forwarded.admitted.as_ref();
            forwarded.exchange.outcome.connected(upstream, admitted);
        }
        forwarded.exchange.is_now(State::Waiting);
        forwarded.connection.pace.begin();
        if peer::is_watched(&forwarded.exchange.request) {
            let response = &forwarded.connection.response;
            response.start(self.app.timeouts.response);
        }
        Ok(())
    }

    /// The head that Pingora parsed has `Via` and the forwarding fields already, and not the client's credentials.
    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if let Some(left) = forwards_left(request) {
            request.insert_header(MAX_FORWARDS, left.saturating_sub(1).to_string())?;
        }
        let forwarded = ctx.forwarded()?;
        // Host is passed as it came. HTTP/1.0 needs none, but it is sent on as HTTP/1.1.
        if forwarded.exchange.request.version == http1::Version::Http10
            && !request.headers.contains_key(HOST)
            && let Some(permit) = &forwarded.permit
        {
            let facts = &forwarded.exchange.request;
            let host = match (&forwarded.route, &facts.authority) {
                (Some(Route::Parent(_)), Some(authority)) => {
                    authority.host_field(facts.scheme).to_string()
                }
                _ => permit.server.host_field(),
            };
            request.insert_header(HOST, host)?;
        }
        outgoing::complete(&self.app, &mut forwarded.exchange, request)
            .map_err(failure::into_pingora)?;
        through::complete(forwarded, request).map_err(failure::into_pingora)?;
        if request.version == Version::HTTP_2 {
            // Boxed, so that a request of HTTP/1.1 is no larger for it.
            Box::pin(http2::complete(session, forwarded, request)).await?;
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        _: &mut Option<Bytes>,
        _: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        ctx.forwarded()?
            .exchange
            .has_come(session.body_bytes_read());
        match self.app.limits.request_body {
            Some(limit) if session.body_bytes_read() as u64 > limit => {
                Err(failure::into_pingora(ErrorKind::BodyTooLarge.into()))
            }
            _ => Ok(()),
        }
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let forwarded = ctx.forwarded()?;
        forwarded.connection.response.on_upstream_activity();
        through::refuse_own_answer(forwarded, response).map_err(failure::into_pingora)?;
        http2::on_response(session, forwarded, response)?;
        if forwarded.exchange.first_byte_came() {
            retry::after_answer(&self.app, forwarded);
            // From now on there is no other try, and so no other address.
            forwarded.admitted = None;
        }
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            // Pingora gets no request that asks for one.
            return Err(failure::invalid_answer("another protocol, not asked for"));
        }
        if response.status.is_informational() {
            forwarded.interim += 1;
            if forwarded.interim > MAX_INTERIM {
                return Err(failure::invalid_answer("too many interim answers"));
            }
        }
        let exchange = &mut forwarded.exchange;
        let fields = ResponseFields::read(response.status, &response.headers);
        framing::settle(response, &fields.framing)?;
        for name in fields.hop_by_hop {
            response.remove_header(&name);
        }
        if !response.status.is_informational() {
            let has_content = || {
                let length = response.headers.get(CONTENT_LENGTH);
                length.is_none_or(|length| length != "0")
            };
            if exchange.request.has_body() && has_content() {
                forwarded.connection.answer.begin();
            }
            let dates = || response.headers.get_all(DATE).iter().skip(1).cloned();
            let more = fields.has_more_dates.then(|| dates().collect());
            forwarded.connection.date.keep(fields.date, more);
        }
        // A proxy must say so, a gateway may (RFC 9110 §7.6.3): its clients take it for
        // the server.
        if exchange.request.role == Some(Role::Forward) {
            response.append_header(VIA, self.app.pseudonym.via(response.version))?;
        }
        // The version is that of this hop (RFC 9112 §2.3).
        response.set_version(Version::HTTP_11);
        outgoing::restore_location(exchange, response);
        if is_final(response.status)
            && let Some(run) = &mut exchange.run
        {
            let edited = run.response(response.status, &response.headers);
            let edited = edited.map(|edits| edits.apply(response));
            settle(exchange, edited).map_err(failure::into_pingora)?;
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let forwarded = ctx.forwarded()?;
        forwarded.is_error_response = response.status.as_u16() >= 400;
        // Without a body the answer ends here, see `response_body_filter`.
        if forwarded.is_error_response
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
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        let forwarded = ctx.forwarded()?;
        forwarded.connection.response.on_upstream_activity();
        if let Some(piece) = body {
            forwarded.exchange.is_answered_with(piece.len());
            if !end {
                forwarded.connection.pace.on_piece(piece.len());
            }
        }
        forwarded.connection.answer.on_part(end);
        if end && forwarded.is_error_response {
            stop_waiting(session);
        }
        Ok(None)
    }

    /// Pingora calls it for upstreams of HTTP/2.
    async fn response_trailer_filter(
        &self,
        session: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Context,
    ) -> Result<Option<Bytes>> {
        let forwarded = ctx.forwarded()?;
        http2::on_trailers(forwarded, trailers);
        if forwarded.is_error_response {
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
        let Ok(forwarded) = ctx.forwarded() else {
            return error;
        };
        let error = retry::after_exchange(&self.app, session, forwarded, error, reused);
        if error.retry() {
            let id = forwarded.exchange.request.id;
            log::debug!("request {id}: again after {error}");
            forwarded.permit = None;
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
        let Ok(forwarded) = ctx.forwarded() else {
            return reply;
        };
        let is_aborted = forwarded.connection.is_aborted();
        let failure = if is_aborted {
            ErrorKind::Draining.into()
        } else if forwarded.connection.response.timed_out() {
            ErrorKind::ResponseTimeout.because("the upstream is silent")
        } else {
            failure::classify(error)
        };
        retry::after_failure(&self.app, forwarded, &failure);
        // The permit of the upstream is free, whether the client reads on or not.
        forwarded.free_permits();
        let outcome = &mut forwarded.exchange.outcome;
        if let Some(status) = final_status(session) {
            // Half a response cannot be taken back: closing tells that it is incomplete. A complete 4xx/5xx
            // response is not a failure, even if the client stopped sending the request body.
            if !(status.as_u16() >= 400 && failure.kind() == ErrorKind::BodyTimeout) {
                outcome.fail(&failure);
            }
            return reply;
        }
        if is_aborted || failure.kind() == ErrorKind::ClientGone {
            outcome.fail(&failure);
            return reply;
        }
        match self.refuse(session, forwarded, &failure).await {
            Ok(status) => {
                reply.error_code = status.as_u16();
                if session.get_keepalive().is_some() {
                    forwarded.connection.keep();
                }
            }
            Err(error) => {
                let id = forwarded.exchange.request.id;
                log::debug!("request {id}: answering: {error}");
            }
        }
        reply
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, ctx: &mut Context) {
        let Ok(forwarded) = ctx.forwarded() else {
            return;
        };
        record::write(&self.app, session, forwarded);
        // The permit of the upstream and the place in the class are free now, not when Pingora drops the context.
        forwarded.free_permits();
        forwarded.exchange.outcome.leave_class();
        forwarded.exchange.live = None;
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

#[cfg(test)]
mod tests;
