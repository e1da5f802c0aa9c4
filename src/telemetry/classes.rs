//! What classes of limits count, as metrics. The classes count for themselves; their numbers are read when metrics are.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, Opts, Registry};

use super::metrics::declare::{Declared, Metric, registered};
use crate::access::limits::Classes;

/// The bytes of the classes that are in use: two series for each of the classes of one configuration.
#[derive(Clone)]
pub(crate) struct ClassBytes(Arc<Shown>);

struct Shown {
    family: IntCounterVec,
    classes: Mutex<Option<Arc<Classes>>>,
}

impl ClassBytes {
    /// Shows these classes from now on.
    pub(crate) fn show(&self, classes: Option<Arc<Classes>>) {
        *self.0.classes.lock() = classes;
    }

    /// The classes that are shown.
    pub(crate) fn classes(&self) -> Option<Arc<Classes>> {
        self.0.classes.lock().clone()
    }
}

impl Metric for ClassBytes {
    fn register(registry: &Registry, declared: &Declared) -> prometheus::Result<Self> {
        let opts = Opts::new(declared.name, declared.help);
        let shown = Shown {
            family: IntCounterVec::new(opts, declared.labels)?,
            classes: Mutex::default(),
        };
        registered(registry, ClassBytes(Arc::new(shown)))
    }
}

impl Collector for ClassBytes {
    fn desc(&self) -> Vec<&Desc> {
        self.0.family.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Shown { family, classes } = &*self.0;
        // Held to the end: readers at the same time would add to each other's series.
        let classes = classes.lock();
        family.reset();
        for class in classes.iter().flat_map(|classes| classes.iter()) {
            let bytes = class.tally().bytes();
            for (direction, count) in [("from_client", bytes.upload), ("to_client", bytes.download)]
            {
                let series = family.with_label_values(&[class.name(), direction]);
                series.inc_by(count);
            }
        }
        family.collect()
    }
}
