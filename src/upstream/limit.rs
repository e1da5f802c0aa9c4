//! Limits on the requests that one server gets at once. A request over the limit waits for a permit instead of
//! opening one more connection: that keeps a proxy fast when thousands of clients send requests at the same
//! moment.
//!
//! The permits of a server, and the idle connections to it, are divided into *shards*, one for each thread. A
//! thread takes a permit of another shard rather than open a connection where one is idle, and before it waits.
//! So no more connections are open than there are permits, across all threads.
//!
//! A client has a share of them, and clients that wait take turns.

mod line;
mod origins;
mod places;
mod queue;
mod shards;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::access::client::Client;

pub use origins::OriginLimits;
use places::Places;
pub use queue::{Presence, Turn, WhenFull};

use super::server::Server;

/// How many requests a server may have.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Requests at a time.
    pub permits: usize,
    /// Threads, each with a shard.
    pub threads: usize,
    /// How long a connection may be idle.
    pub keep_alive: Duration,
}

/// What a server has at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Requests.
    pub in_use: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Requests that it may have.
    pub permits: usize,
}

/// The limit of one server.
#[derive(Clone, Debug)]
pub struct Limit {
    server: Server,
    places: Arc<Mutex<Places>>,
}

/// The right to have one request at a server, until dropped.
#[derive(Debug)]
pub struct Permit {
    pub server: Server,
    /// The shard whose connections it may use.
    pub shard: u16,
    client: Client,
    places: Arc<Mutex<Places>>,
}

impl Limit {
    pub fn new(server: impl Into<Server>, capacity: Capacity) -> Self {
        Self {
            server: server.into(),
            places: Arc::new(Mutex::new(Places::new(capacity))),
        }
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Whether a request has a permit, or waits for one.
    pub fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.places) > 1
    }

    /// What the server has now.
    pub fn load(&self) -> Load {
        self.places.lock().load()
    }

    /// How many permits are free.
    pub(super) fn free(&self) -> usize {
        self.places.lock().shards.free()
    }

    /// A permit that is free now and that the client may have, for a request of this thread.
    pub fn try_take(&self, thread: u16, client: Client) -> Option<Permit> {
        let shard = self.places.lock().take(thread, client)?;
        Some(self.permit(shard, client))
    }

    /// A permit, or else a place in the queue.
    fn enter(&self, thread: u16, client: Client) -> Result<Permit, Ticket<'_>> {
        let (give, given) = oneshot::channel();
        let mut places = self.places.lock();
        if let Some(shard) = places.take(thread, client) {
            drop(places);
            return Ok(self.permit(shard, client));
        }
        let number = places.queue(thread, client, give);
        drop(places);
        Err(Ticket {
            places: &self.places,
            client,
            number,
            given,
            is_last: false,
        })
    }

    fn permit(&self, shard: u16, client: Client) -> Permit {
        Permit {
            server: self.server.clone(),
            shard,
            client,
            places: Arc::clone(&self.places),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        give_back(&self.places, self.shard, self.client);
    }
}

/// A position in the queue, until dropped.
struct Ticket<'a> {
    places: &'a Mutex<Places>,
    client: Client,
    number: u64,
    given: oneshot::Receiver<u16>,
    is_last: bool,
}

impl Ticket<'_> {
    /// Moves the request behind all requests of clients that have not ended their side.
    fn put_last(&mut self) {
        if !self.is_last {
            self.is_last = true;
            self.places.lock().put_last(self.client, self.number);
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.places.lock().leave(self.client, self.number);
        // From here on it is given none.
        self.given.close();
        if let Ok(shard) = self.given.try_recv() {
            give_back(self.places, shard, self.client);
        }
    }
}

/// Gives a permit that `client` had to those that are next and still there, and wakes them outside of the lock.
fn give_back(places: &Mutex<Places>, shard: u16, client: Client) {
    let given = places.lock().release(shard, client);
    for given in given.into_iter().flatten() {
        if given.give.send(given.shard).is_err() {
            give_back(places, given.shard, given.client);
        }
    }
}
