//! The program in the background: when its caller gets control back, and with what.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::client::Wire;
use crate::support::command::{Outcome, program, run};
use crate::support::daemon::{Daemon, serve, start};
use crate::support::eventually;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::auth;

fn gate() -> String {
    format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth())
}

fn assert_serves(setup: &Setup) {
    // No deadline: the start has said that it serves.
    let mut wire = Wire::connect(setup.address()).unwrap();
    assert_eq!(wire.exchange(gate()).status(), 200);
}

fn bash(setup: &Setup, script: &str) -> Outcome {
    let mut command = Command::new("bash");
    command
        .arg("-c")
        .arg(script)
        .arg(program())
        .arg(setup.write());
    run(command.current_dir(setup.directory.path()), "")
}

fn with_error_log() -> Setup {
    Setup::new().server("error_log: error.log")
}

/// What each descriptor of a process leads to.
#[cfg(target_os = "linux")]
fn descriptors(daemon: &Daemon) -> Vec<(i32, String)> {
    let directory = format!("/proc/{}/fd", daemon.0.as_raw_pid());
    let entries = fs::read_dir(directory).unwrap();
    let entry = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.ok()?.path();
        let number = path.file_name()?.to_str()?.parse().ok()?;
        Some((number, fs::read_link(path).ok()?.display().to_string()))
    };
    entries.filter_map(entry).collect()
}

#[test]
fn command_substitution_returns() {
    let setup = with_error_log();
    let before = Instant::now();
    // Each of the caller's streams is a pipe, and there is one more than the three.
    let script = "out=$(exec 9>kept; \"$0\" -d -c \"$1\" 8>&1 2>&1); echo \"$?:$out\"";
    let outcome = bash(&setup, script);
    assert!(outcome.stdout.starts_with("0:"), "{}", outcome.output());
    assert!(before.elapsed() < Duration::from_secs(20));
    let daemon = Daemon::of(&setup.path("tollgate.pid"));
    assert_serves(&setup);
    #[cfg(target_os = "linux")]
    for (number, target) in descriptors(&daemon) {
        let is_callers = target.starts_with("pipe:") || target.ends_with("/kept");
        assert!(!is_callers, "{number} is {target}");
        if number < 2 {
            assert_eq!(target, "/dev/null");
        }
        if number == 2 {
            assert!(target.ends_with("/error.log"), "{target}");
        }
    }
    daemon.signal(Signal::TERM);
    daemon.wait_end();
    assert!(!setup.path("tollgate.pid").exists());
}

#[test]
fn without_logs_nothing_is_left_open_either() {
    let setup = Setup::new().config("log: { access: stdout }");
    let outcome = bash(&setup, "x=$(\"$0\" -d -c \"$1\"); echo $?");
    assert_eq!(outcome.stdout, "0\n", "{}", outcome.output());
    for lost in ["error_log names no file", "log.access is stdout"] {
        assert!(outcome.stderr.contains(lost), "{}", outcome.stderr);
    }
    let _daemon = Daemon::of(&setup.path("tollgate.pid"));
    assert_serves(&setup);
}

fn foreground(setup: &Setup, arguments: &[&str]) -> Outcome {
    let path = setup.write();
    run(
        Command::new(program()).args(arguments).arg("-c").arg(path),
        "",
    )
}

/// A start that fails does so in the background as in the foreground, says why and leaves no process.
fn assert_fails(setup: &Setup, arguments: &[&str], code: i32, reason: &str) {
    for outcome in [foreground(setup, arguments), start(setup, arguments)] {
        assert_eq!(outcome.code(), Some(code), "{reason}: {}", outcome.output());
        assert!(
            outcome.stderr.contains(reason),
            "{reason}: {}",
            outcome.output()
        );
        assert_eq!(
            outcome.stderr.matches(reason).count(),
            1,
            "{}",
            outcome.stderr
        );
        assert_eq!(outcome.stdout, "");
    }
    assert_eq!(processes(&setup.path("pingora.yaml")), []);
}

/// The processes that were started with a configuration.
fn processes(conf: &Path) -> Vec<Pid> {
    let conf = conf.as_os_str().as_encoded_bytes();
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let process = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.ok()?.path();
        let pid = path.file_name()?.to_str()?.parse().ok()?;
        let line = fs::read(path.join("cmdline")).ok()?;
        let is_it = line.split(|byte| *byte == 0).any(|word| word == conf);
        is_it.then(|| Pid::from_raw(pid)).flatten()
    };
    entries.filter_map(process).collect()
}

#[test]
fn failures_are_told_to_the_caller() {
    assert_fails(
        &Setup::new().server("user: no-such-user"),
        &[],
        78,
        ": user: no such user on this machine",
    );
    let unknown_group = Setup::new().server("group: no-such-group");
    assert_fails(
        &unknown_group,
        &[],
        78,
        "group: no such group on this machine",
    );
    let no_directory = Setup::new().server("error_log: none/error.log");
    assert_fails(
        &no_directory,
        &[],
        78,
        "error_log: its directory does not exist",
    );
    let is_directory = Setup::new().server("pid_file: .");
    assert_fails(&is_directory, &[], 78, "pid_file: is a directory");

    let setup = Setup::new();
    let _other = TcpListener::bind(setup.address()).unwrap();
    let reason = format!("tollgate: cannot listen on {}", setup.address());
    assert_fails(&setup, &[], 1, &reason);
    assert!(!setup.path("tollgate.pid").exists());
}

