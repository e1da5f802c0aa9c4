//! The thread that keeps the balances: it opens the store, writes what has changed, and answers at the socket.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::link::{self, Answer, Request};
use super::report::Reporter;
use super::store::{self, Reports, Store, StoreError};
use super::transfer::{load, write};
use super::{OnFailure, Shared, State, StoreSettings, socket_path};
use crate::access::limits::quota::{Key, Ledgers, Loaded, Row, now};
use crate::telemetry::Telemetry;
use crate::telemetry::throttle::Throttle;
use crate::text::count;

/// Between two reports, and two attempts to open the store. What was counted is written down after as long.
const INTERVAL: Duration = Duration::from_secs(1);

/// Between two attempts while another process may be about to close the store.
const SHORT_INTERVAL: Duration = Duration::from_millis(20);

/// How long another process may have the store before that is a failure: it writes its last balances. In an upgrade it
/// does that when this one serves.
const PATIENCE: Duration = Duration::from_secs(4);
const PATIENCE_IN_UPGRADE: Duration = Duration::from_secs(60);

/// The table is swept in so many seconds.
const SWEEP: usize = 60;

/// How long the last report of a process is remembered after it, in seconds. No drain lasts longer.
const REMEMBERED: i64 = 2 * 86_400;

/// What the keeper is told. It answers when it has done it: whether all is written.
pub(super) enum Command {
    /// To write now.
    Save(mpsc::Sender<bool>),
    /// To leave the store to the next process.
    HandOver(mpsc::Sender<bool>),
    /// To write, and end.
    Stop(mpsc::Sender<bool>),
}

/// The way to the keeper.
#[derive(Debug)]
pub(super) struct Mailbox {
    commands: mpsc::Sender<Command>,
    wake: UnixStream,
}

/// The thread.
pub(super) struct Keeper {
    ledgers: Arc<Ledgers>,
    shared: Arc<Shared>,
    settings: StoreSettings,
    telemetry: Arc<Telemetry>,
    commands: mpsc::Receiver<Command>,
    woken: UnixStream,
    role: Role,
    failures: Throttle,
    /// Until when another process may have the store.
    patient_until: Instant,
    next: Instant,
    /// Whether the store has been read once: from then on memory knows better.
    is_read: bool,
    turn: usize,
    /// Ledgers that are forgotten, and to be removed from the store.
    gone: Vec<Key>,
    /// Whether the socket is left alone until the next turn: this process has no descriptor for a connection.
    is_deaf: bool,
}

/// Who owns the store.
enum Role {
    /// This process, or so it wants.
    Owner(Owner),
    /// The next one.
    Reporter(Reporter),
}

#[derive(Default)]
struct Owner {
    /// None while it does not work.
    store: Option<Box<dyn Store>>,
    listener: Option<UnixListener>,
    reports: Reports,
}

impl Mailbox {
    /// Whether the keeper gets the command.
    pub(super) fn send(&self, command: Command) -> bool {
        let is_sent = self.commands.send(command).is_ok();
        // A full pipe wakes it as well.
        let _ = (&self.wake).write(&[0]);
        is_sent
    }
}

