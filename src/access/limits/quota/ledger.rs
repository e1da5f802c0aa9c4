//! What one member of a class has used of its quotas.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::{Ended, Period, Quota, Window};
use crate::access::client::network_of;
use crate::access::limits::rate::Elapsed;
use crate::access::policy::Name;

/// The bytes of one period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// The period.
    pub period: Period,
    /// Its time.
    pub window: Window,
    /// Bytes in this time.
    pub used: u64,
    /// Bytes that an operator has granted beyond the limit, for this time.
    pub granted: u64,
    /// Those of `used` that are not written down, and not told to the process that does.
    pub unsaved: u64,
    /// How often it was reset, as the store of a fleet counts.
    pub resets: u32,
}

/// The balances of a member, at most one for each period.
pub type Balances = SmallVec<[Balance; 2]>;

/// Whose ledger it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The name of the class.
    pub class: Name,
    /// The member of it.
    pub member: Member,
}

/// A member of a class.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Member {
    /// A user.
    User(Box<str>),
    /// A network: an address of IPv4, or the first address of a /64 of IPv6.
    Network(IpAddr),
    /// A host that is asked.
    Host(Box<str>),
    /// The class as a whole.
    Class,
    /// All members for which there was no room.
    Others,
}

/// The ledger of one member.
#[derive(Debug)]
pub struct Ledger {
    key: Key,
    state: Mutex<State>,
    /// When the store of a fleet was last asked; 0 before that.
    asked: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    balances: Balances,
    /// Whether it is in the list of those that have changed.
    is_listed: bool,
}

impl Member {
    /// The network of a client.
    pub fn network(address: IpAddr) -> Member {
        Member::Network(network_of(address))
    }

    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Member> {
        match text {
            "class" => return Some(Member::Class),
            "others" => return Some(Member::Others),
            _ => {}
        }
        let (kind, name) = text.split_once(':')?;
        match kind {
            "user" => Some(Member::User(name.into())),
            "network" => Some(Member::network(name.parse().ok()?)),
            "host" => Some(Member::Host(name.into())),
            _ => None,
        }
    }

    /// For people: the user, the network or the host alone.
    pub fn shown(&self) -> String {
        match self {
            Member::User(name) | Member::Host(name) => name.to_string(),
            Member::Network(IpAddr::V4(address)) => address.to_string(),
            Member::Network(IpAddr::V6(address)) => format!("{address}/64"),
            Member::Class => "(the class)".to_owned(),
            Member::Others => "(others)".to_owned(),
        }
    }
}

impl fmt::Display for Member {
    /// `user:alice`, `network:192.0.2.1`, `host:example.org`, `class` or `others`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Member::User(name) => write!(f, "user:{name}"),
            Member::Network(address) => write!(f, "network:{address}"),
            Member::Host(name) => write!(f, "host:{name}"),
            Member::Class => f.write_str("class"),
            Member::Others => f.write_str("others"),
        }
    }
}

impl Balance {
    /// One of this moment, without a byte.
    fn new(period: Period, quota: &Quota, now: i64) -> Balance {
        Balance::of(period, period.window(now, quota.zone()))
    }

    /// One of this time, without a byte.
    pub fn of(period: Period, window: Window) -> Balance {
        Balance {
            period,
            window,
            used: 0,
            granted: 0,
            unsaved: 0,
            resets: 0,
        }
    }

    /// Whether its time is over. A clock that has stepped back does not make it so.
    pub fn is_over(&self, now: i64) -> bool {
        now >= self.window.end
    }

    /// Begins anew once its time is over.
    fn roll(&mut self, quota: &Quota, now: i64) {
        if self.is_over(now) {
            let end = self.window.end;
            *self = Balance::new(self.period, quota, now);
            // Windows do not overlap, whatever the clocks do, and whichever zone it was before.
            self.window.start = self.window.start.max(end);
        }
    }

    fn add(&mut self, bytes: u64) {
        self.used = self.used.saturating_add(bytes);
        self.unsaved = self.unsaved.saturating_add(bytes);
    }

    /// What may be used in all.
    fn most(&self, limit: u64) -> u64 {
        limit.saturating_add(self.granted)
    }

