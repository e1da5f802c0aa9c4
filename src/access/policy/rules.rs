//! The list of rules, indexed by user, role and domains when it is loaded.

use std::collections::HashMap;

use thiserror::Error;

use super::{Action, DecidedBy, Decision, DomainLists, Groups, Matcher, Name, Role, Rule};

mod set;
#[cfg(test)]
mod tests;

pub(super) use set::RuleSet;

/// The most rules of a list. A set of them has one bit for each, on the stack.
pub const MAX_RULES: usize = 1024;

/// An ordered list of rules, and the default when none of them decides. The first rule that matches decides.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    default: Decision,
    /// Users in a group or in a rule, with their index in `classes`.
    users: HashMap<Box<str>, u32>,
    /// Users with the same groups and the same rules form a class. The first is that of all other users.
    classes: Vec<Class>,
    /// The rules that name each group, for groups that credentials say.
    of_group: HashMap<Box<str>, RuleSet>,
    /// The rules that can match each of [`Role::ALL`].
    of_roles: [RuleSet; 3],
    /// The `domains` of each rule. Side by side: most rules fail to match here, and then nothing else of them
    /// has to be in the processor's cache.
    domains: Vec<Option<DomainLists>>,
    /// The rules with a matcher that is evaluated before the domains.
    with_early_matchers: RuleSet,
    /// Whether a rule has `paths`, or an expression with the path or the query.
    read_path: bool,
    need_head: bool,
    /// Whether a rule has `upgrade`.
    have_upgrades: bool,
    /// Whether a rule has `ask`.
    have_asks: bool,
}

/// Users that the same rules can match.
#[derive(Debug, Default)]
pub(super) struct Class {
    /// The rules that can match them.
    pub(super) rules: RuleSet,
    /// Their groups, in the order of the file.
    pub(super) groups: Vec<Box<str>>,
}

/// A rule that is invalid, or invalid at its position.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("rule {rule}: {problem}")]
pub struct RuleError {
    /// The position of the rule in the list, from 0.
    pub rule: usize,
    /// What is wrong.
    pub problem: RuleProblem,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RuleProblem {
    /// Another rule has the name.
    #[error("rule {first} has the same name; give each rule a name of its own")]
    DuplicateName {
        /// The position of the rule that has it first.
        first: usize,
    },
    /// No such group.
    #[error("no such group in the group file")]
    UnknownGroup {
        /// The position of the group among those of the rule.
        at: usize,
    },
    /// A rule before it matches every request.
    #[error(
        "never evaluated: rule {by} before it matches every request; move this rule up, or give rule {by} a matcher"
    )]
    NeverAsked {
        /// The rule that matches every request.
        by: Name,
    },
    /// Requests to the gateway alone, and a matcher that none of them can match.
    #[error("never matches: a request to the gateway has no {}", .key.key())]
    NoAuthority {
        /// The matcher.
        key: Matcher,
    },
    /// Methods that the roles do not have.
    #[error("never matches: tunnels have the method CONNECT, and no other request has it")]
    MethodOfOtherRole,
    /// More than [`MAX_RULES`].
    #[error("more than {MAX_RULES} rules; combine some of them with groups and lists")]
    TooMany,
}

impl Rules {
    /// Checks and indexes a list of rules.
    ///
    /// # Errors
    /// Every rule that is ambiguous or can never decide, in order.
    pub fn new(
        rules: Vec<Rule>,
        default: Decision,
        groups: &Groups,
    ) -> Result<Rules, Vec<RuleError>> {
        check(&rules, groups)?;
        let mut list = Rules {
            rules,
            default,
            users: HashMap::new(),
            classes: Vec::new(),
            of_group: HashMap::new(),
            of_roles: [RuleSet::default(); 3],
            domains: Vec::new(),
            with_early_matchers: RuleSet::default(),
            read_path: false,
            need_head: false,
            have_upgrades: false,
            have_asks: false,
        };
        list.have_asks = list.rules.iter().any(|rule| rule.asks);
        list.have_upgrades = list.rules.iter().any(|rule| rule.upgrade.is_some());
        list.sort_matchers();
        list.sort_roles();
        list.sort_users(groups);
        Ok(list)
    }

