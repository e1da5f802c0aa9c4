//! What happens to a connection before a request is served: accept, bounds,
//! PROXY header, TLS. Then `connection` takes over.
//!
//! Tollgate accepts by itself instead of through Pingora's listeners, and hands
//! Pingora one checked request at a time: bounds on a head, a deadline for all of
//! it, strict framing and tunnels are to be had in no other way.

mod connection;
mod http2;
mod proxy_protocol;
mod request;
mod threads;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pingora_core::protocols::l4::stream::Stream as PingoraStream;
use pingora_proxy::HttpProxy;
use rustix::net::SocketFlags;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

pub use self::threads::ThreadOptions;
use self::threads::Threads;
use crate::admin::Admin;
use crate::app::App;
use crate::client::{ClientStream, Transport};
use crate::config;
use crate::exchange::Source;
use crate::forward::Forward;

/// The system caps it (net.core.somaxconn); here it should not be the bound.
const BACKLOG: i32 = 65_535;

/// Connections of the admin service. They are not clients', and must be there to
/// look at a proxy that has as many of those as it may have.
const MAX_ADMIN_CONNECTIONS: usize = 64;

/// How long one of them may be open, whatever it does.
const ADMIN_CONNECTION_LIFE: Duration = Duration::from_secs(600);

/// What is still taken from the queue when the process drains: as much as the
/// queue holds by default, so that new arrivals cannot keep it going.
const MAX_LATE_CONNECTIONS: usize = 4096;

/// How long accepting rests when the process has no descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// What listens on an address, and for what.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
    purpose: Purpose,
}

/// What the connections of a listener get.
#[derive(Clone)]
pub enum Purpose {
    /// The proxy itself.
    Proxy {
        /// TLS, where the listener has it.
        tls: Option<TlsAcceptor>,
        /// Whether each connection begins with a PROXY header.
        proxy_protocol: bool,
        /// Whether clients may speak HTTP/2.
        http2: bool,
    },
    /// Metrics and statistics.
    Admin(Arc<Admin>),
}

impl fmt::Debug for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proxy {
                tls,
                proxy_protocol,
                ..
            } => match (tls.is_some(), proxy_protocol) {
                (false, false) => "proxy",
                (true, false) => "proxy with TLS",
                (false, true) => "proxy behind the PROXY protocol",
                (true, true) => "proxy with TLS behind the PROXY protocol",
            },
            Self::Admin(_) => "admin",
        })
    }
}

impl Purpose {
    /// The purpose of a listener of the configuration.
    pub fn proxy(listener: &config::Listener) -> Self {
        Self::Proxy {
            tls: listener.tls.clone().map(TlsAcceptor::from),
            proxy_protocol: listener.proxy_protocol,
            http2: listener.http2,
        }
    }
}

impl Listener {
    /// Takes over a socket that listens already.
    ///
    /// # Errors
    /// The socket cannot be made non-blocking.
    pub fn inherited(socket: OwnedFd, purpose: Purpose) -> io::Result<Self> {
        let socket = Socket::from(socket);
        prepare_listening(&socket)?;
        let socket = socket.into();
        Ok(Self { socket, purpose })
    }

    /// Listens on `address`.
    ///
    /// # Errors
    /// The system's, as when the address is taken.
    pub fn bind(address: SocketAddr, purpose: Purpose) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        // A restart must not wait for connections of the last run to time out.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // So that 0.0.0.0 and [::] can both be configured.
            socket.set_only_v6(true)?;
        }
        prepare_listening(&socket)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = socket.into();
        Ok(Self { socket, purpose })
    }

    /// The same listener for another task that accepts.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            purpose: self.purpose.clone(),
        })
    }

    /// The socket, to hand it to another process.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} on ", self.purpose)?;
        match self.socket.local_addr() {
            Ok(address) => address.fmt(f),
            Err(error) => error.fmt(f),
        }
    }
}

