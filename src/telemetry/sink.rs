//! A bounded queue of log lines with a thread that writes them.
//!
//! Who pushes a line never waits for a disk, a pipe or a terminal: a line that
//! finds the queue full is counted and dropped. The thread starts with the
//! first line, since a process that daemonizes keeps only the thread that
//! forked.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use prometheus::IntCounter;

use crate::telemetry::log_file;
use crate::text::system_message;

/// Bytes that may wait to be written; as many again may be in writing.
const CAPACITY: usize = 8 * 1024 * 1024;
/// How long the writer lets lines gather, so that a line seldom costs its
/// pusher a wake-up and a batch costs one write.
const LINGER: Duration = Duration::from_millis(10);
/// Least time between two warnings about dropped lines.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Least time between two attempts to start the writer.
const START_INTERVAL: Duration = Duration::from_secs(1);
/// How often a file that could not be opened anew is tried again.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);
/// How often, and how many times, a descriptor that does not block is retried.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
const MAX_RETRIES: u32 = if cfg!(test) { 2 } else { 200 };

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Stdout,
    Stderr,
    /// Absolute, because a daemon changes its working directory.
    File(PathBuf),
}

/// Counts lines that were lost, by reason.
#[derive(Debug, Clone)]
pub(crate) struct Losses {
    /// The queue was full, or the writer could not be started.
    pub(crate) overflow: IntCounter,
    /// The line could not be written.
    pub(crate) write_error: IntCounter,
}

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
    /// start. Standard streams are taken later: a daemon replaces them.
    pub(crate) fn open(place: Place, losses: Losses) -> io::Result<Sink> {
        let file = match &place {
            Place::File(path) => Some(log_file::open(path)?),
            Place::Stdout | Place::Stderr => None,
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
            Stage::Waiting { file, .. } => match reopen(&self.shared.place) {
                Ok(reopened) => *file = Some(reopened),
                Err(error) => report_reopen(&self.shared.place, &error),
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

/// The thread's own state.
struct Writer {
    shared: Arc<Shared>,
    file: Option<File>,
    /// The last write ended inside a line.
    torn: bool,
    failing: bool,
    /// When a file that could not be opened anew is tried again.
    retry: Option<Instant>,
    /// Lines lost since writing began to fail.
    lost: u64,
    overflow_reported: u64,
    warned: Option<Instant>,
}

impl Writer {
    fn new(shared: Arc<Shared>, file: Option<File>) -> Writer {
        Writer {
            shared,
            file,
            torn: false,
            failing: false,
            retry: None,
            lost: 0,
            overflow_reported: 0,
            warned: None,
        }
    }

    fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut batch = Vec::with_capacity(shared.capacity);
        loop {
            let (pushed, reopen, closing) = {
                let mut state = shared.state.lock();
                while state.lines.is_empty() && !state.reopen && !state.closing {
                    state.asleep = true;
                    shared.wake.wait(&mut state);
                }
                state.asleep = false;
                if !state.urgent && !state.reopen && !state.closing {
                    shared.wake.wait_for(&mut state, LINGER);
                }
                state.urgent = false;
                state.reopening = std::mem::take(&mut state.reopen);
                std::mem::swap(&mut state.lines, &mut batch);
                (state.lines_pushed, state.reopening, state.closing)
            };
            // Before the batch: it is for the new file, if only there is one at last.
            if self.retry.is_some_and(|at| at <= Instant::now()) {
                self.reopen();
            }
            if !batch.is_empty() {
                self.write_batch(&batch);
                batch.clear();
            }
            if reopen {
                self.reopen();
            }
            self.warn_of_overflow();
            let mut state = shared.state.lock();
            state.lines_settled = pushed;
            state.reopening = false;
            shared.settled.notify_all();
            if closing && state.lines.is_empty() {
                return;
            }
        }
    }

    /// Writes all or reports and counts what could not be written.
    fn write_batch(&mut self, batch: &[u8]) {
        match self.try_write(batch) {
            Ok(()) => {
                if self.failing {
                    log::warn!(
                        "access log: writing to {} works again, {} records were lost",
                        self.shared.place.name(),
                        self.lost
                    );
                }
                self.failing = false;
                self.lost = 0;
            }
            Err((rest, error)) => {
                let lines = rest.iter().filter(|&&byte| byte == b'\n').count();
                let lines = u64::try_from(lines).unwrap_or(u64::MAX);
                self.lost += lines;
                self.shared.losses.write_error.inc_by(lines);
                if !self.failing {
                    log::error!(
                        "access log: cannot write to {}, records are lost until it works again: {error}",
                        self.shared.place.name()
                    );
                }
                self.failing = true;
            }
        }
    }

    /// Returns what was not written along with the error.
    fn try_write<'a>(&mut self, batch: &'a [u8]) -> Result<(), (&'a [u8], io::Error)> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => reopen(&self.shared.place).map_err(|error| (batch, error))?,
        };
        let mut result = Ok(());
        if self.torn {
            // The line that was cut short must not swallow the next one.
            match write_some(&mut file, b"\n") {
                Ok(_) => self.torn = false,
                Err(error) => result = Err((batch, error)),
            }
        }
        let mut rest = batch;
        while result.is_ok() && !rest.is_empty() {
            match write_some(&mut file, rest) {
                Ok(written) => {
                    let (done, left) = rest.split_at_checked(written).unwrap_or((rest, b""));
                    self.torn = done.last() != Some(&b'\n');
                    rest = left;
                }
                Err(error) => result = Err((rest, error)),
            }
        }
        self.file = Some(file);
        result
    }

    fn reopen(&mut self) {
        match reopen(&self.shared.place) {
            Ok(file) => {
                self.file = Some(file);
                self.torn = false;
                if self.retry.take().is_some() {
                    log::warn!("access log: reopened {}", self.shared.place.name());
                }
            }
            Err(error) => {
                if self.retry.is_none() {
                    report_reopen(&self.shared.place, &error);
                }
                self.retry = Some(Instant::now() + REOPEN_INTERVAL);
            }
        }
    }

    fn warn_of_overflow(&mut self) {
        let total = self.shared.losses.overflow.get();
        let fresh = total.saturating_sub(self.overflow_reported);
        let recent = self
            .warned
            .is_some_and(|at| at.elapsed() < WARNING_INTERVAL);
        if fresh > 0 && !recent {
            log::warn!(
                "access log: dropped {fresh} records, {} takes them too slowly",
                self.shared.place.name()
            );
            self.overflow_reported = total;
            self.warned = Some(Instant::now());
        }
    }
}

