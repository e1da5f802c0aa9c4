//! The keys at the top of the file, which are Pingora's, and what Tollgate makes of them.
//!
//! The only file of the configuration that knows Pingora. Its own reader is not used on the text:
//! it ignores unknown keys, stops at the first problem, and its errors carry the whole file.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::thread;

use pingora_core::server::configuration::ServerConf;
use serde_json::{Map, Value};

use super::files::Base;
use super::reader::{Item, Section};
use super::tls;

/// The version of the file format; Pingora's too.
const VERSION: u64 = 1;

/// Connections to upstreams that each thread keeps open for reuse. Pingora's 128 makes a busy
/// proxy open new ones all the time.
const KEEPALIVE_POOL_SIZE: usize = 1024;

/// Pingora's waits at a shutdown. Tollgate drains by itself, and stops when that is done.
const WITHOUT_EFFECT: [&str; 2] = ["grace_period_seconds", "graceful_shutdown_timeout_seconds"];

/// What a Unix socket's path may have at most, the NUL behind it not counted (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

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
pub(super) struct Server {
    conf: ServerConf,
    given: BTreeSet<String>,
    run_directory: Option<PathBuf>,
}

impl Server {
    /// Reads Pingora's keys from the top of the file.
    ///
    /// On a reload (`open` is false) files are not looked at.
    pub(super) fn read(root: &mut Section<'_>, base: &Base, open: bool) -> Server {
        let mut values = Map::new();
        for key in keys() {
            let Some(item) = root.item(key.clone()) else {
                continue;
            };
            if let Some(value) = read_key(&key, &item, base, open) {
                values.insert(key, value);
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
        };
        server.set_defaults(base);
        server
    }

    /// How many threads each service has.
    pub(super) fn threads(&self) -> usize {
        self.conf.threads
    }

    /// Pingora's part, and the run directory when a default path in it is in use.
    pub(super) fn finish(self, open: bool) -> Finished {
        for key in WITHOUT_EFFECT {
            if open && self.given.contains(key) {
                log::warn!(
                    "{key} has no effect: how long a shutdown takes is tollgate.timeouts.drain"
                );
            }
        }
        (self.conf, self.run_directory)
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

/// Pingora's part, and the directory of the default paths when one of them is in use.
pub(super) type Finished = (ServerConf, Option<PathBuf>);

/// The names of Pingora's keys, as this version of it has them.
fn keys() -> Vec<String> {
    match serde_json::to_value(ServerConf::default()) {
        Ok(Value::Object(map)) => map.into_iter().map(|(key, _)| key).collect(),
        _ => Vec::new(),
    }
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
    let parent = path.parent().unwrap_or(Path::new("/"));
    match key {
        _ if !open => {}
        "working_directory" if !path.is_dir() => {
            item.report("not a directory", "name one that exists");
            return None;
        }
        "ca_file" => {
            tls::roots(item, base)?;
        }
        "pid_file" | "upgrade_sock" | "error_log" if !parent.is_dir() => {
            item.report("its directory does not exist", "make it, or name another");
            return None;
        }
        "upgrade_sock" if path.as_os_str().len() > MAX_SOCKET_PATH => {
            let message = format!("longer than the {MAX_SOCKET_PATH} bytes of a socket's path");
            item.report(message, "name a shorter path");
            return None;
        }
        _ => {}
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
