//! Starts a daemon: the caller waits until the daemon serves, or learns why it does not.
//!
//! ```text
//! caller                          daemon
//!  | fork, setsid, fork ----------> |
//!  | <------------- its process id -|
//!  |                                | opens, binds, drops privileges
//!  | <-- exit code and reason, or 0-| serves
//!  exits
//! ```
//!
//! Pingora's own implementation forks after everything was opened and keeps the caller's descriptors open.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemonix::{Daemonize, Outcome, Stdio};
use parking_lot::Mutex;
use rustix::fs::Mode;
use rustix::process::{Pid, Signal, kill_process, umask};

use crate::config::Config;
use crate::telemetry::Destination;

/// How long the caller waits unless `daemon_ready_timeout_seconds` says otherwise. Longer than a hand-over.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest reason.
const MAX_REASON: u64 = 64 * 1024;

const NULL_DEVICE: &str = "/dev/null";

/// The files that the program makes are not accessible to every user.
const UMASK: Mode = Mode::from_raw_mode(0o027);

/// Restricts the mask of file modes for group and others. The owner keeps access: a log has to be opened again.
pub(super) fn restrict_umask() -> Mode {
    let given = umask(Mode::RWXU | Mode::RWXG | Mode::RWXO);
    let restricted = (given | UMASK) - Mode::RWXU;
    umask(restricted);
    restricted
}

/// The descriptors, except the standard streams, that this process inherited from its caller. To be called before
/// it opens its own.
#[must_use]
pub fn inherited_descriptors() -> Vec<RawFd> {
    let Ok(entries) = std::fs::read_dir("/dev/fd") else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let numbers: Vec<RawFd> = names.filter_map(|name| name.parse().ok()).collect();
    let is_open = |fd: &RawFd| {
        Path::new(&format!("/dev/fd/{fd}"))
            .symlink_metadata()
            .is_ok()
    };
    // The descriptor of the directory itself is closed by now.
    numbers
        .into_iter()
        .filter(|fd| *fd > 2 && is_open(fd))
        .collect()
}

/// The process that returns from [`detach`].
#[derive(Debug)]
pub enum Side {
    /// The caller: it exits with the outcome of the daemon's start.
    Caller(DaemonOutcome),
    /// The daemon.
    Daemon(Caller),
}

/// The outcome of a daemon's start.
#[derive(Debug)]
pub struct DaemonOutcome {
    /// The exit code of the caller: 0 when the daemon serves.
    pub code: u8,
    /// Why the daemon does not serve; empty when that was printed already.
    pub reason: String,
}

/// The daemon's connection to the process that waits for it.
#[derive(Clone, Debug)]
pub struct Caller(Arc<Mutex<Option<UnixStream>>>);

impl Caller {
    /// Reports that the daemon serves.
    pub(super) fn serving(&self) {
        self.report(0, "");
    }

    /// Reports why the daemon ends, and with which code.
    pub fn failed(&self, code: u8, reason: &str) {
        self.report(code, reason);
    }

    fn report(&self, code: u8, reason: &str) {
        let Some(mut line) = self.0.lock().take() else {
            return;
        };
        let said = [&[code], reason.as_bytes()].concat();
        if let Err(error) = line.write_all(&said) {
            log::warn!("the process that started this daemon has ended: {error}");
        }
    }
}

/// Forks. The daemon closes the `inherited` descriptors, except those that a log uses by number.
///
/// # Errors
/// The process cannot fork, or has other threads, which the child would not have.
pub fn detach(config: &Config, inherited: &[RawFd]) -> io::Result<Side> {
    if thread_count() > 1 {
        return Err(io::Error::other(
            "threads are already running: a bug in this program",
        ));
    }
    need_null_device()?;
    let (ours, theirs) = UnixStream::pair()?;
    let directory = config.server.working_directory.clone();
    let daemonize = Daemonize::new()
        .working_directory(directory.unwrap_or_else(|| PathBuf::from("/")))
        .umask(restrict_umask().bits())
        .stdout(Stdio::devnull())
        // Until it serves: messages of the start go to the caller.
        .stderr(Stdio::keep());
    match daemonize.execute() {
        Outcome::Parent(forked) => {
            drop(theirs);
            let limit = config.server.daemon_ready_timeout_seconds;
            let limit = limit.map_or(READY_TIMEOUT, |limit| Duration::from_secs(limit.get()));
            let ended = wait(ours, limit, config.server.error_log.as_deref());
            match (ended, forked) {
                // The daemon's report counts: a caller that ignores SIGCHLD cannot wait for a process.
                (Some(ended), _) => Ok(Side::Caller(ended)),
                (None, Err(error)) => Err(io::Error::other(error.to_string())),
                (None, Ok(_)) => Err(io::Error::other("the daemon did not begin")),
            }
        }
        Outcome::Child(forked) => {
            drop(ours);
            let mut line = theirs;
            line.write_all(&std::process::id().to_be_bytes())?;
            let own = line.as_raw_fd();
            let caller = Caller(Arc::new(Mutex::new(Some(line))));
            if let Err(error) = forked {
                caller.failed(
                    1,
                    &format!("tollgate: cannot go to the background: {error}"),
                );
                return Ok(Side::Caller(DaemonOutcome {
                    code: 1,
                    reason: String::new(),
                }));
            }
            let kept = kept_descriptors(config);
            for fd in inherited {
                if *fd != own && !kept.contains(fd) {
                    // It may be closed already.
                    let _ = nix::unistd::close(*fd);
                }
            }
            Ok(Side::Daemon(caller))
        }
    }
}

