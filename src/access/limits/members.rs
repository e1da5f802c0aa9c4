//! The members of a class: what each user, network, or the class as a whole has of the limits. A table of bounded size.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use super::account::Counter;
use super::bandwidth::Lent;
use super::class::{ClassLimits, Limit, Per};
use super::fleet::{Places, Share, SharedClass};
use super::quota::Member as Who;
use super::rate::{Due, Elapsed};
use crate::access::client::Client;

/// Parts of the table, so that threads seldom wait for each other.
const SHARDS: usize = 64;

/// The most members of a part.
const MAX_IN_SHARD: usize = 1024;

/// A full part is searched so often at most for members that can go.
const SEARCH_PAUSE: Duration = Duration::from_millis(100);

/// What one member has.
#[derive(Debug)]
pub struct Member {
    pub(super) requests: Due,
    pub(super) new_tunnels: Due,
    pub(super) download: Lent,
    pub(super) upload: Lent,
    /// What it has carried as long as it is remembered.
    pub(super) bytes: Counter,
    open_requests: Places,
    open_tunnels: Places,
    /// What a fleet shares of it.
    share: Option<Box<Share>>,
}

/// The members of one class.
pub(super) struct Members {
    /// None where the class as a whole is the one member.
    shards: Option<Box<[Mutex<Shard>]>>,
    /// The class as a whole; or all members together for which the table has no room.
    together: Arc<Member>,
    /// The class, where a fleet shares its limits.
    shared: Option<Arc<SharedClass>>,
}

#[derive(Default)]
struct Shard {
    members: HashMap<Client, Arc<Member>, RandomState>,
    next_search: Option<Elapsed>,
}

impl Members {
    /// The most members of a class that are remembered.
    #[cfg(test)]
    pub(super) const MAX: usize = SHARDS * MAX_IN_SHARD;

    pub(super) fn new(per: Per, limits: &ClassLimits, shared: Option<Arc<SharedClass>>) -> Members {
        let shards = || (0..SHARDS).map(|_| Mutex::default()).collect();
        let who = match per {
            Per::Class => Who::Class,
            Per::User | Per::ClientNetwork | Per::Host => Who::Others,
        };
        let share = shared.as_ref();
        let share = share.map(|class| Box::new(Share::new(class, who)));
        Members {
            shards: (per != Per::Class && !limits.is_empty()).then(shards),
            together: Arc::new(Member::new(limits, Elapsed::now(), share)),
            shared,
        }
    }

    /// The class, where a fleet shares its limits.
    pub(super) fn shared(&self) -> Option<&Arc<SharedClass>> {
        self.shared.as_ref()
    }

    /// The member that this client is; `who` names it, for instances that share its limits.
    pub(super) fn get(
        &self,
        client: impl FnOnce(Per) -> Client,
        who: impl FnOnce(Per) -> Who,
        per: Per,
        limits: &ClassLimits,
        now: Elapsed,
    ) -> Arc<Member> {
        let Some(shards) = &self.shards else {
            return Arc::clone(&self.together);
        };
        let client = client(per);
        let Some(shard) = shards.get(client.part(SHARDS)) else {
            return Arc::clone(&self.together);
        };
        let mut shard = shard.lock();
        if let Some(member) = shard.members.get(&client) {
            return Arc::clone(member);
        }
        let gone = shard.make_room(limits, now);
        if shard.members.len() >= MAX_IN_SHARD {
            return Arc::clone(&self.together);
        }
        let share = self.shared.as_ref();
        let share = share.map(|class| Box::new(Share::new(class, who(per))));
        let member = Arc::new(Member::new(limits, now, share));
        shard.members.insert(client, Arc::clone(&member));
        drop(shard);
        drop(gone);
        member
    }

    /// How many members are remembered.
    pub(super) fn len(&self) -> usize {
        match &self.shards {
            Some(shards) => shards.iter().map(|shard| shard.lock().members.len()).sum(),
            None => 1,
        }
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Members").finish_non_exhaustive()
    }
}

impl Shard {
    /// Takes the members of whom there is nothing to know out of a full part. To be dropped without its lock: to free a
    /// thousand members takes several times as long as to find them.
    fn make_room(&mut self, limits: &ClassLimits, now: Elapsed) -> Vec<(Client, Arc<Member>)> {
        let is_searched = self.next_search.is_some_and(|next| now < next);
        if self.members.len() < MAX_IN_SHARD || is_searched {
            return Vec::new();
        }
        self.next_search = Some(now.after(SEARCH_PAUSE));
        // A member is only given out under this lock: of one that is here alone, no request has anything.
        let is_gone = |_: &Client, member: &mut Arc<Member>| {
            Arc::strong_count(member) == 1 && member.is_at_rest(limits, now)
        };
        self.members.extract_if(is_gone).collect()
    }
}

impl Member {
    fn new(limits: &ClassLimits, now: Elapsed, share: Option<Box<Share>>) -> Member {
        Member {
            requests: Due::new(limits.requests.as_ref(), now),
            new_tunnels: Due::new(limits.new_tunnels.as_ref(), now),
            download: Lent::new(),
            upload: Lent::new(),
            bytes: Counter::default(),
            open_requests: Places::default(),
            open_tunnels: Places::default(),
            share,
        }
    }

    /// What a fleet shares of it.
    pub(super) fn share(&self) -> Option<&Share> {
        self.share.as_deref()
    }

    /// The places of a limit of what is open at once.
    pub(super) fn places(&self, limit: Limit) -> &Places {
        match limit {
            Limit::Tunnels => &self.open_tunnels,
            _ => &self.open_requests,
        }
    }

    /// When the next one of a rate is due.
    pub(super) fn due(&self, limit: Limit) -> &Due {
        match limit {
            Limit::NewTunnels => &self.new_tunnels,
            _ => &self.requests,
        }
    }

    /// Whether it is like a new one.
    fn is_at_rest(&self, limits: &ClassLimits, now: Elapsed) -> bool {
        let rates = [
            (&self.requests, &limits.requests),
            (&self.new_tunnels, &limits.new_tunnels),
        ];
        let mut rates = rates
            .into_iter()
            .filter_map(|(due, pace)| Some((due, pace.as_ref()?)));
        let bandwidths = [
            (&self.download, &limits.download),
            (&self.upload, &limits.upload),
        ];
        let mut bandwidths = bandwidths
            .into_iter()
            .filter_map(|(lent, bandwidth)| Some((lent, bandwidth.as_ref()?)));
        rates.all(|(due, pace)| due.is_at_rest(pace, now))
            && bandwidths.all(|(lent, bandwidth)| lent.is_at_rest(bandwidth, now))
    }
}

#[cfg(test)]
mod tests;
