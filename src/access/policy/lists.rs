//! Several sets of domains as one, so that a list file that many rules use is in memory once.

use std::sync::Arc;

use super::{DomainMatch, Domains, NameKey};

/// The union of several sets of domains. A clone copies pointers.
#[derive(Clone, Debug, Default)]
pub struct DomainLists {
    /// Most have one set, which needs no vector.
    first: Option<Arc<Domains>>,
    others: Vec<Arc<Domains>>,
}

impl DomainLists {
    /// Whether there is no domain in any set.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The sets; none is empty.
    pub(super) fn sets(&self) -> impl Iterator<Item = &Arc<Domains>> {
        self.first.iter().chain(&self.others)
    }

    /// Whether one of the sets has this name and, with `below`, every name below it.
    pub(super) fn covers(&self, key: &NameKey<'_>, below: bool) -> bool {
        self.sets().any(|set| set.covers(key, below))
    }

    /// The most specific matching entry of the first set that has this name.
    #[inline]
    pub fn matching<'a>(&self, key: &NameKey<'a>) -> Option<DomainMatch<'a>> {
        let first = self.first.as_ref()?.matching(key);
        first.or_else(|| self.others.iter().find_map(|list| list.matching(key)))
    }
}

impl FromIterator<Arc<Domains>> for DomainLists {
    fn from_iter<I: IntoIterator<Item = Arc<Domains>>>(lists: I) -> DomainLists {
        let mut lists: Vec<Arc<Domains>> =
            lists.into_iter().filter(|list| !list.is_empty()).collect();
        // Small sets are cheap, and most matching requests match a domain of the configuration itself.
        lists.sort_by_key(|list| list.len());
        let mut lists = lists.into_iter();
        DomainLists {
            first: lists.next(),
            others: lists.collect(),
        }
    }
}

impl From<Domains> for DomainLists {
    fn from(domains: Domains) -> DomainLists {
        [Arc::new(domains)].into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_union() {
        let set = |entries: &[&str]| Arc::new(Domains::parse(entries).unwrap());
        let lists: DomainLists = [
            set(&["a.example", ".b.example"]),
            set(&[]),
            set(&[".example"]),
        ]
        .into_iter()
        .collect();
        assert!(!lists.is_empty() && DomainLists::from(Domains::default()).is_empty());
        for (name, expected) in [
            ("a.example", Some(".example")),
            ("x.example", Some(".example")),
            ("a.test", None),
        ] {
            let found = lists
                .matching(&NameKey::new(name))
                .map(|entry| entry.to_string());
            assert_eq!(found.as_deref(), expected, "{name}");
        }
    }
}
