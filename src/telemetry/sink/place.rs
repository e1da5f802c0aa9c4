//! Where the lines of the access log go.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use super::remote::Service;
use crate::telemetry::log_file;
use crate::text::system_message;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Stdout,
    Stderr,
    /// Absolute, because a daemon changes its working directory.
    File(PathBuf),
    /// A service of logs, which lines are sent to.
    Service(Service),
}

impl Place {
    /// Whether it can lead to another file after a while.
    pub(super) fn is_renewed(&self) -> bool {
        match self {
            // The error log is opened anew too.
            Place::Stdout | Place::Stderr => true,
            Place::File(path) => log_file::is_renewed(path),
            // It is connected to again when that is needed.
            Place::Service(_) => false,
        }
    }

    /// For messages to the operator.
    pub(super) fn name(&self) -> String {
        match self {
            Place::Stdout => "stdout".to_owned(),
            Place::Stderr => "stderr".to_owned(),
            Place::File(path) => path.display().to_string(),
            Place::Service(service) => service.to_string(),
        }
    }

    /// Opens it, by its path if it is a file.
    ///
    /// Standard streams are duplicated rather than locked, which would also stop
    /// all other output while a pipe is full.
    pub(super) fn open(&self) -> io::Result<File> {
        match self {
            Place::Stdout => Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
            Place::Stderr => Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
            Place::File(path) => log_file::open(path),
            Place::Service(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Tells the operator that it could not be opened again.
    pub(super) fn report_reopen(&self, error: &io::Error) {
        log::error!(
            "access log: cannot reopen {}, the old file stays in use until that works: {}",
            self.name(),
            system_message(error)
        );
    }
}
