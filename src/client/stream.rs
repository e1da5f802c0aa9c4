//! A client's connection: the transport, what was read from it too early, and what
//! is not yet written to it.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop::has_budget_remaining;
use tokio::time::{Instant, Sleep, sleep};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::clock::Clock;
use super::http2::Http2Stream;
use super::trailers::last_chunk;
use crate::http::http1::{BodyScanner, Framing, FramingError};
use crate::tunnel::{MaybeTls, Socket};

/// Writes up to this size are held back until a flush, so that a response head
/// and a small body leave in one segment and one system call.
const WRITE_BUFFER: usize = 16 * 1024;

/// The most that one read takes from the wire while a head is awaited. On the
/// stack: a connection that waits holds no buffer.
const READ_CHUNK: usize = 8 * 1024;

/// Room behind what was read, for the fields that are added to a head.
const HEAD_ROOM: usize = 160;

/// How long, and for how many bytes, a connection that this side closes is still read.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;

/// An accepted connection. Its TLS is terminated here.
pub type Connection = MaybeTls<TlsStream<TcpStream>>;

/// What carries a client's requests: a connection, or one stream of HTTP/2 with one request and its answer.
pub type Transport = Either<Connection, Box<Http2Stream>>;

/// How long a client is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// While it reads nothing.
    pub send: Duration,
    /// After it has ended its side, until its answer begins.
    pub half_closed: Duration,
}

/// A client's connection and the bytes on their way through it.
#[derive(Debug)]
pub struct ClientStream {
    pub(super) transport: Transport,
    client: SocketAddr,
    /// Read from the wire, not yet handed on.
    inbox: BytesMut,
    /// Handed over for writing, not yet on the wire.
    outbox: Vec<u8>,
    ended: bool,
    /// Follows the body of the last request.
    pub(super) body: BodyScanner,
    /// Bytes that the wire has taken.
    written: u64,
    /// How far the answer was when its writer last came to wait with bytes held back.
    held_at: u64,
    /// Ends a write of which the wire takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
    /// Since the client has ended its side.
    half_closed: Option<HalfClosed>,
    patience: Patience,
    clock: Clock,
}

/// A client that has ended its side.
#[derive(Debug)]
struct HalfClosed {
    /// What the wire had taken then. If it takes more, and the client does not answer with a reset, it is there.
    written: u64,
    timer: Pin<Box<Sleep>>,
}

impl ClientStream {
    /// Takes over an accepted connection. `client` is the address for policy and log: that of
    /// the peer, or the one in a PROXY header. A client that is waited for in vain loses its connection.
    pub fn new(transport: Transport, client: SocketAddr, patience: Patience) -> Self {
        Self {
            transport,
            client,
            inbox: BytesMut::new(),
            outbox: Vec::new(),
            ended: false,
            body: BodyScanner::new(Framing::None),
            written: 0,
            held_at: 0,
            stall: None,
            half_closed: None,
            patience,
            clock: Clock::default(),
        }
    }

    pub fn client(&self) -> SocketAddr {
        self.client
    }

    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    pub fn is_http2(&self) -> bool {
        matches!(self.transport, Either::Right(_))
    }

    /// What tells it from the others that are open, in logs.
    pub(super) fn id(&self) -> i32 {
        match &self.transport {
            Either::Left(connection) => connection.tcp().map_or(0, AsRawFd::as_raw_fd),
            Either::Right(stream) => i32::try_from(stream.id()).unwrap_or_default(),
        }
    }

    /// Bytes that are here already.
    pub fn inbox(&self) -> &[u8] {
        &self.inbox
    }

    /// Takes the first `len` bytes that are here already.
    pub fn take(&mut self, len: usize) -> BytesMut {
        if len == self.inbox.len() {
            // Splitting would make both halves share a counted buffer.
            return std::mem::take(&mut self.inbox);
        }
        self.inbox.split_to(len)
    }

    /// Whether the client has ended its side.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Whether the last body was taken from the wire to its end.
    pub fn body_is_done(&self) -> bool {
        self.body.is_done()
    }

