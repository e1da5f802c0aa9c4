//! How an evaluation tells what it did, to whom it may concern: nobody while requests are served.

use super::{EvaluationError, Matcher};

/// What became of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It does not match; this matcher was the first that did not.
    Skipped(Matcher),
    /// All but its networks match: the address will tell.
    Pending,
    /// It matches, and only observes.
    Observed,
    /// It matches, and decides.
    Decides,
    /// Its expression has no value.
    Failed(EvaluationError),
}

/// Is told of every step of an evaluation. The one of [`Unwatched`] compiles to nothing.
pub(super) trait Trace {
    /// The rule at `index` was asked.
    fn step(&mut self, index: usize, step: Step);
}

/// Nobody wants to know.
pub(super) struct Unwatched;

impl Trace for Unwatched {
    fn step(&mut self, _: usize, _: Step) {}
}

impl Trace for Vec<(usize, Step)> {
    fn step(&mut self, index: usize, step: Step) {
        self.push((index, step));
    }
}
