//! Which servers are in which pool, now: the discovery that Pingora's balancer asks.
//!
//! A server has one state, however many pools it is in: its limit, its health and its metric are those of the server.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::lb::discovery::ServiceDiscovery;
use pingora::lb::{Backend, Extensions};
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;

use super::name::{IsOwn, Name};
use super::state::Upstream;
use crate::telemetry::Telemetry;
use crate::upstream::dial::Dialer;
use crate::upstream::limit::{Capacity, Limit};
use crate::upstream::server::{Address, Manner, Server};

/// How long a round waits for look-ups. Those that take longer go on, and their result is in a later round: health
/// checks are not to wait for a name server.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a pool has its servers from.
pub(super) enum Source {
    /// The configuration.
    Fixed(Server),
    /// The addresses of a name.
    Name {
        name: Arc<Name>,
        /// How connections to them begin.
        manner: Option<Arc<Manner>>,
    },
}

/// The servers of one pool.
pub(super) struct Members {
    sources: Vec<Source>,
    now: ArcSwap<Box<[Arc<Upstream>]>>,
}

impl Members {
    pub(super) fn new(sources: Vec<Source>) -> Self {
        Self {
            sources,
            now: ArcSwap::default(),
        }
    }

    /// Those that are in the pool now.
    pub(super) fn now(&self) -> arc_swap::Guard<Arc<Box<[Arc<Upstream>]>>> {
        self.now.load()
    }

    /// The names among the sources.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.sources.iter().filter_map(|source| match source {
            Source::Name { name, .. } => Some(&**name),
            Source::Fixed(_) => None,
        })
    }

    /// The servers that the sources give now, each once.
    fn servers(&self) -> Vec<Server> {
        let mut servers: Vec<Server> = Vec::new();
        let mut seen = HashSet::new();
        let mut add = |server: Server| {
            if seen.insert(server.clone()) {
                servers.push(server);
            }
        };
        for source in &self.sources {
            match source {
                Source::Fixed(server) => add(server.clone()),
                Source::Name { name, manner } => {
                    for address in name.addresses() {
                        add(Server {
                            address: address.into(),
                            manner: manner.clone(),
                        });
                    }
                }
            }
        }
        servers
    }

    fn set(&self, servers: &[Server], known: &HashMap<Server, Arc<Upstream>>) {
        let now = self.now.load();
        let is_same = now.len() == servers.len()
            && now
                .iter()
                .zip(servers)
                .all(|(have, server)| have.server() == server);
        if !is_same {
            let members = servers
                .iter()
                .filter_map(|server| known.get(server).cloned());
            self.now.store(Arc::new(members.collect()));
        }
    }
}

/// Finds out which servers there are, for all pools together.
pub(super) struct Discovery {
    pools: Vec<Arc<Members>>,
    names: Vec<Arc<Name>>,
    known: Mutex<Known>,
    pub(super) all: Arc<ArcSwap<Vec<Arc<Upstream>>>>,
    capacity: Capacity,
    telemetry: Arc<Telemetry>,
    dialer: Arc<Dialer>,
    is_own: Arc<IsOwn>,
}

/// The states of servers.
#[derive(Default)]
struct Known {
    used: HashMap<Server, Arc<Upstream>>,
    /// Those that left and still have requests: the limit counts them when the server comes back.
    left: Vec<Arc<Upstream>>,
}

impl Discovery {
    pub(super) fn new(
        pools: Vec<Arc<Members>>,
        names: Vec<Arc<Name>>,
        capacity: Capacity,
        telemetry: &Arc<Telemetry>,
        dialer: Arc<Dialer>,
        is_own: Arc<IsOwn>,
    ) -> Self {
        Self {
            pools,
            names,
            known: Mutex::default(),
            all: Arc::default(),
            capacity,
            telemetry: Arc::clone(telemetry),
            dialer,
            is_own,
        }
    }

    /// Whether anything can change.
    pub(super) fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// Puts the servers that are known now into the pools. Looks nothing up.
    pub(super) fn publish(&self) -> BTreeSet<Backend> {
        let lists: Vec<Vec<Server>> = self.pools.iter().map(|pool| pool.servers()).collect();
        let mut known = self.known.lock();
        let mut used = HashMap::new();
        for server in lists.iter().flatten() {
            if used.contains_key(server) {
                continue;
            }
            let upstream = match known.used.remove(server) {
                Some(upstream) => upstream,
                None => {
                    let others = used.values().chain(known.used.values());
                    let number = number_of(server, others);
                    self.join(server, number, &mut known.left)
                }
            };
            used.insert(server.clone(), upstream);
        }
        let gone = std::mem::replace(&mut known.used, used);
        let is_changed = !gone.is_empty() || known.used.len() != self.all.load().len();
        for (server, upstream) in gone {
            self.telemetry.upstream_removed(&server);
            known.left.push(upstream);
        }
        known.left.retain(|upstream| upstream.limit.is_in_use());
        for (pool, servers) in self.pools.iter().zip(&lists) {
            pool.set(servers, &known.used);
        }
        if is_changed {
            self.all
                .store(Arc::new(known.used.values().cloned().collect()));
        }
        known.used.values().filter_map(backend).collect()
    }

    /// The state of a server that no pool had.
    fn join(&self, server: &Server, number: usize, left: &mut Vec<Arc<Upstream>>) -> Arc<Upstream> {
        let returns = left.iter().position(|it| it.server() == server);
        let limit = match returns.map(|at| left.swap_remove(at)) {
            Some(upstream) => upstream.limit.clone(),
            None => Limit::new(server.clone(), self.capacity),
        };
        Arc::new(Upstream::new(limit, number, &self.telemetry))
    }
}

/// Tells apart the servers with one address: without TLS, as each of their names, with each header.
fn number_of<'a>(server: &Server, others: impl Iterator<Item = &'a Arc<Upstream>>) -> usize {
    if server.manner.is_none() {
        return 1;
    }
    let taken: HashSet<usize> = others
        .filter(|other| other.server().address == server.address)
        .map(|other| other.number)
        .collect();
    (2..).find(|number| !taken.contains(number)).unwrap_or(2)
}

/// The server as Pingora knows it: the address, and its state for the health check. Those with one address are told
/// apart by the weight, which nothing else reads.
fn backend(upstream: &Arc<Upstream>) -> Option<Backend> {
    let server = upstream.server();
    let addr = match &server.address {
        Address::Tcp(address) => PingoraAddr::Inet(*address),
        Address::Unix(path) => {
            PingoraAddr::Unix(std::os::unix::net::SocketAddr::from_pathname(path).ok()?)
        }
    };
    let mut ext = Extensions::new();
    ext.insert(Arc::clone(upstream));
    Some(Backend {
        addr,
        weight: upstream.number,
        ext,
    })
}

#[async_trait]
impl ServiceDiscovery for Discovery {
    async fn discover(&self) -> pingora_core::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let look_ups = self.names.iter().map(|name| {
            let (name, dialer) = (Arc::clone(name), Arc::clone(&self.dialer));
            let is_own = Arc::clone(&self.is_own);
            tokio::spawn(async move { name.look_up(&dialer, &*is_own).await })
        });
        let look_ups: Vec<_> = look_ups.collect();
        let all = async {
            for look_up in look_ups {
                // One that panicked has found nothing.
                drop(look_up.await);
            }
        };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            log::debug!("names of upstreams: no answer yet");
        }
        Ok((self.publish(), HashMap::new()))
    }
}
