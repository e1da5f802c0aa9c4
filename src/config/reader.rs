//! Typed reading of the YAML tree: ask for keys by name, get checked values, and at the end hear of
//! every key that nobody asked for.
//!
//! A reader never fails: it reports to the [`Sink`] and returns the default, so that one reading
//! finds every problem.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::problem::Sink;
use super::units::{UnitError, parse_duration, parse_size, show_duration, show_size};
use super::yaml::{Entry, Node, Value, join};

/// One map of the file and the keys that were asked for.
#[must_use = "call finish, or unknown keys pass unseen"]
pub(super) struct Section<'d> {
    sink: &'d Sink,
    path: String,
    line: Option<usize>,
    entries: &'d [Entry],
    known: Vec<Cow<'static, str>>,
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
    /// The whole document.
    pub(super) fn root(node: &'d Node, sink: &'d Sink) -> Section<'d> {
        Item {
            sink,
            path: String::new(),
            line: node.line,
            node,
        }
        .section()
    }

    fn empty(sink: &'d Sink, path: String, line: Option<usize>) -> Section<'d> {
        Section {
            sink,
            path,
            line,
            entries: &[],
            known: Vec::new(),
        }
    }

    fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Reports a problem with a key, which may be missing.
    pub(super) fn report(&self, key: &str, message: impl Into<String>, remedy: &str) {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        let line = entry.map(|entry| entry.line).or(self.line);
        self.sink
            .report(line, &self.path_of(key), message, remedy.to_owned());
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
        let entry = entry?;
        Some(Item {
            sink: self.sink,
            path,
            line: entry.line,
            node: &entry.node,
        })
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
        self.item(key)
            .and_then(|item| item.duration(range))
            .unwrap_or(default)
    }

    /// A size in bytes that may be missing.
    pub(super) fn optional_size(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        self.item(key).and_then(|item| item.size(range))
    }

    /// A size in bytes.
    pub(super) fn size(
        &mut self,
        key: &'static str,
        default: usize,
        range: RangeInclusive<u64>,
    ) -> usize {
        self.optional_size(key, range)
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(default)
    }

    /// A whole number.
    pub(super) fn count(
        &mut self,
        key: &'static str,
        default: usize,
        range: RangeInclusive<usize>,
    ) -> usize {
        self.item(key)
            .and_then(|item| item.count(range))
            .unwrap_or(default)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.item(key)
            .and_then(|item| item.flag())
            .unwrap_or(default)
    }

    /// The items of a list; none when the key is missing.
    ///
    /// A key without a value is a problem and not an empty list: for a list of what is allowed,
    /// empty means everything, which nobody should get from a line that was commented out.
    pub(super) fn list(&mut self, key: &'static str) -> Vec<Item<'d>> {
        self.item(key)
            .and_then(|item| item.list())
            .unwrap_or_default()
    }

    /// Reports every key that nobody asked for, with the nearest one that somebody did ask for.
    pub(super) fn finish(self) {
        for entry in self.entries {
            let key = entry.key.as_str();
            if self.known.iter().any(|known| known == key) {
                continue;
            }
            let remedy = match nearest(key, self.known.iter().map(Cow::as_ref)) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => format!("known here: {}", self.known.join(", ")),
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

    /// The value as a map.
    pub(super) fn section(&self) -> Section<'d> {
        let Value::Map(entries) = &self.node.value else {
            self.report_type("a map of keys", "write `key: value` lines");
            return Section::empty(self.sink, self.path.clone(), Some(self.line));
        };
        Section {
            sink: self.sink,
            path: self.path.clone(),
            line: Some(self.line),
            entries,
            known: Vec::new(),
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

    /// The value as text that is not empty.
    pub(super) fn text(&self) -> Option<&'d str> {
        let text = self.scalar()?;
        if text.is_empty() {
            self.report("is empty", "write a value or remove the key");
            return None;
        }
        Some(text)
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
        let text = self.scalar()?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let advice = format!("write one from {} to {}", range.start(), range.end());
        match text.parse() {
            Ok(number) if digits && range.contains(&number) => return Some(number),
            _ if digits => self.report("out of range", advice),
            _ => self.report("not a whole number", advice),
        }
        None
    }

    fn flag(&self) -> Option<bool> {
        match self.scalar()? {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.report("neither true nor false", "write true or false");
                None
            }
        }
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
            Value::Scalar { text, plain: true } => Some(plain_to_json(text)),
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

/// A plain scalar as the core schema of YAML 1.2 has it, without its octal and hexadecimal numbers.
fn plain_to_json(text: &str) -> serde_json::Value {
    match text {
        "" | "~" | "null" => serde_json::Value::Null,
        "true" => true.into(),
        "false" => false.into(),
        _ => text
            .parse::<u64>()
            .map(Into::into)
            .or_else(|_| text.parse::<i64>().map(Into::into))
            .unwrap_or_else(|_| text.into()),
    }
}

#[cfg(test)]
mod tests;
