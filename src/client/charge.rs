//! What the bytes of a request with Pingora are charged to. Its admission is known when its stream is lent already, so it
//! is handed over behind the stream's back.

use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;

use super::stream::ClientStream;
use super::turn::Turn;
use crate::access::limits::{Account, Flow, Volume};

/// So many bytes are charged at once, or fewer at the end. They show in the statistics late by so much.
const REPORT: u64 = 64 * 1024;

/// Hands over the account of the request that a connection serves.
#[derive(Debug, Default)]
pub struct Handover {
    is_here: AtomicBool,
    account: Mutex<Option<Account>>,
}

/// Charges what one lent stream carries, and gives it the time that it needs.
#[derive(Debug)]
pub(super) struct Charge {
    account: Option<Account>,
    /// What is carried and not charged yet.
    fresh: Volume,
    download: Turn,
    upload: Turn,
}

impl Handover {
    /// From now on the bytes of the request are charged to this account.
    pub fn begin(&self, account: Account) {
        *self.account.lock() = Some(account);
        self.is_here.store(true, Ordering::Release);
    }

    /// Forgets an earlier request.
    pub(super) fn reset(&self) {
        if self.is_here.swap(false, Ordering::Relaxed) {
            *self.account.lock() = None;
        }
    }
}

impl Charge {
    pub(super) fn new() -> Charge {
        Charge {
            account: None,
            fresh: Volume::default(),
            download: Turn::new(Flow::Download),
            upload: Turn::new(Flow::Upload),
        }
    }

    /// Takes the account, when it has come.
    pub(super) fn follow(&mut self, handover: &Handover) {
        if handover.is_here.load(Ordering::Acquire) {
            handover.is_here.store(false, Ordering::Relaxed);
            self.account = handover.account.lock().take();
        }
    }

    /// Whether the bytes of this direction have a bandwidth.
    pub(super) fn is_limited(&self, flow: Flow) -> bool {
        self.part(flow).is_some()
    }

    fn part(&self, flow: Flow) -> Option<u64> {
        self.account.as_ref()?.part(flow)
    }

    /// Ready with how many of `most` bytes may be written now. To be followed by [`wrote`](Self::wrote), when they are.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<usize> {
        let Some(part) = self.part(Flow::Download) else {
            return Poll::Ready(most);
        };
        if let Some(account) = &self.account {
            self.download.expire(account);
            if !self.download.has_lent() {
                let bytes = self.download.worth(part, most as u64);
                self.download.borrow(account, bytes);
            }
        }
        let lent = ready!(self.download.poll(cx));
        Poll::Ready(usize::try_from(lent).map_or(most, |lent| lent.min(most)))
    }

    /// Notes how many bytes were written.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.download.pass(bytes as u64);
    }

    /// Ready with how many of `most` bytes of the body may be read now. To be followed by [`read`](Self::read).
    ///
    /// # Errors
    /// The stream's.
    pub(super) fn poll_read(
        &mut self,
        stream: &mut ClientStream,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let part = self.part(Flow::Upload);
        let (Some(account), Some(part)) = (&self.account, part) else {
            return Poll::Ready(Ok(most));
        };
        let part = part.min(most as u64);
        if !self.upload.has_lent() && !self.upload.borrow_now(account, part) {
            match ready!(stream.poll_readable(cx))? {
                // A read finds the end.
                0 => return Poll::Ready(Ok(1)),
                count => self.upload.borrow(account, count.min(part)),
            }
        }
        let lent = ready!(self.upload.poll(cx));
        Poll::Ready(Ok(usize::try_from(lent).map_or(most, |lent| lent.min(most))))
    }

    /// Gives back what was lent for a read and was not there.
    pub(super) fn read(&mut self, bytes: usize) {
        if let Some(account) = &self.account {
            self.upload.end(account, bytes as u64);
        }
    }

    /// Notes bytes that were carried.
    ///
    /// # Errors
    /// They are over a limit.
    pub(super) fn add(&mut self, bytes: Volume) -> io::Result<()> {
        let Some(account) = &self.account else {
            return Ok(());
        };
        self.fresh += bytes;
        if self.fresh.sum() < REPORT.min(account.report_after()) && !account.is_exact() {
            return Ok(());
        }
        match account.carried(std::mem::take(&mut self.fresh)) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(limit) => Err(io::Error::other(account.over(limit))),
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            self.download.end(account, 0);
            self.upload.end(account, 0);
            // The request is over: there is nothing left to stop.
            let _ = account.carried(self.fresh);
        }
    }
}
