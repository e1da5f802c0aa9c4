//! Why a request would be admitted or denied: the decision, with every rule that was evaluated.
//!
//! The evaluator is the one that serves requests; here it traces each of its steps.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::evaluate::{PortContext, RequestDecision};
use super::trace::Step;
use super::upgrade::over_https;
use super::{
    Action, Asks, DecidedBy, Decision, Matcher, Policy, Request, RequestPath, Role, Rule, Scenario,
    Via,
};
use crate::http::target::Scheme;

mod ended;
mod hello;
mod result;
mod shown;
mod text;
mod upgrade;

pub use self::ended::Conclusion;
use self::hello::ExplainedTerms;
pub(super) use self::result::ScenarioResult;
use self::upgrade::ExplainedUpgrade;

/// A decision with its reasons. Prints as text for people; serialises for programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The decision.
    pub decision: ExplainedDecision,
    /// What decided, as in the log.
    pub rule: String,
    /// For a denial or a failure, its reason as in `Proxy-Status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The status code of the answer, unless the request goes upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// For a denial, its message; for a failure, why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What the policy alone decides, where a script ends the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Conclusion>,
    /// Why a part of the guard, or the default, decided, for people.
    #[serde(skip)]
    because: Option<String>,
    /// The user.
    pub user: String,
    /// The groups of the user.
    pub groups: Vec<String>,
    /// The client's address.
    pub client: IpAddr,
    /// The role of the request.
    pub role: &'static str,
    /// The method.
    pub method: String,
    /// The target as it was parsed.
    pub target: String,
    /// Path and query as sent, where rules read the path, the query or fields; absent for a tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The time of the request (RFC 3339).
    pub time: String,
    /// The rules that were evaluated, in order. Rules after the one that decided were not.
    pub rules: Vec<EvaluatedRule>,
    /// The addresses that would be dialled.
    pub addresses: Vec<EvaluatedAddress>,
    /// How the request is sent, where the rule that decides has `upgrade`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<ExplainedUpgrade>,
    /// What is asked of the first bytes of a tunnel that is admitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<ExplainedTerms>,
    /// The parent that it goes through, or `direct`; absent where there are no parents, and for the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// Whether that parent resolves the name, so that no address is evaluated.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_resolved_by_parent: bool,
    /// Whether the request is put to the external authoriser, which may deny it: `yes`, or `depends_on_address`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asks: Option<&'static str>,
    /// The `observe` rules that would have denied it.
    pub observed: Vec<String>,
    /// Of a tunnel: the rules that could decide otherwise if the request in it came in the clear.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub in_the_clear: Vec<String>,
}

/// The decision about a request whose addresses may be unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExplainedDecision {
    /// The request is admitted. Without addresses: if the guard admits those of the name.
    Admit,
    /// The request is denied.
    Deny,
    /// The decision depends on the addresses of the name.
    DependsOnAddress,
    /// A script answers the request.
    Answer,
    /// A script fails, and the request with it.
    Fail,
}

/// A rule that was evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvaluatedRule {
    /// Its name.
    pub rule: String,
    /// `admit`, `deny` or `observe`.
    pub action: &'static str,
    /// `no_match`, `needs_address`, `observes` or `decides`.
    pub outcome: &'static str,
    /// The first matcher that did not match, or the one that needs an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matcher: Option<&'static str>,
    /// The value of the request that the matcher was compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Whether the value begins with the name of the user.
    #[serde(skip)]
    names_user: bool,
    /// Why the rule's expression failed, so that the rule denies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the rule reads of a request and this tunnel hides: `path`, `query`, `fields`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<&'static str>,
}

/// An address that would be dialled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvaluatedAddress {
    /// The address.
    pub address: IpAddr,
    /// Whether it may be dialled.
    pub decision: Decision,
    /// What decided, as in the log.
    pub rule: String,
    /// The rules with `networks` that were evaluated.
    pub rules: Vec<EvaluatedRule>,
}

