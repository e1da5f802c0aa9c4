//! The lists that an operator looks at, and the tunnels that it closes. Each look collects what there is and lets go of it
//! before it makes rows: nothing waits for one who looks.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::query::{Query, Search, TunnelsBy};
use super::rows::{
    PolicyReport, PoolRow, RequestList, RuleRow, TunnelList, TunnelRow, UpstreamList, UpstreamRow,
};
use crate::access::auth::User;
use crate::request::app::App;
use crate::request::tunnel::Tunnel;
use crate::telemetry::{Gauges, ShownUser, Telemetry, canonical, rfc3339, shown, shown_uri};
use crate::tunnel::Traffic;

/// Bytes of a target that are shown, and of a name.
const MAX_TARGET: usize = 1024;
const MAX_NAME: usize = 256;

/// The pool that has no name.
const DEFAULT_POOL: &str = "default";

/// What is open now.
pub fn gauges(app: &App) -> Gauges {
    let in_flight = app.in_flight.as_ref().map_or(0, |table| table.count());
    Gauges {
        open_tunnels: app.tunnels.count() as u64,
        requests_in_flight: in_flight as u64,
    }
}

/// The requests in flight that are wanted; none where no admin service is configured.
pub fn requests(app: &App, query: &Query<'_>) -> RequestList {
    match &app.in_flight {
        Some(table) => table.list(query, &app.telemetry),
        None => RequestList {
            total: 0,
            requests: Vec::new(),
        },
    }
}

/// The open tunnels that are wanted, in this order.
pub fn tunnels(app: &App, by: TunnelsBy, query: &Query<'_>) -> TunnelList {
    let search = query.search();
    let telemetry = &app.telemetry;
    let mut found = app.tunnels.all();
    found.retain(|tunnel| {
        let user = user(tunnel, telemetry);
        query
            .user
            .is_none_or(|wanted| user.as_deref() == Some(wanted))
            && matches(tunnel, user, &search)
    });
    let total = found.len();
    let now = Instant::now();
    let mut rows: Vec<Measured> = found
        .into_iter()
        .map(|tunnel| Measured::new(tunnel, now))
        .collect();
    let limit = query.limit();
    if limit < rows.len() {
        // Of many, only those that are shown are sorted.
        rows.select_nth_unstable_by(limit, |a, b| a.cmp_by(b, by));
        rows.truncate(limit);
    }
    rows.sort_unstable_by(|a, b| a.cmp_by(b, by));
    TunnelList {
        total,
        tunnels: rows.iter().map(|row| row.row(now, telemetry)).collect(),
    }
}

/// Closes the tunnel of this id. False when there is none.
pub fn close_tunnel(app: &App, id: &str) -> bool {
    app.tunnels.close(id)
}

/// Closes all tunnels of a user, as names are shown. How many there were.
pub fn close_tunnels_of(app: &App, user: &str) -> usize {
    let is_of = |it: &User| *app.telemetry.show_user(it.as_str()) == *user;
    app.tunnels.close_of(is_of)
}

/// The servers that requests go to.
pub fn upstreams(app: &App) -> UpstreamList {
    let pools = app.pools.report().into_iter();
    UpstreamList {
        pools: pools
            .map(|(name, upstreams)| PoolRow {
                pool: name.unwrap_or(DEFAULT_POOL).to_owned(),
                upstreams: upstreams
                    .into_iter()
                    .map(|upstream| UpstreamRow {
                        address: upstream.server.to_string(),
                        state: upstream.condition,
                        requests_in_flight: upstream.load.in_use,
                        waiting: upstream.load.waiting,
                        limit: upstream.load.permits,
                        trouble: upstream.trouble,
                    })
                    .collect(),
            })
            .collect(),
        parents: app.telemetry.parents(),
    }
}

/// What the rules do.
pub fn policy(app: &App) -> PolicyReport {
    let access = app.access.current();
    let rules = access.policy().rules();
    let mut others = app.telemetry.all_hits();
    let mut rows = Vec::with_capacity(rules.len());
    for rule in rules.iter() {
        let name = rule.name.as_str();
        let (hits, observed) = app.telemetry.hits(name);
        rows.push(RuleRow {
            name: name.to_owned(),
            action: rule.action.as_str(),
            hits,
            observed,
        });
    }
    let names: std::collections::HashSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    others.retain(|other| !names.contains(other.rule.as_str()));
    PolicyReport {
        default: rules.default_decision().as_str(),
        rules: rows,
        others,
    }
}

/// The user of a tunnel, as names are shown.
fn user<'a>(tunnel: &'a Tunnel, telemetry: &Telemetry) -> Option<ShownUser<'a>> {
    let user = tunnel.user.as_ref();
    user.map(|user| telemetry.show_user(user.as_str()))
}

