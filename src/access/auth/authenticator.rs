//! Credentials in, user out: one set of users, and what was verified against it.
//! New users get a new [`Authenticator`], so nothing verified with the old ones is
//! left.
//!
//! Two halves, since the second hashes: [`Authenticator::check`] is for the
//! thread that serves the connection, [`Authenticator::verify`] for one that
//! may be busy for a while. How many may hash at once is for the caller.

use std::sync::Arc;
use std::time::Instant;

use super::cache::{CacheKey, VerifiedCache};
use super::credentials::{Credentials, CredentialsError, Token68, User};
use super::htpasswd::Htpasswd;

/// The users and the cache of verified credentials. Shared by reference.
#[derive(Debug)]
pub struct Authenticator {
    users: Arc<Htpasswd>,
    verified: VerifiedCache,
}

/// What is known without hashing.
#[derive(Debug)]
pub enum Check {
    /// The credentials were verified lately.
    Verified(User),
    /// They must be verified by [`Authenticator::verify`].
    Unverified(Attempt),
}

/// Credentials on the way to be verified; may go to another thread.
#[derive(Debug)]
pub struct Attempt {
    credentials: Credentials,
    key: CacheKey,
}

impl Attempt {
    /// Stands for the credentials: equal for equal ones.
    pub fn key(&self) -> CacheKey {
        self.key
    }
}

impl Authenticator {
    /// Begins with these users and this cache.
    pub fn new(users: Arc<Htpasswd>, verified: VerifiedCache) -> Self {
        Self { users, verified }
    }

    /// Looks the credentials of one request up. Never hashes, and for known
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

    /// Verifies credentials and remembers them when they are good. `None`:
    /// wrong password or no such user, which is not told. Slow by design.
    pub fn verify(&self, attempt: Attempt, now: Instant) -> Option<User> {
        let Attempt { credentials, key } = attempt;
        // A client that opens a hundred connections at once queues a hundred
        // attempts; the first one pays for all.
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
