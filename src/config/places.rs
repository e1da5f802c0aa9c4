//! The places that a running process makes files in: run directory, PID file, upgrade socket, logs; and
//! whether the user that serves can read again what a reload reads.
//!
//! Everything is tried with the rights that the process has then, and nothing is made.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::files::Base;
use super::problem::Diagnostics;
use super::reader::Item;
use super::rights::{self, Denied, Need, quote};
use crate::balances;
use crate::config::identity::Identity;
use crate::telemetry::log_file::{self, LogFileKind};
use crate::text::system_message;

/// What a Unix socket's path may have at most, the NUL behind it not counted (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// What a place is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    PidFile,
    UpgradeSocket,
    ErrorLog,
    AccessLog,
    Store,
    WorkingDirectory,
}

/// A path that the configuration names, or has by default.
pub(super) struct Place<'d> {
    pub(super) purpose: Purpose,
    pub(super) path: PathBuf,
    /// The value; none for a default.
    pub(super) item: Option<Item<'d>>,
}

/// A file that is read again while the process runs.
pub(super) struct Input<'d> {
    pub(super) path: PathBuf,
    /// The key that names it; none for the configuration itself and for lists.
    pub(super) item: Option<Item<'d>>,
}

/// Everything that is to be tried.
pub(super) struct Places<'d, 's> {
    pub(super) diagnostics: &'s Diagnostics,
    pub(super) base: &'s Base,
    pub(super) places: Vec<Place<'d>>,
    pub(super) inputs: Vec<Input<'d>>,
    /// The directory of default paths.
    pub(super) run_directory: Option<&'s Path>,
    /// Who serves, when that is not who starts.
    pub(super) identity: Option<&'s Identity>,
}

/// Why a place cannot be used.
enum Trouble {
    Denied(Denied),
    Text(String, String),
    /// The directory is not there.
    Missing(PathBuf),
}

impl Trouble {
    fn text(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Text(message.into(), remedy.into())
    }
}

impl From<Denied> for Trouble {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl Places<'_, '_> {
    /// Reports every place that cannot be used.
    pub(super) fn check(&self) {
        let own;
        let subject = match self.identity {
            Some(identity) => identity,
            None => {
                own = Identity::own();
                &own
            }
        };
        let run_directory = self.run_directory.filter(|path| !path.exists());
        if let Some(path) = run_directory
            && let Err(trouble) = can_be_made(path)
        {
            let default = Place {
                purpose: Purpose::PidFile,
                path: path.to_owned(),
                item: None,
            };
            self.report(&default, trouble, subject);
        }
        let probe = || {
            let places = self.places.iter().map(|place| self.probe(place)).collect();
            let inputs = self.inputs.iter().map(|input| read(&input.path)).collect();
            (places, inputs)
        };
        let found = match self.identity {
            Some(identity) => identity.act(probe),
            None => Ok(probe()),
        };
        let (places, inputs): (Vec<_>, Vec<_>) = match found {
            Ok(found) => found,
            Err(error) => {
                let message = format!(
                    "this process may not become user {}: {}",
                    subject.user(),
                    system_message(&error)
                );
                let advice = "it needs CAP_SETUID and CAP_SETGID; or start it as that user";
                return self
                    .diagnostics
                    .report(None, "user", message, advice.to_owned());
            }
        };
        for (place, trouble) in self.places.iter().zip(places) {
            if let Err(trouble) = trouble {
                self.report(place, trouble, subject);
            }
        }
        // Who starts has read them.
        if self.identity.is_some() {
            for (input, denied) in self.inputs.iter().zip(inputs) {
                if let Err(denied) = denied {
                    self.report_input(input, &denied, subject);
                }
            }
        }
        self.check_conflicts();
    }

    fn report(&self, place: &Place<'_>, trouble: Trouble, subject: &Identity) {
        let (message, remedy) = match trouble {
            Trouble::Denied(denied) => denied.explain(&place.path, subject),
            Trouble::Text(message, remedy) => (message, remedy),
            Trouble::Missing(directory) => {
                let command = match self.identity {
                    Some(identity) => rights::make_directory(&directory, identity),
                    None => format!("mkdir -p {}", quote(&directory)),
                };
                let message = "its directory does not exist".to_owned();
                (message, format!("run `{command}`, or name another"))
            }
        };
        match &place.item {
            Some(item) => item.report(message, remedy),
            None => {
                let key = match place.purpose {
                    Purpose::UpgradeSocket => "upgrade_sock",
                    _ => "pid_file",
                };
                let message = format!(
                    "not set, and the default {}: {message}",
                    place.path.display()
                );
                self.diagnostics.report(None, key, message, remedy);
            }
        }
    }

