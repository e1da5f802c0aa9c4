//! Limits for classes of requests: how many each user, each network or a class as a whole may make, and have at once, and how
//! fast their bytes may pass.
//!
//! The first class that matches a request holds for it ([`Classes::class_of`]). A member of the class, as a rule a user,
//! has the limits for itself. What a request has of them is its [`Ticket`].

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::RandomState;
use thiserror::Error;

use super::policy::{Groups, Request};
use crate::http::role::Role;

mod account;
mod bandwidth;
mod class;
pub mod fleet;
mod members;
pub mod quota;
mod rate;
#[cfg(test)]
mod tests;

pub use self::account::{Account, OverLimit, Volume};
pub use self::bandwidth::{Bandwidth, BandwidthError, Flow};
pub use self::class::{
    Class, ClassLimits, ClassRule, Exceeded, MAX_QUEUE, Per, Refused, Ticket, Turn,
};
use self::fleet::{Fleet, Pending};
use self::quota::Ledgers;
pub use self::rate::{Pace, Rate, RateError};
use super::policy::Name;

/// The most classes. A set of them has one bit for each.
pub const MAX_CLASSES: usize = 64;

/// An ordered list of classes; the first that matches holds. A clone shares its classes.
#[derive(Clone, Debug)]
pub struct Classes {
    list: Vec<Arc<Class>>,
    index: Arc<Index>,
}

/// Which classes can match, as sets of bits.
#[derive(Debug, Default)]
struct Index {
    /// Those without `users` and `groups`.
    every_user: u64,
    /// Those that match a user beside them, by name or by a group of the group file.
    of_user: HashMap<Box<str>, u64, RandomState>,
    /// Those that name a group, for groups that credentials say.
    of_group: HashMap<Box<str>, u64, RandomState>,
    /// Those that match each of [`Role::ALL`].
    of_roles: [u64; 3],
}

/// A class that is invalid, or invalid at its position.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("class {class}: {problem}")]
pub struct ClassError {
    /// The position of the class in the list, from 0.
    pub class: usize,
    /// What is wrong.
    pub problem: ClassProblem,
}

/// What is wrong with a class.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClassProblem {
    /// Another class has the name.
    #[error("class {first} has the same name")]
    DuplicateName {
        /// The position of the class that has it first.
        first: usize,
    },
    /// No such group.
    #[error("no such group in the group file")]
    UnknownGroup {
        /// The position of the group among those of the class.
        at: usize,
    },
    /// A class before it matches every request.
    #[error("never holds: class {by} before it matches every request")]
    Unreachable {
        /// The class that matches every request.
        by: Name,
    },
    /// More than [`MAX_CLASSES`].
    #[error("more than {MAX_CLASSES} classes")]
    TooMany,
}

impl Classes {
    /// Checks and indexes a list of classes.
    ///
    /// # Errors
    /// Every class that is ambiguous or can never hold, in order.
    pub fn new(rules: Vec<ClassRule>, groups: &Groups) -> Result<Classes, Vec<ClassError>> {
        check(&rules, groups)?;
        let index = Index::new(&rules, groups);
        let waiting = Arc::default();
        let list = rules
            .into_iter()
            .map(|rule| Arc::new(Class::new(rule, &waiting)));
        Ok(Classes {
            list: list.collect(),
            index: Arc::new(index),
        })
    }

    /// The classes in order.
    pub fn iter(&self) -> impl Iterator<Item = &Class> {
        self.list.iter().map(AsRef::as_ref)
    }

    /// The class of this name.
    pub fn by_name(&self, name: &str) -> Option<&Class> {
        self.iter().find(|class| class.name() == name)
    }

    /// The same, where a class with the name and the limits of one of `former` has its members, and one with the name what
    /// is counted of it.
    #[must_use]
    pub fn succeeding(&self, former: &Classes) -> Classes {
        let succeed = |class: &Arc<Class>| {
            let before = former.iter().find(|other| other.name() == class.name());
            let Some(before) = before else {
                return class.beside(former.iter().next());
            };
            let same = before.per() == class.per() && before.limits() == class.limits();
            let members = if same {
                &before.members
            } else {
                &class.members
            };
            Arc::new(Class {
                rule: class.rule.clone(),
                members: Arc::clone(members),
                tally: Arc::clone(&before.tally),
                waiting: Arc::clone(&before.waiting),
                ledgers: class.ledgers.clone(),
            })
        };
        Classes {
            list: self.list.iter().map(succeed).collect(),
            index: Arc::clone(&self.index),
        }
    }

