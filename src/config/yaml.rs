//! YAML text to a tree of nodes that know their line.
//!
//! Less than YAML on purpose: one document, text keys, no anchors, aliases or tags, bounded depth.
//! What is left can be read in one way only, and costs no more than the file is long.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::problem::Sink;

/// Deeper nesting than any key has.
const MAX_DEPTH: usize = 16;

/// More keys than any map has; what is compared with each other stays few.
const MAX_KEYS: usize = 256;

/// A key that an error may show: a misplaced password is most likely not of this form.
const MAX_SHOWN_KEY: usize = 64;

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// What the core schema of YAML calls a scalar, kept as written.
    Scalar {
        text: String,
        plain: bool,
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

    /// Whether there is no value: nothing behind the colon, `~` or `null`.
    pub(super) fn is_null(&self) -> bool {
        match &self.value {
            Value::Scalar { text, plain } => *plain && matches!(text.as_str(), "" | "~" | "null"),
            _ => false,
        }
    }
}

/// Reads the one document of a file.
///
/// Reports to `sink` and returns `None` where there is nothing to go on with. Duplicate keys,
/// anchors and tags are reported and the rest is still read.
pub(super) fn parse(text: &str, sink: &Sink) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The parser takes a NUL for the end, which would cut the rest of the file off in silence.
    if let Some(at) = text.find(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        let line = line_of(text, at);
        sink.report(Some(line), "", "a control character", remedy("remove it"));
        return None;
    }
    let mut tree = Tree::new(sink);
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => tree.take(event, span)?,
            Err(error) => {
                report_syntax(text, &error, sink);
                return None;
            }
        }
    }
    if tree.root.is_none() {
        sink.report(
            None,
            "",
            "the file is empty",
            remedy("see conf/pingora.yaml"),
        );
    }
    tree.root
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

/// Reports what the parser stumbled over. The text of its errors is fixed, but for one character in
/// one of them.
fn report_syntax(text: &str, error: &ScanError, sink: &Sink) {
    let line = error.marker().line();
    // A tab in front of a line is found by the parser where the line before began, or as something else.
    let tab = (1..)
        .zip(text.lines())
        .skip(line.saturating_sub(1))
        .find(|(_, text)| {
            let indentation = text.len() - text.trim_start().len();
            text.bytes().take(indentation).any(|byte| byte == b'\t')
        });
    match tab {
        Some((line, _)) => {
            let message = "not YAML: a tab in the indentation";
            sink.report(Some(line), "", message, remedy("indent with spaces"));
        }
        None => {
            let message = format!("not YAML: {}", error.info());
            let remedy = remedy("check indentation, colons and quotes");
            sink.report(Some(line), "", message, remedy);
        }
    }
}

fn line_of(text: &str, at: usize) -> usize {
    let before = text.bytes().take(at);
    1 + before.filter(|byte| *byte == b'\n').count()
}

fn remedy(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// A list or a map that is still open.
struct Open {
    line: usize,
    path: String,
    kind: Kind,
}

enum Kind {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// The key whose value comes next.
        key: Option<(String, usize)>,
    },
}

struct Tree<'s> {
    sink: &'s Sink,
    /// Explicit, so that nesting costs heap and not stack.
    open: Vec<Open>,
    root: Option<Node>,
}

impl<'s> Tree<'s> {
    fn new(sink: &'s Sink) -> Tree<'s> {
        Tree {
            sink,
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
                self.stop(line, "a second document", "keep one, without another `---`")
            }
            Event::Alias(_) => {
                let message = "an alias; aliases are not read";
                self.report(line, message, "write the value out");
                let value = Value::Refused;
                self.add(Node { line, value })
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.check(line, anchor, tag.is_some());
                let plain = style == ScalarStyle::Plain;
                let text = text.into_owned();
                let value = Value::Scalar { text, plain };
                self.add(Node { line, value })
            }
            Event::SequenceStart(anchor, tag) => {
                self.check(line, anchor, tag.is_some());
                self.open(line, Kind::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.check(line, anchor, tag.is_some());
                let entries = Vec::new();
                self.open(line, Kind::Map { entries, key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
    }

    fn check(&self, line: usize, anchor: usize, tagged: bool) {
        if anchor != 0 {
            let message = "an anchor; anchors are not read";
            self.report(line, message, "write the value out where it is used");
        }
        if tagged {
            self.report(line, "a tag; tags are not read", "remove it");
        }
    }

    fn open(&mut self, line: usize, kind: Kind) -> Option<()> {
        if self.open.len() >= MAX_DEPTH {
            return self.stop(line, "nested too deeply", "check the indentation");
        }
        if self.awaits_key() {
            return self.stop(line, "a key that is not text", "write `key: value`");
        }
        let path = self.path();
        self.open.push(Open { line, path, kind });
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        let Open { line, kind, .. } = self.open.pop()?;
        let value = match kind {
            Kind::List(items) => Value::List(items),
            Kind::Map { entries, .. } => Value::Map(entries),
        };
        self.add(Node { line, value })
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node) -> Option<()> {
        let Some(Open { path, kind, .. }) = self.open.last_mut() else {
            self.root = Some(node);
            return Some(());
        };
        match kind {
            Kind::List(items) => items.push(node),
            Kind::Map { entries, key } => match key.take() {
                None if entries.len() >= MAX_KEYS => {
                    return self.stop(node.line, "too many keys", "remove those that are not read");
                }
                None => match node.value {
                    Value::Scalar { text, .. } => *key = Some((text, node.line)),
                    _ => {
                        return self.stop(
                            node.line,
                            "a key that is not text",
                            "write `key: value`",
                        );
                    }
                },
                Some((key, line)) => {
                    if let Some(first) = entries.iter().find(|entry| entry.key == key) {
                        let path = join(path, &key);
                        let message = format!("given twice, first on line {}", first.line);
                        self.sink
                            .report(Some(line), &path, message, remedy("keep one of the two"));
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
            .is_some_and(|open| matches!(open.kind, Kind::Map { key: None, .. }))
    }

    /// The path of the node that comes next.
    fn path(&self) -> String {
        match self.open.last() {
            None => String::new(),
            Some(Open { path, kind, .. }) => match kind {
                Kind::List(items) => format!("{path}[{}]", items.len()),
                Kind::Map { key, .. } => match key {
                    Some((key, _)) => join(path, key),
                    None => path.clone(),
                },
            },
        }
    }

    fn report(&self, line: usize, message: &str, advice: &str) {
        self.sink
            .report(Some(line), &self.path(), message, remedy(advice));
    }

    fn stop(&self, line: usize, message: &str, advice: &str) -> Option<()> {
        self.report(line, message, advice);
        None
    }
}

#[cfg(test)]
mod tests;
