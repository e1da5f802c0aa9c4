//! The names of a set, packed: one string of bytes, and a table of the start of each name in it.
//!
//! A name takes its length, one byte for its meaning, and six to twelve bytes of the table. This module
//! knows nothing of labels: any bytes above [`Meaning::BOTH`] are a name.

use hashbrown::{HashTable, hash_table::Entry};
use memchr::memchr3;

use super::key::measure;

/// The meaning of a name: bits, since a name can have both meanings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meaning(u8);

impl Meaning {
    /// The name alone.
    pub(super) const EXACT: Meaning = Meaning(1);
    /// The name and all below it.
    pub(super) const SUFFIX: Meaning = Meaning(2);
    /// Both, from two entries.
    pub(super) const BOTH: Meaning = Meaning(3);

    pub(super) fn is_exact(self) -> bool {
        self.0 & Meaning::EXACT.0 != 0
    }

    pub(super) fn is_suffix(self) -> bool {
        self.0 & Meaning::SUFFIX.0 != 0
    }
}

/// The names would need more than the 4 GiB that the table can point into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Names, each once, with their meaning.
#[derive(Clone, Default)]
pub(super) struct Names {
    /// Each name and its meaning. A meaning is never a byte of a name, and thus ends it.
    bytes: Vec<u8>,
    /// The starts of names.
    table: HashTable<u32>,
}

impl Names {
    /// The number of names.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The meaning of a name, if it is in the set.
    pub(super) fn find(&self, hash: u64, name: &[u8]) -> Option<Meaning> {
        let mut found = None;
        self.table.find(hash, |start| {
            found = meaning_at(&self.bytes, *start, name);
            found.is_some()
        })?;
        found
    }

    /// Adds a name, or a meaning to an existing name.
    pub(super) fn insert(&mut self, hash: u64, name: &[u8], meaning: Meaning) -> Result<(), Full> {
        let Names { bytes, table } = self;
        let is_same = |start: &u32| meaning_at(bytes, *start, name).is_some();
        match table.entry(hash, is_same, |start| hash_at(bytes, *start)) {
            Entry::Occupied(entry) => {
                let end = end_of(*entry.get(), name);
                if let Some(last) = bytes.get_mut(end) {
                    *last |= meaning.0;
                }
            }
            Entry::Vacant(entry) => {
                entry.insert(start_at(bytes.len())?);
                bytes.extend_from_slice(name);
                bytes.push(meaning.0);
            }
        }
        Ok(())
    }

    /// Reserves space for `names` names of `bytes` bytes in all, so that loading a list copies nothing.
    pub(super) fn reserve(&mut self, names: usize, bytes: usize) {
        let stored = &self.bytes;
        self.table.reserve(names, |start| hash_at(stored, *start));
        self.bytes.reserve_exact(bytes.saturating_add(names));
    }

    /// Releases unused space.
    pub(super) fn shrink(&mut self) {
        let stored = &self.bytes;
        self.table.shrink_to_fit(|start| hash_at(stored, *start));
        self.bytes.shrink_to_fit();
    }

    /// All names, in the order in which they were added.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Meaning)> {
        self.bytes
            .split_inclusive(|byte| *byte <= Meaning::BOTH.0)
            .filter_map(|record| record.split_last())
            .map(|(meaning, name)| (name, Meaning(*meaning)))
    }
}

impl PartialEq for Names {
    /// The same names with the same meanings, in any order.
    fn eq(&self, other: &Names) -> bool {
        self.len() == other.len()
            && self
                .iter()
                .all(|(name, meaning)| other.find(measure(name).1, name) == Some(meaning))
    }
}

impl Eq for Names {}

fn start_at(len: usize) -> Result<u32, Full> {
    u32::try_from(len).or(Err(Full))
}

fn end_of(start: u32, name: &[u8]) -> usize {
    start as usize + name.len()
}

/// The meaning of the name at `start`, if it is `name`.
fn meaning_at(bytes: &[u8], start: u32, name: &[u8]) -> Option<Meaning> {
    let record = bytes.get(start as usize..=end_of(start, name))?;
    let (meaning, stored) = record.split_last()?;
    // A name with such a byte in it could be two adjacent names.
    let is_one = *meaning <= Meaning::BOTH.0 && stored == name && end_in(stored).is_none();
    is_one.then_some(Meaning(*meaning))
}

/// Where the first name in these bytes ends.
fn end_in(bytes: &[u8]) -> Option<usize> {
    memchr3(Meaning::EXACT.0, Meaning::SUFFIX.0, Meaning::BOTH.0, bytes)
}

fn hash_at(bytes: &[u8], start: u32) -> u64 {
    let rest = bytes.get(start as usize..).unwrap_or_default();
    let end = end_in(rest).unwrap_or(rest.len());
    measure(rest.get(..end).unwrap_or(rest)).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_hashes_are_not_enough_for_a_match() {
        let mut names = Names::default();
        // The table hashes anew when it grows.
        names.reserve(8, 64);
        for name in ["example.org", "org", "example.or", "xample.org"] {
            names.insert(7, name.as_bytes(), Meaning::EXACT).unwrap();
        }
        assert_eq!(names.len(), 4);
        for name in [
            "",
            "o",
            "g",
            "example.org\u{1}",
            "org\u{1}example.or",
            "le.org",
        ] {
            assert_eq!(names.find(7, name.as_bytes()), None, "{name:?}");
        }
        assert_eq!(names.find(7, b"org"), Some(Meaning::EXACT));
        assert_eq!(names.find(!7, b"org"), None);
        names.insert(7, b"org", Meaning::SUFFIX).unwrap();
        assert_eq!(names.find(7, b"org"), Some(Meaning::BOTH));
        assert_eq!(names.len(), 4);
    }

    #[test]
    fn starts_beyond_32_bits_are_an_error() {
        assert_eq!(start_at(u32::MAX as usize), Ok(u32::MAX));
        assert_eq!(start_at(u32::MAX as usize + 1), Err(Full));
    }
}