/// Checks that the device for a daemon's standard streams exists; a `chroot` may not have it.
fn need_null_device() -> io::Result<()> {
    match std::fs::metadata(NULL_DEVICE) {
        Ok(found) if found.file_type().is_char_device() => Ok(()),
        _ => Err(io::Error::other(format!(
            "there is no device {NULL_DEVICE}; make it with `mknod -m 666 {NULL_DEVICE} c 1 3` as root, or start \
             without -d"
        ))),
    }
}

/// The numbers of the descriptors that logs are written to.
fn kept_descriptors(config: &Config) -> Vec<RawFd> {
    let mut paths: Vec<PathBuf> = config.server.error_log.iter().map(PathBuf::from).collect();
    if let Destination::File(path) = &config.log.access {
        paths.push(path.clone());
    }
    let number = |path: PathBuf| {
        let directories = ["/dev/fd", "/proc/self/fd"];
        let below = directories
            .iter()
            .find_map(|fds| path.strip_prefix(fds).ok());
        below?.to_str()?.parse().ok()
    };
    paths.into_iter().filter_map(number).collect()
}

/// The outcome of the daemon's start; none when it did not begin.
fn wait(mut line: UnixStream, limit: Duration, error_log: Option<&str>) -> Option<DaemonOutcome> {
    let deadline = Instant::now() + limit;
    let mut said = Vec::new();
    let failed = |reason: String| DaemonOutcome { code: 1, reason };
    let in_time = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break false;
        }
        let mut chunk = [0; 4096];
        let read = line
            .set_read_timeout(Some(left))
            .and_then(|()| line.read(&mut chunk));
        match read {
            Ok(0) => break true,
            Ok(count) => said.extend(chunk.iter().take(count)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
            Err(error) => {
                let reason = format!("tollgate: cannot read from the daemon: {error}");
                return Some(failed(reason));
            }
        }
        if said.len() as u64 > MAX_REASON {
            break true;
        }
    };
    let (id, rest) = said.split_first_chunk::<4>()?;
    Some(match rest.split_first() {
        Some((code, reason)) => DaemonOutcome {
            code: *code,
            reason: String::from_utf8_lossy(reason).into_owned(),
        },
        None if in_time => {
            let advice = match error_log {
                Some(path) => format!("see {path}"),
                None => "start it without -d, or set error_log, to see why".to_owned(),
            };
            failed(format!(
                "tollgate: the daemon ended before it served; {advice}"
            ))
        }
        None => {
            let id = i32::from_be_bytes(*id).max(0);
            if let Some(id) = Pid::from_raw(id) {
                // It may have ended already.
                let _ = kill_process(id, Signal::KILL);
            }
            failed(format!(
                "tollgate: the daemon did not serve within {limit:?}, and was ended; \
                 raise daemon_ready_timeout_seconds to give it more time"
            ))
        }
    })
}

#[cfg(target_os = "linux")]
fn thread_count() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

#[cfg(not(target_os = "linux"))]
fn thread_count() -> usize {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome_of(said: &[&[u8]], limit: Duration) -> Option<DaemonOutcome> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        for part in said {
            theirs.write_all(part).unwrap();
        }
        // With a short limit, the connection stays open until it is over.
        let _theirs = (limit < Duration::from_secs(1)).then_some(theirs);
        wait(ours, limit, Some("/e.log"))
    }

    #[test]
    fn the_caller_learns_the_outcome_of_the_start() {
        let limit = Duration::from_secs(20);
        let id: &[u8] = &[0; 4];
        let serves = outcome_of(&[id, &[0]], limit).unwrap();
        assert_eq!((serves.code, serves.reason.as_str()), (0, ""));
        let refused = outcome_of(&[id, &[78], b"f.yaml:1: wrong"], limit).unwrap();
        assert_eq!(
            (refused.code, refused.reason.as_str()),
            (78, "f.yaml:1: wrong")
        );
        let died = outcome_of(&[id], limit).unwrap();
        assert_eq!(died.code, 1);
        assert!(died.reason.ends_with("see /e.log"), "{}", died.reason);
        assert!(outcome_of(&[], limit).is_none());
        let hangs = outcome_of(&[id], Duration::from_millis(20)).unwrap();
        assert_eq!(hangs.code, 1);
        assert!(
            hangs.reason.contains("did not serve within 20ms"),
            "{}",
            hangs.reason
        );
    }
}
