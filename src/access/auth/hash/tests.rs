//! Vectors were made by `htpasswd` of Apache 2.4, `openssl passwd` of OpenSSL 3
//! and the reference implementation of argon2, not by this program.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;

thread_local! {
    static VERIFICATIONS: Cell<usize> = const { Cell::new(0) };
}

pub(crate) fn on_verification() {
    VERIFICATIONS.set(VERIFICATIONS.get() + 1);
}

/// How many hashes `action` verified on this thread.
pub(crate) fn verifications(action: impl FnOnce()) -> usize {
    let before = VERIFICATIONS.get();
    action();
    VERIFICATIONS.get() - before
}

const PLAIN: &str = "correct:horse";
const UTF8: &str = "pässwörd ☃";

/// (password, hash)
const VECTORS: &[(&str, &str)] = &[
    // htpasswd -m, -B, -s, -2, -5
    (PLAIN, "$apr1$5PMQlO0y$uNZtHSSyVRf1ujLrUVitU/"),
    (UTF8, "$apr1$80w3b02L$E96vt3I2n0ARKO/frnnCL1"),
    ("x", "$apr1$./WRFGCM$ALDNi7suT2L2y/Zv6Y9hZ1"),
    (
        PLAIN,
        "$2y$05$zoWy4vmKum/arBTpple.PeO5PnqR/E73KTgPhNohXPYrP47hWRjsS",
    ),
    (
        UTF8,
        "$2y$05$vjqQNpp2MQFpJZIYok2wpumcDdz/lriSf0z0./cH7qtMFnMc54nqW",
    ),
    (PLAIN, "{SHA}wFzIss1bpQ9O3Ln/OY0FHEL/qDo="),
    (UTF8, "{SHA}re6L5VY4rugCnM1UaRmskpVI8UY="),
    (
        PLAIN,
        "$5$AmTySakPsWyf1PkI$AmEyquEXwcR4/WEfGui7G7u1r2I8PCmR8u3rg0GIqf/",
    ),
    (
        PLAIN,
        "$6$rounds=2000$2fOvyZgYa9dLAnl9$/MIcYearq0ZCZwaeYAenib8SjRlZSFXfFKezbTDOkV1Xh0BXwoU27DvhlQNc1dBbxR7AtDR5MZJCg.DDcPg/W.",
    ),
    // openssl passwd -apr1, -5, -6
    (PLAIN, "$apr1$a/.Z$eYXZwe66OliRlo.35Z.VB."),
    (PLAIN, "$apr1$$5L62b.MCmTYqVw.MCy9jf1"),
    (
        PLAIN,
        "$5$saltSALT$nOYUAZZ8qDkLqFgaGz9ymCFuooVAL8MsDpR.JXbX1G1",
    ),
    (
        UTF8,
        "$5$saltSALT$mMs6CRX/R3WaEm8IYqA0ZgHFKtDC7o.LyurTSfyv7r/",
    ),
    (
        PLAIN,
        "$5$rounds=12345$ab$nuOgRblWF37GC9L6PPGoeoLfxEYc0dt20psfsphjmL4",
    ),
    (
        UTF8,
        "$6$0123456789abcdef$4wBquCFdcKh71O8oyHlAI1B/kJHYA.GnDivbB1.uFHv.8LY3J2Uhr0leXUJ8cjiKWnEqHBQ/i7ZaMYnbnIV7m1",
    ),
    (
        PLAIN,
        "$6$rounds=1000$ab$e.o08cyhembSF8Fpq3Ft/3molXeiuT2mcUKZWHao4uAbZTZkeCCFE8/HNv/u2TpLN5P6Jf6i5E6ec9HozADEI.",
    ),
    // argon2: 2id, i with two lanes, d, i of version 1.0 with and without `v=`
    (
        PLAIN,
        "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$f90WV6WdFDcU/vPx7IfwMyXR4zrhyiEkmxKVar6wAMM",
    ),
    (
        UTF8,
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$sSyuMXpMQ+13ECYA/fLrl+EGR0QPVLbF89KC+5/fbuU",
    ),
    (
        PLAIN,
        "$argon2i$v=19$m=64,t=1,p=2$c29tZXNhbHRzb21lc2FsdA$lz7t0AByCIiMxyVccmu2KTdondF80R8+ZQdqcZp2s2M",
    ),
    (
        PLAIN,
        "$argon2d$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$A+czpMUbuvnM3hErwbJLSMmooN1O3F/KK2KoGu3sO8U",
    ),
    (
        PLAIN,
        "$argon2i$v=16$m=64,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$0BRud4Mrn4wx7SKYfJR+zo5+yYv5h+zU5qwuRIvcGwQ",
    ),
    (
        PLAIN,
        "$argon2i$m=64,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$0BRud4Mrn4wx7SKYfJR+zo5+yYv5h+zU5qwuRIvcGwQ",
    ),
];

