//! Requests that wait for their turn of a rate.

use super::super::class::{MAX_IN_ALL, MAX_OF_MEMBER};
use super::*;

fn with(limits: ClassLimits) -> Classes {
    classes(vec![ClassRule {
        limits,
        ..class("all")
    }])
}

/// How long a request waits, in seconds, with what it has.
fn wait(got: Result<Ticket, Exceeded>) -> (Ticket, Option<(Turn, u64)>) {
    let mut ticket = got.unwrap();
    let turn = ticket.take_turn().map(|turn| {
        let left = turn.comes().saturating_duration_since(Instant::now());
        // It is a little less than whole seconds by now.
        let seconds = left.as_secs_f64().ceil() as u64;
        (turn, seconds)
    });
    (ticket, turn)
}

#[test]
fn turns_come_one_after_another_and_no_later_than_the_queue_lasts() {
    let classes = with(ClassLimits {
        requests: pace("6/m", 2),
        queue: Duration::from_secs(30),
        concurrent_requests: Some(5),
        ..ClassLimits::default()
    });
    let mut held = Vec::new();
    for expected in [None, None, Some(10), Some(20), Some(30)] {
        let (ticket, turn) = wait(ask(&classes, "ann", URL));
        assert_eq!(turn.as_ref().map(|(_, seconds)| *seconds), expected);
        held.push((ticket, turn));
    }
    // What waits has its place: there is none for a sixth, whose turn would come.
    assert_eq!(over(ask(&classes, "ann", URL)), "concurrent_requests");
    let tally = classes.iter().next().unwrap().tally();
    assert_eq!((tally.queued(), tally.waiting()), (3, 3));
    // One that goes has used its turn.
    drop(held.pop());
    assert_eq!(tally.waiting(), 2);
    assert_eq!(over(ask(&classes, "ann", URL)), "requests");
    drop(held);
    assert_eq!((tally.waiting(), tally.requests()), (0, 0));
    // Another member does not wait.
    assert!(wait(ask(&classes, "bob", URL)).1.is_none());
}

/// The later turn of two rates counts, and one that is refused by the other rate takes nothing.
#[test]
fn a_tunnel_waits_for_both_rates() {
    let classes = with(ClassLimits {
        requests: pace("6/m", 2),
        new_tunnels: pace("3/m", 1),
        queue: Duration::from_secs(45),
        ..ClassLimits::default()
    });
    assert!(wait(ask(&classes, "ann", TUNNEL)).1.is_none());
    let (_, turn) = wait(ask(&classes, "ann", TUNNEL));
    assert_eq!(turn.unwrap().1, 20);
    for expected in [10, 20, 30, 40] {
        let (_, turn) = wait(ask(&classes, "ann", URL));
        assert_eq!(turn.unwrap().1, expected);
    }
    for _ in 0..3 {
        assert_eq!(over(ask(&classes, "ann", TUNNEL)), "requests");
    }
    let class = classes.iter().next().unwrap();
    let who = Client::of_user("ann");
    let member = class.members.get(
        |_| who,
        |_| quota::Member::Others,
        Per::User,
        class.limits(),
        Elapsed::now(),
    );
    let limits = class.limits();
    let due = member.new_tunnels.take_within(
        limits.new_tunnels.as_ref().unwrap(),
        Elapsed::now(),
        Duration::from_secs(45),
    );
    // The third tunnel, not the sixth.
    assert_eq!(due.unwrap().wait.as_secs_f64().ceil() as u64, 40);
}

#[test]
fn what_waits_is_limited_for_each_member_and_in_all() {
    let rule = |name: &str, user: &str| ClassRule {
        users: names(&[user]),
        limits: ClassLimits {
            requests: pace("100/s", 1),
            queue: MAX_QUEUE,
            ..ClassLimits::default()
        },
        ..class(name)
    };
    let users: Vec<String> = (0..12).map(|number| format!("u{number}")).collect();
    let rules = users.iter().map(|user| rule(user, user));
    let classes = classes(rules.collect());
    let mut held = Vec::new();
    // A burst of one, and those that wait. Time passes meanwhile.
    while let Ok(ticket) = ask(&classes, "u0", URL) {
        held.push(ticket);
        assert!(held.len() < 3000);
    }
    let waiting = |class: &str| classes.by_name(class).unwrap().tally().waiting();
    let first = waiting("u0");
    assert!(first >= u64::from(MAX_OF_MEMBER), "{first}");
    for user in &users {
        while let Ok(ticket) = ask(&classes, user, URL) {
            held.push(ticket);
        }
    }
    let sum: u64 = users.iter().map(|user| waiting(user)).sum();
    assert_eq!(sum, u64::from(MAX_IN_ALL));
    // A reload does not forget them.
    let next = self::classes(vec![rule("new", "u11")]).succeeding(&classes);
    assert!(ask(&next, "u11", URL).is_ok());
    assert_eq!(over(ask(&next, "u11", URL)), "requests");
    drop(held);
    drop(ask(&next, "u11", URL).unwrap());
}

#[test]
fn a_request_that_does_not_wait_allocates_nothing() {
    let classes = with(ClassLimits {
        requests: pace("1000000/s", 1_000_000),
        queue: Duration::from_secs(1),
        ..ClassLimits::default()
    });
    let scenario = scenario("ann", URL);
    drop(admit(&classes, &scenario.request(), false).unwrap());
    let counted = measure(|| {
        assert!(admit(&classes, &scenario.request(), false).unwrap().is_ok());
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}
