//! Failed logins, and what they lock: each user at the network that the failures come from, and each network.
//!
//! Pure: time is an argument. The caller asks for the [`Standing`] of a login before it verifies credentials, takes a
//! place for the time of the verification, and says how it ended. Memory is limited, and a key is a MAC, so that no client
//! chooses the entry that it takes.
//!
//! - A failure counts for the pair of user and network, and for the network. The tables are apart: many names
//!   from one network never take the place of the network's entry.
//! - The same wrong credentials again are no further failure while the pair has an entry, and need no hash: the result is
//!   known.
//! - From a number of failures on, each further one locks: twice as long as the one before, by default. While a lock lasts,
//!   nothing counts, so that a client that tries again does not prolong it.
//! - What is under way counts as if it had failed, so that a thousand guesses at once are no more than five.
//! - Right credentials clear the pair. They do not clear the network, where an attacker may have an account.

mod table;
#[cfg(test)]
mod tests;
mod under_way;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::table::{Count, Scale, Table};
pub use self::under_way::UnderWay;
use self::under_way::UnderWayLogins;
use super::authenticator::Attempt;
use super::cache::{EntropyError, random_secret};
use crate::access::client::network_of;

/// When failures lock, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockoutSettings {
    /// Failures of a user at a network, of which the last one locks.
    pub failures: u32,
    /// Failures of a network, of which the last one locks.
    pub network_failures: u32,
    /// How long failures count.
    pub window: Duration,
    /// The first lock.
    pub first: Duration,
    /// How many times as long each further lock is.
    pub factor: u32,
    /// The longest lock.
    pub max: Duration,
    /// How many pairs of user and network are kept, and how many networks.
    pub entries: usize,
}

/// The failed logins that count. Threads share it by reference.
pub struct Lockout {
    settings: LockoutSettings,
    tables: Arc<Tables>,
    under_way: Arc<UnderWayLogins>,
}

struct Tables {
    /// The key of the MAC, for this process only and never stored.
    secret: [u8; 32],
    pairs: Table,
    networks: Table,
}

/// A login: its user and network, its network, and its credentials, each as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Login {
    pair: u64,
    network: u64,
    credentials: u64,
}

/// What a login may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its credentials may be verified.
    Open {
        /// So many of the pair at once.
        left: u32,
    },
    /// Its credentials are known to be wrong.
    KnownWrong,
    /// It has to wait.
    Locked {
        /// For so long.
        left: Duration,
    },
}

/// A lock that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// How many failures there were.
    pub failures: u32,
    /// How long it lasts.
    pub delay: Duration,
}

/// The locks that a failure begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// Of the user at its network.
    pub user: Option<Lock>,
    /// Of the network.
    pub network: Option<Lock>,
}

impl Lockout {
    /// One without failures.
    ///
    /// # Errors
    /// [`EntropyError`] when no secret can be made.
    pub fn new(settings: LockoutSettings) -> Result<Self, EntropyError> {
        let tables = Tables {
            secret: random_secret()?,
            pairs: Table::new(settings.entries),
            networks: Table::new(settings.entries),
        };
        Ok(Self {
            settings,
            tables: Arc::new(tables),
            under_way: Arc::default(),
        })
    }

    /// The same failures with other settings. Locks that have begun end when they were to.
    #[must_use]
    pub fn succeeded_by(&self, settings: LockoutSettings, now: Instant) -> Self {
        let tables = if settings.entries == self.settings.entries {
            Arc::clone(&self.tables)
        } else {
            Arc::new(Tables {
                secret: self.tables.secret,
                pairs: self.tables.pairs.resized(settings.entries, now),
                networks: self.tables.networks.resized(settings.entries, now),
            })
        };
        Self {
            settings,
            tables,
            under_way: Arc::clone(&self.under_way),
        }
    }

    /// The settings.
    pub fn settings(&self) -> &LockoutSettings {
        &self.settings
    }

    /// The login of an attempt. The user need not exist.
    pub fn login(&self, attempt: &Attempt, client: IpAddr) -> Login {
        let (credentials, hash) = attempt.parts();
        // Against another hash, they are not known to be wrong.
        let hash = hash.map(|hash| hash.wrapping_add(1)).unwrap_or_default();
        let user = attempt.user().as_str();
        self.make(client, user, credentials, hash)
    }

    fn make(&self, client: IpAddr, user: &str, credentials: &[u8], hash: u64) -> Login {
        let network = network_of(client).to_string();
        let (network, user) = (network.as_bytes(), user.as_bytes());
        Login {
            pair: self.number(&[b"pair", network, user]),
            network: self.number(&[b"network", network]),
            credentials: self.number(&[b"credentials", credentials, &hash.to_le_bytes()]),
        }
    }

    /// What a login may do at this moment.
    pub fn standing(&self, login: &Login, now: Instant) -> Standing {
        let pair = self.tables.pairs.find(login.pair, now);
        let network = self.tables.networks.find(login.network, now);
        let locks = [pair, network].into_iter().flatten();
        if let Some(left) = locks.filter_map(|entry| entry.lock(now)).max() {
            return Standing::Locked { left };
        }
        if pair.is_some_and(|entry| entry.knows(login.credentials)) {
            return Standing::KnownWrong;
        }
        Standing::Open {
            left: self.scale(self.settings.failures).left(pair),
        }
    }

    /// How many further failures the network of a login may have, one at least.
    pub fn network_left(&self, login: &Login, now: Instant) -> u32 {
        let network = self.tables.networks.find(login.network, now);
        self.scale(self.settings.network_failures).left(network)
    }

    /// A place for the time of a verification, where the pair has fewer than `left` with other credentials under way.
    pub fn begin(&self, login: &Login, left: u32) -> Option<UnderWay> {
        UnderWay::take(&self.under_way, login.pair, login.credentials, left)
    }

    /// Counts a login that failed.
    pub fn failed(&self, login: &Login, now: Instant) -> Begun {
        let scale = self.scale(self.settings.failures);
        let pairs = &self.tables.pairs;
        let pair = pairs.fail(login.pair, login.credentials, &scale, now);
        if pair == Count::Ignored {
            return Begun::default();
        }
        let scale = self.scale(self.settings.network_failures);
        // Each failure of a pair is another one of its network.
        let networks = &self.tables.networks;
        let credentials = login.credentials ^ login.pair;
        let network = networks.fail(login.network, credentials, &scale, now);
        Begun {
            user: pair.lock(),
            network: network.lock(),
        }
    }

    /// Forgets the failures of the user at this network.
    pub fn succeeded(&self, login: &Login) {
        self.tables.pairs.remove(login.pair);
    }

    fn scale(&self, limit: u32) -> Scale {
        let LockoutSettings {
            window,
            first,
            factor,
            max,
            ..
        } = self.settings;
        Scale {
            limit,
            window,
            first,
            factor,
            max,
        }
    }

    fn number(&self, parts: &[&[u8]]) -> u64 {
        let mut mac = blake3::Hasher::new_keyed(&self.tables.secret);
        for part in parts {
            mac.update(&part.len().to_le_bytes());
            mac.update(part);
        }
        let mac = mac.finalize();
        let part = mac.as_bytes().first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(part)
    }
}

impl Count {
    fn lock(self) -> Option<Lock> {
        match self {
            Self::Locked { failures, delay } => Some(Lock { failures, delay }),
            Self::Ignored | Self::Added => None,
        }
    }
}

impl fmt::Display for Lock {
    /// The end of a line of the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { failures, delay } = self;
        write!(
            f,
            "is locked out for {delay:?} after {failures} failed logins"
        )
    }
}

impl fmt::Debug for Lockout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lockout")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
