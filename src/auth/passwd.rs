//! `tollgate passwd FILE USER`: puts one user with a new password into an
//! htpasswd file.
//!
//! The one part of [`crate::auth`] that reads and writes files. It prints
//! nothing but the prompts on a terminal.

use std::fs::{self, File};
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use subtle::ConstantTimeEq;
use tempfile::NamedTempFile;
use thiserror::Error;
use zeroize::Zeroizing;

use super::credentials::{MAX_CREDENTIALS_LEN, Secret, User, UserError};
use super::hash::PasswordHash;
use super::htpasswd::Line;

/// How often to begin anew when others keep replacing the file.
const MAX_ATTEMPTS: usize = 100;

/// What [`set_password`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// There was no file; it is made with mode 0600.
    Created,
    /// The user is new in the file.
    Added,
    /// The user had a password, and has the new one now.
    Replaced,
}

/// Why no password was set. The file is as it was.
#[derive(Debug, Error)]
pub enum PasswdError {
    /// The user name breaks a rule.
    #[error(transparent)]
    User(#[from] UserError),
    /// The line would be read as a comment, or the name without its beginning.
    #[error("the user name begins with '#' or white space, which a password file cannot hold")]
    UserBeginning,
    /// Nothing was entered.
    #[error("the password is empty")]
    PasswordEmpty,
    /// No client could send it: user and password together are too long.
    #[error("the user name and the password together have more than {MAX_CREDENTIALS_LEN} bytes")]
    PasswordTooLong,
    /// No client may send it (RFC 7617 §2).
    #[error("the password has a control character")]
    PasswordControlCharacter,
    /// No client may send it (RFC 7617 §2.1).
    #[error("the password is not utf-8")]
    PasswordNotUtf8,
    /// The two entries differ.
    #[error("the passwords differ")]
    PasswordMismatch,
    /// The password could not be read.
    #[error("cannot read the password")]
    Read(#[source] io::Error),
    /// The password could not be hashed.
    #[error("cannot hash the password")]
    Hash(#[source] argon2::password_hash::Error),
    /// The path names a directory, a device or a pipe.
    #[error("{} is not a regular file", .0.display())]
    NotAFile(PathBuf),
    /// The path is a symbolic link whose target does not exist.
    #[error("{} is a symbolic link to nothing", .0.display())]
    DanglingLink(PathBuf),
    /// The file has bytes that are not UTF-8, so the proxy would refuse it.
    #[error("{} is not utf-8 text", .0.display())]
    FileNotUtf8(PathBuf),
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
    /// A new file would belong to someone else than the old one.
    #[error("cannot keep the owner of {}; run it as that user or as root", .path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file system said no.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Others replaced the file again and again.
    #[error("{} keeps changing; try again", .0.display())]
    Contended(PathBuf),
}

/// Sets the password of a user, as an argon2id hash.
///
/// All other lines stay as they are, byte by byte. The file is replaced in one
/// step and on disk before this returns: whoever reads it, also after a crash,
/// sees the old one or the new one. Mode and owner stay; access control lists
/// and extended attributes do not. A symbolic link is followed. Runs at the same
/// time wait for each other.
///
/// # Errors
/// See [`PasswdError`].
pub fn set_password(path: &Path, user: &str, password: &Secret) -> Result<Outcome, PasswdError> {
    let user = User::parse(user)?;
    let storable = Line::parse(&format!("{user}:"))
        == Line::Entry {
            user: user.as_str(),
            hash: "",
        };
    if !storable {
        return Err(PasswdError::UserBeginning);
    }
    check_password(&user, password)?;
    // Before the file is locked: this takes a while.
    let hash = PasswordHash::argon2id(password).map_err(PasswdError::Hash)?;
    for _ in 0..MAX_ATTEMPTS {
        if let Some(outcome) = try_set(path, &user, &hash)? {
            return Ok(outcome);
        }
    }
    Err(PasswdError::Contended(path.to_owned()))
}

/// Reads a new password: on a terminal twice and without echo, else one line of
/// standard input.
///
/// # Errors
/// [`PasswdError::PasswordMismatch`], [`PasswdError::Read`], or
/// [`PasswdError::PasswordEmpty`] and [`PasswdError::PasswordTooLong`].
pub fn read_password() -> Result<Secret, PasswdError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        ask_twice(|prompt| rpassword::prompt_password(prompt))
    } else {
        read_line(stdin.lock())
    }
}

fn ask_twice(mut ask: impl FnMut(&str) -> io::Result<String>) -> Result<Secret, PasswdError> {
    let first = Secret::new(ask("New password: ").map_err(PasswdError::Read)?);
    if first.expose().is_empty() {
        return Err(PasswdError::PasswordEmpty);
    }
    let second = Secret::new(ask("Repeat new password: ").map_err(PasswdError::Read)?);
    if bool::from(first.expose().ct_eq(second.expose())) {
        Ok(first)
    } else {
        Err(PasswdError::PasswordMismatch)
    }
}

/// One line, without its end (LF or CRLF); the end may be missing.
fn read_line(input: impl BufRead) -> Result<Secret, PasswdError> {
    let limit = MAX_CREDENTIALS_LEN + 2;
    let mut line = Zeroizing::new(Vec::with_capacity(limit));
    input
        .take(limit as u64)
        .read_until(b'\n', &mut line)
        .map_err(PasswdError::Read)?;
    let password = line.strip_suffix(b"\n").unwrap_or(&line);
    let password = password.strip_suffix(b"\r").unwrap_or(password);
    if password.is_empty() {
        return Err(PasswdError::PasswordEmpty);
    }
    if password.len() > MAX_CREDENTIALS_LEN {
        return Err(PasswdError::PasswordTooLong);
    }
    Ok(Secret::new(password))
}

/// Refuses what could be stored but never be sent in a request.
fn check_password(user: &User, password: &Secret) -> Result<(), PasswdError> {
    let password = password.expose();
    if password.is_empty() {
        return Err(PasswdError::PasswordEmpty);
    }
    if user.as_str().len() + 1 + password.len() > MAX_CREDENTIALS_LEN {
        return Err(PasswdError::PasswordTooLong);
    }
    let Ok(text) = std::str::from_utf8(password) else {
        return Err(PasswdError::PasswordNotUtf8);
    };
    if text.contains(char::is_control) {
        return Err(PasswdError::PasswordControlCharacter);
    }
    Ok(())
}

/// `None`: the file was made or replaced by another; begin anew.
fn try_set(path: &Path, user: &User, hash: &str) -> Result<Option<Outcome>, PasswdError> {
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                return Err(PasswdError::DanglingLink(path.to_owned()));
            }
            let line = format!("{user}:{hash}\n");
            return Ok(create(path, &line)?.then_some(Outcome::Created));
        }
        Err(error) => return Err(io_error("find", path)(error)),
    };
    // Asked before it is opened: opening a pipe waits for its other end.
    let found = fs::metadata(&target).map_err(io_error("examine", &target))?;
    if !found.is_file() {
        return Err(PasswdError::NotAFile(target));
    }
    let mut file = File::open(&target).map_err(io_error("open", &target))?;
    lock(&file).map_err(io_error("lock", &target))?;
    // Who held the lock before has replaced the file that was just opened.
    let opened = file.metadata().map_err(io_error("examine", &target))?;
    match fs::metadata(&target) {
        Ok(now) if (now.dev(), now.ino()) == (opened.dev(), opened.ino()) => {}
        _ => return Ok(None),
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(io_error("read", &target))?;
    let Ok(text) = String::from_utf8(bytes) else {
        return Err(PasswdError::FileNotUtf8(target));
    };
    let (text, outcome) =
        edit(&text, user, hash).map_err(|(first, second)| PasswdError::Duplicate {
            path: target.clone(),
            first,
            second,
        })?;
    replace(&target, &text, &opened)?;
    // The lock goes with the file, after the replacement.
    drop(file);
    Ok(Some(outcome))
}

