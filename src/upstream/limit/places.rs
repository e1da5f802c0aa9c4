//! The permits of one server, the clients that hold them, and the requests that wait.

use tokio::sync::oneshot;

use super::line::{Line, Waiting};
use super::shards::Shards;
use super::{Capacity, Load};
use crate::access::client::Client;
use crate::access::shares::Shares;

/// A permit on its way to a request that waited.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) client: Client,
    pub(super) shard: u16,
    pub(super) give: oneshot::Sender<u16>,
}

/// No request of a client waits while a permit is free that the client may have.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) shards: Shards,
    shares: Shares,
    waiting: Line,
    /// Requests of clients that have ended their side, and may be gone. They get a permit when no other request waits.
    ended: Line,
    next_ticket: u64,
}

impl Places {
    pub(super) fn new(capacity: Capacity) -> Self {
        Self {
            shards: Shards::new(capacity),
            shares: Shares::new(capacity.permits),
            waiting: Line::default(),
            ended: Line::default(),
            next_ticket: 0,
        }
    }

    /// What the server has now.
    pub(super) fn load(&self) -> Load {
        let permits = self.shards.len();
        Load {
            in_use: permits.saturating_sub(self.shards.free()),
            waiting: self.waiting.len() + self.ended.len(),
            permits,
        }
    }

    /// Takes a permit for a request of `thread`, and tells of which shard.
    pub(super) fn take(&mut self, thread: u16, client: Client) -> Option<u16> {
        if !self.shares.allow(client, self.shards.free()) {
            return None;
        }
        let shard = self.shards.take(thread)?;
        self.shares.take(client);
        Some(shard)
    }

    /// Queues a request of `thread`; `give` gets the shard of its permit. Only after [`take`](Self::take) found
    /// none.
    pub(super) fn queue(&mut self, thread: u16, client: Client, give: oneshot::Sender<u16>) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let shard = self.shards.of_thread(thread);
        self.waiting.push(client, ticket, Waiting { shard, give });
        ticket
    }

    /// Ends a wait, whether a permit was given or not.
    pub(super) fn leave(&mut self, client: Client, ticket: u64) {
        if self.waiting.remove(client, ticket).is_none() {
            self.ended.remove(client, ticket);
        }
    }

    /// Puts a request whose client has ended its side behind the others.
    pub(super) fn put_last(&mut self, client: Client, ticket: u64) {
        if let Some(waiting) = self.waiting.remove(client, ticket) {
            self.ended.push(client, ticket, waiting);
        }
    }

    /// Takes a permit back, and gives what is free to those that are next. That may be two: when another client gets
    /// this permit, the one that held it may have another.
    pub(super) fn release(&mut self, shard: u16, client: Client) -> [Option<Given>; 2] {
        self.shares.give_back(client);
        self.shards.release(shard);
        if self.waiting.is_empty() && self.ended.is_empty() {
            return [None, None];
        }
        let first = self.give(shard);
        let second = first.as_ref().and_then(|_| self.give(shard));
        [first, second]
    }

    /// Gives a free permit to the request that is next, of this shard if it has one.
    fn give(&mut self, shard: u16) -> Option<Given> {
        let free = self.shards.free();
        let may_have = |client: Client| self.shares.allow(client, free);
        let next = self.waiting.pop(shard, may_have);
        let (client, waiting) = next.or_else(|| self.ended.pop(shard, may_have))?;
        let own = self.shards.take_from(shard);
        let shard = own.or_else(|| self.shards.take(waiting.shard))?;
        self.shares.take(client);
        Some(Given {
            client,
            shard,
            give: waiting.give,
        })
    }
}
