//! The service that accepts connections.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;

use super::Failure;
use super::daemon::Caller;
use super::handover::InheritedSockets;
use super::pid_file::{PidFile, PidFileError};
use crate::admin::certificates::Certificates;
use crate::downstream::{Acceptor, Listener, ThreadOptions};
use crate::request::dispatch::Ways;
use crate::request::live;
use crate::request::token_keys;
use crate::upstream::parent::Parents;

/// The service that accepts connections on all listeners, in one runtime.
pub(super) struct AcceptService {
    /// Taken when it starts.
    pub(super) ways: Option<Ways>,
    pub(super) listeners: Vec<Listener>,
    pub(super) notices: Option<ServingNotices>,
    pub(super) failure: Arc<Failure>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) threads: ThreadOptions,
    pub(super) stealing: bool,
}

/// The receivers of the notice that the process serves, in this order.
pub(super) struct ServingNotices {
    pub(super) pid_file: Option<Arc<PidFile>>,
    pub(super) inherited: Option<InheritedSockets>,
    pub(super) caller: Option<Caller>,
}

impl ServingNotices {
    /// Publishes the PID file, then notifies the old process and the caller.
    ///
    /// # Errors
    /// The PID file cannot be published; then no process was notified that this one serves.
    fn send(self) -> Result<(), PidFileError> {
        if let Some(pid_file) = self.pid_file
            && let Err(error) = pid_file.publish()
        {
            if let Some(caller) = self.caller {
                caller.failed(1, &format!("tollgate: {error}"));
            }
            return Err(error);
        }
        if let Some(inherited) = self.inherited
            && let Err(error) = inherited.serving()
        {
            log::warn!("the old process ended before this one could notify it: {error}");
        }
        if let Some(caller) = self.caller {
            caller.serving();
        }
        Ok(())
    }
}

#[async_trait]
impl Service for AcceptService {
    async fn start_service(&mut self, _: Option<ListenFds>, _: ShutdownWatch, tasks: usize) {
        let Some(ways) = self.ways.take() else {
            return;
        };
        let app = Arc::clone(&ways.app);
        let acceptor = Arc::new(Acceptor::new(ways, self.threads));
        let mut loops = tokio::task::JoinSet::new();
        for listener in self.listeners.drain(..) {
            log::info!("{listener}");
            for _ in 1..tasks {
                match listener.try_clone() {
                    Ok(again) => loops.spawn(Arc::clone(&acceptor).run(again)),
                    Err(error) => {
                        log::warn!("an accept task cannot start: {error}");
                        break;
                    }
                };
            }
            loops.spawn(Arc::clone(&acceptor).run(listener));
        }
        if let Some(Err(error)) = self.notices.take().map(ServingNotices::send) {
            log::error!("{error}");
            self.failure.set(error.into());
            return;
        }
        tokio::spawn(token_keys::look_after(Arc::clone(&app)));
        let parents = Arc::clone(&app);
        tokio::spawn(Parents::look_after(move || parents.access.parents()));
        tokio::spawn(Arc::clone(&self.certificates).look_after());
        if app.in_flight.is_some() {
            tokio::spawn(live::keep_history(Arc::clone(&app)));
        }
        tokio::spawn(async move { app.dialer.look_after_name_servers().await });
        while let Some(ended) = loops.join_next().await {
            match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => log::error!("a listener failed: {error}"),
                Err(error) => log::error!("a listener failed: {error}"),
            }
        }
    }

    fn name(&self) -> &str {
        "tollgate"
    }

    /// Without work stealing, Pingora starts one thread, and the acceptor the others.
    fn threads(&self) -> Option<usize> {
        (!self.stealing).then_some(1)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}
