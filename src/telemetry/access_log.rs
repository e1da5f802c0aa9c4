//! The access log: one line per request and per tunnel.
//!
//! Lines are made on the calling thread, in a buffer of its own, and handed to
//! the queue of `sink`.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::format::push_combined_line;
use super::metrics::series::Losses;
use super::record::{Event, Record};
use super::sink::{JournalTarget, Place, Service, Sink, SyslogTarget};
use super::text::Clock;

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Destination {
    /// Nowhere.
    Off,
    /// The standard output of the process as it is when the first line is written.
    #[default]
    Stdout,
    /// The standard error of the process as it is when the first line is written.
    Stderr,
    /// A file, opened for appending and created with mode 0640 where missing, a FIFO or a device.
    File(PathBuf),
    /// Syslog: a message for each line.
    Syslog(SyslogTarget),
    /// The journal of systemd: an entry with the line and its members for each line of the JSON format.
    Journal(JournalTarget),
}

impl Destination {
    /// Reads `stdout`, `stderr`, `off` or a path, as in `log.access`.
    ///
    /// A file of one of these names is written with a directory: `./off`. The paths of the standard streams
    /// mean those streams, since such a path cannot be opened when the stream is a socket.
    pub fn parse(text: &str) -> Destination {
        match text {
            "off" => Destination::Off,
            "stdout" | "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => Destination::Stdout,
            "stderr" | "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => Destination::Stderr,
            path => Destination::File(PathBuf::from(path)),
        }
    }

    /// Its path, when it is not a standard stream.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Destination::File(path) => Some(path),
            Destination::Off
            | Destination::Stdout
            | Destination::Stderr
            | Destination::Syslog(_)
            | Destination::Journal(_) => None,
        }
    }

    /// Its path, or what it is called.
    pub(crate) fn path(&self) -> &Path {
        Path::new(match self {
            Destination::Off => "off",
            Destination::Stdout => "stdout",
            Destination::Stderr => "stderr",
            Destination::Syslog(_) => "syslog",
            Destination::Journal(_) => "journald",
            Destination::File(path) => return path,
        })
    }
}

/// How a line of the access log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Json,
    /// Apache's combined log format.
    Combined,
}

/// The name is not that of a format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown log format, expected json or combined")]
pub struct FormatError;

impl Format {
    /// Reads `json` or `combined`, as in `log.format`.
    ///
    /// # Errors
    /// [`FormatError`] for any other name.
    pub fn parse(text: &str) -> Result<Format, FormatError> {
        match text {
            "json" => Ok(Format::Json),
            "combined" => Ok(Format::Combined),
            _ => Err(FormatError),
        }
    }
}

#[derive(Debug)]
pub(crate) struct AccessLog {
    format: Format,
    sink: Option<Sink>,
}

/// What a thread keeps between two lines.
#[derive(Default)]
struct Scratch {
    line: Vec<u8>,
    clock: Clock,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl AccessLog {
    /// Opens the destination; starts nothing.
    pub(crate) fn open(
        destination: &Destination,
        format: Format,
        losses: Losses,
    ) -> io::Result<AccessLog> {
        let place = match destination {
            Destination::Off => None,
            Destination::Stdout => Some(Place::Stdout),
            Destination::Stderr => Some(Place::Stderr),
            Destination::File(path) => Some(Place::File(std::path::absolute(path)?)),
            Destination::Syslog(target) => Some(Place::Service(Service::Syslog(target.clone()))),
            Destination::Journal(target) => Some(Place::Service(Service::Journal(target.clone()))),
        };
        let sink = match place {
            None => None,
            Some(place) => Some(Sink::open(place, losses)?),
        };
        Ok(AccessLog { format, sink })
    }

    pub(crate) fn is_on(&self) -> bool {
        self.sink.is_some()
    }

    pub(crate) fn write(&self, record: &Record) {
        let Some(sink) = &self.sink else { return };
        let push = |Scratch { line, clock }: &mut Scratch| {
            line.clear();
            match self.format {
                Format::Json => record.push_json(line, clock),
                // The format has no place to say that a tunnel has only begun.
                Format::Combined if record.event == Event::TunnelOpen => return,
                Format::Combined => push_combined_line(line, clock, record),
            }
            sink.push(line);
        };
        let pushed = SCRATCH.try_with(|scratch| scratch.try_borrow_mut().map(|mut s| push(&mut s)));
        // A thread that is ending has no scratch any more.
        if !matches!(pushed, Ok(Ok(()))) {
            push(&mut Scratch::default());
        }
    }

    pub(crate) fn flush(&self, timeout: Duration) -> bool {
        self.sink.as_ref().is_none_or(|sink| sink.flush(timeout))
    }

    pub(crate) fn reopen(&self) {
        if let Some(sink) = &self.sink {
            sink.reopen();
        }
    }
}

#[cfg(test)]
mod tests;
