//! Basic proxy authentication (RFC 7617) against an htpasswd file.
//!
//! Pure: no network, no async runtime, no Pingora. It verifies credentials;
//! it does not write the 407, does not choose the thread that hashes
//! and, except for [`passwd`], does not use the file system.
//!
//! ```text
//! field value -> Token68 -> VerifiedCache -- hit --> User
//!                               | miss
//!                               v
//!                          Credentials -> Htpasswd -> PasswordHash (slow)
//! ```

mod authenticator;
mod cache;
mod credentials;
#[cfg(any(test, feature = "internals"))]
pub mod fuzz;
mod hash;
mod htpasswd;
pub mod passwd;
mod trusted;

pub use self::authenticator::{Attempt, AttemptId, Authenticator, Check};
pub use self::cache::{EntropyError, VerifiedCache};
#[cfg(test)]
pub use self::credentials::UserError;
pub use self::credentials::{Credentials, MAX_USER_LEN, Token68, User};
pub use self::htpasswd::{Htpasswd, NameError, parse_name};
pub use self::trusted::TrustedNetworks;
