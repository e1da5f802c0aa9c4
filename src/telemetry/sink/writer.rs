//! The thread that writes the lines of a queue.

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::remote::Remote;
use super::{Place, Shared};

/// How long the writer lets lines gather, so that a line seldom costs its
/// pusher a wake-up and a batch costs one write.
const LINGER: Duration = Duration::from_millis(10);
/// Least time between two warnings about dropped lines.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// How often a file that could not be opened anew is tried again.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);
/// How often, and how many times, a descriptor that does not block is retried.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
const MAX_RETRIES: u32 = if cfg!(test) { 2 } else { 200 };

/// The thread's own state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    file: Option<File>,
    /// The service that lines are sent to, where there is no file.
    remote: Option<Remote>,
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
    pub(super) fn new(shared: Arc<Shared>, file: Option<File>) -> Writer {
        let remote = match &shared.place {
            Place::Service(service) => Some(Remote::new(service.clone())),
            Place::Stdout | Place::Stderr | Place::File(_) => None,
        };
        Writer {
            shared,
            file,
            remote,
            torn: false,
            failing: false,
            retry: None,
            lost: 0,
            overflow_reported: 0,
            warned: None,
        }
    }

    pub(super) fn run(mut self) {
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
                match &mut self.remote {
                    Some(remote) => remote.deliver(&shared, &batch),
                    None => self.write_batch(&batch),
                }
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
            None => self.shared.place.open().map_err(|error| (batch, error))?,
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
        match self.shared.place.open() {
            Ok(file) => {
                self.file = Some(file);
                self.torn = false;
                if self.retry.take().is_some() {
                    log::warn!("access log: reopened {}", self.shared.place.name());
                }
            }
            Err(error) => {
                if self.retry.is_none() {
                    self.shared.place.report_reopen(&error);
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

/// One `write(2)`, again if interrupted, and again after a pause if the
/// descriptor is non-blocking, which another process may have made it. Never returns 0.
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

#[cfg(test)]
mod tests;
