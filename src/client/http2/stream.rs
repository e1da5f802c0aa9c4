//! One stream as a reader and writer of HTTP/1.1 bytes.

use std::fmt::Write;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::ext::Protocol;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::Method;
use http::header::{CONTENT_LENGTH, HeaderMap};
use http::request::Parts;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::response::{Part, ResponseReader};
use super::unread::{Piece, UnreadAnswers, Waiting};
use crate::tunnel::Socket;

/// The most that is asked for of the peer's window at once.
const MAX_WRITE: usize = 64 * 1024;

/// So much of an answer is handed to the connection without a look at the peer's window,
/// where it waits when it has to: a short answer is over at once, whether the peer takes
/// it or not. Someone without credentials gets no other, and holds nothing by not reading.
const MAX_UNASKED: usize = 4 * 1024;

/// A stream in the place of a connection. What is read are the bytes of the request
/// behind its head; what is written is one answer.
#[derive(Debug)]
pub struct Http2Stream {
    receive: RecvStream,
    body: Body,
    /// Taken from the peer, not yet read.
    received: Bytes,
    respond: SendResponse<Piece>,
    /// Once the answer has begun.
    send: Option<SendStream<Piece>>,
    answer: ResponseReader,
    /// How much of [`MAX_UNASKED`] is left.
    unasked: usize,
    /// What ends the answer; none: nothing more than its content.
    trailers: Option<Box<HeaderMap>>,
    /// What the connection has of the answer.
    waiting: Waiting,
    /// Where that goes when the stream is over.
    unread: Arc<UnreadAnswers>,
    /// What tells the peer that a tunnel was reset at its other end.
    when_reset: Reason,
}

/// How the rest of a request reads in HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// As it comes, by its `Content-Length`.
    Plain,
    /// In chunks.
    Chunked,
    /// The bytes of a tunnel.
    Tunnel,
    /// Read to its end; a connection would go on and be idle.
    Over,
    /// A tunnel's side has ended.
    Ended,
}

impl Http2Stream {
    /// For a stream whose answer is left to `unread` once it is over.
    pub fn new(
        request: &Parts,
        receive: RecvStream,
        respond: SendResponse<Piece>,
        unread: Arc<UnreadAnswers>,
    ) -> Self {
        let body = if request.method == Method::CONNECT {
            Body::Tunnel
        } else if receive.is_end_stream() {
            Body::Over
        } else if request.headers.contains_key(CONTENT_LENGTH) {
            Body::Plain
        } else {
            Body::Chunked
        };
        // RFC 8441 §5 for a WebSocket, RFC 9113 §8.5 for others.
        let when_reset = match request.extensions.get::<Protocol>() {
            Some(_) => Reason::CANCEL,
            None => Reason::CONNECT_ERROR,
        };
        Self {
            receive,
            body,
            received: Bytes::new(),
            respond,
            send: None,
            answer: ResponseReader::new(&request.method),
            unasked: MAX_UNASKED,
            trailers: None,
            waiting: Waiting::default(),
            unread,
            when_reset,
        }
    }

    pub fn id(&self) -> u32 {
        self.receive.stream_id().as_u32()
    }

