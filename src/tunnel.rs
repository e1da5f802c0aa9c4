//! Tunnels (RFC 9110 §3.7): the relay between two byte streams until both have ended.
//!
//! Knows tokio and sockets, nothing of HTTP or Pingora.

mod buffer;
mod direction;
mod idle;
mod meter;
mod pace;
mod pipe;
mod relay;
mod stream;

use std::io;
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionread;
use rustix::net::{RecvFlags, recv};
use socket2::SockRef;
use tokio::io::{Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

pub use meter::{Meter, Source, Traffic};
pub use relay::{Ended, relay};
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

    /// Ready with about how many bytes a read finds, which stay where they are: 0 when the stream has ended, and the most
    /// there is when it cannot tell. Pending when there are none yet; the task is woken when there are.
    ///
    /// # Errors
    /// The stream's. It may tell them once alone.
    fn poll_readable(&mut self, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(u64::MAX))
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

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        poll_readable(self, cx)
    }
}

impl Socket for UnixStream {
    fn tcp(&self) -> Option<&TcpStream> {
        None
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        loop {
            ready!(self.poll_read_ready(cx))?;
            let peeked = self.try_io(Interest::READABLE, || {
                let (_, count) = recv(&*self, &mut [0], RecvFlags::PEEK)?;
                Ok(count)
            });
            match peeked {
                Ok(0) => return Poll::Ready(Ok(0)),
                Ok(_) => return Poll::Ready(Ok(count_readable(&*self))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
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

/// As [`Socket::poll_readable`].
fn poll_readable(socket: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
    Poll::Ready(Ok(
        match ready!(socket.poll_peek(cx, &mut ReadBuf::new(&mut [0])))? {
            0 => 0,
            _ => count_readable(socket),
        },
    ))
}

/// What a socket has received, which is something.
fn count_readable(socket: &impl AsFd) -> u64 {
    ioctl_fionread(socket).map_or(u64::MAX, |count| count.max(1))
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
