//! What classes of limits count, as metrics. The classes count for themselves; their numbers are read when metrics are.

use std::marker::PhantomData;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, Opts, Registry};

use super::metrics::declare::{Declared, Metric, registered};
use crate::access::limits::{Class, Classes};

/// The bytes of the classes that are in use: two series for each of the classes of one configuration.
pub(crate) type ClassBytes = OfClasses<Bytes>;

/// Their requests that had to wait for their turn of a rate: one series for each class.
pub(crate) type ClassQueued = OfClasses<Queued>;

/// What is counted of a class.
pub(crate) trait Counted: Send + Sync + 'static {
    /// Adds it to its series.
    fn add(class: &Class, family: &IntCounterVec);
}

#[derive(Clone)]
pub(crate) struct Bytes;

#[derive(Clone)]
pub(crate) struct Queued;

/// The series of the classes that are in use.
#[derive(Clone)]
pub(crate) struct OfClasses<C>(Arc<Shown>, PhantomData<C>);

struct Shown {
    family: IntCounterVec,
    classes: Mutex<Option<Arc<Classes>>>,
}

impl Counted for Bytes {
    fn add(class: &Class, family: &IntCounterVec) {
        let bytes = class.tally().bytes();
        for (direction, count) in [("from_client", bytes.upload), ("to_client", bytes.download)] {
            let series = family.with_label_values(&[class.name(), direction]);
            series.inc_by(count);
        }
    }
}

impl Counted for Queued {
    fn add(class: &Class, family: &IntCounterVec) {
        let series = family.with_label_values(&[class.name()]);
        series.inc_by(class.tally().queued());
    }
}

impl<C> OfClasses<C> {
    /// Shows these classes from now on.
    pub(crate) fn show(&self, classes: Option<Arc<Classes>>) {
        *self.0.classes.lock() = classes;
    }

    /// The classes that are shown.
    pub(crate) fn classes(&self) -> Option<Arc<Classes>> {
        self.0.classes.lock().clone()
    }
}

impl<C: Counted + Clone> Metric for OfClasses<C> {
    fn register(registry: &Registry, declared: &Declared) -> prometheus::Result<Self> {
        let opts = Opts::new(declared.name, declared.help);
        let shown = Shown {
            family: IntCounterVec::new(opts, declared.labels)?,
            classes: Mutex::default(),
        };
        registered(registry, OfClasses(Arc::new(shown), PhantomData))
    }
}

impl<C: Counted> Collector for OfClasses<C> {
    fn desc(&self) -> Vec<&Desc> {
        self.0.family.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Shown { family, classes } = &*self.0;
        // Held to the end: readers at the same time would add to each other's series.
        let classes = classes.lock();
        family.reset();
        for class in classes.iter().flat_map(|classes| classes.iter()) {
            C::add(class, family);
        }
        family.collect()
    }
}
