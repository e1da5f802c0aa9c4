//! Limits that the instances of a fleet share. An instance admits by itself, from what it has of a limit, and asks the
//! store of the fleet for more while requests go on. [`crate::balances`] asks; this module decides what an instance may
//! do before it has asked, what it asks, and what follows from the answer.
//!
//! - **Rates.** The store knows when the next one is due in the whole fleet. An instance has the whole rate and its part
//!   of the burst; what it has admitted it tells, and takes the answer as its own state. What instances have admitted
//!   at the same time beyond the limit is a debt, which all of them pay back: the sum keeps `rate × time + burst`.
//! - **At once.** An instance has a lease of places: those that are taken, and a few more where the limit is large. The
//!   store never leases more than there are.
//! - **A request for which there is nothing left** waits for one answer of the store ([`Pending`]), unless the last one
//!   said that the whole fleet has nothing left.
//! - **Alone.** When the store does not work, each instance has the whole limit.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

mod share;
#[cfg(test)]
mod tests;

pub use self::share::{Answer, Ask, What};
pub(super) use self::share::{Flow, Places, Share, SharedClass};
use super::class::Limit;
pub use super::members::Member;
use super::quota::Ledger;

/// Lists of members that have changed, so that threads seldom wait for each other.
const LISTS: usize = 16;

/// What requests and the one that asks the store have in common.
pub struct Fleet {
    /// Whether the store works.
    is_shared: AtomicBool,
    instances: AtomicU32,
    changed: [Mutex<Vec<Arc<Member>>>; LISTS],
    urgent: Mutex<Urgent>,
    next: AtomicU32,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// What requests wait for.
#[derive(Default)]
struct Urgent {
    /// How often it was taken.
    turn: u64,
    members: Vec<Arc<Member>>,
}

/// A request that waits for an answer of the store. While it is there, the store is asked for one more.
#[derive(Debug)]
pub struct Pending {
    asked: Asked,
    /// How often the request has waited.
    pub(super) turns: u8,
    /// With which turn it is answered.
    turn: u64,
}

#[derive(Debug)]
enum Asked {
    Limit(Arc<Member>, Limit),
    /// What was used of a quota.
    Ledger,
}

impl Fleet {
    /// One whose store is not known to work yet.
    pub fn new() -> Fleet {
        Fleet {
            is_shared: AtomicBool::new(false),
            instances: AtomicU32::new(1),
            changed: std::array::from_fn(|_| Mutex::default()),
            urgent: Mutex::default(),
            next: AtomicU32::new(0),
            wake: OnceLock::new(),
        }
    }

    /// Has `wake` called when a request waits.
    pub fn on_wait(&self, wake: impl Fn() + Send + Sync + 'static) {
        // There is one that asks.
        let _ = self.wake.set(Box::new(wake));
    }

    /// Notes whether the store works, and so many instances use it.
    pub fn set(&self, is_shared: bool, instances: u32) {
        self.instances.store(instances.max(1), Ordering::Relaxed);
        self.is_shared.store(is_shared, Ordering::Release);
    }

    /// How many instances there are; none where each has the whole limit.
    pub fn instances(&self) -> Option<u32> {
        let is_shared = self.is_shared.load(Ordering::Acquire);
        is_shared.then(|| self.instances.load(Ordering::Relaxed))
    }

    /// Takes the members for which requests wait, and those that have changed. `buffer` is empty, and changes places with the
    /// lists, so that none is made anew.
    pub fn take_changed(&self, buffer: &mut Vec<Arc<Member>>, mut visit: impl FnMut(Arc<Member>)) {
        for list in &self.changed {
            std::mem::swap(&mut *list.lock(), buffer);
            buffer.drain(..).for_each(&mut visit);
        }
    }

    /// Takes the members for which requests wait. Those that wait until now are answered with the turn that it returns.
    pub fn take_urgent(
        &self,
        buffer: &mut Vec<Arc<Member>>,
        visit: impl FnMut(Arc<Member>),
    ) -> u64 {
        let mut urgent = self.urgent.lock();
        std::mem::swap(&mut urgent.members, buffer);
        urgent.turn += 1;
        let turn = urgent.turn;
        drop(urgent);
        buffer.drain(..).for_each(visit);
        turn
    }

    /// Has the store told of a member with the next turn.
    pub(super) fn note(&self, member: &Arc<Member>) {
        let Some(share) = member.share() else {
            return;
        };
        if share.enter_list() {
            let at = self.next.fetch_add(1, Ordering::Relaxed) as usize % LISTS;
            if let Some(list) = self.changed.get(at) {
                list.lock().push(Arc::clone(member));
            }
        }
    }

    /// Has the store asked for one more at once.
    pub(super) fn ask(&self, member: &Arc<Member>, limit: Limit, turns: u8) -> Pending {
        if let Some(share) = member.share() {
            share.flow(limit).wait(1);
            // It may be in the other list as well; the first of both tells of it.
            share.enter_list();
        }
        let mut urgent = self.urgent.lock();
        urgent.members.push(Arc::clone(member));
        let turn = urgent.turn + 1;
        drop(urgent);
        self.wake();
        Pending {
            asked: Asked::Limit(Arc::clone(member), limit),
            turns: turns + 1,
            turn,
        }
    }

    /// Has the store asked what was used of a quota, which is in the list of those that have changed.
    pub(super) fn ask_ledger(&self) -> Pending {
        let turn = self.urgent.lock().turn + 1;
        self.wake();
        Pending {
            asked: Asked::Ledger,
            turns: 0,
            turn,
        }
    }

    /// Has the store told now.
    pub(super) fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }
}

impl Default for Fleet {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("instances", &self.instances())
            .finish_non_exhaustive()
    }
}

impl Pending {
    /// The turn with which it is answered.
    pub fn turn(&self) -> u64 {
        self.turn
    }

    /// Whether this limit of this member was asked for.
    pub(super) fn is_for(&self, member: &Arc<Member>, limit: Limit) -> bool {
        match &self.asked {
            Asked::Limit(asked, of) => *of == limit && Arc::ptr_eq(asked, member),
            Asked::Ledger => false,
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Asked::Limit(member, limit) = &self.asked
            && let Some(share) = member.share()
        {
            share.flow(*limit).wait(-1);
        }
    }
}

/// How long what is known of a quota counts, in seconds: beyond that a request waits for the store.
pub(super) const KNOWN: u64 = 5;

/// Whether a request has to wait until the store was asked about its quota.
pub(super) fn is_stale(ledger: &Ledger, now: super::rate::Elapsed) -> bool {
    ledger
        .asked()
        .is_none_or(|asked| now.micros_since(asked) > KNOWN * 1_000_000)
}
