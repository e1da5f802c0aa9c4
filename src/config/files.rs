//! The files that a configuration names: where they are, and reading them with bounds.
//!
//! Whatever a path leads to, reading it ends: a directory, a device or a socket is an error, and a pipe is
//! read for a bounded time.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

use super::kind::TextKind;
use super::reader::Item;
use super::units::show_size;
use crate::text::{self, TextError};

/// How long a pipe may take to send all of a file: enough for a program that makes the file, as in
/// `-c <(program)`.
const PIPE_TIMEOUT: Duration = Duration::from_secs(5);

/// No system has a longer path: PATH_MAX of Linux.
pub(super) const MAX_PATH: usize = 4096;

/// What paths in a configuration file are relative to.
#[derive(Debug, Clone)]
pub(super) struct Base {
    /// The directory of the configuration file, absolute: a daemon's working directory is `/`.
    pub(super) directory: PathBuf,
    /// The same directory as the user wrote it.
    shown: PathBuf,
}

/// Why a file was not read.
///
/// Prints as what follows the name of the file: `does not exist`. A problem of the text in the file
/// ([`FileError::line`]) prints as a sentence of its own.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("does not exist")]
    NotFound,
    #[error("is a symbolic link to a file that does not exist")]
    DanglingLink,
    /// The path of a directory when that is what cannot be entered.
    #[error("cannot be read by user id {user}: {}", Denied(.directory.as_deref()))]
    PermissionDenied {
        directory: Option<PathBuf>,
        user: u32,
        group: u32,
    },
    #[error("is a directory")]
    Directory,
    #[error("is a device")]
    Device,
    #[error("is a socket")]
    Socket,
    #[error("is a pipe that no program writes to")]
    NoWriter,
    #[error("is a pipe, and its writer did not end within {} s", PIPE_TIMEOUT.as_secs())]
    SlowWriter,
    #[error("is larger than {}", show_size(*.0))]
    TooLarge(u64),
    #[error(transparent)]
    Text(#[from] TextError),
    #[error("cannot be read: {}", text::system_message(.0))]
    Io(#[source] io::Error),
}

/// What is closed to the user.
struct Denied<'a>(Option<&'a Path>);

impl std::fmt::Display for Denied<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(directory) => {
                let directory = directory.display();
                write!(f, "no permission to enter the directory {directory}")
            }
            None => f.write_str("permission denied"),
        }
    }
}

impl Base {
    /// The directory of `file`.
    ///
    /// # Errors
    /// When the working directory is gone and `file` is relative to it.
    pub(super) fn of(file: &Path) -> io::Result<Base> {
        let absolute = std::path::absolute(file)?;
        let parent = |path: &Path| path.parent().map(Path::to_owned).unwrap_or_default();
        Ok(Base {
            directory: parent(&absolute),
            shown: parent(file),
        })
    }

    /// A path below the directory as the user would write it.
    pub(super) fn show(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.directory) {
            Ok(below) => self.shown.join(below),
            Err(_) => path.to_owned(),
        }
    }
}

impl FileError {
    /// Why the system does not open or read `path`.
    fn of(error: io::Error, path: &Path) -> FileError {
        match error.kind() {
            io::ErrorKind::NotFound if fs::symlink_metadata(path).is_ok() => {
                FileError::DanglingLink
            }
            io::ErrorKind::NotFound => FileError::NotFound,
            io::ErrorKind::PermissionDenied => FileError::PermissionDenied {
                directory: closed_directory(path),
                user: rustix::process::geteuid().as_raw(),
                group: rustix::process::getegid().as_raw(),
            },
            _ => FileError::Io(error),
        }
    }

    /// Whether the file was read, and what is wrong is its text.
    pub(super) fn is_in_text(&self) -> bool {
        matches!(self, FileError::Text(_))
    }

    /// The line of the error in the file, if it has one.
    pub(super) fn line(&self) -> Option<usize> {
        match self {
            FileError::Text(error) => error.line,
            _ => None,
        }
    }

    /// What to do about it. `shown` is the file as the user would write it, and `missing` what to do when there
    /// is none.
    pub(super) fn remedy(&self, shown: &Path, missing: &str) -> String {
        let path = speak(shown);
        match self {
            FileError::NotFound => missing.to_owned(),
            FileError::DanglingLink => {
                "make the file that the link names, or correct the link".to_owned()
            }
            FileError::PermissionDenied {
                directory: Some(directory),
                group,
                ..
            } => {
                let path = speak(directory);
                format!("run `chgrp {group} {path} && chmod g+x {path}` as root")
            }
            FileError::PermissionDenied { group, .. } => {
                format!("run `chgrp {group} {path} && chmod g+r {path}` as root")
            }
            FileError::Directory | FileError::Device | FileError::Socket => {
                "name a regular file".to_owned()
            }
            FileError::NoWriter | FileError::SlowWriter => {
                "write what it sends to a regular file, and name that file".to_owned()
            }
            FileError::TooLarge(_) => "name another file, or divide this one".to_owned(),
            FileError::Text(error) => error.problem.remedy(),
            FileError::Io(_) => "correct the path, or repair what the system reports".to_owned(),
        }
    }
}

