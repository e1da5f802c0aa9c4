//! Who may go where, each decision with the name of what made it.
//!
//! Two parts. The [`Guard`] holds for everyone: ports, domains, networks, special-purpose addresses, own
//! listeners. The [`Rules`] say who may do what: the first that matches decides. **What a rule names itself,
//! ports and networks, it opens; what it does not name stays under the guard.** So no rule opens a private
//! network by accident.
//!
//! A decision has two phases, and both have to admit: [`Policy::admit_request`] before a name is resolved, and
//! [`Admission::admit_address`] on each address that would be dialled. Between them an [`Admission`] keeps its
//! policy, so that a reload cannot mix two.
//!
//! Decides only. It does not resolve, dial, log or answer, and it holds no clock and no I/O.
//!
//! ```text
//! Request -> guard: domains -> rules, in order -> guard: ports -> Admission
//!                                 | rules with networks: pending
//!                                 v
//! address -> guard: own listeners, deny_networks -> pending rule, or the one that decided -> guard: the rest
//! ```

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use crate::http::role::Role;
use crate::http::target::Authority;

mod decision;
mod domains;
mod entry;
mod evaluate;
mod explain;
pub mod expression;
mod groups;
mod guard;
mod lists;
mod networks;
mod ports;
mod question;
mod reach;
mod rule;
mod rules;
mod schedule;
mod special;
mod test_case;
#[cfg(test)]
mod tests;
mod trace;

pub use decision::{DecidedBy, Denied, DenyReason, Refusal, Verdict};
pub use domains::{DomainMatch, Domains, NameKey};
pub use entry::{EntryError, EntryProblem};
pub use explain::{Considered, Explanation, Judged, Outcome};
pub use expression::{EvaluationError, Expression, ExpressionError, ExpressionProblem, Facts};
pub use groups::{GroupError, GroupProblem, Groups};
pub use guard::Guard;
pub use lists::DomainLists;
pub use networks::Networks;
pub use ports::Ports;
pub use question::{Question, Way};
pub use reach::{DeadReason, DeadRule};
pub use rule::{Action, Matcher, Matchers, Name, NameError, Roles, Rule};
pub use rules::{MAX_RULES, RuleError, RuleProblem, Rules};
pub use schedule::{Days, Moment, Schedule, ScheduleError, TimeOfDay, Zone};
pub use special::{Block, special_purpose};
pub use test_case::{TestCase, TestFailure};

use self::evaluate::{Course, Place};
use self::trace::Unwatched;

/// A checked policy, ready to decide. Immutable: a reload makes a new one.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    guard: Guard,
    rules: Arc<Rules>,
}

/// What a request is, as far as the policy is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Where it goes.
    pub destination: Destination<'a>,
    /// Its method as sent; `CONNECT` for a tunnel.
    pub method: &'a str,
    /// Who was authenticated.
    pub user: &'a str,
    /// The client's address.
    pub client: IpAddr,
    /// When its head was complete.
    pub time: SystemTime,
}

