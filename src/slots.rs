//! How many requests one server gets at once, and who is next. What comes over the
//! bound waits its turn instead of opening one more connection: that is what keeps
//! a proxy fast when thousands of clients ask at the same moment.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The slots of one server.
#[derive(Clone, Debug)]
pub struct Slots {
    address: SocketAddr,
    free: Arc<Semaphore>,
}

/// The right to have one request at a server, until dropped.
#[derive(Debug)]
pub struct Slot {
    /// Where to connect.
    pub address: SocketAddr,
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    /// `bound` slots of the server at `address`.
    pub fn new(address: SocketAddr, bound: usize) -> Self {
        let bound = bound.min(Semaphore::MAX_PERMITS);
        Self {
            address,
            free: Arc::new(Semaphore::new(bound)),
        }
    }

    /// Where the server is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A slot that is free now. Nobody who waits is overtaken.
    pub fn try_take(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(self.slot(permit))
    }

    /// The next slot that comes free, for whoever waits longest; none within `limit`.
    pub async fn wait(&self, limit: Duration) -> Option<Slot> {
        let permit = Arc::clone(&self.free).acquire_owned();
        // The semaphore is never closed.
        let permit = pingora_timeout::timeout(limit, permit).await.ok()?.ok()?;
        Some(self.slot(permit))
    }

    fn slot(&self, permit: OwnedSemaphorePermit) -> Slot {
        Slot {
            address: self.address,
            _permit: permit,
        }
    }
}

/// Requests in Pingora's hands that make a crowd. Below that a request goes there at
/// once; it then costs some 20 KiB, and so thousands that wait for a slot cost less
/// if they wait outside.
const CROWD: usize = 512;

/// How many requests are in Pingora's hands.
#[derive(Debug, Default)]
pub struct Crowd(AtomicUsize);

/// One request in Pingora's hands, until dropped.
#[derive(Debug)]
pub struct Inside<'a>(&'a Crowd);

impl Crowd {
    /// One more.
    pub fn enter(&self) -> Inside<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Inside(self)
    }

    /// Whether one more had better wait outside.
    pub fn is_large(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= CROWD
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Locks that requests to different origins do not share.
const SHARDS: usize = 16;

/// Origins of a shard that are looked through for such as are not in use.
const SWEEP_AT: usize = 256;

/// The slots of origins, by address, as long as they are in use.
#[derive(Debug)]
pub struct OriginSlots {
    bound: usize,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug)]
struct Shard {
    origins: HashMap<SocketAddr, Slots>,
    sweep_at: usize,
}

impl OriginSlots {
    /// Every origin has `bound` slots.
    pub fn new(bound: usize) -> Self {
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
            // Every slot, and everyone who waits for one, holds a share.
            shard
                .origins
                .retain(|_, slots| Arc::strong_count(&slots.free) > 1);
            // So that sweeping costs each new origin a constant.
            shard.sweep_at = SWEEP_AT.max(shard.origins.len() * 2);
        }
        let slots = Slots::new(address, self.bound);
        shard.origins.insert(address, slots.clone());
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    fn address(host: u32) -> SocketAddr {
        SocketAddr::from((std::net::Ipv4Addr::from(host), 80))
    }

    #[tokio::test]
    async fn over_the_bound_one_waits_for_a_slot() {
        let slots = Slots::new(address(1), 2);
        let first = slots.try_take().unwrap();
        let second = slots.wait(LIMIT).await.unwrap();
        assert_eq!(second.address, address(1));
        assert!(slots.try_take().is_none());
        assert!(slots.wait(LIMIT).await.is_none(), "none came free");
        let (slot, ()) = tokio::join!(slots.wait(Duration::from_secs(10)), async { drop(first) });
        assert!(slot.is_some());
    }

    #[test]
    fn an_origin_has_the_same_slots_as_long_as_they_are_in_use() {
        let origins = OriginSlots::new(1);
        let slot = origins.of(address(1)).try_take().unwrap();
        assert!(origins.of(address(2)).try_take().is_some());
        // Many others come and go.
        for host in 3..20_000 {
            assert!(origins.of(address(host)).try_take().is_some());
        }
        assert!(origins.of(address(1)).try_take().is_none());
        drop(slot);
        assert!(origins.of(address(1)).try_take().is_some());
        let kept: usize = origins
            .shards
            .iter()
            .map(|it| it.lock().origins.len())
            .sum();
        assert!(kept <= SHARDS * (SWEEP_AT + 1), "{kept} origins are kept");
    }
}
