//! A request that asks for a tunnel, and the answers in the protocol of its client.

use std::borrow::Cow;

use http::StatusCode;

use crate::client::ClientStream;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::http1::{RequestHead, Version};
use crate::request::app::App;
use crate::request::outcome::Exchange;
use crate::socks5::{ReplyCode, server};
use crate::telemetry::{GATEWAY_SITE, Record};
use crate::tunnel::Socket as _;
use crate::upstream::tls::UpstreamStream;

/// No field at all: a client ignores those that frame content in a 2xx to CONNECT, and clients exist that do not.
const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// What a client gets when its tunnel is open; none: the answer to a CONNECT. It is a part of each open tunnel, and so it is
/// small.
#[derive(Debug)]
pub struct Greeting(Option<Box<[u8]>>);

impl AsRef<[u8]> for Greeting {
    fn as_ref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(ESTABLISHED)
    }
}

/// A request for a tunnel, with what its record and a refusal take from its head. The head itself goes: a tunnel may
/// be open for days.
#[derive(Debug)]
pub struct TunnelRequest {
    /// Its facts, and what becomes of it.
    pub exchange: Exchange,
    site: Cow<'static, str>,
    /// None: the site.
    target: Option<Box<str>>,
    user_agent: Option<Box<[u8]>>,
    referer: Option<Box<[u8]>>,
    accept: Option<Box<[u8]>>,
    keep_alive: bool,
}

impl TunnelRequest {
    pub fn new(exchange: Exchange, head: &RequestHead) -> Self {
        let request = &exchange.request;
        let authority = request.authority.as_ref().map(ToString::to_string);
        let site = authority.map_or(Cow::Borrowed(GATEWAY_SITE), Cow::Owned);
        let path = String::from_utf8_lossy(head.request_target());
        let target = request.canonical_target(&path);
        let target = (target != site).then(|| target.into());
        let field = |name| head.field(name).map(Box::from);
        Self {
            site,
            target,
            user_agent: field("user-agent"),
            referer: field("referer"),
            accept: field("accept"),
            keep_alive: head.keep_alive,
            exchange,
        }
    }

    /// The target in its canonical form.
    pub fn target(&self) -> &str {
        self.target.as_deref().unwrap_or(&self.site)
    }

    /// What tells the client that its CONNECT is a tunnel from here on, and what the server has sent already.
    pub fn established(&self, upstream: &UpstreamStream, early: &[u8]) -> Greeting {
        let mut answer = match self.is_socks5() {
            false if early.is_empty() => return Greeting(None),
            false => ESTABLISHED.to_vec(),
            true => {
                let bound = upstream.tcp().and_then(|tcp| tcp.local_addr().ok());
                server::reply(ReplyCode::SUCCEEDED, bound)
            }
        };
        answer.extend_from_slice(early);
        Greeting(Some(answer.into()))
    }

    fn is_socks5(&self) -> bool {
        self.exchange.request.version == Version::Socks5
    }

    /// The record, without what was relayed.
    pub fn record(&self, status: Option<StatusCode>) -> Record<'_> {
        let mut record = self.exchange.record();
        record.method = self.exchange.request.method.as_str().as_bytes();
        record.target = self.target().as_bytes();
        record.site = Some(&self.site);
        record.status = status.map(|status| status.as_u16());
        record.user_agent = self.user_agent.as_deref();
        record.referer = self.referer.as_deref();
        record
    }

    /// Refuses the request, and records that. Gives the connection back when it can go on, which is after a
    /// challenge alone: bytes behind the head are the other protocol's, sent too early, and to read them as requests would let
    /// a client smuggle some in.
    pub async fn refuse(
        mut self: Box<Self>,
        app: &App,
        client: Box<ClientStream>,
        error: RequestError,
    ) -> Option<Box<ClientStream>> {
        // When the process ends there is no time to answer.
        if error.kind() == ErrorKind::ClientGone || app.lifecycle.is_aborted() {
            self.exchange.outcome.fail(&error);
            self.exchange.end(app, None);
            app.telemetry.record(&self.record(None));
            return None;
        }
        let reply = app.refuse(&mut self.exchange, &error, self.accept.as_deref());
        self.exchange.end(app, Some(reply.status().as_u16()));
        let is_socks5 = self.is_socks5();
        let mut record = self.record(Some(reply.status()));
        if !is_socks5 {
            record.bytes_to_client = reply.body_len();
        }
        app.telemetry.denied(&record);
        app.telemetry.record(&record);
        if is_socks5 {
            let reply = server::reply(error.kind().socks5_reply(), None);
            return app.answer(client, &reply, true).await;
        }
        let close = !error.kind().is_challenge()
            || !client.inbox().is_empty()
            || !self.keep_alive
            // Another request could come too late for this process.
            || app.lifecycle.is_draining();
        app.answer(client, &reply.to_bytes(close), close).await
    }
}
