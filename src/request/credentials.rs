//! What a client proves its identity with.

use crate::http::secret::Secret;

/// Credentials as they came, unverified.
#[derive(Debug, Default)]
pub enum Credentials {
    /// None were sent.
    #[default]
    Missing,
    /// The value of `Proxy-Authorization` (RFC 9110 §11.7.2).
    ProxyAuthorization(Secret<Box<[u8]>>),
}

impl From<Option<Secret<Box<[u8]>>>> for Credentials {
    fn from(field: Option<Secret<Box<[u8]>>>) -> Self {
        field.map_or(Self::Missing, Self::ProxyAuthorization)
    }
}
