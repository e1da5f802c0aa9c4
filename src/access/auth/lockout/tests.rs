//! Failures in all orders: what locks, for how long, and what never does.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

fn settings() -> LockoutSettings {
    LockoutSettings {
        failures: 5,
        network_failures: 50,
        window: 60 * SECOND,
        first: SECOND,
        factor: 2,
        max: 900 * SECOND,
        entries: 65_536,
    }
}

fn lockout(settings: LockoutSettings) -> Lockout {
    Lockout::new(settings).unwrap()
}

/// The login of a user with a password.
fn login(lockout: &Lockout, user: &str, password: &str, client: IpAddr) -> Login {
    let credentials = blake3::hash(format!("{user}:{password}").as_bytes());
    lockout.make(client, user, credentials.as_bytes(), 0)
}

fn locked(seconds: u32) -> Standing {
    Standing::Locked {
        left: SECOND * seconds,
    }
}

/// Has so many logins of a user fail, each with another password.
fn fail(lockout: &Lockout, user: &str, times: u32, now: Instant) -> Begun {
    let fail = |number| {
        let login = login(lockout, user, &format!("wrong-{number}"), HERE);
        lockout.failed(&login, now)
    };
    (0..times).map(fail).fold(Begun::default(), |_, last| last)
}

/// Two requests at once: one has looked at the clock, and the failure of the other one counts before it looks at the table.
#[test]
fn a_failure_of_a_moment_later_is_no_lock() {
    let lockout = lockout(settings());
    let now = Instant::now();
    fail(&lockout, "alice", 1, now + SECOND);
    let alice = login(&lockout, "alice", "right", HERE);
    assert_eq!(lockout.standing(&alice, now), Standing::Open { left: 4 });
    let bob = login(&lockout, "bob", "right", HERE);
    assert_eq!(lockout.standing(&bob, now), Standing::Open { left: 5 });
}

#[test]
fn the_last_failure_of_a_pair_locks_it_and_nothing_else() {
    let lockout = lockout(settings());
    let now = Instant::now();
    let alice = login(&lockout, "alice", "right", HERE);
    for failures in 1..5 {
        let wrong = login(&lockout, "alice", &failures.to_string(), HERE);
        assert_eq!(lockout.failed(&wrong, now), Begun::default());
        let left = 5 - failures;
        assert_eq!(lockout.standing(&alice, now), Standing::Open { left });
    }
    let begun = fail(&lockout, "alice", 1, now);
    let lock = Lock {
        failures: 5,
        delay: SECOND,
    };
    assert_eq!((begun.user, begun.network), (Some(lock), None));
    assert_eq!(lockout.standing(&alice, now), locked(1));
    // The same user elsewhere, and others here.
    let elsewhere = login(&lockout, "alice", "right", THERE);
    let other = login(&lockout, "bob", "right", HERE);
    for open in [elsewhere, other] {
        assert_eq!(lockout.standing(&open, now), Standing::Open { left: 5 });
    }
    // After the lock, one at a time.
    let after = now + SECOND;
    assert_eq!(lockout.standing(&alice, after), Standing::Open { left: 1 });
    lockout.succeeded(&alice);
    assert_eq!(lockout.standing(&alice, after), Standing::Open { left: 5 });
}

#[test]
fn locks_double_to_the_longest() {
    let lockout = lockout(settings());
    let mut now = Instant::now();
    fail(&lockout, "alice", 4, now);
    let mut delays = Vec::new();
    for number in 4..16 {
        let wrong = login(&lockout, "alice", &format!("wrong-{number}"), HERE);
        let lock = lockout.failed(&wrong, now).user.unwrap();
        assert_eq!(lock.failures, number + 1);
        delays.push(lock.delay.as_secs());
        now += lock.delay;
    }
    let expected = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900];
    assert_eq!(delays, expected);
    // Only a whole window behind the last lock is all forgotten.
    let alice = login(&lockout, "alice", "right", HERE);
    let almost = now + 59 * SECOND;
    assert_eq!(lockout.standing(&alice, almost), Standing::Open { left: 1 });
    let forgotten = now + 60 * SECOND;
    assert_eq!(
        lockout.standing(&alice, forgotten),
        Standing::Open { left: 5 }
    );
}

