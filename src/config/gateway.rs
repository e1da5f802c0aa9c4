//! `tollgate.gateway` and `tollgate.dns`: pools of upstreams, and name servers.

mod forwarded;
mod pools;
mod upstreams;

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use self::forwarded::ForwardedKeys;
pub use self::forwarded::Forwarding;
pub use self::pools::NamedPool;
#[cfg(test)]
use self::pools::{MAX_POOLS, PoolKeys};
#[cfg(test)]
use self::upstreams::MAX_UPSTREAMS;
pub use self::upstreams::{Http2, ProxyHeader, Upstream, UpstreamAddress};
pub(super) use self::upstreams::{has_odd_label, leads_to};
use super::host::AddressUse;
use super::keys::form::{ByHand, Form, Nested, OneOf, Within};
#[cfg(test)]
use super::keys::shape::Shape;
use super::keys::{keys, settings};
use super::listeners::{Listener, parse_address};
use super::reader::{Item, Part};
use super::units::{hours, milliseconds, minutes, seconds};
use crate::http::fields::UserField;

/// resolv.conf(5) has three at most.
const MAX_DNS_SERVERS: usize = 16;

/// Pingora's balancer counts servers with 16 bits, and a name may have 16 addresses.
const MAX_IN_ALL_POOLS: usize = 4000;

settings! {
    /// The local pool behind requests in origin-form.
    pub struct Gateway {
        /// The upstreams, each once; none for a small built-in page. Of a name, every address is an upstream.
        upstreams: Vec<Upstream> = Vec::new(), ByHand => Shape::upstream().list(MAX_UPSTREAMS);
        /// Pools for some hosts or paths. The first one whose conditions hold takes a request; that of `upstreams` takes
        /// the others. All other keys apply to every pool.
        pools: Vec<NamedPool> = Vec::new(), ByHand => Shape::Map(PoolKeys::keys).list(MAX_POOLS);
        /// How upstreams that are down are found: by connecting to them, or by a request. One that is down gets no
        /// requests, unless all are.
        health_check: HealthCheck = HealthCheck::default(), Nested;
        /// When requests take an upstream out by themselves: it refuses or ends connections, or is silent for longer
        /// than `timeouts.response`.
        ejection: EjectionRule = EjectionRule::default(), Nested;
        /// The version of the PROXY protocol with which each connection to an upstream begins, before TLS: it names the
        /// client, so that no connection is used for two clients. A key of the same name in a pool applies to that pool.
        proxy_protocol: Option<ProxyHeader> = None, PROXY_HEADER;
        /// Whether requests go on in HTTP/2: `auto`, to an upstream that offers it in the TLS handshake (ALPN); `only`, always,
        /// without TLS by prior knowledge, as to a server of gRPC. A key of the same name in a pool applies to that pool.
        http2: Http2 = Http2::Off, HTTP2;
        /// What tells an upstream who the client is. Other fields of this kind are removed from requests.
        forwarded: ForwardedKeys = ForwardedKeys::default(), Nested;
        /// The field that tells an upstream the name of the user, such as `X-Forwarded-User`. It is removed from the
        /// requests of clients, forwarded ones included.
        user_field: Option<UserField> = None, UserFieldName;
        /// The limit of concurrent requests to one upstream, of which one client has three quarters at most. A request
        /// over the limit waits and opens no connection.
        max_connections_per_upstream: usize = 256, Within(1..=65_536);
        /// How long a request waits for an upstream. Then 503.
        queue_timeout: Duration = seconds(5), Within(milliseconds(1)..=minutes(10));
    }
}

settings! {
    /// How upstreams that are down are found: by connecting to them, or by a request.
    pub struct HealthCheck {
        /// From one check to the next.
        interval: Duration = seconds(2), Within(milliseconds(50)..=hours(1));
        /// How long connecting may take, and after that the answer.
        timeout: Duration = seconds(1), Within(milliseconds(10)..=minutes(1));
        /// So many checks in a row have to succeed before an upstream that is down gets requests.
        rise: usize = 2, Within(1..=1000);
        /// So many checks in a row have to fail before an upstream gets no requests.
        fall: usize = 3, Within(1..=1000);
        /// The path that is asked for with GET; none to connect alone.
        path: Option<String> = None, PartOfProbe { what: "a path such as /health", is: is_path };
        /// The value of `Host` in that request; none for the address of the upstream.
        host: Option<String> = None, PartOfProbe { what: "a name or an address, with a port if need be", is: is_host };
        /// The statuses of an upstream that is up: one, or a range.
        status: RangeInclusive<u16> = 200..=399, Statuses;
    }
}

settings! {
    /// When requests take an upstream out by themselves: it refuses or ends connections, or is silent for longer than
    /// `timeouts.response`.
    pub struct EjectionRule {
        /// So many requests in a row have to fail; 0: never.
        failures: usize = 3, Within(0..=1000);
        /// How long the upstream then gets no requests.
        time: Duration = seconds(10), Within(milliseconds(100)..=hours(1));
    }
}

