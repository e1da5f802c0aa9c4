//! From the configuration to a running process: logs and sockets first, with the rights of the caller, who sees
//! the errors; then the rights of `user`, and Pingora's server with our services.

mod accept;
mod daemon;
pub mod descriptors;
mod embedded;
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
use parking_lot::Mutex;
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::background::GenBackgroundService;
use tokio::sync::Notify;

use self::accept::{AcceptService, ServingNotices};
pub use self::daemon::{Caller, Side, detach, inherited_descriptors};
pub use self::embedded::{Running, start};
use self::error_log::ErrorLog;
use self::pid_file::{PidFile, PidFileError};
use self::signals::Signals;
use crate::admin::Admin;
use crate::admin::certificates::Certificates;
use crate::admin::reload::Reload;
use crate::config::identity::Identity;
use crate::config::{Config, listen_remedy};
use crate::downstream::{Listener, ListenerKind, ThreadOptions};
use crate::explain;
use crate::hook::HookSet;
use crate::request::app::App;
use crate::request::connect::ConnectService;
use crate::request::dispatch::Ways;
use crate::request::forward::Forward;
use crate::server::handover::InheritedSockets;
use crate::telemetry::Destination;
use crate::telemetry::log_file;

/// The time for the last lines of the access log.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// How the process starts.
#[derive(Clone, Debug, Default)]
pub struct StartMode {
    /// The caller of a daemon; none in the foreground.
    pub(crate) caller: Option<Caller>,
    /// Whether it takes over the sockets of the running process.
    pub upgrade: bool,
}

/// Serves with these hooks until a signal ends it, then logs a summary.
///
/// # Errors
/// The process cannot serve: an address is in use, a log cannot be
/// opened, no process hands its sockets over.
pub fn run(mut config: Config, start: StartMode, hooks: HookSet) -> anyhow::Result<()> {
    signals::block().context("cannot block signals")?;
    daemon::restrict_umask();
    descriptors::raise_limit(&config);
    config
        .create_run_directory()
        .context("cannot make the directory of pid_file and upgrade_sock")?;
    let identity = config.identity.take();
    let pid_path = PathBuf::from(&config.server.pid_file);
    // First, so that a second start learns which process runs.
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
        App::new(&config, hooks)
    })??;
    let reload = Arc::new(Reload::new(Arc::clone(&app), &config));
    let admin = admin(&app, &reload, &config)?;
    let upgrade_sock = PathBuf::from(&config.server.upgrade_sock);
    let mut inherited = start
        .upgrade
        .then(|| InheritedSockets::receive(&upgrade_sock, identity.as_ref()))
        .transpose()
        .with_context(|| format!("cannot take over the sockets at {}", upgrade_sock.display()))?;
    let listeners = open_listeners(&config, &admin, inherited.as_mut())?;
    let given = duplicate(&listeners).context("cannot duplicate the listening sockets")?;

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
    let notices = ServingNotices {
        pid_file: pid_file.clone(),
        inherited,
        caller: start.caller,
    };
    let started = app.balances.start(start.upgrade);
    started.context("cannot start a thread")?;
    let certificates = reload.certificates();
    let server = assemble(
        &mut config,
        &app,
        certificates,
        listeners,
        notices,
        &failure,
    );
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

    app.balances.stop();
    // Explicitly, since the services may keep it longer.
    if let Some(pid_file) = pid_file {
        pid_file.remove();
    }
    log::info!("{}", app.telemetry.summary());
    if !app.telemetry.flush(FLUSH_TIMEOUT) {
        log::error!("the access log could not be written in time; its end is lost");
    }
    failure.0.lock().take().map_or(Ok(()), Err)
}

/// The admin service.
fn admin(app: &Arc<App>, reload: &Arc<Reload>, config: &Config) -> anyhow::Result<Arc<Admin>> {
    let explain = Arc::new(explain::Running::new(app, config));
    let admin = Admin::new(Arc::clone(app), Arc::clone(reload), explain, config);
    admin.context("cannot make the admin service")
}

