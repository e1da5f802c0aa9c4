//! The path of a request, and the paths of a rule.
//!
//! Servers read odd paths in several ways ([`crate::http::path`]). A rule that admits matches when every reading is
//! below its paths, any other rule when one is: neither can be evaded by a spelling.

use super::{Action, Request, Role};
use crate::http::path::{Prefix, Readings};

/// Paths of a rule: one matches itself and all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths(Box<[Prefix]>);

/// The path of a request as far as it is visible.
#[derive(Debug)]
pub enum RequestPath<'a> {
    /// The request has none: a tunnel hides it, and `*` is no path.
    None,
    /// The head was not kept. Rules must not take that for the absence of a path.
    Unknown,
    /// As sent, percent-encoded, with its readings.
    Sent(&'a [u8], Readings<'a>),
}

/// How many readings of a path have to be below the paths of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quantifier {
    Every,
    Any,
}

impl Paths {
    /// Paths of these prefixes.
    pub fn new(prefixes: impl IntoIterator<Item = Prefix>) -> Paths {
        Paths(prefixes.into_iter().collect())
    }

    /// The prefixes.
    pub fn prefixes(&self) -> &[Prefix] {
        &self.0
    }

    /// Whether the path matches in a rule with this action.
    pub(super) fn matches(&self, path: &RequestPath<'_>, action: &Action) -> bool {
        let quantifier = Quantifier::of(action);
        match path {
            RequestPath::None => false,
            RequestPath::Unknown => quantifier == Quantifier::Any,
            RequestPath::Sent(_, readings) => match quantifier {
                Quantifier::Every => readings.are_all_below(&self.0),
                Quantifier::Any => readings.is_any_below(&self.0),
            },
        }
    }

    /// Whether every path below `other` is below these.
    pub(super) fn cover(&self, other: &Paths) -> bool {
        let mut wanted = other.0.iter();
        wanted.all(|wanted| self.0.iter().any(|mine| mine.covers(wanted)))
    }
}

impl<'a> RequestPath<'a> {
    /// The path of a request.
    pub(super) fn of(request: &Request<'a>) -> Self {
        match (request.role(), request.head) {
            (Role::Tunnel, _) => RequestPath::None,
            (_, None) => RequestPath::Unknown,
            (_, Some(head)) => match head.path() {
                Some(path) => RequestPath::Sent(path, Readings::of(path)),
                None => RequestPath::None,
            },
        }
    }
}

impl Quantifier {
    pub(super) fn of(action: &Action) -> Quantifier {
        match action {
            Action::Admit => Quantifier::Every,
            Action::Deny(_) | Action::Observe => Quantifier::Any,
        }
    }
}
