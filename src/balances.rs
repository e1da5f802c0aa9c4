//! Balances of quotas that survive the process: the store, the thread that keeps it, and what processes tell each other.
//!
//! ```text
//! requests, tunnels -> Ledgers (memory) -> keeper: one thread, one transaction a second -> Store (a file)
//!                                             ^
//!     <file>.sock: `tollgate quota`, and a process that drains after an upgrade
//! ```
//!
//! **Memory knows, the store remembers.** Requests count in [`Ledgers`], and never wait for a disk. The keeper writes
//! what has changed, once a second: a killed process loses the bytes of that second. It reads the store once, when it opens
//! it; a request of a class with a quota waits for that, for [`OPEN_TIMEOUT`] at most.
//!
//! **One process owns the store.** The store is locked by the process that has it open, and its owner listens on the socket
//! beside it. In an upgrade the old process, once the new one serves, writes what it has, removes the socket and closes the
//! file; the new one has been trying to open it, and reads it. From then on the old process tells the new one what its
//! tunnels carry, each second, and learns the sum from the answer, so that both cut.
//!
//! **Nothing counts twice.** A report has the number of its process and a sequence number, and is repeated until it is
//! answered. The owner writes the sequence numbers in the transaction that has the bytes, so that they hold for the owner
//! after it too. A balance that is written has its absolute value.
//!
//! **A store that fails is no secret.** Counting in memory goes on, `on_failure` decides about requests of classes with a
//! quota, the error log, `tollgate_store_up` and `/stats` tell, and the store is opened again each second.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use self::fleet::Syncer;
use crate::access::limits::Classes;
use crate::access::limits::fleet::{Fleet, Pending};
use crate::access::limits::quota::{Filter, Largest, Ledgers, now};
use crate::http::error::{ErrorKind, RequestError};
use crate::telemetry::Telemetry;

mod changes;
mod fleet;
mod keeper;
mod link;
mod offline;
mod report;
mod store;
#[cfg(test)]
mod tests;
mod transfer;

pub use self::changes::{Change, Done};
pub use self::fleet::{RedisAddress, RedisSettings, SharedBalances};
use self::keeper::{Command, Keeper, Mailbox};
pub use self::link::{Answer, LinkError, Request, ask};
pub use self::offline::Offline;
pub use self::store::StoreError;

/// How long a request waits until the store has been read.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the end of the process, or a change, waits for the keeper.
const KEEPER_TIMEOUT: Duration = Duration::from_secs(5);

/// The ledgers of a process without a store.
const ENTRIES_WITHOUT_STORE: usize = 65_536;

/// Where balances are kept, and what is done when that fails.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Where they are.
    pub location: Location,
    /// What becomes of requests meanwhile.
    pub on_failure: OnFailure,
    /// The most ledgers.
    pub entries: usize,
}

/// A kind of store.
#[derive(Clone, Debug)]
pub enum Location {
    /// A file of one process.
    File(PathBuf),
    /// A server, for a fleet of instances.
    Redis(Box<RedisSettings>),
}

/// What becomes of requests with limits that are in the store, while the store does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// They are served, and counted in memory.
    Admit,
    /// They get 503.
    Deny,
}

/// The balances of a process.
#[derive(Debug)]
pub struct Balances {
    ledgers: Arc<Ledgers>,
    settings: Option<StoreSettings>,
    shared: Arc<Shared>,
    telemetry: Arc<Telemetry>,
    /// The limits that instances share, where they do.
    fleet: Option<Arc<Fleet>>,
    keeper: Mutex<Option<Thread>>,
}

/// The way to the thread that has the store.
#[derive(Debug)]
enum Thread {
    /// Of a file.
    Keeper(Mailbox),
    /// Of a server.
    Syncer(fleet::Mailbox),
}

/// What the keeper shares with requests.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The same as `state`, to be asked for each request.
    current: AtomicU8,
    state: watch::Sender<State>,
    classes: Mutex<Option<Arc<Classes>>>,
    /// The last turn of the thread that asks the store of a fleet.
    turn: watch::Sender<u64>,
}

/// Whether balances are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum State {
    /// They are, or there is no store to know them from.
    Known,
    /// The store is about to be read.
    Opening,
    /// The store does not work.
    Failed,
}

