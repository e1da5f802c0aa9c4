//! What happens to a connection before a request is served: accept, bounds,
//! PROXY header, TLS. Then `connection` takes over.
//!
//! Tollgate accepts by itself instead of through Pingora's listeners, and hands
//! Pingora one checked request at a time: bounds on a head, a deadline for all of
//! it, strict framing and tunnels exist in no other way.

mod connection;
mod http2;
mod prepare;
mod protocol;
mod proxy_protocol;
mod socket;
mod socks5;
mod threads;
mod unprepared;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::connection::Protocols;
use self::prepare::{Prepared, Unprepared, prepare};
use self::protocol::{Door, Protocol};
use self::socket::accept;
pub use self::socket::{Listener, ListenerKind};
pub use self::threads::ThreadOptions;
use self::threads::Threads;
use self::unprepared::Stage;
#[cfg(any(test, feature = "internals"))]
pub use self::{protocol::fuzz::first_bytes, proxy_protocol::fuzz::proxy_header};
use crate::access::client::Client;
use crate::access::shares::{Place, SharedPlaces};
use crate::admin::{self, Admin};
use crate::client::{ClientCertificate, ClientStream, Connection, Login, Transport};
use crate::config::{self, ListenerTls, Senders};
use crate::request::app::App;
use crate::request::dispatch::Ways;
use crate::request::facts::Source;
use crate::telemetry::throttle::Throttle;
use crate::text::system_message;
use crate::tunnel::Socket as _;
use crate::upstream::dial::exhaustion;

/// How long one of them may be open, whatever it does.
const ADMIN_CONNECTION_LIFE: Duration = Duration::from_secs(600);

/// How many connections are still accepted when the process drains: as many as the
/// queue holds by default, so that new arrivals cannot delay its end.
const MAX_LATE_CONNECTIONS: usize = 4096;

/// From so many connections on a client has a share of them.
const LEAST_SHARED: usize = 16;

/// How long accepting rests when the process has no descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections: what the accept loops share.
pub struct Acceptor {
    app: Arc<App>,
    ways: Ways,
    permits: Arc<Semaphore>,
    /// The same permits by client.
    places: SharedPlaces,
    /// Connections of the admin service do not count as connections of clients, so that an operator can look at a
    /// proxy that is at its limit.
    admin_permits: Arc<Semaphore>,
    threads: Threads,
    connections: AtomicU64,
    /// For lines about connections that ended before a request, by what they say.
    rejected: Throttles<String>,
    /// The same for those that began with another protocol.
    protocols: Throttles<(Protocol, Door)>,
    exhausted: Throttle,
}

/// One line in a while about each of a few things.
type Throttles<K> = Mutex<HashMap<K, Throttle>>;

/// The causes of a connection's end that have a throttle of their own.
const MAX_CAUSES: usize = 64;

