//! The PID file: names the process that serves; its lock shows that the process runs.
//!
//! The lock ends with the process, however it ends, so that a file without a lock is stale. Links are not
//! followed, and only the file of this process is removed at its end.

use std::fs::{self, File, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use crate::text::system_message;

/// How often another process may replace the file while it is opened.
const MAX_TRIES: usize = 100;

/// How often the number of the process that holds the file is read, until it is written.
const MAX_READS: usize = 20;
const READ_PAUSE: Duration = Duration::from_millis(20);

/// Not accessible to every user, as all files that the program makes.
const MODE: u32 = 0o640;

/// The PID file of this process.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    /// The locked file.
    file: File,
    /// The file with a temporary name, until this process serves.
    staged: Mutex<Option<NamedTempFile>>,
}

/// Why there is no PID file.
#[derive(Debug, thiserror::Error)]
pub(super) enum PidFileError {
    #[error("{}: {}", path.display(), held(*.id))]
    Held { path: PathBuf, id: Option<u32> },
    #[error("{}: is not a file of its own; remove it, or set another pid_file", .0.display())]
    Foreign(PathBuf),
    #[error("cannot write the PID file {}: {}", path.display(), system_message(error))]
    Io { path: PathBuf, error: io::Error },
}

impl PidFile {
    /// Creates or takes over the file for this process.
    ///
    /// # Errors
    /// A running process has it, or it cannot be written.
    pub(super) fn acquire(path: &Path) -> Result<Self, PidFileError> {
        let failed = |error: Errno| io_error(path, error.into());
        for _ in 0..MAX_TRIES {
            // A FIFO must not block the process.
            let flags = OFlags::RDWR
                | OFlags::CREATE
                | OFlags::NOFOLLOW
                | OFlags::NONBLOCK
                | OFlags::NOCTTY
                | OFlags::CLOEXEC;
            let file = match rustix::fs::open(path, flags, Mode::from_raw_mode(MODE)) {
                Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => {
                    return Err(PidFileError::Foreign(path.to_owned()));
                }
                opened => File::from(opened.map_err(failed)?),
            };
            let metadata = file.metadata().map_err(|error| io_error(path, error))?;
            if !metadata.is_file() || metadata.nlink() > 1 {
                return Err(PidFileError::Foreign(path.to_owned()));
            }
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    return Err(PidFileError::Held {
                        path: path.to_owned(),
                        id: read_id(&file),
                    });
                }
                Err(error) => return Err(failed(error)),
            }
            // Another process may have removed or replaced it before it was locked.
            if !is_at(&metadata, path) {
                continue;
            }
            if let Err(error) = write(&file) {
                // An empty file, as on a full disk, is useless.
                let _ = fs::remove_file(path);
                return Err(io_error(path, error));
            }
            return Ok(Self {
                path: path.to_owned(),
                file,
                staged: Mutex::new(None),
            });
        }
        Err(io_error(
            path,
            io::Error::other("another process keeps replacing it"),
        ))
    }

    /// Prepares a file beside that of the old process, which [`PidFile::publish`] replaces.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn stage(path: &Path) -> Result<Self, PidFileError> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        let staged = tempfile::Builder::new()
            .prefix(".tollgate-pid-")
            .permissions(fs::Permissions::from_mode(MODE))
            .tempfile_in(directory);
        let prepare = |staged: NamedTempFile| {
            let file = staged.as_file().try_clone()?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            write(&file)?;
            Ok((staged, file))
        };
        let (staged, file) = staged
            .and_then(prepare)
            .map_err(|error| io_error(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            staged: Mutex::new(Some(staged)),
        })
    }

    /// Renames a prepared file to its final name.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub(super) fn publish(&self) -> Result<(), PidFileError> {
        match self.staged.lock().take() {
            Some(staged) => match staged.persist(&self.path) {
                Ok(_) => Ok(()),
                Err(error) => Err(io_error(&self.path, error.error)),
            },
            None => Ok(()),
        }
    }

    /// Removes the file, unless another process has replaced it.
    pub(super) fn remove(&self) {
        let removed = self.file.metadata().and_then(|own| {
            if is_at(&own, &self.path) {
                fs::remove_file(&self.path)
            } else {
                Ok(())
            }
        });
        if let Err(error) = removed {
            log::warn!(
                "cannot remove the PID file {}: {}",
                self.path.display(),
                system_message(&error)
            );
        }
    }
}