/// Serves connections: what the accept loops share.
pub struct Acceptor {
    app: Arc<App>,
    proxy: Arc<HttpProxy<Forward>>,
    places: Arc<Semaphore>,
    admin_places: Arc<Semaphore>,
    threads: Threads,
    connections: AtomicU64,
    started: Instant,
    /// The second of the last warning.
    warned_at: AtomicU64,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor")
            .field("places", &self.places.available_permits())
            .finish_non_exhaustive()
    }
}

impl Acceptor {
    /// Serves with the parts of `app`, and with Pingora for what is not a tunnel. Starts the
    /// threads; to be called on the first of them.
    pub fn new(app: Arc<App>, proxy: Arc<HttpProxy<Forward>>, threads: ThreadOptions) -> Self {
        let places = Arc::new(Semaphore::new(app.limits.max_connections));
        Self {
            app,
            proxy,
            places,
            admin_places: Arc::new(Semaphore::new(MAX_ADMIN_CONNECTIONS)),
            threads: Threads::start(threads),
            connections: AtomicU64::new(0),
            started: Instant::now(),
            warned_at: AtomicU64::new(0),
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
        let purpose = listener.purpose;
        let places = match purpose {
            Purpose::Proxy { .. } => &self.places,
            Purpose::Admin(_) => &self.admin_places,
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
                // The client was faster than we were.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => {
                    log::warn!("cannot accept a connection: {error}");
                    self.app.telemetry.connection_rejected("accept_error");
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                    continue;
                }
            };
            let place = tokio::select! {
                // What was accepted is served when it can be, also when draining has begun.
                biased;
                place = Arc::clone(places).acquire_owned() => place.map_err(io::Error::other)?,
                // Dropped: it would have been served by nobody.
                _ = draining.wait_for(|draining| *draining) => break,
            };
            self.spawn(stream, peer, place, purpose.clone());
        }
        if !self.app.lifecycle.has_successor() {
            self.accept_late(socket.get_ref(), places, &purpose);
        }
        Ok(())
    }

    /// Whoever is in the queue has a connection already as far as the client knows;
    /// closing the socket would reset it. The runtime's own accept may say "not yet"
    /// with the queue full, so the socket is asked itself.
    fn accept_late(
        self: &Arc<Self>,
        socket: &std::net::TcpListener,
        places: &Arc<Semaphore>,
        purpose: &Purpose,
    ) {
        for _ in 0..MAX_LATE_CONNECTIONS {
            let Ok(place) = Arc::clone(places).try_acquire_owned() else {
                break;
            };
            let (stream, peer) = match accept(socket) {
                Ok(connection) => connection,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(_) => break,
            };
            self.spawn(stream, peer, place, purpose.clone());
        }
    }

    fn spawn(
        self: &Arc<Self>,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        place: OwnedSemaphorePermit,
        purpose: Purpose,
    ) {
        // Counted before the accept loop goes on, so that draining waits for it.
        let busy = self.app.lifecycle.busy();
        let acceptor = Arc::clone(self);
        let seat = self.threads.choose();
        let spawned = seat.spawn(stream, move |stream, seat| async move {
            acceptor.serve(stream, peer, purpose, seat.thread()).await;
            drop((seat, place, busy));
        });
        if let Err(error) = spawned {
            self.reject(peer, "accept_error", &error);
        }
    }

    async fn serve(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        purpose: Purpose,
        thread: u16,
    ) {
        match purpose {
            // Nothing comes before HTTP, so nothing has to be waited for.
            Purpose::Proxy {
                tls: None,
                proxy_protocol: false,
                http2,
            } => {
                let _open = self.app.telemetry.connection_opened();
                let transport = Transport::Plain(stream);
                self.serve_http(transport, peer, http2, thread).await;
            }
            Purpose::Proxy {
                tls,
                proxy_protocol,
                http2,
            } => {
                let _open = self.app.telemetry.connection_opened();
                let limit = self.app.timeouts.tls_handshake;
                // Boxed, since a handshake takes more room than a connection that waits.
                let prepared = Box::pin(prepare(stream, peer, tls, proxy_protocol));
                match tokio::time::timeout(limit, prepared).await {
                    Ok(Ok((transport, client))) => {
                        self.serve_http(transport, client, http2, thread).await;
                    }
                    Ok(Err(error)) => self.reject(peer, "handshake_failed", &error),
                    Err(elapsed) => self.reject(peer, "handshake_timeout", &elapsed),
                }
            }
            Purpose::Admin(admin) => {
                let draining = self.app.lifecycle.watch();
                let served = Box::pin(admin.serve(PingoraStream::from(stream), draining));
                if tokio::time::timeout(ADMIN_CONNECTION_LIFE, served)
                    .await
                    .is_err()
                {
                    log::debug!("admin connection from {peer}: ended for its age");
                }
            }
        }
    }

    /// Counts a connection that did not get to HTTP, and says so now and then: a load
    /// balancer that is set up wrongly shows nowhere else.
    fn reject(&self, peer: SocketAddr, reason: &'static str, error: &dyn fmt::Display) {
        self.app.telemetry.connection_rejected(reason);
        let now = self.started.elapsed().as_secs() + 1;
        if self.warned_at.swap(now, Ordering::Relaxed) != now {
            log::warn!("connection from {peer} ended before its first request: {error}");
        }
    }

    async fn serve_http(
        self: &Arc<Self>,
        transport: Transport,
        client: SocketAddr,
        http2: bool,
        thread: u16,
    ) {
        let source = Source {
            client,
            connection: self.connections.fetch_add(1, Ordering::Relaxed),
            tls: transport.is_tls(),
            thread,
        };
        let chosen = transport.has_agreed_on_http2();
        let stream = Box::new(ClientStream::new(transport, client, self.app.timeouts.send));
        if chosen {
            Box::pin(http2::serve(self, stream, source)).await;
        } else {
            connection::serve(self, stream, source, http2).await;
        }
    }
}