fn matches(tunnel: &Tunnel, user: Option<ShownUser<'_>>, search: &Search) -> bool {
    if search.is_for_all() {
        return true;
    }
    let client = canonical(tunnel.client);
    let target = target(tunnel);
    let rule = tunnel.decided_by.as_ref().map(ToString::to_string);
    let class = tunnel.class.as_ref().map(ToString::to_string);
    let upstream = tunnel.upstream.as_ref().map(ToString::to_string);
    let since = rfc3339(since(tunnel, Instant::now()));
    // All texts of a row.
    let texts = [
        Some(tunnel.id.as_str()),
        user.as_deref(),
        Some(&*client),
        Some(tunnel.kind.as_str()),
        Some(&*target),
        rule.as_deref(),
        class.as_deref(),
        tunnel.parent.as_deref(),
        upstream.as_deref(),
        tunnel.hello.get().and_then(|hello| hello.sni.as_deref()),
        Some(&*since),
        Some(state(tunnel)),
    ];
    search.matches(texts.into_iter().flatten())
}

fn state(tunnel: &Tunnel) -> &'static str {
    if tunnel.is_closing() {
        "closing"
    } else {
        "open"
    }
}

/// When it was opened.
fn since(tunnel: &Tunnel, now: Instant) -> SystemTime {
    let age = now.saturating_duration_since(tunnel.since);
    let since = SystemTime::now().checked_sub(age);
    since.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The target as the log has it, without the query of a WebSocket.
fn target(tunnel: &Tunnel) -> String {
    let target = tunnel.target.split('?').next().unwrap_or_default();
    shown_uri(target.as_bytes(), MAX_TARGET)
}

/// A tunnel, and what it has carried at one moment.
struct Measured {
    tunnel: Arc<Tunnel>,
    total: Traffic,
    rate: Traffic,
}

impl Measured {
    fn new(tunnel: Arc<Tunnel>, now: Instant) -> Self {
        let total = tunnel.carried();
        let rate = tunnel.look.lock().rate(now, total);
        Self {
            tunnel,
            total,
            rate,
        }
    }

    fn cmp_by(&self, other: &Self, by: TunnelsBy) -> std::cmp::Ordering {
        let oldest = || {
            let (own, its) = (&self.tunnel, &other.tunnel);
            let since = own.since.cmp(&its.since);
            since.then_with(|| own.id.as_str().cmp(its.id.as_str()))
        };
        match by {
            TunnelsBy::Rate => {
                let key = |it: &Self| Reverse(sum(it.rate));
                key(self).cmp(&key(other)).then_with(oldest)
            }
            TunnelsBy::Bytes => {
                let key = |it: &Self| Reverse(sum(it.total));
                key(self).cmp(&key(other)).then_with(oldest)
            }
            TunnelsBy::Age => oldest(),
            TunnelsBy::User => {
                let (own, its) = (&self.tunnel.user, &other.tunnel.user);
                let (own, its) = (own.as_ref(), its.as_ref());
                let order = own.map(User::as_str).cmp(&its.map(User::as_str));
                order.then_with(oldest)
            }
            TunnelsBy::Target => {
                let order = self.tunnel.target.cmp(&other.tunnel.target);
                order.then_with(oldest)
            }
        }
    }

    fn row(&self, now: Instant, telemetry: &Telemetry) -> TunnelRow {
        let tunnel = &self.tunnel;
        let age = now.saturating_duration_since(tunnel.since);
        let sni = tunnel.hello.get().and_then(|hello| hello.sni.as_deref());
        TunnelRow {
            id: tunnel.id.to_string(),
            user: user(tunnel, telemetry).as_deref().map(str::to_owned),
            client: canonical(tunnel.client),
            kind: tunnel.kind.as_str(),
            target: target(tunnel),
            rule: tunnel.decided_by.as_ref().map(ToString::to_string),
            class: tunnel.class.as_ref().map(ToString::to_string),
            parent: tunnel.parent.as_deref().map(str::to_owned),
            upstream: tunnel.upstream.as_ref().map(ToString::to_string),
            sni: sni.map(|sni| shown(sni.as_bytes(), MAX_NAME)),
            since: rfc3339(since(tunnel, now)),
            age_seconds: age.as_secs(),
            bytes_from_client: self.total.bytes_from_client,
            bytes_from_upstream: self.total.bytes_from_upstream,
            rate_from_client: self.rate.bytes_from_client,
            rate_from_upstream: self.rate.bytes_from_upstream,
            state: state(tunnel),
        }
    }
}

/// Bytes of both directions.
fn sum(traffic: Traffic) -> u64 {
    let Traffic {
        bytes_from_client,
        bytes_from_upstream,
    } = traffic;
    bytes_from_client.saturating_add(bytes_from_upstream)
}
