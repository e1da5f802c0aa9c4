//! Counter families whose label values are found while running, with a bound
//! on how many there can be and without a look-up by text where it is hot.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use foldhash::fast::RandomState;
use parking_lot::RwLock;
use prometheus::{IntCounter, IntCounterVec};

use super::metrics::declare::Counters;

/// The label value that takes what no longer fits the bound.
pub(crate) const OTHER: &str = "other";

/// The registered status codes (RFC 9110 §15 and the IANA registry), sorted.
///
/// An origin may invent others; those share one series per class.
const CODES: [u16; 61] = [
    100, 101, 102, 103, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304,
    305, 307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415,
    416, 417, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 506,
    507, 508, 510, 511,
];
/// After the codes: no answer, five classes, and what is in no class.
const CLASSES: [&str; 7] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx", OTHER];

/// Counts events of one role by status code. A code gets its series when it is
/// first seen; from then on counting it is an index and an addition.
pub(crate) struct StatusCounters {
    family: IntCounterVec,
    role: &'static str,
    series: [OnceLock<IntCounter>; CODES.len() + CLASSES.len()],
}

impl StatusCounters {
    pub(crate) fn new(family: &IntCounterVec, role: &'static str) -> Self {
        StatusCounters {
            family: family.clone(),
            role,
            series: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    pub(crate) fn inc(&self, status: Option<u16>) {
        let known = status.and_then(|status| CODES.binary_search(&status).ok());
        let index = known.unwrap_or_else(|| CODES.len() + class(status));
        if let Some(series) = self.series.get(index) {
            series.get_or_init(|| self.resolve(index)).inc();
        }
    }

    fn resolve(&self, index: usize) -> IntCounter {
        match CODES.get(index) {
            Some(code) => self
                .family
                .with_label_values(&[self.role, &code.to_string()]),
            None => {
                let class = CLASSES.get(index - CODES.len()).unwrap_or(&OTHER);
                self.family.with_label_values(&[self.role, class])
            }
        }
    }
}

/// Index into [`CLASSES`].
fn class(status: Option<u16>) -> usize {
    match status {
        None => 0,
        Some(status @ 100..=599) => usize::from(status / 100),
        Some(_) => CLASSES.len() - 1,
    }
}

/// Counts events by one label, with at most `MAX` values and then "other".
pub(crate) struct LabelledCounters<const MAX: usize> {
    family: IntCounterVec,
    /// Hashed fast: a value is a name of the program or of the configuration, and not for a client to choose.
    series: RwLock<HashMap<Box<str>, IntCounter, RandomState>>,
    other: OnceLock<IntCounter>,
}

impl<const MAX: usize> Counters for LabelledCounters<MAX> {
    fn of(family: IntCounterVec) -> Self {
        LabelledCounters {
            family,
            series: RwLock::default(),
            other: OnceLock::new(),
        }
    }
}

impl<const MAX: usize> LabelledCounters<MAX> {
    pub(crate) fn inc(&self, value: &str) {
        self.add(value, 1);
    }

    pub(crate) fn add(&self, value: &str, count: u64) {
        if let Some(series) = self.series.read().get(value) {
            return series.inc_by(count);
        }
        let mut map = self.series.write();
        if map.len() < MAX || map.contains_key(value) {
            let series = map
                .entry(value.into())
                .or_insert_with(|| self.family.with_label_values(&[value]));
            return series.inc_by(count);
        }
        drop(map);
        self.other
            .get_or_init(|| self.family.with_label_values(&[OTHER]))
            .inc_by(count);
    }

    /// What was counted, by value; of those beyond the bound as [`OTHER`].
    pub(crate) fn counts(&self) -> Vec<(String, u64)> {
        let series = self.series.read();
        let counts = series.iter();
        let mut counts: Vec<_> = counts
            .map(|(value, series)| (value.to_string(), series.get()))
            .collect();
        drop(series);
        if let Some(other) = self.other.get() {
            counts.push((OTHER.to_owned(), other.get()));
        }
        counts
    }

    /// What was counted of one value.
    pub(crate) fn count(&self, value: &str) -> u64 {
        self.series.read().get(value).map_or(0, IntCounter::get)
    }
}

/// Counts events by two labels, with at most `MAX` pairs of values, and then "other" for both.
pub(crate) struct PairCounters<const MAX: usize> {
    family: IntCounterVec,
    pairs: RwLock<HashSet<(Box<str>, Box<str>)>>,
}

impl<const MAX: usize> Counters for PairCounters<MAX> {
    fn of(family: IntCounterVec) -> Self {
        PairCounters {
            family,
            pairs: RwLock::default(),
        }
    }
}

impl<const MAX: usize> PairCounters<MAX> {
    pub(crate) fn inc(&self, first: &str, second: &str) {
        let pair = (first.into(), second.into());
        if !self.pairs.read().contains(&pair) {
            let mut pairs = self.pairs.write();
            if pairs.len() >= MAX {
                drop(pairs);
                return self.family.with_label_values(&[OTHER, OTHER]).inc();
            }
            pairs.insert(pair);
        }
        self.family.with_label_values(&[first, second]).inc();
    }
}

#[cfg(test)]
mod tests;
