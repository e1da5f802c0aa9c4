//! An issuer of tokens: what its tokens have to say, and its keys.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use super::claims::{self, ClaimPath};
use super::error::TokenError;
use super::jws::Jws;
use super::key::Key;
use super::key_set::KeySet;
use crate::access::auth::Identity;
use crate::access::auth::identity::IdentityFacts;
use crate::access::auth::json::Object;
use crate::http::url::HttpUrl;

/// What the configuration says of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSettings {
    /// `iss`, compared byte by byte.
    pub issuer: Box<str>,
    /// Where its keys are.
    pub source: KeySource,
    /// `aud` has one of these.
    pub audience: Vec<Box<str>>,
    /// The claim that is the user.
    pub user_claim: ClaimPath,
    /// What the name of the user begins with.
    pub user_prefix: Box<str>,
    /// The claim that has groups.
    pub groups_claim: Option<ClaimPath>,
    /// How far clocks may differ.
    pub leeway: Duration,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file, which is read at the start and at a reload.
    File(PathBuf),
    /// A URL, which is fetched now and then.
    Url(HttpUrl),
}

/// An issuer with its keys, which change while it is in use.
#[derive(Debug)]
pub struct Issuer {
    pub(super) settings: IssuerSettings,
    keys: ArcSwap<Vec<Arc<Key>>>,
    /// Whether the configuration has it no longer, or with other settings.
    is_retired: AtomicBool,
}

/// How a set of keys differs from the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyChanges {
    /// Keys that the set before did not have.
    pub added: usize,
    /// Keys that it had.
    pub removed: usize,
}

impl Issuer {
    /// An issuer with the keys of a file, or with none where they are still to be fetched.
    pub fn new(settings: IssuerSettings, keys: KeySet) -> Issuer {
        let keys = keys.0.into_iter().map(|key| Arc::new(Key::from(key)));
        Issuer {
            settings,
            keys: ArcSwap::from_pointee(keys.collect()),
            is_retired: AtomicBool::new(false),
        }
    }

    /// `iss` of its tokens.
    pub fn name(&self) -> &str {
        &self.settings.issuer
    }

    /// Where its keys are fetched, if they are.
    pub fn url(&self) -> Option<&HttpUrl> {
        match &self.settings.source {
            KeySource::Url(url) => Some(url),
            KeySource::File(_) => None,
        }
    }

    /// Takes another set of keys. What was verified with a key that is not in it does not count any more. Not for two
    /// callers at a time.
    pub fn replace_keys(&self, set: KeySet) -> KeyChanges {
        let old = self.keys.load_full();
        let mut changes = KeyChanges::default();
        let mut keys = Vec::with_capacity(set.0.len());
        for public in set.0 {
            match old.iter().find(|old| old.public == public) {
                Some(same) => keys.push(Arc::clone(same)),
                None => {
                    changes.added += 1;
                    keys.push(Arc::new(Key::from(public)));
                }
            }
        }
        let stays = |key: &Arc<Key>| keys.iter().any(|kept| Arc::ptr_eq(kept, key));
        let gone: Vec<Arc<Key>> = old.iter().filter(|key| !stays(key)).cloned().collect();
        self.keys.store(Arc::new(keys));
        gone.iter().for_each(|key| key.retire());
        changes.removed = gone.len();
        changes
    }

    /// The keys as they are now.
    pub(super) fn key_set(&self) -> KeySet {
        let keys = self.keys.load();
        KeySet(keys.iter().map(|key| key.public.clone()).collect())
    }

    pub(super) fn retire(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
    }

    /// Whether the configuration has it no longer, or with other settings.
    pub fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Relaxed)
    }

    /// The key that a token names. `number` is the position of this issuer, for an error.
    ///
    /// The token selects a key and nothing else: the algorithm is that of the key (RFC 8725 §3.1).
    pub(super) fn key(&self, jws: &Jws<'_>, number: usize) -> Result<Arc<Key>, TokenError> {
        let keys = self.keys.load();
        let fits = |key: &&Arc<Key>| key.public.material.is_for(&jws.algorithm);
        let found = match &jws.key_id {
            Some(_) => {
                let named = |key: &&Arc<Key>| key.public.id == jws.key_id;
                let mut all = keys.iter().filter(named);
                match all.clone().find(fits) {
                    Some(key) => Some(key),
                    // The only one of the name, or one of several: none has the algorithm.
                    None => match all.next() {
                        Some(key) => return Err(other_algorithm(jws, key)),
                        None => None,
                    },
                }
            }
            None => {
                let mut all = keys.iter().filter(fits);
                let first = all.next();
                match (first, keys.as_slice()) {
                    (None, [only]) => return Err(other_algorithm(jws, only)),
                    _ => first.filter(|_| all.next().is_none()),
                }
            }
        };
        let missing = || TokenError::Key {
            issuer: number,
            key_id: jws.key_id.clone(),
        };
        found.cloned().ok_or_else(missing)
    }

    /// What a verified token says.
    pub(super) fn identity(
        &self,
        claims: &Object,
        expires: SystemTime,
    ) -> Result<Identity, TokenError> {
        let settings = &self.settings;
        let user = claims::user(claims, &settings.user_claim, &settings.user_prefix)?;
        let groups = match &settings.groups_claim {
            Some(path) => claims::groups(claims, path)?,
            None => Vec::new(),
        };
        let facts = IdentityFacts {
            groups,
            claims: claims::kept(claims),
            expires: Some(expires),
        };
        Ok(Identity::with_facts(user, facts))
    }
}

fn other_algorithm(jws: &Jws<'_>, key: &Key) -> TokenError {
    TokenError::Algorithm {
        alg: jws.algorithm.chars().take(32).collect(),
        key: key.public.material.algorithm(),
    }
}
