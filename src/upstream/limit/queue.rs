//! The turn of a request at a server: a permit at once, or a place in the queue.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use super::{Limit, Permit, Ticket};
use crate::access::client::Client;
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
    client: Client,
    when_full: WhenFull,
}

/// Whether the client of a request that waits is still there.
pub struct Presence<'a, G> {
    /// Ready when it has broken its connection.
    pub gone: Pin<&'a mut G>,
    /// Whether it has ended its side: it may be gone, and comes after those that are there.
    pub has_ended: &'a AtomicBool,
}

impl Limit {
    pub fn turn(&self, thread: u16, client: Client, when_full: &WhenFull) -> Turn {
        self.try_take(thread, client).map_or_else(
            || Turn::Queued(self.queue(thread, client, when_full)),
            Turn::Ready,
        )
    }

    pub(in crate::upstream) fn queue(
        &self,
        thread: u16,
        client: Client,
        when_full: &WhenFull,
    ) -> Queue {
        Queue {
            limit: self.clone(),
            thread,
            client,
            when_full: when_full.clone(),
        }
    }
}

impl Queue {
    /// Waits for a permit.
    ///
    /// # Errors
    /// That of [`WhenFull::error`] when none came free in time; [`ErrorKind::ClientGone`].
    pub fn wait<G: Future<Output = ()> + Send>(
        self,
        mut presence: Presence<'_, G>,
    ) -> impl Future<Output = Result<Permit, RequestError>> + Send {
        let Self {
            limit,
            thread,
            client,
            when_full,
        } = self;
        let queued = when_full.counted_in.as_ref().map(Telemetry::gateway_queued);
        // Not an async function: what it is called with would be in the future twice.
        async move {
            let mut ticket = match limit.enter(thread, client) {
                Ok(permit) => return Ok(permit),
                Err(ticket) => ticket,
            };
            let given = poll_fn(|cx| poll(&mut ticket, &mut presence, cx));
            let given = pingora_timeout::timeout(when_full.wait, given).await;
            drop(queued);
            match given {
                // The ticket gives back a permit that it got and did not hand on.
                Ok(shard) => Ok(limit.permit(shard?, ticket.client)),
                Err(_late) => Err(RequestError::new(when_full.error).retry_after(when_full.wait)),
            }
        }
    }
}

/// Ready with the shard of the permit, or when the client is gone.
fn poll<G: Future<Output = ()>>(
    ticket: &mut Ticket<'_>,
    presence: &mut Presence<'_, G>,
    cx: &mut Context<'_>,
) -> Poll<Result<u16, ErrorKind>> {
    if let Poll::Ready(given) = Pin::new(&mut ticket.given).poll(cx) {
        return Poll::Ready(given.map_err(|_never| ErrorKind::Internal));
    }
    if presence.gone.as_mut().poll(cx).is_ready() {
        return Poll::Ready(Err(ErrorKind::ClientGone));
    }
    if presence.has_ended.load(Ordering::Relaxed) {
        ticket.put_last();
    }
    Poll::Pending
}
