//! Which shard a permit comes from, and which waiter gets the next one.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Capacity;

/// How many waiters from the head of the queue on may be given a freed permit of their own shard, and how often
/// in a row the head is passed over for one.
pub(super) const REACH: usize = 32;

/// The permits of one server.
#[derive(Debug)]
pub(super) struct Shards {
    shards: Box<[Shard]>,
    queue: BTreeMap<u64, Waiting>,
    next_ticket: u64,
    /// How often the first in the queue was passed over.
    passed: usize,
    keep_alive: Duration,
}

#[derive(Debug)]
struct Shard {
    size: u32,
    free: u32,
    /// How many connections it has at most: as many as were used at once. The close of one by the server is
    /// not noticed. This decides which shard is used, and never how many permits there are.
    connections: u32,
    /// When it was last given back as a whole.
    unused_since: Instant,
}

#[derive(Debug)]
struct Waiting {
    shard: u16,
    give: oneshot::Sender<u16>,
}

impl Shard {
    fn used(&self) -> u32 {
        self.size - self.free
    }

    fn idle(&self) -> u32 {
        self.connections.saturating_sub(self.used())
    }
}

impl Shards {
    pub(super) fn new(capacity: Capacity) -> Self {
        let permits = u32::try_from(capacity.permits).unwrap_or(u32::MAX).max(1);
        // Each has one at least.
        let count = u32::try_from(capacity.threads).unwrap_or(u32::MAX);
        let count = count.clamp(1, permits).min(u32::from(u16::MAX));
        let now = Instant::now();
        let shard = |number| {
            let size = permits / count + u32::from(number < permits % count);
            Shard {
                size,
                free: size,
                connections: 0,
                unused_since: now,
            }
        };
        Self {
            shards: (0..count).map(shard).collect(),
            queue: BTreeMap::new(),
            next_ticket: 0,
            passed: 0,
            keep_alive: capacity.keep_alive,
        }
    }

    /// Takes a permit for a request of `thread`, and tells of which shard. While one is free, no request waits.
    pub(super) fn take(&mut self, thread: u16) -> Option<u16> {
        let number = self.choose(self.shard_of(thread))?;
        let shard = self.shards.get_mut(usize::from(number))?;
        shard.free = shard.free.checked_sub(1)?;
        shard.connections = shard.connections.max(shard.used());
        Some(number)
    }

    fn shard_of(&self, thread: u16) -> u16 {
        let count = u16::try_from(self.shards.len()).unwrap_or(u16::MAX);
        thread.checked_rem(count).unwrap_or(0)
    }

    /// `own` where it has an idle connection. Else `own` opens one, unless another shard has an idle connection
    /// and at most one connection more: so each thread of a busy server soon has its own, and a server with
    /// few requests sees one connection.
    fn choose(&mut self, own: u16) -> Option<u16> {
        let mine = self.shards.get(usize::from(own))?;
        if !self.are_several() {
            return (mine.free > 0).then_some(own);
        }
        // The clock is read only where it matters.
        if mine.idle() > 0 && mine.used() > 0 {
            return Some(own);
        }
        self.forget_closed();
        let mine = self.shards.get(usize::from(own))?;
        if mine.idle() > 0 {
            return Some(own);
        }
        let richest = self.shards.iter().map(|shard| shard.connections).max()?;
        let others = (0..)
            .zip(&self.shards)
            .filter(|(number, shard)| *number != own && shard.free > 0)
            .min_by_key(|(_, shard)| Reverse((shard.idle(), shard.free)));
        let idle = others.filter(|(_, shard)| shard.idle() > 0);
        match (mine.free > 0, idle) {
            (true, None) => Some(own),
            (true, Some(_)) if mine.connections + 1 < richest => Some(own),
            (_, Some((number, _))) => Some(number),
            (false, None) => others.map(|(number, _)| number),
        }
    }

    /// A shard that was not used for as long as an idle connection lives has no connection any more.
    fn forget_closed(&mut self) {
        let now = Instant::now();
        for shard in &mut self.shards {
            if shard.used() == 0 && now.duration_since(shard.unused_since) > self.keep_alive {
                shard.connections = 0;
            }
        }
    }

    /// Queues a request of `thread`; `give` gets the shard of its permit. Only after [`take`](Self::take) found
    /// none.
    pub(super) fn queue(&mut self, thread: u16, give: oneshot::Sender<u16>) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let shard = self.shard_of(thread);
        self.queue.insert(ticket, Waiting { shard, give });
        ticket
    }

    /// Ends a wait, whether a permit was given or not.
    pub(super) fn leave(&mut self, ticket: u64) {
        let first = self.queue.first_key_value().map(|(first, _)| *first);
        if self.queue.remove(&ticket).is_some() && first == Some(ticket) {
            self.passed = 0;
        }
    }

    /// The waiter that gets a permit of this shard that came free; without one it stays free.
    pub(super) fn release(&mut self, number: u16) -> Option<oneshot::Sender<u16>> {
        if let Some(next) = self.next(number) {
            return Some(next);
        }
        let several = self.are_several();
        let shard = self.shards.get_mut(usize::from(number))?;
        shard.free += 1;
        if several && shard.used() == 0 {
            shard.unused_since = Instant::now();
        }
        None
    }

    fn next(&mut self, shard: u16) -> Option<oneshot::Sender<u16>> {
        let first = *self.queue.first_key_value()?.0;
        let reach = if self.passed < REACH { REACH } else { 1 };
        let next = self
            .queue
            .iter()
            .take(reach)
            .find(|(_, waiting)| waiting.shard == shard)
            .map_or(first, |(ticket, _)| *ticket);
        self.passed = if next == first { 0 } else { self.passed + 1 };
        self.queue.remove(&next).map(|waiting| waiting.give)
    }

    /// Whether a connection may be open, as far as is known here.
    pub(super) fn may_have_connections(&mut self) -> bool {
        self.forget_closed();
        self.shards.iter().any(|shard| shard.connections > 0)
    }

    pub(super) fn are_several(&self) -> bool {
        self.shards.len() > 1
    }
}
