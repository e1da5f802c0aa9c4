//! Pipes for splice(2): bytes pass from socket to socket inside the kernel.
//!
//! Owns the pool of pipes and the system calls on them. Does not wait for the
//! readiness of sockets.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;
use tokio::net::TcpStream;

/// The size of a pipe, and the most that one call moves. A larger pipe needs fewer
/// wake-ups: over loopback a byte through 1 MiB costs two thirds of one through 256 KiB.
pub(super) const PIPE_SIZE: usize = 1024 * 1024;

/// The size of a pipe when there are many.
const SMALL_SIZE: usize = 256 * 1024;

/// The smallest useful size: a smaller pipe is no better than a buffer. The
/// system gives smaller ones to a user that has too many.
const LEAST_SIZE: usize = super::buffer::BUFFER_SIZE;

/// The total size of all pipes of a process, and that of those with full size. Stalled
/// readers occupy no more than that, and it is below the default limit of Linux for a
/// user, 64 MiB (`pipe-user-pages-soft`).
pub(super) const MAX_TOTAL: usize = 60 * 1024 * 1024;
const MAX_FULL_SIZE: usize = 32 * 1024 * 1024;

/// The pipes that are kept for reuse, with two descriptors each; more are closed.
const MAX_KEPT: usize = 32;

/// A limited number of pipes, each in use only while it has bytes.
#[derive(Debug)]
pub(super) struct Pool {
    pipes: Mutex<Pipes>,
    max_total: usize,
    splices: AtomicU8,
}

#[derive(Debug)]
struct Pipes {
    kept: Vec<Ends>,
    /// The total size of the pipes, kept or in use.
    total: usize,
    #[cfg(test)]
    lent: usize,
}

/// Whether splice(2) works on this system: unknown, yes or no. A sandbox or a
/// kernel may refuse it.
const UNKNOWN: u8 = 0;
const WORKS: u8 = 1;
const UNSUPPORTED: u8 = 2;

/// The ends of an empty pipe.
#[derive(Debug)]
struct Ends {
    reader: OwnedFd,
    writer: OwnedFd,
    size: usize,
}

/// A pipe in use. An empty one returns to its pool when dropped, any other is closed.
#[derive(Debug)]
pub(super) struct Pipe {
    ends: Option<Ends>,
    held: usize,
    pool: &'static Pool,
}

/// The outcome of an attempt to move bytes.
#[derive(Debug)]
pub(super) enum Moved {
    /// So many bytes, at least one.
    Some(usize),
    /// None. A socket that is read has no bytes, has ended, or has urgent data next,
    /// which splice(2) does not move.
    None,
    /// splice(2) does not work with this socket.
    Unsupported,
}

impl Pool {
    pub(super) const fn new(max_total: usize) -> Self {
        let pipes = Pipes {
            kept: Vec::new(),
            total: 0,
            #[cfg(test)]
            lent: 0,
        };
        Self {
            pipes: Mutex::new(pipes),
            max_total,
            splices: AtomicU8::new(UNKNOWN),
        }
    }

    /// An empty pipe, unless the limit is reached or the system refuses one.
    pub(super) fn lend(&'static self) -> Option<Pipe> {
        if self.splices.load(Ordering::Relaxed) == UNSUPPORTED {
            return None;
        }
        let kept = self.pipes.lock().kept.pop();
        let ends = kept.or_else(|| self.open())?;
        #[cfg(test)]
        {
            self.pipes.lock().lent += 1;
        }
        Some(Pipe {
            ends: Some(ends),
            held: 0,
            pool: self,
        })
    }

    fn open(&self) -> Option<Ends> {
        let size = {
            let mut pipes = self.pipes.lock();
            let size = if pipes.total + PIPE_SIZE <= MAX_FULL_SIZE {
                PIPE_SIZE
            } else {
                SMALL_SIZE
            };
            if pipes.total + size > self.max_total {
                return None;
            }
            pipes.total += size;
            size
        };
        match system::pipe(size) {
            Ok((reader, writer)) => Some(Ends {
                reader,
                writer,
                size,
            }),
            Err(error) => {
                log::debug!("tunnel: pipe: {error}");
                self.pipes.lock().total -= size;
                None
            }
        }
    }

    /// `empty` is false for a pipe that still holds bytes: the next user must not
    /// get them.
    fn take_back(&self, ends: Ends, empty: bool) {
        let mut pipes = self.pipes.lock();
        #[cfg(test)]
        {
            pipes.lent -= 1;
        }
        if empty && pipes.kept.len() < MAX_KEPT {
            pipes.kept.push(ends);
        } else {
            pipes.total -= ends.size;
            drop(pipes);
            drop(ends);
        }
    }

