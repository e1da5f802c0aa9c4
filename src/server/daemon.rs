//! Going to the background: the caller waits until the daemon serves, or learns why it does not.
//!
//! ```text
//! caller                          daemon
//!  | fork, setsid, fork ----------> |
//!  | <------------- its process id -|
//!  |                                | opens, binds, gives up rights
//!  | <-- exit code and reason, or 0-| serves
//!  exits
//! ```
//!
//! Pingora's own way forks after everything was opened and keeps what the caller had open.

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

/// More than any reason has.
const MAX_REASON: u64 = 64 * 1024;

const NULL_DEVICE: &str = "/dev/null";

/// Nothing that the program makes is for everyone.
const UMASK: Mode = Mode::from_raw_mode(0o027);

/// Adds to the mask of file modes what keeps others out. It takes nothing from the owner: a log has to be
/// opened again.
pub(super) fn restrict_umask() -> Mode {
    let given = umask(Mode::RWXU | Mode::RWXG | Mode::RWXO);
    let restricted = (given | UMASK) - Mode::RWXU;
    umask(restricted);
    restricted
}

/// The descriptors, standard streams apart, that the caller left open for this process. To be called before
/// it has any of its own.
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
    // The one that the directory was read by is closed by now.
    numbers
        .into_iter()
        .filter(|fd| *fd > 2 && is_open(fd))
        .collect()
}

/// Which process this is after going to the background.
#[derive(Debug)]
pub enum Side {
    /// The one that was started: it ends with what became of the other.
    Caller(Ended),
    /// The one that is to serve.
    Daemon(Caller),
}

/// What the caller says at its end.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code: 0 when the daemon serves.
    pub code: u8,
    /// Why the daemon does not serve; empty when that was said already.
    pub reason: String,
}

/// The daemon's line to the process that waits for it.
#[derive(Clone, Debug)]
pub struct Caller(Arc<Mutex<Option<UnixStream>>>);

impl Caller {
    /// Says that the daemon serves.
    pub(super) fn serving(&self) {
        self.say(0, "");
    }

    /// Says why the daemon ends, and with which code.
    pub fn failed(&self, code: u8, reason: &str) {
        self.say(code, reason);
    }

    fn say(&self, code: u8, reason: &str) {
        let Some(mut line) = self.0.lock().take() else {
            return;
        };
        let said = [&[code], reason.as_bytes()].concat();
        if let Err(error) = line.write_all(&said) {
            log::warn!("the process that started this daemon is gone: {error}");
        }
    }
}

/// Forks. `inherited` are the descriptors that are the caller's; those that a log names by number stay open.
///
/// # Errors
/// The process cannot fork or has other threads, which would be lost.
pub fn detach(config: &Config, inherited: &[RawFd]) -> io::Result<Side> {
    if thread_count() > 1 {
        return Err(io::Error::other(
            "threads run already: a defect of this program",
        ));
    }
    need_null_device()?;
    let (ours, theirs) = UnixStream::pair()?;
    let directory = config.server.working_directory.clone();
    let daemonize = Daemonize::new()
        .working_directory(directory.unwrap_or_else(|| PathBuf::from("/")))
        .umask(restrict_umask().bits())
        .stdout(Stdio::devnull())
        // Until it serves: what is said meanwhile is for the caller.
        .stderr(Stdio::keep());
    match daemonize.execute() {
        Outcome::Parent(forked) => {
            drop(theirs);
            let limit = config.server.daemon_ready_timeout_seconds;
            let limit = limit.map_or(READY_TIMEOUT, |limit| Duration::from_secs(limit.get()));
            let ended = wait(ours, limit, config.server.error_log.as_deref());
            match (ended, forked) {
                // What the daemon says counts: a caller that ignores SIGCHLD cannot wait for a process.
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
                return Ok(Side::Caller(Ended {
                    code: 1,
                    reason: String::new(),
                }));
            }
            let kept = kept_descriptors(config);
            for fd in inherited {
                if *fd != own && !kept.contains(fd) {
                    // Closed already is closed.
                    let _ = nix::unistd::close(*fd);
                }
            }
            Ok(Side::Daemon(caller))
        }
    }
}

/// A daemon's standard streams are there, which a `chroot` without devices does not have.
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

/// How the daemon ended; none when it did not begin.
fn wait(mut line: UnixStream, limit: Duration, error_log: Option<&str>) -> Option<Ended> {
    let deadline = Instant::now() + limit;
    let mut said = Vec::new();
    let failed = |reason: String| Ended { code: 1, reason };
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
                let reason = format!("tollgate: cannot hear of the daemon: {error}");
                return Some(failed(reason));
            }
        }
        if said.len() as u64 > MAX_REASON {
            break true;
        }
    };
    let (id, rest) = said.split_first_chunk::<4>()?;
    Some(match rest.split_first() {
        Some((code, reason)) => Ended {
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
                // Gone is as good.
                let _ = kill_process(id, Signal::KILL);
            }
            failed(format!(
                "tollgate: the daemon did not serve within {limit:?}, and was ended; \
                 daemon_ready_timeout_seconds gives it longer"
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

    fn hear(said: &[&[u8]], limit: Duration) -> Option<Ended> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        for part in said {
            theirs.write_all(part).unwrap();
        }
        // Open until the time is over where it is short.
        let _theirs = (limit < Duration::from_secs(1)).then_some(theirs);
        wait(ours, limit, Some("/e.log"))
    }

    #[test]
    fn the_caller_hears_how_it_ended() {
        let limit = Duration::from_secs(20);
        let id: &[u8] = &[0; 4];
        let serves = hear(&[id, &[0]], limit).unwrap();
        assert_eq!((serves.code, serves.reason.as_str()), (0, ""));
        let refused = hear(&[id, &[78], b"f.yaml:1: wrong"], limit).unwrap();
        assert_eq!(
            (refused.code, refused.reason.as_str()),
            (78, "f.yaml:1: wrong")
        );
        let died = hear(&[id], limit).unwrap();
        assert_eq!(died.code, 1);
        assert!(died.reason.ends_with("see /e.log"), "{}", died.reason);
        assert!(hear(&[], limit).is_none());
        let hangs = hear(&[id], Duration::from_millis(20)).unwrap();
        assert_eq!(hangs.code, 1);
        assert!(
            hangs.reason.contains("did not serve within 20ms"),
            "{}",
            hangs.reason
        );
    }
}
