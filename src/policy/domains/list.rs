//! The lines of list files: plain domains, hosts files and adblock lists, told apart line by line.
//!
//! A line that says something else than "this name" or "this domain and all below it" is an error, never a
//! guess: dropped it would let something in, and half understood it would deny too much.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use memchr::memchr_iter;

use super::names::Meaning;
use crate::policy::entry::EntryProblem;

/// What hosts files say about the machine itself. Nobody lists these.
const SELF_ENTRIES: [&str; 12] = [
    "localhost",
    "localhost.localdomain",
    "local",
    "broadcasthost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
    "ip6-allhosts",
    "0.0.0.0",
];

/// Reads one line and feeds what stands in it to `take`: what to quote, and the entry or what is wrong.
///
/// A name is not checked here. When it is not one, [`explain`] finds a better reason.
pub(super) fn read_line<'a>(
    line: &'a str,
    mut take: impl FnMut(&'a str, Result<(&'a str, Meaning), EntryProblem>),
) {
    let text = without_comment(line).trim();
    match text.as_bytes() {
        [] => return,
        // `!#include` and `!+ NOT_PLATFORM(..)`; `!####` is decoration.
        [b'!', b'#', b'a'..=b'z', ..] | [b'!', b'+', ..] => {
            return take(text, Err(EntryProblem::Directive));
        }
        [b'!', ..] => return,
        [b'[', ..] if is_header(text) => return,
        _ => {}
    }
    if let Some((first, names)) = text.split_once(|c: char| c.is_ascii_whitespace())
        && let Some(address) = parse_address(first)
    {
        let mut listed = names.split_ascii_whitespace().filter(|name| !is_self(name));
        if is_sink(address) {
            listed.for_each(|name| take(name, Ok((name, Meaning::EXACT))));
        } else if listed.next().is_some() {
            take(text, Err(EntryProblem::HostsAddress));
        }
        return;
    }
    take(text, Ok(parse_entry(text)));
}

/// Why a line that is no domain is none, in the terms of the format that it seems to be in.
pub(super) fn explain(text: &str, problem: EntryProblem) -> EntryProblem {
    if !matches!(problem, EntryProblem::Domain(_) | EntryProblem::Wildcard) {
        return problem;
    }
    if text.starts_with("@@") {
        EntryProblem::Exception
    } else if text.len() > 1 && text.starts_with('/') && text.ends_with('/') {
        EntryProblem::Expression
    } else if text.contains('#') {
        EntryProblem::Hash
    } else if text.contains('$') {
        EntryProblem::Options
    } else if text.contains('/') {
        EntryProblem::Path
    } else if problem != EntryProblem::Wildcard && text.contains(['|', '^']) {
        EntryProblem::Pattern
    } else {
        problem
    }
}

/// One domain: `name`, `.name`, `*.name` or `||name^`.
fn parse_entry(text: &str) -> (&str, Meaning) {
    let below = text
        .strip_prefix('.')
        // Widely published, and meant as `.name`: the domain itself is in it.
        .or_else(|| text.strip_prefix("*."))
        .or_else(|| text.strip_prefix("||")?.strip_suffix('^'));
    match below {
        Some(name) => (name, Meaning::SUFFIX),
        None => (text, Meaning::EXACT),
    }
}

/// The line up to a `#` at its start or after a space. Elsewhere a `#` is no comment: `example.org##.ad` would
/// become a rule for all of example.org.
fn without_comment(line: &str) -> &str {
    let bytes = line.as_bytes();
    memchr_iter(b'#', bytes)
        .find(|at| {
            let before = at.checked_sub(1).and_then(|before| bytes.get(before));
            before.is_none_or(u8::is_ascii_whitespace)
        })
        .and_then(|at| line.get(..at))
        .unwrap_or(line)
}

/// `[Adblock Plus 2.0]`, `[Adblock Plus]`.
fn is_header(text: &str) -> bool {
    let name = text.get(..8).unwrap_or_default();
    name.eq_ignore_ascii_case("[adblock") && text.ends_with(']')
}

/// The address at the start of a line of a hosts file, where it may have a zone: `fe80::1%lo0`.
fn parse_address(text: &str) -> Option<IpAddr> {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    address.parse().ok()
}

/// Whether names are sent nowhere by this address.
fn is_sink(address: IpAddr) -> bool {
    address.is_unspecified() || address == Ipv4Addr::LOCALHOST || address == Ipv6Addr::LOCALHOST
}

fn is_self(name: &str) -> bool {
    SELF_ENTRIES
        .iter()
        .any(|entry| entry.eq_ignore_ascii_case(name))
}
