//! The error log of a daemon: its standard error is a file, which can be reopened.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::telemetry::Destination;
use crate::telemetry::log_file;
use crate::text::system_message;

/// The file for the standard error of a daemon.
#[derive(Debug)]
pub(super) struct ErrorLog {
    /// None: messages are discarded.
    path: Option<PathBuf>,
    /// The open file, until it becomes standard error.
    file: Option<File>,
}

impl ErrorLog {
    /// Opens the file, or the null device when none is configured: a daemon keeps no stream of its caller.
    pub(super) fn open(path: Option<&str>) -> io::Result<Self> {
        let path = path.filter(|path| matches!(Destination::parse(path), Destination::File(_)));
        let path = path.map(PathBuf::from);
        let file = log_file::open(path.as_deref().unwrap_or(Path::new("/dev/null")))?;
        let file = Some(file);
        Ok(Self { path, file })
    }

    /// Whether messages are discarded.
    pub(super) fn is_nowhere(&self) -> bool {
        self.path.is_none()
    }

    /// Makes this file the standard error.
    pub(super) fn install(&mut self) -> io::Result<()> {
        match self.file.take() {
            Some(file) => Ok(rustix::stdio::dup2_stderr(file)?),
            None => Ok(()),
        }
    }

    /// Reopens the file by its path, after it was renamed. Returns whether that succeeded. On failure the old file
    /// stays in use, and the caller tries again; `logged` is whether an earlier failure was logged.
    pub(super) fn reopen(&self, logged: bool) -> bool {
        let Some(path) = self
            .path
            .as_deref()
            .filter(|path| log_file::is_renewed(path))
        else {
            return true;
        };
        let opened = log_file::open(path).and_then(|file| Ok(rustix::stdio::dup2_stderr(file)?));
        let is_done = opened.is_ok();
        match opened {
            Ok(()) if logged => log::warn!("error_log: reopened {}", path.display()),
            Ok(()) => {}
            Err(_) if logged => {}
            Err(error) => log::error!(
                "error_log: cannot reopen {}, the old file stays in use until that works: {}",
                path.display(),
                system_message(&error)
            ),
        }
        is_done
    }
}
