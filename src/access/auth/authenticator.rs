//! From credentials to a user: one set of users, and the cache of credentials
//! verified against it. New users get a new [`Authenticator`], so that no
//! verification against the old ones remains.
//!
//! It has two steps, since the second one hashes: [`Authenticator::check`] runs on
//! the thread that serves the connection, [`Authenticator::verify`] on one that
//! may block. The caller limits how many run at once.

use std::sync::Arc;
use std::time::Instant;

use super::cache::{CacheKey, VerifiedCache};
use super::credentials::{Credentials, CredentialsError, Token68, User};
use super::htpasswd::Htpasswd;

/// The users and the cache of verified credentials.
#[derive(Debug)]
pub struct Authenticator {
    users: Arc<Htpasswd>,
    verified: VerifiedCache,
}

/// The result of a cache look-up.
#[derive(Debug)]
pub enum Check {
    /// The credentials are in the cache.
    Verified(User),
    /// [`Authenticator::verify`] must verify them.
    Unverified(Attempt),
}

/// Credentials to verify; another thread may do it.
#[derive(Debug)]
pub struct Attempt {
    credentials: Credentials,
    key: CacheKey,
}

impl Attempt {
    /// The key of the credentials in the cache: equal for equal credentials.
    pub fn key(&self) -> CacheKey {
        self.key
    }
}

impl Authenticator {
    /// An authenticator with these users and this cache.
    pub fn new(users: Arc<Htpasswd>, verified: VerifiedCache) -> Self {
        Self { users, verified }
    }

    /// Looks up the credentials of one request. Never hashes, and for cached
    /// credentials neither decodes nor allocates.
    ///
    /// # Errors
    /// See [`CredentialsError`]; malformed credentials cost no hash.
    pub fn check(&self, token: Token68<'_>, now: Instant) -> Result<Check, CredentialsError> {
        let key = self.verified.key(token);
        if let Some(user) = self.verified.lookup(&key, now) {
            return Ok(Check::Verified(user));
        }
        Ok(Check::Unverified(Attempt {
            credentials: token.decode()?,
            key,
        }))
    }

    /// Verifies credentials and caches them when they are valid. `None` means
    /// a wrong password or an unknown user, without distinction. Slow by design.
    pub fn verify(&self, attempt: Attempt, now: Instant) -> Option<User> {
        let Attempt { credentials, key } = attempt;
        // A client that opens a hundred connections at once queues a hundred
        // attempts; only the first one hashes.
        if let Some(user) = self.verified.lookup(&key, now) {
            return Some(user);
        }
        if !self.users.verify(&credentials) {
            return None;
        }
        let user = credentials.user;
        self.verified.insert(key, user.clone(), now);
        Some(user)
    }
}

#[cfg(test)]
mod tests;
