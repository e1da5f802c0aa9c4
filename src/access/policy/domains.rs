//! Sets of domains: exact names, and `.suffix` for a domain and all below it.
//!
//! Designed for lists of a million names: a set is read once, packed ([`names`]) and then only searched. A name
//! that is looked up in many sets is hashed once ([`NameKey`]).

mod cover;
#[cfg(any(test, feature = "internals"))]
pub mod fuzz;
mod key;
mod list;
mod names;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt};

pub use key::NameKey;
use key::{Filter, measure};
use memchr::memchr_iter;
use names::{Meaning, Names};

use super::entry::{EntryError, EntryProblem, Problems, read_entries};
use crate::http::target::Host;
use crate::text::is_typographic;

/// The entries that `Debug` prints.
const MAX_SHOWN: usize = 8;
/// The shortest average line for which space is reserved: a list of comments should not cost a table.
const MIN_LINE: usize = 8;

/// A set of domains.
///
/// `example.org` is that name alone. `.example.org` is that name and every name below it, at any depth; it
/// never matches `notexample.org`. Entries are normalised as targets are: case, IDNA, one dot at the end.
/// A top-level domain (`.com`) can be an entry, the root (`.`) cannot.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Domains {
    names: Names,
    /// The most labels of a suffix: they limit the look-ups for a hostile name of 127 labels.
    max_labels: usize,
    filter: Filter,
}

/// The entry that a name matched. Prints as the entry: `example.org` or `.example.org`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainMatch<'a> {
    /// An entry for exactly this name.
    Exact(&'a str),
    /// An entry for this domain and all below it; without the leading dot.
    Suffix(&'a str),
}

impl Domains {
    /// Reads entries, one domain each: `example.org`, `.example.org`.
    ///
    /// # Errors
    /// One [`EntryError`] for each entry that is no domain.
    pub fn parse<S: AsRef<str>>(
        entries: impl IntoIterator<Item = S>,
    ) -> Result<Domains, Vec<EntryError>> {
        let mut domains = Domains::default();
        domains.extend(entries)?;
        domains.names.shrink();
        Ok(domains)
    }

    /// Adds entries, one domain each.
    ///
    /// # Errors
    /// One [`EntryError`] for each entry that is no domain; the others are added.
    pub fn extend<S: AsRef<str>>(
        &mut self,
        entries: impl IntoIterator<Item = S>,
    ) -> Result<(), Vec<EntryError>> {
        read_entries(entries, |text| {
            let added = match text.strip_prefix('.') {
                Some(name) => self.insert(name, Meaning::SUFFIX),
                None => self.insert(text, Meaning::EXACT),
            };
            added.map_err(|problem| list::explain(text, problem))
        })
    }

    /// Adds the entries of a list file. Each line is in one of these formats:
    ///
    /// | line | meaning |
    /// |---|---|
    /// | `example.org`, `.example.org` | as in the configuration |
    /// | `*.example.org` | `.example.org`: the domain itself too, as publishers of such lists mean it |
    /// | `0.0.0.0 a.example b.example` | each name alone; `127.0.0.1`, `::` and `::1` too, as in hosts files |
    /// | `\|\|example.org^` | `.example.org`, as in adblock lists |
    /// | `! text`, `[Adblock Plus 2.0]`, `# text` | a comment, which is skipped; a `#` may follow an entry and a space |
    ///
    /// A hosts file's entries for the machine itself (`127.0.0.1 localhost`, `ff02::1 ip6-allnodes`) are
    /// skipped.
    ///
    /// # Errors
    /// One [`EntryError`] for each line, or each name in a line of a hosts file, in another format; the
    /// others are added. No line is skipped silently.
    pub fn extend_list(&mut self, text: &str) -> Result<(), Vec<EntryError>> {
        let lines = memchr_iter(b'\n', text.as_bytes()).count() + 1;
        self.names
            .reserve(lines.min(text.len() / MIN_LINE), text.len());
        let mut problems = Problems::default();
        for (number, line) in (1..).zip(text.lines()) {
            list::read_line(line, |quote, entry| {
                let added = entry.and_then(|(name, meaning)| self.insert(name, meaning));
                if let Err(problem) = added {
                    problems.push(number, quote, list::explain(quote, problem));
                }
            });
        }
        self.names.shrink();
        problems.into_result()
    }

    /// Whether there is no domain in the set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of different names.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// The most specific entry that matches this name.
    #[inline]
    pub fn matching<'a>(&self, key: &NameKey<'a>) -> Option<DomainMatch<'a>> {
        // Most sets are small, and most names are in none of them.
        if self.filter.meets(key.filter()) {
            self.search(key)
        } else {
            None
        }
    }

    fn search<'a>(&self, key: &NameKey<'a>) -> Option<DomainMatch<'a>> {
        if let Some(meaning) = self.find(key.hash(), key.name()) {
            return Some(if meaning.is_exact() {
                DomainMatch::Exact(key.name())
            } else {
                DomainMatch::Suffix(key.name())
            });
        }
        let holds =
            |(domain, hash): &(&str, u64)| self.find(*hash, domain).is_some_and(Meaning::is_suffix);
        let deep = key.deep_domains_above(self.max_labels).filter(holds).last();
        deep.or_else(|| key.domains_above(self.max_labels).find(holds))
            .map(|(domain, _)| DomainMatch::Suffix(domain))
    }

    fn find(&self, hash: u64, name: &str) -> Option<Meaning> {
        if !self.filter.meets(&Filter::of(hash)) {
            return None;
        }
        self.names.find(hash, name.as_bytes())
    }

    fn insert(&mut self, text: &str, meaning: Meaning) -> Result<(), EntryProblem> {
        let name = normalise(text)?;
        let (labels, hash) = measure(name.as_bytes());
        self.names
            .insert(hash, name.as_bytes(), meaning)
            .or(Err(EntryProblem::Full))?;
        self.filter.add(&Filter::of(hash));
        if meaning.is_suffix() {
            self.max_labels = self.max_labels.max(labels);
        }
        Ok(())
    }
}

