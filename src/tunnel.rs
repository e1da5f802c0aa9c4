//! Tunnels (RFC 9110 §3.7): two byte streams joined until both have ended.
//!
//! Knows tokio and sockets, nothing of HTTP or Pingora.

mod buffer;
mod direction;
mod idle;
mod relay;

use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
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

/// Makes `socket` pass on at once what it is given, and makes closing it a
/// reset: however the tunnel is cut, be it by the end of the process, the other
/// end learns that the stream was cut and did not end.
fn open(socket: &TcpStream) {
    // A sender that waits between two small writes must not wait for Nagle too.
    log_failure("TCP_NODELAY", socket.set_nodelay(true));
    let linger = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
    log_failure("SO_LINGER", linger);
}

/// Undoes [`open`] for a stream that has ended: what was written is delivered.
fn end(socket: &TcpStream) {
    let linger = socket2::SockRef::from(socket).set_linger(None);
    log_failure("SO_LINGER", linger);
}

fn log_failure(option: &str, result: io::Result<()>) {
    if let Err(error) = result {
        log::debug!("tunnel: {option}: {error}");
    }
}

/// Whether the connection was reset, seen without reading from it. When the
/// system does not say, it was not: whoever asks will ask again.
fn is_reset(socket: &TcpStream) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::empty())];
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(_) => fds.iter().any(|fd| fd.revents().contains(PollFlags::ERR)),
        Err(error) => {
            log::debug!("tunnel: poll: {error}");
            false
        }
    }
}
