//! A name with its hashes, which are computed once for look-ups in any number of sets.

use std::{
    fmt,
    hash::{BuildHasher, Hasher},
    iter,
    sync::LazyLock,
};

use foldhash::quality::RandomState;

/// The labels whose hashes a key keeps, enough for nearly every name; deeper domains are hashed when a set needs them.
const INLINE: usize = 8;
/// A normalised name is never longer.
const MAX_NAME: usize = 253;

/// One state for all sets, so that a key works with each of them; random, so that a list cannot force collisions.
static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// A name to look up in any number of [`Domains`](super::Domains), hashed once.
///
/// The name has to be normalised as [`Host::Name`](crate::http::target::Host::Name) is; any other is in no set.
#[derive(Clone, Copy)]
pub struct NameKey<'a> {
    name: &'a str,
    /// The hash of the whole name.
    hash: u64,
    labels: usize,
    /// The name and all domains above it.
    filter: Filter,
    /// Where the last label starts, the last two labels, and so on.
    starts: [u8; INLINE],
    /// The hashes of what starts there.
    hashes: [u64; INLINE],
}

impl<'a> NameKey<'a> {
    /// Hashes a name and the domains above it. Does not allocate.
    pub fn new(name: &'a str) -> NameKey<'a> {
        let (mut starts, mut hashes) = ([0; INLINE], [0; INLINE]);
        let (mut labels, mut whole, mut filter) = (0, 0, Filter::default());
        // A longer name is in no set, and is not hashed.
        let hashed = if name.len() > MAX_NAME { "" } else { name };
        let mut slots = starts.iter_mut().zip(&mut hashes);
        for (start, hash) in suffixes(hashed.as_bytes()) {
            whole = hash;
            labels += 1;
            filter.add(&Filter::of(hash));
            if let Some((slot_start, slot_hash)) = slots.next() {
                // A name ends before 256.
                *slot_start = start as u8;
                *slot_hash = hash;
            }
        }
        NameKey {
            name,
            hash: whole,
            labels,
            filter,
            starts,
            hashes,
        }
    }

    /// The name as it was given.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The hash of the whole name.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// The filter of the name and all domains above it.
    #[inline]
    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The domains above the name that have at most `max_labels` labels, the longest first, with their hashes.
    ///
    /// [`NameKey::deep_domains_above`] has those with more labels than a key keeps.
    pub(super) fn domains_above(&self, max_labels: usize) -> impl Iterator<Item = (&'a str, u64)> {
        let name = self.name;
        self.starts
            .iter()
            .zip(&self.hashes)
            .take(self.above(max_labels))
            .rev()
            .map(move |(start, hash)| (name.get(usize::from(*start)..).unwrap_or_default(), *hash))
    }

    /// The others, the shortest first. Hashed on demand: few sets have such domains, and few names are so deep.
    pub(super) fn deep_domains_above(
        &self,
        max_labels: usize,
    ) -> impl Iterator<Item = (&'a str, u64)> {
        let name = self.name;
        let deep = match self.above(max_labels) {
            0..=INLINE => 0,
            above => above,
        };
        suffixes(name.as_bytes())
            .take(deep)
            .skip(INLINE)
            .map(move |(start, hash)| (name.get(start..).unwrap_or_default(), hash))
    }

    /// The number of domains above the name that a set with such suffixes can have.
    fn above(&self, max_labels: usize) -> usize {
        max_labels.min(self.labels.saturating_sub(1))
    }
}

impl fmt::Debug for NameKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NameKey").field(&self.name).finish()
    }
}

/// Four words that exclude nearly all names that are not in a small set, without a look-up.
///
/// Each name sets one bit in each word. The words of a large set are full and exclude no name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter([u64; 4]);

impl Filter {
    /// The filter of one name.
    #[inline]
    pub(super) fn of(hash: u64) -> Filter {
        // Not the lowest and the highest bits, which the hash table uses.
        Filter([30, 36, 42, 48].map(|shift| 1 << ((hash >> shift) & 63)))
    }

    /// Adds the names of another filter.
    #[inline]
    pub(super) fn add(&mut self, other: &Filter) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    /// Whether the two may have a name in common.
    #[inline]
    pub(super) fn meets(&self, other: &Filter) -> bool {
        // Without branches: this is all that most sets of a policy are asked.
        let words = self.0.iter().zip(&other.0);
        words.fold(true, |all, (word, other)| all & (word & other != 0))
    }
}

/// How many labels a name has, and its hash.
pub(super) fn measure(name: &[u8]) -> (usize, u64) {
    suffixes(name).fold((0, 0), |(labels, _), (_, hash)| (labels + 1, hash))
}

/// Where the last label starts, then the last two, up to the whole name, each with the hash from there on.
fn suffixes(name: &[u8]) -> impl Iterator<Item = (usize, u64)> {
    let mut hasher = STATE.build_hasher();
    let mut rest = Some(name);
    iter::from_fn(move || {
        let head = rest?;
        let dot = head.iter().rposition(|byte| *byte == b'.');
        let start = dot.map_or(0, |dot| dot + 1);
        rest = dot.and_then(|dot| head.get(..dot));
        hasher.write(head.get(start..)?);
        Some((start, hasher.finish()))
    })
}
