//! `--once`: what the tabs show at one moment, as JSON for programs or as tables for people. Pure but for the questions.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::facts::{Fact, Facts};
use super::feed::{FeedError, get};
use super::lists::{Column, Tab};
use super::process;
use crate::admin::Service;

/// What is asked: the member of the JSON, and the path.
const PARTS: [(&str, &str); 10] = [
    ("status", "/api/v1/status"),
    ("tunnels", "/api/v1/tunnels?limit=1000"),
    ("requests", "/api/v1/requests?limit=1000"),
    ("users", "/api/v1/users?limit=1000"),
    ("sites", "/api/v1/sites?limit=1000"),
    ("denials", "/api/v1/denials"),
    ("upstreams", "/api/v1/upstreams"),
    ("limits", "/api/v1/limits"),
    ("policy", "/api/v1/policy"),
    ("quotas", "/api/v1/quotas?limit=1000"),
];

/// The rows of each table.
const ROWS: usize = 50;
/// The longest cell of a table.
const CELL: usize = 60;

/// Asks for all of it.
///
/// # Errors
/// The service does not answer one of the questions.
pub(super) fn collect(service: &Service) -> Result<Facts, FeedError> {
    let mut parts = Map::new();
    for (name, path) in PARTS {
        let part = get(service, path).or_else(refused_part)?;
        parts.insert(name.to_owned(), part.into_value());
    }
    Ok(Facts::new(Value::Object(parts)))
}

/// The answer of a service that works, but for the store of its balances.
fn refused_part(error: FeedError) -> Result<Facts, FeedError> {
    match error {
        FeedError::Refused {
            code: Some(code),
            message,
            ..
        } if code == "store_failed" => Ok(Facts::new(json!({"error": code, "message": message}))),
        error => Err(error),
    }
}

/// As one line of JSON.
pub(super) fn json(all: &Facts) -> String {
    let mut json = all.whole().json();
    json.push('\n');
    json
}

/// As tables.
pub(super) fn tables(all: &Facts) -> String {
    let mut out = String::new();
    let status = Facts::of(all.at("status"));
    let limits = Facts::of(all.at("limits"));
    for (name, text) in process::lines(&status, &limits) {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name:<18}{text}");
    }
    for tab in Tab::ALL {
        let Some(list) = tab.list() else {
            continue;
        };
        // These two are looked for where a snapshot has them.
        let answer = match tab {
            Tab::Upstreams | Tab::Rules => all.whole(),
            tab => all.at(tab.name()),
        };
        let mut rows = tab.rows(Facts::of(answer));
        if let (Some(column), is_falling) = (list.columns.get(list.sort.0), list.sort.1) {
            rows.sort_by(|a, b| match is_falling {
                true => column.order_of(b, a),
                false => column.order_of(a, b),
            });
        }
        if answer.at("error").raw().is_some() {
            let message = answer.at("message").text().unwrap_or_default();
            let _ = writeln!(out, "\n{}: {message}", tab.name());
            continue;
        }
        table(tab, &rows, answer, list.columns, &mut out);
    }
    out
}

