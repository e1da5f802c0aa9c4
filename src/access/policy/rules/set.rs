//! A set of rules as bits.

use super::MAX_RULES;

const WORDS: usize = MAX_RULES / 64;

/// A set of rules by their position in the list. Positions from [`MAX_RULES`] on are never in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::access::policy) struct RuleSet([u64; WORDS]);

impl RuleSet {
    pub(in crate::access::policy) fn insert(&mut self, index: usize) {
        if let Some(word) = self.0.get_mut(index / 64) {
            *word |= 1 << (index % 64);
        }
    }

    pub(in crate::access::policy) fn contains(&self, index: usize) -> bool {
        self.0
            .get(index / 64)
            .is_some_and(|word| word & (1 << (index % 64)) != 0)
    }

    /// The intersection.
    #[must_use]
    pub(in crate::access::policy) fn and(&self, other: &RuleSet) -> RuleSet {
        let mut both = *self;
        for (word, other) in both.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
        both
    }

    pub(in crate::access::policy) fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// The positions in order.
    pub(in crate::access::policy) fn iter(&self) -> impl Iterator<Item = usize> {
        // Most lists are short and most sets empty; a look at each word would cost more
        // than the rest of the decision.
        let words = if self.is_empty() { &[] } else { &self.0[..] };
        words.iter().enumerate().flat_map(|(place, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros() as usize;
                // Clears the lowest bit.
                left &= left.checked_sub(1)?;
                Some(place * 64 + bit)
            })
        })
    }
}

impl<'s> Extend<&'s RuleSet> for RuleSet {
    fn extend<I: IntoIterator<Item = &'s RuleSet>>(&mut self, sets: I) {
        for set in sets {
            for (word, other) in self.0.iter_mut().zip(&set.0) {
                *word |= other;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_set(
            indexes in prop::collection::vec(0usize..MAX_RULES, 0..20),
            more in prop::collection::vec(0usize..MAX_RULES, 0..20),
        ) {
            let mut set = RuleSet::default();
            prop_assert!(set.is_empty());
            set.insert(MAX_RULES);
            prop_assert!(set.is_empty() && !set.contains(MAX_RULES));
            let mut other = set;
            indexes.iter().for_each(|index| set.insert(*index));
            more.iter().for_each(|index| other.insert(*index));
            let both: Vec<usize> = set.and(&other).iter().collect();
            prop_assert!(both.iter().all(|index| set.contains(*index) && other.contains(*index)));
            prop_assert_eq!(both.len(), set.iter().filter(|index| other.contains(*index)).count());
            set.extend([&other]);
            let plain: BTreeSet<usize> = indexes.iter().chain(&more).copied().collect();
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), plain.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.is_empty(), plain.is_empty());
            prop_assert!((0..MAX_RULES).all(|index| set.contains(index) == plain.contains(&index)));
        }
    }
}
