//! `tollgate.policy`: the rules, who may do what.

use std::time::SystemTime;

pub(super) use self::problem::GroupContext;
use super::auth::Auth;
use super::host;
use super::keys::form::Absent::Is;
use super::keys::form::{Flag, Raw, RawList};
use super::keys::keys;
use super::lists::Lists;
use super::reader::{Item, Part};
use super::tunnel;
use crate::access::auth::external::{Ask, External};
#[cfg(test)]
use crate::access::policy::MAX_RULES;
use crate::access::policy::{
    Decision, Expression, Groups, Name, Policy, Rule, RuleNames, Rules, Via, WaysOut,
};
use crate::http::role::Role;
use crate::script::Secrets;

mod problem;
mod reproduce;
mod rule;
mod script_cases;
mod test_cases;

pub(super) use self::rule::{ValueReader, not_empty, role, tunnel_expression, user, zone};
#[cfg(test)]
pub(super) use self::test_cases::Keys as TestKeys;
pub(super) use self::test_cases::read_tests;

keys! {
    /// The rules.
    pub(super) struct Keys<'d> {
        /// The decision when no rule matches.
        default: Option<Item<'d>> = Is("admit"), Raw => Shape::words(&["admit", "deny"]);
        /// Whether clients whose requests are denied learn the name of the rule, or of the part of the guard, and those over
        /// a limit the name of their class. The log has it in any case, and a rule's `message` is sent in any case.
        show_rules: bool = true, Flag;
        /// The rules. The first that matches decides.
        rules: Option<Item<'d>> = Is("[]"), RawList => Shape::Map(rule::Keys::keys).list(MAX_RULES);
    }
}

/// The section as read: the rules with what their problems are reported on.
pub(super) struct PolicySection<'d> {
    /// The names of the parents.
    parents: Vec<Name>,
    rules: Option<Rules>,
    /// Whether clients learn the names of the rules.
    pub(super) rule_names: RuleNames,
    /// The places of the rules that could be read.
    places: Vec<Item<'d>>,
    /// The users that rules name, for a look at who there is.
    users: Vec<(Name, Item<'d>, Box<str>)>,
    /// The names of all rules that could be read, in or out of order.
    names: Vec<Name>,
    /// The keys `ask` of rules that put requests to the authoriser.
    asking: Vec<Item<'d>>,
    /// Whether all rules could be read.
    is_whole: bool,
}

/// What rules name.
pub(super) struct RuleContext<'a> {
    pub(super) secrets: &'a Secrets,
    pub(super) tunnel: tunnel::Keys,
    pub(super) parents: &'a [Name],
    pub(super) groups: &'a GroupContext<'a>,
}

/// Reads `policy`.
pub(super) fn read<'d>(
    part: Part<'d>,
    lists: &mut Lists<'_>,
    around: &RuleContext<'_>,
) -> PolicySection<'d> {
    let context = around.groups;
    let mut section = part.section();
    let keys = Keys::take(&mut section);
    let default = keys.default.map(|item| verdict(&item));
    let items = keys.rules.and_then(|item| item.list()).unwrap_or_default();
    section.finish();

    let groups = context.groups;
    let mut whole = groups.is_some() && default != Some(None);
    let mut written = PolicySection {
        parents: around.parents.to_vec(),
        rules: None,
        rule_names: match keys.show_rules {
            true => RuleNames::Shown,
            false => RuleNames::Hidden,
        },
        places: Vec::new(),
        users: Vec::new(),
        names: Vec::new(),
        asking: Vec::new(),
        is_whole: true,
    };
    let mut rules = Vec::new();
    for item in &items {
        let (name, rule) = rule::read(item, lists, around, &mut written.users);
        written.names.extend(name);
        match rule {
            Some(rule) => {
                if rule.asks {
                    written.asking.extend(item.section().item("ask"));
                }
                rules.push(rule);
                written.places.push(item.clone());
            }
            None => {
                whole = false;
                written.is_whole = false;
            }
        }
    }
    let default = default.flatten().unwrap_or_default();
    let none = Groups::default();
    match Rules::new(rules, default, groups.unwrap_or(&none)) {
        Ok(rules) => written.rules = whole.then_some(rules),
        Err(errors) => {
            for error in errors {
                if let Some(item) = written.places.get(error.rule) {
                    context.report(item, &error, &written.places);
                }
            }
        }
    }
    written
}

