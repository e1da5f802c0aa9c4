//! The last 15 minutes of the process, second by second, from counters that exist anyway.
//!
//! Nothing here runs where nothing is kept for an admin service, and no request comes here.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use prometheus::Histogram;
use prometheus::core::Metric as _;

use super::Telemetry;
use super::rows::{Columns, History, Point, Thousandths, Totals};
use super::text::unix_seconds;

/// Points that are kept: 15 minutes.
pub(crate) const POINTS: usize = 900;

/// Points from one mark of the errors to the next: the kinds of errors are looked at twice in a minute.
const MARK: usize = 30;

/// From one point to the next.
pub const STEP: Duration = Duration::from_secs(1);

/// What is open, which telemetry does not count by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Tunnels that are open.
    pub open_tunnels: u64,
    /// Requests that are served.
    pub requests_in_flight: u64,
}

/// The points, and the counts at the end of the last one.
#[derive(Debug, Default)]
pub(crate) struct Samples(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    points: VecDeque<Point>,
    before: Option<Counts>,
    /// How often requests had failed, by kind, at the marks of the last 15 minutes. The oldest one comes first.
    errors: VecDeque<BTreeMap<String, u64>>,
    /// Points since the last mark.
    unmarked: usize,
}

/// What is counted, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Counts {
    totals: Totals,
    durations: Durations,
}

/// The durations of requests since the start: a histogram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durations {
    /// The upper bounds of the buckets, in microseconds.
    bounds: Vec<u64>,
    /// How many took no longer, by bucket.
    cumulative: Vec<u64>,
    count: u64,
}

impl Durations {
    /// Those of these histograms together, which have the same buckets.
    pub(crate) fn of<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Self {
        let mut all = Self::default();
        for histogram in histograms {
            let metric = histogram.metric();
            let of_role = metric.get_histogram();
            let buckets = of_role.get_bucket();
            if all.bounds.is_empty() {
                let bounds = buckets.iter().map(|it| micros(it.upper_bound()));
                all.bounds = bounds.collect();
                all.cumulative = vec![0; buckets.len()];
            }
            for (sum, bucket) in all.cumulative.iter_mut().zip(buckets) {
                *sum = sum.saturating_add(bucket.cumulative_count());
            }
            all.count = all.count.saturating_add(of_role.get_sample_count());
        }
        all
    }

    /// Those that came after `before`.
    fn since(&self, before: &Durations) -> Durations {
        let earlier = before.cumulative.iter().chain(std::iter::repeat(&0));
        let fresh = self.cumulative.iter().zip(earlier);
        Durations {
            bounds: self.bounds.clone(),
            cumulative: fresh.map(|(now, then)| now.saturating_sub(*then)).collect(),
            count: self.count.saturating_sub(before.count),
        }
    }

    /// The duration that `percent` of them do not exceed, in microseconds: a straight line within its bucket, as
    /// Prometheus has it. Above the last bucket it is the bound of that.
    fn quantile(&self, percent: u64) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        let rank = self.count.saturating_mul(percent).div_ceil(100).max(1);
        let (mut lower, mut below) = (0, 0);
        for (&upper, &reached) in self.bounds.iter().zip(&self.cumulative) {
            if reached >= rank {
                let width = u128::from(upper.saturating_sub(lower));
                let part = width * u128::from(rank - below) / u128::from(reached - below);
                return Some(lower.saturating_add(u64::try_from(part).unwrap_or(u64::MAX)));
            }
            (lower, below) = (upper, reached);
        }
        self.bounds.last().copied()
    }

    fn milliseconds(&self, percent: u64) -> Option<Thousandths> {
        self.quantile(percent).map(Thousandths)
    }
}

