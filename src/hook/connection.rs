//! A connection as a hook sees it, before a byte of HTTP is read.

use std::net::{IpAddr, SocketAddr};

/// A client's connection: what came before HTTP is known, and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    pub(crate) client: SocketAddr,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) tls: bool,
}

/// What happens after a hook has seen a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionFlow {
    /// Requests are read.
    Go,
    /// The connection is closed without an answer.
    Close,
}

impl Connection {
    /// The client's address, or the one that a PROXY protocol header gave.
    pub fn client(&self) -> IpAddr {
        self.client.ip().to_canonical()
    }

    /// The address of the listener, as the client has reached it; none where the system does not tell.
    pub fn listener(&self) -> Option<SocketAddr> {
        self.local
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls
    }
}
