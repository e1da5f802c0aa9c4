//! The files that a configuration names: where they are, and reading them with bounds.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What paths in a configuration file are relative to.
#[derive(Debug, Clone)]
pub(super) struct Base {
    /// The directory of the configuration file, absolute: a daemon's working directory is `/`.
    pub(super) directory: PathBuf,
    /// The same directory as the user wrote it.
    shown: PathBuf,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("is larger than {0} bytes")]
    TooLarge(u64),
    #[error("is not UTF-8, first on line {0}")]
    NotUtf8(usize),
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

/// Reads a file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    // Bounded by what is read and not by the size that the file claims: devices claim none.
    File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLarge(limit));
    }
    Ok(bytes)
}

/// Reads a text file of at most `limit` bytes.
pub(super) fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    let bytes = read(path, limit)?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().iter().take(valid);
        FileError::NotUtf8(1 + before.filter(|byte| **byte == b'\n').count())
    })
}

/// Warns when every user of the machine can read a file with secrets.
pub(super) fn warn_if_world_readable(path: &Path, what: &str) {
    if is_world_readable(path) {
        let path = path.display();
        log::warn!(
            "{path}: every user of this machine can read this {what}; run `chmod o-r {path}`"
        );
    }
}

fn is_world_readable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_and_encoding() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
        let error = read(&path, 4).unwrap_err().to_string();
        assert_eq!(error, "is larger than 4 bytes");
        fs::write(&path, b"a\nb\n\xff").unwrap();
        let error = read_text(&path, 99).unwrap_err().to_string();
        assert_eq!(error, "is not UTF-8, first on line 3");
        let error = read(directory.path(), 99).unwrap_err().to_string();
        assert!(error.starts_with("cannot be read: "), "{error}");
        let error = read(Path::new("/dev/zero"), 99).unwrap_err().to_string();
        assert_eq!(error, "is larger than 99 bytes");
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
