//! How many requests one server gets at once, and who is next. What comes over the
//! bound waits its turn instead of opening one more connection: that is what keeps
//! a proxy fast when thousands of clients ask at the same moment.
//!
//! A slot is of a *share*: the part of a server's slots, and of the idle connections to
//! it, that one thread uses. A thread takes from another's share rather than open a
//! connection where one is idle, and before it waits. So no more connections are open
//! than there are slots, whoever opened them.

mod crowd;
mod origins;
mod shares;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

pub use crowd::{Crowd, Inside};
pub use origins::OriginSlots;
use shares::Shares;

/// How many slots a server has.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Requests at a time.
    pub slots: usize,
    /// Threads that have a share of them.
    pub threads: usize,
    /// How long a connection may be idle.
    pub keep_alive: Duration,
}

/// The slots of one server.
#[derive(Clone, Debug)]
pub struct Slots {
    address: SocketAddr,
    shares: Arc<Mutex<Shares>>,
}

/// The right to have one request at a server, until dropped.
#[derive(Debug)]
pub struct Slot {
    /// Where to connect.
    pub address: SocketAddr,
    /// Whose connections it may use.
    pub share: u16,
    shares: Arc<Mutex<Shares>>,
}

impl Slots {
    /// The slots of the server at `address`.
    pub fn new(address: SocketAddr, bound: Bound) -> Self {
        Self {
            address,
            shares: Arc::new(Mutex::new(Shares::new(bound))),
        }
    }

    /// Where the server is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A slot that is free now, for a request of this thread. Nobody who waits is
    /// overtaken.
    pub fn try_take(&self, thread: u16) -> Option<Slot> {
        let share = self.shares.lock().take(thread)?;
        Some(self.slot(share))
    }

    /// The next slot that comes free; none within `limit`. Whoever waits longest is first,
    /// but for a few who are of the thread whose share it is.
    pub async fn wait(&self, thread: u16, limit: Duration) -> Option<Slot> {
        let (give, given) = oneshot::channel();
        let ticket = {
            let mut shares = self.shares.lock();
            if let Some(share) = shares.take(thread) {
                drop(shares);
                return Some(self.slot(share));
            }
            shares.queue(thread, give)
        };
        let mut turn = Turn {
            shares: &self.shares,
            ticket,
            given,
        };
        let share = pingora_timeout::timeout(limit, &mut turn.given).await;
        // None is lost in between: the turn gives back what it got and did not hand on.
        Some(self.slot(share.ok()?.ok()?))
    }

    fn slot(&self, share: u16) -> Slot {
        Slot {
            address: self.address,
            share,
            shares: Arc::clone(&self.shares),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        give_back(&self.shares, self.share);
    }
}

/// A place in the queue, until dropped.
struct Turn<'a> {
    shares: &'a Mutex<Shares>,
    ticket: u64,
    given: oneshot::Receiver<u16>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.shares.lock().leave(self.ticket);
        // From here on nobody gives it one.
        self.given.close();
        if let Ok(share) = self.given.try_recv() {
            give_back(self.shares, share);
        }
    }
}

/// To the next one who still waits; that one is woken outside of the lock.
fn give_back(shares: &Mutex<Shares>, share: u16) {
    loop {
        let next = shares.lock().release(share);
        if next.is_none_or(|next| next.send(share).is_ok()) {
            return;
        }
    }
}
