//! What an operator does to balances.

use serde::{Deserialize, Serialize};

use crate::access::limits::quota::{Filter, Key, Ledgers, Member};
use crate::access::limits::{Class, Classes, Per};

/// A change of the balances that a filter means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Forgets what was used and granted.
    Reset(Filter),
    /// Lets each member use so many bytes more, until each period ends.
    Grant(Filter, u64),
}

/// What has become of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// How many members it is about.
    pub changed: usize,
    /// Whether it is written down already; else it will be when the store works again.
    pub saved: bool,
}

impl Change {
    /// Changes the ledgers.
    pub fn apply(&self, ledgers: &Ledgers, classes: Option<&Classes>, now: i64) -> Done {
        let (Change::Reset(filter) | Change::Grant(filter, _)) = self;
        let quota = |class: &str| {
            let class = classes.and_then(|classes| classes.by_name(class));
            class.and_then(|class| class.limits().quota)
        };
        if let Change::Grant(..) = self {
            make_ledger(ledgers, classes, filter);
        }
        let mut changed = 0;
        ledgers.each(|ledger| {
            if !filter.matches(ledger) {
                return;
            }
            match self {
                Change::Reset(_) => ledgers.reset(ledger),
                Change::Grant(_, bytes) => match quota(ledger.key().class.as_str()) {
                    Some(quota) => ledgers.grant(ledger, &quota, *bytes, now),
                    None => return,
                },
            }
            changed += 1;
        });
        Done {
            changed,
            saved: false,
        }
    }
}

/// Makes the ledger of the member that a filter names, which may not have used anything yet.
fn make_ledger(ledgers: &Ledgers, classes: Option<&Classes>, filter: &Filter) {
    if let Some(key) = named_member(classes, filter) {
        ledgers.of_member(&key.class, &key.member);
    }
}

/// The member of a class with a quota that a filter names.
pub(super) fn named_member(classes: Option<&Classes>, filter: &Filter) -> Option<Key> {
    let class = classes?.by_name(filter.class.as_deref()?)?;
    class.limits().quota?;
    let member = match filter.member() {
        None if class.per() == Per::Class => Member::Class,
        member => member.filter(|member| is_of(class, member))?,
    };
    let class = class.full_name().clone();
    Some(Key { class, member })
}

fn is_of(class: &Class, member: &Member) -> bool {
    matches!(
        (class.per(), member),
        (Per::User, Member::User(_)) | (Per::ClientNetwork, Member::Network(_))
    )
}
