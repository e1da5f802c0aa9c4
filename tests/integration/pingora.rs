//! What Tollgate relies on in Pingora, one test for each behaviour, so that a new version of it tells what has
//! changed. The tests use Pingora alone, with sockets on loopback; each names the code that relies on it.

mod app;
mod balancer;
mod configuration;
mod connections;
mod errors;
mod hooks;
mod lent_stream;
mod retries;
mod sessions;
mod tls;
mod workers;

use std::any::Any;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use pingora_core::Result;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::HttpProxy;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use self::app::{App, Event, Failure, Own};
use self::lent_stream::{Lent, LentStream};
use crate::support::DEADLINE;
use crate::support::client::Wire;

/// Pingora's proxy with [`App`], for connections that a test hands over.
struct Harness {
    runtime: Runtime,
    proxy: Arc<HttpProxy<App>>,
    events: Receiver<Event>,
    draining: watch::Sender<bool>,
}

/// A client's connection that Pingora serves one request of.
struct Client {
    wire: Wire,
    /// Whether Pingora would use the connection again.
    served: Receiver<bool>,
    lent: Lent,
}

impl Client {
    /// Waits until Pingora is done with the request.
    fn is_reusable(&self) -> bool {
        self.served.recv_timeout(DEADLINE).unwrap()
    }
}

/// How requests are served.
#[derive(Default)]
struct Options {
    conf: ServerConf,
    body_timeout: Option<Duration>,
    ignore_interim: bool,
    refuse: bool,
    wait_for_client: bool,
    retry: bool,
    answer_failure: bool,
}

impl Harness {
    fn to(address: SocketAddr) -> Self {
        Self::with(Options::default(), plain(address))
    }

    fn with(
        options: Options,
        peer: impl Fn(usize) -> Result<Box<HttpPeer>> + Send + Sync + 'static,
    ) -> Self {
        let (tell, events) = channel();
        let app = App {
            peer: Box::new(peer),
            tries: AtomicUsize::new(0),
            events: Mutex::new(tell),
            body_timeout: options.body_timeout,
            ignore_interim: options.ignore_interim,
            refuse: options.refuse,
            wait_for_client: options.wait_for_client,
            retry: options.retry,
            answer_failure: options.answer_failure,
        };
        Self {
            runtime: Runtime::new().unwrap(),
            proxy: Arc::new(pingora_proxy::http_proxy(&Arc::new(options.conf), app)),
            events,
            draining: watch::channel(false).0,
        }
    }

    /// Hands a connection over as Tollgate does: the head is given, the stream has what follows it.
    fn serve(&self, head: &str) -> Client {
        self.serve_with(head, None)
    }

    fn serve_with(&self, head: &str, context: Option<Box<dyn Any + Send + Sync>>) -> Client {
        let (wire, socket) = pair();
        let (stream, lent) = {
            let _inside = self.runtime.enter();
            LentStream::new(socket)
        };
        let mut session = ServerSession::new_http1(Box::new(stream));
        session.set_pipelined_prefix(BytesMut::from(head));
        session.set_connection_user_context(context);
        let (proxy, draining) = (Arc::clone(&self.proxy), self.draining.subscribe());
        let (tell, served) = channel();
        self.runtime.spawn(async move {
            let reused = proxy.process_new_http(session, &draining).await;
            let is_reusable = reused.is_some();
            drop(reused);
            let _ended = tell.send(is_reusable);
        });
        Client { wire, served, lent }
    }

    fn event(&self) -> Event {
        self.events.recv_timeout(DEADLINE).unwrap()
    }

    /// The next event that `wanted` takes something from.
    fn find<T>(&self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.event()) {
                return found;
            }
        }
    }

    /// The error that the request ends with.
    fn failure(&self) -> Failure {
        self.find(|event| match event {
            Event::FailToProxy(failure) => Some(failure),
            _ => None,
        })
    }

    /// Whether the upstream connection of the next request was used before, and where it goes.
    fn connected(&self) -> (bool, SocketAddr) {
        self.find(|event| match event {
            Event::Connected { reused, dialled } => Some((reused, dialled)),
            _ => None,
        })
    }

    /// Every event up to the record.
    fn all(&self) -> Vec<Event> {
        let mut all = Vec::new();
        loop {
            all.push(self.event());
            if let Some(Event::Logged(..)) = all.last() {
                return all;
            }
        }
    }
}

/// A peer at `address` without TLS.
fn plain(address: SocketAddr) -> impl Fn(usize) -> Result<Box<HttpPeer>> + Send + Sync {
    move |_| Ok(Box::new(HttpPeer::new(address, false, String::new())))
}

/// Two ends of a connection.
fn pair() -> (Wire, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let wire = Wire::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, _) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    (wire, socket)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: origin\r\n\r\n";
