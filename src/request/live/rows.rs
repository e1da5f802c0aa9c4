//! The rows of the admin API about what is on its way, and about what requests meet.

use crate::telemetry::{
    ClassRow, ParentReport, Point, RuleCount, SiteList, Thousandths, Totals, UserList, members,
};

members! {
    /// Open tunnels.
    pub struct TunnelList;
    total: usize, "Tunnels that match, before `limit`.";
    tunnels: Vec<TunnelRow> as "tunnels" of TunnelRow, "The tunnels.";
}

members! {
    /// A tunnel.
    pub struct TunnelRow;
    id: String, "The id of its request.";
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>, "The user.";
    client: String, "The address of the client.";
    kind: &'static str, "`connect`, `websocket` or `socks5`.";
    target: String, "What was asked for, without a query.";
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>, "What admitted it, as `rule` in the access log.";
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>, "The class of limits that holds for it.";
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>, "The parent that it goes through.";
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<String>, "Where it is connected to.";
    #[serde(skip_serializing_if = "Option::is_none")]
    sni: Option<String>, "The name of the host in its ClientHello, where that was read.";
    since: String, "When it was established, in UTC (RFC 3339).";
    age_seconds: u64, "Seconds since then.";
    bytes_from_client: u64, "Bytes read from the client and sent to the upstream.";
    bytes_from_upstream: u64, "Bytes read from the upstream and sent to the client.";
    rate_from_client: u64, "The same in a second, since the last look at it, or since its start.";
    rate_from_upstream: u64, "The same of the upstream.";
    state: &'static str, "`open`, or `closing` once it was told to end.";
}

members! {
    /// Requests in flight.
    pub struct RequestList;
    total: usize, "Requests that match, before `limit`.";
    requests: Vec<RequestRow> as "requests" of RequestRow, "The requests, the oldest first.";
}

members! {
    /// A request that is served, or a tunnel that is not open yet.
    pub struct RequestRow;
    id: String, "The id of the request.";
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>, "The user, once that is known.";
    client: String, "The address of the client.";
    role: &'static str, "`forward`, `tunnel` or `gateway`.";
    method: String, "The method.";
    target: String, "The target without its query, cut at 256 bytes.";
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>, "What admitted it, as `rule` in the access log, once that is known.";
    age_seconds: Thousandths, "Seconds since the first byte of its head.";
    bytes_from_client: u64, "Bytes of its content that have come.";
    bytes_from_upstream: u64, "Bytes of the content of its answer that have come.";
    rate_from_client: u64, "The same as `bytes_from_client` in a second, since the last look at it, or since its start.";
    rate_from_upstream: u64, "The same of `bytes_from_upstream`.";
    state: &'static str,
        "`admitting` (authentication, policy, look-up of the name), `queued` (its turn of a rate or at the upstream), `connecting`, `waiting` (for the answer to begin), `answering`.";
}

members! {
    /// The servers that requests go to.
    pub struct UpstreamList;
    pools: Vec<PoolRow> as "pools" of PoolRow, "The pools of the gateway.";
    parents: Vec<ParentReport> as "parents" of ParentReport, "The URLs of the parents.";
}

members! {
    /// A pool of the gateway.
    pub struct PoolRow;
    pool: String, "Its name; `default` for `gateway.upstreams`.";
    upstreams: Vec<UpstreamRow> as "upstreams" of UpstreamRow, "Its upstreams now.";
}

members! {
    /// An upstream of a pool.
    pub struct UpstreamRow;
    address: String, "Its address, or `unix:PATH`.";
    state: &'static str, "`up`; `down` after failed health checks; `ejected` for a time after failed requests.";
    requests_in_flight: usize, "Requests that it has now.";
    waiting: usize, "Requests that wait for their turn at it.";
    limit: usize, "Requests that it may have at a time.";
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>, "Why its last health check failed.";
}

members! {
    /// What the rules do.
    pub struct PolicyReport;
    default: &'static str, "`admit` or `deny`: the decision where no rule matches.";
    rules: Vec<RuleRow> as "rules" of RuleRow, "The rules in their order.";
    others: Vec<RuleCount> as "others" of RuleCount,
        "How often something else has decided since the start: parts of the guard, `default`, hooks, the authoriser, and rules of former configurations.";
}

members! {
    /// A rule of the policy.
    pub struct RuleRow;
    name: String, "Its name.";
    action: &'static str, "`admit`, `deny` or `observe`.";
    hits: u64, "How often it has decided since the start, over reloads.";
    observed: u64, "How often it would have denied since the start.";
}

members! {
    /// All that changes, at one moment.
    pub struct Snapshot;
    now: Point as "now" of Point, "The last second.";
    totals: Totals as "totals" of Totals, "Since the start.";
    tunnels: TunnelList as "tunnels" of TunnelList, "The 200 tunnels with the highest rates.";
    users: UserList as "users" of UserList, "The 20 users with the most requests.";
    sites: SiteList as "sites" of SiteList, "The 20 sites with the most requests.";
    upstreams: UpstreamList as "upstreams" of UpstreamList, "The servers.";
    classes: Vec<ClassRow> as "classes" of ClassRow, "The classes of limits.";
    policy: PolicyReport as "policy" of PolicyReport, "The rules.";
}
