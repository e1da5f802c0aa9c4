//! `tollgate top` outside of a terminal: `--once`, TLS, and each end with its exit code.

use std::process::Command;

use serde_json::Value;

use crate::support::command::{program, run, tollgate};
use crate::support::origin::Origin;
use crate::support::proxy::Setup;
use crate::support::request::{ALICE, fetch};
use crate::support::tls::Authority;
use crate::support::top::{as_alice, assert_restored, has_tmux, in_shell, once_json, with_users};

#[test]
fn once_is_what_the_api_says() {
    let proxy = with_users().start();
    let echo = Origin::echo();
    let _tunnel = proxy.tunnel(echo.address);
    assert_eq!(proxy.exchange(fetch("http://ads.example/")).status(), 403);
    let all = once_json(&proxy);
    let members: Vec<&String> = all.as_object().unwrap().keys().collect();
    assert_eq!(
        members,
        [
            "denials",
            "limits",
            "policy",
            "quotas",
            "requests",
            "sites",
            "status",
            "tunnels",
            "upstreams",
            "users"
        ]
    );
    assert_eq!(all["status"]["pid"], proxy.id().as_raw_nonzero().get());
    assert_eq!(
        all["tunnels"]["tunnels"][0]["target"],
        echo.address.to_string()
    );
    assert_eq!(all["denials"]["denials"][0]["rule"], "no-ads");
    let (conf, password) = (proxy.path("pingora.yaml"), proxy.path("password"));
    let (conf, password) = (conf.to_str().unwrap(), password.to_str().unwrap());
    let arguments = [
        "top",
        "-c",
        conf,
        "--user",
        "alice",
        "--password-file",
        password,
        "--once",
    ];
    let tables = tollgate(arguments);
    assert_eq!(tables.code(), Some(0), "{}", tables.output());
    for part in [
        "\ntunnels: 1\n",
        "\nrules: 2\n",
        "\nquotas: 0\n",
        "no-ads",
        &echo.address.to_string(),
    ] {
        assert!(tables.stdout.contains(part), "{part}\n{}", tables.stdout);
    }
}

#[test]
fn what_cannot_be_shown() {
    let proxy = with_users().file("wrong", "not the password").start();
    let path = |name: &str| proxy.path(name).to_str().unwrap().to_owned();
    let conf = path("pingora.yaml");
    let top = |arguments: &[&str]| {
        let outcome = tollgate(std::iter::once("top").chain(arguments.iter().copied()));
        (outcome.code(), outcome.output())
    };
    let url = format!("http://{}", proxy.admin_address());
    let absent = format!("http://127.0.0.1:{}", Setup::new().address().port());
    let no_service = Origin::ok("no JSON");
    let other = format!("http://{}", no_service.address);
    for (arguments, code, message) in [
        (&["-c", &conf, "--once"][..], 1, "name a user with --user"),
        (
            &[
                "-c",
                &conf,
                "--user",
                "alice",
                "--password-file",
                &path("wrong"),
                "--once",
            ],
            1,
            "the credentials are wrong",
        ),
        (
            &["--url", &absent, "--once"],
            1,
            "cannot be reached: connection refused",
        ),
        (
            &["--url", &other, "--once"],
            1,
            "is not that of this version",
        ),
        (&["--once"], 64, "with -c, or its admin service with --url"),
        (
            &["--url", "ops.example", "--once"],
            64,
            "is no URL of an admin service",
        ),
        (&["--url", &format!("{url}/x"), "--once"], 64, "has a path"),
        (
            &[
                "--url",
                "http://ops.example:1",
                "--user",
                "a",
                "--password-file",
                &path("password"),
                "--once",
            ],
            64,
            "in plain text",
        ),
        (
            &["--url", &url, "--user", "a:b", "--once"],
            64,
            "a user has no colon",
        ),
        (&["--url", &url, "--json"], 64, "--once"),
        (&["-c", &path("nothing.yaml"), "--once"], 78, "nothing.yaml"),
        (
            &[
                "--url",
                "https://127.0.0.1:1",
                "--ca",
                &path("nothing.pem"),
                "--once",
            ],
            78,
            "nothing.pem",
        ),
        (
            &[
                "--url",
                &url,
                "--user",
                "alice",
                "--password-file",
                &path("nothing"),
                "--once",
            ],
            78,
            "nothing",
        ),
        // Its output is no terminal.
        (
            &[
                "-c",
                &conf,
                "--user",
                "alice",
                "--password-file",
                &path("password"),
            ],
            64,
            "no terminal; --once prints one snapshot",
        ),
    ] {
        let (found, output) = top(arguments);
        assert_eq!(found, Some(code), "{arguments:?}\n{output}");
        assert!(output.contains(message), "{arguments:?}\n{output}");
        assert!(!output.contains(ALICE.1), "{output}");
    }
    // The password by standard input.
    let mut command = Command::new(program());
    command.args(["top", "-c", &conf, "--user", "alice", "--once", "--json"]);
    let outcome = run(&mut command, &format!("{}\n", ALICE.1));
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    if !has_tmux() {
        return;
    }
    let directory = proxy.setup.directory.path();
    let tmux = in_shell(
        directory,
        (80, 24),
        &format!("TERM=dumb {}", as_alice(&proxy)),
    );
    tmux.wait(&["TERM=dumb", "; --once prints one"]);
    assert_restored(&tmux, directory, 64);
}

