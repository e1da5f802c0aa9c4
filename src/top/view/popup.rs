//! Draws what is over a tab: an explanation, the help.

use ratatui::buffer::Buffer;
use ratatui::layout::{Margin, Rect};
use ratatui::style::Style;
use ratatui::widgets::{Block, Clear, Widget as _};

use super::{Theme, put, put_at};
use crate::top::state::{KEYS, Mode, State};
use crate::top::wrap::{width_of, wrap};

/// Cells beside a text: margins and borders.
const BESIDE: u16 = 6;

/// Lines above and below it.
const AROUND: usize = 2;

/// The cells and lines of a text, in a window so wide that shows so many rows of a tab, whose titles have a line too.
pub(super) fn size(width: u16, page: usize) -> (u16, usize) {
    let lines = (page + 1).saturating_sub(AROUND);
    (width.saturating_sub(BESIDE), lines.max(1))
}

/// Draws what is open, if anything.
pub(super) fn draw(state: &State, theme: Theme, area: Rect, buffer: &mut Buffer) {
    match &state.mode {
        Mode::Browse | Mode::Filter(_) | Mode::Confirm(_) => {}
        Mode::Explain(title, lines, first) => {
            let inner = frame(title, area, theme, buffer);
            let waiting = ["asking…".to_owned()];
            let lines = lines.as_deref().unwrap_or(&waiting);
            draw_lines(lines, *first, theme, inner, buffer);
        }
        Mode::Report(title, lines, first) => {
            let inner = frame(title, area, theme, buffer);
            draw_lines(lines, *first, theme, inner, buffer);
        }
        Mode::Help(first) => {
            let inner = frame("keys", area, theme, buffer);
            let column = KEYS.iter().map(|(keys, _)| width_of(keys)).max();
            let column = column.unwrap_or_default() + 2;
            let rows = KEYS.iter().skip(*first).take(usize::from(inner.height));
            for (line, (keys, meaning)) in (0..).zip(rows) {
                put(buffer, inner, line, keys, theme.title());
                put_at(buffer, inner, (column, line), meaning, Style::new());
            }
        }
    }
}

/// Lines of a text, of which the first says the most.
fn draw_lines(lines: &[String], first: usize, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let lines = wrap(lines, area.width);
    // The window may have become larger.
    let first = first.min(lines.len().saturating_sub(usize::from(area.height)));
    let rows = lines.iter().skip(first).take(usize::from(area.height));
    for (line, text) in (0..).zip(rows) {
        let style = if first == 0 && line == 0 {
            theme.title()
        } else {
            Style::new()
        };
        put(buffer, area, line, text, style);
    }
}

/// An empty box with a title. What is in it.
fn frame(title: &str, area: Rect, theme: Theme, buffer: &mut Buffer) -> Rect {
    let outer = area.inner(Margin::new(1.min(area.width / 4), 0));
    Clear.render(outer, buffer);
    let block = Block::bordered().border_style(theme.title());
    let inner = block.inner(outer).inner(Margin::new(1, 0));
    block.render(outer, buffer);
    let top = Rect {
        x: outer.x + 2,
        width: outer.width.saturating_sub(4),
        height: 1,
        ..outer
    };
    put(buffer, top, 0, &format!(" {title} "), theme.title());
    inner
}
