//! What the terminal shows, and how keys and news change it. Pure: it asks nothing and draws nothing.

mod changes;
mod keys;
mod view;

use std::time::Duration;

use serde_json::Value;

pub(super) use self::changes::{Change, Closing, reloaded};
pub(super) use self::keys::KEYS;
pub(super) use self::view::View;
use super::explanation;
use super::facts::{Facts, clean};
use super::history::History;
use super::lists::Tab;
use super::notices::{Notice, notices};

/// Denials that are kept.
const MAX_DENIALS: usize = 200;

/// Rows of a list that are asked for.
const MAX_ROWS: usize = 1000;

/// Where the process is asked about.
pub(super) const STATUS: &str = "/api/v1/status";

/// The longest filter.
const MAX_FILTER: usize = 200;

/// All of it.
#[derive(Debug)]
pub(super) struct State {
    /// The service, as messages name it.
    pub(super) name: String,
    pub(super) tab: Tab,
    views: Vec<View>,
    pub(super) snapshot: Facts,
    pub(super) status: Facts,
    pub(super) history: History,
    pub(super) link: Link,
    pub(super) is_paused: bool,
    pub(super) mode: Mode,
    /// What the last key did, until the next one.
    pub(super) note: Option<String>,
    /// Denials that were not told one by one.
    pub(super) skipped: u64,
    /// Whether the answer to a reload is waited for.
    is_reloading: bool,
    /// Rows on the screen.
    pub(super) page: usize,
    /// The width and the lines of a text over a tab.
    pub(super) text: (u16, usize),
    /// What became of a reload, until it can be shown.
    report: Option<Vec<String>>,
    /// The first line of the tab of the process.
    pub(super) process_first: usize,
}

/// The connection to the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Connecting,
    Live,
    /// Why there is none, and how long until the next attempt; none: no attempt before a key.
    Lost(String, Option<Duration>),
}

/// What keys are for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mode {
    Browse,
    /// The filter is written; what it was before.
    Filter(String),
    /// Whether this is to be done.
    Confirm(Change),
    /// An explanation: lines, and the first that is shown; none yet: it is waited for.
    Explain(String, Option<Vec<String>>, usize),
    /// What became of a change: a title, lines, and the first that is shown.
    Report(String, Vec<String>, usize),
    Help(usize),
}

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Key(ratatui::crossterm::event::KeyEvent),
    /// The terminal has another size.
    Resized,
    Snapshot(Facts),
    Denial(Facts),
    Skipped(u64),
    /// The answer about a list.
    List(Tab, Facts),
    Status(Facts),
    History(Facts),
    Link(Link),
    /// The service refuses the list, and says this.
    Unlisted(Tab, String),
    /// What became of a change, in words.
    Changed(String),
    /// The process drains. Its service takes no further question.
    Drains,
    /// What became of a reload, a line for each part.
    Reloaded(Vec<String>),
    Explained(Result<Facts, String>),
    /// A signal ends the program, by its number.
    Ended(i32),
    /// The terminal cannot be read.
    Unreadable(String),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Command {
    Quit,
    Suspend,
    Redraw,
    /// Connect again now.
    Connect,
    Change(Change),
    Explain(Value),
    /// The last 15 minutes, after a pause.
    History,
}

impl State {
    pub(super) fn new(name: &str, status: Facts) -> Self {
        Self {
            name: clean(name).into_owned(),
            tab: Tab::Overview,
            views: Tab::ALL.map(View::new).into(),
            snapshot: Facts::default(),
            status,
            history: History::default(),
            link: Link::Connecting,
            is_paused: false,
            mode: Mode::Browse,
            note: None,
            skipped: 0,
            is_reloading: false,
            page: 1,
            text: (1, 1),
            report: None,
            process_first: 0,
        }
    }

    /// Whether the service changes anything.
    pub(super) fn can_change(&self) -> bool {
        self.status.at("can_change").is_true()
    }

    /// What needs attention.
    pub(super) fn notices(&self) -> Vec<Notice> {
        notices(&self.status)
    }

    /// How long the process has run, by the last snapshot. The status is older.
    pub(super) fn uptime(&self) -> Option<u64> {
        let then = self.status.at("uptime_seconds").count()?;
        let seconds = |facts: &Facts| facts.at("now.time").count();
        let (known, now) = (seconds(&self.status), seconds(&self.snapshot));
        let since = known.zip(now).map(|(known, now)| now.saturating_sub(known));
        Some(then.saturating_add(since.unwrap_or_default()))
    }

    /// The rows of a tab, and what is seen of them.
    pub(super) fn view_of(&self, tab: Tab) -> Option<&View> {
        self.views.iter().find(|view| view.tab == tab)
    }

