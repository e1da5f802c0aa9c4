//! When the keeper writes.

use super::store::Batch;
use super::*;
use crate::balances::store::Visit;
use crate::balances::tests::{add, settings, telemetry};

/// A store that takes its time.
struct Slow;

const SLOW: Duration = Duration::from_millis(100);

impl Store for Slow {
    fn load(&mut self, _: Visit<'_>) -> Result<Reports, StoreError> {
        Ok(Reports::default())
    }

    fn save(&mut self, _: &Batch<'_>) -> Result<(), StoreError> {
        let begun = Instant::now();
        while begun.elapsed() < SLOW {
            thread::yield_now();
        }
        Ok(())
    }
}

/// A process that is killed loses a second at most, as long as a transaction takes less than half of it.
#[test]
fn what_is_counted_is_written_within_a_second() {
    for millis in 0..=500 {
        let took = Duration::from_millis(millis);
        let pause = pause(took);
        assert!(pause >= took, "{took:?}");
        assert!(pause + took <= INTERVAL, "{took:?}");
    }
    let slow = Duration::from_secs(2);
    assert_eq!(pause(slow), slow);
    assert_eq!(pause(Duration::ZERO), INTERVAL);
}

#[test]
fn the_next_transaction_begins_earlier_after_a_slow_one() {
    let directory = tempfile::tempdir().unwrap();
    let ledgers = Arc::new(Ledgers::new(1000));
    add(&ledgers, "alice", 1);
    let shared = Arc::new(Shared::new(State::Known));
    let (mut keeper, _mailbox) =
        Keeper::new(ledgers, shared, settings(&directory), telemetry(), false).unwrap();
    let store: Option<Box<dyn Store>> = Some(Box::new(Slow));
    keeper.role = Role::Owner(Owner {
        store,
        ..Owner::default()
    });
    keeper.tick();
    // A second after the beginning, less twice the time that it took.
    let latest = Instant::now() + INTERVAL - 3 * SLOW;
    assert!(keeper.next <= latest, "{:?}", keeper.next - latest);
}
