//! One direction of a tunnel: from a source to a sink through one buffer or, while
//! it moves bulk between two plain sockets, through one pipe.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Socket;
use super::buffer::{BUFFER_SIZE, Buffer};
use super::pace::{LIMITS, Limits, Pace};
#[cfg(test)]
use super::pipe::tests::shown;
use super::pipe::{MAX_TOTAL, Moved, Pipe, Pool};

/// The limits of one poll, after which the other direction and the other tasks of
/// the thread continue. A source may always have more.
const MAX_ROUNDS: usize = 16;
const MAX_BYTES: u64 = 1024 * 1024;

/// How long the bytes that a source sent before its reset may take to be passed on
/// before the reset is passed on, which discards bytes that are still queued.
pub(super) const LAST_BYTES: Duration = Duration::from_millis(400);

/// The end of a direction that failed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Broken {
    Reading,
    Writing,
}

/// The settings of splicing: when, and through which pipes.
#[derive(Debug)]
pub(super) struct Splicing {
    pub(super) limits: Limits,
    pub(super) pipes: Pool,
}

/// The settings that all tunnels of the process share.
pub(super) static SPLICING: Splicing = Splicing {
    limits: LIMITS,
    pipes: Pool::new(MAX_TOTAL),
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Carrying,
    /// The source has ended and all bytes are written: the end is being passed on.
    Ending,
    Done,
}

/// One direction of a tunnel.
#[derive(Debug)]
pub(super) struct Direction {
    buffer: Buffer,
    /// The bytes after those of the buffer. Returned to its pool when empty.
    pipe: Option<Pipe>,
    /// When the pipe was filled.
    filled: Option<Instant>,
    pace: Pace,
    splicing: &'static Splicing,
    phase: Phase,
    unflushed: bool,
    carried: u64,
    moved: Option<Instant>,
}

impl Direction {
    /// A direction that has `early` to write before it reads.
    pub(super) fn new(early: &[u8], splicing: &'static Splicing) -> Self {
        Self {
            buffer: Buffer::holding(early),
            pipe: None,
            filled: None,
            pace: Pace::new(&splicing.limits),
            splicing,
            phase: Phase::Carrying,
            unflushed: false,
            carried: 0,
            moved: None,
        }
    }

    /// Whether it reads from its source, and so detects a reset.
    pub(super) fn is_reading(&self) -> bool {
        self.phase == Phase::Carrying && self.is_empty()
    }

    /// Whether the end of the source was passed on.
    pub(super) fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// The bytes that the sink has taken.
    pub(super) fn carried(&self) -> u64 {
        self.carried
    }

    /// The bytes that were taken from the source, with those that it had before.
    pub(super) fn taken(&self) -> u64 {
        let held = self.pipe.as_ref().map_or(0, Pipe::held);
        self.carried + (self.buffer.filled().len() + held) as u64
    }

    /// When the sink last took bytes.
    pub(super) fn moved(&self) -> Option<Instant> {
        self.moved
    }

    /// Moves the available bytes, and the end of the source. Reads at most `room` bytes:
    /// the caller polls again for more. With a `room` of 0 it reads none and is not woken for
    /// any, but delivers the held bytes. Ready when the end is passed on, or when an end
    /// fails: then [`pass_on_rest`](Self::pass_on_rest) moves the rest.
    pub(super) fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        sink: &mut W,
        room: u64,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Socket + Unpin,
        W: AsyncWrite + Socket + Unpin,
    {
        ready!(self.poll_carry(cx, source, sink, room))?;
        if self.phase == Phase::Ending {
            ready!(Pin::new(sink).poll_shutdown(cx)).map_err(writing)?;
            self.phase = Phase::Done;
        }
        Poll::Ready(Ok(()))
    }

    /// For a source that was reset: passes on the bytes that it sent before, for
    /// at most [`LAST_BYTES`], but no end of stream. A failed write clears the
    /// error of the socket, which then reads as if it had ended; that is not
    /// an end of stream. No meter slows these bytes: the kernel has them already.
    pub(super) async fn pass_on_rest<R, W>(&mut self, source: &mut R, sink: &mut W)
    where
        R: AsyncRead + Socket + Unpin,
        W: AsyncWrite + Socket + Unpin,
    {
        let rest = async {
            let carried = poll_fn(|cx| self.poll_carry(cx, source, sink, u64::MAX)).await;
            if matches!(carried, Err(Broken::Writing))
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

    /// Ready when the source has ended and all of its bytes are written.
    fn poll_carry<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        sink: &mut W,
        room: u64,
    ) -> Poll<Result<(), Broken>>
    where
        R: AsyncRead + Socket + Unpin,
        W: AsyncWrite + Socket + Unpin,
    {
        let full = self.carried.saturating_add(room);
        let enough = full.min(self.carried + MAX_BYTES);
        for _ in 0..MAX_ROUNDS {
            if self.is_empty() {
                if self.phase != Phase::Carrying {
                    return Poll::Ready(Ok(()));
                }
                let room = full.saturating_sub(self.carried);
                match self.poll_take(cx, source, sink, room) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Reading)),
                    Poll::Pending => {
                        // A limit says nothing about the source: it may be bulk that is slowed down.
                        if room > 0 {
                            self.pace.paused();
                        }
                        // Written bytes must not wait for further ones (TLS buffers).
                        ready!(self.poll_flush(cx, sink))?;
                        return Poll::Pending;
                    }
                }
            }
            while !self.is_empty() {
                ready!(self.poll_give(cx, sink)).map_err(writing)?;
            }
            if self.carried >= enough {
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.pipe.is_none()
    }

