//! From the configuration to a running process: logs and sockets first, with the rights of whoever starts it
//! and so that it sees what fails; then the rights of `user`, and Pingora's server with our services.

mod daemon;
pub mod descriptors;
mod error_log;
pub mod handover;
mod pid_file;
mod signals;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::server::{ListenFds, RunArgs, Server, ShutdownWatch};
use pingora_core::services::Service;
use pingora_core::services::background::GenBackgroundService;
use tokio::sync::Notify;

pub use self::daemon::{Caller, Ended, Side, detach, inherited_descriptors};
use self::error_log::ErrorLog;
use self::pid_file::{PidFile, PidFileError};
use self::signals::Signals;
use crate::admin::Admin;
use crate::admin::reload::Reload;
use crate::config::identity::Identity;
use crate::config::{Config, listen_remedy};
use crate::downstream::{Acceptor, Listener, Purpose, ThreadOptions};
use crate::request::app::App;
use crate::request::connect::ConnectService;
use crate::request::dispatch::Ways;
use crate::request::forward::Forward;
use crate::server::handover::Inheritance;
use crate::telemetry::Destination;
use crate::telemetry::log_file;

/// How long the last lines of the access log may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// How the process is started.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// In the background, for this caller.
    pub caller: Option<Caller>,
    /// With the sockets of the process that runs already.
    pub upgrade: bool,
}

/// Serves until a signal ends it, then logs what was served.
///
/// # Errors
/// Whatever keeps it from serving: an address that is taken, a log that cannot be
/// opened, no process that hands its sockets over.
pub fn run(mut config: Config, start: Start) -> anyhow::Result<()> {
    signals::block().context("cannot block signals")?;
    daemon::restrict_umask();
    descriptors::raise_limit(&config);
    config
        .create_run_directory()
        .context("cannot make the directory of pid_file and upgrade_sock")?;
    let identity = config.identity.take();
    let pid_path = PathBuf::from(&config.server.pid_file);
    // First, so that a second start hears which process runs.
    let pid_file = if start.upgrade {
        None
    } else {
        let acquire = || acquire_pid_file(&config, &pid_path, start.caller.is_none());
        with_rights(identity.as_ref(), None, acquire)??
    };
    let mut error_log = match start.caller {
        Some(_) => Some(open_error_log(&config, identity.as_ref())?),
        None => None,
    };
    let app = with_rights(identity.as_ref(), config.log.access.file(), || {
        App::new(&config)
    })??;
    let reload = Arc::new(Reload::new(Arc::clone(&app), &config));
    let admin = Arc::new(Admin::new(Arc::clone(&app.telemetry), Arc::clone(&reload)));
    let upgrade_sock = PathBuf::from(&config.server.upgrade_sock);
    let mut inheritance = start
        .upgrade
        .then(|| Inheritance::receive(&upgrade_sock, identity.as_ref()))
        .transpose()
        .with_context(|| format!("cannot take over at {}", upgrade_sock.display()))?;
    let listeners = open_listeners(&config, &admin, inheritance.as_mut())?;
    let given = duplicate(&listeners).context("cannot duplicate the listening sockets")?;

    let threads = ThreadOptions {
        count: config.threads_apart(),
        max_blocking: config.server.max_blocking_threads,
        blocking_keep_alive: config
            .server
            .blocking_threads_ttl_seconds
            .map(Duration::from_secs),
    };
    let stealing = config.server.work_stealing;
    // Pingora forks late and keeps what the caller has open.
    config.server.daemon = false;
    let mut server = Server::new_with_opt_and_conf(None, std::mem::take(&mut config.server));
    server.bootstrap();
    let proxy = pingora_proxy::http_proxy(&server.configuration, Forward::new(Arc::clone(&app)));

    if let Some(identity) = &identity {
        identity
            .assume()
            .with_context(|| format!("this process may not become user {}", identity.user()))?;
    }
    let pid_file = if start.upgrade {
        Some(PidFile::stage(&pid_path)?)
    } else {
        pid_file
    };
    let pid_file = pid_file.map(Arc::new);
    if let Some(error_log) = &mut error_log {
        error_log
            .install()
            .context("cannot redirect standard error")?;
    }
    let failure = Arc::new(Failure::default());
    let connect = ConnectService::new(Arc::clone(&app));
    server.add_service(connect.clone());
    server.add_service(Front {
        ways: Some(Ways {
            app: Arc::clone(&app),
            connect,
            proxy: Arc::new(proxy),
            draining: app.lifecycle.watch(),
        }),
        listeners: listeners
            .into_iter()
            .map(|(_, listener)| listener)
            .collect(),
        serving: Some(Serving {
            pid_file: pid_file.clone(),
            inheritance,
            caller: start.caller,
        }),
        failure: Arc::clone(&failure),
        threads,
        stealing,
    });
    if let Some(pool) = &app.pool {
        server.add_service(GenBackgroundService::new(
            "upstream health".to_owned(),
            pool.balancer(),
        ));
    }
    let signals = Signals {
        app: Arc::clone(&app),
        reload,
        upgrade_sock,
        sockets: Mutex::new(Some(Arc::new(given))),
        drain: config.timeouts.drain,
        error_log,
        failure: Arc::clone(&failure),
    };
    server.run(RunArgs {
        shutdown_signal: Box::new(signals),
    });

    // Here, since the services may hold it for longer.
    if let Some(pid_file) = pid_file {
        pid_file.remove();
    }
    log::info!("{}", app.telemetry.summary());
    if !app.telemetry.flush(FLUSH_TIMEOUT) {
        log::error!("the access log could not be written in time; its end is lost");
    }
    failure.0.lock().take().map_or(Ok(()), Err)
}

