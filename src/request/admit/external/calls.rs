//! Calls that many requests wait for: equal ones share one, so many run at once, and clients take turns for the next
//! one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
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

/// Asked when the turn of a guess comes, while nothing else may begin.
type Gate<T> = Box<dyn Fn() -> Turn<T> + Send>;

/// What becomes of a guess whose turn it is.
pub(super) enum Turn<T> {
    /// It is made, where fewer guesses of its client than this are being made.
    Open(usize),
    /// It is not made, and this is its result.
    Over(T),
}

/// A call to be made.
pub(super) struct Wanted<T> {
    /// Who has it made.
    pub(super) client: Client,
    /// What makes it.
    pub(super) call: Call<T>,
    /// There for a guess: the client may learn from the result whether credentials are right.
    pub(super) gate: Option<Gate<T>>,
}

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
    /// How many guesses of each client run.
    guesses: HashMap<Client, usize>,
    under_way: HashMap<QuestionKey, UnderWay<T>>,
    /// The guesses of a client are apart: they may have to wait for each other, and its other calls do not.
    waiting: Turns<(Client, IsGuess), Job<T>>,
}

/// Whether a call is a guess.
type IsGuess = bool;

/// A call that waits or runs.
struct UnderWay<T> {
    result: watch::Receiver<Option<T>>,
    /// When the last of the requests that wait for it gives up.
    until: Instant,
}

struct Job<T> {
    key: QuestionKey,
    wanted: Wanted<T>,
    result: watch::Sender<Option<T>>,
}

/// A call that may run now.
struct Due<T: Clone + Send + Sync + 'static> {
    call: Call<T>,
    result: watch::Sender<Option<T>>,
    left: Duration,
    place: Place<T>,
}

/// The place of a call that runs, until dropped.
struct Place<T: Clone + Send + Sync + 'static> {
    state: Arc<Mutex<State<T>>>,
    key: QuestionKey,
    client: Client,
    is_guess: IsGuess,
}

