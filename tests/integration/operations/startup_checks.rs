//! What `check` passes starts: places, ports and rights are tried before anything runs.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use crate::support::client::Wire;
use crate::support::command::{Outcome, check, is_installed, is_root, program, run};
use crate::support::daemon::{Daemon, serve, start};
use crate::support::eventually;
use crate::support::proxy::{Proxy, Setup, reload};
use crate::support::request::auth;

fn listing(setup: &Setup) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut directories = vec![setup.directory.path().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            }
            found.insert(entry.path());
        }
    }
    found
}

/// `check` and both kinds of start refuse it with those words; nothing is made.
fn assert_refused(setup: &Setup, expected: &[&str]) {
    let path = setup.write();
    let before = listing(setup);
    let foreground = run(Command::new(program()).arg("-c").arg(&path), "");
    for outcome in [check(setup), foreground, start(setup, &[])] {
        assert_eq!(
            outcome.code(),
            Some(78),
            "{expected:?}: {}",
            outcome.output()
        );
        for text in expected {
            assert!(outcome.stderr.contains(text), "{text}: {}", outcome.stderr);
        }
        assert!(!outcome.stderr.contains("os error"), "{}", outcome.stderr);
    }
    assert_eq!(listing(setup), before);
}

fn assert_checked(setup: &Setup) {
    let before = listing(setup);
    let outcome = check(setup);
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    assert_eq!(
        listing(setup).difference(&before).count(),
        usize::from(!before.contains(&setup.path("pingora.yaml")))
    );
}

#[test]
fn places_that_cannot_be_used() {
    let setup = || {
        let setup = Setup::new();
        fs::create_dir(setup.path("directory")).unwrap();
        symlink("users.htpasswd", setup.path("link")).unwrap();
        let made = Command::new("mkfifo").arg(setup.path("fifo")).status();
        assert!(made.unwrap().success());
        setup.file("a b", "")
    };
    for (yaml, expected) in [
        ("pid_file: directory", "pid_file: is a directory"),
        ("pid_file: directory/", "pid_file: names a directory"),
        (
            "pid_file: none/pid",
            "pid_file: its directory does not exist; run `mkdir -p ",
        ),
        (
            "pid_file: link",
            "pid_file: is a symbolic link, which is not followed",
        ),
        ("pid_file: fifo", "pid_file: is not a file of its own"),
        (
            "pid_file: users.htpasswd/pid",
            "pid_file: cannot be used: not a directory",
        ),
        (
            "pid_file: pingora.yaml",
            "pid_file: a file that this configuration reads",
        ),
        ("pid_file: /proc/none", "pid_file: "),
        (
            "upgrade_sock: users.htpasswd",
            "upgrade_sock: is there already, and is no socket",
        ),
        (
            "upgrade_sock: directory",
            "upgrade_sock: is there already, and is no socket",
        ),
        (
            "upgrade_sock: none/sock",
            "upgrade_sock: its directory does not exist",
        ),
        ("error_log: directory", "error_log: is a directory"),
        ("error_log: directory/", "error_log: names a directory"),
        ("error_log: fifo", "error_log: is a FIFO"),
        (
            "error_log: /dev/fd/99",
            "error_log: no such descriptor is open",
        ),
        (
            "error_log: none/log",
            "error_log: its directory does not exist",
        ),
        (
            "error_log: users.htpasswd",
            "error_log: a file that this configuration reads",
        ),
        (
            "error_log: link",
            "error_log: a file that this configuration reads",
        ),
        (
            "error_log: tollgate.pid",
            "error_log: the file of another key too",
        ),
        (
            "tollgate: { log: { access: directory } }",
            "tollgate.log.access: is a directory",
        ),
        (
            "tollgate: { log: { access: none/log } }",
            "tollgate.log.access: its directory does not exist",
        ),
        (
            "tollgate: { log: { access: users.htpasswd } }",
            "tollgate.log.access: a file that this",
        ),
        (
            "working_directory: none",
            "working_directory: does not exist",
        ),
        (
            "working_directory: users.htpasswd",
            "working_directory: not a directory",
        ),
    ] {
        assert_refused(&setup().server(yaml), &[expected]);
    }
    let long = format!("upgrade_sock: {}", "s".repeat(108));
    assert_refused(
        &Setup::new().server(&long),
        &["upgrade_sock: longer than the 107 bytes"],
    );
    let setup = Setup::new().server("error_log: socket");
    let _listener = UnixListener::bind(setup.path("socket")).unwrap();
    assert_refused(&setup, &["error_log: is a socket"]);
}

