//! How metrics are declared: one line of a table for each, from which come the
//! struct, the registration and the reference in `docs/observability.md`.

use prometheus::core::Collector;
use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

/// Declares metrics that are registered together. A line reads
///
/// ```text
/// "name" kind ["label", "label"] BUCKETS => field: Type, "Help." "More for the reference.";
/// ```
///
/// Labels, buckets and the last text are there where they apply. The kind is one
/// in Prometheus' words, and the type is a [`Metric`] of this kind.
macro_rules! metrics {
    (
        $(#[$doc:meta])*
        $vis:vis struct $group:ident;
        $(
            $name:literal $kind:ident $([$($label:literal),+])? $($buckets:ident)? =>
            $field:ident: $type:ty, $help:literal $($note:literal)?;
        )*
    ) => {
        $(#[$doc])*
        $vis struct $group {
            $(#[doc = $help] pub(crate) $field: $type,)*
        }

        impl $group {
            /// Makes every metric and has it shown.
            pub(crate) fn register(registry: &::prometheus::Registry) -> ::prometheus::Result<Self> {
                use crate::telemetry::metrics::declare::{Declared, Metric};
                Ok(Self {
                    $($field: Metric::register(registry, &Declared {
                        name: $name,
                        help: $help,
                        labels: &[$($($label),+)?],
                        buckets: metrics!(@buckets $($buckets)?),
                    })?,)*
                })
            }

            /// Every metric: name, kind, labels, meaning.
            #[cfg(test)]
            pub(crate) fn reference() -> Vec<[String; 4]> {
                vec![$([
                    format!("`{}`", $name),
                    stringify!($kind).to_owned(),
                    crate::telemetry::metrics::declare::quoted(&[$($($label),+)?]),
                    concat!($help $(, " ", $note)?).to_owned(),
                ]),*]
            }
        }
    };
    (@buckets) => { &[] };
    (@buckets $buckets:ident) => { $buckets };
}

pub(crate) use metrics;

/// What a table says of one metric.
pub(crate) struct Declared {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) labels: &'static [&'static str],
    pub(crate) buckets: &'static [f64],
}

impl Declared {
    fn opts(&self) -> Opts {
        Opts::new(self.name, self.help)
    }

    fn histogram_opts(&self) -> HistogramOpts {
        HistogramOpts::new(self.name, self.help).buckets(self.buckets.to_vec())
    }
}

/// A metric that can be declared.
pub(crate) trait Metric: Sized {
    /// Makes it and has it shown.
    fn register(registry: &Registry, declared: &Declared) -> prometheus::Result<Self>;
}

/// A counter with labels, whose series are found in a way of its own.
pub(crate) trait Counters {
    fn of(family: IntCounterVec) -> Self;
}

impl Counters for IntCounterVec {
    fn of(family: IntCounterVec) -> Self {
        family
    }
}

impl<T: Counters> Metric for T {
    fn register(registry: &Registry, declared: &Declared) -> prometheus::Result<Self> {
        let family = IntCounterVec::new(declared.opts(), declared.labels)?;
        Ok(T::of(registered(registry, family)?))
    }
}

macro_rules! without_labels {
    ($($type:ty),*) => {$(
        impl Metric for $type {
            fn register(registry: &Registry, declared: &Declared) -> prometheus::Result<Self> {
                registered(registry, <$type>::with_opts(declared.opts())?)
            }
        }
    )*};
}

without_labels! { IntCounter, Counter, IntGauge, Gauge }

impl Metric for IntGaugeVec {
    fn register(registry: &Registry, declared: &Declared) -> prometheus::Result<Self> {
        registered(
            registry,
            IntGaugeVec::new(declared.opts(), declared.labels)?,
        )
    }
}

impl Metric for Histogram {
    fn register(registry: &Registry, declared: &Declared) -> prometheus::Result<Self> {
        registered(registry, Histogram::with_opts(declared.histogram_opts())?)
    }
}

impl Metric for HistogramVec {
    fn register(registry: &Registry, declared: &Declared) -> prometheus::Result<Self> {
        let family = HistogramVec::new(declared.histogram_opts(), declared.labels)?;
        registered(registry, family)
    }
}

/// Labels for the reference.
#[cfg(test)]
pub(crate) fn quoted(labels: &[&str]) -> String {
    let quoted: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
    quoted.join(", ")
}

/// Has `collector` shown.
pub(crate) fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
