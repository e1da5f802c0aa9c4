//! Each case has a directory of its own; nothing reads the real terminal.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::access::auth::UserError;
use crate::access::auth::{Credentials, Htpasswd, NameError};

const SHA1: &str = "{SHA}wFzIss1bpQ9O3Ln/OY0FHEL/qDo=";

struct Case {
    directory: TempDir,
}

impl Case {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn with(text: impl AsRef<[u8]>) -> Self {
        let case = Self::new();
        fs::write(case.file(), text).unwrap();
        case
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("users.htpasswd")
    }

    fn set(&self, user: &str, password: &str) -> Result<PasswordChange, PasswdError> {
        let done = set_password(&self.file(), user, &Password::new(password))?;
        assert_eq!(done.in_place, None);
        Ok(done.change)
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn verifies(&self, user: &str, password: &str) -> bool {
        Htpasswd::parse(&self.text()).unwrap().verify(&Credentials {
            user: User::parse(user).unwrap(),
            password: Password::new(password),
        })
    }

    /// No temporary file remains.
    fn files(&self) -> usize {
        fs::read_dir(self.directory.path()).unwrap().count()
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The one hash in the text, replaced by `HASH`.
fn without_hash(text: &str) -> String {
    let start = text.find("$argon2id$").unwrap();
    let end = text[start..]
        .find([':', '\r', '\n'])
        .map_or(text.len(), |at| start + at);
    format!("{}HASH{}", &text[..start], &text[end..])
}

#[test]
fn makes_a_file() {
    let case = Case::new();
    assert_eq!(
        case.set("ann", "a:b pässwörd ").unwrap(),
        PasswordChange::Created
    );
    assert_eq!(without_hash(&case.text()), "ann:HASH\n");
    assert_eq!(mode(&case.file()), 0o600);
    assert!(case.verifies("ann", "a:b pässwörd "));
    assert!(!case.verifies("ann", "a:b pässwörd"));
    assert_eq!(case.files(), 1);
}

#[test]
fn changes_one_line_and_keeps_the_rest() {
    let boss = format!("ann:{SHA1}\tthe boss\n");
    let cases = [
        // before, after for user ann, outcome
        ("", "ann:HASH\n".to_owned(), PasswordChange::Added),
        ("# x", "# x\nann:HASH\n".to_owned(), PasswordChange::Added),
        (
            "# users\r\n\r\n bob : {SHA}\r\n\n#ann:x\n  ann.x:y:z",
            "# users\r\n\r\n bob : {SHA}\r\n\n#ann:x\n  ann.x:y:z\r\nann:HASH\r\n".to_owned(),
            PasswordChange::Added,
        ),
        ("ann:x", "ann:HASH".to_owned(), PasswordChange::Replaced),
        (
            "ann:x\nbob:y",
            "ann:HASH\nbob:y".to_owned(),
            PasswordChange::Replaced,
        ),
        (
            "bob:y\r\nann:x\r\n# end \r\n",
            "bob:y\r\nann:HASH\r\n# end \r\n".to_owned(),
            PasswordChange::Replaced,
        ),
        (
            "ann:x:Ann, since 2019\n",
            "ann:HASH:Ann, since 2019\n".to_owned(),
            PasswordChange::Replaced,
        ),
        ("ann:\n", "ann:HASH\n".to_owned(), PasswordChange::Replaced),
        (
            "bob:y\r\n",
            "bob:y\r\nann:HASH\r\n".to_owned(),
            PasswordChange::Added,
        ),
        // A comment that no reader takes becomes a remark; a password in plain text goes.
        (
            "ann:{SSHA}x # admin: yes\r\n",
            "ann:HASH:# admin: yes\r\n".to_owned(),
            PasswordChange::Replaced,
        ),
        (
            boss.as_str(),
            "ann:HASH:the boss\n".to_owned(),
            PasswordChange::Replaced,
        ),
        (
            "ann:my # secret\nbob:y\n",
            "ann:HASH\nbob:y\n".to_owned(),
            PasswordChange::Replaced,
        ),
        (
            "\u{feff}ann:x\n",
            "\u{feff}ann:HASH\n".to_owned(),
            PasswordChange::Replaced,
        ),
        (
            "Ann:x\n",
            "Ann:x\nann:HASH\n".to_owned(),
            PasswordChange::Added,
        ),
        (
            "no colon\n",
            "no colon\nann:HASH\n".to_owned(),
            PasswordChange::Added,
        ),
    ];
    for (before, after, outcome) in cases {
        let case = Case::with(before);
        assert_eq!(case.set("ann", "secret").unwrap(), outcome, "{before:?}");
        assert_eq!(without_hash(&case.text()), after, "{before:?}");
        assert_eq!(case.files(), 1);
    }
}

#[test]
fn replaces_the_password() {
    let case = Case::with(format!("ann:{SHA1}\nbob:{SHA1}\n"));
    assert_eq!(case.set("ann", "first").unwrap(), PasswordChange::Replaced);
    assert_eq!(case.set("ann", "second").unwrap(), PasswordChange::Replaced);
    assert!(case.verifies("ann", "second"));
    assert!(!case.verifies("ann", "first"));
    assert!(case.verifies("bob", "correct:horse"));
}

#[test]
fn keeps_mode_and_owner() {
    for bits in [0o600, 0o640, 0o644, 0o440] {
        let case = Case::with("");
        fs::set_permissions(case.file(), fs::Permissions::from_mode(bits)).unwrap();
        // Only root may give a file away; others check that their own stays.
        let root = rustix::process::geteuid().is_root();
        if root {
            std::os::unix::fs::chown(case.file(), Some(12_345), Some(54_321)).unwrap();
        }
        let before = fs::metadata(case.file()).unwrap();
        case.set("ann", "secret").unwrap();
        let after = fs::metadata(case.file()).unwrap();
        assert_eq!(mode(&case.file()), bits);
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
        assert_ne!(after.ino(), before.ino(), "written in place");
    }
}

#[test]
fn follows_a_link() {
    let case = Case::with(format!("bob:{SHA1}\n"));
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link");
    symlink(case.file(), &link).unwrap();
    let outcome = set_password(&link, "ann", &Password::new("secret")).unwrap();
    assert_eq!(outcome.change, PasswordChange::Added);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(case.verifies("ann", "secret"));

    let dangling = elsewhere.path().join("dangling");
    symlink(elsewhere.path().join("nothing"), &dangling).unwrap();
    let error = set_password(&dangling, "ann", &Password::new("secret")).unwrap_err();
    assert!(matches!(error, PasswdError::DanglingLink(_)), "{error}");
}

#[test]
fn every_name_of_a_file_has_the_new_text() {
    let case = Case::with(format!("bob:{SHA1}\n"));
    let other = case.directory.path().join("other");
    fs::hard_link(case.file(), &other).unwrap();
    let done = set_password(&case.file(), "ann", &Password::new("secret")).unwrap();
    assert_eq!(done.in_place, Some(InPlace::Linked));
    assert_eq!(fs::read_to_string(other).unwrap(), case.text());
    assert!(case.verifies("ann", "secret"));
}

#[test]
fn refuses_and_leaves_the_file() {
    let before = format!("bob:{SHA1}\n");
    let case = Case::with(&before);
    let refused = |user: &str, password: &str| case.set(user, password).unwrap_err();

    let long = "u".repeat(256);
    for (user, expected) in [
        ("", UserError::Empty),
        ("a:b", UserError::Colon),
        ("a\nb", UserError::ControlCharacter),
        (&long, UserError::TooLong),
    ] {
        let expected = NameError::User(expected);
        assert!(matches!(refused(user, "x"), PasswdError::User(error) if error == expected));
    }
    for (user, expected) in [
        ("#ann", NameError::Comment),
        (" ann", NameError::Space),
        ("ann ", NameError::Space),
        ("\"ann\"", NameError::Quoted),
        ("\u{201c}ann\u{201d}", NameError::Quoted),
        ("\u{3000}ann", NameError::Invisible('\u{3000}')),
        ("\u{feff}ann", NameError::Invisible('\u{feff}')),
    ] {
        assert!(
            matches!(refused(user, "x"), PasswdError::User(error) if error == expected),
            "{user:?}"
        );
    }
    assert!(matches!(refused("ann", ""), PasswdError::PasswordEmpty));
    assert!(matches!(
        refused("ann", &"x".repeat(1021)),
        PasswdError::PasswordTooLong
    ));
    assert!(matches!(
        refused("ann", "x\u{7}"),
        PasswdError::PasswordControlCharacter
    ));
    let error = set_password(&case.file(), "ann", &Password::new(*b"\xff")).unwrap_err();
    assert!(matches!(error, PasswdError::PasswordNotUtf8));
    assert_eq!(case.text(), before);
    assert_eq!(case.files(), 1);

    // The longest that a client can send.
    case.set("ann", &"x".repeat(1020)).unwrap();
    assert!(case.verifies("ann", &"x".repeat(1020)));
}

#[test]
fn refuses_files_that_it_cannot_edit() {
    let case = Case::with("ann:x\nbob:y\nann:z\n");
    let error = case.set("ann", "secret").unwrap_err();
    assert!(
        matches!(
            error,
            PasswdError::Duplicate {
                first: 1,
                second: 3,
                ..
            }
        ),
        "{error}"
    );

    for (bytes, said) in [
        (
            &b"bob:y\nann:\xff\n"[..],
            ":2: not UTF-8; save the file as UTF-8",
        ),
        (b"bob:y\nann:x\0\n", ":2: a NUL byte; "),
        (b"bob:y\ra:x\nc:y\n", ":1: a carriage return"),
        (b"\xff\xfea\0:\0", ": the file is UTF-16"),
    ] {
        let case = Case::with(bytes);
        let error = case.set("ann", "secret").unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert_eq!(fs::read(case.file()).unwrap(), bytes);
    }

    let case = Case::new();
    fs::create_dir(case.file()).unwrap();
    assert!(matches!(
        case.set("ann", "secret"),
        Err(PasswdError::NotAFile(_))
    ));
    let device = set_password(Path::new("/dev/null"), "ann", &Password::new("secret"));
    assert!(matches!(device, Err(PasswdError::NotAFile(_))));

    let nothing = set_password(Path::new(""), "ann", &Password::new("secret"));
    assert!(matches!(nothing, Err(PasswdError::NoFile)));

    let case = Case::new();
    let nowhere = case.directory.path().join("no/such/directory/file");
    let error = set_password(&nowhere, "ann", &Password::new("secret")).unwrap_err();
    assert!(matches!(error, PasswdError::Io { .. }), "{error}");
    assert!(error.to_string().contains("no/such/directory"), "{error}");
}

#[test]
fn notes_about_72_bytes() {
    let notes = |case: &Case, password: &str| {
        let done = set_password(&case.file(), "ann", &Password::new(password)).unwrap();
        done.notes().collect::<Vec<_>>().join("\n")
    };
    let case = Case::with("ann:$2y$05$x\n");
    assert!(
        notes(&case, "secret").starts_with("the old hash was bcrypt, which uses only the first 72")
    );
    assert_eq!(notes(&case, &"x".repeat(72)), "");
    assert!(
        notes(&case, &"x".repeat(73)).contains("more than 72 bytes; argon2id uses all of them")
    );
}

/// Also without a file: the second run finds the file of the first.
#[test]
fn runs_at_the_same_time_lose_nothing() {
    let case = Case::new();
    std::thread::scope(|scope| {
        for n in 0..8 {
            let case = &case;
            scope.spawn(move || case.set(&format!("user{n}"), "secret").unwrap());
        }
    });
    let users = Htpasswd::parse(&case.text()).unwrap();
    assert_eq!(users.len(), 8);
    assert_eq!(case.files(), 1);
}

#[test]
fn reads_one_line() {
    let read = |input: &[u8]| read_password_from(input).map(|secret| secret.expose().to_vec());
    let max = "x".repeat(MAX_CREDENTIALS_LEN);
    for (input, password) in [
        ("secret", "secret"),
        ("secret\n", "secret"),
        ("secret\r\n", "secret"),
        (" secret \nnext\n", " secret "),
        ("a\rb\n", "a\rb"),
        (&format!("{max}\r\n"), &max),
    ] {
        assert_eq!(
            read(input.as_bytes()).unwrap(),
            password.as_bytes(),
            "{input:?}"
        );
    }
    for input in ["", "\n", "\r\n", "\nsecret\n"] {
        assert!(
            matches!(read(input.as_bytes()), Err(PasswdError::PasswordEmpty)),
            "{input:?}"
        );
    }
    // The byte order mark of PowerShell.
    for input in [
        &b"\xef\xbb\xbfsecret\r\n"[..],
        b"\xff\xfes\0e\0c\0\r\0\n\0",
        b"\xfe\xff\0s\0e\0c",
    ] {
        assert!(
            matches!(read(input), Err(PasswdError::PasswordMarked)),
            "{input:?}"
        );
    }
    let endless = io::BufReader::new(io::repeat(b'x'));
    assert!(matches!(
        read_password_from(endless),
        Err(PasswdError::PasswordTooLong)
    ));
    let too_long = format!("{max}x\n");
    assert!(matches!(
        read(too_long.as_bytes()),
        Err(PasswdError::PasswordTooLong)
    ));
}

#[test]
fn prompts_twice_on_a_terminal() {
    let ask = |answers: &[&'static str]| {
        let mut answers = answers.iter();
        ask_twice(|_| {
            answers
                .next()
                .map(ToString::to_string)
                .ok_or(io::ErrorKind::UnexpectedEof.into())
        })
    };
    assert_eq!(ask(&["secret", "secret"]).unwrap().expose(), b"secret");
    assert!(matches!(
        ask(&["secret", "Secret"]),
        Err(PasswdError::PasswordMismatch)
    ));
    assert!(matches!(
        ask(&["secret", ""]),
        Err(PasswdError::PasswordMismatch)
    ));
    assert!(matches!(ask(&[""]), Err(PasswdError::PasswordEmpty)));
    assert!(matches!(ask(&["secret"]), Err(PasswdError::Read(_))));
}

#[test]
fn no_error_shows_the_password_or_a_hash() {
    let case = Case::with("ann:canary-hash\nann:canary-hash\n");
    let secret = Password::new("canary-7f3a");
    let errors = [
        set_password(&case.file(), "ann", &secret).unwrap_err(),
        set_password(Path::new("/dev/null"), "ann", &secret).unwrap_err(),
        set_password(&case.file(), "ann", &Password::new("canary\u{7}")).unwrap_err(),
        set_password(&case.file(), "ann", &Password::new("canary".repeat(1000))).unwrap_err(),
        read_password_from("canary".repeat(1000).as_bytes()).unwrap_err(),
        ask_twice({
            let mut answers = ["canary-1", "canary-2"].into_iter();
            move |_| Ok(answers.next().unwrap_or_default().to_owned())
        })
        .unwrap_err(),
    ];
    for error in errors {
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("canary"), "{shown}");
    }
}
