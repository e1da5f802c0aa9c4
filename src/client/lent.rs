//! A connection in Pingora's hands for the time of one request.
//!
//! Pingora gets a [`RequestStream`]: it lets through exactly the bytes of that request's body, so that no byte
//! behind a request can become part of it, and the connection comes back to its [`ConnectionReturn`] however
//! Pingora ends.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::protocols::{Shutdown, UniqueID, UniqueIDType};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::body_pace::{Answer, BodyPace, PART};
use super::charge::{Charge, Handover};
use super::date::OriginDate;
use super::pace::Pace;
use super::response_watch::{ResponseWatch, Silence};
use super::stream::ClientStream;
use super::trailers::{Trailers, Written};
use crate::access::limits::{Flow, Volume};
use crate::http::http1::{BodyScanner, Framing};

/// Where a lent connection comes back, and what is known of it meanwhile. One for each connection.
#[derive(Debug, Default)]
pub struct ConnectionReturn {
    home: Mutex<Option<Box<ClientStream>>>,
    is_kept: AtomicBool,
    is_aborted: AtomicBool,
    /// Whether the client has ended its side: then it may be gone.
    pub has_ended: AtomicBool,
    /// Keeps the time that the upstream may be silent.
    pub response: ResponseWatch,
    /// Whether the answer has begun: then it goes before the rest of the request.
    pub answer: Answer,
    /// Puts the origin's `Date` back.
    pub date: OriginDate,
    /// Puts the trailer section of an upstream of HTTP/2 back.
    pub trailers: Trailers,
    /// Bounds what is read from the upstream before the client takes it.
    pub pace: Pace,
    /// What the request's bytes are charged to, once it is admitted.
    pub account: Handover,
}

impl ConnectionReturn {
    /// Lends `stream` for one request with a body framed as `framing` says.
    pub fn lend(
        self: &Arc<Self>,
        mut stream: Box<ClientStream>,
        framing: Framing,
    ) -> RequestStream {
        stream.body = BodyScanner::new(framing);
        self.is_kept.store(false, Ordering::Relaxed);
        self.has_ended.store(stream.ended(), Ordering::Relaxed);
        self.response.reset();
        self.answer.forget();
        self.date.forget();
        self.trailers.forget();
        self.pace.reset();
        self.account.reset();
        RequestStream {
            stream: Some(stream),
            home: Arc::clone(self),
            silence: None,
            body_pace: BodyPace::default(),
            charge: Charge::default(),
            written: Written::default(),
        }
    }

    /// Makes every further use of the lent connection fail: the process ends.
    pub fn abort(&self) {
        self.is_aborted.store(true, Ordering::Relaxed);
    }

    pub fn is_aborted(&self) -> bool {
        self.is_aborted.load(Ordering::Relaxed)
    }

    /// Notes that a whole response was written that keeps the connection, although Pingora will not give it
    /// back for reuse.
    pub fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    /// Whether [`keep`](Self::keep) was called for the last request.
    pub fn is_kept(&self) -> bool {
        self.is_kept.load(Ordering::Relaxed)
    }

    /// The connection, once Pingora has dropped the [`RequestStream`].
    pub fn reclaim(&self) -> Option<Box<ClientStream>> {
        self.home.lock().take()
    }
}

/// A [`ClientStream`] in Pingora's hands for the time of one request.
pub struct RequestStream {
    stream: Option<Box<ClientStream>>,
    home: Arc<ConnectionReturn>,
    silence: Option<Silence>,
    body_pace: BodyPace,
    charge: Charge,
    /// How far the answer is, where a trailer section is expected.
    written: Written,
}

/// What an operation needs of a [`RequestStream`].
struct Parts<'a> {
    stream: &'a mut ClientStream,
    home: &'a ConnectionReturn,
    silence: &'a mut Option<Silence>,
    charge: &'a mut Charge,
    written: &'a mut Written,
}

