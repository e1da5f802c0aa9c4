//! A connection in Pingora's hands for the time of one request.
//!
//! A [`LentStream`] stands for it: it lets through exactly the bytes of that
//! request's body, so that nothing that follows a request can be taken for a part
//! of it, and it brings the connection back however Pingora ends.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::protocols::{Shutdown, UniqueID, UniqueIDType};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use super::stream::ClientStream;
use crate::http::http1::Framing;

/// What is given to an upstream that has been silent for too long before it is given up.
/// What came meanwhile, while nobody looked since the process was held up, is found in it.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// Where a lent connection comes back, and the switch to raw bytes.
#[derive(Debug, Default)]
pub struct Lease {
    home: Mutex<Option<Box<ClientStream>>>,
    upgraded: AtomicBool,
    kept: AtomicBool,
    aborted: AtomicBool,
    /// How long the upstream may be silent, in milliseconds; 0 while that does not count.
    patience: AtomicU64,
    /// Whether the upstream was heard of since that was looked at last.
    heard: AtomicBool,
    late: AtomicBool,
}

impl Lease {
    /// Lends `stream` for one request with a body framed as `framing` says.
    pub fn lend(self: &Arc<Self>, mut stream: Box<ClientStream>, framing: Framing) -> LentStream {
        stream.expect_body(framing);
        self.upgraded.store(false, Ordering::Relaxed);
        self.kept.store(false, Ordering::Relaxed);
        self.late.store(false, Ordering::Relaxed);
        self.await_nothing();
        LentStream {
            stream: Some(stream),
            lease: Arc::clone(self),
            silence: None,
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

    /// From now on the upstream may be silent for `patience`. Longer, and the watch over
    /// the client fails, which Pingora keeps whenever it waits for the answer to a request
    /// without a body. A timer of Pingora's own for each read from the upstream costs many
    /// times as much.
    pub fn await_upstream(&self, patience: Duration) {
        let millis = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.patience.store(millis.max(1), Ordering::Relaxed);
        self.heard();
    }

    /// The upstream has sent something.
    pub fn heard(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Its silence does not count.
    pub fn await_nothing(&self) {
        self.patience.store(0, Ordering::Relaxed);
    }

    /// Whether the upstream was silent for too long.
    pub fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed)
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
    silence: Option<Silence>,
}

/// A silence of the upstream.
#[derive(Clone, Copy)]
struct Silence {
    /// When it will have been too long.
    until: Instant,
    /// Whether it has been already, and this is the second look.
    doubted: bool,
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

    /// Ready when the upstream that is awaited has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let lease = &self.lease;
        let patience = lease.patience.load(Ordering::Relaxed);
        let Some(stream) = self.stream.as_deref_mut().filter(|_| patience > 0) else {
            return Poll::Pending;
        };
        let silence = match self.silence {
            Some(silence) if !lease.heard.load(Ordering::Relaxed) => silence,
            _ => Silence {
                until: Instant::now() + Duration::from_millis(patience),
                doubted: false,
            },
        };
        lease.heard.store(false, Ordering::Relaxed);
        let silence = self.silence.insert(silence);
        ready!(stream.poll_deadline(cx, silence.until));
        if !silence.doubted {
            silence.doubted = true;
            silence.until = Instant::now() + SECOND_LOOK;
            ready!(stream.poll_deadline(cx, silence.until));
        }
        // What is read from here on has nothing to do with it.
        lease.await_nothing();
        lease.late.store(true, Ordering::Relaxed);
        Poll::Ready(())
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
        if read.is_ready() {
            return read;
        }
        stream.release(cx);
        ready!(this.poll_silence(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::client::Transport;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Watches the client until that fails, at most for an hour; how long that took.
    async fn watch(lent: &mut LentStream) -> Option<Duration> {
        let start = Instant::now();
        let hour = Duration::from_secs(3600);
        let read = timeout(hour, lent.read(&mut [0; 1])).await.ok()?;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
        Some(start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silence_that_counts_ends_the_watch_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _client = TcpStream::connect(address).await.unwrap();
        let (socket, client) = listener.accept().await.unwrap();
        let stream = ClientStream::new(Transport::Plain(socket), client, PATIENCE);
        let lease = Arc::new(Lease::default());
        let mut lent = lease.lend(Box::new(stream), Framing::None);
        assert_eq!(watch(&mut lent).await, None);

        let (least, most) = (PATIENCE + SECOND_LOOK, PATIENCE + 2 * SECOND_LOOK);
        for _ in 0..2 {
            lease.await_upstream(PATIENCE);
            let took = watch(&mut lent).await.unwrap();
            assert!((least..most).contains(&took), "{took:?}");
            assert!(lease.is_late());
            assert_eq!(watch(&mut lent).await, None);
        }

        lease.await_upstream(PATIENCE);
        lease.await_nothing();
        assert_eq!(watch(&mut lent).await, None);

        // Heard of before it is too long, and when it was but is looked at again.
        for heard_after in [PATIENCE / 2, PATIENCE + SECOND_LOOK / 2] {
            lease.await_upstream(PATIENCE);
            let start = Instant::now();
            tokio::select! {
                took = watch(&mut lent) => panic!("late after {took:?}"),
                () = sleep(heard_after) => lease.heard(),
            }
            watch(&mut lent).await.unwrap();
            let took = start.elapsed() - heard_after;
            assert!((least..most).contains(&took), "{took:?}");
        }

        drop(lent);
        let stream = lease.reclaim().unwrap();
        lease.await_upstream(PATIENCE);
        let mut lent = lease.lend(stream, Framing::None);
        assert!(!lease.is_late());
        assert_eq!(watch(&mut lent).await, None);
    }
}
