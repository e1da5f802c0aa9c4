//! Draws a list.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::{Theme, put_at};
use crate::top::facts::{Facts, clean, human_count};
use crate::top::lists::{Column, Kind, Tab};
use crate::top::state::{Link, State, View};
use crate::top::wrap::width_of;

/// A column on the screen: which, from where, how wide.
pub(super) struct Placed {
    pub(super) column: &'static Column,
    place: usize,
    x: u16,
    width: u16,
}

/// Which columns fit, and where.
pub(super) fn fit(columns: &'static [Column], width: u16) -> Vec<Placed> {
    let mut by_rank: Vec<usize> = (0..columns.len()).collect();
    by_rank.sort_by_key(|place| columns.get(*place).map(|column| column.rank));
    let mut left = width;
    let mut chosen = Vec::new();
    for place in by_rank {
        let Some(column) = columns.get(place) else {
            continue;
        };
        // One cell between columns.
        let needed = column.width + u16::from(!chosen.is_empty());
        if needed > left {
            break;
        }
        left -= needed;
        chosen.push(place);
    }
    chosen.sort_unstable();
    let mut x = 0;
    let mut placed = Vec::new();
    for place in chosen {
        let Some(column) = columns.get(place) else {
            continue;
        };
        let more = if column.kind == Kind::Long { left } else { 0 };
        let width = column.width + more;
        placed.push(Placed {
            column,
            place,
            x,
            width,
        });
        x += width + 1;
    }
    placed
}

/// Draws the list of the tab that is shown.
pub(super) fn draw(state: &State, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let Some(view) = state.view() else {
        return;
    };
    let placed = fit(view.columns(), area.width);
    let (sorted, is_falling) = view.sort();
    buffer.set_style(
        Rect { height: 1, ..area },
        Style::new().add_modifier(Modifier::UNDERLINED),
    );
    for it in &placed {
        let mark = match (it.place == sorted, is_falling) {
            (false, _) => "",
            (true, true) => "▼",
            (true, false) => "▲",
        };
        // The mark takes the place of the last letter where there is none left.
        let room = it.width.saturating_sub(width_of(mark));
        let title: String = it.column.title.chars().take(usize::from(room)).collect();
        let style = theme.title().add_modifier(Modifier::UNDERLINED);
        cell(buffer, area, it, 0, &format!("{title}{mark}"), style);
    }
    let page = usize::from(area.height.saturating_sub(1));
    let first = view.first(page);
    for (line, (place, row)) in (1..).zip(view.seen().enumerate().skip(first).take(page)) {
        let style = row_style(view.tab, row, theme);
        for it in &placed {
            cell(buffer, area, it, line, &it.column.cell(row), style);
        }
        if place == view.selected_place() {
            let area = Rect {
                y: area.y + line,
                height: 1,
                ..area
            };
            buffer.set_style(area, theme.bar());
        }
    }
    if view.len() == 0 {
        put_at(buffer, area, (1, 1), &nothing(state, view), theme.faint());
    }
}

fn cell(buffer: &mut Buffer, area: Rect, placed: &Placed, line: u16, text: &str, style: Style) {
    let cell = Rect {
        x: area.x + placed.x,
        width: placed.width,
        ..area
    };
    let right = match placed.column.is_right() {
        true => placed.width.saturating_sub(width_of(text)),
        false => 0,
    };
    put_at(buffer, cell, (right, line), text, style);
}

/// Why there are no rows.
fn nothing(state: &State, view: &View) -> String {
    if view.refusal().is_some() {
        return "nothing is known".to_owned();
    }
    match (view.filter(), &state.link) {
        ("", Link::Live) => format!("no {}", view.tab.name()),
        ("", _) => "nothing is known yet".to_owned(),
        (filter, _) => format!(
            "no {} with {:?}; Esc drops the filter",
            view.tab.name(),
            clean(filter)
        ),
    }
}

/// How many rows of how many, and by which filter.
pub(super) fn count(view: &View) -> String {
    let shown = human_count(view.len() as u64);
    let count = match view.total() {
        Some(total) if total != view.len() as u64 => format!("{shown} of {}", human_count(total)),
        _ => shown,
    };
    match view.filter() {
        "" => count,
        filter => format!("/{} {count}", clean(filter)),
    }
}

fn row_style(tab: Tab, row: &Facts, theme: Theme) -> Style {
    let word = |name: &str| row.at(name).raw().unwrap_or_default();
    match (tab, word("state"), word("action")) {
        (Tab::Upstreams, "up", _) => theme.good(),
        (Tab::Upstreams, "down", _) => theme.bad(),
        (Tab::Upstreams, "ejected", _) | (Tab::Tunnels, "closing", _) => theme.warning(),
        (Tab::Requests, "queued", _) | (Tab::Rules, _, "observe") => theme.warning(),
        _ => Style::new(),
    }
}

#[cfg(test)]
impl Placed {
    /// The cell behind it.
    pub(super) fn end(&self) -> u16 {
        self.x + self.width
    }
}