settings! {
    /// How names are resolved.
    pub struct Dns {
        /// Name servers, in the order in which they are asked; none for those of the system. The port is 53 unless
        /// given.
        servers: Vec<SocketAddr> = Vec::new(), NameServers;
        /// The limit of one look-up, retries included.
        timeout: Duration = seconds(5), Within(milliseconds(10)..=minutes(5));
        /// Names in the cache.
        cache_entries: usize = 16_384, Within(1..=10_000_000);
    }
}

/// The values of `proxy_protocol` for upstreams.
const PROXY_HEADER: OneOf<Option<ProxyHeader>> = OneOf(&[
    ("none", None),
    ("v1", Some(ProxyHeader::V1)),
    ("v2", Some(ProxyHeader::V2)),
]);

/// The values of `http2` for upstreams.
const HTTP2: OneOf<Http2> = OneOf(&[
    ("off", Http2::Off),
    ("auto", Http2::Auto),
    ("only", Http2::Only),
]);

impl Gateway {
    pub(super) fn read(part: Part<'_>, listeners: &[Listener]) -> Gateway {
        let mut section = part.section();
        let upstreams = upstreams::read(&section.list("upstreams"), listeners);
        let pools = pools::read(&mut section, listeners);
        let all = upstreams.len() + pools.iter().map(|pool| pool.upstreams.len()).sum::<usize>();
        if all > MAX_IN_ALL_POOLS {
            let message = format!("{all} upstreams in all pools, of {MAX_IN_ALL_POOLS} at most");
            section.report(
                "pools",
                message,
                "have fewer, or a name for several of them",
            );
        }
        let gateway = Gateway::take(&mut section);
        forwarded::check(&section, &gateway.forwarded);
        section.finish();
        Gateway {
            upstreams,
            pools,
            ..gateway
        }
    }
}

impl Gateway {
    /// What tells an upstream who the client is.
    pub(crate) fn forwarding(&self) -> Forwarding {
        Forwarding::from(&self.forwarded)
    }
}

/// The name of a field, or `none`.
struct UserFieldName;

impl Form<Option<UserField>> for UserFieldName {
    fn read(&self, item: &Item<'_>) -> Option<Option<UserField>> {
        let text = item.text()?;
        if text == "none" {
            return Some(None);
        }
        let field = UserField::new(text);
        if field.is_none() {
            item.report(
                "not a field for the user's name",
                "write the name of a field that has no other meaning, such as X-Forwarded-User",
            );
        }
        field.map(Some)
    }

    fn show(&self, value: &Option<UserField>) -> String {
        value
            .as_ref()
            .map_or_else(|| "none".to_owned(), ToString::to_string)
    }

    #[cfg(test)]
    fn shape(&self) -> Shape {
        Shape::Text("name of a field, or `none`", None)
    }
}

/// A part of the request of a health check, or `none`.
struct PartOfProbe {
    what: &'static str,
    is: fn(&str) -> bool,
}

impl Form<Option<String>> for PartOfProbe {
    fn read(&self, item: &Item<'_>) -> Option<Option<String>> {
        let text = item.text()?;
        if text == "none" {
            return Some(None);
        }
        if !(self.is)(text) {
            item.report(format!("not {}", self.what), "correct it, or write none");
            return None;
        }
        Some(Some(text.to_owned()))
    }

    fn show(&self, value: &Option<String>) -> String {
        value.clone().unwrap_or_else(|| "none".to_owned())
    }

    #[cfg(test)]
    fn shape(&self) -> Shape {
        Shape::Text(self.what, None).or(&["none"])
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && text
            .bytes()
            .all(|byte| matches!(byte, b'!'..=b'~') && byte != b'#')
}

fn is_host(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

/// A status, or a range of them.
struct Statuses;

impl Form<RangeInclusive<u16>> for Statuses {
    fn read(&self, item: &Item<'_>) -> Option<RangeInclusive<u16>> {
        let text = item.text()?;
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let bounds = (first.trim().parse(), last.trim().parse());
        if let (Ok(first @ 200..=599), Ok(last @ 200..=599)) = bounds
            && first <= last
        {
            return Some(first..=last);
        }
        item.report(
            "not a status",
            "write one from 200 to 599, or a range such as 200-399",
        );
        None
    }

    fn show(&self, value: &RangeInclusive<u16>) -> String {
        format!("{}-{}", value.start(), value.end())
    }

    #[cfg(test)]
    fn shape(&self) -> Shape {
        Shape::Text("200 to 599, or a range such as 200-399", None)
    }
}

/// Addresses of name servers.
struct NameServers;

impl Form<Vec<SocketAddr>> for NameServers {
    fn read(&self, item: &Item<'_>) -> Option<Vec<SocketAddr>> {
        let items = item.list()?;
        if let Some(item) = items.get(MAX_DNS_SERVERS) {
            item.report("too many name servers", format!("keep {MAX_DNS_SERVERS}"));
        }
        let parse = |item| parse_address(item, AddressUse::NameServer);
        Some(items.iter().filter_map(parse).collect())
    }

    fn show(&self, value: &Vec<SocketAddr>) -> String {
        format!("{value:?}")
    }

    #[cfg(test)]
    fn shape(&self) -> Shape {
        Shape::name_server().list(MAX_DNS_SERVERS)
    }
}
