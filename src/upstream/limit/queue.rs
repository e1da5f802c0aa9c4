//! The turn of a request at a server: a permit at once, or a place in the queue.

use std::sync::Arc;
use std::time::Duration;

use super::{Limit, Permit};
use crate::http::error::{ErrorKind, RequestError};
use crate::telemetry::Telemetry;

/// Whether a request has its permit at once.
#[derive(Debug)]
pub enum Turn {
    /// It has.
    Ready(Permit),
    /// The server has as many requests as it may have.
    Queued(Queue),
}

/// What happens to requests over the limit.
#[derive(Clone, Debug)]
pub struct WhenFull {
    /// How long they wait for a permit.
    pub wait: Duration,
    /// The error of those that get none in that time.
    pub error: ErrorKind,
    /// Where those that wait are counted, if they are.
    pub counted_in: Option<Arc<Telemetry>>,
}

/// The queue in front of one server, before a request enters it.
#[derive(Debug)]
pub struct Queue {
    limit: Limit,
    thread: u16,
    when_full: WhenFull,
}

impl Limit {
    pub fn turn(&self, thread: u16, when_full: &WhenFull) -> Turn {
        self.try_take(thread)
            .map_or_else(|| Turn::Queued(self.queue(thread, when_full)), Turn::Ready)
    }

    pub(in crate::upstream) fn queue(&self, thread: u16, when_full: &WhenFull) -> Queue {
        Queue {
            limit: self.clone(),
            thread,
            when_full: when_full.clone(),
        }
    }
}

impl Queue {
    /// Waits for a permit.
    ///
    /// # Errors
    /// That of [`WhenFull::error`] when none came free in time.
    pub fn wait(self) -> impl Future<Output = Result<Permit, RequestError>> + Send {
        let Self {
            limit,
            thread,
            when_full,
        } = self;
        let queued = when_full.counted_in.as_ref().map(Telemetry::gateway_queued);
        // Not an async function: what it is called with would be in the future twice.
        async move {
            let permit = limit.wait(thread, when_full.wait).await;
            drop(queued);
            permit.ok_or_else(|| RequestError::new(when_full.error).retry_after(when_full.wait))
        }
    }
}
