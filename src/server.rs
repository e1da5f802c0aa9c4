//! From the configuration to a running process: sockets first, so that what
//! fails is seen by whoever starts it; then Pingora's server with our services.

mod signals;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::server::configuration::Opt;
use pingora_core::server::{ListenFds, RunArgs, Server, ShutdownWatch};
use pingora_core::services::Service;
use pingora_core::services::background::GenBackgroundService;
use pingora_proxy::HttpProxy;

use self::signals::Signals;
use crate::admin::Admin;
use crate::app::App;
use crate::config::Config;
use crate::forward::Forward;
use crate::handover::Inheritance;
use crate::listener::{Acceptor, Listener, Purpose, ThreadOptions};
use crate::reload::Reload;

/// How long the last lines of the access log may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// How the process is started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start {
    /// In the background.
    pub daemon: bool,
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
    config
        .create_run_directory()
        .context("cannot make the directory of pid_file and upgrade_sock")?;
    let app = App::new(&config)?;
    let reload = Arc::new(Reload::new(Arc::clone(&app), config.reloader()));
    let admin = Arc::new(Admin::new(Arc::clone(&app.telemetry), Arc::clone(&reload)));
    let upgrade_sock = PathBuf::from(&config.server.upgrade_sock);
    let mut inheritance = start
        .upgrade
        .then(|| Inheritance::receive(&upgrade_sock))
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
    let options = Opt {
        daemon: start.daemon,
        ..Opt::default()
    };
    let mut server = Server::new_with_opt_and_conf(options, std::mem::take(&mut config.server));
    server.bootstrap();
    let proxy = pingora_proxy::http_proxy(&server.configuration, Forward::new(Arc::clone(&app)));
    server.add_service(Front {
        app: Arc::clone(&app),
        proxy: Arc::new(proxy),
        listeners: listeners
            .into_iter()
            .map(|(_, listener)| listener)
            .collect(),
        inheritance,
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
    };
    server.run(RunArgs {
        shutdown_signal: Box::new(signals),
    });

    log::info!("{}", app.telemetry.summary());
    if !app.telemetry.flush(FLUSH_TIMEOUT) {
        log::error!("the access log could not be written in time; its end is lost");
    }
    Ok(())
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
    let mut opened = Vec::new();
    for (address, purpose) in proxies.chain(admins) {
        let name = address.to_string();
        let inherited = inheritance
            .as_deref_mut()
            .and_then(|inheritance| inheritance.take(&name));
        let listener = match inherited {
            Some(socket) => Listener::inherited(socket, purpose),
            None => Listener::bind(address, purpose),
        };
        let listener = listener.map_err(|error| cannot_listen(&name, &error))?;
        opened.push((name, listener));
    }
    Ok(opened)
}

fn cannot_listen(address: &str, error: &io::Error) -> anyhow::Error {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process listens there: stop it, or take over from it with -u and SIGQUIT"
        }
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "; the address is none of this machine's",
        _ => "",
    };
    anyhow::anyhow!("cannot listen on {address}: {error}{remedy}")
}

fn duplicate(listeners: &[Named<Listener>]) -> io::Result<Vec<Named<OwnedFd>>> {
    listeners
        .iter()
        .map(|(name, listener)| Ok((name.clone(), listener.duplicate()?)))
        .collect()
}

/// The service that accepts: everything that listens, in one runtime.
struct Front {
    app: Arc<App>,
    proxy: Arc<HttpProxy<Forward>>,
    listeners: Vec<Listener>,
    inheritance: Option<Inheritance>,
    threads: ThreadOptions,
    stealing: bool,
}

#[async_trait]
impl Service for Front {
    async fn start_service(&mut self, _: Option<ListenFds>, _: ShutdownWatch, tasks: usize) {
        let (app, proxy) = (Arc::clone(&self.app), Arc::clone(&self.proxy));
        let acceptor = Arc::new(Acceptor::new(app, proxy, self.threads));
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
        if let Some(inheritance) = self.inheritance.take()
            && let Err(error) = inheritance.serving()
        {
            log::warn!("the old process is gone before it could be told: {error}");
        }
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
