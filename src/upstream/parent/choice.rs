//! Which URL of a parent takes a request.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use foldhash::fast::FixedState;
use smallvec::SmallVec;

use super::{Member, Parent};
use crate::access::auth::User;
use crate::access::client::{Client, network_of};
use crate::config::{Choose, Fallback};
use crate::http::error::{ErrorKind, RequestError};
use crate::upstream::limit::Turn;

/// The client and the user of a request, for the choice of a URL.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The user, where one is known.
    pub user: Option<&'a User>,
    /// The client's address.
    pub client: IpAddr,
    /// The thread that serves it.
    pub thread: u16,
}

/// Numbers of members in the order in which they are tried.
type Order = SmallVec<[usize; 8]>;

impl Parent {
    /// The turn of a request at one of the URLs that get requests and are not among `failed`, and the number of it.
    /// Where one is full, the next one takes the request, unless users keep theirs. When none gets requests, one is tried
    /// all the same, unless there is a fallback: it may have come back since.
    ///
    /// # Errors
    /// [`ErrorKind::ParentFailed`] when there is no such URL.
    pub fn turn(
        &self,
        failed: &[usize],
        sender: Sender<'_>,
    ) -> Result<(usize, Turn), RequestError> {
        let client = Client::new(sender.user, sender.client);
        let order = self.order(sender);
        let is_left = |number: &&usize| !failed.contains(number);
        let left = order.iter().filter(is_left);
        let mut first = None;
        for number in left.clone() {
            let Some(member) = self.member(*number).filter(|member| member.is_usable()) else {
                continue;
            };
            if let Some(permit) = member.limit.try_take(sender.thread, client) {
                return Ok((*number, Turn::Ready(permit)));
            }
            first.get_or_insert((*number, member));
            if self.settings.choose == Choose::HashUser {
                break;
            }
        }
        let is_last_resort = failed.is_empty() && self.settings.fallback == Fallback::Fails;
        let any = || {
            let number = *left.clone().next()?;
            Some((number, self.member(number)?)).filter(|_| is_last_resort)
        };
        match first.or_else(any) {
            Some((number, member)) => {
                let turn = member.limit.turn(sender.thread, client, &self.when_full);
                Ok((number, turn))
            }
            None => Err(self.none_left(failed)),
        }
    }

    /// The members in the order in which they are tried.
    fn order(&self, sender: Sender<'_>) -> Order {
        let count = self.members.len();
        let mut order: Order = (0..count).collect();
        match self.settings.choose {
            Choose::Failover => {}
            Choose::RoundRobin => {
                let turn = self.next.fetch_add(1, Ordering::Relaxed);
                order.rotate_left(turn.checked_rem(count).unwrap_or(0));
            }
            Choose::Least => {
                let in_use = |number: &usize| self.member(*number).map(|it| it.in_use());
                // Stable, and so begun at another one each time, for those that have the same number.
                let turn = self.next.fetch_add(1, Ordering::Relaxed);
                order.rotate_left(turn.checked_rem(count).unwrap_or(0));
                order.sort_by_cached_key(in_use);
            }
            Choose::HashUser => {
                let weight = |number: &usize| {
                    let member = self.member(*number);
                    std::cmp::Reverse(member.map(|member| weight(member, sender)))
                };
                order.sort_by_cached_key(weight);
            }
        }
        order
    }

    fn none_left(&self, failed: &[usize]) -> RequestError {
        let members = self.members.iter().enumerate();
        let troubles: Vec<String> = members
            .map(|(number, member)| match failed.contains(&number) {
                true => format!("{} did not take this request", member.shown()),
                false => format!("{} is down", member.shown()),
            })
            .collect();
        let why = format!("parent {}: {}", self.shown, troubles.join(", "));
        ErrorKind::ParentFailed
            .because(why)
            .at_next_hop(self.shown.clone(), None)
    }
}

/// How much a user prefers a member (rendezvous hashing): when one goes, the users of the others keep theirs. The same in
/// each process.
fn weight(member: &Member, sender: Sender<'_>) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    match sender.user {
        Some(user) => user.as_str().hash(&mut hasher),
        None => network_of(sender.client).hash(&mut hasher),
    }
    member.shown().hash(&mut hasher);
    hasher.finish()
}
