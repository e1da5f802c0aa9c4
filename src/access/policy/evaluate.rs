//! The evaluation of a request, in its two phases. Serving, `explain` and `policy_tests` share it.

use std::cell::OnceCell;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use ipnet::IpNet;
use smallvec::SmallVec;

use super::rules::{Class, RuleSet};
use super::trace::{NoTrace, Step, Trace};
use super::{
    Action, DecidedBy, Decision, Denied, EvaluationError, Matcher, NameKey, Policy, Refusal,
    Request, RequestPath, Rule, special,
};
use crate::http::target::{Authority, Scheme};

mod input;

use self::input::ExpressionInput;

/// A request with the values that all rules need, computed once.
pub(super) struct Evaluation<'a> {
    request: &'a Request<'a>,
    authority: Option<&'a Authority>,
    key: Option<NameKey<'a>>,
    class: Option<&'a Class>,
    /// Read only where a rule asks for it.
    path: RequestPath<'a>,
    /// Made when the first expression is evaluated.
    input: OnceCell<ExpressionInput<'a>>,
}

/// Positions of rules in order, mostly few: without an allocation.
type RuleList = SmallVec<[usize; 4]>;

/// The result of the first phase, which the second phase needs.
#[derive(Clone, Debug)]
pub(super) struct RequestDecision {
    /// The rule that decides about addresses in no pending rule's networks; none: the default.
    pub(super) decides: Option<usize>,
    /// Rules before it that match except for their networks, which need an address; in order.
    pub(super) pending: RuleList,
    /// Rules before it that match and observe; in order.
    observed: RuleList,
    /// Rules that deny because their expression failed.
    failures: Vec<(usize, EvaluationError)>,
}

/// The rule that decides about an address, and its network that has the address.
#[derive(Clone, Copy, Debug)]
pub(super) struct DecidingRule {
    pub(super) rule: Option<usize>,
    network: Option<IpNet>,
}

enum Unmatched {
    By(Matcher),
    Failed(EvaluationError),
}

impl Policy {
    /// The first phase: evaluates the request before an address is known.
    pub(super) fn evaluate_request<T: Trace>(
        &self,
        request: &Request<'_>,
        trace: &mut T,
    ) -> Result<RequestDecision, Denied> {
        let evaluation = self.evaluation(request);
        let authority = evaluation.authority;
        if let Some(authority) = authority {
            self.guard
                .admit_host(&authority.host, evaluation.key.as_ref())?;
        }
        let decision = self.walk(&evaluation, trace);

        let mut may_admit = self.admits(&decision, decision.decides);
        let mut opens_port = may_admit && self.opens_port(decision.decides);
        for &index in &decision.pending {
            if self.admits(&decision, Some(index)) {
                may_admit = true;
                opens_port |= self.opens_port(Some(index));
            }
        }
        // A target that is an address gets the answer of the rule that decides about the address.
        let literal = authority.is_some_and(|authority| !authority.host.is_name());
        if literal && !decision.pending.is_empty() {
            return Ok(decision);
        }
        if !may_admit {
            return Err(self.denied_by(&decision, decision.decides));
        }
        // The response to TRACE has the fields of the request (RFC 9110 §9.3.8), secrets too.
        if self.injects(&decision) && request.method.eq_ignore_ascii_case("TRACE") {
            return Err(Denied::request(self.rules.name_of(decision.decides)));
        }
        if let Some(authority) = authority
            && !opens_port
        {
            self.guard.admit_port(request.role(), authority.port)?;
        }
        Ok(decision)
    }

    /// The second phase, for one address and the IPv4 addresses in it.
    pub(super) fn evaluate_address<T: Trace>(
        &self,
        context: PortContext,
        decision: &RequestDecision,
        address: SocketAddr,
        trace: &mut T,
    ) -> Result<DecidedBy, Denied> {
        let ip = address.ip().to_canonical();
        if let IpAddr::V6(outer) = ip {
            // The inner address first: `loopback` says more in a log than `6to4`.
            for inner in special::embedded(outer) {
                self.evaluate_one_address(
                    context,
                    decision,
                    IpAddr::V4(inner),
                    address.port(),
                    trace,
                )?;
            }
        }
        self.evaluate_one_address(context, decision, ip, address.port(), trace)
    }