impl Policy {
    /// Evaluates a hypothetical request, and explains the decision.
    pub fn explain(&self, scenario: &Scenario) -> Explanation {
        let scenario = &self.as_sent(scenario);
        let evaluated = self.evaluate_scenario(scenario);
        let request = scenario.request();
        let (decision, denied) = match &evaluated.result {
            Ok(_) if evaluated.awaited.is_some() => (ExplainedDecision::DependsOnAddress, None),
            Ok(_) => (ExplainedDecision::Admit, None),
            Err(denied) => (ExplainedDecision::Deny, Some(denied)),
        };
        let by = match &evaluated.result {
            Ok(by) => by,
            Err(denied) => &denied.by,
        };
        Explanation {
            decision,
            rule: by.to_string(),
            because: text::because(by, &request),
            reason: denied.map(|denied| denied.reason.kind()),
            status: denied.map(|denied| denied.refusal.status.as_u16()),
            message: denied
                .and_then(|denied| denied.refusal.message.as_deref())
                .map(str::to_owned),
            policy: None,
            user: scenario.user.to_string(),
            groups: self
                .groups_of(request.user, request.groups)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            client: scenario.client,
            role: request.role().as_str(),
            method: request.method.to_owned(),
            target: scenario.target().to_owned(),
            path: (self.needs_head() && !scenario.path().is_empty())
                .then(|| scenario.path().to_owned()),
            time: scenario.time.to_string(),
            rules: self.evaluated_rules(&evaluated.steps, &request, None),
            addresses: evaluated
                .addresses
                .iter()
                .map(|(ip, steps, result)| EvaluatedAddress {
                    address: *ip,
                    decision: match result {
                        Ok(_) => Decision::Admit,
                        Err(_) => Decision::Deny,
                    },
                    rule: match result {
                        Ok(by) => by.to_string(),
                        Err(denied) => denied.by.to_string(),
                    },
                    rules: self.evaluated_rules(steps, &request, Some(*ip)),
                })
                .collect(),
            upgrade: evaluated
                .upgrade
                .map(|upgrade| ExplainedUpgrade::new(scenario.target(), &upgrade)),
            tunnel: evaluated
                .terms
                .filter(|terms| terms.judges())
                .map(|terms| ExplainedTerms::new(&terms, scenario)),
            via: evaluated.via.as_ref().map(ToString::to_string),
            is_resolved_by_parent: evaluated.is_resolved_by_parent,
            asks: match (evaluated.asks, decision) {
                (false, _) => None,
                (true, ExplainedDecision::DependsOnAddress) => Some("depends_on_address"),
                (true, _) => Some("yes"),
            },
            observed: evaluated.observed,
            in_the_clear: self.otherwise_in_the_clear(scenario),
        }
    }

    /// The rules that could decide otherwise if the request in a tunnel came in the clear: those that match it, or
    /// that only the parts hidden by the tunnel keep from matching.
    fn otherwise_in_the_clear(&self, scenario: &Scenario) -> Vec<String> {
        if !self.needs_head() {
            return Vec::new();
        }
        let Some(clear) = scenario.in_the_clear() else {
            return Vec::new();
        };
        let mut names: Vec<String> = Vec::new();
        for (index, step) in self.evaluate_scenario(&clear).steps {
            let Some(rule) = self.rules.get(index) else {
                continue;
            };
            let may_match = match step {
                Step::Skipped(matcher) => matches!(matcher, Matcher::Paths | Matcher::When),
                Step::Pending | Step::Decides | Step::Failed(_) => true,
                Step::Observed => false,
            };
            let reads_hidden = rule.matchers.need_head() && rule.action != Action::Observe;
            let name = rule.name.as_str();
            if may_match && reads_hidden && names.last().is_none_or(|last| last != name) {
                names.push(name.to_owned());
            }
        }
        names
    }

