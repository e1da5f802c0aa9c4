//! Edits of fields: which names and values a hook may write, and how the edits are applied to a head.

use http::{HeaderName, HeaderValue};
use thiserror::Error;

use crate::http::fields::HopField;

/// The most edits of one head.
pub(super) const MAX_EDITS: usize = 64;

/// The most bytes of names and values in the edits of one head.
const MAX_BYTES: usize = 16 * 1024;

/// Why a field cannot be written, or an answer not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FieldError {
    /// The name is no token (RFC 9110 §5.1).
    #[error("not a field name")]
    Name,
    /// The value has CR, LF, NUL or another control character (RFC 9110 §5.5).
    #[error("not a field value: it has a control character")]
    Value,
    /// The field frames, routes or ends at this hop: Tollgate alone writes it.
    #[error("the field is written by the proxy alone")]
    Protected,
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

impl Edits {
    pub(super) fn push(&mut self, edit: Edit) -> Result<(), FieldError> {
        let size = match &edit {
            Edit::Set(name, value) | Edit::Add(name, value) => name.as_str().len() + value.len(),
            Edit::Remove(name) => name.as_str().len(),
        };
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

    /// The values of a field after the edits; `original` are those before.
    pub(super) fn values<'a>(
        &'a self,
        name: &str,
        original: impl Iterator<Item = &'a [u8]>,
    ) -> Vec<&'a [u8]> {
        let mut values: Vec<&[u8]> = original.collect();
        for edit in &self.edits {
            match edit {
                Edit::Set(other, value) if other.as_str().eq_ignore_ascii_case(name) => {
                    values.clear();
                    values.push(value.as_bytes());
                }
                Edit::Add(other, value) if other.as_str().eq_ignore_ascii_case(name) => {
                    values.push(value.as_bytes());
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

fn checked(name: &str, is_protected: bool) -> Result<HeaderName, FieldError> {
    if is_protected {
        return Err(FieldError::Protected);
    }
    HeaderName::from_bytes(name.as_bytes()).or(Err(FieldError::Name))
}

fn is_any(name: &str, others: &[&str]) -> bool {
    others.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// The value of a field, without the white space at its ends.
pub(super) fn value(text: &str) -> Result<HeaderValue, FieldError> {
    let text = text.trim_matches([' ', '\t']);
    HeaderValue::from_bytes(text.as_bytes()).or(Err(FieldError::Value))
}
