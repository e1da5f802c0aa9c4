//! Names to addresses, with a cache. Does not evaluate addresses and does not dial.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::{Name, RecordType};
use quick_cache::sync::{Cache, EntryAction, EntryResult};
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::{DnsAnswer, in_dial_order};
use super::error::{DialError, DnsFailure, Unresolved};
use super::name_servers::NameServers;
use super::question::{Question, Response};
use super::system::{SourceLoader, SourceSettings};
use crate::access::client::Client;
use crate::access::shares::SharedPlaces;

/// How long an answer without IPv6 waits for the IPv6 one (the "Resolution Delay",
/// RFC 8305 §3).
const WAIT_FOR_IPV6: Duration = Duration::from_millis(50);
/// How long an answer without IPv4 waits: longer, since IPv4 is the fallback
/// when IPv6 does not work.
const WAIT_FOR_IPV4: Duration = Duration::from_secs(1);
/// The longest TTL of an answer that lacks one of the families.
const PARTIAL_TTL: Duration = Duration::from_secs(30);
/// The shortest and the longest TTL of a negative answer.
const NEGATIVE_TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The TTL of a failure; at least a second (RFC 9520 §3.2), and no longer, so
/// that a name server that comes back is used at once.
const FAILURE_TTL: Duration = Duration::from_secs(1);
/// The most aliases that are followed by further questions.
const MAX_ALIASES: usize = 8;
/// The TTL of addresses from the hosts file.
const LOCAL_TTL: Duration = Duration::from_secs(5);

/// How names are resolved.
#[derive(Clone, Debug)]
pub struct DnsOptions {
    /// The name servers; empty for those of `resolv_conf`.
    pub servers: Vec<SocketAddr>,
    /// The timeout of one look-up, including retries and the wait for another request's look-up.
    pub timeout: Duration,
    /// The most names in the cache, failures included.
    pub cache_entries: usize,
    /// The most concurrent look-ups, of which a client has a share. More fail at once with
    /// [`DialError::TooManyLookups`]; names in the cache are not affected.
    pub max_lookups: usize,
    /// The longest time that an answer is cached, whatever its TTL.
    pub max_ttl: Duration,
    /// The hosts file, read again when it changes.
    pub hosts_file: PathBuf,
    /// resolv.conf(5), read again when it changes. Only its name servers count: a
    /// request-target has no search list.
    pub resolv_conf: PathBuf,
}

impl Default for DnsOptions {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(5),
            cache_entries: 8192,
            max_lookups: 512,
            max_ttl: Duration::from_secs(3600),
            hosts_file: "/etc/hosts".into(),
            resolv_conf: "/etc/resolv.conf".into(),
        }
    }
}

/// Resolves names and caches the answers.
pub struct Resolver {
    cache: Cache<String, Arc<DnsAnswer>>,
    lookups: SharedPlaces,
    sources: SourceLoader,
    timeout: Duration,
    max_ttl: Duration,
}

impl Resolver {
    /// Prepares a resolver. Opens no file or socket and needs no runtime: that
    /// happens at the first name, since the process may fork until then.
    pub fn new(options: DnsOptions) -> Self {
        Self {
            cache: Cache::new(options.cache_entries.max(1)),
            lookups: SharedPlaces::new(options.max_lookups.max(1)),
            timeout: options.timeout,
            max_ttl: options.max_ttl,
            sources: SourceLoader::new(SourceSettings {
                servers: options.servers,
                hosts_file: options.hosts_file,
                resolv_conf: options.resolv_conf,
            }),
        }
    }

    /// Probes the configured name servers in the background. Those of the system are not
    /// probed before a request uses them.
    pub async fn look_after_name_servers(&self) {
        if self.sources.has_configured_servers()
            && let Ok(sources) = self.sources.sources().await
        {
            sources.name_servers.look_after();
        }
    }

    /// The cached answer or failure of a name at `now`. Never
    /// waits and never allocates. The name is lower case, without a final dot.
    pub fn cached(&self, name: &str, now: Instant) -> Option<Arc<DnsAnswer>> {
        self.cache.get(name).filter(|answer| answer.is_fresh(now))
    }

    /// How many names are in the cache, expired ones too.
    pub fn count_cached(&self) -> usize {
        self.cache.len()
    }

