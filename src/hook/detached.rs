//! What a hook sees and wants in one phase, without a borrow: for the values of a script, which cannot have one.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::facts::Facts;
use super::fields::{CheckedField, Edit, Edits};
use super::notes::{Notes, Skipped, Tag};
use super::{Phases, Request, Response, Traffic, Tunnel};
use crate::hello::Hello;
use crate::http::target::{Authority, Scheme};

/// The most failures of one request that are noted.
const MAX_SKIPPED: usize = 16;

/// A [`Request`], [`Response`] or [`Tunnel`] that owns what it has.
///
/// It is taken from a hook's argument, and what hooks want goes back there ([`Request::attach`]).
#[derive(Clone, Debug)]
pub struct Detached {
    pub(super) phase: Phases,
    pub(super) facts: Arc<Facts>,
    pub(super) user: Option<Arc<str>>,
    pub(super) groups: Option<Arc<[Box<str>]>>,
    pub(super) notes: Notes,
    pub(super) response: Option<Box<Head>>,
    pub(super) report_every: Option<u64>,
    pub(super) hello: Option<Arc<Hello>>,
}

/// The head of a response.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) fields: HeaderMap,
    pub(super) edits: Edits,
}

/// A text as it is in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain<'a> {
    /// There is none.
    Absent,
    /// One text.
    Text(&'a str),
    /// It has to be put together or read in another way.
    Other,
}

/// A change that a hook wants, as a text for people. A secret value is `***`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// One line in place of all lines of a field.
    Set(Box<str>, Box<str>),
    /// One more line of a field.
    Add(Box<str>, Box<str>),
    /// No line of a field.
    Remove(Box<str>),
    /// Another target.
    Target(Box<str>),
    /// A pool.
    Pool(Box<str>),
    /// A way out.
    Via(Box<str>),
    /// A tag of the log.
    Tag(Box<str>, Box<str>),
    /// A count in the metrics.
    Count(Box<str>, Box<str>),
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wish::Set(name, value) => write!(f, "sets {name}: {value}"),
            Wish::Add(name, value) => write!(f, "adds {name}: {value}"),
            Wish::Remove(name) => write!(f, "removes {name}"),
            Wish::Target(target) => write!(f, "changes the target to {target}"),
            Wish::Pool(pool) => write!(f, "chooses the pool {pool}"),
            Wish::Via(via) => write!(f, "goes via {via}"),
            Wish::Tag(name, value) => write!(f, "tags {name}: {value}"),
            Wish::Count(name, label) if label.is_empty() => write!(f, "counts {name}"),
            Wish::Count(name, label) => write!(f, "counts {name}: {label}"),
        }
    }
}

impl<'a> Plain<'a> {
    fn of(bytes: Option<&'a [u8]>) -> Self {
        match bytes.map(std::str::from_utf8) {
            None => Plain::Absent,
            Some(Ok(text)) => Plain::Text(text),
            Some(Err(_)) => Plain::Other,
        }
    }
}

impl Detached {
    /// What is known in a phase, without a wish of any hook so far.
    pub fn new(facts: Arc<Facts>, user: Option<&str>, groups: &[Box<str>]) -> Self {
        Self {
            phase: Phases::REQUEST,
            facts,
            user: user.map(Arc::from),
            groups: Some(groups.into()),
            notes: Notes::default(),
            response: None,
            report_every: None,
            hello: None,
        }
    }

    /// Goes on to another phase.
    pub fn enter(&mut self, phase: Phases) {
        self.phase = phase;
    }

    /// Gives it the hello of a tunnel.
    pub fn greet(&mut self, hello: Arc<Hello>) {
        self.hello = Some(hello);
    }

    /// Tells who the user is.
    pub fn authenticate(&mut self, user: &str, groups: &[Box<str>]) {
        self.user = Some(user.into());
        self.groups = Some(groups.into());
    }

    /// Gives it the head of a response.
    pub fn respond(&mut self, status: StatusCode, fields: HeaderMap) {
        self.response = Some(Box::new(Head {
            status,
            fields,
            edits: Edits::default(),
        }));
    }