/// Where a request goes, which says in which role it is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination<'a> {
    /// A tunnel to an authority.
    Tunnel(&'a Authority),
    /// Forwarded to an authority.
    Forward(&'a Authority),
    /// To the local pool.
    Gateway,
}

/// A request that was admitted as far as can be said before its name is resolved.
///
/// It keeps the whole policy in memory: let it go once the addresses are judged, not when the tunnel ends.
#[derive(Clone, Debug)]
pub struct Admission {
    policy: Arc<Policy>,
    place: Place,
    course: Course,
}

impl Policy {
    /// A policy of these parts.
    pub fn new(mut guard: Guard, rules: Rules) -> Policy {
        guard.normalise();
        Policy {
            guard,
            rules: Arc::new(rules),
        }
    }

    /// The same with further addresses under which listeners on `0.0.0.0` and `[::]` answer. Lists and rules
    /// are shared, not copied.
    #[must_use]
    pub fn with_own_addresses(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Policy {
        let mut policy = self.clone();
        policy.guard.own_addresses.extend(addresses);
        policy.guard.normalise();
        policy
    }

    /// What holds for everyone.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Who may do what.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Decides on a request before its name is resolved. Of an address as the target everything is decided.
    ///
    /// In this order:
    /// 1. the guard's `deny_domains` and `allow_domains`;
    /// 2. the rules, in their order. A rule that goes by networks is kept for the second phase; the walk ends
    ///    at the first other rule that matches. When nothing can admit any more, the request is denied at once;
    /// 3. the guard's ports, unless a rule that may admit names ports itself.
    ///
    /// A rule whose expression has no value denies. Does not allocate when it admits, expressions aside.
    ///
    /// # Errors
    /// [`Denied`], with [`DenyReason::HttpRequestDenied`] unless the target is an address.
    pub fn admit_request(self: &Arc<Self>, request: &Request<'_>) -> Result<Admission, Denied> {
        let course = self.decide(request, &mut Unwatched)?;
        let place = Place::of(request);
        if let Some(address) = request.destination.address() {
            self.judge(place, &course, address, &mut Unwatched)?;
        }
        Ok(Admission {
            policy: Arc::clone(self),
            place,
            course,
        })
    }
}

impl Admission {
    /// Decides on one address that would be dialled, whose port is that of the request.
    ///
    /// In this order, the first that applies decides:
    /// 1. a listener of this program is denied, unless a host route in `allow_networks` names it: a rule does
    ///    not open the admin service to its clients;
    /// 2. `deny_networks` denies, unless `allow_networks` has a longer prefix;
    /// 3. the first rule that is about the address, by its networks or whatever the address is, denies; the
    ///    guard denies a port that such a rule does not name;
    /// 4. a rule admits by its networks, special-purpose addresses too;
    /// 5. `allow_networks` admits; a special-purpose address is denied; the rest is admitted.
    ///
    /// An IPv4-mapped address is the IPv4 address. An address that carries an IPv4 address in another way
    /// (NAT64, 6to4, Teredo, ISATAP) is admitted when both it and each address that it carries are.
    ///
    /// # Errors
    /// [`Denied`], always with [`DenyReason::DestinationIpProhibited`].
    pub fn admit_address(&self, address: SocketAddr) -> Result<DecidedBy, Denied> {
        debug_assert_eq!(address.port(), self.place.port);
        self.policy
            .judge(self.place, &self.course, address, &mut Unwatched)
            .map_err(Denied::of_address)
    }

    /// Who admitted the request as such: all there is to say for the gateway, which dials nothing.
    pub fn decided_by(&self) -> DecidedBy {
        self.policy.decided_by(&self.course)
    }

    /// The observing rules that would have denied this request: without an address those that can tell without
    /// one, else all that are about the address.
    pub fn observed(&self, ip: Option<IpAddr>) -> impl Iterator<Item = &Name> {
        let observing = self.policy.observing(&self.course, ip);
        observing.map(|(_, rule)| &rule.name)
    }
}

impl Request<'_> {
    /// The role in which it is served.
    pub fn role(&self) -> Role {
        match self.destination {
            Destination::Tunnel(_) => Role::Tunnel,
            Destination::Forward(_) => Role::Forward,
            Destination::Gateway => Role::Gateway,
        }
    }
}

impl<'a> Destination<'a> {
    /// Where a request goes that is served in this role; the gateway has no authority.
    pub fn new(role: Role, authority: Option<&'a Authority>) -> Self {
        match (role, authority) {
            (Role::Tunnel, Some(authority)) => Destination::Tunnel(authority),
            (Role::Forward, Some(authority)) => Destination::Forward(authority),
            _ => Destination::Gateway,
        }
    }

    /// The authority, if there is one.
    pub fn authority(self) -> Option<&'a Authority> {
        match self {
            Destination::Tunnel(authority) | Destination::Forward(authority) => Some(authority),
            Destination::Gateway => None,
        }
    }

    /// The address, if the target is one.
    fn address(self) -> Option<SocketAddr> {
        let authority = self.authority()?;
        Some(SocketAddr::new(authority.host.ip()?, authority.port))
    }
}
