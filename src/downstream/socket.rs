//! Listening sockets: made or inherited, and what their connections are for.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::net::SocketFlags;
use socket2::{Domain, Protocol, Socket, Type};

use crate::admin::Admin;
use crate::config::{self, ListenerTls, Senders, Socks5};

/// The system caps it (net.core.somaxconn); here it should not be the bound.
const BACKLOG: i32 = 65_535;

/// What listens on an address, and for what.
#[derive(Debug)]
pub struct Listener {
    pub(super) socket: std::net::TcpListener,
    pub(super) kind: ListenerKind,
}

/// What the connections of a listener get.
#[derive(Clone)]
pub enum ListenerKind {
    /// The proxy itself.
    Proxy {
        /// TLS, where the listener has it.
        tls: Option<Arc<ListenerTls>>,
        /// Who begins each connection with a PROXY header.
        proxy_protocol: Option<Senders>,
        /// Whether clients may speak HTTP/2.
        http2: bool,
        /// Whether clients may speak SOCKS5.
        socks5: Socks5,
    },
    /// Metrics and statistics.
    Admin(Arc<Admin>),
}

impl fmt::Debug for ListenerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Proxy {
            tls,
            proxy_protocol,
            socks5,
            ..
        } = self
        else {
            return f.write_str("admin");
        };
        f.write_str(match socks5 {
            Socks5::Never => "proxy",
            Socks5::Also => "HTTP and SOCKS5 proxy",
            Socks5::Only => "SOCKS5 proxy",
        })?;
        if tls.is_some() {
            f.write_str(" with TLS")?;
        }
        if proxy_protocol.is_some() {
            f.write_str(" behind the PROXY protocol")?;
        }
        Ok(())
    }
}

impl ListenerKind {
    /// The kind of a listener of the configuration.
    pub fn proxy(listener: &config::Listener) -> Self {
        Self::Proxy {
            tls: listener.tls.clone(),
            proxy_protocol: listener.proxy_protocol.clone(),
            http2: listener.http2,
            socks5: listener.socks5,
        }
    }
}

impl Listener {
    /// Takes over a socket that listens already.
    ///
    /// # Errors
    /// The socket cannot be made non-blocking.
    pub fn inherited(socket: OwnedFd, kind: ListenerKind) -> io::Result<Self> {
        let socket = Socket::from(socket);
        prepare_listening(&socket)?;
        let socket = socket.into();
        Ok(Self { socket, kind })
    }

    /// Listens on `address`.
    ///
    /// # Errors
    /// The system's, as when the address is taken.
    pub fn bind(address: SocketAddr, kind: ListenerKind) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        // A restart must not wait for connections of the last run to time out.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // Said here, whatever the system's default: IPv4 has a socket of its own.
            socket.set_only_v6(true)?;
        }
        prepare_listening(&socket)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = socket.into();
        Ok(Self { socket, kind })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The same listener for another task that accepts.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            kind: self.kind.clone(),
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
        write!(f, "{:?} on ", self.kind)?;
        match self.socket.local_addr() {
            Ok(address) => address.fmt(f),
            Err(error) => error.fmt(f),
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
pub(super) fn accept(
    socket: &std::net::TcpListener,
) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (stream, peer) = rustix::net::acceptfrom_with(socket, flags)?;
    let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
    // A socket that another process opened may take both families.
    Ok((stream.into(), config::canonical(peer.try_into()?)))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpStream;

    use super::*;

    fn kind() -> ListenerKind {
        ListenerKind::Proxy {
            tls: None,
            proxy_protocol: None,
            http2: false,
            socks5: Socks5::Never,
        }
    }

    #[tokio::test]
    async fn connections_do_not_wait_for_more_to_send() {
        let bound = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), kind()).unwrap();
        // As from a process that did not set it.
        let foreign = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let inherited = Listener::inherited(foreign.into(), kind()).unwrap();
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
