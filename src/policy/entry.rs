//! What the lists of the policy have in common: entries one a line, comments, all problems at once.

use std::fmt;

use crate::target::TargetError;

/// More problems than this are counted, not kept: a list file may be a million lines of something else.
const MAX_ERRORS: usize = 50;
/// As much of an entry as an error quotes.
const MAX_QUOTE: usize = 80;

/// One entry of a list that cannot be used.
///
/// Prints as `entry 3 "10.0.0.1/8": ...`; for a list file the number is the line's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {number} {}: {problem}", Quoted(.text))]
pub struct EntryError {
    /// Where the entry stands in what was read, from 1; empty lines and comments count.
    pub number: usize,
    /// The start of the entry, as written.
    pub text: Box<str>,
    /// What is wrong with it.
    pub problem: EntryProblem,
}

/// What is wrong with an entry, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryProblem {
    /// Neither a port, nor a range, nor `any`.
    #[error("not a port; write 443, 8000-8099 or any")]
    Port,
    /// A range whose end is before its start.
    #[error("the range ends before it starts")]
    PortRange,
    /// `any` among other entries.
    #[error("any stands alone, without other entries")]
    AnyNotAlone,
    /// Neither an address nor a network.
    #[error("not a network; write 10.0.0.0/8, 2001:db8::/32 or a single address")]
    Network,
    /// A network whose address has bits behind the prefix.
    #[error("has bits behind the prefix; write {0} for the network or a single address")]
    HostBits(ipnet::IpNet),
    /// An IPv4-mapped network. Refused, since `::ffff:0:0/96` from a list of bogons would mean all of IPv4.
    #[error("means IPv4; write {0} if that is what is meant")]
    Mapped(ipnet::IpNet),
    /// Not a host name.
    #[error("not a domain: {0}")]
    Domain(#[source] TargetError),
    /// `*.example.org` or another use of `*`.
    #[error("wildcards are not read; write .example.org for a domain and all below it")]
    Wildcard,
    /// An address in a list of domains.
    #[error("an address is not a domain; put it into a list of networks")]
    AddressAsDomain,
    /// How many more problems there are that are not listed.
    #[error("and {0} more entries that cannot be used")]
    More(usize),
}

/// An entry in an error: escaped, so that nothing in a list file reaches a terminal as it is.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Feeds each entry to `take`: trimmed, without what follows a `#`, not empty.
pub(super) fn read_entries<S: AsRef<str>>(
    entries: impl IntoIterator<Item = S>,
    mut take: impl FnMut(&str) -> Result<(), EntryProblem>,
) -> Result<(), Vec<EntryError>> {
    let mut errors = Vec::new();
    let mut more = 0;
    let mut last = 0;
    for (index, line) in entries.into_iter().enumerate() {
        let line = line.as_ref();
        let text = line.split('#').next().unwrap_or(line).trim();
        if text.is_empty() {
            continue;
        }
        if let Err(problem) = take(text) {
            if errors.len() < MAX_ERRORS {
                let text = text.chars().take(MAX_QUOTE).collect();
                errors.push(EntryError {
                    number: index + 1,
                    text,
                    problem,
                });
            } else {
                more += 1;
                last = index + 1;
            }
        }
    }
    if more > 0 {
        errors.push(EntryError {
            number: last,
            text: Box::from("..."),
            problem: EntryProblem::More(more),
        });
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}
