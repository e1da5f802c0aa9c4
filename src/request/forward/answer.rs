//! Answers of the proxy itself to requests that are with Pingora.

use bytes::Bytes;
use http::header::{ACCEPT, HeaderValue};
use http::{Method, StatusCode};
use pingora_core::Result;
use pingora_proxy::Session;

use super::Forward;
use super::context::Forwarded;
use super::session::forwards_left;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::http1::Framing;
use crate::http::role::Role;
use crate::request::outcome::Exchange;
use crate::request::own;
use crate::request::reply::Reply;
use crate::upstream::pool::Choice;

/// A refused request's body up to this size is read and dropped, so that the
/// connection can go on; a longer one costs the connection.
const MAX_DRAINED_BODY: u64 = 64 * 1024;

impl Forward {
    /// Answers in place of an upstream: where the client asks this proxy, below `/.tollgate/`, and with the embedded
    /// page.
    pub(super) fn local_reply(
        &self,
        session: &Session,
        exchange: &Exchange,
    ) -> Result<Option<Reply>, RequestError> {
        let head = session.req_header();
        let request = &exchange.request;
        if request.is_own {
            return match &self.app.pac {
                Some(pac) if request.is_pac => own::pac(pac, head),
                _ => own::answer(&self.app, exchange, &head.method, head.uri.path()),
            }
            .map(Some);
        }
        // RFC 9110 §7.6.2: at zero this proxy is the recipient.
        if forwards_left(head) == Some(0) {
            return match head.method {
                Method::OPTIONS => Ok(Some(Reply::new(StatusCode::OK, "text/plain", Bytes::new()))),
                _ => Err(ErrorKind::MethodUnknown.into()),
            };
        }
        if request.role != Some(Role::Gateway) || request.pool != Choice::Page {
            return Ok(None);
        }
        let page = crate::upstream::pool::serve(&head.method, head.uri.path())?;
        let body = Bytes::from_static(page.body.as_bytes());
        Ok(Some(Reply::new(page.status, page.content_type, body)))
    }

    /// Refuses a request. The connection stays usable where its body was sent nowhere and can be dropped.
    pub(super) async fn refuse(
        &self,
        session: &mut Session,
        forwarded: &mut Forwarded,
        error: &RequestError,
    ) -> Result<StatusCode> {
        let request = &forwarded.exchange.request;
        let is_short = matches!(request.framing, Framing::Length(len) if len <= MAX_DRAINED_BODY);
        if is_short && !request.expect_continue && forwarded.route.is_none() {
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
        if error.kind() == ErrorKind::ClientCertificate {
            // It is that of the connection.
            session.set_keepalive(None);
        }
        let exchange = &mut forwarded.exchange;
        let accept = session.req_header().headers.get(ACCEPT);
        let accept = accept.map(HeaderValue::as_bytes);
        let reply = self.app.refuse(exchange, error, accept);
        forwarded.connection.date.forget();
        forwarded.connection.trailers.forget();
        let status = reply.status();
        if exchange.outcome.denial.is_some() {
            self.keep_denial(session, exchange, status);
        }
        reply.write_to(session).await?;
        Ok(status)
    }

    /// Keeps a denial for its user to read.
    fn keep_denial(&self, session: &Session, exchange: &Exchange, status: StatusCode) {
        let head = session.req_header();
        let path = String::from_utf8_lossy(head.raw_path());
        let target = exchange.request.canonical_target(&path);
        let mut record = exchange.record();
        record.method = head.method.as_str().as_bytes();
        record.target = target.as_bytes();
        record.status = Some(status.as_u16());
        self.app.telemetry.denied(&record);
    }
}
