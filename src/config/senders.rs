//! `proxy_protocol` of a listener: who may name a client in a PROXY protocol header.

use std::net::IpAddr;
use std::sync::Arc;

use super::egress;
use super::keys::form::Absent::Required;
use super::keys::form::{Form, Raw};
use super::keys::keys;
#[cfg(test)]
use super::keys::shape::Shape;
use super::reader::Item;
use crate::access::policy::Networks;

/// What to write in place of `true`.
pub(super) const REMEDY: &str =
    "name the load balancers, as in `proxy_protocol: { from: [192.0.2.7] }`";

/// Who may send a PROXY protocol header: whom it names is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Senders {
    /// Whoever connects.
    Anyone,
    /// Peers in these networks; others are refused.
    From(Arc<Networks>),
}

impl Senders {
    /// Whether `peer` may send a header.
    pub fn include(&self, peer: IpAddr) -> bool {
        match self {
            Self::Anyone => true,
            Self::From(networks) => networks.matching(peer).is_some(),
        }
    }

    /// Whether a whole family of addresses may.
    pub(super) fn are_anyone(&self) -> bool {
        match self {
            Self::Anyone => true,
            Self::From(networks) => networks.iter().any(|network| network.prefix_len() == 0),
        }
    }
}

keys! {
    /// The senders of a listener's headers.
    pub(super) struct SenderKeys<'d> {
        /// The networks of the load balancers, as they connect to the listener. A connection from elsewhere is refused
        /// (`proxy_header_untrusted`).
        from: Option<Item<'d>> = Required, Raw => Shape::network().some();
    }
}

/// `true`, `false`, or a map with the senders.
pub(super) struct ProxyProtocol;

impl Form<Option<Senders>> for ProxyProtocol {
    fn read(&self, item: &Item<'_>) -> Option<Option<Senders>> {
        if !item.is_map() {
            return item.flag().map(|on| on.then_some(Senders::Anyone));
        }
        let mut section = item.section();
        let keys = SenderKeys::take(&mut section);
        if keys.from.is_none() {
            section.report("from", "missing", "write one such as [192.0.2.7]");
        }
        section.finish();
        let from = keys.from?;
        let items = from.list()?;
        if items.is_empty() {
            let advice = "write the addresses of the load balancers, such as [192.0.2.7]";
            from.report("an empty list, which refuses every connection", advice);
            return None;
        }
        egress::networks(&items).map(|networks| Some(Senders::From(Arc::new(networks))))
    }

    fn show(&self, value: &Option<Senders>) -> String {
        match value {
            None => "false".to_owned(),
            Some(Senders::Anyone) => "true".to_owned(),
            Some(Senders::From(networks)) => format!("{networks:?}"),
        }
    }

    #[cfg(test)]
    fn shape(&self) -> Shape {
        Shape::Either(vec![Shape::Flag, Shape::Map(SenderKeys::keys)])
    }
}
