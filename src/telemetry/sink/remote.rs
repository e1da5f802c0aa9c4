//! Lines for a service of logs: syslog or journald, at a socket that may be gone for a while.
//!
//! What cannot be sent is kept for a while, so that a service may be started anew without a loss. Meanwhile the queue
//! fills, and what does not fit is counted there. All of it happens on the thread of the sink.

use std::io;
use std::time::{Duration, Instant};

use super::Shared;
use super::journal::{self, JournalTarget};
use super::syslog::{self, SyslogTarget};
use crate::text::{count, system_message};

/// How long lines wait for a service that does not take them.
const HOLD: Duration = if cfg!(test) {
    Duration::from_millis(300)
} else {
    Duration::from_secs(10)
};
/// The pauses between attempts: the first one, doubled up to the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long one call may wait for the service to read.
pub(super) const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// What is left of a batch, and why.
pub(super) type Unsent<'a> = (&'a [u8], io::Error);

/// A service of logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Service {
    Syslog(SyslogTarget),
    Journal(JournalTarget),
}

/// Sends lines to a service.
#[derive(Debug)]
pub(super) struct Remote {
    service: Service,
    connection: Option<Connection>,
    outage: Option<Outage>,
    /// Lines lost since the last time that it worked.
    lost: u64,
}

#[derive(Debug)]
enum Connection {
    Syslog(syslog::Connection),
    Journal(journal::Connection),
}

/// A time in which the service takes nothing.
#[derive(Debug)]
struct Outage {
    since: Instant,
    pause: Duration,
}

impl Service {
    fn connect(&self) -> io::Result<Connection> {
        match self {
            Service::Syslog(target) => target.connect().map(Connection::Syslog),
            Service::Journal(target) => target.connect().map(Connection::Journal),
        }
    }
}

impl std::fmt::Display for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Service::Syslog(target) => target.fmt(f),
            Service::Journal(target) => target.fmt(f),
        }
    }
}

impl Remote {
    pub(super) fn new(service: Service) -> Remote {
        Remote {
            service,
            connection: None,
            outage: None,
            lost: 0,
        }
    }

    /// Sends a batch of lines, or waits and then counts what could not be sent.
    pub(super) fn deliver(&mut self, shared: &Shared, batch: &[u8]) {
        let mut rest = batch;
        loop {
            let error = match self.send(shared, rest) {
                Ok(()) => return self.note_success(),
                Err((left, error)) => {
                    rest = left;
                    error
                }
            };
            self.connection = None;
            let service = &self.service;
            let outage = self.outage.get_or_insert_with(|| {
                log::error!(
                    "access log: cannot write to {service}: {}; records wait {} seconds for it, and are then lost",
                    system_message(&error),
                    HOLD.as_secs()
                );
                Outage {
                    since: Instant::now(),
                    pause: FIRST_PAUSE,
                }
            });
            let may_wait = outage.pause(shared) && outage.since.elapsed() < HOLD;
            if !may_wait {
                return self.lose(shared, rest);
            }
        }
    }

    fn send<'a>(&mut self, shared: &Shared, batch: &'a [u8]) -> Result<(), Unsent<'a>> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                let made = self.service.connect().map_err(|error| (batch, error))?;
                self.connection.insert(made)
            }
        };
        // One that no datagram can carry must not hold up the others.
        let mut too_long = 0;
        let sent = match connection {
            Connection::Syslog(connection) => connection.send(batch, &mut too_long),
            Connection::Journal(connection) => connection.send(batch, &mut too_long),
        };
        shared.losses.write_error.inc_by(too_long);
        self.lost += too_long;
        if too_long > 0 {
            log::warn!(
                "access log: {} did not fit into a message to {} and {} lost",
                count(too_long, "record"),
                self.service,
                if too_long == 1 { "is" } else { "are" },
            );
        }
        sent
    }

    fn note_success(&mut self) {
        if self.outage.take().is_some() {
            log::warn!(
                "access log: writing to {} works again, {} lost",
                self.service,
                match self.lost {
                    0 => "no record was".to_owned(),
                    1 => "1 record was".to_owned(),
                    more => format!("{more} records were"),
                }
            );
        }
        self.lost = 0;
    }

    fn lose(&mut self, shared: &Shared, rest: &[u8]) {
        let lines = memchr::memchr_iter(b'\n', rest).count();
        let lines = u64::try_from(lines).unwrap_or(u64::MAX);
        self.lost += lines;
        shared.losses.write_error.inc_by(lines);
    }
}

impl Outage {
    /// Waits before the next attempt. Returns whether there may be one: not where the sink ends.
    fn pause(&mut self, shared: &Shared) -> bool {
        let until = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        let mut state = shared.state.lock();
        while !state.closing {
            if shared.wake.wait_until(&mut state, until).timed_out() {
                return true;
            }
        }
        false
    }
}

/// Whether an error says that the message is too long for a datagram.
pub(super) fn is_too_long(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error())
}

#[cfg(test)]
mod tests;
