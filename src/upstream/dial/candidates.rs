//! The addresses of one target that the policy admitted. The only thing that
//! [`Dialer::connect`](super::Dialer::connect) takes: an address that was not evaluated cannot be dialled.

use std::iter;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::time::Instant;

use super::answer::{DnsAnswer, MAX_ADDRESSES};
use super::error::DialError;
use crate::access::policy::{DecidedBy, Denied};

/// Evaluates one address before it may be dialled: what admits it.
pub type Evaluate<'a> = dyn Fn(SocketAddr) -> Result<DecidedBy, Denied> + Sync + 'a;

/// What the look-up and the policy leave of a target.
#[derive(Debug)]
pub struct Found {
    /// The addresses to try.
    pub candidates: Candidates,
    /// What admitted the first of them.
    pub decided_by: DecidedBy,
}

/// One bit for each address of an [`DnsAnswer`].
type Mask = u16;
const _: () = assert!(MAX_ADDRESSES <= Mask::BITS as usize);

/// The admitted addresses of one target in the order in which to try them; never
/// empty. A clone copies one pointer.
#[derive(Clone, Debug)]
pub struct Candidates {
    first: SocketAddr,
    /// The answer that the addresses are from, and which of them come after
    /// `first`. `None` for an IP literal.
    rest: Option<(Arc<DnsAnswer>, Mask)>,
}

impl Candidates {
    /// Evaluates an IP literal. An IPv4-mapped one is dialled as the IPv4 that it is.
    pub(super) fn of_literal(
        address: IpAddr,
        port: u16,
        evaluate: &Evaluate<'_>,
    ) -> Result<(Self, DecidedBy), DialError> {
        let first = SocketAddr::new(address.to_canonical(), port);
        let decided_by = evaluate(first).map_err(DialError::Prohibited)?;
        Ok((Self { first, rest: None }, decided_by))
    }

    /// Evaluates every address of an answer and drops the denied ones.
    pub(super) fn of_answer(
        answer: Arc<DnsAnswer>,
        port: u16,
        now: Instant,
        evaluate: &Evaluate<'_>,
    ) -> Result<(Self, DecidedBy), DialError> {
        let addresses = answer
            .addresses()
            .map_err(|unresolved| DialError::Dns(unresolved.clone()))?;
        let preferred = answer.preferred(now);
        let mut first: Option<(usize, SocketAddr, DecidedBy)> = None;
        let mut admitted: Mask = 0;
        let mut denial = None;
        for (index, address) in addresses.iter().take(MAX_ADDRESSES).enumerate() {
            let address = SocketAddr::new(*address, port);
            match evaluate(address) {
                Ok(decided_by) => {
                    admitted |= 1 << index;
                    if first.is_none() || index == preferred {
                        first = Some((index, address, decided_by));
                    }
                }
                Err(denied) => denial = denial.or(Some(denied)),
            }
        }
        match (first, denial) {
            (Some((index, first, decided_by)), _) => {
                let candidates = Self {
                    first,
                    rest: Some((answer, admitted & !(1 << index))),
                };
                Ok((candidates, decided_by))
            }
            (None, Some(denied)) => Err(DialError::Prohibited(denied)),
            (None, None) => Err(DialError::NoAddress),
        }
    }

    /// The address to try first: the one that won last time, else the first in the
    /// order of RFC 8305 §4. Key a connection pool by it.
    pub fn first(&self) -> SocketAddr {
        self.first
    }

    /// Every address in the order in which to try them.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let port = self.first.port();
        let (addresses, mask) = match &self.rest {
            Some((answer, mask)) => (answer.addresses().unwrap_or_default(), *mask),
            None => (&[][..], 0),
        };
        let rest = addresses
            .iter()
            .enumerate()
            .filter(move |(index, _)| mask & (1 << index) != 0)
            .map(move |(_, address)| SocketAddr::new(*address, port));
        iter::once(self.first).chain(rest)
    }

    /// Those of them that `keep` is true for, and the first one.
    #[must_use]
    pub fn only(mut self, keep: impl Fn(SocketAddr) -> bool) -> Self {
        let port = self.first.port();
        if let Some((answer, mask)) = &mut self.rest {
            let addresses = answer.addresses().unwrap_or_default();
            for (index, ip) in addresses.iter().enumerate().take(MAX_ADDRESSES) {
                if !keep(SocketAddr::new(*ip, port)) {
                    *mask &= !(1 << index);
                }
            }
        }
        self
    }

    /// Remembers that `winner` accepted a connection, for the next candidates of
    /// the same name.
    pub(in crate::upstream) fn remember(&self, winner: SocketAddr) {
        if let Some((answer, _)) = &self.rest {
            answer.prefer(winner.ip(), Instant::now());
        }
    }
}
