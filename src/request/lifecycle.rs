//! Whether the process runs, drains or stops, and how many connections are left.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// Shared by everything that must end in order.
#[derive(Debug, Default)]
pub struct Lifecycle {
    draining: watch::Sender<bool>,
    abort: watch::Sender<bool>,
    /// The same, to be asked for each request.
    is_aborted: AtomicBool,
    succeeded: AtomicBool,
    /// That an operator wants the process to drain.
    asked: Notify,
    /// Has a receiver for each piece of work that draining waits for.
    in_flight: watch::Sender<()>,
    /// Whether all work has ended.
    ended: watch::Sender<bool>,
    /// Has a receiver for each task that sends what the work has left.
    last_tasks: watch::Sender<()>,
}

impl Lifecycle {
    /// Asks the process to drain and to end.
    pub fn ask_to_drain(&self) {
        self.asked.notify_one();
    }

    /// Ready when the process is asked to drain.
    pub async fn drain_asked(&self) {
        self.asked.notified().await;
    }

    /// From now on nothing new begins. `succeeded`: another process takes what
    /// still comes in.
    pub fn drain(&self, succeeded: bool) {
        self.succeeded.store(succeeded, Ordering::Release);
        self.draining.send_replace(true);
    }

    /// From now on nothing goes on; everything leaves its record and ends.
    pub fn abort(&self) {
        self.is_aborted.store(true, Ordering::Release);
        self.abort.send_replace(true);
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
    pub fn is_aborted(&self) -> bool {
        self.is_aborted.load(Ordering::Acquire)
    }

    /// Ready when nothing may go on.
    pub fn aborted(&self) -> impl Future<Output = ()> + Send + use<> {
        until_true(self.abort.subscribe())
    }

    /// Ready when nothing new may begin.
    pub fn drain_begun(&self) -> impl Future<Output = ()> + Send + use<> {
        until_true(self.draining.subscribe())
    }

    /// Marks work that draining waits for, until dropped.
    pub fn begin_work(&self) -> watch::Receiver<()> {
        self.in_flight.subscribe()
    }

    /// How much work is in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.receiver_count()
    }

    /// Waits until all work is done, for `limit` at most. Whether it was in time.
    pub async fn drained(&self, limit: Duration) -> bool {
        let drained = self.in_flight.closed();
        tokio::time::timeout(limit, drained).await.is_ok()
    }

    /// Marks a task that sends what the work has left, until dropped.
    pub fn begin_last_task(&self) -> watch::Receiver<()> {
        self.last_tasks.subscribe()
    }

    /// Ready when all work has ended, so that such a task is to send what there is, and to end.
    pub fn work_ended(&self) -> impl Future<Output = ()> + Send + use<> {
        until_true(self.ended.subscribe())
    }

    /// Whether all work has ended.
    pub fn has_work_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Notes that all work has ended, and waits for the last tasks, for `limit` at most. Whether they were in time.
    pub async fn end_work(&self, limit: Duration) -> bool {
        self.ended.send_replace(true);
        let sent = self.last_tasks.closed();
        tokio::time::timeout(limit, sent).await.is_ok()
    }
}

async fn until_true(mut flag: watch::Receiver<bool>) {
    // The sender lives as long as the process.
    let _ = flag.wait_for(|flag| *flag).await;
}

/// Wakes one task when an event of the process happens; whether it has is asked of the [`Lifecycle`].
///
/// A connection subscribes once for all its requests. To poll a future of the event for each of them, or to
/// register anew, takes a lock that all connections share.
pub struct Subscription {
    event: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_registered: bool,
}

impl Subscription {
    /// For the task that calls [`register`](Self::register) first.
    pub fn new(event: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            event: Box::pin(event),
            is_registered: false,
        }
    }

    /// Has the task woken when the event happens. Does nothing from the second call on.
    pub fn register(&mut self, cx: &mut Context<'_>) {
        if !self.is_registered {
            self.is_registered = true;
            // A future that is ready must not be polled again.
            let _ = self.event.as_mut().poll(cx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drained_when_the_last_work_is_dropped() {
        let lifecycle = Lifecycle::default();
        let (first, second) = (lifecycle.begin_work(), lifecycle.begin_work());
        lifecycle.drain(false);
        assert!(lifecycle.is_draining());
        assert!(!lifecycle.drained(Duration::from_millis(1)).await);
        drop(first);
        let (in_time, ()) = tokio::join!(lifecycle.drained(Duration::from_secs(5)), async {
            drop(second)
        });
        assert!(in_time);
    }

    #[tokio::test]
    async fn the_last_tasks_are_waited_for() {
        let lifecycle = Lifecycle::default();
        let task = lifecycle.begin_last_task();
        let ended = lifecycle.work_ended();
        assert!(!lifecycle.has_work_ended());
        assert!(!lifecycle.end_work(Duration::from_millis(1)).await);
        let (in_time, ()) = tokio::join!(lifecycle.end_work(Duration::from_secs(5)), async {
            ended.await;
            drop(task);
        });
        assert!(in_time && lifecycle.has_work_ended());
    }

    #[test]
    fn an_event_that_has_happened_is_registered_once() {
        let mut subscription = Subscription::new(async {});
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for _ in 0..3 {
            subscription.register(&mut cx);
        }
        assert!(subscription.is_registered);
    }
}
