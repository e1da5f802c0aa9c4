//! Secrets of the configuration, which scripts write into fields and cannot read.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::http::secret::Secret;

/// A secret: text without control characters. `Debug` does not show it.
#[derive(Clone, Debug)]
pub struct SecretText {
    bytes: Arc<Secret<Zeroizing<Vec<u8>>>>,
    clear_text: bool,
}

/// Why a value is no secret. The value is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SecretError {
    /// Nothing, or a line end alone.
    #[error("is empty")]
    Empty,
    /// More than [`SecretText::MAX`] bytes.
    #[error("is longer than {} bytes", SecretText::MAX)]
    TooLong,
    /// More than one line, or another character that no field has.
    #[error("has a control character or a second line, which no field can have")]
    Control,
    /// Not UTF-8.
    #[error("is not UTF-8")]
    Encoding,
}

impl SecretText {
    /// The longest secret, in bytes.
    pub const MAX: usize = 4096;

    /// Reads a secret, without the line end behind it.
    ///
    /// # Errors
    /// [`SecretError`]
    pub fn parse(bytes: &[u8]) -> Result<Self, SecretError> {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if bytes.is_empty() {
            return Err(SecretError::Empty);
        }
        if bytes.len() > Self::MAX {
            return Err(SecretError::TooLong);
        }
        let text = std::str::from_utf8(bytes).or(Err(SecretError::Encoding))?;
        if text.chars().any(char::is_control) {
            return Err(SecretError::Control);
        }
        Ok(Self::of(bytes.to_vec()))
    }

    /// A text in the place of a secret that is not known.
    pub fn placeholder() -> Self {
        Self::of(b"placeholder".to_vec())
    }

    fn of(bytes: Vec<u8>) -> Self {
        Self {
            bytes: Arc::new(Secret::hide(Zeroizing::new(bytes))),
            clear_text: false,
        }
    }

    /// The same; with `clear_text`, scripts may send it over http.
    #[must_use]
    pub fn with_clear_text(self, clear_text: bool) -> Self {
        Self { clear_text, ..self }
    }

    /// Whether scripts may send it over http.
    pub(crate) fn may_be_in_clear_text(&self) -> bool {
        self.clear_text
    }

    /// Another text that is made of this one, and as secret.
    pub(super) fn derived(&self, bytes: Vec<u8>) -> Self {
        Self::of(bytes).with_clear_text(self.clear_text)
    }

    /// The text, for a field.
    pub(crate) fn expose(&self) -> &str {
        // Each is made of text.
        std::str::from_utf8(self.bytes.expose()).unwrap_or_default()
    }

    /// Whether it is `name: ..`, as a line of a file with fields or with users is.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        let before = self
            .expose()
            .split_once(':')
            .map(|(before, _)| before.trim());
        before.is_some_and(|before| before.eq_ignore_ascii_case(name))
    }

    /// The scheme of credentials that it begins with, which is then written twice where one is written before it.
    pub(crate) fn scheme(&self) -> Option<&'static str> {
        let (first, _) = self.expose().trim_start().split_once(' ')?;
        let is_it = |scheme: &&str| scheme.eq_ignore_ascii_case(first);
        ["Bearer", "Basic", "Token", "Digest", "Negotiate"]
            .into_iter()
            .find(|scheme| is_it(scheme))
    }

    /// Whether it has spaces or a byte order mark around it, which a person does not see.
    pub(crate) fn has_margin(&self) -> bool {
        let is_margin = |c: char| c.is_whitespace() || c == '\u{feff}';
        self.expose().starts_with(is_margin) || self.expose().ends_with(is_margin)
    }

    /// What a reload compares.
    pub fn digest(&self) -> blake3::Hash {
        blake3::hash(self.bytes.expose())
    }
}

/// The secrets by name.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Arc<BTreeMap<Box<str>, SecretText>>);

impl Secrets {
    /// The secret of a name.
    pub fn get(&self, name: &str) -> Option<&SecretText> {
        self.0.get(name)
    }

    /// The same, and these, where there is none of the name.
    #[must_use]
    pub fn or(&self, secrets: impl IntoIterator<Item = (Box<str>, SecretText)>) -> Self {
        let mut all: BTreeMap<Box<str>, SecretText> = secrets.into_iter().collect();
        let own = self.0.iter();
        all.extend(own.map(|(name, secret)| (name.clone(), secret.clone())));
        Self(Arc::new(all))
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(AsRef::as_ref)
    }
}

impl FromIterator<(Box<str>, SecretText)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (Box<str>, SecretText)>>(secrets: I) -> Self {
        Self(Arc::new(secrets.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_one_line_of_text() {
        for (bytes, expected) in [
            (&b"hunter2"[..], Ok("hunter2")),
            (b"hunter2\n", Ok("hunter2")),
            (b"hunter2\r\n", Ok("hunter2")),
            ("pässe".as_bytes(), Ok("pässe")),
            (b"", Err(SecretError::Empty)),
            (b"\n", Err(SecretError::Empty)),
            (b"a\nb", Err(SecretError::Control)),
            (b"a\n\n", Err(SecretError::Control)),
            (b"a\0", Err(SecretError::Control)),
            (b"\xff", Err(SecretError::Encoding)),
        ] {
            let parsed = SecretText::parse(bytes);
            let parsed = parsed.as_ref().map(SecretText::expose);
            assert_eq!(parsed.map_err(|error| *error), expected);
        }
        let longest = vec![b'a'; SecretText::MAX];
        assert!(SecretText::parse(&longest).is_ok());
        let longer = vec![b'a'; SecretText::MAX + 1];
        assert_eq!(
            SecretText::parse(&longer).unwrap_err(),
            SecretError::TooLong
        );
    }

    #[test]
    fn what_is_written_before_a_secret_is_not_in_it() {
        let read = |text: &str| SecretText::parse(text.as_bytes()).unwrap();
        for (text, scheme, margin) in [
            ("Bearer abc", Some("Bearer"), false),
            ("  bEARER abc", Some("Bearer"), true),
            ("basic YTpi", Some("Basic"), false),
            ("token abc", Some("Token"), false),
            ("Bearer", None, false),
            ("BearerToken x", None, false),
            ("abc ", None, true),
            ("abc\u{a0}", None, true),
            ("\u{feff}abc", None, true),
            ("correct horse", None, false),
        ] {
            let secret = read(text);
            assert_eq!(
                (secret.scheme(), secret.has_margin()),
                (scheme, margin),
                "{text:?}"
            );
        }
        for (text, named) in [
            ("X-Key: abc", true),
            ("x-key:abc", true),
            ("x-keys: a", false),
        ] {
            assert_eq!(read(text).is_named("x-key"), named, "{text}");
        }
    }

    #[test]
    fn debug_does_not_show_them() {
        let secret = SecretText::parse(b"hunter2").unwrap();
        let secrets: Secrets = [("name".into(), secret)].into_iter().collect();
        assert!(!format!("{secrets:?}").contains("hunter2"));
    }
}
