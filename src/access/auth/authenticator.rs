//! From credentials to a user: one set of users, and the cache of verified credentials. New users get a new
//! [`Authenticator`] with the same cache, in which verifications against a hash that a user no longer has do not count.
//!
//! It has two steps, since the second one hashes: [`Authenticator::check`] runs on
//! the thread that serves the connection, [`Authenticator::verify`] on one that
//! may block. The caller limits how many run at once.
//!
//! Where failed logins lock out, a verified pair counts at the network that it came from ([`Authenticator::check`] with a
//! network): else a client that is locked out could try passwords of users whose pairs are cached. At another network,
//! [`Authenticator::recall`] takes the place of the hash.
//!
//! A token is not hashed: its signature is verified by [`Authenticator::verify_token`], on the thread of the connection.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::cache::{AuthorizerId, CacheKey, Clocks, Proof, VerifiedCache};
use super::credentials::{AuthScheme, Credentials, CredentialsError, Token68, User};
use super::htpasswd::Htpasswd;
use super::identity::Identity;
use super::tokens::{TokenError, Tokens, is_token};
use super::trusted::TrustedNetworks;
use crate::http::error::RequestError;
use crate::http::secret::Password;

/// The users, the tokens and the cache of verified credentials.
#[derive(Debug)]
pub struct Authenticator {
    users: Arc<Htpasswd>,
    trusted: Arc<TrustedNetworks>,
    tokens: Option<Arc<Tokens>>,
    verified: Arc<VerifiedCache>,
}

/// The result of a cache look-up.
#[derive(Debug)]
pub enum Check {
    /// The credentials are in the cache.
    Verified(Identity),
    /// [`Authenticator::verify`] must verify them.
    Unverified(Attempt),
    /// [`Authenticator::verify_token`] must verify them.
    Token(TokenAttempt),
}

/// Why credentials are refused at once.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// They cannot be read.
    Credentials(CredentialsError),
    /// The token is not accepted.
    Token(TokenError),
}

/// A token to verify.
#[derive(Debug)]
pub struct TokenAttempt {
    token: Password,
    key: CacheKey,
}

/// Credentials to verify; another thread may do it.
#[derive(Debug)]
pub struct Attempt {
    credentials: Credentials,
    /// At all networks.
    key: CacheKey,
    /// At that of the client.
    here: Here,
    /// Which hash of the user it is verified against; none for a user that does not exist.
    hash: Option<u64>,
}

/// The credentials of an attempt at the network of its client.
#[derive(Clone, Copy, Debug)]
pub struct Here(CacheKey);

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

    /// The user as the client says.
    pub fn user(&self) -> &User {
        &self.credentials.user
    }

    /// What it has in common with attempts of the same outcome.
    pub fn id(&self) -> AttemptId {
        AttemptId {
            key: self.key,
            hash: self.hash,
        }
    }

    /// Its credentials at the network of its client.
    pub fn here(&self) -> Here {
        self.here
    }

    /// The MAC of the credentials, and which hash they are verified against.
    pub(super) fn parts(&self) -> (&[u8; 32], Option<u64>) {
        (self.key.mac(), self.hash)
    }
}

impl Authenticator {
    /// An authenticator with these users, the users of networks, these tokens and this cache.
    pub fn new(
        users: Arc<Htpasswd>,
        trusted: Arc<TrustedNetworks>,
        tokens: Option<Arc<Tokens>>,
        verified: VerifiedCache,
    ) -> Self {
        Self {
            users,
            trusted,
            tokens,
            verified: Arc::new(verified),
        }
    }

    /// How many credentials are in the cache, expired ones too.
    pub fn count_cached(&self) -> usize {
        self.verified.len()
    }

    /// The authenticator of the next configuration. A verified pair stays verified where its user has the same hash, a
    /// verified token where its issuer has the same settings and the same key.
    pub fn succeeded_by(
        &self,
        users: Arc<Htpasswd>,
        trusted: Arc<TrustedNetworks>,
        tokens: Option<Arc<Tokens>>,
    ) -> Self {
        let mut users = Arc::unwrap_or_clone(users);
        users.succeed(&self.users);
        let before = self.tokens.as_deref();
        let tokens = tokens.map(|tokens| {
            let mut tokens = Arc::unwrap_or_clone(tokens);
            tokens.succeed(before);
            Arc::new(tokens)
        });
        if let (Some(before), None) = (before, &tokens) {
            before.retire();
        }
        Self {
            users: Arc::new(users),
            trusted,
            tokens,
            verified: Arc::clone(&self.verified),
        }
    }

    /// The tokens, where some are accepted.
    pub fn tokens(&self) -> Option<&Arc<Tokens>> {
        self.tokens.as_ref()
    }

    /// The users of the password file.
    pub fn users(&self) -> &Htpasswd {
        &self.users
    }

    /// The users of clients without credentials.
    pub fn trusted(&self) -> &TrustedNetworks {
        &self.trusted
    }

