//! Invariants of the reader of configurations, for the fuzz targets. Nothing is written or bound.

use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::files::{Base, MAX_PATH};
pub use super::pem::fuzz::pem;
use super::yaml::{self, MAX_DEPTH, MAX_KEYS, Node, Value};
use super::{Config, ConfigError, Diagnostics, Scope, interpret};
use crate::access::policy::{Destination, Request};
use crate::http::target::{Authority, Host};
use crate::text::fuzz::decode;

/// The configuration that `data` stands for. The files of this directory can be named in it.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/fuzz.yaml");

/// A message may name a file twice, for what is wrong and for the command that repairs it.
const MAX_MESSAGE: usize = 2 * MAX_PATH + 2048;

/// The most that aliases may copy, and a word for what each node costs.
const MAX_COPIED: usize = 2 << 20;

/// Reads `data` as YAML.
///
/// Nodes and problems lie in the text, nesting and size are bounded, no map has a key twice, and what is not
/// read is reported.
///
/// # Panics
/// An invariant does not hold.
pub fn yaml(data: &[u8]) -> String {
    let text = match decode(data) {
        Ok(text) => text,
        Err(error) => return error,
    };
    let diagnostics = Diagnostics::new(Path::new(FILE));
    let node = yaml::parse(&text, &diagnostics);
    let mut walk = Walk {
        text: &text,
        // A value that is missing at the end is on the line behind the last one.
        lines: text.lines().count() + 1,
        nodes: 0,
        copied: 0,
        depth: 0,
    };
    if let Some(node) = &node {
        walk.node(node, 1);
    }
    assert!(walk.copied <= text.len() + MAX_COPIED, "{text:?}");
    let is_read = node.is_some();
    let problems = diagnostics.finish(node);
    assert!(is_read || problems.is_err(), "{text:?}");
    let outcome = match problems {
        Ok(_) => "read".to_owned(),
        Err(error) => check_problems(&text, &error),
    };
    let nodes = walk.nodes.checked_ilog2().unwrap_or_default();
    format!("{outcome}, {} deep, {} nodes", walk.depth, nodes / 2)
}

struct Walk<'t> {
    text: &'t str,
    lines: usize,
    nodes: usize,
    copied: usize,
    depth: usize,
}

impl Walk<'_> {
    fn node(&mut self, node: &Node, depth: usize) {
        let text = self.text;
        // A scalar in the deepest map is one level deeper.
        assert!(depth <= MAX_DEPTH + 1, "{text:?}");
        assert!(
            (1..=self.lines).contains(&node.line),
            "{}: {text:?}",
            node.line
        );
        self.nodes += 1;
        self.copied += 1;
        self.depth = self.depth.max(depth);
        match &node.value {
            Value::Scalar {
                text: value,
                source,
                ..
            } => {
                self.copied += value.len();
                if let Some(source) = source {
                    let lines = value.lines().count().max(1);
                    for place in [(1, 1), (lines, 1), (lines, usize::MAX)] {
                        let (line, column) = source.place(value, place.0, place.1);
                        let written = text.lines().nth(line.wrapping_sub(1));
                        let columns = written.unwrap_or_default().chars().count() + 1;
                        assert!(
                            (1..=self.lines).contains(&line) && (1..=columns).contains(&column),
                            "{line}:{column} for {place:?} of {value:?}: {text:?}"
                        );
                    }
                }
            }
            Value::List(nodes) => nodes.iter().for_each(|node| self.node(node, depth + 1)),
            Value::Map(entries) => {
                assert!(entries.len() <= MAX_KEYS, "{text:?}");
                for (index, entry) in entries.iter().enumerate() {
                    self.copied += entry.key.len();
                    assert!((1..=self.lines).contains(&entry.line), "{text:?}");
                    let mut before = entries.iter().take(index);
                    assert!(before.all(|other| other.key != entry.key), "{text:?}");
                    self.node(&entry.node, depth + 1);
                }
            }
            Value::Refused => {}
        }
    }
}

/// Reads `data` as a configuration, as `tollgate explain` reads it.
///
/// Problems lie in the text, and their messages are lines. A configuration that is accepted can be asked.
///
/// # Panics
/// An invariant does not hold.
pub fn configuration(data: &[u8]) -> String {
    let text = match decode(data) {
        Ok(text) => text,
        Err(error) => return error,
    };
    let path = Path::new(FILE);
    let Ok(base) = Base::of(path) else {
        return "no working directory".to_owned();
    };
    let diagnostics = Diagnostics::new(path);
    let config = interpret(path, &text, &base, &diagnostics, Scope::Explain);
    match diagnostics.finish(config) {
        Ok(config) => ask(&config),
        Err(error) => check_problems(&text, &error),
    }
}

/// Asks an accepted configuration for a decision.
fn ask(config: &Config) -> String {
    assert!(!config.listeners.is_empty() && !config.auth.users.is_empty());
    let policy = Arc::new(config.policy.clone());
    let name = Authority {
        host: Host::Name("example.org".into()),
        port: 443,
    };
    let address = Authority {
        host: Host::Ip([10, 0, 0, 1].into()),
        port: 80,
    };
    let destinations = [
        Destination::Tunnel(&name),
        Destination::Forward(&address),
        Destination::Gateway,
    ];
    let admitted = destinations.map(|destination| {
        let request = Request {
            groups: &[],
            destination,
            scheme: None,
            method: "GET",
            user: "username",
            client: [127, 0, 0, 1].into(),
            time: UNIX_EPOCH,
            head: None,
            claims: &[],
            hello: None,
        };
        u8::from(policy.admit_request(&request).is_ok())
    });
    let warnings = config.warnings.len().min(3);
    format!("accepted, admits {admitted:?}, {warnings} warnings")
}

/// Checks the places of problems and the form of their messages. Returns the first message, without names.
fn check_problems(text: &str, error: &ConfigError) -> String {
    let lines = text.lines().count() + 1;
    let all = || error.problems().iter().chain(error.warnings().iter());
    for problem in all() {
        if problem.file == Path::new(FILE) {
            let exists = problem.line.is_none_or(|line| (1..=lines).contains(&line));
            assert!(exists, "{problem}: {text:?}");
        }
        let printed = problem.to_string();
        assert!(!printed.contains(char::is_control), "{printed:?}: {text:?}");
        assert!(printed.len() < MAX_MESSAGE, "{printed:?}");
    }
    let first = error.problems().first();
    let message = first.map(|problem| problem.message.as_str());
    let words = message.unwrap_or_default().split(' ');
    let words: Vec<_> = words
        .filter(|word| word.chars().all(|c| c.is_ascii_lowercase()))
        .take(6)
        .collect();
    words.join(" ")
}
