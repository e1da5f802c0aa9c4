//! An answer of Tollgate's own with fields and a body of somebody else's choice: a hook's.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

/// A checked answer: its fields frame nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// A status of a response that has content.
    pub status: StatusCode,
    /// Further fields.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// The content.
    pub body: Bytes,
}
