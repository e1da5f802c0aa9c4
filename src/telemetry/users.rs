//! What each user used, in metrics and statistics alike.
//!
//! Users are those whose credentials were verified, so most often their number is that of the
//! password file. Those beyond the bound are counted together, and a sketch knows who of them uses the most.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use parking_lot::RwLock;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::counters::OTHER;
use super::metrics::declare::metrics;
use super::metrics::series::Bytes;
use super::rows::{OtherUsers, TopBy, UserList, UserRow};
use super::stats::declare::members;
use super::text::unix_text;
use super::top::{Entry, Top, Weight};

/// Users with numbers of their own. Each costs four series.
const MAX_USERS: usize = 1000;

/// Hashed fast: a name is in the password file, and not for a client to choose.
type Map = HashMap<Box<str>, Arc<Usage>, RandomState>;

pub(crate) struct Users {
    families: Families,
    max: usize,
    map: RwLock<Map>,
    other: OnceLock<Arc<Usage>>,
    /// The users beyond the bound, those who use the most.
    rest: OnceLock<Top>,
}

metrics! {
    /// What is counted of each user.
    struct Families;
    "tollgate_user_requests_total" counter ["user"] => requests: IntCounterVec,
        "Requests by user."
        "A tunnel counts when it is established.";
    "tollgate_user_bytes_total" counter ["user", "direction"] => bytes: IntCounterVec,
        "Bytes of content by user and direction; of a tunnel, live.";
    "tollgate_user_open_tunnels" gauge ["user"] => open_tunnels: IntGaugeVec,
        "Tunnels that are open, by user.";
}

/// The counters of one user.
#[derive(Debug)]
pub(crate) struct Usage {
    pub(crate) requests: IntCounter,
    bytes: Bytes,
    pub(crate) open_tunnels: IntGauge,
    denials: AtomicU64,
    /// In seconds since 1970.
    last_seen: AtomicU64,
}

members! {
    /// The numbers of one user at one moment.
    pub(crate) struct UsageReport;
    requests: u64, "Requests and tunnels of the user.";
    bytes_from_client: u64, "Content read from the user, in bytes.";
    bytes_to_client: u64, "Content sent to the user, in bytes.";
    open_tunnels: i64, "Tunnels that the user has open.";
}

impl Users {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Users> {
        Users::with_max(registry, MAX_USERS)
    }

    fn with_max(registry: &Registry, max: usize) -> prometheus::Result<Users> {
        Ok(Users {
            families: Families::register(registry)?,
            max,
            map: RwLock::default(),
            other: OnceLock::new(),
            rest: OnceLock::new(),
        })
    }

    /// Every metric.
    #[cfg(test)]
    pub(crate) fn reference() -> Vec<[String; 4]> {
        Families::reference()
    }

    /// Counts what `user` has used.
    pub(crate) fn count(&self, user: &str, used: &Weight) {
        let map = self.map.read();
        if let Some(usage) = map.get(user) {
            return usage.count(used);
        }
        let is_full = map.len() >= self.max;
        drop(map);
        // A user beyond the bound is counted under a lock that all share: each of its requests comes here.
        let usage = if is_full {
            Arc::clone(self.other())
        } else {
            self.add(user)
        };
        usage.count(used);
        self.note_rest(user, used);
    }

    /// Notes what a user has used beside its counters, if it is one beyond the bound.
    pub(crate) fn note_rest(&self, user: &str, used: &Weight) {
        if self.other.get().is_some() && !self.map.read().contains_key(user) {
            self.rest.get_or_init(Top::new).add(user, used);
        }
    }

    /// The counters of `user`, to be kept.
    pub(crate) fn usage(&self, user: &str) -> Arc<Usage> {
        if let Some(usage) = self.find(&self.map.read(), user) {
            return Arc::clone(usage);
        }
        self.add(user)
    }

    /// No user is ever removed, so the users beyond the limit are counted together.
    fn find<'a>(&'a self, map: &'a Map, user: &str) -> Option<&'a Arc<Usage>> {
        map.get(user)
            .or_else(|| (map.len() >= self.max).then(|| self.other()))
    }

    fn add(&self, user: &str) -> Arc<Usage> {
        let mut map = self.map.write();
        // Another thread may have been faster.
        if let Some(usage) = self.find(&map, user) {
            return Arc::clone(usage);
        }
        let usage = Arc::new(self.families.usage(user));
        map.insert(user.into(), Arc::clone(&usage));
        usage
    }

    fn other(&self) -> &Arc<Usage> {
        self.other
            .get_or_init(|| Arc::new(self.families.usage(OTHER)))
    }

    /// Those that `is_wanted`, the ones who use the most first.
    pub(crate) fn top(
        &self,
        by: TopBy,
        limit: usize,
        is_wanted: impl Fn(&str) -> bool,
    ) -> UserList {
        let mut found: Vec<(Box<str>, Found)> = {
            let map = self.map.read();
            let wanted = map.iter().filter(|(user, _)| is_wanted(user));
            wanted
                .map(|(user, usage)| (user.clone(), Found::Own(Arc::clone(usage))))
                .collect()
        };
        if let Some(rest) = self.rest.get() {
            let wanted = rest.entries().into_iter();
            let wanted = wanted.filter(|entry| is_wanted(&entry.key));
            found.extend(wanted.map(|entry| (Box::from(&*entry.key), Found::InRest(entry))));
        }
        let total = found.len();
        let mut rows: Vec<_> = found
            .into_iter()
            .map(|(user, found)| (found.used(), user, found))
            .collect();
        let key = |used: &Weight| match by {
            TopBy::Requests => used.requests,
            TopBy::Bytes => used.bytes(),
            TopBy::Denials => used.denials,
        };
        rows.sort_unstable_by(|(a, name, _), (b, other, _)| {
            key(b).cmp(&key(a)).then_with(|| name.cmp(other))
        });
        rows.truncate(limit);
        UserList {
            total,
            users: rows
                .into_iter()
                .map(|(used, user, found)| found.into_row(user, &used))
                .collect(),
            other_users: self.other.get().map(|usage| usage.others()),
        }
    }