impl Place {
    fn is_renewed(&self) -> bool {
        match self {
            // The error log is opened anew too.
            Place::Stdout | Place::Stderr => true,
            Place::File(path) => log_file::is_renewed(path),
        }
    }

    /// For messages to the operator.
    pub(crate) fn name(&self) -> std::path::Display<'_> {
        match self {
            Place::Stdout => Path::new("stdout").display(),
            Place::Stderr => Path::new("stderr").display(),
            Place::File(path) => path.display(),
        }
    }
}

/// One `write(2)`, again if interrupted, and again after a pause if the
/// descriptor is one that somebody else made non-blocking. Never returns 0.
fn write_some(file: &mut File, bytes: &[u8]) -> io::Result<usize> {
    let mut retries = 0;
    loop {
        match file.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => return Ok(written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && retries < MAX_RETRIES => {
                retries += 1;
                thread::sleep(RETRY_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Standard streams are duplicated rather than locked, which would also stop
/// whoever else prints while a pipe is full.
fn reopen(place: &Place) -> io::Result<File> {
    match place {
        Place::Stdout => Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        Place::Stderr => Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
        Place::File(path) => log_file::open(path),
    }
}

fn report_reopen(place: &Place, error: &io::Error) {
    log::error!(
        "access log: cannot reopen {}, the old file stays in use until that works: {}",
        place.name(),
        system_message(error)
    );
}

#[cfg(test)]
mod tests;
