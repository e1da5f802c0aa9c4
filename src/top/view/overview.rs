//! Draws the overview: the last 15 minutes, and the first of each list.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::widgets::{RenderDirection, Sparkline, Widget as _};

use super::{Theme, put, put_at};
use crate::top::facts::{Facts, human_count, short_bytes};
use crate::top::history::Series;
use crate::top::lists::{Column, Tab};
use crate::top::state::State;
use crate::top::wrap::width_of;

/// The graphs, row by row.
const ROWS: [&[Series]; 4] = [
    &[Series::Requests, Series::Tunnels],
    &[Series::Denials, Series::Errors],
    &[Series::FromClient, Series::ToClient],
    &[Series::Connections, Series::Median, Series::Slowest],
];

/// Lines of the lists below, when there is little space.
const LEAST_LINES: u16 = 9;

/// Draws it.
pub(super) fn draw(state: &State, theme: Theme, area: Rect, buffer: &mut Buffer) {
    // Rows of panels, each a line of text and at least one of a graph.
    let panel = ((area.height.saturating_sub(LEAST_LINES)) / 4).clamp(2, 6);
    let graphs = (panel * 4).min(area.height);
    let [top, bottom] =
        Layout::vertical([Constraint::Length(graphs), Constraint::Min(0)]).areas(area);
    let rows: [Rect; 4] = Layout::vertical([Constraint::Length(panel); 4]).areas(top);
    for (row, all) in rows.into_iter().zip(ROWS) {
        let parts = Layout::horizontal(all.iter().map(|_| Constraint::Fill(1)));
        let parts = parts.spacing(2).split(row);
        for (area, series) in parts.iter().zip(all) {
            draw_series(state, theme, *series, *area, buffer);
        }
    }
    draw_lists(state, theme, bottom, buffer);
}

fn halves(area: Rect) -> [Rect; 2] {
    Layout::horizontal([Constraint::Fill(1); 2])
        .spacing(2)
        .areas(area)
}

/// One graph, with its value now and its highest one.
fn draw_series(state: &State, theme: Theme, series: Series, area: Rect, buffer: &mut Buffer) {
    let now = state.snapshot.at("now");
    let count = |name: &str| now.at(name).count();
    let thousandths = |name: &str| now.at(name).number().map(|ms| (ms * 1000.0) as u64);
    let (title, value) = match series {
        Series::Requests => ("requests/s", count("requests")),
        Series::Tunnels => ("open tunnels", count("open_tunnels")),
        Series::Denials => ("denials/s", count("denials")),
        Series::Errors => ("errors/s", count("errors")),
        Series::FromClient => ("from clients/s", count("bytes_from_client")),
        Series::ToClient => ("to clients/s", count("bytes_to_client")),
        Series::Connections => ("connections", count("open_connections")),
        Series::Median => ("p50", thousandths("p50_ms")),
        Series::Slowest => ("p99", thousandths("p99_ms")),
    };
    let shown = |value: u64| match series {
        Series::FromClient | Series::ToClient => short_bytes(value),
        Series::Median | Series::Slowest => milliseconds(value),
        _ => human_count(value),
    };
    let peaks = state.history.peaks(series, usize::from(area.width));
    let most = peaks.iter().flatten().max().copied();
    let style = match series {
        Series::Denials | Series::Errors if value.is_some_and(|value| value > 0) => theme.bad(),
        Series::Denials | Series::Errors => theme.warning(),
        _ => theme.good(),
    };
    let left = put(buffer, area, 0, title, theme.title());
    let value = value.map_or_else(|| "-".to_owned(), shown);
    put_at(buffer, area, (left + 1, 0), &value, style);
    if let Some(most) = most {
        let most = shown(most);
        let taken = left + 2 + width_of(&value);
        let texts = [format!("15 min: {most} at most"), format!("most {most}")];
        let fits = |text: &&String| taken + width_of(text) < area.width;
        if let Some(text) = texts.iter().find(fits) {
            let right = area.width.saturating_sub(width_of(text));
            put_at(buffer, area, (right, 0), text, theme.faint());
        }
    }
    let graph = Rect {
        y: area.y + 1,
        height: area.height.saturating_sub(1),
        ..area
    };
    Sparkline::default()
        .data(peaks)
        .max(most.unwrap_or_default().max(1))
        .direction(RenderDirection::LeftToRight)
        .absent_value_symbol(" ")
        .style(style)
        .render(graph, buffer);
}