fn table(tab: Tab, rows: &[Facts], answer: Fact<'_>, columns: &[Column], out: &mut String) {
    let (shown, all) = (rows.len().min(ROWS), rows.len() as u64);
    let total = tab.total(answer).unwrap_or(all).max(all);
    let count = match total == shown as u64 {
        true => total.to_string(),
        false => format!("{shown} of {total}"),
    };
    let _ = writeln!(out, "\n{}: {count}", tab.name());
    if rows.is_empty() {
        return;
    }
    let lines: Vec<Vec<String>> = rows
        .iter()
        .take(ROWS)
        .map(|row| {
            columns
                .iter()
                .map(|column| cut(&column.cell(row)))
                .collect()
        })
        .collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(place, column)| {
            let cells = lines.iter().filter_map(|line| line.get(place));
            let longest = cells
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or_default();
            match longest {
                // A column without a value is left out.
                0 => 0,
                longest => longest.max(column.title.len()),
            }
        })
        .collect();
    let titles = columns
        .iter()
        .map(|column| column.title.to_owned())
        .collect();
    for line in std::iter::once(&titles).chain(&lines) {
        let cells = line.iter().zip(&widths).zip(columns);
        let cells = cells.filter(|((_, width), _)| **width > 0);
        let cells = cells.map(|((cell, width), column)| match column.is_right() {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        let cells: Vec<String> = cells.collect();
        let _ = writeln!(out, "  {}", cells.join("  ").trim_end());
    }
}

fn cut(cell: &str) -> String {
    match cell.char_indices().nth(CELL) {
        None => cell.to_owned(),
        Some((end, _)) => format!("{}…", cell.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::facts::tests::hostile;
    use super::super::fuzz::is_harmless;
    use super::*;

    #[test]
    fn tables_have_what_there_is() {
        let all = Facts::new(json!({
            "status": {"version": "1.2.3"},
            "tunnels": {"total": 7, "tunnels": [{"id": "a", "user": "alice", "target": "example.org:443", "rate_from_client": 10}]},
            "users": {"total": 1, "users": [{"user": "alice", "requests": 3}]},
            "policy": {"default": "deny", "rules": [{"name": "r", "action": "admit", "hits": 4, "observed": 0}]},
            "upstreams": {"pools": [], "parents": []},
            "limits": {"classes": [{"name": "slow"}]},
            "quotas": {"balances": [{"class": "all", "member": "alice", "period": "day", "used": 2048, "limit": 4096}], "unlisted": 6},
        }));
        let text = tables(&all);
        for part in [
            "version           1.2.3\n",
            "\ntunnels: 1 of 7\n  user   target           rate\n  alice  example.org:443  10/s\n",
            "\nusers: 1\n  user   requests\n  alice         3\n",
            "\nrules: 1\n  #  rule  action  hits  would deny\n  1  r     admit      4           0\n",
            "\nupstreams: 0\n",
            "class             slow",
            "\nquotas: 1 of 7\n  member  class  period  used  limit\n  alice   all    day     2.0K   4.0K\n",
        ] {
            assert!(text.contains(part), "{part}\n--\n{text}");
        }
    }

    #[test]
    fn a_store_that_fails_is_no_failure_of_the_service() {
        let refused = |code: &str| {
            let message = "the store does not work: gone\u{1b}[2J".to_owned();
            refused_part(FeedError::Refused {
                status: 503,
                code: Some(code.to_owned()),
                message,
            })
        };
        assert!(refused("authentication_overloaded").is_err());
        let part = refused("store_failed").unwrap().into_value();
        let text = tables(&Facts::new(json!({"quotas": part})));
        let shown = "\nquotas: the store does not work: gone\\u{1b}[2J\n";
        assert!(text.contains(shown), "{text}");
    }

    proptest! {
        #[test]
        fn what_is_printed_is_harmless(a in hostile(), b in hostile()) {
            let row = json!({"id": &a, "user": &b, "target": &a, "client": &b, "rule": &a, "site": &b, "time": &a, "last_seen": &b});
            let all = Facts::new(json!({
                "status": {"version": &a, "listeners": [{"address": &b, "socks5": &a}], "recent_errors_by_kind": {&a: 1}},
                "quotas": {"balances": [{"class": &a, "member": &b, "period": &a, "resets_at": &b}]},
                "tunnels": {"tunnels": [row]}, "requests": {"requests": [row]}, "users": {"users": [row]},
                "sites": {"sites": [row]}, "denials": {"denials": [row]},
                "upstreams": {"pools": [{"pool": &a, "upstreams": [{"address": &b, "trouble": &a}]}], "parents": [{"parent": &a, "url": &b}]},
                "policy": {"rules": [{"name": &b}], "others": [{"rule": &a}]}, "limits": {"classes": [{"name": &b, "limits": &a}]},
            }));
            let (text, json) = (tables(&all), json(&all));
            prop_assert!(text.lines().chain(json.lines()).all(is_harmless), "{text:?} {json:?}");
            prop_assert_eq!(json.lines().count(), 1);
        }
    }
}
