//! One value of the file, to be read as what its key wants.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::problem::Diagnostics;
use super::super::units::{UnitError, parse_duration, parse_size, show_duration, show_size};
use super::super::yaml::{Entry, Node, Value, join};
use super::{Section, core};

/// One value of the file with its place.
#[derive(Clone)]
pub(in super::super) struct Item<'d> {
    pub(super) diagnostics: &'d Diagnostics,
    pub(in super::super) path: String,
    pub(in super::super) line: usize,
    /// Whether a reload applies the value.
    pub(super) is_on_reload: bool,
    pub(super) node: &'d Node,
}

impl<'d> Item<'d> {
    /// A value that was kept from a former reading of the file, to read again what it names.
    pub(in super::super) fn detached(
        diagnostics: &'d Diagnostics,
        path: &str,
        line: usize,
        node: &'d Node,
    ) -> Item<'d> {
        Item {
            diagnostics,
            path: path.to_owned(),
            line,
            is_on_reload: true,
            node,
        }
    }

    /// The value, to be kept.
    pub(in super::super) fn node(&self) -> &'d Node {
        self.node
    }

    /// Reports a problem with this value.
    pub(in super::super) fn report(&self, message: impl Into<String>, remedy: impl Into<String>) {
        self.diagnostics
            .report(Some(self.line), &self.path, message, Some(remedy.into()));
    }

    /// Warns of this value, unless it has no part in what the file is read for.
    pub(in super::super) fn warn(&self, message: impl Into<String>, remedy: impl Into<String>) {
        if self.diagnostics.is_warned_of(self.is_on_reload) {
            let remedy = Some(remedy.into());
            self.diagnostics
                .warn(Some(self.line), &self.path, message, remedy);
        }
    }

    /// The configuration file, as the user named it.
    pub(in super::super) fn configuration(&self) -> &'d Path {
        self.diagnostics.file()
    }

    /// Reports a problem of another file, which this value names.
    pub(in super::super) fn report_in(
        &self,
        file: &Path,
        line: Option<usize>,
        message: impl Into<String>,
        remedy: impl Into<Option<String>>,
    ) {
        self.diagnostics.report_in(file, line, "", message, remedy);
    }

    /// Reports a problem on a line of another file, which this value names.
    pub(in super::super) fn report_at(
        &self,
        file: &Path,
        line: usize,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let remedy = Some(remedy.into());
        self.diagnostics
            .report_in(file, Some(line), &self.path, message, remedy);
    }

    /// Warns of a line of another file, which this value names.
    pub(in super::super) fn warn_at(
        &self,
        file: &Path,
        line: usize,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let remedy = Some(remedy.into());
        self.diagnostics
            .warn_in(file, Some(line), &self.path, message, remedy);
    }

    /// Where a place of the value stands in the file, by line and column from 1; only for a value of
    /// several lines.
    pub(in super::super) fn place(&self, line: usize, column: usize) -> Option<(usize, usize)> {
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
    pub(in super::super) fn on_line(&self, line: usize) -> Item<'d> {
        Item {
            line,
            ..self.clone()
        }
    }

    /// Notes what is in the file that the value names, for a reload to compare.
    pub(in super::super) fn note_content(&self, digest: blake3::Hash) {
        let values = &self.diagnostics.values;
        values.note_content(&self.path, digest, self.is_on_reload);
    }

    /// As [`note_content`](Self::note_content), of a file that is small and not read here.
    pub(in super::super) fn note_file(&self, base: &Path) {
        if let Some(path) = self.node.text() {
            let values = &self.diagnostics.values;
            values.note_file(&self.path, &base.join(path), self.is_on_reload);
        }
    }

    /// Notes that a reload does not apply this value, with all that is below it.
    pub(in super::super) fn leave_for_restart(&self) {
        self.diagnostics.values.leave_for_restart(&self.path);
    }

    /// The value as a map.
    pub(in super::super) fn section(&self) -> Section<'d> {
        let Value::Map(entries) = &self.node.value else {
            self.report_type("a map of keys", "write `key: value` lines");
            return Section {
                path: self.path.clone(),
                is_on_reload: self.is_on_reload,
                is_refused: !self.node.is_null(),
                ..Section::empty(self.diagnostics, Some(self.line))
            };
        };
        Section {
            path: self.path.clone(),
            entries,
            is_on_reload: self.is_on_reload,
            ..Section::empty(self.diagnostics, Some(self.line))
        }
    }

    /// The values of a map whose names the file chooses. Each is noted, for a reload to compare.
    pub(in super::super) fn entries(&self) -> Option<Vec<(&'d str, Item<'d>)>> {
        let Value::Map(entries) = &self.node.value else {
            self.report_type("a map of names", "write `name: value` lines");
            return None;
        };
        let item = |entry: &'d Entry| {
            let path = join(&self.path, &entry.key);
            let values = &self.diagnostics.values;
            values.note(&path, Some(&entry.node), self.is_on_reload);
            let item = Item {
                diagnostics: self.diagnostics,
                path,
                line: entry.line,
                is_on_reload: self.is_on_reload,
                node: &entry.node,
            };
            (entry.key.as_str(), item)
        };
        Some(entries.iter().map(item).collect())
    }

    /// Whether the value is this word. Reports nothing.
    pub(in super::super) fn is_word(&self, word: &str) -> bool {
        self.node.text() == Some(word)
    }

    /// Whether the value is a map.
    pub(in super::super) fn is_map(&self) -> bool {
        matches!(self.node.value, Value::Map(_))
    }

    /// Whether there is no value: `null`, or nothing behind the colon.
    pub(in super::super) fn is_null(&self) -> bool {
        self.node.is_null()
    }

    /// Whether the value is a list.
    pub(in super::super) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }

    /// The value as a list.
    pub(in super::super) fn list(&self) -> Option<Vec<Item<'d>>> {
        let Value::List(nodes) = &self.node.value else {
            self.report_type("a list", "write [one, two], or [] for an empty one");
            return None;
        };
        let item = |(index, node): (usize, &'d Node)| Item {
            diagnostics: self.diagnostics,
            path: format!("{}[{index}]", self.path),
            line: node.line,
            is_on_reload: self.is_on_reload,
            node,
        };
        Some(nodes.iter().enumerate().map(item).collect())
    }

    /// The value as text, whatever it looks like; for values with a reader of their own.
    pub(in super::super) fn scalar(&self) -> Option<&'d str> {
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
    pub(in super::super) fn written(&self) -> Option<&'d str> {
        match &self.node.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The value as text that is not empty.
    pub(in super::super) fn text(&self) -> Option<&'d str> {
        let text = self.scalar()?;
        if text.is_empty() {
            self.report("is empty", "write a value or remove the key");
            return None;
        }
        Some(text)
    }

    /// The value as text of one or several lines.
    pub(in super::super) fn lines(&self) -> Option<&'d str> {
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
    pub(in super::super) fn file(&self, base: &Path) -> Option<PathBuf> {
        self.text().map(|path| base.join(path))
    }

    /// The value as a duration within `range`.
    pub(in super::super) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let (start, end) = (show_duration(*range.start()), show_duration(*range.end()));
        let advice = format!("write one from {start} to {end}, such as {end}");
        let whole = format!("write a whole number and a unit, from {start} to {end}");
        match parse_duration(self.scalar()?) {
            Ok(duration) if range.contains(&duration) => return Some(duration),
            Ok(_) | Err(UnitError::TooLarge) => self.report("out of range", advice),
            Err(UnitError::MissingUnit) => {
                self.report(
                    "a duration needs a unit",
                    "add one of ms, s, m, h, d, as in 30s",
                );
            }
            Err(UnitError::Malformed) => self.report("not a duration", whole),
        }
        None
    }

    /// The value as a size in bytes within `range`.
    pub(in super::super) fn size(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let (start, end) = (show_size(*range.start()), show_size(*range.end()));
        let advice = format!("write one from {start} to {end}, in B, KiB, MiB, GiB or TiB");
        match parse_size(self.scalar()?) {
            Ok(size) if range.contains(&size) => return Some(size),
            Ok(_) | Err(UnitError::TooLarge) => self.report("out of range", advice),
            Err(UnitError::MissingUnit | UnitError::Malformed) => self.report("not a size", advice),
        }
        None
    }

    /// The value as a whole number within `range`.
    pub(in super::super) fn count(&self, range: RangeInclusive<usize>) -> Option<usize> {
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

    /// The value as `true` or `false`.
    pub(in super::super) fn flag(&self) -> Option<bool> {
        let flag = core::flag(self.scalar()?);
        if flag.is_none() {
            self.report("neither true nor false", "write true or false");
        }
        flag
    }

    /// The value for Pingora's own reader.
    pub(in super::super) fn json(&self) -> Option<serde_json::Value> {
        match &self.node.value {
            Value::Refused => None,
            Value::Map(_) => {
                self.report(
                    "a map, where a value is expected",
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

    pub(super) fn report_type(&self, wanted: &str, advice: &str) {
        let found = match &self.node.value {
            Value::Refused => return,
            _ if self.node.is_null() => "has no value".to_owned(),
            Value::Scalar { .. } => format!("a single value, where {wanted} is expected"),
            Value::List(_) => format!("a list, where {wanted} is expected"),
            Value::Map(_) => format!("a map, where {wanted} is expected"),
        };
        self.report(found, advice);
    }
}
