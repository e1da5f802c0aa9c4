//! The field that tells a local server which user sends a request.

use std::fmt;

use super::{HopField, is_tchar};

/// A field that Tollgate alone sets. A client's own is removed wherever it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserField(Box<str>);

impl UserField {
    /// The field of this name; none for what is no name, or for a field that has a meaning of its own in a request.
    pub fn new(name: &str) -> Option<Self> {
        const MEANT_OTHERWISE: &[&str] = &[
            "accept",
            "authorization",
            "content-encoding",
            "content-type",
            "cookie",
            "expect",
            "max-forwards",
            "range",
            "x-forwarded-for",
            "x-forwarded-proto",
        ];
        let is_name = !name.is_empty() && name.bytes().all(is_tchar);
        let has_meaning = HopField::parse(name.as_bytes()).is_some()
            || MEANT_OTHERWISE
                .iter()
                .any(|other| name.eq_ignore_ascii_case(other));
        (is_name && !has_meaning).then(|| Self(name.into()))
    }

    /// The name as it is written.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Whether a server may take a field of this name for the user's: in any case, and with `_` for `-`, which are
    /// one to CGI (RFC 3875 §4.1.18) and WSGI.
    pub fn is(&self, name: &[u8]) -> bool {
        let folded = |byte: u8| match byte {
            b'_' => b'-',
            other => other.to_ascii_lowercase(),
        };
        let own = self.0.as_bytes();
        own.len() == name.len()
            && own
                .iter()
                .zip(name)
                .all(|(own, other)| folded(*own) == folded(*other))
    }
}

impl fmt::Display for UserField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_with_a_meaning_is_none_for_the_user() {
        for name in ["X-Forwarded-User", "remote-user", "X_User"] {
            assert_eq!(UserField::new(name).unwrap().name(), name);
        }
        for name in [
            "",
            "X User",
            "X:",
            "Host",
            "authorization",
            "X-Forwarded-For",
            "Via",
            "Connection",
        ] {
            assert_eq!(UserField::new(name), None, "{name:?}");
        }
    }

    #[test]
    fn every_way_to_write_it_is_the_user_s() {
        let field = UserField::new("X-Forwarded-User").unwrap();
        for name in ["x-forwarded-user", "X_Forwarded_User", "x-FORWARDED_user"] {
            assert!(field.is(name.as_bytes()), "{name}");
        }
        for name in ["x-forwarded-users", "x-forwarded-use", "xforwardeduser", ""] {
            assert!(!field.is(name.as_bytes()), "{name}");
        }
    }
}
