//! The state: what keys and news do, and that nothing of it panics or grows.

mod changes;

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::json;

use super::*;
use crate::top::facts::tests::hostile;
use crate::top::fuzz::is_harmless;
use crate::top::view::{Theme, draw, fit};

fn key(code: KeyCode) -> Message {
    Message::Key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn control(c: char) -> Message {
    Message::Key(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL))
}

fn state(can_change: bool) -> State {
    let status = Facts::new(json!({"version": "1", "state": "running", "can_change": can_change}));
    let mut state = State::new("127.0.0.1:9090", status);
    state.update(Message::Link(Link::Live));
    state.page = 20;
    state
}

fn tunnels(ids: &[(&str, u64)]) -> Message {
    let rows: Vec<_> = ids
        .iter()
        .map(|(id, rate)| {
            json!({
                "id": id, "user": format!("user-{id}"), "target": format!("{id}.example:443"), "rate_from_client": rate,
                "rate_from_upstream": 0,
            })
        })
        .collect();
    Message::List(
        Tab::Tunnels,
        Facts::new(json!({"total": rows.len(), "tunnels": rows})),
    )
}

/// The ids that are seen, in their order.
fn seen(state: &State) -> Vec<&str> {
    let rows = state.view().unwrap().seen();
    rows.map(|row| row.at("id").raw().unwrap()).collect()
}

fn selected(state: &State) -> &str {
    state
        .view()
        .unwrap()
        .selected()
        .unwrap()
        .at("id")
        .raw()
        .unwrap()
}

fn write(state: &mut State, text: &str) {
    for c in text.chars() {
        assert_eq!(state.update(key(KeyCode::Char(c))), None);
    }
}

