//! A store in one file, by redb: a tree that is copied on write, one checksummed transaction after the other.
//!
//! redb is pure Rust, and locks the file for one process. Its version 2 compiles with the Rust that this program needs,
//! still gets fixes, and writes the format of its later versions.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{Database, ReadableTable as _, TableDefinition, TableError};

use super::{Batch, LastReport, Reports, Store, StoreError, Visit, decode, encode};
use crate::access::limits::quota::Key;

/// By class and member.
const BALANCES: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("balances");

/// By the number of a process: a sequence number and a time.
const REPORTS: TableDefinition<'_, u64, (u64, i64)> = TableDefinition::new("reports");

/// Pages that redb keeps; its default is a gigabyte.
const CACHE: usize = 8 << 20;

/// A store in a file.
pub(in super::super) struct FileStore {
    database: Database,
}

impl FileStore {
    /// Opens the file, and locks it.
    ///
    /// # Errors
    /// It cannot be opened, is locked, or damaged.
    pub(in super::super) fn open(path: &Path, may_create: bool) -> Result<FileStore, StoreError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(may_create)
            .truncate(false)
            .mode(0o600)
            .open(path);
        let file = file.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound if !may_create => StoreError::Missing,
            _ => StoreError::System(error.to_string()),
        })?;
        guarded(|| FileStore::of(file))
    }

    fn of(file: File) -> Result<FileStore, StoreError> {
        let database = Database::builder()
            .set_cache_size(CACHE)
            .create_with_file_format_v3(true)
            .create_file(file)
            .map_err(into_error)?;
        Ok(FileStore { database })
    }
}

impl Store for FileStore {
    fn load(&mut self, visit: Visit<'_>) -> Result<Reports, StoreError> {
        guarded(|| {
            let read = self.database.begin_read().map_err(into_error)?;
            let mut reports = Reports::new();
            match read.open_table(REPORTS) {
                Ok(table) => {
                    for entry in table.iter().map_err(into_error)? {
                        let (process, last) = entry.map_err(into_error)?;
                        let (sequence, time) = last.value();
                        reports.insert(process.value(), LastReport { sequence, time });
                    }
                }
                Err(TableError::TableDoesNotExist(_)) => return Ok(reports),
                Err(error) => return Err(into_error(error)),
            }
            let table = read.open_table(BALANCES).map_err(into_error)?;
            for entry in table.iter().map_err(into_error)? {
                let (key, value) = entry.map_err(into_error)?;
                let (class, member) = key.value();
                let balances = decode(value.value())
                    .ok_or_else(|| StoreError::Damaged("a balance in another form".to_owned()))?;
                visit(class, member, balances);
            }
            Ok(reports)
        })
    }

    fn save(&mut self, batch: &Batch<'_>) -> Result<(), StoreError> {
        guarded(|| {
            let write = self.database.begin_write().map_err(into_error)?;
            {
                let mut table = write.open_table(BALANCES).map_err(into_error)?;
                for Key { class, member } in batch.gone {
                    let member = member.to_string();
                    let key = (class.as_str(), member.as_str());
                    table.remove(key).map_err(into_error)?;
                }
                for (ledger, balances) in batch.changed {
                    let Key { class, member } = ledger.key();
                    let member = member.to_string();
                    let key = (class.as_str(), member.as_str());
                    if balances.is_empty() {
                        table.remove(key).map_err(into_error)?;
                    } else {
                        let value = encode(balances);
                        table.insert(key, value.as_slice()).map_err(into_error)?;
                    }
                }
                let mut table = write.open_table(REPORTS).map_err(into_error)?;
                table
                    .retain(|process, _| batch.reports.contains_key(&process))
                    .map_err(into_error)?;
                for (process, last) in batch.reports {
                    let value = (last.sequence, last.time);
                    table.insert(process, value).map_err(into_error)?;
                }
            }
            write.commit().map_err(into_error)
        })
    }
}

/// redb may panic on a file that is damaged: then the store has failed, and the process goes on.
fn guarded<T>(action: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(action))
        .unwrap_or_else(|_| Err(StoreError::Damaged("it cannot be read".to_owned())))
}

fn into_error(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::DatabaseAlreadyOpen => StoreError::Locked,
        redb::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            StoreError::Damaged(error.to_string())
        }
        redb::Error::Io(error) => StoreError::System(error.to_string()),
        error @ (redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::RepairAborted
        | redb::Error::TableTypeMismatch { .. }) => StoreError::Damaged(error.to_string()),
        error => StoreError::System(error.to_string()),
    }
}
