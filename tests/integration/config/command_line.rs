//! The command line and the configuration: everything that is wrong is said at once, before
//! anything is bound.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::command::{Outcome, program, run, tollgate};
use crate::support::proxy::Setup;
use crate::support::request::{ALICE, credentials, sha_line};

const EX_USAGE: Option<i32> = Some(64);
const EX_CONFIG: Option<i32> = Some(78);

/// `tollgate check` of a base configuration with `yaml` laid over it.
fn check(yaml: &str) -> Outcome {
    check_setup(&Setup::new().config(yaml))
}

fn check_setup(setup: &Setup) -> Outcome {
    let path = setup.write();
    let checked = tollgate(["check".as_ref(), "-c".as_ref(), path.as_os_str()]);
    // Every way to read a configuration judges it alike.
    let tested = tollgate(["-t".as_ref(), "-c".as_ref(), path.as_os_str()]);
    assert_eq!(
        checked.code(),
        tested.code(),
        "check: {}\n-t: {}",
        checked.output(),
        tested.output()
    );
    if checked.code() == EX_CONFIG {
        let served = tollgate(["-c".as_ref(), path.as_os_str()]);
        assert_eq!(served.code(), EX_CONFIG, "{}", served.output());
        assert!(
            TcpStream::connect(setup.address()).is_err(),
            "something was bound"
        );
    }
    checked
}

#[test]
fn good_configuration_passes() {
    let outcome = check("timeouts: { connect: 5s }");
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
}

#[test]
fn checking_listens_nowhere() {
    let setup = Setup::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    assert_eq!(check_setup(&setup).code(), Some(0));
    assert!(TcpStream::connect(setup.address()).is_err());
    // What would fail is found; a start that fails for it is not one of a wrong configuration.
    let setup = setup.config(&format!("listeners: [{{ address: \"{address}\" }}]"));
    let path = setup.write();
    for (arguments, code) in [(["check", "-c"].as_slice(), EX_CONFIG), (&["-c"], Some(1))] {
        let outcome = tollgate(
            arguments
                .iter()
                .map(AsRef::as_ref)
                .chain([path.as_os_str()]),
        );
        assert_eq!(outcome.code(), code, "{}", outcome.output());
        let expected = format!("cannot listen on {address}");
        assert!(outcome.stderr.contains(&expected), "{}", outcome.stderr);
    }
}

