//! What kind of file a text is: for the message when it stands where a file of another kind belongs. Pure.
//!
//! One line may be of several kinds, so a kind is only told where every line that was looked at agrees.

use std::fmt;
use std::net::IpAddr;

/// As many lines as show the kind.
const MAX_LINES: usize = 50;

/// The kinds of text file that stand beside each other in a directory of configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextKind {
    /// Certificates or keys.
    Pem,
    /// A page of an error, most often.
    Markup,
    Json,
    /// Of this program, in YAML.
    Configuration,
    /// Users with hashes.
    Htpasswd,
    /// Groups with users.
    Htgroup,
    /// `/etc/passwd`, `/etc/group` and their like.
    Accounts,
    /// Domains, in one of the formats of list files.
    Domains,
}

impl TextKind {
    /// The kind of a text, and the line that shows it first, counted from 1.
    pub(super) fn of(text: &str) -> Option<(TextKind, usize)> {
        let is_said = |line: &&str| !line.is_empty() && !line.starts_with('#');
        let all = || text.lines().take(MAX_LINES).map(str::trim_end);
        let lines = || all().filter(is_said);
        let begin = 1 + all().position(|line| is_said(&line)).unwrap_or_default();
        let first = lines().next()?.trim_start();
        if let Some(at) = all().position(|line| line.starts_with("-----BEGIN ")) {
            return Some((TextKind::Pem, at + 1));
        }
        let is_json = first.starts_with('{')
            || first.strip_prefix('[').is_some_and(|rest| {
                let rest = rest.trim_start();
                rest.is_empty() || rest.starts_with(['"', '{', '['])
            });
        let is_tag = |c: char| c.is_ascii_alphabetic() || matches!(c, '!' | '?');
        let inner = first.strip_prefix('<').unwrap_or_default();
        let kind = if inner.starts_with(is_tag) {
            TextKind::Markup
        } else if is_json && text.trim_end().ends_with(['}', ']']) {
            TextKind::Json
        } else if lines().any(|line| line == "tollgate:") {
            TextKind::Configuration
        } else if lines().all(is_user) {
            TextKind::Htpasswd
        } else if lines().all(is_account) {
            TextKind::Accounts
        } else if lines().all(is_group) && lines().any(|line| line.split(' ').nth(2).is_some()) {
            TextKind::Htgroup
        } else if lines().all(is_domain) {
            TextKind::Domains
        } else {
            return None;
        };
        Some((kind, begin))
    }

    /// Whether such a text may be YAML as well.
    pub(super) fn may_be_yaml(self) -> bool {
        matches!(
            self,
            TextKind::Json | TextKind::Configuration | TextKind::Htgroup
        )
    }

    /// What to do with such a file that stands where `wanted` belongs.
    pub(super) fn remedy(self, wanted: TextKind) -> String {
        let here = format!("name {wanted} here");
        match self {
            TextKind::Htpasswd => format!("{here}, and this file as `htpasswd` under `auth`"),
            TextKind::Htgroup => format!("{here}, and this file as `groups` under `auth`"),
            TextKind::Domains => format!("{here}, and this file as \"@FILE\" in a list of domains"),
            TextKind::Pem => {
                format!("{here}; certificates and keys belong under `tls` of a listener")
            }
            TextKind::Markup => format!("{here}; where it was downloaded, download it again"),
            TextKind::Json | TextKind::Configuration | TextKind::Accounts => here,
        }
    }
}

impl fmt::Display for TextKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TextKind::Pem => "a PEM file",
            TextKind::Markup => "a file of HTML or XML",
            TextKind::Json => "a file of JSON",
            TextKind::Configuration => "a configuration of Tollgate",
            TextKind::Htpasswd => "a file of users (htpasswd)",
            TextKind::Htgroup => "a file of groups (htgroup)",
            TextKind::Accounts => "a file of the accounts of a system, such as /etc/passwd",
            TextKind::Domains => "a list of domains",
        })
    }
}

/// `alice:$2y$...`, `bob:{SHA}...`
fn is_user(line: &str) -> bool {
    let (name, hash) = line.split_once(':').unwrap_or_default();
    !name.is_empty() && hash.starts_with(['$', '{']) && !hash.contains(char::is_whitespace)
}

/// `alice:x:1000:1000:Alice:/home/alice:/bin/sh`, `staff:x:50:alice,bob`
fn is_account(line: &str) -> bool {
    let fields: Vec<&str> = line.split(':').collect();
    let is_number = |at: usize| {
        let field = fields.get(at).copied().unwrap_or_default();
        !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_digit())
    };
    is_number(2) && (fields.len() == 4 || (fields.len() == 7 && is_number(3)))
}

/// `admins: alice bob`
fn is_group(line: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || "_.-@".contains(c);
    let (group, users) = line.split_once(':').unwrap_or_default();
    !group.is_empty()
        && group.chars().all(is_name)
        && (users.is_empty() || users.starts_with(' '))
        && users.chars().all(|c| is_name(c) || c == ' ')
}

/// `example.org`, `.example.org`, `||example.org^`, `0.0.0.0 example.org`
fn is_domain(line: &str) -> bool {
    let name = match line.split_once([' ', '\t']) {
        Some((address, names)) if address.parse::<IpAddr>().is_ok() => names.trim_start(),
        Some(_) => return line.starts_with('!') || line.starts_with("[Adblock"),
        None => line,
    };
    let name = name.strip_prefix("||").unwrap_or(name);
    let name = name.strip_suffix('^').unwrap_or(name);
    let is_name = |c: char| c.is_alphanumeric() || ".-_*".contains(c);
    !name.is_empty() && name.chars().all(is_name) && (name.contains('.') || name != line)
}

#[cfg(test)]
mod tests;
