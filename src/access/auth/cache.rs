//! The cache of verified credentials, so that a slow hash runs once and not
//! for each request.
//!
//! Keeps a keyed MAC of the credentials, never the credentials: this memory
//! without the key shows user names only. Wrong credentials are not cached;
//! an attacker could fill the cache with them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use thiserror::Error;

use super::credentials::{Token68, User};
use super::htpasswd::KnownUser;

/// Credentials verified against a user's hash, by their MAC: a limited number, each for a fixed time and as long as
/// the user has this hash. Threads share it by reference.
pub struct VerifiedCache {
    /// The key of the MAC, for this cache only and never stored.
    secret: [u8; 32],
    entries: Cache<CacheKey, Verification>,
    ttl: Duration,
}

/// Identifies one pair of credentials in one cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey([u8; 32]);

/// The system gave no random bytes.
#[derive(Debug, Clone, Copy, Error)]
#[error("cannot get random bytes from the system: {0}")]
pub struct EntropyError(getrandom::Error);

#[derive(Clone)]
struct Verification {
    known: Arc<KnownUser>,
    verified_at: Instant,
}

impl VerifiedCache {
    /// An empty cache for about `capacity` pairs (some 200 bytes each). A `ttl`
    /// or a capacity of zero disables it.
    ///
    /// # Errors
    /// [`EntropyError`] when no secret can be made.
    pub fn new(capacity: usize, ttl: Duration) -> Result<Self, EntropyError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(EntropyError)?;
        Ok(Self {
            secret,
            entries: Cache::new(capacity),
            ttl,
        })
    }

    /// The key for credentials as they were sent.
    pub fn key(&self, token: Token68<'_>) -> CacheKey {
        CacheKey(*blake3::keyed_hash(&self.secret, token.expose()).as_bytes())
    }

    /// The user of these credentials, if they were verified within the `ttl` before `now`, against the hash that the
    /// user has in the file of that `generation`. Does not allocate; takes one shared lock of one shard.
    pub fn lookup(&self, key: &CacheKey, generation: u64, now: Instant) -> Option<User> {
        let entry = self.entries.get(key)?;
        let fresh = now.saturating_duration_since(entry.verified_at) < self.ttl;
        let valid = fresh && entry.known.is_in(generation);
        valid.then(|| entry.known.user().clone())
    }

    /// Adds credentials that were verified at `now`.
    pub fn insert(&self, key: CacheKey, known: Arc<KnownUser>, now: Instant) {
        let entry = Verification {
            known,
            verified_at: now,
        };
        self.entries.insert(key, entry);
    }
}

impl fmt::Debug for VerifiedCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedCache")
            .field("entries", &self.entries.len())
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::super::htpasswd::Htpasswd;
    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    fn cache() -> VerifiedCache {
        VerifiedCache::new(1000, TTL).unwrap()
    }

    fn user(name: &str) -> User {
        User::parse(name).unwrap()
    }

    fn known(name: &str) -> Arc<KnownUser> {
        let users =
            Htpasswd::parse(&format!("{name}:{{SHA}}wqawPxkN+ytKqR+K+NR3qbw0Adw=")).unwrap();
        Arc::clone(users.known(name).unwrap())
    }

    fn key(cache: &VerifiedCache, field_value: &str) -> CacheKey {
        cache.key(Token68::parse(field_value.as_bytes()).unwrap())
    }

    #[test]
    fn finds_what_was_inserted_and_nothing_else() {
        let cache = cache();
        let now = Instant::now();
        let [ann, bob] = ["Basic YW5uOjE=", "Basic Ym9iOjE="].map(|value| key(&cache, value));
        assert_eq!(cache.lookup(&ann, 0, now), None);
        cache.insert(ann, known("ann"), now);
        cache.insert(bob, known("bob"), now);
        assert_eq!(cache.lookup(&ann, 0, now), Some(user("ann")));
        assert_eq!(cache.lookup(&bob, 0, now), Some(user("bob")));
        assert_eq!(cache.lookup(&key(&cache, "Basic YW5uOjI="), 0, now), None);
        // The case of the scheme is not part of the credentials.
        assert_eq!(key(&cache, "bASIC   YW5uOjE="), ann);
    }

    #[test]
    fn an_entry_lives_for_the_ttl() {
        let cache = cache();
        let now = Instant::now();
        let ann = key(&cache, "Basic YW5uOjE=");
        cache.insert(ann, known("ann"), now);
        let last = now + TTL - Duration::from_nanos(1);
        assert_eq!(cache.lookup(&ann, 0, last), Some(user("ann")));
        // A look-up does not extend its life.
        assert_eq!(cache.lookup(&ann, 0, now + TTL), None);

        let off = VerifiedCache::new(1000, Duration::ZERO).unwrap();
        off.insert(ann, known("ann"), now);
        assert_eq!(off.lookup(&ann, 0, now), None);
    }

    #[test]
    fn is_bounded() {
        let cache = VerifiedCache::new(100, TTL).unwrap();
        let now = Instant::now();
        let user = known("ann");
        for n in 0..10_000_u32 {
            let token = format!("Basic {n}");
            cache.insert(key(&cache, &token), Arc::clone(&user), now);
        }
        // Shards round the capacity up.
        let entries = cache.entries.len();
        assert!(entries <= 256, "{entries} entries");

        let none = VerifiedCache::new(0, TTL).unwrap();
        let ann = key(&none, "Basic YW5uOjE=");
        none.insert(ann, known("ann"), now);
        assert_eq!(none.lookup(&ann, 0, now), None);
    }

    #[test]
    fn every_cache_has_its_own_secret() {
        let value = "Basic YW5uOjE=";
        assert_ne!(key(&cache(), value), key(&cache(), value));
    }
}
