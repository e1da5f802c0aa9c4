//! A bounded queue of log lines with a thread that writes them.
//!
//! To push a line never waits for a disk, a pipe or a terminal: a line that
//! finds the queue full is counted and dropped. The thread starts with the
//! first line, since a process that daemonizes keeps only the thread that
//! forked.

mod journal;
mod place;
mod remote;
mod syslog;
mod writer;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

pub use self::journal::JournalTarget;
pub(crate) use self::place::Place;
pub(crate) use self::remote::Service;
pub use self::syslog::{SyslogForm, SyslogTarget, Transport};
use self::writer::Writer;
use super::metrics::series::Losses;

/// Bytes that may wait to be written; as many again may be in writing.
const CAPACITY: usize = 8 * 1024 * 1024;
/// Least time between two attempts to start the writer.
const START_INTERVAL: Duration = Duration::from_secs(1);

/// The queue. Dropping it lets the writer finish what is queued and end.
#[derive(Debug)]
pub(crate) struct Sink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    capacity: usize,
    losses: Losses,
    state: Mutex<State>,
    /// Wakes the writer.
    wake: Condvar,
    /// Wakes those that wait for the writer.
    settled: Condvar,
}

#[derive(Debug)]
struct State {
    lines: Vec<u8>,
    /// Lines taken in, and lines that were written or given up, since the start.
    lines_pushed: u64,
    lines_settled: u64,
    writer: Stage,
    /// The writer waits for a first line and has to be woken.
    asleep: bool,
    /// The writer must not let lines gather now.
    urgent: bool,
    /// The file is to be opened anew, and is being opened anew.
    reopen: bool,
    reopening: bool,
    closing: bool,
}

#[derive(Debug)]
enum Stage {
    /// Not started; holds the file opened at the start, and when the last
    /// attempt failed.
    Waiting {
        file: Option<File>,
        failed: Option<Instant>,
    },
    Running,
}

impl Sink {
    /// Opens a file if `place` is one, so that a wrong path is found at the
    /// start. Standard streams are taken later: a daemon replaces them. So is a
    /// service, which may begin later than this process.
    pub(crate) fn open(place: Place, losses: Losses) -> io::Result<Sink> {
        let file = match &place {
            Place::File(_) => Some(place.open()?),
            Place::Stdout | Place::Stderr | Place::Service(_) => None,
        };
        Ok(Sink::new(place, file, losses, CAPACITY))
    }

    fn new(place: Place, file: Option<File>, losses: Losses, capacity: usize) -> Sink {
        Sink {
            shared: Arc::new(Shared {
                place,
                capacity,
                losses,
                state: Mutex::new(State {
                    lines: Vec::new(),
                    lines_pushed: 0,
                    lines_settled: 0,
                    writer: Stage::Waiting { file, failed: None },
                    asleep: false,
                    urgent: false,
                    reopen: false,
                    reopening: false,
                    closing: false,
                }),
                wake: Condvar::new(),
                settled: Condvar::new(),
            }),
        }
    }

    /// Queues one line, its newline included, or drops and counts it.
    pub(crate) fn push(&self, line: &[u8]) {
        let shared = &*self.shared;
        let mut state = shared.state.lock();
        if state.lines.len() + line.len() > shared.capacity || !self.is_running(&mut state) {
            drop(state);
            shared.losses.overflow.inc();
            return;
        }
        state.lines.extend_from_slice(line);
        state.lines_pushed += 1;
        let half_full = state.lines.len() > shared.capacity / 2;
        if state.asleep || (half_full && !state.urgent) {
            state.asleep = false;
            state.urgent |= half_full;
            drop(state);
            shared.wake.notify_one();
        }
    }

    /// Waits until all lines pushed before, and a reopening asked for before,
    /// are done. Returns whether that was so within `timeout`.
    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.shared.state.lock();
        let target = state.lines_pushed;
        loop {
            if state.is_settled(target) {
                return true;
            }
            state.urgent = true;
            state.asleep = false;
            self.shared.wake.notify_one();
            match deadline {
                None => self.shared.settled.wait(&mut state),
                Some(deadline) => {
                    let waited = self.shared.settled.wait_until(&mut state, deadline);
                    if waited.timed_out() {
                        return state.is_settled(target);
                    }
                }
            }
        }
    }

    /// Has the file opened anew by its path, after what is queued was written.
    ///
    /// If that fails the old one stays in use. What is no file of its own stays open as it is: the rights to
    /// open it may be gone, and the number of a descriptor may be another one's by now.
    pub(crate) fn reopen(&self) {
        if !self.shared.place.is_renewed() {
            return;
        }
        let mut state = self.shared.state.lock();
        match &mut state.writer {
            Stage::Running => {
                state.reopen = true;
                state.urgent = true;
                state.asleep = false;
                drop(state);
                self.shared.wake.notify_one();
            }
            Stage::Waiting { file, .. } => match self.shared.place.open() {
                Ok(reopened) => *file = Some(reopened),
                Err(error) => self.shared.place.report_reopen(&error),
            },
        }
    }

    /// Starts the writer unless it runs.
    fn is_running(&self, state: &mut State) -> bool {
        let Stage::Waiting { file, failed } = &mut state.writer else {
            return true;
        };
        if failed.is_some_and(|at| at.elapsed() < START_INTERVAL) {
            return false;
        }
        let file = file.as_ref().and_then(|file| file.try_clone().ok());
        let writer = Writer::new(Arc::clone(&self.shared), file);
        let started = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writer.run());
        match started {
            Ok(_) => {
                state.writer = Stage::Running;
                // Reserved, not touched: growing would copy under the lock.
                state.lines.reserve_exact(self.shared.capacity);
                true
            }
            Err(error) => {
                if failed.is_none() {
                    log::error!("access log: cannot start its thread, records are lost: {error}");
                }
                *failed = Some(Instant::now());
                false
            }
        }
    }
}

impl State {
    fn is_settled(&self, target: u64) -> bool {
        self.lines_settled >= target && !self.reopen && !self.reopening
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.state.lock().closing = true;
        self.shared.wake.notify_one();
    }
}

#[cfg(test)]
mod tests;
