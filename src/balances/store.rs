//! Where balances are written down.

use std::collections::HashMap;
use std::sync::Arc;

use crate::access::limits::quota::{Balance, Balances, Key, Ledger, Period, Window};

mod file;

pub(super) use self::file::FileStore;
use super::{Location, StoreSettings};

/// The last report of each process that drains, by its number.
pub(super) type Reports = HashMap<u64, LastReport>;

/// The last report of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastReport {
    /// Its sequence number.
    pub(super) sequence: u64,
    /// When it came, in seconds since 1970.
    pub(super) time: i64,
}

/// What one transaction writes.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    /// Ledgers with their balances.
    pub(super) changed: &'a [(Arc<Ledger>, Balances)],
    /// Ledgers that are forgotten.
    pub(super) gone: &'a [Key],
    /// The last reports.
    pub(super) reports: &'a Reports,
}

/// A ledger as it is stored: class, member, balances.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&str, &str, Balances);

/// A store. One process at a time has it open.
pub(super) trait Store: Send {
    /// Visits every ledger, and returns the last reports.
    ///
    /// # Errors
    /// It cannot be read, or is no store of balances.
    fn load(&mut self, visit: Visit<'_>) -> Result<Reports, StoreError>;

    /// Writes all of a batch or nothing. What was returned survives the machine.
    ///
    /// # Errors
    /// It cannot be written; the store has to be opened again.
    fn save(&mut self, batch: &Batch<'_>) -> Result<(), StoreError>;
}

/// Why a store does not work.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("another process has it open")]
    Locked,
    /// It does not exist.
    #[error("it does not exist")]
    Missing,
    /// The system refuses.
    #[error("{0}")]
    System(String),
    /// It is no store, or a broken one.
    #[error(
        "it is damaged, or no store of balances: {0}; restore a copy, or remove it to begin anew"
    )]
    Damaged(String),
    /// The server of a fleet, or the way to it.
    #[error("{text} ({kind})")]
    Server {
        /// Of the kinds of the metric.
        kind: &'static str,
        /// What it says.
        text: Box<str>,
    },
}

/// Opens a store.
///
/// # Errors
/// It cannot be opened. `may_create`: one that does not exist is made.
pub(super) fn open(
    settings: &StoreSettings,
    may_create: bool,
) -> Result<Box<dyn Store>, StoreError> {
    match &settings.location {
        Location::File(path) => Ok(Box::new(FileStore::open(path, may_create)?)),
        // What keeps it has another way to it.
        Location::Redis(_) => Err(StoreError::Missing),
    }
}

/// The version of the form, before the balances.
const VERSION: u8 = 1;

/// A balance: period, start, end, used, granted.
const LENGTH: usize = 1 + 4 * 8;

/// The balances of a ledger as bytes.
fn encode(balances: &[Balance]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + balances.len() * LENGTH);
    bytes.push(VERSION);
    for balance in balances {
        bytes.push(balance.period as u8);
        bytes.extend_from_slice(&balance.window.start.to_le_bytes());
        bytes.extend_from_slice(&balance.window.end.to_le_bytes());
        bytes.extend_from_slice(&balance.used.to_le_bytes());
        bytes.extend_from_slice(&balance.granted.to_le_bytes());
    }
    bytes
}

/// The balances that [`encode`] wrote.
fn decode(bytes: &[u8]) -> Option<Balances> {
    let (&VERSION, bytes) = bytes.split_first()? else {
        return None;
    };
    if !bytes.len().is_multiple_of(LENGTH) {
        return None;
    }
    bytes.chunks_exact(LENGTH).map(decode_balance).collect()
}

fn decode_balance(bytes: &[u8]) -> Option<Balance> {
    let (period, numbers) = bytes.split_first()?;
    let period = Period::ALL.get(usize::from(*period))?;
    let mut numbers = numbers.as_chunks::<8>().0.iter();
    let mut number = || numbers.next().copied();
    let window = Window {
        start: i64::from_le_bytes(number()?),
        end: i64::from_le_bytes(number()?),
    };
    Some(Balance {
        period: *period,
        window,
        used: u64::from_le_bytes(number()?),
        granted: u64::from_le_bytes(number()?),
        unsaved: 0,
        resets: 0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
            #[test]
            fn balances_are_read_as_they_were_written(
                written in prop::collection::vec((0usize..4, any::<i64>(), any::<i64>(), any::<u64>(), any::<u64>()), 0..5),
            ) {
                let balances: Balances = written.iter().map(|&(period, start, end, used, granted)| Balance {
                    period: Period::ALL[period],
                    window: Window { start, end },
                    used,
                    granted,
                    unsaved: 0,
    resets: 0,
                }).collect();
                prop_assert_eq!(decode(&encode(&balances)), Some(balances));
            }

            #[test]
            fn other_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
                if let Some(balances) = decode(&bytes) {
                    prop_assert_eq!(encode(&balances), bytes);
                }
            }
        }
}
