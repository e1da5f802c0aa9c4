//! Proxy authentication: Basic (RFC 7617) against an htpasswd file, and signed tokens.
//!
//! Pure: no network, no async runtime, no Pingora. It verifies credentials;
//! it does not write the 407, does not choose the thread that hashes
//! and, except for [`passwd`], does not use the file system.
//!
//! ```text
//! field value -> Token68 -> VerifiedCache -- hit --> Identity
//!                               | miss
//!                               v
//!                          Credentials -> Htpasswd -> PasswordHash (slow)
//!                               | Bearer, or a password that is a token
//!                               v
//!                            Tokens -> signature
//! ```
//!
//! [`lockout`] counts the logins that fail. [`external`] has the questions to an external authoriser and its answers.

mod authenticator;
mod cache;
mod certificate;
mod credentials;
pub mod external;
#[cfg(any(test, feature = "internals"))]
pub mod fuzz;
mod hash;
mod htpasswd;
mod identity;
mod json;
pub mod lockout;
mod method;
pub mod passwd;
pub mod tokens;
mod trusted;

pub use self::authenticator::{Attempt, AttemptId, Authenticator, Check, Here, TokenAttempt};
pub use self::cache::{AuthorizerId, Clocks, EntropyError, VerifiedCache, random_secret};
pub use self::certificate::{CertificateLogin, CertificateName, CertificateNameError};
#[cfg(test)]
pub use self::credentials::UserError;
pub use self::credentials::{
    AuthScheme, Credentials, CredentialsError, MAX_USER_LEN, Token68, User, password,
};
pub use self::htpasswd::{Htpasswd, NameError, parse_any_name, parse_name};
pub use self::identity::{Identity, IdentityFacts};
pub use self::method::AuthMethod;
pub use self::trusted::TrustedNetworks;
