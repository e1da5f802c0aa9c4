//! What goes from a store to the ledgers in memory, and back.

use std::sync::Arc;

use super::store::{Batch, Reports, Store, StoreError};
use crate::access::limits::quota::{Key, Ledger, Ledgers, Loaded, Member, Names};

/// The most ledgers of one transaction, so that those that change at once do not all lie in memory twice.
const MAX_BATCH: usize = 65_536;

/// What was read from a store.
pub(super) struct Read {
    pub(super) reports: Reports,
    /// Ledgers that have nothing in a current period.
    pub(super) stale: Vec<Key>,
    /// Ledgers for which there was no room.
    pub(super) left_out: usize,
}

/// Reads a store into the table.
///
/// # Errors
/// It cannot be read, or has something that is no ledger.
pub(super) fn load(
    store: &mut dyn Store,
    ledgers: &Ledgers,
    how: Loaded,
    time: i64,
) -> Result<Read, StoreError> {
    let mut names = Names::default();
    // All of it is read before any of it counts: what is read in part would count again the next time.
    let mut strange = None;
    store.load(&mut |class, member, _| {
        if names.get(class).is_none() || Member::parse(member).is_none() {
            strange = Some(format!("a ledger {class:?} {member:?}"));
        }
    })?;
    if let Some(strange) = strange {
        return Err(StoreError::Damaged(strange));
    }
    let (mut stale, mut left_out) = (Vec::new(), 0);
    let reports = store.load(&mut |class, member, balances| {
        let (Some(class), Some(member)) = (names.get(class), Member::parse(member)) else {
            return;
        };
        if balances.iter().all(|balance| balance.is_over(time)) {
            if ledgers.find(&class, &member).is_none() {
                stale.push(Key { class, member });
            }
        } else if ledgers.has_room() || ledgers.find(&class, &member).is_some() {
            ledgers.load(&class, &member, &balances, how);
        } else {
            left_out += 1;
        }
    })?;
    Ok(Read {
        reports,
        stale,
        left_out,
    })
}

/// Writes ledgers, in as few transactions as there is memory for. Empties `gone` when that is written.
///
/// # Errors
/// It cannot be written. What is not counts as changed again.
pub(super) fn write(
    store: &mut dyn Store,
    ledgers: &Ledgers,
    mut changed: Vec<Arc<Ledger>>,
    gone: &mut Vec<Key>,
    reports: &Reports,
) -> Result<(), StoreError> {
    // Removed first: a member that was forgotten may be back.
    loop {
        let from = changed.len().saturating_sub(MAX_BATCH);
        let taken: Vec<_> = changed
            .drain(from..)
            .map(|ledger| {
                let balances = ledger.take();
                (ledger, balances)
            })
            .collect();
        let saved = match taken.is_empty() && gone.is_empty() {
            true => Ok(()),
            false => store.save(&Batch {
                changed: &taken,
                gone,
                reports,
            }),
        };
        if let Err(error) = saved {
            for (ledger, balances) in &taken {
                ledgers.give_back(ledger, balances);
            }
            for ledger in changed {
                let balances = ledger.take();
                ledgers.give_back(&ledger, &balances);
            }
            return Err(error);
        }
        gone.clear();
        if changed.is_empty() {
            return Ok(());
        }
    }
}
