//! `tollgate.gateway.pools`: pools for some hosts or paths, beside the one of `upstreams`.

use super::super::host;
use super::super::keys::form::Absent::{Means, Required};
use super::super::keys::form::{Given, Raw};
use super::super::keys::keys;
use super::super::listeners::Listener;
use super::super::reader::{Item, Section};
use super::upstreams::{self, Http2, ProxyHeader, Upstream};
use super::{HTTP2, PROXY_HEADER};
use crate::access::policy::Domains;
use crate::http::path::Prefix;

pub(super) const MAX_POOLS: usize = 256;
const MAX_NAME: usize = 64;

/// A pool for the requests that meet its conditions: those of both kinds, where both are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPool {
    pub name: Box<str>,
    pub hosts: Option<Domains>,
    pub path: Option<Prefix>,
    pub upstreams: Vec<Upstream>,
    /// None for that of the gateway.
    pub proxy_protocol: Option<Option<ProxyHeader>>,
    /// None for that of the gateway.
    pub http2: Option<Http2>,
}

keys! {
    /// One pool.
    pub(super) struct PoolKeys<'d> {
        /// Its name, in messages and in the log.
        name: Option<Item<'d>> = Required, Raw => Shape::text("a name");
        /// The hosts whose requests it takes, by `Host` without the port: `api.example.com` for one, `.example.com` for it
        /// and all below it.
        hosts: Option<Item<'d>> = Means("every host"), Raw => Shape::text("a host").some();
        /// The path whose requests it takes, with all below it, by segments: `/api` is for `/api` and `/api/x`, and not
        /// for `/apix`.
        path: Option<Item<'d>> = Means("every path"), Raw => Shape::text("a path such as /api");
        /// The upstreams, as those of `gateway.upstreams`; one at least.
        upstreams: Option<Item<'d>> = Required, Raw => Shape::upstream().some();
        /// The version of the PROXY protocol, for this pool.
        proxy_protocol: Option<Option<ProxyHeader>> = Means("that of the gateway"), Given(PROXY_HEADER);
        /// Whether requests go on in HTTP/2, for this pool.
        http2: Option<Http2> = Means("that of the gateway"), Given(HTTP2);
    }
}

/// Reads the list. A pool that is not whole is reported, and left out.
pub(super) fn read(gateway: &mut Section<'_>, listeners: &[Listener]) -> Vec<NamedPool> {
    let items = gateway.list("pools");
    if let Some(item) = items.get(MAX_POOLS) {
        item.report("too many pools", format!("keep {MAX_POOLS}"));
    }
    let mut pools: Vec<NamedPool> = Vec::new();
    for item in items.iter().take(MAX_POOLS) {
        let Some((pool, name)) = read_one(item, listeners) else {
            continue;
        };
        if pools.iter().any(|other| other.name == pool.name) {
            name.report(
                "the name of another pool",
                "give each pool a name of its own",
            );
        } else {
            pools.push(pool);
        }
    }
    pools
}

fn read_one<'d>(item: &Item<'d>, listeners: &[Listener]) -> Option<(NamedPool, Item<'d>)> {
    let mut section = item.section();
    let keys = PoolKeys::take(&mut section);
    if keys.name.is_none() {
        section.report("name", "missing", "write a name, such as `name: api`");
    }
    if keys.hosts.is_none() && keys.path.is_none() {
        let remedy =
            "write `hosts` or `path`; the pool for all other requests is gateway.upstreams";
        section.report("hosts", "no condition, neither hosts nor path", remedy);
    }
    let upstreams = match &keys.upstreams {
        Some(item) => servers(item, listeners),
        None => {
            section.report("upstreams", "missing", "write one such as [\"backend:80\"]");
            Vec::new()
        }
    };
    let name = keys.name.as_ref().and_then(name);
    let hosts = keys.hosts.as_ref().map(hosts);
    let path = keys.path.as_ref().map(path);
    section.finish();
    let pool = NamedPool {
        name: name?,
        hosts: hosts.map_or(Some(None), |hosts| hosts.map(Some))?,
        path: path.map_or(Some(None), |path| path.map(Some))?,
        upstreams,
        proxy_protocol: keys.proxy_protocol,
        http2: keys.http2,
    };
    Some((pool, keys.name?))
}

fn servers(item: &Item<'_>, listeners: &[Listener]) -> Vec<Upstream> {
    let items = item.list().unwrap_or_default();
    if item.is_list() && items.is_empty() {
        let remedy = "write one such as [\"backend:80\"], or remove the pool";
        item.report("no upstream", remedy);
    }
    upstreams::read(&items, listeners)
}

fn name(item: &Item<'_>) -> Option<Box<str>> {
    let text = item.text()?;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.len() > MAX_NAME || !text.bytes().all(is_part) {
        let remedy = format!("write up to {MAX_NAME} letters, digits, `-`, `_` or `.`");
        item.report("not a name", remedy);
        return None;
    }
    Some(text.into())
}

fn hosts(item: &Item<'_>) -> Option<Domains> {
    let items = item.list()?;
    if items.is_empty() {
        item.report(
            "an empty list, which no host is in",
            "fill it, or remove the key for every host",
        );
        return None;
    }
    let mut hosts = Domains::default();
    let mut is_whole = true;
    for item in items {
        is_whole &= item
            .text()
            .is_some_and(|text| add_host(&item, text, &mut hosts));
    }
    is_whole.then_some(hosts)
}

fn add_host(item: &Item<'_>, text: &str, hosts: &mut Domains) -> bool {
    const EXAMPLE: &str =
        "write api.example.com for one host, or .example.com for it and all below it";
    if let Some((message, remedy)) = host::domain(text) {
        // The other remedy names keys that are not here.
        let is_port = message == host::DOMAIN_WITH_PORT;
        let remedy = if is_port {
            "leave out the port, which does not count"
        } else {
            &remedy
        };
        item.report(message, remedy);
        return false;
    }
    let is_added = hosts.extend([text]).is_ok();
    if !is_added {
        item.report("not the name of a host", EXAMPLE);
    }
    is_added
}

fn path(item: &Item<'_>) -> Option<Prefix> {
    let prefix = Prefix::parse(item.text()?);
    if prefix.is_none() {
        item.report(
            "not a path that has one spelling",
            "write segments of letters, digits, `-`, `.`, `_` and `~`, such as /api/v1",
        );
    }
    prefix
}
