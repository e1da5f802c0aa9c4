//! One rule: its name, its matchers and its action.

use std::{fmt, sync::Arc};

use thiserror::Error;

use super::{
    DecidedBy, DomainLists, Expression, HelloTerms, Networks, Paths, Ports, Refusal, Role,
    Schedule, Upgrade, Via,
};

/// A set of roles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(u8);

/// The name of a rule or of a class of limits: up to 64 lower case letters, digits, `-` and `_`, the first a letter or a digit.
///
/// The names of the guard's parts are reserved for rules. A clone copies a pointer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// Why a text is not the name of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Other characters, or too many.
    #[error("not a name; write up to 64 of a-z, 0-9, - and _, beginning with a letter or a digit")]
    Form,
    /// The log could not distinguish the rule from the guard.
    #[error("a reserved name of the guard; choose another")]
    Reserved,
}

/// A rule of the policy.
#[derive(Debug)]
pub struct Rule {
    /// The unique name, also in the log.
    pub name: Name,
    /// The action for a request that matches.
    pub action: Action,
    /// The matchers.
    pub matchers: Matchers,
    /// How a request that it admits is sent. Such a rule matches requests over https alone, and those that become one.
    pub upgrade: Option<Arc<Upgrade>>,
    /// What is asked of the first bytes of a tunnel that it admits; none: what is asked of all.
    pub tunnel: Option<Arc<HelloTerms>>,
    /// Whether a request that it admits is put to the external authoriser, which may still deny it.
    pub asks: bool,
    /// The way out of a request that it admits; none: it says none.
    pub via: Option<Via>,
}

/// What a rule does with a request that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Admits it.
    Admit,
    /// Denies it.
    Deny(Refusal),
    /// Notes that it would have been denied, and leaves the decision to the rules below.
    Observe,
}

/// The matchers of a rule, all of which have to match. A matcher matches when one of its values does.
///
/// `users` and `groups` are one matcher: a value of either is enough.
#[derive(Debug, Default)]
pub struct Matchers {
    /// Names of users.
    pub users: Option<Vec<Box<str>>>,
    /// Groups that the user is in.
    pub groups: Option<Vec<Box<str>>>,
    /// Roles of the request.
    pub roles: Option<Roles>,
    /// Methods, compared byte by byte.
    pub methods: Option<Vec<Box<str>>>,
    /// Names of the target; an address is in no list of domains.
    pub domains: Option<DomainLists>,
    /// Networks of the address that would be dialled.
    pub networks: Option<Networks>,
    /// Ports of the target.
    pub ports: Option<Ports>,
    /// Paths of the request.
    pub paths: Option<Paths>,
    /// Networks of the client's address.
    pub client_networks: Option<Networks>,
    /// The time of the request.
    pub time: Option<Schedule>,
    /// A CEL expression.
    pub when: Option<Expression>,
}

/// One matcher of a rule. Matchers are evaluated in the order of the variants, the cheapest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Matcher {
    /// `roles`
    Roles,
    /// `users` and `groups`
    Users,
    /// `ports`
    Ports,
    /// `methods`
    Methods,
    /// `client_networks`
    ClientNetworks,
    /// `domains`
    Domains,
    /// `upgrade`: matches requests over https.
    Upgrade,
    /// `paths`
    Paths,
    /// `networks`: evaluated here for a request without an authority, which never matches; else after all others.
    Networks,
    /// `time`
    Time,
    /// `when`
    When,
}

/// What a tunnel hides of the requests in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hidden {
    /// Their paths.
    pub path: bool,
    /// Their queries.
    pub query: bool,
    /// Their fields. Those of the CONNECT are visible.
    pub fields: bool,
}

impl Hidden {
    /// The names of what is hidden, as `explain` shows them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let parts = [
            (self.path, "path"),
            (self.query, "query"),
            (self.fields, "fields"),
        ];
        let hidden = parts.into_iter().filter(|(is_hidden, _)| *is_hidden);
        hidden.map(|(_, name)| name)
    }
}

impl Roles {
    /// Whether the role is in the set.
    pub const fn contains(self, role: Role) -> bool {
        self.0 & bit(role) != 0
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Roles {
        Roles(roles.into_iter().fold(0, |bits, role| bits | bit(role)))
    }
}

const fn bit(role: Role) -> u8 {
    1 << role.index()
}

impl Name {
    /// The longest name, in bytes.
    pub const MAX: usize = 64;

    /// Reads the name of a rule.
    ///
    /// # Errors
    /// [`NameError`]
    pub fn parse(text: &str) -> Result<Name, NameError> {
        let name = Name::parse_any(text)?;
        if DecidedBy::RESERVED.contains(&text) {
            return Err(NameError::Reserved);
        }
        Ok(name)
    }

    /// Reads the name of something that is no rule, which may be a reserved name of the guard.
    ///
    /// # Errors
    /// [`NameError::Form`]
    pub fn parse_any(text: &str) -> Result<Name, NameError> {
        let letter_or_digit = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let begins = text
            .bytes()
            .next()
            .is_some_and(|byte| letter_or_digit(&byte));
        let goes_on = text
            .bytes()
            .all(|byte| letter_or_digit(&byte) || matches!(byte, b'-' | b'_'));
        if !begins || !goes_on || text.len() > Name::MAX {
            return Err(NameError::Form);
        }
        Ok(Name(text.into()))
    }

