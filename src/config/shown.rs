//! The configuration as text that may be shown: YAML of what was read, without comments, with what may be a secret masked.
//!
//! Who shows it says how names of users are shown.

use std::fmt;
use std::mem;
use std::sync::Arc;

use super::yaml::{Entry, Node, Value};
use crate::telemetry::UserNames;

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

/// Keys whose values name users: the key above, the key, and how the value is shown.
const WITH_USERS: [(&str, &str, Treatment); 7] = [
    ("rules", "users", Treatment::User),
    ("rules", "when", Treatment::Mention),
    ("tunnel", "when", Treatment::Mention),
    ("classes", "users", Treatment::User),
    ("trusted_networks", "user", Treatment::User),
    ("policy_tests", "user", Treatment::User),
    ("policy_tests", "claims", Treatment::Mention),
];

/// A configuration as it may be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Shown(Arc<[Piece]>);

/// A part of the text.
#[derive(Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// A value that names users.
    Users {
        text: String,
        is_plain: bool,
        /// Whether it is a name, and nothing else.
        is_name: bool,
    },
}

/// How a value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Treatment {
    AsWritten,
    Masked,
    /// As a name of a user.
    User,
    /// As a text that may name users: masked where names are hashed.
    Mention,
}

impl Shown {
    /// That of a document.
    pub(super) fn of(document: &Node) -> Self {
        let mut writer = Writer::default();
        writer.block(document, 0, Place::TOP);
        Self(writer.finish().into())
    }

    /// The text, with names of users as they are shown in other places.
    #[must_use]
    pub fn text(&self, names: &UserNames) -> String {
        let mut out = String::new();
        for piece in &*self.0 {
            match (piece, names) {
                (Piece::Text(text), _) => out.push_str(text),
                (Piece::Users { text, is_plain, .. }, UserNames::Plain) => {
                    value(text, *is_plain, &mut out);
                }
                (Piece::Users { text, is_name, .. }, UserNames::Hashed(key)) => match is_name {
                    // In quotes, since a hash can look like a number.
                    true => quoted(&key.show(text), &mut out),
                    false => quoted(MASK, &mut out),
                },
            }
        }
        out
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shown(..)")
    }
}

/// Where a value is.
#[derive(Clone, Copy)]
struct Place<'d> {
    /// The key that has it, or the list that it is in.
    key: &'d str,
    treatment: Treatment,
}

impl<'d> Place<'d> {
    const TOP: Place<'static> = Place {
        key: "",
        treatment: Treatment::AsWritten,
    };

    /// The place of the value of this key, in the map that is here.
    fn of(self, key: &'d str) -> Self {
        let treatment = match self.treatment {
            Treatment::AsWritten => treatment(self.key, key),
            inherited => inherited,
        };
        Self { key, treatment }
    }
}

/// How the value of a key in the map of another key is shown.
fn treatment(parent: &str, key: &str) -> Treatment {
    if MASKED.contains(&key) {
        return Treatment::Masked;
    }
    let mut with_users = WITH_USERS.iter();
    let found = with_users.find(|it| (it.0, it.1) == (parent, key));
    found.map_or(Treatment::AsWritten, |it| it.2)
}

/// Writes YAML.
#[derive(Default)]
struct Writer {
    done: Vec<Piece>,
    /// The text behind the last piece.
    text: String,
}

impl Writer {
    fn finish(mut self) -> Vec<Piece> {
        self.done.push(Piece::Text(self.text));
        self.done
    }

    /// Writes a value below its key.
    fn block(&mut self, node: &Node, depth: usize, place: Place<'_>) {
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    self.indent(depth);
                    self.entry(entry, depth, place);
                }
            }
            Value::List(nodes) => {
                for node in nodes {
                    self.indent(depth);
                    self.text.push_str("- ");
                    self.item(node, depth, place);
                }
            }
            Value::Scalar { .. } | Value::Refused => {
                self.indent(depth);
                self.scalar(node, place.treatment);
                self.text.push('\n');
            }
        }
    }

    /// Writes a key, on a line that is indented, and its value.
    fn entry(&mut self, entry: &Entry, depth: usize, place: Place<'_>) {
        let place = place.of(&entry.key);
        quoted_unless_plain(&entry.key, &mut self.text);
        self.text.push(':');
        match &entry.node.value {
            Value::Map(entries) if !entries.is_empty() => {
                self.text.push('\n');
                self.block(&entry.node, depth + 1, place);
            }
            Value::List(nodes) if nodes.iter().any(is_nested) => {
                self.text.push('\n');
                self.block(&entry.node, depth + 1, place);
            }
            _ => {
                self.text.push(' ');
                self.flow(&entry.node, place.treatment);
                self.text.push('\n');
            }
        }
    }

    /// Writes an entry of a list behind its dash.
    fn item(&mut self, node: &Node, depth: usize, place: Place<'_>) {
        match &node.value {
            Value::Map(entries) if !entries.is_empty() => {
                for (number, entry) in entries.iter().enumerate() {
                    if number > 0 {
                        self.indent(depth + 1);
                    }
                    self.entry(entry, depth + 1, place);
                }
            }
            Value::List(nodes) if nodes.iter().any(is_nested) => {
                self.text.push('\n');
                self.block(node, depth + 1, place);
            }
            _ => {
                self.flow(node, place.treatment);
                self.text.push('\n');
            }
        }
    }

    /// Writes what fits on the line: a single value, a list of those, or an empty map.
    fn flow(&mut self, node: &Node, treatment: Treatment) {
        match &node.value {
            Value::List(nodes) => {
                self.text.push('[');
                for (number, node) in nodes.iter().enumerate() {
                    if number > 0 {
                        self.text.push_str(", ");
                    }
                    self.scalar(node, treatment);
                }
                self.text.push(']');
            }
            Value::Map(_) => self.text.push_str("{}"),
            Value::Scalar { .. } | Value::Refused => self.scalar(node, treatment),
        }
    }

    fn scalar(&mut self, node: &Node, treatment: Treatment) {
        let out = &mut self.text;
        if node.is_null() {
            return out.push_str("null");
        }
        let Value::Scalar { text, plain, .. } = &node.value else {
            return quoted(MASK, out);
        };
        match treatment {
            Treatment::Masked => quoted(MASK, out),
            Treatment::AsWritten => value(&without_secrets(text), *plain, out),
            Treatment::User => self.users(text.clone(), *plain, true),
            Treatment::Mention => self.users(without_secrets(text), *plain, false),
        }
    }

    fn users(&mut self, text: String, is_plain: bool, is_name: bool) {
        self.done.push(Piece::Text(mem::take(&mut self.text)));
        self.done.push(Piece::Users {
            text,
            is_plain,
            is_name,
        });
    }

    fn indent(&mut self, depth: usize) {
        self.text.extend(std::iter::repeat_n("  ", depth));
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

/// Writes a value that is shown.
fn value(text: &str, is_plain: bool, out: &mut String) {
    if is_plain {
        quoted_unless_plain(text, out);
    } else {
        quoted(text, out);
    }
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

fn is_nested(node: &Node) -> bool {
    matches!(node.value, Value::Map(_) | Value::List(_))
}

#[cfg(test)]
mod tests;
