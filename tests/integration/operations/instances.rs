//! What `check` and a start say where another instance has an address or the PID file.

use std::net::TcpListener;
use std::process::Command;

use crate::support::command::{check, program, run};
use crate::support::proxy::Setup;

/// A port, a place or a source address that cannot be had keeps neither tests nor scripts from being tried.
#[test]
fn a_held_port_hides_no_other_mistake() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let setup = |more: &str| {
        let address = other.local_addr().unwrap();
        Setup::new()
            .server("client_bind_to_ipv4: [\"192.0.2.1\"]\nerror_log: none/log")
            .config(&format!("listeners: [{{ address: \"{address}\" }}]"))
            .config("policy_tests: [{ user: alice, target: \"pypi.org:22\", expect: deny }]")
            .config(more)
    };
    let outcome = check(&setup(""));
    assert_eq!(outcome.code(), Some(78), "{}", outcome.output());
    for expected in [
        ": cannot listen on",
        ": client_bind_to_ipv4[0]: ",
        ": error_log: ",
        ": tollgate.policy_tests[0]: expected deny, found admit by default",
    ] {
        assert!(
            outcome.stderr.contains(expected),
            "{expected}: {}",
            outcome.stderr
        );
    }
    let script = "scripts: [{ name: a, source: 'fn request(r) { r.hots; }' }]";
    let outcome = check(&setup(script));
    for expected in ["cannot listen on", "a request has no `hots`"] {
        assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
    }
    // Without `pid_file`, the holder may be the process of this very file.
    let address = other.local_addr().unwrap();
    let without = Setup::new().whole(&format!(
        "tollgate: {{ listeners: [{{ address: \"{address}\" }}], auth: {{ htpasswd: users.htpasswd }} }}"
    ));
    for (outcome, is_told) in [(outcome, false), (check(&without), true)] {
        let remedy =
            "if it is the process of this configuration, set `pid_file`, by which `check` knows it";
        let found = outcome.stderr.contains(remedy);
        assert_eq!(found, is_told, "{}", outcome.stderr);
    }
}

/// Two configurations of one user without `pid_file`, which have the same default.
#[test]
fn the_default_pid_file_may_be_that_of_another_instance() {
    let (first, second) = (Setup::new(), Setup::new());
    let directory = first.path("run");
    std::fs::create_dir(&directory).unwrap();
    let without = |setup: Setup, address| {
        let yaml = format!(
            "version: 1\ntollgate: {{ listeners: [{{ address: \"{address}\" }}], auth: {{ htpasswd: users.htpasswd }}, \
             log: {{ access: access.log }} }}"
        );
        setup.whole(&yaml).without_admin()
    };
    let tollgate = |arguments: &[&str]| {
        let mut command = Command::new(program());
        command.args(arguments).env("RUNTIME_DIRECTORY", &directory);
        command
    };
    let address = first.address();
    let first = without(first, address).start_by(tollgate(&["-c"]));
    let id = first.id().as_raw_pid();

    let daemon = |setup: &Setup| run(tollgate(&["-d", "-c"]).arg(setup.write()), "");
    let (address, taken) = (second.address(), address);
    let second = without(second, address);
    let outcome = daemon(&second);
    let held = format!(
        "process {id} holds it, so Tollgate runs already; if with this configuration, stop it (`kill {id}`)"
    );
    assert!(outcome.stderr.contains(&held), "{}", outcome.stderr);
    let outcome = run(tollgate(&["reload", "-c"]).arg(second.write()), "");
    let file = directory.join("tollgate.pid");
    let expected = format!(
        "without `pid_file`, the process in {} may be another instance",
        file.display()
    );
    assert!(outcome.stderr.contains(&expected), "{}", outcome.stderr);
    let second = second.start_by(tollgate(&["-c"]));
    let expected = format!(
        "no PID file: process {id} has the default one, {}; set `pid_file`",
        file.display()
    );
    assert!(second.errors().contains(&expected), "{}", second.errors());

    // An address of every interface, and the first instance has one of them.
    let wide = format!("0.0.0.0:{}", taken.port());
    let third = Setup::new().whole(&format!(
        "version: 1\ntollgate: {{ listeners: [{{ address: \"{wide}\" }}], auth: {{ htpasswd: users.htpasswd }} }}"
    ));
    let outcome = run(tollgate(&["check", "-c"]).arg(third.write()), "");
    let expected = format!(
        "process {id}, the one of the default PID file {}, listens on this port of another address",
        file.display()
    );
    for expected in [
        &*expected,
        "if it is another instance, give each its own `pid_file`",
    ] {
        assert!(outcome.stderr.contains(expected), "{}", outcome.stderr);
    }
}
