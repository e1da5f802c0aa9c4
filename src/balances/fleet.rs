//! Limits that the instances of a fleet share: the thread that asks their store, Redis or Valkey.
//!
//! ```text
//! requests -> Fleet, Ledgers (memory) <-> Syncer: one thread, a call each 100 ms <-> one script in the store
//! ```
//!
//! **Requests do not wait for the store**, but for the first place of a member, for the first look at a quota, and where
//! this instance alone has nothing left; then for one answer, for `timeout` at most. What they take is told
//! with the next call: members and ledgers that have changed, many in one call, none twice in it. So what is known is
//! bounded by the tables, whatever the store does.
//!
//! **What the store has.** For a rate, when the next one is due, by its clock. For what is open at once, how many places
//! each instance has, and until when ([`LEASE`]): those of an instance that ends without a word are free after that. For a
//! quota, the bytes of one period, with a key that ends a day after it. All begins with `prefix`.
//!
//! **Nothing counts twice.** A call has a number, and is repeated until it is answered; the store adds what it has once.
//!
//! **A store that forgets.** Its data has a beginning. An instance that knows an earlier one says so, and for a second no new
//! places are leased, until all instances have told of theirs. Balances are written again: the larger one counts, unless a reset is newer.
//! Rates begin with a whole burst. The same second passes after a store that stood still until all leases had ended.
//!
//! **A store that does not work** leaves each instance with the whole limits, or has requests denied. It is tried each
//! second.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use redis::Connection;

use self::call::{Call, Caller, Item, MAX_ITEMS};
use super::store::StoreError;
use super::{OnFailure, Shared, State, StoreSettings};
use crate::access::limits::fleet::{Fleet, Member};
use crate::access::limits::quota::{Ledger, Ledgers, now};
use crate::telemetry::Telemetry;
use crate::telemetry::throttle::Throttle;

mod balance;
mod call;
mod connection;
#[cfg(test)]
mod tests;

pub use self::balance::SharedBalances;
pub use self::connection::{RedisAddress, RedisSettings};

/// Between two calls while requests go on.
const INTERVAL: Duration = Duration::from_millis(100);

/// Between two calls of an instance that has nothing to tell, and between two attempts to reach the store.
const RENEWAL: Duration = Duration::from_secs(1);

/// How long the store remembers an instance, and what it has.
const LEASE: Duration = Duration::from_secs(5);

/// So many calls are made before requests that wait are looked at again.
const MAX_CALLS: usize = 8;

/// The table of ledgers is swept in so many renewals.
const SWEEP: usize = 60;

/// What the thread is told.
pub(super) enum Command {
    /// To ask at once.
    Wake,
    /// To tell the rest, and end. It answers whether it could.
    Stop(mpsc::Sender<bool>),
}

/// The way to the thread.
#[derive(Debug)]
pub(super) struct Mailbox(mpsc::SyncSender<Command>);

/// The thread.
pub(super) struct Syncer {
    fleet: Arc<Fleet>,
    ledgers: Arc<Ledgers>,
    shared: Arc<Shared>,
    settings: RedisSettings,
    on_failure: OnFailure,
    telemetry: Arc<Telemetry>,
    commands: mpsc::Receiver<Command>,
    failures: Throttle,
    caller: Caller,
    /// None while it does not work.
    connection: Option<Connection>,
    /// The call that was not answered.
    unanswered: Option<Call>,
    number: u64,
    instances: u32,
    next: Instant,
    next_renewal: Instant,
    /// Members to tell of.
    members: VecDeque<Arc<Member>>,
    ledgers_left: Vec<Arc<Ledger>>,
    /// Members that have places, of which the store is told again and again.
    kept: Vec<Arc<Member>>,
    buffer: Vec<Arc<Member>>,
    turn: usize,
}

impl Mailbox {
    /// Whether the thread gets the command.
    pub(super) fn send(&self, command: Command) -> bool {
        self.0.send(command).is_ok()
    }
}