/// Does something with the rights of the user that will serve, so that what it makes is that user's. Not
/// where `path` is a device or a descriptor, which this process alone may be able to open.
fn with_rights<T>(
    identity: Option<&Identity>,
    path: Option<&Path>,
    action: impl FnOnce() -> T,
) -> anyhow::Result<T> {
    match identity.filter(|_| path.is_none_or(log_file::is_renewed)) {
        Some(identity) => identity
            .act(action)
            .with_context(|| format!("this process may not become user {}", identity.user())),
        None => Ok(action()),
    }
}

fn open_error_log(config: &Config, identity: Option<&Identity>) -> anyhow::Result<ErrorLog> {
    let path = config.server.error_log.as_deref();
    let shown = path.unwrap_or("/dev/null");
    let error_log = with_rights(identity, path.map(Path::new), || ErrorLog::open(path))?
        .with_context(|| format!("cannot open error_log {shown}"))?;
    if error_log.is_nowhere() {
        log::warn!(
            "error_log names no file: the messages of a daemon are lost; name one to keep them"
        );
    }
    if config.log.access == Destination::Stdout {
        log::warn!(
            "log.access is stdout, which a daemon does not have: its records are lost; name a file"
        );
    }
    Ok(error_log)
}

/// A process in the foreground has a PID file too, so that `check` knows it; unless there is one already
/// where nothing is configured.
fn acquire_pid_file(
    config: &Config,
    path: &Path,
    is_foreground: bool,
) -> Result<Option<PidFile>, PidFileError> {
    match PidFile::acquire(path) {
        Err(error @ PidFileError::Held { .. }) if is_foreground && !config.has_pid_file => {
            log::info!("no PID file: {error}");
            Ok(None)
        }
        acquired => acquired.map(Some),
    }
}

/// Why the process cannot serve after all.
#[derive(Debug, Default)]
struct Failure(Mutex<Option<anyhow::Error>>, Notify);

impl Failure {
    fn set(&self, error: anyhow::Error) {
        *self.0.lock() = Some(error);
        self.1.notify_one();
    }

    /// Ready when there is one.
    async fn happened(&self) {
        self.1.notified().await;
    }
}

type Named<T> = (String, T);

fn open_listeners(
    config: &Config,
    admin: &Arc<Admin>,
    mut inheritance: Option<&mut Inheritance>,
) -> anyhow::Result<Vec<Named<Listener>>> {
    let proxies = config
        .listeners
        .iter()
        .map(|listener| (listener.address, Purpose::proxy(listener)));
    let admins = config
        .admin
        .iter()
        .map(|address| (*address, Purpose::Admin(Arc::clone(admin))));
    let upgrade = inheritance.is_some();
    let mut opened = Vec::new();
    for (configured, purpose) in proxies.chain(admins) {
        for address in config.bound_addresses(configured) {
            let name = address.to_string();
            let inherited = inheritance
                .as_deref_mut()
                .and_then(|inheritance| inheritance.take(&name));
            let listener = match inherited {
                Some(socket) => Listener::inherited(socket, purpose.clone()),
                None => Listener::bind(address, purpose.clone()),
            };
            let listener = listener.map_err(|error| cannot_listen(address, &error, upgrade))?;
            opened.push((name, listener));
        }
    }
    Ok(opened)
}

fn cannot_listen(address: SocketAddr, error: &io::Error, upgrade: bool) -> anyhow::Error {
    let remedy = listen_remedy(address, error);
    let more = match error.kind() {
        io::ErrorKind::AddrInUse if upgrade => {
            "; if the old process listens on an address that includes this one, restart instead of an upgrade"
        }
        io::ErrorKind::AddrInUse => ", or take over from it with -u and SIGQUIT if it is Tollgate",
        _ => "",
    };
    anyhow::anyhow!("cannot listen on {address}: {error}; {remedy}{more}")
}

fn duplicate(listeners: &[Named<Listener>]) -> io::Result<Vec<Named<OwnedFd>>> {
    listeners
        .iter()
        .map(|(name, listener)| Ok((name.clone(), listener.duplicate()?)))
        .collect()
}

/// The service that accepts: everything that listens, in one runtime.
struct Front {
    /// Taken when it starts.
    ways: Option<Ways>,
    listeners: Vec<Listener>,
    serving: Option<Serving>,
    failure: Arc<Failure>,
    threads: ThreadOptions,
    stealing: bool,
}

/// Who is told that the process serves, in this order.
struct Serving {
    pid_file: Option<Arc<PidFile>>,
    inheritance: Option<Inheritance>,
    caller: Option<Caller>,
}

impl Serving {
    /// # Errors
    /// The PID file cannot be put in its place: then nobody was told.
    fn tell(self) -> Result<(), PidFileError> {
        if let Some(pid_file) = self.pid_file
            && let Err(error) = pid_file.publish()
        {
            if let Some(caller) = self.caller {
                caller.failed(1, &format!("tollgate: {error}"));
            }
            return Err(error);
        }
        if let Some(inheritance) = self.inheritance
            && let Err(error) = inheritance.serving()
        {
            log::warn!("the old process is gone before it could be told: {error}");
        }
        if let Some(caller) = self.caller {
            caller.serving();
        }
        Ok(())
    }
}

#[async_trait]
impl Service for Front {
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
                        log::warn!("one accepting task less: {error}");
                        break;
                    }
                };
            }
            loops.spawn(Arc::clone(&acceptor).run(listener));
        }
        if let Some(Err(error)) = self.serving.take().map(Serving::tell) {
            log::error!("{error}");
            self.failure.set(error.into());
            return;
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

    /// Of threads that share nothing Pingora starts the first.
    fn threads(&self) -> Option<usize> {
        (!self.stealing).then_some(1)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}
