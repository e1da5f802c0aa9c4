//! How full queues and caches are: asked for when metrics are read.

use std::fmt;

use parking_lot::Mutex;

use super::Telemetry;

/// How full queues and caches are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Passwords that are verified now or wait for it.
    pub hashes: usize,
    /// How many there may be.
    pub max_hashes: usize,
    /// Credentials whose verification is cached.
    pub cached_credentials: usize,
    /// Names in the cache of the resolver.
    pub cached_names: usize,
}

type Ask = Box<dyn Fn() -> Option<Levels> + Send + Sync>;

/// Whom to ask.
#[derive(Default)]
pub(super) struct ShownLevels(Mutex<Option<Ask>>);

impl fmt::Debug for ShownLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ShownLevels").finish()
    }
}

impl Telemetry {
    /// Shows what `ask` says from now on; none: what it has said last.
    pub fn show_levels(&self, ask: impl Fn() -> Option<Levels> + Send + Sync + 'static) {
        *self.levels.0.lock() = Some(Box::new(ask));
    }

    /// Brings the gauges up to date.
    pub(super) fn refresh_levels(&self) {
        let levels = self.levels.0.lock().as_ref().and_then(|ask| ask());
        let Some(levels) = levels else {
            return;
        };
        let metrics = &self.metrics;
        for (series, level) in [
            (&metrics.hash_queue, levels.hashes),
            (&metrics.hash_queue_limit, levels.max_hashes),
            (&metrics.cached_credentials, levels.cached_credentials),
            (&metrics.cached_names, levels.cached_names),
        ] {
            series.set(gauge(level as u64));
        }
    }
}

/// A count as the value of a gauge.
pub(super) fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
