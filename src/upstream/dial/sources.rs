//! The addresses that connections to servers come from.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpSocket, TcpStream};

/// Source addresses, which connections take in turn; none: the system chooses.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    v4: Arc<[IpAddr]>,
    v6: Arc<[IpAddr]>,
    next: Arc<AtomicUsize>,
}

impl Sources {
    /// These addresses of this machine.
    pub fn new(addresses: &[IpAddr]) -> Self {
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|it| it.is_ipv4());
        Self {
            v4: v4.into(),
            v6: v6.into(),
            next: Arc::default(),
        }
    }

    /// Connects from the next address of the family of `to`.
    pub(super) async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let sources = if to.is_ipv4() { &self.v4 } else { &self.v6 };
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(source) = turn
            .checked_rem(sources.len())
            .and_then(|at| sources.get(at))
        else {
            return TcpStream::connect(to).await;
        };
        let socket = match to {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        choose_port_late(&socket)?;
        socket.bind(SocketAddr::new(*source, 0))?;
        socket.connect(to).await
    }
}

/// Has the port chosen when the socket connects: else the ports of one address are a limit for all servers together.
#[cfg(target_os = "linux")]
fn choose_port_late(socket: &TcpSocket) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};

    Ok(setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?)
}

/// There is no such option.
#[cfg(not(target_os = "linux"))]
fn choose_port_late(_: &TcpSocket) -> io::Result<()> {
    Ok(())
}
