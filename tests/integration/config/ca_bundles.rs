//! Bundles of authorities, `client_ca` and `ca_file`: every certificate of a file is trusted, or the file is an
//! error.

use std::net::TcpStream;
use std::process::Command;

use crate::support::DEADLINE;
use crate::support::client::Wire;
use crate::support::command::{check, run};
use crate::support::message::ok;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::auth;
use crate::support::tls::{Authority, Identity};

/// Files with the two certificates, as editors, copies and other programs leave them: the name, and the bytes.
fn spellings(one: &str, two: &str) -> Vec<(&'static str, Vec<u8>)> {
    let both = format!("{one}{two}");
    let indented: String = both.lines().map(|line| format!("    {line}\n")).collect();
    vec![
        ("as they are", both.clone().into_bytes()),
        ("byte order mark", format!("\u{feff}{both}").into_bytes()),
        ("CRLF", both.replace('\n', "\r\n").into_bytes()),
        ("CR", both.replace('\n', "\r").into_bytes()),
        ("no final line end", both.trim_end().as_bytes().to_vec()),
        ("joined", format!("{}{two}", one.trim_end()).into_bytes()),
        ("blanks", both.replace('\n', "  \t\n").into_bytes()),
        ("indented", indented.into_bytes()),
        (
            "with text",
            [
                b"# Ours: B\xfccher\nsubject=CN = a\n====\n".as_slice(),
                one.as_bytes(),
                b"\nBag Attributes\n    localKeyID: 01 02\n",
                two.as_bytes(),
                b"end\n",
            ]
            .concat(),
        ),
        (
            "old name",
            both.replace(" CERTIFICATE-", " X509 CERTIFICATE-")
                .into_bytes(),
        ),
    ]
}

/// Files that have lost something, each with the line that is named.
fn damages(one: &str, two: &str) -> Vec<(&'static str, Vec<u8>, usize)> {
    let both = format!("{one}{two}");
    let (length, lines) = (one.len(), one.lines().count());
    let wide = both.encode_utf16().flat_map(u16::to_le_bytes);
    let commented: String = two.lines().map(|line| format!("#{line}\n")).collect();
    let mut nul = both.clone().into_bytes();
    nul.insert(length + 40, 0);
    vec![
        ("UTF-16", [vec![0xff, 0xfe], wide.collect()].concat(), 1),
        ("NUL", nul, lines + 2),
        (
            "first END missing",
            both.replacen("-----END CERTIFICATE-----\n", "", 1)
                .into_bytes(),
            1,
        ),
        (
            "second BEGIN missing",
            format!("{one}{}", two.split_once('\n').unwrap().1).into_bytes(),
            lines + 1,
        ),
        ("cut", both.as_bytes()[..length + 100].to_vec(), lines + 1),
        ("quoted", format!("{one}> {two}").into_bytes(), lines + 1),
        (
            "commented",
            format!("{one}{commented}").into_bytes(),
            lines + 1,
        ),
        (
            "other END",
            both.replacen(
                "-----END CERTIFICATE-----",
                "-----END X509 CERTIFICATE-----",
                1,
            )
            .into_bytes(),
            lines,
        ),
        (
            "four dashes",
            format!("{one}{}", two.replacen("-----BEGIN", "----BEGIN", 1)).into_bytes(),
            lines + 1,
        ),
        (
            "mark in the middle",
            format!("{one}\u{feff}{two}").into_bytes(),
            lines + 1,
        ),
        (
            "revocation list",
            format!("{one}-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n").into_bytes(),
            lines + 1,
        ),
        (
            "key",
            format!("{one}-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n")
                .into_bytes(),
            lines + 1,
        ),
        (
            "unknown kind",
            format!("{one}-----BEGIN SOMETHING-----\nMAA=\n-----END SOMETHING-----\n").into_bytes(),
            lines + 1,
        ),
    ]
}

/// The status of an authenticated request of a client that shows `shown`, or `None` when it does not get in.
fn status(proxy: &Proxy, ours: &Authority, shown: &Identity) -> Option<u16> {
    let socket = TcpStream::connect_timeout(&proxy.secure_address(), DEADLINE).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let session = ours.session(socket, "proxy.test", rustls::ALL_VERSIONS, Some(shown));
    let socket = session.sock.try_clone().unwrap();
    let mut wire = Wire::over(Box::new(session), socket).unwrap();
    wire.send(format!("GET / HTTP/1.1\r\nHost: gate\r\n{}\r\n", auth()))
        .ok()?;
    wire.response("GET").ok().map(|answer| answer.status())
}

#[test]
fn every_authority_of_client_ca_is_trusted() {
    let (ours, one, two) = (Authority::new(), Authority::new(), Authority::new());
    let identity = ours.issue(&["proxy.test"]);
    let (first, second) = (one.issue(&["a"]), two.issue(&["b"]));
    for (what, bundle) in spellings(&one.pem(), &two.pem()) {
        let setup = Setup::new().mutual_tls(&identity, &one);
        let proxy = setup.file("clients.pem", bundle).start();
        for client in [&first, &second] {
            assert_eq!(status(&proxy, &ours, client), Some(200), "{what}");
        }
        assert_eq!(status(&proxy, &ours, &identity), None, "{what}");
    }
}

#[test]
fn a_damaged_client_ca_is_an_error_with_its_line() {
    let (ours, one, two) = (Authority::new(), Authority::new(), Authority::new());
    let identity = ours.issue(&["proxy.test"]);
    for (what, bundle, line) in damages(&one.pem(), &two.pem()) {
        let setup = Setup::new().mutual_tls(&identity, &one);
        let outcome = check(&setup.file("clients.pem", bundle));
        assert_eq!(outcome.code(), Some(78), "{what}: {}", outcome.output());
        let place = format!("clients.pem:{line}: tollgate.listeners[1].tls.client_ca: ");
        assert!(
            outcome.stderr.contains(&place),
            "{what}: {}",
            outcome.stderr
        );
        assert!(outcome.stderr.contains("; "), "{what}: {}", outcome.stderr);
    }
}

