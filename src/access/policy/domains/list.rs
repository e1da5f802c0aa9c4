//! The lines of list files: plain domains, hosts files and adblock lists, distinguished line by line.
//!
//! A line with another meaning than "this name" or "this domain and all below it" is an error, never a
//! guess: a skipped line would admit too much, and a wrong guess could deny too much.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use memchr::memchr_iter;

use super::names::Meaning;
use crate::access::policy::entry::EntryProblem;
use crate::text::is_invisible;

/// The entries of hosts files for the machine itself. These are skipped.
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

/// Reads one line and calls `take` for each entry: with the text to quote, and the entry or the error.
///
/// Names are not checked here. For an invalid one, [`explain`] finds the reason.
pub(super) fn read_line<'a>(
    line: &'a str,
    mut take: impl FnMut(&'a str, Result<(&'a str, Meaning), EntryProblem>),
) {
    let text = without_comment(line).trim_ascii();
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

/// Explains why a line is not a domain, in the terms of the format that it seems to have.
pub(super) fn explain(text: &str, problem: EntryProblem) -> EntryProblem {
    use EntryProblem::*;

    if !matches!(problem, Domain(_) | Wildcard) {
        return problem;
    }
    let has_word = |wanted: &str| {
        let mut words = text.split_ascii_whitespace();
        words.any(|word| word.eq_ignore_ascii_case(wanted))
    };
    if let Some(c) = text.chars().find(|c| is_invisible(*c)) {
        Invisible(c)
    } else if is_markup(text) {
        Markup
    } else if text.starts_with(';') || text.starts_with("//") || text.starts_with("--") {
        CommentSign
    } else if text.starts_with("@@") {
        Exception
    } else if text.starts_with('@') && !has_word("IN") && !has_word("SOA") {
        Include
    } else if is_name_server_line(text) {
        NameServer
    } else if text.starts_with(['"', '\'']) || text.ends_with(['"', '\'']) {
        Quotes
    } else if is_delimited_expression(text) {
        Expression
    } else if is_url(text) {
        Url
    } else if text.contains("=/") || text.starts_with("conf-file=") {
        Dnsmasq
    } else if text.contains('#') {
        Hash
    } else if text.starts_with('|') {
        explain_adblock(text, problem)
    } else if text.starts_with("$TTL")
        || text.starts_with("$ORIGIN")
        || ["CNAME", "SOA", "NS", "IN"]
            .iter()
            .any(|word| has_word(word))
        || (["A", "AAAA", "TXT"].iter().any(|word| has_word(word))
            && text.split_ascii_whitespace().count() > 2)
    {
        ZoneFile
    } else if text.starts_with("acl ") || has_word("dstdomain") {
        Squid
    } else if is_network(text) {
        NetworkAsDomain
    } else if is_expression(text) {
        Expression
    } else if text.contains('$') {
        Options
    } else if text.contains('/') {
        Path
    } else if text.contains([',', ';']) {
        Divider
    } else if problem == Wildcard {
        problem
    } else if text.contains('^') {
        Pattern
    } else if has_port(text) {
        PortOfDomain
    } else if text.contains([' ', '\t']) {
        SeveralDomains
    } else {
        problem
    }
}

/// `<html>`, `<!DOCTYPE`, `<?xml`, `</body>`, and not the `<<<<<<<` of a merge.
fn is_markup(text: &str) -> bool {
    let inner = text.strip_prefix('<').unwrap_or_default();
    inner.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '!' | '?' | '/'))
}

/// `local-zone: "example.org" static` of unbound, `zone "example.org" {` of BIND.
fn is_name_server_line(text: &str) -> bool {
    const STARTS: [&str; 6] = [
        "local-zone:",
        "local-data:",
        "server:",
        "zone:",
        "include:",
        "zone \"",
    ];
    STARTS.iter().any(|start| text.starts_with(start))
}

/// `||example.org^$third-party` and others that begin with a bar.
fn explain_adblock(text: &str, problem: EntryProblem) -> EntryProblem {
    if text.contains('$') {
        EntryProblem::Options
    } else if text.contains('/') {
        EntryProblem::Path
    } else if problem == EntryProblem::Wildcard {
        problem
    } else {
        EntryProblem::Pattern
    }
}

/// `https://example.org/`
fn is_url(text: &str) -> bool {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// `/^ads[0-9]+/` or `/ads/i`.
fn is_delimited_expression(text: &str) -> bool {
    text.strip_prefix('/')
        .and_then(|rest| rest.rsplit_once('/'))
        .is_some_and(|(inner, flags)| {
            !inner.is_empty() && flags.bytes().all(|byte| byte.is_ascii_lowercase())
        })
        && (text.ends_with('/') || !text.contains('.') || text.contains(['\\', '^', '$', '(', '[']))
}

/// Characters that domains never have and most regular expressions do.
fn is_expression(text: &str) -> bool {
    text.contains(['\\', '(', ')', '+', '?', '{', '}'])
        || text.starts_with(".*")
        || (text.contains('[') && text.contains(']') && !text.starts_with('['))
        || text.starts_with('^')
        || text.ends_with('$')
}

/// `10.0.0.0/8`, `2001:db8::1`, `192.0.2.1:80`, `192.0.2.1-192.0.2.9`.
fn is_network(text: &str) -> bool {
    let start = text.split(['/', '-']).next().unwrap_or_default();
    start.parse::<IpAddr>().is_ok() || text.parse::<std::net::SocketAddr>().is_ok()
}

/// `example.org:443`
fn has_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(_, port)| {
        !port.is_empty()
            && port
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'*')
    })
}

/// One domain: `name`, `.name`, `*.name` or `||name^`.
fn parse_entry(text: &str) -> (&str, Meaning) {
    let below = text
        .strip_prefix('.')
        // Common in published lists, where it means `.name`: the domain itself is included.
        .or_else(|| text.strip_prefix("*."))
        .or_else(|| text.strip_prefix("||")?.strip_suffix('^'));
    match below {
        Some(name) => (name, Meaning::SUFFIX),
        None => (text, Meaning::EXACT),
    }
}

/// The line up to a `#` at its start or after a space. Elsewhere a `#` does not begin a comment:
/// `example.org##.ad` would become an entry for all of example.org.
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

/// Whether hosts files use this address to block names.
fn is_sink(address: IpAddr) -> bool {
    address.is_unspecified() || address == Ipv4Addr::LOCALHOST || address == Ipv6Addr::LOCALHOST
}

fn is_self(name: &str) -> bool {
    SELF_ENTRIES
        .iter()
        .any(|entry| entry.eq_ignore_ascii_case(name))
}