fn screen(state: &mut State, width: u16, height: u16) -> String {
    fit(state, width, height);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let theme = Theme { has_colour: true };
    terminal.draw(|frame| draw(state, theme, frame)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn tabs() {
    let mut state = state(false);
    for (code, tab) in [
        (KeyCode::Tab, Tab::Tunnels),
        (KeyCode::Right, Tab::Requests),
        (KeyCode::BackTab, Tab::Tunnels),
        (KeyCode::Char('9'), Tab::Quotas),
        (KeyCode::Char('0'), Tab::Process),
        (KeyCode::Char('l'), Tab::Overview),
        (KeyCode::Left, Tab::Process),
    ] {
        assert_eq!(state.update(key(code)), None);
        assert_eq!(state.tab, tab, "{code:?}");
    }
}

#[test]
fn ends() {
    for message in [key(KeyCode::Char('q')), control('c'), Message::Ended(15)] {
        assert_eq!(state(false).update(message), Some(Command::Quit));
    }
    // While a filter is written, q is a letter.
    let mut state = state(false);
    state.update(key(KeyCode::Char('2')));
    write(&mut state, "/q");
    assert_eq!(state.view().unwrap().filter(), "q");
    assert_eq!(state.update(control('c')), Some(Command::Quit));
}

#[test]
fn rows_are_sorted_and_the_selection_stays_with_its_row() {
    let mut state = state(false);
    state.update(key(KeyCode::Char('2')));
    state.update(tunnels(&[("a", 1), ("b", 3), ("c", 2)]));
    assert_eq!(seen(&state), ["b", "c", "a"]);
    assert_eq!(selected(&state), "b");
    // Nothing was chosen yet: the first row is the first one.
    state.update(tunnels(&[("a", 9), ("b", 3), ("c", 2)]));
    assert_eq!(selected(&state), "a");
    state.update(key(KeyCode::Down));
    assert_eq!(selected(&state), "b");
    state.update(tunnels(&[("a", 1), ("b", 30), ("c", 2), ("d", 7)]));
    assert_eq!(
        (seen(&state), selected(&state)),
        (vec!["b", "d", "c", "a"], "b")
    );
    state.update(key(KeyCode::Char('r')));
    assert_eq!(
        (seen(&state), selected(&state)),
        (vec!["a", "c", "d", "b"], "b")
    );
    // The row ends: the one in its place is selected.
    state.update(tunnels(&[("a", 1), ("c", 2), ("d", 7)]));
    assert_eq!(selected(&state), "d");
    state.update(tunnels(&[]));
    assert!(state.view().unwrap().selected().is_none());
    let path = state.wanted().unwrap().1;
    assert_eq!(path, "/api/v1/tunnels?limit=1000&sort=rate");
    state.update(key(KeyCode::Char('S')));
    assert_eq!(state.view().unwrap().sort(), (3, false));
}

#[test]
fn filters() {
    let mut state = state(false);
    state.update(key(KeyCode::Char('2')));
    state.update(tunnels(&[("ab", 1), ("b", 3), ("c", 2)]));
    write(&mut state, "/B.EXAMPLE");
    assert_eq!(seen(&state), ["b", "ab"]);
    let path = state.wanted().unwrap().1;
    assert_eq!(path, "/api/v1/tunnels?limit=1000&sort=rate&q=B.EXAMPLE");
    state.update(key(KeyCode::Enter));
    assert_eq!(state.mode, Mode::Browse);
    write(&mut state, "/x");
    assert!(seen(&state).is_empty());
    // What it was before is back.
    state.update(key(KeyCode::Esc));
    assert_eq!(seen(&state), ["b", "ab"]);
    state.update(key(KeyCode::Esc));
    assert_eq!(seen(&state).len(), 3);
    write(&mut state, "/");
    write(&mut state, &"y".repeat(1000));
    assert_eq!(state.view().unwrap().filter().len(), MAX_FILTER);
    state.update(control('u'));
    assert_eq!(state.view().unwrap().filter(), "");
}

#[test]
fn balances_that_the_service_does_not_tell() {
    let mut state = state(false);
    state.update(key(KeyCode::Char('9')));
    assert_eq!(
        state.wanted(),
        Some((Tab::Quotas, "/api/v1/quotas?limit=1000".to_owned()))
    );
    let refused = || Message::Unlisted(Tab::Quotas, "the store does not work\u{1b}[2J".to_owned());
    state.update(refused());
    let shown = screen(&mut state, 80, 24);
    assert!(
        shown.contains("the store does not work\\u{1b}[2J"),
        "{shown}"
    );
    assert!(shown.contains("nothing is known"), "{shown}");
    let balances = json!([{"class": "all", "member": "alice", "period": "day", "used": 2048}]);
    let answer = json!({"balances": balances, "unlisted": 3});
    state.update(Message::List(Tab::Quotas, Facts::new(answer)));
    let shown = screen(&mut state, 80, 24);
    assert!(
        shown.contains("1 of 4") && shown.contains("2.0K"),
        "{shown}"
    );
    assert!(!shown.contains("does not work"), "{shown}");
    // What was known stays.
    state.update(refused());
    let shown = screen(&mut state, 80, 24);
    assert!(
        shown.contains("2.0K") && shown.contains("does not work"),
        "{shown}"
    );
}

fn denial(id: &str) -> Facts {
    Facts::new(json!({
        "id": id, "time": format!("2026-11-30T10:20:{id:0>2}.000Z"), "user": "alice", "client": "127.0.0.1:5", "method": "CONNECT",
        "target": format!("{id}.example:443"), "rule": "no-ads",
    }))
}

#[test]
fn denials_come_as_they_happen_and_are_explained() {
    let mut state = state(false);
    state.update(Message::List(
        Tab::Denials,
        Facts::new(json!({"total": 5, "denials": [denial("1").into_value()]})),
    ));
    state.update(Message::Denial(denial("2")));
    state.update(Message::Denial(denial("2")));
    state.update(key(KeyCode::Char('6')));
    assert_eq!(seen(&state), ["2", "1"]);
    assert_eq!(state.view().unwrap().total(), Some(6));
    let question = json!({"target": "2.example:443", "user": "alice", "client": "127.0.0.1", "method": "CONNECT"});
    assert_eq!(
        state.update(key(KeyCode::Enter)),
        Some(Command::Explain(question))
    );
    assert!(screen(&mut state, 80, 24).contains("asking…"));
    let answer =
        json!({"decision": "deny", "rule": "no-ads", "status": 403, "message": "no ads here"});
    state.update(Message::Explained(Ok(Facts::new(answer))));
    let shown = screen(&mut state, 80, 24);
    assert!(shown.contains("deny by no-ads (status 403)"), "{shown}");
    assert!(shown.contains("no ads here"), "{shown}");
    state.update(key(KeyCode::Esc));
    assert_eq!(state.mode, Mode::Browse);
    // An answer that nobody waits for any more.
    state.update(Message::Explained(Err("late".to_owned())));
    assert_eq!(state.mode, Mode::Browse);
    for number in 0..500 {
        state.update(Message::Denial(denial(&number.to_string())));
    }
    assert_eq!(state.view().unwrap().len(), MAX_DENIALS);
}

#[test]
fn a_pause_keeps_what_is_shown() {
    let mut state = state(false);
    state.update(key(KeyCode::Char('2')));
    state.update(tunnels(&[("a", 1)]));
    state.update(key(KeyCode::Char(' ')));
    state.update(tunnels(&[("b", 1)]));
    state.update(Message::Snapshot(Facts::new(
        json!({"now": {"requests": 7}}),
    )));
    assert_eq!((seen(&state), state.wanted()), (vec!["a"], None));
    assert!(screen(&mut state, 80, 24).contains("paused"));
    state.update(Message::Link(Link::Lost("gone".to_owned(), None)));
    assert!(screen(&mut state, 80, 24).contains("refused, r to try again"));
    assert_eq!(
        state.update(key(KeyCode::Char(' '))),
        Some(Command::History)
    );
    state.update(tunnels(&[("b", 1)]));
    assert_eq!(seen(&state), ["b"]);
    assert_eq!(
        state.update(key(KeyCode::Char('r'))),
        Some(Command::Connect)
    );
}

#[test]
fn the_uptime_goes_on() {
    let status = json!({"uptime_seconds": 5, "now": {"time": 100}});
    let mut state = State::new("127.0.0.1:9090", Facts::new(status));
    assert_eq!(state.uptime(), Some(5));
    for (time, uptime) in [(160, 65), (90, 5)] {
        let snapshot = json!({"now": {"time": time}});
        state.update(Message::Snapshot(Facts::new(snapshot)));
        assert_eq!(state.uptime(), Some(uptime));
    }
}

#[test]
fn the_end_of_a_report_can_be_read() {
    let lines: Vec<String> = (0..60)
        .map(|number| format!("problem {number}: {}", "far too long a text, ".repeat(6)))
        .collect();
    for (width, height) in [(80, 24), (200, 50), (40, 12)] {
        let mut state = state(true);
        screen(&mut state, width, height);
        // It is shown once the help is closed.
        state.update(key(KeyCode::Char('?')));
        state.update(Message::Reloaded(lines.clone()));
        assert!(!screen(&mut state, width, height).contains("problem 1: "));
        state.update(key(KeyCode::Esc));
        assert!(screen(&mut state, width, height).contains("problem 0: "));
        let mut seen = String::new();
        for _ in 0..200 {
            seen.push_str(&screen(&mut state, width, height));
            state.update(key(KeyCode::PageDown));
        }
        let last = screen(&mut state, width, height);
        state.update(key(KeyCode::End));
        assert_eq!(screen(&mut state, width, height), last);
        assert!(last.contains("problem 59: "), "{last}");
        for number in 0..60 {
            assert!(seen.contains(&format!("problem {number}: ")), "{number}");
        }
        // One step back shows a line more, at once.
        state.update(key(KeyCode::Up));
        assert_ne!(screen(&mut state, width, height), last);
        // In a larger window there is no empty space below.
        state.update(key(KeyCode::End));
        assert!(screen(&mut state, 200, 60).contains("problem 30: "));
    }
}

#[test]
fn what_needs_attention_is_above_all_else() {
    let mut state = state(false);
    state.update(key(KeyCode::Char('2')));
    state.update(tunnels(&[("a", 1)]));
    screen(&mut state, 80, 24);
    assert_eq!(state.page, 20);
    let status = json!({"attention": [
        {"severity": "bad", "text": "The last reload failed."}, {"severity": "warn", "text": "Records were lost: 3."},
    ]});
    state.update(Message::Status(Facts::new(status)));
    let shown = screen(&mut state, 80, 24);
    assert!(shown.contains("! The last reload failed."), "{shown}");
    assert!(shown.contains("1 more: process"), "{shown}");
    assert!(shown.contains("a.example:443"), "{shown}");
    assert_eq!(state.page, 19);
    // There is no line for it.
    assert!(!screen(&mut state, 80, 11).contains("! the last"));
    state.update(key(KeyCode::Char('0')));
    let shown = screen(&mut state, 80, 24);
    assert!(
        shown.contains("attention        Records were lost: 3."),
        "{shown}"
    );
    // Where snapshots have the rows, the process is still asked about.
    state.update(key(KeyCode::Char('8')));
    assert_eq!(state.wanted(), Some((Tab::Process, STATUS.to_owned())));
}

#[test]
fn a_lost_connection_is_shown() {
    let mut state = state(false);
    let lost = Link::Lost(
        "connection refused\u{1b}[31m".to_owned(),
        Some(Duration::from_secs(4)),
    );
    state.update(Message::Link(lost));
    let shown = screen(&mut state, 80, 24);
    assert!(shown.contains("no connection, again in 4s"), "{shown}");
    assert!(shown.contains("connection refused\\u{1b}[31m"), "{shown}");
}

#[derive(Clone, Debug)]
enum Step {
    Say(Message),
    Size(u16, u16),
}

fn any_message() -> impl Strategy<Value = Step> {
    let code = prop_oneof![
        8 => prop_oneof![
            Just('q'), Just('?'), Just(' '), Just('/'), Just('s'), Just('S'), Just('r'), Just('x'), Just('y'), Just('e'), Just('j'),
            Just('k'), Just('g'), Just('G'), Just('1'), Just('2'), Just('3'), Just('4'), Just('5'), Just('6'), Just('7'), Just('8'),
            Just('9'), Just('0'), Just('R'), Just('D'), any::<char>(),
        ].prop_map(KeyCode::Char),
        4 => prop_oneof![
            Just(KeyCode::Enter), Just(KeyCode::Esc), Just(KeyCode::Tab), Just(KeyCode::BackTab), Just(KeyCode::PageUp),
            Just(KeyCode::PageDown), Just(KeyCode::Home), Just(KeyCode::End), Just(KeyCode::Backspace), Just(KeyCode::F(1)),
        ],
    ];
    let key = (code, any::<bool>()).prop_map(|(code, has_control)| {
        let modifiers = if has_control {
            KeyModifiers::CONTROL
        } else {
            KeyModifiers::NONE
        };
        Message::Key(KeyEvent::new(code, modifiers))
    });
    let rows = proptest::collection::vec((hostile(), hostile(), any::<u64>()), 0..6);
    let list = (0..Tab::ALL.len(), rows).prop_map(|(tab, rows)| {
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(a, b, number)| {
                json!({
                    "id": &a, "user": &b, "client": &a, "target": &b, "rule": &a, "site": &a, "method": &b, "state": &a, "kind": &b,
                    "time": &a, "last_seen": &b, "requests": number, "bytes": number, "rate_from_client": number,
                    "rate_from_upstream": number, "age_seconds": number, "status": number, "message": &a, "error": &b,
                    "class": &a, "member": &b, "period": &a, "used": number, "limit": number, "resets_at": &b,
                })
            })
            .collect();
        let tab = Tab::ALL[tab];
        let name = if tab == Tab::Quotas { "balances" } else { tab.name() };
        Message::List(tab, Facts::new(json!({"total": u64::MAX, "unlisted": u64::MAX, name: rows})))
    });
    let snapshot = (hostile(), hostile(), any::<u64>()).prop_map(|(a, b, number)| {
        Message::Snapshot(Facts::new(json!({
            "now": {"time": number, "requests": number, "bytes_to_client": number, "p99_ms": number},
            "users": {"users": [{"user": &a, "requests": number}]}, "sites": {"sites": [{"site": &b}]},
            "upstreams": {"pools": [{"pool": &a, "upstreams": [{"address": &b, "state": "down", "trouble": &a}]}],
                          "parents": [{"parent": &b, "url": &a}]},
            "policy": {"rules": [{"name": &a, "action": &b, "hits": number}], "others": [{"rule": &b}]},
            "classes": [{"name": &a, "per": &b, "limits": &a}],
        })))
    });
    let other = (hostile(), hostile(), any::<u64>()).prop_flat_map(|(a, b, number)| {
        let status = json!({
            "version": &a, "state": &b, "operator": &a, "can_change": number % 2 == 0, "uptime_seconds": number,
            "listeners": [{"address": &a, "socks5": &b}], "recent_errors_by_kind": {&b: number},
        });
        let pause = (number % 2 == 0).then_some(Duration::from_secs(number));
        prop_oneof![
            Just(Message::Status(Facts::new(status))),
            Just(Message::Denial(Facts::new(json!({"id": &a, "target": &b, "rule": &a, "time": &b})))),
            Just(Message::Skipped(number)),
            Just(Message::Link(Link::Lost(a.clone(), pause))),
            Just(Message::Changed(b.clone())),
            Just(Message::Drains),
            Just(Message::Reloaded(vec![a.clone(), b.clone()])),
            (0..Tab::ALL.len()).prop_map({
                let why = a.clone();
                move |tab| Message::Unlisted(Tab::ALL[tab], why.clone())
            }),
            Just(Message::Explained(Err(a.clone()))),
            Just(Message::Explained(Ok(Facts::new(json!({"decision": &a, &b: {&a: [&b]}}))))),
            Just(Message::History(Facts::new(json!({"points": {"time": [number], "requests": [number]}})))),
        ]
    });
    prop_oneof![
        6 => key.prop_map(Step::Say),
        2 => list.prop_map(Step::Say),
        2 => snapshot.prop_map(Step::Say),
        3 => other.prop_map(Step::Say),
        1 => (0u16..220, 0u16..60).prop_map(|(width, height)| Step::Size(width, height)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever keys and a hostile service do: it does not panic, a control character never comes to the screen, and the selection
    /// is a row.
    #[test]
    fn any_order_of_messages(steps in proptest::collection::vec(any_message(), 0..40)) {
        let mut state = state(true);
        let (mut width, mut height) = (80, 24);
        for step in steps {
            match step {
                Step::Size(to_width, to_height) => (width, height) = (to_width.max(1), to_height.max(1)),
                Step::Say(message) => drop(state.update(message)),
            }
            fit(&mut state, width, height);
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(&state, Theme { has_colour: width % 2 == 0 }, frame)).unwrap();
            for cell in terminal.backend().buffer().content() {
                prop_assert!(is_harmless(cell.symbol()), "{:?}", cell.symbol());
            }
            for view in &state.views {
                let last = view.len().saturating_sub(1);
                prop_assert!(view.selected_place() <= last);
                prop_assert!(view.first(state.page) <= view.selected_place());
            }
        }
    }
}
