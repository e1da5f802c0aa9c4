//! What the admin service shows of the process: the rows of its API, as far as telemetry has them.
//!
//! The rows of tunnels, requests, rules and upstreams are in `request::live`.

use serde::{Serialize, Serializer};

use super::stats::declare::members;

/// A number with three decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thousandths(pub u64);

impl Serialize for Thousandths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Below 2^53 it is exact.
        serializer.serialize_f64(self.0 as f64 / 1000.0)
    }
}

/// By what users and sites are sorted, the most first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TopBy {
    /// Requests and tunnels.
    #[default]
    Requests,
    /// Bytes of both directions.
    Bytes,
    /// Denials.
    Denials,
}

impl TopBy {
    /// The order of this name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "requests" => Some(Self::Requests),
            "bytes" => Some(Self::Bytes),
            "denials" => Some(Self::Denials),
            _ => None,
        }
    }
}

members! {
    /// One second of the process.
    pub struct Point;
    time: u64, "Its end, in seconds since 1970.";
    requests: u64, "Requests that were answered in it, and tunnels that were established.";
    tunnels_opened: u64, "Tunnels that were established in it; those of WebSockets are not among them.";
    denials: u64, "Requests and tunnels that were denied in it.";
    errors: u64, "Requests and tunnels that failed in it for another reason than a denial or missing credentials.";
    bytes_from_client: u64, "Content read from clients in it.";
    bytes_to_client: u64, "Content sent to clients in it.";
    open_connections: u64, "Client connections that are open.";
    open_tunnels: u64, "Tunnels that are open, those of WebSockets too.";
    requests_in_flight: u64, "Requests that are served, and tunnels that are not open yet.";
    p50_ms: Option<Thousandths>, "Half of the requests that ended in it took no longer, in milliseconds; `null` without one.";
    p99_ms: Option<Thousandths>, "The same of 99 in 100.";
}

members! {
    /// The same of many seconds, in columns, the oldest first.
    pub struct Columns;
    time: Vec<u64>, "The ends of the seconds, in seconds since 1970.";
    requests: Vec<u64>, "Requests that were answered, and tunnels that were established.";
    tunnels_opened: Vec<u64>, "Tunnels that were established.";
    denials: Vec<u64>, "Requests and tunnels that were denied.";
    errors: Vec<u64>, "Requests and tunnels that failed otherwise.";
    bytes_from_client: Vec<u64>, "Content read from clients.";
    bytes_to_client: Vec<u64>, "Content sent to clients.";
    open_connections: Vec<u64>, "Client connections that were open.";
    open_tunnels: Vec<u64>, "Tunnels that were open.";
    requests_in_flight: Vec<u64>, "Requests that were served.";
    p50_ms: Vec<Option<Thousandths>>, "Half of the requests took no longer.";
    p99_ms: Vec<Option<Thousandths>>, "99 of 100 took no longer.";
}

members! {
    /// The last 15 minutes.
    pub struct History;
    step_seconds: u64, "Seconds from one point to the next: 1.";
    points: Columns as "points" of Columns, "The points, 900 at most.";
}

members! {
    /// What was counted since the start.
    pub struct Totals;
    requests: u64, "Requests that were answered, and tunnels that were established.";
    tunnels: u64, "Tunnels that were established.";
    denials: u64, "Requests and tunnels that were denied.";
    errors: u64, "Requests and tunnels that failed for another reason than a denial or missing credentials.";
    bytes_from_client: u64, "Content read from clients.";
    bytes_to_client: u64, "Content sent to clients.";
}

members! {
    /// Users that have sent requests.
    pub struct UserList;
    total: usize, "Users that match, before `limit`.";
    users: Vec<UserRow> as "users" of UserRow, "The users.";
    #[serde(skip_serializing_if = "Option::is_none")]
    other_users: Option<OtherUsers> as "other_users" of OtherUsers,
        "All users beyond the first 1000 together; left out if there are none.";
}

members! {
    /// What a user has used since the start.
    pub struct UserRow;
    user: String, "The user.";
    requests: u64, "Requests and tunnels.";
    denials: u64, "Those that were denied.";
    bytes_from_client: u64, "Content read from the user; of a tunnel, live.";
    bytes_to_client: u64, "Content sent to the user; of a tunnel, live.";
    open_tunnels: u64, "Tunnels of CONNECT and SOCKS5 that the user has open.";
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<String>, "When the last request of the user was read, or a later end of a tunnel; in UTC (RFC 3339).";
    #[serde(skip_serializing_if = "Option::is_none")]
    max_overcount: Option<u64>,
        "By how much `requests` may be too high; left out for the first 1000 users, which are counted exactly. Of further users, the service knows those with the most use, and not their open tunnels.";
}

