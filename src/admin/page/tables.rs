//! Which tables the page has. Members as in `docs/api`.

use super::format::Format;
use super::format::Format::{Ago, Bytes, Clock, Count, Elapsed, Rate, Seconds, State, Text};
use super::table::{Action, Column, Rank, Shape, Table};

const fn head(member: &'static str, label: &'static str, format: Format) -> Column {
    Column {
        member,
        label,
        format,
        rank: Rank::Head,
    }
}

const fn main(member: &'static str, label: &'static str, format: Format) -> Column {
    Column {
        member,
        label,
        format,
        rank: Rank::Main,
    }
}

const fn side(member: &'static str, label: &'static str, format: Format) -> Column {
    Column {
        member,
        label,
        format,
        rank: Rank::Side,
    }
}

const fn extra(member: &'static str, label: &'static str, format: Format) -> Column {
    Column {
        member,
        label,
        format,
        rank: Rank::Extra,
    }
}

/// What most tables have.
const PLAIN: Table = Table {
    id: "",
    title: "",
    path: "",
    shape: Shape::List,
    key: &[],
    columns: &[],
    sort: None,
    limit: 200,
    empty: "",
    action: None,
    search: None,
    api: None,
    orders: &[],
    total: None,
};

/// The open tunnels, the busiest first.
pub(super) const TUNNELS: Table = Table {
    id: "tunnels",
    title: "Open tunnels",
    path: "/snapshot/tunnels/tunnels",
    key: &["id"],
    columns: &[
        head("target", "Target", Text),
        main("user", "User", Text),
        side("client", "Client", Text),
        extra("kind", "Kind", Text),
        main("rule", "Rule", Text),
        extra("class", "Class", Text),
        extra("parent", "Parent", Text),
        extra("upstream", "Upstream", Text),
        extra("sni", "SNI", Text),
        main("age_seconds", "Age", Seconds),
        side("bytes_from_client", "Sent", Bytes),
        side("bytes_from_upstream", "Received", Bytes),
        main("rate_from_client", "Sending", Rate),
        main("rate_from_upstream", "Receiving", Rate),
        main("state", "State", State),
    ],
    empty: "No tunnel is open. Each CONNECT, WebSocket and SOCKS5 connection is a row here while it lasts.",
    action: Some(Action {
        name: "close",
        label: "Close",
        of: &["user", "target"],
        changes: true,
    }),
    search: Some("user, target, client, rule"),
    api: Some("/api/v1/tunnels"),
    orders: &[
        ("target", "target"),
        ("user", "user"),
        ("age_seconds", "age"),
        ("bytes_from_client", "bytes"),
        ("bytes_from_upstream", "bytes"),
        ("rate_from_client", "rate"),
        ("rate_from_upstream", "rate"),
    ],
    total: Some("/snapshot/tunnels/total"),
    ..PLAIN
};

/// The requests in flight, the oldest first.
pub(super) const REQUESTS: Table = Table {
    id: "requests",
    title: "Requests in flight",
    path: "/requests/requests",
    key: &["id"],
    columns: &[
        head("target", "Target", Text),
        side("method", "Method", Text),
        main("user", "User", Text),
        side("client", "Client", Text),
        extra("role", "Role", Text),
        main("rule", "Rule", Text),
        side("bytes_from_client", "Sent", Bytes),
        side("bytes_from_upstream", "Received", Bytes),
        extra("rate_from_client", "Sending", Rate),
        side("rate_from_upstream", "Receiving", Rate),
        main("age_seconds", "Age", Elapsed),
        main("state", "State", State),
    ],
    limit: 50,
    empty: "No request is on its way. One that waits for its turn, its server or its answer is a row here.",
    total: Some("/requests/total"),
    ..PLAIN
};

