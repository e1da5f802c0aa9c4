//! The terminal: taken over for as long as this lives, and given back on every way out.
//!
//! A panic gives it back before its message is printed. A signal is told to the program, which ends; where it does not within two
//! seconds, since a terminal that takes nothing holds it up, the process ends without it.

use std::io::{self, IsTerminal as _, Stdout, Write as _, stdout};
use std::panic;
use std::sync::Once;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{Event, read};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use super::state::Message;

/// How long the program may take to end after a signal.
const PATIENCE: Duration = Duration::from_secs(2);

/// Signals that end the program. SIGINT is a key here, unless another program sends it.
const ENDING: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];

/// A terminal in its alternate screen.
pub(super) struct Screen {
    pub(super) terminal: Terminal<CrosstermBackend<Stdout>>,
}

/// Why there is no terminal to use.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScreenError {
    #[error("standard output is no terminal")]
    NoTerminal,
    #[error("the terminal cannot move its cursor (TERM={0})")]
    Dumb(String),
    #[error("the terminal cannot be used: {0}")]
    Io(#[from] io::Error),
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// There is none, or none that shows more than lines.
    pub(super) fn open() -> Result<Self, ScreenError> {
        if !stdout().is_terminal() {
            return Err(ScreenError::NoTerminal);
        }
        let term = std::env::var("TERM").unwrap_or_default();
        if matches!(&*term, "" | "dumb" | "unknown") {
            return Err(ScreenError::Dumb(term));
        }
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |panicked| {
                restore();
                before(panicked);
            }));
        });
        // Dropped on an error from here on, it gives the terminal back.
        let screen = Self {
            terminal: Terminal::new(CrosstermBackend::new(stdout()))?,
        };
        begin()?;
        Ok(screen)
    }

    /// Stops the process as Ctrl-Z does, and goes on when it is continued.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        restore();
        kill_process(getpid(), Signal::TSTP)?;
        begin()?;
        self.terminal.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn begin() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen, Hide)
}

/// Gives the terminal back. It may be gone, and is tried once.
fn restore() {
    drop(execute!(stdout(), LeaveAlternateScreen, Show));
    drop(disable_raw_mode());
    drop(stdout().flush());
}

/// Passes keys and sizes on, until the terminal is gone.
pub(super) fn read_keys(messages: SyncSender<Message>) -> io::Result<()> {
    let run = move || {
        loop {
            let message = match read() {
                Ok(Event::Key(key)) => Message::Key(key),
                Ok(Event::Resize(..)) => Message::Resized,
                Ok(_) => continue,
                Err(error) => Message::Unreadable(error.to_string()),
            };
            let is_last = matches!(message, Message::Unreadable(_));
            if messages.send(message).is_err() || is_last {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("top keys".to_owned())
        .spawn(run)?;
    Ok(())
}

/// Ends the process without the program.
#[expect(
    clippy::disallowed_methods,
    reason = "the terminal takes nothing, which holds up the thread that would return; nothing else is open"
)]
fn end(number: i32) {
    std::process::exit(128 + number);
}

/// Tells of signals that end the program.
pub(super) fn watch_signals(messages: SyncSender<Message>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let mut signals = {
        let _entered = runtime.enter();
        let signals = ENDING.map(|number| {
            signal(SignalKind::from_raw(number.as_raw())).map(|signal| (number.as_raw(), signal))
        });
        signals.into_iter().collect::<io::Result<Vec<_>>>()?
    };
    let run = move || {
        let number = runtime.block_on(async {
            std::future::poll_fn(|context| {
                for (number, signal) in &mut signals {
                    if signal.poll_recv(context).is_ready() {
                        return std::task::Poll::Ready(*number);
                    }
                }
                std::task::Poll::Pending
            })
            .await
        });
        // A full channel is that of a program that is held up.
        drop(messages.try_send(Message::Ended(number)));
        thread::sleep(PATIENCE);
        restore();
        end(number);
    };
    thread::Builder::new()
        .name("top signals".to_owned())
        .spawn(run)?;
    Ok(())
}
