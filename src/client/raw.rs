//! A connection that speaks something else than HTTP/1.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::ClientStream;

/// All bytes of a connection as they come, first those that were read already.
#[derive(Debug)]
pub struct RawStream {
    /// Present until drop.
    stream: Option<Box<ClientStream>>,
    home: Arc<RawReturn>,
}

/// What is known of a connection while it is a [`RawStream`], and where it comes back
/// when that is dropped.
#[derive(Debug, Default)]
pub struct RawReturn {
    stream: Mutex<Option<Box<ClientStream>>>,
    written: AtomicU64,
    stalled: AtomicBool,
}

impl RawReturn {
    /// Whether the wire did not take what was written last.
    pub fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// How many bytes the wire has taken.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// The connection, once nothing speaks the other protocol on it any more.
    pub fn reclaim(&self) -> Option<Box<ClientStream>> {
        self.stream.lock().take()
    }
}

impl RawStream {
    /// Gives up HTTP/1 for another protocol on the same bytes. What is left of the
    /// connection behind that is in the [`RawReturn`].
    pub fn new(stream: Box<ClientStream>) -> (Self, Arc<RawReturn>) {
        let home = Arc::new(RawReturn::default());
        let raw = Self {
            stream: Some(stream),
            home: Arc::clone(&home),
        };
        (raw, home)
    }

    fn stream(&mut self) -> io::Result<&mut ClientStream> {
        self.stream
            .as_deref_mut()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Notes what the wire takes: so many bytes, or nothing for now.
    fn note(&self, write: &Poll<io::Result<usize>>) {
        self.home
            .stalled
            .store(write.is_pending(), Ordering::Relaxed);
        if let Poll::Ready(Ok(written)) = write {
            self.home
                .written
                .fetch_add(*written as u64, Ordering::Relaxed);
        }
    }
}

impl Drop for RawStream {
    fn drop(&mut self) {
        *self.home.stream.lock() = self.stream.take();
    }
}

impl AsyncRead for RawStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().stream()?.poll_read_raw(cx, buf)
    }
}

impl AsyncWrite for RawStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream()?.transport).poll_write(cx, buf);
        this.note(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream()?.transport).poll_write_vectored(cx, bufs);
        this.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream()?.transport).poll_flush(cx);
        // TLS takes more than the wire does.
        this.home
            .stalled
            .store(flushed.is_pending(), Ordering::Relaxed);
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream()?.transport).poll_shutdown(cx)
    }
}
