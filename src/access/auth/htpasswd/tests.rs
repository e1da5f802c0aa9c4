//! Files by the real `htpasswd`, broken files, and what an unknown user costs.

use proptest::prelude::*;

use super::super::hash::tests::verifications;
use super::*;
use crate::http::secret::Password;

/// By `htpasswd -b` with -m, -B -C 5, -s, -2 and -5; every password is `correct:horse`.
const FILE: &str = "\
apr1:$apr1$5PMQlO0y$uNZtHSSyVRf1ujLrUVitU/
bcrypt:$2y$05$zoWy4vmKum/arBTpple.PeO5PnqR/E73KTgPhNohXPYrP47hWRjsS
sha1:{SHA}wFzIss1bpQ9O3Ln/OY0FHEL/qDo=
sha256:$5$AmTySakPsWyf1PkI$AmEyquEXwcR4/WEfGui7G7u1r2I8PCmR8u3rg0GIqf/
sha512:$6$rounds=2000$2fOvyZgYa9dLAnl9$/MIcYearq0ZCZwaeYAenib8SjRlZSFXfFKezbTDOkV1Xh0BXwoU27DvhlQNc1dBbxR7AtDR5MZJCg.DDcPg/W.
";
const PASSWORD: &str = "correct:horse";
const SHA1: &str = "{SHA}wFzIss1bpQ9O3Ln/OY0FHEL/qDo=";

fn credentials(user: &str, password: &str) -> Credentials {
    Credentials {
        user: User::parse(user).unwrap(),
        password: Password::new(password),
    }
}

