//! `tollgate.policy`: the rules, who may do what.

use super::auth::Auth;
use super::egress::report_with;
use super::lists::Lists;
use super::reader::{Item, Section, nearest};
use crate::policy::{Groups, Name, Rule, RuleError, RuleProblem, Rules, Verdict};

mod rule;
mod test_cases;

pub(super) use self::test_cases::read_tests;

/// The section as read: the rules with what their problems are reported on.
pub(super) struct Written<'d> {
    rules: Option<Rules>,
    /// The users that rules name, for a look at who there is.
    users: Vec<(Name, Item<'d>, Box<str>)>,
    /// The names of all rules that could be read, in or out of order.
    names: Vec<Name>,
}

/// What problems of rules are explained with.
struct Context<'c> {
    /// `None` when the file cannot be used, so that nothing is said of what it would have.
    groups: Option<&'c Groups>,
    has_groups: bool,
}

/// Reads `policy`. `groups` is `None` when the group file cannot be used, and `has_groups` says whether one is
/// named at all.
pub(super) fn read<'d>(
    tollgate: &mut Section<'d>,
    lists: &mut Lists<'_>,
    groups: Option<&Groups>,
    has_groups: bool,
) -> Written<'d> {
    let mut section = tollgate.section("policy");
    let default = section.item("default").map(|item| verdict(&item));
    let items = section.list("rules");
    section.finish();

    let context = Context { groups, has_groups };
    let mut whole = groups.is_some() && default != Some(None);
    let mut written = Written {
        rules: None,
        users: Vec::new(),
        names: Vec::new(),
    };
    let mut rules = Vec::new();
    let mut places = Vec::new();
    for item in &items {
        let (name, rule) = rule::read(item, lists, &mut written.users);
        written.names.extend(name);
        match rule {
            Some(rule) => {
                rules.push(rule);
                places.push(item);
            }
            None => whole = false,
        }
    }
    for (rule, item) in rules.iter().zip(&places) {
        warn_of_empty_groups(rule, item, groups);
    }
    let default = default.flatten().unwrap_or_default();
    let none = Groups::default();
    match Rules::new(rules, default, groups.unwrap_or(&none)) {
        Ok(rules) => written.rules = whole.then_some(rules),
        Err(errors) => {
            for error in errors {
                if let Some(item) = places.get(error.rule) {
                    context.report(item, &error, &places);
                }
            }
        }
    }
    written
}

impl Written<'_> {
    /// The rules, if all is well. Warns of users that are not there: they may have been removed, which must
    /// not keep a policy from being loaded.
    pub(super) fn rules(self, auth: &Auth) -> Option<Rules> {
        for (rule, item, user) in &self.users {
            if !auth.users.contains(user) {
                let file = auth.htpasswd.display();
                item.warn(
                    format!("rule {rule} names user {user:?}, who is not in {file}"),
                    "correct the name, or remove it",
                );
            }
        }
        self.rules
    }
}

impl Context<'_> {
    fn report(&self, rule: &Item<'_>, error: &RuleError, places: &[&Item<'_>]) {
        let mut section = rule.section();
        match &error.problem {
            RuleProblem::UnknownGroup { at } => {
                let groups = section.list("groups");
                let (Some(item), Some(known)) = (groups.get(*at), self.groups) else {
                    return;
                };
                let near = item.text().and_then(|group| nearest(group, known.names()));
                let remedy = match near {
                    Some(near) => format!("did you mean {near:?}?"),
                    None if self.has_groups => {
                        "add the group to the file of auth.groups".to_owned()
                    }
                    None => "name a group file in auth.groups".to_owned(),
                };
                item.report("no such group", remedy);
            }
            RuleProblem::DuplicateName { first } => {
                if let (Some(name), Some(first)) = (section.item("name"), places.get(*first)) {
                    let message = format!("the name of {} too", first.path);
                    name.report(message, "give each rule its own");
                }
            }
            problem => {
                let key = match problem {
                    RuleProblem::NoAuthority { key } => key.key(),
                    RuleProblem::MethodOfOtherRole => "methods",
                    _ => return report_with(rule, &problem.to_string(), "correct the rule"),
                };
                if let Some(item) = section.item(key) {
                    report_with(
                        &item,
                        &problem.to_string(),
                        "correct the matcher or the roles",
                    );
                }
            }
        }
    }
}

/// A rule that denies a group without users denies nobody, which is hardly meant.
fn warn_of_empty_groups(rule: &Rule, item: &Item<'_>, groups: Option<&Groups>) {
    let named = rule.matchers.groups.iter().flatten();
    for group in named.filter(|group| groups.is_some_and(|groups| groups.is_empty(group))) {
        let (line, path, rule) = (item.line, &item.path, &rule.name);
        log::warn!("line {line}, {path}: rule {rule} names group {group:?}, which has no user");
    }
}

/// `admit` or `deny`.
fn verdict(item: &Item<'_>) -> Option<Verdict> {
    match item.text()? {
        "admit" => Some(Verdict::Admit),
        "deny" => Some(Verdict::Deny),
        _ => {
            item.report("neither admit nor deny", "write admit or deny");
            None
        }
    }
}
