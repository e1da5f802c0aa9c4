//! Parents: proxies that requests and tunnels go through.
//!
//! ```text
//! Parent -> choose a URL, with a permit of it  member, choice
//!        -> connect, with TLS to an https:// parent
//!        -> CONNECT, or the handshake of SOCKS5    open (connect: what is read of an answer, pure)
//! ```
//!
//! **Invariant:** every byte of a parent is hostile: each answer has a limit and a deadline, nothing of it is logged but
//! its status, and no answer of a parent is taken for one of a target. What a client sends to this proxy alone, its
//! credentials first, is never sent to a parent.

mod choice;
mod connect;
mod failure;
#[cfg(any(test, feature = "internals"))]
pub mod fuzz;
mod health;
mod member;
mod open;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

pub use self::choice::Sender;
pub use self::failure::{is_own_answer, of_answer};
pub use self::member::{Member, ParentStream};
pub use self::open::{Target, Tunnel};
use super::condition::Ejection;
use super::dial::{Dialer, Sources};
use super::limit::{Capacity, WhenFull};
use super::pool::IsOwn;
use super::tls::OriginTls;
use crate::access::policy::Name;
use crate::config;
use crate::http::error::ErrorKind;
use crate::telemetry::{ParentState, Telemetry};

/// What parents are reached with.
pub struct Parts {
    /// How many threads have connections of their own.
    pub threads: usize,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How long connecting to a parent may take, without TLS.
    pub connect_timeout: Duration,
    /// Where connections come from.
    pub sources: Sources,
    /// TLS to https:// parents.
    pub tls: Arc<OriginTls>,
    /// What looks up their names.
    pub dialer: Arc<Dialer>,
    /// Which addresses are Tollgate's own, which are never connected to.
    pub is_own: Arc<IsOwn>,
    /// What counts.
    pub telemetry: Arc<Telemetry>,
}

/// The parents of a configuration, by name.
#[derive(Debug)]
pub struct Parents {
    by_name: HashMap<Name, Arc<Parent>>,
    parts: Arc<Parts>,
}

/// One parent.
pub struct Parent {
    settings: config::Parent,
    members: Box<[Arc<Member>]>,
    /// Where the next turn begins.
    next: AtomicUsize,
    when_full: WhenFull,
    parts: Arc<Parts>,
    shown: Arc<str>,
}

impl Parents {
    /// The parents of a configuration. A URL with the same credentials keeps what `former` knows of it: its limit,
    /// its health, and the connections to it.
    pub fn new(
        configured: &[config::Parent],
        parts: Arc<Parts>,
        former: Option<&Parents>,
    ) -> Arc<Self> {
        let by_name = configured.iter().map(|settings| {
            let former = former.and_then(|former| former.by_name.get(&settings.name));
            let parent = Parent::new(settings.clone(), Arc::clone(&parts), former.map(|it| &**it));
            (settings.name.clone(), Arc::new(parent))
        });
        let parents = Arc::new(Self {
            by_name: by_name.collect(),
            parts: Arc::clone(&parts),
        });
        if let Some(former) = former {
            former.hide_what_is_gone(&parents);
        }
        let shown = Arc::downgrade(&parents);
        parts.telemetry.show_parents(move || {
            let parents = shown.upgrade();
            parents.map(|parents| parents.states()).unwrap_or_default()
        });
        parents
    }

    /// Those of another configuration, or `former`, where it is the same.
    #[must_use]
    pub fn succeeding(former: &Arc<Self>, configured: &[config::Parent]) -> Arc<Self> {
        let is_same = |settings: &config::Parent| {
            let parent = former.by_name.get(&settings.name);
            parent.is_some_and(|parent| parent.settings == *settings)
        };
        if configured.len() == former.by_name.len() && configured.iter().all(is_same) {
            return Arc::clone(former);
        }
        Self::new(configured, Arc::clone(&former.parts), Some(&**former))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The parent of this name.
    pub fn get(&self, name: &Name) -> Option<&Arc<Parent>> {
        self.by_name.get(name)
    }

    /// What is known of each URL, by parent and in order.
    fn states(&self) -> Vec<ParentState> {
        let mut parents: Vec<_> = self.by_name.values().collect();
        parents.sort_by(|one, other| one.settings.name.cmp(&other.settings.name));
        let members = parents.iter().flat_map(|parent| parent.members.iter());
        members.map(|member| member.state()).collect()
    }

    fn members(&self) -> impl Iterator<Item = (&Arc<Parent>, &Arc<Member>)> {
        self.by_name
            .values()
            .flat_map(|parent| parent.members.iter().map(move |member| (parent, member)))
    }

    fn hide_what_is_gone(&self, now: &Parents) {
        for (_, member) in self.members() {
            if !now.members().any(|(_, other)| other.is_shown_as(member)) {
                self.parts
                    .telemetry
                    .parent_removed(member.parent(), member.shown());
            }
        }
    }
}

#[cfg(test)]
impl Parents {
    /// No parent, and what some would be reached with.
    pub fn for_tests(telemetry: Arc<Telemetry>) -> Arc<Self> {
        Self::new(&[], Arc::new(tests::parts(telemetry)), None)
    }
}

impl Parent {
    fn new(settings: config::Parent, parts: Arc<Parts>, former: Option<&Parent>) -> Self {
        let capacity = Capacity {
            permits: settings.max_connections,
            threads: parts.threads,
            keep_alive: parts.keep_alive,
        };
        let is_same = former.is_some_and(|former| {
            former.settings.credentials == settings.credentials
                && former.settings.max_connections == settings.max_connections
        });
        let shown: Arc<str> = settings.name.as_str().into();
        let members = settings.urls.iter().map(|url| {
            let mut known = former.iter().flat_map(|former| former.members.iter());
            let known = known.find(|member| is_same && member.url() == url);
            known.map_or_else(
                || {
                    let member = Member::new(Arc::clone(&shown), url.clone(), capacity, &parts);
                    Arc::new(member)
                },
                Arc::clone,
            )
        });
        Self {
            members: members.collect(),
            next: AtomicUsize::new(0),
            when_full: WhenFull {
                wait: settings.queue_timeout,
                error: ErrorKind::ParentBusy,
                counted_in: None,
            },
            settings,
            parts,
            shown,
        }
    }

    /// Its name, for `Proxy-Status` and the log.
    pub fn name(&self) -> &Arc<str> {
        &self.shown
    }

    /// What the configuration says of it.
    pub fn settings(&self) -> &config::Parent {
        &self.settings
    }

    /// How many URLs it has.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// The member with this number, which [`turn`](Self::turn) has given.
    pub fn member(&self, number: usize) -> Option<&Arc<Member>> {
        self.members.get(number)
    }

    fn ejection(&self) -> Ejection {
        Ejection {
            failures: self.settings.ejection.failures,
            time: self.settings.ejection.time,
        }
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

impl fmt::Debug for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Parent").field(&self.settings.name).finish()
    }
}