/// The last denials, newest first.
pub(super) const DENIALS: Table = Table {
    id: "denials",
    title: "Last denials",
    path: "/denials/denials",
    key: &["id"],
    columns: &[
        main("time", "Time (UTC)", Clock),
        head("target", "Target", Text),
        extra("method", "Method", Text),
        extra("role", "Role", Text),
        main("user", "User", Text),
        main("client", "Client", Text),
        main("rule", "Rule", Text),
        main("status", "Status", Text),
        extra("error", "Error", Text),
        extra("message", "Message", Text),
    ],
    empty: "Nothing was denied. A request that the policy, a hook or the authoriser denies is a row here, with its rule.",
    action: Some(Action {
        name: "explain",
        label: "Explain",
        of: &["user", "target"],
        changes: false,
    }),
    search: Some("user, target, rule"),
    total: Some("/denials/total"),
    ..PLAIN
};

/// What denies most.
pub(super) const TOP_DENIALS: Table = Table {
    id: "top-denials",
    title: "Denials by rule",
    path: "/denials/top",
    key: &["rule"],
    columns: &[head("rule", "Rule", Text), main("count", "Denials", Count)],
    sort: Some("count"),
    limit: 20,
    empty: "No rule has denied a request.",
    ..PLAIN
};

/// Errors of the last 15 minutes by kind.
pub(super) const ERRORS: Table = Table {
    id: "errors",
    title: "Errors by kind, last 15 minutes",
    path: "/status/recent_errors_by_kind",
    shape: Shape::Counts,
    key: &["name"],
    columns: &[
        head("name", "Error", Text),
        main("count", "Requests", Count),
    ],
    sort: Some("count"),
    limit: 20,
    empty: "No request has failed in the last 15 minutes.",
    ..PLAIN
};

/// The users, the one with the most requests first.
pub(super) const USERS: Table = Table {
    id: "users",
    title: "Users",
    path: "/snapshot/users/users",
    key: &["user"],
    columns: &[
        head("user", "User", Text),
        main("requests", "Requests", Count),
        main("denials", "Denials", Count),
        main("bytes_from_client", "Sent", Bytes),
        main("bytes_to_client", "Received", Bytes),
        main("open_tunnels", "Tunnels", Count),
        main("last_seen", "Last seen", Ago),
    ],
    sort: Some("requests"),
    limit: 20,
    empty: "No user has sent a request yet.",
    search: Some("user"),
    api: Some("/api/v1/users"),
    orders: &[
        ("requests", "requests"),
        ("denials", "denials"),
        ("bytes_from_client", "bytes"),
        ("bytes_to_client", "bytes"),
    ],
    total: Some("/snapshot/users/total"),
    ..PLAIN
};

/// The sites, the one with the most requests first.
pub(super) const SITES: Table = Table {
    id: "sites",
    title: "Sites",
    path: "/snapshot/sites/sites",
    key: &["site"],
    columns: &[
        head("site", "Site", Text),
        main("requests", "Requests", Count),
        main("denials", "Denials", Count),
        main("bytes", "Bytes", Bytes),
    ],
    sort: Some("requests"),
    limit: 20,
    empty: "No site was visited yet.",
    api: Some("/api/v1/sites"),
    orders: &[
        ("requests", "requests"),
        ("denials", "denials"),
        ("bytes", "bytes"),
    ],
    ..PLAIN
};

/// The upstreams of the gateway.
pub(super) const UPSTREAMS: Table = Table {
    id: "upstreams",
    title: "Upstreams",
    path: "/snapshot/upstreams/pools",
    shape: Shape::Pools,
    key: &["pool", "address"],
    columns: &[
        head("address", "Upstream", Text),
        main("pool", "Pool", Text),
        main("state", "State", State),
        main("requests_in_flight", "In flight", Count),
        main("waiting", "Queue", Count),
    ],
    empty: "No upstream is configured: gateway.upstreams has none.",
    ..PLAIN
};

/// The proxies behind this one.
pub(super) const PARENTS: Table = Table {
    id: "parents",
    title: "Parents",
    path: "/snapshot/upstreams/parents",
    key: &["parent", "url"],
    columns: &[
        head("url", "URL", Text),
        main("parent", "Parent", Text),
        main("up", "Up", Text),
        main("in_use", "In use", Count),
    ],
    empty: "No parent is configured: requests go to their targets directly.",
    ..PLAIN
};

