//! Tunnels (RFC 9110 §3.7): two byte streams joined until both have ended.
//!
//! Knows tokio and sockets, nothing of HTTP or Pingora.

mod buffer;
mod direction;
mod idle;
mod pace;
mod pipe;
mod relay;

use std::task::Context;
use std::time::Duration;
#[cfg(test)]
use std::{io, task::Poll};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;
use tokio::net::TcpStream;

pub use relay::{Ended, Meter, Traffic, relay};

/// A stream that can be broken off, and that tells when its peer has done so.
pub trait Socket {
    /// The TCP socket that carries this stream and no other, if there is one: to set
    /// options on and to ask for its state.
    fn tcp(&self) -> Option<&TcpStream>;

    /// The socket, when the bytes of the stream are those of the socket: nothing is
    /// encrypted, and nothing waits in user space, neither read nor written. Then
    /// they may be moved past the stream.
    fn plain_tcp(&self) -> Option<&TcpStream> {
        None
    }

    /// Has the stream reset when it is dropped: its peer learns that it was cut.
    fn reset(&mut self) {
        let Some(socket) = self.tcp() else { return };
        if let Err(error) = SockRef::from(socket).set_linger(Some(Duration::ZERO)) {
            log::debug!("tunnel: SO_LINGER: {error}");
        }
    }

    /// Whether the peer has reset the stream, seen without reading from it.
    fn is_reset(&mut self, _: &mut Context<'_>) -> bool {
        self.tcp().is_some_and(is_reset)
    }

    /// Shows a test how many bytes were taken past the stream.
    #[cfg(test)]
    fn splice_read(&self, _: Poll<io::Result<usize>>) {}

    /// Shows a test how many bytes were given past the stream.
    #[cfg(test)]
    fn splice_write(&self, _: Poll<io::Result<usize>>) {}
}

impl Socket for TcpStream {
    fn tcp(&self) -> Option<&TcpStream> {
        Some(self)
    }

    fn plain_tcp(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

/// The two ends of a tunnel. Dropped, they are reset: however the tunnel is cut,
/// both learn that the stream was cut and did not end.
struct Ends<C: Socket, U: Socket> {
    client: C,
    upstream: U,
    over: bool,
}

impl<C: Socket, U: Socket> Ends<C, U> {
    fn new(client: C, upstream: U) -> Self {
        Self {
            client,
            upstream,
            over: false,
        }
    }

    /// Both streams have ended: closing delivers what was written.
    fn end(mut self) {
        self.over = true;
    }
}

impl<C: Socket, U: Socket> Drop for Ends<C, U> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.client.reset();
        self.upstream.reset();
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