    /// Whether a rule has `upgrade`.
    pub(super) fn have_upgrades(&self) -> bool {
        self.have_upgrades
    }

    /// Whether a rule has `ask`.
    #[inline]
    pub(super) fn have_asks(&self) -> bool {
        self.have_asks
    }

    /// The rules in order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// The rules with `groups` that match no known user, in order.
    pub fn matching_no_user(&self, is_known: impl Fn(&str) -> bool) -> Vec<usize> {
        let mut about = RuleSet::default();
        for (user, class) in &self.users {
            if let Some(class) = self.classes.get(*class as usize)
                && is_known(user)
            {
                about.extend([&class.rules]);
            }
        }
        let rules = self.rules.iter().enumerate();
        rules
            .filter(|(index, rule)| rule.matchers.groups.is_some() && !about.contains(*index))
            .map(|(index, _)| index)
            .collect()
    }

    /// Whether a rule reads the path or the query of requests.
    #[inline]
    pub(super) fn read_path(&self) -> bool {
        self.read_path
    }

    /// Whether a rule reads the path, the query or a field of requests.
    pub(super) fn need_head(&self) -> bool {
        self.need_head
    }

    /// The decision when no rule decides.
    pub fn default_decision(&self) -> Decision {
        self.default
    }

    /// The `domains` of a rule.
    #[inline]
    pub(super) fn domains_of(&self, index: usize) -> Option<&DomainLists> {
        self.domains.get(index)?.as_ref()
    }

    /// Whether a rule has a matcher that is evaluated before the domains.
    #[inline]
    pub(super) fn has_early_matchers(&self, index: usize) -> bool {
        self.with_early_matchers.contains(index)
    }

    pub(super) fn get(&self, index: usize) -> Option<&Rule> {
        self.rules.get(index)
    }

    /// The name of the rule at this index; none: the default.
    pub(super) fn name_of(&self, index: Option<usize>) -> DecidedBy {
        match index.and_then(|index| self.get(index)) {
            Some(rule) => DecidedBy::Rule(rule.name.clone()),
            None => DecidedBy::Default,
        }
    }

    pub(super) fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Every user that is in a group or in a rule, in no order.
    pub(super) fn users(&self) -> impl Iterator<Item = &str> {
        self.users.keys().map(AsRef::as_ref)
    }

    pub(super) fn class_of(&self, user: &str) -> Option<&Class> {
        let class = self.users.get(user).copied().unwrap_or_default();
        self.classes.get(class as usize)
    }

