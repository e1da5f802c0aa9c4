//! Ports for a program that must be told literal numbers.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// A loopback port that nobody else is given while this lives.
///
/// The socket stays bound without listening, with `SO_REUSEADDR`: the program, which sets it too,
/// can listen there, while neither `bind(0)` nor a connecting socket is given the number.
pub(crate) struct Port {
    _reservation: Socket,
    pub(crate) address: SocketAddr,
}

impl Port {
    pub(crate) fn reserve() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self {
            _reservation: socket,
            address,
        }
    }
}
