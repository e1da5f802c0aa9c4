//! Calls that many requests wait for: equal ones share one, so many run at once, and clients take turns for the next
//! one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::access::auth::external::QuestionKey;
use crate::access::client::Client;
use crate::access::shares::Shares;
use crate::request::admit::turns::Turns;

/// What makes a call, given the time that is left for it.
type Call<T> = Box<dyn FnOnce(Duration) -> Pin<T> + Send>;
type Pin<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send>>;

/// The bounded place where calls are made.
pub(super) struct Calls<T> {
    state: Arc<Mutex<State<T>>>,
}

struct State<T> {
    /// How many run at once.
    most: usize,
    running: usize,
    /// How many of them are of which client: one client leaves places to the others.
    shares: Shares,
    under_way: HashMap<QuestionKey, UnderWay<T>>,
    waiting: Turns<Client, Job<T>>,
}

/// A call that waits or runs.
struct UnderWay<T> {
    result: watch::Receiver<Option<T>>,
    /// When the last of the requests that wait for it gives up.
    until: Instant,
}

struct Job<T> {
    key: QuestionKey,
    client: Client,
    call: Call<T>,
    result: watch::Sender<Option<T>>,
}

/// The place of a call that runs, until dropped.
struct Place<T: Clone + Send + Sync + 'static> {
    state: Arc<Mutex<State<T>>>,
    key: QuestionKey,
    client: Client,
}

impl<T: Clone + Send + Sync + 'static> Calls<T> {
    /// At most `most` at once.
    pub(super) fn new(most: usize) -> Self {
        let state = State {
            most,
            running: 0,
            shares: Shares::new(most),
            under_way: HashMap::new(),
            waiting: Turns::default(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The result of the call for `key`: that which is under way, else what `known` has by now, else that of `call`.
    /// None where there is none within `timeout`.
    pub(super) async fn ask(
        &self,
        key: QuestionKey,
        client: Client,
        timeout: Duration,
        known: impl FnOnce() -> Option<T>,
        call: Call<T>,
    ) -> Option<T> {
        let until = Instant::now() + timeout;
        let mut result = {
            let mut state = self.state.lock();
            if let Some(other) = state.under_way.get_mut(&key) {
                other.until = until;
                other.result.clone()
            } else if let Some(known) = known() {
                return Some(known);
            } else {
                let (sender, result) = watch::channel(None);
                let job = Job {
                    key,
                    client,
                    call,
                    result: sender,
                };
                let receiver = result.clone();
                let other = UnderWay {
                    result: receiver,
                    until,
                };
                state.under_way.insert(key, other);
                state.waiting.push(client, job);
                start_due(&self.state, &mut state);
                result
            }
        };
        let result = result.wait_for(Option::is_some);
        let result = tokio::time::timeout_at(until, result).await;
        // The channel closes for a call that is not made any more.
        result.ok()?.ok()?.clone()
    }
}

/// Starts the calls that may run now. A task each: the request that began one may be aborted while others wait.
fn start_due<T: Clone + Send + Sync + 'static>(all: &Arc<Mutex<State<T>>>, state: &mut State<T>) {
    let Ok(runtime) = Handle::try_current() else {
        // The process stops.
        return;
    };
    let now = Instant::now();
    while state.running < state.most {
        let free = state.most - state.running;
        let shares = &state.shares;
        let Some(job) = state.waiting.pop_where(|client| shares.allow(client, free)) else {
            return;
        };
        let until = state.under_way.get(&job.key).map(|other| other.until);
        let left = until.unwrap_or(now).saturating_duration_since(now);
        // One receiver is in the map.
        if left.is_zero() || job.result.receiver_count() < 2 {
            state.under_way.remove(&job.key);
            continue;
        }
        state.running += 1;
        state.shares.take(job.client);
        let place = Place {
            state: Arc::clone(all),
            key: job.key,
            client: job.client,
        };
        runtime.spawn(async move {
            let result = (job.call)(left).await;
            // First out of the map, so that later requests ask the cache.
            drop(place);
            job.result.send_replace(Some(result));
        });
    }
}

impl<T: Clone + Send + Sync + 'static> Drop for Place<T> {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.under_way.remove(&self.key);
        state.running -= 1;
        state.shares.give_back(self.client);
        start_due(&self.state, &mut state);
    }
}