/// What holds for a listening socket and, as it is inherited, for its connections: a
/// sender that waits for more to send adds a round trip to small messages.
fn prepare_listening(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)
}

/// Takes a connection from the queue, for whichever thread serves it: the runtime's own
/// accept would have it told of what happens there to the thread that accepts.
fn accept(socket: &std::net::TcpListener) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (stream, peer) = rustix::net::acceptfrom_with(socket, flags)?;
    let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
    Ok((stream.into(), peer.try_into()?))
}

/// All that comes before HTTP on a connection.
async fn prepare(
    mut stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    proxy_protocol: bool,
) -> io::Result<(Transport, SocketAddr)> {
    let client = if proxy_protocol {
        proxy_protocol::read_header(&mut stream)
            .await?
            .unwrap_or(peer)
    } else {
        peer
    };
    let transport = match tls {
        Some(acceptor) => Transport::Tls(Box::new(acceptor.accept(stream).await?)),
        None => Transport::Plain(stream),
    };
    Ok((transport, client))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn purpose() -> Purpose {
        Purpose::Proxy {
            tls: None,
            proxy_protocol: false,
            http2: false,
        }
    }

    #[tokio::test]
    async fn connections_do_not_wait_for_more_to_send() {
        let bound = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), purpose()).unwrap();
        // As from a process that did not set it.
        let foreign = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let inherited = Listener::inherited(foreign.into(), purpose()).unwrap();
        for listener in [bound, inherited] {
            let address = listener.socket.local_addr().unwrap();
            let client = TcpStream::connect(address).await.unwrap();
            let (accepted, peer) = accept(&listener.socket).unwrap();
            assert!(accepted.nodelay().unwrap());
            assert_eq!(peer, client.local_addr().unwrap());
            // There is no other one, and that is not waited for.
            let none = accept(&listener.socket).unwrap_err();
            assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
        }
    }
}
