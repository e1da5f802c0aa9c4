//! YAML text to a tree of nodes that know their line.
//!
//! Less than YAML on purpose: one document, text keys, the tags of the core schema, bounded depth. What is left
//! can be read in one way only, and costs no more than the file is long: what aliases copy is bounded too.

mod alias;
mod source;
mod syntax;

use std::borrow::Cow;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use self::alias::Anchors;
use self::source::Source;
use super::problem::Diagnostics;

/// Deeper nesting than any key has.
pub(super) const MAX_DEPTH: usize = 16;

/// More keys than any map has; what is compared with each other stays few.
pub(super) const MAX_KEYS: usize = 256;

/// A key that an error may show: a misplaced password is most likely not of this form.
const MAX_SHOWN_KEY: usize = 64;

const NO_KEY: &str = "a key that is not text";
const KEY_ADVICE: &str =
    "write `key: value`; braces such as {{ }} are of a template that was not filled in";

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// What the core schema of YAML calls a scalar, kept as written; without the line ends at the end of a
    /// block (`|`, `>`).
    Scalar {
        text: String,
        /// Without quotes, so that `5` is a number and `true` is not a text.
        plain: bool,
        /// Where its characters stand, for one of several lines.
        source: Option<Arc<Source>>,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Something that was reported already; readers pass over it in silence.
    Refused,
}

/// One key of a map with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Where the key stands.
    pub(super) line: usize,
    pub(super) node: Node,
}

impl Node {
    /// The line of a key, by its path as in `tollgate.listeners[0].address`.
    pub(super) fn line_of(&self, path: &str) -> Option<usize> {
        let (mut node, mut line) = (self, None);
        for step in path.split('.') {
            let (key, indices) = step.split_once('[').unwrap_or((step, ""));
            let Value::Map(entries) = &node.value else {
                return None;
            };
            let entry = entries.iter().find(|entry| entry.key == key)?;
            (node, line) = (&entry.node, Some(entry.line));
            for index in indices.split_terminator(']') {
                let Value::List(nodes) = &node.value else {
                    return None;
                };
                node = nodes.get(index.trim_start_matches('[').parse::<usize>().ok()?)?;
                line = Some(node.line);
            }
        }
        line
    }

    /// The text of a value that is a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// Whether there is no value: nothing behind the colon, `~` or `null`.
    pub(super) fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, plain, .. } => {
                *plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }
}

/// Reads the one document of a file.
///
/// Reports to `diagnostics` and returns `None` where there is nothing to go on with. Duplicate keys and tags of other
/// programs are reported and the rest is still read.
pub(super) fn parse(text: &str, diagnostics: &Diagnostics) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The parser takes a NUL for the end, which would cut the rest of the file off in silence.
    if let Some(at) = text.find(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        let line = line_of(text, at);
        diagnostics.report(Some(line), "", "a control character", remedy("remove it"));
        return None;
    }
    let mut tree = Tree::new(text, diagnostics);
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => tree.take(event, span)?,
            Err(error) => {
                syntax::report(text, &error, diagnostics);
                return None;
            }
        }
    }
    match tree.root {
        Some(root) if !root.is_null() => Some(root),
        _ => {
            let advice = "write a configuration; conf/pingora.yaml is a short one";
            diagnostics.report(
                None,
                "",
                "the file has no configuration in it",
                remedy(advice),
            );
            None
        }
    }
}

/// Joins the path of a map with a key of it.
///
/// A key that does not look like one is left out: it may be anything.
pub(super) fn join(path: &str, key: &str) -> String {
    let shown = key.len() <= MAX_SHOWN_KEY
        && !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'<'));
    let key = if shown { key } else { "?" };
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn line_of(text: &str, at: usize) -> usize {
    let before = text.bytes().take(at);
    1 + before.filter(|byte| *byte == b'\n').count()
}

/// The name of a tag in YAML's core schema, and `!` for that of no type.
fn core_tag(tag: &Tag) -> Option<&str> {
    const CORE: &str = "tag:yaml.org,2002:";
    match (tag.handle.as_str(), tag.suffix.as_str()) {
        (CORE, name) => Some(name),
        // In full, as `!<tag:yaml.org,2002:str>`.
        ("", name) => Some(name.strip_prefix(CORE).unwrap_or(name)),
        _ => None,
    }
}

fn remedy(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// A list or a map that is still open.
struct Open {
    line: usize,
    path: String,
    /// 0 for none.
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// The key whose value comes next.
        key: Option<(String, usize)>,
    },
}

struct Tree<'s> {
    diagnostics: &'s Diagnostics,
    /// Those of the text.
    lines: Vec<&'s str>,
    anchors: Anchors,
    /// Explicit, so that nesting costs heap and not stack.
    open: Vec<Open>,
    root: Option<Node>,
}

