//! A proxy that serves on threads of its own, as a part of another program.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use pingora_core::server::{RunArgs, ShutdownSignal, ShutdownSignalWatch};
use tokio::sync::Notify;

use super::accept::ServingNotices;
use super::{FLUSH_TIMEOUT, Failure, admin, assemble, open_listeners};
use crate::admin::reload::{Reload, ReloadError};
use crate::config::Config;
use crate::hook::HookSet;
use crate::request::app::App;

/// A proxy that serves. Dropped, it stops at once.
pub struct Running {
    addresses: Vec<SocketAddr>,
    control: Arc<Control>,
    reload: Arc<Reload>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
    #[cfg(test)]
    app: Arc<App>,
}

/// What ends a proxy that another program has started.
#[derive(Debug, Default)]
struct Control {
    drain: Notify,
    abort: Notify,
}

impl Running {
    /// Where clients connect: the listeners of the configuration, in its order, and behind them the admin service.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Reads users, groups, policy, lists and scripts again, as SIGHUP does for the program.
    ///
    /// # Errors
    /// The files have errors; then nothing was changed.
    pub fn reload(&self) -> Result<(), anyhow::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.context("cannot reload")?;
        let done: Result<_, ReloadError> = runtime.block_on(self.reload.run("reload"));
        done.map(drop).map_err(anyhow::Error::from)
    }

    /// Stops: accepts no connection any more, waits for those that are open as long as `timeouts.drain` says, and
    /// closes the rest.
    ///
    /// # Errors
    /// The proxy had ended before, with this error.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.control.drain.notify_one();
        self.join()
    }

    fn join(&mut self) -> anyhow::Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(ended)) => ended,
            Some(Err(_panic)) => Err(anyhow!("the thread of the proxy panicked")),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.control.abort.notify_one();
        if let Err(error) = self.join() {
            log::error!("the proxy ended: {error:#}");
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

/// Starts a proxy with these hooks.
///
/// # Errors
/// It cannot serve: an address is in use, a log cannot be opened.
pub fn start(mut config: Config, hooks: HookSet) -> anyhow::Result<Running> {
    let app = App::new(&config, hooks)?;
    let reload = Arc::new(Reload::new(Arc::clone(&app), &config));
    let admin = admin(&app, &reload, &config)?;
    let listeners = open_listeners(&config, &admin, None)?;
    let addresses = listeners.iter().map(|(_, listener)| listener.address());
    let addresses = addresses.collect::<Result<_, _>>()?;
    config.sockets.clear();
    let failure = Arc::new(Failure::default());
    let notices = ServingNotices {
        pid_file: None,
        inherited: None,
        caller: None,
    };
    let control = Arc::new(Control::default());
    let end = End {
        app: Arc::clone(&app),
        control: Arc::clone(&control),
        failure: Arc::clone(&failure),
        drain: config.timeouts.drain,
    };
    let started = app.balances.start(false);
    started.context("cannot start a thread")?;
    let certificates = Arc::clone(reload.certificates());
    #[cfg(test)]
    let for_tests = Arc::clone(&app);
    let serve = move || {
        let server = assemble(
            &mut config,
            &app,
            &certificates,
            listeners,
            notices,
            &failure,
        );
        server.run(RunArgs {
            shutdown_signal: Box::new(end),
        });
        app.balances.stop();
        if !app.telemetry.flush(FLUSH_TIMEOUT) {
            log::error!("the access log could not be written in time; its end is lost");
        }
        failure.0.lock().take().map_or(Ok(()), Err)
    };
    let thread = Builder::new().name("tollgate".to_owned()).spawn(serve);
    Ok(Running {
        addresses,
        control,
        reload,
        thread: Some(thread.context("cannot start a thread")?),
        #[cfg(test)]
        app: for_tests,
    })
}

/// Waits for the end of the proxy, in place of signals.
struct End {
    app: Arc<App>,
    control: Arc<Control>,
    failure: Arc<Failure>,
    drain: std::time::Duration,
}

#[async_trait]
impl ShutdownSignalWatch for End {
    async fn recv(&self) -> ShutdownSignal {
        let lifecycle = &self.app.lifecycle;
        let asked = async {
            tokio::select! {
                () = self.control.drain.notified() => {}
                () = lifecycle.drain_asked() => {}
            }
        };
        tokio::select! {
            () = asked => {
                lifecycle.drain(false);
                tokio::select! {
                    _in_time = lifecycle.drained(self.drain) => {}
                    () = self.control.abort.notified() => {}
                }
            }
            () = self.control.abort.notified() => lifecycle.drain(false),
            () = self.failure.happened() => {}
        }
        lifecycle.abort();
        let _records = lifecycle.drained(super::signals::RECORD_TIME).await;
        super::signals::end_work(&self.app).await;
        ShutdownSignal::FastShutdown
    }
}

#[cfg(test)]
mod tests;
