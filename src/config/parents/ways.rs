//! Which requests go through parents: the default, its exceptions, and what the rules say; and whether all of it fits.

use std::net::IpAddr;

use super::super::egress::{entry, report_entries};
use super::super::host;
use super::super::reader::{Item, nearest};
use super::{Fallback, Parent};
use crate::access::policy::{Domains, Name, Networks, Via, WaysOut};

/// The parents as they are written.
#[derive(Default)]
pub(in super::super) struct Written<'d> {
    pub(super) names: Vec<Name>,
    /// Each with its `fallback`, and its place.
    pub(super) parents: Vec<(Parent, Option<Item<'d>>, Item<'d>)>,
}

/// Reads the value of a `via`: `direct`, or the name of a parent.
pub(in super::super) fn read_via(item: &Item<'_>, names: &[Name]) -> Option<Via> {
    let text = item.text()?;
    if text == Via::DIRECT {
        return Some(Via::Direct);
    }
    let found = names.iter().find(|name| name.as_str() == text);
    if found.is_none() {
        let known = names.iter().map(Name::as_str);
        let remedy = match nearest(text, known.chain([Via::DIRECT])) {
            Some(near) => format!("did you mean {near}?"),
            None => "name one of `tollgate.parents`, or write direct".to_owned(),
        };
        item.report("no such parent", remedy);
    }
    found.cloned().map(Via::Parent)
}

impl Written<'_> {
    /// The names of all parents, in order or not.
    pub(in super::super) fn names(&self) -> &[Name] {
        &self.names
    }

    /// Reads what each parent falls back to, now that all names are known.
    pub(super) fn settle_fallbacks(&mut self) {
        let names = &self.names;
        for (parent, item, _) in &mut self.parents {
            let Some(item) = item else { continue };
            if item.is_word("none") {
                continue;
            }
            if let Some(via) = read_via(item, names) {
                parent.fallback = Fallback::Via(via);
            }
        }
        for (parent, item, _) in &self.parents {
            let Some(item) = item else { continue };
            let next = self.next(parent);
            if let Some(next) = next
                && next.resolves_names != parent.resolves_names
            {
                item.report(
                    "a parent with another value of `names`, which would be told what the first one is not",
                    "give both parents the same `names`",
                );
            }
            // Each parent has one at most, so a circle comes back within their number.
            let mut after = next;
            for _ in 0..self.parents.len() {
                let Some(on) = after else { break };
                if on.name == parent.name {
                    item.report(
                        "falls back to itself, at last",
                        "end with `none` or `direct`",
                    );
                    break;
                }
                after = self.next(on);
            }
        }
    }

    /// The parent that this one falls back to.
    fn next(&self, parent: &Parent) -> Option<&Parent> {
        let Fallback::Via(Via::Parent(name)) = &parent.fallback else {
            return None;
        };
        let mut parents = self.parents.iter().map(|(parent, ..)| parent);
        parents.find(|parent| parent.name == *name)
    }

    /// The ways out; none without parents.
    pub(in super::super) fn ways(
        &self,
        via: Option<&Item<'_>>,
        no_proxy: Option<&Item<'_>>,
    ) -> Option<WaysOut> {
        let default = via.and_then(|item| read_via(item, &self.names));
        let (except_domains, except_networks) = no_proxy.map(exceptions).unwrap_or_default();
        let default = default.unwrap_or_default();
        if let Some(item) = no_proxy
            && default == Via::Direct
            && item.list().is_some_and(|items| !items.is_empty())
        {
            item.warn(
                "has no effect: no parent is the default",
                "name one as `tollgate.via`, or remove the key",
            );
        }
        let resolving = self.parents.iter();
        let resolving = resolving.filter(|(parent, ..)| parent.resolves_names);
        let ways = WaysOut {
            default,
            except_domains,
            except_networks,
            resolving: resolving.map(|(parent, ..)| parent.name.clone()).collect(),
        };
        (!self.names.is_empty()).then_some(ways)
    }

    /// Warns of parents that see what the policy does not.
    pub(in super::super) fn warn(&self) {
        for (parent, _, item) in &self.parents {
            if parent.resolves_names
                && let Some(item) = item.section().item("names")
            {
                item.warn(
                    format!(
                        "{} resolves names itself: address rules, `egress.allow_networks` and `egress.deny_networks`, and \
                         the guard of private addresses see only names there",
                        parent.name
                    ),
                    "write `names: resolved`, unless the parent has rules of its own for private addresses",
                );
            }
        }
    }

    /// The parents for the program.
    pub(in super::super) fn finish(self) -> super::Parents {
        self.parents
            .into_iter()
            .map(|(parent, ..)| parent)
            .collect()
    }
}

/// The entries of `no_proxy`: domains, and networks or addresses.
fn exceptions(item: &Item<'_>) -> (Domains, Networks) {
    let items = item.list().unwrap_or_default();
    let is_network = |item: &Item<'_>| {
        let text = entry(item).unwrap_or_default();
        let host = text.split('/').next().unwrap_or(text);
        host.parse::<IpAddr>().is_ok()
    };
    let (networks, domains): (Vec<Item<'_>>, Vec<Item<'_>>) =
        items.into_iter().partition(is_network);
    let texts = |items: &[Item<'_>]| -> Vec<String> {
        let texts = items.iter().map(|item| entry(item).unwrap_or_default());
        texts.map(str::to_owned).collect()
    };
    let domains = report_entries(&domains, Domains::parse(texts(&domains)), |_| None);
    let networks = report_entries(&networks, Networks::parse(texts(&networks)), host::network);
    (domains.unwrap_or_default(), networks.unwrap_or_default())
}