impl PolicySection<'_> {
    /// The rules, if all is well.
    pub(super) fn rules(&mut self) -> Option<Rules> {
        self.rules.take()
    }

    /// Reports rules that ask an authoriser which is not there, or is not asked by rules, and one that no rule asks.
    /// `item` is the section of the authoriser, and `external` what it says, if it can be used.
    pub(super) fn check_asks(&self, item: Option<&Item<'_>>, external: Option<&External>) {
        let by_rule = external.map(|external| external.ask == Ask::Rule);
        let problem = match (item, by_rule) {
            (None, _) => Some((
                "no authoriser to ask: `auth.external` is missing",
                "configure it, with `ask: rule`, or remove the key",
            )),
            (Some(_), Some(false)) => Some((
                "`auth.external` is asked before the rules, and not by one",
                "write `ask: rule` in `auth.external`, or remove the key",
            )),
            (Some(_), _) => None,
        };
        for ask in &self.asking {
            if let Some((message, remedy)) = problem {
                ask.report(message, remedy);
            }
        }
        if by_rule == Some(true)
            && self.asking.is_empty()
            && self.is_whole
            && let Some(ask) = item.and_then(|item| item.section().item("ask"))
        {
            ask.report(
                "no rule asks, so that the authoriser is asked about no request",
                "write `ask: true` in a rule that admits, or `ask: always` here",
            );
        }
    }

    /// Reports rules on networks where a parent resolves names, so that there is no address.
    pub(super) fn check_ways(&self, ways: &WaysOut) {
        let Some(rules) = &self.rules else { return };
        let is_resolving = |via: &Via| via.parent().is_some_and(|name| ways.is_resolving(name));
        let outward = |rule: &Rule| {
            let has = |role| rule.matchers.roles.is_none_or(|roles| roles.contains(role));
            [has(Role::Forward), has(Role::Tunnel)]
        };
        let rules: Vec<&Rule> = rules.iter().collect();
        for (index, rule) in rules.iter().enumerate() {
            let mine = outward(rule);
            if rule.matchers.networks.is_none() || mine == [false, false] {
                continue;
            }
            let meets = |other: &Rule| {
                let roles = outward(other);
                other.via.as_ref().is_some_and(is_resolving)
                    && mine.iter().zip(roles).any(|(mine, other)| *mine && other)
            };
            let from_here = rules.iter().skip(index);
            let by_rule = from_here.copied().find(|other| meets(other));
            let by = match by_rule {
                Some(other) => format!("rule {}", other.name),
                None if is_resolving(&ways.default) => "`tollgate.via`".to_owned(),
                None => continue,
            };
            let item = self.places.get(index);
            if let Some(item) = item.and_then(|rule| rule.section().item("networks")) {
                item.report(
                    format!(
                        "{by} has names resolved by a parent (`names: client`): no address is known where this rule decides"
                    ),
                    "write `names: resolved` at the parent, move this rule behind it, or remove `networks`",
                );
            }
        }
    }

    /// Warns of what has no effect. Users may have been removed, and times end: neither must keep a policy
    /// from being loaded.
    pub(super) fn warn(&self, policy: &Policy, auth: &Auth, now: SystemTime) {
        for (rule, item, user) in &self.users {
            warn_of_user("rule", rule, item, user, auth);
        }
        let dead = policy.dead_rules(now);
        for rule in &dead {
            self.warn_at(rule.rule, rule.key(), rule.to_string(), &rule.remedy());
        }
        let rules = policy.rules();
        // Who has a group of a token is not known.
        let is_open = auth.has_other_groups();
        for index in rules.matching_no_user(|user| auth.knows(user)) {
            if !is_open && dead.iter().all(|rule| rule.rule != index) {
                let message = format!(
                    "no user in the groups of this rule is in {}",
                    auth.htpasswd.display()
                );
                let remedy = "add one with `tollgate passwd`, or remove the rule";
                self.warn_at(index, Some("groups"), message, remedy);
            }
        }
        for (index, rule) in rules.iter().enumerate() {
            let when = rule.matchers.when.as_ref();
            if when.and_then(Expression::always) == Some(true) {
                let message = "the expression is always true".to_owned();
                self.warn_at(index, Some("when"), message, "remove the key");
            }
            if let Some((message, remedy)) = hidden_by_tunnel(rule) {
                self.warn_at(index, Some("when"), message, remedy);
            }
        }
    }

    /// Warns of a rule, or of a key of it.
    fn warn_at(&self, index: usize, key: Option<&'static str>, message: String, remedy: &str) {
        if let Some(rule) = self.places.get(index) {
            let item = key.and_then(|key| rule.section().item(key));
            item.as_ref().unwrap_or(rule).warn(message, remedy);
        }
    }
}