#[test]
fn second_start_names_the_process_that_runs() {
    let setup = with_error_log();
    let daemon = serve(&setup, &[]);
    let id = daemon.0.as_raw_pid();
    let held = format!(
        "process {id} holds it, so Tollgate runs already; if with this configuration, stop it (`kill {id}`) or take \
         over from it with -u and SIGQUIT; if with another one, set `pid_file` in each"
    );
    let before = fs::read(setup.path("tollgate.pid")).unwrap();
    for outcome in [foreground(&setup, &[]), start(&setup, &[])] {
        assert_eq!(outcome.code(), Some(1), "{}", outcome.output());
        assert!(outcome.stderr.contains(&held), "{}", outcome.stderr);
    }
    assert_eq!(fs::read(setup.path("tollgate.pid")).unwrap(), before);
    assert_serves(&setup);
    // Nothing removes the file of a process that is killed; the next one takes it.
    daemon.signal(Signal::KILL);
    daemon.wait_end();
    assert_eq!(fs::read(setup.path("tollgate.pid")).unwrap(), before);
    let next = serve(&setup, &[]);
    assert_ne!(next.0, daemon.0);
}

#[test]
fn a_process_in_the_foreground_has_a_pid_file() {
    let mut proxy = Proxy::plain();
    let daemon = fs::read_to_string(proxy.path("tollgate.pid")).unwrap();
    assert_eq!(daemon, format!("{}\n", proxy.id().as_raw_pid()));
    proxy.signal(Signal::INT);
    proxy.wait_exit(Duration::from_secs(10));
    assert!(!proxy.path("tollgate.pid").exists());
}

#[test]
fn upgrade_in_the_background_takes_the_pid_file() {
    let setup = with_error_log();
    let old = serve(&setup, &[]);
    old.signal(Signal::QUIT);
    let outcome = start(&setup, &["-u"]);
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    let new = Daemon::of(&setup.path("tollgate.pid"));
    assert_ne!(new.0, old.0);
    assert_serves(&setup);
    old.wait_end();
    // The old one leaves the file of the new one alone.
    let held = fs::read_to_string(setup.path("tollgate.pid")).unwrap();
    assert_eq!(held, format!("{}\n", new.0.as_raw_pid()));
    new.signal(Signal::TERM);
    new.wait_end();
    assert!(!setup.path("tollgate.pid").exists());
    let left: Vec<_> = fs::read_dir(setup.directory.path()).unwrap().collect();
    let temporary = left.iter().any(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().starts_with('.')
    });
    assert!(!temporary, "{left:?}");
}

#[test]
fn upgrade_of_nothing_fails_in_time() {
    let setup = Setup::new();
    let before = Instant::now();
    let outcome = start(&setup, &["-u"]);
    assert_eq!(outcome.code(), Some(1), "{}", outcome.output());
    assert!(
        outcome
            .stderr
            .contains("no process handed its sockets over"),
        "{}",
        outcome.stderr
    );
    assert!(before.elapsed() < Duration::from_secs(30));
    for left in ["upgrade.sock", "tollgate.pid"] {
        assert!(!setup.path(left).exists(), "{left}");
    }
}

/// Starts a daemon that waits for a process that hands over, and gives its caller and itself.
fn waiting(setup: &Setup) -> (std::process::Child, Pid) {
    let conf = setup.write();
    let caller = Command::new(program())
        .args(["-u", "-d", "-c"])
        .arg(&conf)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let own = Pid::from_child(&caller);
    eventually("the upgrade socket", || {
        setup.path("upgrade.sock").exists().then_some(())
    });
    let daemon = eventually("the daemon", || {
        let found = processes(&conf);
        // The process between the two is gone when the socket is there.
        found.into_iter().find(|pid| *pid != own)
    });
    (caller, daemon)
}

#[test]
#[cfg(target_os = "linux")]
fn caller_of_a_daemon_that_is_killed_is_told() {
    let setup = Setup::new();
    let (caller, daemon) = waiting(&setup);
    kill_process(daemon, Signal::KILL).unwrap();
    let output = caller.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("the daemon ended before it served"),
        "{stderr}"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn caller_of_a_daemon_that_hangs_is_told_in_time() {
    let setup = Setup::new().server("daemon_ready_timeout_seconds: 2");
    let (caller, daemon) = waiting(&setup);
    kill_process(daemon, Signal::STOP).unwrap();
    let output = caller.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("did not serve within 2s, and was ended"),
        "{stderr}"
    );
    Daemon(daemon).wait_end();
}