#[test]
fn each_mistake_is_named_with_its_key() {
    for (yaml, words) in [
        ("listners: []", vec!["tollgate.listners", "listeners"]),
        (
            "timeouts: { conect: 5s }",
            vec!["tollgate.timeouts.conect", "connect"],
        ),
        ("auth: { relm: x }", vec!["tollgate.auth.relm", "realm"]),
        (
            "gateway: { upstream: [] }",
            vec!["tollgate.gateway.upstream", "upstreams"],
        ),
        (
            "log: { fromat: json }",
            vec!["tollgate.log.fromat", "format"],
        ),
        ("nonsense: 1", vec!["tollgate.nonsense"]),
        (
            "timeouts: { connect: soon }",
            vec!["tollgate.timeouts.connect"],
        ),
        (
            "timeouts: { connect: 5 parsecs }",
            vec!["tollgate.timeouts.connect"],
        ),
        (
            "timeouts: { connect: -5s }",
            vec!["tollgate.timeouts.connect"],
        ),
        (
            "timeouts: { connect: [5s] }",
            vec!["tollgate.timeouts.connect"],
        ),
        (
            "limits: { request_head: big }",
            vec!["tollgate.limits.request_head"],
        ),
        (
            "limits: { max_connections: many }",
            vec!["tollgate.limits.max_connections"],
        ),
        (
            "limits: { max_connections: -1 }",
            vec!["tollgate.limits.max_connections"],
        ),
        ("limits: []", vec!["tollgate.limits"]),
        (
            "egress: { connect_ports: [0] }",
            vec!["tollgate.egress.connect_ports"],
        ),
        (
            "egress: { connect_ports: [65536] }",
            vec!["tollgate.egress.connect_ports"],
        ),
        (
            "egress: { connect_ports: some }",
            vec!["tollgate.egress.connect_ports"],
        ),
        (
            "egress: { http_ports: [http] }",
            vec!["tollgate.egress.http_ports"],
        ),
        (
            "egress: { allow_networks: [10.0.0.0/33] }",
            vec!["tollgate.egress.allow_networks"],
        ),
        (
            "egress: { deny_networks: [everything] }",
            vec!["tollgate.egress.deny_networks"],
        ),
        (
            "egress: { deny_domains: [\"a b\"] }",
            vec!["tollgate.egress.deny_domains"],
        ),
        (
            "egress: { deny_domains: [\"@absent.txt\"] }",
            vec!["tollgate.egress.deny_domains"],
        ),
        (
            "gateway: { upstreams: [\"127.0.0.1:99999\"] }",
            vec!["tollgate.gateway.upstreams"],
        ),
        (
            "gateway: { upstreams: [\"127.0.0.1\"] }",
            vec!["tollgate.gateway.upstreams"],
        ),
        (
            "gateway: { max_connections_per_upstream: 0 }",
            vec!["tollgate.gateway.max_connections_per_upstream"],
        ),
        (
            "listeners: [{ address: \"127.0.0.1:65536\" }]",
            vec!["tollgate.listeners"],
        ),
        (
            "listeners: [{ address: nowhere }]",
            vec!["tollgate.listeners"],
        ),
        (
            "listeners: [{ adress: \"127.0.0.1:80\" }]",
            vec!["tollgate.listeners", "adress", "address"],
        ),
        ("listeners: []", vec!["tollgate.listeners"]),
        (
            "auth: { htpasswd: absent.htpasswd }",
            vec!["tollgate.auth.htpasswd", "absent.htpasswd"],
        ),
        ("log: { format: xml }", vec!["tollgate.log.format"]),
        ("dns: { servers: [nowhere] }", vec!["tollgate.dns.servers"]),
    ] {
        let outcome = check(yaml);
        assert_eq!(outcome.code(), EX_CONFIG, "{yaml}: {}", outcome.output());
        for word in words {
            assert!(
                outcome.stderr.contains(word),
                "{yaml}: no {word:?} in {}",
                outcome.stderr
            );
        }
        assert!(
            !outcome.output().contains("panicked"),
            "{}",
            outcome.output()
        );
    }
}

#[test]
fn all_mistakes_are_reported_together() {
    let outcome = check(
        "listeners: [{ address: \"127.0.0.1:70000\" }]\n\
         auth: { htpasswd: absent.htpasswd, relm: x }\n\
         timeouts: { connect: soon, drian: 5s }\n\
         egress: { connect_ports: [70000], deny_networks: [all] }\n\
         log: { format: xml }",
    );
    assert_eq!(outcome.code(), EX_CONFIG);
    for word in [
        "tollgate.listeners",
        "absent.htpasswd",
        "tollgate.auth.relm",
        "tollgate.timeouts.connect",
        "tollgate.timeouts.drian",
        "tollgate.egress.connect_ports",
        "tollgate.egress.deny_networks",
        "tollgate.log.format",
    ] {
        assert!(
            outcome.stderr.contains(word),
            "no {word} in {}",
            outcome.stderr
        );
    }
}

#[test]
fn two_listeners_on_one_address_are_a_mistake() {
    let setup = Setup::new();
    let address = setup.address();
    let outcome = check_setup(&setup.config(&format!(
        "listeners: [{{ address: \"{address}\" }}, {{ address: \"{address}\" }}]"
    )));
    assert_eq!(outcome.code(), EX_CONFIG, "{}", outcome.output());
    assert!(
        outcome.stderr.contains("tollgate.listeners[1].address"),
        "{}",
        outcome.stderr
    );
    // The admin listener is one too.
    let setup = Setup::new();
    let yaml = format!("admin: {{ address: \"{}\" }}", setup.address());
    assert_eq!(check_setup(&setup.config(&yaml)).code(), EX_CONFIG);
}

