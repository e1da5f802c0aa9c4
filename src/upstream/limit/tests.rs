use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::oneshot;

use super::origins::{MAPS, MAX_IDLE, SWEEP_AT};
use super::shards::{REACH, Shards};
use super::*;

const LIMIT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(10);

fn address(host: u32) -> SocketAddr {
    SocketAddr::from((std::net::Ipv4Addr::from(host), 80))
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

#[tokio::test]
async fn over_the_bound_one_waits_for_a_slot() {
    for threads in 1..4 {
        let slots = slots(2, threads);
        let first = slots.try_take(0).unwrap();
        let second = slots.wait(0, LIMIT).await.unwrap();
        assert_eq!(second.address, address(1));
        assert!(slots.try_take(0).is_none());
        assert!(slots.wait(1, LIMIT).await.is_none(), "none came free");
        let (slot, ()) = tokio::join!(slots.wait(1, LONG), async { drop(first) });
        assert!(slot.is_some());
    }
}

/// A slot that was given to one who left in the same moment must not be lost.
#[tokio::test]
async fn a_slot_that_nobody_took_goes_to_the_next() {
    let slots = slots(1, 2);
    let only = slots.try_take(0).unwrap();
    let mut left = Box::pin(slots.wait(0, LONG));
    let mut stays = Box::pin(slots.wait(1, LONG));
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
    let first = slots.try_take(0).unwrap();
    assert_eq!(first.shard, 0);
    // That one is in use.
    let second = slots.try_take(1).unwrap();
    assert_eq!(second.shard, 1);
    drop((first, second));
    // Each has an idle one of its own.
    let (own, also) = (slots.try_take(1).unwrap(), slots.try_take(0).unwrap());
    assert_eq!((own.shard, also.shard), (1, 0));
    drop(also);
    // Its own is in use, the other's is not.
    assert_eq!(slots.try_take(1).unwrap().shard, 0);
}

#[test]
fn a_thread_that_is_far_behind_opens_its_own() {
    let slots = slots(16, 2);
    let taken: Vec<Permit> = (0..4).map(|_| slots.try_take(0).unwrap()).collect();
    drop(taken);
    let mut shards = Vec::new();
    let mut kept = Vec::new();
    for _ in 0..4 {
        let slot = slots.try_take(1).unwrap();
        shards.push(slot.shard);
        kept.push(slot);
    }
    assert_eq!(shards, [1, 1, 1, 0], "until it has about as many");
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_closed_by_now_are_not_looked_for() {
    let slots = slots(8, 2);
    tokio::time::advance(2 * LONG).await;
    drop(slots.try_take(0).unwrap());
    tokio::time::advance(LONG).await;
    let slot = slots.try_take(1).unwrap();
    assert_eq!(slot.shard, 0, "it may be open for just as long");
    drop(slot);
    tokio::time::advance(LONG + Duration::from_millis(1)).await;
    assert_eq!(slots.try_take(1).unwrap().shard, 1);
}

/// Waits as one of `thread` does.
fn queue(shards: &mut Shards, thread: u16) -> (u64, oneshot::Receiver<u16>) {
    let (give, given) = oneshot::channel();
    (shards.queue(thread, give), given)
}

#[test]
fn the_first_is_passed_over_for_those_of_the_shard_but_not_for_ever() {
    let mut shards = Shards::new(capacity(2, 2));
    assert_eq!((shards.take(0), shards.take(1)), (Some(0), Some(1)));
    let (ticket, mut first) = queue(&mut shards, 1);
    let (_, mut second) = queue(&mut shards, 1);
    let mut of_the_shard: VecDeque<_> = (0..3 * REACH).map(|_| queue(&mut shards, 0).1).collect();
    let mut pass_over = |shards: &mut Shards| {
        for turn in 0..REACH {
            shards.release(0).unwrap().send(0).unwrap();
            let given = of_the_shard.pop_front().unwrap().try_recv();
            assert_eq!(given, Ok(0), "turn {turn}");
        }
    };
    pass_over(&mut shards);
    // Had it stayed, it would be its turn; who comes after it has waited for less.
    shards.leave(ticket);
    assert!(first.try_recv().is_err());
    pass_over(&mut shards);
    shards.release(0).unwrap().send(0).unwrap();
    assert_eq!(second.try_recv(), Ok(0));
}

#[test]
fn fewer_slots_than_threads_are_shared_by_all() {
    let slots = slots(2, 8);
    let taken: Vec<Permit> = (0..2).map(|_| slots.try_take(7).unwrap()).collect();
    assert_ne!(taken[0].shard, taken[1].shard);
    assert!(slots.try_take(3).is_none());
}

#[test]
fn an_origin_has_the_same_slots_as_long_as_they_are_in_use() {
    for threads in [1, 3] {
        let origins = OriginLimits::new(capacity(1, threads), LONG);
        let slot = origins.of(address(1)).try_take(0).unwrap();
        assert!(origins.of(address(2)).try_take(0).is_some());
        // Many others come and go.
        for host in 3..20_000 {
            assert!(origins.of(address(host)).try_take(0).is_some());
        }
        assert!(origins.of(address(1)).try_take(0).is_none());
        drop(slot);
        assert!(origins.of(address(1)).try_take(0).is_some());
        let (kept, idle) = (origins.kept(), if threads == 1 { 0 } else { MAX_IDLE });
        let most = MAPS * (SWEEP_AT.max(2 * idle) + 1);
        assert!(kept <= most, "{kept} origins are kept");
    }
}

#[test]
fn an_origin_with_an_idle_connection_is_kept() {
    let origins = OriginLimits::new(capacity(4, 2), LONG);
    for host in 0..4_000 {
        drop(origins.of(address(host)).try_take(1));
    }
    // More than one sweep of each shard.
    for host in 0..4_000 {
        let shard = origins.of(address(host)).try_take(0).unwrap().shard;
        assert_eq!(shard, 1, "origin {host}");
    }
}

/// What may happen to the slots of one server.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A request of this thread: takes one, or waits.
    Arrive(u16),
    /// The nth that was given is given back.
    Release(usize),
    /// The nth who waits leaves.
    Leave(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..5_u16).prop_map(Step::Arrive),
        3 => any::<usize>().prop_map(Step::Release),
        1 => any::<usize>().prop_map(Step::Leave),
    ]
}