impl RequestStream {
    fn parts(&mut self) -> io::Result<Parts<'_>> {
        if self.home.is_aborted() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        // Present until drop.
        let stream = self.stream.as_deref_mut();
        self.charge.follow(&self.home.account);
        Ok(Parts {
            stream: stream.ok_or(io::ErrorKind::NotConnected)?,
            home: &self.home,
            silence: &mut self.silence,
            charge: &mut self.charge,
            written: &mut self.written,
        })
    }

    /// Reads of the body what may be read now.
    fn poll_read_body(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut parts = self.parts()?;
        if parts.stream.body_is_done() || !parts.charge.is_limited(Flow::Upload) {
            return parts.poll_read_some(cx, buf);
        }
        let most = parts.charge.poll_read(parts.stream, cx, buf.remaining());
        if most.is_pending() {
            parts.stream.release(cx);
        }
        let most = ready!(most)?;
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        let read = parts.poll_read_some(cx, &mut part);
        let taken = part.filled().len();
        buf.advance(taken);
        parts.charge.read(taken);
        read
    }

    /// As [`poll_read_body`](Self::poll_read_body), a small part at a time, each behind what there is of the answer.
    fn poll_read_paced(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut pace = std::mem::take(&mut self.body_pace);
        let Parts { stream, home, .. } = self.parts()?;
        if pace.poll_next(&home.answer, stream, cx).is_pending() {
            stream.release(cx);
            self.body_pace = pace;
            return Poll::Pending;
        }
        let most = buf.remaining().min(PART);
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        let read = self.poll_read_body(cx, &mut part);
        let taken = part.filled().len();
        buf.advance(taken);
        pace.on_taken(taken);
        self.body_pace = pace;
        read
    }
}

impl Parts<'_> {
    fn poll_read_some(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = self.stream.poll_read_body(cx, buf);
        if self.stream.ended() {
            self.home.has_ended.store(true, Ordering::Relaxed);
        }
        if read.is_ready() {
            let taken = buf.filled().len() - before;
            self.charge.add(Volume::up(taken as u64))?;
            return read;
        }
        self.stream.release(cx);
        let response = &self.home.response;
        ready!(response.poll_silence(self.silence, self.stream, cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Writes.
impl RequestStream {
    fn poll_write_answer(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let Parts {
            stream,
            home,
            charge,
            written: answer,
            ..
        } = self.parts()?;
        let has_trailers = home.trailers.is_expected();
        if has_trailers
            && answer.ends_with(data)
            && let Some(fields) = home.trailers.take()
            && let Some(charged) = stream.end_with(fields)
        {
            answer.on_written(data, data.len());
            charge.add(Volume::down(charged as u64))?;
            return Poll::Ready(Ok(data.len()));
        }
        // Pingora writes the head of a response alone and at once.
        let is_head = home.date.is_kept() && home.date.put_back(data, stream.outbox(data.len()));
        let written = if is_head {
            data.len()
        } else {
            let mut write = |cx: &mut Context<'_>| poll_write_some(charge, stream, cx, data);
            let written = write(cx);
            ready!(home.pace.pass(written, cx, write))?
        };
        if has_trailers {
            answer.on_written(data, written);
        }
        charge.add(Volume::down(written as u64))?;
        Poll::Ready(Ok(written))
    }
}

/// Writes what may be written now. A client that has to wait for its turn has what is held back for it meanwhile.
fn poll_write_some(
    charge: &mut Charge,
    stream: &mut ClientStream,
    cx: &mut Context<'_>,
    data: &[u8],
) -> Poll<io::Result<usize>> {
    if !charge.is_limited(Flow::Download) {
        let written = stream.poll_write_buffered(cx, data);
        return stream.guard(cx, written);
    }
    let Poll::Ready(most) = charge.poll_write(cx, data.len()) else {
        if let Poll::Ready(Err(error)) = stream.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        return Poll::Pending;
    };
    let written = stream.poll_write_buffered(cx, data.get(..most).unwrap_or(data));
    let written = ready!(stream.guard(cx, written));
    charge.wrote(written.as_ref().copied().unwrap_or_default());
    Poll::Ready(written)
}

impl Drop for RequestStream {
    fn drop(&mut self) {
        *self.home.home.lock() = self.stream.take();
    }
}

impl fmt::Debug for RequestStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestStream").finish_non_exhaustive()
    }
}

impl AsyncRead for RequestStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let is_paced = this.home.answer.has_begun()
            && (this.stream.as_deref()).is_some_and(|stream| !stream.body_is_done());
        if is_paced {
            return this.poll_read_paced(cx, buf);
        }
        this.poll_read_body(cx, buf)
    }
}

impl AsyncWrite for RequestStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_answer(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Parts { stream, home, .. } = self.get_mut().parts()?;
        let flushed = stream.poll_drain(cx);
        let flushed = stream.guard(cx, flushed);
        home.pace.pass(flushed, cx, |cx| {
            let flushed = stream.poll_drain(cx);
            stream.guard(cx, flushed)
        })
    }

    /// Only flushes: whether the connection ends is decided when it is back.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[async_trait]
impl Shutdown for RequestStream {
    async fn shutdown(&mut self) {
        // A failure here shows again when the connection is used next.
        if let Err(error) = self.flush().await {
            log::debug!("client connection: {error}");
        }
    }
}

impl UniqueID for RequestStream {
    fn id(&self) -> UniqueIDType {
        self.stream.as_deref().map_or(0, ClientStream::id)
    }
}
