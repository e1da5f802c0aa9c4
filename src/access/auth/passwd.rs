//! `tollgate passwd FILE USER`: puts one user with a new password into an
//! htpasswd file.
//!
//! The only part of [`crate::access::auth`] that reads and writes files. It prints
//! only the prompts on a terminal.

mod error;
mod in_place;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use subtle::ConstantTimeEq;
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

pub use self::error::PasswdError;
use self::error::io_error;
use super::credentials::{MAX_CREDENTIALS_LEN, User};
use super::hash::PasswordHash;
use super::htpasswd::{HtpasswdLine, parse_name};
use crate::http::secret::Password;
use crate::text;

/// How often to start again when other processes keep replacing the file.
const MAX_ATTEMPTS: usize = 100;

/// The bytes of a password that bcrypt uses.
const BCRYPT_LEN: usize = 72;

/// The byte order marks that programs on Windows write first. No client would send them.
const BYTE_ORDER_MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];

/// The largest password file, as for the configuration.
const MAX_FILE: u64 = 1 << 30;

/// The result of [`set_password`].
#[derive(Debug, PartialEq, Eq)]
pub struct PasswdReport {
    /// The change of the file.
    pub change: PasswordChange,
    /// Why the file was written in place, if it was not replaced in one step.
    pub in_place: Option<InPlace>,
    /// Whether the old hash was bcrypt, which uses 72 bytes of a password.
    pub was_bcrypt: bool,
    /// Whether the new password has more bytes than bcrypt would use.
    pub is_long: bool,
}

/// Why a file was written in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InPlace {
    /// The file is a mount of its own, as in a container.
    Mounted,
    /// No file can be made or replaced in its directory.
    Directory,
    /// A new file would belong to another user or group.
    Owner,
    /// The file has more names (hard links), which would keep the old text.
    Linked,
}

/// The change of a password file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordChange {
    /// The file is new, with mode 0600.
    Created,
    /// The user is new in the file.
    Added,
    /// The user's password was replaced.
    Replaced,
}

impl PasswdReport {
    fn of(change: PasswordChange, was_bcrypt: bool) -> PasswdReport {
        PasswdReport {
            change,
            in_place: None,
            was_bcrypt,
            is_long: false,
        }
    }

    /// Notes for the user beside the change.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        let in_place = self.in_place.map(|reason| {
            format!("the file was written in place because {reason}; its other lines are unchanged")
        });
        let length = match (self.was_bcrypt, self.is_long) {
            (true, _) => Some(format!(
                "the old hash was bcrypt, which uses only the first {BCRYPT_LEN} bytes of a password; \
                 the new hash uses all of them"
            )),
            (false, true) => Some(format!(
                "the password has more than {BCRYPT_LEN} bytes; argon2id uses all of them, bcrypt \
                 ($2y$) would use the first {BCRYPT_LEN} only"
            )),
            (false, false) => None,
        };
        in_place.into_iter().chain(length)
    }
}

impl fmt::Display for InPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mounted => "it is mounted by itself and cannot be replaced",
            Self::Directory => "its directory cannot be written",
            Self::Owner => "a new file could not have its owner",
            Self::Linked => "it has more than one name (hard links)",
        })
    }
}

/// Sets the password of a user, as an argon2id hash.
///
/// All other lines keep their bytes. The file is replaced in one
/// step and on disk before this returns: a reader, also after a crash,
/// sees the old or the new file. Mode and owner are kept; access control lists
/// and extended attributes are not. A symbolic link is followed. Concurrent
/// runs wait for each other.
///
/// A file that cannot be replaced (a mount of its own, a directory without write access,
/// an owner that cannot be kept, hard links) is written in place instead: see
/// [`InPlace`]. Then a reader may for a moment see a part of the new text.
///
/// # Errors
/// See [`PasswdError`].
pub fn set_password(
    path: &Path,
    user: &str,
    password: &Password,
) -> Result<PasswdReport, PasswdError> {
    if path.as_os_str().is_empty() {
        return Err(PasswdError::NoFile);
    }
    let user = parse_name(user)?;
    check_password(&user, password)?;
    // Before the file is locked, since this is slow.
    let hash = PasswordHash::argon2id(password).map_err(PasswdError::Hash)?;
    for _ in 0..MAX_ATTEMPTS {
        if let Some(mut done) = try_set(path, &user, &hash)? {
            done.is_long = password.expose().len() > BCRYPT_LEN;
            return Ok(done);
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
pub fn read_password() -> Result<Password, PasswdError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        ask_twice(|prompt| rpassword::prompt_password(prompt))
    } else {
        read_password_from(stdin.lock())
    }
}

/// Reads a password that is set already: on a terminal once and without echo, else one line of standard input.
///
/// # Errors
/// [`PasswdError::Read`], or [`PasswdError::PasswordEmpty`] and [`PasswdError::PasswordTooLong`].
pub fn ask_password(prompt: &str) -> Result<Password, PasswdError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return read_password_from(stdin.lock());
    }
    let password = rpassword::prompt_password(prompt).map_err(PasswdError::Read)?;
    match password.is_empty() {
        true => Err(PasswdError::PasswordEmpty),
        false => Ok(Password::new(password)),
    }
}

