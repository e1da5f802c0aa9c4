//! The cache of verified credentials, so that a slow hash runs once and not
//! for each request.
//!
//! Keeps a keyed MAC of the credentials, never the credentials: this memory
//! without the key shows user names, and what tokens say. Wrong credentials are not cached;
//! an attacker could fill the cache with them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use quick_cache::sync::Cache;
use thiserror::Error;

use super::credentials::{AuthScheme, Token68};
use super::htpasswd::KnownUser;
use super::identity::Identity;
use super::tokens::VerifiedToken;

/// Credentials verified against a user's hash or an issuer's key, by their MAC: a limited number, each for a fixed time
/// and as long as the user has this hash, or the issuer this key. Threads share it by reference.
pub struct VerifiedCache {
    /// The key of the MAC, for this cache only and never stored.
    secret: [u8; 32],
    entries: Cache<CacheKey, Verification>,
    ttl: Duration,
}

/// Identifies one pair of credentials in one cache: at all networks, or at one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CacheKey {
    mac: [u8; 32],
    scheme: AuthScheme,
    network: Option<IpAddr>,
}

impl CacheKey {
    /// The MAC of the credentials.
    pub(super) fn mac(&self) -> &[u8; 32] {
        &self.mac
    }

    /// The same credentials at this network, or at all of them.
    pub(super) fn at(self, network: Option<IpAddr>) -> Self {
        Self { network, ..self }
    }
}

impl Hash for CacheKey {
    /// A part is enough: each part of a MAC is as random as a hash of all of it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let part = self.mac.first_chunk().copied().unwrap_or_default();
        let network = match self.network {
            None => 0,
            Some(IpAddr::V4(ip)) => u64::from(ip.to_bits()),
            // The lower half is zero in a network.
            Some(IpAddr::V6(ip)) => (ip.to_bits() >> 64) as u64,
        };
        state.write_u64(u64::from_le_bytes(part) ^ network);
    }
}

/// The system gave no random bytes.
#[derive(Debug, Clone, Copy, Error)]
#[error("cannot get random bytes from the system: {0}")]
pub struct EntropyError(getrandom::Error);

/// Random bytes for the key of a MAC.
///
/// # Errors
/// [`EntropyError`] when the system has none.
pub fn random_secret() -> Result<[u8; 32], EntropyError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(EntropyError)?;
    Ok(secret)
}

#[derive(Clone)]
struct Verification {
    proof: Proof,
    verified_at: Instant,
}

/// What credentials were verified against.
#[derive(Clone)]
pub enum Proof {
    /// The hash of a user.
    Password(Arc<KnownUser>),
    /// The key of an issuer.
    Token(Arc<VerifiedToken>),
    /// The answer of this external authoriser, which is asked again each time.
    Authorizer(AuthorizerId),
}

/// An external authoriser with its settings: those of another one are another service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthorizerId(u64);

impl AuthorizerId {
    /// One that no other authoriser of this process has.
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// When a request came: by the clock that only goes forward, and by the one that tokens mean.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// For what lives for a while.
    pub instant: Instant,
    /// For what ends at a time of day.
    pub time: SystemTime,
}

impl Clocks {
    /// This moment.
    pub fn now() -> Self {
        Self {
            instant: Instant::now(),
            time: SystemTime::now(),
        }
    }
}

impl VerifiedCache {
    /// An empty cache for about `capacity` pairs (some 200 bytes each). A `ttl`
    /// or a capacity of zero disables it.
    ///
    /// # Errors
    /// [`EntropyError`] when no secret can be made.
    pub fn new(capacity: usize, ttl: Duration) -> Result<Self, EntropyError> {
        Ok(Self {
            secret: random_secret()?,
            entries: Cache::new(capacity),
            ttl,
        })
    }

    /// The key for credentials as they were sent.
    pub fn key(&self, token: Token68<'_>) -> CacheKey {
        let mac = blake3::keyed_hash(&self.secret, token.expose());
        CacheKey {
            mac: *mac.as_bytes(),
            scheme: token.scheme(),
            network: None,
        }
    }

    /// Whose credentials these are, if they were verified within the `ttl` before `now`, and count: against the hash
    /// that the user has in the file of that `generation`, or by a token that is valid. Does not allocate; takes one
    /// shared lock of one shard.
    pub fn lookup(&self, key: &CacheKey, generation: u64, now: Clocks) -> Option<Identity> {
        let entry = self.entries.get(key)?;
        if now.instant.saturating_duration_since(entry.verified_at) >= self.ttl {
            return None;
        }
        match &entry.proof {
            Proof::Password(known) => {
                let is_valid = known.is_in(generation);
                is_valid.then(|| known.user().clone().into())
            }
            Proof::Token(token) => {
                let is_valid = token.is_valid(now.time);
                is_valid.then(|| token.identity.clone())
            }
            Proof::Authorizer(_) => None,
        }
    }

