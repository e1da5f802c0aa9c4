//! What is generated from the tables of keys: the tables of docs/configuration.md, and conf/tollgate.schema.json.
//!
//! `make reference` runs these tests with `UPDATE_REFERENCE` in the environment, so that they write the files; otherwise they compare.

mod agreement;
mod document;
mod schema;

use std::collections::BTreeMap;
use std::fs;

use super::keys::shape::{DefaultText, Key, Shape};
use super::pingora;
use super::sections::Sections;
use super::tests::own;

/// One map of the file.
pub(super) struct Table {
    /// Such as `tollgate.listeners[].tls`; empty for the whole file.
    pub(super) path: String,
    pub(super) keys: Vec<Key>,
    /// Whether a reload applies all of it.
    pub(super) on_reload: bool,
}

impl Table {
    fn names(&self) -> Vec<&'static str> {
        self.keys.iter().map(|key| key.name).collect()
    }
}

/// The keys at the top of the file.
fn top() -> Vec<Key> {
    let mut keys = pingora::keys::keys();
    keys.push(Key {
        name: "tollgate",
        about: "Tollgate's own keys.",
        default: DefaultText::Required,
        shape: Shape::Map(Sections::keys),
        on_reload: false,
    });
    keys
}

/// Every map, each before those in it.
pub(super) fn tables() -> Vec<Table> {
    let mut tables = Vec::new();
    collect(String::new(), top(), false, &mut tables);
    tables
}

fn collect(path: String, keys: Vec<Key>, on_reload: bool, tables: &mut Vec<Table>) {
    let mut inner = Vec::new();
    for key in &keys {
        let path = super::yaml::join(&path, key.name);
        for (suffix, keys) in maps(&key.shape) {
            inner.push((format!("{path}{suffix}"), keys, on_reload || key.on_reload));
        }
    }
    tables.push(Table {
        path,
        keys,
        on_reload,
    });
    for (path, keys, on_reload) in inner {
        collect(path, keys, on_reload, tables);
    }
}

/// The maps that a value may have, with what comes behind the path of the key.
fn maps(shape: &Shape) -> Vec<(String, Vec<Key>)> {
    match shape {
        Shape::Map(keys) | Shape::Part(keys) => vec![(String::new(), keys())],
        Shape::List { of, .. } => {
            let inner = maps(of).into_iter();
            inner
                .map(|(suffix, keys)| (format!("[]{suffix}"), keys))
                .collect()
        }
        Shape::NamedMaps(keys) => vec![(".NAME".to_owned(), keys())],
        Shape::Either(shapes) => shapes.iter().flat_map(maps).collect(),
        _ => Vec::new(),
    }
}

/// The paths of each key, without brackets: several for a key of a map that is in several places.
pub(super) fn places() -> Vec<Vec<String>> {
    let mut places: BTreeMap<(Vec<&str>, &str), Vec<String>> = BTreeMap::new();
    let tables = tables();
    for table in &tables {
        for key in &table.keys {
            let path = super::yaml::join(&table.path, key.name).replace("[]", "");
            let of_map = (table.names(), key.name);
            places.entry(of_map).or_default().push(path);
        }
    }
    places.into_values().collect()
}

/// Compares a generated file with the committed one, or writes it.
fn settle(name: &str, wanted: &str) {
    let path = own(name);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(path, wanted).unwrap();
        return;
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    let differs = found
        .lines()
        .zip(wanted.lines())
        .position(|(found, wanted)| found != wanted);
    let line = differs.unwrap_or(found.lines().count().min(wanted.lines().count())) + 1;
    assert!(
        found == wanted,
        "{name}, line {line}: not what the tables of keys say; run `make reference`"
    );
}
