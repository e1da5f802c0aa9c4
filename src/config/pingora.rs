//! The keys at the top of the file, which are Pingora's, and what Tollgate makes of them.
//!
//! The only file of the configuration that knows Pingora. Its own reader is not used on the text:
//! it ignores unknown keys, stops at the first problem, and its errors carry the whole file.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::thread;

use pingora_core::server::configuration::ServerConf;
use serde_json::{Map, Value};

use super::files::Base;
use super::listeners::Bound;
use super::places::{Place, Purpose};
use super::reader::{Item, Section};
use super::tls;
use crate::config::identity::{Identity, IdentityError};

/// The version of the file format; Pingora's too.
const VERSION: u64 = 1;

/// Connections to upstreams that each thread keeps open for reuse. Pingora's 128 makes a busy
/// proxy open new ones all the time.
const KEEPALIVE_POOL_SIZE: usize = 1024;

/// The keys for what Tollgate does by itself in place of Pingora, and what to do about each.
const WITHOUT_EFFECT: [(&str, &str); 5] = [
    (
        "grace_period_seconds",
        "remove it; tollgate.timeouts.drain bounds a shutdown",
    ),
    (
        "graceful_shutdown_timeout_seconds",
        "remove it; tollgate.timeouts.drain bounds a shutdown",
    ),
    (
        "daemon_wait_for_ready",
        "remove it; a start in the background always waits until the daemon serves",
    ),
    (
        "daemon_notify_timeout_seconds",
        "remove it; daemon_ready_timeout_seconds bounds a start in the background",
    ),
    (
        "upgrade_sock_connect_accept_max_retries",
        "remove it; each side of an upgrade waits 15 seconds for the other",
    ),
];

const DAY_SECONDS: u64 = 86_400;

