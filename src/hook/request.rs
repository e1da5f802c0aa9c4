//! A request as a hook sees and changes it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use thiserror::Error;

use super::Phases;
use super::facts::Facts;
use super::fields::{self, Edit, FieldError, FieldName};
use super::notes::{NoteError, Notes};
use crate::http::path::{Prefix, Readings};
use crate::http::role::Role;
use crate::http::target::{Authority, Host, Scheme};

/// Why it is not known whether a path is below a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// The prefix of the call.
    #[error("not a path; write segments of A-Z, a-z, 0-9, -, ., _ and ~ with / before each")]
    Prefix,
    /// The path of the request.
    #[error("servers may read the path of the request in different ways")]
    Ambiguous,
}

/// What is wrong with a prefix for [`Request::path_under`].
pub fn prefix_fault(prefix: &str) -> Option<PathError> {
    Prefix::parse(prefix).is_none().then_some(PathError::Prefix)
}

/// A request in one phase: its facts, and what hooks want of it so far.
#[derive(Debug)]
pub struct Request<'a> {
    pub(super) phase: Phases,
    pub(super) facts: &'a Arc<Facts>,
    pub(super) user: Option<&'a Arc<str>>,
    pub(super) groups: Option<&'a Arc<[Box<str>]>>,
    pub(super) notes: &'a mut Notes,
}

