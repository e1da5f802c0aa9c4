//! The set of requests that a rule matches, in a form in which rules can be compared.
//!
//! A rule matches a request when each of its matchers does. So another rule covers it when each matcher of that
//! rule matches whatever its own matcher matches.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Ranges;
use super::search::Search;
use crate::access::policy::{
    Action, DomainLists, Domains, Expression, Matchers, Moment, Paths, Ports, Quantifier, Schedule,
    Zone,
};
use crate::http::role::Role;

/// The steps of all comparisons together, each a few nanoseconds.
const MAX_STEPS: u64 = 10_000_000;
/// The steps of comparing one rule with all before it together.
const MAX_TOGETHER: u64 = 200_000;
/// The most rules among which the search for a smaller set leaves out each in turn.
const MAX_PRUNED: usize = 16;
/// The cost of a look-up in a set of domains, in steps.
pub(super) const LOOK_UP: u64 = 8;
/// The highest cost of finding the end of a schedule, in steps.
const SCHEDULE: u64 = 12_000;

/// The steps that are left for comparisons. Without any, no further rule is reported.
pub(super) struct Budget(u64);

/// No steps are left.
pub(super) struct Spent;

/// The part of the policy that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// A part of the guard, by its key.
    Guard(&'static str),
    /// A rule, by its position.
    Rule(usize),
}

/// The requests that a rule matches. `None`: every value matches.
pub(super) struct Cover<'r> {
    pub(super) source: Source,
    pub(super) observes: bool,
    /// Whether it matches requests over https alone, so that it covers no other rule.
    pub(super) upgrades: bool,
    /// As [`Role::ALL`]. A rule with a matcher for the authority does not match the gateway.
    pub(super) roles: [bool; 3],
    pub(super) methods: Option<&'r [Box<str>]>,
    pub(super) classes: Option<Classes>,
    pub(super) ports: Option<Ranges>,
    pub(super) clients: Option<Ranges>,
    pub(super) networks: Option<Ranges>,
    pub(super) domains: Option<&'r DomainLists>,
    pub(super) paths: Option<(Quantifier, &'r Paths)>,
    pub(super) time: Option<Time>,
    pub(super) when: Option<&'r Expression>,
}

/// The classes of users that a rule matches.
pub(super) struct Classes {
    pub(super) count: usize,
    pub(super) bits: Vec<u64>,
}

pub(super) struct Time {
    pub(super) zone: Zone,
    pub(super) week: Ranges,
    pub(super) window: (Option<Moment>, Option<Moment>),
}

impl Default for Budget {
    fn default() -> Budget {
        Budget(MAX_STEPS)
    }
}

impl Budget {
    fn spend(&mut self, steps: u64) -> Result<(), Spent> {
        self.0 = self.0.checked_sub(steps).ok_or(Spent)?;
        Ok(())
    }

    /// Whether the end of a schedule may be looked for.
    pub(super) fn spend_on_time(&mut self, schedule: &Schedule) -> bool {
        schedule.window().1.is_none() || self.spend(SCHEDULE).is_ok()
    }

    /// Whether two lists of domains have no name in common. False when the comparison is too expensive.
    pub(super) fn are_apart(&mut self, one: &DomainLists, other: &DomainLists) -> bool {
        self.meets_none(one, other) && self.meets_none(other, one)
    }

    /// Whether no entry of `one` has its own name in `other`.
    fn meets_none(&mut self, one: &DomainLists, other: &DomainLists) -> bool {
        one.sets().all(|set| {
            set.every(|key, _| self.spend(LOOK_UP).is_ok() && other.matching(key).is_none())
        })
    }
}

impl<'r> Cover<'r> {
    pub(super) fn new(source: Source, action: &Action, matchers: &'r Matchers) -> Cover<'r> {
        let gateway = matchers.of_authority().is_none();
        let tunnel = matchers.paths.is_none();
        let roles = Role::ALL.map(|role| {
            matchers.roles.is_none_or(|roles| roles.contains(role))
                && (gateway || role != Role::Gateway)
                && (tunnel || role != Role::Tunnel)
        });
        let when = matchers.when.as_ref();
        Cover {
            source,
            observes: *action == Action::Observe,
            upgrades: false,
            roles,
            methods: matchers.methods.as_deref(),
            classes: None,
            // Every authority has a port.
            ports: matchers
                .ports
                .as_ref()
                .filter(|ports| **ports != Ports::any())
                .map(|ports| ports.ranges()),
            clients: matchers
                .client_networks
                .as_ref()
                .map(|networks| networks.ranges()),
            networks: matchers.networks.as_ref().map(|networks| networks.ranges()),
            domains: matchers.domains.as_ref(),
            paths: matchers
                .paths
                .as_ref()
                .map(|paths| (Quantifier::of(action), paths)),
            time: matchers.time.as_ref().map(|time| Time {
                zone: time.zone(),
                week: time.week(),
                window: time.window(),
            }),
            when: when.filter(|when| when.always() != Some(true)),
        }
    }

    pub(super) fn of_domains(source: Source, domains: &'r DomainLists) -> Cover<'r> {
        Cover {
            domains: Some(domains),
            ..Cover::of_all(source)
        }
    }

    pub(super) fn of_networks(source: Source, networks: Ranges) -> Cover<'r> {
        Cover {
            networks: Some(networks),
            ..Cover::of_all(source)
        }
    }

    /// All requests with an authority.
    fn of_all(source: Source) -> Cover<'r> {
        Cover {
            source,
            observes: false,
            upgrades: false,
            roles: Role::ALL.map(|role| role != Role::Gateway),
            methods: None,
            classes: None,
            ports: None,
            clients: None,
            networks: None,
            domains: None,
            paths: None,
            time: None,
            when: None,
        }
    }

