//! `tollgate log`: the access log for a person, of a real process and of files that are none of one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::command::{Capture, Outcome, program, run, tollgate};
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, connect, request_of};

fn log(arguments: &[&str], input: &str) -> Outcome {
    let mut command = Command::new(program());
    command.arg("log").args(arguments).env_remove("NO_COLOR");
    run(&mut command, input)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_log_of_a_process_is_shown_and_filtered() {
    let proxy = Proxy::plain();
    let origin = Origin::ok("hello");
    let address = origin.address;
    // A record may be written after the answer: each is waited for, so that they are in this order.
    proxy.exchange(request_of(ALICE, "GET", &format!("http://{address}/one")));
    proxy.wait_records(1);
    proxy.exchange(request_of(BOB, "GET", &format!("http://{address}/two")));
    proxy.wait_records(2);
    proxy.exchange(request_of(ALICE, "GET", "http://10.0.0.1/three"));
    proxy.wait_records(3);
    let conf = proxy.path("pingora.yaml");
    let file = proxy.path("access.log");

    for (arguments, expected) in [
        (&[][..], &["/one", "/two", "/three"][..]),
        (&["--user", ALICE.0], &["/one", "/three"]),
        (&["--site", "127.0.0.1"], &["/one", "/two"]),
        (&["--status", "4xx"], &["/three"]),
        (
            &["--status", "200", "--status", "403"],
            &["/one", "/two", "/three"],
        ),
        (&["--errors"], &["/three"]),
        (&["--rule", "special_purpose"], &["/three"]),
        (&["--since", "1h"], &["/one", "/two", "/three"]),
        (
            &["--since", "2000-01-01T00:00:00Z", "--user", "nobody"],
            &[],
        ),
    ] {
        for log_of in [&["-c", text(&conf)][..], &[text(&file)]] {
            let outcome = log(&[log_of, arguments].concat(), "");
            assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
            let lines: Vec<_> = outcome.stdout.lines().collect();
            assert_eq!(
                lines.len(),
                expected.len(),
                "{arguments:?}: {}",
                outcome.output()
            );
            for (line, path) in lines.iter().zip(expected) {
                assert!(line.contains(path), "{arguments:?}: {line}");
            }
        }
    }
    let denied = log(&["--errors", text(&file)], "").stdout;
    for part in [
        " 403 GET ",
        ALICE.0,
        "destination_ip_prohibited [special_purpose:",
    ] {
        assert!(denied.contains(part), "{part}: {denied}");
    }
}

#[test]
fn hashed_names_are_found_with_the_key() {
    let proxy = Setup::new()
        .file("users.key", "a secret of the operator\n")
        .config("log: { users: hashed, users_key: users.key }")
        .start();
    proxy.exchange(request_of(ALICE, "GET", "http://10.0.0.1/one"));
    proxy.exchange(request_of(BOB, "GET", "http://10.0.0.1/two"));
    proxy.wait_records(2);
    let conf = proxy.path("pingora.yaml");
    let log_text = std::fs::read_to_string(proxy.path("access.log")).unwrap();
    let stats = proxy.admin("/stats");
    let metrics = proxy.admin("/metrics");
    for shown in [&log_text, &stats.text(), &metrics.text()] {
        assert!(
            !shown.contains(ALICE.0) && !shown.contains(BOB.0),
            "{shown}"
        );
    }
    let found = log(&["-c", text(&conf), "--user", ALICE.0], "");
    assert_eq!(found.stdout.lines().count(), 1, "{}", found.output());
    assert!(found.stdout.contains("/one"), "{}", found.stdout);
    // Without the key it is any other name.
    let file = proxy.path("access.log");
    let found = log(&[text(&file), "--user", ALICE.0], "");
    assert_eq!((found.code(), &*found.stdout), (Some(0), ""));
    // A user reads its own denials.
    let own = proxy.exchange(request_of(ALICE, "GET", "/.tollgate/denials"));
    assert!(own.text().contains("/one"), "{}", own.text());
}

#[test]
fn what_is_no_record_is_told_and_controls_are_escaped() {
    let record = r#"{"time":"2026-11-30T17:00:00.000Z","event":"request","user":"a\u001b[31m","target":"/\u202e\r"}"#;
    let input = format!("rubbish\n<134>1 - h tollgate 1 access - {record}\n\n{{\"time\":\"torn");
    for color in ["auto", "never"] {
        let outcome = log(&["--color", color, "-"], &input);
        assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
        assert!(
            outcome.stdout.contains(r"a\u001b[31m"),
            "{}",
            outcome.stdout
        );
        assert!(outcome.stdout.contains(r"/\u202e\r"), "{}", outcome.stdout);
        assert!(!outcome.stdout.contains('\u{1b}'), "{}", outcome.stdout);
        assert_eq!(
            outcome.stderr,
            "tollgate: 2 lines are no record of the access log, the first is line 1 of what was read\n"
        );
    }
    let painted = log(&["--color", "always", "-"], &input);
    assert!(painted.stdout.contains("\u{1b}[0m"), "{}", painted.stdout);
    assert!(!painted.stdout.contains("a\u{1b}"), "{}", painted.stdout);
    let nothing = log(&["-"], "127.0.0.1 - - [x] \"GET / HTTP/1.1\" 200 5\n");
    assert!(
        nothing.stderr.contains("`log.format: json`"),
        "{}",
        nothing.stderr
    );
}

#[test]
fn mistakes_have_a_remedy() {
    let setup = Setup::new().config("log: { access: stdout }");
    let conf = setup.write();
    for (arguments, code, words) in [
        (&[][..], 64, "no log; name one"),
        (
            &["-c", text(&conf)],
            64,
            "log.access is stdout: pass what is there on to `tollgate log -`",
        ),
        (&["--status", "9xx", "-"], 64, "--status is not a status"),
        (&["--since", "yesterday", "-"], 64, "--since is not a time"),
        (
            &["/none/access.log"],
            1,
            "/none/access.log: cannot read the log",
        ),
        (&["/"], 1, "/: cannot read the log"),
    ] {
        let outcome = log(arguments, "");
        assert_eq!(
            outcome.code(),
            Some(code),
            "{arguments:?}: {}",
            outcome.output()
        );
        assert!(
            outcome.stderr.contains(words),
            "{arguments:?}: {}",
            outcome.stderr
        );
    }
    assert_eq!(
        tollgate(["log", "--color", "sometimes", "-"]).code(),
        Some(64)
    );
}

/// A reader that goes, such as a pager or `head`, is no error.
#[test]
fn a_reader_that_goes_ends_it_quietly() {
    let record = r#"{"time":"2026-11-30T17:00:00.000Z","event":"request","target":"/"}"#;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    std::fs::write(&path, format!("{record}\n").repeat(100_000)).unwrap();
    let mut child = Command::new(program())
        .args(["log", text(&path)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let errors = Capture::of(child.stderr.take());
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    drop(output);
    let status = eventually("the end", || child.try_wait().unwrap());
    assert_eq!((status.code(), &*errors.text()), (Some(0), ""));
}

#[test]
fn a_log_is_followed_through_rotation() {
    let proxy = Proxy::plain();
    let file = proxy.path("access.log");
    proxy.exchange(request_of(ALICE, "GET", "http://10.0.0.1/first"));
    proxy.wait_records(1);
    let mut child = Command::new(program())
        .args(["log", "--follow", text(&file)])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let shown = Capture::of(child.stdout.take());
    let wait = |path: &str| {
        eventually(path, || shown.text().contains(path).then_some(()));
    };
    wait("/first");
    std::fs::rename(&file, proxy.path("old.log")).unwrap();
    // To the old file, which is read on.
    proxy.exchange(request_of(ALICE, "GET", "http://10.0.0.1/second"));
    wait("/second");
    proxy.signal(Signal::USR1);
    eventually("the next file", || file.exists().then_some(()));
    proxy.exchange(connect("10.0.0.1:443"));
    wait("CONNECT");
    // As `copytruncate` does.
    std::fs::File::create(&file).unwrap();
    let mut cut = std::fs::OpenOptions::new()
        .append(true)
        .open(&file)
        .unwrap();
    writeln!(
        cut,
        r#"{{"time":"2026-11-30T17:00:00.000Z","event":"request","target":"/last"}}"#
    )
    .unwrap();
    wait("/last");
    for path in ["/first", "/second", "CONNECT", "/last"] {
        assert_eq!(
            shown.text().matches(path).count(),
            1,
            "{path}: {}",
            shown.text()
        );
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
