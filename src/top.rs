//! `tollgate top`: what a running process does, in a terminal. It asks the admin service, and knows nothing else of the process.
//!
//! [`state`] is what is shown, [`view`] draws it, [`feed`] asks, [`terminal`] has the terminal. What the service says is in the
//! hands of its clients: it comes to the terminal as [`facts`] alone, whose texts have no control.

mod events;
mod explanation;
mod facts;
mod feed;
#[cfg(any(test, feature = "internals"))]
pub mod fuzz;
mod history;
mod lists;
mod notices;
mod once;
mod process;
mod state;
mod terminal;
mod view;
mod wrap;

use std::io::Write as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use self::feed::{Feed, FeedError, get};
use self::state::{Command, Message, State};
use self::terminal::{Screen, ScreenError};
use self::view::Theme;
use crate::admin::Service;

/// Messages that wait; who sends more waits.
const MESSAGES: usize = 64;

/// Between two drawings, if not for a key. Over a slow line, more would be a queue.
const PAUSE: Duration = Duration::from_millis(100);

/// Why it ends other than by a key.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// There is no terminal to draw on.
    #[error("{0}; --once prints one snapshot, and --once --json does for programs")]
    Terminal(String),
    /// The service cannot be asked.
    #[error("{0}")]
    Service(String),
    /// Standard output takes nothing.
    #[error("cannot write: {0}")]
    Write(std::io::Error),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By a key, or all was printed.
    Done,
    /// By a signal of this number.
    Signal(i32),
}

/// Prints one snapshot: JSON, or tables.
///
/// # Errors
/// The service does not answer, or standard output takes nothing.
pub fn print_once(service: &Service, is_json: bool) -> Result<Ended, TopError> {
    let all = once::collect(service).map_err(|error| refused(service, &error))?;
    let text = match is_json {
        true => once::json(&all),
        false => once::tables(&all),
    };
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(TopError::Write)?;
    Ok(Ended::Done)
}

/// Shows the process until a key or a signal ends it.
///
/// # Errors
/// There is no terminal, or no service.
pub fn show(service: Service) -> Result<Ended, TopError> {
    // What is wrong from the start is said as by any other command.
    let status = get(&service, "/api/v1/status").map_err(|error| refused(&service, &error))?;
    let no_terminal = |error: ScreenError| TopError::Terminal(error.to_string());
    let no_thread = |error: std::io::Error| TopError::Terminal(error.to_string());
    let mut screen = Screen::open().map_err(no_terminal)?;
    // Lines of a log would be drawn over.
    log::set_max_level(log::LevelFilter::Off);
    let (messages, received) = sync_channel(MESSAGES);
    start(&messages).map_err(no_thread)?;
    let mut state = State::new(service.name(), status);
    let feed = Feed::start(Arc::new(service), messages).map_err(no_thread)?;
    run(&mut screen, &mut state, &feed, &received).map_err(|error| no_terminal(error.into()))
}

fn start(messages: &SyncSender<Message>) -> std::io::Result<()> {
    terminal::watch_signals(messages.clone())?;
    terminal::read_keys(messages.clone())
}

fn refused(service: &Service, error: &FeedError) -> TopError {
    let text = match error {
        FeedError::Ask(error) => error.to_string(),
        FeedError::Refused { status: 404, .. } => {
            format!(
                "the server on {} is not an admin service of this version",
                service.name()
            )
        }
        error => format!("the admin service on {}: {error}", service.name()),
    };
    let text = facts::clean(&text).into_owned();
    TopError::Service(match error {
        FeedError::Refused { status: 401, .. } => format!("{text}; name a user with --user"),
        _ => text,
    })
}

fn run(
    screen: &mut Screen,
    state: &mut State,
    feed: &Feed,
    received: &Receiver<Message>,
) -> std::io::Result<Ended> {
    // The convention of shells (no-color.org): any value but an empty one.
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let theme = Theme {
        has_colour: !no_colour,
    };
    // What has changed since it was drawn, and whether a key waits for it.
    let (mut is_changed, mut is_urgent) = (true, true);
    let mut due = Instant::now();
    loop {
        let now = Instant::now();
        if is_changed && (is_urgent || due <= now) {
            let size = screen.terminal.size()?;
            view::fit(state, size.width, size.height);
            screen
                .terminal
                .draw(|frame| view::draw(state, theme, frame))?;
            due = now + PAUSE;
            (is_changed, is_urgent) = (false, false);
        }
        feed.want(state.wanted());
        let message = match is_changed {
            true => match received.recv_timeout(due.saturating_duration_since(now)) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Ok(Ended::Done),
            },
            false => match received.recv() {
                Ok(message) => message,
                Err(_) => return Ok(Ended::Done),
            },
        };
        is_changed = true;
        let mut next = Some(message);
        // What waits is drawn at once.
        while let Some(message) = next {
            is_urgent |= matches!(message, Message::Key(_) | Message::Resized);
            let ended = match &message {
                Message::Ended(signal) => Some(Ended::Signal(*signal)),
                Message::Unreadable(error) => return Err(std::io::Error::other(error.clone())),
                _ => None,
            };
            match state.update(message) {
                Some(Command::Quit) => return Ok(ended.unwrap_or(Ended::Done)),
                Some(Command::Suspend) => screen.suspend()?,
                Some(Command::Redraw) => screen.terminal.clear()?,
                Some(command) => feed.command(command),
                None => {}
            }
            next = received.try_recv().ok();
        }
    }
}
