//! Whether a user may use a path, and what to type so that it may.

use std::fmt::Write as _;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::identity::Identity;
use crate::text::system_message;

/// Directories that belong to the system: no remedy gives them to a service.
const SHARED: [&str; 12] = [
    "/", "/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/usr", "/var", "/var/log",
    "/var/run",
];

/// What a path is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// A file that is read.
    Read,
    /// A file that is written.
    Write,
    /// A directory that files are made in and removed from.
    Keep,
    /// A directory that is passed through.
    Pass,
}

impl Need {
    /// The bits of a mode for one class of users.
    fn bits(self) -> u32 {
        match self {
            Self::Read => 4,
            Self::Write => 2,
            Self::Keep => 3,
            Self::Pass => 1,
        }
    }

    fn failure(self) -> &'static str {
        match self {
            Self::Read => "cannot be read",
            Self::Write => "cannot be written",
            Self::Keep => "cannot be written to",
            Self::Pass => "cannot be entered",
        }
    }
}

/// A need that was not met.
#[derive(Debug)]
pub(super) struct Denied {
    pub(super) path: PathBuf,
    pub(super) need: Need,
    pub(super) error: io::Error,
}

/// Whether files can be made in a directory with the rights that the process has now. By making one, without
/// a name where that can be: modes alone do not tell of file systems on a network, quotas and pseudo file
/// systems.
pub(super) fn keep(directory: &Path) -> Result<(), Denied> {
    let denied = |error| Denied {
        path: directory.to_owned(),
        need: Need::Keep,
        error,
    };
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{Mode, OFlags, open};
        use rustix::io::Errno;

        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        match open(directory, flags, Mode::RUSR | Mode::WUSR) {
            Ok(_) => return Ok(()),
            // The file system knows only files with names.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
            Err(error) => return Err(denied(error.into())),
        }
    }
    // Its error without the name that was tried.
    let made = tempfile::tempfile_in(directory).map(drop);
    made.map_err(|error| denied(error.kind().into()))
}

/// Whether the process can pass through a directory.
pub(super) fn pass(directory: &Path) -> Result<(), Denied> {
    let passed = fs::metadata(directory.join(".")).map(drop);
    passed.map_err(|error| Denied {
        path: directory.to_owned(),
        need: Need::Pass,
        error,
    })
}

impl Denied {
    /// What is wrong, and the line that mends it for `subject`. `own` is what the key names: the message
    /// says of which path it speaks when that is another one.
    ///
    /// To be called with the rights of the user that started the process, which may be wider.
    pub(super) fn explain(&self, own: &Path, subject: &Identity) -> (String, String) {
        let mut message = String::new();
        if self.path != own {
            // Writing to a string cannot fail.
            let _ = write!(message, "{} ", self.path.display());
        }
        message.push_str(self.need.failure());
        let reason = system_message(&self.error);
        let _ = write!(message, " by user {}: {reason}", subject.user());
        let remedy = match self.error.kind() {
            io::ErrorKind::PermissionDenied => self.lines(own, subject),
            io::ErrorKind::ReadOnlyFilesystem => {
                "name a path on a file system that can be written".to_owned()
            }
            _ => "name another path".to_owned(),
        };
        (message, remedy)
    }

    fn lines(&self, own: &Path, subject: &Identity) -> String {
        if self.need == Need::Keep && is_shared(&self.path) {
            let command = make_directory(&self.path.join("tollgate"), subject);
            return format!("run `{command}` and name a file in it");
        }
        let mut lines = Vec::new();
        // A link leads through other directories than its own path names.
        let real = self
            .path
            .canonicalize()
            .unwrap_or_else(|_| self.path.clone());
        let mut above: Vec<&Path> = self.path.ancestors().skip(1).collect();
        above.extend(
            real.ancestors()
                .skip(1)
                .filter(|path| !self.path.starts_with(path)),
        );
        above.sort_by_key(|path| path.as_os_str().len());
        for directory in above {
            lines.extend(line(directory, Need::Pass, subject));
        }
        lines.extend(line(&self.path, self.need, subject));
        // Of a log that is there, too, when its directory was in the way.
        if self.path != own && own.is_file() {
            lines.extend(line(own, Need::Write, subject));
        }
        if lines.is_empty() {
            return "an access list or a security module forbids it".to_owned();
        }
        format!("run `{}`", lines.join(" && "))
    }
}

/// What to type so that `subject` can use `path`; nothing when its mode says that it can.
fn line(path: &Path, need: Need, subject: &Identity) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    if allows(&metadata, need.bits(), subject) {
        return None;
    }
    let (user, group, quoted) = (subject.user(), subject.group(), quote(path));
    Some(match need {
        Need::Read => format!("chown :{group} {quoted} && chmod g+r {quoted}"),
        Need::Pass => format!("chown :{group} {quoted} && chmod g+x {quoted}"),
        Need::Write => {
            let mode = (metadata.mode() & 0o200 == 0).then(|| format!(" && chmod u+w {quoted}"));
            format!("chown {user}:{group} {quoted}{}", mode.unwrap_or_default())
        }
        Need::Keep => {
            let mode =
                (metadata.mode() & 0o300 != 0o300).then(|| format!(" && chmod u+rwx {quoted}"));
            format!("chown {user}:{group} {quoted}{}", mode.unwrap_or_default())
        }
    })
}

/// The command that makes a directory for `subject`.
pub(super) fn make_directory(path: &Path, subject: &Identity) -> String {
    let (user, group) = (subject.user(), subject.group());
    format!("install -d -o {user} -g {group} -m 750 {}", quote(path))
}

fn is_shared(path: &Path) -> bool {
    let is_sticky = fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o1000 != 0);
    is_sticky || SHARED.iter().any(|shared| path == Path::new(shared))
}

/// What the mode of a file says; access lists and security modules are not in it.
fn allows(metadata: &Metadata, bits: u32, subject: &Identity) -> bool {
    let mode = metadata.mode();
    let class = if subject.uid() == 0 {
        return true;
    } else if metadata.uid() == subject.uid() {
        mode >> 6
    } else if subject.is_in(metadata.gid()) {
        mode >> 3
    } else {
        mode
    };
    class & bits == bits
}

/// A path as a shell takes it.
pub(super) fn quote(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_the_shell() {
        for (path, expected) in [
            ("/etc/tollgate/users", "/etc/tollgate/users"),
            ("/a b", "'/a b'"),
            ("/it's; rm", r"'/it'\''s; rm'"),
        ] {
            assert_eq!(quote(Path::new(path)), expected);
        }
    }

    #[test]
    fn the_directories_of_the_system_are_not_given_away() {
        assert!(is_shared(Path::new("/var")));
        assert!(!is_shared(Path::new("/var/log/tollgate")));
    }
}