/// From the beginning of a transaction that took so long to the beginning of the next one. What is counted behind the first
/// one is safe at the end of the next one, which may take longer.
fn pause(took: Duration) -> Duration {
    INTERVAL.saturating_sub(took * 2).max(took)
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread, or no descriptor.
    pub(super) fn start(
        ledgers: Arc<Ledgers>,
        shared: Arc<Shared>,
        settings: StoreSettings,
        telemetry: Arc<Telemetry>,
        is_upgrade: bool,
    ) -> io::Result<Mailbox> {
        let (keeper, mailbox) = Keeper::new(ledgers, shared, settings, telemetry, is_upgrade)?;
        let thread = thread::Builder::new().name("balances".to_owned());
        thread.spawn(move || keeper.run())?;
        Ok(mailbox)
    }

    fn new(
        ledgers: Arc<Ledgers>,
        shared: Arc<Shared>,
        settings: StoreSettings,
        telemetry: Arc<Telemetry>,
        is_upgrade: bool,
    ) -> io::Result<(Keeper, Mailbox)> {
        let patience = match is_upgrade {
            true => PATIENCE_IN_UPGRADE,
            false => PATIENCE,
        };
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let (commands, received) = mpsc::channel();
        let keeper = Keeper {
            ledgers,
            shared,
            settings,
            telemetry,
            commands: received,
            woken,
            role: Role::Owner(Owner::default()),
            failures: Throttle::new(),
            patient_until: Instant::now() + patience,
            next: Instant::now(),
            is_read: false,
            turn: 0,
            gone: Vec::new(),
            is_deaf: false,
        };
        Ok((keeper, Mailbox { commands, wake }))
    }

    fn run(mut self) {
        loop {
            if Instant::now() >= self.next {
                self.tick();
            }
            self.wait();
            loop {
                match self.commands.try_recv() {
                    Ok(Command::Save(done)) => {
                        self.tick();
                        let _ = done.send(self.is_whole());
                    }
                    Ok(Command::HandOver(done)) => {
                        self.hand_over();
                        let _ = done.send(true);
                    }
                    Ok(Command::Stop(done)) => {
                        let is_whole = self.stop();
                        let _ = done.send(is_whole);
                        return;
                    }
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return,
                }
            }
            self.answer();
        }
    }

    /// Waits for a command, a connection, or the next turn.
    fn wait(&mut self) {
        let left = self.next.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        let mut polled = vec![PollFd::new(&self.woken, PollFlags::IN)];
        if let Role::Owner(Owner {
            listener: Some(listener),
            ..
        }) = &self.role
            && !self.is_deaf
        {
            polled.push(PollFd::new(listener, PollFlags::IN));
        }
        // An interrupted call is one that has waited.
        let _ = poll(&mut polled, timeout.as_ref());
        drop(polled);
        let mut bytes = [0; 64];
        while matches!((&self.woken).read(&mut bytes), Ok(count) if count > 0) {}
    }

    /// Whether all is written, as far as this process can.
    fn is_whole(&self) -> bool {
        match &self.role {
            Role::Owner(owner) => owner.store.is_some(),
            Role::Reporter(_) => true,
        }
    }

    fn tick(&mut self) {
        self.next = Instant::now() + INTERVAL;
        self.is_deaf = false;
        match &mut self.role {
            Role::Owner(owner) if owner.store.is_some() => {
                let begun = Instant::now();
                self.save();
                self.next = begun + pause(begun.elapsed());
            }
            Role::Owner(_) => self.open(),
            Role::Reporter(reporter) => {
                if let Err(error) = reporter.report(&self.ledgers)
                    && let Some(passed) = self.failures.pass()
                {
                    log::warn!("quotas: {error}; it is told again{passed}");
                }
            }
        }
    }

    fn open(&mut self) {
        let opened = store::open(&self.settings, true);
        let read = opened.and_then(|mut store| {
            let how = match self.is_read {
                true => Loaded::IfUnknown,
                false => Loaded::Added,
            };
            let read = load(store.as_mut(), &self.ledgers, how, now())?;
            Ok((store, read))
        });
        let (store, read) = match read {
            Ok(opened) => opened,
            Err(StoreError::Locked) if !self.is_read && Instant::now() < self.patient_until => {
                self.next = Instant::now() + SHORT_INTERVAL;
                return;
            }
            Err(error) => return self.failed(&error),
        };
        let path = self.settings.path().to_owned();
        let path = path.display();
        if read.left_out > 0 {
            let more = count(read.left_out, "balance");
            log::warn!(
                "quotas: {more} of {path} have no room, their users and networks have one balance together; \
                 raise tollgate.limits.store.entries"
            );
        }
        if self.is_read {
            // The file may be another one.
            self.ledgers.change_all();
        }
        self.is_read = true;
        self.gone.extend(read.stale);
        let Role::Owner(owner) = &mut self.role else {
            return;
        };
        owner.reports.extend(read.reports);
        owner.store = Some(store);
        if owner.listener.is_none() {
            match link::listen(&socket_path(self.settings.path())) {
                Ok(listener) => owner.listener = Some(listener),
                Err(error) => log::error!(
                    "quotas: the socket beside {path} cannot be made, so that `tollgate quota` and an upgrade \
                     do not reach this process: {error}"
                ),
            }
        }
        self.save();
        if self.is_whole() {
            log::info!("quotas: {} in {path}", count(self.ledgers.len(), "balance"));
        }
    }

    /// Writes what has changed.
    fn save(&mut self) {
        let time = now();
        for _ in 0..self.ledgers.parts().div_ceil(SWEEP) {
            self.gone.extend(self.ledgers.sweep(self.turn, time));
            self.turn = self.turn.wrapping_add(1);
        }
        let Role::Owner(owner) = &mut self.role else {
            return;
        };
        owner
            .reports
            .retain(|_, last| time.saturating_sub(last.time) < REMEMBERED);
        let Some(store) = &mut owner.store else {
            return;
        };
        let changed = self.ledgers.take_changed();
        let written = write(
            store.as_mut(),
            &self.ledgers,
            changed,
            &mut self.gone,
            &owner.reports,
        );
        match written {
            Ok(()) => {
                self.shared.set(State::Known);
                self.telemetry.store_works("file");
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Notes that the store does not work, and closes it: it is opened again in the next turn.
    fn failed(&mut self, error: &StoreError) {
        if let Role::Owner(owner) = &mut self.role {
            owner.store = None;
        }
        self.telemetry.store_failed("file", &error.to_string());
        if let Some(passed) = self.failures.pass() {
            let path = self.settings.path().display();
            let so = match self.settings.on_failure {
                OnFailure::Admit => "bytes are counted in memory alone, and requests are admitted",
                OnFailure::Deny => "requests of classes with a quota get 503",
            };
            log::error!("quotas: {path}: {error}; until it works, {so}{passed}");
        }
        // Last: a request that is denied now has its reason in the log.
        self.shared.set(State::Failed);
    }

    /// Writes what there is, and leaves the store to the next process.
    fn hand_over(&mut self) {
        let Role::Owner(owner) = &mut self.role else {
            return;
        };
        // Before the file: the next process makes a socket of its own.
        if owner.listener.take().is_some() {
            remove_socket(&self.settings);
        }
        if owner.store.is_some() {
            self.save();
        }
        self.role = Role::Reporter(Reporter::new(self.settings.clone()));
        self.next = Instant::now() + SHORT_INTERVAL;
        // The next process says whether the store works.
        self.shared.set(State::Known);
        log::info!("quotas: the new process has the balances, this one reports to it");
    }

    /// Writes or tells the rest. Whether that was possible.
    fn stop(&mut self) -> bool {
        match &mut self.role {
            Role::Owner(_) => {
                self.tick();
                let is_whole = self.is_whole();
                if let Role::Owner(owner) = &mut self.role
                    && owner.listener.take().is_some()
                {
                    remove_socket(&self.settings);
                }
                // Closed here: the next process may start at once.
                self.role = Role::Owner(Owner::default());
                is_whole
            }
            Role::Reporter(reporter) => match reporter.finish(&self.ledgers) {
                Ok(()) => true,
                Err(error) => {
                    log::error!("quotas: what this process has counted last is lost: {error}");
                    false
                }
            },
        }
    }

    /// Answers who has connected.
    fn answer(&mut self) {
        let Role::Owner(owner) = &self.role else {
            return;
        };
        let Some(listener) = &owner.listener else {
            return;
        };
        // One: the next turn comes at once while there are more.
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                self.is_deaf = error.kind() != io::ErrorKind::WouldBlock;
                return;
            }
        };
        let served = link::serve(&stream, |request, line| self.respond(request, line));
        if let Err(error) = served {
            log::warn!("quotas: a request at the socket failed: {error}");
        }
    }

    fn respond(
        &mut self,
        request: Request,
        line: &mut dyn FnMut(&Answer) -> io::Result<()>,
    ) -> io::Result<()> {
        match request {
            Request::List(filter) => {
                let classes = self.shared.classes();
                let time = now();
                let mut written = Ok(());
                self.ledgers.each(|ledger| {
                    if written.is_ok() && filter.matches(ledger) {
                        let mut rows = Row::of(ledger, classes.as_deref(), time).into_iter();
                        written = rows.try_for_each(|row| line(&Answer::Row(row)));
                    }
                });
                written?;
                line(&Answer::End)
            }
            Request::Change(change) => {
                let classes = self.shared.classes();
                let mut done = change.apply(&self.ledgers, classes.as_deref(), now());
                self.tick();
                done.saved = self.is_whole();
                line(&Answer::Done(done))
            }
            Request::Report(report) => {
                let Role::Owner(owner) = &mut self.role else {
                    return Err(io::ErrorKind::NotConnected.into());
                };
                let counted = report.apply(&self.ledgers, &mut owner.reports);
                line(&Answer::Counted(counted))
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // A defect, and no silent one.
        if thread::panicking() {
            self.telemetry
                .store_failed("file", "its thread has panicked");
            self.shared.set(State::Failed);
        }
    }
}

fn remove_socket(settings: &StoreSettings) {
    let path = socket_path(settings.path());
    if let Err(error) = std::fs::remove_file(&path) {
        log::warn!("quotas: cannot remove {}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests;
