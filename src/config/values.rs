//! What a configuration says, key by key, as digests: how a reload finds out which keys have changed.
//!
//! The reader of keys fills this in, so a new key is in it without another line of code. Only names of keys
//! and digests are kept: a value may be a secret.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use blake3::{Hash, Hasher};

use super::files;
use super::yaml::{Node, Value as Written};

/// The list whose entries are named one by one. Entries of others are named as the list.
const LIST_BY_ENTRY: &str = "tollgate.listeners[";

/// The section of the admin service, whose TLS is that of a listener.
const ADMIN: &str = "tollgate.admin.";

/// A certificate, a key or a bundle that is larger is not compared.
const MAX_COMPARED_FILE: u64 = 4 << 20;

/// The values of every key that was asked for in one reading.
#[derive(Clone, Default)]
pub struct Values(BTreeMap<String, Value>);

/// What is known of the value of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Value {
    /// What the file has; none where the key is left out.
    written: Option<Hash>,
    /// What that means: `30s` and `30000ms` are the same, and so are a default and a key that is left out.
    meant: Option<Hash>,
    /// What is in the file that the key names.
    content: Option<Content>,
    /// Whether a reload applies the key; all others wait for a restart.
    is_on_reload: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Digest(Hash),
    /// It cannot be read, as for a process that has given up its privileges.
    Unknown,
}

/// How the keys of a file differ from those of the running process. Each list is in the order of the names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Keys that took effect with the reload.
    pub applied: Vec<String>,
    /// Keys that take effect with a restart or an upgrade.
    pub restart_needed: Vec<String>,
    /// Keys that name a file which the process cannot read, so that a change in it is not seen.
    pub not_compared: Vec<String>,
}

impl Values {
    /// How `new` differs from these.
    pub fn changes_to(&self, new: &Values) -> Changes {
        let mut applied = BTreeSet::new();
        let mut restart_needed = BTreeSet::new();
        let mut not_compared = BTreeSet::new();
        let absent = Value::default();
        let keys: BTreeSet<&String> = self.0.keys().chain(new.0.keys()).collect();
        for key in keys {
            let old = self.0.get(key).unwrap_or(&absent);
            let is_applied = match new.0.get(key) {
                Some(new) => new.is_on_reload,
                None => old.is_on_reload && !new.lacks_tls_of(key),
            };
            let new = new.0.get(key).unwrap_or(&absent);
            let name = name_of(key).to_owned();
            if old.differs_from(new) {
                if is_applied {
                    applied.insert(name);
                } else {
                    restart_needed.insert(name);
                }
            } else if new.content == Some(Content::Unknown) {
                not_compared.insert(name);
            }
        }
        Changes {
            applied: applied.into_iter().collect(),
            restart_needed: restart_needed.into_iter().collect(),
            not_compared: not_compared.into_iter().collect(),
        }
    }

    /// Whether a key is of a listener that is plain here: TLS is begun and ended with a restart.
    fn lacks_tls_of(&self, key: &str) -> bool {
        const TLS: &str = ".tls.";
        let end = key.find(TLS).map(|at| at + TLS.len());
        let tls = end.and_then(|end| key.get(..end));
        tls.is_some_and(|tls| {
            (key.starts_with(LIST_BY_ENTRY) || key.starts_with(ADMIN))
                && !self.0.keys().any(|other| other.starts_with(tls))
        })
    }

    /// Takes over what a reload has applied of `new`.
    pub fn apply(&mut self, new: &Values) {
        let waits = |key: &str| match new.0.get(key) {
            Some(new) => !new.is_on_reload,
            None => new.lacks_tls_of(key),
        };
        self.0
            .retain(|key, value| !value.is_on_reload || waits(key));
        let applied = new.0.iter().filter(|(_, value)| value.is_on_reload);
        self.0
            .extend(applied.map(|(key, value)| (key.clone(), value.clone())));
    }

    /// Every key that was asked for, there or not.
    #[cfg(test)]
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Values(..)")
    }
}

impl Changes {
    /// Whether every changed key took effect.
    pub fn are_complete(&self) -> bool {
        self.restart_needed.is_empty()
    }
}

