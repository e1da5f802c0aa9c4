//! The configuration as text that may be shown: YAML of what was read, without comments, with what may be a secret masked.

use std::fmt;
use std::sync::Arc;

use super::yaml::{Entry, Node, Value};

/// What stands for a value that is not shown.
const MASK: &str = "***";

/// Keys whose values, and all below them, are not shown: passwords, and texts that may have a credential in them.
const MASKED: [&str; 6] = [
    "password",
    "settings",
    "source",
    "fields",
    "request_headers",
    "expect_headers",
];

/// A configuration as it may be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown(Arc<str>);

impl Shown {
    /// That of a document.
    pub(super) fn of(document: &Node) -> Self {
        Self(render(document).into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown(..)")
    }
}

/// The document as YAML.
fn render(document: &Node) -> String {
    let mut text = String::new();
    block(document, 0, false, &mut text);
    text
}

/// Writes a value below its key.
fn block(node: &Node, depth: usize, is_masked: bool, out: &mut String) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                indent(depth, out);
                entry_at(entry, depth, is_masked, out);
            }
        }
        Value::List(nodes) => {
            for node in nodes {
                indent(depth, out);
                out.push_str("- ");
                item(node, depth, is_masked, out);
            }
        }
        Value::Scalar { .. } | Value::Refused => {
            indent(depth, out);
            scalar(node, is_masked, out);
            out.push('\n');
        }
    }
}

/// Writes a key, on a line that is indented, and its value.
fn entry_at(entry: &Entry, depth: usize, is_masked: bool, out: &mut String) {
    let is_masked = is_masked || MASKED.contains(&entry.key.as_str());
    quoted_unless_plain(&entry.key, out);
    out.push(':');
    match &entry.node.value {
        Value::Map(entries) if !entries.is_empty() => {
            out.push('\n');
            block(&entry.node, depth + 1, is_masked, out);
        }
        Value::List(nodes) if nodes.iter().any(is_nested) => {
            out.push('\n');
            block(&entry.node, depth + 1, is_masked, out);
        }
        _ => {
            out.push(' ');
            flow(&entry.node, is_masked, out);
            out.push('\n');
        }
    }
}

/// Writes an entry of a list behind its dash.
fn item(node: &Node, depth: usize, is_masked: bool, out: &mut String) {
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => {
            for (number, entry) in entries.iter().enumerate() {
                if number > 0 {
                    indent(depth + 1, out);
                }
                entry_at(entry, depth + 1, is_masked, out);
            }
        }
        Value::List(nodes) if nodes.iter().any(is_nested) => {
            out.push('\n');
            block(node, depth + 1, is_masked, out);
        }
        _ => {
            flow(node, is_masked, out);
            out.push('\n');
        }
    }
}

/// Writes what fits on the line: a single value, a list of those, or an empty map.
fn flow(node: &Node, is_masked: bool, out: &mut String) {
    match &node.value {
        Value::List(nodes) => {
            out.push('[');
            for (number, node) in nodes.iter().enumerate() {
                if number > 0 {
                    out.push_str(", ");
                }
                scalar(node, is_masked, out);
            }
            out.push(']');
        }
        Value::Map(_) => out.push_str("{}"),
        Value::Scalar { .. } | Value::Refused => scalar(node, is_masked, out),
    }
}

fn scalar(node: &Node, is_masked: bool, out: &mut String) {
    match &node.value {
        _ if node.is_null() => out.push_str("null"),
        _ if is_masked => quoted(MASK, out),
        Value::Scalar {
            text, plain: true, ..
        } => quoted_unless_plain(&without_secrets(text), out),
        Value::Scalar { text, .. } => quoted(&without_secrets(text), out),
        Value::List(_) | Value::Map(_) | Value::Refused => quoted(MASK, out),
    }
}

/// A text without the userinfo and the query of a URL in it.
fn without_secrets(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{MASK}@{host}"),
        None => authority.to_owned(),
    };
    let path = match path.split_once('?') {
        Some((path, _)) => format!("{path}?{MASK}"),
        None => path.to_owned(),
    };
    format!("{scheme}://{authority}{path}")
}

/// Without quotes where the text means itself in every place: words, numbers, names and addresses.
fn quoted_unless_plain(text: &str, out: &mut String) {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '+');
    let begins = text
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphanumeric() || c == '/');
    if begins && text.chars().all(is_plain) {
        out.push_str(text);
    } else {
        quoted(text, out);
    }
}

/// As JSON quotes a text, which YAML reads alike.
fn quoted(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

fn is_nested(node: &Node) -> bool {
    matches!(node.value, Value::Map(_) | Value::List(_))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::problem::Diagnostics;
    use crate::config::yaml;

    fn shown(text: &str) -> String {
        let diagnostics = Diagnostics::new(Path::new("f.yaml"));
        render(&yaml::parse(text, &diagnostics).unwrap())
    }

    #[test]
    fn what_is_shown_is_read_as_the_same() {
        let text = "
a: 1
b: '1'   # a comment
c: [x, 'y: z', 10.0.0.0/8]
d:
  - name: one
    list: [{ a: 1 }, { b: [2] }]
  - two
e: {}
f: []
g:
h: |
  several
  lines
'odd key': \"tab\\t\"
i: [[1, 2], [3]]
j: true
k: '@list.txt'
";
        let read = |text: &str| serde_yaml::from_str::<serde_yaml::Value>(text).unwrap();
        let mut expected = read(text);
        // The line end at the end of a block is not kept.
        expected["h"] = "several\nlines".into();
        let once = shown(text);
        assert_eq!(read(&once), expected, "{once}");
        assert_eq!(shown(&once), once);
    }

    #[test]
    fn secrets_are_masked() {
        let shown = shown(
            "
url: 'https://user:geheim@a.test/path?key=geheim#x'
urls: ['http://geheim@10.0.0.1:3128']
password: geheim
settings: { key: geheim, list: [geheim, { x: geheim }] }
scripts: [{ source: 'let key = geheim;' }]
inject: { fields: { X-Key: geheim }, basic: { user: u, password: geheim } }
request_headers: ['X: geheim']
path: /srv/file
",
        );
        assert!(!shown.contains("geheim"), "{shown}");
        assert!(shown.contains("https://***@a.test/path?***"), "{shown}");
        assert!(shown.contains("path: /srv/file"), "{shown}");
    }
}
