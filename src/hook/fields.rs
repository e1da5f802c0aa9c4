//! Edits of fields: which names and values a hook may write, and how the edits are applied to a head.

use std::fmt;

use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;
use thiserror::Error;

use super::detached::Wish;
use crate::http::fields::HopField;

/// The most edits of one head.
pub(super) const MAX_EDITS: usize = 64;

/// The most bytes of names and values in the edits of one head.
const MAX_BYTES: usize = 16 * 1024;

/// Why a field cannot be written, or an answer not made. The text begins with the name of the field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FieldError {
    /// The name is no token (RFC 9110 §5.1).
    #[error("{0}: not a field name")]
    Name(FieldName),
    /// The value has CR, LF, NUL or another control character (RFC 9110 §5.5).
    #[error("{0}: not a field value: it has a control character")]
    Value(FieldName),
    /// The field frames, routes or ends at this hop: Tollgate alone writes it.
    #[error("{0}: the field is written by the proxy alone")]
    Protected(FieldName),
    /// The field has one line at most: set it.
    #[error("{0}: the field has one line; set it")]
    Single(FieldName),
    /// A secret in a request TRACE, whose response repeats the fields of the request (RFC 9110 §9.3.8).
    #[error("{0}: a secret in a request TRACE, whose response repeats it")]
    Trace(FieldName),
    /// More than 64 edits of one head.
    #[error("more than {MAX_EDITS} edits of one head")]
    TooMany,
    /// More than 16 KiB in the edits of one head, or a body over the limit of an answer.
    #[error("too large")]
    TooLarge,
    /// The status of an answer that cannot be made.
    #[error("not a status of an answer with a body")]
    Status,
}

/// The name of a field as a hook gave it, whatever that is: a text for logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldName(Box<str>);

impl FieldName {
    /// The longest name that is kept whole, in characters.
    const MAX: usize = 64;

    pub(super) fn of(name: &str) -> Self {
        Self(name.chars().take(Self::MAX).collect::<String>().into())
    }

    /// The name, or its first 64 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FieldName {
    /// In quotes where it would not be seen as one word.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_word = !self.0.is_empty() && self.0.chars().all(|c| c.is_ascii_graphic());
        match is_word {
            true => f.write_str(&self.0),
            false => write!(f, "{:?}", self.0),
        }
    }
}

/// A field of requests whose name and value are checked, to be written many times.
#[derive(Clone, Debug)]
pub struct CheckedField {
    pub(super) name: HeaderName,
    pub(super) value: HeaderValue,
}

impl CheckedField {
    /// Checks it as [`Request::set_field`](super::Request::set_field) does.
    ///
    /// # Errors
    /// See [`FieldError`].
    pub fn new(name: &str, text: &str) -> Result<Self, FieldError> {
        let (name, value) = (request_name(name)?, value(name, text)?);
        Ok(Self { name, value })
    }
}

/// One change of a head. The later one applies to what the earlier ones made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// In place of all lines of this name.
    Set(HeaderName, HeaderValue),
    /// One more line.
    Add(HeaderName, HeaderValue),
    /// All lines of this name.
    Remove(HeaderName),
}

/// The edits of one head, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Edits {
    edits: Vec<Edit>,
    bytes: usize,
}

/// The field lines of a head that is about to be sent.
pub trait OutgoingFields {
    /// Puts one line in place of all lines of this name.
    fn set(&mut self, name: &HeaderName, value: &HeaderValue);
    /// Adds a line.
    fn add(&mut self, name: &HeaderName, value: &HeaderValue);
    /// Removes all lines of this name.
    fn remove(&mut self, name: &HeaderName);
}

impl Edit {
    fn name(&self) -> &HeaderName {
        match self {
            Edit::Set(name, _) | Edit::Add(name, _) | Edit::Remove(name) => name,
        }
    }

    fn size(&self) -> usize {
        match self {
            Edit::Set(name, value) | Edit::Add(name, value) => name.as_str().len() + value.len(),
            Edit::Remove(name) => name.as_str().len(),
        }
    }
}

impl Edit {
    /// The edit as a text.
    pub(super) fn wish(&self) -> Wish {
        let text = |value| String::from_utf8_lossy(shown(value)).into();
        match self {
            Edit::Set(name, value) => Wish::Set(name.as_str().into(), text(value)),
            Edit::Add(name, value) => Wish::Add(name.as_str().into(), text(value)),
            Edit::Remove(name) => Wish::Remove(name.as_str().into()),
        }
    }
}

/// A value as a hook sees it.
fn shown(value: &HeaderValue) -> &[u8] {
    if value.is_sensitive() {
        b"***"
    } else {
        value.as_bytes()
    }
}

