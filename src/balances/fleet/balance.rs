//! Balances in the store of a fleet, as an operator reads and changes them.

use redis::{Commands as _, Connection};

use super::call::{Call, Caller, Item, MAX_ITEMS, Op};
use super::connection::{RedisSettings, connect};
use crate::access::limits::Classes;
use crate::access::limits::quota::{
    Balance, Filter, Key, Member, Names, Period, Quota, Row, Window, now,
};
use crate::balances::changes::named_member;
use crate::balances::{Change, Done, StoreError};

/// How many keys the server looks at in one step.
const STEP: usize = 1000;

/// The balances in a store.
pub struct SharedBalances {
    connection: Connection,
    caller: Caller,
}

impl std::fmt::Debug for SharedBalances {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedBalances").finish_non_exhaustive()
    }
}

impl SharedBalances {
    /// Connects to the store.
    ///
    /// # Errors
    /// It cannot be reached, or denies it.
    pub fn open(settings: &RedisSettings) -> Result<SharedBalances, StoreError> {
        let mut caller = Caller::new(&settings.prefix);
        // It is no instance.
        caller.id.clear();
        Ok(SharedBalances {
            connection: connect(settings)?,
            caller,
        })
    }

    /// The balances that a filter means.
    ///
    /// # Errors
    /// The store does not answer.
    pub fn rows(
        &mut self,
        filter: &Filter,
        classes: Option<&Classes>,
    ) -> Result<Vec<Row>, StoreError> {
        let found = self.find(filter)?;
        let mut rows = Vec::with_capacity(found.len());
        for chunk in found.chunks(MAX_ITEMS) {
            let mut pipeline = redis::pipe();
            for (text, _, _) in chunk {
                pipeline.cmd("HMGET").arg(text).arg(&["used", "granted"]);
            }
            let numbers: Vec<(Option<u64>, Option<u64>)> = pipeline.query(&mut self.connection)?;
            for ((_, key, balance), (used, granted)) in chunk.iter().zip(numbers) {
                let balance = Balance {
                    used: used.unwrap_or_default(),
                    granted: granted.unwrap_or_default(),
                    ..*balance
                };
                rows.push(Row::new(key, &balance, quota(classes, key).as_ref()));
            }
        }
        Ok(rows)
    }

    /// Changes balances.
    ///
    /// # Errors
    /// The store does not answer; some may have been changed.
    pub fn change(
        &mut self,
        change: &Change,
        classes: Option<&Classes>,
    ) -> Result<Done, StoreError> {
        let (Change::Reset(filter) | Change::Grant(filter, _)) = change;
        let mut members: Vec<Key> = Vec::new();
        let mut items = Vec::new();
        let found = self.find(filter)?;
        for (_, key, balance) in found {
            if let Change::Reset(_) = change {
                items.push(Item::Change(key.clone(), balance, Op::Reset));
            }
            members.push(key);
        }
        if let Change::Grant(_, bytes) = change {
            members.extend(named_member(classes, filter));
            members.retain(|key| quota(classes, key).is_some());
            unique(&mut members);
            for key in &members {
                for balance in current(classes, key) {
                    items.push(Item::Change(key.clone(), balance, Op::Grant(*bytes)));
                }
            }
        }
        unique(&mut members);
        let changed = members.len();
        while !items.is_empty() {
            let rest = items.split_off(items.len().min(MAX_ITEMS));
            let call = Call { number: 1, items };
            self.caller.call(&mut self.connection, &call)?;
            items = rest;
        }
        Ok(Done {
            changed,
            saved: true,
        })
    }

    /// The keys of balances that a filter means, whose periods have not ended.
    fn find(&mut self, filter: &Filter) -> Result<Vec<(String, Key, Balance)>, StoreError> {
        let begin = format!("{}:q:", self.caller.prefix);
        let options = redis::ScanOptions::default()
            .with_pattern(format!("{begin}*"))
            .with_count(STEP);
        let mut names = Names::default();
        let mut found = Vec::new();
        let time = now();
        for text in self.connection.scan_options::<Vec<u8>>(options)? {
            // What is no text is none of ours.
            let Ok(text) = String::from_utf8(text?) else {
                continue;
            };
            let rest = text.strip_prefix(&begin);
            let Some((key, balance)) = rest.and_then(|rest| parse(rest, &mut names)) else {
                continue;
            };
            if filter.matches_key(&key) && !balance.is_over(time) {
                found.push((text, key, balance));
            }
        }
        // A scan may show a key twice.
        found.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        found.dedup_by(|(one, ..), (other, ..)| one == other);
        Ok(found)
    }
}

/// What a key behind its prefix is of.
fn parse(text: &str, names: &mut Names) -> Option<(Key, Balance)> {
    let mut parts = text.splitn(4, ':');
    let class = names.get(parts.next()?)?;
    let period = parts.next()?;
    let period = Period::ALL.into_iter().find(|it| it.as_str() == period)?;
    let end = parts.next()?.parse().ok()?;
    let member = Member::parse(parts.next()?)?;
    let window = Window {
        start: i64::MIN,
        end,
    };
    Some((Key { class, member }, Balance::of(period, window)))
}

fn quota(classes: Option<&Classes>, key: &Key) -> Option<Quota> {
    let class = classes?.by_name(key.class.as_str())?;
    class.limits().quota
}

/// The balances of this moment, without a byte.
fn current(classes: Option<&Classes>, key: &Key) -> Vec<Balance> {
    let Some(quota) = quota(classes, key) else {
        return Vec::new();
    };
    let time = now();
    let balance = |period: Period| Balance::of(period, period.window(time, quota.zone()));
    quota.periods().map(|(period, _)| balance(period)).collect()
}

fn unique(keys: &mut Vec<Key>) {
    keys.sort_by_key(|key| (key.class.as_str().to_owned(), key.member.to_string()));
    keys.dedup();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::call::balance_key;
    use super::*;
    use crate::access::policy::Name;

    proptest! {
        #[test]
        fn keys_are_read_as_they_were_written(
            user in "\\PC{1,20}",
            end in any::<i64>(),
            period in 0usize..4,
        ) {
            let key = Key {
                class: Name::parse_any("ci").unwrap(),
                member: Member::User(user.into()),
            };
            let period = Period::ALL[period];
            let text = balance_key("p", &key, period, end);
            let (read, balance) = parse(text.strip_prefix("p:q:").unwrap(), &mut Names::default()).unwrap();
            prop_assert_eq!((read, balance.period, balance.window.end), (key, period, end));
        }

        #[test]
        fn other_keys_are_none(text in "\\PC{0,40}") {
            if let Some((key, balance)) = parse(&text, &mut Names::default()) {
                let again = balance_key("p", &key, balance.period, balance.window.end);
                let rest = again.strip_prefix("p:q:").unwrap();
                prop_assert!(parse(rest, &mut Names::default()).is_some());
            }
        }
    }
}
