//! A connection in Pingora's hands for the time of one request.
//!
//! A [`LentStream`] stands for it: it lets through exactly the bytes of that
//! request's body, so that nothing that follows a request can be taken for a part
//! of it, and it brings the connection back however Pingora ends.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::protocols::{Shutdown, UniqueID, UniqueIDType};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::stream::ClientStream;
use crate::http1::Framing;

/// Where a lent connection comes back, and the switch to raw bytes.
#[derive(Debug, Default)]
pub struct Lease {
    home: Mutex<Option<Box<ClientStream>>>,
    upgraded: AtomicBool,
    kept: AtomicBool,
    aborted: AtomicBool,
}

impl Lease {
    /// Lends `stream` for one request with a body framed as `framing` says.
    pub fn lend(self: &Arc<Self>, mut stream: Box<ClientStream>, framing: Framing) -> LentStream {
        stream.expect_body(framing);
        self.upgraded.store(false, Ordering::Relaxed);
        self.kept.store(false, Ordering::Relaxed);
        LentStream {
            stream: Some(stream),
            lease: Arc::clone(self),
        }
    }

    /// After a 101 the bytes are another protocol's and pass as they are.
    pub fn upgrade(&self) {
        self.upgraded.store(true, Ordering::Relaxed);
    }

    /// Makes every further use of the lent connection fail: the process ends.
    pub fn abort(&self) {
        self.aborted.store(true, Ordering::Relaxed);
    }

    /// Whether [`abort`](Self::abort) was called.
    pub fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }

    /// Whether the connection has left HTTP.
    pub fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Relaxed)
    }

    /// A whole answer was written that promises to keep the connection, although
    /// Pingora will not give it back for reuse.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// Whether [`keep`](Self::keep) was called for the last request.
    pub fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }

    /// The connection, once Pingora is done with it.
    pub fn reclaim(&self) -> Option<Box<ClientStream>> {
        self.home.lock().take()
    }
}

/// A [`ClientStream`] in Pingora's hands for the time of one request.
pub struct LentStream {
    stream: Option<Box<ClientStream>>,
    lease: Arc<Lease>,
}

impl LentStream {
    fn stream(&mut self) -> io::Result<&mut ClientStream> {
        if self.lease.is_aborted() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        // Present until drop.
        self.stream
            .as_deref_mut()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for LentStream {
    fn drop(&mut self) {
        *self.lease.home.lock() = self.stream.take();
    }
}

impl fmt::Debug for LentStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LentStream").finish_non_exhaustive()
    }
}

impl AsyncRead for LentStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let upgraded = this.lease.is_upgraded();
        let stream = this.stream()?;
        if upgraded {
            return stream.poll_read_raw(cx, buf);
        }
        let read = stream.poll_read_body(cx, buf);
        if read.is_pending() {
            stream.release(cx);
        }
        read
    }
}

impl AsyncWrite for LentStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut().stream()?;
        let written = stream.poll_write_buffered(cx, data);
        stream.guard(cx, written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut().stream()?;
        let flushed = stream.poll_drain(cx);
        stream.guard(cx, flushed)
    }

    /// Only flushes: whether the connection ends is decided when it is back.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[async_trait]
impl Shutdown for LentStream {
    async fn shutdown(&mut self) {
        // A failure here shows again when the connection is used next.
        if let Err(error) = self.flush().await {
            log::debug!("client connection: {error}");
        }
    }
}

impl UniqueID for LentStream {
    fn id(&self) -> UniqueIDType {
        self.stream
            .as_deref()
            .map_or(0, |stream| stream.transport().id())
    }
}
