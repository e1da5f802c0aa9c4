//! Tunnels (RFC 9110 §3.7): two byte streams joined until both have ended.
//!
//! Knows tokio and sockets, nothing of HTTP or Pingora.

mod buffer;
mod relay;

use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use tokio::net::TcpStream;

pub use relay::{Ended, Meter, Traffic, relay};

/// A stream with a TCP socket underneath.
pub trait Socket {
    /// The socket, to set options on and to ask for its state.
    fn tcp(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

/// Makes closing `socket` send a reset at once, so that the other end learns
/// that the stream was cut and did not end.
fn reset_on_close(socket: &TcpStream) {
    if let Err(error) = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO)) {
        log::debug!("tunnel: SO_LINGER: {error}");
    }
}

/// Whether the connection was reset, seen without reading from it.
fn is_reset(socket: &TcpStream) -> io::Result<bool> {
    let mut fds = [PollFd::new(socket, PollFlags::empty())];
    poll(&mut fds, Some(&rustix::event::Timespec::default()))?;
    Ok(fds.iter().any(|fd| fd.revents().contains(PollFlags::ERR)))
}
