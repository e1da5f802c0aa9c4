//! Where a daemon's own messages go: its standard error is a file, which can be opened anew.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::telemetry::Destination;
use crate::telemetry::log_file;
use crate::text::system_message;

/// What becomes the standard error of a daemon.
#[derive(Debug)]
pub(super) struct ErrorLog {
    /// None for nowhere.
    path: Option<PathBuf>,
    /// Until it is standard error.
    file: Option<File>,
}

impl ErrorLog {
    /// Opens the file, or nowhere when there is none: a daemon keeps no stream of its caller.
    pub(super) fn open(path: Option<&str>) -> io::Result<Self> {
        let path = path.filter(|path| matches!(Destination::parse(path), Destination::File(_)));
        let path = path.map(PathBuf::from);
        let file = log_file::open(path.as_deref().unwrap_or(Path::new("/dev/null")))?;
        let file = Some(file);
        Ok(Self { path, file })
    }

    /// Whether messages are lost.
    pub(super) fn is_nowhere(&self) -> bool {
        self.path.is_none()
    }

    /// From now on standard error is this file.
    pub(super) fn install(&mut self) -> io::Result<()> {
        match self.file.take() {
            Some(file) => Ok(rustix::stdio::dup2_stderr(file)?),
            None => Ok(()),
        }
    }

    /// Opens the file by its path again, after it was renamed. On failure the old one stays in use, and this
    /// is to be called again; `said` is whether that was said already. Whether it succeeded.
    pub(super) fn reopen(&self, said: bool) -> bool {
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
            Ok(()) if said => log::warn!("error_log: reopened {}", path.display()),
            Ok(()) => {}
            Err(_) if said => {}
            Err(error) => log::error!(
                "error_log: cannot reopen {}, the old file stays in use until that works: {}",
                path.display(),
                system_message(&error)
            ),
        }
        is_done
    }
}
