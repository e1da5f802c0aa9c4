//! Reading of the YAML tree: a map is asked for the values of its keys, and reports the keys that no table has.
//!
//! A reader never fails. It reports each problem to the [`Diagnostics`] and returns the default, so that one pass
//! finds every problem.

mod core;
mod item;

pub(super) use self::item::Item;
use super::problem::Diagnostics;
use super::yaml::{Entry, Node, Value, join};
pub(super) use crate::text::nearest::nearest;

/// More keys than these are not listed in a message.
const MAX_LISTED: usize = 24;

/// One map of the file and the keys that it may have.
#[must_use = "call finish, or unknown keys pass unseen"]
pub(super) struct Section<'d> {
    diagnostics: &'d Diagnostics,
    path: String,
    line: Option<usize>,
    entries: &'d [Entry],
    known: Vec<&'static str>,
    /// The keys that a reload applies, where it does not apply all of them.
    on_reload: &'static [&'static str],
    /// Whether a reload applies every key.
    is_on_reload: bool,
    /// Whether something else stands in its place, which was reported: then no key is missed.
    is_refused: bool,
}

/// A map of the file that may be missing or empty, where every key has its default.
pub(super) struct Part<'d> {
    item: Option<Item<'d>>,
    empty: Section<'d>,
}

impl<'d> Part<'d> {
    /// The map to read; another value in its place is reported.
    pub(super) fn section(self) -> Section<'d> {
        match self.item {
            Some(item) if !item.node.is_null() => item.section(),
            _ => self.empty,
        }
    }
}

