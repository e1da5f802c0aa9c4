//! Draws the state. Pure: it knows no terminal but ratatui's buffer.

mod overview;
mod popup;
mod table;

use std::time::Duration;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};

use super::facts::{human_count, human_seconds};
use super::lists::Tab;
use super::notices::Notice;
use super::process;
use super::state::{Link, Mode, State};
use super::wrap::width_of;

/// Lines that are not rows: head, tabs, titles of columns, foot.
const AROUND: u16 = 4;

/// A terminal of fewer lines has none to say what needs attention.
const LEAST_FOR_NOTICE: u16 = 12;

/// A smaller terminal shows nothing of use.
const LEAST: (u16, u16) = (40, 8);

/// Tells the state how much a terminal of this size shows.
pub(super) fn fit(state: &mut State, width: u16, height: u16) {
    let notice = notice_lines(height, &state.notices());
    state.page = usize::from(height.saturating_sub(AROUND + notice)).max(1);
    state.text = popup::size(width, state.page);
}

/// Lines for what needs attention.
fn notice_lines(height: u16, notices: &[Notice]) -> u16 {
    u16::from(height >= LEAST_FOR_NOTICE && !notices.is_empty())
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    pub(super) has_colour: bool,
}

impl Theme {
    fn colour(self, colour: Color) -> Style {
        match self.has_colour {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }

    fn bar(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    fn title(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    fn good(self) -> Style {
        self.colour(Color::Green)
    }

    fn warning(self) -> Style {
        self.colour(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }
}

/// Draws all of it.
pub(super) fn draw(state: &State, theme: Theme, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        put(
            frame.buffer_mut(),
            area,
            0,
            &format!("too small: {}x{} at least", LEAST.0, LEAST.1),
            Style::new(),
        );
        return;
    }
    let notices = state.notices();
    let [head, tabs, notice, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(notice_lines(area.height, &notices)),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(area);
    let buffer = frame.buffer_mut();
    draw_head(state, theme, head, buffer);
    draw_tabs(state, theme, tabs, buffer);
    draw_notice(&notices, theme, notice, buffer);
    match state.tab {
        Tab::Overview => overview::draw(state, theme, body, buffer),
        Tab::Process => draw_process(state, theme, body, buffer),
        _ => table::draw(state, theme, body, buffer),
    }
    popup::draw(state, theme, body, buffer);
    draw_foot(state, theme, foot, buffer);
}

/// Writes a text on a line of an area, cut at its end. How wide it is there.
fn put(buffer: &mut Buffer, area: Rect, line: u16, text: &str, style: Style) -> u16 {
    put_at(buffer, area, (0, line), text, style)
}

/// The same, so far to the right.
fn put_at(
    buffer: &mut Buffer,
    area: Rect,
    (right, line): (u16, u16),
    text: &str,
    style: Style,
) -> u16 {
    let area = area.intersection(*buffer.area());
    if line >= area.height || right >= area.width {
        return 0;
    }
    let (x, y) = (area.x + right, area.y + line);
    let width = area.width - right;
    let (end, _) = buffer.set_stringn(x, y, text, usize::from(width), style);
    if width_of(text) > width && width > 0 {
        buffer.set_stringn(x + width - 1, y, "…", 1, style);
    }
    end.saturating_sub(x)
}

fn draw_head(state: &State, theme: Theme, area: Rect, buffer: &mut Buffer) {
    buffer.set_style(area, theme.bar());
    let at = |path: &str| state.status.at(path).text().unwrap_or_default();
    let uptime = state.uptime().map(human_seconds);
    let mut left = format!(
        " tollgate {}  {}  {} {}",
        at("version"),
        state.name,
        at("state"),
        uptime.unwrap_or_default()
    );
    if !state.status.at("operator").is_nothing() {
        left.push_str(&format!("  {}", at("operator")));
    }
    let (link, style) = link_text(state, theme);
    let right = format!(" {link} ");
    let width = width_of(&right).min(area.width);
    let [left_area, right_area] =
        Layout::horizontal([Constraint::Min(0), Constraint::Length(width)]).areas(area);
    put(buffer, left_area, 0, left.trim_end(), theme.bar());
    put(buffer, right_area, 0, &right, style.patch(theme.bar()));
}

/// Whether what is shown is true now.
fn link_text(state: &State, theme: Theme) -> (String, Style) {
    match &state.link {
        Link::Lost(_, Some(pause)) => (
            format!("no connection, again in {}", seconds(*pause)),
            theme.bad(),
        ),
        Link::Lost(_, None) => ("refused, r to try again".to_owned(), theme.bad()),
        _ if state.is_paused => ("paused".to_owned(), theme.warning()),
        Link::Connecting => ("connecting".to_owned(), theme.warning()),
        Link::Live => ("live".to_owned(), theme.good()),
    }
}

fn seconds(pause: Duration) -> String {
    human_seconds(pause.as_secs())
}

fn draw_tabs(state: &State, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let numbered = Tab::ALL.into_iter().enumerate();
    // As on a keyboard: 0 is after 9.
    let numbered = numbered.map(|(place, tab)| format!(" {} {} ", (place + 1) % 10, tab.name()));
    let mut names: Vec<String> = numbered.collect();
    // Each has a space before it.
    let width = |names: &[String]| names.iter().map(|name| width_of(name)).sum::<u16>();
    if width(&names) > area.width {
        names = Tab::ALL.map(|tab| format!(" {}", tab.name())).into();
    }
    let selected = Tab::ALL.iter().position(|tab| *tab == state.tab);
    let selected = selected.unwrap_or_default();
    // Where not all have room, those before the selected one are left out.
    let mut first = 0;
    while first < selected && width(names.get(first..=selected).unwrap_or_default()) > area.width {
        first += 1;
    }
    let mut right = 0;
    for (place, name) in names.iter().enumerate().skip(first) {
        let style = match place == selected {
            true => theme.title().add_modifier(Modifier::REVERSED),
            false => Style::new(),
        };
        right += put_at(buffer, area, (right, 0), name, style);
    }
}

/// The first of what needs attention, and how many more there are.
fn draw_notice(notices: &[Notice], theme: Theme, area: Rect, buffer: &mut Buffer) {
    let Some((first, more)) = notices.split_first() else {
        return;
    };
    let style = match first.is_bad {
        true => theme.bad(),
        false => theme.warning(),
    };
    let more = match more.len() {
        0 => String::new(),
        count => format!(" {count} more: process"),
    };
    let [left, right] =
        Layout::horizontal([Constraint::Min(0), Constraint::Length(width_of(&more))]).areas(area);
    put(buffer, left, 0, &format!("! {}", first.text), style);
    put(buffer, right, 0, &more, style);
}

fn draw_process(state: &State, theme: Theme, area: Rect, buffer: &mut Buffer) {
    const NAME: u16 = 18;
    let lines = process::lines(&state.status, &state.snapshot);
    let height = usize::from(area.height);
    let first = state.process_first.min(lines.len().saturating_sub(height));
    for (line, (name, text)) in (0..).zip(lines.iter().skip(first).take(height)) {
        put_at(buffer, area, (1, line), name, theme.title());
        put_at(buffer, area, (NAME, line), text, Style::new());
    }
}

fn draw_foot(state: &State, theme: Theme, area: Rect, buffer: &mut Buffer) {
    if let Mode::Filter(_) = state.mode {
        let filter = state.view().map(|view| view.filter()).unwrap_or_default();
        let shown = super::facts::clean(filter);
        // The end of it is what is written.
        let skip = usize::from(width_of(&shown).saturating_sub(area.width.saturating_sub(3)));
        let end: String = shown.chars().skip(skip).collect();
        put(buffer, area, 0, &format!("/{end}▏"), theme.warning());
        return;
    }
    let (text, style) = match (&state.mode, &state.note, &state.link) {
        (Mode::Confirm(change), ..) => (format!("{} y/n", change.question()), theme.warning()),
        (_, Some(note), _) => (note.clone(), theme.warning()),
        (_, _, Link::Lost(why, _)) => (super::facts::clean(why).into_owned(), theme.bad()),
        (Mode::Explain(..) | Mode::Report(..) | Mode::Help(_), ..) => {
            ("↑ ↓ scroll, any other key closes".to_owned(), theme.faint())
        }
        _ => match state.view().and_then(|view| view.refusal()) {
            Some(why) => (why.to_owned(), theme.bad()),
            None => (hints(state), theme.faint()),
        },
    };
    put(buffer, area, 0, &text, style);
}

/// How many rows there are, and the keys that matter on this tab.
fn hints(state: &State) -> String {
    let view = state.view().filter(|view| view.tab.list().is_some());
    let count = view.map(table::count);
    let mut hints: Vec<&str> = count.iter().map(String::as_str).collect();
    hints.extend(["? help", "q quit"]);
    match state.tab {
        Tab::Overview => hints.extend(["Tab next", "space pause"]),
        Tab::Process => hints.extend(["Tab next", "↑ ↓ scroll", "R reload", "D drain"]),
        tab => {
            hints.extend(["/ filter", "s sort"]);
            if matches!(tab, Tab::Tunnels | Tab::Requests | Tab::Denials) {
                hints.push("e explain");
            }
            if matches!(tab, Tab::Tunnels | Tab::Users) && state.can_change() {
                hints.push("x close");
            }
        }
    }
    let mut text = hints.join("  ");
    if state.skipped > 0 {
        text.push_str(&format!(
            "  {} denials not told",
            human_count(state.skipped)
        ));
    }
    text
}

#[cfg(test)]
mod tests;
