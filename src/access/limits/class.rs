//! One class: whose requests it has, its limits, and what a request holds of them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;

use super::account::{Account, Counter, Volume};
use super::bandwidth::Bandwidth;
use super::fleet::{Fleet, Pending, SharedClass};
use super::members::Members;
use super::quota::{Ledgers, Period, Quota, moment_text};
use super::rate::Pace;
use crate::access::policy::{Name, Networks, Roles, RuleNames};
use crate::http::error::{ErrorKind, RequestError};
use crate::http::role::Role;

mod admission;
mod queue;

pub(super) use self::queue::Waiting;
#[cfg(test)]
pub(super) use self::queue::{MAX_IN_ALL, MAX_OF_MEMBER};
pub use self::queue::{MAX_QUEUE, Turn};

/// How long a client waits that has as much at once as it may have: it alone knows when it is done with some of it.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(1);

/// A quota that begins anew no sooner than this is nothing to wait for.
const LONG_WAIT: Duration = Duration::from_secs(3600);

/// A class as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassRule {
    /// The unique name, also in the log.
    pub name: Name,
    /// Names of users.
    pub users: Option<Vec<Box<str>>>,
    /// Groups; with `users`, one of both is enough.
    pub groups: Option<Vec<Box<str>>>,
    /// Roles of the request.
    pub roles: Option<Roles>,
    /// Networks of the client's address.
    pub client_networks: Option<Networks>,
    /// What its members are.
    pub per: Per,
    /// What each of them may have.
    pub limits: ClassLimits,
}

/// What the members of a class are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Per {
    /// Each user.
    #[default]
    User,
    /// Each address of IPv4, or /64 of IPv6.
    ClientNetwork,
    /// Each host that is asked, for all that ask it together. The gateway is one.
    Host,
    /// The class as a whole.
    Class,
}

/// The limits for each member of a class. One that is left out is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassLimits {
    /// Requests of every role.
    pub requests: Option<Pace>,
    /// Requests at once, tunnels apart.
    pub concurrent_requests: Option<u32>,
    /// Requests for tunnels.
    pub new_tunnels: Option<Pace>,
    /// How long a request over a rate waits for its turn.
    pub queue: Duration,
    /// Tunnels at once.
    pub tunnels: Option<u32>,
    /// Bytes to clients.
    pub download: Option<Bandwidth>,
    /// Bytes from clients.
    pub upload: Option<Bandwidth>,
    /// Bytes in a period.
    pub quota: Option<Quota>,
}

/// One of the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `requests`
    Requests,
    /// `concurrent_requests`
    ConcurrentRequests,
    /// `new_tunnels`
    NewTunnels,
    /// `tunnels`
    Tunnels,
    /// `quota`, of one period.
    Quota(Period),
}

/// A class in use.
#[derive(Clone, Debug)]
pub struct Class {
    pub(super) rule: ClassRule,
    pub(super) members: Arc<Members>,
    pub(super) tally: Arc<Tally>,
    /// The requests of all classes that wait.
    pub(super) waiting: Arc<Waiting>,
    /// Where its quota is counted; none in a class without one, and where requests are not served.
    pub(super) ledgers: Option<Arc<Ledgers>>,
}

/// What is counted of a class, over reloads.
#[derive(Debug, Default)]
pub struct Tally {
    pub(super) admitted: AtomicU64,
    pub(super) limited: AtomicU64,
    pub(super) queued: AtomicU64,
    pub(super) waiting: AtomicU64,
    pub(super) requests: AtomicU64,
    pub(super) tunnels: AtomicU64,
    pub(super) bytes: Counter,
}

/// What a request or a tunnel has of its class, until dropped.
#[derive(Debug)]
pub struct Ticket {
    account: Account,
    is_tunnel: bool,
    turn: Option<Box<Turn>>,
}

/// A limit that a request is over.
#[derive(Clone, Debug)]
pub struct Exceeded {
    class: Arc<Class>,
    limit: Limit,
    wait: Duration,
    /// When a quota begins anew, in seconds since 1970.
    resets: Option<i64>,
}

/// Why a request is not admitted now.
#[derive(Debug)]
pub enum Refused {
    /// It is over a limit.
    Over(Exceeded),
    /// It has to wait for the store of the fleet, and ask again.
    Ask(Pending),
}

impl ClassRule {
    /// Whether every request matches.
    pub fn is_default(&self) -> bool {
        self.users.is_none()
            && self.groups.is_none()
            && self.has_every_role()
            && self.client_networks.as_ref().is_none_or(Networks::are_all)
    }

    fn has_every_role(&self) -> bool {
        let has = |roles: Roles| Role::ALL.into_iter().all(|role| roles.contains(role));
        self.roles.is_none_or(has)
    }
}

impl Per {
    /// Each of them.
    pub const ALL: [Per; 4] = [Per::User, Per::ClientNetwork, Per::Host, Per::Class];

    /// As in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Per::User => "user",
            Per::ClientNetwork => "client_network",
            Per::Host => "host",
            Per::Class => "class",
        }
    }
}

impl Limit {
    /// The key in the configuration; of a quota with its period.
    pub const fn as_str(self) -> &'static str {
        match self {
            Limit::Requests => "requests",
            Limit::ConcurrentRequests => "concurrent_requests",
            Limit::NewTunnels => "new_tunnels",
            Limit::Tunnels => "tunnels",
            Limit::Quota(period) => period.limit_name(),
        }
    }
}

impl ClassLimits {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The limit of what is open at once, and its number.
    fn at_once(&self, is_tunnel: bool) -> (Limit, Option<u32>) {
        match is_tunnel {
            true => (Limit::Tunnels, self.tunnels),
            false => (Limit::ConcurrentRequests, self.concurrent_requests),
        }
    }
}

