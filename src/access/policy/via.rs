//! Which way a request takes out: to its target itself, or through a parent proxy.
//!
//! The one decision: the rule that decides, else a hook or a script, else the default, which does not hold for
//! `no_proxy`. Serving, `explain` and `policy_tests` share it.

use std::fmt;
use std::net::IpAddr;

use super::evaluate::RequestDecision;
use super::trace::NoTrace;
use super::{Admission, DecidedBy, Denied, Domains, Name, NameKey, Networks, Policy};
use crate::http::target::Host;

/// A way out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// To the target itself.
    #[default]
    Direct,
    /// Through the parent of this name.
    Parent(Name),
}

/// The ways out of a policy with parents.
#[derive(Debug, Default)]
pub struct WaysOut {
    /// That of requests for which no rule, hook or script says one.
    pub default: Via,
    /// Domains that the default does not hold for.
    pub except_domains: Domains,
    /// The same of addresses.
    pub except_networks: Networks,
    /// The parents that resolve names themselves, so that no address of a name is known here.
    pub resolving: Vec<Name>,
}

impl Via {
    /// The word for the way without a parent.
    pub const DIRECT: &'static str = "direct";

    /// The way that a hook or a script names. Whether there is such a parent is not known here.
    pub fn named(text: &str) -> Option<Via> {
        match text {
            Via::DIRECT => Some(Via::Direct),
            name => Name::parse_parent(name).ok().map(Via::Parent),
        }
    }

    /// The parent.
    pub fn parent(&self) -> Option<&Name> {
        match self {
            Via::Direct => None,
            Via::Parent(name) => Some(name),
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.parent().map_or(Via::DIRECT, Name::as_str))
    }
}

impl WaysOut {
    /// Whether this parent resolves names itself.
    pub fn is_resolving(&self, parent: &Name) -> bool {
        self.resolving.contains(parent)
    }

    /// Whether the default does not hold for a target, of which an address may be known.
    fn excepts(&self, host: &Host, ip: Option<IpAddr>) -> bool {
        let by_name = |name: &str| {
            let key = NameKey::new(name);
            self.except_domains.matching(&key).is_some()
        };
        host.name().is_some_and(by_name)
            || host
                .ip()
                .or(ip)
                .is_some_and(|ip| self.except_networks.matching(ip.to_canonical()).is_some())
    }
}

impl Policy {
    /// The same policy with these ways out; none without parents.
    #[must_use]
    pub fn with_ways(self, ways: Option<WaysOut>) -> Policy {
        Policy {
            ways: ways.map(Into::into),
            ..self
        }
    }

    /// The ways out, where there are parents.
    pub fn ways(&self) -> Option<&WaysOut> {
        self.ways.as_deref()
    }

    /// The way out for `host`, at `ip` where that is known. `chosen` is what a hook or a script says.
    pub(super) fn via<'a>(
        &'a self,
        decision: &RequestDecision,
        host: &Host,
        ip: Option<IpAddr>,
        chosen: Option<&'a Via>,
    ) -> &'a Via {
        const DIRECT: &Via = &Via::Direct;
        let Some(ways) = &self.ways else {
            return DIRECT;
        };
        let rule = match ip {
            Some(ip) => {
                let deciding = self.deciding(decision, ip.to_canonical(), &mut NoTrace);
                deciding.rule
            }
            None => decision.decides,
        };
        let of_rule = rule.and_then(|index| self.rules.get(index)?.via.as_ref());
        match of_rule.or(chosen) {
            Some(via) => via,
            None if ways.excepts(host, ip) => DIRECT,
            None => &ways.default,
        }
    }

    /// The parent that resolves the name of this target itself.
    pub(super) fn resolving_parent<'a>(
        &'a self,
        decision: &RequestDecision,
        host: &Host,
        chosen: Option<&'a Via>,
    ) -> Option<&'a Name> {
        let ways = self.ways.as_ref().filter(|_| host.is_name())?;
        let parent = self.via(decision, host, None, chosen).parent()?;
        ways.is_resolving(parent).then_some(parent)
    }

    /// What admits a request of whose target no address will be known.
    pub(super) fn admit_without_address(
        &self,
        decision: &RequestDecision,
    ) -> Result<DecidedBy, Denied> {
        match self.awaits_address(decision) {
            // It is not known whether it would deny.
            Some(rule) => Err(Denied::request(DecidedBy::Rule(rule.name.clone()))),
            None => Ok(self.decided_by(decision)),
        }
    }
}

