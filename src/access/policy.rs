//! The egress policy. Each decision names the rule or the part of the guard that made it.
//!
//! The policy has two parts. The [`Guard`] applies to every user: ports, domains, networks, special-purpose
//! addresses, own listeners. The [`Rules`] are an ordered list; the first rule that matches decides. **A rule
//! opens only the ports and networks that it lists; the guard decides about all others.** So no rule opens a
//! private network by accident.
//!
//! A decision has two phases, and both have to admit: [`Policy::admit_request`] before a name is resolved, and
//! [`Admission::admit_address`] for each address that would be dialled. Between them an [`Admission`] keeps its
//! policy, so that a reload cannot mix two policies.
//!
//! Decides only. It does not resolve, dial, log or answer, and it holds no clock and no I/O.
//!
//! ```text
//! Request -> guard: domains -> rules, in order -> guard: ports -> Admission
//!                                 | rules with networks: pending
//!                                 v
//! address -> guard: own listeners, deny_networks -> pending rule, or the deciding rule -> guard: the rest
//! ```

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use crate::hello::Hello;
use crate::http::http1::KeptHead;
use crate::http::role::Role;
use crate::http::target::{Authority, Host, Scheme};

mod asking;
mod decision;
mod domains;
mod entry;
mod evaluate;
mod explain;
pub mod expression;
mod groups;
mod guard;
mod hello;
mod lists;
mod networks;
mod paths;
mod ports;
mod reach;
mod rule;
mod rules;
mod scenario;
mod schedule;
mod special;
mod test_case;
#[cfg(test)]
mod tests;
mod trace;
mod upgrade;
mod via;

pub use asking::Asks;
pub use decision::{DecidedBy, Decision, Denied, HookName, Refusal, RuleNames};
pub use domains::{DomainMatch, Domains, NameKey};
pub use entry::{EntryError, EntryProblem};
pub use explain::{Conclusion, ExplainedDecision, Explanation};
pub use expression::{EvaluationError, Expression, ExpressionError, Facts};
pub use groups::{GroupError, Groups};
pub use guard::Guard;
pub use hello::{HelloTerms, Opening, SniDemand};
pub use lists::DomainLists;
pub use networks::Networks;
use paths::Quantifier;
pub use paths::{Paths, RequestPath};
pub use ports::Ports;
pub use rule::{Action, Hidden, Matcher, Matchers, Name, NameError, Roles, Rule};
#[cfg(test)]
pub use rules::MAX_RULES;
pub use rules::{RuleError, RuleProblem, Rules};
pub use scenario::Scenario;
pub use schedule::{Days, Moment, Schedule, ScheduleError, TimeOfDay, Zone};
pub use special::special_purpose;
pub use test_case::{TestCase, TestFailure};
pub use upgrade::{InjectedField, Upgrade};
pub use via::{Via, WaysOut};

#[cfg(any(test, feature = "internals"))]
pub use self::{domains::fuzz::lists, groups::fuzz::htgroup};

use self::evaluate::{PortContext, RequestDecision};
use self::trace::NoTrace;

/// A checked policy. Immutable: a reload makes a new one.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    guard: Guard,
    rules: Arc<Rules>,
    names: RuleNames,
    /// The terms of tunnels whose rule has none of its own.
    tunnel: Option<Arc<HelloTerms>>,
    /// Whether the first bytes of some tunnels are read.
    reads_hellos: bool,
    /// None without parents.
    ways: Option<Arc<WaysOut>>,
}

/// The facts of a request that the policy evaluates.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The role and the target.
    pub destination: Destination<'a>,
    /// The scheme of a request to forward; none in other roles.
    pub scheme: Option<Scheme>,
    /// Its method as sent; `CONNECT` for a tunnel.
    pub method: &'a str,
    /// The authenticated user.
    pub user: &'a str,
    /// Groups that the credentials say, beside those of the group file.
    pub groups: &'a [Box<str>],
    /// The client's address.
    pub client: IpAddr,
    /// The time at which its head was complete.
    pub time: SystemTime,
    /// Its head, which rules with `paths` and some expressions read ([`Policy::needs_head`]). Where these do not get
    /// it, rules with `paths` that deny match, and the expressions fail.
    pub head: Option<&'a KeptHead>,
    /// The claims of the user's token: name and text.
    pub claims: &'a [(Box<str>, Box<str>)],
    /// The hello in a tunnel that is open; none before.
    pub hello: Option<&'a Hello>,
}

