//! `tollgate.limits.classes`: who may have how much.

use std::sync::Arc;
use std::time::Duration;

use super::super::auth::Auth;
use super::super::egress::{entry, networks};
use super::super::keys::form::Absent::{Is, Means, Required};
use super::super::keys::form::{Given, Raw, RawList, Within};
use super::super::keys::keys;
use super::super::policy::{GroupContext, ValueReader, not_empty, role, user, warn_of_user};
use super::super::reader::{Item, Section};
use super::super::units::show_size;
use super::store::QuotaSettings;
#[cfg(test)]
use crate::access::limits::MAX_CLASSES;
use crate::access::limits::quota::{OnQuota, Quota};
use crate::access::limits::{
    Bandwidth, BandwidthError, ClassError, ClassLimits, ClassProblem, ClassRule, Classes,
    MAX_QUEUE, Pace, Per, Rate, RateError,
};
use crate::access::policy::{Groups, Name, Roles};

/// The most of what is counted at once.
const MAX_AT_ONCE: usize = 1_000_000;

/// The largest quota.
const MAX_QUOTA: u64 = 1 << 60;

keys! {
    /// The list, beside the limits that hold for all.
    pub(super) struct ListKeys<'d> {
        /// [Classes](limits.md) of requests and what each user or network in them may have. The first that matches holds. A
        /// request over a limit gets 429 with `Retry-After`.
        classes: Option<Item<'d>> = Is("[]"), RawList => Shape::Map(Keys::keys).list(MAX_CLASSES), on reload;
    }
}

keys! {
    /// One class.
    pub(in super::super) struct Keys<'d> {
        /// The name for log and client, each once: up to 64 of `a-z`, `0-9`, `-`, `_`.
        name: Option<Item<'d>> = Required, Raw => Shape::rule_name();
        /// Names of users. With `groups` too, one of both is enough.
        users: Option<Item<'d>> = Means("every user"), Raw => Shape::user().some();
        /// Names of groups in the file of `auth.groups`.
        groups: Option<Item<'d>> = Means("every user"), Raw => Shape::text("the name of a group").some();
        /// The ways in which a request comes.
        roles: Option<Item<'d>> = Means("every role"), Raw => Shape::roles();
        /// Networks and addresses of clients.
        client_networks: Option<Item<'d>> = Means("every client"), Raw => Shape::network().some();
        /// What has the limits for itself: each user, each client network (an address of IPv4 or a /64 of IPv6), each host
        /// that is asked, or the class as a whole.
        per: Option<Item<'d>> = Is("user"), Raw => Shape::words(&Per::ALL.map(Per::as_str));
        /// Requests in a second, a minute or an hour, those for tunnels among them.
        requests: Option<Item<'d>> = Means("no limit"), Raw => Shape::rate();
        /// How many of these requests may come at once after a pause.
        burst: Option<Item<'d>> = Means("the number of `requests`"), Raw => Shape::Number(1..=u64::from(Pace::MAX_BURST));
        /// Requests at the same time, without tunnels.
        concurrent_requests: Option<Item<'d>> = Means("no limit"), Raw => Shape::Number(1..=MAX_AT_ONCE as u64);
        /// Requests for tunnels (CONNECT and WebSocket) in a second, a minute or an hour. As many may come at once after a
        /// pause.
        new_tunnels: Option<Item<'d>> = Means("no limit"), Raw => Shape::rate();
        /// How long a request over `requests` or `new_tunnels` waits for its turn, if that comes in this time. By default it
        /// gets 429 at once.
        queue: Option<Duration> = Is("0s"), Given(Within(Duration::ZERO..=MAX_QUEUE));
        /// Tunnels at the same time.
        tunnels: Option<Item<'d>> = Means("no limit"), Raw => Shape::Number(1..=MAX_AT_ONCE as u64);
        /// Bytes to clients in a second, over all connections of a member.
        download: Option<Item<'d>> = Means("no limit"), Raw => Shape::bandwidth();
        /// Bytes from clients in a second, over all connections of a member.
        upload: Option<Item<'d>> = Means("no limit"), Raw => Shape::bandwidth();
        /// Bytes in a period, both ways together. A request beyond it gets 429, or 403 when the period lasts for more than an
        /// hour. Needs `limits.store`.
        quota: Option<Item<'d>> = Means("no limit"), Raw => Shape::Map(QuotaKeys::keys);
        /// What becomes of open requests and tunnels when a quota ends: `cut` ends them, `refuse_new` refuses new ones alone.
        on_quota: Option<Item<'d>> = Means("`cut`"), Raw => Shape::words(&OnQuota::ALL.map(OnQuota::as_str));
    }
}

