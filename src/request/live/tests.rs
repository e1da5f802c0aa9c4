//! The table of docs/observability.md against what is declared.

use super::*;
use crate::telemetry::{DenialList, History, ProcessRow};
use crate::text::reference::{assert_part, table};

#[test]
fn the_rows_are_in_the_document() {
    let rows = [
        Snapshot::reference(""),
        RequestList::reference("requests."),
        DenialList::reference("denials."),
        History::reference("history."),
        ProcessRow::reference("process."),
    ];
    let rows = table(["member", "meaning"], rows.concat());
    assert_part("docs/observability.md", "live rows", &rows);
}
