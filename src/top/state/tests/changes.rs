//! What an operator changes: after a question, and where the service takes it.

use super::*;

#[test]
fn closing_asks_first() {
    let mut state = state(true);
    state.update(key(KeyCode::Char('2')));
    state.update(tunnels(&[("a", 1), ("b", 3)]));
    assert_eq!(state.update(key(KeyCode::Char('x'))), None);
    let closing = Closing::Tunnel("b".to_owned(), "user-b to b.example:443".to_owned());
    let closing = Change::Close(closing);
    assert_eq!(state.mode, Mode::Confirm(closing.clone()));
    assert!(
        screen(&mut state, 80, 24).contains("close the tunnel of user-b to b.example:443? y/n")
    );
    // Another one is first now, and it is not the one that was asked about.
    state.update(tunnels(&[("a", 9), ("b", 3)]));
    assert_eq!(
        state.update(key(KeyCode::Char('y'))),
        Some(Command::Change(closing))
    );
    state.update(key(KeyCode::Char('x')));
    assert_eq!(state.update(key(KeyCode::Enter)), None);
    assert_eq!(state.note.as_deref(), Some("nothing was closed"));
    state.update(Message::Changed("closed\u{1b}[2J".to_owned()));
    assert!(is_harmless(state.note.as_deref().unwrap()));
}

#[test]
fn closing_needs_a_service_that_changes_something_and_a_tunnel() {
    let mut unable = state(false);
    unable.update(key(KeyCode::Char('2')));
    unable.update(tunnels(&[("a", 1)]));
    assert_eq!(unable.update(key(KeyCode::Char('x'))), None);
    assert!(unable.note.as_deref().unwrap().contains("admin.users"));
    let mut able = state(true);
    for place in ['1', '2', '3', '4', '5', '6', '7', '8', '9', '0'] {
        able.update(key(KeyCode::Char(place)));
        assert_eq!(able.update(key(KeyCode::Char('x'))), None);
        assert_eq!(able.mode, Mode::Browse, "{place}");
    }
    able.update(Message::List(
        Tab::Users,
        Facts::new(json!({"users": [{"user": "a/b"}]})),
    ));
    able.update(key(KeyCode::Char('4')));
    able.update(key(KeyCode::Char('x')));
    let closing = Change::Close(Closing::User("a/b".to_owned()));
    assert_eq!(able.mode, Mode::Confirm(closing));
    let closing = Closing::User("a".to_owned());
    assert_eq!(closing.outcome(2), "closed: 2 tunnels of a");
    assert_eq!(closing.outcome(1), "closed: 1 tunnel of a");
    assert_eq!(
        Closing::Tunnel("1".to_owned(), "a to b".to_owned()).outcome(0),
        "the tunnel of a to b had ended"
    );
}

#[test]
fn a_reload_asks_first_and_is_one_at_a_time() {
    // The files are the operator's: a service without users reloads too.
    let mut state = state(false);
    state.update(key(KeyCode::Char('R')));
    assert!(screen(&mut state, 80, 24).contains("read the configuration and its files again? y/n"));
    assert_eq!(state.update(key(KeyCode::Char('r'))), None);
    assert_eq!(state.note.as_deref(), Some("nothing was reloaded"));
    state.update(key(KeyCode::Char('R')));
    let reload = Some(Command::Change(Change::Reload));
    assert_eq!(state.update(key(KeyCode::Char('y'))), reload);
    state.update(key(KeyCode::Char('R')));
    assert_eq!(state.note.as_deref(), Some("a reload is under way"));
    assert_eq!(state.mode, Mode::Browse);
    state.update(Message::Reloaded(vec!["reloaded: all".to_owned()]));
    assert_eq!(state.mode, Mode::Browse);
    assert!(screen(&mut state, 80, 24).contains("reloaded: all"));
    // More than a line is a text of its own, once no other one is read.
    let lines = vec!["failed".to_owned(), "x.yaml:\u{1b}[2J".to_owned()];
    state.update(key(KeyCode::Char('?')));
    state.update(Message::Reloaded(lines));
    assert_eq!(state.mode, Mode::Help(0));
    state.update(key(KeyCode::Esc));
    let shown = screen(&mut state, 80, 24);
    assert!(shown.contains("x.yaml:\\u{1b}[2J"), "{shown}");
    state.update(key(KeyCode::Esc));
    assert_eq!(state.mode, Mode::Browse);
    state.update(key(KeyCode::Char('R')));
    assert_eq!(state.mode, Mode::Confirm(Change::Reload));
}

#[test]
fn a_drain_asks_first_and_the_service_decides() {
    let mut state = state(false);
    state.update(key(KeyCode::Char('D')));
    assert!(screen(&mut state, 80, 24).contains("drain the process"));
    assert_eq!(state.update(key(KeyCode::Enter)), None);
    assert_eq!(state.note.as_deref(), Some("the process goes on"));
    state.update(key(KeyCode::Char('D')));
    let drain = Some(Command::Change(Change::Drain));
    assert_eq!(state.update(key(KeyCode::Char('y'))), drain);
    assert!(!screen(&mut state, 80, 24).contains("draining"));
    state.update(Message::Drains);
    let shown = screen(&mut state, 80, 24);
    assert!(shown.contains("  draining"), "{shown}");
}
