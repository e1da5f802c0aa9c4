//! Who is next: clients in turn, and of one client first come, first served.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Jobs that wait, by client.
#[derive(Debug)]
pub(super) struct Turns<C, J> {
    jobs: HashMap<C, VecDeque<J>>,
    /// The clients with jobs, each once; the first is next.
    order: VecDeque<C>,
}

impl<C, J> Default for Turns<C, J> {
    fn default() -> Self {
        Self {
            jobs: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<C: Copy + Eq + Hash, J> Turns<C, J> {
    pub(super) fn push(&mut self, client: C, job: J) {
        match self.jobs.entry(client) {
            Entry::Occupied(mut jobs) => jobs.get_mut().push_back(job),
            Entry::Vacant(none) => {
                none.insert(VecDeque::from([job]));
                self.order.push_back(client);
            }
        }
    }

    pub(super) fn pop(&mut self) -> Option<J> {
        self.pop_where(|_, _| true)
    }

    /// The next job of the clients that may have theirs now. The turn of the others stays.
    pub(super) fn pop_where(&mut self, mut may: impl FnMut(C, &J) -> bool) -> Option<J> {
        let jobs = &self.jobs;
        let at = self.order.iter().position(|client| {
            let next = jobs.get(client).and_then(VecDeque::front);
            next.is_some_and(|job| may(*client, job))
        })?;
        let client = self.order.remove(at)?;
        let Entry::Occupied(mut jobs) = self.jobs.entry(client) else {
            return None;
        };
        let job = jobs.get_mut().pop_front();
        if jobs.get().is_empty() {
            jobs.remove();
        } else {
            self.order.push_back(client);
        }
        job
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Each job is done once, those of a client in their order, and nobody waits for more than one job of each
        /// other client before each of its own.
        #[test]
        fn clients_take_turns(steps in prop::collection::vec(prop::option::of(0_u8..4), 0..80)) {
            let mut turns = Turns::default();
            let mut waiting: HashMap<u8, VecDeque<usize>> = HashMap::new();
            // How often each other client was served since a client's last turn, or since it came.
            let mut passed: HashMap<u8, HashMap<u8, usize>> = HashMap::new();
            let drained = steps.len();
            let steps = steps.into_iter().chain(std::iter::repeat_n(None, drained));
            for (number, step) in steps.enumerate() {
                if let Some(client) = step {
                    if waiting.get(&client).is_none_or(VecDeque::is_empty) {
                        passed.remove(&client);
                    }
                    turns.push(client, (client, number));
                    waiting.entry(client).or_default().push_back(number);
                } else if let Some((client, job)) = turns.pop() {
                    prop_assert_eq!(waiting.get_mut(&client).unwrap().pop_front(), Some(job));
                    passed.remove(&client);
                    for (other, jobs) in &waiting {
                        if *other != client && !jobs.is_empty() {
                            let count = passed.entry(*other).or_default().entry(client).or_default();
                            *count += 1;
                            prop_assert!(*count <= 1, "{} before {}", client, other);
                        }
                    }
                } else {
                    prop_assert!(waiting.values().all(VecDeque::is_empty));
                }
            }
            prop_assert!(turns.pop().is_none() && turns.jobs.is_empty());
            prop_assert!(waiting.values().all(VecDeque::is_empty));
        }
    }
}
