//! What the ends of a tunnel are made of: TCP, with TLS over it or not.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};
use tokio_util::either::Either;

use super::Socket;

/// A TCP connection, as it is or with the TLS of one of its ends.
#[derive(Debug)]
pub enum MaybeTls<T> {
    /// TCP as it is.
    Plain(TcpStream),
    /// TLS over it.
    Tls(Box<T>),
}

impl<T: Socket> Socket for MaybeTls<T> {
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(stream) => stream.tcp(),
        }
    }

    fn plain_tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(_) => None,
        }
    }
}

impl Socket for client::TlsStream<TcpStream> {
    fn tcp(&self) -> Option<&TcpStream> {
        Some(self.get_ref().0)
    }
}

impl Socket for server::TlsStream<TcpStream> {
    fn tcp(&self) -> Option<&TcpStream> {
        Some(self.get_ref().0)
    }
}

impl<L: Socket, R: Socket> Socket for Either<L, Box<R>> {
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Left(stream) => stream.tcp(),
            Self::Right(stream) => stream.tcp(),
        }
    }

    fn plain_tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Left(stream) => stream.plain_tcp(),
            Self::Right(stream) => stream.plain_tcp(),
        }
    }

    fn reset(&mut self) {
        match self {
            Self::Left(stream) => stream.reset(),
            Self::Right(stream) => stream.reset(),
        }
    }

    fn is_reset(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::Left(stream) => stream.is_reset(cx),
            Self::Right(stream) => stream.is_reset(cx),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for MaybeTls<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            // A peer that closes without close_notify has ended its side. What it sent is complete by the
            // framing of the protocol inside, or not.
            Self::Tls(stream) => match Pin::new(stream).poll_read(cx, buf) {
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Poll::Ready(Ok(()))
                }
                read => read,
            },
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for MaybeTls<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