impl Value {
    fn differs_from(&self, new: &Value) -> bool {
        let changed = self.written != new.written && self.meant != new.meant;
        let known = |content| match content {
            Some(Content::Digest(digest)) => Some(digest),
            Some(Content::Unknown) | None => None,
        };
        let rewritten = match (known(self.content), known(new.content)) {
            (Some(old), Some(new)) => old != new,
            _ => false,
        };
        changed || rewritten
    }
}

/// Collects the values of one reading.
#[derive(Debug, Default)]
pub(super) struct Ledger(RefCell<Values>);

impl Ledger {
    /// Notes that a key was asked for, and what the file has there.
    ///
    /// A map is noted by the keys below it, and so is a list of maps. `is_on_reload` says whether a reload
    /// applies the key.
    pub(super) fn note(&self, key: &str, node: Option<&Node>, is_on_reload: bool) {
        let leaf = node.filter(|node| !has_map(node));
        if node.is_some() && leaf.is_none() {
            return;
        }
        let hash = leaf.map(digest);
        self.update(key, |value| {
            value.written = hash;
            value.meant = hash;
            value.is_on_reload = is_on_reload;
        });
    }

    /// Notes what the value of a key means, given or not.
    pub(super) fn note_meaning(&self, key: &str, meaning: &str) {
        self.update(key, |value| {
            value.meant = Some(blake3::hash(meaning.as_bytes()));
        });
    }

    /// Notes that a list which is left out is an empty one.
    pub(super) fn note_empty_list(&self, key: &str) {
        self.update(key, |value| value.meant = Some(list_digest([])));
    }

    /// Notes what is in the file that a key names. Several files of one key count together. An entry of
    /// a list may be such a key, of which nothing else is noted.
    pub(super) fn note_content(&self, key: &str, content: Hash, is_on_reload: bool) {
        self.update(key, |value| {
            value.is_on_reload = is_on_reload;
            value.content = Some(Content::Digest(match value.content {
                Some(Content::Digest(before)) => joined([before, content]),
                Some(Content::Unknown) | None => content,
            }));
        });
    }

    /// Reads the file that a key names, to note what is in it.
    pub(super) fn note_file(&self, key: &str, path: &Path, is_on_reload: bool) {
        // A pipe can be read only once, and the reader of the key does that.
        let is_file = path.metadata().is_ok_and(|metadata| metadata.is_file());
        match is_file.then(|| files::read(path, MAX_COMPARED_FILE)) {
            Some(Ok(bytes)) => self.note_content(key, blake3::hash(&bytes), is_on_reload),
            _ => self.update(key, |value| value.content = Some(Content::Unknown)),
        }
    }

    /// Notes that a reload does not apply what is below a key, whatever the tables say.
    pub(super) fn leave_for_restart(&self, key: &str) {
        let below = format!("{key}.");
        let mut values = self.0.borrow_mut();
        let values = values.0.iter_mut();
        for (_, value) in values.filter(|(name, _)| name.starts_with(&below)) {
            value.is_on_reload = false;
        }
    }

    /// Notes that a reload does not apply this key, whatever the tables say.
    pub(super) fn leave_key_for_restart(&self, key: &str) {
        if let Some(value) = self.0.borrow_mut().0.get_mut(key) {
            value.is_on_reload = false;
        }
    }

    /// What was collected. Leaves nothing behind.
    pub(super) fn take(&self) -> Values {
        self.0.take()
    }

    fn update(&self, key: &str, update: impl FnOnce(&mut Value)) {
        let mut values = self.0.borrow_mut();
        update(values.0.entry(key.to_owned()).or_default());
    }
}

fn has_map(node: &Node) -> bool {
    match &node.value {
        Written::Map(_) => true,
        Written::List(nodes) => nodes.iter().any(has_map),
        Written::Scalar { .. } | Written::Refused => false,
    }
}

/// A digest that two nodes share when a reader cannot tell them apart. `""` and nothing are two values.
fn digest(node: &Node) -> Hash {
    match &node.value {
        Written::Scalar { .. } if node.is_null() => blake3::hash(b"null"),
        Written::Scalar { text, .. } => joined([blake3::hash(text.as_bytes())]),
        Written::List(nodes) => list_digest(nodes.iter().map(digest)),
        // A map is noted by its keys, and what was refused ends the reading.
        Written::Map(_) | Written::Refused => blake3::hash(b"map"),
    }
}

