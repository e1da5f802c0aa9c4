//! What is drawn, at the sizes that matter.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::*;
use crate::top::facts::Facts;
use crate::top::state::Message;

const SIZES: [(u16, u16); 3] = [(80, 24), (200, 50), (120, 30)];

fn full() -> State {
    let status = Facts::new(json!({
        "attention": [{"severity": "bad", "text": "Upstreams get no requests: 127.0.0.1:8080."}],
        "version": "1.2.3", "state": "running", "uptime_seconds": 3700, "operator": "ops", "can_change": true, "pid": 4711,
        "recent_errors_by_kind": {"dns_error": 3},
    }));
    let mut state = State::new("127.0.0.1:9090", status);
    state.update(Message::Link(Link::Live));
    let users = json!({"users": [{"user": "alice", "requests": 41, "bytes_from_client": 1024, "bytes_to_client": 1024,
        "last_seen": "2026-11-30T10:20:30Z"}]});
    let sites = json!({"sites": [{"site": "example.org:443", "requests": 40, "bytes": 4096}]});
    state.update(Message::Snapshot(Facts::new(json!({
        "now": {"time": 1000, "requests": 12, "open_tunnels": 3, "denials": 1, "bytes_to_client": 2048, "p50_ms": 1.25,
                "p99_ms": 12.5, "open_connections": 4},
        "users": users, "sites": sites,
        "upstreams": {"pools": [{"pool": "default", "upstreams": [{"address": "127.0.0.1:8080", "state": "down", "requests_in_flight": 1,
            "waiting": 2, "limit": 10, "trouble": "connection refused"}]}], "parents": []},
        "policy": {"default": "deny", "rules": [{"name": "work", "action": "admit", "hits": 5, "observed": 0}], "others": []},
    }))));
    state.update(Message::List(Tab::Users, Facts::new(users)));
    state.update(Message::List(Tab::Sites, Facts::new(sites)));
    let row = json!({
        "id": "r1", "user": "alice", "client": "127.0.0.1:50000", "method": "CONNECT", "target": "example.org:443", "rule": "work",
        "kind": "connect", "age_seconds": 61, "rate_from_client": 2048, "rate_from_upstream": 0, "bytes_from_client": 10,
        "bytes_from_upstream": 2028, "state": "open", "role": "tunnel", "time": "2026-11-30T10:20:30.000Z", "status": 403,
    });
    for (tab, name) in [
        (Tab::Tunnels, "tunnels"),
        (Tab::Requests, "requests"),
        (Tab::Denials, "denials"),
    ] {
        let answer = json!({"total": 5, name: [row]});
        state.update(Message::List(tab, Facts::new(answer)));
    }
    let balance = json!({"class": "all", "member": "alice", "period": "month", "used": 2048, "limit": 4096, "granted": 0,
        "resets_at": "2026-12-01T00:00:00Z"});
    let answer = json!({"balances": [balance], "unlisted": 2});
    state.update(Message::List(Tab::Quotas, Facts::new(answer)));
    state
}

fn screen(state: &State, (width, height): (u16, u16)) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let theme = Theme { has_colour: false };
    terminal.draw(|frame| draw(state, theme, frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let lines = buffer.content().chunks(usize::from(width));
    let line = |cells: &[ratatui::buffer::Cell]| {
        let text: String = cells.iter().map(|cell| cell.symbol()).collect();
        text.trim_end().to_owned()
    };
    lines.map(line).collect()
}

#[test]
fn every_tab_has_its_facts_at_every_size() {
    let mut state = full();
    for tab in Tab::ALL {
        state.tab = tab;
        let expected: &[&str] = match tab {
            Tab::Overview => &[
                "requests/s 12",
                "connections 4",
                "p50 1.2 ms",
                "p99 12 ms",
                "open tunnels 3",
                "to clients/s 2.0K",
                "alice",
                "example.org:443",
                "10:20:30",
            ],
            Tab::Tunnels => &["alice", "example.org:443", "2.0K/s", "1m01s", "1 of 5"],
            Tab::Requests => &[
                "alice",
                "CONNECT",
                "example.org:443",
                "open",
                "2.0K/s",
                "1.9K",
                "1m01s",
            ],
            Tab::Users => &["alice", "41", "2.0K", "11-30 10:20"],
            Tab::Sites => &["example.org:443", "40", "4.0K"],
            Tab::Denials => &["10:20:30", "alice", "example.org:443", "work", "1 of 5"],
            Tab::Upstreams => &["default", "127.0.0.1:8080", "down", "2"],
            Tab::Rules => &["work", "admit", "5"],
            Tab::Quotas => &[
                "alice",
                "all",
                "month",
                "2.0K",
                "4.0K",
                "12-01 00:00",
                "1 of 3",
            ],
            Tab::Process => &[
                "attention        Upstreams get no requests: 127.0.0.1:8080.",
                "dns_error: 3",
                "1.2.3",
                "R reload  D drain",
                "version          1.2.3",
                "process          4711",
                "you are          ops",
            ],
        };
        for size in SIZES {
            let lines = screen(&state, size);
            let text = lines.join("\n");
            for part in expected {
                assert!(
                    text.contains(part),
                    "{part} in {} at {size:?}\n{text}",
                    tab.name()
                );
            }
            assert!(
                lines[0].starts_with(" tollgate 1.2.3  127.0.0.1:9090  running 1h01m  ops"),
                "{text}"
            );
            assert!(lines[0].ends_with("live"), "{text}");
            let notice = "! Upstreams get no requests: 127.0.0.1:8080.";
            assert_eq!(lines[2], notice, "{text}");
            assert!(
                Tab::ALL.iter().all(|tab| lines[1].contains(tab.name())),
                "{text}"
            );
            assert!(lines[usize::from(size.1) - 1].contains("? help"), "{text}");
        }
    }
}

#[test]
fn a_wide_terminal_has_more_columns() {
    let mut state = full();
    state.tab = Tab::Tunnels;
    let narrow = screen(&state, (80, 24)).join("\n");
    let wide = screen(&state, (200, 50)).join("\n");
    assert!(!narrow.contains("127.0.0.1:50000"), "{narrow}");
    assert!(wide.contains("127.0.0.1:50000"), "{wide}");
}

#[test]
fn columns_fit() {
    for tab in Tab::ALL {
        let Some(list) = tab.list() else { continue };
        for width in 0..250 {
            let placed = table::fit(list.columns, width);
            let end = placed.last().map_or(0, |last| last.end());
            assert!(end <= width, "{} at {width}: {end}", tab.name());
            assert!(width < 40 || !placed.is_empty());
        }
    }
}

#[test]
fn small_terminals() {
    let mut state = full();
    for tab in Tab::ALL {
        state.tab = tab;
        for width in 1..45 {
            for height in 1..12 {
                let lines = screen(&state, (width, height));
                assert_eq!(lines.len(), usize::from(height));
            }
        }
    }
    // The tab that is shown has its name, whatever else has none.
    for tab in Tab::ALL {
        state.tab = tab;
        assert!(screen(&state, (40, 8))[1].contains(tab.name()));
    }
    assert!(screen(&state, (30, 5))[0].starts_with("too small: 40x8"));
}

#[test]
fn help_names_every_key() {
    let mut state = full();
    state.mode = Mode::Help(0);
    let text = screen(&state, (80, 24)).join("\n");
    for (keys, meaning) in crate::top::state::KEYS {
        assert!(text.contains(keys), "{keys}\n{text}");
        assert!(text.contains(meaning), "{meaning}\n{text}");
    }
}
