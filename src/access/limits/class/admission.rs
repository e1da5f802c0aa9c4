//! What a request gets of a class.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::fleet::{Fleet, Flow, Pending, is_stale};
use super::super::members::Member;
use super::super::quota::{Ledger, Member as Who, now as wall_clock};
use super::super::rate::{Elapsed, Pace, Taken};
use super::queue::longest;
use super::{
    Account, Class, ClassLimits, Exceeded, Limit, Per, Refused, Ticket, Turn, WAIT_FOR_ROOM,
};
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
    /// The first limit that it is over, and for whose next turn it may not wait. Then it has taken nothing of any.
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
        let (member, turn) = match limits.is_empty() {
            true => (None, None),
            false => {
                let (member, turn) = self.member(request, is_tunnel, pending.as_ref())?;
                (Some(member), turn)
            }
        };
        if turn.is_some() {
            self.tally.queued.fetch_add(1, Ordering::Relaxed);
        }
        self.tally.admitted.fetch_add(1, Ordering::Relaxed);
        self.tally.open(is_tunnel).fetch_add(1, Ordering::Relaxed);
        Ok(Ticket {
            account: Account {
                class: Arc::clone(self),
                member,
                ledger,
            },
            is_tunnel,
            turn,
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

    /// The member that a request is of, with what the request takes of its limits, and its turn, if that comes later.
    fn member(
        self: &Arc<Self>,
        request: &Request<'_>,
        is_tunnel: bool,
        pending: Option<&Pending>,
    ) -> Result<(Arc<Member>, Option<Box<Turn>>), Refused> {
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
        let mut taking = Taking {
            class: self,
            member: &member,
            instances: self.fleet().and_then(|fleet| fleet.instances()),
            pending,
            now,
            turn: None,
        };
        match taking.take(is_tunnel) {
            Ok(()) => {
                let turn = taking.turn;
                Ok((member, turn))
            }
            Err(short) => {
                let turns = taking.turns();
                match self.fleet().filter(|_| short.may_ask && turns < MAX_TURNS) {
                    Some(fleet) => Err(Refused::Ask(fleet.ask(&member, short.limit, turns))),
                    None => Err(self.over(short.limit, short.wait, None)),
                }
            }
        }
    }
}

/// What a request is about to take of a member.
struct Taking<'a> {
    class: &'a Arc<Class>,
    member: &'a Arc<Member>,
    /// None where each instance has the whole limit.
    instances: Option<u32>,
    pending: Option<&'a Pending>,
    now: Elapsed,
    /// The turn that comes later, if one does.
    turn: Option<Box<Turn>>,
}

/// One of a rate, to be given back.
enum OfRate {
    /// The store of the fleet had counted it for requests that wait.
    Granted,
    /// It was due, or will be.
    Due(Taken),
}

impl<'a> Taking<'a> {
    /// Takes what a request needs.
    ///
    /// # Errors
    /// The first limit for which there is nothing left. Then nothing is taken.
    fn take(&mut self, is_tunnel: bool) -> Result<(), Short> {
        let class = self.class;
        let limits = &class.rule.limits;
        let (limit, most) = limits.at_once(is_tunnel);
        if let Some(most) = most {
            let is_shared = self.instances.is_some();
            if !self.member.places(limit).enter(most, is_shared) {
                return Err(self.short(limit, WAIT_FOR_ROOM));
            }
            if let Some((flow, _)) = self.shared(limit) {
                flow.count(1);
            }
        }
        self.take_rates(limits, is_tunnel).inspect_err(|_| {
            if most.is_some() {
                self.member.places(limit).leave();
            }
        })?;
        if let Some(fleet) = class.fleet() {
            fleet.note(self.member);
        }
        Ok(())
    }

    fn take_rates(&mut self, limits: &ClassLimits, is_tunnel: bool) -> Result<(), Short> {
        let new_tunnels = limits.new_tunnels.as_ref().filter(|_| is_tunnel);
        let tunnel = match new_tunnels {
            Some(pace) => Some((self.take_rate(Limit::NewTunnels, pace)?, pace)),
            None => None,
        };
        let Some(pace) = &limits.requests else {
            return Ok(());
        };
        if let Err(short) = self.take_rate(Limit::Requests, pace) {
            if let Some((taken, pace)) = tunnel {
                self.give_back(Limit::NewTunnels, pace, taken);
            }
            return Err(short);
        }
        Ok(())
    }

    /// Takes one of a rate, which may be due later.
    fn take_rate(&mut self, limit: Limit, pace: &Pace) -> Result<OfRate, Short> {
        let shared = self.shared(limit);
        if let Some((flow, _)) = shared
            && flow.take_granted(self.is_pending(limit))
        {
            return Ok(OfRate::Granted);
        }
        let pace = match shared {
            Some((_, instances)) => &pace.part_of(instances),
            None => pace,
        };
        let due = self.member.due(limit);
        let taken = match due.take(pace, self.now) {
            Ok(taken) => taken,
            Err(early) => self.queue(limit, pace, early)?,
        };
        if let Some((flow, _)) = shared {
            flow.count(1);
        }
        Ok(OfRate::Due(taken))
    }

    /// Takes one that is due within the time that a request may wait.
    fn queue(&mut self, limit: Limit, pace: &Pace, early: Duration) -> Result<Taken, Short> {
        let queue = longest(self.class.rule.limits.queue, pace);
        let short = self.short(limit, early);
        // Of a rate that instances share, one may be left elsewhere.
        let may_ask = short.may_ask && self.turns() < MAX_TURNS;
        if early > queue || may_ask {
            return Err(short);
        }
        let mut turn = match self.turn.take() {
            Some(turn) => turn,
            None => match Turn::new(self.class) {
                Some(turn) => Box::new(turn),
                None => return Err(short),
            },
        };
        let due = self.member.due(limit);
        let taken = due.take_within(pace, self.now, queue);
        let taken = taken.map_err(|wait| self.short(limit, wait))?;
        turn.put_off(taken.wait);
        self.turn = Some(turn);
        Ok(taken)
    }

    fn give_back(&self, limit: Limit, pace: &Pace, taken: OfRate) {
        let shared = self.shared(limit);
        let pace = match shared {
            Some((_, instances)) => &pace.part_of(instances),
            None => pace,
        };
        let is_given = match taken {
            OfRate::Granted => true,
            OfRate::Due(taken) => self.member.due(limit).give_back(pace, taken),
        };
        if let Some((flow, _)) = shared.filter(|_| is_given) {
            flow.count(-1);
        }
    }

    /// What instances share of a limit, and how many they are.
    fn shared(&self, limit: Limit) -> Option<(&'a Flow, u32)> {
        let instances = self.instances?;
        Some((self.member.share()?.flow(limit), instances))
    }

    fn is_pending(&self, limit: Limit) -> bool {
        let is_for = |pending: &Pending| pending.is_for(self.member, limit);
        self.pending.is_some_and(is_for)
    }

    /// How often the request has waited for the store.
    fn turns(&self) -> u8 {
        self.pending.map_or(0, |pending| pending.turns)
    }

    fn short(&self, limit: Limit, wait: Duration) -> Short {
        let Some((flow, _)) = self.shared(limit) else {
            return Short {
                limit,
                wait,
                may_ask: false,
            };
        };
        let exhausted = flow.exhausted(self.now);
        Short {
            limit,
            wait: wait.max(Duration::from_micros(exhausted)),
            may_ask: exhausted == 0 && !self.is_pending(limit),
        }
    }
}
