//! A deadline that moves with every request and costs a timer only when it is
//! nearer than the one that is set.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// One timer for the life of a connection.
#[derive(Debug)]
pub(super) struct Clock {
    timer: Pin<Box<Sleep>>,
}

impl Clock {
    pub(super) fn new(first: Instant) -> Self {
        Self {
            timer: Box::pin(sleep_until(first)),
        }
    }

    /// Ready at `deadline`. Between two calls the deadline may move: a later one
    /// leaves the timer as it is, which then rings early and is set anew.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        if deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn follows_a_deadline_both_ways() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut clock = Clock::new(at(10));
        poll_fn(|cx| clock.poll(cx, at(60))).await;
        assert_eq!(start.elapsed().as_secs(), 60);
        poll_fn(|cx| clock.poll(cx, at(61))).await;
        assert_eq!(start.elapsed().as_secs(), 61);

        let mut clock = Clock::new(at(1000));
        poll_fn(|cx| clock.poll(cx, at(62))).await;
        assert_eq!(start.elapsed().as_secs(), 62);
    }
}