/// The digest of a list; that of an empty one is also that of a list which is left out.
fn list_digest(items: impl IntoIterator<Item = Hash>) -> Hash {
    joined(std::iter::once(blake3::hash(b"list")).chain(items))
}

fn joined(hashes: impl IntoIterator<Item = Hash>) -> Hash {
    let mut hasher = Hasher::new();
    for hash in hashes {
        hasher.update(hash.as_bytes());
    }
    hasher.finalize()
}

/// The name of a key in a report: without the number of a list's entry, but for the listeners.
fn name_of(key: &str) -> &str {
    let start = if key.starts_with(LIST_BY_ENTRY) {
        LIST_BY_ENTRY.len()
    } else {
        0
    };
    let end = key.get(start..).and_then(|rest| rest.find('['));
    end.and_then(|end| key.get(..start + end)).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keys() {
        for (key, name) in [
            ("threads", "threads"),
            (
                "tollgate.listeners[1].tls.key",
                "tollgate.listeners[1].tls.key",
            ),
            ("tollgate.listeners[0].x[3]", "tollgate.listeners[0].x"),
            ("tollgate.policy.rules[3].users[0]", "tollgate.policy.rules"),
            ("tollgate.policy_tests[0].user", "tollgate.policy_tests"),
            ("tollgate.policy_other", "tollgate.policy_other"),
            (
                "tollgate.egress.deny_domains[2]",
                "tollgate.egress.deny_domains",
            ),
            ("tollgate.auth.realm", "tollgate.auth.realm"),
        ] {
            assert_eq!(name_of(key), name, "{key}");
        }
    }

    #[test]
    fn what_means_the_same_has_not_changed() {
        let node = |text: &str| Node {
            line: 1,
            value: Written::Scalar {
                text: text.to_owned(),
                plain: true,
                source: None,
            },
        };
        let read = |text: Option<&str>, meaning: &str| {
            let ledger = Ledger::default();
            ledger.note("k", text.map(node).as_ref(), false);
            ledger.note_meaning("k", meaning);
            ledger.take()
        };
        let changed = |a: &Values, b: &Values| !a.changes_to(b).restart_needed.is_empty();
        let (given, same, left_out) = (
            read(Some("30s"), "30s"),
            read(Some("30000ms"), "30s"),
            read(None, "30s"),
        );
        assert!(
            !changed(&given, &same) && !changed(&given, &left_out) && !changed(&left_out, &same)
        );
        assert!(changed(&given, &read(Some("31s"), "31s")));
        // A default that depends on another key is not a key that the operator changed.
        assert!(!changed(&left_out, &read(None, "31s")));
    }

    #[test]
    fn a_file_is_compared_by_what_is_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let read = || {
            let ledger = Ledger::default();
            ledger.note_file("k", &path, false);
            ledger.take()
        };
        std::fs::write(&path, "one").unwrap();
        let one = read();
        assert_eq!(one.changes_to(&read()), Changes::default());
        std::fs::write(&path, "two").unwrap();
        assert_eq!(one.changes_to(&read()).restart_needed, ["k"]);
        std::fs::remove_file(&path).unwrap();
        let changes = one.changes_to(&read());
        assert_eq!(
            (changes.restart_needed.len(), changes.not_compared),
            (0, vec!["k".to_owned()])
        );
    }

    #[test]
    fn what_was_not_applied_stays_a_change() {
        let read = |drain: &str, users: &str| {
            let ledger = Ledger::default();
            ledger.note_meaning("tollgate.timeouts.drain", drain);
            let users = blake3::hash(users.as_bytes());
            ledger.note_content("tollgate.auth.htpasswd", users, true);
            ledger.update("tollgate.timeouts.drain", |value| {
                value.written = value.meant
            });
            ledger.take()
        };
        let mut running = read("30s", "a");
        let new = read("31s", "b");
        for applied in [vec!["tollgate.auth.htpasswd".to_owned()], Vec::new()] {
            let changes = running.changes_to(&new);
            assert_eq!(changes.applied, applied);
            assert_eq!(changes.restart_needed, ["tollgate.timeouts.drain"]);
            assert!(!changes.are_complete());
            running.apply(&new);
        }
    }
}