impl Admission {
    /// The way out of a request for `host`, at `ip` where that is known. `chosen` is what a hook or a script says.
    pub fn via<'a>(&'a self, host: &Host, ip: Option<IpAddr>, chosen: Option<&'a Via>) -> &'a Via {
        self.policy.via(&self.decision, host, ip, chosen)
    }

    /// The parent that resolves the name of this target itself; none for an address.
    pub fn resolving_parent<'a>(
        &'a self,
        host: &Host,
        chosen: Option<&'a Via>,
    ) -> Option<&'a Name> {
        self.policy.resolving_parent(&self.decision, host, chosen)
    }

    /// What admits a request whose target a parent resolves.
    ///
    /// # Errors
    /// A rule with `networks` could decide otherwise.
    pub fn admit_without_address(&self) -> Result<DecidedBy, Denied> {
        self.policy.admit_without_address(&self.decision)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Action, Guard, Matchers, Moment, Rule, Rules, Scenario};
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn rule(text: &str, domain: &str, networks: &[&str], via: Option<Via>) -> Rule {
        Rule {
            name: name(text),
            action: Action::Admit,
            matchers: Matchers {
                domains: (!domain.is_empty()).then(|| Domains::parse([domain]).unwrap().into()),
                networks: (!networks.is_empty()).then(|| Networks::parse(networks).unwrap()),
                ..Matchers::default()
            },
            upgrade: None,
            asks: false,
            tunnel: None,
            via,
        }
    }

    fn admission(policy: &Arc<Policy>, target: &str) -> (Admission, Host) {
        let time = Moment::parse("2026-11-24T10:00:00Z").unwrap();
        let scenario = Scenario::new("alice", target, None, time).unwrap();
        let request = scenario.request();
        let host = request.host().unwrap().clone();
        (policy.admit_request(&request).unwrap(), host)
    }

    #[test]
    fn the_rule_then_the_script_then_the_default_but_for_no_proxy() {
        let corp = || Via::Parent(name("corp"));
        let rules = vec![
            rule("near", "near.test", &[], Some(Via::Direct)),
            rule("net", "", &["5.6.7.0/24"], Some(Via::Parent(name("net")))),
            rule("far", "far.test", &[], Some(corp())),
        ];
        let rules = Rules::new(rules, super::super::Decision::Admit, &Default::default()).unwrap();
        let ways = WaysOut {
            default: Via::Parent(name("out")),
            except_domains: Domains::parse([".own.test"]).unwrap(),
            except_networks: Networks::parse(["1.2.3.0/24"]).unwrap(),
            resolving: vec![name("out")],
        };
        let policy = Policy::new(Guard::default(), rules);
        let without = Arc::new(policy.clone());
        let policy = Arc::new(policy.with_ways(Some(ways)));
        let script = Via::Parent(name("script"));
        for (target, ip, chosen, expected) in [
            ("near.test:443", None, Some(&script), "direct"),
            ("far.test:443", None, Some(&script), "corp"),
            ("far.test:443", Some("5.6.7.1"), None, "net"),
            ("x.test:443", None, Some(&script), "script"),
            ("x.test:443", None, Some(&Via::Direct), "direct"),
            ("x.test:443", None, None, "out"),
            ("a.own.test:443", None, None, "direct"),
            ("a.own.test:443", None, Some(&script), "script"),
            ("x.test:443", Some("1.2.3.9"), None, "direct"),
            ("1.2.3.9:443", None, None, "direct"),
        ] {
            let (admission, host) = admission(&policy, target);
            let ip: Option<IpAddr> = ip.map(|ip| ip.parse().unwrap());
            let via = admission.via(&host, ip, chosen);
            assert_eq!(via.to_string(), expected, "{target} {ip:?} {chosen:?}");
            let (admission, host) = self::admission(&without, target);
            assert_eq!(admission.via(&host, ip, chosen), &Via::Direct);
        }
        // Which rule decides at the address is not known.
        let (admission, host) = admission(&policy, "x.test:443");
        assert_eq!(admission.resolving_parent(&host, None), Some(&name("out")));
        let denied = admission.admit_without_address().unwrap_err();
        assert_eq!(denied.to_string(), "denied by net");
    }
}