    /// The request.
    pub fn request(&mut self) -> Request<'_> {
        Request {
            phase: self.phase,
            facts: &self.facts,
            user: self.user.as_ref(),
            groups: self.groups.as_ref(),
            notes: &mut self.notes,
        }
    }

    /// The response, in the phase of that name.
    pub fn response(&mut self) -> Option<Response<'_>> {
        let head = self.response.as_mut()?;
        Some(Response {
            request: Request {
                phase: self.phase,
                facts: &self.facts,
                user: self.user.as_ref(),
                groups: self.groups.as_ref(),
                notes: &mut self.notes,
            },
            status: head.status,
            fields: &head.fields,
            edits: &mut head.edits,
        })
    }

    /// The tunnel, in its phases.
    pub fn tunnel(&mut self) -> Tunnel<'_> {
        Tunnel {
            request: Request {
                phase: self.phase,
                facts: &self.facts,
                user: self.user.as_ref(),
                groups: self.groups.as_ref(),
                notes: &mut self.notes,
            },
            report_every: &mut self.report_every,
            total: Traffic::default(),
            hello: self.hello.as_ref(),
        }
    }

    /// The value of the field that [`Request::field`] or [`Response::field`] has, where it is one line of the request that
    /// nothing has changed.
    pub fn plain_field(&self, name: &str) -> Plain<'_> {
        if self.response.is_some() || self.notes.request.touch(name) {
            return Plain::Other;
        }
        let mut lines = self.facts.head.values(name.as_bytes());
        match (lines.next(), lines.next()) {
            (one, None) => Plain::of(one),
            (_, Some(_)) => Plain::Other,
        }
    }

    /// [`Request::user`]
    pub fn plain_user(&self) -> Plain<'_> {
        self.user.as_deref().map_or(Plain::Absent, Plain::Text)
    }

    /// [`Request::path`]
    pub fn plain_path(&self) -> Plain<'_> {
        Plain::of(self.facts.head.path())
    }

    /// Writes a field of the request that goes on. Whether that is done: not with a response, and not beyond the limits of
    /// edits.
    pub fn set_checked(&mut self, field: &CheckedField) -> bool {
        let edit = || Edit::Set(field.name.clone(), field.value.clone());
        self.response.is_none() && self.notes.request.push(edit()).is_ok()
    }

    /// What hooks want now and did not want in `before`, in the order of the edits, then the others.
    pub fn wishes_since(&self, before: &Detached) -> Vec<Wish> {
        let mut wishes = Vec::new();
        let edits = |now: &Edits, then: &Edits, wishes: &mut Vec<Wish>| {
            wishes.extend(now.iter().skip(then.len()).map(Edit::wish));
        };
        edits(&self.notes.request, &before.notes.request, &mut wishes);
        if let (Some(now), Some(then)) = (&self.response, &before.response) {
            edits(&now.edits, &then.edits, &mut wishes);
        }
        if self.notes.target() != before.notes.target()
            && let Some((_, authority)) = self.notes.target()
        {
            wishes.push(Wish::Target(authority.to_string().into()));
        }
        if self.notes.pool() != before.notes.pool()
            && let Some(pool) = self.notes.pool()
        {
            wishes.push(Wish::Pool(pool.name.clone()));
        }
        if self.notes.via() != before.notes.via()
            && let Some(via) = self.notes.via()
        {
            wishes.push(Wish::Via(via.name.clone()));
        }
        let is_new = |tag: &&Tag| !before.notes.tags().contains(tag);
        let tags = self.notes.tags().iter().filter(is_new);
        wishes.extend(tags.map(|tag| Wish::Tag(tag.name.clone(), tag.value.clone())));
        let counts = self.notes.counts().iter().skip(before.notes.counts().len());
        wishes.extend(counts.map(|count| Wish::Count(count.name.clone(), count.label.clone())));
        wishes
    }

    /// Notes a failure that is passed over.
    pub fn skip(&mut self, by: &str, phase: Phases, reason: &str) {
        // One for each phase of each hook at most, but for those of a tunnel's bytes.
        if self.notes.skipped().len() < MAX_SKIPPED {
            self.notes.skip(Skipped {
                by: by.into(),
                phase: phase.name(),
                reason: reason.into(),
            });
        }
    }

    /// The pool that hooks chose.
    pub fn pool(&self) -> Option<&str> {
        self.notes.pool().map(|pool| &*pool.name)
    }

    /// The way out that hooks chose.
    pub fn via(&self) -> Option<&str> {
        self.notes.via().map(|via| &*via.name)
    }

    /// The phase.
    pub fn phase(&self) -> Phases {
        self.phase
    }

    /// The policy has the request sent over https, to this target.
    pub fn upgrade(&mut self, target: Authority) {
        self.notes.set_target(Scheme::Https, target);
    }
}

impl Request<'_> {
    /// Takes all of it out, and leaves nothing that hooks want until [`attach`](Self::attach).
    pub(crate) fn detach(&mut self) -> Detached {
        Detached {
            phase: self.phase,
            facts: Arc::clone(self.facts),
            user: self.user.cloned(),
            groups: self.groups.cloned(),
            notes: std::mem::take(self.notes),
            response: None,
            report_every: None,
            hello: None,
        }
    }

    /// Puts back what hooks want.
    pub(crate) fn attach(&mut self, detached: Detached) {
        *self.notes = detached.notes;
    }
}

impl Response<'_> {
    /// As [`Request::detach`]. Without `has_fields`, the fields of the response are left out, which then cannot be read.
    pub(crate) fn detach(&mut self, has_fields: bool) -> Detached {
        let mut detached = self.request.detach();
        detached.response = Some(Box::new(Head {
            status: self.status,
            fields: if has_fields {
                self.fields.clone()
            } else {
                HeaderMap::new()
            },
            edits: std::mem::take(self.edits),
        }));
        detached
    }

    /// Puts back what hooks want.
    pub(crate) fn attach(&mut self, mut detached: Detached) {
        *self.edits = detached.response.take().unwrap_or_default().edits;
        self.request.attach(detached);
    }
}

impl Tunnel<'_> {
    /// As [`Request::detach`].
    pub(crate) fn detach(&mut self) -> Detached {
        let mut detached = self.request.detach();
        detached.report_every = *self.report_every;
        detached.hello = self.hello.cloned();
        detached
    }

    /// Puts back what hooks want.
    pub(crate) fn attach(&mut self, detached: Detached) {
        *self.report_every = detached.report_every;
        self.request.attach(detached);
    }
}
