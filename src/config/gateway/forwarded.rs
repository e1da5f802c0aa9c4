//! `tollgate.gateway.forwarded`: the fields that tell upstreams who the client is.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::egress;
use super::super::keys::form::{Form, OneOf};
#[cfg(test)]
use super::super::keys::shape::Shape;
use super::super::keys::{keys, settings};
use super::super::reader::{Item, Section};
use crate::access::policy::Networks;
use crate::http::fields::{ForwardingAction, ForwardingActions};

const ACTIONS: OneOf<ForwardingAction> = OneOf(&[
    ("append", ForwardingAction::Append),
    ("replace", ForwardingAction::Replace),
    ("remove", ForwardingAction::Remove),
]);

settings! {
    /// What tells an upstream who the client is. Other fields of this kind are removed from requests.
    pub struct ForwardedKeys {
        /// `Forwarded` (RFC 7239), with `for` and `proto`. `replace` names the client alone, `append` adds it behind what a
        /// client in `trusted` sends, and `remove` sends none.
        forwarded: ForwardingAction = ForwardingAction::Remove, ACTIONS;
        /// The same for `X-Forwarded-For`, and with it `X-Forwarded-Proto`, of which `append` keeps the one that is sent.
        x_forwarded_for: ForwardingAction = ForwardingAction::Replace, ACTIONS;
        /// The clients whose fields `append` keeps, such as a proxy in front of Tollgate. Those of others are replaced.
        trusted: Arc<Networks> = Arc::default(), NetworkList;
    }
}

/// What tells upstreams who the client is, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// What becomes of each field.
    pub actions: ForwardingActions,
    trusted: Arc<Networks>,
}

impl Forwarding {
    /// Whether the fields that this client sends may be kept.
    pub fn trusts(&self, client: IpAddr) -> bool {
        self.trusted.matching(client).is_some()
    }
}

impl From<&ForwardedKeys> for Forwarding {
    fn from(keys: &ForwardedKeys) -> Self {
        Self {
            actions: ForwardingActions {
                forwarded: keys.forwarded,
                x_forwarded: keys.x_forwarded_for,
            },
            trusted: Arc::clone(&keys.trusted),
        }
    }
}

/// Reports an `append` that adds to nothing.
pub(super) fn check(gateway: &Section<'_>, keys: &ForwardedKeys) {
    let appends = Forwarding::from(keys).actions.append();
    if appends && keys.trusted.iter().next().is_none() {
        let remedy = "name the proxies in front, as in `trusted: [192.0.2.7]`, or write replace";
        gateway.report("forwarded", "append, and no client is trusted", remedy);
    }
}

/// A list of networks.
struct NetworkList;

impl Form<Arc<Networks>> for NetworkList {
    fn read(&self, item: &Item<'_>) -> Option<Arc<Networks>> {
        egress::networks(&item.list()?).map(Arc::new)
    }

    fn show(&self, value: &Arc<Networks>) -> String {
        let networks: Vec<_> = value.iter().map(|it| it.to_string()).collect();
        format!("[{}]", networks.join(", "))
    }

    #[cfg(test)]
    fn shape(&self) -> Shape {
        Shape::network().list(usize::MAX)
    }
}
