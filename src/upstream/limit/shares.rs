//! Which share a slot comes from, and who gets the next one.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Bound;

/// How far behind the first in the queue one is looked for who uses the share of a slot
/// that came free, and how often the first is passed over for one.
pub(super) const REACH: usize = 32;

/// The state of one server's slots.
#[derive(Debug)]
pub(super) struct Shares {
    shares: Box<[Share]>,
    queue: BTreeMap<u64, Waiting>,
    next_ticket: u64,
    /// How often the first in the queue was passed over.
    passed: usize,
    keep_alive: Duration,
}

#[derive(Debug)]
struct Share {
    size: u32,
    free: u32,
    /// How many connections it has at most: as many as were used at once. One that a server
    /// closes is not noticed. This decides whose share is used, never how many are.
    connections: u32,
    /// When it was last given back as a whole.
    unused_since: Instant,
}

#[derive(Debug)]
struct Waiting {
    share: u16,
    give: oneshot::Sender<u16>,
}

impl Share {
    fn used(&self) -> u32 {
        self.size - self.free
    }

    fn idle(&self) -> u32 {
        self.connections.saturating_sub(self.used())
    }
}

impl Shares {
    pub(super) fn new(bound: Bound) -> Self {
        let slots = u32::try_from(bound.slots).unwrap_or(u32::MAX).max(1);
        // Each has one at least.
        let count = u32::try_from(bound.threads).unwrap_or(u32::MAX);
        let count = count.clamp(1, slots).min(u32::from(u16::MAX));
        let now = Instant::now();
        let share = |number| {
            let size = slots / count + u32::from(number < slots % count);
            Share {
                size,
                free: size,
                connections: 0,
                unused_since: now,
            }
        };
        Self {
            shares: (0..count).map(share).collect(),
            queue: BTreeMap::new(),
            next_ticket: 0,
            passed: 0,
            keep_alive: bound.keep_alive,
        }
    }

    /// Takes a slot for a request of `thread`, and says of which share it is. There is
    /// none, or nobody waits.
    pub(super) fn take(&mut self, thread: u16) -> Option<u16> {
        let number = self.choose(self.share_of(thread))?;
        let share = self.shares.get_mut(usize::from(number))?;
        share.free = share.free.checked_sub(1)?;
        share.connections = share.connections.max(share.used());
        Some(number)
    }

    /// The share that `thread` uses.
    fn share_of(&self, thread: u16) -> u16 {
        let count = u16::try_from(self.shares.len()).unwrap_or(u16::MAX);
        thread.checked_rem(count).unwrap_or(0)
    }

    /// Where `own` has an idle connection, that one. Else it opens one, but not where another
    /// share has an idle one and hardly more connections than this: on a busy server each
    /// thread has its own soon, and one that is asked now and then sees one connection.
    fn choose(&mut self, own: u16) -> Option<u16> {
        let mine = self.shares.get(usize::from(own))?;
        if !self.are_several() {
            return (mine.free > 0).then_some(own);
        }
        // Time is asked for where it matters alone.
        if mine.idle() > 0 && mine.used() > 0 {
            return Some(own);
        }
        self.forget_closed();
        let mine = self.shares.get(usize::from(own))?;
        if mine.idle() > 0 {
            return Some(own);
        }
        let (others, richest) = (0..).zip(&self.shares).fold(
            (None, 0),
            |(best, most): (Option<(u16, &Share)>, u32), (number, share)| {
                let better = share.free > 0
                    && number != own
                    && best.is_none_or(|(_, best)| {
                        (share.idle(), share.free) > (best.idle(), best.free)
                    });
                let best = if better { Some((number, share)) } else { best };
                (best, most.max(share.connections))
            },
        );
        let idle = others.filter(|(_, share)| share.idle() > 0);
        match (mine.free > 0, idle) {
            (true, None) => Some(own),
            (true, Some(_)) if mine.connections + 1 < richest => Some(own),
            (_, Some((number, _))) => Some(number),
            (false, None) => others.map(|(number, _)| number),
        }
    }

    /// A share that nobody has used for so long has no connection any more.
    fn forget_closed(&mut self) {
        let now = Instant::now();
        for share in &mut self.shares {
            if share.used() == 0 && now.duration_since(share.unused_since) > self.keep_alive {
                share.connections = 0;
            }
        }
    }

    /// One more waits, of `thread`; what is given names the share. Only after
    /// [`take`](Self::take) found none.
    pub(super) fn queue(&mut self, thread: u16, give: oneshot::Sender<u16>) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let share = self.share_of(thread);
        self.queue.insert(ticket, Waiting { share, give });
        ticket
    }

    /// One waits no more, whether its turn had come or not.
    pub(super) fn leave(&mut self, ticket: u64) {
        let first = self.queue.first_key_value().map(|(first, _)| *first);
        if self.queue.remove(&ticket).is_some() && first == Some(ticket) {
            self.passed = 0;
        }
    }

    /// Who gets a slot of this share that came free; it is free when nobody waits.
    pub(super) fn release(&mut self, number: u16) -> Option<oneshot::Sender<u16>> {
        if let Some(next) = self.next(number) {
            return Some(next);
        }
        let several = self.are_several();
        let share = self.shares.get_mut(usize::from(number))?;
        share.free += 1;
        if several && share.used() == 0 {
            share.unused_since = Instant::now();
        }
        None
    }

    fn next(&mut self, share: u16) -> Option<oneshot::Sender<u16>> {
        let first = *self.queue.first_key_value()?.0;
        let reach = if self.passed < REACH { REACH } else { 1 };
        let next = self
            .queue
            .iter()
            .take(reach)
            .find(|(_, waiting)| waiting.share == share)
            .map_or(first, |(ticket, _)| *ticket);
        self.passed = if next == first { 0 } else { self.passed + 1 };
        self.queue.remove(&next).map(|waiting| waiting.give)
    }

    /// Whether a connection may be open, as far as is known here.
    pub(super) fn may_have_connections(&mut self) -> bool {
        self.forget_closed();
        self.shares.iter().any(|share| share.connections > 0)
    }

    /// Whether there is more than one share.
    pub(super) fn are_several(&self) -> bool {
        self.shares.len() > 1
    }
}
