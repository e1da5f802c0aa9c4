//! `tollgate.egress`: the guard, which holds for everyone.

use std::net::SocketAddr;

use super::host::{self, Mistake};
use super::keys::form::Absent::Is;
use super::keys::form::{Raw, RawList};
use super::keys::keys;
#[cfg(test)]
use super::lists::DomainFile;
use super::lists::Lists;
use super::reader::{Item, Part};
use crate::access::policy::{DomainLists, EntryError, Guard, Networks, Ports};

keys! {
    /// The guard.
    pub(super) struct Egress<'d> {
        /// Ports for CONNECT.
        connect_ports: Option<Item<'d>> = Is("[443]"), Raw => Shape::ports();
        /// Ports for `http://` requests.
        http_ports: Option<Item<'d>> = Is("any"), Raw => Shape::ports();
        /// Networks to admit although they are special-purpose (private, loopback, link-local, ...) or in
        /// `deny_networks`; the longer prefix wins. Tollgate's own listeners stay denied unless their very address is
        /// listed.
        allow_networks: Option<Item<'d>> = Is("[]"), RawList => Shape::network().list(usize::MAX);
        /// Networks to deny besides those that are special-purpose.
        deny_networks: Option<Item<'d>> = Is("[]"), RawList => Shape::network().list(usize::MAX);
        /// The only domains to admit; none admits every domain. Then a target that is an address has to be in
        /// `allow_networks`.
        allow_domains: Option<Item<'d>> = Is("[]"), RawList => Shape::domain(DomainFile::keys).list(usize::MAX);
        /// Domains to deny, whatever `allow_domains` says.
        deny_domains: Option<Item<'d>> = Is("[]"), RawList => Shape::domain(DomainFile::keys).list(usize::MAX);
    }
}

impl Egress<'_> {
    /// Reads the guard. `own_listeners` is where this program itself will listen.
    pub(super) fn read(
        part: Part<'_>,
        lists: &mut Lists<'_>,
        own_listeners: Vec<SocketAddr>,
    ) -> Guard {
        let default = Guard::default();
        let mut section = part.section();
        let egress = Egress::take(&mut section);
        let port_set = |item: &Option<Item<'_>>| item.as_ref().and_then(ports);
        let network_set = |item| networks(&items(item)).unwrap_or_default();
        let guard = Guard {
            connect_ports: port_set(&egress.connect_ports).unwrap_or(default.connect_ports),
            http_ports: port_set(&egress.http_ports).unwrap_or(default.http_ports),
            allow_networks: network_set(&egress.allow_networks),
            deny_networks: network_set(&egress.deny_networks),
            allow_domains: allow_domains(&items(&egress.allow_domains), lists),
            deny_domains: lists
                .read(&items(&egress.deny_domains), true)
                .unwrap_or_default(),
            own_listeners,
            own_addresses: default.own_addresses,
        };
        section.finish();
        guard
    }
}

/// The items of a list; none when the key is missing.
fn items<'d>(item: &Option<Item<'d>>) -> Vec<Item<'d>> {
    let items = item.as_ref().and_then(Item::list);
    items.unwrap_or_default()
}

/// A list of ports, or `any`.
pub(super) fn ports(item: &Item<'_>) -> Option<Ports> {
    if !item.is_list() {
        if item.text()? == "any" {
            return Some(Ports::any());
        }
        item.report(
            "not a list",
            "write a list such as [443, 8000-8099], or any",
        );
        return None;
    }
    let items = item.list()?;
    report_entries(&items, Ports::parse(entries(&items)), |_| None)
}

/// The items of a list of networks.
pub(super) fn networks(items: &[Item<'_>]) -> Option<Networks> {
    report_entries(items, Networks::parse(entries(items)), host::network)
}

/// A list of domains to admit that comes out empty would admit every domain.
fn allow_domains(items: &[Item<'_>], lists: &mut Lists<'_>) -> DomainLists {
    let domains = lists.read(items, false);
    if let Some(item) = items.first()
        && domains.as_ref().is_some_and(DomainLists::is_empty)
    {
        let advice = "fill the list, or write [] to admit every domain";
        item.report(
            "the list names no domain, which would admit every domain",
            advice,
        );
    }
    domains.unwrap_or_default()
}

/// The entries as text; empty for one that was reported, so that the others keep their numbers.
fn entries<'d>(items: &[Item<'d>]) -> Vec<&'d str> {
    items
        .iter()
        .map(|item| entry(item).unwrap_or_default())
        .collect()
}

pub(super) fn entry<'d>(item: &Item<'d>) -> Option<&'d str> {
    let text = item.text()?;
    // List files have comments; an entry that is one would silently be none.
    if text.contains('#') {
        item.report("has a # in it", "write comments outside of the quotes");
        return None;
    }
    Some(text)
}

/// Reports an error whose text may end in a remedy, behind a semicolon.
pub(super) fn report_with(item: &Item<'_>, text: &str, remedy: &str) {
    let (message, remedy) = text.split_once("; ").unwrap_or((text, remedy));
    item.report(message, remedy);
}

/// Reports the entries that could not be read; `usual` knows the usual mistakes.
pub(super) fn report_entries<T>(
    items: &[Item<'_>],
    read: Result<T, Vec<EntryError>>,
    usual: impl Fn(&str) -> Option<Mistake>,
) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(errors) => {
            for error in errors {
                // The last error may count what was left out, under the number of the last entry.
                if let Some(item) = items.get(error.number.saturating_sub(1)) {
                    if let Some((message, remedy)) = item.written().and_then(&usual) {
                        item.report(message, remedy);
                        continue;
                    }
                    let advice = "correct the entry or remove it";
                    report_with(item, &error.problem.to_string(), advice);
                }
            }
            None
        }
    }
}
