//! Why a token is refused.

use thiserror::Error;

use crate::access::auth::json::JsonError;
use crate::http::error::{ErrorKind, RequestError};

/// Why a token is refused. The client learns only whether it has expired; the log has the rest.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Not the compact serialisation of RFC 7515, or too long.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// The header cannot be read.
    #[error("malformed: its header is {0}")]
    Header(#[source] JsonError),
    /// The claims cannot be read.
    #[error("malformed: its claims are {0}")]
    Payload(#[source] JsonError),
    /// `crit` in the header.
    #[error("critical: the header has crit, and no extension is known")]
    Critical,
    /// A `typ` of another purpose.
    #[error("type: typ is none of JWT, at+jwt and JOSE")]
    Kind,
    /// No such issuer.
    #[error("issuer: {0:?} is in none of tollgate.auth.tokens.issuers")]
    Issuer(Box<str>),
    /// No such key, or none of several was named.
    #[error("key: the issuer has no key {}", KeyId(.key_id.as_deref()))]
    Key {
        /// The position of the issuer.
        issuer: usize,
        /// Its `kid`.
        key_id: Option<Box<str>>,
    },
    /// Not the algorithm of the key.
    #[error("algorithm: alg is {alg:?}, and the key is for {key}")]
    Algorithm {
        /// The `alg` of the token.
        alg: Box<str>,
        /// The algorithm of the key.
        key: &'static str,
    },
    /// The signature does not verify.
    #[error("signature: it is not of the issuer's key")]
    Signature,
    /// For another audience, or for none.
    #[error("audience: aud names none of the audiences of its issuer")]
    Audience,
    /// After `exp`.
    #[error("expired: after exp and the leeway")]
    Expired,
    /// Before `nbf` or `iat`.
    #[error("not_yet_valid: before {0} and the leeway")]
    NotYetValid(&'static str),
    /// A claim that is missing or of another type.
    #[error("claim: {0} is missing, or no value of its type")]
    Claim(Box<str>),
    /// The claim makes no user.
    #[error("user: the claim makes no name of a user, or one that is too long")]
    User,
    /// A user of the password file or of a trusted network has the name.
    #[error("user: {0:?} is a user with a password, or of a trusted network")]
    Taken(Box<str>),
}

struct KeyId<'a>(Option<&'a str>);

impl std::fmt::Display for KeyId<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(key_id) => write!(f, "{key_id:?}"),
            None => f.write_str("that is the only one of its algorithm, and the token has no kid"),
        }
    }
}

impl TokenError {
    /// The stable name: in the log at the start of `error_detail`, and in a metric.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Header(_) | Self::Payload(_) => "malformed",
            Self::Critical => "critical",
            Self::Kind => "type",
            Self::Issuer(_) => "issuer",
            Self::Key { .. } => "key",
            Self::Algorithm { .. } => "algorithm",
            Self::Signature => "signature",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYetValid(_) => "not_yet_valid",
            Self::Claim(_) => "claim",
            Self::User | Self::Taken(_) => "user",
        }
    }

    /// The one behind the error of a request, if there is one.
    pub fn of(error: &RequestError) -> Option<&Self> {
        std::error::Error::source(error)?.downcast_ref()
    }
}

impl From<TokenError> for RequestError {
    fn from(error: TokenError) -> Self {
        let kind = match error {
            TokenError::Expired => ErrorKind::TokenExpired,
            _ => ErrorKind::TokenInvalid,
        };
        kind.because(error)
    }
}
