use std::collections::BTreeSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::access::policy::Name;
use crate::http::target::Scheme;
use crate::request::facts::{Arrival, Source};
use crate::telemetry::Settings;

fn source(connection: u64, thread: u16) -> Source {
    Source {
        client: ([192, 0, 2, 1], 5000).into(),
        listener: None,
        connection,
        tls: false,
        thread,
        certificate: None,
    }
}

fn request(number: u64, role: Role, authority: Option<&str>) -> Request {
    let id = RequestId::new(number);
    let mut request = Request::unread(id, source(number, 0), Arrival::now());
    request.role = Some(role);
    request.authority = authority.map(|it| it.parse().unwrap());
    request
}

fn outcome_of(user: &str) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.user = Some(User::parse(user).unwrap());
    outcome
}

fn telemetry() -> Telemetry {
    Telemetry::new(&Settings::default()).unwrap()
}

fn listed(table: &InFlight) -> Vec<RequestRow> {
    let all = Query {
        limit: usize::MAX,
        ..Query::default()
    };
    table.list(&all, &telemetry()).requests
}

#[test]
fn a_row_has_the_facts_of_its_request_and_how_far_it_is() {
    let table = Arc::new(InFlight::new(1));
    let mut request = request(7, Role::Forward, Some("example.org:80"));
    request.method = Method::from_bytes(b"PURGE").unwrap();
    request.arrival.started -= Duration::from_secs(2);
    let live = table.enter(&request, b"/a/b?token=secret").unwrap();
    live.came(3000);
    live.answered(5000);
    live.answered(1000);
    let row = listed(&table).remove(0);
    assert_eq!(row.id, "0000000000000007");
    assert_eq!(
        (row.bytes_from_client, row.bytes_from_upstream),
        (3000, 6000)
    );
    assert!((1..=1500).contains(&row.rate_from_client), "{row:?}");
    assert!((1..=3000).contains(&row.rate_from_upstream), "{row:?}");
    assert_eq!(
        (&*row.client, row.role, &*row.method),
        ("192.0.2.1:5000", "forward", "PURGE")
    );
    assert_eq!(row.target, "http://example.org/a/b");
    assert_eq!((row.user, row.rule, row.state), (None, None, "admitting"));
    for state in State::ALL {
        live.set(state);
        assert_eq!(listed(&table)[0].state, state.as_str());
    }
    let mut outcome = outcome_of("alice");
    outcome.decided_by = Some(DecidedBy::Rule(Name::parse("web").unwrap()));
    live.note(&outcome);
    let row = listed(&table).remove(0);
    assert_eq!(
        (row.user.as_deref(), row.rule.as_deref()),
        (Some("alice"), Some("web"))
    );
    drop(live);
    assert_eq!((listed(&table).len(), table.count()), (0, 0));
    // The next one in the slot has nothing of it.
    let _next = table
        .enter(&self::request(8, Role::Gateway, None), b"/")
        .unwrap();
    let row = listed(&table).remove(0);
    assert_eq!(
        (&*row.id, &*row.target, row.user),
        ("0000000000000008", "/", None)
    );
    assert_eq!(row.state, "admitting");
    assert_eq!((row.bytes_from_client, row.bytes_from_upstream), (0, 0));
    assert_eq!((row.rate_from_client, row.rate_from_upstream), (0, 0));
}

