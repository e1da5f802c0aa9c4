//! What the ends of a tunnel are made of: TCP, with TLS over it or not.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};
use tokio_util::either::Either;

use super::{Socket, poll_readable};

/// A TCP connection: as it is, or with TLS over it, of which Tollgate is one end.
pub type MaybeTls<T> = Either<TcpStream, Box<Tls<T>>>;

/// TLS over a TCP connection.
#[derive(Debug)]
pub struct Tls<T>(pub T);

impl Socket for Tls<client::TlsStream<TcpStream>> {
    fn tcp(&self) -> Option<&TcpStream> {
        Some(self.0.get_ref().0)
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let (socket, session) = self.0.get_ref();
        poll_readable_tls(socket, session.wants_read(), cx)
    }
}

/// TLS inside of TLS: to a server through a parent that is spoken to with TLS.
impl Socket for Tls<client::TlsStream<Box<Tls<client::TlsStream<TcpStream>>>>> {
    fn tcp(&self) -> Option<&TcpStream> {
        self.0.get_ref().0.tcp()
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let (outer, session) = self.0.get_mut();
        if !session.wants_read() {
            return Poll::Ready(Ok(RECORD));
        }
        outer.poll_readable(cx)
    }
}

impl Socket for Tls<server::TlsStream<TcpStream>> {
    fn tcp(&self) -> Option<&TcpStream> {
        Some(self.0.get_ref().0)
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let (socket, session) = self.0.get_ref();
        poll_readable_tls(socket, session.wants_read(), cx)
    }
}

/// The most bytes of a record (RFC 8446 §5.1).
const RECORD: u64 = 16 * 1024;

/// A session that does not want to read has decrypted a record already, or has ended. Else the bytes of the socket are a few
/// more than those inside them.
fn poll_readable_tls(
    socket: &TcpStream,
    wants_read: bool,
    cx: &mut Context<'_>,
) -> Poll<io::Result<u64>> {
    if !wants_read {
        return Poll::Ready(Ok(RECORD));
    }
    poll_readable(socket, cx)
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

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        match self {
            Self::Left(stream) => stream.poll_readable(cx),
            Self::Right(stream) => stream.poll_readable(cx),
        }
    }

    fn is_reset(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::Left(stream) => stream.is_reset(cx),
            Self::Right(stream) => stream.is_reset(cx),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Tls<T> {
    /// A peer that closes without close_notify has ended its side. What it sent is complete by the framing of
    /// the protocol inside, or not.
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.0).poll_read(cx, buf) {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Ok(()))
            }
            read => read,
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Tls<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
