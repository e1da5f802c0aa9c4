//! Rules that can never decide, found when a policy is loaded.
//!
//! There are no false alarms: a rule is reported only when no request can reach it. The search is not complete:
//! its work is bounded, and rules that are too large to compare are not reported.

use std::fmt;
use std::time::SystemTime;

use super::{Matchers, Moment, Name, Policy, Rule};

mod cover;
mod ranges;
mod search;

pub(super) use ranges::Ranges;

use cover::{Budget, Cover, Source};

/// The most names of rules in a message.
const MAX_NAMES: usize = 4;

/// A rule that is never evaluated, or that no request matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadRule {
    /// The position of the rule in the list, from 0.
    pub rule: usize,
    /// Its name.
    pub name: Name,
    /// Why it never decides.
    pub reason: DeadReason,
}

/// Why a rule never decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadReason {
    /// Other rules or the guard decide every request that it matches.
    Covered {
        /// The rules before it that decide; empty only when a part of the guard does.
        rules: Vec<Name>,
        /// The lists of the guard that deny, by their keys.
        guard: Vec<&'static str>,
    },
    /// Its domains and those of `allow_domains` have no name in common.
    NotAllowed,
    /// No user is in its groups.
    NoMember,
    /// The last moment at which it could match has passed.
    Over(Option<Moment>),
    /// Its expression is always false.
    NeverTrue,
    /// Only requests without a path match its other matchers.
    NoPath,
}

impl Policy {
    /// The rules that no request can reach from `now` on, in order, each with the first reason found.
    pub fn dead_rules(&self, now: SystemTime) -> Vec<DeadRule> {
        let mut budget = Budget::default();
        let covers: Vec<Cover<'_>> = self.covers();
        let mut dead: Vec<Option<DeadReason>> = Vec::new();
        for (rule, cover) in self.rules.iter().zip(&covers) {
            dead.push(self.contradiction(rule, cover, now, &mut budget));
        }
        let walls = self.walls();
        // Rules that a single other rule covers come first: a clearer message and a cheaper search.
        for together in [false, true] {
            for (index, reason) in dead.iter_mut().enumerate() {
                let (before, Some(cover)) = (covers.get(..index), covers.get(index)) else {
                    continue;
                };
                if reason.is_none() {
                    let mut before: Vec<&Cover<'_>> =
                        walls.iter().chain(before.into_iter().flatten()).collect();
                    before.retain(|other| other.decides_before(cover));
                    let found = match together {
                        false => cover.covered_by_one(&before, &mut budget),
                        true => cover.covered_together(&before, &mut budget),
                    };
                    *reason = found.map(|sources| self.covered(&sources));
                }
            }
        }
        let rules = self.rules.iter().zip(dead).enumerate();
        rules
            .filter_map(|(index, (rule, reason))| {
                Some(DeadRule {
                    rule: index,
                    name: rule.name.clone(),
                    reason: reason?,
                })
            })
            .collect()
    }

    fn covers(&self) -> Vec<Cover<'_>> {
        let rules = self.rules.iter().enumerate();
        rules
            .map(|(index, rule)| {
                let classes = self.rules.classes().iter();
                let about = classes.map(|class| class.rules.contains(index));
                let cover = Cover::new(Source::Rule(index), &rule.action, &rule.matchers);
                Cover {
                    upgrades: rule.upgrade.is_some(),
                    ..cover.about(about)
                }
            })
            .collect()
    }

    /// What the guard always denies, in the form of rules before all others.
    fn walls(&self) -> Vec<Cover<'_>> {
        let mut walls = Vec::new();
        if !self.guard.deny_domains.is_empty() {
            walls.push(Cover::of_domains(
                Source::Guard("tollgate.egress.deny_domains"),
                &self.guard.deny_domains,
            ));
        }
        let denied = self.guard.deny_networks.ranges();
        // A longer prefix there wins; to be safe, any prefix counts.
        let denied = denied.minus(&self.guard.allow_networks.ranges());
        if denied.len() > 0 {
            walls.push(Cover::of_networks(
                Source::Guard("tollgate.egress.deny_networks"),
                denied,
            ));
        }
        walls
    }

    /// Why no request matches the rule, whatever rules are before it.
    fn contradiction(
        &self,
        rule: &Rule,
        cover: &Cover<'_>,
        now: SystemTime,
        budget: &mut Budget,
    ) -> Option<DeadReason> {
        let Matchers {
            domains,
            paths,
            time,
            when,
            ..
        } = &rule.matchers;
        if cover.matches_no_user() {
            return Some(DeadReason::NoMember);
        }
        if when.as_ref().and_then(|when| when.always()) == Some(false) {
            return Some(DeadReason::NeverTrue);
        }
        if paths.is_some() && (rule.matchers.are_for_tunnels() || cover.roles == [false; 3]) {
            return Some(DeadReason::NoPath);
        }
        if let Some(time) = time
            && budget.spend_on_time(time)
            && time.is_over(now)
        {
            return Some(DeadReason::Over(time.window().1));
        }
        let allowed = &self.guard.allow_domains;
        if let Some(domains) = domains
            && !allowed.is_empty()
            && budget.are_apart(domains, allowed)
        {
            return Some(DeadReason::NotAllowed);
        }
        None
    }

    fn covered(&self, sources: &[Source]) -> DeadReason {
        let (mut rules, mut guard) = (Vec::new(), Vec::new());
        for source in sources {
            match source {
                Source::Rule(index) => {
                    rules.extend(self.rules.get(*index).map(|rule| rule.name.clone()));
                }
                Source::Guard(key) => guard.push(*key),
            }
        }
        DeadReason::Covered { rules, guard }
    }
}