    /// Resolves a name, from the cache when it is there. Requests for one name
    /// share one look-up, which is `client`'s that begins it.
    ///
    /// # Errors
    /// [`DialError::TooManyLookups`], or [`DnsFailure::Timeout`] when another
    /// request's look-up of the name did not end in time. Every other failure is
    /// in the [`DnsAnswer`].
    pub async fn resolve(&self, name: &str, client: Client) -> Result<Arc<DnsAnswer>, DialError> {
        match self.cached(name, Instant::now()) {
            Some(answer) => Ok(answer),
            None => Box::pin(self.look_up(name, client)).await,
        }
    }

    async fn look_up(&self, name: &str, client: Client) -> Result<Arc<DnsAnswer>, DialError> {
        let started = Instant::now();
        let deadline = started + self.timeout;
        let take = |_: &String, known: &mut Arc<DnsAnswer>| {
            // Checked at the time when this request began: an answer with a TTL of
            // zero that came while it waited is as new as one of its own look-up.
            if known.is_fresh(started) {
                EntryAction::Retain(Arc::clone(known))
            } else {
                EntryAction::ReplaceWithGuard
            }
        };
        // A waiting request takes over when the request with the look-up is cancelled.
        let entry = timeout_at(deadline, self.cache.entry_async(name, take))
            .await
            .unwrap_or(EntryResult::Timeout);
        let (guard, previous) = match entry {
            EntryResult::Retained(answer) | EntryResult::Removed(_, answer) => return Ok(answer),
            EntryResult::Vacant(guard) => (guard, None),
            EntryResult::Replaced(guard, previous) => (guard, Some(previous)),
            EntryResult::Timeout => return Err(DialError::Dns(DnsFailure::Timeout.into())),
        };

        let place = self.lookups.try_take(client);
        let _place = place.ok_or(DialError::TooManyLookups)?;
        let asked = Instant::now();
        let found = timeout_at(deadline, self.ask(name, deadline))
            .await
            .unwrap_or_else(|_late| Lookup::failure(DnsFailure::Timeout.into(), None));
        // A request that waited before its look-up gave the name servers too little time;
        // its timeout is not cached for the others.
        if let Err(unresolved) = &found.addresses
            && unresolved.failure == DnsFailure::Timeout
            && asked > started + self.timeout / 2
        {
            return Err(DialError::Dns(unresolved.clone()));
        }

        let now = Instant::now();
        let answer = DnsAnswer::new(found.addresses, now, found.ttl.min(self.max_ttl));
        if let Some(previous) = previous {
            answer.inherit_preference(&previous, now);
        }
        let answer = Arc::new(answer);
        // Fails only when the entry was evicted meanwhile: then it is not cached.
        drop(guard.insert(Arc::clone(&answer)));
        Ok(answer)
    }

    async fn ask(&self, name: &str, deadline: Instant) -> Lookup {
        // RFC 6761 §6.3: these names are always this host, whatever a name server answers.
        if name == "localhost" || name.ends_with(".localhost") {
            let loopback = [
                IpAddr::V6(Ipv6Addr::LOCALHOST),
                IpAddr::V4(Ipv4Addr::LOCALHOST),
            ];
            return Lookup::addresses(loopback, LOCAL_TTL);
        }
        let sources = match self.sources.sources().await {
            Ok(sources) => sources,
            Err(failure) => return Lookup::failure(failure.into(), None),
        };
        if let Some(addresses) = sources.hosts.addresses(name) {
            return Lookup::addresses(addresses.iter().copied(), LOCAL_TTL);
        }
        // RFC 6761 §6.4 and RFC 7686 §2: these are not DNS names.
        let is_of = |zone| name == zone || name.ends_with(&format!(".{zone}"));
        let (Ok(name), false) = (Name::from_ascii(name), is_of("invalid") || is_of("onion")) else {
            return Lookup::failure(DnsFailure::NotFound.into(), None);
        };
        let servers = &sources.name_servers;
        let question = |name, record_type| resolve(servers, name, record_type, deadline);
        let mut v6 = pin!(question(name.clone(), RecordType::AAAA));
        let mut v4 = pin!(question(name, RecordType::A));
        let (v6, v4) = tokio::select! {
            reply = &mut v6 => {
                let other = other_family(&reply, WAIT_FOR_IPV4, v4).await;
                (Some(reply), other)
            }
            reply = &mut v4 => {
                let other = other_family(&reply, WAIT_FOR_IPV6, v6).await;
                (other, Some(reply))
            }
        };
        Lookup::from_replies(v6, v4)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("cached", &self.cache.len())
            .field("free_lookups", &self.lookups.free())
            .finish_non_exhaustive()
    }
}

