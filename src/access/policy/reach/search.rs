//! The search for several rules that together cover one.
//!
//! Several rules cover a rule when each request that it matches also matches one of them. The search takes one
//! matcher after the other: it splits the values of a matcher into parts that none of the other rules divides,
//! and continues each part with the rules that match it.

use std::collections::BTreeSet;

use super::Ranges;
use super::cover::{Classes, Cover, LOOK_UP, Spent, Time, has, is_one_of};
use crate::access::policy::{DomainLists, Ports, Schedule};
use crate::http::role::Role;

/// The matchers in the order of the search, those with the fewest parts first.
#[derive(Clone, Copy)]
enum Part {
    Roles,
    Users,
    Ports,
    Clients,
    Networks,
    Time,
    Domains,
}

/// A search for several rules that together cover one.
pub(super) struct Search<'s, 'r> {
    rule: &'s Cover<'r>,
    others: &'s [&'s Cover<'r>],
    /// The rules that cover at least one part.
    used: BTreeSet<usize>,
    left: u64,
}

impl<'s, 'r> Search<'s, 'r> {
    /// A search for those of `others` that cover `rule`, of at most `steps`.
    pub(super) fn new(
        rule: &'s Cover<'r>,
        others: &'s [&'s Cover<'r>],
        steps: u64,
    ) -> Search<'s, 'r> {
        Search {
            rule,
            others,
            used: BTreeSet::new(),
            left: steps,
        }
    }

    /// The rules of `alive`, by their positions, that are needed to cover the rule, if they do; and the steps
    /// that are left.
    pub(super) fn run(mut self, alive: &[usize]) -> (Option<BTreeSet<usize>>, u64) {
        let covered = self.part(Part::Roles, alive).unwrap_or(false);
        let used = Some(self.used).filter(|used| covered && !used.is_empty());
        (used, self.left)
    }

    fn spend(&mut self, steps: usize) -> Result<(), Spent> {
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(steps).ok_or(Spent)?;
        Ok(())
    }

    /// Whether the rules of `alive` cover each part of the rule's values.
    fn part(&mut self, part: Part, alive: &[usize]) -> Result<bool, Spent> {
        self.spend(1 + alive.len())?;
        match part {
            Part::Roles => self.roles(alive),
            Part::Users => self.users(alive),
            Part::Ports => {
                let all = Ports::any().ranges();
                self.ranges(alive, &all, Part::Clients, |cover| cover.ports.as_ref())
            }
            Part::Clients => self.ranges(alive, &Ranges::all(), Part::Networks, |cover| {
                cover.clients.as_ref()
            }),
            Part::Networks => self.ranges(alive, &Ranges::all(), Part::Time, |cover| {
                cover.networks.as_ref()
            }),
            Part::Time => self.time(alive),
            Part::Domains => self.domains(alive),
        }
    }

