//! `tollgate.gateway` and `tollgate.dns`: local upstreams and name servers.

use std::net::SocketAddr;
use std::time::Duration;

use super::host::AddressUse;
use super::listeners::{Listener, collide, parse_address};
use super::reader::Section;
use super::units::{hours, milliseconds, minutes, seconds};

/// resolv.conf(5) has three at most.
const MAX_DNS_SERVERS: usize = 16;
const MAX_UPSTREAMS: usize = 1024;

/// The local pool behind requests in origin-form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Each once; empty for the embedded origin.
    pub upstreams: Vec<SocketAddr>,
    /// How many requests an upstream gets at the same time; more wait.
    pub max_connections_per_upstream: usize,
    /// How long a request waits for an upstream to come free.
    pub queue_timeout: Duration,
    /// How upstreams that are down are found.
    pub health_check: HealthCheck,
}

/// How upstreams that are down are found: by connecting to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// From one check to the next.
    pub interval: Duration,
    /// How long connecting may take.
    pub timeout: Duration,
}

/// How names are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dns {
    /// Name servers; empty for those of the system.
    pub servers: Vec<SocketAddr>,
    /// The bound of one look-up, retries included.
    pub timeout: Duration,
    /// How many names are cached.
    pub cache_entries: usize,
}

impl Default for Gateway {
    /// The embedded origin.
    fn default() -> Gateway {
        Gateway {
            upstreams: Vec::new(),
            max_connections_per_upstream: 256,
            queue_timeout: seconds(5),
            health_check: HealthCheck {
                interval: seconds(2),
                timeout: seconds(1),
            },
        }
    }
}

impl Default for Dns {
    fn default() -> Dns {
        Dns {
            servers: Vec::new(),
            timeout: seconds(5),
            cache_entries: 16_384,
        }
    }
}

impl Gateway {
    pub(super) fn read(tollgate: &mut Section<'_>, listeners: &[Listener]) -> Gateway {
        let default = Gateway::default();
        let mut gateway = tollgate.section("gateway");
        let upstreams = upstreams(&mut gateway, listeners);
        let mut check = gateway.section("health_check");
        let health_check = HealthCheck {
            interval: check.duration(
                "interval",
                default.health_check.interval,
                milliseconds(50)..=hours(1),
            ),
            timeout: check.duration(
                "timeout",
                default.health_check.timeout,
                milliseconds(10)..=minutes(1),
            ),
        };
        check.finish();
        let read = Gateway {
            upstreams,
            max_connections_per_upstream: gateway.count(
                "max_connections_per_upstream",
                default.max_connections_per_upstream,
                1..=65_536,
            ),
            queue_timeout: gateway.duration(
                "queue_timeout",
                default.queue_timeout,
                milliseconds(1)..=minutes(10),
            ),
            health_check,
        };
        gateway.finish();
        read
    }
}

impl Dns {
    pub(super) fn read(tollgate: &mut Section<'_>) -> Dns {
        let default = Dns::default();
        let mut dns = tollgate.section("dns");
        let items = dns.list("servers");
        if let Some(item) = items.get(MAX_DNS_SERVERS) {
            item.report("too many name servers", format!("keep {MAX_DNS_SERVERS}"));
        }
        let read = Dns {
            servers: items
                .iter()
                .filter_map(|item| parse_address(item, AddressUse::NameServer))
                .collect(),
            timeout: dns.duration("timeout", default.timeout, milliseconds(10)..=minutes(5)),
            cache_entries: dns.count("cache_entries", default.cache_entries, 1..=10_000_000),
        };
        dns.finish();
        read
    }
}

fn upstreams(gateway: &mut Section<'_>, listeners: &[Listener]) -> Vec<SocketAddr> {
    let items = gateway.list("upstreams");
    if let Some(item) = items.get(MAX_UPSTREAMS) {
        item.report("too many upstreams", format!("keep {MAX_UPSTREAMS}"));
    }
    let mut upstreams: Vec<SocketAddr> = Vec::new();
    for item in items.iter().take(MAX_UPSTREAMS) {
        let Some(address) = parse_address(item, AddressUse::Upstream) else {
            continue;
        };
        if upstreams.contains(&address) {
            item.report("given twice", "keep one of the two");
        } else if listeners.iter().any(|listener| leads_to(address, listener)) {
            item.report(
                "one of tollgate's own listeners",
                "name the server behind it",
            );
        } else {
            upstreams.push(address);
        }
    }
    upstreams
}

/// Whether connecting to the address surely arrives at the listener. Other addresses of this
/// machine, which a listener on `0.0.0.0` takes too, are not known here.
fn leads_to(address: SocketAddr, listener: &Listener) -> bool {
    let local = address.ip().to_canonical();
    let bound = listener.address.ip().to_canonical();
    collide(address, listener.address)
        && (local == bound || local.is_loopback() || local.is_unspecified())
}