/// Numbers that Pingora takes and then panics on, or does nothing with.
const RANGES: [(&str, RangeInclusive<u64>); 15] = [
    ("version", VERSION..=VERSION),
    ("threads", 1..=1024),
    ("listener_tasks_per_fd", 1..=64),
    ("upstream_keepalive_pool_size", 1..=1_000_000),
    ("max_retries", 1..=64),
    ("grace_period_seconds", 0..=7 * DAY_SECONDS),
    ("graceful_shutdown_timeout_seconds", 0..=DAY_SECONDS),
    ("upstream_connect_offload_threadpools", 0..=256),
    ("upstream_connect_offload_thread_per_pool", 0..=256),
    ("downstream_tls_offload_threadpools", 0..=256),
    ("downstream_tls_offload_thread_per_pool", 0..=256),
    ("max_blocking_threads", 1..=65_536),
    ("blocking_threads_ttl_seconds", 1..=DAY_SECONDS),
    ("daemon_ready_timeout_seconds", 1..=DAY_SECONDS),
    ("daemon_notify_timeout_seconds", 1..=DAY_SECONDS),
];

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
        for key in keys() {
            let Some(item) = root.item(key.clone()) else {
                continue;
            };
            if open
                && let Some((_, remedy)) =
                    WITHOUT_EFFECT.iter().find(|(without, _)| *without == key)
            {
                item.warn("has no effect", *remedy);
            }
            if let Some(value) = read_key(&key, &item, base, open) {
                values.insert(key.clone(), value);
                match purpose(&key) {
                    Some(purpose) => paths.push((purpose, item)),
                    None if key == "ca_file" => ca_file = Some(item),
                    None => {}
                }
            }
        }
        if !root.has("version") {
            root.report("version", "missing", "write `version: 1`");
        }
        let given = values.keys().cloned().collect();
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

    /// Where the PID file is.
    pub(super) fn pid_file(&self) -> &Path {
        Path::new(&self.conf.pid_file)
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
            Purpose::AccessLog => None,
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
            has_pid_file: self.given.contains("pid_file"),
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
        if !given("work_stealing") {
            self.conf.work_stealing = false;
        }
        if !given("upstream_keepalive_pool_size") {
            self.conf.upstream_keepalive_pool_size = KEEPALIVE_POOL_SIZE;
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

/// The names of Pingora's keys, as this version of it has them.
fn keys() -> Vec<String> {
    match serde_json::to_value(ServerConf::default()) {
        Ok(Value::Object(map)) => map.into_iter().map(|(key, _)| key).collect(),
        _ => Vec::new(),
    }
}

/// Whether it is the name of one of Pingora's keys.
pub(super) fn is_key(key: &str) -> bool {
    keys().iter().any(|name| name == key)
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

/// Reads one key; `None` when it was reported.
fn read_key(key: &str, item: &Item<'_>, base: &Base, open: bool) -> Option<Value> {
    let value = item.json()?;
    let alone = Map::from_iter([(key.to_owned(), value.clone())]);
    match serde_json::from_value::<ServerConf>(Value::Object(alone)) {
        Ok(conf) => {
            if let Err(error) = conf.validate() {
                // These contexts are fixed texts that name the key and its bound.
                let context = error
                    .context
                    .as_ref()
                    .map_or("not accepted", |text| text.as_str());
                item.report(context, "write another value");
                return None;
            }
        }
        Err(error) => {
            let error = error.to_string();
            let wanted = wanted(&error);
            item.report(
                format!("wrong type; {wanted} is wanted"),
                "see docs/configuration.md",
            );
            return None;
        }
    }
    check_range(key, &value, item)?;
    match key {
        "pid_file" | "upgrade_sock" | "error_log" | "working_directory" | "ca_file" => {
            path_key(key, value, item, base, open)
        }
        "client_bind_to_ipv4" => addresses::<Ipv4Addr>(value, item, "IPv4"),
        "client_bind_to_ipv6" => addresses::<Ipv6Addr>(value, item, "IPv6"),
        _ => Some(value),
    }
}

/// What serde expected, without the value that it quotes before.
fn wanted(error: &str) -> &str {
    let wanted = error
        .rsplit_once("expected ")
        .map_or("another", |(_, wanted)| wanted);
    match wanted {
        "usize" | "u64" => "a whole number",
        "a nonzero u64" => "a whole number above 0",
        "a boolean" => "true or false",
        "a string" | "path string" => "text",
        "a sequence" => "a list",
        other => other,
    }
}

fn check_range(key: &str, value: &Value, item: &Item<'_>) -> Option<()> {
    let range = RANGES.iter().find(|(name, _)| *name == key);
    if let (Some((_, range)), Some(number)) = (range, value.as_u64())
        && !range.contains(&number)
    {
        let advice = if range.start() == range.end() {
            format!("write {}", range.start())
        } else {
            format!("write one from {} to {}", range.start(), range.end())
        };
        item.report("out of range", advice);
        return None;
    }
    Some(())
}

fn path_key(key: &str, value: Value, item: &Item<'_>, base: &Base, open: bool) -> Option<Value> {
    // `null` for a path that may be missing.
    if value.is_null() {
        return Some(value);
    }
    let path = item.file(&base.directory)?;
    if key == "ca_file" {
        item.note_file(&base.directory);
        if open {
            tls::check_ca_file(item, base)?;
        }
    }
    // The path came from a string, and so did the directory unless it is not UTF-8 itself.
    match path.into_os_string().into_string() {
        Ok(path) => Some(path.into()),
        Err(_) => {
            item.report("not UTF-8 with its directory", "move the file");
            None
        }
    }
}

/// Pingora panics on an address that is none.
fn addresses<A: std::str::FromStr>(value: Value, item: &Item<'_>, kind: &str) -> Option<Value> {
    let mut good = true;
    for item in item.list()? {
        if item.scalar()?.parse::<A>().is_err() {
            item.report(
                format!("not an {kind} address"),
                "write an address of this machine",
            );
            good = false;
        }
    }
    good.then_some(value)
}
