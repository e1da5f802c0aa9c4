//! The text files that people write, as editors, spreadsheets and other programs leave them: what is
//! read has one meaning, and what is not understood is an error with a line and a remedy.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::command::{check, is_root, program, run, tollgate};
use crate::support::files::{EX_CONFIG, NOBODY, setup, users};
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, Setup};
use crate::support::request::{ALICE, BOB, request_of, sha_line};

/// The encodings and line ends that mean the same as LF and UTF-8.
fn spellings(text: &str) -> Vec<Vec<u8>> {
    let crlf = text.replace('\n', "\r\n");
    vec![
        text.as_bytes().to_vec(),
        text.trim_end().as_bytes().to_vec(),
        crlf.as_bytes().to_vec(),
        crlf.trim_end().as_bytes().to_vec(),
        [b"\xef\xbb\xbf", text.as_bytes()].concat(),
        [b"\xef\xbb\xbf", crlf.trim_end().as_bytes()].concat(),
        format!("# first\n\n{}", text.replace('\n', " \t\n")).into_bytes(),
    ]
}

/// The decisions that every spelling of the files leads to.
fn assert_decides(proxy: &Proxy, origin: &Origin, what: &str) {
    let url = format!("http://{}/", origin.address);
    let status = |user, target: &str| proxy.exchange(request_of(user, "GET", target)).status();
    assert_eq!(status(ALICE, &url), 200, "{what}");
    assert_eq!(status(BOB, &url), 403, "{what}: denied by his group");
    assert_eq!(status(ALICE, "http://listed.test/"), 403, "{what}");
    assert_eq!(status((ALICE.0, "wrong"), &url), 407, "{what}");
}

#[test]
fn byte_order_marks_and_line_ends_change_nothing() {
    let origin = Origin::ok("in");
    let proxy = setup().file("users.htpasswd", users()).start();
    assert_decides(&proxy, &origin, "as written");
    for (name, text) in [
        ("users.htpasswd", users()),
        ("groups.htgroup", "contractors: bob\n".to_owned()),
        ("list.txt", "listed.test\n".to_owned()),
    ] {
        for bytes in spellings(&text) {
            std::fs::write(proxy.path(name), &bytes).unwrap();
            let answer = proxy.reload();
            assert_eq!(answer.status(), 200, "{bytes:?}: {}", answer.text());
            assert_decides(&proxy, &origin, &format!("{name} {bytes:?}"));
        }
        std::fs::write(proxy.path(name), text).unwrap();
    }
}

#[test]
fn what_is_no_text_is_an_error_with_a_remedy() {
    let utf16 =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    for (name, text) in [
        ("users.htpasswd", users()),
        (
            "groups.htgroup",
            "contractors: bob\nothers: alice\n".to_owned(),
        ),
        ("list.txt", "listed.test\nother.test\n".to_owned()),
        ("pingora.yaml", "version: 1\ntollgate:\n".to_owned()),
    ] {
        let (first, rest) = text.split_once('\n').unwrap();
        for (bytes, at, said) in [
            (
                utf16(&format!("\u{feff}{text}")),
                ": ",
                "UTF-16, where UTF-8 is expected; save it as UTF-8, for example with `iconv -f UTF-16 ",
            ),
            (
                utf16(&text),
                ": ",
                "`iconv -f UTF-16LE -t UTF-8 FILE > NEWFILE`",
            ),
            (
                text.replace('\n', "\r").into_bytes(),
                ": ",
                "CR alone, as on old Macs; end each line with LF",
            ),
            (
                format!("{first}\n{}\r{rest}", &rest[..1]).into_bytes(),
                ":2: ",
                "a carriage return (CR) without a line feed",
            ),
            (
                format!("{first}\n\0{rest}").into_bytes(),
                ":2: ",
                "a NUL byte; remove it",
            ),
            (
                [first.as_bytes(), b"\n\xfc\n"].concat(),
                ":2: ",
                "not UTF-8; save the file as UTF-8",
            ),
            (
                format!("{first}\n\u{feff}{rest}").into_bytes(),
                ":2: ",
                "a byte order mark that is not at the start",
            ),
            (
                [&b"\x1f\x8b\x08\0"[..], &[0xff; 40]].concat(),
                ": ",
                "compressed (gzip); unpack it",
            ),
        ] {
            let setup = setup().file("users.htpasswd", users());
            let config = setup.write();
            std::fs::write(setup.path(name), &bytes).unwrap();
            let outcome = tollgate(["check".as_ref(), "-c".as_ref(), config.as_os_str()]);
            let place = format!("{}{at}", setup.path(name).display());
            assert_eq!(
                outcome.code(),
                EX_CONFIG,
                "{name} {bytes:?}: {}",
                outcome.output()
            );
            let line = outcome.stderr.lines().find(|line| line.contains(said));
            assert!(
                line.is_some_and(|line| line.starts_with(&place)),
                "{name} {said}: {}",
                outcome.output()
            );
        }
    }
}