    /// The request as the policy has it sent.
    fn as_sent<'a>(&self, scenario: &'a Scenario) -> Cow<'a, Scenario> {
        match self.upgraded(&scenario.request()) {
            Some(target) => Cow::Owned(scenario.to_https(target)),
            None => Cow::Borrowed(scenario),
        }
    }

    /// Evaluates a scenario before a hello, with every step.
    fn evaluate_as_request(&self, scenario: &Scenario) -> ScenarioResult {
        let scenario = &self.as_sent(scenario);
        let request = scenario.request();
        let context = PortContext::of(&request);
        let mut steps = Vec::new();
        let decision = match self.evaluate_request(&request, &mut steps) {
            Ok(decision) => decision,
            Err(denied) => return ScenarioResult::without_addresses(steps, Err(denied)),
        };
        let host = request.host().filter(|_| self.ways.is_some());
        let chosen = scenario.via.as_ref();
        let via = |ip| host.map(|host| self.via(&decision, host, ip, chosen).clone());
        if host.is_some_and(|host| self.resolving_parent(&decision, host, chosen).is_some()) {
            let result = self.admit_without_address(&decision);
            return ScenarioResult {
                observed: self.observed_by(&decision, None),
                asks: self.asks(&decision) != Asks::Never,
                upgrade: self.upgrade_of(&decision).cloned(),
                via: via(None),
                is_resolved_by_parent: true,
                ..ScenarioResult::without_addresses(steps, result)
            };
        }
        let is_name = request.destination.address().is_none();
        let mut addresses = Vec::new();
        for ip in scenario.addresses() {
            let mut steps = Vec::new();
            let address = SocketAddr::new(ip, context.port);
            let result = self.evaluate_address(context, &decision, address, &mut steps);
            let result =
                result.map_err(|denied| if is_name { denied.of_address() } else { denied });
            addresses.push((ip, steps, result));
        }
        // As the dialer does: one admitted address is enough, else the first denial is reported.
        let admitted = addresses.iter().find(|(_, _, result)| result.is_ok());
        let Some((ip, _, result)) = admitted.or(addresses.first()) else {
            let result = Ok(self.decided_by(&decision));
            let awaited = self
                .awaits_address(&decision)
                .map(|rule| rule.name.to_string());
            return ScenarioResult {
                awaited,
                observed: self.observed_by(&decision, None),
                asks: self.asks(&decision) != Asks::Never,
                upgrade: self.upgrade_of(&decision).cloned(),
                terms: self.terms_at(&decision, &request, None),
                via: via(None),
                ..ScenarioResult::without_addresses(steps, result)
            };
        };
        let observed = match result {
            Ok(_) => self.observed_by(&decision, Some(*ip)),
            Err(_) => Vec::new(),
        };
        let mut admitted = addresses.iter().filter(|(_, _, result)| result.is_ok());
        let asks = admitted.any(|(ip, ..)| self.asking_at(&decision, *ip).next().is_some());
        ScenarioResult {
            result: result.clone(),
            via: via(Some(*ip)).filter(|_| result.is_ok()),
            is_resolved_by_parent: false,
            awaited: None,
            observed,
            asks,
            terms: result
                .is_ok()
                .then(|| self.terms_at(&decision, &request, Some(*ip)))
                .flatten(),
            upgrade: result
                .is_ok()
                .then(|| self.upgrade_of(&decision).cloned())
                .flatten(),
            steps,
            addresses,
        }
    }

    fn observed_by(&self, decision: &RequestDecision, ip: Option<IpAddr>) -> Vec<String> {
        let observing = self.observing(decision, ip);
        observing.map(|(_, rule)| rule.name.to_string()).collect()
    }

    fn evaluated_rules(
        &self,
        steps: &[(usize, Step)],
        request: &Request<'_>,
        ip: Option<IpAddr>,
    ) -> Vec<EvaluatedRule> {
        let mut evaluated_rules: Vec<EvaluatedRule> = Vec::new();
        let mut failure = None;
        for (index, step) in steps {
            let Some(rule) = self.rules.get(*index) else {
                continue;
            };
            let (outcome, matcher) = match step {
                Step::Skipped(matcher) => ("no_match", Some(*matcher)),
                Step::Pending => ("needs_address", Some(Matcher::Networks)),
                Step::Observed => ("observes", None),
                Step::Decides => ("decides", None),
                Step::Failed(error) => {
                    // The next step has the outcome of the rule.
                    failure = Some(error.to_string());
                    continue;
                }
            };
            let (matcher, value) = match (outcome, matcher) {
                ("no_match", Some(matcher)) => {
                    let other = match matcher {
                        Matcher::Upgrade => self.otherwise_over_https(rule, *index, request),
                        _ => None,
                    };
                    let shown = || (matcher, self.value_of(rule, matcher, request, ip));
                    let (matcher, value) = other.unwrap_or_else(shown);
                    (Some(matcher), Some(value))
                }
                (_, matcher) => (matcher, None),
            };
            evaluated_rules.push(EvaluatedRule {
                rule: rule.name.to_string(),
                action: rule.action.as_str(),
                outcome,
                matcher: matcher.map(|matcher| shown_key(rule, matcher)),
                names_user: value.is_some() && matcher == Some(Matcher::Users),
                value,
                error: failure.take(),
                hidden: match request.role() {
                    Role::Tunnel => rule.matchers.hidden_by_tunnel().names().collect(),
                    Role::Forward | Role::Gateway => Vec::new(),
                },
            });
        }
        evaluated_rules
    }

    /// Why a rule with `upgrade` would not match a request over http if it came over https: a request is upgraded only
    /// where the rule matches it so.
    fn otherwise_over_https(
        &self,
        rule: &Rule,
        index: usize,
        request: &Request<'_>,
    ) -> Option<(Matcher, String)> {
        if request.scheme != Some(Scheme::Http) {
            return None;
        }
        let target = over_https(request)?;
        let request = request.to_https(&target);
        let mut steps = Vec::new();
        // What it decides is known; this is about one rule.
        drop(self.evaluate_request(&request, &mut steps));
        let of_rule = |(other, step): &(usize, Step)| match step {
            Step::Skipped(matcher) if *other == index => Some(*matcher),
            _ => None,
        };
        let matcher = steps.iter().find_map(of_rule)?;
        Some((matcher, self.value_of(rule, matcher, &request, None)))
    }

    /// The value of the request that a matcher was compared with.
    fn value_of(
        &self,
        rule: &Rule,
        matcher: Matcher,
        request: &Request<'_>,
        ip: Option<IpAddr>,
    ) -> String {
        let authority = request.destination.authority();
        let none = || "none, for the gateway".to_owned();
        match matcher {
            Matcher::Roles => request.role().as_str().to_owned(),
            Matcher::Users => {
                let groups = self.groups_of(request.user, request.groups);
                match (&rule.matchers.groups, groups.is_empty()) {
                    (None, _) => request.user.to_owned(),
                    (Some(_), true) => format!("{}, in no group", request.user),
                    (Some(_), false) => {
                        format!("{}, in {}", request.user, groups.join(", "))
                    }
                }
            }
            Matcher::Upgrade => match (request.scheme, authority) {
                (Some(Scheme::Https), Some(authority)) => {
                    format!("port {}, which `ports` does not name", authority.port)
                }
                (Some(scheme), Some(authority)) => format!("{scheme} to port {}", authority.port),
                _ => format!("role {}", request.role().as_str()),
            },
            Matcher::Ports => authority.map_or_else(none, |authority| authority.port.to_string()),
            Matcher::Methods => request.method.to_owned(),
            Matcher::ClientNetworks => request.client.to_string(),
            Matcher::Domains => authority.map_or_else(none, |authority| authority.host.to_string()),
            Matcher::Paths => shown_path(rule, request),
            Matcher::Networks => ip.map_or_else(none, |ip| ip.to_string()),
            Matcher::Time => match &rule.matchers.time {
                Some(schedule) => schedule.show(request.time),
                None => String::new(),
            },
            Matcher::When => "false".to_owned(),
        }
    }
}

/// The path of a request that a rule does not match.
fn shown_path(rule: &Rule, request: &Request<'_>) -> String {
    let RequestPath::Sent(path, readings) = RequestPath::of(request) else {
        return "none".to_owned();
    };
    let shown = String::from_utf8_lossy(path).into_owned();
    let paths = rule.matchers.paths.as_ref();
    match paths.is_some_and(|paths| readings.is_any_below(paths.prefixes())) {
        true => format!("{shown}, which servers may read in several ways"),
        false => shown,
    }
}

/// The configuration key of a matcher in this rule.
fn shown_key(rule: &Rule, matcher: Matcher) -> &'static str {
    let matchers = &rule.matchers;
    match (matcher, &matchers.users, &matchers.groups) {
        (Matcher::Users, None, Some(_)) => "groups",
        (Matcher::Users, Some(_), Some(_)) => "users, groups",
        _ => matcher.key(),
    }
}

#[cfg(test)]
mod tests;
