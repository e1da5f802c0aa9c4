//! How long the lock of a part is held.

use super::*;
use crate::access::limits::fleet::Fleet;
use crate::access::limits::tests::processor_time;
use crate::access::limits::{Pace, Rate};
use crate::access::policy::Name;

/// All parts of a table that a million users have filled: none is held for a millisecond, neither while a member enters nor
/// while a full part makes room. Processor time, and the middle of the parts, since other programs run as well; without
/// optimisation it takes several times as long.
#[test]
fn a_full_part_makes_room_in_less_than_a_millisecond() {
    let limits = ClassLimits {
        requests: Some(Pace::new(Rate::parse("1000/s").unwrap(), Some(1))),
        ..ClassLimits::default()
    };
    let class = Arc::new(SharedClass {
        fleet: Arc::new(Fleet::new()),
        name: Name::parse_any("all").unwrap(),
        limits,
    });
    let now = Elapsed::now();
    let member = |number: usize| {
        let who = Who::User(format!("user-{number}").into());
        let share = Some(Box::new(Share::new(&class, who)));
        Arc::new(Member::new(&limits, now, share))
    };
    let mut entering = Vec::new();
    let mut parts: Vec<Shard> = (0..SHARDS).map(|_| Shard::default()).collect();
    for number in 0..SHARDS * MAX_IN_SHARD {
        let client = Client::of_user(&format!("user-{number}"));
        let member = member(number);
        let begun = processor_time();
        // The clients of a part of its own would not do: they are hashed anew in each process.
        parts[number % SHARDS].members.insert(client, member);
        entering.push(processor_time() - begun);
    }
    let later = now.after(Duration::from_secs(1));
    let mut making_room = Vec::new();
    let mut gone = Vec::new();
    for part in &mut parts {
        assert_eq!(part.members.len(), MAX_IN_SHARD);
        let begun = processor_time();
        let found = part.make_room(&limits, later);
        making_room.push(processor_time() - begun);
        assert_eq!(found.len(), MAX_IN_SHARD);
        gone.extend(found);
        assert!(part.members.is_empty());
    }
    entering.sort_unstable();
    making_room.sort_unstable();
    let slowest_entering = entering[entering.len() - SHARDS];
    let middle = making_room[SHARDS / 2];
    let most = Duration::from_micros(if cfg!(debug_assertions) { 4000 } else { 500 });
    assert!(slowest_entering < most, "{slowest_entering:?}");
    assert!(middle < most, "{middle:?}");
}

/// A part that is searched in vain is left alone for a moment.
#[test]
fn a_part_is_not_searched_at_once_again() {
    let limits = ClassLimits::default();
    let now = Elapsed::now();
    let mut part = Shard::default();
    for number in 0..MAX_IN_SHARD {
        let client = Client::of_user(&format!("user-{number}"));
        let member = Arc::new(Member::new(&limits, now, None));
        part.members.insert(client, member);
    }
    let used: Vec<_> = part.members.values().map(Arc::clone).collect();
    assert!(part.make_room(&limits, now).is_empty());
    drop(used);
    assert!(
        part.make_room(&limits, now.after(SEARCH_PAUSE / 2))
            .is_empty()
    );
    assert_eq!(
        part.make_room(&limits, now.after(SEARCH_PAUSE)).len(),
        MAX_IN_SHARD
    );
}
