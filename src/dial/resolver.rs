//! Names to addresses, with a cache. Does not judge and does not dial.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};
use quick_cache::sync::{Cache, EntryAction, EntryResult};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::{Answer, in_dial_order};
use super::error::{DialError, DnsFailure};
use super::system::{Settings, System};

/// How long an answer without IPv6 waits for the IPv6 one (the "Resolution Delay",
/// RFC 8305 §3).
const WAIT_FOR_IPV6: Duration = Duration::from_millis(50);
/// How long an answer without IPv4 waits: longer, since IPv4 is what still works
/// when IPv6 does not.
const WAIT_FOR_IPV4: Duration = Duration::from_secs(1);
/// The most that an answer without one of the families is kept.
const PARTIAL_TTL: Duration = Duration::from_secs(30);
/// The bounds of what "there is no such name" is kept for.
const NEGATIVE_TTL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long a failure is kept; at least a second (RFC 9520 §3.2), and no longer, so
/// that a name server that comes back is seen at once.
const FAILURE_TTL: Duration = Duration::from_secs(1);
/// How long what the hosts file says is kept.
const LOCAL_TTL: Duration = Duration::from_secs(5);

/// How names are resolved.
#[derive(Clone, Debug)]
pub struct DnsOptions {
    /// The name servers to ask; empty for those of `resolv_conf`.
    pub servers: Vec<SocketAddr>,
    /// The bound of one look-up, retries and waiting for others included.
    pub timeout: Duration,
    /// How many names are cached, failures included.
    pub cache_entries: usize,
    /// How many names may be looked up at the same time. More fail at once with
    /// [`DialError::TooManyLookups`]; names in the cache are not affected.
    pub max_lookups: usize,
    /// The most that an answer is kept, whatever its TTL.
    pub max_ttl: Duration,
    /// The hosts file, read again when it changes.
    pub hosts_file: PathBuf,
    /// resolv.conf(5), read again when it changes. Only its name servers and
    /// `edns0` count: a request-target has no search list.
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

/// Resolves names and remembers the answers.
pub struct Resolver {
    cache: Cache<String, Arc<Answer>>,
    lookups: Semaphore,
    system: System,
    timeout: Duration,
    max_ttl: Duration,
}

impl Resolver {
    /// Prepares a resolver. Opens no file or socket and needs no runtime: that
    /// happens at the first name, since the process may fork until then.
    pub fn new(options: DnsOptions) -> Self {
        let max_lookups = options.max_lookups.clamp(1, Semaphore::MAX_PERMITS / 2);
        Self {
            cache: Cache::new(options.cache_entries.max(1)),
            lookups: Semaphore::new(max_lookups),
            timeout: options.timeout,
            max_ttl: options.max_ttl,
            system: System::new(Settings {
                servers: options.servers,
                hosts_file: options.hosts_file,
                resolv_conf: options.resolv_conf,
                // Two tries fit into the whole.
                try_timeout: options.timeout / 2,
                max_questions: max_lookups * 2,
            }),
        }
    }

    /// What the cache knows about a name at `now`, an answer or a failure. Never
    /// waits and never allocates. The name is lower case, without a final dot.
    pub fn cached(&self, name: &str, now: Instant) -> Option<Arc<Answer>> {
        self.cache.get(name).filter(|answer| answer.is_fresh(now))
    }

    /// Resolves a name, from the cache when it is there. Requests for one name
    /// share one look-up.
    ///
    /// # Errors
    /// [`DialError::TooManyLookups`], or [`DnsFailure::Timeout`] when another
    /// request's look-up of the name did not end in time. Every other failure is
    /// in the [`Answer`].
    pub async fn resolve(&self, name: &str) -> Result<Arc<Answer>, DialError> {
        match self.cached(name, Instant::now()) {
            Some(answer) => Ok(answer),
            None => Box::pin(self.look_up(name)).await,
        }
    }

    async fn look_up(&self, name: &str) -> Result<Arc<Answer>, DialError> {
        let started = Instant::now();
        let deadline = started + self.timeout;
        let take = |_: &String, known: &mut Arc<Answer>| {
            // Judged at the time when this request began: an answer with a TTL of
            // zero that came while it waited is as new as one of its own.
            if known.is_fresh(started) {
                EntryAction::Retain(Arc::clone(known))
            } else {
                EntryAction::ReplaceWithGuard
            }
        };
        // Who waits takes over when the request that asks goes away.
        let entry = timeout_at(deadline, self.cache.entry_async(name, take))
            .await
            .unwrap_or(EntryResult::Timeout);
        let (guard, previous) = match entry {
            EntryResult::Retained(answer) | EntryResult::Removed(_, answer) => return Ok(answer),
            EntryResult::Vacant(guard) => (guard, None),
            EntryResult::Replaced(guard, previous) => (guard, Some(previous)),
            EntryResult::Timeout => return Err(DialError::Dns(DnsFailure::Timeout)),
        };

        let _permit = self
            .lookups
            .try_acquire()
            .map_err(|_full| DialError::TooManyLookups)?;
        let asked = Instant::now();
        let found = match timeout_at(deadline, self.ask(name)).await {
            Ok(found) => found,
            Err(_) => {
                // Who had to wait before it could ask has not given the name servers
                // a fair time; its verdict is not for the others.
                if asked > started + self.timeout / 2 {
                    return Err(DialError::Dns(DnsFailure::Timeout));
                }
                Found::failure(DnsFailure::Timeout, None)
            }
        };

        let now = Instant::now();
        let answer = Answer::new(found.addresses, now, found.ttl.min(self.max_ttl));
        if let Some(previous) = previous {
            answer.inherit_preference(&previous, now);
        }
        let answer = Arc::new(answer);
        // Refused only when the entry was evicted meanwhile: then nobody caches it.
        drop(guard.insert(Arc::clone(&answer)));
        Ok(answer)
    }

