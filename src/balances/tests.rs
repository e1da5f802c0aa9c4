//! The store and the keeper, with a file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::report::Reporter;
use super::store::{self, Reports};
use super::transfer::{load, write};
use super::*;
use crate::access::limits::Per;
use crate::access::limits::quota::{Filter, Loaded, OnQuota, Quota};
use crate::access::policy::{Name, Zone};
use crate::telemetry::{Destination, Settings};

const DEADLINE: Duration = Duration::from_secs(20);

pub(super) fn settings(directory: &tempfile::TempDir) -> StoreSettings {
    StoreSettings {
        location: Location::File(directory.path().join("quota.redb")),
        on_failure: OnFailure::Admit,
        entries: 1000,
    }
}

fn quota() -> Quota {
    Quota::new([None, None, None, Some(1000)], OnQuota::Cut, Zone::UTC).unwrap()
}

fn name(text: &str) -> Name {
    Name::parse_any(text).unwrap()
}

pub(super) fn add(ledgers: &Ledgers, user: &str, bytes: u64) {
    let client = std::net::Ipv4Addr::LOCALHOST.into();
    let ledger = ledgers.of_client(&name("c"), Per::User, user, client);
    let _ = ledgers.add(&ledger, &quota(), bytes, now());
}

fn used(ledgers: &Ledgers, user: &str) -> u64 {
    let member = crate::access::limits::quota::Member::User(user.into());
    let ledger = ledgers.find(&name("c"), &member);
    ledger.map_or(0, |ledger| ledger.balances().iter().map(|it| it.used).sum())
}

pub(super) fn telemetry() -> Arc<Telemetry> {
    let settings = Settings {
        access: Destination::Off,
        ..Settings::default()
    };
    Arc::new(Telemetry::new(&settings).unwrap())
}

fn started(settings: &StoreSettings) -> Balances {
    let balances = Balances::new(Some(settings.clone()), telemetry());
    balances.start(false).unwrap();
    let begun = Instant::now();
    while !balances.are_known() {
        assert!(begun.elapsed() < DEADLINE, "the store is not opened");
        std::thread::yield_now();
    }
    balances
}

/// What the store has once nothing has it open.
fn stored(settings: &StoreSettings, user: &str) -> u64 {
    used(&Offline::open(settings).unwrap().ledgers, user)
}

#[test]
fn what_is_written_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let ledgers = Ledgers::new(1000);
    let mut store = store::open(&settings, true).unwrap();
    for number in 0..300u64 {
        add(&ledgers, &format!("user-{number}"), number);
    }
    let mut gone = Vec::new();
    write(
        store.as_mut(),
        &ledgers,
        ledgers.take_changed(),
        &mut gone,
        &Reports::new(),
    )
    .unwrap();
    assert!(matches!(
        store::open(&settings, true),
        Err(StoreError::Locked)
    ));
    drop(store);
    // Where there is no room, the rest stays in the store.
    let few = Ledgers::new(100);
    let mut store = store::open(&settings, false).unwrap();
    load(store.as_mut(), &few, Loaded::Added, now()).unwrap();
    assert_eq!(few.len(), 100);
    // What was counted before is added, what is there already knows better.
    let some = Ledgers::new(1000);
    add(&some, "user-7", 10);
    load(store.as_mut(), &some, Loaded::Added, now()).unwrap();
    assert_eq!(used(&some, "user-7"), 17);
    assert_eq!(some.len(), 300);
    load(store.as_mut(), &some, Loaded::IfUnknown, now()).unwrap();
    assert_eq!(used(&some, "user-7"), 17);
    // A month later there is nothing to remember.
    let later = Ledgers::new(1000);
    load(store.as_mut(), &later, Loaded::Added, now() + 32 * 86_400).unwrap();
    assert_eq!(later.len(), 0);
}

#[test]
fn the_next_process_goes_on_where_this_one_ends() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    for round in 1..=3 {
        let balances = started(&settings);
        add(balances.ledgers(), "alice", 100);
        balances.stop();
        assert_eq!(stored(&settings, "alice"), round * 100);
        assert!(!socket_path(settings.path()).exists());
    }
}

#[test]
fn the_one_that_drains_reports_and_both_know_the_sum() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let old = started(&settings);
    add(old.ledgers(), "alice", 100);
    let new = Balances::new(Some(settings.clone()), telemetry());
    new.start(true).unwrap();
    old.hand_over();
    let begun = Instant::now();
    while used(new.ledgers(), "alice") < 100 {
        assert!(begun.elapsed() < DEADLINE);
        std::thread::yield_now();
    }
    add(new.ledgers(), "alice", 7);
    add(old.ledgers(), "alice", 20);
    add(old.ledgers(), "bob", 1);
    // Each second, and at the end.
    while used(new.ledgers(), "alice") < 127 || used(old.ledgers(), "alice") < 127 {
        assert!(begun.elapsed() < DEADLINE);
        std::thread::yield_now();
    }
    add(old.ledgers(), "alice", 3);
    old.stop();
    assert_eq!(used(new.ledgers(), "alice"), 130);
    assert_eq!(used(new.ledgers(), "bob"), 1);
    new.stop();
    assert_eq!(stored(&settings, "alice"), 130);
}