impl fmt::Debug for Domains {
    /// The first entries and the number of names: a log should not have a million names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Domains({}", self.len())?;
        let mut mark = ": ";
        for (name, meaning) in self.names.iter().take(MAX_SHOWN) {
            let name = String::from_utf8_lossy(name);
            if meaning.is_exact() {
                write!(f, "{mark}{name}")?;
                mark = ", ";
            }
            if meaning.is_suffix() {
                write!(f, "{mark}.{name}")?;
                mark = ", ";
            }
        }
        if self.len() > MAX_SHOWN {
            f.write_str(", ...")?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for DomainMatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DomainMatch::Exact(name) => f.write_str(name),
            DomainMatch::Suffix(name) => write!(f, ".{name}"),
        }
    }
}

/// Normalises a name as targets are normalised.
fn normalise(text: &str) -> Result<Cow<'_, str>, EntryProblem> {
    if let Some(name) = plain(text) {
        return Ok(Cow::Borrowed(name));
    }
    // IDNA accepts some of these, as a name that does not exist.
    if let Some(c) = text.chars().find(|c| is_typographic(*c)) {
        return Err(EntryProblem::Typographic(c));
    }
    if text.contains('*') {
        return Err(EntryProblem::Wildcard);
    }
    match Host::parse(text.as_bytes()) {
        Ok(Host::Name(name)) => Ok(Cow::Owned(name.into_string())),
        Ok(Host::Ip(_)) => Err(EntryProblem::AddressAsDomain),
        Err(error) => Err(EntryProblem::Domain(error)),
    }
}

/// The name, when [`Host::parse`] certainly returns it unchanged. Nearly all entries of large lists are such
/// names, and this saves a copy and the IDNA processing. `None` in all doubtful cases.
fn plain(text: &str) -> Option<&str> {
    const MAX_NAME: usize = 253;
    const MAX_LABEL: usize = 63;

    let name = text.strip_suffix('.').unwrap_or(text);
    let mut label_start = 0;
    let mut before = b'.';
    for (at, &byte) in name.as_bytes().iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' => {}
            // `xn--` needs IDNA.
            b'-' if before != b'-' => {}
            b'.' if before != b'.' && at - label_start <= MAX_LABEL => label_start = at + 1,
            _ => return None,
        }
        before = byte;
    }
    // A last label that starts with a digit may make the whole an address.
    let last = name.as_bytes().get(label_start..)?;
    let is_name = last.first().is_some_and(|first| !first.is_ascii_digit());
    (is_name && last.len() <= MAX_LABEL && name.len() <= MAX_NAME).then_some(name)
}