    fn report_input(&self, input: &Input<'_>, denied: &Denied, subject: &Identity) {
        let (message, remedy) = denied.explain(&input.path, subject);
        let message = format!("{message}; a reload would fail");
        match &input.item {
            Some(item) => item.report(message, remedy),
            None => {
                let shown = self.base.show(&input.path);
                self.diagnostics
                    .report_in(&shown, None, "", message, remedy);
            }
        }
    }

    fn probe(&self, place: &Place<'_>) -> Result<(), Trouble> {
        let path = place.path.as_path();
        if place.purpose == Purpose::WorkingDirectory {
            return match fs::metadata(path) {
                Ok(metadata) if !metadata.is_dir() => {
                    Err(Trouble::text("not a directory", "name one that exists"))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Trouble::text(
                    "does not exist",
                    "name a directory that exists",
                )),
                _ => Ok(rights::pass(path)?),
            };
        }
        if path.file_name().is_none() || path.as_os_str().as_bytes().ends_with(b"/") {
            let advice = "add the name of a file, without a slash behind it";
            return Err(Trouble::text("names a directory", advice));
        }
        // It will be made.
        if place.item.is_none()
            && self
                .run_directory
                .is_some_and(|directory| !directory.exists())
        {
            return Ok(());
        }
        match place.purpose {
            Purpose::PidFile => probe_pid_file(path),
            Purpose::Store => probe_store(path),
            Purpose::UpgradeSocket => probe_socket(path),
            Purpose::ErrorLog | Purpose::AccessLog => self.probe_log(place),
            Purpose::WorkingDirectory => Ok(()),
        }
    }

    fn probe_log(&self, place: &Place<'_>) -> Result<(), Trouble> {
        let path = place.path.as_path();
        match fs::metadata(path) {
            Ok(metadata) => {
                match LogFileKind::of(&metadata) {
                    LogFileKind::Directory => {
                        let advice = "add the name of a file in it, such as access.log";
                        return Err(Trouble::text("is a directory", advice));
                    }
                    LogFileKind::Unusable(text) => return Err(Trouble::text(text, "name a file")),
                    LogFileKind::Fifo
                        if place.purpose == Purpose::ErrorLog && !log_file::is_descriptor(path) =>
                    {
                        let advice = "name a file, and let the reader follow it";
                        let message = "is a FIFO, which holds up the process when it is not read";
                        return Err(Trouble::text(message, advice));
                    }
                    LogFileKind::Fifo | LogFileKind::Device | LogFileKind::File => {}
                }
                // A descriptor of this process is not the one of the process that will serve.
                if !log_file::is_descriptor(path) {
                    write(path)?;
                }
                if LogFileKind::of(&metadata) == LogFileKind::File && log_file::is_renewed(path) {
                    return self.probe_rotation(path);
                }
                Ok(())
            }
            Err(_) if log_file::is_descriptor(path) => {
                let advice = "have the caller open it, as in `tollgate -c FILE 3>LOG`";
                Err(Trouble::text("no such descriptor is open", advice))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
                // A link to what is not there yet.
                Ok(target) => {
                    let parent = path.parent().unwrap_or(Path::new("/"));
                    keep_parent(&parent.join(target))
                }
                Err(_) => keep_parent(path),
            },
            Err(error) => Err(not_looked_at(path, error)),
        }
    }

    /// After it was renamed the file has to be made anew, by the user that serves.
    fn probe_rotation(&self, path: &Path) -> Result<(), Trouble> {
        match keep_parent(path) {
            // What another program, such as logrotate with `create`, does for this user.
            Err(Trouble::Denied(denied)) if self.identity.is_none() => {
                let message = format!(
                    "after {} is renamed, this user cannot make it anew in {}: {}",
                    path.display(),
                    denied.path.display(),
                    denied.error
                );
                let remedy = "have logrotate `create` it".to_owned();
                self.diagnostics.warn(None, "", message, remedy);
                Ok(())
            }
            done => done,
        }
    }