impl DeadRule {
    /// The key of the rule that the message is about; none: the rule as a whole.
    pub fn key(&self) -> Option<&'static str> {
        match self.reason {
            DeadReason::Covered { .. } => None,
            DeadReason::NotAllowed => Some("domains"),
            DeadReason::NoMember => Some("groups"),
            DeadReason::Over(_) => Some("time"),
            DeadReason::NeverTrue => Some("when"),
            DeadReason::NoPath => Some("paths"),
        }
    }

    /// How to correct it.
    pub fn remedy(&self) -> String {
        let name = &self.name;
        match &self.reason {
            DeadReason::Covered { rules, guard } => match (&**rules, guard.first()) {
                ([], Some(key)) => format!("remove rule {name}, or correct {key}"),
                ([one], None) => {
                    format!("move rule {name} above rule {one}, or remove rule {name}")
                }
                ([first, ..], _) => format!(
                    "move rule {name} above the first of these, {first}, or remove rule {name}"
                ),
                ([], None) => format!("remove rule {name}"),
            },
            DeadReason::NotAllowed => {
                "add the domains to tollgate.egress.allow_domains, or remove the rule".to_owned()
            }
            DeadReason::NoMember => {
                "add a user to a group in the file of auth.groups, or remove the rule".to_owned()
            }
            DeadReason::Over(_) => "set a later not_after, or remove the rule".to_owned(),
            DeadReason::NeverTrue => "correct the expression, or remove the rule".to_owned(),
            DeadReason::NoPath => {
                "add forward or gateway to its roles, or remove the key `paths`".to_owned()
            }
        }
    }
}

impl fmt::Display for DeadRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        write!(f, "rule {name} never applies: ")?;
        match &self.reason {
            DeadReason::Covered { rules, guard } => {
                let guard = guard.join(" and ");
                let (above, verb) = match (names(rules), rules.len()) {
                    (_, 0) => (String::new(), "denies"),
                    (names, 1) => (format!("rule {names} above it"), "decides"),
                    (names, _) => (format!("rules {names} above it"), "decide"),
                };
                let (and, verb) = match (guard.is_empty(), above.is_empty()) {
                    (false, false) => (" and ", "decide"),
                    _ => ("", verb),
                };
                write!(
                    f,
                    "{guard}{and}{above} {verb} every request that it matches"
                )
            }
            DeadReason::NotAllowed => {
                f.write_str("none of its domains is in tollgate.egress.allow_domains")
            }
            DeadReason::NoMember => f.write_str("no user is in its groups"),
            DeadReason::Over(Some(last)) => write!(f, "its time is over, not_after is {last}"),
            DeadReason::Over(None) => f.write_str("its time is over"),
            DeadReason::NeverTrue => f.write_str("its expression is always false"),
            DeadReason::NoPath => {
                f.write_str("it has paths and matches tunnels only, and a tunnel hides the path")
            }
        }
    }
}

/// `a`, `a and b`, `a, b and c`, or the first few and a count.
fn names(rules: &[Name]) -> String {
    let mut names: Vec<String> = rules.iter().take(MAX_NAMES).map(Name::to_string).collect();
    if let Some(more @ 1..) = rules.len().checked_sub(MAX_NAMES) {
        names.push(format!("{more} more"));
    }
    match names.pop() {
        Some(last) if !names.is_empty() => format!("{} and {last}", names.join(", ")),
        last => last.unwrap_or_default(),
    }
}
