use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::oneshot;

use super::line::REACH;
use super::origins::{MAPS, MAX_IDLE, SWEEP_AT};
use super::places::Places;
use super::*;
use crate::http::error::ErrorKind;

const LIMIT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(10);

fn address(host: u32) -> std::net::SocketAddr {
    std::net::SocketAddr::from((std::net::Ipv4Addr::from(host), 80))
}

fn capacity(permits: usize, threads: usize) -> Capacity {
    Capacity {
        permits,
        threads,
        keep_alive: LONG,
    }
}

fn slots(slots: usize, threads: usize) -> Limit {
    Limit::new(address(1), capacity(slots, threads))
}

/// The one client of most tests.
fn one() -> Client {
    client(1)
}

fn client(number: u8) -> Client {
    Client::site([127, 0, 0, number].into())
}

async fn wait(limit: &Limit, thread: u16, time: Duration) -> Option<Permit> {
    wait_as(limit, thread, one(), time, &AtomicBool::new(false)).await
}

/// Waits as `client` does, which has ended its side or not.
async fn wait_as(
    limit: &Limit,
    thread: u16,
    client: Client,
    time: Duration,
    has_ended: &AtomicBool,
) -> Option<Permit> {
    let when_full = WhenFull {
        wait: time,
        error: ErrorKind::OriginBusy,
        counted_in: None,
    };
    let presence = Presence {
        gone: pin!(std::future::pending()),
        has_ended,
    };
    let queue = limit.queue(thread, client, &when_full);
    queue.wait(presence).await.ok()
}

#[tokio::test]
async fn over_the_bound_one_waits_for_a_slot() {
    for threads in 1..4 {
        let slots = slots(2, threads);
        let first = slots.try_take(0, one()).unwrap();
        let second = wait(&slots, 0, LIMIT).await.unwrap();
        assert_eq!(second.server, address(1).into());
        assert!(slots.try_take(0, one()).is_none());
        assert!(wait(&slots, 1, LIMIT).await.is_none(), "none came free");
        let (slot, ()) = tokio::join!(wait(&slots, 1, LONG), async { drop(first) });
        assert!(slot.is_some());
    }
}

