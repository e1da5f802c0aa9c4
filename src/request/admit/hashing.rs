//! Password hashing off the threads that serve connections.
//!
//! A hash is made to take tens of milliseconds. So many run at once and so many
//! wait as the configuration says, and no more: a request over that limit gets 503 with
//! `Retry-After`. Requests with the same credentials wait for one hash together, so
//! that a client that opens a thousand connections at once costs one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use crate::access::auth::{Attempt, AttemptId, Authenticator, User};
use crate::http::error::{ErrorKind, RequestError};

/// When a client that was turned away may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The result of a verification; none while it runs.
type Verification = Option<Option<User>>;

/// The bounded place where passwords are verified.
#[derive(Debug)]
pub(super) struct Hashing {
    running: Arc<Semaphore>,
    /// How many may run or wait.
    max: usize,
    /// How many one client may have at once: half of all, so that a client that guesses
    /// passwords does not block the others.
    max_by_client: usize,
    under_way: Arc<Mutex<Attempts>>,
}

#[derive(Debug, Default)]
struct Attempts {
    verifications: HashMap<AttemptId, watch::Receiver<Verification>>,
    /// How many of them each client began.
    by_client: HashMap<IpAddr, usize>,
}

impl Hashing {
    /// At most `threads` hashes at once, and `queue` more that wait.
    pub(super) fn new(threads: usize, queue: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(threads)),
            max: threads + queue,
            max_by_client: (threads + queue).div_ceil(2),
            under_way: Arc::default(),
        }
    }

    /// Verifies the credentials of `attempt`: the user, or none.
    ///
    /// # Errors
    /// [`ErrorKind::AuthenticationOverloaded`] when the queue is full.
    pub(super) async fn verify(
        &self,
        authenticator: &Arc<Authenticator>,
        attempt: Attempt,
        client: IpAddr,
    ) -> Result<Option<User>, RequestError> {
        let mut verification = self.share_or_start(authenticator, attempt, client)?;
        match verification.wait_for(Option::is_some).await {
            Ok(verification) => Ok(verification.clone().flatten()),
            // The task ended without a result.
            Err(_) => Err(ErrorKind::Internal.into()),
        }
    }

    /// Shares the verification of these credentials that is under way, or starts one.
    fn share_or_start(
        &self,
        authenticator: &Arc<Authenticator>,
        attempt: Attempt,
        client: IpAddr,
    ) -> Result<watch::Receiver<Verification>, RequestError> {
        let mut under_way = self.under_way.lock();
        if let Some(running) = under_way.verifications.get(&attempt.id()) {
            return Ok(running.clone());
        }
        let begun = under_way.by_client.get(&client).copied().unwrap_or(0);
        if begun >= self.max_by_client || under_way.verifications.len() >= self.max {
            let overloaded = RequestError::new(ErrorKind::AuthenticationOverloaded);
            return Err(overloaded.retry_after(RETRY_AFTER));
        }
        let (sender, receiver) = watch::channel(None);
        under_way
            .verifications
            .insert(attempt.id(), receiver.clone());
        under_way.by_client.insert(client, begun + 1);
        drop(under_way);
        let done = Done {
            under_way: Arc::clone(&self.under_way),
            id: attempt.id(),
            client,
        };
        let hash = hash(
            Arc::clone(&self.running),
            Arc::clone(authenticator),
            attempt,
        );
        // A task of its own: the request that began it may be aborted while others wait.
        tokio::spawn(async move {
            let verified = hash.await;
            // First out of the map, so that later requests ask the cache.
            drop(done);
            sender.send_replace(verified);
        });
        Ok(receiver)
    }
}

/// Verifies when it is the turn of `attempt`.
async fn hash(
    running: Arc<Semaphore>,
    authenticator: Arc<Authenticator>,
    attempt: Attempt,
) -> Verification {
    let _turn = running.acquire().await.ok()?;
    let hashed = tokio::task::spawn_blocking(move || authenticator.verify(attempt, Instant::now()));
    Some(hashed.await.unwrap_or_else(|error| {
        log::error!("password verification failed: {error}");
        None
    }))
}

/// Takes a verification out of the map, however it ended.
struct Done {
    under_way: Arc<Mutex<Attempts>>,
    id: AttemptId,
    client: IpAddr,
}

impl Drop for Done {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock();
        under_way.verifications.remove(&self.id);
        if let Entry::Occupied(mut begun) = under_way.by_client.entry(self.client) {
            *begun.get_mut() -= 1;
            if *begun.get() == 0 {
                begun.remove();
            }
        }
    }
}
