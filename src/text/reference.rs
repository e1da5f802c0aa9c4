//! Parts of documents that are written from tables in the sources.
//!
//! A part is between two comments that name it. A test makes its text and calls
//! [`assert_part`]; `make reference` runs the same tests so that they write.

use std::path::Path;

use parking_lot::Mutex;

/// Held while a document is changed: tests run side by side.
static WRITING: Mutex<()> = Mutex::new(());

/// Fails unless the part `name` of `document` is `text`. With `UPDATE_REFERENCE` in
/// the environment it makes it so.
pub(crate) fn assert_part(document: &str, name: &str, text: &str) {
    let _alone = WRITING.lock();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let old = std::fs::read_to_string(&path).unwrap();
    let new = with_part(&old, name, text).unwrap_or_else(|| {
        panic!("{document} has no part {name:?} between its two comments");
    });
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(path, new).unwrap();
    } else {
        assert!(
            old == new,
            "the part {name:?} of {document} is not what the sources say: run `make reference`"
        );
    }
}

/// The document with another text in the part `name`; none without such a part.
fn with_part(document: &str, name: &str, text: &str) -> Option<String> {
    let begin = format!("<!-- {name}: from the sources, by `make reference` -->\n\n");
    let end = format!("\n\n<!-- end of {name} -->");
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some([before, &begin, text.trim_end(), &end, after].concat())
}

/// A table of Markdown.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: Vec<[String; N]>) -> String {
    let line = |cells: &[&str]| {
        let cells: Vec<_> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        let joined = cells.join(" | ");
        format!("| {joined} |\n")
    };
    let mut text = line(&head);
    text.push_str(&"|---".repeat(N));
    text.push_str("|\n");
    for row in rows {
        text.push_str(&line(&row.each_ref().map(String::as_str)));
    }
    text
}

#[test]
fn a_part_is_replaced_and_nothing_else() {
    let document =
        "a\n<!-- x: from the sources, by `make reference` -->\n\nold\n\n<!-- end of x -->\nb\n";
    let new = with_part(document, "x", "new\n").unwrap();
    assert_eq!(new, document.replace("old", "new"));
    assert_eq!(with_part(document, "y", ""), None);
}

#[test]
fn a_table_has_a_line_for_each_row() {
    let rows = vec![["a|b".to_owned(), String::new()]];
    assert_eq!(
        table(["x", "y"], rows),
        "| x | y |\n|---|---|\n| a\\|b |  |\n"
    );
}
