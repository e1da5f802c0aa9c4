//! Signed tokens (JWT, RFC 7519) as credentials: the issuers, and the verification of a token.
//!
//! ```text
//! token -> Jws (three parts) -> issuer by iss -> times, audience -> key by kid -> signature -> Identity
//! ```
//!
//! What costs little comes first, so that a token that cannot be accepted costs no signature. All of it is limited:
//! a token has at most 16 KiB, 1,024 values and 256 groups, a set of keys 256 KiB and 128 keys. Nothing that a token
//! says leads anywhere: `kid` is compared, and URLs and keys in it are not read.
//!
//! Pure: the keys of a URL are fetched by the caller.

mod claims;
mod error;
#[cfg(any(test, feature = "internals"))]
pub mod fuzz;
mod issuer;
mod jws;
mod key;
mod key_set;
#[cfg(test)]
pub mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use self::claims::ClaimPath;
pub(super) use self::claims::group_names;
pub use self::error::TokenError;
pub use self::issuer::{Issuer, IssuerSettings, KeyChanges, KeySource};
use self::jws::Jws;
pub use self::jws::{MAX_TOKEN_LEN, is_token};
use self::key::Key;
pub use self::key_set::{KeySet, MAX_KEY_SET};
use super::identity::Identity;
use super::json::Json;

/// The tokens that are accepted.
#[derive(Clone, Debug)]
pub struct Tokens {
    issuers: Vec<Arc<Issuer>>,
    /// Whether a tunnel ends with its token.
    pub cut_at_expiry: bool,
    /// How often keys are fetched.
    pub refresh: Duration,
    /// The least time between two fetches of the keys of one issuer.
    pub min_refetch: Duration,
}

/// A token that was verified.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    pub(super) identity: Identity,
    issuer: Arc<Issuer>,
    key: Arc<Key>,
}

impl VerifiedToken {
    /// Whether it still counts at this time: its issuer and its key are as they were, and it has not expired.
    pub(super) fn is_valid(&self, time: SystemTime) -> bool {
        let expires = self.identity.expires();
        !self.key.is_retired()
            && !self.issuer.is_retired()
            && expires.is_none_or(|expires| time < expires)
    }
}

impl Tokens {
    /// The most issuers.
    pub const MAX_ISSUERS: usize = 32;

    /// Tokens of these issuers.
    pub fn new(
        issuers: Vec<Issuer>,
        cut_at_expiry: bool,
        refresh: Duration,
        min_refetch: Duration,
    ) -> Tokens {
        Tokens {
            issuers: issuers.into_iter().map(Arc::new).collect(),
            cut_at_expiry,
            refresh,
            min_refetch,
        }
    }

    /// The issuers, in the order of the configuration.
    pub fn issuers(&self) -> &[Arc<Issuer>] {
        &self.issuers
    }

    /// Whether some token may have groups.
    pub fn have_groups(&self) -> bool {
        let mut issuers = self.issuers.iter();
        issuers.any(|issuer| issuer.settings.groups_claim.is_some())
    }

    /// Whether a token may make this user.
    pub fn may_name(&self, user: &str) -> bool {
        let mut issuers = self.issuers.iter();
        issuers.any(|issuer| {
            let rest = user.strip_prefix(&*issuer.settings.user_prefix);
            rest.is_some_and(|rest| !rest.is_empty())
        })
    }

    /// Becomes the successor of `before`, before it is in use: an issuer with the same settings stays the same, with
    /// the tokens that were verified. Of other issuers, no verified token counts any more.
    pub fn succeed(&mut self, before: Option<&Tokens>) {
        let old = before.map_or(&[][..], Tokens::issuers);
        for issuer in &mut self.issuers {
            let same = old.iter().find(|old| old.name() == issuer.name());
            match same {
                Some(same) if same.settings == issuer.settings => {
                    if issuer.url().is_none() {
                        same.replace_keys(issuer.key_set());
                    }
                    *issuer = Arc::clone(same);
                }
                Some(same) if issuer.url().is_some() && same.url() == issuer.url() => {
                    issuer.replace_keys(same.key_set());
                }
                _ => {}
            }
        }
        retire_all(old, &self.issuers);
    }

    /// Ends the use of these tokens: none that was verified counts any more.
    pub fn retire(&self) {
        retire_all(&self.issuers, &[]);
    }

    /// Verifies a token at this time.
    ///
    /// # Errors
    /// [`TokenError`]; of several reasons, the first in the order of the checks.
    pub(super) fn verify(
        &self,
        token: &[u8],
        time: SystemTime,
    ) -> Result<VerifiedToken, TokenError> {
        let jws = Jws::parse(token)?;
        let name = jws.claims.get("iss").and_then(Json::text);
        let name = name.ok_or_else(|| TokenError::Claim("iss".into()))?;
        let mut issuers = self.issuers.iter().enumerate();
        let (number, issuer) = issuers
            .find(|(_, issuer)| issuer.name() == name)
            .ok_or_else(|| TokenError::Issuer(name.chars().take(128).collect()))?;
        let settings = &issuer.settings;
        let expires = claims::check_times(&jws.claims, time, settings.leeway)?;
        claims::check_audience(&jws.claims, &settings.audience)?;
        let key = issuer.key(&jws, number)?;
        if !key.public.material.verify(jws.signed, &jws.signature) {
            return Err(TokenError::Signature);
        }
        Ok(VerifiedToken {
            identity: issuer.identity(&jws.claims, expires)?,
            issuer: Arc::clone(issuer),
            key,
        })
    }
}

fn retire_all(old: &[Arc<Issuer>], kept: &[Arc<Issuer>]) {
    for issuer in old {
        if !kept.iter().any(|kept| Arc::ptr_eq(kept, issuer)) {
            issuer.retire();
        }
    }
}
