//! Invariants of password files and of credentials, for the fuzz targets. No password is hashed.

#![expect(
    clippy::panic,
    reason = "a broken invariant is what a fuzz target looks for"
)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::htpasswd::{HtpasswdLine, LineProblem};
use super::{Credentials, Htpasswd, MAX_USER_LEN, Token68};
use crate::text::fuzz::{decode, shape};

/// Reads `data` as a password file.
///
/// Each line of an accepted file that is not blank and not a comment is a user of its own. Errors name lines
/// that exist, in order, and do not repeat what stands behind a user name.
///
/// # Panics
/// An invariant does not hold.
pub fn htpasswd(data: &[u8]) -> String {
    let text = match decode(data) {
        Ok(text) => text,
        Err(error) => return error,
    };
    let lines: Vec<_> = text.lines().collect();
    match Htpasswd::parse(&text) {
        Ok(users) => {
            let mut count = 0;
            for line in lines {
                match HtpasswdLine::parse(line) {
                    HtpasswdLine::Nothing => {}
                    HtpasswdLine::NoColon => panic!("no colon: {text:?}"),
                    HtpasswdLine::Entry { user, .. } => {
                        assert!(users.contains(user), "{user:?}: {text:?}");
                        count += 1;
                    }
                }
            }
            assert_eq!(users.len(), count, "{text:?}");
            format!("{} users", count.min(3))
        }
        Err(errors) => {
            assert!(errors.is_sorted_by_key(|error| error.line), "{text:?}");
            for error in &errors {
                let written = error.line.checked_sub(1).and_then(|line| lines.get(line));
                let Some(written) = written else {
                    panic!("line {}: {text:?}", error.line);
                };
                if let LineProblem::Duplicate { first, .. } = error.problem {
                    assert!(first < error.line, "{text:?}");
                }
                let printed = error.to_string();
                assert!(!printed.contains(char::is_control), "{printed:?}");
                if let HtpasswdLine::Entry { user, hash } = HtpasswdLine::parse(written)
                    && hash.len() >= 16
                {
                    let beside = printed.replace(&format!("{user:?}"), "").replace(user, "");
                    assert!(!beside.contains(hash), "{printed:?} repeats a hash");
                }
            }
            match errors.first().map(|error| &error.problem) {
                Some(LineProblem::Hash { problem, .. }) => shape(problem),
                other => shape(&other),
            }
        }
    }
}

/// Reads `data` as the value of `Proxy-Authorization`.
///
/// Accepted credentials have a valid user, and written again they are read as the same.
///
/// # Panics
/// An invariant does not hold.
pub fn credentials(data: &[u8]) -> String {
    let shown = data.escape_ascii();
    let token = Token68::parse(data);
    let parsed = Credentials::parse(data);
    match (token, parsed) {
        (Ok(token), Ok(credentials)) => {
            let user = credentials.user.as_str();
            let password = credentials.password.expose();
            assert!(!user.is_empty() && user.len() <= MAX_USER_LEN, "{shown}");
            assert!(
                !user.contains(':') && !user.contains(char::is_control),
                "{shown}"
            );
            let plain = [user.as_bytes(), b":", password].concat();
            let written = STANDARD.encode(plain);
            // One pair has one spelling.
            assert_eq!(token.expose(), written.as_bytes(), "{shown}");
            let again = Credentials::parse(format!("Basic {written}").as_bytes());
            let again = again.map(|again| (again.user, again.password.expose().to_vec()));
            assert_eq!(
                again,
                Ok((credentials.user.clone(), password.to_vec())),
                "{shown}"
            );
            format!("accepted {}", password.is_empty())
        }
        (Ok(token), Err(error)) => {
            assert_eq!(token.decode().err(), Some(error), "{shown}");
            shape(&error)
        }
        (Err(token), Err(error)) => {
            assert_eq!(token, error, "{shown}");
            shape(&error)
        }
        (Err(error), Ok(_)) => panic!("{error}: {shown}"),
    }
}
