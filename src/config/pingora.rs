//! The keys at the top of the file, which are Pingora's, and what Tollgate makes of them.
//!
//! The only file of the configuration that knows Pingora. Its own reader is not used on the text:
//! it ignores unknown keys, stops at the first problem, and its errors carry the whole file.

pub(super) mod keys;
#[cfg(test)]
mod shape;
mod value;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;

use pingora_core::server::configuration::ServerConf;
use serde_json::{Map, Value};

use self::keys::KEYS;
use super::files::Base;
use super::listeners::Bound;
use super::places::{Place, Purpose};
use super::reader::{Item, Section};
use crate::config::identity::{Identity, IdentityError};

/// Pingora's part of the configuration while it is read.
pub(super) struct Server<'d> {
    conf: ServerConf,
    given: BTreeSet<String>,
    run_directory: Option<PathBuf>,
    identity: Option<Identity>,
    /// The keys that name paths.
    paths: Vec<(Purpose, Item<'d>)>,
    ca_file: Option<Item<'d>>,
}

impl<'d> Server<'d> {
    /// Reads Pingora's keys from the top of the file.
    ///
    /// On a reload (`open` is false) neither files nor users of the system are looked at.
    pub(super) fn read(root: &mut Section<'d>, base: &Base, open: bool) -> Self {
        let mut values = Map::new();
        let (mut paths, mut ca_file) = (Vec::new(), None);
        let names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
        root.declare(&names, &[]);
        for key in KEYS {
            let Some(item) = root.item(key.name) else {
                continue;
            };
            if let Some(remedy) = key.without_effect {
                item.warn("has no effect", remedy);
            }
            if let Some(value) = value::read(key, &item, base, open) {
                values.insert(key.name.to_owned(), value);
                match purpose(key.name) {
                    Some(purpose) => paths.push((purpose, item)),
                    None if key.name == "ca_file" => ca_file = Some(item),
                    None => {}
                }
            }
        }
        if !root.has("version") {
            root.report("version", "missing", "write `version: 1`");
        }
        let given: BTreeSet<String> = values.keys().cloned().collect();
        for key in KEYS.iter().filter(|key| !given.contains(key.name)) {
            values.extend(key.default().map(|value| (key.name.to_owned(), value)));
        }
        // Every key was tried alone, and keys do not depend on each other.
        let conf = serde_json::from_value(Value::Object(values)).unwrap_or_default();
        let mut server = Server {
            conf,
            given,
            run_directory: None,
            identity: None,
            paths,
            ca_file,
        };
        server.set_defaults(base);
        if open {
            server.find_identity(root);
        }
        server.note_meanings(root);
        server
    }

    fn find_identity(&mut self, root: &Section<'_>) {
        let (user, group) = (self.conf.user.as_deref(), self.conf.group.as_deref());
        match Identity::find(user, group) {
            Ok(identity) => self.identity = identity,
            Err(error) => {
                let (key, remedy) = match error {
                    IdentityError::UnknownUser if user.is_none() => ("group", "name the user too"),
                    IdentityError::UnknownUser => (
                        "user",
                        "name one that `getent passwd` shows, or make it with `useradd --system NAME`",
                    ),
                    IdentityError::UnknownGroup => (
                        "group",
                        "name one that `getent group` shows, or make it with `groupadd --system NAME`",
                    ),
                    IdentityError::GroupNotOwn => ("group", "start as root, or remove the key"),
                    IdentityError::UserNotOwn => {
                        ("user", "start as root or as this user, or remove the key")
                    }
                    IdentityError::System(_) if user.is_none() => ("group", "try it again"),
                    IdentityError::System(_) => ("user", "try it again"),
                };
                root.report(key, error.to_string(), remedy);
            }
        }
    }

    /// The user that serves, when that is not the one that starts.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The directory of default paths, when one of them is in use.
    pub(super) fn run_directory(&self) -> Option<&Path> {
        self.run_directory.as_deref()
    }

    /// Where the PID file is, and whether the configuration says so.
    pub(super) fn pid_file(&self) -> (&Path, bool) {
        (
            Path::new(&self.conf.pid_file),
            self.given.contains("pid_file"),
        )
    }

    /// The source addresses of connections to upstreams, with their keys.
    pub(super) fn sources(&self) -> Vec<Bound> {
        let lists = [
            ("client_bind_to_ipv4", &self.conf.client_bind_to_ipv4),
            ("client_bind_to_ipv6", &self.conf.client_bind_to_ipv6),
        ];
        let all = lists.iter().flat_map(|(key, list)| {
            list.iter().enumerate().filter_map(move |(index, text)| {
                let ip = text.parse().ok()?;
                Some((SocketAddr::new(ip, 0), format!("{key}[{index}]")))
            })
        });
        all.collect()
    }

