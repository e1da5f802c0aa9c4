//! Where the characters of a value of several lines stand in the file: what is wrong with the third line of an
//! expression is to be found there.

use std::cmp::Ordering;
use std::iter;

use saphyr_parser::{ScalarStyle, Span};

/// The lines of a value as they are written.
///
/// YAML takes indentation off and folds lines, but keeps what is not white space, in its order. So one of
/// these characters of the value is found by counting them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Source {
    /// The line that it begins on, counted from 1.
    line: usize,
    /// In characters, counted from 0.
    column: usize,
    lines: Vec<String>,
}

impl Source {
    /// That of a scalar of several lines without escapes.
    pub(super) fn of(lines: &[&str], style: ScalarStyle, span: Span) -> Option<Source> {
        let (start, end) = (span.start, span.end);
        // The end of a block is behind its last line end.
        let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        if start.line() == end.line() && !is_block {
            return None;
        }
        let last = if end.col() == 0 {
            end.line().saturating_sub(1)
        } else {
            end.line()
        };
        let written = lines.get(start.line().checked_sub(1)?..last.min(lines.len()))?;
        let has = |text: &str| written.iter().any(|line| line.contains(text));
        let quote = match style {
            ScalarStyle::SingleQuoted if !has("''") => 1,
            ScalarStyle::DoubleQuoted if !has("\\") => 1,
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => return None,
            _ => 0,
        };
        Some(Source {
            line: start.line(),
            column: start.col() + quote,
            // Behind its end stands something else.
            lines: (start.line()..)
                .zip(written)
                .map(|(number, line)| match number == end.line() {
                    true => line.chars().take(end.col()).collect(),
                    false => (*line).to_owned(),
                })
                .collect(),
        })
    }

    /// The line and the column, both counted from 1, of a place in `text`, which is the value: that of the next
    /// character that is not white space.
    pub(in super::super) fn place(&self, text: &str, line: usize, column: usize) -> (usize, usize) {
        let before = text.split('\n').zip(1..).map(|(content, number)| {
            let end = match number.cmp(&line) {
                Ordering::Less => usize::MAX,
                Ordering::Equal => column.saturating_sub(1),
                Ordering::Greater => 0,
            };
            let visible = content.chars().take(end).filter(|c| !c.is_whitespace());
            visible.count()
        });
        let before: usize = before.sum();
        // Before the first character of the value stand a key, a list's dash or a quote.
        let skipped = iter::once(self.column).chain(iter::repeat(0));
        let mut visible = (self.line..)
            .zip(&self.lines)
            .zip(skipped)
            .flat_map(|((line, content), skipped)| {
                let characters = content.chars().zip(1..).skip(skipped);
                characters.map(move |(c, column)| (c, line, column))
            })
            .filter(|(c, ..)| !c.is_whitespace());
        let end = visible.clone().take(before).last();
        match (visible.nth(before), end) {
            (Some((_, line, column)), _) => (line, column),
            (None, Some((_, line, column))) => (line, column + 1),
            (None, None) => (self.line, self.column + 1),
        }
    }
}