keys! {
    /// The quota of a class. At least one key.
    pub(in super::super) struct QuotaKeys<'d> {
        /// From a full hour to the next.
        hour: Option<Item<'d>> = Means("no limit"), Raw => Shape::Size(1..=MAX_QUOTA);
        /// From midnight to midnight.
        day: Option<Item<'d>> = Means("no limit"), Raw => Shape::Size(1..=MAX_QUOTA);
        /// From Monday to Sunday.
        week: Option<Item<'d>> = Means("no limit"), Raw => Shape::Size(1..=MAX_QUOTA);
        /// A month of the calendar.
        month: Option<Item<'d>> = Means("no limit"), Raw => Shape::Size(1..=MAX_QUOTA);
    }
}

/// The list as read.
#[derive(Default)]
pub(in super::super) struct ClassSection<'d> {
    /// The classes, if all is well and there are any.
    pub(in super::super) classes: Option<Arc<Classes>>,
    /// The users that classes name, for a look at who there is.
    users: Vec<(Name, Item<'d>, Box<str>)>,
}

/// Reads the list.
pub(super) fn read<'d>(
    section: &mut Section<'d>,
    settings: &QuotaSettings<'d>,
    context: &GroupContext<'_>,
) -> ClassSection<'d> {
    let items = ListKeys::take(section).classes;
    let items = items.and_then(|item| item.list()).unwrap_or_default();
    let mut written = ClassSection::default();
    let (mut places, mut rules) = (Vec::new(), Vec::new());
    for item in &items {
        if let Some(rule) = read_class(item, settings, &mut written.users) {
            rules.push(rule);
            places.push(item);
        }
    }
    let is_whole = rules.len() == items.len() && context.groups.is_some();
    let none = Groups::default();
    match Classes::new(rules, context.groups.unwrap_or(&none)) {
        Ok(classes) if is_whole && !items.is_empty() => written.classes = Some(Arc::new(classes)),
        Ok(_) => {}
        Err(errors) => {
            for error in errors {
                report(&error, &places, context);
            }
        }
    }
    written
}

impl ClassSection<'_> {
    /// Warns of users that do not exist: they may have been removed.
    pub(in super::super) fn warn(&self, auth: &Auth) {
        for (class, item, user) in &self.users {
            warn_of_user("class", class, item, user, auth);
        }
    }
}

fn read_class<'d>(
    item: &Item<'d>,
    settings: &QuotaSettings<'d>,
    all_named: &mut Vec<(Name, Item<'d>, Box<str>)>,
) -> Option<ClassRule> {
    let mut section = item.section();
    let keys = Keys::take(&mut section);
    let mut reader = ValueReader::new();
    let name = reader.part(&keys.name, name);
    if keys.name.is_none() {
        reader.miss(
            &section,
            "name",
            "write a name for the log, such as `name: ci`",
        );
    }
    let mut named = Vec::new();
    let users = reader.values(&keys.users, |item| {
        let user = user(item)?;
        named.push((item.clone(), user.clone()));
        Some(user)
    });
    let groups = reader.values(&keys.groups, |item| entry(item).map(Box::from));
    let roles = reader.values(&keys.roles, role);
    let client_networks = reader.part(&keys.client_networks, |item| networks(&not_empty(item)?));
    let per = reader.part(&keys.per, per).unwrap_or_default();
    let mut limits = limits(&mut reader, &keys);
    limits.quota = reader
        .part(&keys.quota, |item| quota(item, &keys, settings))
        .flatten();
    if let (Some(item), Per::Host) = (&keys.quota, per) {
        let message = "with `per: host`, and quotas are of users, networks and classes";
        let remedy = "write `per: user`, client_network or class, or a rate in place of the quota";
        item.report(message, remedy);
    }
    if keys.on_quota.is_some() && keys.quota.is_none() {
        let message = "without a quota, whose end it is about";
        let remedy = "write one such as `quota: { day: 100GiB }`, or remove it";
        section.report("on_quota", message, remedy);
    }
    if keys.burst.is_some() && keys.requests.is_none() {
        let message = "without requests, which it is a part of";
        let remedy = "write a rate such as `requests: 50/s`, or remove it";
        section.report("burst", message, remedy);
    }
    let has_rate = keys.requests.is_some() || keys.new_tunnels.is_some();
    if keys.queue.is_some() && !has_rate {
        let message = "without a rate, for whose turn requests wait";
        let remedy = "write `requests` or `new_tunnels`, or remove it";
        section.report("queue", message, remedy);
    }
    section.finish();
    let name = name?;
    let named = named.into_iter();
    all_named.extend(named.map(|(item, user)| (name.clone(), item, user)));
    reader.is_whole().then_some(ClassRule {
        name,
        users,
        groups,
        roles: roles.map(|roles| roles.into_iter().collect::<Roles>()),
        client_networks,
        per,
        limits,
    })
}