    /// Reads the name of a parent, which may have capital letters.
    ///
    /// # Errors
    /// [`NameError::Form`]
    pub fn parse_parent(text: &str) -> Result<Name, NameError> {
        Name::parse_any(&text.to_ascii_lowercase())?;
        Ok(Name(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Action {
    /// `admit`, `deny` or `observe`, as in the configuration.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Action::Admit => "admit",
            Action::Deny(_) => "deny",
            Action::Observe => "observe",
        }
    }
}

impl Matchers {
    /// Whether there is none, so that every request matches.
    pub fn is_empty(&self) -> bool {
        let Matchers {
            users,
            groups,
            roles,
            methods,
            domains,
            networks,
            ports,
            paths,
            client_networks,
            time,
            when,
        } = self;
        users.is_none()
            && groups.is_none()
            && roles.is_none()
            && methods.is_none()
            && domains.is_none()
            && networks.is_none()
            && ports.is_none()
            && paths.is_none()
            && client_networks.is_none()
            && time.is_none()
            && when.is_none()
    }

    /// The first matcher that only a request with an authority can match.
    pub(super) fn of_authority(&self) -> Option<Matcher> {
        if self.ports.is_some() {
            Some(Matcher::Ports)
        } else if self.domains.is_some() {
            Some(Matcher::Domains)
        } else if self.networks.is_some() {
            Some(Matcher::Networks)
        } else {
            None
        }
    }

    /// Whether a matcher reads the path, the query or a field.
    pub(super) fn need_head(&self) -> bool {
        self.paths.is_some() || self.when.as_ref().is_some_and(Expression::needs_head)
    }

    /// What the matchers read of a request and a tunnel hides.
    pub(super) fn hidden_by_tunnel(&self) -> Hidden {
        let by_expression = self.when.as_ref().map(Expression::hidden_by_tunnel);
        let mut hidden = by_expression.unwrap_or_default();
        hidden.path |= self.paths.is_some();
        hidden
    }

    /// Whether only tunnels can match: by the roles, or by the methods.
    pub fn are_for_tunnels(&self) -> bool {
        let only_roles = self
            .roles
            .is_some_and(|roles| !roles.contains(Role::Forward) && !roles.contains(Role::Gateway));
        let only_connect = self.methods.as_ref().is_some_and(|methods| {
            let mut methods = methods.iter();
            methods.all(|method| method.eq_ignore_ascii_case("CONNECT"))
        });
        only_roles || only_connect
    }

    /// Whether the result of this matcher depends on the time.
    pub(super) fn goes_by_time(&self, matcher: Matcher) -> bool {
        match matcher {
            Matcher::Time => self.time.is_some(),
            Matcher::When => self.when.as_ref().is_some_and(goes_by_time),
            _ => false,
        }
    }
}

/// Whether the value of an expression depends on the time. A text that only looks like the name costs a test one line.
pub(super) fn goes_by_time(when: &Expression) -> bool {
    let mut words = when
        .as_str()
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.any(|word| word == "time")
}

impl Matcher {
    /// The key in the configuration.
    pub const fn key(self) -> &'static str {
        match self {
            Matcher::Roles => "roles",
            Matcher::Users => "users",
            Matcher::Ports => "ports",
            Matcher::Methods => "methods",
            Matcher::ClientNetworks => "client_networks",
            Matcher::Domains => "domains",
            Matcher::Upgrade => "upgrade",
            Matcher::Paths => "paths",
            Matcher::Networks => "networks",
            Matcher::Time => "time",
            Matcher::When => "when",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long = "a".repeat(65);
        for text in ["a", "0", "ci-registries", "a_b", &long[..64]] {
            assert_eq!(Name::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "-a", "_a", "A", "a b", "a.b", "ä", "a:b", &long] {
            assert_eq!(Name::parse(text), Err(NameError::Form), "{text}");
        }
        for text in DecidedBy::RESERVED {
            assert_eq!(Name::parse(text), Err(NameError::Reserved), "{text}");
        }
    }

    #[test]
    fn roles() {
        let roles: Roles = [Role::Gateway, Role::Tunnel].into_iter().collect();
        let held = Role::ALL.map(|role| roles.contains(role));
        assert_eq!(held, [true, false, true]);
        assert!(
            !Role::ALL
                .iter()
                .any(|role| Roles::default().contains(*role))
        );
    }

    #[test]
    fn matchers_that_depend_on_the_time() {
        for (text, expected) in [
            ("time > timestamp(\"2026-01-01T00:00:00Z\")", true),
            ("request.port == 1 || time.getHours() == 1", true),
            ("request.host.startsWith(\"timer\")", false),
            ("user.name == \"x\"", false),
        ] {
            let when = Some(Expression::parse(text).unwrap());
            let matchers = Matchers {
                when,
                ..Matchers::default()
            };
            assert_eq!(matchers.goes_by_time(Matcher::When), expected, "{text}");
            assert!(!matchers.goes_by_time(Matcher::Time) && !matchers.is_empty());
        }
    }
}