impl fmt::Display for ClassLimits {
    /// `requests 200/s, burst 400; tunnels 500`, or `no limits`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pace =
            |pace: Pace, limit: &str| format!("{limit} {}, burst {}", pace.rate(), pace.burst());
        let count = |count: u32, limit: &str| format!("{limit} {count}");
        let shown = [
            self.requests.map(|it| pace(it, Limit::Requests.as_str())),
            self.concurrent_requests
                .map(|it| count(it, Limit::ConcurrentRequests.as_str())),
            self.new_tunnels
                .map(|it| pace(it, Limit::NewTunnels.as_str())),
            (!self.queue.is_zero()).then(|| format!("queue {:?}", self.queue)),
            self.tunnels.map(|it| count(it, Limit::Tunnels.as_str())),
            self.download.map(|it| format!("download {it}")),
            self.upload.map(|it| format!("upload {it}")),
            self.quota.map(|quota| quota.to_string()),
        ];
        let shown: Vec<String> = shown.into_iter().flatten().collect();
        match shown.is_empty() {
            true => f.write_str("no limits"),
            false => f.write_str(&shown.join("; ")),
        }
    }
}

impl Class {
    /// A class without members yet.
    pub(super) fn new(rule: ClassRule, waiting: &Arc<Waiting>) -> Class {
        Class {
            members: Arc::new(Members::new(rule.per, &rule.limits, None)),
            tally: Arc::default(),
            waiting: Arc::clone(waiting),
            ledgers: None,
            rule,
        }
    }

    /// Its name, to be kept.
    pub fn full_name(&self) -> &Name {
        &self.rule.name
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.rule.name.as_str()
    }

    /// What its members are.
    pub fn per(&self) -> Per {
        self.rule.per
    }

    /// What each of them may have.
    pub fn limits(&self) -> &ClassLimits {
        &self.rule.limits
    }

    /// What is counted of it.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// How many members it remembers.
    pub fn count_members(&self) -> usize {
        self.members.len()
    }

    /// The same, whose requests that wait count with those of `other`.
    pub(super) fn beside(self: &Arc<Self>, other: Option<&Class>) -> Arc<Class> {
        let Some(other) = other else {
            return Arc::clone(self);
        };
        Arc::new(Class {
            waiting: Arc::clone(&other.waiting),
            ..Class::clone(self)
        })
    }

    /// The same, whose limits a fleet shares: with members of its own, unless it has such members.
    pub(super) fn shared_by(self: &Arc<Self>, fleet: &Arc<Fleet>) -> Arc<Class> {
        if self.members.shared().is_some() || self.limits().is_empty() {
            return Arc::clone(self);
        }
        let shared = Arc::new(SharedClass {
            fleet: Arc::clone(fleet),
            name: self.rule.name.clone(),
            limits: self.rule.limits,
        });
        let members = Members::new(self.rule.per, &self.rule.limits, Some(shared));
        Arc::new(Class {
            rule: self.rule.clone(),
            members: Arc::new(members),
            tally: Arc::clone(&self.tally),
            waiting: Arc::clone(&self.waiting),
            ledgers: self.ledgers.clone(),
        })
    }
}

impl Tally {
    /// Requests and tunnels that it has admitted.
    pub fn admitted(&self) -> u64 {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Those that were over a limit.
    pub fn limited(&self) -> u64 {
        self.limited.load(Ordering::Relaxed)
    }

    /// Those that had to wait for their turn of a rate.
    pub fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// Those that wait for it now.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Requests that are served now.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Tunnels that are open now, or about to be opened.
    pub fn tunnels(&self) -> u64 {
        self.tunnels.load(Ordering::Relaxed)
    }

    /// Bytes that its requests and tunnels have carried.
    pub fn bytes(&self) -> Volume {
        self.bytes.get()
    }

    fn open(&self, is_tunnel: bool) -> &AtomicU64 {
        match is_tunnel {
            true => &self.tunnels,
            false => &self.requests,
        }
    }
}

impl Ticket {
    /// The class.
    pub fn class(&self) -> &Class {
        &self.account.class
    }

    /// The turn for which the request has to wait, if it has to, once.
    pub fn take_turn(&mut self) -> Option<Turn> {
        self.turn.take().map(|turn| *turn)
    }

    /// What its bytes are charged to.
    pub fn account(&self) -> &Account {
        &self.account
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Account { class, member, .. } = &self.account;
        let (_, most) = class.rule.limits.at_once(self.is_tunnel);
        if let Some(member) = member
            && most.is_some()
        {
            class.leave(member, self.is_tunnel);
        }
        let open = class.tally.open(self.is_tunnel);
        open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Exceeded {
    /// The class.
    pub fn class(&self) -> &Class {
        &self.class
    }

    /// The limit.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// The answer to the client. Where the names of rules are hidden, that of the class is too.
    pub fn to_error(&self, names: RuleNames) -> RequestError {
        let limit = self.limit.as_str();
        let over = format!("{}.{limit}", self.class.name());
        let word = match names {
            RuleNames::Shown => over.as_str(),
            RuleNames::Hidden => limit,
        };
        let error = RequestError::new(ErrorKind::LimitReached)
            .told(word)
            .retry_after(self.wait)
            .because(format!("over {over} of its {}", self.class.per().as_str()));
        let Some(resets) = self.resets else {
            return error;
        };
        let error = error.resets_at(moment_text(resets));
        match self.wait > LONG_WAIT {
            // What retries 429 would wait for it.
            true => error.answered_with(StatusCode::FORBIDDEN),
            false => error,
        }
    }
}
