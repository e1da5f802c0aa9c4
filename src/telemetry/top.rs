//! The most frequent keys of a stream, in bounded memory.
//!
//! Filtered Space-Saving (Homem, Carvalho: "Finding top-k elements in data
//! streams", 2010). A fixed number of keys have a counter. A key without one is
//! counted in a small table by its hash, and takes over the lowest counter only
//! once its cell has reached that. So the many names that occur once neither
//! churn the counters nor allocate.
//!
//! With `n` observations and `m` counters in a shard, a reported count `c` with
//! overcount `e` means that the key occurred between `c - e` and `c` times;
//! `e <= n / m`; and every key that occurred more than `n / m` times is there.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;

/// Keys live in the shard that their hash names, so threads seldom meet.
const SHARDS: usize = 8;
/// Counters in a shard; with keys of 30 bytes all shards hold about 400 KiB.
const COUNTERS: usize = 256;
/// Filter cells per counter; six to eight is what the authors advise.
const CELLS_PER_COUNTER: usize = 8;
/// A longer key is none: a host name has at most 253 octets, a port five digits.
const MAX_KEY: usize = 300;

/// Counts keys and knows the most frequent.
pub(crate) struct Top {
    // Keyed, so that no client can choose names that share a shard or a cell.
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
}

/// One of the most frequent keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Arc<str>,
    /// At least as often as the key occurred.
    pub(crate) count: u64,
    /// By how much `count` may be too high.
    pub(crate) max_overcount: u64,
}

impl Top {
    pub(crate) fn new() -> Top {
        Top {
            hasher: RandomState::new(),
            shards: (0..SHARDS)
                .map(|_| Mutex::new(Shard::new(COUNTERS)))
                .collect(),
        }
    }

    /// Counts one occurrence.
    pub(crate) fn add(&self, key: &str) {
        if key.len() > MAX_KEY {
            return;
        }
        let hash = self.hasher.hash_one(key);
        // The high bits: a shard's cells are chosen by the low ones.
        if let Some(shard) = self.shards.get((hash >> 61) as usize % SHARDS) {
            shard.lock().add(key, hash);
        }
    }

    /// The `n` most frequent keys, the most frequent first.
    pub(crate) fn top(&self, n: usize) -> Vec<Entry> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(shard.lock().entries().cloned());
        }
        all.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
        all.truncate(n);
        all
    }
}

struct Shard {
    max: usize,
    /// Place of a key in `slots`.
    index: HashMap<Arc<str>, usize>,
    slots: Vec<Slot>,
    /// Places in `slots` as a binary heap, the lowest count on top.
    heap: Vec<usize>,
    cells: Box<[u64]>,
}

struct Slot {
    entry: Entry,
    hash: u64,
    /// Where in `heap` this slot is.
    rank: usize,
}

impl Shard {
    fn new(max: usize) -> Shard {
        Shard {
            max,
            index: HashMap::new(),
            slots: Vec::new(),
            heap: Vec::new(),
            cells: vec![0; max * CELLS_PER_COUNTER].into(),
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().map(|slot| &slot.entry)
    }

    fn add(&mut self, key: &str, hash: u64) {
        if let Some(&slot) = self.index.get(key) {
            self.increment(slot);
        } else if self.slots.len() < self.max {
            self.insert(key, hash);
        } else {
            self.filter(key, hash);
        }
    }

    fn increment(&mut self, slot: usize) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.entry.count += 1;
            let rank = slot.rank;
            self.sift_down(rank);
        }
    }

    fn insert(&mut self, key: &str, hash: u64) {
        let key: Arc<str> = key.into();
        self.index.insert(Arc::clone(&key), self.slots.len());
        self.heap.push(self.slots.len());
        self.slots.push(Slot {
            entry: Entry {
                key,
                count: 1,
                max_overcount: 0,
            },
            hash,
            rank: self.heap.len() - 1,
        });
        // One is the lowest count there can be: it rises to the top or stays
        // below another one.
        self.sift_up(self.heap.len() - 1);
    }

    /// Counts a key without a counter, and gives it one if it earned it.
    fn filter(&mut self, key: &str, hash: u64) {
        let Some(&lowest) = self.heap.first() else {
            return;
        };
        let own = cell(&self.cells, hash);
        let (Some(slot), Some(count)) = (self.slots.get_mut(lowest), self.cells.get_mut(own))
        else {
            return;
        };
        if *count + 1 < slot.entry.count {
            *count += 1;
            return;
        }
        let seen = *count;
        // What is known of the key that goes is kept in its cell.
        let theirs = cell(&self.cells, slot.hash);
        if let Some(count) = self.cells.get_mut(theirs) {
            *count = (*count).max(slot.entry.count);
        }
        self.index.remove(&slot.entry.key);
        let key: Arc<str> = key.into();
        self.index.insert(Arc::clone(&key), lowest);
        slot.hash = hash;
        slot.entry = Entry {
            key,
            count: seen + 1,
            max_overcount: seen,
        };
        self.sift_down(0);
    }

    fn sift_down(&mut self, mut rank: usize) {
        loop {
            let left = 2 * rank + 1;
            let lower = if self.count_at(left + 1) < self.count_at(left) {
                left + 1
            } else {
                left
            };
            if self.count_at(lower) >= self.count_at(rank) {
                return;
            }
            self.swap(rank, lower);
            rank = lower;
        }
    }

    fn sift_up(&mut self, mut rank: usize) {
        while rank > 0 {
            let parent = (rank - 1) / 2;
            if self.count_at(rank) >= self.count_at(parent) {
                return;
            }
            self.swap(rank, parent);
            rank = parent;
        }
    }

    /// The count at a place of the heap; a place beyond its end is the highest.
    fn count_at(&self, rank: usize) -> u64 {
        self.heap
            .get(rank)
            .and_then(|&slot| self.slots.get(slot))
            .map_or(u64::MAX, |slot| slot.entry.count)
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        for rank in [a, b] {
            let slot = self.heap.get(rank).and_then(|&s| self.slots.get_mut(s));
            if let Some(slot) = slot {
                slot.rank = rank;
            }
        }
    }
}

/// The filter cell of a hash.
fn cell(cells: &[u64], hash: u64) -> usize {
    // The remainder is below the length, which is a usize.
    (hash % cells.len().max(1) as u64) as usize
}

#[cfg(test)]
mod tests;