/// The target of a request, which determines its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination<'a> {
    /// A tunnel to an authority.
    Tunnel(&'a Authority),
    /// Forwarded to an authority.
    Forward(&'a Authority),
    /// To the local pool.
    Gateway,
}

/// A request that the first phase admitted; its addresses are still to be evaluated.
///
/// It keeps the whole policy in memory: drop it once the addresses are evaluated, not when the tunnel ends.
#[derive(Clone, Debug)]
pub struct Admission {
    policy: Arc<Policy>,
    context: PortContext,
    decision: RequestDecision,
}

impl Policy {
    /// A policy of these parts.
    pub fn new(mut guard: Guard, rules: Rules) -> Policy {
        guard.normalise();
        Policy {
            guard,
            rules: Arc::new(rules),
            names: RuleNames::default(),
            tunnel: None,
            reads_hellos: false,
            ways: None,
        }
    }

    /// The same policy, which shows or hides the names of its rules to clients.
    #[must_use]
    pub fn with_names(self, names: RuleNames) -> Policy {
        Policy { names, ..self }
    }

    /// Whether clients learn the names of the rules.
    pub fn names(&self) -> RuleNames {
        self.names
    }

    /// The same policy with further addresses on which listeners on `0.0.0.0` and `[::]` accept. Lists and rules
    /// are shared, not copied.
    #[must_use]
    pub fn with_own_addresses(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Policy {
        let mut policy = self.clone();
        policy.guard.own_addresses.extend(addresses);
        policy.guard.normalise();
        policy
    }

    /// The part that applies to every user.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Every user that the group file or a rule names, in no order.
    pub fn named_users(&self) -> impl Iterator<Item = &str> {
        self.rules.users()
    }

    /// The groups of a user: those of the group file in its order, and then those of its token.
    pub fn groups_of<'a>(&'a self, user: &str, of_token: &'a [Box<str>]) -> Vec<&'a str> {
        evaluate::groups_of(self.rules.class_of(user), of_token)
    }

    /// Whether a rule reads the path, the query or a field of requests.
    pub fn needs_head(&self) -> bool {
        self.rules.need_head()
    }

    /// Evaluates a request before its name is resolved. When the target is an address, evaluates that too.
    ///
    /// In this order:
    /// 1. the guard's `deny_domains` and `allow_domains`;
    /// 2. the rules, in order. A rule with `networks` is pending until the second phase; the first other rule that
    ///    matches ends the search. When no rule can admit any more, the request is denied at once;
    /// 3. the guard's ports, unless a rule that may admit lists ports.
    ///
    /// A rule whose expression fails denies. Does not allocate when it admits, expressions aside.
    ///
    /// # Errors
    /// [`Denied`], with `DenyReason::HttpRequestDenied` unless the target is an address.
    pub fn admit_request(self: &Arc<Self>, request: &Request<'_>) -> Result<Admission, Denied> {
        let decision = self.evaluate_request(request, &mut NoTrace)?;
        let context = PortContext::of(request);
        if let Some(address) = request.destination.address() {
            self.evaluate_address(context, &decision, address, &mut NoTrace)?;
        }
        Ok(Admission {
            policy: Arc::clone(self),
            context,
            decision,
        })
    }
}

impl Admission {
    /// Evaluates one address that would be dialled, whose port is that of the request.
    ///
    /// In this order, the first step that applies decides:
    /// 1. a listener of this program is denied, unless `allow_networks` has its host route: a rule does
    ///    not open the admin service to its clients;
    /// 2. `deny_networks` denies, unless `allow_networks` has a longer prefix;
    /// 3. the deciding rule denies: the first pending rule that has the address in `networks`, else the rule that
    ///    ended the first phase; or the guard denies a port that the deciding rule does not list;
    /// 4. the deciding rule admits by its networks, special-purpose addresses too;
    /// 5. `allow_networks` admits; a special-purpose address is denied; the rest is admitted.
    ///
    /// An IPv4-mapped address is the IPv4 address. An address that contains an IPv4 address in another way
    /// (NAT64, 6to4, Teredo, ISATAP) is admitted when it and each address in it are admitted.
    ///
    /// # Errors
    /// [`Denied`], always with `DenyReason::DestinationIpProhibited`.
    pub fn admit_address(&self, address: SocketAddr) -> Result<DecidedBy, Denied> {
        debug_assert_eq!(address.port(), self.context.port);
        self.policy
            .evaluate_address(self.context, &self.decision, address, &mut NoTrace)
            .map_err(Denied::of_address)
    }

    /// Whether the client learns the names of the rules.
    pub fn names(&self) -> RuleNames {
        self.policy.names
    }

    /// How the request is sent, where the rule that decides says so. The address does not change it.
    pub fn upgrade(&self) -> Option<&Arc<Upgrade>> {
        self.policy.upgrade_of(&self.decision)
    }

    /// What admitted the request in the first phase: the final decision for the gateway, which dials no address.
    pub fn decided_by(&self) -> DecidedBy {
        self.policy.decided_by(&self.decision)
    }

    /// The `observe` rules that would have denied this request: without an address those without `networks`, else
    /// all that match with this address.
    pub fn observed(&self, ip: Option<IpAddr>) -> impl Iterator<Item = &Name> {
        let observing = self.policy.observing(&self.decision, ip);
        observing.map(|(_, rule)| &rule.name)
    }
}

impl<'a> Request<'a> {
    /// The same request over TLS to this target.
    pub fn to_https<'b>(self, target: &'b Authority) -> Request<'b>
    where
        'a: 'b,
    {
        Request {
            destination: Destination::Forward(target),
            scheme: Some(Scheme::Https),
            ..self
        }
    }

    /// The host that it asks; none for the gateway.
    pub fn host(&self) -> Option<&'a Host> {
        match self.destination {
            Destination::Tunnel(authority) | Destination::Forward(authority) => {
                Some(&authority.host)
            }
            Destination::Gateway => None,
        }
    }

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
