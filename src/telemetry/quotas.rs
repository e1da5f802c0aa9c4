//! What members have used of their quotas, as metrics and statistics. It is read from the ledgers when it is shown.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGaugeVec, Opts, Registry};

use super::metrics::declare::{Declared, Metric, registered};
use crate::access::limits::Classes;
use crate::access::limits::quota::{Ledgers, Row, Totals, now};

/// The most series: of classes that are configured, and of those whose periods have not ended.
const MAX_SERIES: usize = 1024;

/// The balances in the statistics.
const TOP: usize = 100;

/// Bytes of the current periods, by class.
#[derive(Clone)]
pub(crate) struct QuotaUsage(Arc<Shown>);

struct Shown {
    family: IntGaugeVec,
    ledgers: Mutex<Option<Arc<Ledgers>>>,
    store: Mutex<Option<String>>,
}

/// What the statistics show.
pub(crate) struct Quotas {
    pub(crate) store: Option<String>,
    pub(crate) ledgers: usize,
    pub(crate) top: Vec<Row>,
}

impl QuotaUsage {
    /// Shows these ledgers from now on.
    pub(crate) fn show(&self, ledgers: Arc<Ledgers>) {
        *self.0.ledgers.lock() = Some(ledgers);
    }

    /// Notes how the store is.
    pub(crate) fn set_store(&self, state: &str) {
        let mut store = self.0.store.lock();
        if store.as_deref() != Some(state) {
            *store = Some(state.to_owned());
        }
    }

    /// The largest balances; none without a store and without a balance.
    pub(crate) fn report(&self, classes: Option<&Classes>) -> Option<Quotas> {
        let store = self.0.store.lock().clone();
        let ledgers = self.ledgers()?;
        let is_used = store.is_some() || ledgers.len() > 0;
        is_used.then(|| Quotas {
            store,
            ledgers: ledgers.len(),
            top: Totals::of(&ledgers, classes, now(), TOP).top,
        })
    }

    fn ledgers(&self) -> Option<Arc<Ledgers>> {
        self.0.ledgers.lock().clone()
    }
}

impl Metric for QuotaUsage {
    fn register(registry: &Registry, declared: &Declared) -> prometheus::Result<Self> {
        let opts = Opts::new(declared.name, declared.help);
        let shown = Shown {
            family: IntGaugeVec::new(opts, declared.labels)?,
            ledgers: Mutex::default(),
            store: Mutex::default(),
        };
        registered(registry, QuotaUsage(Arc::new(shown)))
    }
}

impl Collector for QuotaUsage {
    fn desc(&self) -> Vec<&Desc> {
        self.0.family.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Shown {
            family, ledgers, ..
        } = &*self.0;
        // Held to the end: readers at the same time would mix their series.
        let ledgers = ledgers.lock();
        family.reset();
        let Some(ledgers) = &*ledgers else {
            return family.collect();
        };
        let totals = Totals::of(ledgers, None, now(), 0);
        for ((class, period), used) in totals.used.into_iter().take(MAX_SERIES) {
            let series = family.with_label_values(&[class.as_str(), period.as_str()]);
            series.set(i64::try_from(used).unwrap_or(i64::MAX));
        }
        family.collect()
    }
}