    /// Whether this is a password that was verified, however long ago, against the hash that the user has in the file of
    /// that `generation`.
    pub fn was_verified(&self, key: &CacheKey, generation: u64) -> bool {
        let entry = self.entries.get(key);
        entry.is_some_and(|entry| match &entry.proof {
            Proof::Password(known) => known.is_in(generation),
            Proof::Token(_) | Proof::Authorizer(_) => false,
        })
    }

    /// Whether this authoriser has accepted these credentials, however long ago.
    pub fn was_accepted(&self, key: &CacheKey, by: AuthorizerId) -> bool {
        let entry = self.entries.get(key);
        entry.is_some_and(|entry| matches!(entry.proof, Proof::Authorizer(id) if id == by))
    }

    /// Adds what is known of one key to another one of the same credentials.
    pub fn copy(&self, from: &CacheKey, to: CacheKey) {
        if *from != to
            && let Some(entry) = self.entries.get(from)
        {
            self.entries.insert(to, entry);
        }
    }

    /// How many credentials are in the cache, expired ones too.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Forgets credentials.
    pub fn remove(&self, key: &CacheKey) {
        self.entries.remove(key);
    }

    /// Adds credentials that were verified at `now`.
    pub fn insert(&self, key: CacheKey, proof: Proof, now: Instant) {
        let entry = Verification {
            proof,
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
    use super::super::credentials::User;
    use super::super::htpasswd::Htpasswd;
    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    fn cache() -> VerifiedCache {
        VerifiedCache::new(1000, TTL).unwrap()
    }

    fn user(name: &str) -> Identity {
        User::parse(name).unwrap().into()
    }

    fn known(name: &str) -> Proof {
        let users =
            Htpasswd::parse(&format!("{name}:{{SHA}}wqawPxkN+ytKqR+K+NR3qbw0Adw=")).unwrap();
        Proof::Password(Arc::clone(users.known(name).unwrap()))
    }

    fn at(instant: Instant) -> Clocks {
        Clocks {
            instant,
            ..Clocks::now()
        }
    }

    fn key(cache: &VerifiedCache, field_value: &str) -> CacheKey {
        cache.key(Token68::parse(field_value.as_bytes()).unwrap())
    }

    #[test]
    fn finds_what_was_inserted_and_nothing_else() {
        let cache = cache();
        let now = Instant::now();
        let [ann, bob] = ["Basic YW5uOjE=", "Basic Ym9iOjE="].map(|value| key(&cache, value));
        assert_eq!(cache.lookup(&ann, 0, at(now)), None);
        cache.insert(ann, known("ann"), now);
        cache.insert(bob, known("bob"), now);
        assert_eq!(cache.lookup(&ann, 0, at(now)), Some(user("ann")));
        assert_eq!(cache.lookup(&bob, 0, at(now)), Some(user("bob")));
        assert_eq!(
            cache.lookup(&key(&cache, "Basic YW5uOjI="), 0, at(now)),
            None
        );
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
        assert_eq!(cache.lookup(&ann, 0, at(last)), Some(user("ann")));
        // A look-up does not extend its life.
        assert_eq!(cache.lookup(&ann, 0, at(now + TTL)), None);

        let off = VerifiedCache::new(1000, Duration::ZERO).unwrap();
        off.insert(ann, known("ann"), now);
        assert_eq!(off.lookup(&ann, 0, at(now)), None);
    }

    #[test]
    fn is_bounded() {
        let cache = VerifiedCache::new(100, TTL).unwrap();
        let now = Instant::now();
        let user = known("ann");
        for n in 0..10_000_u32 {
            let token = format!("Basic {n}");
            cache.insert(key(&cache, &token), user.clone(), now);
        }
        // Shards round the capacity up.
        let entries = cache.entries.len();
        assert!(entries <= 256, "{entries} entries");

        let none = VerifiedCache::new(0, TTL).unwrap();
        let ann = key(&none, "Basic YW5uOjE=");
        none.insert(ann, known("ann"), now);
        assert_eq!(none.lookup(&ann, 0, at(now)), None);
    }

    #[test]
    fn every_cache_has_its_own_secret() {
        let value = "Basic YW5uOjE=";
        assert_ne!(key(&cache(), value), key(&cache(), value));
    }
}
