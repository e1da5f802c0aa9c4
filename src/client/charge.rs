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

/// Charges what one lent stream carries, and gives it the time that it needs. Empty for a request that is charged to no
/// class: a stream is allocated for each request, and is to be no larger for it.
#[derive(Debug, Default)]
pub(super) struct Charge(Option<Box<Charged>>);

#[derive(Debug)]
struct Charged {
    account: Account,
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
    /// Takes the account, when it has come. Each operation of a stream asks.
    #[inline]
    pub(super) fn follow(&mut self, handover: &Handover) {
        if handover.is_here.load(Ordering::Acquire) {
            self.take(handover);
        }
    }

    #[cold]
    fn take(&mut self, handover: &Handover) {
        handover.is_here.store(false, Ordering::Relaxed);
        let account = handover.account.lock().take();
        self.0 = account.map(|account| Box::new(Charged::new(account)));
    }

    /// Whether the bytes of this direction have a bandwidth.
    pub(super) fn is_limited(&self, flow: Flow) -> bool {
        let charged = self.0.as_ref();
        charged.is_some_and(|charged| charged.account.part(flow).is_some())
    }

    /// Ready with how many of `most` bytes may be written now. To be followed by [`wrote`](Self::wrote), when they are.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<usize> {
        match &mut self.0 {
            Some(charged) => charged.poll_write(cx, most),
            None => Poll::Ready(most),
        }
    }

    /// Notes how many bytes were written.
    pub(super) fn wrote(&mut self, bytes: usize) {
        if let Some(charged) = &mut self.0 {
            charged.download.pass(bytes as u64);
        }
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
        match &mut self.0 {
            Some(charged) => charged.poll_read(stream, cx, most),
            None => Poll::Ready(Ok(most)),
        }
    }

    /// Gives back what was lent for a read and was not there.
    pub(super) fn read(&mut self, bytes: usize) {
        if let Some(charged) = &mut self.0 {
            charged.upload.end(&charged.account, bytes as u64);
        }
    }

    /// Notes bytes that were carried.
    ///
    /// # Errors
    /// They are over a limit.
    pub(super) fn add(&mut self, bytes: Volume) -> io::Result<()> {
        match &mut self.0 {
            Some(charged) => charged.add(bytes),
            None => Ok(()),
        }
    }
}

impl Charged {
    fn new(account: Account) -> Self {
        Self {
            account,
            fresh: Volume::default(),
            download: Turn::new(Flow::Download),
            upload: Turn::new(Flow::Upload),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<usize> {
        let Some(part) = self.account.part(Flow::Download) else {
            return Poll::Ready(most);
        };
        self.download.expire(&self.account);
        if !self.download.has_lent() {
            let bytes = self.download.worth(part, most as u64);
            self.download.borrow(&self.account, bytes);
        }
        let lent = ready!(self.download.poll(cx));
        Poll::Ready(usize::try_from(lent).map_or(most, |lent| lent.min(most)))
    }

    fn poll_read(
        &mut self,
        stream: &mut ClientStream,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let Some(part) = self.account.part(Flow::Upload) else {
            return Poll::Ready(Ok(most));
        };
        let part = part.min(most as u64);
        if !self.upload.has_lent() && !self.upload.borrow_now(&self.account, part) {
            match ready!(stream.poll_readable(cx))? {
                // A read finds the end.
                0 => return Poll::Ready(Ok(1)),
                count => self.upload.borrow(&self.account, count.min(part)),
            }
        }
        let lent = ready!(self.upload.poll(cx));
        Poll::Ready(Ok(usize::try_from(lent).map_or(most, |lent| lent.min(most))))
    }

    fn add(&mut self, bytes: Volume) -> io::Result<()> {
        self.fresh += bytes;
        let report_after = REPORT.min(self.account.report_after());
        if self.fresh.sum() < report_after && !self.account.is_exact() {
            return Ok(());
        }
        match self.account.carried(std::mem::take(&mut self.fresh)) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(limit) => Err(io::Error::other(self.account.over(limit))),
        }
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.download.end(&self.account, 0);
        self.upload.end(&self.account, 0);
        // The request is over: there is nothing left to stop.
        let _ = self.account.carried(self.fresh);
    }
}