    /// The same for the classes of users that the rule matches, in order.
    pub(super) fn about(self, classes: impl ExactSizeIterator<Item = bool>) -> Cover<'r> {
        let count = classes.len();
        let mut bits = vec![0; count.div_ceil(64)];
        let mut all = true;
        for (index, is_in) in classes.enumerate() {
            all &= is_in;
            if let Some(word) = bits.get_mut(index / 64) {
                *word |= u64::from(is_in) << (index % 64);
            }
        }
        Cover {
            classes: (!all).then_some(Classes { count, bits }),
            ..self
        }
    }

    /// Whether no user is in a class that the rule matches.
    pub(super) fn matches_no_user(&self) -> bool {
        let classes = self.classes.as_ref();
        classes.is_some_and(|classes| classes.bits.iter().all(|word| *word == 0))
    }

    /// Whether this rule, which is before `rule`, can decide before it, regardless of its values.
    ///
    /// A rule with networks decides about addresses only. A rule without them can decide before there is an
    /// address; and an `observe` rule matches an address by the IPv4 addresses in it, too.
    pub(super) fn decides_before(&self, rule: &Cover<'_>) -> bool {
        !self.observes
            && !self.upgrades
            && (self.networks.is_none() || (rule.networks.is_some() && !rule.observes))
    }

    /// The first of the others that covers this rule.
    pub(super) fn covered_by_one(
        &self,
        others: &[&Cover<'r>],
        budget: &mut Budget,
    ) -> Option<Vec<Source>> {
        let mut others = others.iter();
        let found = others.find(|other| other.covers(self, budget).unwrap_or(false));
        found.map(|other| vec![other.source])
    }

    /// The others that together cover this rule.
    pub(super) fn covered_together(
        &self,
        others: &[&Cover<'r>],
        budget: &mut Budget,
    ) -> Option<Vec<Source>> {
        let alive: Vec<usize> = others
            .iter()
            .enumerate()
            .filter(|(_, other)| {
                other.may_meet(self)
                    && other.fits_expression(self)
                    && other.fits_window(self)
                    && other.fits_paths(self, budget)
            })
            .map(|(index, _)| index)
            .collect();
        // A single rule was tried already.
        if alive.len() < 2 {
            return None;
        }
        let mut used = self.search(others, &alive, budget)?;
        // The search takes the first rules that fit, which the others may cover too. A message names a few.
        let few = if used.len() > MAX_PRUNED {
            BTreeSet::new()
        } else {
            used.clone()
        };
        for index in few {
            let rest: Vec<usize> = used
                .iter()
                .filter(|other| **other != index)
                .copied()
                .collect();
            if let Some(fewer) = self.search(others, &rest, budget) {
                used = fewer;
            }
        }
        let source = |index: &usize| others.get(*index).map(|other| other.source);
        Some(used.iter().filter_map(source).collect())
    }

    /// The rules of `alive` that are needed to cover this rule, if they do.
    fn search(
        &self,
        others: &[&Cover<'r>],
        alive: &[usize],
        budget: &mut Budget,
    ) -> Option<BTreeSet<usize>> {
        let grant = MAX_TOGETHER.min(budget.0);
        let (used, left) = Search::new(self, others, grant).run(alive);
        budget.0 -= grant - left;
        used
    }

    fn covers(&self, rule: &Cover<'r>, budget: &mut Budget) -> Result<bool, Spent> {
        let ranges = |mine: &Option<Ranges>| mine.as_ref().map_or(0, |ranges| ranges.len() as u64);
        budget.spend(
            1 + ranges(&rule.ports)
                + ranges(&rule.clients)
                + ranges(&rule.networks)
                + rule
                    .classes
                    .as_ref()
                    .map_or(0, |classes| classes.bits.len() as u64),
        )?;
        let methods = self.methods.is_none_or(|methods| {
            rule.methods
                .is_some_and(|wanted| wanted.iter().all(|method| has(methods, method)))
                || (rule.roles == [true, false, false] && has(methods, "CONNECT"))
        });
        let roles = self
            .roles
            .iter()
            .zip(rule.roles)
            .all(|(mine, wanted)| *mine || !wanted);
        let classes = match (&self.classes, &rule.classes) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(wanted)) => {
                let mut words = mine.bits.iter().zip(&wanted.bits);
                words.all(|(mine, wanted)| wanted & !mine == 0)
            }
        };
        let cheap = methods
            && roles
            && classes
            && self.fits_expression(rule)
            && self.fits_window(rule)
            && self.fits_paths(rule, budget)
            && within(&self.ports, &rule.ports)
            && within(&self.clients, &rule.clients)
            && within(&self.networks, &rule.networks)
            && self.covers_week(rule);
        if !cheap {
            return Ok(false);
        }
        match (self.domains, rule.domains) {
            (None, _) => Ok(true),
            (Some(_), None) => Ok(false),
            (Some(mine), Some(wanted)) => {
                let mut spent = false;
                let all = wanted.sets().all(|set| {
                    is_one_of(mine, set)
                        || set.every(|key, below| {
                            spent |= budget.spend(LOOK_UP).is_err();
                            !spent && mine.covers(key, below)
                        })
                });
                Ok(all)
            }
        }
    }

    /// Whether a request may match both, by role and user. Saves the search most rules.
    fn may_meet(&self, rule: &Cover<'_>) -> bool {
        let mut roles = self.roles.iter().zip(rule.roles);
        let users = match (&self.classes, &rule.classes) {
            (Some(mine), Some(other)) => {
                let mut words = mine.bits.iter().zip(&other.bits);
                words.any(|(mine, other)| mine & other != 0)
            }
            _ => true,
        };
        users && roles.any(|(mine, other)| *mine && other)
    }

    fn covers_week(&self, rule: &Cover<'_>) -> bool {
        match (&self.time, &rule.time) {
            (None, _) => true,
            (Some(mine), None) => mine.is_all_week(),
            (Some(mine), Some(wanted)) => {
                mine.is_all_week() || (mine.zone == wanted.zone && mine.week.covers(&wanted.week))
            }
        }
    }

    /// The hours in which it matches, unless that is all week.
    pub(super) fn hours(&self) -> Option<&Time> {
        self.time.as_ref().filter(|time| !time.is_all_week())
    }

    /// Whether the expression of this rule matches whenever that of `rule` does.
    fn fits_expression(&self, rule: &Cover<'_>) -> bool {
        match (self.when, rule.when) {
            (None, _) => true,
            // The same text has the same value, or fails alike.
            (Some(mine), Some(other)) => mine.as_str() == other.as_str(),
            (Some(_), None) => false,
        }
    }

    /// The same for paths. One of several readings of a path is enough for a rule that denies, and not for one that
    /// admits: that one does not cover the other, even with the same paths.
    fn fits_paths(&self, rule: &Cover<'_>, budget: &mut Budget) -> bool {
        match (&self.paths, &rule.paths) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((Quantifier::Every, _)), Some((Quantifier::Any, _))) => false,
            (Some((_, mine)), Some((_, wanted))) => {
                let steps = mine.prefixes().len() * wanted.prefixes().len();
                budget.spend(steps as u64).is_ok() && mine.cover(wanted)
            }
        }
    }

    /// The same for the first and the last moment.
    fn fits_window(&self, rule: &Cover<'_>) -> bool {
        let window =
            |cover: &Cover<'_>| cover.time.as_ref().map_or((None, None), |time| time.window);
        let ((first, last), (from, until)) = (window(self), window(rule));
        first.is_none_or(|first| from.is_some_and(|from| first <= from))
            && last.is_none_or(|last| until.is_some_and(|until| last >= until))
    }
}

impl Classes {
    pub(super) fn contains(&self, class: usize) -> bool {
        let word = self.bits.get(class / 64);
        word.is_some_and(|word| word & (1 << (class % 64)) != 0)
    }
}

impl Time {
    pub(super) fn is_all_week(&self) -> bool {
        self.week.covers(&Schedule::whole_week())
    }
}

/// Case-insensitive, as in the evaluation.
pub(super) fn has(methods: &[Box<str>], method: &str) -> bool {
    methods.iter().any(|one| one.eq_ignore_ascii_case(method))
}

fn within(mine: &Option<Ranges>, wanted: &Option<Ranges>) -> bool {
    match (mine, wanted) {
        (None, _) => true,
        (Some(mine), Some(wanted)) => mine.covers(wanted),
        // A rule without ports matches every port, and one without networks every address.
        (Some(mine), None) => mine.covers(&Ranges::all()),
    }
}

pub(super) fn is_one_of(lists: &DomainLists, set: &Arc<Domains>) -> bool {
    lists.sets().any(|list| Arc::ptr_eq(list, set))
}
