//! The table of all ledgers: of bounded size, and with locks that are held briefly.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;

use super::ledger::{Balance, Balances, Key, Ledger, Member};
use super::{Ended, Quota};
use crate::access::client::network_of;
use crate::access::limits::Per;
use crate::access::policy::Name;

/// Ledgers of a part of the table, about: they are looked through in some microseconds.
const IN_PART: usize = 1024;

/// The fewest and the most parts.
const PARTS: std::ops::RangeInclusive<usize> = 64..=16_384;

/// The number of lists of changed ledgers. A list that grows is copied under its lock: short lists keep that time short.
const LISTS: usize = 64;

/// The ledgers of every class.
pub struct Ledgers {
    table: OnceLock<Table>,
    max: usize,
}

struct Table {
    parts: Box<[Mutex<HashTable<Arc<Ledger>>>]>,
    changed: [Mutex<Vec<Arc<Ledger>>>; LISTS],
    /// Differs in each process, so that no client chooses its part.
    hasher: RandomState,
    count: AtomicUsize,
}

/// What becomes of balances that are read from a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// They are added to what was counted since the start.
    Added,
    /// A ledger that is there knows better.
    IfUnknown,
}

/// A member that is looked for.
#[derive(Clone, Copy, Debug)]
enum Wanted<'a> {
    User(&'a str),
    Network(IpAddr),
    Host(&'a str),
    Class,
    Others,
}

impl<'a> Wanted<'a> {
    fn new(per: Per, user: &'a str, client: IpAddr) -> Wanted<'a> {
        match per {
            Per::User => Wanted::User(user),
            Per::ClientNetwork => Wanted::Network(network_of(client)),
            // The configuration has no quota of hosts.
            Per::Class | Per::Host => Wanted::Class,
        }
    }

    fn of(member: &'a Member) -> Wanted<'a> {
        match member {
            Member::User(name) => Wanted::User(name),
            Member::Network(network) => Wanted::Network(*network),
            Member::Host(name) => Wanted::Host(name),
            Member::Class => Wanted::Class,
            Member::Others => Wanted::Others,
        }
    }

    fn is(&self, member: &Member) -> bool {
        match (self, member) {
            (Wanted::User(name), Member::User(other)) => **name == **other,
            (Wanted::Network(network), Member::Network(other)) => network == other,
            (Wanted::Host(name), Member::Host(other)) => **name == **other,
            (Wanted::Class, Member::Class) | (Wanted::Others, Member::Others) => true,
            _ => false,
        }
    }

    fn to_member(self) -> Member {
        match self {
            Wanted::User(name) => Member::User(name.into()),
            Wanted::Network(network) => Member::Network(network),
            Wanted::Host(name) => Member::Host(name.into()),
            Wanted::Class => Member::Class,
            Wanted::Others => Member::Others,
        }
    }
}

impl Ledgers {
    /// A table for so many ledgers. It takes no memory before the first one.
    pub fn new(max: usize) -> Ledgers {
        Ledgers {
            table: OnceLock::new(),
            max,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        let table = self.table.get();
        table.map_or(0, |table| table.count.load(Ordering::Relaxed))
    }

    /// How many there can be, those of [`Member::Others`] apart.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Whether there is room for another one.
    pub fn has_room(&self) -> bool {
        self.len() < self.max
    }

    /// The ledger of the member that this client is.
    pub fn of_client(&self, class: &Name, per: Per, user: &str, client: IpAddr) -> Arc<Ledger> {
        self.ledger(class, Wanted::new(per, user, client))
    }

    /// The ledger of a member.
    pub fn of_member(&self, class: &Name, member: &Member) -> Arc<Ledger> {
        self.ledger(class, Wanted::of(member))
    }

    /// Counts bytes of a member.
    ///
    /// # Errors
    /// Its quota has ended.
    pub fn add(
        &self,
        ledger: &Arc<Ledger>,
        quota: &Quota,
        bytes: u64,
        now: i64,
    ) -> Result<(), Ended> {
        let (is_new, within) = ledger.add(quota, bytes, now);
        self.note(ledger, is_new);
        within
    }

    /// Has the store of a fleet asked about a member with the next turn.
    pub fn touch(&self, ledger: &Arc<Ledger>) {
        let is_new = ledger.enter();
        self.note(ledger, is_new);
    }

    /// Lets a member use more, until each period of the quota ends.
    pub fn grant(&self, ledger: &Arc<Ledger>, quota: &Quota, bytes: u64, now: i64) {
        let is_new = ledger.grant(quota, bytes, now);
        self.note(ledger, is_new);
    }

    /// Forgets what a member has used and was granted.
    pub fn reset(&self, ledger: &Arc<Ledger>) {
        let is_new = ledger.reset();
        self.note(ledger, is_new);
    }

    /// Adds what a process has counted that drains.
    pub fn join(&self, ledger: &Arc<Ledger>, balances: &[Balance]) {
        let is_new = ledger.join(balances);
        self.note(ledger, is_new);
    }

    /// Takes balances from a store.
    pub fn load(&self, class: &Name, member: &Member, balances: &Balances, how: Loaded) {
        let is_known = how == Loaded::IfUnknown && self.find(class, member).is_some();
        if !is_known {
            // What is stored has no changes: it enters no list.
            let ledger = self.of_member(class, member);
            ledger.join_stored(balances);
        }
    }

    /// Takes the ledgers that have changed since the last call.
    pub fn take_changed(&self) -> Vec<Arc<Ledger>> {
        let mut all = Vec::new();
        for list in self.table.get().iter().flat_map(|table| &table.changed) {
            let taken = std::mem::take(&mut *list.lock());
            all.extend(taken);
        }
        all
    }

    /// Puts a ledger that could not be saved back.
    pub fn give_back(&self, ledger: &Arc<Ledger>, taken: &[Balance]) {
        let is_new = ledger.give_back(taken);
        self.note(ledger, is_new);
    }

    /// Has every ledger saved again.
    pub fn change_all(&self) {
        self.each(|ledger| {
            let is_new = ledger.enter();
            self.note(ledger, is_new);
        });
    }

    /// How many parts there are to [sweep](Self::sweep).
    pub fn parts(&self) -> usize {
        self.table.get().map_or(0, |table| table.parts.len())
    }

    /// Forgets the ledgers of a part that have nothing in a current period, and that nothing uses. `turn` chooses the
    /// part.
    pub fn sweep(&self, turn: usize, now: i64) -> Vec<Key> {
        let Some(table) = self.table.get() else {
            return Vec::new();
        };
        let Some(part) = table.parts.get(turn % table.parts.len()) else {
            return Vec::new();
        };
        let mut part = part.lock();
        // Only this lock gives ledgers out: nothing uses a ledger that the table alone refers to.
        let gone =
            |ledger: &mut Arc<Ledger>| Arc::strong_count(ledger) == 1 && ledger.is_empty(now);
        let gone: Vec<Key> = part
            .extract_if(gone)
            .map(|ledger| ledger.key().clone())
            .collect();
        table.count.fetch_sub(gone.len(), Ordering::Relaxed);
        gone
    }

    /// Visits every ledger, without a lock.
    pub fn each(&self, mut visit: impl FnMut(&Arc<Ledger>)) {
        for part in self.table.get().iter().flat_map(|table| &table.parts) {
            let ledgers: Vec<Arc<Ledger>> = part.lock().iter().map(Arc::clone).collect();
            ledgers.iter().for_each(&mut visit);
        }
    }

    /// The ledger of a member, if it has one.
    pub fn find(&self, class: &Name, member: &Member) -> Option<Arc<Ledger>> {
        let table = self.table.get()?;
        let wanted = Wanted::of(member);
        let hash = table.hash(class, &wanted);
        let part = table.part(hash)?.lock();
        part.find(hash, is(class, &wanted)).cloned()
    }

    fn ledger(&self, class: &Name, wanted: Wanted<'_>) -> Arc<Ledger> {
        let table = self.table.get_or_init(|| Table::new(self.max));
        let hash = table.hash(class, &wanted);
        let new = |member| {
            Arc::new(Ledger::new(Key {
                class: class.clone(),
                member,
            }))
        };
        let Some(part) = table.part(hash) else {
            // There is a part for each hash.
            return new(wanted.to_member());
        };
        let mut part = part.lock();
        if let Some(ledger) = part.find(hash, is(class, &wanted)) {
            return Arc::clone(ledger);
        }
        let is_others = matches!(wanted, Wanted::Others);
        let has_room = |count| (is_others || count < self.max).then_some(count + 1);
        let count = &table.count;
        let has_room = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, has_room);
        if has_room.is_err() {
            drop(part);
            return self.ledger(class, Wanted::Others);
        }
        let ledger = new(wanted.to_member());
        let rehash = |ledger: &Arc<Ledger>| table.hash_key(ledger.key());
        part.insert_unique(hash, Arc::clone(&ledger), rehash);
        ledger
    }

    fn note(&self, ledger: &Arc<Ledger>, is_new: bool) {
        if !is_new {
            return;
        }
        let table = self.table.get_or_init(|| Table::new(self.max));
        let hash = table.hash_key(ledger.key());
        // The remainder is less than a usize.
        let list = usize::try_from(hash % LISTS as u64).unwrap_or_default();
        if let Some(list) = table.changed.get(list) {
            list.lock().push(Arc::clone(ledger));
        }
    }
}

fn is(class: &Name, wanted: &Wanted<'_>) -> impl Fn(&Arc<Ledger>) -> bool {
    move |ledger| {
        let key = ledger.key();
        wanted.is(&key.member) && key.class == *class
    }
}

impl Table {
    fn new(max: usize) -> Table {
        let parts = max.div_ceil(IN_PART);
        let parts = parts.clamp(*PARTS.start(), *PARTS.end());
        Table {
            parts: (0..parts).map(|_| Mutex::default()).collect(),
            changed: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::default(),
            count: AtomicUsize::new(0),
        }
    }

    fn hash(&self, class: &Name, wanted: &Wanted<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        class.as_str().hash(&mut hasher);
        match wanted {
            Wanted::User(name) => (0u8, *name).hash(&mut hasher),
            Wanted::Network(network) => (1u8, network).hash(&mut hasher),
            Wanted::Host(name) => (4u8, *name).hash(&mut hasher),
            Wanted::Class => 2u8.hash(&mut hasher),
            Wanted::Others => 3u8.hash(&mut hasher),
        }
        hasher.finish()
    }

    fn hash_key(&self, key: &Key) -> u64 {
        self.hash(&key.class, &Wanted::of(&key.member))
    }

    fn part(&self, hash: u64) -> Option<&Mutex<HashTable<Arc<Ledger>>>> {
        // The high bits: the table of a part uses the low ones.
        self.parts.get((hash >> 32) as usize % self.parts.len())
    }
}

impl fmt::Debug for Ledgers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledgers")
            .field("count", &self.len())
            .finish_non_exhaustive()
    }
}

/// Names of classes that are read from a store: one allocation for each class.
#[derive(Debug, Default)]
pub struct Names(HashSet<Name>);

impl Names {
    /// The name, if the text is one.
    pub fn get(&mut self, text: &str) -> Option<Name> {
        let name = Name::parse_any(text).ok()?;
        if let Some(known) = self.0.get(&name) {
            return Some(known.clone());
        }
        self.0.insert(name.clone());
        Some(name)
    }
}