#[test]
fn the_longest_lock_is_reached_without_counting_to_it() {
    let scale = |factor, max| Scale {
        limit: 1,
        window: SECOND,
        first: SECOND,
        factor,
        max,
    };
    assert_eq!(scale(1, 9 * SECOND).delay(u32::MAX), Some(SECOND));
    assert_eq!(scale(3, 8 * SECOND).delay(3), Some(8 * SECOND));
    assert_eq!(scale(100, Duration::MAX).delay(99), Some(Duration::MAX));
    assert_eq!(scale(2, SECOND).delay(0), None);
}

#[test]
fn failures_count_within_the_window_of_the_first() {
    let lockout = lockout(settings());
    let now = Instant::now();
    fail(&lockout, "alice", 4, now);
    let late = now + 60 * SECOND;
    assert_eq!(fail(&lockout, "alice", 4, late), Begun::default());
    let fifth = login(&lockout, "alice", "fifth", HERE);
    assert!(lockout.failed(&fifth, late + 59 * SECOND).user.is_some());
}

#[test]
fn the_same_wrong_credentials_count_once() {
    let lockout = lockout(settings());
    let now = Instant::now();
    let stale = login(&lockout, "alice", "stale", HERE);
    for _ in 0..1_000 {
        assert_eq!(lockout.failed(&stale, now), Begun::default());
        assert_eq!(lockout.standing(&stale, now), Standing::KnownWrong);
    }
    let alice = login(&lockout, "alice", "right", HERE);
    assert_eq!(lockout.standing(&alice, now), Standing::Open { left: 4 });
    // Nor does the network have more than one.
    for number in 0..48 {
        let other = login(&lockout, &format!("user-{number}"), "wrong", HERE);
        assert_eq!(lockout.failed(&other, now).network, None);
    }
    let other = login(&lockout, "last", "wrong", HERE);
    assert!(lockout.failed(&other, now).network.is_some());
}

// Two devices with an old password each, in turn.
#[test]
fn several_wrong_credentials_that_are_repeated_count_once_each() {
    let lockout = lockout(settings());
    let now = Instant::now();
    for round in 0..100 {
        for device in 0..4 {
            let stale = login(&lockout, "alice", &format!("stale-{device}"), HERE);
            let known = lockout.standing(&stale, now) == Standing::KnownWrong;
            assert_eq!(known, round > 0, "device {device} in round {round}");
            assert_eq!(lockout.failed(&stale, now), Begun::default());
        }
    }
    let alice = login(&lockout, "alice", "right", HERE);
    assert_eq!(lockout.standing(&alice, now), Standing::Open { left: 1 });
}

#[test]
fn nothing_counts_while_a_lock_lasts() {
    let lockout = lockout(settings());
    let now = Instant::now();
    fail(&lockout, "alice", 5, now);
    for number in 0..100 {
        let wrong = login(&lockout, "alice", &format!("more-{number}"), HERE);
        assert_eq!(lockout.failed(&wrong, now), Begun::default());
    }
    let alice = login(&lockout, "alice", "right", HERE);
    assert_eq!(lockout.standing(&alice, now), locked(1));
    let next = lockout.failed(&alice, now + SECOND).user.unwrap();
    assert_eq!((next.failures, next.delay), (6, 2 * SECOND));
}

#[test]
fn a_network_is_locked_for_all_its_users_and_a_success_does_not_help() {
    let lockout = lockout(settings());
    let now = Instant::now();
    let mut begun = Begun::default();
    for number in 0..50 {
        let user = format!("user-{number}");
        begun = lockout.failed(&login(&lockout, &user, "wrong", HERE), now);
        let own = login(&lockout, "own account", "right", HERE);
        lockout.succeeded(&own);
    }
    let lock = Lock {
        failures: 50,
        delay: SECOND,
    };
    assert_eq!((begun.user, begun.network), (None, Some(lock)));
    let bob = login(&lockout, "bob", "right", HERE);
    assert_eq!(lockout.standing(&bob, now), locked(1));
    let elsewhere = login(&lockout, "bob", "right", THERE);
    let open = Standing::Open { left: 5 };
    assert_eq!(lockout.standing(&elsewhere, now), open);
    assert_eq!(lockout.standing(&bob, now + SECOND), open);
}

