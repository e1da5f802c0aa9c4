//! All name servers of this host, and the order in which they are queried.
//!
//! They are queried in order, the next one as soon as one fails or is silent for
//! 250 ms. From then on a silent server is queried last, and probed in the background until
//! it answers: no request waits for it again.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::error::{DnsFailure, Unresolved};
use super::name_server::{NameServer, QueryFailure};
use super::question::{Question, Response};
use super::race::{ATTEMPT_DELAY, Attempt, first_finished};

/// How long a probe waits for its response.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The pauses between probes, the first and the longest.
const PROBE_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The name servers, in the order in which they are queried.
#[derive(Debug)]
pub(super) struct NameServers(Vec<Arc<NameServer>>);

impl NameServers {
    pub(super) fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let server = |address| Arc::new(NameServer::new(address));
        Self(addresses.into_iter().map(server).collect())
    }

    #[cfg(test)]
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|server| server.address).collect()
    }

    /// Queries the servers until one answers.
    ///
    /// # Errors
    /// The failure of each server, when none answers before the deadline.
    pub(super) async fn ask(
        &self,
        question: &Question,
        deadline: Instant,
    ) -> Result<Response, Unresolved> {
        let limit = deadline.saturating_duration_since(Instant::now());
        let mut failures: Vec<(SocketAddr, QueryFailure)> = Vec::new();
        // Each with its start.
        let mut running: Vec<Attempt<(&Arc<NameServer>, Instant), _>> = Vec::new();
        let asking = async {
            let mut waiting = self.in_order().into_iter().peekable();
            loop {
                let responded = failures.iter().any(|(_, failure)| failure.is_response());
                match waiting.next() {
                    // Silent servers are queried only when no other server responds.
                    Some(server) if !(responded && server.silent.load(Ordering::Relaxed)) => {
                        let begun = Instant::now();
                        let asked = Box::pin(async move { server.ask(question, limit).await });
                        running.push(((server, begun), asked));
                    }
                    _ if running.is_empty() => return None,
                    _ => {}
                }
                tokio::select! {
                    biased;
                    ((server, _), outcome) = first_finished(&mut running) => match outcome {
                        Ok(response) => return Some(response),
                        Err(failure) => {
                            if !failure.is_response() {
                                mark_silent(server);
                            }
                            failures.push((server.address, failure));
                        }
                    },
                    () = sleep(ATTEMPT_DELAY), if waiting.peek().is_some() => {}
                }
            }
        };
        let response = timeout_at(deadline, asking).await.ok().flatten();
        // Those that had enough time and sent nothing.
        for ((server, begun), _) in &running {
            if begun.elapsed() >= ATTEMPT_DELAY || response.is_none() {
                mark_silent(server);
                failures.push((server.address, QueryFailure::Silent));
            }
        }
        response.ok_or_else(|| unresolved(&failures))
    }

    /// Probes each server in the background, and logs those that do not answer.
    pub(super) fn look_after(&self) {
        self.0.iter().for_each(watch);
    }

    fn in_order(&self) -> Vec<&Arc<NameServer>> {
        let mut order: Vec<_> = self.0.iter().collect();
        order.sort_by_key(|server| server.silent.load(Ordering::Relaxed));
        order
    }
}

/// Queries this server last from now on, until it answers.
fn mark_silent(server: &Arc<NameServer>) {
    server.silent.store(true, Ordering::Relaxed);
    watch(server);
}

/// Probes a server in the background until it answers, with one task at a time.
fn watch(server: &Arc<NameServer>) {
    if !server.watched.swap(true, Ordering::Relaxed) {
        tokio::spawn(until_it_answers(ProbedServer(Arc::downgrade(server))));
    }
}

/// A server that is probed. The probe may end with its runtime; dropping this allows the next one.
struct ProbedServer(Weak<NameServer>);

impl Drop for ProbedServer {
    fn drop(&mut self) {
        if let Some(server) = self.0.upgrade() {
            server.silent.store(false, Ordering::Relaxed);
            server.watched.store(false, Ordering::Relaxed);
        }
    }
}

async fn until_it_answers(probed: ProbedServer) {
    let (mut pause, longest) = PROBE_PAUSES;
    let mut logged = false;
    // `None`: the configuration has other name servers by now.
    while let Some(server) = probed.0.upgrade() {
        let address = server.address;
        match server.ask(&Question::for_the_root(), PROBE_TIMEOUT).await {
            Err(failure) if !failure.is_response() => {
                server.silent.store(true, Ordering::Relaxed);
                if !logged {
                    log::warn!(
                        "name server {address} {failure}; it is queried last until it answers"
                    );
                    logged = true;
                }
            }
            Ok(_) | Err(_) => {
                if logged {
                    log::info!("name server {address} answers again");
                }
                return;
            }
        }
        drop(server);
        sleep(pause).await;
        pause = longest.min(pause * 2);
    }
}

/// Combines the failures of the name servers: the most informative one determines the result.
fn unresolved(failures: &[(SocketAddr, QueryFailure)]) -> Unresolved {
    let rank = |failure: &QueryFailure| match failure {
        QueryFailure::Exhausted | QueryFailure::OutOfPorts => 5,
        QueryFailure::Code(ResponseCode::Refused) => 3,
        QueryFailure::Code(_) => 4,
        QueryFailure::NoTcp
        | QueryFailure::Unreadable
        | QueryFailure::Referral
        | QueryFailure::Unaskable => 2,
        QueryFailure::Silent => 1,
        QueryFailure::Closed | QueryFailure::Unreachable => 0,
    };
    let most_informative = failures
        .iter()
        .map(|(_, failure)| *failure)
        .max_by_key(rank)
        .unwrap_or(QueryFailure::Unreachable);
    let failure = match most_informative {
        QueryFailure::Code(ResponseCode::Refused) => DnsFailure::ServerRefused,
        QueryFailure::Code(_) | QueryFailure::Referral => DnsFailure::ServerFailure,
        QueryFailure::Silent => DnsFailure::Timeout,
        QueryFailure::Unaskable => DnsFailure::NotFound,
        QueryFailure::Exhausted => DnsFailure::Exhausted,
        QueryFailure::OutOfPorts => DnsFailure::OutOfPorts,
        QueryFailure::Closed
        | QueryFailure::Unreachable
        | QueryFailure::NoTcp
        | QueryFailure::Unreadable => DnsFailure::Transport,
    };
    let mut detail = String::new();
    for (address, failure) in failures {
        let comma = if detail.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(detail, "{comma}{address} {failure}");
    }
    Unresolved {
        failure,
        detail: (!detail.is_empty()).then(|| detail.into()),
    }
}

/// Probes name servers concurrently. Returns those that do not answer, with their
/// position and failure.
pub(super) async fn unanswering(servers: &[SocketAddr]) -> Vec<(usize, QueryFailure)> {
    let mut asked = JoinSet::new();
    for (number, address) in servers.iter().copied().enumerate() {
        asked.spawn(async move {
            let server = NameServer::new(address);
            let outcome = server.ask(&Question::for_the_root(), PROBE_TIMEOUT).await;
            Some((
                number,
                outcome.err().filter(|failure| !failure.is_response())?,
            ))
        });
    }
    let mut found: Vec<_> = asked.join_all().await.into_iter().flatten().collect();
    found.sort_by_key(|(number, _)| *number);
    found
}