#[test]
fn a_report_that_is_repeated_counts_once() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let ledgers = Ledgers::new(1000);
    drop(store::open(&settings, true).unwrap());
    add(&ledgers, "alice", 50);
    let mut reporter = Reporter::new(settings.clone());
    let report = reporter.first(&ledgers);
    for _ in 0..3 {
        // Each time another process owns the store, and no answer comes.
        let mut owner = Offline::open(&settings).unwrap();
        report.apply(&owner.ledgers, &mut owner.reports);
        owner.save().unwrap();
    }
    assert_eq!(stored(&settings, "alice"), 50);
    // At the end there is no owner: it writes itself, and nothing twice.
    add(&ledgers, "alice", 5);
    reporter.finish(&ledgers).unwrap();
    assert_eq!(stored(&settings, "alice"), 55);
}

#[test]
fn a_change_is_made_in_the_process_and_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let balances = started(&settings);
    add(balances.ledgers(), "alice", 70);
    add(balances.ledgers(), "bob", 80);
    let of = |user: &str| Filter {
        user: Some(user.to_owned()),
        ..Filter::default()
    };
    let mut rows = Vec::new();
    let socket = socket_path(settings.path());
    ask(&socket, &Request::List(of("bob")), |answer| {
        rows.push(answer);
    })
    .unwrap();
    assert!(
        matches!(rows.as_slice(), [Answer::Row(row), Answer::End] if row.used == 80),
        "{rows:?}"
    );
    let mut done = Vec::new();
    let change = Request::Change(Change::Reset(of("alice")));
    ask(&socket, &change, |answer| done.push(answer)).unwrap();
    assert!(
        matches!(
            done.as_slice(),
            [Answer::Done(Done {
                changed: 1,
                saved: true
            })]
        ),
        "{done:?}"
    );
    assert_eq!(used(balances.ledgers(), "alice"), 0);
    balances.stop();
    assert_eq!(stored(&settings, "alice"), 0);
    let mut offline = Offline::open(&settings).unwrap();
    let done = offline.change(&Change::Reset(of("bob")), None).unwrap();
    assert_eq!(done.changed, 1);
    drop(offline);
    assert_eq!(stored(&settings, "bob"), 0);
    assert!(matches!(
        ask(&socket, &Request::List(Filter::default()), drop),
        Err(LinkError::NoOwner)
    ));
}

#[test]
fn what_is_no_request_is_refused() {
    use std::io::{Read as _, Write as _};
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let balances = started(&settings);
    for bytes in [
        &b"\n"[..],
        b"{}\n",
        b"[1,2\n",
        b"{\"list\":1}\n",
        &[0xff; 2000],
    ] {
        let mut stream =
            std::os::unix::net::UnixStream::connect(socket_path(settings.path())).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // Closed, or reset since not all was read.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{answer:?}");
    }
    add(balances.ledgers(), "alice", 1);
    balances.stop();
    assert_eq!(stored(&settings, "alice"), 1);
}

/// A store of which a part cannot be read counts not at all, so that nothing counts twice when it is whole again.
#[test]
fn a_part_of_a_store_does_not_count() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let ledgers = Ledgers::new(1000);
    add(&ledgers, "alice", 40);
    let mut store = store::open(&settings, true).unwrap();
    write(
        store.as_mut(),
        &ledgers,
        ledgers.take_changed(),
        &mut Vec::new(),
        &Reports::new(),
    )
    .unwrap();
    drop(store);
    let database = redb::Database::open(settings.path()).unwrap();
    let set = |value: &[u8]| {
        let table = redb::TableDefinition::<(&str, &str), &[u8]>::new("balances");
        let write = database.begin_write().unwrap();
        write
            .open_table(table)
            .unwrap()
            .insert(("c", "user:zoe"), value)
            .unwrap();
        write.commit().unwrap();
    };
    set(b"another form");
    drop(database);
    let again = Ledgers::new(1000);
    let mut store = store::open(&settings, false).unwrap();
    let read = load(store.as_mut(), &again, Loaded::Added, now());
    assert!(matches!(read, Err(StoreError::Damaged(_))));
    assert_eq!(again.len(), 0);
}
