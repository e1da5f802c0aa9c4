//! Balances as an operator sees them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Quota;
use super::ledger::{Balance, Key, Ledger, Member};
use super::ledgers::Ledgers;
use super::period::{Period, moment_text};
use crate::access::limits::Classes;

/// Which ledgers are meant. A part that is left out means all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Those of this class.
    pub class: Option<String>,
    /// Those of this user.
    pub user: Option<String>,
    /// Those of the network of this address.
    pub network: Option<IpAddr>,
}

/// One balance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// The class.
    pub class: String,
    /// The user, the network, `(the class)` or `(others)`.
    pub member: String,
    /// The period.
    pub period: String,
    /// Bytes that were used.
    pub used: u64,
    /// Bytes that may be used, with what was granted; none where the class has no such limit now.
    pub limit: Option<u64>,
    /// Those of them that were granted.
    pub granted: u64,
    /// When the period ends.
    pub resets_at: String,
    /// Whether `member` is the name of a user; not said to another process.
    #[serde(skip)]
    pub is_user: bool,
}

/// What all members use together, and those that use most.
#[derive(Debug, Default)]
pub struct Totals {
    /// Bytes by class and period.
    pub used: BTreeMap<(String, Period), u64>,
    /// The balances with the most bytes, the largest first.
    pub top: Vec<Row>,
}

impl Filter {
    /// Whether it means this ledger.
    pub fn matches(&self, ledger: &Ledger) -> bool {
        self.matches_key(ledger.key())
    }

    /// Whether it means the ledger of this key.
    pub fn matches_key(&self, key: &Key) -> bool {
        let class = self.class.as_deref();
        class.is_none_or(|class| key.class.as_str() == class) && self.matches_member(&key.member)
    }

    /// The member that it names, if it names one.
    pub fn member(&self) -> Option<Member> {
        match (&self.user, self.network) {
            (Some(user), _) => Some(Member::User(user.as_str().into())),
            (None, Some(network)) => Some(Member::network(network)),
            (None, None) => None,
        }
    }

    fn matches_member(&self, member: &Member) -> bool {
        self.member().is_none_or(|wanted| wanted == *member)
    }

    /// Whether it means every ledger.
    pub fn is_empty(&self) -> bool {
        *self == Filter::default()
    }
}

impl Row {
    /// The balances of a ledger that have not ended.
    pub fn of(ledger: &Ledger, classes: Option<&Classes>, now: i64) -> Vec<Row> {
        let key = ledger.key();
        let class = classes.and_then(|classes| classes.by_name(key.class.as_str()));
        let quota = class.and_then(|class| class.limits().quota);
        let balances = ledger.balances();
        let current = balances.iter().filter(|balance| !balance.is_over(now));
        let row = |balance: &Balance| Row::new(key, balance, quota.as_ref());
        current.map(row).collect()
    }

    /// One balance.
    pub fn new(key: &Key, balance: &Balance, quota: Option<&Quota>) -> Row {
        Row {
            class: key.class.as_str().to_owned(),
            member: key.member.shown(),
            period: balance.period.as_str().to_owned(),
            used: balance.used,
            limit: quota
                .and_then(|quota| quota.limit(balance.period))
                .map(|limit| limit.saturating_add(balance.granted)),
            granted: balance.granted,
            resets_at: moment_text(balance.window.end),
            is_user: matches!(key.member, Member::User(_)),
        }
    }
}

impl Totals {
    /// The totals of this moment, with so many of the largest balances. Visits every ledger.
    pub fn of(ledgers: &Ledgers, classes: Option<&Classes>, now: i64, most: usize) -> Totals {
        let mut totals = Totals::default();
        // The least of the largest is on top.
        let mut largest: BinaryHeap<Reverse<(u64, Row)>> = BinaryHeap::new();
        ledgers.each(|ledger| {
            for balance in ledger.balances() {
                if !balance.is_over(now) {
                    let class = ledger.key().class.as_str().to_owned();
                    let used = totals.used.entry((class, balance.period)).or_default();
                    *used = used.saturating_add(balance.used);
                }
            }
            let least = largest.peek().map(|Reverse((used, _))| *used);
            let is_large = |used| largest.len() < most || least.is_some_and(|least| used > least);
            if ledger
                .balances()
                .iter()
                .any(|balance| is_large(balance.used))
            {
                for row in Row::of(ledger, classes, now) {
                    largest.push(Reverse((row.used, row)));
                    if largest.len() > most {
                        largest.pop();
                    }
                }
            }
        });
        let mut top: Vec<_> = largest.into_iter().map(|Reverse(entry)| entry).collect();
        top.sort_by(|a, b| b.cmp(a));
        totals.top = top.into_iter().map(|(_, row)| row).collect();
        totals
    }
}
