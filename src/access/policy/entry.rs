//! Entries of the policy's lists: one per line, with comments, and all errors reported at once.

use std::fmt;

use crate::http::target::TargetError;

/// Errors above this number are only counted: a list file may have a million lines of another format.
const MAX_ERRORS: usize = 50;
/// The characters of an entry that an error quotes.
const MAX_QUOTE: usize = 80;

/// One entry of a list that cannot be used.
///
/// Prints as `entry 3 "10.0.0.1/8": ...`; for a list file the number is the line's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {number} {}: {problem}", Quoted(.text))]
pub struct EntryError {
    /// The position of the entry in the input, from 1; empty lines and comments count.
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
    #[error("any cannot be combined with other entries")]
    AnyNotAlone,
    /// Neither an address nor a network.
    #[error("not a network; write 10.0.0.0/8, 2001:db8::/32 or a single address")]
    Network,
    /// A network whose address has bits behind the prefix.
    #[error("has bits behind the prefix; write {0} for the network or a single address")]
    HostBits(ipnet::IpNet),
    /// An IPv4-mapped network. Refused, since `::ffff:0:0/96` from a list of bogons would mean all of IPv4.
    #[error("an IPv4-mapped network; write {0} for the IPv4 network")]
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
    /// A hosts-file line with an address that is not one of those that lists use.
    #[error(
        "not an address of hosts lists; lines in hosts format must begin with 0.0.0.0, 127.0.0.1, :: or ::1"
    )]
    HostsAddress,
    /// `@@||example.org^`: an exception from the rest of an adblock list.
    #[error("exceptions are not read; remove the line and admit the domain by a rule of its own")]
    Exception,
    /// `||example.org^$third-party`: an adblock rule for some requests only.
    #[error(
        "options after a $ are not read; write ||ads.example^ for every request or remove the line"
    )]
    Options,
    /// `/^ads[0-9]+/`, `(^|\.)ads\.example$`
    #[error(
        "a regular expression, which is not read; write example.org for one name, or .example.org for a domain and all below it"
    )]
    Expression,
    /// `https://example.org/`
    #[error(
        "a URL is not a domain; leave out the scheme, the port and the path: write example.org"
    )]
    Url,
    /// A domain with a path.
    #[error("a path is not a part of a domain; write the domain alone or remove the line")]
    Path,
    /// `example.org:443`
    #[error(
        "a port is not a part of a domain; write the domain alone, and ports under `ports` of a rule or in egress.connect_ports"
    )]
    PortOfDomain,
    /// `10.0.0.0/8` in a list of domains.
    #[error("an address or a network is not a domain; put it into a list of networks")]
    NetworkAsDomain,
    /// `a.example b.example`
    #[error("more than one word; write one domain per line, and a comment after #")]
    SeveralDomains,
    /// `a.example,b.example`
    #[error("a comma or a semicolon; write one domain per line")]
    Divider,
    /// `"example.org"`
    #[error("quotes around the domain; remove them")]
    Quotes,
    /// `; note`, `// note`
    #[error("not a domain; begin a comment with #")]
    CommentSign,
    /// `@other.txt`
    #[error("a list cannot name another list; name both in the configuration")]
    Include,
    /// `<html>`
    #[error("HTML or XML, not a list of domains; check where the file was downloaded from")]
    Markup,
    /// `address=/example.org/0.0.0.0`, `local=/example.org/`
    #[error("a line of a dnsmasq configuration; write .example.org for /example.org/")]
    Dnsmasq,
    /// `local-zone: "example.org" static`, `zone "example.org" { ... };`
    #[error("a line of a name server's configuration; write .example.org for the zone example.org")]
    NameServer,
    /// `example.org CNAME .`, `$TTL 60`
    #[error("a line of a DNS zone; write example.org, or .example.org for *.example.org")]
    ZoneFile,
    /// `acl bad dstdomain .example.org`
    #[error("a line of a Squid configuration; write .example.org alone")]
    Squid,
    /// `\u{201c}ads.example\u{201d}`, `a.example\u{3001}b.example`
    #[error(
        "{0:?} cannot be part of a domain; write one domain per line, with ASCII dashes and dots"
    )]
    Typographic(char),
    /// White space other than a space, or a character that shows nothing.
    #[error("an invisible character, U+{:04X}; remove it", u32::from(*.0))]
    Invisible(char),
    /// `||example.org` and other patterns that do not mean a domain and all below it.
    #[error("the pattern is not a whole domain; write ||ads.example^ or ads.example")]
    Pattern,
    /// A `#` without a space before it: an element hiding rule, or a comment.
    #[error("a # inside an entry; put a space before a comment, or remove an element hiding rule")]
    Hash,
    /// `!#include list.txt`, `!#if`: a directive to an adblock program.
    #[error("directives are not read; write the entries out or remove the line")]
    Directive,
    /// More names than a set can hold.
    #[error("more than 4 GiB of names; remove some of the lists")]
    Full,
    /// The number of errors that are not listed.
    #[error("and {0} more that cannot be used")]
    More(usize),
}

/// An entry in an error: escaped, so that no control character of a list file reaches a terminal.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// The errors in the entries of one list, up to a limit.
#[derive(Default)]
pub(super) struct Problems {
    errors: Vec<EntryError>,
    more: usize,
    last: usize,
}

impl Problems {
    /// Adds an error in the entry `text` at position `number`, from 1.
    pub(super) fn push(&mut self, number: usize, text: &str, problem: EntryProblem) {
        if self.errors.len() < MAX_ERRORS {
            let text = text.chars().take(MAX_QUOTE).collect();
            self.errors.push(EntryError {
                number,
                text,
                problem,
            });
        } else {
            self.more += 1;
            self.last = number;
        }
    }

    /// The errors; the last one may be the count of those that are not listed.
    pub(super) fn into_result(mut self) -> Result<(), Vec<EntryError>> {
        if self.more > 0 {
            self.errors.push(EntryError {
                number: self.last,
                text: Box::from("..."),
                problem: EntryProblem::More(self.more),
            });
        }
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(self.errors)
        }
    }
}

/// Calls `take` for each entry: trimmed, without a comment, not empty.
pub(super) fn read_entries<S: AsRef<str>>(
    entries: impl IntoIterator<Item = S>,
    mut take: impl FnMut(&str) -> Result<(), EntryProblem>,
) -> Result<(), Vec<EntryError>> {
    let mut problems = Problems::default();
    for (number, line) in (1..).zip(entries) {
        let line = line.as_ref();
        let text = line.split('#').next().unwrap_or(line).trim();
        if text.is_empty() {
            continue;
        }
        if let Err(problem) = take(text) {
            problems.push(number, text, problem);
        }
    }
    problems.into_result()
}
