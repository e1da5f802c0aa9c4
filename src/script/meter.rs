//! What a call takes: its operations and its time.

use std::cell::Cell;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How many operations pass between two looks at the clock.
const CLOCK_EVERY: u64 = 32;

/// What a call has taken so far.
pub(super) struct Meter {
    /// Also those of functions that are given to `map`, `filter` and the like, which Rhai's own count forgets.
    operations: Cell<u64>,
    max_operations: u64,
    /// Set when the clock is read first, so that a short call never reads it.
    deadline: Cell<Option<Instant>>,
    /// The time of the processor when the deadline passed first.
    late_since: Cell<Option<Duration>>,
    time: Duration,
    /// Why the call was ended.
    ended: Cell<Option<Ended>>,
}

/// Why a call was ended.
#[derive(Clone, Copy)]
pub(super) enum Ended {
    Operations,
    Time,
}

impl Meter {
    pub(super) fn new(max_operations: u64, time: Duration) -> Self {
        Self {
            operations: Cell::new(0),
            max_operations,
            deadline: Cell::new(None),
            late_since: Cell::new(None),
            time,
            ended: Cell::new(None),
        }
    }

    /// The operations of the call so far.
    pub(super) fn operations(&self) -> u64 {
        self.operations.get()
    }

    /// The time of one call.
    pub(super) fn time(&self) -> Duration {
        self.time
    }

    /// Why it ended the call, if it did.
    pub(super) fn ended(&self) -> Option<Ended> {
        self.ended.get()
    }

    /// A call begins.
    pub(super) fn reset(&self) {
        self.operations.set(0);
        self.deadline.set(None);
        self.late_since.set(None);
        self.ended.set(None);
    }

    /// Counts one operation. Whether the call goes on.
    #[inline]
    pub(super) fn count(&self) -> bool {
        let operations = self.operations.get() + 1;
        self.operations.set(operations);
        if operations > self.max_operations {
            self.ended.set(Some(Ended::Operations));
            return false;
        }
        if operations.is_multiple_of(CLOCK_EVERY) {
            let now = Instant::now();
            match self.deadline.get() {
                None => self.deadline.set(Some(now + self.time)),
                Some(deadline) if now >= deadline => return self.late(now),
                Some(_) => {}
            }
        }
        true
    }

    /// The deadline has passed, perhaps because the thread had no turn: the call gets its time once more, of the processor.
    fn late(&self, now: Instant) -> bool {
        let used = processor_time();
        let Some(start) = self.late_since.get() else {
            self.late_since.set(Some(used));
            self.deadline.set(Some(now + self.time));
            return true;
        };
        let left = self.time.saturating_sub(used.saturating_sub(start));
        if left.is_zero() {
            self.ended.set(Some(Ended::Time));
            return false;
        }
        self.deadline.set(Some(now + left));
        true
    }
}

/// The time that this thread has had a processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap_or_default(),
        time.tv_nsec.try_into().unwrap_or_default(),
    )
}
