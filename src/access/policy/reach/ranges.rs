//! Sets of numbers as inclusive ranges, for the comparison of ports, addresses and minutes of a week.

/// Ranges in order, neither overlapping nor touching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::access::policy) struct Ranges(Vec<(u128, u128)>);

impl Ranges {
    /// Every number.
    pub(in crate::access::policy) fn all() -> Ranges {
        Ranges(vec![(0, u128::MAX)])
    }

    /// How many ranges there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the number is in one of them.
    pub(in crate::access::policy) fn contains(&self, number: u128) -> bool {
        self.around(number).is_some()
    }

    /// Whether every number of `other` is in this set.
    pub(in crate::access::policy) fn covers(&self, other: &Ranges) -> bool {
        let mut others = other.0.iter();
        others.all(|(start, end)| self.around(*start).is_some_and(|(_, last)| *end <= last))
    }

    /// The numbers of this set that are not in `other`.
    pub(super) fn minus(&self, other: &Ranges) -> Ranges {
        let mut left = Vec::new();
        for &(start, end) in &self.0 {
            let mut next = Some(start);
            for &(taken, last) in &other.0 {
                let Some(at) = next else { break };
                if last < at || taken > end {
                    continue;
                }
                if let Some(before) = taken.checked_sub(1)
                    && at <= before
                {
                    left.push((at, before));
                }
                next = last.checked_add(1).filter(|after| *after <= end);
            }
            left.extend(next.map(|at| (at, end)));
        }
        Ranges(left)
    }

    /// The first number of each range.
    pub(super) fn starts(&self) -> impl Iterator<Item = u128> {
        self.0.iter().map(|(start, _)| *start)
    }

    /// The first number after each range.
    pub(super) fn ends(&self) -> impl Iterator<Item = u128> {
        self.0.iter().filter_map(|(_, end)| end.checked_add(1))
    }

    fn around(&self, number: u128) -> Option<(u128, u128)> {
        let after = self.0.partition_point(|(start, _)| *start <= number);
        let range = self.0.get(after.checked_sub(1)?)?;
        (number <= range.1).then_some(*range)
    }
}

impl FromIterator<(u128, u128)> for Ranges {
    fn from_iter<I: IntoIterator<Item = (u128, u128)>>(ranges: I) -> Ranges {
        let mut ranges: Vec<(u128, u128)> = ranges.into_iter().collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (start, end) in ranges {
            match merged.last_mut() {
                Some((_, last)) if start <= last.saturating_add(1) => *last = end.max(*last),
                _ => merged.push((start, end)),
            }
        }
        Ranges(merged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges() -> impl Strategy<Value = Ranges> {
        let range = (0u128..20, 0u128..6).prop_map(|(start, length)| (start, start + length));
        prop::collection::vec(range, 0..4).prop_map(Ranges::from_iter)
    }

    proptest! {
        #[test]
        fn are_sets_of_numbers(one in ranges(), other in ranges()) {
            let numbers = |ranges: &Ranges| -> Vec<u128> {
                (0..40).filter(|number| ranges.contains(*number)).collect()
            };
            let (plain, plain_other) = (numbers(&one), numbers(&other));
            let covers = plain_other.iter().all(|number| plain.contains(number));
            prop_assert_eq!(one.covers(&other), covers);
            let minus: Vec<u128> =
                plain.iter().filter(|number| !plain_other.contains(number)).copied().collect();
            prop_assert_eq!(numbers(&one.minus(&other)), minus);
            prop_assert!(Ranges::all().covers(&one));
            // The membership changes at these numbers and nowhere else.
            let edges: Vec<u128> = one.starts().chain(one.ends()).collect();
            for number in 1..40 {
                let changes = one.contains(number) != one.contains(number - 1);
                prop_assert!(!changes || edges.contains(&number));
            }
        }
    }

    #[test]
    fn reach_to_the_last_number() {
        let last = Ranges::from_iter([(u128::MAX, u128::MAX)]);
        let rest = Ranges::all().minus(&last);
        assert!(!rest.contains(u128::MAX) && rest.contains(0) && !rest.covers(&last));
        assert_eq!(last.ends().count(), 0);
        assert_eq!(rest.minus(&Ranges::all()), Ranges::default());
    }
}