proptest! {
    #[test]
    fn no_slot_is_lost_or_given_twice_and_the_first_is_not_passed_over_for_long(
        slots in 1..9_usize,
        threads in 1..5_usize,
        steps in proptest::collection::vec(step(), 0..400),
    ) {
        let mut shards = Shards::new(capacity(slots, threads));
        let mut held: Vec<u16> = Vec::new();
        let mut queue: VecDeque<(u64, oneshot::Receiver<u16>, usize)> = VecDeque::new();
        for step in steps {
            match step {
                Step::Arrive(thread) => match shards.take(thread) {
                    Some(shard) => {
                        prop_assert!(queue.is_empty(), "overtaken");
                        held.push(shard);
                    }
                    None => {
                        prop_assert_eq!(held.len(), slots, "one was free");
                        let (give, given) = oneshot::channel();
                        queue.push_back((shards.queue(thread, give), given, 0));
                    }
                },
                Step::Release(at) if !held.is_empty() => {
                    let shard = held.swap_remove(at % held.len());
                    if let Some(give) = shards.release(shard) {
                        give.send(shard).unwrap();
                        let at = queue.iter_mut().position(|it| it.1.try_recv().is_ok());
                        let at = at.expect("to one who waits");
                        queue.iter_mut().take(at).for_each(|it| it.2 += 1);
                        queue.remove(at);
                        held.push(shard);
                    } else {
                        prop_assert!(queue.is_empty(), "somebody waits");
                    }
                }
                Step::Leave(at) if !queue.is_empty() => {
                    let (ticket, ..) = queue.remove(at % queue.len()).unwrap();
                    shards.leave(ticket);
                }
                Step::Release(_) | Step::Leave(_) => {}
            }
            prop_assert!(held.len() <= slots);
            if let Some(first) = queue.front() {
                // Passed over by those within reach while it was not the first, then as the first.
                prop_assert!(first.2 <= 2 * REACH, "passed over {} times", first.2);
            }
            for shard in 0..threads {
                let used = held.iter().filter(|it| usize::from(**it) == shard).count();
                prop_assert!(used <= slots.div_ceil(threads.min(slots)));
            }
        }
    }
}
