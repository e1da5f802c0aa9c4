//! The last 15 minutes, a point for each second. Pure.

use super::facts::{Fact, Facts};

/// Seconds that are kept.
pub(super) const SECONDS: usize = 900;

/// The series that are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Series {
    Requests,
    Denials,
    Errors,
    Tunnels,
    Connections,
    Median,
    FromClient,
    ToClient,
    Slowest,
}

/// The seconds.
#[derive(Debug, Default)]
pub(super) struct History {
    points: std::collections::VecDeque<Point>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    time: u64,
    values: [Option<u64>; Series::ALL.len()],
}

impl Series {
    pub(super) const ALL: [Series; 9] = [
        Series::Requests,
        Series::Tunnels,
        Series::Denials,
        Series::Errors,
        Series::FromClient,
        Series::ToClient,
        Series::Connections,
        Series::Median,
        Series::Slowest,
    ];

    /// The member of a point.
    fn member(self) -> &'static str {
        match self {
            Series::Requests => "requests",
            Series::Denials => "denials",
            Series::Errors => "errors",
            Series::Tunnels => "open_tunnels",
            Series::Connections => "open_connections",
            Series::FromClient => "bytes_from_client",
            Series::ToClient => "bytes_to_client",
            Series::Median => "p50_ms",
            Series::Slowest => "p99_ms",
        }
    }

    fn place(self) -> usize {
        Self::ALL
            .iter()
            .position(|series| *series == self)
            .unwrap_or_default()
    }
}

/// A number of a point; milliseconds in thousandths.
fn value(series: Series, fact: Fact<'_>) -> Option<u64> {
    match series {
        // Of what is negative or no number it is 0.
        Series::Median | Series::Slowest => fact.number().map(|number| (number * 1000.0) as u64),
        _ => fact.count(),
    }
}

impl History {
    /// What the service remembers.
    pub(super) fn of(answer: &Facts) -> Self {
        let columns = answer.at("points");
        let mut history = Self::default();
        let mut all = Series::ALL.map(|series| columns.at(series.member()).items());
        for time in columns.at("time").items().take(SECONDS) {
            let mut values = [None; Series::ALL.len()];
            for ((series, column), kept) in Series::ALL.into_iter().zip(&mut all).zip(&mut values) {
                *kept = column.next().and_then(|fact| value(series, fact));
            }
            history.push(Point {
                time: time.count().unwrap_or_default(),
                values,
            });
        }
        history
    }

    /// Adds a point, unless it is an old one.
    pub(super) fn add(&mut self, point: Fact<'_>) {
        let values = Series::ALL.map(|series| value(series, point.at(series.member())));
        let time = point.at("time").count().unwrap_or_default();
        self.push(Point { time, values });
    }

    fn push(&mut self, point: Point) {
        if self
            .points
            .back()
            .is_some_and(|last| last.time >= point.time)
        {
            return;
        }
        while self.points.len() >= SECONDS {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }

    /// The largest values of a series in so many equal parts of 15 minutes, the oldest first.
    pub(super) fn peaks(&self, series: Series, parts: usize) -> Vec<Option<u64>> {
        let mut peaks = vec![None; parts];
        let Some(last) = self.points.back() else {
            return peaks;
        };
        let step = SECONDS.div_ceil(parts.max(1)).max(1) as u64;
        // Parts begin at whole multiples of their length, so that a point stays in its part.
        let newest = last.time / step;
        for point in &self.points {
            let Some(&Some(value)) = point.values.get(series.place()) else {
                continue;
            };
            let back = usize::try_from(newest.saturating_sub(point.time / step));
            let place = back
                .ok()
                .and_then(|back| parts.checked_sub(back.saturating_add(1)));
            if let Some(peak) = place.and_then(|place| peaks.get_mut(place)) {
                *peak = Some(peak.map_or(value, |peak: u64| peak.max(value)));
            }
        }
        peaks
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn points_are_in_parts() {
        let mut history = History::of(&Facts::new(json!({
            "points": {"time": [900, 901, 1799], "requests": [5, 7, 1], "p99_ms": [null, 1.5, 2]},
        })));
        assert_eq!(history.peaks(Series::Requests, 2), [Some(7), Some(1)]);
        assert_eq!(history.peaks(Series::Slowest, 2), [Some(1500), Some(2000)]);
        assert_eq!(history.peaks(Series::Errors, 2), [None, None]);
        history.add(Facts::new(json!({"time": 1799, "requests": 100})).whole());
        assert_eq!(history.peaks(Series::Requests, 2), [Some(7), Some(1)]);
        history.add(Facts::new(json!({"time": 1800, "requests": 100})).whole());
        assert_eq!(
            history.peaks(Series::Requests, 3),
            [None, Some(1), Some(100)]
        );
        assert!(history.peaks(Series::Requests, 0).is_empty());
    }

    proptest! {
        #[test]
        fn it_is_limited(times in proptest::collection::vec(any::<u64>(), 0..40), parts in 0usize..300) {
            let mut history = History::default();
            for time in times {
                history.add(Facts::new(json!({"time": time, "requests": 1})).whole());
            }
            for time in 0..1000u64 {
                history.add(Facts::new(json!({"time": time, "requests": 1})).whole());
            }
            prop_assert!(history.points.len() <= SECONDS);
            prop_assert_eq!(history.peaks(Series::Requests, parts).len(), parts);
        }
    }
}