#[test]
fn unreadable_htpasswd_lines_are_named_by_number_alone() {
    let good = sha_line(ALICE);
    let setup = Setup::new().file(
        "users.htpasswd",
        format!("{good}bob:plaintext-canary\n\nno-colon-canary\n:x\n{good}"),
    );
    let outcome = check_setup(&setup);
    assert_eq!(outcome.code(), EX_CONFIG);
    for line in ["2", "4", "5"] {
        let named = [format!("line {line}"), format!(":{line}")];
        assert!(
            named.iter().any(|text| outcome.stderr.contains(text)),
            "no line {line} in {}",
            outcome.stderr
        );
    }
    assert!(!outcome.output().contains("canary"), "{}", outcome.output());
}

#[test]
fn missing_or_broken_files_are_reported() {
    let setup = Setup::new();
    let outcome = tollgate(["-c".into(), setup.path("absent.yaml")]);
    assert_eq!(outcome.code(), EX_CONFIG, "{}", outcome.output());
    assert!(outcome.stderr.contains("absent.yaml"), "{}", outcome.stderr);
    for text in [
        "",
        "tollgate: [",
        "\t",
        "just text",
        "- a\n- b\n",
        "version: 1\n",
        "tollgate: 5\n",
        "\0",
    ] {
        let path = setup.path("broken.yaml");
        std::fs::write(&path, text).unwrap();
        let outcome = tollgate(["check".as_ref(), "-c".as_ref(), path.as_os_str()]);
        assert_eq!(outcome.code(), EX_CONFIG, "{text:?}: {}", outcome.output());
        assert!(!outcome.stderr.is_empty(), "{text:?}");
        assert!(
            !outcome.output().contains("panicked"),
            "{}",
            outcome.output()
        );
    }
}

#[test]
fn tls_files_are_checked() {
    let yaml = |setup: &Setup| {
        format!(
            "listeners: [{{ address: \"{}\", tls: {{ certificate: cert.pem, key: key.pem }} }}]",
            setup.address()
        )
    };
    let setup = Setup::new();
    let listeners = yaml(&setup);
    let outcome = check_setup(&setup.config(&listeners));
    assert_eq!(outcome.code(), EX_CONFIG);
    assert!(
        outcome.stderr.contains("tls.certificate") && outcome.stderr.contains("tls.key"),
        "{}",
        outcome.stderr
    );
    let setup = Setup::new()
        .file("cert.pem", "rubbish")
        .file("key.pem", "rubbish");
    let listeners = yaml(&setup);
    let outcome = check_setup(&setup.config(&listeners));
    assert_eq!(outcome.code(), EX_CONFIG, "{}", outcome.output());
}