    /// The number of pipes in use.
    #[cfg(test)]
    pub(super) fn lent(&self) -> usize {
        self.pipes.lock().lent
    }

    /// Classifies the result of a splice, and notes whether splice(2) works.
    fn classify(&self, result: io::Result<usize>) -> io::Result<Moved> {
        match result {
            Ok(0) => Ok(Moved::None),
            Ok(len) => {
                if self.splices.load(Ordering::Relaxed) != WORKS {
                    self.splices.store(WORKS, Ordering::Relaxed);
                }
                Ok(Moved::Some(len))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Moved::None),
            Err(error) if system::means_unsupported(&error) => {
                // Once it has worked, this error is about one socket only.
                let first = self.splices.compare_exchange(
                    UNKNOWN,
                    UNSUPPORTED,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
                if first.is_ok() {
                    log::info!("tunnels copy bytes, since splice(2) fails: {error}");
                }
                Ok(Moved::Unsupported)
            }
            Err(error) => Err(error),
        }
    }
}

impl Pipe {
    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// The bytes in it.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Moves at most `most` bytes of `socket` into an empty pipe, so that only the
    /// socket can end the call, never the pipe.
    ///
    /// # Errors
    /// The socket's.
    pub(super) fn fill(&mut self, socket: &TcpStream, most: usize) -> io::Result<Moved> {
        debug_assert!(self.is_empty(), "a full pipe would look like no bytes");
        let Some(ends) = &self.ends else {
            return Ok(Moved::Unsupported);
        };
        let result = system::splice(socket, &ends.writer, most.min(ends.size));
        let moved = self.pool.classify(result)?;
        if let Moved::Some(len) = moved {
            self.held = len;
        }
        Ok(moved)
    }

    /// Moves bytes to `socket`. [`Moved::None`] means that it is full.
    ///
    /// # Errors
    /// The socket's.
    pub(super) fn drain(&mut self, socket: &TcpStream) -> io::Result<Moved> {
        let Some(ends) = &self.ends else {
            return Ok(Moved::Unsupported);
        };
        let result = system::splice(&ends.reader, socket, self.held);
        let moved = self.pool.classify(result)?;
        if let Moved::Some(len) = moved {
            self.held = self.held.saturating_sub(len);
        }
        Ok(moved)
    }

    /// Reads the bytes of the pipe, for a socket that splice(2) cannot write to.
    ///
    /// # Errors
    /// The system's; none is known for a pipe with bytes.
    pub(super) fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let Some(ends) = &self.ends else {
            return Ok(0);
        };
        let len = rustix::io::retry_on_intr(|| rustix::io::read(&ends.reader, &mut *space))?;
        self.held = self.held.saturating_sub(len);
        Ok(len)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if let Some(ends) = self.ends.take() {
            self.pool.take_back(ends, self.held == 0);
        }
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};

    use rustix::io::{Errno, retry_on_intr};
    use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};

    use super::LEAST_SIZE;

    pub(super) fn pipe(size: usize) -> io::Result<(OwnedFd, OwnedFd)> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        if let Err(error) = fcntl_setpipe_size(&writer, size) {
            // The pipe keeps its size, which then limits each call.
            log::trace!("tunnel: pipe size: {error}");
            if fcntl_getpipe_size(&writer)? < LEAST_SIZE {
                return Err(error.into());
            }
        }
        Ok((reader, writer))
    }

    pub(super) fn splice(from: impl AsFd, to: impl AsFd, len: usize) -> io::Result<usize> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let moved = retry_on_intr(|| {
            rustix::pipe::splice(from.as_fd(), None, to.as_fd(), None, len, flags)
        })?;
        Ok(moved)
    }

    /// Whether the call itself is refused. If the connection is the cause, the next
    /// read or write has the error.
    pub(super) fn means_unsupported(error: &io::Error) -> bool {
        matches!(
            Errno::from_io_error(error),
            Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS)
        )
    }
}

/// splice(2) exists on Linux only.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;
    use std::os::fd::OwnedFd;

    pub(super) fn pipe(_: usize) -> io::Result<(OwnedFd, OwnedFd)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn splice<F, T>(_: F, _: T, _: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn means_unsupported(error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::Unsupported
    }
}

#[cfg(test)]
pub(super) mod tests;
