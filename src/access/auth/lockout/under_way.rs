//! The logins that are being verified: of each pair of user and network, how many with different credentials.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// What is under way, by pair. There are as many as requests that wait for a verification.
#[derive(Default)]
pub(super) struct UnderWayLogins {
    /// Of each pair, the credentials, and how many requests have them.
    pairs: Mutex<HashMap<u64, HashMap<u64, u32>>>,
}

/// A login under way, until it is dropped.
pub struct UnderWay {
    all: Arc<UnderWayLogins>,
    pair: u64,
    credentials: u64,
}

impl UnderWay {
    /// A place, where the pair has fewer than `most` with other credentials.
    pub(super) fn take(
        all: &Arc<UnderWayLogins>,
        pair: u64,
        credentials: u64,
        most: u32,
    ) -> Option<Self> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut pairs = all.pairs.lock();
        let same = pairs.entry(pair).or_default();
        // A pair has an entry as long as it has a login: `most` is one at least.
        if same.len() >= most.max(1) && !same.contains_key(&credentials) {
            return None;
        }
        *same.entry(credentials).or_default() += 1;
        Some(Self {
            all: Arc::clone(all),
            pair,
            credentials,
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut pairs = self.all.pairs.lock();
        let Entry::Occupied(mut same) = pairs.entry(self.pair) else {
            return;
        };
        if let Entry::Occupied(mut count) = same.get_mut().entry(self.credentials) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        if same.get().is_empty() {
            same.remove();
        }
    }
}

impl UnderWayLogins {
    /// How many pairs have a login.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.pairs.lock().len()
    }
}

impl fmt::Debug for UnderWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnderWay(..)")
    }
}
