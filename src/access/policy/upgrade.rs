//! What a rule does with a request that it admits: sends it over verified TLS, with fields that the client never sees.

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::evaluate::RequestDecision;
use super::trace::NoTrace;
use super::{Policy, Request, Scenario};
use crate::http::target::{Authority, Scheme};

/// The key `upgrade` of a rule, with its `inject`.
///
/// `Debug` shows no value of a field.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Upgrade {
    fields: Vec<InjectedField>,
}

/// A field that is written into the request, from a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct InjectedField {
    name: HeaderName,
    /// Marked as sensitive.
    value: HeaderValue,
    /// The name of the secret that it is made of.
    secret: Box<str>,
}

impl Policy {
    /// How the rule that decides without an address has the request sent.
    pub(super) fn upgrade_of(&self, decision: &RequestDecision) -> Option<&Arc<Upgrade>> {
        self.rules.get(decision.decides?)?.upgrade.as_ref()
    }

    /// The target over TLS of a request that the policy sends so: one over http, where the rule that decides about it as
    /// one over https has `upgrade`. It is then evaluated as that. Port 80 becomes 443, and another port stays.
    #[inline]
    pub fn upgraded(&self, request: &Request<'_>) -> Option<Authority> {
        let may_be = self.rules.have_upgrades() && request.scheme == Some(Scheme::Http);
        may_be.then(|| self.find_upgraded(request)).flatten()
    }

    fn find_upgraded(&self, request: &Request<'_>) -> Option<Authority> {
        let target = over_https(request)?;
        let decision = self.evaluate_request(&request.to_https(&target), &mut NoTrace);
        let is_upgraded = self.upgrade_of(&decision.ok()?).is_some();
        is_upgraded.then_some(target)
    }

    /// The names of the fields that the deciding rule writes into this request.
    pub fn injected(&self, scenario: &Scenario) -> Vec<String> {
        let upgrade = self.evaluate_scenario(scenario).upgrade;
        let fields = upgrade.iter().flat_map(|upgrade| upgrade.fields());
        fields.map(|field| field.name.to_string()).collect()
    }

    /// Whether the rule that decides without an address writes fields into the request.
    pub(super) fn injects(&self, decision: &RequestDecision) -> bool {
        let upgrade = self.upgrade_of(decision);
        upgrade.is_some_and(|upgrade| !upgrade.fields.is_empty())
    }
}

impl Upgrade {
    /// An upgrade that writes these fields.
    pub fn new(fields: Vec<InjectedField>) -> Self {
        Self { fields }
    }

    /// The fields to write, in order.
    pub fn fields(&self) -> &[InjectedField] {
        &self.fields
    }
}

impl InjectedField {
    /// A field whose value is made of the secret of this name.
    pub fn new(name: HeaderName, mut value: HeaderValue, secret: &str) -> Self {
        value.set_sensitive(true);
        Self {
            name,
            value,
            secret: secret.into(),
        }
    }

    /// The name of the field.
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// The value, for the request alone.
    pub fn value(&self) -> &HeaderValue {
        &self.value
    }

    /// The name of the secret.
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

impl fmt::Display for InjectedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from the secret {}", self.name, self.secret)
    }
}

impl fmt::Debug for InjectedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.fields).finish()
    }
}

/// The target over https of a request over http.
pub(super) fn over_https(request: &Request<'_>) -> Option<Authority> {
    let sent = request.destination.authority()?;
    Some(Authority {
        host: sent.host.clone(),
        port: match sent.port == Scheme::Http.default_port() {
            true => Scheme::Https.default_port(),
            false => sent.port,
        },
    })
}
