//! The result of the evaluation of a request that was not sent.

use std::net::IpAddr;
use std::sync::Arc;

use super::{ExplainedDecision, Explanation};
use crate::access::policy::trace::Step;
use crate::access::policy::{DecidedBy, Denied, HelloTerms, Upgrade, Via};

impl Explanation {
    /// Takes the way out of `other`, which a script has chosen, and what is decided by it.
    pub fn take_way(&mut self, other: Explanation) {
        if other.decision == ExplainedDecision::Deny {
            *self = other;
        } else if self.policy.is_none() {
            self.via = other.via;
            self.is_resolved_by_parent = other.is_resolved_by_parent;
            self.addresses = other.addresses;
            self.rule = other.rule;
            self.decision = other.decision;
        }
    }
}

/// The result of an evaluation, with its steps.
pub(in crate::access::policy) struct ScenarioResult {
    pub(in crate::access::policy) result: Result<DecidedBy, Denied>,
    /// A rule that may decide differently once there is an address.
    pub(in crate::access::policy) awaited: Option<String>,
    pub(in crate::access::policy) observed: Vec<String>,
    /// Whether it is put to the external authoriser, if it is admitted; without an address, whether it may be.
    pub(in crate::access::policy) asks: bool,
    /// How the request is sent, if it is admitted.
    pub(in crate::access::policy) upgrade: Option<Arc<Upgrade>>,
    /// What is asked of the first bytes of the tunnel, if it is admitted.
    pub(in crate::access::policy) terms: Option<Arc<HelloTerms>>,
    /// The way out, if it is admitted and there are parents.
    pub(in crate::access::policy) via: Option<Via>,
    pub(super) is_resolved_by_parent: bool,
    pub(in crate::access::policy) steps: Vec<(usize, Step)>,
    pub(super) addresses: Vec<AddressSteps>,
}

/// An address, the steps about it, and what is decided.
pub(super) type AddressSteps = (IpAddr, Vec<(usize, Step)>, Result<DecidedBy, Denied>);

impl ScenarioResult {
    pub(super) fn without_addresses(
        steps: Vec<(usize, Step)>,
        result: Result<DecidedBy, Denied>,
    ) -> ScenarioResult {
        ScenarioResult {
            result,
            awaited: None,
            observed: Vec::new(),
            asks: false,
            upgrade: None,
            terms: None,
            via: None,
            is_resolved_by_parent: false,
            steps,
            addresses: Vec::new(),
        }
    }
}