/// Reads a file of at most `limit` bytes.
///
/// A pipe is read too, as in `-c <(program)`, but once: a later reload finds it empty, which is an error
/// and changes nothing. `/dev/null` is an empty file.
///
/// # Errors
/// The file is not there, is larger, may not be read, or is nothing to read.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let failed = |error| FileError::of(error, path);
    // Before it is opened: opening some devices does something.
    refuse_special(&fs::metadata(path).map_err(failed)?)?;
    // Opening a pipe would wait for its other end.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty());
    let mut file = File::from(file.map_err(|error| failed(error.into()))?);
    let metadata = file.metadata().map_err(failed)?;
    refuse_special(&metadata)?;
    let mut bytes = Vec::new();
    if metadata.file_type().is_fifo() {
        read_pipe(&mut file, limit, &mut bytes).map_err(|error| match error {
            FileError::Io(error) => failed(error),
            error => error,
        })?;
    } else {
        // Bounded by what is read and not by the size that the file claims: those in /proc claim none.
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(failed)?;
    }
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLarge(limit));
    }
    Ok(bytes)
}

/// Reads a text file of at most `limit` bytes, without a byte order mark; its lines end with LF.
///
/// # Errors
/// As [`read`], and what [`text::decode`] finds in the file.
pub(super) fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    Ok(text::decode(read(path, limit)?)?)
}

/// Reports why a file that `item` names was not read: on the line of the file when it is its text, else
/// on the key. `missing` is what to do when there is no such file.
pub(super) fn report(item: &Item<'_>, shown: &Path, error: &FileError, missing: &str) {
    let remedy = error.remedy(shown, missing);
    if error.is_in_text() {
        item.report_in(shown, error.line(), error.to_string(), remedy);
    } else {
        item.report(format!("{} {error}", speak(shown)), remedy);
    }
}

/// Reports that a file which `item` names is of another kind than `wanted`, where that is plain to see. Whether
/// it is: then what is wrong with its lines is beside the point.
pub(super) fn report_kind(item: &Item<'_>, shown: &Path, text: &str, wanted: TextKind) -> bool {
    let found = TextKind::of(text).filter(|(kind, _)| *kind != wanted);
    if let Some((kind, line)) = found {
        let message = format!("{kind}, where {wanted} belongs");
        item.report_at(shown, line, message, kind.remedy(wanted));
    }
    found.is_some()
}

/// A path for a message, in quotes where a shell would need them; `FILE` for what hardly is a path: a hash that
/// stands where a path belongs must not be repeated.
pub(super) fn speak(path: &Path) -> Cow<'_, str> {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@%,=~".contains(c);
    if text.len() > MAX_PATH {
        Cow::Borrowed("FILE")
    } else if text.chars().all(is_plain) {
        text
    } else if text.chars().all(|c| is_plain(c) || c == ' ') {
        Cow::Owned(format!("'{text}'"))
    } else {
        Cow::Borrowed("FILE")
    }
}

/// Whether every user of the machine can read a file.
pub(super) fn is_world_readable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

/// Whether a file can be read once more: this process may read it still, and it is no pipe, which has its content once.
pub(super) fn is_still_there(path: &Path) -> bool {
    let may_read = rustix::fs::accessat(
        rustix::fs::CWD,
        path,
        rustix::fs::Access::READ_OK,
        rustix::fs::AtFlags::EACCESS,
    );
    may_read.is_ok() && path.metadata().is_ok_and(|it| !it.file_type().is_fifo())
}

