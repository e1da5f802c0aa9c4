//! The whole way from a name to a socket, against a name server of the test's own.

mod connecting;
mod name_server;
mod name_servers;
mod resolving;

use std::net::SocketAddr;
use std::time::Duration;

use self::name_server::{NameServer, Say};
use super::{Candidates, DialError, Dialer, DnsOptions, Evaluate, Sources};
use crate::access::client::Client;
use crate::access::policy::{DecidedBy, Denied};
use crate::http::target::{Authority, Host};

/// The bound of everything that a test waits for.
const DEADLINE: Duration = Duration::from_secs(20);

/// Options that leave nothing to the machine that the test runs on.
fn options(server: &NameServer) -> DnsOptions {
    DnsOptions {
        servers: vec![server.address],
        timeout: Duration::from_secs(10),
        hosts_file: "/nonexistent/hosts".into(),
        resolv_conf: "/nonexistent/resolv.conf".into(),
        ..DnsOptions::default()
    }
}

fn dialer(server: &NameServer) -> Dialer {
    Dialer::new(options(server), Sources::default(), Duration::from_secs(10))
}

fn authority(name: &str, port: u16) -> Authority {
    Authority {
        host: Host::Name(name.into()),
        port,
    }
}

fn admit_all(_: SocketAddr) -> Result<DecidedBy, Denied> {
    Ok(DecidedBy::Default)
}

/// The client of all look-ups, unless it matters.
fn site() -> Client {
    Client::site([192, 0, 2, 1].into())
}

fn denied() -> Denied {
    Denied::address(DecidedBy::OwnListener)
}

/// The candidates for port 80 of a name, within the deadline.
async fn candidates(
    dialer: &Dialer,
    name: &str,
    admit: &Evaluate<'_>,
) -> Result<Candidates, DialError> {
    let authority = authority(name, 80);
    let mut look_up = None;
    let candidates = dialer.candidates(&authority, site, admit, &mut look_up);
    tokio::time::timeout(DEADLINE, candidates)
        .await
        .expect("the look-up ends before the deadline of the test")
        .map(|found| found.candidates)
}

/// The addresses of a name in dial order, or the kind of the error.
async fn resolved(dialer: &Dialer, name: &str) -> Result<Vec<String>, &'static str> {
    match candidates(dialer, name, &admit_all).await {
        Ok(candidates) => Ok(candidates.iter().map(|it| it.ip().to_string()).collect()),
        Err(error) => Err(error.kind().name()),
    }
}
