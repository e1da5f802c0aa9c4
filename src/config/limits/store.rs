//! `tollgate.limits.time_zone` and `tollgate.limits.store`: when quotas begin anew, and where balances are kept.

use std::path::Path;

use super::super::keys::form::Absent::{Is, Means, Required};
use super::super::keys::form::{OneOf, Raw, Within};
use super::super::keys::keys;
use super::super::policy::zone;
use super::super::reader::{Item, Section};
use crate::access::policy::Zone;
use crate::balances::{Location, OnFailure, StoreSettings};

keys! {
    /// The keys for quotas, beside the limits that hold for all.
    pub(super) struct QuotaSettingKeys<'d> {
        /// The time zone in which hours, days, weeks and months of quotas begin, by its IANA name.
        time_zone: Option<Item<'d>> = Is("UTC"), Raw => Shape::text("an IANA name"), on reload;
        /// Where [balances](limits.md#balances) are kept. Quotas need it.
        store: Option<Item<'d>> = Means("none"), Raw => Shape::Map(StoreKeys::keys);
    }
}

keys! {
    /// The store.
    pub(in super::super) struct StoreKeys<'d> {
        /// A file of one process alone. It is made if it does not exist; its directory has to.
        file: Option<Item<'d>> = Required, Raw => Shape::path();
        /// What becomes of requests of classes with a quota while the store does not work: `admit` serves them and counts in
        /// memory, `deny` answers 503.
        on_failure: OnFailure = OnFailure::Admit, OneOf(&OnFailure::WORDS);
        /// How many users and networks are remembered, some 250 bytes each with two periods. All others have one balance together in each
        /// class.
        entries: usize = 1_000_000, Within(16..=10_000_000);
    }
}

/// What is read of it.
pub(in super::super) struct QuotaSettings<'d> {
    /// The zone of the periods.
    pub(super) zone: Zone,
    /// The key of the store, if it is there.
    pub(in super::super) item: Option<Item<'d>>,
    /// The store, if it can be used.
    pub(in super::super) store: Option<StoreSettings>,
    /// Its file, as the configuration names it.
    pub(in super::super) file: Option<Item<'d>>,
}

/// Reads both.
pub(super) fn read<'d>(section: &mut Section<'d>, base: &Path) -> QuotaSettings<'d> {
    let keys = QuotaSettingKeys::take(section);
    let mut settings = QuotaSettings {
        zone: keys.time_zone.as_ref().and_then(zone).unwrap_or(Zone::UTC),
        item: keys.store.clone(),
        store: None,
        file: None,
    };
    if let Some(item) = &keys.store {
        let mut section = item.section();
        let keys = StoreKeys::take(&mut section);
        if keys.file.is_none() {
            let advice = "write a path, such as `file: /var/lib/tollgate/quota.redb`";
            section.report("file", "missing", advice);
        }
        section.finish();
        let path = keys.file.as_ref().and_then(|item| item.file(base));
        settings.store = path.map(|path| StoreSettings {
            location: Location::File(path),
            on_failure: keys.on_failure,
            entries: keys.entries,
        });
        settings.file = keys.file;
    }
    settings
}