/// Waits for the reply of the other family: for `grace` when the first one has
/// addresses, else without limit.
async fn other_family(
    first: &FamilyReply,
    grace: Duration,
    other: impl Future<Output = FamilyReply>,
) -> Option<FamilyReply> {
    if first.addresses.is_ok() {
        timeout(grace, other).await.ok()
    } else {
        Some(other.await)
    }
}

/// The result of the look-up of one family. The addresses are not empty.
struct FamilyReply {
    addresses: Result<Vec<IpAddr>, Unresolved>,
    /// The TTL of the records; of the SOA record for a negative answer (RFC 2308 §5).
    ttl: Option<Duration>,
}

/// Looks up the addresses of one family, and follows aliases.
async fn resolve(
    servers: &NameServers,
    name: Name,
    record_type: RecordType,
    deadline: Instant,
) -> FamilyReply {
    let failed = |failure: DnsFailure, ttl| FamilyReply {
        addresses: Err(failure.into()),
        ttl,
    };
    let mut question = Question::new(name, record_type);
    // The TTL of the aliases: each may change on its own.
    let mut ttl: Option<Duration> = None;
    for _ in 0..=MAX_ALIASES {
        match servers.ask(&question, deadline).await {
            Ok(Response::Addresses(addresses, own)) => {
                return FamilyReply {
                    addresses: Ok(addresses),
                    ttl: ttl.into_iter().chain([own]).min(),
                };
            }
            Ok(Response::Alias(target, own)) => {
                ttl = ttl.into_iter().chain([own]).min();
                question = Question::new(target, record_type);
            }
            Ok(Response::NoName(ttl)) => return failed(DnsFailure::NotFound, ttl),
            Ok(Response::NoRecord(ttl)) => return failed(DnsFailure::NoAddress, ttl),
            // The others are errors of the name server.
            Ok(_) => return failed(DnsFailure::Transport, None),
            Err(unresolved) => {
                log::debug!("look-up of {record_type} records: {unresolved}");
                return FamilyReply {
                    addresses: Err(unresolved),
                    ttl: None,
                };
            }
        }
    }
    FamilyReply {
        addresses: Err(Unresolved {
            failure: DnsFailure::ServerFailure,
            detail: Some("the chain of aliases is too long".into()),
        }),
        ttl: None,
    }
}

/// The result of a look-up and its TTL.
struct Lookup {
    addresses: Result<Box<[IpAddr]>, Unresolved>,
    ttl: Duration,
}

impl Lookup {
    fn addresses(found: impl IntoIterator<Item = IpAddr>, ttl: Duration) -> Self {
        Self {
            addresses: Ok(in_dial_order(found)),
            ttl,
        }
    }

    fn failure(unresolved: Unresolved, ttl: Option<Duration>) -> Self {
        let (least, most) = NEGATIVE_TTL;
        let ttl = if unresolved.failure.is_negative_answer() {
            ttl.unwrap_or(least).clamp(least, most)
        } else {
            FAILURE_TTL
        };
        Self {
            addresses: Err(unresolved),
            ttl,
        }
    }

    /// Combines the replies of both families. `None` is one that did not arrive in time.
    fn from_replies(v6: Option<FamilyReply>, v4: Option<FamilyReply>) -> Self {
        let mut addresses = Vec::new();
        let mut ttl: Option<Duration> = None;
        let mut negative_ttl: Option<Duration> = None;
        let mut failure: Option<Unresolved> = None;
        let mut partial = false;
        let least = |one: Option<Duration>, other| one.into_iter().chain(other).min();
        for reply in [v6, v4] {
            let Some(reply) = reply else {
                partial = true;
                continue;
            };
            match reply.addresses {
                Ok(found) => {
                    addresses.extend(found);
                    ttl = least(ttl, reply.ttl);
                }
                Err(new) => {
                    partial |= !new.failure.is_negative_answer();
                    negative_ttl = least(negative_ttl, reply.ttl);
                    failure = Some(match failure {
                        None => new,
                        // An error wins over a negative answer, and "no address"
                        // over "does not exist".
                        Some(old) if !old.failure.is_negative_answer() => old,
                        Some(old)
                            if old.failure == DnsFailure::NoAddress
                                && new.failure == DnsFailure::NotFound =>
                        {
                            old
                        }
                        Some(_) => new,
                    });
                }
            }
        }
        if addresses.is_empty() {
            let failure = failure.unwrap_or(DnsFailure::NoAddress.into());
            return Self::failure(failure, negative_ttl);
        }
        let ttl = ttl.unwrap_or_default();
        Self::addresses(addresses, if partial { ttl.min(PARTIAL_TTL) } else { ttl })
    }
}
