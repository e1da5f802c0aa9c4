//! Limits on the requests that one server gets at once. A request over the limit waits for a permit instead of
//! opening one more connection: that keeps a proxy fast when thousands of clients send requests at the same
//! moment.
//!
//! The permits of a server, and the idle connections to it, are divided into *shards*, one for each thread. A
//! thread takes a permit of another shard rather than open a connection where one is idle, and before it waits.
//! So no more connections are open than there are permits, across all threads.

mod origins;
mod queue;
mod shards;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

pub use origins::OriginLimits;
pub use queue::{Turn, WhenFull};
use shards::Shards;

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

/// The limit of one server.
#[derive(Clone, Debug)]
pub struct Limit {
    address: SocketAddr,
    shards: Arc<Mutex<Shards>>,
}

/// The right to have one request at a server, until dropped.
#[derive(Debug)]
pub struct Permit {
    pub address: SocketAddr,
    /// The shard whose connections it may use.
    pub shard: u16,
    shards: Arc<Mutex<Shards>>,
}

impl Limit {
    pub fn new(address: SocketAddr, capacity: Capacity) -> Self {
        Self {
            address,
            shards: Arc::new(Mutex::new(Shards::new(capacity))),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A permit that is free now, for a request of this thread. It overtakes no request that waits.
    pub fn try_take(&self, thread: u16) -> Option<Permit> {
        let shard = self.shards.lock().take(thread)?;
        Some(self.permit(shard))
    }

    /// The next permit that comes free; none within `limit`. FIFO, except that up to `REACH` waiters of
    /// the freed permit's own thread may go first.
    pub async fn wait(&self, thread: u16, limit: Duration) -> Option<Permit> {
        let (give, given) = oneshot::channel();
        let number = {
            let mut shards = self.shards.lock();
            if let Some(shard) = shards.take(thread) {
                drop(shards);
                return Some(self.permit(shard));
            }
            shards.queue(thread, give)
        };
        let mut ticket = Ticket {
            shards: &self.shards,
            number,
            given,
        };
        let shard = pingora_timeout::timeout(limit, &mut ticket.given).await;
        // The ticket gives back a permit that it got and did not hand on.
        Some(self.permit(shard.ok()?.ok()?))
    }

    fn permit(&self, shard: u16) -> Permit {
        Permit {
            address: self.address,
            shard,
            shards: Arc::clone(&self.shards),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        give_back(&self.shards, self.shard);
    }
}

/// A position in the queue, until dropped.
struct Ticket<'a> {
    shards: &'a Mutex<Shards>,
    number: u64,
    given: oneshot::Receiver<u16>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.shards.lock().leave(self.number);
        // From here on it is given none.
        self.given.close();
        if let Ok(shard) = self.given.try_recv() {
            give_back(self.shards, shard);
        }
    }
}

/// Gives a permit to the next waiter that is still there, and wakes it outside of the lock.
fn give_back(shards: &Mutex<Shards>, shard: u16) {
    loop {
        let next = shards.lock().release(shard);
        if next.is_none_or(|next| next.send(shard).is_ok()) {
            return;
        }
    }
}