/// Where a connection came in, where that is known: ` to 127.0.0.1:8888`.
struct Listening(Option<SocketAddr>);

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.map(config::canonical) {
            Some(local) => write!(f, " to {local}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor")
            .field("permits", &self.permits.available_permits())
            .finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Serves requests by `ways`. Starts the threads; to be called on the first of them.
    pub fn new(ways: Ways, threads: ThreadOptions) -> Self {
        let app = Arc::clone(&ways.app);
        let max_connections = app.limits.max_connections;
        let permits = Arc::new(Semaphore::new(max_connections));
        Self {
            app,
            ways,
            permits,
            places: SharedPlaces::with_shares_from(LEAST_SHARED, max_connections),
            admin_permits: Arc::new(Semaphore::new(admin::MAX_CONNECTIONS)),
            threads: Threads::start(threads),
            connections: AtomicU64::new(0),
            rejected: Throttles::default(),
            protocols: Throttles::default(),
            exhausted: Throttle::new(),
        }
    }

    /// Accepts on `listener` until the process drains.
    ///
    /// At the bound on connections one more is accepted and waits for its turn; the
    /// rest wait in the kernel's queue, where they cost this process nothing.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub async fn run(self: Arc<Self>, listener: Listener) -> io::Result<()> {
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types whose descriptor changes; std's does not"
        )]
        let socket = AsyncFd::with_interest(listener.socket, Interest::READABLE)?;
        let kind = listener.kind;
        let permits = match kind {
            ListenerKind::Proxy { .. } => &self.permits,
            ListenerKind::Admin(_) => &self.admin_permits,
        };
        let mut draining = self.app.lifecycle.watch();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = draining.wait_for(|draining| *draining) => break,
                accepted = socket.async_io(Interest::READABLE, accept) => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(connection) => connection,
                // The client closed it before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    self.tell_of_exhaustion(&error);
                    self.app.telemetry.connection_rejected("accept_error");
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                    continue;
                }
            };
            let permit = tokio::select! {
                // What was accepted is served when it can be, also when draining has begun.
                biased;
                permit = Arc::clone(permits).acquire_owned() => permit.map_err(io::Error::other)?,
                // Dropped: this process serves no further connection.
                _ = draining.wait_for(|draining| *draining) => break,
            };
            self.spawn(stream, peer, permit, kind.clone());
        }
        if !self.app.lifecycle.has_successor() {
            self.accept_late(socket.get_ref(), permits, &kind);
        }
        Ok(())
    }

    /// For its client, a connection in the queue is open; closing the socket would reset it. The runtime's own accept may say "not yet"
    /// with the queue full, so the socket is asked itself.
    fn accept_late(
        self: &Arc<Self>,
        socket: &std::net::TcpListener,
        permits: &Arc<Semaphore>,
        kind: &ListenerKind,
    ) {
        for _ in 0..MAX_LATE_CONNECTIONS {
            let Ok(permit) = Arc::clone(permits).try_acquire_owned() else {
                break;
            };
            let (stream, peer) = match accept(socket) {
                Ok(connection) => connection,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(_) => break,
            };
            self.spawn(stream, peer, permit, kind.clone());
        }
    }

    fn spawn(
        self: &Arc<Self>,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
        kind: ListenerKind,
    ) {
        // Counted before the accept loop goes on, so that draining waits for it.
        let in_flight = self.app.lifecycle.begin_work();
        let acceptor = Arc::clone(self);
        let assignment = self.threads.choose();
        let spawned = assignment.spawn(stream, move |stream, assignment| async move {
            acceptor
                .serve(stream, peer, kind, assignment.thread())
                .await;
            drop((assignment, permit, in_flight));
        });
        if let Err(error) = spawned {
            self.reject(peer, None, "accept_error", &system_message(&error));
        }
    }

    async fn serve(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        kind: ListenerKind,
        thread: u16,
    ) {
        let (tls, proxy_protocol, protocols) = match kind {
            ListenerKind::Proxy {
                tls,
                proxy_protocol,
                http2,
                socks5,
            } => (tls, proxy_protocol, Protocols { http2, socks5 }),
            ListenerKind::Admin(admin) => return self.serve_admin(&admin, stream, peer).await,
        };
        let _open = self.app.telemetry.connection_opened();
        // A peer that sends PROXY headers has the connections of many clients.
        let is_client = proxy_protocol.is_none();
        let place = is_client.then(|| self.place(peer)).flatten();
        if is_client && place.is_none() {
            return;
        }
        let Prepared {
            connection,
            client,
            certificate,
        } = if tls.is_none() && proxy_protocol.is_none() {
            // Nothing comes before HTTP, so nothing has to be waited for.
            Prepared {
                connection: Connection::Left(stream),
                client: peer,
                certificate: None,
            }
        } else {
            // Boxed, since a handshake takes more room than a connection that waits.
            let prepared = Box::pin(self.prepared(stream, peer, tls, proxy_protocol, thread));
            match prepared.await {
                Some(prepared) => prepared,
                None => return,
            }
        };
        let Some(_place) = place.or_else(|| self.place(client)) else {
            return;
        };
        if !self.app.admits_connection(&connection, client) {
            return;
        }
        if let Some(certificate) = &certificate {
            self.tell_of_certificate(certificate, &connection, client);
        }
        let (stream, mut source) = self.begin(connection, client, thread);
        source.certificate = certificate;
        // The first bytes decide and not ALPN: Go offers HTTP/2 to a proxy and then writes HTTP/1.1.
        connection::serve(self, stream, source, protocols).await;
    }

    /// The place of one more connection of this client. None when it has its share of all: this one is closed.
    fn place(&self, client: SocketAddr) -> Option<Place> {
        let place = self.places.try_take(Client::site(client.ip()));
        if place.is_none() {
            let line = "its address has its share of limits.max_connections; raise the limit, or find out what opens so many";
            self.reject(client, None, "share", line);
        }
        place
    }

    /// Does what comes before HTTP, in its time. None where the connection does not get that far: then its client
    /// was told and the operator, each where that is possible.
    async fn prepared(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<Arc<ListenerTls>>,
        proxy_protocol: Option<Senders>,
        thread: u16,
    ) -> Option<Prepared> {
        let local = stream.local_addr().ok();
        let waits_for = if proxy_protocol.is_some() {
            Stage::ProxyHeader
        } else {
            Stage::Tls
        };
        let prepared = prepare(stream, peer, tls, proxy_protocol);
        match tokio::time::timeout(self.app.timeouts.tls_handshake, prepared).await {
            Ok(Ok(prepared)) => return Some(prepared),
            Ok(Err(Unprepared::WrongProtocol {
                stream,
                client,
                door,
            })) => {
                let (stream, source) = self.begin(Connection::Left(stream), client, thread);
                connection::refuse_at(self, stream, source, door).await;
            }
            Ok(Err(Unprepared::Failed { stage, error })) => {
                let line = unprepared::line(stage, &error);
                self.reject(peer, local, "handshake_failed", &line);
            }
            Err(_elapsed) => {
                let line = unprepared::timeout_line(waits_for);
                self.reject(peer, local, "handshake_timeout", line);
            }
        }
        None
    }

    async fn serve_admin(
        self: &Arc<Self>,
        admin: &Arc<Admin>,
        stream: TcpStream,
        peer: SocketAddr,
    ) {
        let mut stopped = self.app.lifecycle.watch();
        let served = Box::pin(async {
            // One that waits for its turn must not delay the end of the process.
            let place = tokio::select! {
                place = admin.enter(peer) => place,
                _ = stopped.wait_for(|draining| *draining) => None,
            };
            let Some(_place) = place else {
                return;
            };
            let Prepared {
                connection,
                certificate,
                ..
            } = match admin.tls().cloned() {
                None => Prepared {
                    connection: Connection::Left(stream),
                    client: peer,
                    certificate: None,
                },
                Some(tls) => match self.prepared(stream, peer, Some(tls), None, 0).await {
                    Some(prepared) => prepared,
                    None => return,
                },
            };
            let draining = self.app.lifecycle.watch();
            admin.serve(connection, peer, certificate, draining).await;
        });
        if tokio::time::timeout(ADMIN_CONNECTION_LIFE, served)
            .await
            .is_err()
        {
            log::debug!("admin connection from {peer}: ended for its age");
        }
    }

    /// Counts a connection that did not get to HTTP, and says so now and then: a load
    /// balancer that is set up wrongly shows nowhere else.
    fn reject(
        &self,
        peer: SocketAddr,
        local: Option<SocketAddr>,
        reason: &'static str,
        line: &str,
    ) {
        self.app.telemetry.connection_rejected(reason);
        let mut rejected = self.rejected.lock();
        let cause = match rejected.len() {
            // Texts of the system are not all known beforehand.
            MAX_CAUSES.. if !rejected.contains_key(line) => reason.to_owned(),
            _ => line.to_owned(),
        };
        let passed = rejected.entry(cause).or_default().pass();
        drop(rejected);
        if let Some(passed) = passed {
            let to = Listening(local);
            log::warn!("connection from {peer}{to} ended before its first request: {line}{passed}");
        }
    }

    /// Counts a connection that began with another protocol than its listener has, and says so now and then.
    fn tell_of_protocol(&self, stream: &ClientStream, protocol: Protocol, door: Door) {
        let reason = protocol.kind(door).name();
        self.app.telemetry.connection_rejected(reason);
        let key = (protocol, door);
        let passed = self.protocols.lock().entry(key).or_default().pass();
        let Some(passed) = passed else {
            return;
        };
        let line = protocol.line(door);
        let local = stream
            .transport()
            .tcp()
            .and_then(|tcp| tcp.local_addr().ok());
        let to = Listening(local);
        log::warn!("connection from {}{to}: {line}{passed}", stream.client());
    }

    /// Says now and then that the certificate of a client names no user, where it should.
    fn tell_of_certificate(
        &self,
        certificate: &ClientCertificate,
        connection: &Connection,
        client: SocketAddr,
    ) {
        let login = certificate.login(SystemTime::now());
        let Ok(Some(Login { user: Err(why), .. })) = login else {
            return;
        };
        let cause = format!(
            "the certificate of the client {why}; its requests are refused. Issue one with exactly one user in it, or change certificate_user"
        );
        let passed = self
            .rejected
            .lock()
            .entry(cause.clone())
            .or_default()
            .pass();
        if let Some(passed) = passed {
            let local = connection.tcp().and_then(|tcp| tcp.local_addr().ok());
            let to = Listening(local);
            log::warn!("connection from {client}{to}: {cause}{passed}");
        }
    }

    /// Says now and then that connections wait since none can be accepted.
    fn tell_of_exhaustion(&self, error: &io::Error) {
        if let Some(passed) = self.exhausted.pass() {
            let remedy = match exhaustion(error) {
                Some(_) => {
                    "; clients wait. Raise the limit on open files (LimitNOFILE= in the systemd unit, \
                     ulimit -Hn), or lower tollgate.limits.max_connections"
                }
                None => "",
            };
            log::warn!("cannot accept a connection: {error}{remedy}{passed}");
        }
    }

    /// Where a client was accepted, where an upstream learns of it.
    fn listener_of(&self, connection: &Connection) -> Option<SocketAddr> {
        if !self.app.pools.name_clients() {
            return None;
        }
        let listener = connection.tcp().and_then(|tcp| tcp.local_addr().ok());
        // A socket that has no address any more is about to end; its client is named all the same.
        listener.or(Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))))
    }

    /// What serves a connection, and where its requests come from.
    fn begin(
        &self,
        connection: Connection,
        client: SocketAddr,
        thread: u16,
    ) -> (Box<ClientStream>, Source) {
        let source = Source {
            client,
            listener: self.listener_of(&connection),
            connection: self.connections.fetch_add(1, Ordering::Relaxed),
            tls: matches!(connection, Connection::Right(_)),
            thread,
            certificate: None,
        };
        let transport = Transport::Left(connection);
        let stream = ClientStream::new(transport, client, self.app.patience());
        (Box::new(stream), source)
    }
}
