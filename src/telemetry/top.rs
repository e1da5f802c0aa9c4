//! The most frequent keys of a stream, in bounded memory.
//!
//! Filtered Space-Saving (Homem, Carvalho: "Finding top-k elements in data
//! streams", 2010). A fixed number of keys have a counter. A key without one is
//! counted in a small table by its hash, and takes over the lowest counter only
//! once its cell has reached that. So the many names that occur once neither
//! churn the counters nor allocate.
//!
//! Which key has a counter goes by its score: one for each request, and one for each mebibyte, so that a key with few
//! requests and many bytes is there too.
//!
//! With a score of `n` in all and `m` counters in a shard, a reported count `c` of requests with
//! overcount `e` means that the key occurred between `c - e` and `c` times;
//! `e <= n / m`; and every key with a score of more than `n / m` is there. Bytes and denials are counted from when the
//! key has a counter, and so are never too high.

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

/// Bytes that count as much as a request.
const BYTES_OF_ONE: u64 = 1024 * 1024;

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
    /// What else was counted of it; `requests` is `count`.
    pub(crate) weight: Weight,
}

/// What is counted of a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Requests.
    pub(crate) requests: u64,
    /// Bytes from clients.
    pub(crate) from_client: u64,
    /// Bytes to clients.
    pub(crate) to_client: u64,
    /// Denials.
    pub(crate) denials: u64,
    /// When it was last seen, in seconds since 1970. It is no sum.
    pub(crate) last_seen: u64,
}

impl Weight {
    /// One request.
    pub(crate) const ONE: Weight = Weight {
        requests: 1,
        from_client: 0,
        to_client: 0,
        denials: 0,
        last_seen: 0,
    };

    /// Bytes of both directions.
    pub(crate) fn bytes(&self) -> u64 {
        self.from_client.saturating_add(self.to_client)
    }

    /// What it counts for a counter.
    fn score(&self) -> u64 {
        self.requests.saturating_add(self.bytes() / BYTES_OF_ONE)
    }

    pub(crate) fn add(&mut self, more: &Weight) {
        self.requests = self.requests.saturating_add(more.requests);
        self.from_client = self.from_client.saturating_add(more.from_client);
        self.to_client = self.to_client.saturating_add(more.to_client);
        self.denials = self.denials.saturating_add(more.denials);
        self.last_seen = self.last_seen.max(more.last_seen);
    }
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

    /// Counts what was observed of a key.
    pub(crate) fn add(&self, key: &str, weight: &Weight) {
        if key.len() > MAX_KEY {
            return;
        }
        let hash = self.hasher.hash_one(key);
        // The high bits: a shard's cells are chosen by the low ones.
        if let Some(shard) = self.shards.get((hash >> 61) as usize % SHARDS) {
            shard.lock().add(key, hash, weight);
        }
    }

    /// The `n` most frequent keys, the most frequent first.
    pub(crate) fn top(&self, n: usize) -> Vec<Entry> {
        let mut all = self.entries();
        all.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
        all.truncate(n);
        all
    }

    /// All keys that have a counter.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut all = Vec::new();
        for shard in &self.shards {
            all.extend(shard.lock().entries().cloned());
        }
        all
    }
}

struct Shard {
    max: usize,
    /// Place of a key in `slots`.
    index: HashMap<Arc<str>, usize>,
    slots: Vec<Slot>,
    /// Places in `slots` as a binary heap, the lowest score on top.
    heap: Vec<usize>,
    cells: Box<[Cell]>,
}

/// What is known of the keys of one hash that have no counter: no one of them has more.
#[derive(Clone, Copy, Default)]
struct Cell {
    score: u64,
    count: u64,
}

struct Slot {
    entry: Entry,
    score: u64,
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
            cells: vec![Cell::default(); max * CELLS_PER_COUNTER].into(),
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().map(|slot| &slot.entry)
    }

    fn add(&mut self, key: &str, hash: u64, weight: &Weight) {
        if let Some(&slot) = self.index.get(key) {
            self.increment(slot, weight);
        } else if weight.score() == 0 {
            // Of a key without a counter, less than one is nothing.
        } else if self.slots.len() < self.max {
            self.insert(key, hash, weight);
        } else {
            self.filter(key, hash, weight);
        }
    }

    fn increment(&mut self, slot: usize, weight: &Weight) {
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.entry.count += weight.requests;
            slot.entry.weight.add(weight);
            slot.score += weight.score();
            let rank = slot.rank;
            self.sift_down(rank);
        }
    }

    fn insert(&mut self, key: &str, hash: u64, weight: &Weight) {
        let key: Arc<str> = key.into();
        self.index.insert(Arc::clone(&key), self.slots.len());
        self.heap.push(self.slots.len());
        self.slots.push(Slot {
            entry: Entry {
                key,
                count: weight.requests,
                max_overcount: 0,
                weight: *weight,
            },
            score: weight.score(),
            hash,
            rank: self.heap.len() - 1,
        });
        self.sift_up(self.heap.len() - 1);
    }

    /// Counts a key without a counter, and gives it one if it earned it.
    fn filter(&mut self, key: &str, hash: u64, weight: &Weight) {
        let Some(&lowest) = self.heap.first() else {
            return;
        };
        let own = cell(&self.cells, hash);
        let (Some(slot), Some(known)) = (self.slots.get_mut(lowest), self.cells.get_mut(own))
        else {
            return;
        };
        if known.score + weight.score() < slot.score {
            known.score += weight.score();
            known.count += weight.requests;
            return;
        }
        let seen = *known;
        // What is known of the key that goes is kept in its cell.
        let theirs = cell(&self.cells, slot.hash);
        if let Some(known) = self.cells.get_mut(theirs) {
            known.score = known.score.max(slot.score);
            known.count = known.count.max(slot.entry.count);
        }
        self.index.remove(&slot.entry.key);
        let key: Arc<str> = key.into();
        self.index.insert(Arc::clone(&key), lowest);
        slot.hash = hash;
        slot.score = seen.score + weight.score();
        slot.entry = Entry {
            key,
            count: seen.count + weight.requests,
            max_overcount: seen.count,
            weight: *weight,
        };
        self.sift_down(0);
    }

    fn sift_down(&mut self, mut rank: usize) {
        loop {
            let left = 2 * rank + 1;
            let lower = if self.score_at(left + 1) < self.score_at(left) {
                left + 1
            } else {
                left
            };
            if self.score_at(lower) >= self.score_at(rank) {
                return;
            }
            self.swap(rank, lower);
            rank = lower;
        }
    }

    fn sift_up(&mut self, mut rank: usize) {
        while rank > 0 {
            let parent = (rank - 1) / 2;
            if self.score_at(rank) >= self.score_at(parent) {
                return;
            }
            self.swap(rank, parent);
            rank = parent;
        }
    }

    /// The score at a place of the heap; a place beyond its end is the highest.
    fn score_at(&self, rank: usize) -> u64 {
        self.heap
            .get(rank)
            .and_then(|&slot| self.slots.get(slot))
            .map_or(u64::MAX, |slot| slot.score)
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
fn cell(cells: &[Cell], hash: u64) -> usize {
    // The remainder is below the length, which is a usize.
    (hash % cells.len().max(1) as u64) as usize
}

#[cfg(test)]
mod tests;
