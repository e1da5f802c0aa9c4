//! A bounded table of failures: by a key that no client can choose, with a small number of places for each.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Places of a bucket. An operation looks at so many entries at most.
const PLACES: usize = 8;

/// Credentials of a key that are known to have failed. A user has old passwords on more than one device.
const KNOWN: usize = 4;

/// When a key is locked, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// From so many failures on.
    pub(super) limit: u32,
    pub(super) window: Duration,
    pub(super) first: Duration,
    pub(super) factor: u32,
    pub(super) max: Duration,
}

/// The failures of each key. Every bucket has a lock of its own, which is held for a look at its places.
pub(super) struct Table {
    buckets: Box<[Mutex<Vec<Entry>>]>,
}

/// The failures of one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    key: u64,
    /// The credentials that failed last, the last ones first.
    known: [u64; KNOWN],
    pub(super) failures: u32,
    /// The end of the last lock; none before there is one. A moment in its place, such as that of the first failure, would be
    /// a lock for a request that looked at the clock before it.
    locked_until: Option<Instant>,
    forgotten_at: Instant,
}

/// What a failure does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// Nothing: the key is locked, or the credentials are known to have failed.
    Ignored,
    /// It counts.
    Added,
    /// It counts, and a lock begins.
    Locked {
        /// How many failures count.
        failures: u32,
        /// How long the lock is.
        delay: Duration,
    },
}

impl Scale {
    /// The lock after so many failures, if there is one.
    pub(super) fn delay(&self, failures: u32) -> Option<Duration> {
        let further = failures.checked_sub(self.limit)?;
        let mut delay = self.first;
        for _ in 0..further {
            let next = delay.saturating_mul(self.factor);
            if next >= self.max || next == delay {
                return Some(next.min(self.max));
            }
            delay = next;
        }
        Some(delay.min(self.max))
    }

    /// How many further failures a key may have, by its entry.
    pub(super) fn left(&self, entry: Option<Entry>) -> u32 {
        let failures = entry.map_or(0, |entry| entry.failures);
        self.limit.saturating_sub(failures).max(1)
    }
}

impl Entry {
    /// How long the key stays locked.
    pub(super) fn lock(&self, now: Instant) -> Option<Duration> {
        let left = self.locked_until?.checked_duration_since(now)?;
        (!left.is_zero()).then_some(left)
    }

    /// Whether these credentials are known to have failed.
    pub(super) fn knows(&self, credentials: u64) -> bool {
        let last = usize::try_from(self.failures).unwrap_or(usize::MAX);
        self.known.iter().take(last).any(|it| *it == credentials)
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        now >= self.forgotten_at
    }

    /// What counts least is the least: of what is not locked, the fewest failures.
    fn weight(&self, now: Instant) -> (Instant, u32, Instant) {
        let locked_until = self.locked_until.unwrap_or(now).max(now);
        (locked_until, self.failures, self.forgotten_at)
    }
}

impl Table {
    /// An empty table for so many keys, rounded up to whole buckets.
    pub(super) fn new(entries: usize) -> Self {
        let buckets = entries.div_ceil(PLACES).max(1);
        Self {
            buckets: (0..buckets).map(|_| Mutex::default()).collect(),
        }
    }

    /// The entry of a key, unless it is forgotten.
    pub(super) fn find(&self, key: u64, now: Instant) -> Option<Entry> {
        let bucket = self.bucket(key)?.lock();
        let entry = bucket.iter().find(|entry| entry.key == key)?;
        (!entry.is_forgotten(now)).then_some(*entry)
    }

    /// Counts a failure of a key.
    pub(super) fn fail(&self, key: u64, credentials: u64, scale: &Scale, now: Instant) -> Count {
        let Some(bucket) = self.bucket(key) else {
            return Count::Ignored;
        };
        let mut bucket = bucket.lock();
        bucket.retain(|entry| !entry.is_forgotten(now));
        let at = bucket.iter().position(|entry| entry.key == key);
        let mut entry = Entry {
            key,
            known: [0; KNOWN],
            failures: 0,
            locked_until: None,
            forgotten_at: now + scale.window,
        };
        if let Some(known) = at.and_then(|at| bucket.get(at)) {
            if known.knows(credentials) || known.lock(now).is_some() {
                return Count::Ignored;
            }
            entry = *known;
        }
        entry.known.rotate_right(1);
        if let Some(first) = entry.known.first_mut() {
            *first = credentials;
        }
        entry.failures = entry.failures.saturating_add(1);
        let failures = entry.failures;
        let delay = scale.delay(failures);
        if let Some(delay) = delay {
            let until = now + delay;
            entry.locked_until = Some(until);
            entry.forgotten_at = until + scale.window;
        }
        put(&mut bucket, at, entry, now);
        delay.map_or(Count::Added, |delay| Count::Locked { failures, delay })
    }

    /// Forgets a key.
    pub(super) fn remove(&self, key: u64) {
        if let Some(bucket) = self.bucket(key) {
            bucket.lock().retain(|entry| entry.key != key);
        }
    }

    /// The same entries, as far as there is a place, in a table for so many.
    pub(super) fn resized(&self, entries: usize, now: Instant) -> Self {
        let table = Self::new(entries);
        for bucket in &self.buckets {
            // Copied, so that no request waits for more than this.
            let held = bucket.lock().clone();
            for entry in held.into_iter().filter(|entry| !entry.is_forgotten(now)) {
                if let Some(bucket) = table.bucket(entry.key) {
                    put(&mut bucket.lock(), None, entry, now);
                }
            }
        }
        table
    }

    fn bucket(&self, key: u64) -> Option<&Mutex<Vec<Entry>>> {
        // The width of `usize` does not matter for the choice.
        let at = (key as usize).checked_rem(self.buckets.len())?;
        self.buckets.get(at)
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.lock().len()).sum()
    }

    /// The memory of the table, in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let places: usize = self.buckets.iter().map(|it| it.lock().capacity()).sum();
        size_of_val(&*self.buckets) + places * size_of::<Entry>()
    }
}

/// Writes an entry in the place that it has, a free one, or that of the entry that counts least.
fn put(bucket: &mut Vec<Entry>, at: Option<usize>, entry: Entry, now: Instant) {
    let at = at.or_else(|| {
        let is_full = bucket.len() >= PLACES;
        let places = bucket.iter().enumerate().filter(|_| is_full);
        let least = places.min_by_key(|(_, entry)| entry.weight(now));
        least.map(|(at, _)| at)
    });
    match at.and_then(|at| bucket.get_mut(at)) {
        Some(place) => *place = entry,
        None => bucket.push(entry),
    }
}