#[test]
fn a_network_of_ipv6_is_one() {
    let lockout = lockout(settings());
    let now = Instant::now();
    let at = |host: u64, user: &str| {
        let client = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(host));
        login(&lockout, user, "wrong", client.into())
    };
    assert_eq!(at(1, "alice").pair, at(u64::MAX, "alice").pair);
    for number in 0..50 {
        lockout.failed(&at(number, &format!("user-{number}")), now);
    }
    assert_eq!(lockout.standing(&at(99, "alice"), now), locked(1));
}

#[test]
fn a_new_hash_makes_the_result_unknown() {
    let lockout = lockout(settings());
    let now = Instant::now();
    let with = |hash| lockout.make(HERE, "alice", &[1; 32], hash);
    lockout.failed(&with(1), now);
    assert_eq!(lockout.standing(&with(1), now), Standing::KnownWrong);
    assert_eq!(lockout.standing(&with(2), now), Standing::Open { left: 4 });
}

#[test]
fn what_is_under_way_counts() {
    let lockout = lockout(settings());
    let now = Instant::now();
    let guess = |number: u32| login(&lockout, "alice", &number.to_string(), HERE);
    fail(&lockout, "alice", 1, now);
    let Standing::Open { left } = lockout.standing(&guess(0), now) else {
        panic!("not open");
    };
    assert_eq!(left, 4);
    // A thousand guesses at once.
    let begun: Vec<UnderWay> = (0..1_000)
        .filter_map(|number| lockout.begin(&guess(number), left))
        .collect();
    assert_eq!(begun.len(), 4);
    // The same credentials take no further place, and other pairs have their own.
    let same = lockout.begin(&guess(0), left);
    assert!(same.is_some());
    let other = lockout.begin(&login(&lockout, "alice", "1", THERE), left);
    assert!(other.is_some());
    // A reload does not give places back.
    let reloaded = lockout.succeeded_by(settings(), now);
    assert!(reloaded.begin(&guess(2_000), left).is_none());
    drop(begun);
    assert!(lockout.begin(&guess(0), 1).is_some(), "still the same one");
    assert!(lockout.begin(&guess(1), 1).is_none());
    drop((same, other));
    assert!(lockout.begin(&guess(1), 0).is_some(), "one at least");
    assert_eq!(lockout.under_way.len(), 0);
}

// The attack on the tables themselves: a million names from one network, and a million networks.
#[test]
fn a_million_names_and_networks_take_the_configured_memory() {
    let lockout = lockout(settings());
    let now = Instant::now();
    let locks = |seconds| now + SECOND * seconds;
    // The entries that the attack would like to have forgotten.
    fail(&lockout, "victim", 5, now);
    for number in 0..50 {
        lockout.failed(
            &login(&lockout, &format!("first-{number}"), "wrong", HERE),
            now,
        );
    }
    let victim = login(&lockout, "victim", "right", HERE);
    assert_eq!(lockout.standing(&victim, now), locked(1));
    let began = Instant::now();
    for number in 0..1_000_000_u64 {
        let name = format!("name-{number}");
        lockout.failed(&login(&lockout, &name, "wrong", HERE), locks(2));
    }
    // The network's entry is there, and it counted: one failure locked it again.
    let left = match lockout.standing(&victim, locks(2)) {
        Standing::Locked { left } => left,
        other => panic!("{other:?}"),
    };
    assert!(left >= 2 * SECOND, "{left:?}");
    for number in 0..1_000_000_u64 {
        let network = Ipv6Addr::from_bits(u128::from(number) << 64);
        let login = login(&lockout, "victim", "wrong", network.into());
        lockout.failed(&login, now);
    }
    let took = began.elapsed();
    assert!(took < 60 * SECOND, "{took:?}");
    for table in [&lockout.tables.pairs, &lockout.tables.networks] {
        assert!(table.len() <= 65_536, "{}", table.len());
        assert!(table.memory() <= 65_536 * 96 + 65_536 / 8 * 32);
    }
}