    /// Two purposes for one file destroy what one of them wrote.
    fn check_conflicts(&self) {
        let places: Vec<(&Place<'_>, PathBuf)> = self
            .places
            .iter()
            .filter(|place| {
                place.purpose != Purpose::WorkingDirectory && log_file::is_renewed(&place.path)
            })
            .map(|place| (place, resolve(&place.path)))
            .collect();
        let inputs: Vec<PathBuf> = self
            .inputs
            .iter()
            .map(|input| resolve(&input.path))
            .collect();
        for (index, (place, path)) in places.iter().enumerate() {
            let others = places.iter().take(index);
            for (other, _) in others.filter(|(_, other)| other == path) {
                let logs = [Purpose::ErrorLog, Purpose::AccessLog];
                if logs.contains(&place.purpose) && logs.contains(&other.purpose) {
                    let message = format!(
                        "error_log and log.access write to the same file {}",
                        path.display()
                    );
                    self.diagnostics
                        .warn(None, "", message, "give each its own".to_owned());
                } else if let Some(item) = place.item.as_ref().or(other.item.as_ref()) {
                    item.report("the file of another key too", "give each its own");
                }
            }
            if inputs.contains(path)
                && let Some(item) = &place.item
            {
                item.report("a file that this configuration reads", "name another");
            }
        }
    }
}

/// The path with its links followed, also when the file is not there yet.
fn resolve(path: &Path) -> PathBuf {
    if let Ok(path) = path.canonicalize() {
        return path;
    }
    match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => path.to_owned(),
    }
}

fn probe_pid_file(path: &Path) -> Result<(), Trouble> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => {
            return Err(Trouble::text("is a directory", "add the name of a file"));
        }
        Ok(metadata) if metadata.is_symlink() => {
            let advice = format!("remove it with `rm {}`, or name another path", quote(path));
            return Err(Trouble::text(
                "is a symbolic link, which is not followed",
                advice,
            ));
        }
        Ok(metadata) if !metadata.is_file() || metadata.nlink() != 1 => {
            let message = "is not a file of its own";
            return Err(Trouble::text(
                message,
                "name a path where there is nothing yet",
            ));
        }
        Ok(_) => write(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(not_looked_at(path, error)),
    }
    keep_parent(path)
}

fn probe_socket(path: &Path) -> Result<(), Trouble> {
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        let message = format!("longer than the {MAX_SOCKET_PATH} bytes of a socket's path");
        return Err(Trouble::text(message, "name a shorter path"));
    }
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            let message = "is there already, and is no socket";
            return Err(Trouble::text(
                message,
                "name a path where there is nothing yet",
            ));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(not_looked_at(path, error)),
    }
    keep_parent(path)
}

/// The store, and the socket beside it.
fn probe_store(path: &Path) -> Result<(), Trouble> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            let message = "is there already, and is no file";
            return Err(Trouble::text(message, "name another path"));
        }
        Ok(_) => write(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(not_looked_at(path, error)),
    }
    probe_socket(&balances::socket_path(path))
}

/// Whether files can be made beside `path`, and removed.
fn keep_parent(path: &Path) -> Result<(), Trouble> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    match fs::metadata(directory) {
        Ok(metadata) if !metadata.is_dir() => {
            let message = format!("{} is not a directory", directory.display());
            Err(Trouble::text(message, "name a path in a directory"))
        }
        Ok(_) => Ok(rights::keep(directory)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Trouble::Missing(directory.to_owned()))
        }
        Err(error) => Err(not_looked_at(directory, error)),
    }
}

fn not_looked_at(path: &Path, error: io::Error) -> Trouble {
    if error.kind() == io::ErrorKind::PermissionDenied {
        // The file is hidden by a directory above.
        return Trouble::Denied(Denied {
            path: path.parent().unwrap_or(Path::new("/")).to_owned(),
            need: Need::Keep,
            error,
        });
    }
    let message = format!("cannot be used: {}", system_message(&error));
    Trouble::text(message, "name another path")
}

/// Whether the directory can be made by who starts.
fn can_be_made(path: &Path) -> Result<(), Trouble> {
    let above = path.ancestors().skip(1).find(|path| path.exists());
    let above = above.unwrap_or(Path::new("/"));
    if !above.is_dir() {
        let message = format!("{} is not a directory", above.display());
        return Err(Trouble::text(message, "set pid_file and upgrade_sock"));
    }
    rights::keep(above).map_err(|denied| {
        let message = format!("cannot be made in {}: {}", above.display(), denied.error);
        Trouble::text(
            message,
            "set pid_file and upgrade_sock to paths in a directory of this user",
        )
    })
}

/// Opens a file as a log or a PID file is opened, without making or changing it.
fn write(path: &Path) -> Result<(), Denied> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let opened = OpenOptions::new()
        .append(true)
        .custom_flags(flags)
        .open(path);
    let is_fifo =
        || fs::metadata(path).is_ok_and(|found| LogFileKind::of(&found) == LogFileKind::Fifo);
    match opened {
        // It needs no reader: it is opened for both ways.
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error())
                && is_fifo() =>
        {
            Ok(())
        }
        Err(error) => Err(Denied {
            path: path.to_owned(),
            need: Need::Write,
            error,
        }),
        Ok(_) => Ok(()),
    }
}

fn read(path: &Path) -> Result<(), Denied> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Denied {
            path: path.to_owned(),
            need: Need::Read,
            error,
        }),
        // Whatever else is wrong, the reader of the file says.
        _ => Ok(()),
    }
}
