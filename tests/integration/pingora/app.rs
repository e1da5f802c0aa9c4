//! An application of Pingora that tells what it is called for.

use std::any::Any;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use async_trait::async_trait;
use http::header::CONTENT_LENGTH;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora_core::protocols::{Digest, SocketDigest};
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

/// What Pingora has called the application for.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    Context(u32),
    RequestFilter,
    UpstreamPeer,
    ClientGone,
    FailToConnect(Failure),
    /// With the address that the socket itself is connected to.
    Connected {
        reused: bool,
        dialled: SocketAddr,
    },
    UpstreamRequest,
    UpstreamResponse(u16),
    Response(u16),
    WhileProxy(Failure),
    FailToProxy(Failure),
    /// Bytes of content from the client, to the client, from the upstream.
    Logged(usize, usize, usize),
}

/// What is read of an error.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    pub(super) kind: ErrorType,
    pub(super) source: ErrorSource,
    pub(super) context: String,
    /// That of the innermost error that is an `io::Error`.
    pub(super) io: Option<io::ErrorKind>,
    /// Whether [`Own`] is among the causes.
    pub(super) is_own: bool,
}

impl Failure {
    fn of(error: &Error) -> Self {
        let mut innermost = error;
        let mut is_own = false;
        while let Some(cause) = innermost.cause.as_deref() {
            is_own |= cause.is::<Own>();
            match cause.downcast_ref::<Box<Error>>() {
                Some(inner) => innermost = inner,
                None => break,
            }
        }
        let mut io = None;
        let mut cause: Option<&(dyn std::error::Error + 'static)> = match &innermost.cause {
            Some(cause) => Some(&**cause),
            None => None,
        };
        while let Some(error) = cause {
            io = error
                .downcast_ref::<io::Error>()
                .map(io::Error::kind)
                .or(io);
            cause = error.source();
        }
        let context = innermost.context.as_ref().map(|context| context.as_str());
        Self {
            kind: innermost.etype().clone(),
            source: error.esource().clone(),
            context: context.unwrap_or_default().to_owned(),
            io,
            is_own,
        }
    }
}

/// An error of the application.
#[derive(Debug, thiserror::Error)]
#[error("ours")]
pub(super) struct Own;

pub(super) type MakePeer = Box<dyn Fn(usize) -> Result<Box<HttpPeer>> + Send + Sync>;

/// The application. It tells what it is called for, and does what its fields say.
pub(super) struct App {
    /// Given the number of the try, from 0.
    pub(super) peer: MakePeer,
    pub(super) tries: AtomicUsize,
    pub(super) events: Mutex<Sender<Event>>,
    /// How long the client may be silent in its body.
    pub(super) body_timeout: Option<Duration>,
    pub(super) ignore_interim: bool,
    /// Answers with 403 before any upstream is asked, once the body is read.
    pub(super) refuse: bool,
    /// Waits in `upstream_peer` until the client is gone.
    pub(super) wait_for_client: bool,
    /// Whether what failed is tried again.
    pub(super) retry: bool,
    /// Writes an answer of its own when the request fails.
    pub(super) answer_failure: bool,
}

impl App {
    fn tell(&self, event: Event) {
        // The test may have seen what it wanted.
        let _ended = self.events.lock().unwrap().send(event);
    }
}

#[async_trait]
impl ProxyHttp for App {
    type CTX = ();

    fn new_ctx(&self) {}

    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    fn on_connection_reuse(
        &self,
        _: &mut Session,
        (): &mut (),
        handed_over: Box<dyn Any + Send + Sync>,
    ) {
        self.tell(Event::Context(*handed_over.downcast::<u32>().unwrap()));
    }

    async fn request_filter(&self, session: &mut Session, (): &mut ()) -> Result<bool> {
        self.tell(Event::RequestFilter);
        session.set_read_timeout(self.body_timeout);
        session.set_ignore_info_resp(self.ignore_interim);
        if self.refuse {
            session.as_downstream_mut().drain_request_body().await?;
            let mut head = ResponseHeader::build(403, None)?;
            head.insert_header(CONTENT_LENGTH, 0)?;
            session.write_response_header(Box::new(head), true).await?;
        }
        Ok(self.refuse)
    }

    async fn upstream_peer(&self, session: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        self.tell(Event::UpstreamPeer);
        if self.wait_for_client {
            let watched = session.as_downstream_mut().read_body_or_idle(true).await;
            watched.inspect_err(|_| self.tell(Event::ClientGone))?;
        }
        (self.peer)(self.tries.fetch_add(1, Ordering::SeqCst))
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        (): &mut (),
        mut error: Box<Error>,
    ) -> Box<Error> {
        self.tell(Event::FailToConnect(Failure::of(&error)));
        error.set_retry(self.retry);
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        peer: &HttpPeer,
        socket: RawFd,
        digest: Option<&Digest>,
        (): &mut (),
    ) -> Result<()> {
        let socket = SocketDigest::from_raw_fd(socket);
        let dialled = socket.peer_addr().and_then(|address| address.as_inet());
        // A stream without a descriptor has no address that can be asked.
        let dialled = *dialled.or(peer.address().as_inet()).unwrap();
        if let Some(tls) = digest.and_then(|digest| digest.ssl_digest.as_ref()) {
            assert!(!tls.cert_digest.is_empty());
        }
        self.tell(Event::Connected { reused, dialled });
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        _: &mut RequestHeader,
        (): &mut (),
    ) -> Result<()> {
        self.tell(Event::UpstreamRequest);
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        (): &mut (),
    ) -> Result<()> {
        self.tell(Event::UpstreamResponse(response.status.as_u16()));
        Ok(())
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        response: &mut ResponseHeader,
        (): &mut (),
    ) -> Result<()> {
        self.tell(Event::Response(response.status.as_u16()));
        Ok(())
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        _: &mut Session,
        mut error: Box<Error>,
        (): &mut (),
        _: bool,
    ) -> Box<Error> {
        self.tell(Event::WhileProxy(Failure::of(&error)));
        error.set_retry(self.retry);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        (): &mut (),
    ) -> FailToProxy {
        self.tell(Event::FailToProxy(Failure::of(error)));
        if self.answer_failure {
            session.respond_error(502).await.unwrap();
        }
        FailToProxy {
            error_code: 0,
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, (): &mut ()) {
        self.tell(Event::Logged(
            session.body_bytes_read(),
            session.body_bytes_sent(),
            session.upstream_body_bytes_received(),
        ));
    }

    fn suppress_error_log(&self, _: &Session, (): &(), _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        (): &(),
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