    /// The view of the tab that is shown.
    pub(super) fn view(&self) -> Option<&View> {
        self.view_of(self.tab)
    }

    pub(super) fn view_mut(&mut self) -> Option<&mut View> {
        let tab = self.tab;
        self.views.iter_mut().find(|view| view.tab == tab)
    }

    /// What is to be asked for each second beside the events: the tab, and the path.
    pub(super) fn wanted(&self) -> Option<(Tab, String)> {
        if self.is_paused {
            return None;
        }
        match self.tab {
            // The last denials are on it too.
            Tab::Overview => Some((Tab::Denials, format!("/api/v1/denials?limit={MAX_DENIALS}"))),
            Tab::Denials => Some((Tab::Denials, format!("/api/v1/denials?limit={MAX_DENIALS}"))),
            // What the lists of these are made of is in each snapshot.
            Tab::Process | Tab::Upstreams | Tab::Rules => Some((Tab::Process, STATUS.to_owned())),
            _ => self.view()?.path(MAX_ROWS).map(|path| (self.tab, path)),
        }
    }

    /// Takes what happened.
    pub(super) fn update(&mut self, message: Message) -> Option<Command> {
        match message {
            Message::Key(key) => return self.press(key),
            Message::Ended(_) | Message::Unreadable(_) => return Some(Command::Quit),
            Message::Resized => {}
            Message::Link(link) => self.link = link,
            Message::Changed(note) => self.note = Some(clean(&note).into_owned()),
            Message::Drains => {
                self.note = Some("the process drains, and ends".to_owned());
                self.status.set("state", "draining");
            }
            Message::Reloaded(lines) => self.show_reload(&lines),
            Message::Explained(explained) => self.show_explanation(explained),
            // What is on the screen stays.
            _ if self.is_paused => {}
            Message::Snapshot(snapshot) => self.take_snapshot(snapshot),
            Message::Denial(denial) => self.add_denial(denial),
            Message::Skipped(count) => self.skipped = self.skipped.saturating_add(count),
            Message::List(tab, answer) => self.take_list(tab, answer),
            Message::Unlisted(tab, why) => self.take_refusal(tab, &why),
            Message::Status(status) => self.status = status,
            Message::History(history) => self.history = History::of(&history),
        }
        None
    }

    fn take_snapshot(&mut self, snapshot: Facts) {
        self.history.add(snapshot.at("now"));
        for tab in [Tab::Upstreams, Tab::Rules] {
            self.replace(tab, tab.rows(snapshot.clone()), None);
        }
        self.snapshot = snapshot;
    }

    fn take_list(&mut self, tab: Tab, answer: Facts) {
        let total = tab.total(answer.whole());
        self.replace(tab, tab.rows(answer), total);
    }

    fn take_refusal(&mut self, tab: Tab, why: &str) {
        if let Some(view) = self.views.iter_mut().find(|view| view.tab == tab) {
            view.refuse(clean(why).into_owned());
        }
    }

    /// Shows the first line as a note, and all where there are more.
    fn show_reload(&mut self, lines: &[String]) {
        self.is_reloading = false;
        let lines: Vec<String> = lines.iter().map(|line| clean(line).into_owned()).collect();
        self.note = lines.first().cloned();
        self.report = Some(lines).filter(|lines| lines.len() > 1);
        self.show_report();
    }

    /// Shows what became of a reload, once nothing else is read or written.
    fn show_report(&mut self) {
        if self.mode == Mode::Browse
            && let Some(lines) = self.report.take()
        {
            self.mode = Mode::Report("reload".to_owned(), lines, 0);
        }
    }

    fn replace(&mut self, tab: Tab, rows: Vec<Facts>, total: Option<u64>) {
        if let Some(view) = self.views.iter_mut().find(|view| view.tab == tab) {
            view.replace(rows, total);
        }
    }

    fn add_denial(&mut self, denial: Facts) {
        let mut views = self.views.iter_mut();
        let Some(view) = views.find(|view| view.tab == Tab::Denials) else {
            return;
        };
        let is_known = view
            .rows()
            .iter()
            .any(|row| row.at("id").raw() == denial.at("id").raw());
        if is_known {
            return;
        }
        let total = view.total().map(|total| total.saturating_add(1));
        let known = view.rows().iter().take(MAX_DENIALS - 1).cloned();
        let rows = std::iter::once(denial).chain(known).collect();
        view.replace(rows, total);
    }

    fn show_explanation(&mut self, explained: Result<Facts, String>) {
        // It was closed before the answer came.
        let Mode::Explain(_, lines, _) = &mut self.mode else {
            return;
        };
        *lines = Some(match explained {
            Ok(answer) => explanation::lines(&answer),
            Err(message) => explanation::refused(&message),
        });
    }
}

#[cfg(test)]
mod tests;