/// The rules of the policy, in their order.
pub(super) const RULES: Table = Table {
    id: "rules",
    title: "Rules",
    path: "/snapshot/policy/rules",
    key: &["name"],
    columns: &[
        head("name", "Rule", Text),
        main("action", "Action", State),
        main("hits", "Hits", Count),
        main("observed", "Would deny", Count),
    ],
    limit: 1000,
    empty: "The policy has no rules: its default decides.",
    ..PLAIN
};

/// What decides beside the rules.
pub(super) const OTHERS: Table = Table {
    id: "others",
    title: "Other decisions",
    path: "/snapshot/policy/others",
    key: &["rule"],
    columns: &[
        head("rule", "Decided by", Text),
        main("count", "Requests", Count),
    ],
    sort: Some("count"),
    limit: 50,
    empty: "Nothing beside the rules has decided: neither the guard, nor the default, nor a hook.",
    ..PLAIN
};

/// The classes of limits.
pub(super) const CLASSES: Table = Table {
    id: "classes",
    title: "Classes of limits",
    path: "/snapshot/classes",
    key: &["name"],
    columns: &[
        head("name", "Class", Text),
        main("requests", "Requests now", Count),
        main("tunnels", "Tunnels", Count),
        main("waiting", "Waiting", Count),
        main("limited", "Over a limit", Count),
        extra("bytes_from_client", "Sent", Bytes),
        extra("bytes_to_client", "Received", Bytes),
        extra("members", "Members", Count),
    ],
    limit: 1000,
    empty: "No class is configured: limits.classes has none.",
    ..PLAIN
};

/// The balances of quotas.
pub(super) const QUOTAS: Table = Table {
    id: "quotas",
    title: "Balances of quotas",
    path: "/quotas/balances",
    key: &["class", "member", "period"],
    columns: &[
        head("member", "Member", Text),
        main("class", "Class", Text),
        main("period", "Period", Text),
        main("used", "Used", Bytes),
        main("limit", "Limit", Bytes),
        main("resets_at", "Resets (UTC)", Clock),
    ],
    sort: Some("used"),
    limit: 50,
    empty: "No balance: no class has a quota, or nothing was used.",
    ..PLAIN
};

/// The certificates and revocation lists of the listeners.
pub(super) const CERTIFICATES: Table = Table {
    id: "certificates",
    title: "Certificates",
    path: "/status/certificates",
    key: &["listener", "kind", "name"],
    columns: &[
        head("name", "Name", Text),
        main("listener", "Listener", Text),
        main("kind", "Kind", Text),
        main("days_left", "Days left", Text),
    ],
    empty: "No listener has TLS.",
    ..PLAIN
};

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::request::live::{RequestRow, RuleRow, TunnelRow, UpstreamRow};
    use crate::telemetry::{
        CertificateReport, ClassRow, DenialRow, ParentReport, RuleCount, Schema, SiteRow, UserRow,
    };

    /// A column without its member would be empty, and no one would know why.
    #[test]
    fn every_column_is_a_member_of_its_rows() {
        let check = |table: &Table, schema: Value, more: &[&str]| {
            let members = schema["properties"].as_object().unwrap();
            let columns = table.columns.iter().map(|column| column.member);
            let orders = table.orders.iter().map(|(member, _)| *member);
            for member in columns
                .chain(table.key.iter().copied())
                .chain(table.sort)
                .chain(orders)
            {
                let is_there = members.contains_key(member) || more.contains(&member);
                assert!(is_there, "{}: {member}", table.id);
            }
        };
        check(&TUNNELS, TunnelRow::schema(), &[]);
        check(&REQUESTS, RequestRow::schema(), &[]);
        check(&DENIALS, DenialRow::schema(), &[]);
        check(&TOP_DENIALS, RuleCount::schema(), &[]);
        check(&USERS, UserRow::schema(), &[]);
        check(&SITES, SiteRow::schema(), &[]);
        check(&UPSTREAMS, UpstreamRow::schema(), &["pool"]);
        check(&PARENTS, ParentReport::schema(), &[]);
        check(&RULES, RuleRow::schema(), &[]);
        check(&OTHERS, RuleCount::schema(), &[]);
        check(&CLASSES, ClassRow::schema(), &[]);
        check(&CERTIFICATES, CertificateReport::schema(), &[]);
    }
}