impl Drop for PidFile {
    /// A failed start leaves no file.
    fn drop(&mut self) {
        self.remove();
    }
}

fn io_error(path: &Path, error: io::Error) -> PidFileError {
    PidFileError::Io {
        path: path.to_owned(),
        error,
    }
}

fn is_at(own: &Metadata, path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino()))
}

fn write(mut file: &File) -> io::Result<()> {
    let line = format!("{}\n", std::process::id());
    file.set_len(0)?;
    file.write_all(line.as_bytes())
}

/// The number in the file. The process that holds the lock may be about to write it.
fn read_id(file: &File) -> Option<u32> {
    for _ in 0..MAX_READS {
        let mut text = [0; 32];
        let count = file.read_at(&mut text, 0).ok()?;
        let text = text.get(..count)?.trim_ascii();
        let id = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok());
        if id.is_some() {
            return id;
        }
        thread::sleep(READ_PAUSE);
    }
    None
}

fn held(id: Option<u32>) -> String {
    let (process, kill) = match id {
        Some(id) => (format!("process {id}"), format!(" (`kill {id}`)")),
        None => ("another process".to_owned(), String::new()),
    };
    format!(
        "{process} holds it, so Tollgate runs already; if with this configuration, stop it{kill} or take over from it \
         with -u and SIGQUIT; if with another one, set `pid_file` in each"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    fn own() -> String {
        format!("{}\n", std::process::id())
    }

    #[test]
    fn a_file_is_held_until_its_process_ends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let held = PidFile::acquire(&path).unwrap();
        assert_eq!(content(&path), own());
        let error = PidFile::acquire(&path).unwrap_err().to_string();
        assert!(
            error.contains(&format!("process {} holds it", std::process::id())),
            "{error}"
        );
        drop(held);
        assert!(!path.exists());
        let made = PidFile::acquire(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
        drop(made);
        // Left over, with more in it than is written.
        fs::write(&path, "99999999999999999999\n").unwrap();
        let again = PidFile::acquire(&path).unwrap();
        assert_eq!(content(&path), own());
        again.remove();
        assert!(!path.exists());
    }

    #[test]
    fn the_successor_has_the_file_once_it_is_published() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let old = PidFile::acquire(&path).unwrap();
        drop(PidFile::stage(&path).unwrap());
        assert_eq!(content(&path), own());
        let new = PidFile::stage(&path).unwrap();
        assert!(old.file.metadata().is_ok_and(|own| is_at(&own, &path)));
        new.publish().unwrap();
        old.remove();
        assert_eq!(content(&path), own());
        drop(old);
        assert!(matches!(
            PidFile::acquire(&path),
            Err(PidFileError::Held { .. })
        ));
        new.remove();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (target, path) = (
            directory.path().join("target"),
            directory.path().join("pid"),
        );
        fs::write(&target, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(matches!(
            PidFile::acquire(&path),
            Err(PidFileError::Foreign(_))
        ));
        fs::remove_file(&path).unwrap();
        fs::hard_link(&target, &path).unwrap();
        assert!(matches!(
            PidFile::acquire(&path),
            Err(PidFileError::Foreign(_))
        ));
        assert_eq!(content(&target), "precious");
        assert!(matches!(
            PidFile::acquire(directory.path()),
            Err(PidFileError::Foreign(_))
        ));
        let missing = directory.path().join("none").join("pid");
        assert!(matches!(
            PidFile::acquire(&missing),
            Err(PidFileError::Io { .. })
        ));
        assert!(matches!(
            PidFile::stage(&missing),
            Err(PidFileError::Io { .. })
        ));
    }
}