members! {
    /// What all users beyond the first ones have used together.
    pub struct OtherUsers;
    requests: u64, "Requests and tunnels.";
    denials: u64, "Those that were denied.";
    bytes_from_client: u64, "Content read from them.";
    bytes_to_client: u64, "Content sent to them.";
    open_tunnels: u64, "Tunnels that they have open.";
}

members! {
    /// The most visited sites.
    pub struct SiteList;
    sites: Vec<SiteRow> as "sites" of SiteRow, "The sites.";
}

members! {
    /// A site, since the start.
    pub struct SiteRow;
    site: String, "The site: `host:port`, or `gateway`.";
    requests: u64, "Requests and tunnels to it, without those that were denied.";
    bytes: u64, "Content of both directions, at least; of an open tunnel, live to 16 MiB.";
    denials: u64, "Requests of users that were denied, at least.";
    max_overcount: u64, "By how much `requests` may be too high; sorted by denials, by how much `denials` may be.";
}

members! {
    /// The last denials of the process.
    pub struct DenialList;
    total: u64, "Denials since the start.";
    denials: Vec<DenialRow> as "denials" of DenialRow, "The last 200, the newest first.";
    top: Vec<RuleCount> as "top" of RuleCount, "What denied how often since the start, the most first.";
}

members! {
    /// A denial.
    pub struct DenialRow;
    time: String, "When the first byte of the request was read, in UTC (RFC 3339).";
    id: String, "The id of the request.";
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>, "The user; left out if it was denied before that was known.";
    client: String, "The address of the client.";
    role: &'static str, "`forward`, `tunnel` or `gateway`.";
    method: String, "The method.";
    target: String, "The target without its query.";
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>, "The status that the client got.";
    error: &'static str, "The error, by its name in the access log.";
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>, "What denied it, as `rule` in the access log.";
    message: String, "What the client is told.";
}

members! {
    /// A rule, or a part of the guard, and how often.
    pub struct RuleCount;
    rule: String, "As `rule` in the access log, without what follows a colon.";
    count: u64, "How often.";
}

members! {
    /// A class of limits.
    pub struct ClassRow;
    name: String, "The name of the class.";
    per: &'static str, "What its members are: `user`, `client_network`, `host` or `class`.";
    limits: String, "What each member may have, in words.";
    admitted: u64, "Requests and tunnels within its limits.";
    queued: u64, "Those of `admitted` that had to wait for their turn of a rate.";
    waiting: u64, "Those that wait for it now.";
    limited: u64, "Requests over one of its limits.";
    requests: u64, "Requests that are served now.";
    tunnels: u64, "Tunnels that are open now.";
    bytes_from_client: u64, "Bytes from clients.";
    bytes_to_client: u64, "Bytes to clients.";
    members: usize, "Users or networks that it remembers.";
}

members! {
    /// What the system says of the process.
    pub struct ProcessRow;
    version: &'static str, "The version of the program.";
    pid: u32, "The number of the process.";
    started_at: String, "When it started, in UTC (RFC 3339).";
    uptime_seconds: u64, "Seconds since then.";
    #[serde(skip_serializing_if = "Option::is_none")]
    threads: Option<u64>, "Its threads; left out without `/proc`.";
    descriptors: Descriptors as "descriptors" of Descriptors, "Its file descriptors.";
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>, "Resident memory; left out without `/proc`.";
    cpu_seconds: Thousandths, "Processor time used, user and system.";
    log_dropped: u64, "Access-log records lost.";
    #[serde(skip_serializing_if = "Option::is_none")]
    reload: Option<ReloadRow> as "reload" of ReloadRow, "The last reload; left out before the first.";
}

members! {
    /// File descriptors.
    pub struct Descriptors;
    #[serde(skip_serializing_if = "Option::is_none")]
    open: Option<u64>, "Those that are open; left out without `/proc`.";
    limit: u64, "How many may be.";
}

members! {
    /// The last reload.
    pub struct ReloadRow;
    last_at: String, "When it ended, in UTC (RFC 3339).";
    outcome: &'static str, "`success`; `partial`, when a changed key waits for a restart; `failure`, when nothing was changed.";
    restart_needed: Vec<String>, "The keys that wait for a restart.";
}
