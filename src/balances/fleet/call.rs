//! One call of the script: what it asks, and what follows from its answer.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use redis::{Connection, Script};

use super::LEASE;
use crate::access::limits::fleet::{Answer, Ask, Member, What};
use crate::access::limits::quota::{Balance, Key, Ledger, Period, now};
use crate::balances::StoreError;

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("script.lua")));

/// The most items of a call. The server does nothing else meanwhile: about a millisecond.
pub(super) const MAX_ITEMS: usize = 256;

/// How long instances that have lost their places have time to tell of them. Longer than they take between two calls.
const LOST: Duration = Duration::from_millis(1300);

/// How long a balance is kept behind its end: instances may still tell of it.
const KEPT: i64 = 86_400;

/// What is asked about one key.
#[derive(Debug)]
pub(super) enum Item {
    /// A limit of a member.
    Limit(Arc<Member>, Ask),
    /// What was used of a quota.
    Quota(Arc<Ledger>, Balance),
    /// What an operator does with a balance.
    Change(Key, Balance, Op),
}

/// What an operator does with a balance.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// Forgets what was used and granted.
    Reset,
    /// Lets the member use more.
    Grant(u64),
}

/// A call. It is repeated with the same number until it is answered.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) number: u64,
    pub(super) items: Vec<Item>,
}

/// Who calls.
#[derive(Debug)]
pub(super) struct Caller {
    /// The number of the instance, drawn by lot.
    pub(super) id: String,
    pub(super) prefix: Box<str>,
    /// When the data of the store began, as far as it is known; else 0.
    pub(super) epoch: i64,
}

/// What a call is answered.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) instances: u32,
    /// When the data of the store began.
    pub(super) epoch: i64,
    /// Three numbers for each item.
    numbers: Vec<i64>,
}

/// The key of a balance.
pub(super) fn balance_key(prefix: &str, key: &Key, period: Period, end: i64) -> String {
    let (class, member) = (key.class.as_str(), &key.member);
    format!("{prefix}:q:{class}:{}:{end}:{member}", period.as_str())
}

impl Caller {
    /// One with a number that no other instance has.
    pub(super) fn new(prefix: &str) -> Caller {
        // Without random numbers, the time differs from that of every other process well enough.
        let number = getrandom::u64().unwrap_or_else(|_| now().unsigned_abs());
        Caller {
            id: format!("{number:016x}"),
            prefix: prefix.into(),
            epoch: 0,
        }
    }

    pub(super) fn instances_key(&self) -> String {
        format!("{}:instances", self.prefix)
    }

    pub(super) fn last_call_key(&self) -> String {
        format!("{}:call:{}", self.prefix, self.id)
    }

    /// Calls the script, which the server is given when it does not know it.
    pub(super) fn call(
        &self,
        connection: &mut Connection,
        call: &Call,
    ) -> Result<Answered, StoreError> {
        let mut run = SCRIPT.key(self.instances_key());
        run.key(self.last_call_key());
        run.key(format!("{}:lost", self.prefix));
        run.key(format!("{}:epoch", self.prefix));
        run.arg(&self.id)
            .arg(call.number)
            .arg(millis(LEASE))
            .arg(millis(LOST))
            .arg(self.epoch);
        for item in &call.items {
            item.write(&self.prefix, &mut run);
        }
        let numbers: Vec<i64> = run.invoke(connection)?;
        let (&[instances, epoch], numbers) = numbers.split_first_chunk().ok_or_else(other)?;
        if numbers.len() != call.items.len() * 3 {
            return Err(other());
        }
        Ok(Answered {
            instances: u32::try_from(instances).unwrap_or(1),
            epoch,
            numbers: numbers.to_vec(),
        })
    }
}

/// An answer that is none.
fn other() -> StoreError {
    StoreError::Server {
        kind: "other",
        text: "an answer that is none of the script".into(),
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Answered {
    /// Each item with its numbers.
    pub(super) fn each<'a>(&'a self, call: &'a Call) -> impl Iterator<Item = (&'a Item, [i64; 3])> {
        let numbers = self.numbers.as_chunks::<3>().0.iter().copied();
        call.items.iter().zip(numbers)
    }
}

impl Item {
    fn write(&self, prefix: &str, run: &mut redis::ScriptInvocation<'_>) {
        match self {
            Item::Limit(member, ask) => {
                let Some((class, who)) = member.named() else {
                    return;
                };
                let kind = match ask.what {
                    What::Rate { .. } => "r",
                    What::Places { .. } => "p",
                };
                let limit = ask.limit.as_str();
                run.key(format!("{prefix}:{kind}:{}:{limit}:{who}", class.as_str()));
                match ask.what {
                    What::Rate {
                        taken,
                        wanted,
                        interval,
                        burst,
                        queue,
                    } => {
                        // A clock that was set back, and a debt that nothing explains, end then.
                        let most = 2.0 * interval * f64::from(burst) + queue + 1_000_000.0;
                        run.arg("rate").arg(taken).arg(wanted);
                        run.arg(interval).arg(burst).arg(most).arg("");
                    }
                    What::Places { open, wanted, most } => {
                        run.arg("places").arg(open).arg(wanted).arg(most);
                        run.arg("").arg("").arg("");
                    }
                }
            }
            Item::Quota(ledger, balance) => {
                let known = balance.used.saturating_sub(balance.unsaved);
                write_balance(prefix, run, ledger.key(), balance, known, balance.unsaved);
                run.arg(0);
            }
            Item::Change(key, balance, op) => {
                write_balance(prefix, run, key, balance, balance.used, 0);
                match op {
                    Op::Reset => run.arg("reset"),
                    Op::Grant(bytes) => run.arg(*bytes),
                };
            }
        }
    }

    /// Takes over what the store answers.
    pub(super) fn answered(&self, numbers: [i64; 3], answered: &Answered) {
        let [first, second, third] = numbers.map(|number| u64::try_from(number).unwrap_or(0));
        let small = |number| u32::try_from(number).unwrap_or(u32::MAX);
        match self {
            Item::Limit(member, ask) => {
                let answer = match ask.what {
                    What::Rate { .. } => Answer::Rate {
                        ahead: first,
                        granted: small(second),
                    },
                    What::Places { .. } => Answer::Places(small(first)),
                };
                member.answered(ask, answer, answered.instances);
            }
            Item::Quota(ledger, balance) => {
                ledger.follow(&[Balance {
                    used: first,
                    granted: second,
                    unsaved: 0,
                    resets: small(third),
                    ..*balance
                }]);
                ledger.set_asked();
            }
            Item::Change(..) => {}
        }
    }
}

fn write_balance(
    prefix: &str,
    run: &mut redis::ScriptInvocation<'_>,
    key: &Key,
    balance: &Balance,
    known: u64,
    more: u64,
) {
    let end = balance.window.end;
    run.key(balance_key(prefix, key, balance.period, end));
    run.arg("quota").arg(more).arg(known).arg(balance.granted);
    run.arg(balance.resets)
        .arg(end.saturating_add(KEPT).saturating_mul(1000));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::limits::quota::Member as Who;
    use crate::access::policy::Name;

    #[test]
    fn a_key_is_of_one_balance() {
        let key = Key {
            class: Name::parse_any("ci").unwrap(),
            member: Who::User("a:b".into()),
        };
        let text = balance_key("tollgate", &key, Period::Hour, 7200);
        assert_eq!(text, "tollgate:q:ci:hour:7200:user:a:b");
    }
}
