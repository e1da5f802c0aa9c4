//! One rule of `tollgate.policy.rules`.

use std::sync::Arc;

use http::StatusCode;

use super::super::egress::{self, entry, report_with};
use super::super::lists::Lists;
use super::super::reader::{Item, Section, nearest};
use crate::access::auth::parse_name;
use crate::access::policy::{
    Action, Days, Expression, Matchers, Moment, Name, Refusal, Roles, Rule, Schedule,
    ScheduleError, TimeOfDay, Zone,
};
use crate::http::role::Role;

/// Reads a section and remembers whether all of it could be read: a rule that lost a matcher matches more.
struct Reader<'d> {
    section: Section<'d>,
    whole: bool,
}

/// Reads a rule. Its name comes back even where the rest is wrong; the users that it names go into `named`.
pub(super) fn read<'d>(
    item: &Item<'d>,
    lists: &mut Lists<'_>,
    named: &mut Vec<(Name, Item<'d>, Box<str>)>,
) -> (Option<Name>, Option<Rule>) {
    let mut reader = Reader::of(item);
    let name = reader.part("name", name);
    if !reader.section.has("name") {
        reader.miss(
            "name",
            "write a name for the log, such as `name: no-uploads`",
        );
    }
    let action = action(&mut reader);
    let mut users = Vec::new();
    let matchers = Matchers {
        users: reader.values("users", |item| {
            let user = user(item)?;
            users.push((item.clone(), user.clone()));
            Some(user)
        }),
        groups: reader.values("groups", |item| entry(item).map(Box::from)),
        roles: reader
            .values("roles", role)
            .map(|roles| roles.into_iter().collect::<Roles>()),
        methods: reader.values("methods", method),
        domains: reader.part("domains", |item| {
            // An action that cannot be read is reported already.
            let denies = !matches!(action, Some(Action::Admit | Action::Observe));
            lists.read(&not_empty(item)?, denies)
        }),
        networks: reader.part("networks", |item| egress::networks(&not_empty(item)?)),
        ports: reader.part("ports", |item| {
            if item.is_list() {
                not_empty(item)?;
            }
            egress::ports(item)
        }),
        client_networks: reader.part("client_networks", |item| {
            egress::networks(&not_empty(item)?)
        }),
        time: reader.part("time", schedule),
        when: reader.part("when", expression),
    };
    let whole = reader.finish();
    let Some(name) = name else {
        return (None, None);
    };
    for (item, user) in users {
        named.push((name.clone(), item, user));
    }
    let rule = action.filter(|_| whole).map(|action| Rule {
        name: name.clone(),
        action,
        matchers,
    });
    (Some(name), rule)
}

impl<'d> Reader<'d> {
    fn of(item: &Item<'d>) -> Reader<'d> {
        Reader {
            section: item.section(),
            whole: true,
        }
    }

    /// The value of a key as `read` takes it, which reports what it cannot take.
    fn part<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Item<'d>) -> Option<T>,
    ) -> Option<T> {
        let item = self.section.item(key)?;
        let value = read(&item);
        self.whole &= value.is_some();
        value
    }

    /// The values of a list, all of them or none.
    fn values<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&Item<'d>) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.part(key, |item| {
            let items = not_empty(item)?;
            // Each is read, so that each is reported.
            let values: Vec<Option<T>> = items.iter().map(&mut read).collect();
            values.into_iter().collect()
        })
    }

    fn miss(&mut self, key: &str, remedy: &str) {
        self.section.report(key, "missing", remedy);
        self.whole = false;
    }

    fn finish(self) -> bool {
        self.section.finish();
        self.whole
    }
}

/// A matcher without values would match nothing; who empties a list most likely means to lift a restriction.
fn not_empty<'d>(item: &Item<'d>) -> Option<Vec<Item<'d>>> {
    let items = item.list()?;
    if items.is_empty() {
        item.report(
            "an empty list, which nothing matches",
            "fill it, or remove the key to match everything",
        );
        return None;
    }
    Some(items)
}

fn name(item: &Item<'_>) -> Option<Name> {
    let text = item.text()?;
    let report =
        |error: crate::access::policy::NameError| report_with(item, &error.to_string(), "");
    Name::parse(text).map_err(report).ok()
}

fn action(reader: &mut Reader<'_>) -> Option<Action> {
    let status = reader.part("status", status);
    let message = reader.part("message", message);
    if !reader.section.has("action") {
        reader.miss("action", "write admit, deny or observe");
    }
    let action = reader.part("action", |item| match item.text()? {
        "admit" => Some(Action::Admit),
        "deny" => Some(Action::Deny(Refusal::default())),
        "observe" => Some(Action::Observe),
        _ => {
            item.report(
                "neither admit, deny nor observe",
                "write admit, deny or observe",
            );
            None
        }
    })?;
    if let Action::Deny(default) = action {
        return Some(Action::Deny(Refusal {
            status: status.unwrap_or(default.status),
            message,
        }));
    }
    for key in ["status", "message"] {
        if reader.section.has(key) {
            let message = "only for rules that deny";
            reader
                .section
                .report(key, message, "remove it, or write `action: deny`");
            reader.whole = false;
        }
    }
    Some(action)
}