/// The first directory on the way to `path` that this user may not enter.
fn closed_directory(path: &Path) -> Option<PathBuf> {
    let mut above: Vec<&Path> = path.ancestors().collect();
    above.reverse();
    let is_closed = |path: &&Path| {
        fs::symlink_metadata(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    let first = above.into_iter().find(is_closed)?;
    let parent = first.parent()?;
    let is_here = parent.as_os_str().is_empty();
    Some(if is_here {
        ".".into()
    } else {
        parent.to_owned()
    })
}

fn refuse_special(metadata: &fs::Metadata) -> Result<(), FileError> {
    let kind = metadata.file_type();
    if kind.is_dir() {
        Err(FileError::Directory)
    } else if kind.is_socket() {
        Err(FileError::Socket)
    } else if kind.is_block_device() || (kind.is_char_device() && !is_null_device(metadata)) {
        Err(FileError::Device)
    } else {
        Ok(())
    }
}

/// `/dev/null` reads as an empty file.
fn is_null_device(metadata: &fs::Metadata) -> bool {
    let device = metadata.rdev();
    cfg!(target_os = "linux") && (rustix::fs::major(device), rustix::fs::minor(device)) == (1, 3)
}

/// Reads a pipe, opened without blocking, to its end.
fn read_pipe(pipe: &mut File, limit: u64, bytes: &mut Vec<u8>) -> Result<(), FileError> {
    let deadline = Instant::now() + PIPE_TIMEOUT;
    let mut pipe_limited = (&*pipe).take(limit.saturating_add(1));
    loop {
        match pipe_limited.read_to_end(bytes) {
            // Without a writer, or where the writer was too fast to be seen and wrote nothing.
            Ok(0) if bytes.is_empty() => return Err(FileError::NoWriter),
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(FileError::Io(error)),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(FileError::SlowWriter);
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(FileError::Io(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn error(path: &Path, limit: u64) -> String {
        read(path, limit).unwrap_err().to_string()
    }

    #[test]
    fn bounds_and_encoding() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
        assert_eq!(error(&path, 4), "is larger than 4B");
        fs::write(&path, b"\xef\xbb\xbfa\r\nb").unwrap();
        assert_eq!(read_text(&path, 99).unwrap(), "a\nb");
        fs::write(&path, b"a\nb\n\xff").unwrap();
        let found = read_text(&path, 99).unwrap_err();
        assert_eq!(
            (found.to_string().as_str(), found.line()),
            ("not UTF-8", Some(3))
        );
    }

    #[test]
    fn what_is_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        assert_eq!(error(directory.path(), 99), "is a directory");
        assert_eq!(error(&path("gone"), 99), "does not exist");
        std::os::unix::fs::symlink(path("gone"), path("link")).unwrap();
        let expected = "is a symbolic link to a file that does not exist";
        assert_eq!(error(&path("link"), 99), expected);
        std::os::unix::fs::symlink(path("loop"), path("loop")).unwrap();
        let found = error(&path("loop"), 99);
        assert!(
            found.starts_with("cannot be read: ") && !found.contains("os error"),
            "{found}"
        );
        assert_eq!(error(Path::new("/dev/zero"), 99), "is a device");
        assert_eq!(read(Path::new("/dev/null"), 99).unwrap(), b"");
        let _listener = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        assert_eq!(error(&path("socket"), 99), "is a socket");
    }

    #[test]
    fn a_pipe_is_read_to_its_end_and_never_waited_for_in_vain() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(error(&path, 99), "is a pipe that no program writes to");

        // Open for both ways, which does not wait for a reader.
        let mut pipe = File::options().read(true).write(true).open(&path).unwrap();
        pipe.write_all(b"one\ntw").unwrap();
        let reader = std::thread::spawn({
            let path = path.clone();
            move || read(&path, 99)
        });
        // It is reading when it has taken what was written.
        let deadline = Instant::now() + PIPE_TIMEOUT;
        while rustix::io::ioctl_fionread(&pipe).unwrap() > 0 {
            assert!(Instant::now() < deadline, "nothing is read");
            std::thread::yield_now();
        }
        pipe.write_all(b"o\n").unwrap();
        drop(pipe);
        assert_eq!(reader.join().unwrap().unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn each_error_has_a_remedy() {
        let shown = Path::new("conf/users");
        for error in [
            FileError::NotFound,
            FileError::DanglingLink,
            FileError::PermissionDenied {
                directory: None,
                user: 7,
                group: 8,
            },
            FileError::PermissionDenied {
                directory: Some("/x".into()),
                user: 7,
                group: 8,
            },
            FileError::Directory,
            FileError::NoWriter,
            FileError::TooLarge(7),
            FileError::Io(io::Error::from_raw_os_error(5)),
        ] {
            assert!(!error.remedy(shown, "make it").is_empty());
            assert!(!error.to_string().contains("os error"), "{error}");
        }
        let denied = FileError::PermissionDenied {
            directory: None,
            user: 7,
            group: 8,
        };
        assert_eq!(
            denied.to_string(),
            "cannot be read by user id 7: permission denied"
        );
        let remedy = "run `chgrp 8 conf/users && chmod g+r conf/users` as root";
        assert_eq!(denied.remedy(shown, "make it"), remedy);
    }

    #[test]
    fn a_path_that_may_be_a_secret_is_not_repeated() {
        for (path, expected) in [
            ("conf/users.htpasswd", "conf/users.htpasswd"),
            ("/srv/my proxy/b\u{fc}cher", "'/srv/my proxy/b\u{fc}cher'"),
            ("alice:$2y$05$abc", "FILE"),
            ("/etc/alice:secret", "FILE"),
            (&"/x".repeat(MAX_PATH / 2 + 1), "FILE"),
        ] {
            assert_eq!(speak(Path::new(path)), expected);
        }
    }

    #[test]
    fn paths_are_shown_as_written() {
        let base = Base::of(Path::new("conf/pingora.yaml")).unwrap();
        assert!(base.directory.is_absolute());
        let users = base.directory.join("users");
        assert_eq!(base.show(&users), Path::new("conf/users"));
        assert_eq!(base.show(Path::new("/etc/users")), Path::new("/etc/users"));
        let base = Base::of(Path::new("pingora.yaml")).unwrap();
        assert_eq!(base.show(&base.directory.join("users")), Path::new("users"));
    }

    #[test]
    fn world_readable() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        fs::write(&path, "").unwrap();
        for (mode, readable) in [(0o600, false), (0o640, false), (0o644, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_world_readable(&path), readable);
        }
    }
}
