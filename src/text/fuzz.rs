//! What the fuzz targets of text files share.

use std::fmt;

/// The text of a file, or the shape of the error.
///
/// # Errors
/// The bytes are not text.
///
/// # Panics
/// The text has what no text file has, or the error is on a line that does not exist.
pub fn decode(data: &[u8]) -> Result<String, String> {
    match super::decode(data.to_vec()) {
        Ok(text) => {
            assert!(!text.contains(['\0', '\r', '\u{feff}']), "{text:?}");
            Ok(text)
        }
        Err(error) => {
            let lines = data.iter().filter(|byte| **byte == b'\n').count() + 1;
            let exists = error.line.is_none_or(|line| (1..=lines).contains(&line));
            assert!(exists, "{error:?}: {}", data.escape_ascii());
            Err(shape(&error.problem))
        }
    }
}

/// What a value is, without its numbers and texts: the first words of its `Debug` form. The fuzz targets tell
/// inputs apart by it.
pub fn shape(value: &impl fmt::Debug) -> String {
    let printed = format!("{value:?}");
    let mut outside = String::new();
    let mut quote = None;
    let mut characters = printed.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (None, _) => outside.push(c),
            (Some(_), '\\') => drop(characters.next()),
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
        }
    }
    let words = outside.split(|c: char| !c.is_ascii_alphabetic() && c != '_');
    let words: Vec<_> = words.filter(|word| !word.is_empty()).take(8).collect();
    words.join(" ")
}