fn hash(text: &str) -> PasswordHash {
    PasswordHash::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn verifies_hashes_of_other_programs() {
    for (password, text) in VECTORS {
        let hash = hash(text);
        assert!(hash.verify(password.as_bytes()), "{text}");
        for wrong in [
            "",
            "Correct:horse",
            "correct:horse ",
            "correct",
            "correct:horse\0",
            text,
        ] {
            assert!(!hash.verify(wrong.as_bytes()), "{text} took {wrong:?}");
        }
    }
}

/// Longer than a block of each digest, and than bcrypt looks at.
#[test]
fn verifies_long_passwords() {
    let hundred = "a".repeat(100);
    for text in [
        "$apr1$a/.Z$flaarWDkBLa.8YYmxMDg61",
        "$5$saltSALT$Vo0M6c7WROW/m3SOA7.5NOZpB5jAlxvXwIRatGnBtL2",
        "$6$0123456789abcdef$tGaTckP72q7jpF52bMmzwGpchsg55T/p77YUV80zNoRM/7d5eq5NiZJA1xo.7xLIcQ9oCdiE2XE1z1QfF5CNt1",
        "$2y$05$ZmpXv8UU1LyiaXpKcq.gnOsOiCYYu0hTk0JGttmQul.LpVuCdhF1W",
        "{SHA}f5AAJXpJGNcHJlXqRoVAzcvULgw=",
    ] {
        assert!(hash(text).verify(hundred.as_bytes()), "{text}");
        assert!(!hash(text).verify(&hundred.as_bytes()[..71]), "{text}");
    }
}

#[test]
fn bcrypt_prefixes_are_one_function() {
    let rest = "$05$zoWy4vmKum/arBTpple.PeO5PnqR/E73KTgPhNohXPYrP47hWRjsS";
    for prefix in ["$2a", "$2b", "$2y"] {
        assert!(hash(&format!("{prefix}{rest}")).verify(PLAIN.as_bytes()));
    }
}

#[test]
fn a_new_hash_verifies_and_has_the_recommended_cost() {
    let text = PasswordHash::argon2id(&Password::new(PLAIN)).unwrap();
    assert!(
        text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
        "{text}"
    );
    assert!(hash(&text).verify(PLAIN.as_bytes()));
    assert!(!hash(&text).verify(UTF8.as_bytes()));
    let other = PasswordHash::argon2id(&Password::new(PLAIN)).unwrap();
    assert_ne!(text, other, "no salt");
}

#[test]
fn refuses_with_the_reason() {
    use PasswordHashError::{DesCrypt, Malformed, Missing, OutOfBounds, Unknown, Unsupported};

    let bounds = |format, parameter, value, min, max| OutOfBounds {
        format,
        parameter,
        value,
        min,
        max,
    };
    let sha6 =
        "e.o08cyhembSF8Fpq3Ft/3molXeiuT2mcUKZWHao4uAbZTZkeCCFE8/HNv/u2TpLN5P6Jf6i5E6ec9HozADEI.";
    let argon = |head: &str| {
        format!("{head}$c29tZXNhbHRzb21lc2FsdA$f90WV6WdFDcU/vPx7IfwMyXR4zrhyiEkmxKVar6wAMM")
    };
    let cases: Vec<(String, PasswordHashError)> = vec![
        (String::new(), Missing),
        ("secret".into(), Unknown),
        ("$99$abc".into(), Unknown),
        ("lDhoSInfGbYMI".into(), DesCrypt),
        (
            "$1$OWXTA1SZ$ZWOUP/tgk7wxOiTu3H7cJ1".into(),
            Unsupported("MD5-crypt ($1$)"),
        ),
        ("$y$j9T$abc$def".into(), Unsupported("yescrypt ($y$)")),
        ("{SSHA}abc".into(), Unsupported("salted SHA-1 ({SSHA})")),
        (
            "{ssha512}abc".into(),
            Unsupported("salted SHA-2 ({SSHA512})"),
        ),
        ("{PLAIN}abc".into(), Unsupported("plain text ({PLAIN})")),
        (
            "$2x$05$zoWy4vmKum/arBTpple.PeO5PnqR/E73KTgPhNohXPYrP47hWRjsS".into(),
            Unsupported("bcrypt $2x$"),
        ),
        (
            "$2y$05$zoWy4vmKum/arBTpple.PeO5PnqR/E73KTgPhNohXPYrP47hWRjs".into(),
            Malformed("bcrypt"),
        ),
        (
            "$2$05$zoWy4vmKum/arBTpple.PeO5PnqR/E73KTgPhNohXPYrP47hWRjsSx".into(),
            Malformed("bcrypt"),
        ),
        (format!("$2y$05${}", "é".repeat(26)), Malformed("bcrypt")),
        (
            "$2y$17$zoWy4vmKum/arBTpple.PeO5PnqR/E73KTgPhNohXPYrP47hWRjsS".into(),
            bounds("bcrypt", "cost", 17, 4, 16),
        ),
        (
            "$2y$03$zoWy4vmKum/arBTpple.PeO5PnqR/E73KTgPhNohXPYrP47hWRjsS".into(),
            bounds("bcrypt", "cost", 3, 4, 16),
        ),
        (
            "{SHA}wFzIss1bpQ9O3Ln/OY0FHEL/qDo".into(),
            Malformed("SHA-1"),
        ),
        ("{SHA}wFzIss1bpQ9O3Ln/OY0FHEL/".into(), Malformed("SHA-1")),
        ("{SHA}".into(), Malformed("SHA-1")),
        ("$apr1$".into(), Malformed("apr1")),
        (
            "$apr1$5PMQlO0y$uNZtHSSyVRf1ujLrUVitU".into(),
            Malformed("apr1"),
        ),
        (
            "$apr1$5PMQlO0y$uNZtHSSyVRf1ujLrUVitU9".into(),
            Malformed("apr1"),
        ),
        (
            "$apr1$5PMQlO0yy$uNZtHSSyVRf1ujLrUVitU/".into(),
            Malformed("apr1"),
        ),
        (
            "$apr1$5PMQ!O0y$uNZtHSSyVRf1ujLrUVitU/".into(),
            Malformed("apr1"),
        ),
        ("$6$ab".into(), Malformed("SHA-crypt")),
        (format!("$6$${sha6}"), Malformed("SHA-crypt")),
        (format!("$5$ab${sha6}"), Malformed("SHA-crypt")),
        (format!("$6$ab${}2", &sha6[..85]), Malformed("SHA-crypt")),
        (format!("$5$ab${}E", &sha6[..42]), Malformed("SHA-crypt")),
        (format!("$6$ab${sha6}$"), Malformed("SHA-crypt")),
        (
            format!("$6$abcdefghijklmnopq${sha6}"),
            Malformed("SHA-crypt"),
        ),
        (format!("$6$rounds=$ab${sha6}"), Malformed("SHA-crypt")),
        (format!("$6$rounds=+5000$ab${sha6}"), Malformed("SHA-crypt")),
        (format!("$6$rounds=05000$ab${sha6}"), Malformed("SHA-crypt")),
        (
            format!("$6$rounds=999$ab${sha6}"),
            bounds("SHA-crypt", "rounds", 999, 1000, 1_000_000),
        ),
        (
            format!("$6$rounds=999999999$ab${sha6}"),
            bounds("SHA-crypt", "rounds", 999_999_999, 1000, 1_000_000),
        ),
        (
            format!("$6$rounds=99999999999999999999$ab${sha6}"),
            bounds("SHA-crypt", "rounds", u64::MAX, 1000, 1_000_000),
        ),
        ("$argon2id$".into(), Malformed("argon2")),
        (argon("$argon2id$v=19"), Malformed("argon2")),
        (argon("$argon2id$v=19$m=256,t=2"), Malformed("argon2")),
        (
            argon("$argon2id$v=19$m=256,t=2,p=1,keyid=Zm9v"),
            Malformed("argon2"),
        ),
        (argon("$argon2id$v=18$m=256,t=2,p=1"), Malformed("argon2")),
        (argon("$argon2xx$v=19$m=256,t=2,p=1"), Malformed("argon2")),
        (argon("$argon2id$v=19$m=16,t=2,p=4"), Malformed("argon2")),
        (
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHRzb21lc2FsdA".into(),
            Malformed("argon2"),
        ),
        (
            argon("$argon2id$v=19$m=262145,t=2,p=1"),
            bounds("argon2", "memory in KiB (m)", 262_145, 8, 262_144),
        ),
        (
            argon("$argon2id$v=19$m=256,t=17,p=1"),
            bounds("argon2", "passes (t)", 17, 1, 16),
        ),
        (
            argon("$argon2id$v=19$m=256,t=0,p=1"),
            bounds("argon2", "passes (t)", 0, 1, 16),
        ),
        (
            argon("$argon2id$v=19$m=256,t=2,p=17"),
            bounds("argon2", "lanes (p)", 17, 1, 16),
        ),
    ];
    for (text, expected) in cases {
        let error = PasswordHash::parse(&text).expect_err(&text);
        assert_eq!(error, expected, "{text}");
        let shown = format!("{error} {error:?}");
        assert!(text.len() < 6 || !shown.contains(&text), "{shown}");
    }
}

#[test]
fn names_unsupported_formats() {
    let bcrypt = "$2y$05$zoWy4vmKum/arBTpple.PeO5PnqR/E73KTgPhNohXPYrP47hWRjsS";
    let doubled = bcrypt.replace('$', "$$");
    for (text, named, edit) in [
        ("$7$C6..../....x$y", "scrypt ($7$)", false),
        ("$pbkdf2-sha256$29000$a$b", "PBKDF2", false),
        ("pbkdf2_sha256$29000$a$b", "PBKDF2", false),
        ("$P$Babcdefgh", "phpass", false),
        ("{SHA256}abc=", "{SHA256}", false),
        ("{MD5}abc=", "{MD5}", false),
        ("5f4dcc3b5aa765d61d8327deb882cf99", "MD5", false),
        ("*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19", "MySQL", false),
        ("_J9..rasmBYk8r9AiWNc", "extended DES", false),
        ("{CRAM-MD5}abc", "the scheme in braces", false),
        ("{sha}abc=", "as {SHA} is", false),
        ("{noop}secret", "the scheme in braces", false),
        ("*0", "crypt(3)", false),
        ("x", "/etc/passwd", false),
        ("!", "locked", true),
        ("*", "locked", true),
        ("!$6$ab$cd", "locked", true),
        ("!secret", "plain text", false),
        (
            "{CRYPT}$1$OWXTA1SZ$ZWOUP/tgk7wxOiTu3H7cJ1",
            "MD5-crypt",
            false,
        ),
        (
            &format!("{{CRYPT}}{bcrypt}"),
            "the prefix {CRYPT} before the hash",
            true,
        ),
        (
            &format!("{{blf-crypt}}{bcrypt}"),
            "the prefix {BLF-CRYPT} before the hash",
            true,
        ),
        (&doubled, "doubled", true),
        (&format!("\"{bcrypt}\""), "quotes", true),
        (&format!("{bcrypt} # admin"), "comment", true),
        (&format!("{bcrypt}\tadmin"), "white space", true),
        ("$1$ab$cd # admin", "MD5-crypt", false),
        (&format!("{bcrypt}\u{a0}"), "U+00A0", true),
        (&format!("\u{200b}{bcrypt}"), "U+200B", true),
    ] {
        let error = PasswordHash::parse(text).expect_err(text);
        assert!(error.to_string().contains(named), "{text}: {error}");
        assert_eq!(error.edit().is_some(), edit, "{text}: {error}");
    }
    // A line as long as the file must not be a recursion as deep.
    let deep = "{CRYPT}".repeat(100_000);
    assert_eq!(
        PasswordHash::parse(&deep).unwrap_err(),
        PasswordHashError::Unknown
    );
}

#[test]
fn never_shows_the_hash() {
    for (_, text) in VECTORS {
        let shown = format!("{:?}", hash(text));
        assert!(shown.len() < 30 && !shown.contains('$'), "{shown}");
    }
}

proptest! {
    #[test]
    fn parse_never_panics(text in "\\PC{0,100}") {
        let _ = PasswordHash::parse(&text);
    }

    /// Cheap formats only: verifying is the point.
    #[test]
    fn a_mangled_hash_is_refused_or_verifies(
        vector in prop::sample::select(VECTORS),
        at in any::<prop::sample::Index>(),
        with in "[ -~é]{0,2}",
    ) {
        let (_, text) = vector;
        let at = at.index(text.len());
        let mangled = format!("{}{with}{}", &text[..at], &text[at + 1..]);
        if let Ok(hash) = PasswordHash::parse(&mangled) {
            // Costs may have been mangled upwards, so only the form is tried.
            if let Format::ShaCrypt(body) = &hash.0 && !body.contains("rounds=") {
                let verdict = ShaCrypt::default().verify_password(b"x", body.as_ref());
                prop_assert_eq!(verdict, Err(argon2::password_hash::Error::PasswordInvalid));
            }
        }
    }

    #[test]
    fn apr1_takes_any_password(password in prop::collection::vec(any::<u8>(), 0..70)) {
        prop_assert!(!hash(VECTORS[0].1).verify(&password));
    }
}
