//! What a request gets of a class.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::fleet::{Fleet, Pending, is_stale};
use super::super::members::Member;
use super::super::quota::{Ledger, Member as Who, now as wall_clock};
use super::super::rate::{Elapsed, Pace};
use super::{Account, Class, Exceeded, Limit, Per, Refused, Ticket, WAIT_FOR_ROOM};
use crate::access::client::Client;
use crate::access::policy::Request;

/// How often a request waits for the store of a fleet: for its quota, for a place, and for a rate.
const MAX_TURNS: u8 = 3;

/// A limit for which there is nothing left.
struct Short {
    limit: Limit,
    wait: Duration,
    /// Whether the store of the fleet may have more.
    may_ask: bool,
}

impl Class {
    /// Whether a limit of it is counted in a store.
    pub(in super::super) fn needs_store(&self) -> bool {
        self.limits().quota.is_some() || self.members.shared().is_some()
    }

    /// What a request of this client gets.
    ///
    /// # Errors
    /// The first limit that it is over. Then it has taken nothing of any.
    pub(in super::super) fn admit(
        self: &Arc<Self>,
        request: &Request<'_>,
        is_tunnel: bool,
        pending: Option<Pending>,
    ) -> Result<Ticket, Refused> {
        let limits = &self.rule.limits;
        let ledger = self.ledger(request);
        if let Some(ledger) = &ledger {
            self.check(ledger, pending.as_ref())?;
        }
        let member = match limits.is_empty() {
            true => None,
            false => Some(self.member(request, is_tunnel, pending.as_ref())?),
        };
        self.tally.admitted.fetch_add(1, Ordering::Relaxed);
        self.tally.open(is_tunnel).fetch_add(1, Ordering::Relaxed);
        Ok(Ticket {
            account: Account {
                class: Arc::clone(self),
                member,
                ledger,
            },
            is_tunnel,
        })
    }

    /// Gives a place back.
    pub(super) fn leave(&self, member: &Arc<Member>, is_tunnel: bool) {
        let (limit, _) = self.rule.limits.at_once(is_tunnel);
        member.places(limit).leave();
        if let Some(fleet) = self.fleet() {
            fleet.note(member);
        }
    }

    fn over(self: &Arc<Self>, limit: Limit, wait: Duration, resets: Option<i64>) -> Refused {
        self.tally.limited.fetch_add(1, Ordering::Relaxed);
        Refused::Over(Exceeded {
            class: Arc::clone(self),
            limit,
            wait,
            resets,
        })
    }

    /// What shares its limits, if something does.
    pub(in super::super) fn fleet(&self) -> Option<&Arc<Fleet>> {
        self.members.shared().map(|shared| &shared.fleet)
    }

    /// Where the bytes of a request count.
    fn ledger(&self, request: &Request<'_>) -> Option<Arc<Ledger>> {
        let ledgers = self.ledgers.as_ref()?;
        self.rule.limits.quota?;
        let (name, per) = (&self.rule.name, self.rule.per);
        Some(ledgers.of_client(name, per, request.user, request.client))
    }

    /// Whether a request is within its quota.
    fn check(
        self: &Arc<Self>,
        ledger: &Arc<Ledger>,
        pending: Option<&Pending>,
    ) -> Result<(), Refused> {
        let (Some(ledgers), Some(quota)) = (&self.ledgers, &self.rule.limits.quota) else {
            return Ok(());
        };
        let shared = self.fleet().filter(|fleet| fleet.instances().is_some());
        if let Some(fleet) = shared
            && pending.is_none()
            && is_stale(ledger, Elapsed::now())
        {
            ledgers.touch(ledger);
            return Err(Refused::Ask(fleet.ask_ledger()));
        }
        let now = wall_clock();
        ledger.check(quota, now).map_err(|ended| {
            if shared.is_some() {
                // It may have been reset elsewhere.
                ledgers.touch(ledger);
            }
            let rest = u64::try_from(ended.resets.saturating_sub(now)).unwrap_or_default();
            let limit = Limit::Quota(ended.period);
            self.over(limit, Duration::from_secs(rest), Some(ended.resets))
        })
    }

