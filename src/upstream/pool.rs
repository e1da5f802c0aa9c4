//! The pools of upstreams, and the embedded page that answers where there is none.
//!
//! Pingora's load balancer finds the servers of names ([`members`]) and checks which upstream is up; the next one in
//! turn is chosen here.

mod choice;
mod dial;
mod health;
mod members;
mod name;
mod page;
mod probe;
mod state;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use pingora::lb::selection::RoundRobin;
use pingora::lb::{Backends, LoadBalancer};

pub use choice::Choice;
use choice::Conditions;
use dial::Connector;
pub use dial::PlainStream;
use members::{Discovery, Members, Source};
pub use name::IsOwn;
use name::Name;
pub use page::serve;
use probe::Probe;
use state::Upstream;

use super::condition::Ejection;
use super::dial::{Dialer, Sources};
use super::limit::{Capacity, Turn, WhenFull};
use super::proxy_protocol::Ends;
use super::server::{Address, Manner, Server};
use super::tls::{OriginTls, UpstreamStream};
use crate::access::client::Client;
use crate::config::{self, Http2, ProxyHeader, UpstreamAddress};
use crate::http::error::{ErrorKind, RequestError};
use crate::http::http1::RequestHead;
use crate::http::target::Host;
use crate::telemetry::Telemetry;

/// How often names are asked for. The cache of the resolver answers as long as the TTL has it.
const UPDATE_INTERVAL: Duration = Duration::from_secs(1);

/// What the pools stand on.
pub struct Parts<'a> {
    /// How many threads have connections of their own.
    pub threads: usize,
    pub timeouts: &'a config::Timeouts,
    /// Where connections come from.
    pub sources: Sources,
    pub tls: Arc<OriginTls>,
    pub dialer: Arc<Dialer>,
    /// Which addresses are Tollgate's own, and get no requests.
    pub is_own: Arc<IsOwn>,
    pub telemetry: &'a Arc<Telemetry>,
}

/// The pools of the gateway.
pub struct Pools {
    /// To run its health checks and look-ups; none where there is no pool.
    pub balancer: Option<Arc<LoadBalancer<RoundRobin>>>,
    /// Whether names are looked up, so that a pool may be empty before the first look-up.
    pub has_names: bool,
    /// Those with conditions, and behind them the default one.
    pools: Box<[Pool]>,
    conditions: Box<[Conditions]>,
    default: Option<PoolNumber>,
    connector: Connector,
    name_clients: bool,
}

/// Which pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolNumber(usize);

/// Upstreams that take turns.
pub struct Pool {
    /// None for the default one.
    name: Option<Box<str>>,
    members: Arc<Members>,
    /// Where the next turn begins.
    next: AtomicUsize,
    when_full: WhenFull,
    ejection: Ejection,
    /// Whether its upstreams take nothing but HTTP/2.
    is_http2: bool,
    /// Whether an upstream of any pool ever failed a request: none is looked for after each answer before.
    has_failures: Arc<AtomicBool>,
}

