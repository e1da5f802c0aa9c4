//! What one instance has of the limits of one member.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use super::super::class::{ClassLimits, Limit};
use super::super::members::Member;
use super::super::quota::Member as Who;
use super::super::rate::{Elapsed, Pace};
use super::Fleet;
use crate::access::policy::Name;

/// How long an answer that there is nothing left counts at least, in microseconds. Requests do not ask meanwhile.
const EXHAUSTED: u64 = 50_000;

/// The limits that are shared.
pub(in super::super) const LIMITS: [Limit; 4] = [
    Limit::Requests,
    Limit::NewTunnels,
    Limit::ConcurrentRequests,
    Limit::Tunnels,
];

/// A class whose limits a fleet shares.
#[derive(Debug)]
pub(in super::super) struct SharedClass {
    pub(in super::super) fleet: Arc<Fleet>,
    pub(in super::super) name: Name,
    pub(in super::super) limits: ClassLimits,
}

/// What this instance has of the limits of a member.
#[derive(Debug)]
pub(in super::super) struct Share {
    class: Arc<SharedClass>,
    who: Who,
    flows: [Flow; LIMITS.len()],
    /// Whether it is in a list of those of which the store is to be told.
    is_listed: AtomicBool,
    /// Whether the one that asks the store keeps it.
    is_kept: AtomicBool,
}

/// What the store is asked and has answered about one limit.
#[derive(Debug, Default)]
pub(in super::super) struct Flow {
    /// What was admitted that the store has not been told, less what it need not be told.
    taken: AtomicI64,
    /// Requests that wait for an answer.
    waiting: AtomicU32,
    /// What the store has counted already for requests that wait.
    granted: AtomicU32,
    /// Until when there is nothing left in the fleet, in microseconds of [`Elapsed`].
    exhausted: AtomicU64,
}

/// Places for what is open at once: how many this instance has, and how many of them are taken. One number, so that none
/// is given back while it is taken.
#[derive(Debug, Default)]
pub(in super::super) struct Places(AtomicU64);

/// What the store is asked about one limit of a member.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The limit.
    pub limit: Limit,
    /// What about it.
    pub what: What,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// To count what was admitted, and as many of `wanted` as there are.
    Rate {
        /// What was admitted; less than nothing where something was given back.
        taken: i64,
        /// How many requests wait.
        wanted: u32,
        /// From one to the next, in microseconds.
        interval: f64,
        /// How many at once.
        burst: u32,
        /// How far ahead those that wait may be, in microseconds.
        queue: f64,
    },
    /// For so many places, for so many that are taken.
    Places {
        /// Those that are taken.
        open: u32,
        /// Those that are asked for.
        wanted: u32,
        /// How many there are in all.
        most: u32,
    },
}

/// What the store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// How far the next one is ahead of the time, in microseconds, and how many of those that wait were counted.
    Rate {
        /// Microseconds.
        ahead: u64,
        /// Requests.
        granted: u32,
    },
    /// The places that this instance has.
    Places(u32),
}

impl Share {
    pub(in super::super) fn new(class: &Arc<SharedClass>, who: Who) -> Share {
        Share {
            class: Arc::clone(class),
            who,
            flows: Default::default(),
            is_listed: AtomicBool::new(false),
            is_kept: AtomicBool::new(false),
        }
    }

    /// Marks the member as listed. Returns whether the caller now has to add it to a list.
    pub(super) fn enter_list(&self) -> bool {
        !self.is_listed.load(Ordering::Relaxed) && !self.is_listed.swap(true, Ordering::AcqRel)
    }

    pub(in super::super) fn flow(&self, limit: Limit) -> &Flow {
        let [requests, new_tunnels, concurrent, tunnels] = &self.flows;
        match limit {
            Limit::Requests | Limit::Quota(_) => requests,
            Limit::NewTunnels => new_tunnels,
            Limit::ConcurrentRequests => concurrent,
            Limit::Tunnels => tunnels,
        }
    }
}

impl Flow {
    /// Counts a request that was admitted, or takes one back.
    pub(in super::super) fn count(&self, number: i64) {
        self.taken.fetch_add(number, Ordering::Relaxed);
    }

    /// Counts a request that waits, or one that waits no longer.
    pub(super) fn wait(&self, number: i32) {
        // Each request that waits is subtracted once.
        self.waiting
            .fetch_add(number.cast_unsigned(), Ordering::AcqRel);
    }

    /// Takes one of those that the store has counted for requests that wait: for one of them, or, where one has given up,
    /// for another request.
    pub(in super::super) fn take_granted(&self, is_waiting: bool) -> bool {
        let is_free = |left: &u32| is_waiting || *left >= self.waiting();
        let less = |granted: u32| granted.checked_sub(1).filter(is_free);
        let taken = self
            .granted
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, less);
        taken.is_ok()
    }

    /// How long there is nothing left, as far as is known, in microseconds.
    pub(in super::super) fn exhausted(&self, now: Elapsed) -> u64 {
        let until = Elapsed::of_micros(self.exhausted.load(Ordering::Relaxed));
        until.micros_since(now)
    }

    fn set_exhausted(&self, micros: Option<u64>, now: Elapsed) {
        let until = micros.map_or(0, |micros| {
            now.micros().saturating_add(micros.max(EXHAUSTED))
        });
        self.exhausted.store(until, Ordering::Relaxed);
    }

    fn take(&self) -> i64 {
        self.taken.swap(0, Ordering::AcqRel)
    }

    fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Acquire)
    }
}

impl Places {
    fn of(number: u64) -> (u32, u32) {
        ((number >> 32) as u32, number as u32)
    }

    fn to_number(has: u32, open: u32) -> u64 {
        u64::from(has) << 32 | u64::from(open)
    }

