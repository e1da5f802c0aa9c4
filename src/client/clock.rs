//! A deadline that moves with every request. The timer is set anew only for an earlier deadline.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// One timer for the life of a connection, made at the first need.
#[derive(Debug, Default)]
pub(super) struct Clock {
    timer: Option<Pin<Box<Sleep>>>,
    /// The task that the timer wakes.
    wakes: Option<Waker>,
}

impl Clock {
    /// Ready at `deadline`. Between two calls the deadline may move: a later one
    /// leaves the timer as it is, which then rings early and is set anew.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
            self.wakes = None;
        }
        // The timer has not fired and wakes the right task: there is nothing to do.
        if !timer.is_elapsed()
            && let Some(waker) = &self.wakes
            && waker.will_wake(cx.waker())
        {
            return Poll::Pending;
        }
        self.wakes = Some(cx.waker().clone());
        loop {
            // With the task's budget used up, the timer would neither be set nor say so.
            ready!(pin!(unconstrained(timer.as_mut())).poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::task::consume_budget;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn follows_a_deadline_both_ways() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut clock = Clock::default();
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            // The timer is set for the first deadline, and the next one is a later one.
            clock.poll(cx, at(if polls == 1 { 10 } else { 60 }))
        })
        .await;
        assert_eq!(start.elapsed().as_secs(), 60);
        poll_fn(|cx| clock.poll(cx, at(61))).await;
        assert_eq!(start.elapsed().as_secs(), 61);

        let mut noop = Context::from_waker(Waker::noop());
        assert!(clock.poll(&mut noop, at(1000)).is_pending());
        poll_fn(|cx| clock.poll(cx, at(62))).await;
        assert_eq!(start.elapsed().as_secs(), 62);
    }

    #[tokio::test(start_paused = true)]
    async fn rings_for_a_task_that_had_no_budget_left() {
        let start = Instant::now();
        let mut clock = Clock::default();
        // The timer is made by the first, and set anew for the second.
        for seconds in [60, 100] {
            let mut is_first = true;
            let rings = poll_fn(|cx| {
                while is_first && pin!(consume_budget()).poll(cx).is_ready() {}
                is_first = false;
                clock.poll(cx, start + Duration::from_secs(seconds))
            });
            timeout(Duration::from_secs(3600), rings).await.unwrap();
            assert_eq!(start.elapsed().as_secs(), seconds);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn wakes_the_task_that_asked_last() {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut clock = Clock::default();
        let mut other = Context::from_waker(Waker::noop());
        assert!(clock.poll(&mut other, deadline).is_pending());
        poll_fn(|cx| clock.poll(cx, deadline)).await;
        assert!(Instant::now() >= deadline);
    }
}
