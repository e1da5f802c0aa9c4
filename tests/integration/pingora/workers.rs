//! The threads that a service runs on, and the end of the server.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{
    ListenFds, RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch,
};
use pingora_core::services::Service;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;

use crate::support::DEADLINE;

/// What a service finds where it runs.
#[derive(Debug, PartialEq)]
struct Found {
    flavor: RuntimeFlavor,
    /// Whether what Pingora runs in the background runs in the same runtime.
    is_pingoras: bool,
    tasks: usize,
}

struct Probe {
    threads: Option<usize>,
    found: Sender<Found>,
    done: Arc<Notify>,
}

#[async_trait]
impl Service for Probe {
    async fn start_service(
        &mut self,
        _: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        tasks: usize,
    ) {
        let here = Handle::current();
        let found = Found {
            flavor: here.runtime_flavor(),
            is_pingoras: pingora_runtime::current_handle().id() == here.id(),
            tasks,
        };
        self.found.send(found).unwrap();
        self.done.notify_one();
        let _ended = shutdown.changed().await;
    }

    fn name(&self) -> &str {
        "probe"
    }

    fn threads(&self) -> Option<usize> {
        self.threads
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(Vec::new())
    }
}

struct WhenDone(Arc<Notify>);

#[async_trait]
impl ShutdownSignalWatch for WhenDone {
    async fn recv(&self) -> ShutdownSignal {
        self.0.notified().await;
        ShutdownSignal::FastShutdown
    }
}

/// Runs a server with one service until that has run; `None` when it does not end.
fn run(work_stealing: bool, threads: Option<usize>) -> Option<Found> {
    let (found, finding) = channel();
    let (ended, ending) = channel();
    let ended = Mutex::new(ended);
    std::thread::spawn(move || {
        let conf = ServerConf {
            threads: 2,
            work_stealing,
            listener_tasks_per_fd: 3,
            ..ServerConf::default()
        };
        let mut server = Server::new_with_opt_and_conf(None, conf);
        server.bootstrap();
        let done = Arc::new(Notify::new());
        server.add_service(Probe {
            threads,
            found,
            done: Arc::clone(&done),
        });
        server.run(RunArgs {
            shutdown_signal: Box::new(WhenDone(done)),
        });
        ended.lock().unwrap().send(()).unwrap();
    });
    let found = finding.recv_timeout(DEADLINE).ok()?;
    // `server` does its last work after `run`, which returns.
    ending.recv_timeout(DEADLINE).ok()?;
    Some(found)
}

/// `server` asks for one thread where threads share nothing: `downstream::threads` adds the others.
#[test]
fn service_with_one_thread_has_a_runtime_of_that_thread() {
    let found = run(false, Some(1)).unwrap();
    assert_eq!(found.flavor, RuntimeFlavor::CurrentThread);
    assert!(found.is_pingoras);
    assert_eq!(found.tasks, 3, "listener_tasks_per_fd");
}

/// `downstream::threads` starts no thread where they share their work.
#[test]
fn service_with_work_stealing_has_one_runtime_of_all_threads() {
    let found = run(true, None).unwrap();
    assert_eq!(found.flavor, RuntimeFlavor::MultiThread);
    assert!(found.is_pingoras);
}

/// `downstream::threads` has pooled connections watched on the thread that uses them.
#[test]
fn thread_that_pingora_does_not_know_keeps_its_background_work() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let (here, pingoras) = (Handle::current(), pingora_runtime::current_handle());
        assert_eq!(here.id(), pingoras.id());
    });
}
