//! What is asked of the first bytes of a tunnel, and the judgement of those that a scenario has.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::ScenarioResult;
use crate::access::policy::evaluate::RequestDecision;
use crate::access::policy::{HelloTerms, Opening, Policy, Request, Role, Scenario, SniDemand};

/// What is asked of the first bytes of a tunnel that is admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExplainedTerms {
    /// Of the name of the host: `match`, `present` or `off`.
    pub sni: SniDemand,
    /// Whether another protocol than TLS is admitted.
    pub non_tls: bool,
    /// Whether an encrypted hello is admitted.
    pub ech: bool,
    /// The expression that has to be true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Whether the decision is that about a ClientHello.
    pub has_hello: bool,
}

impl ExplainedTerms {
    pub(super) fn new(terms: &HelloTerms, scenario: &Scenario) -> Self {
        Self {
            sni: terms.sni,
            non_tls: terms.non_tls,
            ech: terms.ech,
            when: terms.when.as_ref().map(ToString::to_string),
            has_hello: scenario.hello.is_some(),
        }
    }
}

impl fmt::Display for ExplainedTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sni = match self.sni {
            SniDemand::Off => "off",
            SniDemand::Present => "present",
            SniDemand::Match => "match",
        };
        let word = |is_admitted| if is_admitted { "admit" } else { "deny" };
        let (non_tls, ech) = (word(self.non_tls), word(self.ech));
        write!(
            f,
            "the ClientHello in the tunnel: sni {sni}, non_tls {non_tls}, ech {ech}"
        )?;
        if let Some(when) = &self.when {
            write!(f, ", when {when}")?;
        }
        if !self.has_hello {
            f.write_str("; it is not judged here: give one with --sni")?;
        }
        Ok(())
    }
}

impl Policy {
    /// Evaluates a scenario, its hello too, with every step.
    pub(in crate::access::policy) fn evaluate_scenario(
        &self,
        scenario: &Scenario,
    ) -> ScenarioResult {
        let mut evaluated = self.evaluate_as_request(scenario);
        if let (Ok(_), Some(terms), Some(hello)) =
            (&evaluated.result, &evaluated.terms, &scenario.hello)
        {
            let opening = Opening::Hello(hello);
            if let Err(denied) = terms.admit(Some(self), &scenario.request(), opening) {
                evaluated.result = Err(denied);
                evaluated.observed.clear();
                evaluated.awaited = None;
            }
        }
        evaluated
    }

    /// Whether the ClientHello in the tunnel of a scenario is read.
    pub fn reads_hello(&self, scenario: &Scenario) -> bool {
        self.evaluate_as_request(scenario).terms.is_some()
    }

    /// The terms of a tunnel to this address, where its first bytes are read.
    pub(super) fn terms_at(
        &self,
        decision: &RequestDecision,
        request: &Request<'_>,
        ip: Option<IpAddr>,
    ) -> Option<Arc<HelloTerms>> {
        if request.role() != Role::Tunnel {
            return None;
        }
        let rule = match ip {
            Some(ip) => self.deciding_at(decision, ip),
            None => decision.decides,
        };
        let terms = self.terms_of(rule).filter(|terms| terms.reads());
        terms.cloned()
    }
}