    /// The key of `ca_file`, if it is given.
    pub(super) fn ca_file(&self) -> Option<&Item<'d>> {
        self.ca_file.as_ref()
    }

    /// The paths that are to be tried.
    pub(super) fn places(&self) -> Vec<Place<'d>> {
        let path_of = |purpose| match purpose {
            Purpose::PidFile => Some(self.conf.pid_file.clone()),
            Purpose::UpgradeSocket => Some(self.conf.upgrade_sock.clone()),
            Purpose::ErrorLog => self.conf.error_log.clone(),
            Purpose::WorkingDirectory => self
                .conf
                .working_directory
                .as_ref()
                .map(|path| path.display().to_string()),
            Purpose::AccessLog | Purpose::Store => None,
        };
        let all = [
            Purpose::PidFile,
            Purpose::UpgradeSocket,
            Purpose::ErrorLog,
            Purpose::WorkingDirectory,
        ];
        let place = |purpose| {
            let item = self.paths.iter().find(|(have, _)| *have == purpose);
            Some(Place {
                purpose,
                path: path_of(purpose)?.into(),
                item: item.map(|(_, item)| item.clone()),
            })
        };
        all.into_iter().filter_map(place).collect()
    }

    /// How many threads each service has.
    pub(super) fn threads(&self) -> usize {
        self.conf.threads
    }

    /// Pingora's part, and what goes with it.
    pub(super) fn finish(self) -> Finished {
        Finished {
            has_pid_file: self.pid_file().1,
            conf: self.conf,
            run_directory: self.run_directory,
            identity: self.identity,
        }
    }

    /// Notes what each key means. The default paths are left out: they depend on who the process is.
    fn note_meanings(&self, root: &Section<'_>) {
        let Ok(Value::Object(values)) = serde_json::to_value(&self.conf) else {
            return;
        };
        for (key, value) in values {
            let is_default_path =
                matches!(key.as_str(), "pid_file" | "upgrade_sock") && !self.given.contains(&key);
            if !is_default_path {
                root.note_meaning(&key, &value.to_string());
            }
        }
    }

    fn set_defaults(&mut self, base: &Base) {
        let given = |key: &str| self.given.contains(key);
        if !given("threads") {
            self.conf.threads = thread::available_parallelism().map_or(1, usize::from);
        }
        if given("pid_file") && given("upgrade_sock") {
            return;
        }
        let root = rustix::process::geteuid().is_root();
        let directory = run_directory(root, |name| std::env::var_os(name), &base.directory);
        for (key, value, name) in [
            ("pid_file", &mut self.conf.pid_file, "tollgate.pid"),
            ("upgrade_sock", &mut self.conf.upgrade_sock, "upgrade.sock"),
        ] {
            if !self.given.contains(key) {
                *value = directory.join(name).to_string_lossy().into_owned();
            }
        }
        self.run_directory = Some(directory);
    }
}

/// Pingora's part when it was read.
pub(super) struct Finished {
    pub(super) conf: ServerConf,
    /// The directory of the default paths, when one of them is in use.
    pub(super) run_directory: Option<PathBuf>,
    pub(super) identity: Option<Identity>,
    /// Whether `pid_file` is given.
    pub(super) has_pid_file: bool,
}

/// What a key is for that names a place.
fn purpose(key: &str) -> Option<Purpose> {
    Some(match key {
        "pid_file" => Purpose::PidFile,
        "upgrade_sock" => Purpose::UpgradeSocket,
        "error_log" => Purpose::ErrorLog,
        "working_directory" => Purpose::WorkingDirectory,
        _ => return None,
    })
}

/// Whether it is the name of one of Pingora's keys.
pub(super) fn is_key(key: &str) -> bool {
    KEYS.iter().any(|known| known.name == key)
}

/// Where pid file and upgrade socket are unless the file says otherwise. Not in `/tmp`, where any
/// user could put a socket of that name first and be handed the listeners.
pub(super) fn run_directory(
    root: bool,
    env: impl Fn(&str) -> Option<OsString>,
    base: &Path,
) -> PathBuf {
    // systemd's RuntimeDirectory=; several are divided by colons.
    let systemd = env("RUNTIME_DIRECTORY").and_then(|value| {
        let value = value.into_string().ok()?;
        value.split(':').next().map(PathBuf::from)
    });
    let user = || env("XDG_RUNTIME_DIR").map(|value| PathBuf::from(value).join("tollgate"));
    let found = match systemd.filter(|path| path.is_absolute()) {
        Some(path) => Some(path),
        None if root => Some(PathBuf::from("/run/tollgate")),
        None => user().filter(|path| path.is_absolute()),
    };
    found.unwrap_or_else(|| base.join("run"))
}
