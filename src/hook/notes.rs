//! What hooks want of one request: edits of its head, another target, a pool, tags and counts.

use thiserror::Error;

use super::fields::Edits;
use crate::http::target::{Authority, Scheme};

/// A pair for the record of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The name: up to 64 of `a-z`, `0-9`, `-`, `_` and `.`.
    pub name: Box<str>,
    /// The value: its first 256 bytes, without control characters.
    pub value: Box<str>,
}

/// One for the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The name, as that of a tag.
    pub name: Box<str>,
    /// The label: its first 64 bytes, without control characters.
    pub label: Box<str>,
}

/// Why something cannot be noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoteError {
    /// The name has other characters, or too many.
    #[error("not a name; write up to 64 of a-z, 0-9, -, _ and .")]
    Name,
    /// More than 16 tags or counts of one request.
    #[error("more than {MAX_NOTES} tags or counts of one request")]
    TooMany,
    /// The text is no target.
    #[error("not a target; write host:port")]
    Target,
    /// The target is changed in the phase `request` alone, before the policy evaluates it.
    #[error("the target can be changed in the phase request alone")]
    LateTarget,
    /// The gateway's requests have no target.
    #[error("a request to the gateway has no target; choose a pool")]
    NoTarget,
    /// A pool is chosen in the phases `request`, `authorize` and `route`.
    #[error("a pool can be chosen before the request is sent")]
    LatePool,
    /// A pool is chosen in the role gateway alone.
    #[error("a pool can be chosen in the role gateway alone")]
    NoPool,
    /// A way out is chosen in the phases `request`, `authorize` and `route`.
    #[error("a way out can be chosen before the request is sent")]
    LateVia,
    /// The gateway has no way out.
    #[error("a request to the gateway has no way out; choose a pool")]
    NoVia,
}

const MAX_NOTES: usize = 16;
const MAX_NAME: usize = 64;
const MAX_VALUE: usize = 256;

/// See the module. It is small, since it moves with each call of a script.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    pub(super) request: Edits,
    /// None, as long as there is nothing in it.
    rare: Option<Box<Rare>>,
}

/// What few requests have.
#[derive(Clone, Debug, Default)]
struct Rare {
    target: Option<(Scheme, Authority)>,
    pool: Option<Choice>,
    via: Option<Choice>,
    failed: Option<Box<str>>,
    tags: Vec<Tag>,
    counts: Vec<Count>,
    skipped: Vec<Skipped>,
}

/// A pool or a way out that a hook has chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The name.
    pub(crate) name: Box<str>,
    /// The hook, and its phase, once it has returned.
    by: Option<(Box<str>, &'static str)>,
}

impl Choice {
    fn of(name: &str) -> Option<Self> {
        let name = name.into();
        Some(Self { name, by: None })
    }

    /// The hook that has chosen, and its phase.
    pub(crate) fn by(&self) -> (Box<str>, &'static str) {
        self.by.clone().unwrap_or_default()
    }
}

/// A failure of a hook that was passed over, as the hook asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The hook, by its name.
    pub by: Box<str>,
    /// The phase, by its name.
    pub phase: &'static str,
    /// The reason for the log.
    pub reason: Box<str>,
}

impl Notes {
    /// In place of the target of the request.
    pub(crate) fn target(&self) -> Option<&(Scheme, Authority)> {
        self.rare.as_ref()?.target.as_ref()
    }

    /// A pool.
    pub(crate) fn pool(&self) -> Option<&Choice> {
        self.rare.as_ref()?.pool.as_ref()
    }

    /// A way out: a parent, or `direct`.
    pub(crate) fn via(&self) -> Option<&Choice> {
        self.rare.as_ref()?.via.as_ref()
    }

    /// The hook that failed the request.
    pub(crate) fn failed(&self) -> Option<&str> {
        self.rare.as_ref()?.failed.as_deref()
    }

    pub(crate) fn tags(&self) -> &[Tag] {
        self.rare.as_ref().map_or(&[], |rare| &rare.tags)
    }

    pub(crate) fn counts(&self) -> &[Count] {
        self.rare.as_ref().map_or(&[], |rare| &rare.counts)
    }

    /// Failures of hooks that were passed over.
    pub(crate) fn skipped(&self) -> &[Skipped] {
        self.rare.as_ref().map_or(&[], |rare| &rare.skipped)
    }

    pub(crate) fn set_target(&mut self, scheme: Scheme, authority: Authority) {
        self.rare().target = Some((scheme, authority));
    }

    pub(super) fn set_pool(&mut self, pool: &str) {
        self.rare().pool = Choice::of(pool);
    }

    pub(super) fn set_via(&mut self, via: &str) {
        self.rare().via = Choice::of(via);
    }

    /// Notes who has chosen, if that was now.
    pub(super) fn choices_are_of(&mut self, hook: &str, phase: &'static str) {
        let Some(rare) = &mut self.rare else { return };
        for choice in [&mut rare.pool, &mut rare.via].into_iter().flatten() {
            choice.by.get_or_insert_with(|| (hook.into(), phase));
        }
    }

    pub(crate) fn set_failed(&mut self, by: &str) {
        self.rare().failed = Some(by.into());
    }

    pub(super) fn skip(&mut self, skipped: Skipped) {
        self.rare().skipped.push(skipped);
    }

    pub(super) fn tag(&mut self, name: &str, value: &str) -> Result<(), NoteError> {
        let name = checked(name, self.tags().len())?;
        let value = shown(value, MAX_VALUE);
        let tags = &mut self.rare().tags;
        // The last value of a name is the one that is logged.
        match tags.iter_mut().find(|tag| tag.name == name) {
            Some(tag) => tag.value = value,
            None => tags.push(Tag { name, value }),
        }
        Ok(())
    }

    pub(super) fn count(&mut self, name: &str, label: &str) -> Result<(), NoteError> {
        let name = checked(name, self.counts().len())?;
        let label = shown(label, MAX_NAME);
        self.rare().counts.push(Count { name, label });
        Ok(())
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

fn checked(name: &str, so_many: usize) -> Result<Box<str>, NoteError> {
    let is_name = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.')
    };
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_name) {
        return Err(NoteError::Name);
    }
    if so_many >= MAX_NOTES {
        return Err(NoteError::TooMany);
    }
    Ok(name.into())
}

/// The first bytes of a text, at a character's end, without control characters.
fn shown(text: &str, max: usize) -> Box<str> {
    let mut shown = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        if shown.len() + c.len_utf8() > max {
            break;
        }
        shown.push(c);
    }
    shown.into()
}
