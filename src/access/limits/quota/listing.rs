//! Balances as an operator sees them.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use super::Quota;
use super::ledger::{Balance, Key, Ledger, Member};
use super::ledgers::Ledgers;
use super::period::{Period, moment_text};
use crate::access::limits::Classes;
use crate::access::policy::Name;

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

/// The balances with the most bytes, the largest first.
#[derive(Debug, Default)]
pub struct Largest {
    /// Those that are listed.
    pub rows: Vec<Row>,
    /// How many there are beside them.
    pub unlisted: usize,
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
        // By the address of the name first: most ledgers of a class have the same one, and its text need not be read.
        let mut used: HashMap<(*const u8, Period), (Name, u64), RandomState> = HashMap::default();
        let mut selection = Selection::new(most);
        ledgers.each(|ledger| {
            let class = &ledger.key().class;
            ledger.visit(|balance| {
                if !balance.is_over(now) {
                    let key = (class.as_str().as_ptr(), balance.period);
                    let (_, sum) = used.entry(key).or_insert_with(|| (class.clone(), 0));
                    *sum = sum.saturating_add(balance.used);
                    selection.offer(ledger, balance);
                }
            });
        });
        let mut totals = Totals {
            top: selection.into_largest(classes).rows,
            ..Totals::default()
        };
        for ((_, period), (class, used)) in used {
            let class = class.as_str().to_owned();
            let sum = totals.used.entry((class, period)).or_default();
            *sum = sum.saturating_add(used);
        }
        totals
    }
}

impl Largest {
    /// So many of the balances that a filter means. Visits every ledger; rows are made of those that are listed.
    pub fn of(
        ledgers: &Ledgers,
        filter: &Filter,
        classes: Option<&Classes>,
        now: i64,
        most: usize,
    ) -> Largest {
        let mut selection = Selection::new(most);
        ledgers.each(|ledger| {
            if filter.matches(ledger) {
                ledger.visit(|balance| {
                    if !balance.is_over(now) {
                        selection.offer(ledger, balance);
                    }
                });
            }
        });
        selection.into_largest(classes)
    }

    /// So many of these.
    pub fn of_rows(mut rows: Vec<Row>, most: usize) -> Largest {
        let unlisted = rows.len().saturating_sub(most);
        sort(&mut rows);
        rows.truncate(most);
        Largest { rows, unlisted }
    }
}

/// The largest first, those that are equal by their names.
fn sort(rows: &mut [Row]) {
    rows.sort_unstable_by(|a, b| b.used.cmp(&a.used).then_with(|| a.cmp(b)));
}

/// Keeps the largest of the balances that it is offered.
struct Selection {
    most: usize,
    /// The least of them is on top.
    largest: BinaryHeap<Reverse<Candidate>>,
    offered: usize,
}

/// A balance, in the order of the bytes that were used.
struct Candidate {
    ledger: Arc<Ledger>,
    balance: Balance,
}

impl Selection {
    fn new(most: usize) -> Selection {
        Selection {
            most,
            largest: BinaryHeap::new(),
            offered: 0,
        }
    }

    fn offer(&mut self, ledger: &Arc<Ledger>, balance: &Balance) {
        self.offered += 1;
        if self.largest.len() >= self.most {
            let least = self.largest.peek();
            if least.is_none_or(|Reverse(least)| balance.used <= least.balance.used) {
                return;
            }
            self.largest.pop();
        }
        self.largest.push(Reverse(Candidate {
            ledger: Arc::clone(ledger),
            balance: *balance,
        }));
    }

    fn into_largest(self, classes: Option<&Classes>) -> Largest {
        let unlisted = self.offered - self.largest.len();
        let rows = self.largest.into_iter().map(|Reverse(candidate)| {
            let key = candidate.ledger.key();
            let class = classes.and_then(|classes| classes.by_name(key.class.as_str()));
            let quota = class.and_then(|class| class.limits().quota);
            Row::new(key, &candidate.balance, quota.as_ref())
        });
        let mut rows: Vec<Row> = rows.collect();
        sort(&mut rows);
        Largest { rows, unlisted }
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.balance.used == other.balance.used
    }
}

impl Eq for Candidate {}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.balance.used.cmp(&other.balance.used)
    }
}
