//! What Pingora may read from an upstream before the client takes it.
//!
//! Pingora reads a response in pieces of 64 KiB and queues up to nine of them behind a client that does not read, and
//! it copies what it takes at once into one buffer, which it keeps. Two things bound that here. A turn of the
//! request's task gets a small part of tokio's budget, so that a piece is read, queued, taken and written before the
//! next one is read. And while a write to the client waits, the task gets no turn at all.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;
use tokio::task::coop::{RestoreOnPending, has_budget_remaining, poll_proceed, unconstrained};

/// The budget of a turn in which a response may begin: a small one is read, queued as head and body, and taken.
const BUDGET: u8 = 5;

/// The budget of a turn for a write to the client, which itself needs none.
const FOR_WRITE: u8 = 1;

/// A piece of so many bytes, which is not the last, is one of a large response.
const BULK: usize = 2 * 1024;

/// How the response of one request may go on.
#[derive(Debug, Default)]
pub struct Pace {
    /// A [`Step`].
    step: AtomicU8,
    /// Whether a piece was taken in this turn.
    has_taken: AtomicBool,
    /// Whether a piece may have been read behind the one that is queued.
    is_ahead: AtomicBool,
    /// Whether a write to the client waits.
    is_waiting: AtomicBool,
    /// Whether this turn is for that write alone.
    is_for_write: AtomicBool,
    waiting: Mutex<Option<Arc<Waiting>>>,
}

/// What the next turn is for. Pingora polls its two halves in alternating order, so a turn for each half in alternation
/// mostly fits. Where it does not, the order fits again after a few turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Step {
    /// All that tokio gives, as long as no response is expected.
    Free = 0,
    /// The begin of a response.
    Head = 1,
    /// A piece is read and queued.
    Fill = 2,
    /// One that was read is queued.
    Queue = 3,
    /// It is taken, and written.
    Take = 4,
}

impl Step {
    fn budget(self) -> Option<u8> {
        match self {
            Self::Free => None,
            Self::Head => Some(BUDGET),
            Self::Fill => Some(2),
            Self::Queue | Self::Take => Some(1),
        }
    }
}