    /// The `observe` rules that would have denied an admitted request, in order.
    pub(super) fn observing<'a>(
        &'a self,
        decision: &'a RequestDecision,
        ip: Option<IpAddr>,
    ) -> impl Iterator<Item = (usize, &'a Rule)> {
        let ip = ip.map(|ip| ip.to_canonical());
        let decides = match ip {
            Some(ip) => self.deciding(decision, ip, &mut NoTrace).rule,
            None => decision.decides,
        };
        let holds = move |rule: &Rule| {
            let Some((networks, ip)) = rule.matchers.networks.as_ref().zip(ip) else {
                return false;
            };
            let inner = match ip {
                IpAddr::V4(_) => None,
                IpAddr::V6(ip) => Some(special::embedded(ip)),
            };
            let mut inner = inner.into_iter().flatten().map(IpAddr::V4);
            networks.matching(ip).is_some() || inner.any(|ip| networks.matching(ip).is_some())
        };
        self.rules
            .iter()
            .enumerate()
            .take_while(move |(index, _)| decides.is_none_or(|decides| *index < decides))
            .filter(move |(index, rule)| {
                decision.observed.binary_search(index).is_ok()
                    || (rule.action == Action::Observe
                        && decision.pending.binary_search(index).is_ok()
                        && holds(rule))
            })
    }

    /// The first pending rule that could still decide once there is an address.
    pub(super) fn awaits_address(&self, decision: &RequestDecision) -> Option<&Rule> {
        let mut pending = decision
            .pending
            .iter()
            .filter_map(|index| self.rules.get(*index));
        pending.find(|rule| rule.action != Action::Observe)
    }

    /// The rule that decides about an address; none: the default.
    pub(super) fn deciding_at(&self, decision: &RequestDecision, ip: IpAddr) -> Option<usize> {
        self.deciding(decision, ip.to_canonical(), &mut NoTrace)
            .rule
    }

    /// What decides without an address.
    pub(super) fn decided_by(&self, decision: &RequestDecision) -> DecidedBy {
        self.rules.name_of(decision.decides)
    }

    fn walk<T: Trace>(&self, evaluation: &Evaluation<'_>, trace: &mut T) -> RequestDecision {
        let mut decision = RequestDecision {
            decides: None,
            pending: RuleList::new(),
            observed: RuleList::new(),
            failures: Vec::new(),
        };
        let of_role = self.rules.of_role(evaluation.request.role());
        let about = self.about(evaluation, of_role);
        // Rules for other users or roles are skipped without evaluating their matchers.
        let mut next = 0;
        for index in about.iter() {
            pass_over(next..index, of_role, trace);
            next = index + 1;
            match self.matches(index, evaluation) {
                Ok(()) => {}
                Err(Unmatched::By(matcher)) => {
                    trace.step(index, Step::Skipped(matcher));
                    continue;
                }
                Err(Unmatched::Failed(error)) => {
                    decision.failures.push((index, error));
                    trace.step(index, Step::Failed(error));
                }
            }
            let Some(rule) = self.rules.get(index) else {
                continue;
            };
            if rule.matchers.networks.is_some() {
                decision.pending.push(index);
                trace.step(index, Step::Pending);
            } else if rule.action == Action::Observe {
                decision.observed.push(index);
                trace.step(index, Step::Observed);
            } else {
                decision.decides = Some(index);
                trace.step(index, Step::Decides);
                return decision;
            }
        }
        pass_over(next..self.rules.len(), of_role, trace);
        decision
    }

    /// The rules that can match the user and the role. A set is large, so none is copied in vain.
    fn about(&self, evaluation: &Evaluation<'_>, of_role: &RuleSet) -> RuleSet {
        let groups = evaluation.request.groups;
        match evaluation.class {
            Some(class) if groups.is_empty() => of_role.and(&class.rules),
            None if groups.is_empty() => RuleSet::default(),
            class => {
                let mut about = class.map(|class| class.rules).unwrap_or_default();
                about.extend(self.rules.of_groups(groups));
                of_role.and(&about)
            }
        }
    }

    /// Evaluates the matchers of a rule whose users and roles match, except its networks, in the order of
    /// [`Matcher`].
    #[inline]
    fn matches(&self, index: usize, evaluation: &Evaluation<'_>) -> Result<(), Unmatched> {
        if self.rules.has_early_matchers(index) {
            self.matches_early(index, evaluation)?;
        }
        if let Some(domains) = self.rules.domains_of(index) {
            let key = evaluation.key.as_ref();
            let matches = key.is_some_and(|key| domains.matching(key).is_some());
            ensure(Matcher::Domains, matches)?;
        }
        let Some(Rule {
            matchers,
            action,
            upgrade,
            ..
        }) = self.rules.get(index)
        else {
            return Ok(());
        };
        if upgrade.is_some() {
            // Another port is another origin, which the rule has to name.
            let is_named = matchers.ports.is_some()
                || evaluation.authority.map(|authority| authority.port)
                    == Some(Scheme::Https.default_port());
            let is_https = evaluation.request.scheme == Some(Scheme::Https);
            ensure(Matcher::Upgrade, is_https && is_named)?;
        }
        if let Some(paths) = &matchers.paths {
            ensure(Matcher::Paths, paths.matches(&evaluation.path, action))?;
        }
        if matchers.networks.is_some() {
            ensure(Matcher::Networks, evaluation.authority.is_some())?;
        }
        if let Some(schedule) = &matchers.time {
            ensure(Matcher::Time, schedule.holds(evaluation.request.time))?;
        }
        match &matchers.when {
            None => Ok(()),
            Some(when) => match when.matches(&evaluation.facts()) {
                Ok(matches) => ensure(Matcher::When, matches),
                Err(error) => Err(Unmatched::Failed(error)),
            },
        }
    }

    /// The matchers that cost less than a domain look-up.
    fn matches_early(&self, index: usize, evaluation: &Evaluation<'_>) -> Result<(), Unmatched> {
        let Some(Rule { matchers, .. }) = self.rules.get(index) else {
            return Ok(());
        };
        if let Some(ports) = &matchers.ports {
            let port = evaluation.authority.map(|authority| authority.port);
            let matches = port.is_some_and(|port| ports.contains(port));
            ensure(Matcher::Ports, matches)?;
        }
        if let Some(methods) = &matchers.methods {
            // Case-insensitive: in HTTP `post` is another method, for many origins it is not,
            // and a deny must cover both.
            let mut methods = methods.iter();
            let sent = evaluation.request.method;
            ensure(
                Matcher::Methods,
                methods.any(|method| method.eq_ignore_ascii_case(sent)),
            )?;
        }
        if let Some(networks) = &matchers.client_networks {
            let matches = networks.matching(evaluation.request.client).is_some();
            ensure(Matcher::ClientNetworks, matches)?;
        }
        Ok(())
    }

    /// In this order, the first step that applies decides:
    /// 1. a listener of this program is denied, unless a host route in `allow_networks` names it;
    /// 2. `deny_networks` denies, unless `allow_networks` has a longer prefix;
    /// 3. the deciding rule denies; or the guard denies the port, unless the rule lists ports;
    /// 4. the rule admits an address in its networks;
    /// 5. `allow_networks` admits; a special-purpose address is denied; the rest is admitted.
    fn evaluate_one_address<T: Trace>(
        &self,
        context: PortContext,
        decision: &RequestDecision,
        ip: IpAddr,
        port: u16,
        trace: &mut T,
    ) -> Result<DecidedBy, Denied> {
        let deciding = self.deciding(decision, ip, trace);
        let admits = self.admits(decision, deciding.rule);
        let opened = deciding.network.filter(|_| admits);
        let allowed = self.guard.allow_networks.matching(ip);

        let host_route = |net: IpNet| net.prefix_len() == net.max_prefix_len();
        if !allowed.is_some_and(host_route) && self.guard.is_own_listener(ip, port) {
            return Err(Denied::address(DecidedBy::OwnListener));
        }
        if let Some(denied) = self.guard.deny_networks.matching(ip)
            && allowed.is_none_or(|net| net.prefix_len() <= denied.prefix_len())
        {
            return Err(Denied::address(DecidedBy::DenyNetworks(denied)));
        }
        if !admits {
            return Err(self.denied_by(decision, deciding.rule));
        }
        if !self.opens_port(deciding.rule) {
            self.guard.admit_port(context.role, context.port)?;
        }
        if opened.is_none() {
            if let Some(net) = allowed {
                // The operator looks for the rule that admits in the log.
                return Ok(match deciding.rule {
                    Some(_) => self.rules.name_of(deciding.rule),
                    None => DecidedBy::AllowNetworks(net),
                });
            }
            if let Some(block) = special::block_of(ip) {
                return Err(Denied::address(DecidedBy::SpecialPurpose(block)));
            }
        }
        Ok(self.rules.name_of(deciding.rule))
    }

    /// The rule that decides about this address.
    pub(super) fn deciding<T: Trace>(
        &self,
        decision: &RequestDecision,
        ip: IpAddr,
        trace: &mut T,
    ) -> DecidingRule {
        for &index in &decision.pending {
            let Some(rule) = self.rules.get(index) else {
                continue;
            };
            let networks = rule.matchers.networks.as_ref();
            let Some(network) = networks.and_then(|networks| networks.matching(ip)) else {
                trace.step(index, Step::Skipped(Matcher::Networks));
                continue;
            };
            if rule.action == Action::Observe {
                trace.step(index, Step::Observed);
                continue;
            }
            trace.step(index, Step::Decides);
            return DecidingRule {
                rule: Some(index),
                network: Some(network),
            };
        }
        DecidingRule {
            rule: decision.decides,
            network: None,
        }
    }

    fn admits(&self, decision: &RequestDecision, index: Option<usize>) -> bool {
        match index {
            None => self.rules.default_decision() == Decision::Admit,
            Some(index) => {
                decision.failure(index).is_none()
                    && self
                        .rules
                        .get(index)
                        .is_some_and(|rule| rule.action == Action::Admit)
            }
        }
    }

    /// Whether a rule lists ports, which then replace the guard's.
    fn opens_port(&self, index: Option<usize>) -> bool {
        index
            .and_then(|index| self.rules.get(index))
            .is_some_and(|rule| rule.matchers.ports.is_some())
    }

    fn denied_by(&self, decision: &RequestDecision, index: Option<usize>) -> Denied {
        let by = self.rules.name_of(index);
        let Some((index, rule)) = index.and_then(|index| Some((index, self.rules.get(index)?)))
        else {
            return Denied::request(by);
        };
        let denied = if rule.matchers.networks.is_some() {
            Denied::address(by)
        } else {
            Denied::request(by)
        };
        Denied {
            refusal: match &rule.action {
                Action::Deny(refusal) => refusal.clone(),
                Action::Admit | Action::Observe => Refusal::default(),
            },
            failure: decision.failure(index),
            ..denied
        }
    }
}

