//! `tollgate.gateway` and `tollgate.dns`: local upstreams and name servers.

use std::net::SocketAddr;
use std::time::Duration;

use super::host::AddressUse;
use super::keys::form::{ByHand, Form, Nested, Within};
#[cfg(test)]
use super::keys::shape::Shape;
use super::keys::{keys, settings};
use super::listeners::{Listener, collide, parse_address};
use super::reader::{Item, Part, Section};
use super::units::{hours, milliseconds, minutes, seconds};
use crate::http::fields::UserField;

/// resolv.conf(5) has three at most.
const MAX_DNS_SERVERS: usize = 16;
const MAX_UPSTREAMS: usize = 1024;

settings! {
    /// The local pool behind requests in origin-form.
    pub struct Gateway {
        /// The upstreams, each once; none for a small built-in page. Names are not looked up here.
        upstreams: Vec<SocketAddr> = Vec::new(), ByHand => Shape::address().list(MAX_UPSTREAMS);
        /// How upstreams that are down are found: by connecting to them. One that does not accept connections gets
        /// no requests.
        health_check: HealthCheck = HealthCheck::default(), Nested;
        /// The field that tells an upstream the name of the user, such as `X-Forwarded-User`. It is removed from the
        /// requests of clients, forwarded ones included.
        user_field: Option<UserField> = None, UserFieldName;
        /// The limit of concurrent requests to one upstream. A request over the limit waits and opens no connection.
        max_connections_per_upstream: usize = 256, Within(1..=65_536);
        /// How long a request waits for an upstream. Then 503.
        queue_timeout: Duration = seconds(5), Within(milliseconds(1)..=minutes(10));
    }
}

settings! {
    /// How upstreams that are down are found: by connecting to them.
    pub struct HealthCheck {
        /// From one check to the next.
        interval: Duration = seconds(2), Within(milliseconds(50)..=hours(1));
        /// How long connecting may take.
        timeout: Duration = seconds(1), Within(milliseconds(10)..=minutes(1));
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

impl Gateway {
    pub(super) fn read(part: Part<'_>, listeners: &[Listener]) -> Gateway {
        let mut section = part.section();
        let upstreams = upstreams(&mut section, listeners);
        let gateway = Gateway::take(&mut section);
        section.finish();
        Gateway {
            upstreams,
            ..gateway
        }
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
