//! What a client gets in place of a server's response.

use bytes::Bytes;
use http::StatusCode;
use thiserror::Error;

use super::fields::{self, FieldError};
use crate::http::answer;

/// A status that no denial has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0} is not the status of a denial; {remedy}", remedy = StatusError::REMEDY)]
pub struct StatusError(pub u16);

impl StatusError {
    pub(crate) const REMEDY: &str = "write 400 to 599, but not 401 or 407";
}

/// A denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    status: StatusCode,
    message: Option<Box<str>>,
}

impl Denial {
    /// The longest message, in characters.
    pub const MAX_MESSAGE: usize = 200;

    /// A denial with 403 and a general sentence.
    pub fn new() -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            message: None,
        }
    }

    /// The status, in place of 403.
    ///
    /// # Errors
    /// [`StatusError`] for a status that is not 400 to 599, or that is 401 or 407, which ask for credentials. With `?` it
    /// fails the request, which is not let through.
    pub fn with_status(mut self, status: u16) -> Result<Self, StatusError> {
        let code = StatusCode::from_u16(status).ok();
        let code = code.filter(|code| {
            // These two ask for something that the answer would not have.
            let is_challenge = matches!(code.as_u16(), 401 | 407);
            (code.is_client_error() || code.is_server_error()) && !is_challenge
        });
        self.status = code.ok_or(StatusError(status))?;
        Ok(self)
    }

    /// The message for the client: its first [`MAX_MESSAGE`](Self::MAX_MESSAGE) characters, without control
    /// characters.
    #[must_use]
    pub fn with_message(mut self, message: &str) -> Self {
        let shown = message.chars().filter(|c| !c.is_control());
        let shown: String = shown.take(Self::MAX_MESSAGE).collect();
        self.message = (!shown.is_empty()).then(|| shown.into());
        self
    }

    /// The status code.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The message; none for the general sentence.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }
}

impl Default for Denial {
    fn default() -> Self {
        Self::new()
    }
}

/// An answer with fields and a body of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer(answer::Answer);

impl Answer {
    /// The largest body, in bytes.
    pub const MAX_BODY: usize = 64 * 1024;

    /// An answer with a body, which may be empty.
    ///
    /// # Errors
    /// [`FieldError::Status`] for a status that is not in 200 to 599, or a 407, 204, 205 or 304: these have no body or need
    /// fields that cannot be set. [`FieldError::TooLarge`] for a body over [`MAX_BODY`](Self::MAX_BODY).
    pub fn new(status: u16, body: impl Into<Bytes>) -> Result<Self, FieldError> {
        let body = body.into();
        let unusual = matches!(status, 204 | 205 | 304 | 407);
        let status = StatusCode::from_u16(status).ok();
        let status = status.filter(|status| status.as_u16() >= 200 && status.as_u16() < 600);
        let status = status.filter(|_| !unusual).ok_or(FieldError::Status)?;
        if body.len() > Self::MAX_BODY {
            return Err(FieldError::TooLarge);
        }
        Ok(Self(answer::Answer {
            status,
            fields: Vec::new(),
            body,
        }))
    }

    /// Adds a field.
    ///
    /// # Errors
    /// See [`FieldError`].
    pub fn with_field(mut self, name: &str, value: &str) -> Result<Self, FieldError> {
        if self.0.fields.len() >= fields::MAX_EDITS {
            return Err(FieldError::TooMany);
        }
        let (name, value) = (fields::response_name(name)?, fields::value(name, value)?);
        self.0.fields.push((name, value));
        Ok(self)
    }

    /// The status code.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.0.body
    }

    pub(crate) fn into_inner(self) -> answer::Answer {
        self.0
    }
}