fn status(item: &Item<'_>) -> Option<StatusCode> {
    let text = item.scalar()?;
    let found = Refusal::STATUSES
        .into_iter()
        .find(|status| status.as_str() == text);
    if found.is_none() {
        item.report(
            "not a status code that a rule can answer with",
            "write 403, 404, 429, 451 or 503",
        );
    }
    found
}

fn message(item: &Item<'_>) -> Option<Arc<str>> {
    let text = item.text()?;
    if text.chars().count() > Refusal::MAX_MESSAGE {
        let message = format!("longer than {} characters", Refusal::MAX_MESSAGE);
        item.report(message, "shorten it, and name a page with the rest");
        return None;
    }
    Some(text.into())
}

pub(super) fn user(item: &Item<'_>) -> Option<Box<str>> {
    let text = item.text()?;
    match parse_name(text) {
        Ok(_) => Some(text.into()),
        Err(error) => {
            item.report(error.to_string(), "write the name as in the htpasswd file");
            None
        }
    }
}

fn role(item: &Item<'_>) -> Option<Role> {
    let text = item.text()?;
    let found = Role::ALL.into_iter().find(|role| role.as_str() == text);
    if found.is_none() {
        let remedy = match nearest(text, Role::ALL.iter().map(|role| role.as_str())) {
            Some(near) => format!("did you mean {near}?"),
            None => "write tunnel, forward or gateway".to_owned(),
        };
        item.report("not a role", remedy);
    }
    found
}

/// A token (RFC 9110 §5.6.2). Those that are defined are in capitals, and `get` is not GET.
pub(super) fn method(item: &Item<'_>) -> Option<Box<str>> {
    let text = item.text()?;
    if text == "*" {
        let advice = "remove the key to match every method";
        item.report("not a method: methods have no wildcard", advice);
        return None;
    }
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !text.bytes().all(is_token) {
        item.report("not a method", "write one such as GET");
        return None;
    }
    if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        item.report(
            "methods are compared as they are sent, in capitals",
            "write one such as GET",
        );
        return None;
    }
    Some(text.into())
}

fn expression(item: &Item<'_>) -> Option<Expression> {
    let report = |error: crate::access::policy::ExpressionError| {
        let advice = "correct the expression";
        let place = error.at.and_then(|at| item.place(at.line, at.column));
        match place {
            Some((line, column)) => {
                let text = format!("column {column}: {}", error.problem);
                report_with(&item.on_line(line), &text, advice);
            }
            None => report_with(item, &error.to_string(), advice),
        }
    };
    Expression::parse(item.lines()?).map_err(report).ok()
}

fn schedule(item: &Item<'_>) -> Option<Schedule> {
    let mut reader = Reader::of(item);
    let days = reader.values("days", |item| part_of_time(item, Days::parse));
    let days = days.and_then(|days| days.into_iter().reduce(Days::and));
    let from = reader.part("from", |item| part_of_time(item, TimeOfDay::parse));
    let until = reader.part("until", |item| part_of_time(item, TimeOfDay::parse));
    let zone = reader.part("zone", zone);
    let not_before = reader.part("not_before", moment);
    let not_after = reader.part("not_after", moment);
    if !reader.finish() {
        return None;
    }
    if days.is_none()
        && from.is_none()
        && until.is_none()
        && not_before.is_none()
        && not_after.is_none()
    {
        item.report(
            "has no condition",
            "set days, from, until, not_before or not_after",
        );
        return None;
    }
    let zone = zone.unwrap_or(Zone::UTC);
    let schedule = Schedule::new(days, from, until, zone, not_before, not_after);
    let report = |error: ScheduleError| report_with(item, &error.to_string(), "correct it");
    schedule.map_err(report).ok()
}

fn part_of_time<T>(
    item: &Item<'_>,
    parse: impl FnOnce(&str) -> Result<T, ScheduleError>,
) -> Option<T> {
    let report = |error: ScheduleError| report_with(item, &error.to_string(), "correct it");
    parse(item.text()?).map_err(report).ok()
}

pub(super) fn moment(item: &Item<'_>) -> Option<Moment> {
    part_of_time(item, Moment::parse)
}

fn zone(item: &Item<'_>) -> Option<Zone> {
    let text = item.text()?;
    Zone::parse(text)
        .map_err(|error| match nearest_zone(text) {
            Some(near) => item.report("not a time zone", format!("did you mean {near}?")),
            None => report_with(item, &error.to_string(), "write UTC"),
        })
        .ok()
}

/// Zones are often written in other case, or as the city alone.
fn nearest_zone(text: &str) -> Option<&'static str> {
    let city = |name: &'static str| name.rsplit('/').next().unwrap_or(name);
    Zone::names()
        .find(|name| name.eq_ignore_ascii_case(text))
        .or_else(|| Zone::names().find(|name| city(name).eq_ignore_ascii_case(text)))
        .or_else(|| nearest(text, Zone::names()))
}
