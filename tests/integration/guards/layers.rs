//! The layers of `docs/architecture.md`: which folder of `src` may use which, and which know no runtime.
//!
//! The sources are read as tokens, so that comments and strings count for nothing, and so that code below a
//! `#[cfg(test)]` is seen like any other.

use std::collections::BTreeSet;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::{files, read, root};

/// The layers, top first. A folder uses those on lower lines.
const LAYERS: &[&[&str]] = &[
    &["internals"],
    &["main"],
    &["cli", "proxy"],
    &["top"],
    &["server"],
    &["explain"],
    &["downstream"],
    &["admin"],
    &["request"],
    &["upstream", "client"],
    &["tunnel", "config"],
    &["balances"],
    &["telemetry"],
    &["script"],
    &["hook"],
    &["access"],
    &["hello", "http", "text"],
    &["socks5"],
];

/// Crates of a runtime or a framework, and the folders that may not know them.
const FOREIGN: &[(&str, &[&str])] = &[
    (
        "tokio",
        &[
            "access", "hello", "hook", "http", "script", "socks5", "text",
        ],
    ),
    (
        "pingora",
        &[
            "access",
            "hello",
            "hook",
            "http",
            "script",
            "socks5",
            "text",
            "tunnel",
            "balances",
            "telemetry",
            "upstream::dial",
        ],
    ),
    (
        "ratatui",
        &[
            "access",
            "admin",
            "balances",
            "cli",
            "client",
            "config",
            "downstream",
            "explain",
            "hello",
            "hook",
            "http",
            "main",
            "proxy",
            "request",
            "script",
            "server",
            "socks5",
            "telemetry",
            "text",
            "tunnel",
            "upstream",
        ],
    ),
];

fn layer(folder: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&folder))
}

/// The path of a source file as modules.
fn module(src: &Path, file: &Path) -> Vec<String> {
    let below = file.strip_prefix(src).unwrap().with_extension("");
    let parts = below.components();
    parts
        .map(|part| part.as_os_str().to_str().unwrap().to_owned())
        .collect()
}

/// Every path of at least two parts in `tokens`, with `super` and `self` resolved: it begins with `crate`, or with
/// the name of another crate.
fn paths(module: &[String], tokens: TokenStream, found: &mut BTreeSet<Vec<String>>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(_) => at = path(module, &[], &tokens, at, found),
            TokenTree::Group(group) => {
                paths(module, group.stream(), found);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Reads the path that begins at `at`, below `prefix`. Returns where it ends.
fn path(
    module: &[String],
    prefix: &[String],
    tokens: &[TokenTree],
    mut at: usize,
    found: &mut BTreeSet<Vec<String>>,
) -> usize {
    let mut path = prefix.to_vec();
    while let Some(TokenTree::Ident(name)) = tokens.get(at) {
        match name.to_string().as_str() {
            "crate" => path = vec!["crate".to_owned()],
            "super" if path.is_empty() => {
                let own = module.split_last().map_or(&[][..], |(_, above)| above);
                path = [&["crate".to_owned()], own].concat();
            }
            "super" => drop(path.pop()),
            "self" if path.is_empty() => path = [&["crate".to_owned()], module].concat(),
            name => path.push(name.to_owned()),
        }
        at += 1;
        let separator = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
        if !(separator(at) && separator(at + 1)) {
            break;
        }
        at += 2;
        if let Some(TokenTree::Group(group)) = tokens.get(at)
            && group.delimiter() == Delimiter::Brace
        {
            let inner: Vec<TokenTree> = group.stream().into_iter().collect();
            let mut next = 0;
            while next < inner.len() {
                next = match &inner[next] {
                    TokenTree::Ident(_) => self::path(module, &path, &inner, next, found),
                    _ => next + 1,
                };
            }
            return at + 1;
        }
    }
    if path.len() > 1 {
        found.insert(path);
    }
    at.max(1)
}

fn uses(module: &[String], text: &str) -> BTreeSet<Vec<String>> {
    let mut found = BTreeSet::new();
    let tokens = text
        .parse()
        .unwrap_or_else(|error| panic!("{module:?}: {error}"));
    paths(module, tokens, &mut found);
    found
}

#[test]
fn uses_are_found_in_every_spelling() {
    let code = "use crate::a::B; use crate::{b::{C, d}, c::D, e}; fn f() { crate::f::g(); }
        // crate::comment::x
        #[cfg(test)] mod tests { use super::super::h; macro!(\"crate::text\", crate::i::j) }
        use super::{k, super::l}; use tokio::{net, io::Read};";
    let module = ["x".to_owned(), "y".to_owned()];
    let found: Vec<_> = uses(&module, code)
        .into_iter()
        .map(|path| path.join("::"))
        .collect();
    let expected = [
        "crate::a::B",
        "crate::b::C",
        "crate::b::d",
        "crate::c::D",
        "crate::e",
        "crate::f::g",
        "crate::h",
        "crate::i::j",
        "crate::l",
        "crate::x::k",
        "tokio::io::Read",
        "tokio::net",
    ];
    assert_eq!(found, expected);
}

#[test]
fn folders_use_only_what_is_below_them() {
    let src = root().join("src");
    let mut wrong = Vec::new();
    for file in files(&src, "rs") {
        let module = module(&src, &file);
        let Some(own) = layer(&module[0]) else {
            if module[0] != "lib" {
                wrong.push(format!(
                    "{} has no layer; give it one here and in docs/architecture.md",
                    module[0]
                ));
            }
            continue;
        };
        for path in uses(&module, &read(&file)) {
            let foreign = path[0] != "crate" && path[0] != "tollgate";
            let used = if foreign { continue } else { path[1].as_str() };
            let allowed = used == module[0] || layer(used).is_none_or(|other| other > own);
            if !allowed {
                wrong.push(format!(
                    "{} uses {}, which is not below it",
                    file.display(),
                    path.join("::")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_folders_know_no_runtime_and_no_framework() {
    let src = root().join("src");
    let mut wrong = Vec::new();
    for file in files(&src, "rs") {
        let module = module(&src, &file);
        for (foreign, folders) in FOREIGN {
            let applies = folders
                .iter()
                .any(|folder| module.join("::").starts_with(folder));
            for path in uses(&module, &read(&file)) {
                let is_foreign = path[0] == *foreign || path[0].starts_with(&format!("{foreign}_"));
                if applies && is_foreign {
                    wrong.push(format!("{} uses {}", file.display(), path.join("::")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