#[test]
fn paths_that_lead_to_no_file_end_at_once() {
    for (key, yaml) in [
        ("auth.htpasswd", "auth: { htpasswd: odd }"),
        ("auth.groups", "auth: { groups: odd }"),
        (
            "egress.deny_domains[0]",
            "egress: { deny_domains: [\"@odd\"] }",
        ),
    ] {
        let setup = || setup().file("users.htpasswd", users()).config(yaml);
        let said = |setup: &Setup, what: &str| {
            let outcome = check(setup);
            assert_eq!(
                outcome.code(),
                EX_CONFIG,
                "{key} {what}: {}",
                outcome.output()
            );
            let lines = outcome.stderr.lines();
            let mut named = lines.filter(|line| line.contains(key) && line.contains("odd"));
            let line = named
                .next()
                .unwrap_or_else(|| panic!("{key} {what}: {}", outcome.stderr));
            assert!(
                line.contains(what) && line.contains("; "),
                "{key} {what}: {line}"
            );
            assert!(!outcome.stderr.contains("os error"), "{}", outcome.stderr);
            line.to_owned()
        };
        let missing = setup();
        let line = said(&missing, "does not exist");
        assert_eq!(
            line.contains("make one with `tollgate passwd "),
            key == "auth.htpasswd",
            "{line}"
        );

        let directory = setup();
        std::fs::create_dir(directory.path("odd")).unwrap();
        let line = said(&directory, "is a directory");
        assert!(!line.contains("make one"), "{line}");

        let pipe = setup();
        let made = Command::new("mkfifo")
            .arg(pipe.path("odd"))
            .status()
            .unwrap();
        assert!(made.success());
        said(&pipe, "is a pipe that no program writes to");

        let link = setup();
        std::os::unix::fs::symlink("nowhere", link.path("odd")).unwrap();
        said(&link, "is a symbolic link to a file that does not exist");

        let socket = setup();
        let _listener = std::os::unix::net::UnixListener::bind(socket.path("odd")).unwrap();
        said(&socket, "is a socket");

        let device = setup();
        std::os::unix::fs::symlink("/dev/zero", device.path("odd")).unwrap();
        said(&device, "is a device");

        let empty = setup().file("odd", "");
        said(&empty, "is empty");
        let null = setup();
        std::os::unix::fs::symlink("/dev/null", null.path("odd")).unwrap();
        said(&null, "is empty");
    }
}

#[test]
fn a_program_can_make_the_configuration() {
    let setup = setup().file("users.htpasswd", users());
    let config = setup.write();
    let absolute = std::fs::read_to_string(&config).unwrap();
    let absolute = ["users.htpasswd", "groups.htgroup", "access.log"]
        .iter()
        .fold(absolute, |text, name| {
            text.replace(name, &setup.path(name).display().to_string())
        });
    let absolute = absolute.replace(
        "@list.txt",
        &format!("@{}", setup.path("list.txt").display()),
    );
    std::fs::write(&config, absolute).unwrap();
    let script = "\"$0\" check -c <(cat \"$1\")";
    let outcome = run(
        Command::new("bash")
            .args(["-c", script])
            .arg(program())
            .arg(&config),
        "",
    );
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
}

