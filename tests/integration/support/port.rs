//! Ports for a program that must be told literal numbers.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

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

/// Listens on one port of all these addresses. What `bind(0)` finds free on one may be in use on
/// another, so it looks for such a port.
pub(crate) fn one_port_of<const N: usize>(hosts: [&str; N]) -> [TcpListener; N] {
    for _ in 0..100 {
        let mut port = 0;
        let listeners = hosts.map(|host| {
            let listener = TcpListener::bind((host, port)).ok()?;
            port = listener.local_addr().unwrap().port();
            Some(listener)
        });
        if listeners.iter().all(Option::is_some) {
            return listeners.map(Option::unwrap);
        }
    }
    panic!("no port is free on all of {hosts:?}");
}

/// A listener whose queue is full: it answers nothing to a SYN.
pub(crate) struct FullQueue {
    _listener: Socket,
    _filler: Vec<std::io::Result<TcpStream>>,
    pub(crate) address: SocketAddr,
}

impl FullQueue {
    pub(crate) fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let fill = |_| TcpStream::connect_timeout(&address, Duration::from_millis(200));
        Self {
            _filler: (0..4).map(fill).collect(),
            _listener: socket,
            address,
        }
    }
}
