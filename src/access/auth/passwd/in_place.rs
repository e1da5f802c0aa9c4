//! Writes a password file in place, when it cannot be replaced by a new one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::{PasswdError, io_error};

/// Writes `new` over `old`, the current text; the caller holds the lock. `opened` is the locked file.
///
/// The part beyond the length of the old text is written first, so that a full disk is an error while the old text
/// is still complete. After a failure the old text is written back.
pub(super) fn write(
    target: &Path,
    opened: &fs::Metadata,
    old: &[u8],
    new: &[u8],
) -> Result<(), PasswdError> {
    let file = File::options()
        .read(true)
        .write(true)
        .open(target)
        .map_err(io_error("write", target))?;
    let now = file.metadata().map_err(io_error("examine", target))?;
    if (now.dev(), now.ino()) != (opened.dev(), opened.ino()) {
        return Err(PasswdError::Contended(target.to_owned()));
    }
    let Err(error) = overwrite(&file, old, new) else {
        return Ok(());
    };
    match restore(&file, old) {
        Ok(()) => Err(io_error("write", target)(error)),
        Err(_) => Err(PasswdError::Damaged {
            path: target.to_owned(),
            error,
        }),
    }
}

fn overwrite(file: &File, old: &[u8], new: &[u8]) -> io::Result<()> {
    let (front, tail) = new.split_at_checked(old.len()).unwrap_or((new, &[]));
    if !tail.is_empty() {
        file.write_all_at(tail, old.len() as u64)?;
        file.sync_all()?;
    }
    // The lines before the changed one are not written.
    let same = front.iter().zip(old).take_while(|(a, b)| a == b).count();
    file.write_all_at(front.get(same..).unwrap_or_default(), same as u64)?;
    file.set_len(new.len() as u64)?;
    file.sync_all()?;
    let mut written = vec![0; new.len()];
    file.read_exact_at(&mut written, 0)?;
    if written != new {
        return Err(io::Error::other(
            "the file has other bytes than were written",
        ));
    }
    Ok(())
}

fn restore(file: &File, old: &[u8]) -> io::Result<()> {
    file.write_all_at(old, 0)?;
    file.set_len(old.len() as u64)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_shorter_and_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users");
        for (old, new) in [
            ("a:1\nb:2\n", "a:1\nb:2\nc:3\n"),
            ("a:1\nb:2\n", "a:longer\nb:2\n"),
            ("a:longer\nb:2\n", "a:1\nb:2\n"),
            ("", "a:1\n"),
            ("a:1\n", "a:1\n"),
        ] {
            fs::write(&path, old).unwrap();
            let opened = fs::metadata(&path).unwrap();
            write(&path, &opened, old.as_bytes(), new.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), new);
            assert_eq!(fs::metadata(&path).unwrap().ino(), opened.ino());
        }
        // Another file by now.
        let elsewhere = fs::metadata(directory.path()).unwrap();
        let error = write(&path, &elsewhere, b"", b"x").unwrap_err();
        assert!(matches!(error, PasswdError::Contended(_)), "{error}");
        // A device that is always full: nothing is lost, and the error says why.
        let full = Path::new("/dev/full");
        let error = write(full, &fs::metadata(full).unwrap(), b"", b"x").unwrap_err();
        assert!(error.to_string().contains("no space left"), "{error}");
    }
}