    /// Reads what the wire has into the inbox; 0 when the client has ended its side.
    ///
    /// # Errors
    /// The transport's.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::<u8>::uninit(); READ_CHUNK];
        let mut buf = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.transport).poll_read(cx, &mut buf))?;
        if self.inbox.is_empty() {
            self.inbox.reserve(buf.filled().len() + HEAD_ROOM);
        }
        self.inbox.extend_from_slice(buf.filled());
        self.ended |= buf.filled().is_empty();
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Ready at `deadline`. The connection has one timer: it wakes the task that polled it last.
    pub fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        self.clock.poll(cx, deadline)
    }

    /// Gives idle memory back while the connection waits for its next request.
    pub fn release_buffers(&mut self) {
        if self.inbox.is_empty() {
            self.inbox = BytesMut::new();
        }
        if self.outbox.is_empty() {
            self.outbox = Vec::new();
        }
    }

    /// Writes all of `bytes` to the wire.
    ///
    /// # Errors
    /// The transport's.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        poll_fn(|cx| self.poll_drain(cx)).await?;
        self.transport.write_all(bytes).await?;
        self.transport.flush().await
    }

    /// Writes what the wire takes of `bytes`, at once.
    ///
    /// # Errors
    /// The transport's, also when it takes nothing any more.
    pub fn poll_pass(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.transport).poll_write(cx, bytes))?;
        if written == 0 && !bytes.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        // What it holds back goes with the next write at the latest.
        let _ = Pin::new(&mut self.transport).poll_flush(cx)?;
        Poll::Ready(Ok(written))
    }

    /// Ends our side, then reads on for a while as long as the client sends:
    /// closing a socket with unread bytes resets it, and a reset can destroy an
    /// answer before the client has read it (RFC 9112 §9.6).
    pub async fn linger_briefly(self) {
        self.linger_until(Instant::now()).await;
    }

    /// As [`linger_briefly`](Self::linger_briefly), but up to `deadline` at least.
    pub async fn linger_until(self, deadline: Instant) {
        let deadline = deadline.max(Instant::now() + LINGER_TIME);
        if tokio::time::timeout_at(deadline, self.linger())
            .await
            .is_err()
        {
            log::trace!("client connection: closed while it still sent");
        }
    }

    async fn linger(mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_drain(cx)).await?;
        self.transport.shutdown().await?;
        let mut read = 0;
        // A stream of HTTP/2 that is closed with bytes unread takes nothing from the client.
        while !self.is_http2() && !self.ended && read < LINGER_BYTES {
            self.inbox.clear();
            read += poll_fn(|cx| self.poll_fill(cx)).await?;
        }
        Ok(())
    }

    /// Gives up HTTP: the transport, and what the client has sent behind the head.
    pub fn into_parts(self) -> (Transport, BytesMut) {
        (self.transport, self.inbox)
    }

    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbox.is_empty() {
            let written = ready!(Pin::new(&mut self.transport).poll_write(cx, &self.outbox))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outbox.drain(..written);
            self.written += written as u64;
            self.stall = None;
        }
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    /// Sends what is held back while the origin pauses: Pingora flushes an answer whose
    /// length is known at its end alone. Not at once, since the body mostly follows its
    /// head, but when there is nothing new the next time.
    pub(super) fn release(&mut self, cx: &mut Context<'_>) {
        if self.outbox.is_empty() {
            return;
        }
        let at = self.written + self.outbox.len() as u64;
        if self.held_at == at {
            // A failure shows again with the next write.
            let _ = self.poll_drain(cx);
        } else {
            self.held_at = at;
            cx.waker().wake_by_ref();
        }
    }

    /// Turns a write that has been pending for too long into an error. Any byte that
    /// the wire takes begins the wait anew.
    #[inline]
    pub(super) fn guard<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if write.is_pending() {
            return self.poll_stall(cx).map(Err);
        }
        if self.stall.is_some() {
            self.stall = None;
        }
        write
    }

    /// Ready with the error when the write that is pending has been so for too long.
    #[cold]
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !has_budget_remaining() {
            // The turn of the task is over, not the patience with the client.
            return Poll::Pending;
        }
        let limit = self.patience.send;
        let timer = self.stall.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// How many bytes a read of the body finds, as [`Socket::poll_readable`].
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        match self.inbox.len() {
            0 => self.transport.poll_readable(cx),
            count => Poll::Ready(Ok(count as u64)),
        }
    }

    /// Reads bytes of the request's body, and nothing behind them.
    pub(super) fn poll_read_body(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.body.is_done() {
            return self.poll_watch(cx);
        }
        if self.inbox.is_empty() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.transport).poll_read(cx, buf))?;
            let fresh = buf.filled().get(before..).unwrap_or_default();
            if fresh.is_empty() {
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
            let own = self.body.scan(fresh).map_err(invalid)?;
            self.inbox
                .extend_from_slice(fresh.get(own..).unwrap_or_default());
            buf.set_filled(before + own);
        } else {
            let here = self.inbox.len().min(buf.remaining());
            let chunk = self.inbox.get(..here).unwrap_or_default();
            let own = self.body.scan(chunk).map_err(invalid)?;
            buf.put_slice(chunk.get(..own).unwrap_or_default());
            self.inbox.advance(own);
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for the client to break the connection, as long as it sends no more. Notes whether it ends its side, and
    /// wakes the task then.
    pub async fn broken(&mut self, has_ended: &AtomicBool) {
        poll_fn(|cx| {
            let broken = self.poll_watch(cx).map(drop);
            if self.ended && !has_ended.swap(true, Ordering::Relaxed) {
                cx.waker().wake_by_ref();
            }
            broken
        })
        .await;
    }

    /// Between the end of a body and the next head nothing may be read as part
    /// of this request. One read ahead is made to learn of a reset. A client that has only ended its side may
    /// still want its answer, or be gone: a closed socket looks the same until something is sent to it.
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.inbox.is_empty() && !self.ended {
            ready!(self.poll_fill(cx))?;
        }
        // A stream of HTTP/2 ends with its request.
        if !self.inbox.is_empty() || !self.ended || self.is_http2() {
            return Poll::Pending;
        }
        let (written, limit) = (self.written, self.patience.half_closed);
        let waiting = self.half_closed.get_or_insert_with(|| HalfClosed {
            written,
            timer: Box::pin(sleep(limit)),
        });
        if waiting.written == written {
            ready!(waiting.timer.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Poll::Pending
    }

    pub(super) fn poll_read_raw(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.inbox.is_empty() {
            return Pin::new(&mut self.transport).poll_read(cx, buf);
        }
        buf.put((&mut self.inbox).take(buf.remaining()));
        Poll::Ready(Ok(()))
    }

    /// What is handed over for writing, with room for `len` bytes at its begin.
    pub(super) fn outbox(&mut self, len: usize) -> &mut Vec<u8> {
        if self.outbox.capacity() == 0 {
            // A head and a small body; they come in two pieces.
            self.outbox = Vec::with_capacity(1024.max(len));
        }
        &mut self.outbox
    }

    /// Hands over the last chunk of an answer with these trailer fields, and says how many bytes that is; none where the
    /// client gets them in another way than in a chunk.
    pub(super) fn end_with(&mut self, trailers: HeaderMap) -> Option<usize> {
        if let Either::Right(stream) = &mut self.transport {
            stream.end_with(trailers);
            return None;
        }
        let chunk = last_chunk(&trailers);
        self.outbox(chunk.len()).extend_from_slice(&chunk);
        Some(chunk.len())
    }

    pub(super) fn poll_write_buffered(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.outbox.len() + data.len() <= WRITE_BUFFER {
            self.outbox(data.len()).extend_from_slice(data);
            return Poll::Ready(Ok(data.len()));
        }
        loop {
            let held = self.outbox.len();
            let slices = [IoSlice::new(&self.outbox), IoSlice::new(data)];
            let written = ready!(Pin::new(&mut self.transport).poll_write_vectored(cx, &slices))?;
            self.outbox.drain(..written.min(held));
            self.written += written as u64;
            self.stall = None;
            if written > held {
                return Poll::Ready(Ok(written - held));
            }
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
    }
}

fn invalid(error: FramingError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