fn ask_twice(mut ask: impl FnMut(&str) -> io::Result<String>) -> Result<Password, PasswdError> {
    let first = Password::new(ask("New password: ").map_err(PasswdError::Read)?);
    if first.expose().is_empty() {
        return Err(PasswdError::PasswordEmpty);
    }
    let second = Password::new(ask("Repeat new password: ").map_err(PasswdError::Read)?);
    if bool::from(first.expose().ct_eq(second.expose())) {
        Ok(first)
    } else {
        Err(PasswdError::PasswordMismatch)
    }
}

/// One line, without its end (LF or CRLF); the end may be missing.
///
/// # Errors
/// As [`read_password`], without [`PasswdError::PasswordMismatch`].
pub fn read_password_from(input: impl BufRead) -> Result<Password, PasswdError> {
    let limit = MAX_CREDENTIALS_LEN + 2;
    let mut line = Zeroizing::new(Vec::with_capacity(limit));
    input
        .take(limit as u64)
        .read_until(b'\n', &mut line)
        .map_err(PasswdError::Read)?;
    if BYTE_ORDER_MARKS.iter().any(|mark| line.starts_with(mark)) {
        return Err(PasswdError::PasswordMarked);
    }
    let password = line.strip_suffix(b"\n").unwrap_or(&line);
    let password = password.strip_suffix(b"\r").unwrap_or(password);
    if password.is_empty() {
        return Err(PasswdError::PasswordEmpty);
    }
    if password.len() > MAX_CREDENTIALS_LEN {
        return Err(PasswdError::PasswordTooLong);
    }
    Ok(Password::new(password))
}

/// Rejects a password that no request can send.
fn check_password(user: &User, password: &Password) -> Result<(), PasswdError> {
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

/// `None`: another process made or replaced the file; start again.
fn try_set(path: &Path, user: &User, hash: &str) -> Result<Option<PasswdReport>, PasswdError> {
    let target = match fs::canonicalize(path) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if fs::symlink_metadata(path).is_ok() {
                return Err(PasswdError::DanglingLink(path.to_owned()));
            }
            let line = format!("{user}:{hash}\n");
            let done = PasswdReport::of(PasswordChange::Created, false);
            return Ok(create(path, &line)?.then_some(done));
        }
        Err(error) => return Err(io_error("find", path)(error)),
    };
    // Before it is opened: opening a pipe waits for its other end.
    let found = fs::metadata(&target).map_err(io_error("examine", &target))?;
    if !found.is_file() {
        return Err(PasswdError::NotAFile(target));
    }
    let mut file = File::open(&target).map_err(io_error("open", &target))?;
    lock(&file).map_err(io_error("lock", &target))?;
    // The previous holder of the lock may have replaced the file that was just opened.
    let opened = file.metadata().map_err(io_error("examine", &target))?;
    match fs::metadata(&target) {
        Ok(now) if (now.dev(), now.ino()) == (opened.dev(), opened.ino()) => {}
        _ => return Ok(None),
    }
    let mut bytes = Vec::new();
    (&mut file)
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(io_error("read", &target))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(PasswdError::TooLarge(target));
    }
    let text = text::check(&bytes).map_err(|error| PasswdError::Text {
        path: path.to_owned(),
        error,
    })?;
    let (edited, mut done) =
        edit(text, user, hash).map_err(|(first, second)| PasswdError::Duplicate {
            path: target.clone(),
            first,
            second,
        })?;
    // A byte order mark, which is not part of the text.
    let mark = bytes.get(..bytes.len() - text.len()).unwrap_or_default();
    let edited = [mark, edited.as_bytes()].concat();
    let refused = if opened.nlink() > 1 {
        Some(InPlace::Linked)
    } else {
        match replace(&target, &edited, &opened) {
            Ok(()) => None,
            Err((Some(reason), _)) => Some(reason),
            Err((None, error)) => return Err(error),
        }
    };
    if refused.is_some() {
        in_place::write(&target, &opened, &bytes, &edited)?;
        done.in_place = refused;
    }
    // Closing the file releases the lock, after the replacement.
    drop(file);
    Ok(Some(done))
}

