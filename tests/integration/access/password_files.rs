//! Password files: hashes of other kinds, and `tollgate passwd` where a file cannot be replaced.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::support::command::{Outcome, check, is_root, program, run, tollgate};
use crate::support::files::{EX_CONFIG, NOBODY, users};
use crate::support::proxy::Setup;
use crate::support::request::{BOB, sha_line};

#[test]
fn hashes_of_other_kinds_say_how_to_migrate() {
    let path = |setup: &Setup| setup.path("users.htpasswd").display().to_string();
    let bcrypt = "$2y$05$abcdefghijklmnopqrstuu05PhAplxWqDxnJScpSYqKmGxTbks2mG";
    for (hash, named) in [
        ("$1$OWXTA1SZ$ZWOUP/tgk7wxOiTu3H7cJ1", "MD5-crypt ($1$)"),
        ("{SSHA}W6ph5Mm5Pz8GgiULbPgzG37mj9gabcd=", "({SSHA})"),
        (
            "{SHA256}XohImNooBHFR0OVvjcYpJ3NgPQ1qq73WKhHvch0VQtg=",
            "({SHA256})",
        ),
        (
            "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$tnSYvahCwPBHKZUspmcxMfb0.WiB9W.zEaKlOBL35rC",
            "yescrypt",
        ),
        (
            "$7$C6..../....SodiumChloride$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D",
            "scrypt",
        ),
        (
            "$2x$05$abcdefghijklmnopqrstuu05PhAplxWqDxnJScpSYqKmGxTbks2mG",
            "bcrypt $2x$",
        ),
        ("pbkdf2_sha256$29000$salt$hash", "PBKDF2"),
        ("rqXexS6ZhobKA", "DES crypt"),
        ("5f4dcc3b5aa765d61d8327deb882cf99", "MD5"),
    ] {
        let setup = Setup::new().file("users.htpasswd", format!("{}dora:{hash}\n", users()));
        let outcome = check(&setup);
        assert_eq!(outcome.code(), EX_CONFIG, "{hash}: {}", outcome.output());
        let path = path(&setup);
        let line = outcome
            .stderr
            .lines()
            .find(|line| line.starts_with(&format!("{path}:3: ")));
        let line = line.unwrap_or_else(|| panic!("{hash}: {}", outcome.stderr));
        assert!(line.contains(named), "{hash}: {line}");
        assert!(
            line.contains(&format!("`tollgate passwd {path} dora`")),
            "{hash}: {line}"
        );
        assert!(!outcome.output().contains(hash), "{hash}");
    }
    for (line, said) in [
        (
            format!("dora:{bcrypt} # admin"),
            "put a comment on a line of its own",
        ),
        (
            format!("dora:{{CRYPT}}{bcrypt}"),
            "the prefix {CRYPT} before the hash; remove",
        ),
        (
            format!("dora:{}", bcrypt.replace('$', "$$")),
            "write each $ once",
        ),
        (format!("dora:\"{bcrypt}\""), "remove the quotes"),
        (
            "dora:realm:5f4dcc3b5aa765d61d8327deb882cf99".to_owned(),
            "htdigest",
        ),
        (
            "dora:secret word".to_owned(),
            "plain text are not accepted; set a new password",
        ),
        ("dora:".to_owned(), "no password hash; set a new password"),
        (format!("dora :{bcrypt}"), "begins or ends with a space"),
        (format!("do\u{200b}ra:{bcrypt}"), "U+200B"),
    ] {
        let setup = Setup::new().file("users.htpasswd", format!("{}{line}\n", users()));
        let outcome = check(&setup);
        assert_eq!(outcome.code(), EX_CONFIG, "{line}: {}", outcome.output());
        let place = format!("{}:3: ", path(&setup));
        let found = outcome.stderr.lines().find(|line| line.starts_with(&place));
        assert!(
            found.is_some_and(|found| found.contains(said)),
            "{line}: {}",
            outcome.stderr
        );
        assert!(!outcome.output().contains(bcrypt), "{line}");
    }
}

fn passwd(command: &mut Command, file: &Path, password: &str) -> Outcome {
    run(
        command.arg("passwd").arg(file).arg("alice"),
        &format!("{password}\n"),
    )
}

