//! Which shard a permit comes from.

use std::cmp::Reverse;
use std::time::Duration;

use tokio::time::Instant;

use super::Capacity;

/// The permits of one server.
#[derive(Debug)]
pub(super) struct Shards {
    shards: Box<[Shard]>,
    /// Those of all shards.
    free: usize,
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
            free: usize::try_from(permits).unwrap_or(usize::MAX),
            keep_alive: capacity.keep_alive,
        }
    }

    /// How many permits there are.
    pub(super) fn len(&self) -> usize {
        let sizes = self.shards.iter().map(|shard| u64::from(shard.size));
        usize::try_from(sizes.sum::<u64>()).unwrap_or(usize::MAX)
    }

    /// How many permits are free.
    pub(super) fn free(&self) -> usize {
        self.free
    }

    /// Takes a permit for a request of `thread`, and tells of which shard; none when none is free.
    pub(super) fn take(&mut self, thread: u16) -> Option<u16> {
        let number = self.choose(self.of_thread(thread))?;
        self.take_from(number)
    }

    /// Takes a permit of this shard, if it has one that is free.
    pub(super) fn take_from(&mut self, number: u16) -> Option<u16> {
        let shard = self.shards.get_mut(usize::from(number))?;
        shard.free = shard.free.checked_sub(1)?;
        self.free -= 1;
        shard.connections = shard.connections.max(shard.used());
        Some(number)
    }

    pub(super) fn of_thread(&self, thread: u16) -> u16 {
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

    /// Takes a permit of this shard back.
    pub(super) fn release(&mut self, number: u16) {
        let several = self.are_several();
        if let Some(shard) = self.shards.get_mut(usize::from(number)) {
            shard.free += 1;
            self.free += 1;
            if several && shard.used() == 0 {
                shard.unused_since = Instant::now();
            }
        }
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