#[test]
fn everything_is_said_at_once() {
    let setup = Setup::new();
    let _other = TcpListener::bind(setup.address()).unwrap();
    let setup = setup
        .server("error_log: none/log\npid_file: none/pid\nuser: no-such-user")
        .config("timeouts: { drain: 30 }\nlog: { access: none/log }");
    let outcome = check(&setup);
    assert_eq!(outcome.code(), Some(78));
    for key in [
        "error_log",
        "pid_file",
        "user",
        "tollgate.timeouts.drain",
        "tollgate.log.access",
    ] {
        assert!(
            outcome.stderr.contains(&format!(": {key}: ")),
            "{key}: {}",
            outcome.stderr
        );
    }
    assert!(
        outcome.stderr.contains("cannot listen on"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn ports_that_cannot_be_had() {
    for (held, wanted) in [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "0.0.0.0"),
        ("0.0.0.0", "127.0.0.1"),
    ] {
        let other = TcpListener::bind((held, 0)).unwrap();
        let wanted = format!("{wanted}:{}", other.local_addr().unwrap().port());
        let setup = Setup::new().config(&format!("listeners: [{{ address: \"{wanted}\" }}]"));
        let outcome = check(&setup);
        assert_eq!(
            outcome.code(),
            Some(78),
            "{held} {wanted}: {}",
            outcome.output()
        );
        let expected = "tollgate.listeners[0].address: cannot listen on";
        assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("`ss -ltnp"), "{}", outcome.stderr);
    }
    // TEST-NET-1 is no machine's.
    let setup = Setup::new().server("client_bind_to_ipv4: [\"127.0.0.1\", \"192.0.2.1\"]");
    let expected = ": client_bind_to_ipv4[1]: cannot connect from here";
    assert_refused(&setup, &[expected]);
    let setup = Setup::new().config("admin: { address: \"192.0.2.1:9188\" }");
    let outcome = check(&setup);
    assert_eq!(outcome.code(), Some(78), "{}", outcome.output());
    assert!(
        outcome.stderr.contains("none of this machine's"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn what_the_running_process_has_is_no_finding() {
    let proxy = Proxy::plain();
    assert_checked(&proxy.setup);
    let setup = Setup::new().server("error_log: error.log");
    assert_checked(&setup);
    let daemon = serve(&setup, &[]);
    assert_checked(&setup);
    daemon.signal(Signal::TERM);
    daemon.wait_end();
    assert_checked(&setup);
}

// --- with root's rights ------------------------------------------------------------------------

/// A configuration for the user `nobody`, where everything is as it has to be.
fn for_nobody() -> Setup {
    let setup = Setup::new().server(
        "user: nobody\nerror_log: log/error.log\npid_file: run/tollgate.pid\nupgrade_sock: run/upgrade.sock",
    );
    let setup = setup.config("log: { access: log/access.log }");
    mode(&setup, "", 0o755);
    for name in ["log", "run"] {
        fs::create_dir(setup.path(name)).unwrap();
        give(&setup, name);
    }
    setup
}

fn give(setup: &Setup, name: &str) {
    chown(setup.path(name), Some(65534), Some(65534)).unwrap();
}

fn mode(setup: &Setup, name: &str, mode: u32) {
    fs::set_permissions(setup.path(name), fs::Permissions::from_mode(mode)).unwrap();
}

fn is_known(user: &str) -> bool {
    let known = Command::new("id").args(["-u", user]).output().unwrap();
    known.stdout == b"65534\n"
}

fn can_become_nobody(test: &str) -> bool {
    let can = is_root(test) && is_known("nobody");
    if !can {
        eprintln!("skipped: {test} needs a user nobody");
    }
    can
}

fn serve_nobody(setup: &Setup, arguments: &[&str]) -> Daemon {
    let outcome = start(setup, arguments);
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    Daemon::of(&setup.path("run/tollgate.pid"))
}

fn assert_serves(setup: &Setup) {
    let mut wire = Wire::connect(setup.address()).unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth());
    assert_eq!(wire.exchange(request).status(), 200);
}

#[test]
fn start_by_root_serves_reloads_rotates_and_hands_over_as_another_user() {
    if !can_become_nobody("start as nobody") {
        return;
    }
    // A port for root alone, on an address that no other test has.
    let id = std::process::id().to_be_bytes();
    let forbidden = format!("127.93.{}.{}:87", id[2], id[3]);
    let setup = for_nobody();
    let yaml = format!(
        "listeners: [{{ address: \"{}\" }}, {{ address: \"{forbidden}\" }}]",
        setup.address()
    );
    let setup = setup.config(&yaml);
    assert_checked(&setup);
    let daemon = serve_nobody(&setup, &[]);
    assert_eq!(daemon.status("Uid"), ["65534"; 4]);
    assert_eq!(daemon.status("Gid"), ["65534"; 4]);
    assert_eq!(daemon.status("Groups"), ["65534"]);
    assert_serves(&setup);
    assert!(Wire::connect(forbidden.parse().unwrap()).is_ok());

    let answer = reload(setup.admin_address());
    assert_eq!(answer.status(), 200, "{}", answer.text());
    for name in ["log/access.log", "log/error.log"] {
        fs::rename(setup.path(name), setup.path(&format!("{name}.1"))).unwrap();
    }
    daemon.signal(Signal::USR1);
    for name in ["log/access.log", "log/error.log"] {
        eventually("the new file", || setup.path(name).exists().then_some(()));
    }
    assert_checked(&setup);

    daemon.signal(Signal::QUIT);
    let next = serve_nobody(&setup, &["-u"]);
    assert_ne!(next.0, daemon.0);
    daemon.wait_end();
    assert_eq!(next.status("Uid"), ["65534"; 4]);
    assert_serves(&setup);
    next.signal(Signal::TERM);
    next.wait_end();
    assert!(!setup.path("run/tollgate.pid").exists());
}

/// The commands of the remedies in a list of problems.
fn commands(outcome: &Outcome) -> Vec<String> {
    let lines = outcome.stderr.lines();
    let command = |line: &str| Some(line.split_once("run `")?.1.split_once('`')?.0.to_owned());
    lines.filter_map(command).collect()
}

#[test]
fn what_the_user_could_not_use_again_is_refused_with_the_line_that_mends_it() {
    if !can_become_nobody("remedies for nobody") {
        return;
    }
    let setup = for_nobody()
        .file("groups", "staff: alice\n")
        .file("list.txt", "blocked.test\n")
        .config("auth: { groups: groups }\negress: { deny_domains: [\"@list.txt\"] }");
    setup.write();
    for name in ["users.htpasswd", "groups", "list.txt", "pingora.yaml"] {
        mode(&setup, name, 0o600);
    }
    fs::write(setup.path("log/access.log"), "old\n").unwrap();
    mode(&setup, "log/access.log", 0o640);
    for name in ["log", "run"] {
        chown(setup.path(name), Some(0), Some(0)).unwrap();
    }
    mode(&setup, "", 0o700);
    let directory = setup.directory.path().display();
    let outcome = check(&setup);
    // A directory above hides what is below from the user; the lines are there all the same.
    assert_eq!(outcome.code(), Some(78), "{}", outcome.output());
    for line in [
        format!("chown :nogroup {directory} && chmod g+x {directory}"),
        format!(
            "chown :nogroup {directory}/users.htpasswd && chmod g+r {directory}/users.htpasswd"
        ),
        format!("chown :nogroup {directory}/groups && chmod g+r {directory}/groups"),
        format!("chown :nogroup {directory}/list.txt && chmod g+r {directory}/list.txt"),
        format!("chown :nogroup {directory}/pingora.yaml && chmod g+r {directory}/pingora.yaml"),
    ] {
        assert!(outcome.stderr.contains(&line), "{line}\n{}", outcome.stderr);
    }
    assert_refused(&setup, &["a reload would fail"]);
    // Everything was said at once, so that one round of it is enough.
    let mut rounds = 0;
    loop {
        let outcome = check(&setup);
        if outcome.code() == Some(0) {
            break;
        }
        rounds += 1;
        assert!(rounds <= 1, "{}", outcome.output());
        for command in commands(&outcome) {
            let done = run(Command::new("bash").arg("-c").arg(&command), "");
            assert!(done.status.success(), "{command}: {}", done.output());
        }
    }
    assert!(rounds > 0);
    let daemon = serve_nobody(&setup, &[]);
    let answer = reload(setup.admin_address());
    assert_eq!(answer.status(), 200, "{}", answer.text());
    fs::rename(setup.path("log/access.log"), setup.path("log/access.log.1")).unwrap();
    daemon.signal(Signal::USR1);
    eventually("the new file", || {
        setup.path("log/access.log").exists().then_some(())
    });
}

#[test]
fn user_is_taken_on_in_the_foreground_too() {
    if !can_become_nobody("foreground as nobody") {
        return;
    }
    let proxy = for_nobody().start();
    let daemon = Daemon(proxy.id());
    // The sockets are open before.
    eventually("the user", || {
        (daemon.status("Uid") == ["65534"; 4]).then_some(())
    });
    assert_eq!(proxy.reload().status(), 200);
}

/// Runs the program as `nobody`, from a place where it can.
fn as_nobody(setup: &Setup, arguments: &[&str]) -> Option<Outcome> {
    let binary = setup.path("tollgate");
    if !binary.exists() && fs::hard_link(program(), &binary).is_err() {
        fs::copy(program(), &binary).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    if !is_installed(&["setpriv", "--version"]) {
        return None;
    }
    Some(run(
        command
            .arg(binary)
            .args(arguments)
            .arg("-c")
            .arg(setup.write()),
        "",
    ))
}

#[test]
fn a_user_without_rights_is_told_what_is_missing() {
    if !can_become_nobody("check as nobody") {
        return;
    }
    let setup = Setup::new();
    mode(&setup, "", 0o755);
    fs::create_dir(setup.path("log")).unwrap();
    let port = setup.address().port();
    let setup = setup
        .server("error_log: log/error.log\nuser: root")
        .config(&format!("log: {{ access: log/access.log }}\nlisteners: [{{ address: \"127.0.0.1:{port}\" }}, {{ address: \"127.0.0.1:1\" }}]"));
    let Some(outcome) = as_nobody(&setup, &["check"]) else {
        return;
    };
    assert_eq!(outcome.code(), Some(78), "{}", outcome.output());
    for expected in [
        ": user: only root can start as one user and serve as another",
        ": error_log: ",
        ": tollgate.log.access: ",
        ": pid_file: ",
        ": upgrade_sock: ",
        "cannot be written to by user nobody: permission denied",
    ] {
        assert!(
            outcome.stderr.contains(expected),
            "{expected}: {}",
            outcome.stderr
        );
    }
    let start = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if start.is_ok_and(|start| start.trim() == "0") {
        eprintln!("skipped: this system forbids no port");
    } else {
        let expected = "ports below 1024 need root or CAP_NET_BIND_SERVICE";
        assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
    }
}
