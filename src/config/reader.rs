//! Typed reading of the YAML tree: ask for keys by name, get checked values, and at the end hear of
//! every key that nobody asked for.
//!
//! A reader never fails: it reports to the [`Sink`] and returns the default, so that one reading
//! finds every problem.

mod core;

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::problem::Sink;
use super::units::{UnitError, parse_duration, parse_size, show_duration, show_size};
use super::yaml::{Entry, Node, Value, join};

/// More keys than these are not listed in a message.
const MAX_LISTED: usize = 24;

/// One map of the file and the keys that were asked for.
#[must_use = "call finish, or unknown keys pass unseen"]
pub(super) struct Section<'d> {
    sink: &'d Sink,
    path: String,
    line: Option<usize>,
    entries: &'d [Entry],
    known: Vec<Cow<'static, str>>,
    /// Whether something else stands in its place, which was reported: then no key is missed.
    is_refused: bool,
}

/// One value of the file with its place.
#[derive(Clone)]
pub(super) struct Item<'d> {
    sink: &'d Sink,
    pub(super) path: String,
    pub(super) line: usize,
    node: &'d Node,
}

impl<'d> Section<'d> {
    /// The whole document; `None` when it is no map, which is reported.
    pub(super) fn root(node: &'d Node, sink: &'d Sink) -> Option<Section<'d>> {
        let root = Item {
            sink,
            path: String::new(),
            line: node.line,
            node,
        };
        let section = root.section();
        matches!(node.value, Value::Map(_)).then_some(section)
    }

    fn empty(sink: &'d Sink, path: String, line: Option<usize>) -> Section<'d> {
        Section {
            sink,
            path,
            line,
            entries: &[],
            known: Vec::new(),
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
        self.sink
            .report(line, &self.path_of(key), message, remedy.to_owned());
    }

    /// Reports a problem with a key on a line that is not its own.
    pub(super) fn report_on(&self, line: usize, key: &str, message: String, remedy: &str) {
        let remedy = Some(remedy.to_owned());
        self.sink
            .report(Some(line), &self.path_of(key), message, remedy);
    }

    /// Whether a key is there, with or without a value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// The value of a key, if the key is there.
    pub(super) fn item(&mut self, key: impl Into<Cow<'static, str>>) -> Option<Item<'d>> {
        let key = key.into();
        let entry = self.entries.iter().find(|entry| entry.key == key);
        let path = self.path_of(&key);
        self.known.push(key);
        self.sink.values.note(&path, entry.map(|entry| &entry.node));
        let entry = entry?;
        Some(Item {
            sink: self.sink,
            path,
            line: entry.line,
            node: &entry.node,
        })
    }

    /// Notes what the value of a key means, given or not, so that two ways to say it are no change.
    pub(super) fn note_meaning(&self, key: &str, meaning: &str) {
        self.sink.values.note_meaning(&self.path_of(key), meaning);
    }

    /// A map that may be missing or empty, where every key has its default.
    pub(super) fn section(&mut self, key: &'static str) -> Section<'d> {
        match self.item(key) {
            Some(item) if !item.node.is_null() => item.section(),
            _ => Section::empty(self.sink, self.path_of(key), self.line),
        }
    }

    /// A duration with its unit.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        default: Duration,
        range: RangeInclusive<Duration>,
    ) -> Duration {
        let duration = self
            .item(key)
            .and_then(|item| item.duration(range))
            .unwrap_or(default);
        self.note_meaning(key, &format!("{duration:?}"));
        duration
    }

    /// A size in bytes that may be missing.
    pub(super) fn optional_size(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let size = self.item(key).and_then(|item| item.size(range));
        if let Some(size) = size {
            self.note_meaning(key, &size.to_string());
        }
        size
    }

    /// A size in bytes.
    pub(super) fn size(
        &mut self,
        key: &'static str,
        default: usize,
        range: RangeInclusive<u64>,
    ) -> usize {
        let size = self
            .optional_size(key, range)
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(default);
        self.note_meaning(key, &size.to_string());
        size
    }

    /// A whole number.
    pub(super) fn count(
        &mut self,
        key: &'static str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> usize {
        let count = self
            .item(key)
            .and_then(|item| item.count(range))
            .unwrap_or(default);
        self.note_meaning(key, &count.to_string());
        count
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let flag = self
            .item(key)
            .and_then(|item| item.flag())
            .unwrap_or(default);
        self.note_meaning(key, &flag.to_string());
        flag
    }

    /// The items of a list; none when the key is missing.
    ///
    /// A key without a value is a problem and not an empty list: for a list of what is allowed,
    /// empty means everything, which nobody should get from a line that was commented out.
    pub(super) fn list(&mut self, key: &'static str) -> Vec<Item<'d>> {
        let item = self.item(key);
        if item.is_none() {
            self.sink.values.note_empty_list(&self.path_of(key));
        }
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

    /// Reports every key that was not asked for, with the nearest one that was.
    pub(super) fn finish(self) {
        self.finish_with(|_| None);
    }

    /// As [`Section::finish`]; `elsewhere` says where a key belongs that is known in another place.
    pub(super) fn finish_with(self, elsewhere: impl Fn(&str) -> Option<String>) {
        for entry in self.entries {
            let key = entry.key.as_str();
            if self.known.iter().any(|known| known == key) {
                continue;
            }
            let near = || nearest(key, self.known.iter().map(Cow::as_ref));
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
            self.sink
                .report(Some(entry.line), &path, "unknown key", remedy);
        }
    }
}

impl<'d> Item<'d> {
    /// Reports a problem with this value.
    pub(super) fn report(&self, message: impl Into<String>, remedy: impl Into<String>) {
        self.sink
            .report(Some(self.line), &self.path, message, Some(remedy.into()));
    }

    /// Warns of this value.
    pub(super) fn warn(&self, message: impl Into<String>, remedy: impl Into<String>) {
        self.sink
            .warn(Some(self.line), &self.path, message, Some(remedy.into()));
    }

    /// Reports a problem of another file, which this value names.
    pub(super) fn report_in(
        &self,
        file: &Path,
        line: Option<usize>,
        message: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) {
        self.sink.report_in(file, line, "", message, remedy);
    }

    /// Reports a problem on a line of another file, which this value names.
    pub(super) fn report_at(
        &self,
        file: &Path,
        line: usize,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let remedy = Some(remedy.into());
        self.sink
            .report_in(file, Some(line), &self.path, message, remedy);
    }

    /// Warns of a line of another file, which this value names.
    pub(super) fn warn_at(
        &self,
        file: &Path,
        line: usize,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let remedy = Some(remedy.into());
        self.sink
            .warn_in(file, Some(line), &self.path, message, remedy);
    }

    /// Where a place of the value stands in the file, by line and column from 1; only for a value of
    /// several lines.
    pub(super) fn place(&self, line: usize, column: usize) -> Option<(usize, usize)> {
        match &self.node.value {
            Value::Scalar {
                text,
                source: Some(source),
                ..
            } => Some(source.place(text, line, column)),
            _ => None,
        }
    }

    /// The same value, to report on another line of it.
    pub(super) fn on_line(&self, line: usize) -> Item<'d> {
        Item {
            line,
            ..self.clone()
        }
    }

    /// Notes what is in the file that the value names, for a reload to compare.
    pub(super) fn note_content(&self, digest: blake3::Hash) {
        self.sink.values.note_content(&self.path, digest);
    }

    /// As [`note_content`](Self::note_content), of a file that is small and not read here.
    pub(super) fn note_file(&self, base: &Path) {
        if let Some(path) = self.node.text() {
            self.sink.values.note_file(&self.path, &base.join(path));
        }
    }

    /// The value as a map.
    pub(super) fn section(&self) -> Section<'d> {
        let Value::Map(entries) = &self.node.value else {
            self.report_type("a map of keys", "write `key: value` lines");
            let section = Section::empty(self.sink, self.path.clone(), Some(self.line));
            return Section {
                is_refused: !self.node.is_null(),
                ..section
            };
        };
        Section {
            sink: self.sink,
            path: self.path.clone(),
            line: Some(self.line),
            entries,
            known: Vec::new(),
            is_refused: false,
        }
    }

    /// Whether the value is a map.
    pub(super) fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    /// Whether the value is a list.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// The value as a list.
    pub(super) fn list(&self) -> Option<Vec<Item<'d>>> {
        let Value::List(nodes) = &self.node.value else {
            self.report_type("a list", "write [one, two], or [] for an empty one");
            return None;
        };
        let item = |(index, node): (usize, &'d Node)| Item {
            sink: self.sink,
            path: format!("{}[{index}]", self.path),
            line: node.line,
            node,
        };
        Some(nodes.iter().enumerate().map(item).collect())
    }

    /// The value as text, whatever it looks like; for values with a reader of their own.
    pub(super) fn scalar(&self) -> Option<&'d str> {
        match &self.node.value {
            Value::Scalar { text, .. } if text.contains('\n') => {
                self.report("has several lines", "write it on one line");
                None
            }
            // Escapes in quotes can make them; in a path or a field value they only do harm.
            Value::Scalar { text, .. } if text.contains(char::is_control) => {
                self.report("has a control character", "remove it");
                None
            }
            Value::Scalar { text, .. } if !self.node.is_null() => Some(text),
            _ => {
                self.report_type("a value", "write one behind the colon");
                None
            }
        }
    }

    /// The value as it is written, if it is a single one; for a closer look after a problem.
    pub(super) fn written(&self) -> Option<&'d str> {
        match &self.node.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The value as text that is not empty.
    pub(super) fn text(&self) -> Option<&'d str> {
        let text = self.scalar()?;
        if text.is_empty() {
            self.report("is empty", "write a value or remove the key");
            return None;
        }
        Some(text)
    }

    /// The value as text of one or several lines.
    pub(super) fn lines(&self) -> Option<&'d str> {
        match &self.node.value {
            Value::Scalar { text, .. } if !text.is_empty() => {
                let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
                if text.contains(is_control) {
                    self.report("has a control character", "remove it");
                    return None;
                }
                Some(text)
            }
            _ => self.text(),
        }
    }

    /// The value as a path; a relative one is relative to `base`.
    pub(super) fn file(&self, base: &Path) -> Option<PathBuf> {
        self.text().map(|path| base.join(path))
    }

    /// The value as a duration within `range`.
    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let (start, end) = (show_duration(*range.start()), show_duration(*range.end()));
        let advice = format!("write one from {start} to {end}, such as {end}");
        match parse_duration(self.scalar()?) {
            Ok(duration) if range.contains(&duration) => return Some(duration),
            Ok(_) | Err(UnitError::TooLarge) => self.report("out of range", advice),
            Err(UnitError::MissingUnit) => {
                self.report(
                    "a duration needs a unit",
                    "add one of ms, s, m, h, d, as in 30s",
                );
            }
            Err(UnitError::Malformed) => self.report("not a duration", advice),
        }
        None
    }

    /// The value as a size in bytes within `range`.
    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let (start, end) = (show_size(*range.start()), show_size(*range.end()));
        let advice = format!("write one from {start} to {end}, in B, KiB, MiB, GiB or TiB");
        match parse_size(self.scalar()?) {
            Ok(size) if range.contains(&size) => return Some(size),
            Ok(_) | Err(UnitError::TooLarge) => self.report("out of range", advice),
            Err(UnitError::MissingUnit | UnitError::Malformed) => self.report("not a size", advice),
        }
        None
    }

    fn count(&self, range: RangeInclusive<usize>) -> Option<usize> {
        let advice = format!("write one from {} to {}", range.start(), range.end());
        match core::whole_number(self.scalar()?) {
            Some(number) => match usize::try_from(number) {
                Ok(number) if range.contains(&number) => return Some(number),
                _ => self.report("out of range", advice),
            },
            None => self.report("not a whole number", advice),
        }
        None
    }

    fn flag(&self) -> Option<bool> {
        let flag = core::flag(self.scalar()?);
        if flag.is_none() {
            self.report("neither true nor false", "write true or false");
        }
        flag
    }

    /// The value for Pingora's own reader.
    pub(super) fn json(&self) -> Option<serde_json::Value> {
        match &self.node.value {
            Value::Refused => None,
            Value::Map(_) => {
                self.report(
                    "a map, where a value is wanted",
                    "write one behind the colon",
                );
                None
            }
            Value::List(_) => {
                let items = self.list()?;
                items
                    .iter()
                    .map(Item::json)
                    .collect::<Option<Vec<_>>>()
                    .map(Into::into)
            }
            Value::Scalar { .. } if self.node.is_null() => Some(serde_json::Value::Null),
            Value::Scalar { plain: true, .. } => self.scalar().map(core::plain_to_json),
            Value::Scalar { plain: false, .. } => self.scalar().map(Into::into),
        }
    }

    fn report_type(&self, wanted: &str, advice: &str) {
        let found = match &self.node.value {
            Value::Refused => return,
            _ if self.node.is_null() => "has no value".to_owned(),
            Value::Scalar { .. } => format!("a single value, where {wanted} is wanted"),
            Value::List(_) => format!("a list, where {wanted} is wanted"),
            Value::Map(_) => format!("a map, where {wanted} is wanted"),
        };
        self.report(found, advice);
    }
}

/// The candidate that `key` is most likely a misspelling of.
pub(super) fn nearest<'c>(key: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    // Long keys are not misspelt names, and the distance costs the product of the lengths.
    if key.len() > 64 {
        return None;
    }
    let key = key.to_ascii_lowercase().replace('-', "_");
    candidates
        .map(|candidate| (strsim::osa_distance(&key, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests;