impl Syncer {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(
        fleet: Arc<Fleet>,
        ledgers: Arc<Ledgers>,
        shared: Arc<Shared>,
        store: &StoreSettings,
        settings: RedisSettings,
        telemetry: Arc<Telemetry>,
    ) -> io::Result<Mailbox> {
        let (commands, received) = mpsc::sync_channel(8);
        let waking = commands.clone();
        fleet.on_wait(move || {
            // A full channel wakes it as well.
            let _ = waking.try_send(Command::Wake);
        });
        let syncer = Syncer {
            fleet,
            ledgers,
            shared,
            on_failure: store.on_failure,
            telemetry,
            commands: received,
            failures: Throttle::new(),
            caller: Caller::new(&settings.prefix),
            settings,
            connection: None,
            unanswered: None,
            number: 0,
            instances: 1,
            next: Instant::now(),
            next_renewal: Instant::now(),
            members: VecDeque::new(),
            ledgers_left: Vec::new(),
            kept: Vec::new(),
            buffer: Vec::new(),
            turn: 0,
        };
        let thread = thread::Builder::new().name("fleet".to_owned());
        thread.spawn(move || syncer.run())?;
        Ok(Mailbox(commands))
    }

    fn run(mut self) {
        loop {
            self.turn();
            let left = self.next.saturating_duration_since(Instant::now());
            match self.commands.recv_timeout(left) {
                Ok(Command::Wake) | Err(mpsc::RecvTimeoutError::Timeout) => {}
                Ok(Command::Stop(done)) => {
                    let is_whole = self.stop();
                    let _ = done.send(is_whole);
                    return;
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Tells what has changed, if it is time, and what requests wait for.
    fn turn(&mut self) {
        let time = Instant::now();
        let mut urgent = 0;
        let members = &mut self.members;
        let turn = self.fleet.take_urgent(&mut self.buffer, |member| {
            urgent += 1;
            members.push_front(member);
        });
        if time >= self.next {
            self.next = time + INTERVAL;
            self.fleet
                .take_changed(&mut self.buffer, |member| members.push_back(member));
        }
        if self.connection.is_none() && time >= self.next_renewal {
            self.connect();
        }
        match self.connection {
            Some(_) => self.tell(time, urgent),
            None => self.keep(),
        }
        self.shared.turned(turn);
    }

    fn connect(&mut self) {
        self.next_renewal = Instant::now() + RENEWAL;
        match connection::connect(&self.settings) {
            Ok(connection) => {
                self.connection = Some(connection);
                // All that is open and was used is told: the data may be older.
                self.next_renewal = Instant::now();
                if self.caller.epoch != 0 {
                    self.ledgers.change_all();
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    /// What is not told now stays in the tables. What is open is told when the store works again.
    fn keep(&mut self) {
        for member in self.members.drain(..) {
            member.unlist();
            if member.has_places() && !member.keep(true) {
                self.kept.push(member);
            }
        }
        self.forget();
    }

    /// Forgets members that have no places any more.
    fn forget(&mut self) {
        self.kept.retain(|member| {
            let has_places = member.has_places();
            if !has_places {
                member.keep(false);
            }
            has_places
        });
    }

    fn tell(&mut self, time: Instant, urgent: usize) {
        let is_renewal = time >= self.next_renewal;
        if is_renewal {
            self.next_renewal = time + RENEWAL;
            // None twice: it would seem to be idle the second time.
            let others = self.kept.iter().filter(|member| member.enter_list());
            self.members.extend(others.map(Arc::clone));
            self.sweep();
        }
        self.ledgers_left.append(&mut self.ledgers.take_changed());
        if let Err(error) = self.tell_all(is_renewal, urgent) {
            self.failed(&error);
            self.keep();
        } else if is_renewal {
            self.forget();
        }
    }

    /// Tells of all that is left, as far as it is quickly done. `urgent` members come first, and all of them.
    fn tell_all(&mut self, mut is_needed: bool, urgent: usize) -> Result<(), StoreError> {
        if let Some(call) = self.unanswered.take() {
            self.call(call)?;
        }
        let others = self.members.len().saturating_sub(urgent);
        let mut calls = 0;
        while calls < MAX_CALLS || self.members.len() > others {
            let items = self.items();
            if items.is_empty() && !is_needed {
                return Ok(());
            }
            is_needed = false;
            calls += 1;
            self.number += 1;
            let number = self.number;
            self.call(Call { number, items })?;
        }
        self.next = Instant::now();
        Ok(())
    }

    /// What the next call is about.
    fn items(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        while items.len() < MAX_ITEMS
            && let Some(member) = self.members.pop_front()
        {
            if !member.unlist() {
                continue;
            }
            member.asks(self.instances, |ask| {
                items.push(Item::Limit(Arc::clone(&member), ask));
            });
        }
        let classes = self.shared.classes();
        let time = now();
        while items.len() < MAX_ITEMS
            && let Some(ledger) = self.ledgers_left.pop()
        {
            let class = classes.as_ref();
            let class = class.and_then(|classes| classes.by_name(ledger.key().class.as_str()));
            if let Some(quota) = class.and_then(|class| class.limits().quota) {
                ledger.begin(&quota, time);
            }
            for balance in ledger.take() {
                items.push(Item::Quota(Arc::clone(&ledger), balance));
            }
        }
        items
    }

    fn call(&mut self, call: Call) -> Result<(), StoreError> {
        let Some(connection) = &mut self.connection else {
            self.unanswered = Some(call);
            return Ok(());
        };
        let begun = Instant::now();
        let answered = match self.caller.call(connection, &call) {
            Ok(answered) => answered,
            Err(error) => {
                self.unanswered = Some(call);
                return Err(error);
            }
        };
        let time = Instant::now();
        self.telemetry.store_synced(time.duration_since(begun));
        self.instances = answered.instances;
        let former = std::mem::replace(&mut self.caller.epoch, answered.epoch);
        if former != 0 && former != answered.epoch {
            log::warn!("limits: the store has lost its data; instances tell it theirs");
            self.next_renewal = time;
            self.ledgers.change_all();
        }
        for (item, numbers) in answered.each(&call) {
            item.answered(numbers, &answered);
            if let Item::Limit(member, _) = item
                && member.has_places()
                && !member.keep(true)
            {
                self.kept.push(Arc::clone(member));
            }
        }
        if self.fleet.instances() != Some(self.instances) {
            self.fleet.set(true, self.instances);
        }
        if !self.shared.is_known() {
            let address = &self.settings.address;
            log::info!(
                "limits: {address} works; {} share them",
                instances(self.instances)
            );
            self.telemetry.store_works("redis");
            self.shared.set(State::Known);
        }
        Ok(())
    }

    fn failed(&mut self, error: &StoreError) {
        self.connection = None;
        self.next_renewal = Instant::now() + RENEWAL;
        self.fleet.set(false, self.instances);
        self.telemetry.store_failed("redis", &error.to_string());
        if let StoreError::Server { kind, .. } = error {
            self.telemetry.sync_failed(kind);
        }
        if let Some(passed) = self.failures.pass() {
            let so = match self.on_failure {
                OnFailure::Admit => "each instance has the whole limits for itself",
                OnFailure::Deny => "requests with such limits get 503",
            };
            let address = &self.settings.address;
            log::error!("limits: {address}: {error}; until it works, {so}{passed}");
        }
        // Last: a request that is denied now has its reason in the log.
        self.shared.set(State::Failed);
    }

    /// Forgets ledgers of which there is nothing to know.
    fn sweep(&mut self) {
        let time = now();
        for _ in 0..self.ledgers.parts().div_ceil(SWEEP) {
            // The store forgets by itself.
            self.ledgers.sweep(self.turn, time);
            self.turn = self.turn.wrapping_add(1);
        }
    }

    /// Tells the rest, and gives everything back. Whether that was possible.
    fn stop(&mut self) -> bool {
        self.next = Instant::now();
        self.next_renewal = self.next;
        self.turn();
        let Some(connection) = &mut self.connection else {
            log::error!(
                "limits: the bytes that were counted last are lost: the store does not work"
            );
            return false;
        };
        let key = self.caller.instances_key();
        let left = redis::cmd("ZREM")
            .arg(key)
            .arg(&self.caller.id)
            .exec(connection);
        let _ = redis::cmd("DEL")
            .arg(self.caller.last_call_key())
            .exec(connection);
        left.is_ok()
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        // A defect, and no silent one.
        if thread::panicking() {
            self.telemetry
                .store_failed("redis", "its thread has panicked");
            self.fleet.set(false, self.instances);
            self.shared.set(State::Failed);
        }
    }
}

fn instances(count: u32) -> String {
    crate::text::count(usize::try_from(count).unwrap_or(usize::MAX), "instance")
}