    /// Takes one of `most`, or, where they are shared, one of those that this instance has, if one is free.
    pub(in super::super) fn enter(&self, most: u32, is_shared: bool) -> bool {
        let more = |number| {
            let (has, open) = Places::of(number);
            let most = if is_shared { most.min(has) } else { most };
            (open < most).then(|| Places::to_number(has, open + 1))
        };
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, more)
            .is_ok()
    }

    /// Gives one back.
    pub(in super::super) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }

    /// Those that this instance has, and those that are taken.
    pub(in super::super) fn get(&self) -> (u32, u32) {
        Places::of(self.0.load(Ordering::Acquire))
    }

    /// Keeps no more than `wanted` and those that are taken. How many are taken.
    fn lower(&self, wanted: u32) -> u32 {
        let lower = |number| {
            let (has, open) = Places::of(number);
            Some(Places::to_number(has.min(wanted.max(open)), open))
        };
        let before = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, lower);
        Places::of(before.unwrap_or_else(|same| same)).1
    }

    fn set(&self, has: u32) {
        let set = |number| Some(Places::to_number(has, Places::of(number).1));
        let _ = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, set);
    }
}

/// What the one that asks the store does with a member.
impl Member {
    /// The name of its class, and who it is; none where limits are not shared.
    pub fn named(&self) -> Option<(&Name, &Who)> {
        let share = self.share()?;
        Some((&share.class.name, &share.who))
    }

    /// Whether the store is to be told of it: it is taken from several lists, but told of once. What changes from now on
    /// enters a list again.
    pub fn unlist(&self) -> bool {
        self.share()
            .is_some_and(|share| share.is_listed.swap(false, Ordering::AcqRel))
    }

    /// Marks the member as listed. Returns whether the caller now has to add it to a list.
    pub fn enter_list(&self) -> bool {
        self.share().is_some_and(Share::enter_list)
    }

    /// Whether something of it is open or leased, so that it has to be told again.
    pub fn has_places(&self) -> bool {
        let has = |limit| self.places(limit).get() != (0, 0);
        has(Limit::Tunnels) || has(Limit::ConcurrentRequests)
    }

    /// Notes whether it is kept. Whether that was so before.
    pub fn keep(&self, is_kept: bool) -> bool {
        self.share()
            .is_some_and(|share| share.is_kept.swap(is_kept, Ordering::AcqRel))
    }

    /// What the store is to be asked. It counts as asked: the answer goes to [`answered`](Self::answered).
    pub fn asks(&self, instances: u32, mut ask: impl FnMut(Ask)) {
        let Some(share) = self.share() else {
            return;
        };
        for limit in LIMITS {
            let flow = share.flow(limit);
            let what = match share.kind(limit) {
                Some(Kind::Rate(pace)) => {
                    let left = flow.granted.swap(0, Ordering::AcqRel);
                    What::Rate {
                        taken: flow.take() - i64::from(left),
                        wanted: flow.waiting(),
                        interval: pace.interval_micros(),
                        burst: pace.burst(),
                        queue: share.class.limits.queue.as_micros() as f64,
                    }
                }
                Some(Kind::Places(most)) => self.ask_places(limit, flow, most, instances),
                None => continue,
            };
            ask(Ask { limit, what });
        }
    }

    fn ask_places(&self, limit: Limit, flow: &Flow, most: u32, instances: u32) -> What {
        let places = self.places(limit);
        // A twentieth of the limit is spare in all, while requests go on.
        let spare = match flow.take() {
            0 => 0,
            _ => most / 20 / instances.max(1),
        };
        let more = spare.saturating_add(flow.waiting());
        let (_, open) = places.get();
        let open = places.lower(open.saturating_add(more).min(most));
        What::Places {
            open,
            wanted: open.saturating_add(more).min(most.max(open)),
            most,
        }
    }

    /// Takes an answer of the store.
    pub fn answered(&self, ask: &Ask, answer: Answer, instances: u32) {
        let now = Elapsed::now();
        let Some(share) = self.share() else {
            return;
        };
        let flow = share.flow(ask.limit);
        match (ask.what, answer, share.kind(ask.limit)) {
            (
                What::Rate { interval, .. },
                Answer::Rate { ahead, granted },
                Some(Kind::Rate(pace)),
            ) => {
                flow.granted.fetch_add(granted, Ordering::AcqRel);
                let left = f64::from(pace.burst()) - ahead as f64 / interval;
                let untold = flow.taken.load(Ordering::Acquire).max(0) as f64;
                let part = pace.part_of(instances);
                let own = if left > 0.0 {
                    left / f64::from(instances.max(1))
                } else {
                    left
                };
                self.due(ask.limit).settle(&part, own - untold, now);
                // To the next one of the whole fleet.
                let wait = (left < 1.0).then_some(((1.0 - left) * interval) as u64);
                flow.set_exhausted(wait, now);
            }
            (What::Places { wanted, .. }, Answer::Places(has), Some(Kind::Places(_))) => {
                self.places(ask.limit).set(has);
                flow.set_exhausted((has < wanted).then_some(0), now);
            }
            _ => {}
        }
    }
}

/// A limit as it is shared.
enum Kind<'a> {
    Rate(&'a Pace),
    Places(u32),
}

impl Share {
    fn kind(&self, limit: Limit) -> Option<Kind<'_>> {
        let limits = &self.class.limits;
        match limit {
            Limit::Requests => limits.requests.as_ref().map(Kind::Rate),
            Limit::NewTunnels => limits.new_tunnels.as_ref().map(Kind::Rate),
            Limit::ConcurrentRequests => limits.concurrent_requests.map(Kind::Places),
            Limit::Tunnels => limits.tunnels.map(Kind::Places),
            Limit::Quota(_) => None,
        }
    }
}