/// The new text. On error, the two lines that have the user.
fn edit(text: &str, user: &User, hash: &str) -> Result<(String, Outcome), (usize, usize)> {
    let mut edited = String::with_capacity(text.len() + user.as_str().len() + hash.len() + 3);
    let mut found = None;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        match (Line::parse(line), line.split_once(':')) {
            (Line::Entry { user: name, .. }, Some((before, after))) if name == user.as_str() => {
                if let Some(first) = found.replace(number) {
                    return Err((first, number));
                }
                // What follows the hash stays: a remark, the end of the line.
                let end = after.find(':').unwrap_or(after.trim_end().len());
                edited.extend([before, ":", hash, after.get(end..).unwrap_or_default()]);
            }
            _ => edited.push_str(line),
        }
    }
    if found.is_some() {
        return Ok((edited, Outcome::Replaced));
    }
    if !edited.is_empty() && !edited.ends_with('\n') {
        edited.push('\n');
    }
    edited.extend([user.as_str(), ":", hash, "\n"]);
    Ok((edited, Outcome::Added))
}

/// Waits for other runs. A file system without locks has to do without.
fn lock(file: &File) -> io::Result<()> {
    loop {
        match flock(file, FlockOperation::LockExclusive) {
            Ok(()) | Err(Errno::NOTSUP | Errno::NOLCK | Errno::NOSYS) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// `false`: another made the file meanwhile.
fn create(path: &Path, text: &str) -> Result<bool, PasswdError> {
    let written = write_beside(path, text)?;
    match written.persist_noclobber(path) {
        Ok(_) => sync_directory(path).map(|()| true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(io_error("create", path)(error.error)),
    }
}

fn replace(target: &Path, text: &str, old: &fs::Metadata) -> Result<(), PasswdError> {
    let written = write_beside(target, text)?;
    let file = written.as_file();
    let new = file
        .metadata()
        .map_err(io_error("examine", written.path()))?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        fchown(file, Some(old.uid()), Some(old.gid())).map_err(|source| PasswdError::Owner {
            path: target.to_owned(),
            source,
        })?;
    }
    file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))
        .and_then(|()| file.sync_all())
        .map_err(io_error("write", written.path()))?;
    written
        .persist(target)
        .map_err(|error| io_error("replace", target)(error.error))?;
    sync_directory(target)
}

/// A file with mode 0600 in the same directory, on disk; gone when dropped.
fn write_beside(path: &Path, text: &str) -> Result<NamedTempFile, PasswdError> {
    let directory = directory_of(path);
    let mut file = tempfile::Builder::new()
        .prefix(".tollgate-passwd-")
        .tempfile_in(directory)
        .map_err(io_error("create a file in", directory))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.as_file().sync_all())
        .map_err(io_error("write", file.path()))?;
    Ok(file)
}

/// Without this the new name may be lost in a crash.
fn sync_directory(path: &Path) -> Result<(), PasswdError> {
    let directory = directory_of(path);
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(io_error("sync", directory))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PasswdError {
    let path = path.to_owned();
    move |source| PasswdError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests;