/// The new text. On error, the numbers of the two lines with the user.
fn edit(text: &str, user: &User, hash: &str) -> Result<(String, PasswdReport), (usize, usize)> {
    let mut edited = String::with_capacity(text.len() + user.as_str().len() + hash.len() + 4);
    let mut found = None;
    let mut was_bcrypt = false;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        match (HtpasswdLine::parse(line), line.split_once(':')) {
            (
                HtpasswdLine::Entry {
                    user: name,
                    hash: old,
                },
                Some((before, after)),
            ) if name == user.as_str() => {
                if let Some(first) = found.replace(number) {
                    return Err((first, number));
                }
                was_bcrypt = old.starts_with("$2");
                // The text after the hash is kept: a remark, the end of the line.
                let end = after.find(':').unwrap_or(after.trim_end().len());
                edited.extend([before, ":", hash]);
                // Text after a hash and a space, which no parser accepts, becomes a remark, which all accept.
                // After a password in plain text it is part of the password.
                if let Some((first, text)) = old.split_once([' ', '\t']) {
                    let text = text.trim_ascii_start();
                    let is_comment = text.starts_with('#') && first.starts_with(['$', '{']);
                    if is_comment || PasswordHash::parse(first).is_ok() {
                        edited.extend([":", text]);
                    }
                }
                edited.push_str(after.get(end..).unwrap_or_default());
            }
            _ => edited.push_str(line),
        }
    }
    if found.is_some() {
        return Ok((
            edited,
            PasswdReport::of(PasswordChange::Replaced, was_bcrypt),
        ));
    }
    let end = if edited.contains("\r\n") {
        "\r\n"
    } else {
        "\n"
    };
    if !edited.is_empty() && !edited.ends_with('\n') {
        edited.push_str(end);
    }
    edited.extend([user.as_str(), ":", hash, end]);
    Ok((edited, PasswdReport::of(PasswordChange::Added, false)))
}

/// Waits for other runs, where the file system has locks.
fn lock(file: &File) -> io::Result<()> {
    loop {
        match flock(file, FlockOperation::LockExclusive) {
            Ok(()) | Err(Errno::NOTSUP | Errno::NOLCK | Errno::NOSYS) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// `false`: another process made the file meanwhile.
fn create(path: &Path, text: &str) -> Result<bool, PasswdError> {
    let written = write_beside(path, text.as_bytes())?;
    match written.persist_noclobber(path) {
        Ok(_) => sync_directory(path).map(|()| true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(io_error("create", path)(error.error)),
    }
}

/// Replaces the old file by a new one. An error may have the reason to write in place instead.
fn replace(
    target: &Path,
    text: &[u8],
    old: &fs::Metadata,
) -> Result<(), (Option<InPlace>, PasswdError)> {
    let written = write_beside(target, text).map_err(|error| (error.is_refusal(), error))?;
    let file = written.as_file();
    let other = |error| (None, error);
    let new = file
        .metadata()
        .map_err(|error| other(io_error("examine", written.path())(error)))?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        fchown(file, Some(old.uid()), Some(old.gid())).map_err(|error| {
            let error = io_error("keep the owner of", target)(error);
            (Some(InPlace::Owner), error)
        })?;
    }
    file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))
        .and_then(|()| file.sync_all())
        .map_err(|error| other(io_error("write", written.path())(error)))?;
    written.persist(target).map_err(|error| {
        let error = io_error("replace", target)(error.error);
        (error.is_refusal(), error)
    })?;
    sync_directory(target).map_err(other)
}

/// A file with mode 0600 in the same directory, on disk; removed when dropped.
fn write_beside(path: &Path, text: &[u8]) -> Result<NamedTempFile, PasswdError> {
    let directory = directory_of(path);
    let mut file = tempfile::Builder::new()
        .prefix(".tollgate-passwd-")
        .tempfile_in(directory)
        .map_err(io_error("create a file in", directory))?;
    file.write_all(text)
        .and_then(|()| file.as_file().sync_all())
        .map_err(io_error("write", file.path()))?;
    Ok(file)
}

/// A crash could lose the new name without this.
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

#[cfg(test)]
mod tests;
