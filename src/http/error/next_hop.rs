//! The proxy at which a request failed.

use std::sync::Arc;

use http::StatusCode;

use super::RequestError;

/// The proxy at which a request failed (RFC 9209 §2.1.2), by its name in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Its name.
    pub name: Arc<str>,
    /// The status with which it answered, if it did (RFC 9209 §2.1.4).
    pub received: Option<StatusCode>,
}

impl RequestError {
    /// Tells the client at which proxy the request failed.
    #[must_use]
    pub fn at_next_hop(mut self, name: Arc<str>, received: Option<StatusCode>) -> Self {
        self.next_hop = Some(Box::new(NextHop { name, received }));
        self
    }

    /// The proxy at which the request failed, if it is none of this one.
    pub fn next_hop(&self) -> Option<&NextHop> {
        self.next_hop.as_deref()
    }
}