#[test]
fn what_is_made_is_never_for_everyone() {
    for (mask, forbidden) in [("000", 0o137), ("077", 0o177), ("022", 0o137)] {
        let setup = with_error_log();
        let outcome = bash(&setup, &format!("umask {mask}; \"$0\" -d -c \"$1\""));
        assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
        let daemon = Daemon::of(&setup.path("tollgate.pid"));
        for name in ["error.log", "access.log"] {
            fs::rename(setup.path(name), setup.path(&format!("{name}.1"))).unwrap();
        }
        daemon.signal(Signal::USR1);
        for name in ["error.log", "access.log"] {
            eventually("the new file", || setup.path(name).exists().then_some(()));
        }
        for name in [
            "error.log",
            "error.log.1",
            "access.log",
            "access.log.1",
            "tollgate.pid",
        ] {
            let mode = fs::metadata(setup.path(name)).unwrap().permissions().mode();
            assert_eq!(mode & forbidden, 0, "{name} with umask {mask}: {mode:o}");
        }
    }
}

#[test]
fn both_logs_are_opened_anew() {
    let setup = with_error_log();
    let daemon = serve(&setup, &[]);
    let (log, old) = (setup.path("error.log"), setup.path("error.log.1"));
    fs::rename(&log, &old).unwrap();
    daemon.signal(Signal::USR1);
    eventually("the new file", || log.exists().then_some(()));
    daemon.signal(Signal::HUP);
    eventually("a message in the new file", || {
        let text = fs::read_to_string(&log).ok()?;
        text.contains("SIGHUP").then_some(())
    });
    let text = fs::read_to_string(&old).unwrap();
    assert!(
        text.contains("SIGUSR1") && !text.contains("SIGHUP"),
        "{text}"
    );
    #[cfg(target_os = "linux")]
    for (number, target) in descriptors(&daemon) {
        assert!(
            !target.ends_with("error.log.1"),
            "{number} still has the old file"
        );
    }
}

fn make_fifo(setup: &Setup, name: &str) {
    let made = Command::new("mkfifo").arg(setup.path(name)).status();
    assert!(made.unwrap().success());
}

#[test]
fn fifo_without_a_reader_holds_nothing_up() {
    let setup = Setup::new().config("log: { access: fifo }");
    make_fifo(&setup, "fifo");
    let mut proxy = setup.start();
    // More than the FIFO holds.
    let long = "x".repeat(8000);
    for _ in 0..20 {
        let request = gate().replace("GET / ", &format!("GET /{long} "));
        assert_eq!(proxy.exchange(request).status(), 404);
    }
    proxy.signal(Signal::USR1);
    assert_eq!(proxy.exchange(gate()).status(), 200);
    proxy.signal(Signal::TERM);
    let status = proxy.wait_exit(Duration::from_secs(15));
    assert!(status.success(), "{status}");
}

#[test]
fn paths_of_the_standard_streams_are_these_streams() {
    for path in ["/dev/stdout", "/dev/fd/1"] {
        let proxy = Proxy::start(&format!("log: {{ access: {path} }}"));
        assert_eq!(proxy.exchange(gate()).status(), 200);
        eventually("the record", || {
            proxy.output().contains("\"method\":\"GET\"").then_some(())
        });
    }
    let mut proxy = Proxy::start("log: { access: /dev/null }");
    assert_eq!(proxy.exchange(gate()).status(), 200);
    assert!(proxy.is_running());
}

#[test]
fn descriptor_of_the_caller_is_kept_where_a_log_names_it() {
    let setup = Setup::new().config("log: { access: /dev/fd/7 }");
    let outcome = bash(&setup, "\"$0\" -d -c \"$1\" 7>records");
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    let daemon = Daemon::of(&setup.path("tollgate.pid"));
    assert_serves(&setup);
    // The number may be another descriptor's by now.
    daemon.signal(Signal::USR1);
    assert_serves(&setup);
    eventually("two records", || {
        let text = fs::read_to_string(setup.path("records")).ok()?;
        (text.lines().count() == 2).then_some(())
    });
}

/// The paths of the file stay relative to it, wherever the daemon is.
#[test]
fn daemon_works_in_its_directory() {
    for configured in [None, Some("away")] {
        let setup = with_error_log();
        fs::create_dir(setup.path("away")).unwrap();
        let expected = configured.map_or_else(|| "/".into(), |name| setup.path(name));
        let setup = match configured {
            Some(name) => setup.server(&format!("working_directory: {name}")),
            None => setup,
        };
        let daemon = serve(&setup, &[]);
        let cwd = fs::read_link(format!("/proc/{}/cwd", daemon.0.as_raw_pid())).unwrap();
        assert_eq!(cwd, expected.canonicalize().unwrap());
        assert_serves(&setup);
        let log = fs::read_to_string(setup.path("error.log")).unwrap();
        assert!(log.contains(&setup.address().to_string()), "{log}");
        assert_eq!(fs::read_dir(setup.path("away")).unwrap().count(), 0);
        daemon.signal(Signal::TERM);
        daemon.wait_end();
    }
}

#[test]
fn daemon_can_be_asked_for_by_the_file() {
    let setup = with_error_log().server("daemon: true");
    let outcome = foreground(&setup, &[]);
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    let daemon = Daemon::of(&setup.path("tollgate.pid"));
    assert_serves(&setup);
    daemon.signal(Signal::TERM);
    daemon.wait_end();
}
