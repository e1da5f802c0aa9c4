//! Requests that wait for a permit: clients in turn, and of one client first come, first served.
//!
//! A freed permit may go to a later request of the same client that is of its shard: [`REACH`].

use std::collections::{BTreeMap, HashMap};

use foldhash::quality::RandomState;
use tokio::sync::oneshot;

use crate::access::client::Client;

/// How many waiters of a client from the first on may be given a freed permit of their own shard, and how often
/// in a row the first is passed over for one.
pub(super) const REACH: usize = 32;

/// The requests that wait.
#[derive(Debug, Default)]
pub(super) struct Line {
    clients: HashMap<Client, Waiters, RandomState>,
    /// The same clients, by their turn.
    turns: BTreeMap<u64, Client>,
    next_turn: u64,
}

/// Those of one client.
#[derive(Debug)]
struct Waiters {
    turn: u64,
    queue: BTreeMap<u64, Waiting>,
    /// How often the first was passed over.
    passed: usize,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) shard: u16,
    /// Gets the shard of its permit.
    pub(super) give: oneshot::Sender<u16>,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// How many there are. Counts them by client.
    pub(super) fn len(&self) -> usize {
        self.clients.values().map(|it| it.queue.len()).sum()
    }

    /// Adds a request. Tickets are numbers that grow.
    pub(super) fn push(&mut self, client: Client, ticket: u64, waiting: Waiting) {
        if let Some(waiters) = self.clients.get_mut(&client) {
            waiters.queue.insert(ticket, waiting);
            return;
        }
        let turn = self.turn_at_the_end(client);
        let waiters = Waiters {
            turn,
            queue: BTreeMap::from([(ticket, waiting)]),
            passed: 0,
        };
        self.clients.insert(client, waiters);
    }

    fn turn_at_the_end(&mut self, client: Client) -> u64 {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.turns.insert(turn, client);
        turn
    }

    /// Takes out a request that leaves.
    pub(super) fn remove(&mut self, client: Client, ticket: u64) -> Option<Waiting> {
        let waiters = self.clients.get_mut(&client)?;
        let is_first = waiters.queue.first_key_value().map(|(first, _)| *first) == Some(ticket);
        let waiting = waiters.queue.remove(&ticket)?;
        if is_first {
            waiters.passed = 0;
        }
        if waiters.queue.is_empty() {
            self.turns.remove(&waiters.turn);
            self.clients.remove(&client);
        }
        Some(waiting)
    }

    /// Takes out the request that is next for a permit of this shard: of the first client in turn that may have one.
    pub(super) fn pop(
        &mut self,
        shard: u16,
        may_have: impl Fn(Client) -> bool,
    ) -> Option<(Client, Waiting)> {
        let mut in_turn = self.turns.iter();
        let (turn, _) = in_turn.find(|(_, client)| may_have(**client))?;
        let turn = *turn;
        let client = self.turns.remove(&turn)?;
        let waiters = self.clients.get_mut(&client)?;
        let waiting = waiters.pop(shard)?;
        if waiters.queue.is_empty() {
            self.clients.remove(&client);
        } else {
            let turn = self.turn_at_the_end(client);
            self.clients.get_mut(&client)?.turn = turn;
        }
        Some((client, waiting))
    }
}

impl Waiters {
    fn pop(&mut self, shard: u16) -> Option<Waiting> {
        let first = *self.queue.first_key_value()?.0;
        let reach = if self.passed < REACH { REACH } else { 1 };
        let next = self
            .queue
            .iter()
            .take(reach)
            .find(|(_, waiting)| waiting.shard == shard)
            .map_or(first, |(ticket, _)| *ticket);
        self.passed = if next == first { 0 } else { self.passed + 1 };
        self.queue.remove(&next)
    }
}