    /// The same, whose quotas are counted in these ledgers.
    #[must_use]
    pub fn counted_in(&self, ledgers: &Arc<Ledgers>) -> Classes {
        let counted = |class: &Arc<Class>| {
            if class.limits().quota.is_none() {
                return Arc::clone(class);
            }
            Arc::new(Class {
                rule: class.rule.clone(),
                members: Arc::clone(&class.members),
                tally: Arc::clone(&class.tally),
                waiting: Arc::clone(&class.waiting),
                ledgers: Some(Arc::clone(ledgers)),
            })
        };
        Classes {
            list: self.list.iter().map(counted).collect(),
            index: Arc::clone(&self.index),
        }
    }

    /// The same, whose limits the instances of a fleet share.
    #[must_use]
    pub fn shared_by(&self, fleet: &Arc<Fleet>) -> Classes {
        let shared = self.list.iter().map(|class| class.shared_by(fleet));
        Classes {
            list: shared.collect(),
            index: Arc::clone(&self.index),
        }
    }

    /// The class that holds for a request. None: no limits do. Does not allocate.
    pub fn class_of(&self, request: &Request<'_>) -> Option<&Arc<Class>> {
        let index = &self.index;
        let mut left = index.every_user;
        left |= index.of_user.get(request.user).copied().unwrap_or_default();
        for group in request.groups {
            left |= index.of_group.get(group).copied().unwrap_or_default();
        }
        let [tunnel, forward, gateway] = &index.of_roles;
        left &= match request.role() {
            Role::Tunnel => tunnel,
            Role::Forward => forward,
            Role::Gateway => gateway,
        };
        while left != 0 {
            let class = self.list.get(left.trailing_zeros() as usize)?;
            let networks = class.rule.client_networks.as_ref();
            if networks.is_none_or(|networks| networks.matching(request.client).is_some()) {
                return Some(class);
            }
            left &= left - 1;
        }
        None
    }

    /// Whether the class that holds for a request has a limit that is counted in a store.
    pub fn needs_store(&self, request: &Request<'_>) -> bool {
        let class = self.class_of(request);
        class.is_some_and(|class| class.needs_store())
    }

    /// What a request gets of the class that holds for it: none where none does. `is_tunnel` says whether it asks for a
    /// tunnel; `pending` is what it has waited for.
    ///
    /// # Errors
    /// It is over a limit, or has to wait.
    pub fn admit(
        &self,
        request: &Request<'_>,
        is_tunnel: bool,
        pending: Option<Pending>,
    ) -> Option<Result<Ticket, Refused>> {
        Some(self.class_of(request)?.admit(request, is_tunnel, pending))
    }
}

impl Index {
    fn new(rules: &[ClassRule], groups: &Groups) -> Index {
        let mut index = Index::default();
        for (place, rule) in rules.iter().enumerate() {
            let bit = 1u64 << place;
            if rule.users.is_none() && rule.groups.is_none() {
                index.every_user |= bit;
            }
            for user in rule.users.iter().flatten() {
                *index.of_user.entry(user.clone()).or_default() |= bit;
            }
            for group in rule.groups.iter().flatten() {
                *index.of_group.entry(group.clone()).or_default() |= bit;
            }
            for (role, classes) in Role::ALL.into_iter().zip(&mut index.of_roles) {
                if rule.roles.is_none_or(|roles| roles.contains(role)) {
                    *classes |= bit;
                }
            }
        }
        for user in groups.members() {
            let of_groups = groups.of_user(user);
            let classes = of_groups.filter_map(|group| index.of_group.get(group));
            let classes = classes.fold(0, |all, classes| all | classes);
            if classes != 0 {
                *index.of_user.entry(user.into()).or_default() |= classes;
            }
        }
        index
    }
}

fn check(rules: &[ClassRule], groups: &Groups) -> Result<(), Vec<ClassError>> {
    let mut errors = Vec::new();
    // The first class that matches every request, until a class after it was reported.
    let mut last: Option<&Name> = None;
    for (class, rule) in rules.iter().enumerate() {
        let mut reject = |problem| errors.push(ClassError { class, problem });
        if class == MAX_CLASSES {
            reject(ClassProblem::TooMany);
        }
        let before = rules.iter().take(class);
        if let Some(first) = before.clone().position(|other| other.name == rule.name) {
            reject(ClassProblem::DuplicateName { first });
        }
        if let Some(by) = last.take() {
            reject(ClassProblem::Unreachable { by: by.clone() });
        } else if rule.is_default() && !before.clone().any(ClassRule::is_default) {
            last = Some(&rule.name);
        }
        for (at, group) in rule.groups.iter().flatten().enumerate() {
            if !groups.are_open() && !groups.contains(group) {
                reject(ClassProblem::UnknownGroup { at });
            }
        }
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(errors),
    }
}
