//! Rules with `ask`: whether an admitted request is put to the external authoriser, and by which rule.

use std::net::IpAddr;

use super::evaluate::RequestDecision;
use super::trace::NoTrace;
use super::{Admission, Name, Policy, Rule, special};

/// Whether a rule with `ask` admits a request, as far as that is known before the look-up of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks<'a> {
    /// No such rule does.
    Never,
    /// This one does, whatever the address.
    By(&'a Name),
    /// The address decides which rule admits it.
    ByAddress,
}

impl Admission {
    /// Which rule puts the request to the authoriser.
    #[inline]
    pub fn asks(&self) -> Asks<'_> {
        if self.policy.rules.have_asks() {
            self.policy.asks(&self.decision)
        } else {
            Asks::Never
        }
    }

    /// The rules that put the request to the authoriser before it may be sent to this admitted address: two where the
    /// address has another one in it.
    pub fn asks_at(&self, ip: IpAddr) -> impl Iterator<Item = &Name> {
        let rules = self.policy.asking_at(&self.decision, ip);
        rules.map(|rule| &rule.name)
    }
}

impl Policy {
    /// See [`Admission::asks`].
    pub(super) fn asks(&self, decision: &RequestDecision) -> Asks<'_> {
        let without = self.asking(decision.decides);
        if self.awaits_address(decision).is_none() {
            return without.map_or(Asks::Never, |rule| Asks::By(&rule.name));
        }
        let mut pending = decision.pending.iter();
        let is_possible =
            without.is_some() || pending.any(|index| self.asking(Some(*index)).is_some());
        match is_possible {
            true => Asks::ByAddress,
            false => Asks::Never,
        }
    }

    /// The rules with `ask` that admit an address, and the IPv4 addresses in it.
    pub(super) fn asking_at(
        &self,
        decision: &RequestDecision,
        ip: IpAddr,
    ) -> impl Iterator<Item = &Rule> {
        let ip = ip.to_canonical();
        let inner = match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Some(special::embedded(ip)),
        };
        let inner = inner.into_iter().flatten().map(IpAddr::V4);
        let all = inner.chain([ip]);
        all.filter_map(|ip| self.asking(self.deciding(decision, ip, &mut NoTrace).rule))
    }

    /// The rule at this index, if it asks.
    fn asking(&self, index: Option<usize>) -> Option<&Rule> {
        self.rules.get(index?).filter(|rule| rule.asks)
    }
}
