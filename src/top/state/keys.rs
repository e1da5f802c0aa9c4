//! What keys do. Pure.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{Change, Closing, Command, Link, MAX_FILTER, Mode, State};
use crate::top::explanation;
use crate::top::lists::Tab;
use crate::top::process;
use crate::top::wrap::wrap;

/// The keys, for the help.
pub(in crate::top) const KEYS: &[(&str, &str)] = &[
    ("Tab, Shift-Tab, ←, →", "the next tab, the one before"),
    ("1 … 9, 0", "a tab by its place"),
    ("↑, ↓, k, j", "the row above, the row below"),
    ("PgUp, PgDn, Home, End, g, G", "further up and down"),
    ("/", "filter; Enter keeps it, Esc drops it"),
    ("s, S", "sort by the next column, by the one before"),
    ("r", "the other order; or connect again now"),
    ("e, Enter", "why a request is admitted or denied"),
    ("x", "close a tunnel, or all of a user; asks first"),
    ("R", "reload configuration and files; asks first"),
    ("D", "drain and end the process; asks first"),
    ("space", "pause, and go on"),
    ("Ctrl-L", "draw again"),
    ("Ctrl-Z", "suspend"),
    ("?", "this help"),
    ("q, Ctrl-C", "quit"),
];

impl State {
    pub(super) fn press(&mut self, key: KeyEvent) -> Option<Command> {
        let command = self.obey(key);
        self.show_report();
        command
    }

