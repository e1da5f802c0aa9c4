//! What the bytes of a request with Pingora are charged to. Its admission is known when its stream is lent already, so it
//! is handed over behind the stream's back.

use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::access::limits::{Account, Volume};

/// So many bytes are charged at once, or fewer at the end. They show in the statistics late by so much.
const REPORT: u64 = 64 * 1024;

/// Hands over the account of the request that a connection serves.
#[derive(Debug, Default)]
pub struct Handover {
    is_here: AtomicBool,
    account: Mutex<Option<Account>>,
}

/// Charges what one lent stream carries.
#[derive(Debug, Default)]
pub(super) struct Charge {
    account: Option<Account>,
    /// What is carried and not charged yet.
    fresh: Volume,
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
    /// Takes the account, when it has come.
    pub(super) fn follow(&mut self, handover: &Handover) {
        if handover.is_here.load(Ordering::Acquire) {
            handover.is_here.store(false, Ordering::Relaxed);
            self.account = handover.account.lock().take();
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
        if self.fresh.sum() < REPORT.min(account.report_after()) {
            return Ok(());
        }
        match account.carried(std::mem::take(&mut self.fresh)) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(limit) => Err(io::Error::other(limit.as_str())),
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            // The request is over: there is nothing left to stop.
            let _ = account.carried(self.fresh);
        }
    }
}