/// A write that the client does not take.
#[derive(Debug)]
struct Waiting {
    /// Whether it is worth trying again.
    is_over: AtomicBool,
    task: Waker,
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_over.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl Pace {
    /// Forgets an earlier request.
    pub(super) fn reset(&self) {
        self.set_step(Step::Free);
        for flag in [&self.has_taken, &self.is_waiting, &self.is_for_write] {
            flag.store(false, Ordering::Relaxed);
        }
    }

    /// The request is with an upstream, whose response may come.
    pub fn begin(&self) {
        self.set_step(Step::Head);
    }

    /// A piece of the response is taken, to be written to the client. Nothing more is read in this turn.
    pub fn on_piece(&self, len: usize) {
        match self.step() {
            Step::Free => return,
            Step::Head if len < BULK => return,
            // Nothing is known of what was read behind it.
            Step::Head => self.is_ahead.store(true, Ordering::Relaxed),
            Step::Fill | Step::Queue | Step::Take => {}
        }
        self.has_taken.store(true, Ordering::Relaxed);
        use_up_budget();
    }

    /// Begins a turn of the request's task, or says that it is in vain.
    #[inline]
    pub fn begin_turn(&self, cx: &Context<'_>) -> bool {
        self.step() == Step::Free || self.begin_short_turn(cx)
    }

    fn begin_short_turn(&self, cx: &Context<'_>) -> bool {
        let Some(budget) = self.step().budget() else {
            return true;
        };
        if !self.is_waiting.load(Ordering::Relaxed) {
            leave_budget(budget);
            return true;
        }
        let waiting = self.waiting.lock();
        let is_in_vain = waiting.as_ref().is_some_and(|waiting| {
            !waiting.is_over.load(Ordering::Acquire) && waiting.task.will_wake(cx.waker())
        });
        if !is_in_vain {
            self.is_for_write.store(true, Ordering::Relaxed);
            // A write to the upstream, which has a time-out, may go on as well.
            leave_budget(FOR_WRITE);
        }
        !is_in_vain
    }

    /// Ends a turn. Whether the next one can begin at once.
    #[inline]
    pub fn end_turn(&self) -> bool {
        let may_begin = matches!(self.step(), Step::Free | Step::Head);
        (!may_begin || self.has_taken.load(Ordering::Relaxed)) && self.end_short_turn()
    }

    fn end_short_turn(&self) -> bool {
        let step = self.step();
        let is_waiting = self.is_waiting.load(Ordering::Relaxed);
        let is_for_write = self.is_for_write.swap(false, Ordering::Relaxed);
        let is_used_up = !has_budget_remaining();
        if self.has_taken.load(Ordering::Relaxed) {
            self.has_taken.store(false, Ordering::Relaxed);
            let was_ahead = self.is_ahead.swap(false, Ordering::Relaxed);
            self.set_step(if was_ahead { Step::Queue } else { Step::Fill });
        } else if is_used_up && !is_for_write {
            if step == Step::Take {
                self.is_ahead.store(true, Ordering::Relaxed);
            }
            self.set_step(Step::Take);
        }
        is_used_up && !is_waiting
    }

    #[inline]
    fn step(&self) -> Step {
        match self.step.load(Ordering::Relaxed) {
            1 => Step::Head,
            2 => Step::Fill,
            3 => Step::Queue,
            4 => Step::Take,
            _ => Step::Free,
        }
    }

    fn set_step(&self, step: Step) {
        self.step.store(step as u8, Ordering::Relaxed);
    }

    /// Passes the result of a write to the client on. One that is pending is made `again`, whatever is left of the
    /// turn; while it waits, the task has no other turn.
    #[inline]
    pub(super) fn pass<T>(
        &self,
        written: Poll<T>,
        cx: &Context<'_>,
        again: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if written.is_pending() && self.step() != Step::Free {
            return self.wait(cx, again);
        }
        if self.is_waiting.load(Ordering::Relaxed) {
            self.is_waiting.store(false, Ordering::Relaxed);
        }
        written
    }

    #[cold]
    fn wait<T>(&self, cx: &Context<'_>, again: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        // By a waker of its own, so that it is this one that is woken.
        let waker = self.waker(cx);
        let again = unconstrained(poll_fn(again));
        let written = pin!(again).poll(&mut Context::from_waker(&waker));
        let is_waiting = written.is_pending();
        self.is_waiting.store(is_waiting, Ordering::Relaxed);
        if is_waiting {
            use_up_budget();
        }
        written
    }

    /// Wakes the task, and tells [`begin_turn`](Self::begin_turn) that a write can be tried again.
    fn waker(&self, cx: &Context<'_>) -> Waker {
        let mut waiting = self.waiting.lock();
        let waiting = match &mut *waiting {
            Some(waiting) if waiting.task.will_wake(cx.waker()) => waiting,
            other => other.insert(Arc::new(Waiting {
                is_over: AtomicBool::new(false),
                task: cx.waker().clone(),
            })),
        };
        waiting.is_over.store(false, Ordering::Release);
        Waker::from(Arc::clone(waiting))
    }
}

thread_local! {
    /// Dropped, it gives the task what it had when this was taken: one more than [`BUDGET`].
    static RESTORE: RefCell<Option<RestoreOnPending>> = const { RefCell::new(None) };
}

/// Gives the task no more than `budget`, at most [`BUDGET`], for this turn.
fn leave_budget(budget: u8) {
    RESTORE.with_borrow_mut(|restore| {
        if restore.is_none() && !use_down_to_budget() {
            return;
        }
        drop(restore.take());
        *restore = take_one();
    });
    for _ in budget..BUDGET {
        let _is_left = use_one();
    }
}

/// Uses what tokio gives to a turn up to one more than [`BUDGET`]. False if there is no such bound, or less is left.
fn use_down_to_budget() -> bool {
    let whole = take_one();
    let left = (0..=u8::MAX).take_while(|_| use_one()).count() + 1;
    drop(whole);
    let surplus = left.checked_sub(usize::from(BUDGET) + 1);
    surplus.is_some_and(|surplus| left <= usize::from(u8::MAX) && (0..surplus).all(|_| use_one()))
}

/// Ends this turn of the task: what it polls from now on has to wait.
fn use_up_budget() {
    // Where there is no bound, there is no end either.
    let _all = (0..=u8::MAX).all(|_| use_one());
}

fn use_one() -> bool {
    take_one().is_some_and(|used| {
        used.made_progress();
        true
    })
}

fn take_one() -> Option<RestoreOnPending> {
    match poll_proceed(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(taken) => Some(taken),
        Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    fn left() -> usize {
        (0..=u8::MAX).take_while(|_| use_one()).count()
    }

    #[tokio::test]
    async fn a_turn_has_what_is_left_to_it() {
        for budget in (0..=BUDGET).chain((0..=BUDGET).rev()) {
            leave_budget(budget);
            assert_eq!(left(), usize::from(budget));
        }
        // Tokio's own is back with the next turn.
        tokio::task::yield_now().await;
        assert!(left() > usize::from(BUDGET));
    }

    #[tokio::test]
    async fn a_write_that_waits_takes_the_turns() {
        let pace = Pace::default();
        let waker = Waker::from(Arc::new(Task));
        let mut cx = Context::from_waker(&waker);
        let mut waiting = None;
        let mut wait = |cx: &mut Context<'_>| {
            waiting = Some(cx.waker().clone());
            Poll::<()>::Pending
        };
        // With no response to come, nothing is held up.
        assert!(pace.pass(wait(&mut cx), &cx, &mut wait).is_pending());
        assert!(pace.begin_turn(&cx));

        pace.begin();
        assert!(pace.begin_turn(&cx));
        pace.on_piece(BULK);
        assert!(pace.pass(wait(&mut cx), &cx, &mut wait).is_pending());
        assert!(!pace.end_turn());
        assert_eq!(left(), 0);
        assert!(!pace.begin_turn(&cx));
        waiting.unwrap().wake();
        assert!(pace.begin_turn(&cx));
        assert_eq!(left(), usize::from(FOR_WRITE));
        assert!(
            pace.pass(Poll::Ready(()), &cx, |_| Poll::Pending)
                .is_ready()
        );
        assert!(pace.end_turn());
        assert!(pace.begin_turn(&cx));
        assert_eq!(left(), 1);
    }

    #[tokio::test]
    async fn a_piece_is_taken_before_the_next_is_read() {
        let pace = Pace::default();
        let cx = Context::from_waker(Waker::noop());
        let turn = |uses, takes: bool| {
            assert!(pace.begin_turn(&cx));
            assert!((0..uses).all(|_| use_one()));
            if takes {
                pace.on_piece(BULK);
            }
            pace.end_turn();
            pace.step()
        };
        pace.begin();
        // A small response is none of its business.
        assert_eq!(turn(3, false), Step::Head);
        pace.on_piece(BULK - 1);
        assert_eq!(turn(0, false), Step::Head);
        assert_eq!(turn(1, true), Step::Queue);
        assert_eq!(turn(1, false), Step::Take);
        for _ in 0..2 {
            assert_eq!(turn(1, true), Step::Fill);
            // Nothing has come.
            assert_eq!(turn(0, false), Step::Fill);
            assert_eq!(turn(2, false), Step::Take);
        }
        // One was read too early: it is queued before the next is read.
        assert_eq!(turn(1, false), Step::Take);
        assert_eq!(turn(1, true), Step::Queue);
        pace.reset();
        assert_eq!(turn(0, false), Step::Free);
    }
}
