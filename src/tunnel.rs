//! Tunnels (RFC 9110 §3.7): the relay between two byte streams until both have ended.
//!
//! Knows tokio and sockets, nothing of HTTP or Pingora.

mod buffer;
mod direction;
mod idle;
mod pace;
mod pipe;
mod relay;
mod stream;

use std::os::fd::AsFd;
use std::task::Context;
use std::time::Duration;
#[cfg(test)]
use std::{io, task::Poll};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};

pub use relay::{Ended, Meter, Traffic, relay};
pub use stream::{MaybeTls, Tls};

/// A stream that can be reset, and that detects a reset by its peer.
pub trait Socket {
    /// The TCP socket that carries only this stream, if there is one, for options
    /// and its state.
    fn tcp(&self) -> Option<&TcpStream>;

    /// The socket, when the stream passes its bytes on unchanged: without encryption
    /// and without buffered bytes in either direction. Then splice(2) may bypass the
    /// stream.
    fn plain_tcp(&self) -> Option<&TcpStream> {
        None
    }

    /// Resets the stream when it is dropped, so that the peer detects the abort.
    fn reset(&mut self) {
        let Some(socket) = self.tcp() else { return };
        if let Err(error) = SockRef::from(socket).set_linger(Some(Duration::ZERO)) {
            log::debug!("tunnel: SO_LINGER: {error}");
        }
    }

    /// Whether the peer has reset the stream. Does not read from it.
    fn is_reset(&mut self, _: &mut Context<'_>) -> bool {
        self.tcp().is_some_and(is_reset)
    }

    /// Shows a test how many bytes were read by splice(2).
    #[cfg(test)]
    fn splice_read(&self, _: Poll<io::Result<usize>>) {}

    /// Shows a test how many bytes were written by splice(2).
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

impl Socket for UnixStream {
    fn tcp(&self) -> Option<&TcpStream> {
        None
    }

    // It has no reset: a peer finds out by the end of the stream.
    fn is_reset(&mut self, _: &mut Context<'_>) -> bool {
        is_reset(self)
    }
}

/// The two ends of a tunnel. Dropping them resets them unless both streams have ended, so
/// that both peers detect an aborted tunnel.
struct Ends<C: Socket, U: Socket> {
    client: C,
    upstream: U,
    ended: bool,
}

impl<C: Socket, U: Socket> Ends<C, U> {
    fn new(client: C, upstream: U) -> Self {
        Self {
            client,
            upstream,
            ended: false,
        }
    }

    /// Both streams have ended: they are closed and not reset, which delivers the written bytes.
    fn end(&mut self) {
        self.ended = true;
    }
}

impl<C: Socket, U: Socket> Drop for Ends<C, U> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.client.reset();
        self.upstream.reset();
    }
}

/// Whether the connection was reset. Does not read from it. False when the system
/// call fails: the caller checks again later.
fn is_reset(socket: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::empty())];
    match poll(&mut fds, Some(&Timespec::default())) {
        Ok(_) => fds.iter().any(|fd| fd.revents().contains(PollFlags::ERR)),
        Err(error) => {
            log::debug!("tunnel: poll: {error}");
            false
        }
    }
}