impl Edits {
    pub(super) fn push(&mut self, edit: Edit) -> Result<(), FieldError> {
        let size = edit.size();
        if self.edits.len() >= MAX_EDITS {
            return Err(FieldError::TooMany);
        }
        if self.bytes + size > MAX_BYTES {
            return Err(FieldError::TooLarge);
        }
        self.bytes += size;
        self.edits.push(edit);
        Ok(())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Edit> {
        self.edits.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.edits.len()
    }

    /// Whether one of them is of this field.
    pub(super) fn touch(&self, name: &str) -> bool {
        let mut names = self.edits.iter().map(Edit::name);
        names.any(|other| other.as_str().eq_ignore_ascii_case(name))
    }

    /// Takes back all but the first so many.
    pub(super) fn truncate(&mut self, len: usize) {
        for edit in self.edits.drain(len.min(self.edits.len())..) {
            self.bytes -= edit.size();
        }
    }

    /// Applies all of them.
    pub(super) fn apply(&self, head: &mut impl OutgoingFields) {
        for edit in &self.edits {
            match edit {
                Edit::Set(name, value) => head.set(name, value),
                Edit::Add(name, value) => head.add(name, value),
                Edit::Remove(name) => head.remove(name),
            }
        }
    }

    /// The values of a field after the edits; `original` are those before. That of a secret is `***`.
    pub(super) fn values<'a>(
        &'a self,
        name: &str,
        original: impl Iterator<Item = &'a [u8]>,
    ) -> SmallVec<[&'a [u8]; 4]> {
        let mut values: SmallVec<[&[u8]; 4]> = original.collect();
        for edit in &self.edits {
            match edit {
                Edit::Set(other, value) if other.as_str().eq_ignore_ascii_case(name) => {
                    values.clear();
                    values.push(shown(value));
                }
                Edit::Add(other, value) if other.as_str().eq_ignore_ascii_case(name) => {
                    values.push(shown(value));
                }
                Edit::Remove(other) if other.as_str().eq_ignore_ascii_case(name) => {
                    values.clear();
                }
                _ => {}
            }
        }
        values
    }
}

/// The name of a field that a hook may write into a request.
pub(super) fn request_name(name: &str) -> Result<HeaderName, FieldError> {
    let is_own = match HopField::parse(name.as_bytes()) {
        Some(HopField::Forwarded | HopField::Date) | None => false,
        Some(_) => true,
    };
    checked(name, is_own || is_any(name, &["expect", "max-forwards"]))
}

/// The name of a field that a hook may write into a response.
pub(super) fn response_name(name: &str) -> Result<HeaderName, FieldError> {
    let is_own = match HopField::parse(name.as_bytes()) {
        Some(HopField::Forwarded) | None => false,
        Some(_) => true,
    };
    checked(name, is_own || is_any(name, &["proxy-status"]))
}

/// The same for a field that gets one more line.
pub(super) fn added_name(name: &str) -> Result<HeaderName, FieldError> {
    if is_any(
        name,
        &["authorization", "content-type", "user-agent", "referer"],
    ) {
        return Err(FieldError::Single(FieldName::of(name)));
    }
    request_name(name)
}

/// Why a hook cannot write a field of this name, into a response or a request.
pub fn name_fault(name: &str, is_response: bool) -> Option<FieldError> {
    let checked = if is_response {
        response_name(name)
    } else {
        request_name(name)
    };
    checked.err()
}

fn checked(name: &str, is_protected: bool) -> Result<HeaderName, FieldError> {
    if is_protected {
        return Err(FieldError::Protected(FieldName::of(name)));
    }
    HeaderName::from_bytes(name.as_bytes())
        .map_err(|_invalid| FieldError::Name(FieldName::of(name)))
}

