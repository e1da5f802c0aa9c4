//! The program in the background, and what the system says of it.

use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::command::{Outcome, program, run};
use super::eventually;
use super::proxy::Setup;

/// A process that is ours and not our child's; killed at the end.
pub(crate) struct Daemon(pub(crate) Pid);

impl Daemon {
    /// That of a PID file, which is there.
    pub(crate) fn of(pid_file: &Path) -> Self {
        let pid = eventually("the PID file", || {
            let text = std::fs::read_to_string(pid_file).ok()?;
            Pid::from_raw(text.trim().parse().ok()?)
        });
        Self(pid)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.0, signal).unwrap();
    }

    pub(crate) fn is_running(&self) -> bool {
        // One that nobody has reaped yet is still there, and has no command line any more.
        let line = std::fs::read(format!("/proc/{}/cmdline", self.0.as_raw_pid()));
        test_kill_process(self.0).is_ok() && !line.is_ok_and(|line| line.is_empty())
    }

    pub(crate) fn wait_end(&self) {
        eventually("the daemon to end", || (!self.is_running()).then_some(()));
    }

    /// A line of `/proc/PID/status`, without its name.
    pub(crate) fn status(&self, name: &str) -> Vec<String> {
        let text =
            std::fs::read_to_string(format!("/proc/{}/status", self.0.as_raw_pid())).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _already_gone = kill_process(self.0, Signal::KILL);
    }
}

/// Starts the program in the background, to the moment when the caller has control again.
pub(crate) fn start(setup: &Setup, arguments: &[&str]) -> Outcome {
    let path = setup.write();
    run(
        Command::new(program())
            .arg("-d")
            .args(arguments)
            .arg("-c")
            .arg(path),
        "",
    )
}

/// The same where it has to serve.
pub(crate) fn serve(setup: &Setup, arguments: &[&str]) -> Daemon {
    let outcome = start(setup, arguments);
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    Daemon::of(&setup.path("tollgate.pid"))
}
