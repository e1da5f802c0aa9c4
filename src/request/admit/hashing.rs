//! Password hashing off the threads that serve connections.
//!
//! A hash is made to take tens of milliseconds. So many run at once and so many wait as the configuration says:
//! a request over that limit gets 503 with `Retry-After`. The first attempt of a user that exists waits beyond the
//! limit, so that many users behind one address all get in, and a client that guesses does not keep them out.
//! Clients take turns. Requests with the same credentials wait for one hash together, so that a client that opens a
//! thousand connections at once costs one.
//!
//! Where failed logins lock out, the login that a hash is for is asked about again when its turn comes: the guesses that
//! wait behind those that have failed meanwhile are not hashed.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::logins::{Begins, Counted, CountedOnce};
use super::turns::Turns;
use crate::access::auth::lockout::Standing;
use crate::access::auth::{Attempt, AttemptId, Authenticator, User};
use crate::access::client::Client;
use crate::http::error::{ErrorKind, RequestError};

/// When a client that was turned away may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long a request waits for its hash.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// How many times the limit first attempts of users that exist may have.
const FIRST_ATTEMPTS: usize = 16;

/// How a verification ended; none while it runs.
type Verification = Option<Result<Verified, ErrorKind>>;

/// What became of credentials.
#[derive(Clone, Debug)]
pub(super) enum Verified {
    /// They are those of this user.
    User(User),
    /// The password is wrong, or there is no such user; it has counted of these logins.
    Wrong(CountedOnce),
    /// The login that began the verification has been locked out meanwhile: they were not verified.
    Not,
}

/// The bounded place where passwords are verified.
#[derive(Debug)]
pub(super) struct Hashing {
    /// How many run at once.
    threads: usize,
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
    by_client: HashMap<Client, usize>,
    /// The users that exist, of whom a client has an attempt under way.
    first: HashSet<(Client, User)>,
    waiting: Turns<Client, Job>,
    running: usize,
}

/// A verification that waits or runs.
#[derive(Debug)]
struct Job {
    authenticator: Arc<Authenticator>,
    attempt: Arc<Attempt>,
    id: AttemptId,
    client: Client,
    /// The login that begins it, where failed ones count.
    begins: Option<Begins>,
    /// The user, where this is the client's first attempt for it.
    first: Option<User>,
    since: Instant,
    result: watch::Sender<Verification>,
}

impl Hashing {
    /// At most `threads` hashes at once, and `queue` more that wait.
    pub(super) fn new(threads: usize, queue: usize) -> Self {
        Self {
            threads,
            max: threads + queue,
            max_by_client: (threads + queue).div_ceil(2),
            under_way: Arc::default(),
        }
    }

    /// How many run or wait, and how many may.
    pub(super) fn load(&self) -> (usize, usize) {
        (self.under_way.lock().verifications.len(), self.max)
    }

    /// Verifies the credentials of `attempt`. With the login as it counts, and how many of its pair may be under way.
    ///
    /// # Errors
    /// [`ErrorKind::AuthenticationOverloaded`] when the queue is full, or the turn does not come in time;
    /// [`ErrorKind::LockedOut`] when too many logins of the pair are under way.
    pub(super) async fn verify(
        &self,
        authenticator: &Arc<Authenticator>,
        attempt: &Arc<Attempt>,
        client: IpAddr,
        counted: Option<(&Counted, u32)>,
    ) -> Result<Verified, RequestError> {
        let client = Client::site(client);
        let mut verification = self.share_or_start(authenticator, attempt, client, counted)?;
        let verified = verification.wait_for(Option::is_some);
        match tokio::time::timeout(MAX_WAIT, verified).await {
            Ok(Ok(verified)) => match verified.clone() {
                Some(Ok(verified)) => Ok(verified),
                Some(Err(ErrorKind::AuthenticationOverloaded)) => Err(overloaded()),
                Some(Err(_)) | None => Err(ErrorKind::Internal.into()),
            },
            // The task ended without a result.
            Ok(Err(_)) => Err(ErrorKind::Internal.into()),
            Err(_elapsed) => Err(overloaded()),
        }
    }