    /// Continues with the rules that match each part. Every different set of rules is searched once.
    fn all(&mut self, sets: BTreeSet<Vec<usize>>, next: Part) -> Result<bool, Spent> {
        if sets.contains(&Vec::new()) {
            return Ok(false);
        }
        for set in sets {
            if !self.part(next, &set)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn taking(&self, alive: &[usize], takes: impl Fn(&Cover<'_>) -> bool) -> Vec<usize> {
        let takes = |index: &&usize| self.others.get(**index).is_some_and(|other| takes(other));
        alive.iter().filter(takes).copied().collect()
    }

    fn roles(&mut self, alive: &[usize]) -> Result<bool, Spent> {
        let rule = self.rule;
        // The empty method represents every method that no rule lists.
        let mut methods: BTreeSet<String> = BTreeSet::from([String::new()]);
        match rule.methods {
            Some(wanted) => methods = wanted.iter().map(|method| method.to_string()).collect(),
            None => {
                for other in alive.iter().filter_map(|index| self.others.get(*index)) {
                    let named = other.methods.iter().flat_map(|methods| methods.iter());
                    methods.extend(named.map(|method| method.to_ascii_uppercase()));
                }
            }
        }
        self.spend(methods.len() * rule.roles.len() * (1 + alive.len()))?;
        let mut sets = BTreeSet::new();
        for (at, _) in rule.roles.iter().enumerate().filter(|(_, wanted)| **wanted) {
            let has_role = |cover: &Cover<'_>| cover.roles.get(at) == Some(&true);
            let takes = |method: &str| {
                self.taking(alive, |cover| {
                    has_role(cover) && cover.methods.is_none_or(|methods| has(methods, method))
                })
            };
            if Role::ALL.get(at) == Some(&Role::Tunnel) {
                if rule.methods.is_none_or(|wanted| has(wanted, "CONNECT")) {
                    sets.insert(takes("CONNECT"));
                }
            } else {
                sets.extend(methods.iter().map(|method| takes(method)));
            }
        }
        self.all(sets, Part::Users)
    }

    fn users(&mut self, alive: &[usize]) -> Result<bool, Spent> {
        let mut others = alive.iter().filter_map(|index| self.others.get(*index));
        let Some(Classes { count, .. }) = others.find_map(|other| other.classes.as_ref()) else {
            return self.all(BTreeSet::from([alive.to_vec()]), Part::Ports);
        };
        let mut sets = BTreeSet::new();
        // The class of users in no rule comes first: most rules do not match it.
        for class in 0..*count {
            let is_in = |cover: &Cover<'_>| {
                let classes = cover.classes.as_ref();
                classes.is_none_or(|classes| classes.contains(class))
            };
            self.spend(1)?;
            if !is_in(self.rule) {
                continue;
            }
            self.spend(alive.len())?;
            let set = self.taking(alive, is_in);
            if set.is_empty() {
                return Ok(false);
            }
            sets.insert(set);
        }
        self.all(sets, Part::Ports)
    }

    fn ranges(
        &mut self,
        alive: &[usize],
        all: &Ranges,
        next: Part,
        of: for<'c> fn(&'c Cover<'_>) -> Option<&'c Ranges>,
    ) -> Result<bool, Spent> {
        let wanted = of(self.rule).unwrap_or(all);
        let mut points: BTreeSet<u128> = wanted.starts().collect();
        let mut size = wanted.len();
        for other in alive.iter().filter_map(|index| self.others.get(*index)) {
            if let Some(ranges) = of(other) {
                size += ranges.len();
                let edges = ranges.starts().chain(ranges.ends());
                points.extend(edges.filter(|point| wanted.contains(*point)));
            }
        }
        self.spend(size)?;
        let mut sets = BTreeSet::new();
        for point in points {
            self.spend(1 + alive.len())?;
            sets.insert(self.taking(alive, |cover| {
                of(cover).is_none_or(|ranges| ranges.contains(point))
            }));
        }
        self.all(sets, next)
    }

    /// The weeks of several rules are combined when they have the same zone.
    fn time(&mut self, alive: &[usize]) -> Result<bool, Spent> {
        let whole = Schedule::whole_week();
        let (rule, others) = (self.rule.hours(), self.others);
        let hours = || alive.iter().filter_map(|index| others.get(*index)?.hours());
        let zone = rule.or_else(|| hours().next()).map(|time| time.zone);
        let wanted = rule.map_or(&whole, |time| &time.week);
        let mut points: BTreeSet<u128> = wanted.starts().collect();
        for time in hours() {
            let edges = time.week.starts().chain(time.week.ends());
            points.extend(edges.filter(|point| wanted.contains(*point)));
        }
        let mut sets = BTreeSet::new();
        for point in points {
            self.spend(1 + alive.len())?;
            let is_at = |time: &Time| Some(time.zone) == zone && time.week.contains(point);
            sets.insert(self.taking(alive, |cover| cover.hours().is_none_or(is_at)));
        }
        self.all(sets, Part::Domains)
    }

    /// The last matcher: the rules that are left decide.
    fn domains(&mut self, alive: &[usize]) -> Result<bool, Spent> {
        let everywhere = alive.iter().find(|index| {
            self.others
                .get(**index)
                .is_some_and(|other| other.domains.is_none())
        });
        let Some(wanted) = self.rule.domains else {
            self.used.extend(everywhere);
            return Ok(everywhere.is_some());
        };
        if let Some(index) = everywhere {
            self.used.insert(*index);
            return Ok(true);
        }
        let lists: Vec<(usize, &DomainLists)> = alive
            .iter()
            .filter_map(|index| Some((*index, self.others.get(*index)?.domains?)))
            .collect();
        Ok(wanted.sets().all(|set| {
            if let Some((index, _)) = lists.iter().find(|(_, list)| is_one_of(list, set)) {
                self.used.insert(*index);
                return true;
            }
            set.every(|key, below| {
                let covering = lists.iter().find(|(_, list)| {
                    self.left = self.left.saturating_sub(LOOK_UP);
                    self.left > 0 && list.covers(key, below)
                });
                self.used.extend(covering.map(|(index, _)| *index));
                covering.is_some()
            })
        }))
    }
}