/// A slot that was given to one who left in the same moment must not be lost.
#[tokio::test]
async fn a_slot_that_nobody_took_goes_to_the_next() {
    let slots = slots(1, 2);
    let only = slots.try_take(0, one()).unwrap();
    let mut left = Box::pin(wait(&slots, 0, LONG));
    let mut stays = Box::pin(wait(&slots, 1, LONG));
    assert!(poll_once(left.as_mut()).is_none());
    assert!(poll_once(stays.as_mut()).is_none());
    drop(only);
    drop(left);
    assert!(poll_once(stays.as_mut()).unwrap().is_some());
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

#[test]
fn a_thread_uses_an_idle_connection_of_another_before_it_opens_one() {
    let slots = slots(8, 2);
    let first = slots.try_take(0, one()).unwrap();
    assert_eq!(first.shard, 0);
    // That one is in use.
    let second = slots.try_take(1, one()).unwrap();
    assert_eq!(second.shard, 1);
    drop((first, second));
    // Each has an idle one of its own.
    let (own, also) = (
        slots.try_take(1, one()).unwrap(),
        slots.try_take(0, one()).unwrap(),
    );
    assert_eq!((own.shard, also.shard), (1, 0));
    drop(also);
    // Its own is in use, the other's is not.
    assert_eq!(slots.try_take(1, one()).unwrap().shard, 0);
}

#[test]
fn a_thread_that_is_far_behind_opens_its_own() {
    let slots = slots(16, 2);
    let taken: Vec<Permit> = (0..4).map(|_| slots.try_take(0, one()).unwrap()).collect();
    drop(taken);
    let mut shards = Vec::new();
    let mut kept = Vec::new();
    for _ in 0..4 {
        let slot = slots.try_take(1, one()).unwrap();
        shards.push(slot.shard);
        kept.push(slot);
    }
    assert_eq!(shards, [1, 1, 1, 0], "until it has about as many");
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_closed_by_now_are_not_looked_for() {
    let slots = slots(8, 2);
    tokio::time::advance(2 * LONG).await;
    drop(slots.try_take(0, one()).unwrap());
    tokio::time::advance(LONG).await;
    let slot = slots.try_take(1, one()).unwrap();
    assert_eq!(slot.shard, 0, "it may be open for just as long");
    drop(slot);
    tokio::time::advance(LONG + Duration::from_millis(1)).await;
    assert_eq!(slots.try_take(1, one()).unwrap().shard, 1);
}

/// Waits as one of `thread` does.
fn queue(places: &mut Places, thread: u16) -> (u64, oneshot::Receiver<u16>) {
    let (give, given) = oneshot::channel();
    (places.queue(thread, one(), give), given)
}

fn give(places: &mut Places, shard: u16) {
    let [given, none] = places.release(shard, one());
    let given = given.unwrap();
    given.give.send(given.shard).unwrap();
    assert!(none.is_none());
}

#[test]
fn the_first_is_passed_over_for_those_of_the_shard_but_not_for_ever() {
    let mut places = Places::new(capacity(2, 2));
    let taken = (places.take(0, one()), places.take(1, one()));
    assert_eq!(taken, (Some(0), Some(1)));
    let (ticket, mut first) = queue(&mut places, 1);
    let (_, mut second) = queue(&mut places, 1);
    let mut of_the_shard: VecDeque<_> = (0..3 * REACH).map(|_| queue(&mut places, 0).1).collect();
    let mut pass_over = |places: &mut Places| {
        for turn in 0..REACH {
            give(places, 0);
            let given = of_the_shard.pop_front().unwrap().try_recv();
            assert_eq!(given, Ok(0), "turn {turn}");
        }
    };
    pass_over(&mut places);
    // Had it stayed, it would be its turn; who comes after it has waited for less.
    places.leave(one(), ticket);
    assert!(first.try_recv().is_err());
    pass_over(&mut places);
    give(&mut places, 0);
    assert_eq!(second.try_recv(), Ok(0));
}

/// As many as it can take.
fn take_all(limit: &Limit, client: Client) -> Vec<Permit> {
    std::iter::from_fn(|| limit.try_take(0, client)).collect()
}

#[test]
fn one_client_leaves_a_quarter_to_the_others_and_those_leave_some_too() {
    for (permits, expected) in [(1, 1), (3, 3), (4, 3), (8, 6), (256, 192), (1024, 768)] {
        let limit = slots(permits, 2);
        let held = take_all(&limit, client(1));
        assert_eq!(held.len(), expected, "of {permits}");
        if permits < 4 {
            continue;
        }
        let second = take_all(&limit, client(2));
        assert!(!second.is_empty(), "of {permits}");
        // The last one is for a client that has none.
        let third = take_all(&limit, client(3));
        assert_eq!(third.is_empty(), permits < 16, "of {permits}");
        drop(second);
        assert!(limit.try_take(0, client(1)).is_none(), "not a second share");
        drop(held);
        assert!(limit.try_take(0, client(1)).is_some());
    }
}

#[tokio::test]
async fn clients_take_turns_in_the_queue() {
    let limit = slots(1, 1);
    let taken = limit.try_take(0, client(1)).unwrap();
    let no = AtomicBool::new(false);
    let by = |number: u8| {
        let (limit, no) = (&limit, &no);
        async move {
            let client = client(number);
            let permit = wait_as(limit, 0, client, LONG, no).await;
            assert!(permit.is_some());
            number
        }
    };
    let order = served([1, 1, 1, 2, 2, 3].into_iter().map(by), taken);
    assert_eq!(order, [1, 2, 3, 1, 2, 1]);
}

#[tokio::test]
async fn those_that_ended_their_side_come_after_those_that_are_there() {
    let limit = slots(1, 1);
    let taken = limit.try_take(0, one()).unwrap();
    let (there, ended) = (AtomicBool::new(false), AtomicBool::new(true));
    let by = |number: u8| {
        let limit = &limit;
        let has_ended = if number < 3 { &ended } else { &there };
        async move {
            assert!(wait_as(limit, 0, one(), LONG, has_ended).await.is_some());
            number
        }
    };
    let order = served([1, 2, 3, 4].into_iter().map(by), taken);
    assert_eq!(order, [3, 4, 1, 2]);
}

/// Has all enter the queue, gives `taken` back, and tells in which order they were served.
fn served(waiting: impl Iterator<Item = impl Future<Output = u8>>, taken: Permit) -> Vec<u8> {
    let mut waiting: Vec<_> = waiting.map(Box::pin).collect();
    let mut order = Vec::new();
    let mut taken = Some(taken);
    while !waiting.is_empty() {
        let before = waiting.len();
        waiting.retain_mut(|it| match poll_once(it.as_mut()) {
            Some(number) => {
                order.push(number);
                false
            }
            None => true,
        });
        assert!(
            waiting.len() < before || taken.take().is_some(),
            "no request is served"
        );
    }
    order
}

#[test]
fn fewer_slots_than_threads_are_shared_by_all() {
    let slots = slots(2, 8);
    let taken: Vec<Permit> = (0..2).map(|_| slots.try_take(7, one()).unwrap()).collect();
    assert_ne!(taken[0].shard, taken[1].shard);
    assert!(slots.try_take(3, one()).is_none());
}

#[test]
fn an_origin_has_the_same_slots_as_long_as_they_are_in_use() {
    for threads in [1, 3] {
        let origins = OriginLimits::new(capacity(1, threads), LONG);
        let slot = origins.of(address(1)).try_take(0, one()).unwrap();
        assert!(origins.of(address(2)).try_take(0, one()).is_some());
        // Many others come and go.
        for host in 3..20_000 {
            assert!(origins.of(address(host)).try_take(0, one()).is_some());
        }
        assert!(origins.of(address(1)).try_take(0, one()).is_none());
        drop(slot);
        assert!(origins.of(address(1)).try_take(0, one()).is_some());
        let (kept, idle) = (origins.kept(), if threads == 1 { 0 } else { MAX_IDLE });
        let most = MAPS * (SWEEP_AT.max(2 * idle) + 1);
        assert!(kept <= most, "{kept} origins are kept");
    }
}

#[test]
fn an_origin_with_an_idle_connection_is_kept() {
    let origins = OriginLimits::new(capacity(4, 2), LONG);
    for host in 0..4_000 {
        drop(origins.of(address(host)).try_take(1, one()));
    }
    // More than one sweep of each shard.
    for host in 0..4_000 {
        let shard = origins.of(address(host)).try_take(0, one()).unwrap().shard;
        assert_eq!(shard, 1, "origin {host}");
    }
}

/// What may happen to the permits of one server.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A request of this thread and client: takes one, or waits.
    Arrive(u16, u8),
    /// The nth that was given is given back.
    Release(usize),
    /// The nth that waits leaves.
    Leave(usize),
    /// The client of the nth that waits ends its side.
    End(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..5_u16, 0..4_u8).prop_map(|(thread, client)| Step::Arrive(thread, client)),
        4 => any::<usize>().prop_map(Step::Release),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => any::<usize>().prop_map(Step::End),
    ]
}

