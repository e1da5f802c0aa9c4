//! From an authority to a connected socket: resolve, have the policy evaluate every
//! address, connect to one of the admitted. Knows tokio, not Pingora.
//!
//! **Invariant:** for a target that a client names, a socket is only connected to an address of a
//! [`Candidates`], and a [`Candidates`] holds only addresses that the policy admitted. There is no second
//! look-up between the evaluation and the connection, so a name that changes its answer (DNS rebinding) gains
//! nothing. The upstreams of pools are servers of the configuration, which no client names and no policy
//! evaluates: [`Dialer::addresses`], [`connect_any`] and [`connect_unix`] are for them.
//!
//! ```text
//! Authority -> Resolver (cache, hosts file, name servers) -> DnsAnswer
//!           -> evaluate each address                      -> Candidates
//!           -> race (RFC 8305)                            -> Dialed
//! ```

mod answer;
mod candidates;
mod error;
mod hosts;
mod name_server;
mod name_servers;
mod question;
mod race;
mod resolver;
mod sources;
mod system;
#[cfg(test)]
mod tests;
mod unix;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::answer::DnsAnswer;
pub use self::candidates::{Candidates, Evaluate, Found};
pub use self::error::{DialError, EXHAUSTED_PAUSE, exhaustion};
pub use self::race::{Dialed, connect_any};
pub use self::resolver::{DnsOptions, Resolver};
pub use self::sources::Sources;
pub use self::unix::connect_unix;
use crate::access::client::Client;
use crate::http::target::{Authority, Host};

/// Dials targets. One for the whole process; share it in an `Arc`.
#[derive(Debug)]
pub struct Dialer {
    resolver: Resolver,
    sources: Sources,
    connect_timeout: Duration,
}

impl Dialer {
    /// Prepares a dialer that connects from `sources`. Starts and opens nothing, see [`Resolver::new`].
    /// `connect_timeout` bounds all attempts of one [`connect`](Self::connect) together.
    pub fn new(dns: DnsOptions, sources: Sources, connect_timeout: Duration) -> Self {
        Self {
            resolver: Resolver::new(dns),
            sources,
            connect_timeout,
        }
    }

    /// Asks the name servers that were given in the background whether they answer. The log
    /// says which ones do not, and requests ask them last.
    pub async fn look_after_name_servers(&self) {
        self.resolver.look_after_name_servers().await;
    }

    /// How many names are in the cache, expired ones too.
    pub fn count_cached_names(&self) -> usize {
        self.resolver.count_cached()
    }

    /// The addresses of a target that `evaluate` admits, in the order in which to try them. It sees every
    /// address; the denied ones are dropped. Where a look-up is needed, it is `client`'s, and `look_up` gets how long it
    /// took, whatever its result.
    ///
    /// A name that is in the cache, and an IP literal, are answered without waiting
    /// and without allocating.
    ///
    /// # Errors
    /// [`DialError::Prohibited`] when not one address is admitted,
    /// [`DialError::Dns`] and [`DialError::TooManyLookups`] when there is none.
    pub async fn candidates(
        &self,
        authority: &Authority,
        client: impl FnOnce() -> Client,
        evaluate: &Evaluate<'_>,
        look_up: &mut Option<Duration>,
    ) -> Result<Found, DialError> {
        let (candidates, decided_by) = match &authority.host {
            Host::Ip(address) => Candidates::of_literal(*address, authority.port, evaluate)?,
            Host::Name(name) => {
                let mut now = Instant::now();
                let answer = match self.resolver.cached(name, now) {
                    Some(answer) => answer,
                    None => {
                        let begun = now;
                        let answer = self.resolver.resolve(name, client()).await;
                        now = Instant::now();
                        *look_up = Some(now - begun);
                        answer?
                    }
                };
                Candidates::of_answer(answer, authority.port, now, evaluate)?
            }
        };
        Ok(Found {
            candidates,
            decided_by,
        })
    }

    /// The same for addresses that a hook gives in place of a look-up.
    ///
    /// # Errors
    /// [`DialError::Prohibited`] when not one address is admitted.
    pub fn candidates_of(
        addresses: Vec<IpAddr>,
        port: u16,
        evaluate: &Evaluate<'_>,
    ) -> Result<Found, DialError> {
        let now = Instant::now();
        let answer = DnsAnswer::new(Ok(addresses.into()), now, Duration::ZERO);
        let (candidates, decided_by) =
            Candidates::of_answer(Arc::new(answer), port, now, evaluate)?;
        Ok(Found {
            candidates,
            decided_by,
        })
    }

    /// Every address of a name that the configuration has. No policy evaluates them.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DialError> {
        let answer = self.resolver.resolve(name, Client::own()).await?;
        match answer.addresses() {
            Ok(addresses) => Ok(addresses.to_vec()),
            Err(unresolved) => Err(DialError::Dns(unresolved.clone())),
        }
    }

    /// Connects to the candidate that accepts first and remembers it for the name.
    ///
    /// # Errors
    /// See [`connect_any`].
    pub async fn connect(&self, candidates: &Candidates) -> Result<Dialed, DialError> {
        let dialed = connect_any(candidates.iter(), &self.sources, self.connect_timeout).await?;
        candidates.remember(dialed.address);
        Ok(dialed)
    }
}

/// Which of the name servers do not answer, as their number and what they do; within some
/// two seconds. Blocks.
///
/// # Errors
/// The operating system's, when nothing can be asked.
pub fn unanswering(servers: &[SocketAddr]) -> io::Result<Vec<(usize, String)>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let found = runtime.block_on(name_servers::unanswering(servers));
    let words = |(number, trouble): (_, name_server::QueryFailure)| (number, trouble.to_string());
    Ok(found.into_iter().map(words).collect())
}
