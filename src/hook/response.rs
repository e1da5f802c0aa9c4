//! The head of a response as a hook sees and changes it.

use std::borrow::Cow;

use http::{HeaderMap, StatusCode};

use super::fields::{self, Edit, Edits, FieldError};
use super::request::Request;

/// The head of the final response of a server, and the request that it answers.
#[derive(Debug)]
pub struct Response<'a> {
    /// The request. Its head has been sent: edits of its fields change nothing any more.
    pub request: Request<'a>,
    pub(super) status: StatusCode,
    pub(super) fields: &'a HeaderMap,
    pub(super) edits: &'a mut Edits,
}

impl Response<'_> {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The value of a field, as the client gets it: the values of all its lines with `, ` between them
    /// (RFC 9110 §5.3). None without a line.
    pub fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        let original = self.fields.get_all(name).iter();
        let original = original.map(http::HeaderValue::as_bytes);
        match self.edits.values(name, original).as_slice() {
            [] => None,
            [one] => Some(String::from_utf8_lossy(one)),
            many => Some(Cow::Owned(
                String::from_utf8_lossy(&many.join(&b", "[..])).into_owned(),
            )),
        }
    }

    /// Puts one line in place of all lines of this field.
    ///
    /// # Errors
    /// See [`FieldError`].
    pub fn set_field(&mut self, name: &str, value: &str) -> Result<(), FieldError> {
        let (name, value) = (fields::response_name(name)?, fields::value(name, value)?);
        self.edits.push(Edit::Set(name, value))
    }

    /// Adds a line to a field.
    ///
    /// # Errors
    /// See [`FieldError`].
    pub fn add_field(&mut self, name: &str, value: &str) -> Result<(), FieldError> {
        let (name, value) = (fields::response_name(name)?, fields::value(name, value)?);
        self.edits.push(Edit::Add(name, value))
    }

    /// Removes all lines of a field.
    ///
    /// # Errors
    /// See [`FieldError`].
    pub fn remove_field(&mut self, name: &str) -> Result<(), FieldError> {
        let name = fields::response_name(name)?;
        self.edits.push(Edit::Remove(name))
    }
}