impl<'d> Section<'d> {
    /// The whole document; `None` when it is no map, which is reported.
    pub(super) fn root(node: &'d Node, diagnostics: &'d Diagnostics) -> Option<Section<'d>> {
        let root = Item {
            diagnostics,
            path: String::new(),
            line: node.line,
            is_on_reload: false,
            node,
        };
        let section = root.section();
        matches!(node.value, Value::Map(_)).then_some(section)
    }

    /// Says which keys there are, and which of them a reload applies, before one is asked for.
    pub(super) fn declare(&mut self, keys: &[&'static str], on_reload: &'static [&'static str]) {
        self.known.extend_from_slice(keys);
        self.on_reload = on_reload;
    }

    fn empty(diagnostics: &'d Diagnostics, line: Option<usize>) -> Section<'d> {
        Section {
            diagnostics,
            path: String::new(),
            line,
            entries: &[],
            known: Vec::new(),
            on_reload: &[],
            is_on_reload: false,
            is_refused: false,
        }
    }

    fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Reports a problem with a key, which may be missing.
    pub(super) fn report(&self, key: &str, message: impl Into<String>, remedy: &str) {
        if self.is_refused {
            return;
        }
        let entry = self.entries.iter().find(|entry| entry.key == key);
        let line = entry.map(|entry| entry.line).or(self.line);
        self.diagnostics
            .report(line, &self.path_of(key), message, remedy.to_owned());
    }

    /// Warns of a key, which may be missing, unless it has no part in what the file is read for.
    pub(super) fn warn(&self, key: &str, message: impl Into<String>, remedy: &str) {
        let is_on_reload = self.is_on_reload || self.on_reload.contains(&key);
        if self.is_refused || !self.diagnostics.is_warned_of(is_on_reload) {
            return;
        }
        let entry = self.entries.iter().find(|entry| entry.key == key);
        let line = entry.map(|entry| entry.line).or(self.line);
        self.diagnostics
            .warn(line, &self.path_of(key), message, remedy.to_owned());
    }

    /// Reports a problem with a key on a line that is not its own.
    pub(super) fn report_on(&self, line: usize, key: &str, message: String, remedy: &str) {
        let remedy = Some(remedy.to_owned());
        self.diagnostics
            .report(Some(line), &self.path_of(key), message, remedy);
    }

    /// Whether a key is there, with or without a value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// The value of a key, if the key is there.
    pub(super) fn item(&mut self, key: &'static str) -> Option<Item<'d>> {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        let path = self.path_of(key);
        let is_on_reload = self.is_on_reload || self.on_reload.contains(&key);
        let node = entry.map(|entry| &entry.node);
        self.diagnostics.values.note(&path, node, is_on_reload);
        let entry = entry?;
        Some(Item {
            diagnostics: self.diagnostics,
            path,
            line: entry.line,
            is_on_reload,
            node: &entry.node,
        })
    }

    /// Notes what the value of a key means, given or not, so that two ways to say it are no change.
    pub(super) fn note_meaning(&self, key: &str, meaning: &str) {
        self.diagnostics
            .values
            .note_meaning(&self.path_of(key), meaning);
    }

    /// A map that may be missing or empty, where every key has its default.
    pub(super) fn part(&mut self, key: &'static str) -> Part<'d> {
        let item = self.item(key);
        let empty = Section {
            path: self.path_of(key),
            is_on_reload: self.is_on_reload || self.on_reload.contains(&key),
            ..Section::empty(self.diagnostics, self.line)
        };
        Part { item, empty }
    }

    /// The value of a key that is a list; one that is left out is an empty list.
    ///
    /// A key without a value is a problem and not an empty list: for a list of what is allowed,
    /// empty means everything, which a line that was commented out must not do.
    pub(super) fn list_item(&mut self, key: &'static str) -> Option<Item<'d>> {
        let item = self.item(key);
        if item.is_none() {
            self.diagnostics.values.note_empty_list(&self.path_of(key));
        }
        item
    }

    /// The items of a list; none when the key is missing.
    pub(super) fn list(&mut self, key: &'static str) -> Vec<Item<'d>> {
        let item = self.list_item(key);
        item.and_then(|item| item.list()).unwrap_or_default()
    }

    /// The keys that are known elsewhere, with the line of the first.
    pub(super) fn misplaced(
        &self,
        elsewhere: &[&'static str],
    ) -> Option<(usize, Vec<&'static str>)> {
        let keys = elsewhere.iter().filter(|key| self.has(key)).copied();
        let found = |entry: &&Entry| elsewhere.contains(&entry.key.as_str());
        let first = self.entries.iter().find(found)?;
        Some((first.line, keys.collect()))
    }

    /// Whether a key is there that is most likely a misspelling of `key`.
    pub(super) fn has_near(&self, key: &str) -> bool {
        let mut keys = self.entries.iter();
        keys.any(|entry| nearest(&entry.key, std::iter::once(key)).is_some())
    }

    /// Whether what these keys mean is known: none of them has an error, or is most likely misspelt. What follows from the
    /// default in its place is no news.
    pub(super) fn is_known(&self, keys: &[&str]) -> bool {
        keys.iter().all(|key| {
            let mut unknown = self.entries.iter().map(|entry| entry.key.as_str());
            let is_misspelt = !self.has(key)
                && unknown.any(|other| {
                    !self.known.contains(&other) && nearest(other, std::iter::once(*key)).is_some()
                });
            !is_misspelt && !self.diagnostics.has_error_at(&self.path_of(key))
        })
    }

    /// Reports every key that was not declared, with the nearest one that was.
    pub(super) fn finish(self) {
        self.finish_with(|_| None);
    }

    /// As [`Section::finish`]; `elsewhere` says where a key belongs that is known in another place.
    pub(super) fn finish_with(self, elsewhere: impl Fn(&str) -> Option<String>) {
        for entry in self.entries {
            let key = entry.key.as_str();
            if self.known.contains(&key) {
                continue;
            }
            let near = || nearest(key, self.known.iter().copied());
            let remedy = match elsewhere(key) {
                Some(place) => place,
                None => match near() {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None if self.known.len() > MAX_LISTED => {
                        "remove it; docs/configuration.md has the keys".to_owned()
                    }
                    None => format!("known here: {}", self.known.join(", ")),
                },
            };
            let path = self.path_of(key);
            self.diagnostics
                .report(Some(entry.line), &path, "unknown key", remedy);
        }
    }
}

#[cfg(test)]
mod tests;
