//! The slots of origins, made when an origin is first asked.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Bound, Slots};

/// Locks that requests to different origins do not share.
pub(super) const SHARDS: usize = 16;

/// Origins of a shard that are looked through for such as are not in use.
pub(super) const SWEEP_AT: usize = 256;

/// Origins of a shard that are kept because of their idle connections. Which thread has
/// one is then not known of others.
pub(super) const MAX_IDLE: usize = 512;

/// The slots of origins, by address, as long as they are in use or a connection is idle.
#[derive(Debug)]
pub struct OriginSlots {
    bound: Bound,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug)]
struct Shard {
    origins: HashMap<SocketAddr, Slots>,
    sweep_at: usize,
}

impl OriginSlots {
    /// Every origin has the same.
    pub fn new(bound: Bound) -> Self {
        let shard = || {
            Mutex::new(Shard {
                origins: HashMap::new(),
                sweep_at: SWEEP_AT,
            })
        };
        Self {
            bound,
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| shard()),
        }
    }

    /// The slots of the origin at `address`.
    pub fn of(&self, address: SocketAddr) -> Slots {
        let hash = usize::try_from(self.hasher.hash_one(address) % SHARDS as u64).unwrap_or(0);
        // Always there: the index is below the number of shards.
        let Some(shard) = self.shards.get(hash) else {
            return Slots::new(address, self.bound);
        };
        let mut shard = shard.lock();
        if let Some(slots) = shard.origins.get(&address) {
            return slots.clone();
        }
        if shard.origins.len() >= shard.sweep_at {
            shard.sweep();
        }
        let slots = Slots::new(address, self.bound);
        shard.origins.insert(address, slots.clone());
        slots
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.shards.iter().map(|it| it.lock().origins.len()).sum()
    }
}

impl Shard {
    fn sweep(&mut self) {
        let mut idle = 0;
        self.origins.retain(|_, slots| {
            // Every slot, and everyone who waits for one, holds the state.
            if Arc::strong_count(&slots.shares) > 1 {
                return true;
            }
            let mut shares = slots.shares.lock();
            // With one share it needs no state to find the connections again.
            let keep = idle < MAX_IDLE && shares.are_several() && shares.may_have_connections();
            idle += usize::from(keep);
            keep
        });
        // So that sweeping costs each new origin a constant.
        self.sweep_at = SWEEP_AT.max(self.origins.len() * 2);
    }
}