    /// The rules that name one of these groups, as sets. A look-up for each: a cache of sets of groups would hash all
    /// of them as well, and take a lock.
    pub(super) fn of_groups<'a>(
        &'a self,
        groups: &'a [Box<str>],
    ) -> impl Iterator<Item = &'a RuleSet> {
        groups.iter().filter_map(|group| self.of_group.get(group))
    }

    pub(super) fn of_role(&self, role: Role) -> &RuleSet {
        let [tunnel, forward, gateway] = &self.of_roles;
        match role {
            Role::Tunnel => tunnel,
            Role::Forward => forward,
            Role::Gateway => gateway,
        }
    }

    fn sort_matchers(&mut self) {
        for (index, Rule { matchers, .. }) in self.rules.iter().enumerate() {
            if matchers.ports.is_some()
                || matchers.methods.is_some()
                || matchers.client_networks.is_some()
            {
                self.with_early_matchers.insert(index);
            }
            self.domains.push(matchers.domains.clone());
            let read = matchers.hidden_by_tunnel();
            self.read_path |= read.path || read.query;
            self.need_head |= matchers.need_head();
        }
    }

    fn sort_roles(&mut self) {
        for (role, set) in Role::ALL.into_iter().zip(&mut self.of_roles) {
            for (index, rule) in self.rules.iter().enumerate() {
                if rule.matchers.roles.is_none_or(|roles| roles.contains(role)) {
                    set.insert(index);
                }
            }
        }
    }

    /// Indexes the rules by user.
    fn sort_users(&mut self, groups: &Groups) {
        let mut every_user = RuleSet::default();
        let mut of_user: HashMap<&str, RuleSet> = HashMap::new();
        let mut of_group: HashMap<&str, RuleSet> = HashMap::new();
        for (index, rule) in self.rules.iter().enumerate() {
            if rule.matchers.users.is_none() && rule.matchers.groups.is_none() {
                every_user.insert(index);
            }
            for user in rule.matchers.users.iter().flatten() {
                of_user.entry(user).or_default().insert(index);
            }
            for group in rule.matchers.groups.iter().flatten() {
                of_group.entry(group).or_default().insert(index);
            }
        }
        let mut members: HashMap<&str, &[u32]> = groups.users().collect();
        for user in of_user.keys() {
            members.entry(user).or_default();
        }

        let mut known: HashMap<(RuleSet, &[u32]), u32> =
            HashMap::from([((every_user, &[][..]), 0)]);
        let mut classes = vec![Class {
            rules: every_user,
            groups: Vec::new(),
        }];
        let mut users = HashMap::with_capacity(members.len());
        for (user, memberships) in members {
            let mut rules = every_user;
            rules.extend(of_user.get(user));
            rules.extend(
                groups
                    .names_of(memberships)
                    .filter_map(|group| of_group.get(group)),
            );
            let class = *known.entry((rules, memberships)).or_insert_with(|| {
                let groups = groups.names_of(memberships).map(Box::from).collect();
                classes.push(Class { rules, groups });
                u32::try_from(classes.len() - 1).unwrap_or_default()
            });
            if class != 0 {
                users.insert(Box::from(user), class);
            }
        }
        if groups.are_open() {
            // Tokens may make users of any of these groups, of whom no file knows: for the search for rules that
            // no request reaches, a class for each.
            classes.extend(of_group.iter().map(|(group, rules)| {
                let mut class = Class {
                    rules: every_user,
                    groups: vec![Box::from(*group)],
                };
                class.rules.extend([rules]);
                class
            }));
        }
        let of_group = of_group.into_iter();
        let of_group = of_group
            .map(|(group, rules)| (group.into(), rules))
            .collect();
        self.users = users;
        self.classes = classes;
        self.of_group = of_group;
    }
}

fn check(rules: &[Rule], groups: &Groups) -> Result<(), Vec<RuleError>> {
    let mut errors = Vec::new();
    let mut names: HashMap<&Name, usize> = HashMap::new();
    // The first rule that matches every request, until a rule after it was reported.
    let mut last: Option<&Name> = None;
    let mut reported = false;
    for (index, rule) in rules.iter().enumerate() {
        let mut reject = |problem| {
            errors.push(RuleError {
                rule: index,
                problem,
            });
        };
        if index == MAX_RULES {
            reject(RuleProblem::TooMany);
        }
        match names.get(&rule.name) {
            Some(first) => reject(RuleProblem::DuplicateName { first: *first }),
            None => {
                names.insert(&rule.name, index);
            }
        }
        if let Some(by) = last
            && !reported
        {
            reject(RuleProblem::NeverAsked { by: by.clone() });
            reported = true;
        }
        if rule.matchers.is_empty() && rule.action != Action::Observe && last.is_none() {
            last = Some(&rule.name);
        }
        let wanted = rule.matchers.groups.iter().flatten().enumerate();
        for (at, group) in wanted {
            if !groups.are_open() && !groups.contains(group) {
                reject(RuleProblem::UnknownGroup { at });
            }
        }
        if let Some(problem) = contradiction(rule) {
            reject(problem);
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

/// Why no request can match the rule.
fn contradiction(rule: &Rule) -> Option<RuleProblem> {
    let roles = rule
        .matchers
        .roles
        .unwrap_or(Role::ALL.into_iter().collect());
    let has = |role| roles.contains(role);
    if !has(Role::Tunnel)
        && !has(Role::Forward)
        && let Some(key) = rule.matchers.of_authority()
    {
        return Some(RuleProblem::NoAuthority { key });
    }
    let methods = rule.matchers.methods.as_ref()?;
    let connect = methods.iter().any(|method| **method == *"CONNECT");
    let other = methods.iter().any(|method| **method != *"CONNECT");
    let possible =
        (connect && has(Role::Tunnel)) || (other && (has(Role::Forward) || has(Role::Gateway)));
    (!possible).then_some(RuleProblem::MethodOfOtherRole)
}