impl Pools {
    /// The pools that the configuration names.
    ///
    /// Nothing is started or looked up: health checks and look-ups run when the balancer is given to Pingora as a
    /// service.
    pub fn new(gateway: &config::Gateway, parts: Parts<'_>) -> Self {
        let connector = Connector {
            sources: parts.sources,
            tls: parts.tls,
        };
        let mut names = Vec::new();
        let mut members = |upstreams: &[config::Upstream], ways| {
            let sources = upstreams.iter();
            let sources = sources.map(|it| source(it, ways, &mut names)).collect();
            Arc::new(Members::new(sources))
        };
        let of_all = Ways {
            proxy_header: gateway.proxy_protocol,
            http2: gateway.http2,
        };
        let named = gateway.pools.iter().map(|pool| {
            let ways = Ways {
                proxy_header: pool.proxy_protocol.unwrap_or(of_all.proxy_header),
                http2: pool.http2.unwrap_or(of_all.http2),
            };
            (Some(pool.name.clone()), &pool.upstreams, ways)
        });
        let default = (!gateway.upstreams.is_empty()).then_some((None, &gateway.upstreams, of_all));
        let mut name_clients = false;
        let default_number = default.is_some().then_some(PoolNumber(gateway.pools.len()));
        let (pool_names, members): (Vec<_>, Vec<Arc<Members>>) = named
            .chain(default)
            .map(|(name, upstreams, ways)| {
                name_clients |= ways.proxy_header.is_some();
                let is_http2 = ways.http2 == Http2::Only;
                ((name, is_http2), members(upstreams, ways))
            })
            .unzip();
        let has_failures = Arc::default();
        let pools: Box<[Pool]> = pool_names
            .into_iter()
            .zip(&members)
            .map(|((name, is_http2), members)| Pool {
                is_http2,
                ..Pool::new(name, members, gateway, parts.telemetry, &has_failures)
            })
            .collect();
        let conditions = gateway.pools.iter().map(|pool| Conditions {
            hosts: pool.hosts.clone(),
            path: pool.path.clone(),
        });
        let capacity = Capacity {
            permits: gateway.max_connections_per_upstream,
            threads: parts.threads,
            keep_alive: parts.timeouts.upstream_keep_alive,
        };
        let discovery = Discovery::new(
            members,
            names,
            capacity,
            parts.telemetry,
            parts.dialer,
            parts.is_own,
        );
        // The servers of the configuration are there before the first request.
        drop(discovery.publish());
        let has_names = discovery.has_names();
        let balancer = (!pools.is_empty()).then(|| {
            let upstreams = Arc::clone(&discovery.all);
            let backends = Backends::new(Box::new(discovery));
            let mut balancer = LoadBalancer::from_backends(backends);
            balancer.set_health_check(Box::new(health::Check {
                upstreams,
                connector: connector.clone(),
                probe: Probe::new(&gateway.health_check),
                rule: gateway.health_check.clone(),
            }));
            balancer.health_check_frequency = Some(gateway.health_check.interval);
            balancer.update_frequency = has_names.then_some(UPDATE_INTERVAL);
            balancer.parallel_health_check = true;
            Arc::new(balancer)
        });
        Self {
            balancer,
            has_names,
            pools,
            conditions: conditions.collect(),
            default: default_number,
            connector,
            name_clients,
        }
    }

    /// Where a request goes: the first pool whose conditions hold, else the default one, else the embedded page.
    pub fn choose(&self, head: &RequestHead) -> Choice {
        if self.conditions.is_empty() {
            return self.default.map_or(Choice::Page, Choice::Pool);
        }
        let target = head.request_target();
        choice::choose(&self.conditions, self.default, head.field("host"), target)
    }

    /// The pools that have a name.
    pub fn names(&self) -> Vec<(Box<str>, PoolNumber)> {
        let pools = self.pools.iter().enumerate();
        pools
            .filter_map(|(at, pool)| Some((Box::from(&**pool.name.as_ref()?), PoolNumber(at))))
            .collect()
    }

    /// The pool with this number, which is always there.
    pub fn get(&self, number: PoolNumber) -> Option<&Pool> {
        self.pools.get(number.0)
    }

    /// Whether connections to an upstream of any pool name the client that they are for.
    pub fn name_clients(&self) -> bool {
        self.name_clients
    }

    /// Connects to a server of a pool for a client, within `limit`, without TLS.
    ///
    /// # Errors
    /// The connection is not made.
    pub async fn open(
        &self,
        server: &Server,
        client: Option<Ends>,
        limit: Duration,
    ) -> Result<PlainStream, RequestError> {
        self.connector.open(server, client, limit).await
    }

    /// Connects to a server of a pool for a client, within `limit` and the time of a TLS handshake.
    ///
    /// # Errors
    /// The connection is not made, or the certificate is not accepted.
    pub async fn connect(
        &self,
        server: &Server,
        client: Option<Ends>,
        limit: Duration,
    ) -> Result<UpstreamStream, RequestError> {
        self.connector.connect(server, client, limit).await
    }
}

/// How all upstreams of a pool are spoken to.
#[derive(Clone, Copy)]
struct Ways {
    proxy_header: Option<ProxyHeader>,
    http2: Http2,
}

/// Where the servers of an entry come from. Each name is kept once, in `names`.
fn source(upstream: &config::Upstream, ways: Ways, names: &mut Vec<Arc<Name>>) -> Source {
    let of_tls = |tls| Manner::of(tls, ways.proxy_header, ways.http2);
    let manner = |host| of_tls(upstream.is_tls.then_some(host));
    match &upstream.address {
        UpstreamAddress::Ip(address) => Source::Fixed(Server {
            address: Address::Tcp(*address),
            manner: manner(Host::Ip(address.ip())),
        }),
        UpstreamAddress::Unix(path) => Source::Fixed(Server {
            address: Address::Unix(Arc::from(Path::new(path))),
            manner: of_tls(None),
        }),
        UpstreamAddress::Name(host, port) => {
            let known = names
                .iter()
                .find(|name| name.host == *host && name.port == *port);
            let name = match known {
                Some(name) => Arc::clone(name),
                None => {
                    let name = Arc::new(Name::new(host, *port));
                    names.push(Arc::clone(&name));
                    name
                }
            };
            let manner = manner(Host::Name(host.clone()));
            Source::Name { name, manner }
        }
    }
}