    /// Shares the verification of these credentials that is under way, or starts one.
    fn share_or_start(
        &self,
        authenticator: &Arc<Authenticator>,
        attempt: &Arc<Attempt>,
        client: Client,
        counted: Option<(&Counted, u32)>,
    ) -> Result<watch::Receiver<Verification>, RequestError> {
        let id = attempt.id();
        let mut under_way = self.under_way.lock();
        if let Some(running) = under_way.verifications.get(&id) {
            return Ok(running.clone());
        }
        let first = attempt.known_user().map(|user| (client, user.clone()));
        let first = first.filter(|first| !under_way.first.contains(first));
        let times = if first.is_some() { FIRST_ATTEMPTS } else { 1 };
        let begun = under_way.by_client.get(&client).copied().unwrap_or(0);
        let all = under_way.verifications.len();
        if begun >= self.max_by_client.saturating_mul(times)
            || all >= self.max.saturating_mul(times)
        {
            return Err(overloaded());
        }
        let begins = counted.map(|(counted, left)| counted.begin(left));
        let begins = begins.transpose()?;
        let (result, receiver) = watch::channel(None);
        under_way.verifications.insert(id, receiver.clone());
        under_way.by_client.insert(client, begun + 1);
        under_way.first.extend(first.clone());
        let job = Job {
            authenticator: Arc::clone(authenticator),
            attempt: Arc::clone(attempt),
            id,
            client,
            begins,
            first: first.map(|(_, user)| user),
            since: Instant::now(),
            result,
        };
        if under_way.running < self.threads {
            under_way.running += 1;
            drop(under_way);
            // A task of its own: the request that began it may be aborted while others wait.
            tokio::spawn(run(Arc::clone(&self.under_way), job));
        } else {
            under_way.waiting.push(client, job);
        }
        Ok(receiver)
    }
}

impl Attempts {
    fn end(&mut self, id: AttemptId, client: Client, first: Option<User>) {
        self.verifications.remove(&id);
        if let Some(user) = first {
            self.first.remove(&(client, user));
        }
        if let Entry::Occupied(mut begun) = self.by_client.entry(client) {
            *begun.get_mut() -= 1;
            if *begun.get() == 0 {
                begun.remove();
            }
        }
    }
}

/// Does `job`, and then whichever is next, until none waits.
async fn run(under_way: Arc<Mutex<Attempts>>, job: Job) {
    let mut next = Some(job);
    while let Some(job) = next {
        let Job {
            authenticator,
            attempt,
            id,
            client,
            begins,
            first,
            since,
            result,
        } = job;
        let verified = if since.elapsed() < MAX_WAIT {
            verify(authenticator, attempt, begins.as_ref()).await
        } else {
            // Whoever began it was told so.
            Err(ErrorKind::AuthenticationOverloaded)
        };
        drop(begins);
        {
            let mut under_way = under_way.lock();
            // First out of the map, so that later requests ask the cache.
            under_way.end(id, client, first);
            next = under_way.waiting.pop();
            if next.is_none() {
                under_way.running -= 1;
            }
        }
        result.send_replace(Some(verified));
    }
}

/// Verifies a password, unless its login is locked out by now. Counts a failure here, since the request may be gone.
async fn verify(
    authenticator: Arc<Authenticator>,
    attempt: Arc<Attempt>,
    begins: Option<&Begins>,
) -> Result<Verified, ErrorKind> {
    let counted = begins.map(Begins::counted);
    if let Some(counted) = counted
        && !authenticator.was_verified(attempt.here())
    {
        match counted.standing() {
            Standing::Locked { .. } => return Ok(Verified::Not),
            Standing::KnownWrong => {
                // It has counted before.
                let once = CountedOnce::default();
                once.is_first(counted);
                return Ok(Verified::Wrong(once));
            }
            Standing::Open { .. } => {}
        }
    }
    match (hash(authenticator, attempt).await?, counted) {
        (Some(user), _) => Ok(Verified::User(user)),
        (None, counted) => {
            let once = CountedOnce::default();
            counted.inspect(|counted| once.failed(counted));
            Ok(Verified::Wrong(once))
        }
    }
}

async fn hash(
    authenticator: Arc<Authenticator>,
    attempt: Arc<Attempt>,
) -> Result<Option<User>, ErrorKind> {
    let hashed =
        tokio::task::spawn_blocking(move || authenticator.verify(&attempt, Instant::now()));
    hashed.await.map_err(|error| {
        log::error!("password verification failed: {error}");
        ErrorKind::Internal
    })
}

fn overloaded() -> RequestError {
    RequestError::new(ErrorKind::AuthenticationOverloaded).retry_after(RETRY_AFTER)
}
