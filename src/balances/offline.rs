//! The store of a process that does not run.

use super::StoreSettings;
use super::changes::{Change, Done};
use super::store::{self, Reports, Store, StoreError};
use super::transfer::{load, write};
use crate::access::limits::Classes;
use crate::access::limits::quota::{Filter, Ledgers, Loaded, Row, now};

/// A store that is open, and what is in it.
pub struct Offline {
    store: Box<dyn Store>,
    pub(super) ledgers: Ledgers,
    pub(super) reports: Reports,
}

impl Offline {
    /// Opens the store, and reads it.
    ///
    /// # Errors
    /// It does not exist, another process has it, or it cannot be read.
    pub fn open(settings: &StoreSettings) -> Result<Offline, StoreError> {
        let mut store = store::open(settings, false)?;
        let ledgers = Ledgers::new(usize::MAX);
        let loaded = load(store.as_mut(), &ledgers, Loaded::Added, now())?;
        Ok(Offline {
            store,
            ledgers,
            reports: loaded.reports,
        })
    }

    /// The balances that a filter means.
    pub fn rows(&self, filter: &Filter, classes: Option<&Classes>) -> Vec<Row> {
        let mut rows = Vec::new();
        self.ledgers.each(|ledger| {
            if filter.matches(ledger) {
                rows.extend(Row::of(ledger, classes, now()));
            }
        });
        rows
    }

    /// Changes balances, and writes them.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn change(
        &mut self,
        change: &Change,
        classes: Option<&Classes>,
    ) -> Result<Done, StoreError> {
        let mut done = change.apply(&self.ledgers, classes, now());
        self.save()?;
        done.saved = true;
        Ok(done)
    }

    pub(super) fn save(&mut self) -> Result<(), StoreError> {
        let changed = self.ledgers.take_changed();
        write(
            self.store.as_mut(),
            &self.ledgers,
            changed,
            &mut Vec::new(),
            &self.reports,
        )
    }
}

impl std::fmt::Debug for Offline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offline").finish_non_exhaustive()
    }
}