#[test]
fn a_file_that_is_closed_to_the_user_is_not_called_missing() {
    if !is_root("the program as another user") {
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let setup = setup().file("users.htpasswd", users());
    let config = setup.write();
    mode(setup.directory.path(), 0o755);
    mode(&config, 0o644);
    let copy = setup.path("tollgate");
    std::fs::hard_link(program(), &copy)
        .or_else(|_| std::fs::copy(program(), &copy).map(|_| ()))
        .unwrap();
    for name in ["users.htpasswd", "groups.htgroup", "list.txt"] {
        for name in ["users.htpasswd", "groups.htgroup", "list.txt"] {
            mode(&setup.path(name), 0o644);
        }
        mode(&setup.path(name), 0o600);
        let mut command = Command::new(&copy);
        command.args(["check".as_ref(), "-c".as_ref(), config.as_os_str()]);
        let outcome = run(command.uid(NOBODY).gid(NOBODY), "");
        let path = setup.path(name).display().to_string();
        let said = format!(
            "{path} cannot be read by user id {NOBODY}: permission denied; run `chgrp {NOBODY} {path} && chmod g+r {path}` as root"
        );
        assert!(
            outcome.stderr.contains(&said),
            "{name}: {}",
            outcome.output()
        );
        assert!(!outcome.stderr.contains("make one"), "{}", outcome.stderr);
        // The command that is shown helps.
        let script = format!("chgrp {NOBODY} {path} && chmod g+r {path}");
        assert!(
            run(Command::new("sh").args(["-c", &script]), "")
                .status
                .success()
        );
        let mut command = Command::new(&copy);
        command.args(["check".as_ref(), "-c".as_ref(), config.as_os_str()]);
        let outcome = run(command.uid(NOBODY).gid(NOBODY), "");
        assert!(
            !outcome.stderr.contains(&path),
            "{name}: {}",
            outcome.output()
        );
    }
}

#[test]
fn groups_are_never_half_understood() {
    for (line, said) in [
        ("contractors: alice,bob", "separate users by spaces"),
        ("contractors: alice;bob", "separate users by spaces"),
        (
            "admins: carol # bob left",
            "put a comment on a line of its own",
        ),
        ("admins: carol \\", "another `group: user user` line"),
        ("admins: @ops", "name the users"),
        ("admins: alice\u{a0}bob", "U+00A0"),
        ("group = alice bob", "no colon"),
        ("ops:x:1000:alice", "a colon in the name of a user"),
    ] {
        let text = format!("# first\n{line}\ncontractors: bob\n");
        let setup = setup()
            .file("users.htpasswd", users())
            .file("groups.htgroup", text);
        let outcome = check(&setup);
        assert_eq!(outcome.code(), EX_CONFIG, "{line}: {}", outcome.output());
        let place = format!("{}:2: ", setup.path("groups.htgroup").display());
        let found = outcome.stderr.lines().find(|line| line.starts_with(&place));
        assert!(
            found.is_some_and(|found| found.contains(said)),
            "{line}: {}",
            outcome.stderr
        );
    }
    // Names that look odd can be written, and a deny by them hits.
    let odd = ("doe, john #1", ALICE.1);
    let setup = setup()
        .file("users.htpasswd", [users(), sha_line(odd)].concat())
        .file(
            "groups.htgroup",
            "contractors: bob \"doe, john #1\" # gone\n",
        );
    assert_eq!(check(&setup).code(), EX_CONFIG);
    let setup = setup.file("groups.htgroup", "contractors: bob \"doe, john #1\"\n");
    let proxy = setup.start();
    assert_eq!(proxy.exchange(request_of(odd, "GET", "/")).status(), 403);
    assert_eq!(proxy.exchange(request_of(ALICE, "GET", "/")).status(), 200);
}

#[test]
fn what_denies_nobody_is_a_warning() {
    let setup = setup().file("users.htpasswd", users()).file(
        "groups.htgroup",
        "contractors:\nothers: alice \"alice bob\" carl\n",
    );
    let outcome = check(&setup);
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    for said in [
        "rule no-contractors never applies: no user is in its groups",
        "2 members without a line in ",
        "such as \"alice bob\"",
    ] {
        assert!(outcome.stderr.contains(said), "{said}: {}", outcome.stderr);
    }
}
