//! Invariants of lists of domains and of networks, for the fuzz target.

#![expect(
    clippy::panic,
    reason = "a broken invariant is what a fuzz target looks for"
)]

use std::net::IpAddr;

use ipnet::IpNet;

use super::{DomainMatch, Domains, NameKey};
use crate::access::policy::{EntryError, EntryProblem, Networks};
use crate::http::target::Host;
use crate::text::fuzz::{decode, shape};

/// Lines above this number are read only as a part of their list.
const MAX_ALONE: usize = 64;

/// Reads `data` as a list file of domains, as entries of domains and as entries of networks.
///
/// Every name of a list is normalised, matches, and matches alike when the set is written out and read again. A
/// list has what its lines have alone, errors too. Every network that is listed covers its addresses. Errors
/// name lines that exist.
///
/// # Panics
/// An invariant does not hold.
pub fn lists(data: &[u8]) -> String {
    let text = match decode(data) {
        Ok(text) => text,
        Err(error) => return error,
    };
    let lines = text.lines().count();
    let mut list = Domains::default();
    let in_file = list.extend_list(&text).err().unwrap_or_default();
    check_numbers(&text, lines, &in_file);
    check_domains(&text, &list);
    check_lines(&text, &list, &in_file);

    let entries = Domains::parse(text.lines());
    match &entries {
        Ok(domains) => check_domains(&text, domains),
        Err(errors) => check_numbers(&text, lines, errors),
    }
    let networks = Networks::parse(text.lines());
    match &networks {
        Ok(networks) => check_networks(&text, networks),
        Err(errors) => check_numbers(&text, lines, errors),
    }
    let first = |errors: &[EntryError]| {
        let first = errors.first();
        first.map_or_else(|| "read".to_owned(), |error| shape(&error.problem))
    };
    format!(
        "{} of {} / {} / {}",
        first(&in_file),
        list.len().min(2),
        first(&entries.err().unwrap_or_default()),
        first(&networks.err().unwrap_or_default())
    )
}

fn check_numbers(text: &str, lines: usize, errors: &[EntryError]) {
    for error in errors {
        assert!((1..=lines).contains(&error.number), "{error}: {text:?}");
        let printed = error.to_string();
        assert!(!printed.contains(char::is_control), "{printed:?}");
    }
    assert!(errors.is_sorted_by_key(|error| error.number), "{text:?}");
}

fn check_domains(text: &str, domains: &Domains) {
    let mut written = Vec::new();
    for (name, meaning) in domains.names.iter() {
        let Ok(name) = std::str::from_utf8(name) else {
            panic!("{:?}: {text:?}", name.escape_ascii().to_string());
        };
        assert_eq!(Host::parse(name.as_bytes()), Ok(Host::Name(name.into())));
        let expected = if meaning.is_exact() {
            DomainMatch::Exact(name)
        } else {
            DomainMatch::Suffix(name)
        };
        let found = domains.matching(&NameKey::new(name));
        assert_eq!(found, Some(expected), "{text:?}");
        if meaning.is_exact() {
            written.push(name.to_owned());
        }
        if meaning.is_suffix() {
            written.push(format!(".{name}"));
            let below = format!("x.{name}");
            if let Ok(Host::Name(_)) = Host::parse(below.as_bytes()) {
                let found = domains.matching(&NameKey::new(&below));
                assert!(found.is_some(), "{below:?}: {text:?}");
            }
        }
    }
    assert_eq!(domains.is_empty(), written.is_empty(), "{text:?}");
    assert_eq!(Domains::parse(&written).as_ref(), Ok(domains), "{text:?}");
    let mut again = Domains::default();
    assert_eq!(again.extend_list(&written.join("\n")), Ok(()), "{text:?}");
    assert_eq!(&again, domains, "{text:?}");
}

/// Whether a list has what its lines have.
fn check_lines(text: &str, list: &Domains, errors: &[EntryError]) {
    if text.lines().nth(MAX_ALONE).is_some() {
        return;
    }
    let mut sum = Domains::default();
    let mut failed = 0;
    for (number, line) in (1..).zip(text.lines()) {
        let alone = sum.extend_list(line).err().unwrap_or_default();
        failed += counted(&alone);
        if is_whole(errors) && is_whole(&alone) {
            let here: Vec<_> = errors
                .iter()
                .filter(|error| error.number == number)
                .collect();
            let is_same = here
                .iter()
                .zip(&alone)
                .all(|(here, alone)| here.problem == alone.problem);
            assert!(
                here.len() == alone.len() && is_same,
                "line {number}: {text:?}"
            );
        }
    }
    assert_eq!(&sum, list, "{text:?}");
    assert_eq!(counted(errors), failed, "{text:?}");
}

/// How many entries were refused. The last error may stand for those that were only counted.
fn counted(errors: &[EntryError]) -> usize {
    let counts = errors.iter().map(|error| match error.problem {
        EntryProblem::More(more) => more,
        _ => 1,
    });
    counts.sum()
}

/// Whether each error is listed.
fn is_whole(errors: &[EntryError]) -> bool {
    let is_count = |error: &EntryError| matches!(error.problem, EntryProblem::More(_));
    !errors.last().is_some_and(is_count)
}

fn check_networks(text: &str, networks: &Networks) {
    for line in text.lines() {
        let entry = line.split('#').next().unwrap_or(line).trim();
        if entry.is_empty() {
            continue;
        }
        let written: Result<IpNet, _> = entry.parse();
        let written = written.or_else(|_| entry.parse::<IpAddr>().map(IpNet::from));
        let Ok(written) = written else {
            panic!("{entry:?} is no network: {text:?}");
        };
        assert_eq!(written, written.trunc(), "{text:?}");
        for ip in [written.network(), written.broadcast()] {
            let found = networks.matching(ip);
            let is_longer = found.is_some_and(|found| found.prefix_len() >= written.prefix_len());
            // The one network that begins with the mapped addresses does not cover IPv4.
            let is_mapped = ip != ip.to_canonical();
            assert!(is_longer || is_mapped, "{ip} of {entry:?}: {text:?}");
            assert!(
                found.is_none_or(|found| found.contains(&ip.to_canonical())),
                "{ip}: {text:?}"
            );
        }
    }
}