struct Waiter {
    client: u8,
    ticket: u64,
    given: oneshot::Receiver<u16>,
    has_ended: bool,
    /// How often another of its client was served since, and how often another client.
    passed: (usize, [usize; 4]),
}

proptest! {
    #[test]
    fn no_permit_is_lost_or_given_twice_and_none_that_waits_is_passed_over_for_long(
        permits in 1..17_usize,
        threads in 1..5_usize,
        steps in proptest::collection::vec(step(), 0..400),
    ) {
        let mut places = Places::new(capacity(permits, threads));
        let mut held: Vec<(u16, u8)> = Vec::new();
        let mut queue: Vec<Waiter> = Vec::new();
        for step in steps {
            match step {
                Step::Arrive(thread, by) => match places.take(thread, client(by)) {
                    Some(shard) => {
                        prop_assert!(queue.iter().all(|it| it.client != by), "overtaken");
                        held.push((shard, by));
                    }
                    None => {
                        let own = held.iter().filter(|it| it.1 == by).count();
                        let free = permits - held.len();
                        prop_assert!(free == 0 || (permits > 3 && own >= 3 * free), "{own} of {permits}, {free} free");
                        let (give, given) = oneshot::channel();
                        let ticket = places.queue(thread, client(by), give);
                        queue.push(Waiter { client: by, ticket, given, has_ended: false, passed: (0, [0; 4]) });
                    }
                },
                Step::Release(at) if !held.is_empty() => {
                    let (shard, by) = held.swap_remove(at % held.len());
                    for given in places.release(shard, client(by)).into_iter().flatten() {
                        given.give.send(given.shard).unwrap();
                        let at = queue.iter_mut().position(|it| it.given.try_recv().is_ok());
                        let next = queue.remove(at.expect("to one that waits"));
                        prop_assert_eq!(given.client, client(next.client));
                        let one_that_is_there = queue
                            .iter()
                            .find(|it| !it.has_ended && may_have(&held, permits, it.client));
                        prop_assert!(!next.has_ended || one_that_is_there.is_none());
                        for it in queue.iter_mut().filter(|it| it.has_ended == next.has_ended) {
                            if it.client == next.client {
                                it.passed.0 += usize::from(it.ticket < next.ticket);
                                it.passed.1 = [0; 4];
                            } else if may_have(&held, permits, it.client) {
                                it.passed.1[usize::from(next.client)] += 1;
                            }
                            prop_assert!(it.passed.1.iter().all(|passed| *passed < 2), "out of turn");
                        }
                        held.push((given.shard, next.client));
                    }
                }
                Step::Leave(at) if !queue.is_empty() => {
                    let gone = queue.remove(at % queue.len());
                    places.leave(client(gone.client), gone.ticket);
                }
                Step::End(at) if !queue.is_empty() => {
                    let at = at % queue.len();
                    let it = &mut queue[at];
                    places.put_last(client(it.client), it.ticket);
                    (it.has_ended, it.passed) = (true, (0, [0; 4]));
                }
                Step::Release(_) | Step::Leave(_) | Step::End(_) => {}
            }
            prop_assert!(held.len() <= permits);
            for it in &queue {
                prop_assert!(held.len() == permits || !may_have(&held, permits, it.client), "one waits for nothing");
                // Passed over by those within reach while it was not the first, then as the first.
                prop_assert!(it.passed.0 <= 2 * REACH, "passed over {} times", it.passed.0);
            }
            for shard in 0..threads {
                let used = held.iter().filter(|it| usize::from(it.0) == shard).count();
                prop_assert!(used <= permits.div_ceil(threads.min(permits)));
            }
        }
    }
}

/// The rule of shares in other words.
fn may_have(held: &[(u16, u8)], permits: usize, by: u8) -> bool {
    let own = held.iter().filter(|it| it.1 == by).count();
    let free = permits - held.len();
    free > 0 && (permits < 4 || own == 0 || own < 3 * free)
}
