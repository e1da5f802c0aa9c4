//! The program in the background where something of the system is missing, full or unusual.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::command::{Outcome, program, run};
use crate::support::daemon::Daemon;
use crate::support::proxy::Setup;

/// Runs a script with the program as `$0` and its configuration as `$1`.
fn bash(setup: &Setup, script: &str) -> Outcome {
    run(&mut shell(Command::new("bash"), setup, script), "")
}

/// The same with mounts of its own, which are gone with the program; none where that is not permitted.
#[cfg(target_os = "linux")]
fn with_mounts(setup: &Setup, script: &str) -> Option<Outcome> {
    let mut command = Command::new("unshare");
    command.args(["-m", "bash"]);
    let outcome = run(&mut shell(command, setup, script), "");
    if outcome.code() == Some(99) || outcome.stderr.starts_with("unshare: ") {
        eprintln!("skipped: no mount is permitted here: {}", outcome.output());
        return None;
    }
    Some(outcome)
}

fn shell(mut command: Command, setup: &Setup, script: &str) -> Command {
    let path = setup.write();
    command.arg("-c").arg(script).arg(program()).arg(path);
    command.current_dir(setup.directory.path());
    command
}

#[test]
fn a_caller_that_ignores_its_children_hears_that_the_daemon_serves() {
    let setup = Setup::new().server("error_log: error.log");
    let outcome = bash(&setup, "trap '' CHLD; exec \"$0\" -d -c \"$1\"");
    let _daemon = Daemon::of(&setup.path("tollgate.pid"));
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    // And why it does not.
    let outcome = bash(&setup, "trap '' CHLD; exec \"$0\" -d -c \"$1\"");
    assert_eq!(outcome.code(), Some(1), "{}", outcome.output());
    assert!(
        outcome.stderr.contains("runs already"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn no_mask_takes_the_logs_from_their_owner() {
    let setup = Setup::new().server("error_log: error.log");
    let outcome = bash(&setup, "umask 777; exec \"$0\" -d -c \"$1\"");
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    let _daemon = Daemon::of(&setup.path("tollgate.pid"));
    for name in ["error.log", "access.log", "tollgate.pid"] {
        let mode = setup.path(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}: {mode:o}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn without_a_null_device_there_is_no_daemon_and_a_line_that_makes_one() {
    let setup = Setup::new().server("error_log: error.log");
    let script = "mount -t tmpfs none /dev || exit 99; exec \"$0\" -d -c \"$1\"";
    let Some(outcome) = with_mounts(&setup, script) else {
        return;
    };
    assert_eq!(outcome.code(), Some(1), "{}", outcome.output());
    let remedy = "there is no device /dev/null; make it with `mknod -m 666 /dev/null c 1 3`";
    assert!(outcome.stderr.contains(remedy), "{}", outcome.stderr);
    assert!(!setup.path("tollgate.pid").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_and_nothing_is_left_on_it() {
    let setup = Setup::new().server("pid_file: full/pid");
    std::fs::create_dir(setup.path("full")).unwrap();
    let script = "mount -t tmpfs -o size=16k none full || exit 99\n\
                  head -c 65536 /dev/zero > full/zero 2> /dev/null\n\
                  \"$0\" -c \"$1\"; code=$?; ls full; exit $code";
    let Some(outcome) = with_mounts(&setup, script) else {
        return;
    };
    assert_eq!(outcome.code(), Some(1), "{}", outcome.output());
    assert_eq!(outcome.stdout, "zero\n", "{}", outcome.output());
    assert!(
        outcome
            .stderr
            .contains("full/pid: no space left on device\n"),
        "{}",
        outcome.stderr
    );
}