/// Thousandths of a millisecond.
fn milliseconds(value: u64) -> String {
    match value {
        0..10_000 => format!("{}.{} ms", value / 1000, value % 1000 / 100),
        10_000..10_000_000 => format!("{} ms", value / 1000),
        10_000_000.. => format!("{} s", value / 1_000_000),
    }
}

/// The first users, sites and denials.
fn draw_lists(state: &State, theme: Theme, area: Rect, buffer: &mut Buffer) {
    // A wide terminal has all three beside each other, a narrow one users and sites above denials.
    if area.width >= 150 {
        let thirds: [Rect; 3] = Layout::horizontal([
            Constraint::Fill(2),
            Constraint::Fill(2),
            Constraint::Fill(3),
        ])
        .spacing(2)
        .areas(area);
        draw_first(state, theme, Tab::Users, thirds[0], buffer);
        draw_first(state, theme, Tab::Sites, thirds[1], buffer);
        draw_first(state, theme, Tab::Denials, thirds[2], buffer);
        return;
    }
    let [above, below] = Layout::vertical([Constraint::Fill(1), Constraint::Fill(1)]).areas(area);
    let [users, sites] = halves(above);
    draw_first(state, theme, Tab::Users, users, buffer);
    draw_first(state, theme, Tab::Sites, sites, buffer);
    draw_first(state, theme, Tab::Denials, below, buffer);
}

/// The first rows of a list, as many as there is space for.
fn draw_first(state: &State, theme: Theme, tab: Tab, area: Rect, buffer: &mut Buffer) {
    let wanted: &[&str] = match tab {
        Tab::Users => &["user", "requests", "bytes"],
        Tab::Sites => &["site", "requests", "bytes"],
        _ => &["time", "user", "target", "rule"],
    };
    let rows: Vec<&Facts>;
    let snapshot: Vec<Facts>;
    match tab {
        Tab::Denials => {
            rows = state
                .view_of(tab)
                .into_iter()
                .flat_map(|view| view.rows())
                .collect()
        }
        tab => {
            snapshot = tab.rows(Facts::of(state.snapshot.at(tab.name())));
            rows = snapshot.iter().collect();
        }
    }
    let columns = tab.list().map_or(&[][..], |list| list.columns);
    let columns: Vec<&Column> = columns
        .iter()
        .filter(|column| wanted.contains(&column.title))
        .collect();
    let fixed: u16 = columns
        .iter()
        .filter(|column| !is_long(column))
        .map(|column| column.width + 1)
        .sum();
    let long = area.width.saturating_sub(fixed);
    let height = usize::from(area.height.saturating_sub(1));
    let mut x = 0;
    for column in columns {
        let width = if is_long(column) { long } else { column.width };
        let cell = Rect {
            x: area.x + x,
            width: width.min(area.width.saturating_sub(x)),
            ..area
        };
        let right = |text: &str| match column.is_right() {
            true => cell.width.saturating_sub(width_of(text)),
            false => 0,
        };
        put_at(
            buffer,
            cell,
            (right(column.title), 0),
            column.title,
            theme.title(),
        );
        for (line, row) in (1..).zip(rows.iter().take(height)) {
            let text = column.cell(row);
            put_at(buffer, cell, (right(&text), line), &text, Style::new());
        }
        x += width + 1;
    }
}

fn is_long(column: &Column) -> bool {
    column.kind == crate::top::lists::Kind::Long
}