fn is_any(name: &str, others: &[&str]) -> bool {
    others.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// The value of the field `name`, without the white space at its ends.
pub(super) fn value(name: &str, text: &str) -> Result<HeaderValue, FieldError> {
    let text = text.trim_matches([' ', '\t']);
    HeaderValue::from_bytes(text.as_bytes())
        .map_err(|_invalid| FieldError::Value(FieldName::of(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::http1::{HeadLimits, RequestHead};

    #[test]
    fn what_frames_or_ends_here_cannot_be_written() {
        for name in [
            "Content-Length",
            "transfer-encoding",
            "Connection",
            "TE",
            "Trailer",
            "Upgrade",
            "Host",
            "Via",
            "Proxy-Authorization",
            "Proxy-Connection",
            "Expect",
            "Max-Forwards",
        ] {
            let protected = FieldError::Protected(FieldName::of(name));
            assert_eq!(request_name(name), Err(protected), "{name}");
        }
        for name in [
            "content-length",
            "Date",
            "Proxy-Authenticate",
            "Upgrade",
            "Proxy-Status",
        ] {
            let protected = FieldError::Protected(FieldName::of(name));
            assert_eq!(response_name(name), Err(protected), "{name}");
        }
        for name in ["", "a b", "a:", "a\r\nb", "\u{e4}"] {
            let invalid = FieldError::Name(FieldName::of(name));
            assert_eq!(request_name(name), Err(invalid.clone()), "{name:?}");
            assert_eq!(response_name(name), Err(invalid), "{name:?}");
        }
        for text in ["a\r\nb: c", "a\nb", "a\rb", "a\0b", "a\x7fb"] {
            let invalid = FieldError::Value(FieldName::of("x-a"));
            assert_eq!(value("x-a", text), Err(invalid), "{text:?}");
        }
        assert!(value("x-a", "a\tb \u{e4}").is_ok() && value("x-a", "").is_ok());
        let single = FieldError::Single(FieldName::of("Authorization"));
        assert_eq!(added_name("Authorization"), Err(single));
        assert!(request_name("Authorization").is_ok() && response_name("set-cookie").is_ok());
    }

    #[test]
    fn errors_name_the_field() {
        let long = format!("{}:", "x".repeat(99));
        for (error, expected) in [
            (
                request_name("Host").unwrap_err(),
                "Host: the field is written by the proxy alone".to_owned(),
            ),
            (
                request_name("a b").unwrap_err(),
                "\"a b\": not a field name".to_owned(),
            ),
            (
                request_name("").unwrap_err(),
                "\"\": not a field name".to_owned(),
            ),
            (
                request_name("a\r\nb").unwrap_err(),
                r#""a\r\nb": not a field name"#.to_owned(),
            ),
            (
                request_name(&long).unwrap_err(),
                format!("{}: not a field name", "x".repeat(64)),
            ),
            (
                value("x-team", "a\nb").unwrap_err(),
                "x-team: not a field value: it has a control character".to_owned(),
            ),
            (
                added_name("user-agent").unwrap_err(),
                "user-agent: the field has one line; set it".to_owned(),
            ),
        ] {
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn edits_are_limited_in_number_and_size() {
        let set = |len: usize| {
            let value = HeaderValue::from_str(&"x".repeat(len)).unwrap();
            Edit::Set(HeaderName::from_static("a"), value)
        };
        let mut edits = Edits::default();
        for _ in 0..MAX_EDITS {
            edits.push(set(1)).unwrap();
        }
        assert_eq!(edits.push(set(1)), Err(FieldError::TooMany));
        edits.truncate(1);
        assert_eq!(edits.push(set(MAX_BYTES)), Err(FieldError::TooLarge));
        edits.push(set(MAX_BYTES - 3)).unwrap();
        assert_eq!(edits.push(set(0)), Err(FieldError::TooLarge));
    }

    /// The lines of a head, as a model.
    struct Lines(Vec<(String, Vec<u8>)>);

    impl OutgoingFields for Lines {
        fn set(&mut self, name: &HeaderName, value: &HeaderValue) {
            self.remove(name);
            self.add(name, value);
        }

        fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
            self.0.push((name.to_string(), value.as_bytes().to_vec()));
        }

        fn remove(&mut self, name: &HeaderName) {
            self.0.retain(|(other, _)| other != name.as_str());
        }
    }

    /// A number that follows from the one before (xorshift).
    fn next(seed: &mut u64) -> usize {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        usize::try_from(*seed >> 16).unwrap()
    }

    /// Whatever is asked for, the head that comes of it has one reading, and its framing is the client's.
    #[test]
    fn a_million_edits_make_no_head_malformed() {
        const NAMES: [&str; 16] = [
            "x-a",
            "X-B",
            "cookie",
            "Content-Length",
            "Transfer-Encoding",
            "Host",
            "connection",
            "upgrade",
            "a b",
            "a:",
            "x\r\ny",
            "",
            "content-type",
            "Proxy-Authorization",
            "date",
            "authorization",
        ];
        const PIECES: [&str; 12] = [
            "a",
            " ",
            "\t",
            "\r\n",
            "\n",
            "\r",
            "\0",
            ": ",
            "chunked",
            "0",
            "\u{e4}",
            "Content-Length: 9",
        ];
        let mut seed = 0x9e37_79b9_7f4a_7c15;
        let mut written = 0;
        while written < 1_000_000 {
            let mut edits = Edits::default();
            for _ in 0..100 {
                written += 1;
                let Ok(name) = request_name(NAMES[next(&mut seed) % NAMES.len()]) else {
                    continue;
                };
                let mut text = String::new();
                for _ in 0..next(&mut seed) % 4 {
                    text.push_str(PIECES[next(&mut seed) % PIECES.len()]);
                }
                let single = added_name(name.as_str()).is_err();
                let edit = match (next(&mut seed) % 3, value("x-a", &text)) {
                    (0, Ok(value)) => Edit::Set(name, value),
                    (1, Ok(_)) if single => continue,
                    (1, Ok(value)) => Edit::Add(name, value),
                    (_, Err(_)) => continue,
                    _ => Edit::Remove(name),
                };
                let _ = edits.push(edit);
            }
            let mut lines = Lines(vec![
                ("host".to_owned(), b"a".to_vec()),
                ("content-length".to_owned(), b"3".to_vec()),
            ]);
            edits.apply(&mut lines);
            let mut head = b"POST / HTTP/1.1\r\n".to_vec();
            for (name, value) in &lines.0 {
                crate::http::fields::push_line(&mut head, name.as_bytes(), value);
            }
            head.extend_from_slice(b"\r\n");
            let limits = HeadLimits::default();
            let parsed = RequestHead::parse(head.as_slice().into(), &limits).unwrap();
            assert_eq!(parsed.framing, crate::http::http1::Framing::Length(3));
            let names = parsed.fields().filter(|(name, _)| *name == b"host");
            assert_eq!(names.count(), 1);
        }
    }
}
