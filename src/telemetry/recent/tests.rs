use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::broadcast::error::TryRecvError;

use super::*;
use crate::access::policy::{DecidedBy, Name};
use crate::http::error::ErrorKind;
use crate::telemetry::tests::{quiet, record};
use crate::telemetry::{Role, UserRow};

fn denied<'a>(denial: &'a Denial, by: &'a DecidedBy) -> Record<'a> {
    Record {
        status: Some(403),
        error: Some("http_request_denied"),
        denial: Some(denial),
        decided_by: Some(by),
        ..record(Role::Forward)
    }
}

#[test]
fn a_row_says_who_what_and_why_and_nothing_secret() {
    let telemetry = quiet();
    telemetry.keep();
    let rule = DecidedBy::Rule(Name::parse("no-uploads").unwrap());
    // The name is hidden from the client, and not from the operator.
    let denial = Denial::new(ErrorKind::Denied, "no-uploads", Some("ask it@corp".into()));
    let denial = denial.without_rule();
    telemetry.denied(&Record {
        time: UNIX_EPOCH + Duration::from_millis(1500),
        client: ([0, 0, 0, 0, 0, 0xffff, 0xc000, 0x0207], 80).into(),
        method: b"POST\x1b",
        target: b"http://u:p@example.org/a\xe2\x80\xaeb?token=secret",
        ..denied(&denial, &rule)
    });
    let list = telemetry.last_denials(10);
    assert_eq!(list.denials.len(), 1);
    let row = &list.denials[0];
    assert_eq!(row.time, "1970-01-01T00:00:01.500Z");
    assert_eq!(row.client, "192.0.2.7:80");
    assert_eq!(row.user.as_deref(), Some("alice"));
    assert_eq!(row.method, "POST\\u001b");
    assert_eq!(row.target, "http://***@example.org/a\\u202eb");
    assert_eq!(row.rule.as_deref(), Some("no-uploads"));
    assert_eq!(row.message, "ask it@corp");
    assert_eq!((row.role, row.error), ("forward", "http_request_denied"));
    // What is no denial is no row.
    telemetry.denied(&record(Role::Forward));
    assert_eq!(telemetry.last_denials(10).denials.len(), 1);
}

#[test]
fn the_last_ones_are_kept_newest_first() {
    let telemetry = quiet();
    telemetry.keep();
    let denial = Denial::new(ErrorKind::Denied, "connect_ports", None);
    for id in 0..KEPT + 50 {
        telemetry.denied(&Record {
            request_id: &id.to_string(),
            ..denied(&denial, &DecidedBy::ConnectPorts)
        });
    }
    let list = telemetry.last_denials(usize::MAX);
    assert_eq!(list.denials.len(), KEPT);
    assert_eq!(list.denials[0].id, (KEPT + 49).to_string());
    assert_eq!(list.denials[KEPT - 1].id, "50");
    assert_eq!(telemetry.last_denials(3).denials.len(), 3);
}

#[test]
fn what_denied_most_comes_first_and_users_have_their_denials() {
    let telemetry = quiet();
    telemetry.keep();
    let denial = Denial::new(ErrorKind::Denied, "connect_ports", None);
    for by in [
        DecidedBy::ConnectPorts,
        DecidedBy::Default,
        DecidedBy::ConnectPorts,
    ] {
        telemetry.record(&denied(&denial, &by));
    }
    let list = telemetry.last_denials(10);
    assert_eq!(list.total, 3);
    let top: Vec<_> = list.top.iter().map(|it| (&*it.rule, it.count)).collect();
    assert_eq!(top, [("connect_ports", 2), ("default", 1)]);
    let users = telemetry.top_users(crate::telemetry::TopBy::Denials, 10, |_| true);
    let UserRow {
        requests, denials, ..
    } = users.users[0];
    assert_eq!((requests, denials), (3, 3));
    let sites = telemetry.top_sites(crate::telemetry::TopBy::Denials, 10);
    assert_eq!(sites.sites[0].denials, 3);
    // A denied request does not visit its site.
    assert_eq!(sites.sites[0].requests, 0);
    let visited = telemetry.top_sites(crate::telemetry::TopBy::Requests, 10);
    assert!(visited.sites.is_empty());
}

#[test]
fn those_who_subscribe_get_each_denial_and_learn_what_they_miss() {
    let telemetry = quiet();
    telemetry.keep();
    let denial = Denial::new(ErrorKind::Denied, "connect_ports", None);
    let by = DecidedBy::ConnectPorts;
    telemetry.denied(&denied(&denial, &by));
    let mut feed = telemetry.watch_denials().unwrap();
    assert!(matches!(feed.try_recv(), Err(TryRecvError::Empty)));
    telemetry.denied(&denied(&denial, &by));
    assert_eq!(feed.try_recv().unwrap().error, "http_request_denied");
    for _ in 0..FEED + 10 {
        telemetry.denied(&denied(&denial, &by));
    }
    assert!(matches!(feed.try_recv(), Err(TryRecvError::Lagged(10))));
    assert!(feed.try_recv().is_ok());
    drop(feed);
    telemetry.denied(&denied(&denial, &by));
}