#[test]
fn services_with_tls() {
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1", "ops.example"]);
    let client = authority.issue(&["operator"]);
    let setup = Setup::new();
    let address = setup.admin_address();
    let admin = format!(
        "admin: {{ address: \"{address}\", tls: {{ certificate: cert.pem, key: key.pem, client_ca: ca.pem }} }}"
    );
    let proxy = setup
        .file("ca.pem", authority.pem())
        .file("cert.pem", &identity.certificate_pem)
        .file("key.pem", &identity.key_pem)
        .file("client.pem", &client.certificate_pem)
        .file("client.key", &client.key_pem)
        .file("other.pem", Authority::new().pem())
        .config(&admin)
        .start();
    let path = |name: &str| proxy.path(name).to_str().unwrap().to_owned();
    let (ca, other, cert, key) = (
        path("ca.pem"),
        path("other.pem"),
        path("client.pem"),
        path("client.key"),
    );
    let (conf, url) = (path("pingora.yaml"), format!("https://{address}"));
    for (arguments, code, message) in [
        (
            &["-c", &conf, "--ca", &ca, "--cert", &cert, "--key", &key][..],
            0,
            "\"version\"",
        ),
        (
            &["--url", &url, "--ca", &ca, "--cert", &cert, "--key", &key],
            0,
            "\"version\"",
        ),
        (
            &["--url", &url, "--ca", &ca],
            1,
            "asks its clients for a certificate",
        ),
        (
            &[
                "--url", &url, "--ca", &other, "--cert", &cert, "--key", &key,
            ],
            1,
            "invalid peer certificate",
        ),
        (
            &["--url", &url, "--ca", &ca, "--cert", &cert, "--key", &ca],
            78,
            "ca.pem",
        ),
        (&["--url", &url, "--ca", &ca, "--cert", &cert], 64, "--key"),
        (
            &["--url", &format!("http://{address}")],
            1,
            "the admin service",
        ),
    ] {
        let all = ["top"].iter().chain(arguments).chain(&["--once", "--json"]);
        let outcome = tollgate(all);
        assert_eq!(
            outcome.code(),
            Some(code),
            "{arguments:?}\n{}",
            outcome.output()
        );
        assert!(
            outcome.output().contains(message),
            "{arguments:?}\n{}",
            outcome.output()
        );
    }
}

#[test]
fn a_store_of_balances_that_fails_is_told() {
    let origin = Origin::http(|request| {
        let is_of_quotas = request.head.target().starts_with("/api/v1/quotas?");
        let (status, body) = match is_of_quotas {
            true => (
                "503 Service Unavailable",
                r#"{"error":"store_failed","message":"the store does not work: it is gone"}"#,
            ),
            false => ("200 OK", r#"{"version":"1.2.3"}"#),
        };
        let length = body.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    });
    let url = format!("http://{}", origin.address);
    let json = tollgate(["top", "--url", &url, "--once", "--json"]);
    assert_eq!(json.code(), Some(0), "{}", json.output());
    let all: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(all["quotas"]["error"], "store_failed");
    assert_eq!(all["status"]["version"], "1.2.3");
    let tables = tollgate(["top", "--url", &url, "--once"]);
    assert_eq!(tables.code(), Some(0), "{}", tables.output());
    let told = "\nquotas: the store does not work: it is gone\n";
    assert!(tables.stdout.contains(told), "{}", tables.stdout);
}

#[test]
fn a_hostile_service_moves_no_cursor() {
    let hostile = "\\u001b[2J\\u009b31m\\u202e\\u001b]0;title\\u0007";
    let origin = Origin::http(move |_| {
        let body = format!(
            "{{\"version\":\"{hostile}\",\"total\":1,\"tunnels\":[{{\"id\":\"1\",\"user\":\"{hostile}\",\"target\":\"{hostile}\"}}],\
             \"sites\":[{{\"site\":\"{hostile}\"}}],\"message\":\"{hostile}\"}}"
        );
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    });
    let url = format!("http://{}", origin.address);
    for more in [&["--once"][..], &["--once", "--json"]] {
        let all = ["top", "--url", &url]
            .into_iter()
            .chain(more.iter().copied());
        let outcome = tollgate(all);
        assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
        let is_plain = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
        assert!(
            outcome.output().chars().all(is_plain),
            "{:?}",
            outcome.output()
        );
        assert!(outcome.stdout.contains("[2J"), "{:?}", outcome.stdout);
    }
}