    /// Looks up the credentials of one request, in the value of its field: at all networks, or at that of the client
    /// alone. Never hashes, and for cached credentials neither decodes nor allocates.
    ///
    /// # Errors
    /// See [`Failure`]; malformed credentials cost no hash.
    pub fn check(
        &self,
        field_value: &[u8],
        network: Option<IpAddr>,
        now: Clocks,
    ) -> Result<Check, Failure> {
        let token = match self.tokens {
            None => Token68::parse(field_value)?,
            Some(_) => Token68::parse_any(field_value)?,
        };
        let key = self.verified.key(token).at(network);
        if let Some(identity) = self.lookup(&key, now)? {
            return Ok(Check::Verified(identity));
        }
        if token.scheme() == AuthScheme::Bearer {
            return Ok(Check::Token(TokenAttempt::new(token.expose(), key)));
        }
        let credentials = token.decode()?;
        if self.tokens.is_some() && is_token(credentials.password.expose()) {
            let token = credentials.password.expose();
            return Ok(Check::Token(TokenAttempt::new(token, key)));
        }
        let known = self.users.known(credentials.user.as_str());
        Ok(Check::Unverified(Attempt {
            hash: known.map(|known| known.since()),
            credentials,
            key: key.at(None),
            here: Here(key),
        }))
    }

    /// Whether these credentials were verified at this network before, however long ago, against the hash that the user
    /// still has: they are right. What an authoriser has accepted says nothing of a password of the file.
    pub fn was_verified(&self, here: Here) -> bool {
        let generation = self.users.generation();
        self.verified.was_verified(&here.0, generation)
    }

    /// The user of credentials that are verified at another network.
    pub fn recall(&self, here: Here, now: Clocks) -> Option<User> {
        let generation = self.users.generation();
        let everywhere = here.0.at(None);
        let identity = self.verified.lookup(&everywhere, generation, now)?;
        Some(identity.user().clone())
    }

    /// Notes that credentials that are verified elsewhere are in use at this network.
    pub fn note_network(&self, here: Here) {
        self.verified.copy(&here.0.at(None), here.0);
    }

    /// Whether this authoriser has accepted these credentials at this network, however long ago.
    pub fn was_accepted(&self, here: Here, by: AuthorizerId) -> bool {
        self.verified.was_accepted(&here.0, by)
    }

    /// Notes that an external authoriser accepts these credentials at this network, or that it does not.
    pub fn note_authorizer(&self, here: Here, by: AuthorizerId, accepts: bool) {
        match accepts {
            true => {
                let proof = Proof::Authorizer(by);
                self.verified.insert(here.0, proof, Instant::now());
            }
            false => self.verified.remove(&here.0),
        }
    }

    /// Verifies credentials and caches them when they are valid. `None` means
    /// a wrong password or an unknown user, without distinction. Slow by design.
    pub fn verify(&self, attempt: &Attempt, now: Instant) -> Option<User> {
        let Attempt {
            credentials, key, ..
        } = attempt;
        // A client that opens a hundred connections at once queues a hundred
        // attempts; only the first one hashes.
        let now_in_time = Clocks {
            instant: now,
            ..Clocks::now()
        };
        let generation = self.users.generation();
        if let Some(identity) = self.verified.lookup(key, generation, now_in_time) {
            return Some(identity.user().clone());
        }
        let known = self.users.authenticate(credentials)?;
        let proof = Proof::Password(Arc::clone(known));
        self.verified.insert(*key, proof, now);
        Some(known.user().clone())
    }

    /// Verifies a token and caches it when it is valid. Costs the check of a signature, tens of microseconds.
    ///
    /// # Errors
    /// [`TokenError`]
    pub fn verify_token(
        &self,
        attempt: &TokenAttempt,
        now: Clocks,
    ) -> Result<Identity, TokenError> {
        // A reload may have ended the use of tokens meanwhile, but not for a request that began before.
        let tokens = self.tokens.as_ref().ok_or(TokenError::Signature)?;
        let verified = tokens.verify(attempt.token.expose(), now.time)?;
        let identity = verified.identity.clone();
        self.refuse_taken(&identity)?;
        let proof = Proof::Token(Arc::new(verified));
        self.verified.insert(attempt.key, proof, now.instant);
        Ok(identity)
    }

    fn lookup(&self, key: &CacheKey, now: Clocks) -> Result<Option<Identity>, TokenError> {
        let found = self.verified.lookup(key, self.users.generation(), now);
        if let Some(identity) = &found {
            // The name may have become one of a password with a reload.
            self.refuse_taken(identity)?;
        }
        Ok(found)
    }

    /// Whether a password or a network makes this user.
    pub fn is_taken(&self, user: &str) -> bool {
        self.users.contains(user) || self.trusted.has(user)
    }

    /// A token does not make the user that another proof makes: what is written for one must not be for the other.
    fn refuse_taken(&self, identity: &Identity) -> Result<(), TokenError> {
        let user = identity.user().as_str();
        match identity.expires().is_some() && self.is_taken(user) {
            true => Err(TokenError::Taken(user.into())),
            false => Ok(()),
        }
    }
}

impl TokenAttempt {
    fn new(token: &[u8], key: CacheKey) -> Self {
        Self {
            token: Password::new(token),
            key,
        }
    }
}

impl From<CredentialsError> for Failure {
    fn from(error: CredentialsError) -> Self {
        Self::Credentials(error)
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl From<Failure> for RequestError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Credentials(error) => error.into(),
            Failure::Token(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;
