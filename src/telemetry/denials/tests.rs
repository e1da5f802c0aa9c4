use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::http::denial::Denial;
use crate::http::error::ErrorKind;
use crate::http::role::Role;

fn denial() -> Denial {
    Denial::new(ErrorKind::Denied, "not-listed", Some("ask it".into()))
}

fn record<'a>(user: &'a str, id: &'a str, denial: &'a Denial) -> Record<'a> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    Record {
        user: Some(user),
        method: b"CONNECT",
        target: b"api.example:443",
        status: Some(403),
        denial: Some(denial),
        ..Record::new(
            time,
            id,
            Some(Role::Tunnel),
            SocketAddr::from(([192, 0, 2, 1], 5)),
        )
    }
}

fn list(denials: &Denials, user: &str) -> Vec<Value> {
    let mut whole: Value = serde_json::from_slice(&denials.to_json(user)).unwrap();
    whole["denials"].as_array_mut().map(std::mem::take).unwrap()
}

fn ids(denials: &Denials, user: &str) -> Vec<String> {
    let list = list(denials, user);
    list.iter()
        .map(|entry| entry["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn an_entry_has_what_the_client_was_told() {
    let denials = Denials::new();
    let (named, denial) = (denial(), denial());
    denials.add(&record("alice", "id-1", &named));
    let hidden = denial.without_rule();
    denials.add(&Record {
        method: b"GET",
        role: Some(Role::Forward),
        target: b"http://user:secret@api.example/\"a\"?token=secret?x",
        status: None,
        ..record("alice", "id-2", &hidden)
    });
    let time = "2023-11-14T22:13:20.123Z";
    let expected = json!([
        {"time": time, "id": "id-2", "role": "forward", "method": "GET", "target": "http://***@api.example/\"a\"",
         "error": "http_request_denied", "message": "ask it"},
        {"time": time, "id": "id-1", "role": "tunnel", "method": "CONNECT", "target": "api.example:443", "status": 403,
         "error": "http_request_denied", "rule": "not-listed", "message": "ask it"},
    ]);
    assert_eq!(Value::from(list(&denials, "alice")), expected);
}

#[test]
fn only_denials_of_a_user_are_kept_and_only_for_that_user() {
    let denials = Denials::new();
    let denial = denial();
    denials.add(&record("alice", "a", &denial));
    denials.add(&Record {
        denial: None,
        ..record("alice", "admitted", &denial)
    });
    denials.add(&Record {
        user: None,
        ..record("", "stranger", &denial)
    });
    assert_eq!(ids(&denials, "alice"), ["a"]);
    for other in ["bob", "", "Alice", "alice "] {
        assert_eq!(denials.to_json(other), b"{\"denials\":[]}\n", "{other}");
    }
    // To ask makes no list.
    assert_eq!(denials.users.read().len(), 1);
}

#[test]
fn a_user_has_the_newest_only_and_costs_no_other_user() {
    let denials = Denials::new();
    let denial = denial();
    denials.add(&record("bob", "kept", &denial));
    for id in 0..10_000 {
        denials.add(&record("alice", &id.to_string(), &denial));
    }
    let expected: Vec<_> = (0..10_000)
        .rev()
        .take(MAX_ENTRIES)
        .map(|id| id.to_string())
        .collect();
    assert_eq!(ids(&denials, "alice"), expected);
    assert_eq!(ids(&denials, "bob"), ["kept"]);
}

#[test]
fn the_user_that_was_not_denied_for_the_longest_time_makes_room() {
    let denials = Denials::with_max(3);
    let denial = denial();
    for user in ["a", "b", "c", "a", "d"] {
        denials.add(&record(user, user, &denial));
    }
    assert_eq!(denials.users.read().len(), 3);
    for (user, entries) in [("a", 2), ("b", 0), ("c", 1), ("d", 1)] {
        assert_eq!(list(&denials, user).len(), entries, "{user}");
    }
}

/// The memory that the documents state: all users at their limits, with the longest of everything.
#[test]
fn memory_is_bounded() {
    let denials = Denials::new();
    let message = "\u{202e}".repeat(200);
    let denial = Denial::new(
        ErrorKind::AddressDenied,
        &"r".repeat(64),
        Some(message.into()),
    );
    let target = [b"http://a.example/".to_vec(), vec![b'"'; 5000]].concat();
    for user in 0..MAX_USERS + 100 {
        let user = format!("{user:0255}");
        for _ in 0..MAX_ENTRIES {
            denials.add(&Record {
                target: &target,
                ..record(&user, "0123456789abcdef", &denial)
            });
        }
    }
    let users = denials.users.read();
    assert_eq!(users.len(), MAX_USERS);
    let mut bytes = 0;
    for (user, denials) in users.iter() {
        let list = denials.list.lock();
        let held: usize = list.entries.iter().map(|entry| entry.len()).sum();
        assert!(held == list.bytes && held <= MAX_BYTES && !list.entries.is_empty());
        bytes += user.len() + held + list.entries.capacity() * size_of::<Box<[u8]>>();
        bytes += size_of::<UserDenials>() + size_of::<(Box<str>, Arc<UserDenials>)>() * 2;
    }
    assert!(bytes <= 56 << 20, "{bytes}");
}

#[test]
fn many_threads_lose_nothing_and_exceed_nothing() {
    let denials = Denials::with_max(8);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let denials = &denials;
            scope.spawn(move || {
                let denial = denial();
                for number in 0..500 {
                    let id = format!("{thread}-{number}");
                    denials.add(&record(&format!("own-{}", thread % 4), &id, &denial));
                    if number % 16 == 0 {
                        denials.add(&record(&format!("rare-{thread}-{number}"), &id, &denial));
                    }
                    drop(denials.to_json("own-0"));
                }
            });
        }
    });
    let users = denials.users.read();
    assert_eq!(users.len(), 8);
    for denials in users.values() {
        let list = denials.list.lock();
        assert!(list.entries.len() <= MAX_ENTRIES && list.bytes <= MAX_BYTES);
    }
}

proptest! {
    #[test]
    fn a_list_is_json_whatever_a_client_sends(
        method in prop::collection::vec(any::<u8>(), 0..40),
        target in prop::collection::vec(any::<u8>(), 0..3000),
        message: String,
    ) {
        let denials = Denials::with_max(1);
        let denial = Denial::new(ErrorKind::Denied, "r", Some(message.into()));
        for _ in 0..3 {
            denials.add(&Record {
                method: &method,
                target: &target,
                ..record("alice", "id", &denial)
            });
        }
        prop_assert!(!list(&denials, "alice").is_empty());
        prop_assert!(denials.to_json("alice").len() <= MAX_BYTES + 64);
    }
}
