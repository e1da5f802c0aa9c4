//! Calls that many requests wait for: equal ones share one, so many run at once, and clients take turns for the next
//! one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
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

/// A call that may run now.
struct Due<T: Clone + Send + Sync + 'static> {
    job: Job<T>,
    left: Duration,
    place: Place<T>,
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
        let (mut result, due) = {
            let mut state = self.state.lock();
            if let Some(other) = state.under_way.get_mut(&key) {
                other.until = until;
                (other.result.clone(), Vec::new())
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
                let other = UnderWay {
                    result: result.clone(),
                    until,
                };
                state.under_way.insert(key, other);
                state.waiting.push(client, job);
                (result, state.take_due(&self.state))
            }
        };
        start(due);
        let result = result.wait_for(Option::is_some);
        let result = tokio::time::timeout_at(until, result).await;
        // The channel closes for a call that is not made any more.
        result.ok()?.ok()?.clone()
    }
}

impl<T: Clone + Send + Sync + 'static> State<T> {
    /// The calls that may run now, each with its place.
    fn take_due(&mut self, all: &Arc<Mutex<Self>>) -> Vec<Due<T>> {
        let now = Instant::now();
        let mut due = Vec::new();
        while self.running < self.most {
            let free = self.most - self.running;
            let shares = &self.shares;
            let Some(job) = self.waiting.pop_where(|client| shares.allow(client, free)) else {
                break;
            };
            let until = self.under_way.get(&job.key).map(|other| other.until);
            let left = until.unwrap_or(now).saturating_duration_since(now);
            // One receiver is in the map.
            if left.is_zero() || job.result.receiver_count() < 2 {
                self.under_way.remove(&job.key);
                continue;
            }
            self.running += 1;
            self.shares.take(job.client);
            let place = Place {
                state: Arc::clone(all),
                key: job.key,
                client: job.client,
            };
            due.push(Due { job, left, place });
        }
        due
    }
}

/// Starts calls, without the lock: a process that stops drops them at once. A task each, since the request that began
/// one may be aborted while others wait.
fn start<T: Clone + Send + Sync + 'static>(due: Vec<Due<T>>) {
    for Due { job, left, place } in due {
        tokio::spawn(async move {
            let result = (job.call)(left).await;
            // First out of the map, so that later requests ask the cache.
            let due = place.give_back();
            job.result.send_replace(Some(result));
            start(due);
        });
    }
}

impl<T: Clone + Send + Sync + 'static> Place<T> {
    /// The calls that may run now in its place.
    fn give_back(self) -> Vec<Due<T>> {
        let state = Arc::clone(&self.state);
        drop(self);
        state.lock().take_due(&state)
    }
}

impl<T: Clone + Send + Sync + 'static> Drop for Place<T> {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.under_way.remove(&self.key);
        state.running -= 1;
        state.shares.give_back(self.client);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::access::auth::external::Question;
    use crate::http::role::Role;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn key(number: usize) -> QuestionKey {
        let question = Question {
            id: "",
            user: None,
            client: "192.0.2.1".parse().unwrap(),
            role: Role::Tunnel,
            method: "CONNECT",
            scheme: None,
            target: Some(&number.to_string()),
            paths: &[],
            query: None,
            path: None,
            tls: false,
            groups: vec![],
            rule: None,
            password: None,
            uri: "",
            authorization: None,
        };
        question.key(&[1; 32]).unwrap()
    }

    fn client(number: u8) -> Client {
        Client::site([192, 0, 2, number].into())
    }

    /// Asks for the result of a call that takes so long.
    async fn ask(
        calls: &Calls<Duration>,
        number: usize,
        takes: Duration,
        made: &Arc<AtomicUsize>,
    ) -> Option<Duration> {
        let made = Arc::clone(made);
        let call: Call<Duration> = Box::new(move |left| {
            Box::pin(async move {
                made.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(takes).await;
                left
            })
        });
        let asked = calls.ask(key(number), client(1), TIMEOUT, || None, call);
        asked.await
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_has_the_time_that_is_left_and_none_without_it() {
        let calls = Calls::new(1);
        let made = Arc::default();
        let seconds = Duration::from_secs;
        let (first, second, third) = tokio::join!(
            ask(&calls, 1, seconds(2), &made),
            ask(&calls, 2, seconds(4), &made),
            ask(&calls, 3, seconds(0), &made),
        );
        // The second one is too slow by a second, and for the third one there is no time left.
        assert_eq!((first, second, third), (Some(TIMEOUT), None, None));
        assert_eq!(made.load(Ordering::SeqCst), 2);
        // Its end is that of the second call, and then there is nothing left.
        assert_eq!(ask(&calls, 4, seconds(0), &made).await, Some(seconds(4)));
        let state = calls.state.lock();
        assert!(state.under_way.is_empty() && state.running == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_nothing_waits_for_is_not_made() {
        let calls = Arc::new(Calls::new(1));
        let made = Arc::default();
        let abandoned = tokio::spawn({
            let (calls, made) = (Arc::clone(&calls), Arc::clone(&made));
            async move {
                let takes = Duration::from_secs(1);
                tokio::join!(ask(&calls, 1, takes, &made), ask(&calls, 2, takes, &made))
            }
        });
        while made.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        abandoned.abort();
        assert!(abandoned.await.is_err());
        // The first one goes on for others that may come; the second one has not begun.
        let last = ask(&calls, 3, Duration::ZERO, &made).await;
        assert_eq!(last, Some(Duration::from_secs(4)));
        assert_eq!(made.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_panics_gives_its_place_back() {
        let calls = Calls::<Duration>::new(1);
        let call: Call<Duration> = Box::new(|_| Box::pin(async { panic!("on purpose") }));
        let asked = calls.ask(key(1), client(1), TIMEOUT, || None, call);
        assert_eq!(asked.await, None);
        let made = Arc::default();
        let next = ask(&calls, 1, Duration::ZERO, &made).await;
        assert_eq!(next, Some(TIMEOUT));
    }
}
