//! `tollgate.limits.time_zone` and `tollgate.limits.store`: when quotas begin anew, and where balances are kept.

use std::time::Duration;

use super::super::files::Base;
use super::super::keys::form::Absent::{Is, Means};
use super::super::keys::form::{Given, OneOf, Raw, Within};
use super::super::keys::keys;
use super::super::policy::zone;
use super::super::reader::{Item, Section};
use crate::access::policy::Zone;
use crate::balances::{Location, OnFailure, StoreSettings};
use crate::script::Secrets;

mod server;

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
    /// The store: a file, or a server.
    pub(in super::super) struct StoreKeys<'d> {
        /// A file of one process alone. It is made if it does not exist; its directory has to.
        file: Option<Item<'d>> = Means("none"), Raw => Shape::path();
        /// A server of Redis or Valkey, in whose place a [fleet](limits.md#a-fleet) of instances has its limits:
        /// `redis://HOST:PORT/DATABASE`, `rediss://` with TLS, `unix:///PATH`.
        redis: Option<Item<'d>> = Means("none"), Raw => Shape::text("a URL");
        /// The user at the server.
        user: Option<Item<'d>> = Means("the default user of the server"), Raw => Shape::text("a name");
        /// The name of the password in `tollgate.secrets`.
        password: Option<Item<'d>> = Means("none"), Raw => Shape::text("the name of a secret");
        /// The authorities that the server's certificate is verified with.
        ca_file: Option<Item<'d>> = Means("those of the system"), Raw => Shape::path();
        /// What all keys at the server begin with. Instances with the same one share their limits.
        prefix: Option<Item<'d>> = Is("tollgate"), Raw => Shape::text("a word");
        /// How long a server may take to answer, and a request may wait for it.
        timeout: Option<Duration> = Is("250ms"), Given(Within(Duration::from_millis(10)..=Duration::from_secs(5)));
        /// What becomes of requests whose limits are in the store while it does not work: `admit` serves them and counts in
        /// memory, `deny` answers 503. Those limits are quotas in a file, and all limits of classes at a server.
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
pub(super) fn read<'d>(
    section: &mut Section<'d>,
    base: &Base,
    secrets: &Secrets,
) -> QuotaSettings<'d> {
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
        let location = match (&keys.file, &keys.redis) {
            (Some(_), Some(_)) => {
                section.report("redis", "beside a file", "keep one of file and redis");
                None
            }
            (None, None) => {
                let advice = "write a path, such as `file: /var/lib/tollgate/quota.redb`, or a server, such as `redis: redis://127.0.0.1:6379`";
                section.report("file", "missing", advice);
                None
            }
            (Some(file), None) => {
                report_strangers(&keys);
                file.file(&base.directory).map(Location::File)
            }
            (None, Some(item)) => server::read(item, &keys, base, secrets).map(Location::Redis),
        };
        section.finish();
        settings.store = location.map(|location| StoreSettings {
            location,
            on_failure: keys.on_failure,
            entries: keys.entries,
        });
        settings.file = keys.file;
    }
    settings
}

/// Reports keys of a server beside a file.
fn report_strangers(keys: &StoreKeys<'_>) {
    const REMEDY: &str = "remove it, or write `redis` in place of `file`";
    for item in [&keys.user, &keys.password, &keys.ca_file]
        .into_iter()
        .flatten()
    {
        item.report("for a server, beside a file", REMEDY);
    }
    if let Some(prefix) = &keys.prefix
        && server::prefix(prefix).is_some()
    {
        prefix.warn("for a server, beside a file: without effect", REMEDY);
    }
}
