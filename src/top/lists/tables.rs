//! The columns of each list. Members as in docs/api/openapi.yaml.

use super::{Column, Kind, List};

macro_rules! columns {
    ($($title:literal $kind:ident $width:literal $rank:literal $paths:expr $(, $order:literal)?;)*) => {
        &[$(Column {
            title: $title,
            kind: Kind::$kind,
            width: $width,
            rank: $rank,
            paths: &$paths,
            order: &[$($order)?],
        },)*]
    };
}

pub(super) const TUNNELS: List = List {
    key: "id",
    ask: Some(("/api/v1/tunnels", true)),
    sort: (4, true),
    columns: columns! {
        "user" Text 12 1 ["user"], "user";
        "client" Text 21 4 ["client"];
        "target" Long 24 0 ["target"], "target";
        "kind" Text 9 6 ["kind"];
        "rate" Rate 8 1 ["rate_from_client", "rate_from_upstream"], "rate";
        "bytes" Bytes 7 2 ["bytes_from_client", "bytes_from_upstream"], "bytes";
        "age" Seconds 7 2 ["age_seconds"], "age";
        "rule" Text 16 3 ["rule"];
        "sent" Bytes 7 5 ["bytes_from_client"];
        "received" Bytes 8 5 ["bytes_from_upstream"];
        "class" Text 10 7 ["class"];
        "sni" Text 24 8 ["sni"];
        "via" Text 12 8 ["parent"];
        "upstream" Text 21 9 ["upstream"];
        "state" Text 7 5 ["state"];
    },
};

pub(super) const REQUESTS: List = List {
    key: "id",
    ask: Some(("/api/v1/requests", true)),
    sort: (7, true),
    columns: columns! {
        "user" Text 12 1 ["user"];
        "client" Text 21 4 ["client"];
        "method" Text 7 2 ["method"];
        "target" Long 24 0 ["target"];
        "state" Text 10 1 ["state"];
        "rate" Rate 8 2 ["rate_from_client", "rate_from_upstream"];
        "bytes" Bytes 7 2 ["bytes_from_client", "bytes_from_upstream"];
        "age" Seconds 6 1 ["age_seconds"];
        "rule" Text 16 3 ["rule"];
        "sent" Bytes 7 5 ["bytes_from_client"];
        "received" Bytes 8 5 ["bytes_from_upstream"];
        "role" Text 8 6 ["role"];
        "id" Text 26 7 ["id"];
    },
};

pub(super) const USERS: List = List {
    key: "user",
    ask: Some(("/api/v1/users", true)),
    sort: (1, true),
    columns: columns! {
        "user" Long 16 0 ["user"];
        "requests" Count 9 0 ["requests"], "requests";
        "denials" Count 8 1 ["denials"], "denials";
        "bytes" Bytes 7 1 ["bytes_from_client", "bytes_to_client"], "bytes";
        "sent" Bytes 7 3 ["bytes_from_client"];
        "received" Bytes 8 3 ["bytes_to_client"];
        "tunnels" Count 7 2 ["open_tunnels"];
        "last seen" Moment 11 2 ["last_seen"];
    },
};

pub(super) const SITES: List = List {
    key: "site",
    ask: Some(("/api/v1/sites", false)),
    sort: (1, true),
    columns: columns! {
        "site" Long 24 0 ["site"];
        "requests" Count 9 0 ["requests"], "requests";
        "bytes" Bytes 7 1 ["bytes"], "bytes";
        "denials" Count 8 1 ["denials"], "denials";
        "at most too many" Count 16 2 ["max_overcount"];
    },
};

pub(super) const DENIALS: List = List {
    key: "id",
    ask: Some(("/api/v1/denials", false)),
    sort: (0, true),
    columns: columns! {
        "time" Time 8 1 ["time"];
        "user" Text 12 1 ["user"];
        "client" Text 21 4 ["client"];
        "method" Text 8 2 ["method"];
        "target" Long 24 0 ["target"];
        "rule" Text 20 0 ["rule"];
        "status" Count 6 3 ["status"];
        "error" Text 28 5 ["error"];
        "message" Text 40 6 ["message"];
    },
};

pub(super) const UPSTREAMS: List = List {
    key: "key",
    ask: None,
    sort: (0, false),
    columns: columns! {
        "pool" Text 16 1 ["pool"];
        "address" Long 24 0 ["address"];
        "state" Text 8 0 ["state"];
        "in flight" Count 9 1 ["requests_in_flight"];
        "waiting" Count 7 2 ["waiting"];
        "limit" Count 7 3 ["limit"];
        "trouble" Text 40 4 ["trouble"];
    },
};

pub(super) const RULES: List = List {
    key: "key",
    ask: None,
    sort: (0, false),
    columns: columns! {
        "#" Count 4 1 ["place"];
        "rule" Long 24 0 ["name"];
        "action" Text 8 0 ["action"];
        "hits" Count 10 0 ["hits"];
        "would deny" Count 10 1 ["observed"];
    },
};

pub(super) const QUOTAS: List = List {
    key: "key",
    ask: Some(("/api/v1/quotas", false)),
    sort: (3, true),
    columns: columns! {
        "member" Long 16 0 ["member"];
        "class" Text 12 1 ["class"];
        "period" Text 7 1 ["period"];
        "used" Bytes 7 0 ["used"];
        "limit" Bytes 7 0 ["limit"];
        "granted" Bytes 7 3 ["granted"];
        "resets" Moment 11 2 ["resets_at"];
    },
};