    fn ended(&self) -> Ended {
        Ended {
            period: self.period,
            resets: self.window.end,
        }
    }

    /// What becomes of this balance and another one of the same period: the later window, or, of the same window, the
    /// sum.
    fn join(&mut self, other: &Balance) {
        if other.window.end > self.window.end {
            *self = *other;
        } else if other.window.end == self.window.end {
            self.used = self.used.saturating_add(other.used);
            self.granted = self.granted.saturating_add(other.granted);
            self.unsaved = self.unsaved.saturating_add(other.unsaved);
        }
    }
}

impl Ledger {
    /// A ledger without a byte.
    pub(super) fn new(key: Key) -> Ledger {
        Ledger {
            key,
            state: Mutex::default(),
            asked: AtomicU64::new(0),
        }
    }

    /// When the store of a fleet was last asked what the member has used.
    pub(in super::super) fn asked(&self) -> Option<Elapsed> {
        let asked = self.asked.load(Ordering::Acquire);
        (asked > 0).then(|| Elapsed::of_micros(asked))
    }

    /// Notes that the store of a fleet has answered.
    pub fn set_asked(&self) {
        let now = Elapsed::now();
        self.asked.store(now.micros().max(1), Ordering::Release);
    }

    /// Has a balance of this moment for each period of the quota, so that the store of a fleet can be asked about it.
    pub fn begin(&self, quota: &Quota, now: i64) {
        let mut state = self.state.lock();
        for (period, _) in quota.periods() {
            state.balance(period, quota, now);
        }
    }

    /// Whose it is.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Whether a new request is within the quota.
    ///
    /// # Errors
    /// It is not: of the limits that are reached, the one that lasts longest.
    pub fn check(&self, quota: &Quota, now: i64) -> Result<(), Ended> {
        let state = self.state.lock();
        let reached = |balance: &&Balance| {
            let limit = quota.limit(balance.period);
            !balance.is_over(now) && limit.is_some_and(|limit| balance.used >= balance.most(limit))
        };
        let reached = state.balances.iter().filter(reached);
        let last = reached.max_by_key(|balance| balance.window.end);
        last.map_or(Ok(()), |balance| Err(balance.ended()))
    }

    /// Counts bytes. Whether the ledger has to enter the list of those that have changed, and whether it is within the
    /// quota still.
    pub(super) fn add(&self, quota: &Quota, bytes: u64, now: i64) -> (bool, Result<(), Ended>) {
        let mut state = self.state.lock();
        let mut over: Result<(), Ended> = Ok(());
        for (period, limit) in quota.periods() {
            let balance = state.balance(period, quota, now);
            balance.add(bytes);
            // The last byte of a quota may be used; the one behind it is over.
            let lasts_longer =
                over.map_or_else(|ended| ended.resets < balance.window.end, |()| true);
            if balance.used > balance.most(limit) && lasts_longer {
                over = Err(balance.ended());
            }
        }
        (state.enter(), over)
    }

    /// Whether instances that have all used as much as this one, and have not told it either, come near the end of the
    /// quota: a quarter of what is left.
    pub(in super::super) fn is_near_end(&self, quota: &Quota, instances: u32) -> bool {
        let state = self.state.lock();
        let untold = |balance: &Balance| balance.unsaved.saturating_mul(u64::from(instances) * 4);
        state.balances.iter().any(|balance| {
            let limit = quota.limit(balance.period);
            limit.is_some_and(|limit| {
                untold(balance) > balance.most(limit).saturating_sub(balance.used)
            })
        })
    }

    /// The bytes that are left of the quota, over all periods.
    pub fn left(&self, quota: &Quota, now: i64) -> u64 {
        let state = self.state.lock();
        let left = quota.periods().map(|(period, limit)| {
            let same = |balance: &&Balance| balance.period == period && !balance.is_over(now);
            match state.balances.iter().find(same) {
                Some(balance) => balance.most(limit).saturating_sub(balance.used),
                None => limit,
            }
        });
        left.min().unwrap_or(u64::MAX)
    }