#[test]
fn an_entry_that_counts_more_outlives_those_that_count_less() {
    // One bucket.
    let lockout = lockout(LockoutSettings {
        entries: 8,
        ..settings()
    });
    let now = Instant::now();
    fail(&lockout, "victim", 5, now);
    for number in 0..100 {
        let name = format!("name-{number}");
        lockout.failed(&login(&lockout, &name, "wrong", HERE), now);
    }
    let victim = login(&lockout, "victim", "right", THERE);
    assert_eq!(lockout.standing(&victim, now), Standing::Open { left: 5 });
    // Its lock has ended, and its failures still count.
    let later = now + 3 * SECOND;
    let here = login(&lockout, "victim", "again", HERE);
    assert_eq!(lockout.failed(&here, later).user.unwrap().failures, 6);
    assert_eq!(lockout.tables.pairs.len(), 8);
}

#[test]
fn other_settings_keep_the_failures() {
    let now = Instant::now();
    for entries in [65_536, 100] {
        let lockout = lockout(settings());
        fail(&lockout, "alice", 4, now);
        let next = LockoutSettings {
            failures: 6,
            entries,
            ..settings()
        };
        let lockout = lockout.succeeded_by(next, now);
        let alice = login(&lockout, "alice", "right", HERE);
        assert_eq!(lockout.standing(&alice, now), Standing::Open { left: 2 });
    }
    // To a smaller table go those that count most.
    let lockout = lockout(settings());
    fail(&lockout, "alice", 5, now);
    for number in 0..1_000 {
        let name = format!("name-{number}");
        let elsewhere = login(&lockout, &name, "wrong", THERE);
        lockout.failed(&elsewhere, now);
    }
    let lockout = lockout.succeeded_by(
        LockoutSettings {
            entries: 8,
            ..settings()
        },
        now,
    );
    let alice = login(&lockout, "alice", "right", HERE);
    assert_eq!(lockout.standing(&alice, now), locked(1));
    assert_eq!(lockout.tables.pairs.len(), 8);
}

proptest! {
    /// Whatever others do, a user is not locked by another network, and no lock is longer than the longest.
    #[test]
    fn another_network_locks_no_one(
        steps in prop::collection::vec((0_u8..4, 0_u8..8, 0_u64..100, any::<bool>()), 0..300),
    ) {
        let lockout = lockout(LockoutSettings { network_failures: 10, ..settings() });
        let mut now = Instant::now();
        let alice = login(&lockout, "alice", "right", HERE);
        for (user, password, millis, succeeds) in steps {
            now += Duration::from_millis(millis);
            let user = ["alice", "bob", "carol", "dave"][usize::from(user)];
            let there = login(&lockout, user, &password.to_string(), THERE);
            if let Standing::Locked { left } = lockout.standing(&there, now) {
                prop_assert!(left <= settings().max);
            }
            match succeeds {
                true => lockout.succeeded(&there),
                false => drop(lockout.failed(&there, now)),
            }
            prop_assert_eq!(lockout.standing(&alice, now), Standing::Open { left: 5 });
        }
    }

    /// However its guesses are spread in time, a client that waits for each lock has so many hashes: the first five, and then
    /// one for each lock, which get longer.
    #[test]
    fn guesses_are_as_few_as_the_locks_say(gaps in prop::collection::vec(0_u64..3_000, 1..400)) {
        let lockout = lockout(settings());
        let start = Instant::now();
        let mut now = start;
        let mut hashes = 0_u32;
        for (number, gap) in gaps.into_iter().enumerate() {
            now += Duration::from_millis(gap);
            let guess = login(&lockout, "alice", &number.to_string(), HERE);
            if let Standing::Open { .. } = lockout.standing(&guess, now) {
                hashes += 1;
                lockout.failed(&guess, now);
            }
        }
        let seconds = (now - start).as_secs();
        // In each window at most five, and with them a lock: the sum of n locks is 2^n - 1 seconds.
        let windows = u32::try_from(seconds / 60).unwrap() + 1;
        let locks = 64 - (seconds + 1).leading_zeros();
        prop_assert!(hashes <= 5 * windows + locks, "{hashes} in {seconds} s");
    }
}
