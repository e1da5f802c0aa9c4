//! From an authority to a connected socket: resolve, let the policy judge every
//! address, connect to one of the admitted. Knows tokio, not Pingora.
//!
//! **Invariant:** a socket is only ever connected to an address of a [`Candidates`],
//! and a [`Candidates`] holds only addresses that were admitted. There is no second
//! look-up between the judgement and the connection, so a name that changes its
//! answer (DNS rebinding) gains nothing.
//!
//! ```text
//! Authority -> Resolver (cache, hosts file, name servers) -> Answer
//!           -> admit each address                         -> Candidates
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
mod system;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

pub use self::answer::Answer;
pub use self::candidates::{Admit, Candidates};
pub use self::error::{DialError, DnsFailure, EXHAUSTED_PAUSE, Unresolved, exhaustion};
pub use self::race::{Dialed, connect_any};
pub use self::resolver::{DnsOptions, Resolver};
use crate::http::target::{Authority, Host};

/// Dials targets. One for the whole process; share it in an `Arc`.
#[derive(Debug)]
pub struct Dialer {
    resolver: Resolver,
    connect_timeout: Duration,
}

impl Dialer {
    /// Prepares a dialer. Starts and opens nothing, see [`Resolver::new`].
    /// `connect_timeout` bounds all attempts of one [`connect`](Self::connect) together.
    pub fn new(dns: DnsOptions, connect_timeout: Duration) -> Self {
        Self {
            resolver: Resolver::new(dns),
            connect_timeout,
        }
    }

    /// Asks the name servers that were given in the background whether they answer. The log
    /// says which ones do not, and requests ask them last.
    pub async fn look_after_name_servers(&self) {
        self.resolver.look_after_name_servers().await;
    }

    /// The addresses of a target that `admit` lets through, in the order in which
    /// to try them. `admit` sees every address; the denied ones are dropped.
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
        admit: &Admit<'_>,
    ) -> Result<Candidates, DialError> {
        match &authority.host {
            Host::Ip(address) => Candidates::of_literal(*address, authority.port, admit),
            Host::Name(name) => {
                let mut now = Instant::now();
                let answer = match self.resolver.cached(name, now) {
                    Some(answer) => answer,
                    None => {
                        let answer = self.resolver.resolve(name).await?;
                        now = Instant::now();
                        answer
                    }
                };
                Candidates::of_answer(answer, authority.port, now, admit)
            }
        }
    }

    /// Connects to the candidate that accepts first and remembers it for the name.
    ///
    /// # Errors
    /// See [`connect_any`].
    pub async fn connect(&self, candidates: &Candidates) -> Result<Dialed, DialError> {
        let dialed = connect_any(candidates.iter(), self.connect_timeout).await?;
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
    let words = |(number, trouble): (_, name_server::Trouble)| (number, trouble.to_string());
    Ok(found.into_iter().map(words).collect())
}