impl StoreSettings {
    /// The file; of a server, a path that is none.
    pub fn path(&self) -> &Path {
        match &self.location {
            Location::File(path) => path,
            Location::Redis(_) => Path::new(""),
        }
    }

    /// The server.
    pub fn redis(&self) -> Option<&RedisSettings> {
        match &self.location {
            Location::File(_) => None,
            Location::Redis(settings) => Some(settings),
        }
    }
}

impl OnFailure {
    /// Each of them, as in the configuration.
    pub const WORDS: [(&'static str, OnFailure); 2] =
        [("admit", OnFailure::Admit), ("deny", OnFailure::Deny)];
}

/// The socket of the process that owns the store in this file.
pub fn socket_path(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sock");
    name.into()
}

impl Shared {
    fn new(state: State) -> Shared {
        Shared {
            current: AtomicU8::new(state as u8),
            state: watch::Sender::new(state),
            classes: Mutex::default(),
            turn: watch::Sender::new(0),
        }
    }

    fn is_known(&self) -> bool {
        self.current.load(Ordering::Acquire) == State::Known as u8
    }

    /// Notes that requests have been answered that wait for this turn.
    fn turned(&self, turn: u64) {
        self.turn.send_replace(turn);
    }

    fn set(&self, state: State) {
        self.current.store(state as u8, Ordering::Release);
        self.state.send_replace(state);
    }

    fn classes(&self) -> Option<Arc<Classes>> {
        self.classes.lock().clone()
    }
}

impl Balances {
    /// Balances with this store. Opens nothing and starts no thread: the process may still fork.
    pub fn new(settings: Option<StoreSettings>, telemetry: Arc<Telemetry>) -> Balances {
        let entries = settings.as_ref().map(|settings| settings.entries);
        let ledgers = Arc::new(Ledgers::new(entries.unwrap_or(ENTRIES_WITHOUT_STORE)));
        let state = match settings {
            Some(_) => State::Opening,
            None => State::Known,
        };
        telemetry.show_ledgers(Arc::clone(&ledgers));
        let redis = settings.as_ref().and_then(StoreSettings::redis);
        Balances {
            fleet: redis.map(|_| Arc::default()),
            ledgers,
            settings,
            shared: Arc::new(Shared::new(state)),
            telemetry,
            keeper: Mutex::default(),
        }
    }

    /// The ledgers in memory.
    #[cfg(test)]
    pub fn ledgers(&self) -> &Arc<Ledgers> {
        &self.ledgers
    }

    /// Takes the limits of these classes from now on.
    pub fn set_classes(&self, classes: Option<Arc<Classes>>) {
        *self.shared.classes.lock() = classes;
    }

    /// Starts the keeper, which opens the store. Does nothing without one. In an upgrade, another process has it still.
    ///
    /// # Errors
    /// The system gives no thread, or no descriptor.
    pub fn start(&self, is_upgrade: bool) -> std::io::Result<()> {
        let Some(settings) = &self.settings else {
            return Ok(());
        };
        let (ledgers, shared) = (Arc::clone(&self.ledgers), Arc::clone(&self.shared));
        let telemetry = Arc::clone(&self.telemetry);
        let thread = match (&settings.location, &self.fleet) {
            (Location::Redis(redis), Some(fleet)) => {
                let (fleet, redis) = (Arc::clone(fleet), RedisSettings::clone(redis));
                let started = Syncer::start(fleet, ledgers, shared, settings, redis, telemetry);
                Thread::Syncer(started?)
            }
            _ => {
                let settings = settings.clone();
                let started = Keeper::start(ledgers, shared, settings, telemetry, is_upgrade);
                Thread::Keeper(started?)
            }
        };
        *self.keeper.lock() = Some(thread);
        Ok(())
    }

    /// These classes, as they are counted here.
    pub fn counted(&self, classes: &Classes) -> Classes {
        let counted = classes.counted_in(&self.ledgers);
        match &self.fleet {
            Some(fleet) => counted.shared_by(fleet),
            None => counted,
        }
    }

    /// Waits until the store was asked, for `timeout` of its settings at most.
    pub async fn asked(&self, pending: &Pending) {
        let timeout = self.settings.as_ref().and_then(StoreSettings::redis);
        let timeout = timeout.map_or(Duration::ZERO, |redis| redis.timeout);
        let mut turn = self.shared.turn.subscribe();
        let answered = turn.wait_for(|turn| *turn >= pending.turn());
        // Without an answer, what is there decides.
        let _ = tokio::time::timeout(timeout, answered).await;
    }

    /// Whether a request need not [wait](Self::wait).
    pub fn are_known(&self) -> bool {
        self.shared.is_known()
    }

    /// Waits until the store has been read.
    ///
    /// # Errors
    /// It cannot be, and requests are denied then.
    pub async fn wait(&self) -> Result<(), RequestError> {
        let mut state = self.shared.state.subscribe();
        let settled = state.wait_for(|state| *state != State::Opening);
        let settled = tokio::time::timeout(OPEN_TIMEOUT, settled).await;
        let state = settled.ok().and_then(Result::ok).map(|state| *state);
        let denies = |settings: &StoreSettings| settings.on_failure == OnFailure::Deny;
        if state != Some(State::Known) && self.settings.as_ref().is_some_and(denies) {
            let retry = Duration::from_secs(1);
            return Err(RequestError::new(ErrorKind::QuotaUnknown).retry_after(retry));
        }
        Ok(())
    }

    /// So many of the largest balances that a filter means, with users as telemetry shows them. Blocks.
    ///
    /// # Errors
    /// The server that has them does not answer.
    pub fn largest(&self, filter: &Filter, most: usize) -> Result<Largest, StoreError> {
        let classes = self.shared.classes();
        let mut largest = match self.settings.as_ref().and_then(StoreSettings::redis) {
            Some(redis) => {
                let rows = SharedBalances::open(redis)?.rows(filter, classes.as_deref())?;
                Largest::of_rows(rows, most)
            }
            None => Largest::of(&self.ledgers, filter, classes.as_deref(), now(), most),
        };
        let rows = std::mem::take(&mut largest.rows).into_iter();
        largest.rows = rows.map(|row| self.telemetry.show_row(row)).collect();
        Ok(largest)
    }

    /// Changes balances, and has them written. Blocks.
    ///
    /// # Errors
    /// The server that has them does not answer.
    pub fn change(&self, change: &Change) -> Result<Done, StoreError> {
        let classes = self.shared.classes();
        if let Some(redis) = self.settings.as_ref().and_then(StoreSettings::redis) {
            let done = SharedBalances::open(redis)?.change(change, classes.as_deref())?;
            // What is known here is older.
            let (Change::Reset(filter) | Change::Grant(filter, _)) = change;
            self.ledgers.each(|ledger| {
                if filter.matches(ledger) {
                    self.ledgers.touch(ledger);
                }
            });
            return Ok(done);
        }
        let mut done = change.apply(&self.ledgers, classes.as_deref(), now());
        done.saved = self.tell(Command::Save);
        Ok(done)
    }

    /// Gives the store to the process that serves now, and tells it from now on what is still counted here. Blocks until
    /// the store is closed. A server has both processes as instances.
    pub fn hand_over(&self) {
        self.tell(Command::HandOver);
    }

    /// Writes or tells what is not yet written or told, for the end of the process. Blocks.
    pub fn stop(&self) {
        match self.keeper.lock().take() {
            Some(Thread::Keeper(keeper)) => {
                let (done, answer) = mpsc::channel();
                if keeper.send(Command::Stop(done)) {
                    let _ = answer.recv_timeout(KEEPER_TIMEOUT);
                }
            }
            Some(Thread::Syncer(syncer)) => {
                let (done, answer) = mpsc::channel();
                if syncer.send(fleet::Command::Stop(done)) {
                    let _ = answer.recv_timeout(KEEPER_TIMEOUT);
                }
            }
            None => {}
        }
    }

    /// Whether the keeper has done it.
    fn tell(&self, command: fn(mpsc::Sender<bool>) -> Command) -> bool {
        let (done, answer) = mpsc::channel();
        let keeper = self.keeper.lock();
        let is_told = match &*keeper {
            Some(Thread::Keeper(keeper)) => keeper.send(command(done)),
            _ => false,
        };
        drop(keeper);
        is_told && answer.recv_timeout(KEEPER_TIMEOUT).unwrap_or(false)
    }
}
