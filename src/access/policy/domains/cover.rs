//! Whether one set of domains has everything that another has, for the checks of a policy.

use super::names::Meaning;
use super::{Domains, NameKey};

impl Domains {
    /// Whether `holds` is true for every entry. Its arguments are the name, and whether the entry includes all
    /// names below it. Stops at the first entry for which it is false.
    pub(in crate::access::policy) fn every(
        &self,
        mut holds: impl FnMut(&NameKey<'_>, bool) -> bool,
    ) -> bool {
        self.names.iter().all(|(name, meaning)| {
            // Names come from text, so this conversion never fails.
            std::str::from_utf8(name)
                .is_ok_and(|name| holds(&NameKey::new(name), meaning.is_suffix()))
        })
    }

    /// Whether the set has a name and, with `below`, every name below it.
    pub(in crate::access::policy) fn covers(&self, key: &NameKey<'_>, below: bool) -> bool {
        if !below {
            return self.matching(key).is_some();
        }
        if !self.filter.meets(key.filter()) {
            return false;
        }
        let holds =
            |(domain, hash): (&str, u64)| self.find(hash, domain).is_some_and(Meaning::is_suffix);
        holds((key.name(), key.hash()))
            || key.domains_above(self.max_labels).any(holds)
            || key.deep_domains_above(self.max_labels).any(holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_names_below() {
        let domains = Domains::parse([".a.example", "b.example", ".b.example", "c.example"]);
        let domains = domains.unwrap();
        for (name, alone, below) in [
            ("a.example", true, true),
            ("x.a.example", true, true),
            ("b.example", true, true),
            ("c.example", true, false),
            ("x.c.example", false, false),
            ("example", false, false),
            ("1.2.3.4.5.6.7.8.9.a.example", true, true),
        ] {
            let key = NameKey::new(name);
            let found = (domains.covers(&key, false), domains.covers(&key, true));
            assert_eq!(found, (alone, below), "{name}");
        }
        let mut entries = Vec::new();
        assert!(domains.every(|key, below| {
            entries.push((key.name().to_owned(), below));
            true
        }));
        let expected = [
            ("a.example", true),
            ("b.example", true),
            ("c.example", false),
        ];
        assert_eq!(
            entries,
            expected.map(|(name, below)| (name.to_owned(), below))
        );
        assert!(!domains.every(|_, below| below));
    }
}
