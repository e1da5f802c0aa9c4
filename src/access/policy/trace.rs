//! The trace of an evaluation, for `explain` and tests. Serving requests traces nothing.

use super::{EvaluationError, Matcher};

/// The outcome of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It does not match; this matcher was the first that did not.
    Skipped(Matcher),
    /// Every matcher except its networks matches; those need an address.
    Pending,
    /// It matches, and observes.
    Observed,
    /// It matches, and decides.
    Decides,
    /// Its expression failed.
    Failed(EvaluationError),
}

/// Receives every step of an evaluation. That of [`NoTrace`] compiles to nothing.
pub(super) trait Trace {
    /// The rule at `index` was evaluated.
    fn step(&mut self, index: usize, step: Step);
}

/// Ignores every step.
pub(super) struct NoTrace;

impl Trace for NoTrace {
    fn step(&mut self, _: usize, _: Step) {}
}

impl Trace for Vec<(usize, Step)> {
    fn step(&mut self, index: usize, step: Step) {
        self.push((index, step));
    }
}
