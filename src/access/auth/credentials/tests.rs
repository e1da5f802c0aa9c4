//! Syntax of the field, both ways.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use proptest::prelude::*;

use super::*;

fn basic(user_pass: impl AsRef<[u8]>) -> Vec<u8> {
    format!("Basic {}", STANDARD.encode(user_pass)).into_bytes()
}

#[test]
fn reads_credentials() {
    let max = "p".repeat(MAX_CREDENTIALS_LEN - 2);
    let long_user = "u".repeat(MAX_USER_LEN);
    let cases: &[(Vec<u8>, &str, &str)] = &[
        // The examples of RFC 7617 §2 and §2.1.
        (
            b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_vec(),
            "Aladdin",
            "open sesame",
        ),
        (b"Basic dGVzdDoxMjPCow==".to_vec(), "test", "123\u{a3}"),
        (
            b"bAsIc QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_vec(),
            "Aladdin",
            "open sesame",
        ),
        (
            b"Basic    QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_vec(),
            "Aladdin",
            "open sesame",
        ),
        (
            b" \tBasic QWxhZGRpbjpvcGVuIHNlc2FtZQ== \t".to_vec(),
            "Aladdin",
            "open sesame",
        ),
        (basic("user:a:b:"), "user", "a:b:"),
        (basic("user::"), "user", ":"),
        (basic("user:"), "user", ""),
        (basic("jürgen ☃:pässwörd"), "jürgen ☃", "pässwörd"),
        (basic("CORP\\user:x"), "CORP\\user", "x"),
        (basic(format!("u:{max}")), "u", &max),
        (basic(format!("{long_user}:x")), &long_user, "x"),
    ];
    for (value, user, password) in cases {
        let credentials = Credentials::parse(value).unwrap();
        assert_eq!(credentials.user.as_str(), *user);
        assert_eq!(credentials.password.expose(), password.as_bytes());
    }
}

#[test]
fn refuses_with_the_reason() {
    use CredentialsError::{
        ControlCharacter, EmptyUser, Missing, NoColon, NotBase64, NotUtf8, TooLong,
        UnsupportedScheme,
    };

    let cases: Vec<(Vec<u8>, CredentialsError)> = vec![
        (b"".to_vec(), Missing),
        (b" \t ".to_vec(), Missing),
        (
            b"Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_vec(),
            UnsupportedScheme,
        ),
        (
            b"Basicly QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_vec(),
            UnsupportedScheme,
        ),
        (
            b"BasicQWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_vec(),
            UnsupportedScheme,
        ),
        (
            b"Basic\tQWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_vec(),
            UnsupportedScheme,
        ),
        (b"QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_vec(), UnsupportedScheme),
        (b"Basic".to_vec(), NotBase64),
        (b"Basic  ".to_vec(), NotBase64),
        (b"Basic !!!!".to_vec(), NotBase64),
        (b"Basic Aladdin:open".to_vec(), NotBase64),
        (b"Basic QWxh ZGRpbjpvcGVuIHNlc2FtZQ==".to_vec(), NotBase64),
        (
            b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==, Basic YTpi".to_vec(),
            NotBase64,
        ),
        (b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ".to_vec(), NotBase64),
        (b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=".to_vec(), NotBase64),
        (b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ===".to_vec(), NotBase64),
        // Bits set where the padding is; and the alphabet of URLs.
        (b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZR==".to_vec(), NotBase64),
        (b"Basic dTr_-w==".to_vec(), NotBase64),
        (b"Basic \xff\xfe\xfd\xfc".to_vec(), NotBase64),
        (basic("no colon"), NoColon),
        (basic(":password"), EmptyUser),
        (basic(":"), EmptyUser),
        (basic(b"user:\xff\xfe"), NotUtf8),
        // "é" in ISO 8859-1, what a client sends that ignores the charset.
        (basic(b"ren\xe9:x"), NotUtf8),
        (basic("us\ner:x"), ControlCharacter),
        (basic("user:x\r\nX-Evil: 1"), ControlCharacter),
        (basic("user:x\0"), ControlCharacter),
        (basic("user\0:x"), ControlCharacter),
        (basic("user:\x7f"), ControlCharacter),
        (basic("us\u{85}er:x"), ControlCharacter),
        (
            basic(format!("{}:x", "u".repeat(MAX_USER_LEN + 1))),
            TooLong,
        ),
        (
            basic(format!("u:{}", "p".repeat(MAX_CREDENTIALS_LEN - 1))),
            TooLong,
        ),
        (
            basic(format!("u:{}", "p".repeat(MAX_CREDENTIALS_LEN))),
            TooLong,
        ),
        (basic(format!("u:{}", "p".repeat(64 * 1024))), TooLong),
        ([b"Basic ".as_slice(), &[b'!'; 64 * 1024]].concat(), TooLong),
    ];
    for (value, expected) in cases {
        let error = Credentials::parse(&value).unwrap_err();
        assert_eq!(error, expected, "{:?}", String::from_utf8_lossy(&value));
    }
}

#[test]
fn user_names() {
    let long = "u".repeat(MAX_USER_LEN + 1);
    let cases: &[(&str, Result<(), UserError>)] = &[
        ("user", Ok(())),
        ("a b", Ok(())),
        ("", Err(UserError::Empty)),
        ("a:b", Err(UserError::Colon)),
        ("a\tb", Err(UserError::ControlCharacter)),
        (&long, Err(UserError::TooLong)),
    ];
    for (name, expected) in cases {
        assert_eq!(User::parse(name).map(|_| ()), *expected, "{name:?}");
    }
    assert_eq!(User::parse("user").unwrap().to_string(), "user");
}

#[test]
fn never_shows_the_password() {
    let password = "canary-7f3a";
    let value = basic(format!("user:{password}"));
    let token = Token68::parse(&value).unwrap();
    let credentials = token.decode().unwrap();
    let shown = format!("{token:?} {credentials:?} {:#?}", credentials.password);
    let encoded = String::from_utf8_lossy(token.expose());
    assert!(shown.contains("user"));
    assert!(
        !shown.contains("canary") && !shown.contains(&*encoded),
        "{shown}"
    );
    // The list of bytes, what a derived `Debug` would print.
    assert!(!shown.contains("99, 97, 110"), "{shown}");
}

proptest! {
    #[test]
    fn parse_never_panics(value in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Credentials::parse(&value);
    }

    #[test]
    fn decode_never_panics(user_pass in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Credentials::parse(&basic(user_pass));
    }

    #[test]
    fn encoded_credentials_are_decoded(user in "[^:\\pC]{1,60}", password in "\\PC{0,200}") {
        let value = basic(format!("{user}:{password}"));
        let credentials = Credentials::parse(&value).unwrap();
        prop_assert_eq!(credentials.user.as_str(), user);
        prop_assert_eq!(credentials.password.expose(), password.as_bytes());
    }

    /// One pair has one spelling, so that the cache holds it once.
    #[test]
    fn only_one_spelling(user in "[a-z]{1,20}", password in "[ -~]{0,20}") {
        let pair = format!("{user}:{password}");
        let bare = STANDARD_NO_PAD.encode(&pair);
        let spellings = ["", "=", "=="].map(|padding| format!("Basic {bare}{padding}"));
        let read = spellings.iter().filter(|value| Credentials::parse(value.as_bytes()).is_ok());
        prop_assert_eq!(read.count(), 1);
    }
}