    /// Lets the member use more, until each period of the quota ends. Whether it has to enter the list.
    pub(super) fn grant(&self, quota: &Quota, bytes: u64, now: i64) -> bool {
        let mut state = self.state.lock();
        for (period, _) in quota.periods() {
            let balance = state.balance(period, quota, now);
            balance.granted = balance.granted.saturating_add(bytes);
        }
        state.enter()
    }

    /// Forgets what was used and granted. Whether it has to enter the list.
    pub(super) fn reset(&self) -> bool {
        let mut state = self.state.lock();
        state.balances.clear();
        state.enter()
    }

    /// All balances. The windows of some may have ended.
    pub fn balances(&self) -> Balances {
        self.state.lock().balances.clone()
    }

    /// Visits all balances, under the lock of the ledger. The windows of some may have ended.
    pub fn visit(&self, visit: impl FnMut(&Balance)) {
        self.state.lock().balances.iter().for_each(visit);
    }

    /// The balances to write down. From now on their bytes count as saved, until [`give_back`](Self::give_back).
    pub fn take(&self) -> Balances {
        let mut state = self.state.lock();
        state.is_listed = false;
        let taken = state.balances.clone();
        for balance in &mut state.balances {
            balance.unsaved = 0;
        }
        taken
    }

    /// Notes that what was [taken](Self::take) is not saved. Whether it has to enter the list.
    pub(super) fn give_back(&self, taken: &[Balance]) -> bool {
        let mut state = self.state.lock();
        for balance in &mut state.balances {
            let of_same = |other: &&Balance| {
                other.period == balance.period && other.window.end == balance.window.end
            };
            let lost = taken.iter().find(of_same).map_or(0, |other| other.unsaved);
            balance.unsaved = balance.unsaved.saturating_add(lost);
        }
        state.enter()
    }

    /// Adds balances that were counted elsewhere. Whether it has to enter the list.
    pub(super) fn join(&self, others: &[Balance]) -> bool {
        let mut state = self.state.lock();
        for other in others {
            state.join(other);
        }
        state.enter()
    }

    /// Adds balances of a store, which are saved already.
    pub(super) fn join_stored(&self, stored: &[Balance]) {
        let mut state = self.state.lock();
        for other in stored {
            state.join(other);
        }
    }

    /// Replaces the balances by those of the process that owns them, beyond which there is what it does not know yet.
    pub fn follow(&self, owned: &[Balance]) {
        let mut state = self.state.lock();
        for owned in owned {
            let of_same = |balance: &&mut Balance| balance.period == owned.period;
            let Some(balance) = state.balances.iter_mut().find(of_same) else {
                continue;
            };
            if owned.window.end >= balance.window.end {
                let same = owned.window.end == balance.window.end;
                let unsaved = if same { balance.unsaved } else { 0 };
                *balance = Balance {
                    used: owned.used.saturating_add(unsaved),
                    unsaved,
                    ..*owned
                };
            }
        }
    }

    /// Whether there is nothing to remember of it.
    pub(super) fn is_empty(&self, now: i64) -> bool {
        let state = self.state.lock();
        let mut balances = state.balances.iter();
        !state.is_listed && balances.all(|balance| balance.is_over(now))
    }

    /// Has it enter the list, if it is not there.
    pub(super) fn enter(&self) -> bool {
        self.state.lock().enter()
    }
}

impl State {
    /// The balance of a period at this moment.
    fn balance(&mut self, period: Period, quota: &Quota, now: i64) -> &mut Balance {
        let found = self.balances.iter().position(|it| it.period == period);
        let at = found.unwrap_or_else(|| {
            self.balances.push(Balance::new(period, quota, now));
            self.balances.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "the position was found or pushed")]
        let balance = &mut self.balances[at];
        balance.roll(quota, now);
        balance
    }

    fn join(&mut self, other: &Balance) {
        let of_same = |balance: &&mut Balance| balance.period == other.period;
        match self.balances.iter_mut().find(of_same) {
            Some(balance) => balance.join(other),
            None => self.balances.push(*other),
        }
    }

    fn enter(&mut self) -> bool {
        !std::mem::replace(&mut self.is_listed, true)
    }
}