impl Request<'_> {
    /// The id that the client can quote.
    pub fn id(&self) -> &str {
        &self.facts.id
    }

    /// The role in which the request is served.
    pub fn role(&self) -> Role {
        self.facts.role
    }

    /// The method in capitals, as rules and expressions read it; `CONNECT` for a tunnel. It is sent on as it came.
    pub fn method(&self) -> &str {
        self.facts.method.as_str()
    }

    /// The version that the client speaks, as `HTTP/1.1`.
    pub fn version(&self) -> &'static str {
        self.facts.version
    }

    /// `http` or `https`: the scheme of the target, else of the client's connection.
    pub fn scheme(&self) -> &'static str {
        self.target()
            .map_or(self.facts.scheme, |(scheme, _)| scheme)
            .as_str()
    }

    /// The host of the target in its canonical form; none in the role gateway.
    pub fn host(&self) -> Option<Cow<'_, str>> {
        self.target().map(|(_, authority)| match &authority.host {
            Host::Name(name) => Cow::Borrowed(&**name),
            Host::Ip(ip) => Cow::Owned(ip.to_canonical().to_string()),
        })
    }

    /// Whether the host of the target is this domain or a name below it, at a dot. A dot before `domain` and the case
    /// of its letters do not count.
    pub fn host_under(&self, domain: &str) -> bool {
        let Some((_, authority)) = self.target() else {
            return false;
        };
        let Host::Name(name) = &authority.host else {
            return false;
        };
        let domain = domain.strip_prefix('.').unwrap_or(domain);
        let above = name.len().checked_sub(domain.len());
        let Some((above, end)) = above.and_then(|at| name.split_at_checked(at)) else {
            return false;
        };
        end.eq_ignore_ascii_case(domain) && (above.is_empty() || above.ends_with('.'))
    }

    /// The port of the target; none in the role gateway.
    pub fn port(&self) -> Option<u16> {
        self.target().map(|(_, authority)| authority.port)
    }

    /// The path of the target as it is sent on; none for CONNECT, whose tunnel hides it, and for `*`.
    pub fn path(&self) -> Option<Cow<'_, str>> {
        self.facts.head.path().map(String::from_utf8_lossy)
    }

    /// Whether the path is this one or below it. `prefix` has segments of unreserved characters. False for CONNECT and
    /// `*`.
    ///
    /// # Errors
    /// [`PathError::Ambiguous`]: servers may read the path in ways that differ over it (`%2F`, `//`, `;`, other case of
    /// letters), so that neither answer is safe. [`PathError::Prefix`]: the prefix itself has other characters.
    pub fn path_under(&self, prefix: &str) -> Result<bool, PathError> {
        let prefix = Prefix::parse(prefix).ok_or(PathError::Prefix)?;
        let Some(path) = self.facts.head.path() else {
            return Ok(false);
        };
        let (readings, prefixes) = (Readings::of(path), [prefix]);
        if readings.are_all_below(&prefixes) {
            return Ok(true);
        }
        match readings.is_any_below(&prefixes) {
            true => Err(PathError::Ambiguous),
            false => Ok(false),
        }
    }

    /// The query of the target, without its `?`; none without one, and for CONNECT.
    pub fn query(&self) -> Option<Cow<'_, str>> {
        self.facts.head.query().map(String::from_utf8_lossy)
    }

    /// The client's address.
    pub fn client(&self) -> IpAddr {
        self.facts.client.ip().to_canonical()
    }

    /// Whether the client's connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.facts.tls
    }

    /// The user; none in the phase `request`.
    pub fn user(&self) -> Option<&str> {
        self.user.map(|user| &**user)
    }

    /// The groups of the user.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        let groups = self.groups.map_or(&[][..], |groups| &**groups);
        groups.iter().map(AsRef::as_ref)
    }

    /// Whether the user is in this group.
    pub fn in_group(&self, group: &str) -> bool {
        self.groups().any(|other| other == group)
    }

    /// The value of a field, as it goes on: the values of all its lines with `, ` between them (RFC 9110 §5.3). None
    /// without a line. A value of [`set_secret_field`](Self::set_secret_field) is `***`.
    pub fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        let original = self.facts.head.values(name.as_bytes());
        // The lines of one head, which a client may fill; edits are few.
        let values = self.notes.request.values(name, original);
        match values.as_slice() {
            [] => None,
            [one] => Some(String::from_utf8_lossy(one)),
            many => Some(Cow::Owned(
                String::from_utf8_lossy(&many.join(&b", "[..])).into_owned(),
            )),
        }
    }

    /// Puts one line in place of all lines of this field.
    ///
    /// # Errors
    /// See [`FieldError`].
    pub fn set_field(&mut self, name: &str, value: &str) -> Result<(), FieldError> {
        let (name, value) = (fields::request_name(name)?, fields::value(name, value)?);
        self.notes.request.push(Edit::Set(name, value))
    }

    /// The same with a value that no log and no `Debug` shows. In the role forward, [`scheme`](Self::scheme) in the phases
    /// after `request` says whether it goes over TLS.
    ///
    /// # Errors
    /// See [`FieldError`].
    pub fn set_secret_field(&mut self, name: &str, value: &str) -> Result<(), FieldError> {
        let (name, mut value) = (fields::request_name(name)?, fields::value(name, value)?);
        if self.facts.method == Method::TRACE {
            return Err(FieldError::Trace(FieldName::of(name.as_str())));
        }
        value.set_sensitive(true);
        self.notes.request.push(Edit::Set(name, value))
    }

    /// Adds a line to a field.
    ///
    /// # Errors
    /// See [`FieldError`].
    pub fn add_field(&mut self, name: &str, value: &str) -> Result<(), FieldError> {
        let (name, value) = (fields::added_name(name)?, fields::value(name, value)?);
        self.notes.request.push(Edit::Add(name, value))
    }

    /// Removes all lines of a field.
    ///
    /// # Errors
    /// See [`FieldError`].
    pub fn remove_field(&mut self, name: &str) -> Result<(), FieldError> {
        let name = fields::request_name(name)?;
        self.notes.request.push(Edit::Remove(name))
    }

    /// Changes the target to `host:port`, before the policy evaluates it. In the role forward, `Host` becomes that of
    /// the new target.
    ///
    /// # Errors
    /// See [`NoteError`].
    pub fn set_target(&mut self, target: &str) -> Result<(), NoteError> {
        let (scheme, _) = self.target().ok_or(NoteError::NoTarget)?;
        if self.phase != Phases::REQUEST {
            return Err(NoteError::LateTarget);
        }
        let authority = Authority::parse(target.as_bytes()).or(Err(NoteError::Target))?;
        self.notes.set_target(scheme, authority);
        Ok(())
    }

    /// Sends a request of the role gateway to this pool. A pool that does not exist fails the request.
    ///
    /// # Errors
    /// See [`NoteError`].
    pub fn use_pool(&mut self, pool: &str) -> Result<(), NoteError> {
        if self.facts.role != Role::Gateway {
            return Err(NoteError::NoPool);
        }
        let before = Phases::REQUEST.and(Phases::AUTHORIZE).and(Phases::ROUTE);
        if !before.has(self.phase) {
            return Err(NoteError::LatePool);
        }
        self.notes.set_pool(pool);
        Ok(())
    }

    /// Sends a request of the roles forward and tunnel this way: through the parent of this name, or `direct`. A rule with
    /// `via` goes before. A parent that does not exist fails the request.
    ///
    /// # Errors
    /// See [`NoteError`].
    pub fn go_via(&mut self, via: &str) -> Result<(), NoteError> {
        if self.facts.role == Role::Gateway {
            return Err(NoteError::NoVia);
        }
        let before = Phases::REQUEST.and(Phases::AUTHORIZE).and(Phases::ROUTE);
        if !before.has(self.phase) {
            return Err(NoteError::LateVia);
        }
        self.notes.set_via(via);
        Ok(())
    }

    /// Adds a pair to the record of the request.
    ///
    /// # Errors
    /// See [`NoteError`].
    pub fn tag(&mut self, name: &str, value: &str) -> Result<(), NoteError> {
        self.notes.tag(name, value)
    }

    /// Counts one in `tollgate_hook_events_total`.
    ///
    /// # Errors
    /// See [`NoteError`].
    pub fn count(&mut self, name: &str, label: &str) -> Result<(), NoteError> {
        self.notes.count(name, label)
    }

    /// Scheme and authority as hooks have left them; none in the role gateway.
    fn target(&self) -> Option<(Scheme, &Authority)> {
        match self.notes.target() {
            Some((scheme, authority)) => Some((*scheme, authority)),
            None => Some((self.facts.scheme, self.facts.authority.as_ref()?)),
        }
    }
}
