//! What the tests share: the program under test, clients, origins, names and certificates.
//!
//! Nothing here knows how Tollgate is built; everything goes through its ports, its files and its
//! exit code. Every wait has a deadline.

pub(crate) mod admin;
pub(crate) mod authorizer;
pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod collector;
pub(crate) mod command;
pub(crate) mod daemon;
pub(crate) mod dashboard;
pub(crate) mod dns;
pub(crate) mod documents;
pub(crate) mod embedded;
pub(crate) mod files;
pub(crate) mod frames;
pub(crate) mod hello;
pub(crate) mod http2;
pub(crate) mod http2_origin;
pub(crate) mod issuer;
pub(crate) mod load;
pub(crate) mod message;
pub(crate) mod nginx;
pub(crate) mod origin;
pub(crate) mod package_index;
pub(crate) mod payload;
pub(crate) mod peers;
pub(crate) mod port;
pub(crate) mod programs;
pub(crate) mod proxy;
pub(crate) mod redis;
pub(crate) mod repository;
pub(crate) mod request;
pub(crate) mod servers;
pub(crate) mod site;
pub(crate) mod sockets;
pub(crate) mod socks5;
pub(crate) mod tls;
pub(crate) mod tmux;
pub(crate) mod top;
pub(crate) mod upgrade;
pub(crate) mod websocket;
pub(crate) mod zone;

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How long any single step may take before the test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);

/// Asks again until `ready` gives a value; the test fails when [`DEADLINE`] has passed.
///
/// For state that nobody announces (a file that grows, a process that ends). What can be waited
/// for on a socket is waited for there.
pub(crate) fn eventually<T>(what: &str, ready: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, ready).unwrap_or_else(|| panic!("{what}: not within {DEADLINE:?}"))
}

/// Asks again until `ready` gives a value; `None` when it has given none for `longest`.
///
/// The only pause in the tests; `sources` checks that.
pub(crate) fn within<T>(longest: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let value = ready();
        if value.is_some() || start.elapsed() >= longest {
            return value;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// For a test with hundreds of connections: the soft limit on open files, often 1,024, becomes the
/// hard one, for this process and the programs that it starts from now on.
pub(crate) fn allow_many_connections() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}