impl Pool {
    fn new(
        name: Option<Box<str>>,
        members: &Arc<Members>,
        gateway: &config::Gateway,
        telemetry: &Arc<Telemetry>,
        has_failures: &Arc<AtomicBool>,
    ) -> Self {
        Self {
            name,
            members: Arc::clone(members),
            next: AtomicUsize::new(0),
            when_full: WhenFull {
                wait: gateway.queue_timeout,
                error: ErrorKind::QueueTimeout,
                counted_in: Some(Arc::clone(telemetry)),
            },
            is_http2: false,
            has_failures: Arc::clone(has_failures),
            ejection: Ejection {
                failures: gateway.ejection.failures,
                time: gateway.ejection.time,
            },
        }
    }

    /// Whether its upstreams take nothing but HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.is_http2
    }

    /// How many upstreams it has now.
    pub fn len(&self) -> usize {
        self.members.now().len()
    }

    /// The turn of a request of this thread at the next upstream that gets requests and is not among `failed`: one
    /// that has a free permit, else the next one of all. When no upstream gets requests, a request tries one all the
    /// same: it may have come back since.
    ///
    /// # Errors
    /// [`ErrorKind::UpstreamsDown`] when there is no such upstream.
    pub fn turn(
        &self,
        failed: &[Server],
        thread: u16,
        client: Client,
    ) -> Result<Turn, RequestError> {
        let mut first = None;
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let upstreams = self.members.now();
        let count = upstreams.len();
        let start = next.checked_rem(count).unwrap_or(0);
        for upstream in upstreams.iter().cycle().skip(start).take(count) {
            if !upstream.is_usable() || failed.contains(upstream.server()) {
                continue;
            }
            if let Some(permit) = upstream.limit.try_take(thread, client) {
                return Ok(Turn::Ready(permit));
            }
            first.get_or_insert(upstream);
        }
        match first.or_else(|| upstreams.get(start).filter(|_| failed.is_empty())) {
            Some(upstream) => Ok(upstream.limit.turn(thread, client, &self.when_full)),
            None => Err(self.none_left(failed, &upstreams)),
        }
    }

    /// Notes that the upstream failed a request, and why.
    pub fn failed(&self, server: &Server, why: &str) {
        self.has_failures.store(true, Ordering::Relaxed);
        if let Some(upstream) = self.find(server) {
            upstream.failed(self.ejection, why);
        }
    }

    /// Notes that the upstream answered a request.
    pub fn answered(&self, server: &Server) {
        if !self.has_failures.load(Ordering::Relaxed) {
            return;
        }
        if let Some(upstream) = self.find(server) {
            upstream.answered();
        }
    }

    /// None for one that has left the pool meanwhile.
    fn find(&self, server: &Server) -> Option<Arc<Upstream>> {
        let upstreams = self.members.now();
        let mut upstreams = upstreams.iter();
        upstreams
            .find(|upstream| upstream.server() == server)
            .cloned()
    }

    /// The error when no upstream is left, with what is known of the first ones.
    fn none_left(&self, failed: &[Server], upstreams: &[Arc<Upstream>]) -> RequestError {
        const SHOWN: usize = 8;
        let trouble = |upstream: &Arc<Upstream>| {
            let server = upstream.server();
            if failed.contains(server) {
                format!("{server} did not take this request")
            } else {
                format!("{server} is down: {}", upstream.trouble.lock())
            }
        };
        let error = RequestError::new(ErrorKind::UpstreamsDown);
        let of_pool = |troubles: Vec<String>| match &self.name {
            Some(name) => format!("pool {name}: {}", troubles.join(", ")),
            None => troubles.join(", "),
        };
        if upstreams.is_empty() {
            let names = self.members.names().take(SHOWN);
            let troubles: Vec<_> = names.map(|name| name.trouble()).collect();
            return error
                .answered_with(StatusCode::SERVICE_UNAVAILABLE)
                .retry_after(UPDATE_INTERVAL)
                .because(of_pool(troubles));
        }
        let troubles: Vec<_> = upstreams.iter().take(SHOWN).map(trouble).collect();
        error.because(of_pool(troubles))
    }
}