impl<T: Clone + Send + Sync + 'static> Calls<T> {
    /// At most `most` at once.
    pub(super) fn new(most: usize) -> Self {
        let state = State {
            most,
            running: 0,
            shares: Shares::new(most),
            guesses: HashMap::new(),
            under_way: HashMap::new(),
            waiting: Turns::default(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The result of the call for `key`: that which is under way, else what `known` has by now, else that of the wanted
    /// one. None where there is none within `timeout`.
    pub(super) async fn ask(
        &self,
        key: QuestionKey,
        timeout: Duration,
        known: impl FnOnce() -> Option<T>,
        wanted: Wanted<T>,
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
                let turns = (wanted.client, wanted.gate.is_some());
                let job = Job {
                    key,
                    wanted,
                    result: sender,
                };
                let other = UnderWay {
                    result: result.clone(),
                    until,
                };
                state.under_way.insert(key, other);
                state.waiting.push(turns, job);
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
            let Some((job, over)) = self.next() else {
                break;
            };
            let Job {
                key,
                wanted,
                result,
            } = job;
            if let Some(over) = over {
                self.under_way.remove(&key);
                result.send_replace(Some(over));
                continue;
            }
            let until = self.under_way.get(&key).map(|other| other.until);
            let left = until.unwrap_or(now).saturating_duration_since(now);
            // One receiver is in the map.
            if left.is_zero() || result.receiver_count() < 2 {
                self.under_way.remove(&key);
                continue;
            }
            let (client, is_guess) = (wanted.client, wanted.gate.is_some());
            self.running += 1;
            self.shares.take(client);
            if is_guess {
                *self.guesses.entry(client).or_insert(0) += 1;
            }
            due.push(Due {
                call: wanted.call,
                result,
                left,
                place: Place {
                    state: Arc::clone(all),
                    key,
                    client,
                    is_guess,
                },
            });
        }
        due
    }

    /// The next call, and its result where it is not made. A guess that has to wait for others of its client is passed
    /// over: the end of one of them comes here again.
    fn next(&mut self) -> Option<(Job<T>, Option<T>)> {
        let free = self.most - self.running;
        let mut over = None;
        let job = self.waiting.pop_where(|(client, _), job| {
            if !self.shares.allow(client, free) {
                return false;
            }
            match job.wanted.gate.as_ref().map(|gate| gate()) {
                None => true,
                Some(Turn::Over(result)) => {
                    over = Some(result);
                    true
                }
                Some(Turn::Open(most)) => {
                    let guesses = self.guesses.get(&client).copied().unwrap_or_default();
                    guesses < most.max(1)
                }
            }
        })?;
        Some((job, over))
    }
}

/// Starts calls, without the lock: a process that stops drops them at once. A task each, since the request that began
/// one may be aborted while others wait.
fn start<T: Clone + Send + Sync + 'static>(due: Vec<Due<T>>) {
    for due in due {
        tokio::spawn(async move {
            let result = (due.call)(due.left).await;
            // First out of the map, so that later requests ask the cache.
            let next = due.place.give_back();
            due.result.send_replace(Some(result));
            start(next);
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
        if self.is_guess
            && let Entry::Occupied(mut guesses) = state.guesses.entry(self.client)
        {
            *guesses.get_mut() -= 1;
            if *guesses.get() == 0 {
                guesses.remove();
            }
        }
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
            certificate: None,
            authorization: None,
        };
        question.key(&[1; 32]).unwrap()
    }

    fn client(number: u8) -> Client {
        Client::site([192, 0, 2, number].into())
    }

    fn wanted(call: Call<Duration>, gate: Option<Gate<Duration>>) -> Wanted<Duration> {
        let client = client(1);
        Wanted { client, call, gate }
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
        calls
            .ask(key(number), TIMEOUT, || None, wanted(call, None))
            .await
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
    async fn guesses_wait_for_each_other_and_other_calls_for_none() {
        let calls = Arc::new(Calls::new(8));
        let most = Arc::new(AtomicUsize::new(2));
        let (running, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let ask = |number: usize, is_guess: bool| {
            let (calls, most) = (Arc::clone(&calls), Arc::clone(&most));
            let (running, peak) = (Arc::clone(&running), Arc::clone(&peak));
            async move {
                let call: Call<Duration> = Box::new(move |left| {
                    Box::pin(async move {
                        if is_guess {
                            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                            peak.fetch_max(now, Ordering::SeqCst);
                            tokio::time::sleep(Duration::from_secs(1)).await;
                            running.fetch_sub(1, Ordering::SeqCst);
                        }
                        left
                    })
                });
                let gate: Gate<Duration> = Box::new(move || match most.load(Ordering::SeqCst) {
                    0 => Turn::Over(Duration::ZERO),
                    most => Turn::Open(most),
                });
                let wanted = wanted(call, is_guess.then_some(gate));
                calls.ask(key(number), TIMEOUT, || None, wanted).await
            }
        };
        let guesses: Vec<_> = (0..6)
            .map(|number| tokio::spawn(ask(number, true)))
            .collect();
        while peak.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        // At once, though four guesses of its client wait.
        assert_eq!(ask(9, false).await, Some(TIMEOUT));
        tokio::time::sleep(Duration::from_millis(1500)).await;
        // Two more are made by now; the others find the gate closed.
        most.store(0, Ordering::SeqCst);
        let mut results = Vec::new();
        for guess in guesses {
            results.push(guess.await.unwrap().unwrap());
        }
        let over = results.iter().filter(|left| left.is_zero()).count();
        assert_eq!((over, peak.load(Ordering::SeqCst)), (2, 2), "{results:?}");
        let state = calls.state.lock();
        assert!(state.under_way.is_empty() && state.guesses.is_empty() && state.running == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_panics_gives_its_place_back() {
        let calls = Calls::<Duration>::new(1);
        let call: Call<Duration> = Box::new(|_| Box::pin(async { panic!("on purpose") }));
        let asked = calls.ask(key(1), TIMEOUT, || None, wanted(call, None));
        assert_eq!(asked.await, None);
        let made = Arc::default();
        let next = ask(&calls, 1, Duration::ZERO, &made).await;
        assert_eq!(next, Some(TIMEOUT));
    }
}
