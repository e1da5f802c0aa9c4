//! From credentials to a user: one set of users, and the cache of verified credentials. New users get a new
//! [`Authenticator`] with the same cache, in which verifications against a hash that a user no longer has do not count.
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
    verified: Arc<VerifiedCache>,
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
    /// Which hash of the user it is verified against; none for a user that does not exist.
    hash: Option<u64>,
}

/// Equal for attempts that have the same outcome: of equal credentials, and verified against the same hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttemptId {
    key: CacheKey,
    hash: Option<u64>,
}

impl Attempt {
    /// The user, if there is one of this name; whether the password is right is not known.
    pub fn known_user(&self) -> Option<&User> {
        self.hash.map(|_| &self.credentials.user)
    }

    /// What it has in common with attempts of the same outcome.
    pub fn id(&self) -> AttemptId {
        AttemptId {
            key: self.key,
            hash: self.hash,
        }
    }
}

impl Authenticator {
    /// An authenticator with these users and this cache.
    pub fn new(users: Arc<Htpasswd>, verified: VerifiedCache) -> Self {
        Self {
            users,
            verified: Arc::new(verified),
        }
    }

    /// The authenticator of the next file. A verified pair stays verified where its user has the same hash.
    pub fn with_users(&self, users: Arc<Htpasswd>) -> Self {
        let mut users = Arc::unwrap_or_clone(users);
        users.succeed(&self.users);
        Self {
            users: Arc::new(users),
            verified: Arc::clone(&self.verified),
        }
    }

    /// Looks up the credentials of one request. Never hashes, and for cached
    /// credentials neither decodes nor allocates.
    ///
    /// # Errors
    /// See [`CredentialsError`]; malformed credentials cost no hash.
    pub fn check(&self, token: Token68<'_>, now: Instant) -> Result<Check, CredentialsError> {
        let key = self.verified.key(token);
        if let Some(user) = self.verified.lookup(&key, self.users.generation(), now) {
            return Ok(Check::Verified(user));
        }
        let credentials = token.decode()?;
        let known = self.users.known(credentials.user.as_str());
        Ok(Check::Unverified(Attempt {
            hash: known.map(|known| known.since()),
            credentials,
            key,
        }))
    }

    /// Verifies credentials and caches them when they are valid. `None` means
    /// a wrong password or an unknown user, without distinction. Slow by design.
    pub fn verify(&self, attempt: Attempt, now: Instant) -> Option<User> {
        let Attempt {
            credentials, key, ..
        } = attempt;
        // A client that opens a hundred connections at once queues a hundred
        // attempts; only the first one hashes.
        if let Some(user) = self.verified.lookup(&key, self.users.generation(), now) {
            return Some(user);
        }
        let known = self.users.authenticate(&credentials)?;
        self.verified.insert(key, Arc::clone(known), now);
        Some(known.user().clone())
    }
}

#[cfg(test)]
mod tests;