    /// Reads available bytes of the source, at most `room`.
    fn poll_take<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        sink: &W,
        room: u64,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Socket + Unpin,
        W: Socket,
    {
        let most = usize::try_from(room).unwrap_or(usize::MAX);
        if most == 0 {
            return self.poll_end(cx, source);
        }
        if self.pace.is_bulk() {
            if let (Some(socket), Some(_)) = (source.plain_tcp(), sink.plain_tcp()) {
                // The buffer of earlier copies: an idle direction must not keep it.
                self.buffer.release();
                let taken = self.poll_take_by_pipe(cx, socket, most);
                #[cfg(test)]
                source.splice_read(shown(&taken));
                match ready!(taken)? {
                    Moved::Some(_) => return Poll::Ready(Ok(())),
                    // A read finds the reason, and registers for the next event.
                    Moved::None => {}
                    Moved::Unsupported => self.pace.give_up(),
                }
            } else {
                self.pace.give_up();
            }
        }
        self.poll_fill(cx, source, most)
    }

    /// Reads the end of a source that has no byte before it. A source that is not a bare
    /// socket would have to be read for that: its end waits until bytes may be read.
    fn poll_end<R>(&mut self, cx: &mut Context<'_>, source: &mut R) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Socket + Unpin,
    {
        // An idle direction must not keep the buffer of earlier copies.
        self.buffer.release();
        let Some(socket) = source.plain_tcp() else {
            return Poll::Pending;
        };
        match ready!(socket.poll_peek(cx, &mut ReadBuf::new(&mut [0])))? {
            0 => self.poll_fill(cx, source, BUFFER_SIZE),
            _ => Poll::Pending,
        }
    }

    fn poll_take_by_pipe(
        &mut self,
        cx: &mut Context<'_>,
        socket: &TcpStream,
        most: usize,
    ) -> Poll<io::Result<Moved>> {
        ready!(socket.poll_read_ready(cx))?;
        let Some(mut pipe) = self.splicing.pipes.lend() else {
            self.pace.postpone();
            return Poll::Ready(Ok(Moved::None));
        };
        let moved = pipe.fill(socket, most);
        if !pipe.is_empty() {
            self.pipe = Some(pipe);
            self.filled = Some(Instant::now());
        }
        Poll::Ready(moved)
    }

    /// Writes held bytes to the sink.
    fn poll_give<W>(&mut self, cx: &mut Context<'_>, sink: &mut W) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Socket + Unpin,
    {
        let len = if self.buffer.is_empty() {
            let given = self.poll_give_by_pipe(cx, sink.plain_tcp());
            #[cfg(test)]
            sink.splice_write(shown(&given));
            match ready!(given)? {
                Moved::Some(len) => len,
                Moved::None | Moved::Unsupported => return Poll::Ready(self.empty_pipe()),
            }
        } else {
            let len = ready!(Pin::new(sink).poll_write(cx, self.buffer.filled()))?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.buffer.consume(len);
            self.unflushed = true;
            len
        };
        let now = Instant::now();
        self.carried += len as u64;
        self.pace.moved(len);
        self.moved = Some(now);
        if self.pipe.is_none()
            && let Some(filled) = self.filled.take()
        {
            self.pace.emptied(now - filled);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_give_by_pipe(
        &mut self,
        cx: &mut Context<'_>,
        socket: Option<&TcpStream>,
    ) -> Poll<io::Result<Moved>> {
        let (Some(socket), Some(pipe)) = (socket, &mut self.pipe) else {
            return Poll::Ready(Ok(Moved::Unsupported));
        };
        loop {
            ready!(socket.poll_write_ready(cx))?;
            let given = socket.try_io(Interest::WRITABLE, || match pipe.drain(socket)? {
                Moved::None => Err(io::ErrorKind::WouldBlock.into()),
                moved => Ok(moved),
            });
            match given {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                given => {
                    self.pipe.take_if(|pipe| pipe.is_empty());
                    return Poll::Ready(given);
                }
            }
        }
    }

    /// Moves the bytes of a pipe to the buffer, when splice(2) cannot write to the sink.
    fn empty_pipe(&mut self) -> io::Result<()> {
        self.pace.give_up();
        let Some(pipe) = &mut self.pipe else {
            return Ok(());
        };
        let len = pipe.read(self.buffer.space())?;
        self.buffer.fill(len);
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.pipe.take_if(|pipe| pipe.is_empty());
        Ok(())
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

    fn poll_fill<R>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut R,
        most: usize,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
    {
        let space = self.buffer.space();
        let (space, _) = space.split_at_mut(most.min(space.len()));
        let mut space = ReadBuf::new(space);
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

/// For `map_err`: log and metrics have the side, not the cause.
fn writing(_: io::Error) -> Broken {
    Broken::Writing
}