#[test]
fn targets_are_as_in_the_log_and_cut() {
    let long = format!("/{}", "x".repeat(MAX_TARGET));
    let cut = format!("/{}\u{2026}", "x".repeat(MAX_TARGET - 1));
    for (role, authority, path, expected) in [
        (
            Role::Forward,
            Some("a.example:8080"),
            "/p",
            "http://a.example:8080/p",
        ),
        (Role::Forward, Some("[::1]:80"), "/?q", "http://[::1]/"),
        (
            Role::Forward,
            Some("192.0.2.1:80"),
            "/",
            "http://192.0.2.1/",
        ),
        (Role::Tunnel, Some("a.example:443"), "", "a.example:443"),
        (Role::Tunnel, Some("[::1]:443"), "/ignored", "[::1]:443"),
        (Role::Gateway, None, "/a%20b?x=1?y", "/a%20b"),
        (Role::Gateway, None, "*", "*"),
        (Role::Gateway, None, "/\u{202e}x", "/\\u202ex"),
        (Role::Gateway, None, &long, &cut),
        (Role::Gateway, None, &format!("/a?{long}"), "/a"),
    ] {
        let mut text = Text::new();
        text.write(&request(1, role, authority), path.as_bytes());
        assert_eq!(text.shown(), expected);
    }
    let mut https = request(1, Role::Forward, Some("a.example:443"));
    https.scheme = Scheme::Https;
    let mut text = Text::new();
    text.write(&https, b"/");
    assert_eq!(text.shown(), "https://a.example/");
}

#[test]
fn requests_are_found_by_user_and_text_the_oldest_first() {
    let table = Arc::new(InFlight::new(2));
    let mut lives = Vec::new();
    for (number, user, host) in [
        (1, "alice", "one.example:80"),
        (2, "bob", "two.example:80"),
        (3, "alice", "two.example:80"),
    ] {
        let mut request = request(number, Role::Forward, Some(host));
        request.source.thread = u16::try_from(number % 2).unwrap();
        let live = table.enter(&request, b"/").unwrap();
        live.note(&outcome_of(user));
        lives.push(live);
    }
    let find = |user, text, limit| {
        let list = table.list(&Query { user, text, limit }, &telemetry());
        let ids: Vec<_> = list
            .requests
            .iter()
            .map(|it| it.id[15..].to_owned())
            .collect();
        (list.total, ids.concat())
    };
    assert_eq!(find(None, None, 10), (3, "123".to_owned()));
    assert_eq!(find(None, None, 2), (3, "12".to_owned()));
    assert_eq!(find(Some("alice"), None, 10), (2, "13".to_owned()));
    assert_eq!(find(None, Some("TWO.example"), 10), (2, "23".to_owned()));
    assert_eq!(find(Some("alice"), Some("two"), 10), (1, "3".to_owned()));
    assert_eq!(find(Some("ali"), None, 10), (0, String::new()));
    assert_eq!(find(None, Some("bob"), 10), (1, "2".to_owned()));
    // A thread that the table does not know, and one connection of many.
    let mut request = request(9, Role::Gateway, None);
    request.source.thread = 60_000;
    assert!(table.enter(&request, b"/").is_some());
}

proptest! {
    /// Whatever begins and ends in whatever order, the table has those that are open, and few slots beside.
    #[test]
    fn the_table_has_those_that_are_open(
        threads in 1_usize..4,
        steps in vec((0_u64..40, any::<bool>(), 0_u16..5), 0..400),
    ) {
        let table = Arc::new(InFlight::new(threads));
        let mut open: Vec<(String, InFlightRequest)> = Vec::new();
        for (step, (which, begins, thread)) in steps.into_iter().enumerate() {
            if begins || open.is_empty() {
                let mut request = request(step as u64, Role::Gateway, None);
                request.source = source(which, thread);
                let live = table.enter(&request, b"/").unwrap();
                open.push((request.id.to_string(), live));
            } else {
                let which = usize::try_from(which).unwrap() % open.len();
                open.swap_remove(which);
            }
            prop_assert_eq!(table.count(), open.len());
        }
        let found: BTreeSet<String> = listed(&table).into_iter().map(|it| it.id).collect();
        let expected: BTreeSet<String> = open.iter().map(|(id, _)| id.clone()).collect();
        prop_assert_eq!(found, expected);
        open.clear();
        prop_assert_eq!(table.count(), 0);
        for part in &table.parts {
            let part = part.lock();
            prop_assert!(part.open.is_empty() && part.spare.len() <= SPARE);
        }
    }
}