    /// All users, and the sum of the users beyond the limit.
    pub(crate) fn report(&self) -> (BTreeMap<String, UsageReport>, Option<UsageReport>) {
        let users = self
            .map
            .read()
            .iter()
            .map(|(user, usage)| (user.to_string(), usage.report()))
            .collect();
        (users, self.other.get().map(|usage| usage.report()))
    }
}

impl Families {
    fn usage(&self, user: &str) -> Usage {
        Usage {
            requests: self.requests.with_label_values(&[user]),
            bytes: Bytes::of(&self.bytes, user),
            open_tunnels: self.open_tunnels.with_label_values(&[user]),
            denials: AtomicU64::new(0),
            last_seen: AtomicU64::new(0),
        }
    }
}

/// A user in one of the two tables.
enum Found {
    Own(Arc<Usage>),
    InRest(Entry),
}

impl Found {
    fn used(&self) -> Weight {
        match self {
            Found::Own(usage) => usage.used(),
            Found::InRest(entry) => Weight {
                requests: entry.count,
                ..entry.weight
            },
        }
    }

    fn into_row(self, user: Box<str>, used: &Weight) -> UserRow {
        let (open_tunnels, max_overcount) = match self {
            Found::Own(usage) => (count(&usage.open_tunnels), None),
            Found::InRest(entry) => (0, Some(entry.max_overcount)),
        };
        UserRow {
            user: user.into(),
            requests: used.requests,
            denials: used.denials,
            bytes_from_client: used.from_client,
            bytes_to_client: used.to_client,
            open_tunnels,
            last_seen: (used.last_seen > 0).then(|| unix_text(used.last_seen)),
            max_overcount,
        }
    }
}

/// A gauge as a count.
fn count(gauge: &IntGauge) -> u64 {
    u64::try_from(gauge.get()).unwrap_or_default()
}

impl Usage {
    /// Counts what the user has used.
    pub(crate) fn count(&self, used: &Weight) {
        self.requests.inc_by(used.requests);
        self.bytes.add(used.from_client, used.to_client);
        if used.denials > 0 {
            self.denials.fetch_add(used.denials, Ordering::Relaxed);
        }
        // Once in a second is enough, and requests end in another order than they began.
        if used.last_seen > self.last_seen.load(Ordering::Relaxed) {
            self.last_seen.store(used.last_seen, Ordering::Relaxed);
        }
    }

    fn used(&self) -> Weight {
        Weight {
            requests: self.requests.get(),
            from_client: self.bytes.from_client.get(),
            to_client: self.bytes.to_client.get(),
            denials: self.denials.load(Ordering::Relaxed),
            last_seen: self.last_seen.load(Ordering::Relaxed),
        }
    }

    fn others(&self) -> OtherUsers {
        let used = self.used();
        OtherUsers {
            requests: used.requests,
            denials: used.denials,
            bytes_from_client: used.from_client,
            bytes_to_client: used.to_client,
            open_tunnels: count(&self.open_tunnels),
        }
    }

    pub(crate) fn add_bytes(&self, from_client: u64, to_client: u64) {
        self.bytes.add(from_client, to_client);
    }

    fn report(&self) -> UsageReport {
        UsageReport {
            requests: self.requests.get(),
            bytes_from_client: self.bytes.from_client.get(),
            bytes_to_client: self.bytes.to_client.get(),
            open_tunnels: self.open_tunnels.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_beyond_the_bound_share_one_entry() {
        let registry = Registry::new();
        let users = Users::with_max(&registry, 2).unwrap();
        for user in ["a", "b", "c", "d", "a"] {
            users.count(user, &Weight::ONE);
        }
        let (map, other) = users.report();
        assert_eq!(map.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(map["a"].requests, 2);
        assert_eq!(other.unwrap().requests, 2);
    }

    #[test]
    fn users_beyond_the_bound_exclude_nobody_while_they_are_counted() {
        let users = Users::with_max(&Registry::new(), 1).unwrap();
        users.count("a", &Weight::ONE);
        let (told, counted) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let reading = users.map.read();
            scope.spawn(|| {
                users.count("b", &Weight::ONE);
                told.send(()).unwrap();
            });
            let in_time = counted.recv_timeout(std::time::Duration::from_secs(10));
            // First, so that a thread that waits for it ends.
            drop(reading);
            in_time.unwrap();
        });
        assert_eq!(users.report().1.unwrap().requests, 1);
    }

    #[test]
    fn kept_and_lent_counters_are_the_same() {
        let users = Users::register(&Registry::new()).unwrap();
        let kept = users.usage("alice");
        kept.add_bytes(3, 5);
        let more = Weight {
            from_client: 10,
            to_client: 20,
            ..Weight::default()
        };
        users.count("alice", &more);
        let (map, other) = users.report();
        assert_eq!(
            (map["alice"].bytes_from_client, map["alice"].bytes_to_client),
            (13, 25)
        );
        assert_eq!(other, None);
    }
}
