//! The limits of origins, made with the first request to an origin.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Capacity, Limit, Turn, WhenFull};
use crate::access::client::Client;
use crate::http::error::ErrorKind;

/// Locks that requests to different origins do not share.
pub(super) const MAPS: usize = 16;

/// From so many origins on, a map is searched for those that are not in use.
pub(super) const SWEEP_AT: usize = 256;

/// Origins of a map that are kept because of their idle connections. Of further ones it is not known which
/// thread has an idle connection.
pub(super) const MAX_IDLE: usize = 512;

/// The limit of origins, by address, as long as they are in use or a connection is idle.
#[derive(Debug)]
pub struct OriginLimits {
    capacity: Capacity,
    hasher: RandomState,
    maps: [Mutex<Map>; MAPS],
    when_full: WhenFull,
}

#[derive(Debug)]
struct Map {
    origins: HashMap<SocketAddr, Limit>,
    sweep_at: usize,
}

impl OriginLimits {
    /// Every origin has the same limit; a request over it waits for `wait`.
    pub fn new(capacity: Capacity, wait: Duration) -> Self {
        let map = |_| Map {
            origins: HashMap::new(),
            sweep_at: SWEEP_AT,
        };
        Self {
            capacity,
            hasher: RandomState::new(),
            maps: std::array::from_fn(map).map(Mutex::new),
            when_full: WhenFull {
                wait,
                error: ErrorKind::OriginBusy,
                counted_in: None,
            },
        }
    }

    pub fn turn(&self, address: SocketAddr, thread: u16, client: Client) -> Turn {
        self.of(address).turn(thread, client, &self.when_full)
    }

    /// The limit of the origin at `address`.
    pub(super) fn of(&self, address: SocketAddr) -> Limit {
        let hash = usize::try_from(self.hasher.hash_one(address) % MAPS as u64).unwrap_or(0);
        // Always there: the index is below the number of maps.
        let Some(map) = self.maps.get(hash) else {
            return Limit::new(address, self.capacity);
        };
        let mut map = map.lock();
        if let Some(limit) = map.origins.get(&address) {
            return limit.clone();
        }
        if map.origins.len() >= map.sweep_at {
            map.sweep();
        }
        let limit = Limit::new(address, self.capacity);
        map.origins.insert(address, limit.clone());
        limit
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.maps.iter().map(|it| it.lock().origins.len()).sum()
    }
}

impl Map {
    fn sweep(&mut self) {
        let mut idle = 0;
        self.origins.retain(|_, limit| {
            // Every permit, and every request that waits for one, holds the state.
            if Arc::strong_count(&limit.places) > 1 {
                return true;
            }
            let shards = &mut limit.places.lock().shards;
            // With one shard it needs no state to find the connections again.
            let keep = idle < MAX_IDLE && shards.are_several() && shards.may_have_connections();
            idle += usize::from(keep);
            keep
        });
        // So that sweeping costs each new origin a constant.
        self.sweep_at = SWEEP_AT.max(self.origins.len() * 2);
    }
}
