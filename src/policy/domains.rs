//! Sets of domains: exact names, and `.suffix` for a domain and all below it.

use std::{collections::HashMap, fmt};

use super::entry::{EntryError, EntryProblem, read_entries};
use crate::target::Host;

/// A set of domains.
///
/// `example.org` is that name alone. `.example.org` is that name and every name below it, at any depth; it
/// never matches `notexample.org`. Entries are normalised as targets are: case, IDNA, one dot at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domains {
    /// Names without a leading dot, and how each is meant.
    names: HashMap<Box<str>, Meaning>,
    /// The most labels that a suffix has: a hostile name of 127 labels costs no more look-ups than these.
    max_labels: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Meaning {
    exact: bool,
    suffix: bool,
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
    /// Reads entries, one domain each.
    ///
    /// # Errors
    /// One [`EntryError`] for each entry that is no domain.
    pub fn parse<S: AsRef<str>>(
        entries: impl IntoIterator<Item = S>,
    ) -> Result<Domains, Vec<EntryError>> {
        let mut domains = Domains::default();
        domains.extend(entries)?;
        Ok(domains)
    }

    /// Adds entries, one domain each, so that each list file counts its own lines.
    ///
    /// # Errors
    /// One [`EntryError`] for each entry that is no domain; the others are added.
    pub fn extend<S: AsRef<str>>(
        &mut self,
        entries: impl IntoIterator<Item = S>,
    ) -> Result<(), Vec<EntryError>> {
        read_entries(entries, |text| self.insert(text))
    }

    /// Whether there is no domain in the set.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How many different names there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// The most specific entry that holds this name, which has to be normalised as [`Host::Name`] is.
    pub fn matching<'a>(&self, name: &'a str) -> Option<DomainMatch<'a>> {
        if self.names.is_empty() {
            return None;
        }
        if let Some(meaning) = self.names.get(name) {
            return Some(if meaning.exact {
                DomainMatch::Exact(name)
            } else {
                DomainMatch::Suffix(name)
            });
        }
        let mut found = None;
        for (dot, _) in name.rmatch_indices('.').take(self.max_labels) {
            let parent = name.get(dot + 1..)?;
            if self.names.get(parent).is_some_and(|entry| entry.suffix) {
                found = Some(DomainMatch::Suffix(parent));
            }
        }
        found
    }

    fn insert(&mut self, text: &str) -> Result<(), EntryProblem> {
        if text.contains('*') {
            return Err(EntryProblem::Wildcard);
        }
        let (name, suffix) = match text.strip_prefix('.') {
            Some(name) => (name, true),
            None => (text, false),
        };
        let name = match Host::parse(name.as_bytes()) {
            Ok(Host::Name(name)) => name,
            Ok(Host::Ip(_)) => return Err(EntryProblem::AddressAsDomain),
            Err(error) => return Err(EntryProblem::Domain(error)),
        };
        if suffix {
            self.max_labels = self.max_labels.max(name.split('.').count());
        }
        let meaning = self.names.entry(name).or_default();
        meaning.exact |= !suffix;
        meaning.suffix |= suffix;
        Ok(())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::target::TargetError;

    #[test]
    fn exact_and_suffix() {
        let entries = [
            "example.org",
            ".example.net.",
            "Both.example",
            ".BOTH.example # twice",
            "a.b.example.net",
            ".bücher.de",
            "# comment",
            "",
            "  .x.y.z.org",
        ];
        let domains = Domains::parse(entries).unwrap();
        assert_eq!(domains.len(), 6);
        for (name, expected) in [
            ("example.org", Some("example.org")),
            ("www.example.org", None),
            ("example.net", Some(".example.net")),
            ("www.example.net", Some(".example.net")),
            ("a.b.example.net", Some("a.b.example.net")),
            ("c.a.b.example.net", Some(".example.net")),
            ("notexample.net", None),
            ("net", None),
            ("both.example", Some("both.example")),
            ("x.both.example", Some(".both.example")),
            ("xn--bcher-kva.de", Some(".xn--bcher-kva.de")),
            ("1.2.3.4.5.x.y.z.org", Some(".x.y.z.org")),
            ("y.z.org", None),
        ] {
            let found = domains.matching(name).map(|entry| entry.to_string());
            assert_eq!(found.as_deref(), expected, "{name}");
        }
        assert!(Domains::default().is_empty() && !domains.is_empty());
        assert!(Domains::default().matching("example.org").is_none());
    }

    #[test]
    fn the_most_specific_entry_is_named() {
        let domains = Domains::parse([".org", ".example.org", ".b.example.org"]).unwrap();
        let found = domains.matching("a.b.example.org");
        assert_eq!(found, Some(DomainMatch::Suffix("b.example.org")));
        let found = domains.matching("a.c.example.org");
        assert_eq!(found, Some(DomainMatch::Suffix("example.org")));
    }

    #[test]
    fn errors() {
        for (entry, problem) in [
            ("*.example.org", EntryProblem::Wildcard),
            ("*", EntryProblem::Wildcard),
            ("127.0.0.1", EntryProblem::AddressAsDomain),
            ("[::1]", EntryProblem::AddressAsDomain),
            (".0x7f.1", EntryProblem::AddressAsDomain),
            (".", EntryProblem::Domain(TargetError::EmptyHost)),
            ("..org", EntryProblem::Domain(TargetError::EmptyLabel)),
            ("a b", EntryProblem::Domain(TargetError::HostName)),
            (
                "example.org:443",
                EntryProblem::Domain(TargetError::HostName),
            ),
            (
                "http://example.org/",
                EntryProblem::Domain(TargetError::HostName),
            ),
            ("@list.txt", EntryProblem::Domain(TargetError::HostName)),
        ] {
            let error = Domains::parse(["ok.example", entry]).unwrap_err().remove(0);
            assert_eq!((error.number, error.problem), (2, problem), "{entry}");
        }
        // All at once, and what is good is kept.
        let mut domains = Domains::default();
        let errors = domains.extend(["a.org", "*", "b.org", "1.1"]).unwrap_err();
        assert_eq!((errors.len(), domains.len()), (2, 2));
    }

    proptest! {
        #[test]
        fn agrees_with_a_scan(
            entries in proptest::collection::vec("\\.?[ab](\\.[ab]){0,3}", 0..8),
            name in "[ab](\\.[ab]){0,5}",
        ) {
            let domains = Domains::parse(&entries).unwrap();
            let plain = entries.iter().any(|entry| match entry.strip_prefix('.') {
                Some(suffix) => name == suffix || name.ends_with(entry.as_str()),
                None => *entry == name,
            });
            let found = domains.matching(&name);
            prop_assert_eq!(found.is_some(), plain);
            prop_assert!(found.is_none_or(|found| entries.contains(&found.to_string())));
        }

        #[test]
        fn never_panics(entries in proptest::collection::vec(".{0,20}", 0..8)) {
            let _ = Domains::parse(entries);
        }
    }
}
