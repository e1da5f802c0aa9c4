//! The tables of docs/observability.md, and what is shown, against what is declared.

use std::collections::BTreeSet;
use std::error::Error;

use super::*;
use crate::http::error::ErrorKind;
use crate::http::http1::{FramingError, HeadError};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::process::Process;
use crate::telemetry::stats::Report;
use crate::telemetry::users::Users;
use crate::text::reference::{assert_part, table};

const DOCUMENT: &str = "docs/observability.md";

fn metrics() -> Vec<[String; 4]> {
    [
        Metrics::reference(),
        Users::reference(),
        Process::reference(),
    ]
    .concat()
}

#[test]
fn the_fields_of_the_log_are_in_the_document() {
    let head = ["field", "in a line", "form", "meaning"];
    assert_part(DOCUMENT, "log fields", &table(head, Record::reference()));
}

#[test]
fn the_metrics_are_in_the_document() {
    let head = ["metric", "type", "labels", "meaning"];
    assert_part(DOCUMENT, "metrics", &table(head, metrics()));
}

#[test]
fn the_statistics_are_in_the_document() {
    let rows = table(["key", "meaning"], Report::reference(""));
    assert_part(DOCUMENT, "statistics", &rows);
}

#[test]
fn the_names_of_malformed_requests_are_in_the_document() {
    // What is wrong, without the name before it; of a target, what its parser says.
    fn row(name: &str, kind: ErrorKind, error: &dyn Error) -> [String; 3] {
        let whole = error.source().map_or_else(
            || error.to_string().replacen(&format!("{name}: "), "", 1),
            ToString::to_string,
        );
        [
            format!("`{name}`"),
            kind.status().as_u16().to_string(),
            whole,
        ]
    }
    let heads = HeadError::ALL
        .iter()
        .map(|error| row(error.reason(), error.kind(), error));
    let bodies = FramingError::ALL
        .iter()
        .map(|error| row(error.reason(), ErrorKind::BadRequest, error));
    let head = ["name", "status", "what is wrong"];
    assert_part(DOCUMENT, "refused heads", &table(head, heads.collect()));
    assert_part(DOCUMENT, "refused bodies", &table(head, bodies.collect()));
}

#[test]
fn every_declared_metric_is_shown_and_no_other() {
    let text = exercised().render_metrics();
    let shown: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| format!("`{name}` {kind}"))
        .collect();
    let rows = metrics();
    let declared: BTreeSet<String> = rows
        .iter()
        .map(|[name, kind, ..]| format!("{name} {kind}"))
        .collect();
    assert_eq!(declared.len(), rows.len(), "one is declared twice");
    let undeclared: Vec<_> = shown.difference(&declared).collect();
    assert!(undeclared.is_empty(), "{undeclared:?}");
    if cfg!(target_os = "linux") {
        let missing: Vec<_> = declared.difference(&shown).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

#[test]
fn every_declared_member_is_shown_and_no_other() {
    fn keys(prefix: &str, value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    let key = match prefix {
                        "users." | "classes." => "NAME",
                        _ => key,
                    };
                    keys(&format!("{prefix}{key}."), value, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| keys(prefix, item, found)),
            _ => drop(found.insert(prefix.trim_end_matches('.').to_owned())),
        }
    }
    let mut found = BTreeSet::new();
    keys("", &stats(&exercised()), &mut found);
    // Shown only when there are more users than the table holds.
    found.insert("other_users".to_owned());
    let declared: BTreeSet<String> = Report::reference("")
        .into_iter()
        .map(|[key, _]| key.trim_matches('`').to_owned())
        .collect();
    // Those that hold others.
    let holds = |key: &str| declared.iter().any(|of| of.starts_with(&format!("{key}.")));
    let values: BTreeSet<String> = declared.iter().filter(|key| !holds(key)).cloned().collect();
    assert_eq!(found, values);
}