/// Pingora reads this file with a reader of its own, so some spellings are refused.
#[test]
fn every_authority_of_ca_file_is_trusted_or_the_file_is_an_error() {
    let (one, two) = (Authority::new(), Authority::new());
    let origins = [&one, &two]
        .map(|authority| Origin::https(authority.issue(&["127.0.0.1"]).server(), |_| ok("in")));
    for (what, bundle) in spellings(&one.pem(), &two.pem()) {
        let setup = Setup::new().file("ca.pem", bundle);
        let ca_file = format!("ca_file: {}", setup.path("ca.pem").display());
        let setup = setup.server(&ca_file);
        let outcome = check(&setup);
        if outcome.code() == Some(78) {
            assert!(
                what != "as they are" && what != "CRLF",
                "{}",
                outcome.stderr
            );
            assert!(
                outcome.stderr.contains("ca.pem:"),
                "{what}: {}",
                outcome.stderr
            );
            // What the message says to type is typed.
            let mut quoted = outcome.stderr.split('`');
            let typed = quoted.find(|part| part.starts_with("tr ")).unwrap();
            let mut shell = Command::new("sh");
            let typed = format!("{typed} && mv NEWFILE ca.pem");
            shell
                .args(["-c", &typed])
                .current_dir(setup.directory.path());
            assert!(run(&mut shell, "").status.success(), "{what}: {typed}");
        }
        let outcome = check(&setup);
        assert_eq!(outcome.code(), Some(0), "{what}: {}", outcome.output());
        let proxy = setup.start();
        for origin in &origins {
            let answer = proxy.fetch(&format!("https://127.0.0.1:{}/", origin.port()));
            assert_eq!(answer.text(), "in", "{what}");
        }
    }
}

#[test]
fn a_damaged_ca_file_is_an_error_with_its_line() {
    let (one, two) = (Authority::new(), Authority::new());
    for (what, bundle, line) in damages(&one.pem(), &two.pem()) {
        let setup = Setup::new().file("ca.pem", bundle);
        let ca_file = format!("ca_file: {}", setup.path("ca.pem").display());
        let outcome = check(&setup.server(&ca_file));
        assert_eq!(outcome.code(), Some(78), "{what}: {}", outcome.output());
        let place = format!("ca.pem:{line}: ca_file: ");
        assert!(
            outcome.stderr.contains(&place),
            "{what}: {}",
            outcome.stderr
        );
    }
}

/// What `openssl req -x509` makes is its own authority, and may be named as one.
#[test]
fn a_client_shows_the_certificate_that_client_ca_names() {
    let ours = Authority::new();
    let setup = Setup::new().mutual_tls(&ours.issue(&["proxy.test"]), &ours);
    let make = |name: &str| {
        let arguments = format!(
            "req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -subj /CN={name} -days 30 -out {name}.pem"
        );
        let mut command = Command::new("openssl");
        command
            .args(arguments.split(' '))
            .current_dir(setup.directory.path());
        assert!(run(&mut command, "").status.success());
        let read = |ending: &str| std::fs::read(setup.path(&format!("{name}{ending}"))).unwrap();
        (
            read(".pem"),
            Identity::from_pem(&read(".pem"), &read(".key")),
        )
    };
    let ((named, client), (_, other)) = (make("client"), make("other"));
    let proxy = setup.file("clients.pem", named).start();
    assert_eq!(status(&proxy, &ours, &client), Some(200));
    assert_eq!(status(&proxy, &ours, &other), None);
}

#[test]
fn authorities_that_have_expired_are_warned_about() {
    let ours = Authority::new();
    let (current, expired) = (Authority::new(), Authority::expired());
    let setup = |bundle: String| {
        let setup = Setup::new().mutual_tls(&ours.issue(&["proxy.test"]), &ours);
        setup.file("clients.pem", bundle)
    };
    let outcome = check(&setup(current.pem() + &expired.pem()));
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    for word in ["clients.pem:", "warning: ", "expired on 2001-", " UTC"] {
        assert!(outcome.stderr.contains(word), "{}", outcome.stderr);
    }
    let outcome = check(&setup(expired.pem()));
    assert_eq!(outcome.code(), Some(78), "{}", outcome.output());
    assert!(
        outcome.stderr.contains("expired on 2001-"),
        "{}",
        outcome.stderr
    );
}

/// What clients may refuse is served, with a warning that says so.
#[test]
fn chains_in_the_wrong_order_are_warned_about() {
    let (ours, other, expired) = (Authority::new(), Authority::new(), Authority::expired());
    let identity = ours.issue(&["proxy.test"]);
    let leaf = &identity.certificate_pem;
    for (chain, word) in [
        (leaf.clone() + &ours.pem(), None),
        (
            leaf.clone() + &other.pem() + &leaf.clone(),
            Some("not the issuer"),
        ),
        (leaf.clone() + &expired.pem(), Some("expired on 2001-")),
    ] {
        let outcome = check(&Setup::new().tls(&identity).file("cert.pem", &chain));
        assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
        let warning = outcome
            .stderr
            .lines()
            .find(|line| line.contains("cert.pem:"));
        match (word, warning) {
            (None, None) => {}
            (Some(word), Some(line)) => assert!(line.contains(word), "{line}"),
            (word, _) => panic!("{word:?}: {}", outcome.stderr),
        }
    }
}