/// Pingora's server with our services.
fn assemble(
    config: &mut Config,
    app: &Arc<App>,
    certificates: &Arc<Certificates>,
    listeners: Vec<Named<Listener>>,
    notices: ServingNotices,
    failure: &Arc<Failure>,
) -> Server {
    let threads = ThreadOptions {
        count: config.threads_apart(),
        max_blocking: config.server.max_blocking_threads,
        blocking_keep_alive: config
            .server
            .blocking_threads_ttl_seconds
            .map(Duration::from_secs),
    };
    let stealing = config.server.work_stealing;
    // Pingora forks late and keeps the caller's descriptors open.
    config.server.daemon = false;
    let mut server = Server::new_with_opt_and_conf(None, std::mem::take(&mut config.server));
    server.bootstrap();
    let proxy = pingora_proxy::http_proxy(&server.configuration, Forward::new(Arc::clone(app)));
    let connect = ConnectService::new(Arc::clone(app));
    server.add_service(connect.clone());
    let accept = server.add_service(AcceptService {
        ways: Some(Ways {
            app: Arc::clone(app),
            connect,
            proxy: Arc::new(proxy),
            draining: app.lifecycle.watch(),
        }),
        listeners: listeners
            .into_iter()
            .map(|(_, listener)| listener)
            .collect(),
        notices: Some(notices),
        failure: Arc::clone(failure),
        certificates: Arc::clone(certificates),
        threads,
        stealing,
    });
    if let Some(balancer) = &app.pools.balancer {
        let health = server.add_service(GenBackgroundService::new(
            "upstream health".to_owned(),
            Arc::clone(balancer),
        ));
        if app.pools.has_names {
            // The first look-up precedes the first request, unless it takes long.
            accept.add_dependency(&health);
        }
    }
    server
}

/// Runs `action` with the rights of the user that will serve, so that this user owns the files that it makes. Not
/// when `path` is a device or a descriptor, which only this process may be able to open.
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

/// A process in the foreground has a PID file too, so that `check` finds it; except when none is configured and
/// another process has the default one.
fn acquire_pid_file(
    config: &Config,
    path: &Path,
    is_foreground: bool,
) -> Result<Option<PidFile>, PidFileError> {
    match PidFile::acquire(path) {
        Err(PidFileError::Held { path, id }) if is_foreground && !config.has_pid_file => {
            let process = id.map_or_else(
                || "another process".to_owned(),
                |id| format!("process {id}"),
            );
            log::info!(
                "no PID file: {process} has the default one, {}; set `pid_file`, so that `check` and -u find this process",
                path.display()
            );
            Ok(None)
        }
        acquired => acquired.map(Some),
    }
}

/// Why the process cannot serve after its start.
#[derive(Debug, Default)]
struct Failure(Mutex<Option<anyhow::Error>>, Notify);

impl Failure {
    fn set(&self, error: anyhow::Error) {
        *self.0.lock() = Some(error);
        self.1.notify_one();
    }

    /// Ready when there is a failure.
    async fn happened(&self) {
        self.1.notified().await;
    }
}

type Named<T> = (String, T);

fn open_listeners(
    config: &Config,
    admin: &Arc<Admin>,
    mut inherited: Option<&mut InheritedSockets>,
) -> anyhow::Result<Vec<Named<Listener>>> {
    let proxies = config
        .listeners
        .iter()
        .map(|listener| (listener.address, ListenerKind::proxy(listener)));
    let admins = config
        .admin
        .iter()
        .map(|it| (it.address, ListenerKind::Admin(Arc::clone(admin))));
    let upgrade = inherited.is_some();
    let mut opened = Vec::new();
    for (configured, purpose) in proxies.chain(admins) {
        for address in config.bound_addresses(configured) {
            let name = address.to_string();
            let own = config.sockets.iter().find(|(bound, _)| *bound == address);
            let own = own.map(|(_, socket)| socket.try_clone()).transpose()?;
            let inherited = inherited
                .as_deref_mut()
                .and_then(|inherited| inherited.take(&name));
            let socket = inherited.or(own.map(OwnedFd::from));
            let listener = match socket {
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