fn ensure(matcher: Matcher, matches: bool) -> Result<(), Unmatched> {
    if matches {
        Ok(())
    } else {
        Err(Unmatched::By(matcher))
    }
}

/// Traces rules whose roles, or else whose users, do not match.
#[inline]
fn pass_over<T: Trace>(rules: Range<usize>, of_role: &RuleSet, trace: &mut T) {
    for index in rules {
        let matcher = if of_role.contains(index) {
            Matcher::Users
        } else {
            Matcher::Roles
        };
        trace.step(index, Step::Skipped(matcher));
    }
}

/// Role and port of a request, which the second phase needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortContext {
    pub(super) role: super::Role,
    /// As in the request; 0 for the gateway.
    pub(super) port: u16,
}

impl PortContext {
    pub(super) fn of(request: &Request<'_>) -> PortContext {
        let authority = request.destination.authority();
        PortContext {
            role: request.role(),
            port: authority.map_or(0, |authority| authority.port),
        }
    }
}

impl RequestDecision {
    fn failure(&self, index: usize) -> Option<EvaluationError> {
        let mut failures = self.failures.iter();
        failures
            .find(|(rule, _)| *rule == index)
            .map(|(_, error)| *error)
    }
}

/// The groups of a class, and then those of the credentials, each once.
pub(super) fn groups_of<'a>(class: Option<&'a Class>, of_token: &'a [Box<str>]) -> Vec<&'a str> {
    let of_class = class.map_or(&[][..], |class| &class.groups);
    let more = of_token.iter().filter(|group| !of_class.contains(group));
    of_class.iter().chain(more).map(AsRef::as_ref).collect()
}
