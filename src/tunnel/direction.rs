//! One direction of a tunnel: from a source to a sink through one buffer.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::buffer::Buffer;

/// Buffers carried before it is another's turn: the other direction's, then that
/// of the other tasks of the thread. A source may always have more.
const MAX_ROUNDS: usize = 16;

/// How long what a source sent before it broke is still passed on, and has to
/// leave, before the reset is passed on too, which destroys what it overtakes.
pub(super) const LAST_BYTES: Duration = Duration::from_millis(400);

/// Which end of a direction failed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Broken {
    Reading,
    Writing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Copying,
    /// The source has ended and everything is written: the end is passed on.
    Ending,
    Done,
}

/// One direction of a tunnel.
#[derive(Debug)]
pub(super) struct Direction {
    buffer: Buffer,
    phase: Phase,
    unflushed: bool,
    carried: u64,
    moved: Option<Instant>,
}

impl Direction {
    /// A direction that has `early` to write before it reads.
    pub(super) fn new(early: &[u8]) -> Self {
        Self {
            buffer: Buffer::holding(early),
            phase: Phase::Copying,
            unflushed: false,
            carried: 0,
            moved: None,
        }
    }

    /// Whether it would see a reset of its source.
    pub(super) fn is_reading(&self) -> bool {
        self.phase == Phase::Copying && self.buffer.is_empty()
    }

    /// Whether the end of the source was passed on.
    pub(super) fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// Bytes that the sink took.
    pub(super) fn carried(&self) -> u64 {
        self.carried
    }

    /// When the sink took some last.
    pub(super) fn moved(&self) -> Option<Instant> {
        self.moved
    }

    /// Carries what there is, and the end of it. Ready when that is done, or when
    /// an end fails: then what is left is for [`pass_on_rest`](Self::pass_on_rest).
    pub(super) fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        sink: &mut W,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        ready!(self.poll_copy(cx, source, sink))?;
        if self.phase == Phase::Ending {
            ready!(Pin::new(sink).poll_shutdown(cx)).map_err(writing)?;
            self.phase = Phase::Done;
        }
        Poll::Ready(Ok(()))
    }

    /// For a source that broke: passes on what it sent before, for
    /// [`LAST_BYTES`] and no longer, but no end. A write that fails takes the
    /// error from the socket, which then reads as if it had ended: that is not
    /// the end of what the peer had to say.
    pub(super) async fn pass_on_rest<R, W>(&mut self, source: &mut R, sink: &mut W)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let rest = async {
            let copied = poll_fn(|cx| self.poll_copy(cx, source, sink)).await;
            if matches!(copied, Err(Broken::Writing))
                || poll_fn(|cx| self.poll_flush(cx, sink)).await.is_err()
            {
                return;
            }
            if let Some(moved) = self.moved {
                sleep_until(moved + LAST_BYTES).await;
            }
        };
        if timeout_at(Instant::now() + LAST_BYTES, rest).await.is_err() {
            log::trace!("tunnel: reset with bytes undelivered");
        }
    }

    /// Ready when the source has ended and all it sent is written.
    fn poll_copy<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        sink: &mut W,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..MAX_ROUNDS {
            if self.buffer.is_empty() {
                if self.phase != Phase::Copying {
                    return Poll::Ready(Ok(()));
                }
                match self.poll_fill(cx, source) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Reading)),
                    Poll::Pending => {
                        // What was written must not wait for more to come (TLS buffers).
                        ready!(self.poll_flush(cx, sink))?;
                        return Poll::Pending;
                    }
                }
            }
            while !self.buffer.is_empty() {
                match ready!(Pin::new(&mut *sink).poll_write(cx, self.buffer.filled())) {
                    Ok(len) if len > 0 => {
                        self.buffer.consume(len);
                        self.carried += len as u64;
                        self.moved = Some(Instant::now());
                        self.unflushed = true;
                    }
                    Ok(_) | Err(_) => return Poll::Ready(Err(Broken::Writing)),
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_flush<W>(&mut self, cx: &mut Context<'_>, sink: &mut W) -> Poll<Result<(), Broken>>
    where
        W: AsyncWrite + Unpin,
    {
        if self.unflushed {
            ready!(Pin::new(sink).poll_flush(cx)).map_err(writing)?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_fill<R>(&mut self, cx: &mut Context<'_>, source: &mut R) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
    {
        let mut space = ReadBuf::new(self.buffer.space());
        let result = Pin::new(source).poll_read(cx, &mut space);
        let len = space.filled().len();
        self.buffer.fill(len);
        if len == 0 {
            self.buffer.release();
        }
        ready!(result)?;
        if len == 0 {
            self.phase = Phase::Ending;
        }
        Poll::Ready(Ok(()))
    }
}

/// For `map_err`: the cause is in neither the log nor the metrics, the side is.
fn writing(_: io::Error) -> Broken {
    Broken::Writing
}
