//! What each user used, in metrics and statistics alike.
//!
//! Users are those whose password was verified, so their number is that of the
//! password file. Those beyond the bound are counted together.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use parking_lot::RwLock;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::counters::OTHER;
use super::metrics::declare::metrics;
use super::metrics::series::Bytes;
use super::stats::declare::members;

/// Users with numbers of their own. Each costs four series.
const MAX_USERS: usize = 1000;

/// Hashed fast: a name is in the password file, and not for a client to choose.
type Map = HashMap<Box<str>, Arc<Usage>, RandomState>;

pub(crate) struct Users {
    families: Families,
    max: usize,
    map: RwLock<Map>,
    other: OnceLock<Arc<Usage>>,
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
        })
    }

    /// Every metric.
    #[cfg(test)]
    pub(crate) fn reference() -> Vec<[String; 4]> {
        Families::reference()
    }

    /// Lends the counters of `user`.
    pub(crate) fn with(&self, user: &str, count: impl FnOnce(&Usage)) {
        if let Some(usage) = self.find(&self.map.read(), user) {
            return count(usage);
        }
        count(&self.add(user));
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
        }
    }
}

impl Usage {
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
            users.with(user, |usage| usage.requests.inc());
        }
        let (map, other) = users.report();
        assert_eq!(map.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(map["a"].requests, 2);
        assert_eq!(other.unwrap().requests, 2);
    }

    #[test]
    fn kept_and_lent_counters_are_the_same() {
        let users = Users::register(&Registry::new()).unwrap();
        let kept = users.usage("alice");
        kept.add_bytes(3, 5);
        users.with("alice", |usage| usage.add_bytes(10, 20));
        let (map, other) = users.report();
        assert_eq!(
            (map["alice"].bytes_from_client, map["alice"].bytes_to_client),
            (13, 25)
        );
        assert_eq!(other, None);
    }
}
