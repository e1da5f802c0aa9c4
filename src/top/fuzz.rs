//! Invariants of what `tollgate top` reads and draws, for the fuzz target.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::Value;

use super::events::{Event, Parser};
use super::facts::{Facts, clean};
use super::feed;
use super::lists::Tab;
use super::state::{Message, State};
use super::view::{Theme, draw, fit};

/// Reads `data` as a stream of events, and draws what is in them. Beside those of the service, an event `status` or `list`
/// is the answer that is asked for.
///
/// The events do not depend on how the bytes are cut. No cell of the terminal has a character that controls it.
///
/// # Panics
/// An invariant does not hold.
pub fn top(data: &[u8]) -> String {
    let events = read(data, data.len().max(1));
    for piece in [1, 3] {
        let cut = read(data, piece);
        assert_eq!(cut, events, "{piece}: {}", data.escape_ascii());
    }
    let mut words = Vec::new();
    for tab in Tab::ALL {
        let mut state = State::new("fuzz", Facts::default());
        state.tab = tab;
        for event in &events {
            let message = message(event, tab);
            if tab == Tab::Overview {
                words.push(word(event, message.as_ref()));
            }
            message.map(|message| state.update(message));
        }
        assert_harmless(&mut state, data);
    }
    for event in &events {
        let texts = serde_json::from_slice(&event.data).unwrap_or_default();
        assert_clean(&texts);
    }
    words.truncate(8);
    words.join(" ")
}

fn word(event: &Event, message: Option<&Message>) -> &'static str {
    match (message, event.name.as_str()) {
        (None, _) => "nothing",
        (Some(_), "snapshot") => "snapshot",
        (Some(_), "denial") => "denial",
        (Some(_), "status") => "status",
        (Some(_), "list") => "list",
        (Some(_), _) => "other",
    }
}

/// A screen leaves out some of what has no width: this is what it is given.
fn assert_clean(value: &Value) {
    match value {
        Value::String(text) => assert!(is_harmless(&clean(text)), "{text:?}"),
        Value::Array(items) => items.iter().for_each(assert_clean),
        Value::Object(members) => members.values().for_each(assert_clean),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn read(data: &[u8], piece: usize) -> Vec<Event> {
    let mut parser = Parser::default();
    let mut events = Vec::new();
    for part in data.chunks(piece) {
        // It is larger than any input.
        assert_eq!(parser.take(part, |event| events.push(event)), Ok(()));
    }
    events
}

fn message(event: &Event, tab: Tab) -> Option<Message> {
    match event.name.as_str() {
        "status" => Facts::parse(&event.data).map(Message::Status),
        "list" => Facts::parse(&event.data).map(|facts| Message::List(tab, facts)),
        _ => feed::message(event),
    }
}

fn assert_harmless(state: &mut State, data: &[u8]) {
    let (width, height) = (80, 24);
    fit(state, width, height);
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let theme = Theme { has_colour: true };
    let Ok(_drawn) = terminal.draw(|frame| draw(state, theme, frame));
    for cell in terminal.backend().buffer().content() {
        assert!(
            is_harmless(cell.symbol()),
            "{:?}: {}",
            cell.symbol(),
            data.escape_ascii()
        );
    }
}

/// Whether a text has nothing that a terminal obeys, or that hides or turns around what follows.
pub(crate) fn is_harmless(text: &str) -> bool {
    text.chars().all(|c| {
        !c.is_control()
            && !matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
    })
}
