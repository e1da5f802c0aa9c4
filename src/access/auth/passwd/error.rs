//! Why no password was set, with the remedy.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{InPlace, MAX_FILE};
use crate::access::auth::credentials::{MAX_CREDENTIALS_LEN, UserError};
use crate::access::auth::htpasswd::NameError;
use crate::text::{TextError, system_message};

/// Why no password was set. The file is unchanged, except for [`PasswdError::Damaged`].
#[derive(Debug, Error)]
pub enum PasswdError {
    /// The user name breaks a rule.
    #[error("{}; {}", .0, name_remedy(.0))]
    User(#[from] NameError),
    /// The password is empty.
    #[error("the password is empty; enter one, or write it as the first line of standard input")]
    PasswordEmpty,
    /// User and password together are too long: no client could send them.
    #[error(
        "the user name and the password together have more than {MAX_CREDENTIALS_LEN} bytes; choose a shorter password"
    )]
    PasswordTooLong,
    /// No client may send it (RFC 7617 §2).
    #[error(
        "the password has a control character, which no client may send; choose a password without one"
    )]
    PasswordControlCharacter,
    /// No client may send it (RFC 7617 §2.1).
    #[error("the password is not UTF-8; send it as UTF-8, or enter it on a terminal")]
    PasswordNotUtf8,
    /// Standard input begins with a byte order mark, which would be part of the password.
    #[error(
        "the password begins with a byte order mark, which no client would send; send it as UTF-8 without one, \
         or enter it on a terminal"
    )]
    PasswordMarked,
    /// The path is empty.
    #[error("the name of the file is empty; name a file: `tollgate passwd FILE USER`")]
    NoFile,
    /// The two entries differ.
    #[error("the passwords differ; try again")]
    PasswordMismatch,
    /// The password could not be read.
    #[error("cannot read the password: {}", system_message(.0))]
    Read(io::Error),
    /// The password could not be hashed.
    #[error("cannot hash the password")]
    Hash(#[source] argon2::password_hash::Error),
    /// The path names a directory, a device or a pipe.
    #[error("{} is not a regular file; name a file", .0.display())]
    NotAFile(PathBuf),
    /// The path is a symbolic link whose target does not exist.
    #[error(
        "{} is a symbolic link to a file that does not exist; make that file, or remove the link",
        .0.display()
    )]
    DanglingLink(PathBuf),
    /// The proxy would refuse the file for its encoding or its line ends.
    #[error("{}: {error}; {}", FileLine(.path, .error), .error.problem.remedy())]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: TextError,
    },
    /// The file is larger than the proxy reads.
    #[error("{} is larger than {MAX_FILE} bytes; name a password file", .0.display())]
    TooLarge(PathBuf),
    /// The file has the user more than once.
    #[error("{} has the user on lines {first} and {second}; remove one", .path.display())]
    Duplicate {
        /// The file.
        path: PathBuf,
        /// The first line with the user, counted from one.
        first: usize,
        /// The second one.
        second: usize,
    },
    /// A file operation failed.
    #[error(
        "cannot {action} {}: {}; {}",
        .path.display(), system_message(.error), remedy(.error)
    )]
    Io {
        /// The operation.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
    /// Writing in place failed, and writing back the old text failed too.
    #[error(
        "{} is damaged: neither the new text nor the old one could be written ({}); restore it from a copy",
        .path.display(), system_message(.error)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
    /// Other processes kept replacing the file.
    #[error("{} keeps changing; try again", .0.display())]
    Contended(PathBuf),
}

impl PasswdError {
    /// The reason to write in place, when the system refused to make or to replace a file.
    pub(super) fn is_refusal(&self) -> Option<InPlace> {
        let Self::Io { error, .. } = self else {
            return None;
        };
        match error.kind() {
            io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices => Some(InPlace::Mounted),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Some(InPlace::Directory)
            }
            _ => None,
        }
    }
}

/// A file and a line, in the format of configuration errors.
struct FileLine<'a>(&'a Path, &'a TextError);

impl fmt::Display for FileLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.display())?;
        match self.1.line {
            Some(line) => write!(f, ":{line}"),
            None => Ok(()),
        }
    }
}

pub(super) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PasswdError {
    let path = path.to_owned();
    move |error| PasswdError::Io {
        action,
        path,
        error,
    }
}

fn name_remedy(error: &NameError) -> &'static str {
    match error {
        NameError::User(UserError::TooLong) => "choose a shorter name",
        NameError::User(UserError::Empty) => "name a user: `tollgate passwd FILE USER`",
        _ => "choose another name",
    }
}

/// The remedy for a failed file operation.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied if rustix::process::geteuid().is_root() => {
            "the file or the file system may be protected: `lsattr` shows whether the file is, and \
             `chattr -ia` ends it"
        }
        io::ErrorKind::PermissionDenied => "run it as the owner of the file or as root",
        io::ErrorKind::NotFound => "make the directory first",
        io::ErrorKind::ReadOnlyFilesystem => {
            "run it where the file system is writable, for example outside of the container"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space first",
        _ => "correct what the system reports, and try again",
    }
}