    async fn ask(&self, name: &str) -> Found {
        // RFC 6761 §6.3: these never leave the host, whatever a name server says.
        if name == "localhost" || name.ends_with(".localhost") {
            let loopback = [
                IpAddr::V6(Ipv6Addr::LOCALHOST),
                IpAddr::V4(Ipv4Addr::LOCALHOST),
            ];
            return Found::addresses(loopback, LOCAL_TTL);
        }
        let sources = match self.system.sources().await {
            Ok(sources) => sources,
            Err(failure) => return Found::failure(failure, None),
        };
        if let Some(addresses) = sources.hosts.addresses(name) {
            return Found::addresses(addresses.iter().copied(), LOCAL_TTL);
        }
        let Ok(mut name) = Name::from_ascii(name) else {
            return Found::failure(DnsFailure::NotFound, None);
        };
        name.set_fqdn(true);
        let question = async |name: Name, record_type| {
            let reply = sources.resolver.lookup(name.clone(), record_type).await;
            Reply::from_lookup(&name, reply, record_type)
        };
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
        Found::from_replies(v6, v4)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("cached", &self.cache.len())
            .field("free_lookups", &self.lookups.available_permits())
            .finish_non_exhaustive()
    }
}

/// Waits for the reply of the other family: a short grace when the first has
/// addresses, else for as long as it takes.
async fn other_family(
    first: &Reply,
    grace: Duration,
    other: impl Future<Output = Reply>,
) -> Option<Reply> {
    if first.addresses.is_ok() {
        timeout(grace, other).await.ok()
    } else {
        Some(other.await)
    }
}

/// What a name server said about one family. The addresses are not empty.
struct Reply {
    addresses: Result<Vec<IpAddr>, DnsFailure>,
    /// Of the records; of the SOA record for "there is none" (RFC 2308 §5).
    ttl: Option<Duration>,
}

impl Reply {
    fn from_lookup(name: &Name, reply: Result<Lookup, NetError>, wanted: RecordType) -> Self {
        let seconds = |ttl: u32| Duration::from_secs(ttl.into());
        match reply {
            Ok(lookup) => {
                let records = lookup.answers();
                // The records of the aliases count: each may change on its own.
                let ttl = records.iter().map(|record| seconds(record.ttl)).min();
                let addresses: Vec<_> = records
                    .iter()
                    .filter(|record| record.record_type() == wanted)
                    .filter_map(|record| record.data.ip_addr())
                    .collect();
                let addresses = if addresses.is_empty() {
                    Err(DnsFailure::NoAddress)
                } else {
                    Ok(addresses)
                };
                Self { addresses, ttl }
            }
            Err(error) => {
                let (failure, ttl) = sort(&error);
                if !failure.is_negative_answer() {
                    log::debug!("look-up of {name} {wanted}: {error}");
                }
                Self {
                    addresses: Err(failure),
                    ttl: ttl.map(seconds),
                }
            }
        }
    }
}

/// Sorts an error of hickory; with it the TTL of a negative answer.
fn sort(error: &NetError) -> (DnsFailure, Option<u32>) {
    let of_code = |code| match code {
        ResponseCode::NXDomain => DnsFailure::NotFound,
        ResponseCode::NoError => DnsFailure::NoAddress,
        ResponseCode::Refused => DnsFailure::ServerRefused,
        _ => DnsFailure::ServerFailure,
    };
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            (of_code(none.response_code), none.negative_ttl)
        }
        NetError::Dns(DnsError::ResponseCode(code)) => (of_code(*code), None),
        NetError::Dns(_) => (DnsFailure::ServerFailure, None),
        NetError::Timeout => (DnsFailure::Timeout, None),
        _ => (DnsFailure::Transport, None),
    }
}

/// The outcome of a look-up and how long it is good for.
struct Found {
    addresses: Result<Box<[IpAddr]>, DnsFailure>,
    ttl: Duration,
}

impl Found {
    fn addresses(found: impl IntoIterator<Item = IpAddr>, ttl: Duration) -> Self {
        Self {
            addresses: Ok(in_dial_order(found)),
            ttl,
        }
    }

    fn failure(failure: DnsFailure, ttl: Option<Duration>) -> Self {
        let (least, most) = NEGATIVE_TTL;
        Self {
            addresses: Err(failure),
            ttl: if failure.is_negative_answer() {
                ttl.unwrap_or(least).clamp(least, most)
            } else {
                FAILURE_TTL
            },
        }
    }

    /// Joins the replies of both families. `None` is one that was not waited for.
    fn from_replies(v6: Option<Reply>, v4: Option<Reply>) -> Self {
        let mut addresses = Vec::new();
        let mut ttl: Option<Duration> = None;
        let mut negative_ttl: Option<Duration> = None;
        let mut failure: Option<DnsFailure> = None;
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
                    partial |= !new.is_negative_answer();
                    negative_ttl = least(negative_ttl, reply.ttl);
                    failure = Some(match failure {
                        None => new,
                        // "Nobody knows" outdoes "there is none", and a name that
                        // has something is not a name that does not exist.
                        Some(old) if !old.is_negative_answer() => old,
                        Some(DnsFailure::NoAddress) if new == DnsFailure::NotFound => {
                            DnsFailure::NoAddress
                        }
                        Some(_) => new,
                    });
                }
            }
        }
        if addresses.is_empty() {
            return Self::failure(failure.unwrap_or(DnsFailure::NoAddress), negative_ttl);
        }
        let ttl = ttl.unwrap_or_default();
        Self::addresses(addresses, if partial { ttl.min(PARTIAL_TTL) } else { ttl })
    }
}