fn limits(reader: &mut ValueReader, keys: &Keys<'_>) -> ClassLimits {
    let at_once = |item: &Item<'_>| u32::try_from(item.count(1..=MAX_AT_ONCE)?).ok();
    let burst = reader.part(&keys.burst, |item| {
        u32::try_from(item.count(1..=Pace::MAX_BURST as usize)?).ok()
    });
    ClassLimits {
        requests: reader
            .part(&keys.requests, rate)
            .map(|rate| Pace::new(rate, burst)),
        concurrent_requests: reader.part(&keys.concurrent_requests, at_once),
        new_tunnels: reader
            .part(&keys.new_tunnels, rate)
            .map(|rate| Pace::new(rate, None)),
        queue: keys.queue.unwrap_or_default(),
        tunnels: reader.part(&keys.tunnels, at_once),
        download: reader.part(&keys.download, bandwidth),
        upload: reader.part(&keys.upload, bandwidth),
        quota: None,
    }
}

/// The quota of a class; the inner one is none where its periods have been reported.
fn quota(item: &Item<'_>, class: &Keys<'_>, settings: &QuotaSettings<'_>) -> Option<Option<Quota>> {
    let mut section = item.section();
    let keys = QuotaKeys::take(&mut section);
    section.finish();
    if settings.item.is_none() {
        item.report(
            "without limits.store, where balances are kept",
            "add `store: { file: /var/lib/tollgate/quota.redb }` to tollgate.limits",
        );
    }
    let on_quota = class.on_quota.as_ref().map(on_quota);
    let written = [&keys.hour, &keys.day, &keys.week, &keys.month];
    if written.iter().all(|item| item.is_none()) {
        item.report(
            "without a period",
            "write hour, day, week or month, such as `quota: { day: 100GiB }`",
        );
        return None;
    }
    let limits = written.map(|item| item.as_ref().map(|item| item.size(1..=MAX_QUOTA)));
    let is_whole = limits.iter().all(|limit| *limit != Some(None)) && on_quota != Some(None);
    let limits = limits.map(Option::flatten);
    let on_quota = on_quota.flatten().unwrap_or_default();
    is_whole.then(|| Quota::new(limits, on_quota, settings.zone))
}

fn on_quota(item: &Item<'_>) -> Option<OnQuota> {
    let text = item.text()?;
    let found = OnQuota::ALL.into_iter().find(|on| on.as_str() == text);
    if found.is_none() {
        item.report("another word", "write cut or refuse_new");
    }
    found
}

fn name(item: &Item<'_>) -> Option<Name> {
    let name = Name::parse_any(item.text()?);
    if name.is_err() {
        item.report(
            "not a name",
            "write up to 64 of a-z, 0-9, - and _, beginning with a letter or a digit",
        );
    }
    name.ok()
}

fn per(item: &Item<'_>) -> Option<Per> {
    let text = item.text()?;
    let found = Per::ALL.into_iter().find(|per| per.as_str() == text);
    if found.is_none() {
        item.report(
            "not what can have limits for itself",
            "write user, client_network, host or class",
        );
    }
    found
}

fn rate(item: &Item<'_>) -> Option<Rate> {
    let rate = Rate::parse(item.text()?);
    match rate {
        Err(RateError::Form) => item.report(
            "not a rate",
            "write a number and a unit, as in 200/s, 30/m or 1000/h",
        ),
        Err(RateError::Range) => {
            item.report("out of range", format!("write one from 1 to {}", Rate::MAX));
        }
        Ok(_) => {}
    }
    rate.ok()
}

fn bandwidth(item: &Item<'_>) -> Option<Bandwidth> {
    let bandwidth = Bandwidth::parse(item.text()?);
    match bandwidth {
        Err(BandwidthError::Form) => item.report(
            "not a bandwidth",
            "write a size in a second, as in 50MiB/s, 10MB/s or 512KiB/s",
        ),
        Err(BandwidthError::Range) => {
            let [least, most] = [Bandwidth::MIN, Bandwidth::MAX].map(show_size);
            item.report(
                "out of range",
                format!("write one from {least}/s to {most}/s"),
            );
        }
        Ok(_) => {}
    }
    bandwidth.ok()
}

fn report(error: &ClassError, places: &[&Item<'_>], context: &GroupContext<'_>) {
    let Some(item) = places.get(error.class) else {
        return;
    };
    let mut section = item.section();
    match &error.problem {
        ClassProblem::UnknownGroup { at } => {
            if let Some(item) = section.list("groups").get(*at) {
                context.report_unknown(item);
            }
        }
        ClassProblem::DuplicateName { first } => {
            if let Some(first) = places.get(*first) {
                let message = format!("{} has the same name", first.path);
                section.report("name", message, "give each class a name of its own");
            }
        }
        ClassProblem::Unreachable { .. } => item.report(
            error.problem.to_string(),
            "move the class without matchers to the end, or give it one",
        ),
        ClassProblem::TooMany => item.report(
            error.problem.to_string(),
            "combine some of them with users, groups and networks",
        ),
    }
}
