//! All name servers of this host: which one is asked, and which others when it is silent.
//!
//! They are asked in their order, the next one as soon as one fails or is silent for
//! 250 ms. One that was silent is asked last from then on, and asked in the background until
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
use super::name_server::{NameServer, Trouble};
use super::question::{Question, Said};
use super::race::{ATTEMPT_DELAY, Attempt, first_finished};

/// How long a question in the background waits for its answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The pauses between these, the first and the longest.
const PROBE_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The name servers, in the order in which to ask them.
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

    /// Asks until one answers.
    ///
    /// # Errors
    /// What each of them did, when none answers before the deadline.
    pub(super) async fn ask(
        &self,
        question: &Question,
        deadline: Instant,
    ) -> Result<Said, Unresolved> {
        let limit = deadline.saturating_duration_since(Instant::now());
        let mut troubles: Vec<(SocketAddr, Trouble)> = Vec::new();
        // Each with its begin.
        let mut running: Vec<Attempt<(&Arc<NameServer>, Instant), _>> = Vec::new();
        let asking = async {
            let mut waiting = self.in_order().into_iter().peekable();
            loop {
                let answered = troubles.iter().any(|(_, trouble)| trouble.is_answer());
                match waiting.next() {
                    // Silent ones are for when no other says anything.
                    Some(server) if !(answered && server.silent.load(Ordering::Relaxed)) => {
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
                        Ok(said) => return Some(said),
                        Err(trouble) => {
                            if !trouble.is_answer() {
                                suspect(server);
                            }
                            troubles.push((server.address, trouble));
                        }
                    },
                    () = sleep(ATTEMPT_DELAY), if waiting.peek().is_some() => {}
                }
            }
        };
        let said = timeout_at(deadline, asking).await.ok().flatten();
        // Those that had a fair time and said nothing.
        for ((server, begun), _) in &running {
            if begun.elapsed() >= ATTEMPT_DELAY || said.is_none() {
                suspect(server);
                troubles.push((server.address, Trouble::Silent));
            }
        }
        said.ok_or_else(|| unresolved(&troubles))
    }

    /// Asks each of them in the background whether it answers, and says in the log which
    /// ones do not.
    pub(super) fn look_after(&self) {
        self.0.iter().for_each(watch);
    }

    fn in_order(&self) -> Vec<&Arc<NameServer>> {
        let mut order: Vec<_> = self.0.iter().collect();
        order.sort_by_key(|server| server.silent.load(Ordering::Relaxed));
        order
    }
}

/// Has the others asked first from now on, until it answers.
fn suspect(server: &Arc<NameServer>) {
    server.silent.store(true, Ordering::Relaxed);
    watch(server);
}

/// Asks it in the background until it answers. Once at a time.
fn watch(server: &Arc<NameServer>) {
    if !server.watched.swap(true, Ordering::Relaxed) {
        tokio::spawn(until_it_answers(Watch(Arc::downgrade(server))));
    }
}

/// A name server under watch. The watch may end with its runtime; the next one begins anew.
struct Watch(Weak<NameServer>);

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(server) = self.0.upgrade() {
            server.silent.store(false, Ordering::Relaxed);
            server.watched.store(false, Ordering::Relaxed);
        }
    }
}

async fn until_it_answers(watch: Watch) {
    let (mut pause, longest) = PROBE_PAUSES;
    let mut told = false;
    // Gone: other name servers have taken the place of all.
    while let Some(server) = watch.0.upgrade() {
        let address = server.address;
        match server.ask(&Question::for_the_root(), PROBE_TIMEOUT).await {
            Err(trouble) if !trouble.is_answer() => {
                server.silent.store(true, Ordering::Relaxed);
                if !told {
                    log::warn!(
                        "name server {address} {trouble}; it is asked last until it answers"
                    );
                    told = true;
                }
            }
            Ok(_) | Err(_) => {
                if told {
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

/// Joins what the name servers did into one failure: what tells most decides what it is.
fn unresolved(troubles: &[(SocketAddr, Trouble)]) -> Unresolved {
    let rank = |trouble: &Trouble| match trouble {
        Trouble::Exhausted | Trouble::OutOfPorts => 5,
        Trouble::Code(ResponseCode::Refused) => 3,
        Trouble::Code(_) => 4,
        Trouble::NoTcp | Trouble::Unreadable | Trouble::Referral | Trouble::Unaskable => 2,
        Trouble::Silent => 1,
        Trouble::Closed | Trouble::Unreachable => 0,
    };
    let most_telling = troubles
        .iter()
        .map(|(_, trouble)| *trouble)
        .max_by_key(rank)
        .unwrap_or(Trouble::Unreachable);
    let failure = match most_telling {
        Trouble::Code(ResponseCode::Refused) => DnsFailure::ServerRefused,
        Trouble::Code(_) | Trouble::Referral => DnsFailure::ServerFailure,
        Trouble::Silent => DnsFailure::Timeout,
        Trouble::Unaskable => DnsFailure::NotFound,
        Trouble::Exhausted => DnsFailure::Exhausted,
        Trouble::OutOfPorts => DnsFailure::OutOfPorts,
        Trouble::Closed | Trouble::Unreachable | Trouble::NoTcp | Trouble::Unreadable => {
            DnsFailure::Transport
        }
    };
    let mut detail = String::new();
    for (address, trouble) in troubles {
        let comma = if detail.is_empty() { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(detail, "{comma}{address} {trouble}");
    }
    Unresolved {
        failure,
        detail: (!detail.is_empty()).then(|| detail.into()),
    }
}

/// Asks name servers all at once whether they answer. Gives those that do not, with their
/// number and what they did.
pub(super) async fn unanswering(servers: &[SocketAddr]) -> Vec<(usize, Trouble)> {
    let mut asked = JoinSet::new();
    for (number, address) in servers.iter().copied().enumerate() {
        asked.spawn(async move {
            let server = NameServer::new(address);
            let outcome = server.ask(&Question::for_the_root(), PROBE_TIMEOUT).await;
            Some((
                number,
                outcome.err().filter(|trouble| !trouble.is_answer())?,
            ))
        });
    }
    let mut found: Vec<_> = asked.join_all().await.into_iter().flatten().collect();
    found.sort_by_key(|(number, _)| *number);
    found
}
