//! Opening the files of logs: for appending, never for everyone to read, and without ever waiting.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// What a path that a log is to be written to leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFileKind {
    /// A file: can be renamed and opened anew.
    File,
    /// A named pipe.
    Fifo,
    /// A terminal, `/dev/null` and the like.
    Device,
    /// A directory.
    Directory,
    /// Nothing else that a log can be written to.
    Unusable(&'static str),
}

impl LogFileKind {
    /// The kind of what was found at a path.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        let kind = metadata.file_type();
        if kind.is_file() {
            Self::File
        } else if kind.is_fifo() {
            Self::Fifo
        } else if kind.is_char_device() {
            Self::Device
        } else if kind.is_dir() {
            Self::Directory
        } else if kind.is_socket() {
            Self::Unusable("is a socket")
        } else if kind.is_block_device() {
            Self::Unusable("is a disk device")
        } else {
            Self::Unusable("is not a file")
        }
    }
}

/// Opens a log, and makes its file with mode 0640 at most where there is none.
///
/// A FIFO is opened for both ways, so that nothing waits for a reader; what it cannot hold is for the
/// writer to drop.
///
/// # Errors
/// The system's, or that the path is none of a log.
pub fn open(path: &Path) -> io::Result<File> {
    let options = |read: bool| {
        let mut options = OpenOptions::new();
        // A file does not care; a FIFO or a terminal must not hold up the process.
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
        options.read(read).append(true).custom_flags(flags);
        options
    };
    let file = match options(false).create(true).mode(0o640).open(path) {
        // A FIFO that nothing reads.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
            match LogFileKind::of(&path.metadata()?) {
                LogFileKind::Fifo => return options(true).open(path),
                LogFileKind::Unusable(text) => return Err(io::Error::other(text)),
                LogFileKind::File | LogFileKind::Device | LogFileKind::Directory => {
                    return Err(error);
                }
            }
        }
        opened => opened?,
    };
    match LogFileKind::of(&file.metadata()?) {
        LogFileKind::File | LogFileKind::Device => Ok(file),
        LogFileKind::Fifo => options(true).open(path),
        LogFileKind::Directory => Err(io::ErrorKind::IsADirectory.into()),
        LogFileKind::Unusable(text) => Err(io::Error::other(text)),
    }
}

/// Whether the path names a descriptor of the process that uses it.
#[must_use]
pub fn is_descriptor(path: &Path) -> bool {
    path.starts_with("/dev/fd") || path.starts_with("/proc/self/fd")
}

/// Whether a log at this path is opened anew when its file was renamed. A path into `/dev` or `/proc` names
/// a device or a descriptor of the caller, which stays what it is.
#[must_use]
pub fn is_renewed(path: &Path) -> bool {
    !path.starts_with("/dev") && !path.starts_with("/proc")
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn files_are_appended_to_and_not_for_everyone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        open(&path).unwrap().write_all(b"one\n").unwrap();
        open(&path).unwrap().write_all(b"two\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\n");
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
    }

    #[test]
    fn what_is_no_log_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        assert!(open(directory.path()).is_err());
        let socket = directory.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        assert_eq!(open(&socket).unwrap_err().to_string(), "is a socket");
        let missing = directory.path().join("none").join("log");
        assert_eq!(open(&missing).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(open(Path::new("/dev/null")).is_ok());
    }

    #[test]
    fn a_fifo_neither_waits_for_a_reader_nor_for_room() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let mut fifo = open(&path).unwrap();
        fifo.write_all(b"line\n").unwrap();
        let mut reader = File::open(&path).unwrap();
        let mut read = [0; 5];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(&read, b"line\n");
        let error = fifo.write_all(&vec![0; 4 << 20]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}