    fn obey(&mut self, key: KeyEvent) -> Option<Command> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        let has_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if has_control {
            match key.code {
                KeyCode::Char('c') => return Some(Command::Quit),
                KeyCode::Char('z') => return Some(Command::Suspend),
                KeyCode::Char('l') => return Some(Command::Redraw),
                _ => {}
            }
        }
        match std::mem::replace(&mut self.mode, Mode::Browse) {
            Mode::Browse => self.browse(key.code, has_control),
            Mode::Filter(before) => {
                self.write_filter(key.code, has_control, before);
                None
            }
            Mode::Confirm(change) => self.confirm(key.code, change),
            Mode::Explain(title, lines, first) => {
                let first = self.scroll_text(key.code, first, lines.as_deref().unwrap_or_default());
                self.mode = first.map_or(Mode::Browse, |first| Mode::Explain(title, lines, first));
                None
            }
            Mode::Report(title, lines, first) => {
                let first = self.scroll_text(key.code, first, &lines);
                self.mode = first.map_or(Mode::Browse, |first| Mode::Report(title, lines, first));
                None
            }
            Mode::Help(first) => {
                let first = scroll(key.code, first, KEYS.len(), self.page);
                self.mode = first.map_or(Mode::Browse, Mode::Help);
                None
            }
        }
    }

    /// Does what was asked about, or leaves it.
    fn confirm(&mut self, key: KeyCode, change: Change) -> Option<Command> {
        if !matches!(key, KeyCode::Char('y' | 'Y')) {
            self.note = Some(change.left().to_owned());
            return None;
        }
        self.note = Some(change.begun().to_owned());
        self.is_reloading |= change == Change::Reload;
        Some(Command::Change(change))
    }

    /// The first line of a text after a key, with its lines broken where they are too long; none when the key ends it.
    fn scroll_text(&self, key: KeyCode, first: usize, lines: &[String]) -> Option<usize> {
        let (width, height) = self.text;
        let count = wrap(lines, width).len();
        // The last lines fill the window.
        scroll(key, first, (count + 1).saturating_sub(height), height)
    }

    fn browse(&mut self, key: KeyCode, has_control: bool) -> Option<Command> {
        self.note = None;
        if has_control {
            return None;
        }
        let page = self.page.max(1);
        match key {
            KeyCode::Char('q') => return Some(Command::Quit),
            KeyCode::Char('?') => self.mode = Mode::Help(0),
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.tab = self.tab.step(1),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => self.tab = self.tab.step(-1),
            KeyCode::Char(digit @ '0'..='9') => {
                // As on a keyboard: 0 is after 9.
                let place = digit.to_digit(10).map(|digit| (digit + 9) % 10);
                let tab = place.and_then(|place| Tab::ALL.get(place as usize));
                self.tab = tab.copied().unwrap_or(self.tab);
            }
            KeyCode::Char(' ') => return self.pause(),
            KeyCode::Char('r') if matches!(self.link, Link::Lost(..)) => {
                return Some(Command::Connect);
            }
            KeyCode::Char('e') | KeyCode::Enter => return self.explain(),
            KeyCode::Char('x') => self.ask_to_close(),
            KeyCode::Char('R') if self.is_reloading => {
                self.note = Some("a reload is under way".to_owned());
            }
            KeyCode::Char('R') => self.mode = Mode::Confirm(Change::Reload),
            // Without users the service refuses it, and says why.
            KeyCode::Char('D') => self.mode = Mode::Confirm(Change::Drain),
            key => self.browse_list(key, page),
        }
        None
    }

    fn browse_list(&mut self, key: KeyCode, page: usize) {
        if self.tab == Tab::Process {
            let count = process::lines(&self.status, &self.snapshot).len();
            let first = scroll(key, self.process_first, count, self.page);
            self.process_first = first.unwrap_or(self.process_first);
            return;
        }
        let Some(view) = self.view_mut().filter(|view| view.tab.list().is_some()) else {
            return;
        };
        let place = view.selected_place();
        let to = match key {
            KeyCode::Up | KeyCode::Char('k') => place.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => place.saturating_add(1),
            KeyCode::PageUp => place.saturating_sub(page),
            KeyCode::PageDown => place.saturating_add(page),
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => usize::MAX,
            KeyCode::Char('s') => return view.sort_by(1),
            KeyCode::Char('S') => return view.sort_by(-1),
            KeyCode::Char('r') => return view.reverse(),
            KeyCode::Esc => return view.set_filter(String::new()),
            KeyCode::Char('/') => {
                let before = view.filter().to_owned();
                self.mode = Mode::Filter(before);
                return;
            }
            _ => return,
        };
        view.select(to, page);
    }

    fn write_filter(&mut self, key: KeyCode, has_control: bool, before: String) {
        let Some(view) = self.view_mut() else {
            return;
        };
        let mut filter = view.filter().to_owned();
        match key {
            KeyCode::Enter => return,
            KeyCode::Esc => return view.set_filter(before),
            KeyCode::Backspace => drop(filter.pop()),
            KeyCode::Char('u') if has_control => filter.clear(),
            KeyCode::Char(c) if !has_control && !c.is_control() && filter.len() < MAX_FILTER => {
                filter.push(c);
            }
            _ => {}
        }
        view.set_filter(filter);
        self.mode = Mode::Filter(before);
    }

    fn pause(&mut self) -> Option<Command> {
        self.is_paused = !self.is_paused;
        match self.is_paused {
            true => None,
            // What was missed is drawn with the rest.
            false => Some(Command::History),
        }
    }

    fn explain(&mut self) -> Option<Command> {
        let row = self.view()?.selected()?;
        let Some(question) = explanation::question(self.tab, row) else {
            self.note = Some("only requests, tunnels and denials are explained".to_owned());
            return None;
        };
        let shown = |name: &str| row.at(name).text().unwrap_or_default();
        let title = format!("{} {}", shown("method"), shown("target"));
        self.mode = Mode::Explain(title.trim().to_owned(), None, 0);
        Some(Command::Explain(question))
    }

    fn ask_to_close(&mut self) {
        let closing = self
            .view()
            .and_then(|view| Closing::of(view.tab, view.selected()?));
        self.note = match closing {
            None => Some("only tunnels are closed: choose one, or a user".to_owned()),
            Some(_) if !self.can_change() => Some(
                "this service changes nothing, since it does not know its users: configure admin.users"
                    .to_owned(),
            ),
            Some(closing) => {
                self.mode = Mode::Confirm(Change::Close(closing));
                None
            }
        };
    }
}

/// The first of `count` lines after a key; none when the key is no way through a text.
fn scroll(key: KeyCode, first: usize, count: usize, page: usize) -> Option<usize> {
    let moved = match key {
        KeyCode::Up | KeyCode::Char('k') => first.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => first.saturating_add(1),
        KeyCode::PageUp => first.saturating_sub(page),
        KeyCode::PageDown | KeyCode::Char(' ') => first.saturating_add(page),
        KeyCode::Home | KeyCode::Char('g') => 0,
        KeyCode::End | KeyCode::Char('G') => count,
        _ => return None,
    };
    Some(moved.min(count.saturating_sub(1)))
}