/// The bound of a bucket, which is a number of seconds.
fn micros(seconds: f64) -> u64 {
    let duration = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Ring {
    /// Notes what is counted at `time`. The first counts have no second before them, and so no point.
    fn add(&mut self, time: u64, now: Counts, gauges: Gauges, open_connections: u64) {
        if let Some(before) = &self.before {
            let point = point(time, before, &now, gauges, open_connections);
            if self.points.len() >= POINTS {
                self.points.pop_front();
            }
            self.points.push_back(point);
        }
        self.before = Some(now);
    }

    /// Notes how often requests have failed, where it is time for a mark.
    fn mark(&mut self, errors: impl FnOnce() -> BTreeMap<String, u64>) {
        self.unmarked += 1;
        if self.errors.is_empty() || self.unmarked >= MARK {
            self.unmarked = 0;
            if self.errors.len() >= POINTS / MARK {
                self.errors.pop_front();
            }
            self.errors.push_back(errors());
        }
    }
}

fn point(time: u64, before: &Counts, now: &Counts, gauges: Gauges, open_connections: u64) -> Point {
    let fresh = |of: fn(&Totals) -> u64| of(&now.totals).saturating_sub(of(&before.totals));
    let durations = now.durations.since(&before.durations);
    Point {
        time,
        requests: fresh(|it| it.requests),
        tunnels_opened: fresh(|it| it.tunnels),
        denials: fresh(|it| it.denials),
        errors: fresh(|it| it.errors),
        bytes_from_client: fresh(|it| it.bytes_from_client),
        bytes_to_client: fresh(|it| it.bytes_to_client),
        open_connections,
        open_tunnels: gauges.open_tunnels,
        requests_in_flight: gauges.requests_in_flight,
        p50_ms: durations.milliseconds(50),
        p99_ms: durations.milliseconds(99),
    }
}

impl Telemetry {
    /// Takes the point of the second that ends now. To be called once in a [`STEP`] where something is kept for an admin
    /// service.
    pub fn sample(&self, gauges: Gauges) {
        let Some(kept) = self.kept.get() else {
            return;
        };
        let counts = Counts {
            totals: self.totals(),
            durations: Durations::of(self.metrics.request_duration.iter()),
        };
        let open = self.open_connections();
        let mut ring = kept.samples.0.lock();
        ring.add(unix_seconds(SystemTime::now()), counts, gauges, open);
        ring.mark(|| self.errors_by_kind());
    }

    /// How often requests and tunnels failed in the last 15 minutes, by error kind; denials too. Half a minute less at most.
    pub fn recent_errors_by_kind(&self) -> BTreeMap<String, u64> {
        let mut errors = self.errors_by_kind();
        if let Some(kept) = self.kept.get()
            && let Some(before) = kept.samples.0.lock().errors.front()
        {
            for (kind, count) in &mut errors {
                *count = count.saturating_sub(before.get(kind).copied().unwrap_or(0));
            }
        }
        errors.retain(|_, count| *count > 0);
        errors
    }

    /// The last second, with what is open now.
    pub fn now(&self, gauges: Gauges) -> Point {
        let last = self.kept.get().and_then(|kept| {
            let ring = kept.samples.0.lock();
            ring.points.back().cloned()
        });
        let last = last.unwrap_or_else(|| Point {
            time: unix_seconds(SystemTime::now()),
            requests: 0,
            tunnels_opened: 0,
            denials: 0,
            errors: 0,
            bytes_from_client: 0,
            bytes_to_client: 0,
            open_connections: 0,
            open_tunnels: 0,
            requests_in_flight: 0,
            p50_ms: None,
            p99_ms: None,
        });
        Point {
            open_connections: self.open_connections(),
            open_tunnels: gauges.open_tunnels,
            requests_in_flight: gauges.requests_in_flight,
            ..last
        }
    }

    /// The last 15 minutes; without a point where nothing is kept.
    pub fn history(&self) -> History {
        let points = match self.kept.get() {
            None => Vec::new(),
            Some(kept) => kept.samples.0.lock().points.iter().cloned().collect(),
        };
        History {
            step_seconds: STEP.as_secs(),
            points: Columns::of(&points),
        }
    }

    /// What was counted since the start.
    pub fn totals(&self) -> Totals {
        let durations = self.metrics.request_duration.iter();
        let requests = durations
            .map(|histogram| histogram.get_sample_count())
            .sum();
        let (bytes_from_client, bytes_to_client) = self.metrics.total_bytes();
        Totals {
            requests,
            tunnels: self.metrics.tunnels.get(),
            denials: self.stats.denials(),
            errors: self.stats.errors(),
            bytes_from_client,
            bytes_to_client,
        }
    }

    fn open_connections(&self) -> u64 {
        u64::try_from(self.metrics.open_connections.get()).unwrap_or_default()
    }
}

impl Columns {
    fn of(points: &[Point]) -> Self {
        fn column<T>(points: &[Point], of: impl Fn(&Point) -> T) -> Vec<T> {
            points.iter().map(of).collect()
        }
        Self {
            time: column(points, |it| it.time),
            requests: column(points, |it| it.requests),
            tunnels_opened: column(points, |it| it.tunnels_opened),
            denials: column(points, |it| it.denials),
            errors: column(points, |it| it.errors),
            bytes_from_client: column(points, |it| it.bytes_from_client),
            bytes_to_client: column(points, |it| it.bytes_to_client),
            open_connections: column(points, |it| it.open_connections),
            open_tunnels: column(points, |it| it.open_tunnels),
            requests_in_flight: column(points, |it| it.requests_in_flight),
            p50_ms: column(points, |it| it.p50_ms),
            p99_ms: column(points, |it| it.p99_ms),
        }
    }
}

#[cfg(test)]
mod tests;