    /// The member that a request is of, with what the request takes of its limits.
    fn member(
        self: &Arc<Self>,
        request: &Request<'_>,
        is_tunnel: bool,
        pending: Option<&Pending>,
    ) -> Result<Arc<Member>, Refused> {
        let now = Elapsed::now();
        let client = |per| match per {
            Per::User | Per::Class => Client::of_user(request.user),
            Per::ClientNetwork => Client::site(request.client),
            Per::Host => Client::of_host(request.host()),
        };
        let who = |per| match per {
            Per::User | Per::Class => Who::User(request.user.into()),
            Per::ClientNetwork => Who::network(request.client),
            Per::Host => Who::Host(
                request
                    .host()
                    .map(ToString::to_string)
                    .unwrap_or_default()
                    .into(),
            ),
        };
        let limits = &self.rule.limits;
        let member = self.members.get(client, who, self.rule.per, limits, now);
        match self.take(&member, is_tunnel, pending, now) {
            Ok(()) => Ok(member),
            Err(short) => {
                let turns = pending.map_or(0, |pending| pending.turns);
                match self.fleet().filter(|_| short.may_ask && turns < MAX_TURNS) {
                    Some(fleet) => Err(Refused::Ask(fleet.ask(&member, short.limit, turns))),
                    None => Err(self.over(short.limit, short.wait, None)),
                }
            }
        }
    }

    fn take(
        &self,
        member: &Arc<Member>,
        is_tunnel: bool,
        pending: Option<&Pending>,
        now: Elapsed,
    ) -> Result<(), Short> {
        let limits = &self.rule.limits;
        let instances = self.fleet().and_then(|fleet| fleet.instances());
        let short = |limit, wait| self.short(member, limit, wait, instances, pending, now);
        let (limit, most) = limits.at_once(is_tunnel);
        if let Some(most) = most {
            if !member.places(limit).enter(most, instances.is_some()) {
                return Err(short(limit, WAIT_FOR_ROOM));
            }
            if let (Some(share), Some(_)) = (member.share(), instances) {
                share.flow(limit).count(1);
            }
        }
        let leave = || {
            if most.is_some() {
                member.places(limit).leave();
            }
        };
        let is_pending = |limit| pending.is_some_and(|pending| pending.is_for(member, limit));
        let new_tunnels = limits.new_tunnels.as_ref().filter(|_| is_tunnel);
        if let Some(pace) = new_tunnels
            && let Err(wait) =
                take_rate(member, Limit::NewTunnels, pace, instances, now, is_pending)
        {
            leave();
            return Err(short(Limit::NewTunnels, wait));
        }
        if let Some(pace) = &limits.requests
            && let Err(wait) = take_rate(member, Limit::Requests, pace, instances, now, is_pending)
        {
            leave();
            if let Some(pace) = new_tunnels {
                member.new_tunnels.give_back(pace);
                if let (Some(share), Some(_)) = (member.share(), instances) {
                    share.flow(Limit::NewTunnels).count(-1);
                }
            }
            return Err(short(Limit::Requests, wait));
        }
        if let Some(fleet) = self.fleet() {
            fleet.note(member);
        }
        Ok(())
    }

    fn short(
        &self,
        member: &Arc<Member>,
        limit: Limit,
        wait: Duration,
        instances: Option<u32>,
        pending: Option<&Pending>,
        now: Elapsed,
    ) -> Short {
        let (Some(share), Some(_)) = (member.share(), instances) else {
            return Short {
                limit,
                wait,
                may_ask: false,
            };
        };
        let exhausted = share.flow(limit).exhausted(now);
        let was_asked = pending.is_some_and(|pending| pending.is_for(member, limit));
        Short {
            limit,
            wait: wait.max(Duration::from_micros(exhausted)),
            may_ask: exhausted == 0 && !was_asked,
        }
    }
}

/// Takes one of a rate.
///
/// # Errors
/// How long until the next one is due.
fn take_rate(
    member: &Member,
    limit: Limit,
    pace: &Pace,
    instances: Option<u32>,
    now: Elapsed,
    is_pending: impl Fn(Limit) -> bool,
) -> Result<(), Duration> {
    let due = member.due(limit);
    let (Some(share), Some(instances)) = (member.share(), instances) else {
        return due.take(pace, now);
    };
    let flow = share.flow(limit);
    if is_pending(limit) && flow.take_granted() {
        return Ok(());
    }
    due.take(&pace.part_of(instances), now)?;
    flow.count(1);
    Ok(())
}
