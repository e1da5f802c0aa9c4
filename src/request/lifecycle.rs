//! Whether the process runs, drains or stops, and how many connections are left.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// Shared by everything that must end in order.
#[derive(Debug)]
pub struct Lifecycle {
    draining: watch::Sender<bool>,
    cut: watch::Sender<bool>,
    /// The same, to be asked for each request.
    is_cut: AtomicBool,
    succeeded: AtomicBool,
    /// What draining waits for.
    busy: watch::Sender<usize>,
}

impl Lifecycle {
    /// A process that runs.
    pub fn new() -> Self {
        Self {
            draining: watch::Sender::new(false),
            cut: watch::Sender::new(false),
            is_cut: AtomicBool::new(false),
            succeeded: AtomicBool::new(false),
            busy: watch::Sender::new(0),
        }
    }

    /// From now on nothing new begins. `succeeded`: another process takes what
    /// still comes in.
    pub fn drain(&self, succeeded: bool) {
        self.succeeded.store(succeeded, Ordering::Release);
        self.draining.send_replace(true);
    }

    /// From now on nothing goes on; everything leaves its record and ends.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        self.cut.send_replace(true);
    }

    /// Whether nothing new may begin.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Whether another process has taken over.
    pub fn has_successor(&self) -> bool {
        self.succeeded.load(Ordering::Acquire)
    }

    /// Tells when draining begins; Pingora's idea of a shutdown watch, too.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// Whether nothing may go on.
    pub fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Acquire)
    }

    /// Ready when nothing may go on.
    pub fn when_cut(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut cut = self.cut.subscribe();
        async move {
            // The sender lives as long as the process.
            let _ = cut.wait_for(|cut| *cut).await;
        }
    }

    /// Marks work that draining waits for, until dropped.
    pub fn busy(&self) -> Busy {
        self.busy.send_modify(|count| *count += 1);
        Busy(self.busy.clone())
    }

    /// How much work there is.
    pub fn busy_count(&self) -> usize {
        *self.busy.borrow()
    }

    /// Waits until all work is done, for `limit` at most. Whether it was in time.
    pub async fn drained(&self, limit: Duration) -> bool {
        let mut busy = self.busy.subscribe();
        let drained = busy.wait_for(|count| *count == 0);
        tokio::time::timeout(limit, drained).await.is_ok()
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

/// Work that draining waits for.
#[derive(Debug)]
pub struct Busy(watch::Sender<usize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drained_when_the_last_work_is_dropped() {
        let lifecycle = Lifecycle::new();
        let (first, second) = (lifecycle.busy(), lifecycle.busy());
        lifecycle.drain(false);
        assert!(lifecycle.is_draining());
        assert!(!lifecycle.drained(Duration::from_millis(1)).await);
        drop(first);
        let (in_time, ()) = tokio::join!(lifecycle.drained(Duration::from_secs(5)), async {
            drop(second)
        });
        assert!(in_time);
    }
}
