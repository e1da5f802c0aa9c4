//! The turns of one direction of a connection, where a class has a bandwidth: how many bytes may pass, and when.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::access::limits::{Account, Flow};

/// How long what is lent may be used.
const SOON: Duration = Duration::from_millis(10);

/// What a connection is lent, and when it may pass.
#[derive(Debug)]
pub(super) struct Turn {
    flow: Flow,
    /// Bytes that are lent and have not passed.
    lent: u64,
    /// Until when they may pass: a connection that has no use for them is not to have them later, beside its turn.
    until: Option<Instant>,
    /// Bytes that have passed.
    passed: u64,
    /// Rings when they may.
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl Turn {
    pub(super) fn new(flow: Flow) -> Turn {
        Turn {
            flow,
            lent: 0,
            until: None,
            passed: 0,
            timer: None,
            is_waiting: false,
        }
    }

    /// Whether something is lent already, for now or for later.
    pub(super) fn has_lent(&self) -> bool {
        self.lent > 0
    }

    /// Gives back what was lent for longer than it is good for.
    pub(super) fn expire(&mut self, account: &Account) {
        if self
            .until
            .take_if(|until| *until < Instant::now())
            .is_some()
        {
            self.end(account, 0);
        }
    }

    /// How many of `part` bytes to borrow for so many that are here. As many as have passed before may follow: one that is long
    /// has whole parts, as others have, however it is cut up.
    pub(super) fn worth(&self, part: u64, bytes: u64) -> u64 {
        part.min(bytes.max(self.passed))
    }

    /// Borrows bytes if they may pass at once.
    pub(super) fn borrow_now(&mut self, account: &Account, bytes: u64) -> bool {
        let is_lent = account.lend_now(self.flow, bytes);
        if is_lent {
            self.lent = bytes;
        }
        is_lent
    }

    /// Borrows bytes for the time when they may pass.
    pub(super) fn borrow(&mut self, account: &Account, bytes: u64) {
        let wait = account.lend(self.flow, bytes);
        self.lent = bytes;
        if wait > Duration::ZERO {
            let end = Instant::now() + wait;
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(end),
                none => *none = Some(Box::pin(sleep_until(end))),
            }
            self.is_waiting = true;
        }
    }

    /// Ready with what is lent, when it may pass.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<u64> {
        if self.is_waiting
            && let Some(timer) = &mut self.timer
        {
            // With the task's budget used up, the timer would neither be set nor say so.
            ready!(pin!(unconstrained(timer.as_mut())).poll(cx));
            self.is_waiting = false;
        }
        Poll::Ready(self.lent)
    }

    /// Notes how many bytes have passed. The rest may follow soon.
    pub(super) fn pass(&mut self, bytes: u64) {
        self.passed = self.passed.saturating_add(bytes);
        self.lent = self.lent.saturating_sub(bytes);
        self.until = (self.lent > 0).then(|| Instant::now() + SOON);
    }

    /// Notes how many bytes have passed, and gives the rest back.
    pub(super) fn end(&mut self, account: &Account, passed: u64) {
        self.passed = self.passed.saturating_add(passed);
        self.until = None;
        let rest = std::mem::take(&mut self.lent).saturating_sub(passed);
        account.give_back(self.flow, rest);
    }
}