#[test]
fn passwd_says_what_72_bytes_mean() {
    let hash = "$2y$05$abcdefghijklmnopqrstuu05PhAplxWqDxnJScpSYqKmGxTbks2mG";
    let setup = Setup::new().file("users.htpasswd", format!("alice:{hash}\r\n"));
    let file = setup.path("users.htpasswd");
    let outcome = passwd(&mut Command::new(program()), &file, "new");
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    assert!(
        outcome
            .stderr
            .contains("bcrypt, which uses only the first 72 bytes"),
        "{}",
        outcome.stderr
    );
    let outcome = passwd(&mut Command::new(program()), &file, &"x".repeat(73));
    assert!(
        outcome
            .stderr
            .contains("more than 72 bytes; argon2id uses all of them"),
        "{}",
        outcome.stderr
    );
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(
        text.starts_with("alice:$argon2id$") && text.ends_with("\r\n"),
        "{text}"
    );
    let help = tollgate(["passwd", "--help"]);
    assert!(help.output().contains("72 bytes"), "{}", help.output());
}

/// A file that is mounted by itself cannot be replaced (EBUSY), as in a container.
#[test]
fn passwd_writes_a_mounted_file_in_place() {
    let setup = Setup::new().file("elsewhere", format!("# kept\n{}", users()));
    let (file, elsewhere) = (setup.path("mounted"), setup.path("elsewhere"));
    std::fs::write(&file, "").unwrap();
    // The mount is gone with the program.
    let script = "mount --bind \"$1\" \"$2\" || exit 99; exec \"$0\" passwd \"$2\" alice";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]);
    command.arg(program()).arg(&elsewhere).arg(&file);
    let outcome = run(&mut command, "new\n");
    if outcome.code() == Some(99) || outcome.stderr.starts_with("unshare: ") {
        eprintln!("skipped: no mount is permitted here: {}", outcome.output());
        return;
    }
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    let said = "note: the file was written in place because it is mounted by itself";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    let text = std::fs::read_to_string(&elsewhere).unwrap();
    assert!(
        text.starts_with("# kept\nalice:$argon2id$") && text.ends_with(&sha_line(BOB)),
        "{text}"
    );
    let names = std::fs::read_dir(setup.directory.path()).unwrap();
    assert_eq!(
        names.count(),
        3,
        "the two files and the users of every proxy"
    );
}

#[test]
fn passwd_writes_in_place_where_no_file_can_be_made() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    if !is_root("passwd as another user") {
        return;
    }
    let setup = Setup::new().file("users.htpasswd", users());
    let file = setup.path("users.htpasswd");
    let copy = setup.path("tollgate");
    std::fs::hard_link(program(), &copy)
        .or_else(|_| std::fs::copy(program(), &copy).map(|_| ()))
        .unwrap();
    let directory = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(setup.directory.path(), directory).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o660)).unwrap();
    std::os::unix::fs::chown(&file, Some(0), Some(NOBODY)).unwrap();
    let before = std::fs::metadata(&file).unwrap();
    let outcome = passwd(Command::new(&copy).uid(NOBODY).gid(NOBODY), &file, "new");
    assert_eq!(outcome.code(), Some(0), "{}", outcome.output());
    assert!(
        outcome
            .stderr
            .contains("because its directory cannot be written"),
        "{}",
        outcome.stderr
    );
    let after = std::fs::metadata(&file).unwrap();
    assert_eq!(
        (after.ino(), after.uid(), after.gid(), after.mode()),
        (before.ino(), before.uid(), before.gid(), before.mode())
    );
    // Where the file cannot be written either, nothing is changed and the remedy is named.
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let text = std::fs::read(&file).unwrap();
    let outcome = passwd(Command::new(&copy).uid(NOBODY).gid(NOBODY), &file, "newer");
    assert_eq!(outcome.code(), Some(1), "{}", outcome.output());
    assert!(
        outcome
            .stderr
            .contains("permission denied; run it as the owner of the file or as root"),
        "{}",
        outcome.stderr
    );
    assert_eq!(std::fs::read(&file).unwrap(), text);
}
