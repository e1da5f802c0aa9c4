//! The parents, in metrics and statistics.

use std::time::Duration;

use parking_lot::Mutex;

use super::Telemetry;

/// What is known of one URL of a parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParentState {
    /// The name of the parent.
    pub parent: String,
    /// The URL, without credentials.
    pub url: String,
    /// Whether it gets requests.
    pub is_up: bool,
    /// Requests and tunnels through it now.
    pub in_use: usize,
}

type Ask = Box<dyn Fn() -> Vec<ParentState> + Send + Sync>;

/// Whom to ask what is known of the parents.
#[derive(Default)]
pub(super) struct ShownParents(Mutex<Option<Ask>>);

impl ShownParents {
    pub(super) fn states(&self) -> Vec<ParentState> {
        self.0.lock().as_ref().map_or_else(Vec::new, |ask| ask())
    }
}

impl Telemetry {
    /// Shows what `ask` says of the parents from now on.
    pub fn show_parents(&self, ask: impl Fn() -> Vec<ParentState> + Send + Sync + 'static) {
        *self.parents.0.lock() = Some(Box::new(ask));
    }

    /// Notes whether a URL of a parent gets requests.
    pub fn parent_state(&self, parent: &str, url: &str, is_up: bool) {
        let gauge = self.metrics.parent_up.with_label_values(&[parent, url]);
        gauge.set(i64::from(is_up));
    }

    /// Notes that a URL is in no parent any more.
    pub fn parent_removed(&self, parent: &str, url: &str) {
        let removed = self.metrics.parent_up.remove_label_values(&[parent, url]);
        debug_assert!(removed.is_ok(), "a parent that was never shown");
    }

    /// Counts a connection or a tunnel through a parent, and how long it took.
    pub fn parent_dialed(&self, parent: &str, result: &str, duration: Duration) {
        self.metrics.parent_dials.inc(parent, result);
        let histogram = self
            .metrics
            .parent_dial_duration
            .with_label_values(&[parent]);
        histogram.observe(duration.as_secs_f64());
    }
}
