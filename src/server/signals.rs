//! Signal handling. Pingora's own would always wait for its grace period,
//! has no reload, and would stop serving even when no process took over.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::{SigSet, Signal as Number};
use parking_lot::Mutex;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use super::error_log::ErrorLog;
use crate::admin::reload::Reload;
use crate::request::app::App;
use crate::server::handover;
use crate::text::count;

/// The time in which aborted connections write their record.
pub(super) const RECORD_TIME: Duration = Duration::from_secs(1);

/// The time in which the last spans are sent.
const SEND_TIME: Duration = Duration::from_secs(1);

/// The interval at which reopening an error log is tried again.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);

const HANDLED: [Number; 5] = [
    Number::SIGTERM,
    Number::SIGINT,
    Number::SIGQUIT,
    Number::SIGHUP,
    Number::SIGUSR1,
];

/// Blocks signals until handlers are installed. The sockets accept
/// connections long before: a signal in between must not kill the process.
pub(super) fn block() -> io::Result<()> {
    Ok(HANDLED.into_iter().collect::<SigSet>().thread_block()?)
}

fn unblock() -> io::Result<()> {
    Ok(HANDLED.into_iter().collect::<SigSet>().thread_unblock()?)
}

/// Listening sockets by their addresses.
pub(super) type Sockets = Vec<(String, OwnedFd)>;

/// Waits for signals and handles them.
pub(super) struct Signals {
    pub(super) app: Arc<App>,
    pub(super) reload: Arc<Reload>,
    pub(super) upgrade_sock: PathBuf,
    /// The listening sockets, to hand over; `None` once no connection may be accepted.
    pub(super) sockets: Mutex<Option<Arc<Sockets>>>,
    pub(super) drain: Duration,
    /// The file of a daemon's messages.
    pub(super) error_log: Option<ErrorLog>,
    pub(super) failure: Arc<Failure>,
}

struct Handlers {
    term: Signal,
    interrupt: Signal,
    quit: Signal,
    usr1: Signal,
}

impl Handlers {
    /// Installs all handlers; that of SIGHUP is returned separately.
    fn install() -> io::Result<(Self, Signal)> {
        let hup = signal(SignalKind::hangup())?;
        let handlers = Self {
            term: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            usr1: signal(SignalKind::user_defined1())?,
        };
        unblock()?;
        Ok((handlers, hup))
    }
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    /// Always returns a fast shutdown, after the drain has ended here.
    async fn recv(&self) -> ShutdownSignal {
        match Handlers::install() {
            Ok((handlers, hup)) => self.handle(handlers, hup).await,
            Err(error) => log::error!("cannot handle signals, stopping: {error}"),
        }
        end_work(&self.app).await;
        ShutdownSignal::FastShutdown
    }
}

/// Sends what the work has left, in a bounded time.
pub(super) async fn end_work(app: &App) {
    if !app.lifecycle.end_work(SEND_TIME).await {
        log::warn!("traces: the collector did not answer in time; the last spans may be lost");
    }
}

impl Signals {
    /// Returns when the process is to end.
    async fn handle(&self, mut on: Handlers, hup: Signal) {
        // Concurrently: a stop must not wait until a long list is read.
        let reloads = self.reload_on(hup);
        tokio::pin!(reloads);
        let mut is_error_log_open = true;
        loop {
            tokio::select! {
                _ = on.interrupt.recv() => {
                    log::info!("SIGINT: stopping at once");
                    self.sockets.lock().take();
                    self.app.lifecycle.drain(false);
                    return self.abort().await;
                }
                _ = on.term.recv() => {
                    log::info!("SIGTERM: draining for {:?} at most", self.drain);
                    return self.drain(on, false).await;
                }
                () = self.app.lifecycle.drain_asked() => {
                    log::info!("admin: draining for {:?} at most", self.drain);
                    return self.drain(on, false).await;
                }
                _ = on.quit.recv() => {
                    let handed_over = tokio::select! {
                        done = self.hand_over() => done,
                        // A stop does not wait for a successor.
                        _ = on.interrupt.recv() => return self.drain(on, false).await,
                        _ = on.term.recv() => return self.drain(on, false).await,
                    };
                    if handed_over {
                        return self.drain(on, true).await;
                    }
                }
                () = &mut reloads => {}
                () = self.failure.happened() => return self.abort().await,
                _ = on.usr1.recv() => {
                    log::info!("SIGUSR1: reopening the logs");
                    // First: the access log may go to standard error.
                    if let Some(error_log) = &self.error_log {
                        is_error_log_open = error_log.reopen(false);
                    }
                    self.app.telemetry.reopen();
                }
                () = tokio::time::sleep(REOPEN_INTERVAL), if !is_error_log_open => {
                    is_error_log_open = self.error_log.as_ref().is_none_or(|log| log.reopen(true));
                }
            }
        }
    }

    /// Reloads on each signal; signals during a reload count as one. Does not return.
    async fn reload_on(&self, mut hup: Signal) {
        loop {
            if hup.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
            // Its outcome is in the log.
            drop(self.reload.run("SIGHUP").await);
        }
    }

    /// Closes idle connections, and waits for the others. A second signal ends the
    /// wait.
    async fn drain(&self, mut on: Handlers, succeeded: bool) {
        // A socket accepts connections while any descriptor of it is open.
        self.sockets.lock().take();
        let lifecycle = &self.app.lifecycle;
        lifecycle.drain(succeeded);
        tokio::select! {
            in_time = lifecycle.drained(self.drain) => {
                if in_time {
                    log::info!("drained");
                    return;
                }
                let left = lifecycle.in_flight();
                log::warn!("connections and streams that did not end in time: {left}");
            }
            _ = on.interrupt.recv() => log::info!("SIGINT: stopping at once"),
            _ = on.term.recv() => log::info!("SIGTERM again: stopping at once"),
        }
        self.abort().await;
    }

    /// Aborts all connections, and waits for their records.
    async fn abort(&self) {
        self.app.lifecycle.abort();
        if !self.app.lifecycle.drained(RECORD_TIME).await {
            let left = count(self.app.lifecycle.in_flight(), "connection");
            log::warn!("{left} ended without a record in the access log");
        }
    }

    /// Whether another process serves now.
    async fn hand_over(&self) -> bool {
        log::info!("SIGQUIT: handing over at {}", self.upgrade_sock.display());
        let path = self.upgrade_sock.clone();
        let Some(sockets) = self.sockets.lock().clone() else {
            return false;
        };
        let balances = Arc::clone(&self.app.balances);
        let given = tokio::task::spawn_blocking(move || {
            let given = handover::give(&path, &sockets);
            if given.is_ok() {
                // At once: requests of the new process wait for it.
                balances.hand_over();
            }
            given
        });
        let given = given.await;
        match given.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => {
                log::info!(
                    "the new process serves; draining for {:?} at most",
                    self.drain
                );
                true
            }
            Err(error) => {
                log::error!("no process took over, this one continues to serve: {error}");
                false
            }
        }
    }
}
