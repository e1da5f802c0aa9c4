//! What a client proves its identity with.

use super::secret::Secret;

/// Credentials as they came, unverified. Their field line does not go on: nothing can log it or send it.
#[derive(Debug, Default)]
pub enum Credentials {
    /// None were sent.
    #[default]
    Missing,
    /// The value of `Proxy-Authorization` (RFC 9110 §11.7.2).
    Proxy(Secret<Box<[u8]>>),
    /// The value of `Authorization` (RFC 9110 §11.6.2), in a request for the gateway without `Proxy-Authorization`.
    Origin(Secret<Box<[u8]>>),
}

impl Credentials {
    /// The value of the field, if there is one.
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Missing => None,
            Self::Proxy(value) | Self::Origin(value) => Some(value.expose()),
        }
    }
}