    /// Ready when the peer has reset the stream or is gone.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let reset = match &mut self.send {
            Some(send) => send.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        reset.map(|reset| match reset {
            Ok(reason) => io::Error::new(io::ErrorKind::ConnectionReset, reason.description()),
            Err(error) => broken(error),
        })
    }

    /// Takes more of what the peer sent, as HTTP/1.1 would have it.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(self.receive.poll_data(cx)) {
            Some(data) => {
                let data = data.map_err(broken)?;
                // No more is taken before this is read: the window stays a bound.
                let flow = self.receive.flow_control();
                flow.release_capacity(data.len()).map_err(broken)?;
                self.received = match self.body {
                    // A chunk of no bytes would be the last.
                    Body::Chunked if !data.is_empty() => chunk(&data),
                    _ => data,
                };
            }
            None if self.body == Body::Chunked => {
                self.body = Body::Over;
                self.received = Bytes::from_static(b"0\r\n\r\n");
            }
            None if self.body == Body::Tunnel => self.body = Body::Ended,
            None => self.body = Body::Over,
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when there is something to read, or a tunnel's side has ended.
    fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.received.is_empty() {
            match self.body {
                Body::Over => return self.poll_gone(cx).map(Err),
                Body::Ended => break,
                Body::Plain | Body::Chunked | Body::Tunnel => ready!(self.poll_receive(cx))?,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends bytes of a body, as many as the peer takes.
    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let send = self.send.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let capacity = if data.len() <= self.unasked {
            self.unasked -= data.len();
            data.len()
        } else {
            send.reserve_capacity(data.len().min(MAX_WRITE));
            let mut capacity = send.capacity();
            while capacity == 0 {
                capacity = match ready!(send.poll_capacity(cx)) {
                    Some(capacity) => capacity.map_err(broken)?,
                    None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                };
            }
            capacity
        };
        let data = data.get(..capacity).unwrap_or(data);
        self.answer.take(data)?;
        let last = self.answer.is_done();
        let piece = self.waiting.piece(Bytes::copy_from_slice(data));
        send.send_data(piece, last).map_err(broken)?;
        Poll::Ready(Ok(data.len()))
    }

    /// Passes on what `bytes` begin with.
    fn poll_answer(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let (read, part) = self.answer.read(bytes)?;
        match part {
            Part::Data(len) => {
                return self.poll_send(cx, bytes.get(..len).unwrap_or_default());
            }
            Part::Interim(head) => self.respond.send_informational(head).map_err(broken)?,
            Part::Head(head, last) => {
                self.send = Some(self.respond.send_response(head, last).map_err(broken)?);
            }
            Part::Nothing if self.answer.is_done() => self.send_end()?,
            Part::Nothing => {}
        }
        Poll::Ready(Ok(read))
    }

    /// The answer ends with these fields, once its last chunk is written.
    pub(in super::super) fn end_with(&mut self, trailers: HeaderMap) {
        self.trailers = Some(Box::new(trailers));
    }

    fn send_end(&mut self) -> io::Result<()> {
        let send = self.send.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        if let Some(trailers) = self.trailers.take() {
            return send.send_trailers(*trailers).map_err(broken);
        }
        let end = self.waiting.piece(Bytes::new());
        send.send_data(end, true).map_err(broken)
    }

    fn send_reset(&mut self, reason: Reason) {
        self.answer.end();
        self.respond.send_reset(reason);
    }
}

/// `data` as one chunk (RFC 9112 §7.1).
fn chunk(data: &[u8]) -> Bytes {
    let mut chunk = BytesMut::with_capacity(data.len() + 20);
    // Writing into a BytesMut grows it and cannot fail.
    let _ = write!(chunk, "{:x}\r\n", data.len());
    chunk.extend_from_slice(data);
    chunk.extend_from_slice(b"\r\n");
    chunk.freeze()
}

fn broken(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
    }
    let kind = match error.is_reset() || error.is_go_away() {
        true => io::ErrorKind::ConnectionReset,
        false => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}

impl AsyncRead for Http2Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_received(cx))?;
        buf.put((&mut this.received).take(buf.remaining()));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut written = 0;
        while let Some(rest) = bytes.get(written..)
            && !rest.is_empty()
        {
            match this.poll_answer(cx, rest) {
                Poll::Ready(len) => written += len?,
                Poll::Pending if written == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(written))
    }

    /// The connection sends by itself what its streams have.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.answer.may_end() {
            this.send_end()?;
            this.answer.end();
        }
        Poll::Ready(Ok(()))
    }
}

impl Socket for Http2Stream {
    fn tcp(&self) -> Option<&TcpStream> {
        None
    }

    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        ready!(self.poll_received(cx))?;
        Poll::Ready(Ok(self.received.len() as u64))
    }

    fn reset(&mut self) {
        self.send_reset(self.when_reset);
    }

    fn is_reset(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_gone(cx).is_ready()
    }
}

impl Drop for Http2Stream {
    /// An answer that was not written to its end must not look like one that was.
    fn drop(&mut self) {
        if !self.answer.is_done() {
            self.send_reset(Reason::INTERNAL_ERROR);
        }
        if let Some(stream) = self.send.take()
            && !self.waiting.is_none()
        {
            self.unread.add(stream, mem::take(&mut self.waiting));
        }
    }
}
