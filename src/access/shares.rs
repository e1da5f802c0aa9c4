//! What each client holds of something that clients share.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use super::client::Client;

/// With fewer places than that, one client may hold them all.
const LEAST_SHARED: usize = 4;

/// A client may hold so many times what is free: alone three quarters of all, and the more hold their share, the
/// less each of them.
const TIMES_FREE: usize = 3;

/// How many places each client holds.
#[derive(Debug)]
pub struct Shares {
    all: usize,
    held: HashMap<Client, usize, RandomState>,
}

impl Shares {
    /// Of `all` places.
    pub fn new(all: usize) -> Self {
        Self {
            all,
            held: HashMap::default(),
        }
    }

    /// Whether a client may have one more of the `free` places. A client that has none may have the last one.
    pub fn allow(&self, client: Client, free: usize) -> bool {
        let most = TIMES_FREE.saturating_mul(free);
        // It holds no more than all hold.
        if free == 0 || self.all < LEAST_SHARED || self.all - free < most {
            return free > 0;
        }
        self.held.get(&client).is_none_or(|held| *held < most)
    }

    pub fn take(&mut self, client: Client) {
        *self.held.entry(client).or_insert(0) += 1;
    }

    pub fn give_back(&mut self, client: Client) {
        if let Entry::Occupied(mut held) = self.held.entry(client) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

/// Places that a client gets at once or not at all.
#[derive(Clone, Debug)]
pub struct SharedPlaces(Arc<Mutex<Free>>);

#[derive(Debug)]
struct Free {
    count: usize,
    shares: Shares,
}

/// One of them, until dropped.
#[derive(Debug)]
pub struct Place {
    places: SharedPlaces,
    client: Client,
}

impl SharedPlaces {
    pub fn new(all: usize) -> Self {
        Self(Arc::new(Mutex::new(Free {
            count: all,
            shares: Shares::new(all),
        })))
    }

    /// As [`new`](Self::new), with shares from `least` places on.
    pub fn with_shares_from(least: usize, all: usize) -> Self {
        let shares = Shares::new(if all < least { 0 } else { all });
        Self(Arc::new(Mutex::new(Free { count: all, shares })))
    }

    /// A place, if one is free and the client may have it.
    pub fn try_take(&self, client: Client) -> Option<Place> {
        let mut free = self.0.lock();
        if !free.shares.allow(client, free.count) {
            return None;
        }
        free.count -= 1;
        free.shares.take(client);
        Some(Place {
            places: self.clone(),
            client,
        })
    }

    pub fn free(&self) -> usize {
        self.0.lock().count
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut free = self.places.0.lock();
        free.count += 1;
        free.shares.give_back(self.client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u8) -> Client {
        Client::site([192, 0, 2, number].into())
    }

    #[test]
    fn places_are_left_for_others_and_come_back() {
        let places = SharedPlaces::new(8);
        let take_all = |number| -> Vec<Place> {
            std::iter::from_fn(|| places.try_take(client(number))).collect()
        };
        let first = take_all(1);
        let second = take_all(2);
        assert_eq!((first.len(), second.len(), places.free()), (6, 2, 0));
        drop(first);
        assert_eq!((places.free(), take_all(3).len()), (6, 5));
        drop(second);
        assert_eq!(places.free(), 8);
        assert!(places.0.lock().shares.held.is_empty());
    }

    #[test]
    fn few_places_have_no_shares() {
        let places = SharedPlaces::new(2);
        let held = [1, 1].map(|number| places.try_take(client(number)).unwrap());
        assert!(places.try_take(client(2)).is_none());
        drop(held);
    }
}