/// What an expression reads that is always empty, since its rule is for tunnels alone.
fn hidden_by_tunnel(rule: &Rule) -> Option<(String, &'static str)> {
    let when = rule.matchers.when.as_ref()?;
    if !rule.matchers.are_for_tunnels() {
        return None;
    }
    let hidden = when.hidden_by_tunnel();
    let what = match (hidden.path, hidden.query) {
        (true, true) => "path and the query",
        (true, false) => "path",
        (false, true) => "query",
        (false, false) => return None,
    };
    Some((
        format!("reads the {what}, which a tunnel hides: always empty in this rule"),
        "add forward or gateway to its roles, or correct the expression",
    ))
}

/// Warns of a user that a rule or a class names and that does not exist. One that cannot exist is an error.
pub(super) fn warn_of_user(what: &str, by: &Name, item: &Item<'_>, user: &str, auth: &Auth) {
    if auth.knows(user) {
        return;
    }
    if let Some((message, remedy)) = mistaken_user(user, auth) {
        item.report(message, remedy);
        return;
    }
    let file = auth.htpasswd.display();
    item.warn(
        format!("{what} {by} names user {user:?}, who is not in {file}"),
        "correct the name, or remove it",
    );
}

/// What is wrong with the name of a user that does not exist, where the name clearly means no user: a rule with
/// it would match no request.
fn mistaken_user(name: &str, auth: &Auth) -> Option<host::Mistake> {
    if host::is_variable(name) {
        return Some((host::VARIABLE, host::FILL_IN.to_owned()));
    }
    if name.contains(':') && auth.tokens.is_none() && !auth.makes_any_user() {
        let advice = "write the name as in the htpasswd file".to_owned();
        return Some(("the user name has a colon", advice));
    }
    if name == "*" {
        let advice = "remove the key to match every user".to_owned();
        return Some(("not a user: names of users have no wildcard", advice));
    }
    if name.contains(" #") {
        let advice = "write comments outside of the quotes".to_owned();
        return Some(("has a # in it", advice));
    }
    if auth.divider(name).is_some() || name.contains([',', ';', '|']) {
        let advice = "write each user as an entry of its own".to_owned();
        return Some(("more than one user, or a sign that divides none", advice));
    }
    None
}

/// `admit` or `deny`.
fn verdict(item: &Item<'_>) -> Option<Decision> {
    match item.text()? {
        "admit" => Some(Decision::Admit),
        "deny" => Some(Decision::Deny),
        _ => {
            item.report("neither admit nor deny", "write admit or deny");
            None
        }
    }
}
