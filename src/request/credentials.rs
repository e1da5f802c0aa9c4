//! What a client proves its identity with.

use crate::http::http1::Confidential;

/// Credentials as they came, unverified.
#[derive(Debug, Default)]
pub enum Credentials {
    /// None were sent.
    #[default]
    Missing,
    /// The value of `Proxy-Authorization` (RFC 9110 §11.7.2).
    ProxyAuthorization(Confidential),
}

impl From<Option<Confidential>> for Credentials {
    fn from(field: Option<Confidential>) -> Self {
        field.map_or(Self::Missing, Self::ProxyAuthorization)
    }
}
