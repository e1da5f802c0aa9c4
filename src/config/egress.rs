//! `tollgate.egress`: the lists of the policy, from the file and from list files.

use std::net::SocketAddr;

use super::files::{self, Base};
use super::problem::Sink;
use super::reader::{Item, Section};
use crate::policy::{Domains, EgressRules, EntryError, Networks, Ports};

/// A block list of some ten million domains.
const MAX_LIST: u64 = 256 << 20;

/// Reads the rules. `own_listeners` is where this program itself will listen.
pub(super) fn read(
    tollgate: &mut Section<'_>,
    sink: &Sink,
    base: &Base,
    own_listeners: Vec<SocketAddr>,
) -> EgressRules {
    let default = EgressRules::default();
    let mut egress = tollgate.section("egress");
    let rules = EgressRules {
        connect_ports: ports(&mut egress, "connect_ports").unwrap_or(default.connect_ports),
        http_ports: ports(&mut egress, "http_ports").unwrap_or(default.http_ports),
        allow_networks: networks(&mut egress, "allow_networks"),
        deny_networks: networks(&mut egress, "deny_networks"),
        allow_domains: allow_domains(&mut egress, sink, base),
        deny_domains: domains(&egress.list("deny_domains"), sink, base),
        own_listeners,
        own_addresses: default.own_addresses,
    };
    egress.finish();
    rules
}

fn ports(egress: &mut Section<'_>, key: &'static str) -> Option<Ports> {
    let item = egress.item(key)?;
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
    report_entries(&items, Ports::parse(entries(&items)))
}

fn networks(egress: &mut Section<'_>, key: &'static str) -> Networks {
    let items = egress.list(key);
    report_entries(&items, Networks::parse(entries(&items))).unwrap_or_default()
}

/// A list of domains to admit that comes out empty would admit every domain.
fn allow_domains(egress: &mut Section<'_>, sink: &Sink, base: &Base) -> Domains {
    let items = egress.list("allow_domains");
    let domains = domains(&items, sink, base);
    if let Some(item) = items.first()
        && domains.is_empty()
    {
        let advice = "fill the list, or write [] to admit every domain";
        item.report(
            "the list names no domain, which would admit every domain",
            advice,
        );
    }
    domains
}

fn domains(items: &[Item<'_>], sink: &Sink, base: &Base) -> Domains {
    let mut domains = Domains::default();
    for item in items {
        let Some(text) = entry(item) else {
            continue;
        };
        let Some(path) = text.strip_prefix('@') else {
            let one = std::slice::from_ref(item);
            report_entries(one, domains.extend([text]));
            continue;
        };
        let path = base.directory.join(path);
        let list = match files::read_text(&path, MAX_LIST) {
            Ok(list) => list,
            Err(error) => {
                let advice = "name a list file, relative to this file: @allowed.txt";
                item.report(format!("the list {error}"), advice);
                continue;
            }
        };
        for error in domains.extend(list.lines()).err().unwrap_or_default() {
            let message = error.problem.to_string();
            let shown = base.show(&path);
            sink.report_in(&shown, Some(error.number), "", message, None);
        }
    }
    domains
}

/// The entries as text; empty for one that was reported, so that the others keep their numbers.
fn entries<'d>(items: &[Item<'d>]) -> Vec<&'d str> {
    items
        .iter()
        .map(|item| entry(item).unwrap_or_default())
        .collect()
}

fn entry<'d>(item: &Item<'d>) -> Option<&'d str> {
    let text = item.text()?;
    // List files have comments; an entry that is one would silently be none.
    if text.contains('#') {
        item.report("has a # in it", "write comments outside of the quotes");
        return None;
    }
    Some(text)
}

fn report_entries<T>(items: &[Item<'_>], read: Result<T, Vec<EntryError>>) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(errors) => {
            for error in errors {
                // The last error may count what was left out, under the number of the last entry.
                if let Some(item) = items.get(error.number.saturating_sub(1)) {
                    let message = error.problem.to_string();
                    let (message, advice) = match message.split_once("; ") {
                        Some((message, advice)) => (message.to_owned(), advice.to_owned()),
                        None => (message, "correct the entry or remove it".to_owned()),
                    };
                    item.report(message, advice);
                }
            }
            None
        }
    }
}
