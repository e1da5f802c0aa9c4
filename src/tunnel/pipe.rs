//! Pipes for splice(2): bytes pass from socket to socket inside the kernel.
//!
//! Owns the pool of pipes and the system calls on them. Knows nothing of when a
//! socket is ready.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;
use tokio::net::TcpStream;

/// What a pipe holds, and one call moves, at most. The larger, the fewer wake-ups:
/// over loopback a byte through 1 MiB costs two thirds of one through 256 KiB.
pub(super) const PIPE_SIZE: usize = 1024 * 1024;

/// What the pipes hold that are made when there are many.
const SMALL_SIZE: usize = 256 * 1024;

/// A pipe that cannot be made at least so large is no gain over a buffer. The
/// system gives smaller ones to a user that has too many.
const LEAST_SIZE: usize = super::buffer::BUFFER_SIZE;

/// What all pipes of a process may hold, and what those of full size may. Readers
/// that stall tie up no more than that, and Linux lets a user have it: the limit
/// is 64 MiB by default (`pipe-user-pages-soft`).
pub(super) const MAX_TOTAL: usize = 60 * 1024 * 1024;
const MAX_FULL_SIZE: usize = 32 * 1024 * 1024;

/// Pipes kept for reuse, of two descriptors each: more are closed.
const MAX_KEPT: usize = 32;

/// A bounded number of pipes, lent only while bytes are in them.
#[derive(Debug)]
pub(super) struct Pool {
    pipes: Mutex<Pipes>,
    max_total: usize,
    splices: AtomicU8,
}

#[derive(Debug)]
struct Pipes {
    kept: Vec<Ends>,
    /// What those that are kept and those that are lent may hold.
    total: usize,
    #[cfg(test)]
    lent: usize,
}

/// What is known of splice(2) here: not yet anything, that it works, or that it
/// does not. A sandbox may refuse it, and so may an odd kernel.
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

/// A pipe on loan. Dropped empty it goes back to its pool, otherwise it is closed.
#[derive(Debug)]
pub(super) struct Pipe {
    ends: Option<Ends>,
    held: usize,
    pool: &'static Pool,
}

/// What became of an attempt to move bytes.
#[derive(Debug)]
pub(super) enum Moved {
    /// So many bytes, more than none.
    Some(usize),
    /// None. Of a socket that is read from this says little: it has nothing, it
    /// has ended, or what is next is urgent data, which splice(2) does not pass.
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

    /// An empty pipe, unless there are too many or the system gives none.
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

    /// How many are lent.
    #[cfg(test)]
    pub(super) fn lent(&self) -> usize {
        self.pipes.lock().lent
    }

    /// Sorts what a splice says, and learns from the first.
    fn judge(&self, result: io::Result<usize>) -> io::Result<Moved> {
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
                // Once it has worked, this says something of one socket alone.
                let first = self.splices.compare_exchange(
                    UNKNOWN,
                    UNSUPPORTED,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
                if first.is_ok() {
                    log::info!("tunnels are copied: splice: {error}");
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

    /// Takes what `socket` has, into an empty pipe: then it is the socket that
    /// stops the call, and never the pipe.
    ///
    /// # Errors
    /// The socket's.
    pub(super) fn fill(&mut self, socket: &TcpStream) -> io::Result<Moved> {
        debug_assert!(self.is_empty(), "a full pipe would look like no bytes");
        let Some(ends) = &self.ends else {
            return Ok(Moved::Unsupported);
        };
        let result = system::splice(socket, &ends.writer, ends.size);
        let moved = self.pool.judge(result)?;
        if let Moved::Some(len) = moved {
            self.held = len;
        }
        Ok(moved)
    }

    /// Gives `socket` what it takes. [`Moved::None`] means that it is full.
    ///
    /// # Errors
    /// The socket's.
    pub(super) fn drain(&mut self, socket: &TcpStream) -> io::Result<Moved> {
        let Some(ends) = &self.ends else {
            return Ok(Moved::Unsupported);
        };
        let result = system::splice(&ends.reader, socket, self.held);
        let moved = self.pool.judge(result)?;
        if let Moved::Some(len) = moved {
            self.held = self.held.saturating_sub(len);
        }
        Ok(moved)
    }

    /// Reads what the pipe holds, for a socket that takes it in no other way.
    ///
    /// # Errors
    /// None that is known of: the bytes are here.
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
            // As it is, then: the pipe stops a call before its length does.
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

    /// Whether the call itself is refused: reading or writing will tell if it is
    /// the connection after all.
    pub(super) fn means_unsupported(error: &io::Error) -> bool {
        matches!(
            Errno::from_io_error(error),
            Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS)
        )
    }
}

/// splice(2) is Linux's own.
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
