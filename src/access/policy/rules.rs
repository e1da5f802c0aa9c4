//! The list of rules, made ready to be asked: which rules are about whom is worked out when the list is made.

use std::collections::HashMap;

use thiserror::Error;

use super::{Action, DecidedBy, DomainLists, Groups, Matcher, Name, Role, Rule, Verdict};

mod set;
#[cfg(test)]
mod tests;

pub(super) use set::RuleSet;

/// The most rules of a list. A decision keeps one bit for each, on the stack.
pub const MAX_RULES: usize = 1024;

/// An ordered list of rules and what holds when none of them decides. The first rule that matches decides.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    default: Verdict,
    /// Those who are in a group or named by a rule; an index into `classes`.
    users: HashMap<Box<str>, u32>,
    /// Users who are in the same groups and whom the same rules are about. The first is everybody else.
    classes: Vec<Class>,
    /// The rules that are about each of [`Role::ALL`].
    of_roles: [RuleSet; 3],
    /// What the rules ask of the name of a target. Side by side, since most rules are left at that, and then
    /// nothing else of them has to come into the cache.
    domains: Vec<Option<DomainLists>>,
    /// The rules with a matcher that is asked before the domains.
    asked_first: RuleSet,
}

/// What users have in common.
#[derive(Debug, Default)]
pub(super) struct Class {
    /// The rules that are about them.
    pub(super) rules: RuleSet,
    /// Their groups, in the order of the file.
    pub(super) groups: Vec<Box<str>>,
}

/// A rule that cannot stand where it stands, or as it is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("rule {rule}: {problem}")]
pub struct RuleError {
    /// The place of the rule in the list, from 0.
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
        /// The place of the rule that has it first.
        first: usize,
    },
    /// No such group.
    #[error("no such group in the group file")]
    UnknownGroup {
        /// The place of the group among those of the rule.
        at: usize,
    },
    /// A rule before it leaves nothing over.
    #[error(
        "never asked: rule {by} before it matches every request; move this rule up, or give rule {by} a matcher"
    )]
    NeverAsked {
        /// The rule that matches everything.
        by: Name,
    },
    /// Requests to the gateway alone, and a matcher that none of them can match.
    #[error("never matches: a request to the gateway names no {}", .key.key())]
    NoAuthority {
        /// The matcher.
        key: Matcher,
    },
    /// Methods that the roles do not have.
    #[error("never matches: tunnels have the method CONNECT, and nothing else has it")]
    MethodOfOtherRole,
    /// More than [`MAX_RULES`].
    #[error("more than {MAX_RULES} rules; join some of them by groups and lists")]
    TooMany,
}

impl Rules {
    /// Makes a list ready.
    ///
    /// # Errors
    /// Every rule that is ambiguous or can never decide, in the order of the list.
    pub fn new(
        rules: Vec<Rule>,
        default: Verdict,
        groups: &Groups,
    ) -> Result<Rules, Vec<RuleError>> {
        check(&rules, groups)?;
        let mut list = Rules {
            rules,
            default,
            users: HashMap::new(),
            classes: Vec::new(),
            of_roles: [RuleSet::default(); 3],
            domains: Vec::new(),
            asked_first: RuleSet::default(),
        };
        list.sort_matchers();
        list.sort_roles();
        list.sort_users(groups);
        Ok(list)
    }

    /// The rules in their order.
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

    /// The rules with `groups` of whose users and members none is known, in their order.
    pub fn about_none(&self, is_known: impl Fn(&str) -> bool) -> Vec<usize> {
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

    /// What holds when no rule decides.
    pub fn default_verdict(&self) -> Verdict {
        self.default
    }

    /// What a rule asks of the name of a target, if it does.
    #[inline]
    pub(super) fn domains_of(&self, index: usize) -> Option<&DomainLists> {
        self.domains.get(index)?.as_ref()
    }

    /// Whether a rule has a matcher that is asked before the domains.
    #[inline]
    pub(super) fn asks_first(&self, index: usize) -> bool {
        self.asked_first.contains(index)
    }

    pub(super) fn get(&self, index: usize) -> Option<&Rule> {
        self.rules.get(index)
    }

    /// Where an index of a decision points to: a rule, or none for the default.
    pub(super) fn name_of(&self, index: Option<usize>) -> DecidedBy {
        match index.and_then(|index| self.get(index)) {
            Some(rule) => DecidedBy::Rule(rule.name.clone()),
            None => DecidedBy::Default,
        }
    }

    pub(super) fn classes(&self) -> &[Class] {
        &self.classes
    }

    pub(super) fn class_of(&self, user: &str) -> Option<&Class> {
        let class = self.users.get(user).copied().unwrap_or_default();
        self.classes.get(class as usize)
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
                self.asked_first.insert(index);
            }
            self.domains.push(matchers.domains.clone());
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

    /// Finds out which rules are about which user, so that no request has to.
    fn sort_users(&mut self, groups: &Groups) {
        let mut everybody = RuleSet::default();
        let mut of_user: HashMap<&str, RuleSet> = HashMap::new();
        let mut of_group: HashMap<&str, RuleSet> = HashMap::new();
        for (index, rule) in self.rules.iter().enumerate() {
            if rule.matchers.users.is_none() && rule.matchers.groups.is_none() {
                everybody.insert(index);
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

        let mut known: HashMap<(RuleSet, &[u32]), u32> = HashMap::from([((everybody, &[][..]), 0)]);
        let mut classes = vec![Class {
            rules: everybody,
            groups: Vec::new(),
        }];
        let mut users = HashMap::with_capacity(members.len());
        for (user, memberships) in members {
            let mut rules = everybody;
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
        self.users = users;
        self.classes = classes;
    }
}

fn check(rules: &[Rule], groups: &Groups) -> Result<(), Vec<RuleError>> {
    let mut errors = Vec::new();
    let mut names: HashMap<&Name, usize> = HashMap::new();
    // The first rule that leaves nothing over, until a rule after it was told so.
    let mut last: Option<&Name> = None;
    let mut told = false;
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
            && !told
        {
            reject(RuleProblem::NeverAsked { by: by.clone() });
            told = true;
        }
        if rule.matchers.is_empty() && rule.action != Action::Observe && last.is_none() {
            last = Some(&rule.name);
        }
        let wanted = rule.matchers.groups.iter().flatten().enumerate();
        for (at, group) in wanted {
            if !groups.contains(group) {
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