fn errors(text: &str) -> Vec<String> {
    Htpasswd::parse(text)
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn verifies_users_of_every_format() {
    let users = Htpasswd::parse(FILE).unwrap();
    assert_eq!(users.len(), 5);
    for user in ["apr1", "bcrypt", "sha1", "sha256", "sha512"] {
        assert!(users.contains(user));
        assert!(users.verify(&credentials(user, PASSWORD)), "{user}");
        for wrong in ["", "correct", "horse", "correct:horse:", "CORRECT:HORSE"] {
            assert!(
                !users.verify(&credentials(user, wrong)),
                "{user} with {wrong:?}"
            );
        }
    }
    // The decoy's own password is no way in.
    for user in ["Apr1", "apr1 ", "nobody", "root"] {
        assert!(!users.contains(user));
        assert!(!users.verify(&credentials(user, PASSWORD)), "{user}");
    }
}

#[test]
fn reads_comments_blank_lines_crlf_and_remarks() {
    let text = format!(
        "# users\r\n\r\nann:{SHA1}\r\n   \n  # more: of them\nbob:{SHA1}:Bob, since 2019: yes\n\
         two words: {SHA1} \njürgen:{SHA1}"
    );
    let users = Htpasswd::parse(&text).unwrap();
    for user in ["ann", "bob", "two words", "jürgen"] {
        assert!(users.verify(&credentials(user, PASSWORD)), "{user}");
    }
    assert_eq!(users.len(), 4);
}

#[test]
fn a_file_without_users_admits_no_user() {
    for text in ["", "\n\n", "# nobody\n"] {
        let users = Htpasswd::parse(text).unwrap();
        assert!(users.is_empty());
        assert!(!users.verify(&credentials("ann", "")));
    }
}

#[test]
fn reports_every_bad_line_with_a_remedy() {
    let long = "u".repeat(256);
    let text = format!(
        "# a comment\nann:{SHA1}\ncanary-no-colon\n:{SHA1}\nbob:canary-plain\nann:{SHA1}\n\
         carl:lDhoSInfGbYMI\ndora:\n{long}:{SHA1}\nemil:$2y$05$short\nfred:$6$rounds=999999999$ab$x\nbob:{SHA1}\n"
    );
    let remedy = "`tollgate passwd FILE";
    assert_eq!(
        errors(&text),
        [
            format!(
                "line 3: no colon after the user name; write lines with {remedy} USER`; a comment begins with #"
            ),
            format!(
                "line 4: the user name is empty; remove the line and add the user with {remedy} USER`"
            ),
            format!(
                "line 5: user \"bob\": not a known password hash; passwords in plain text are not accepted; set a new password with {remedy} bob`"
            ),
            "line 6: user \"ann\" is on line 2 already; remove one of the two".to_owned(),
            format!(
                "line 7: user \"carl\": a DES crypt hash or a password in plain text; neither is accepted; a hash cannot be converted, so set a new password with {remedy} carl`"
            ),
            format!(
                "line 8: user \"dora\": there is no password hash; set a new password with {remedy} dora`"
            ),
            format!(
                "line 9: the user name is longer than 255 bytes; remove the line and add the user with {remedy} USER`"
            ),
            format!(
                "line 10: user \"emil\": the bcrypt hash is incomplete or damaged; set a new password with {remedy} emil`"
            ),
            format!(
                "line 11: user \"fred\": the SHA-crypt hash has rounds 999999999; accepted are 1000 to 1000000; set a new password with {remedy} fred`"
            ),
            "line 12: user \"bob\" is on line 5 already; remove one of the two".to_owned(),
        ]
    );
    let shown = format!("{:?}", Htpasswd::parse(&text).unwrap_err());
    assert!(
        !shown.contains("canary") && !shown.contains("$2y$"),
        "{shown}"
    );
}

#[test]
fn a_control_character_in_a_user_name_is_refused_and_not_printed() {
    let text = format!("a\u{1b}[2Jb:{SHA1}");
    let shown = errors(&text).join("\n");
    assert!(
        shown.contains("control character") && !shown.contains('\u{1b}'),
        "{shown:?}"
    );
}

#[test]
fn user_names_that_no_file_can_have() {
    for (line, said) in [
        (format!("alice :{SHA1}"), "begins or ends with a space"),
        (format!("al\u{200b}ice:{SHA1}"), "U+200B"),
        (format!("\u{a0}alice:{SHA1}"), "U+00A0"),
        (format!("\u{feff}alice:{SHA1}"), "U+FEFF"),
        (format!("\"alice\":{SHA1}"), "in quotes"),
        (
            "alice:staff:5f4dcc3b5aa765d61d8327deb882cf99".to_owned(),
            "htdigest",
        ),
        (format!("alice {SHA1}"), "no colon"),
        ("// users".to_owned(), "a comment begins with #"),
        (format!("alice:{SHA1} # admin"), "line of its own"),
        (format!("alice:{SHA1}\u{a0}"), "U+00A0"),
    ] {
        let errors = errors(&format!("# users\n{line}\n"));
        assert_eq!(errors.len(), 1, "{line}: {errors:?}");
        assert!(
            errors[0].starts_with("line 2: ") && errors[0].contains(said),
            "{line}: {errors:?}"
        );
        assert!(
            !errors[0].contains(SHA1) && !errors[0].contains("5f4d"),
            "{errors:?}"
        );
    }
    for name in [
        "o'hara",
        "DOMAIN\\alice",
        "a@b",
        "two words",
        "\"",
        "j\u{fc}rgen",
        "a#b",
        "-x",
    ] {
        assert!(parse_name(name).is_ok(), "{name}");
    }
}

#[test]
fn a_command_to_type_has_the_name_where_a_shell_takes_it() {
    let shown = errors("bob:x y\ncarl smith:x y\n-d:x y\n").join("\n");
    assert!(
        shown.contains("FILE bob`") && shown.matches("FILE USER`").count() == 2,
        "{shown}"
    );
}

/// Same work, hence same time; counted, since a clock would make the test fail
/// on a busy machine.
#[test]
fn an_unknown_user_costs_one_verification_as_a_wrong_password_does() {
    let users = Htpasswd::parse(FILE).unwrap();
    for (user, password) in [
        ("sha512", PASSWORD),
        ("sha512", "wrong"),
        ("nobody", PASSWORD),
        ("nobody", "wrong"),
        ("nobody", ""),
    ] {
        let count = verifications(|| {
            users.verify(&credentials(user, password));
        });
        assert_eq!(count, 1, "{user} with {password:?}");
    }
}

#[test]
fn decoys_spread_over_the_users_and_stay_for_a_name() {
    let users = Htpasswd::parse(FILE).unwrap();
    let again = Htpasswd::parse(FILE).unwrap();
    let mut chosen = [0; 5];
    for n in 0..1000 {
        let name = format!("nobody-{n}");
        let decoy = users.decoy(&name).unwrap();
        // Also across a reload of the same users.
        assert_eq!(again.decoy(&name), Some(decoy));
        chosen[decoy] += 1;
    }
    assert!(
        chosen.iter().all(|count| (100..300).contains(count)),
        "{chosen:?}"
    );
}

#[test]
fn never_shows_a_hash() {
    let shown = format!("{:?}", Htpasswd::parse(FILE).unwrap());
    assert!(!shown.contains('$') && !shown.contains("SHA"), "{shown}");
}

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ \t]{0,2}",
        "[ \t]?# ?[a-z:]{0,6}",
        "[ \t]?[a-e]{1,3}".prop_map(|name| format!("{name}:{SHA1}")),
        "[a-e]{1,3}".prop_map(|name| format!("{name}: {SHA1}\t:a remark")),
        "[a-c #:,'\"\u{a0}\u{200b}]{0,6}".prop_map(|name| format!("{name}:{SHA1}")),
        "[a-c #:]{0,6}",
    ]
}

proptest! {
    #[test]
    fn parse_never_panics(text in "(\\PC|[\\x00-\\x7f]|[:$#\\n\\r]){0,200}") {
        let _ = Htpasswd::parse(&text);
    }

    /// Every line other than a comment is read.
    #[test]
    fn no_line_is_skipped(lines in prop::collection::vec(line(), 0..12)) {
        let text = lines.join("\n");
        let counted = lines.iter().filter(|line| {
            let line = line.trim_ascii();
            !line.is_empty() && !line.starts_with('#')
        });
        let counted = counted.count();
        match Htpasswd::parse(&text) {
            Ok(users) => prop_assert_eq!(users.len(), counted),
            Err(errors) => prop_assert!((1..=2 * counted).contains(&errors.len())),
        }
    }

    /// A user is found by the written name, whatever is around it.
    #[test]
    fn finds_the_users_that_were_written(names in prop::collection::hash_set("[^:#\\s\\pC][^:\\s\\pC]{0,20}", 1..20)) {
        let names: Vec<_> = names.into_iter().filter(|name| parse_name(name).is_ok()).collect();
        let text: String = names.iter().map(|name| format!("{name}:{SHA1}\n")).collect();
        let users = Htpasswd::parse(&text).unwrap();
        prop_assert_eq!(users.len(), names.len());
        prop_assert!(names.iter().all(|name| users.contains(name)));
    }
}