impl<'s> Tree<'s> {
    fn new(text: &'s str, diagnostics: &'s Diagnostics) -> Tree<'s> {
        Tree {
            diagnostics,
            lines: text.lines().collect(),
            anchors: Anchors::default(),
            open: Vec::new(),
            root: None,
        }
    }

    /// Takes one event; `None` ends the reading.
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let line = span.start.line();
        match event {
            Event::StreamStart | Event::StreamEnd | Event::Nothing | Event::DocumentEnd => Some(()),
            Event::DocumentStart(_) => {
                if self.root.is_none() {
                    return Some(());
                }
                self.stop(
                    line,
                    "a second document",
                    "keep one, and remove `---` lines below it",
                )
            }
            Event::Alias(anchor) => self.copy(line, anchor),
            Event::Scalar(text, style, anchor, tag) => {
                let node = self.scalar(text, style, tag.as_deref(), span);
                self.finish(node, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(line, tag.as_deref(), "seq");
                self.open(line, anchor, OpenKind::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(line, tag.as_deref(), "map");
                let entries = Vec::new();
                self.open(line, anchor, OpenKind::Map { entries, key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
    }

    fn scalar(
        &self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: Span,
    ) -> Node {
        let line = span.start.line();
        let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let mut text = text.into_owned();
        if is_block {
            text.truncate(text.trim_end_matches('\n').len());
        }
        let plain = match tag.map(core_tag) {
            None => style == ScalarStyle::Plain,
            // `!` alone says that it is no number or the like, as quotes do.
            Some(Some("str" | "!")) => false,
            Some(Some("int" | "float" | "bool" | "null")) => true,
            Some(_) => {
                self.report_tag(line);
                let value = Value::Refused;
                return Node { line, value };
            }
        };
        // An alias copies the value, but not this.
        let source = Source::of(&self.lines, style, span).map(Arc::new);
        Node {
            line,
            value: Value::Scalar {
                text,
                plain,
                source,
            },
        }
    }

    /// Reports a tag that is not that of `kind`.
    fn check_tag(&self, line: usize, tag: Option<&Tag>, kind: &str) {
        if let Some(tag) = tag
            && core_tag(tag) != Some(kind)
        {
            self.report_tag(line);
        }
    }

    fn report_tag(&self, line: usize) {
        let advice = "remove it, or put the value into quotes if it begins with `!`";
        self.report(line, "a tag that is not of YAML's core schema", advice);
    }

    /// Adds what an anchor stands for once more.
    fn copy(&mut self, line: usize, anchor: usize) -> Option<()> {
        match self
            .anchors
            .copy(anchor, MAX_DEPTH.saturating_sub(self.open.len()))
        {
            Ok(node) => self.add(node),
            Err(error) => self.stop(line, error.message(), "write the value out"),
        }
    }

    /// Adds a node, and keeps it when it has an anchor.
    fn finish(&mut self, node: Node, anchor: usize) -> Option<()> {
        if anchor != 0 {
            self.anchors.keep(anchor, &node);
        }
        self.add(node)
    }

    fn open(&mut self, line: usize, anchor: usize, kind: OpenKind) -> Option<()> {
        if self.open.len() >= MAX_DEPTH {
            return self.stop(line, "nested too deeply", "check the indentation");
        }
        if self.awaits_key() {
            return self.stop(line, NO_KEY, KEY_ADVICE);
        }
        let path = self.path();
        self.open.push(Open {
            line,
            path,
            anchor,
            kind,
        });
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        let Open {
            line,
            path,
            anchor,
            kind,
        } = self.open.pop()?;
        let value = match kind {
            OpenKind::List(items) => Value::List(items),
            OpenKind::Map { entries, .. } => Value::Map(self.merge(entries, &path)),
        };
        self.finish(Node { line, value }, anchor)
    }

    /// Puts the keys of the maps behind `<<` among the others, which go before them.
    fn merge(&self, mut entries: Vec<Entry>, path: &str) -> Vec<Entry> {
        let Some(place) = entries.iter().position(|entry| entry.key == "<<") else {
            return entries;
        };
        let Entry { line, node, .. } = entries.remove(place);
        let maps = match node.value {
            Value::List(nodes) => nodes,
            value => vec![Node { line, value }],
        };
        for map in maps {
            let Value::Map(others) = map.value else {
                let path = join(path, "<<");
                let advice = remedy("write `<<: *name`, where `&name` stands at a map");
                self.diagnostics.report(
                    Some(line),
                    &path,
                    "not a map, which alone can be merged",
                    advice,
                );
                break;
            };
            for other in others {
                if entries.iter().all(|entry| entry.key != other.key) && entries.len() < MAX_KEYS {
                    entries.push(other);
                }
            }
        }
        entries
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node) -> Option<()> {
        let Some(Open { path, kind, .. }) = self.open.last_mut() else {
            self.root = Some(node);
            return Some(());
        };
        match kind {
            OpenKind::List(items) => items.push(node),
            OpenKind::Map { entries, key } => match key.take() {
                None if entries.len() >= MAX_KEYS => {
                    return self.stop(node.line, "too many keys", "remove those that are not read");
                }
                None => match node.value {
                    Value::Scalar { text, .. } => *key = Some((text, node.line)),
                    _ => {
                        return self.stop(node.line, NO_KEY, KEY_ADVICE);
                    }
                },
                Some((key, line)) => {
                    if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                        let path = join(path, &key);
                        let message = format!("given twice, first on line {}", first.line);
                        self.diagnostics.report(
                            Some(line),
                            &path,
                            message,
                            remedy("keep one of the two"),
                        );
                    } else {
                        entries.push(Entry { key, line, node });
                    }
                }
            },
        }
        Some(())
    }

    fn awaits_key(&self) -> bool {
        self.open
            .last()
            .is_some_and(|open| matches!(open.kind, OpenKind::Map { key: None, .. }))
    }

    /// The path of the node that comes next.
    fn path(&self) -> String {
        match self.open.last() {
            None => String::new(),
            Some(Open { path, kind, .. }) => match kind {
                OpenKind::List(items) => format!("{path}[{}]", items.len()),
                OpenKind::Map { key, .. } => match key {
                    Some((key, _)) => join(path, key),
                    None => path.clone(),
                },
            },
        }
    }

    fn report(&self, line: usize, message: &str, advice: &str) {
        self.diagnostics
            .report(Some(line), &self.path(), message, remedy(advice));
    }

    fn stop(&self, line: usize, message: &str, advice: &str) -> Option<()> {
        self.report(line, message, advice);
        None
    }
}

#[cfg(test)]
mod tests;