#[test]
fn usage_mistakes_are_64() {
    for arguments in [
        vec!["--no-such-flag"],
        vec!["-c"],
        vec!["no-such-command"],
        vec!["check"],
        vec!["passwd"],
        vec!["passwd", "only-a-file"],
    ] {
        let outcome = tollgate(&arguments);
        assert_eq!(
            outcome.code(),
            EX_USAGE,
            "{arguments:?}: {}",
            outcome.output()
        );
        assert!(!outcome.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_and_version_are_no_mistakes() {
    for flag in ["--help", "--version"] {
        let outcome = tollgate([flag]);
        assert_eq!(outcome.code(), Some(0), "{flag}: {}", outcome.output());
        assert!(
            outcome.stdout.contains("tollgate"),
            "{flag}: {}",
            outcome.stdout
        );
    }
    let help = tollgate(["--help"]).stdout;
    for word in ["-c", "-d", "-u", "-t", "check", "passwd"] {
        assert!(help.contains(word), "no {word} in {help}");
    }
}

#[test]
fn the_help_of_each_command_says_what_it_does() {
    let all = tollgate(["--help"]).stdout;
    for (command, about) in [
        ("check", "Check the configuration and every file"),
        ("explain", "Explain the decision of the policy"),
        ("log", "Show the JSON access log"),
        ("passwd", "Set a user's password"),
        ("quota", "Show what users and networks have used"),
        ("reload", "Reload users, groups and policy"),
        ("script", "Try a script of an operator"),
        ("top", "Show what the running process does"),
    ] {
        let is_listed = |line: &str| {
            let text = line.trim_start().strip_prefix(command);
            text.is_some_and(|text| text.trim_start().starts_with(about))
        };
        assert!(all.lines().any(is_listed), "{command}: {all}");
        let help = tollgate([command, "--help"]).stdout;
        let said = help.lines().nth(1).unwrap_or_default();
        assert!(said.starts_with(about), "{command}: {help}");
    }
}

#[test]
fn demo_credentials_stay_on_loopback() {
    let setup = Setup::new().file("users.htpasswd", sha_line(("username", "password")));
    assert_eq!(check_setup(&setup).code(), Some(0));
    let yaml = format!(
        "listeners: [{{ address: \"0.0.0.0:{}\" }}]",
        setup.address().port()
    );
    let outcome = check_setup(&setup.config(&yaml));
    assert_eq!(outcome.code(), EX_CONFIG, "{}", outcome.output());
    assert!(
        outcome.stderr.contains("tollgate passwd"),
        "{}",
        outcome.stderr
    );
}

fn passwd(setup: &Setup, user: &str, password: &str) -> Outcome {
    let mut command = Command::new(program());
    command
        .arg("passwd")
        .arg(setup.path("new.htpasswd"))
        .arg(user);
    run(&mut command, &format!("{password}\n{password}\n"))
}

#[test]
fn passwd_writes_a_user_who_is_let_in() {
    let setup = Setup::new();
    let outcome = passwd(&setup, "dora", "canary:with:colon");
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    assert!(!outcome.output().contains("canary"), "{}", outcome.output());
    let path = setup.path("new.htpasswd");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("dora:$argon2id$"), "{text}");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0, "not for everybody: {mode:o}");

    let proxy = setup.config("auth: { htpasswd: new.htpasswd }").start();
    let request = |user| format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", credentials(user));
    assert_eq!(
        proxy
            .exchange(request(("dora", "canary:with:colon")))
            .status(),
        200
    );
    assert_eq!(
        proxy
            .exchange(request(("dora", "canary:with:coloN")))
            .status(),
        407
    );
}

#[test]
fn passwd_changes_one_line_and_keeps_the_rest() {
    let others = format!("# kept\n{}", sha_line(ALICE));
    let setup = Setup::new().file("new.htpasswd", &others);
    assert_eq!(passwd(&setup, "dora", "first").code(), Some(0));
    let first = std::fs::read_to_string(setup.path("new.htpasswd")).unwrap();
    assert!(first.starts_with(&others), "{first}");
    assert_eq!(passwd(&setup, "dora", "second").code(), Some(0));
    let second = std::fs::read_to_string(setup.path("new.htpasswd")).unwrap();
    assert!(second.starts_with(&others), "{second}");
    assert_eq!(second.matches("dora:").count(), 1, "{second}");
    assert_ne!(first, second);
    // Nothing is left lying about.
    let names: Vec<_> = std::fs::read_dir(setup.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("htpasswd"))
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn passwd_refuses_names_that_cannot_be() {
    let setup = Setup::new();
    for user in ["", "a:b", "a\nb", "#a"] {
        let outcome = passwd(&setup, user, "password");
        assert_ne!(outcome.code(), Some(0), "{user:?}");
        assert!(!setup.path("new.htpasswd").exists(), "{user:?}");
    }
    let outcome = passwd(&setup, "dora", "");
    assert_ne!(outcome.code(), Some(0), "an empty password");
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let setup = Setup::new();
    let path = setup.write();
    let mut command = Command::new(program());
    command
        .arg("check")
        .arg("-c")
        .arg(path.file_name().unwrap());
    command.current_dir(setup.directory.path());
    assert_eq!(run(&mut command, "").code(), Some(0));
    command.current_dir("/");
    assert_eq!(
        run(&mut command, "").code(),
        EX_CONFIG,
        "no such file there"
    );
    let mut elsewhere = Command::new(program());
    elsewhere.arg("check").arg("-c").arg(&path).current_dir("/");
    assert_eq!(run(&mut elsewhere, "").code(), Some(0));
}
