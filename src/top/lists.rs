//! The tabs, and the columns of those that are lists: one table, for the terminal, for `--once`, for sorting and for the requests.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::json;

use super::facts::{Fact, Facts, human_count, human_seconds, short_bytes};

/// A tab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tab {
    Overview,
    Tunnels,
    Requests,
    Users,
    Sites,
    Denials,
    Upstreams,
    Rules,
    Process,
}

/// What a tab shows.
pub(super) struct List {
    pub(super) columns: &'static [Column],
    /// The member of a row that tells it from others.
    pub(super) key: &'static str,
    /// Where it is asked for, and whether the service filters it; none: it is in each snapshot.
    pub(super) ask: Option<(&'static str, bool)>,
    /// The column that it is sorted by at first, and whether its largest come first.
    pub(super) sort: (usize, bool),
}

/// A column.
pub(super) struct Column {
    pub(super) title: &'static str,
    /// The members, which are added up if there are several.
    pub(super) paths: &'static [&'static str],
    pub(super) kind: Kind,
    /// How wide it is; the first column of kind [`Kind::Long`] takes what is left over.
    pub(super) width: u16,
    /// When there is little space, columns with a higher rank are left out first.
    pub(super) rank: u8,
    /// The order that the service knows for it, if it knows one.
    pub(super) order: &'static [&'static str],
}

/// What is in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    /// A text of any length, such as a target.
    Long,
    Count,
    Bytes,
    Rate,
    Seconds,
    /// A time, of which the time of the day is shown.
    Time,
}

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

const TUNNELS: List = List {
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

const REQUESTS: List = List {
    key: "id",
    ask: Some(("/api/v1/requests", true)),
    sort: (5, true),
    columns: columns! {
        "user" Text 12 1 ["user"];
        "client" Text 21 4 ["client"];
        "method" Text 8 2 ["method"];
        "target" Long 24 0 ["target"];
        "state" Text 10 1 ["state"];
        "age" Seconds 7 1 ["age_seconds"];
        "rule" Text 16 3 ["rule"];
        "role" Text 8 5 ["role"];
        "id" Text 26 6 ["id"];
    },
};

const USERS: List = List {
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
        "last seen" Time 9 2 ["last_seen"];
    },
};

const SITES: List = List {
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

const DENIALS: List = List {
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

const UPSTREAMS: List = List {
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

const RULES: List = List {
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

impl Tab {
    pub(super) const ALL: [Tab; 9] = [
        Tab::Overview,
        Tab::Tunnels,
        Tab::Requests,
        Tab::Users,
        Tab::Sites,
        Tab::Denials,
        Tab::Upstreams,
        Tab::Rules,
        Tab::Process,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Tab::Overview => "overview",
            Tab::Tunnels => "tunnels",
            Tab::Requests => "requests",
            Tab::Users => "users",
            Tab::Sites => "sites",
            Tab::Denials => "denials",
            Tab::Upstreams => "upstreams",
            Tab::Rules => "rules",
            Tab::Process => "process",
        }
    }

    /// The list that it is, if it is one.
    pub(super) fn list(self) -> Option<&'static List> {
        match self {
            Tab::Overview | Tab::Process => None,
            Tab::Tunnels => Some(&TUNNELS),
            Tab::Requests => Some(&REQUESTS),
            Tab::Users => Some(&USERS),
            Tab::Sites => Some(&SITES),
            Tab::Denials => Some(&DENIALS),
            Tab::Upstreams => Some(&UPSTREAMS),
            Tab::Rules => Some(&RULES),
        }
    }

    /// The tab that is so many further on, around the end.
    pub(super) fn step(self, by: isize) -> Tab {
        let place = Self::ALL.iter().position(|tab| *tab == self);
        let place = isize::try_from(place.unwrap_or_default()).unwrap_or_default();
        let next = place
            .saturating_add(by)
            .rem_euclid(Self::ALL.len() as isize);
        let next = usize::try_from(next).unwrap_or_default();
        Self::ALL.get(next).copied().unwrap_or(self)
    }

    /// The rows in the answer of the service about this tab, or in a snapshot.
    pub(super) fn rows(self, answer: Facts) -> Vec<Facts> {
        match self {
            Tab::Overview | Tab::Process => Vec::new(),
            Tab::Upstreams => upstreams(&answer),
            Tab::Rules => rules(&answer),
            list => answer.into_list(list.name()),
        }
    }
}

/// Pools and parents as one list, from what is below `upstreams` in a snapshot.
fn upstreams(answer: &Facts) -> Vec<Facts> {
    let mut rows = Vec::new();
    let raw = |fact: Fact<'_>| fact.raw().unwrap_or_default().to_owned();
    for pool in answer.at("upstreams.pools").items() {
        for upstream in pool.at("upstreams").items() {
            let (pool, address) = (raw(pool.at("pool")), raw(upstream.at("address")));
            rows.push(Facts::new(json!({
                "key": format!("{pool} {address}"),
                "pool": pool,
                "address": address,
                "state": upstream.at("state").raw(),
                "requests_in_flight": upstream.at("requests_in_flight").count(),
                "waiting": upstream.at("waiting").count(),
                "limit": upstream.at("limit").count(),
                "trouble": upstream.at("trouble").raw(),
            })));
        }
    }
    for parent in answer.at("upstreams.parents").items() {
        let (name, url) = (raw(parent.at("parent")), raw(parent.at("url")));
        rows.push(Facts::new(json!({
            "key": format!("parent {name} {url}"),
            "pool": format!("parent {name}"),
            "address": url,
            "state": if parent.at("up").is_true() { "up" } else { "down" },
            "requests_in_flight": parent.at("in_use").count(),
        })));
    }
    rows
}

/// The rules in their order, and what else has decided, from what is below `policy` in a snapshot.
fn rules(answer: &Facts) -> Vec<Facts> {
    let raw = |fact: Fact<'_>| fact.raw().unwrap_or_default().to_owned();
    let rules = answer.at("policy.rules").items().enumerate();
    let rules = rules.map(|(place, rule)| {
        let name = raw(rule.at("name"));
        Facts::new(json!({
            "key": format!("{} {name}", place + 1),
            "place": place + 1,
            "name": name,
            "action": rule.at("action").raw(),
            "hits": rule.at("hits").count(),
            "observed": rule.at("observed").count(),
        }))
    });
    let others = answer.at("policy.others").items().map(|other| {
        let name = raw(other.at("rule"));
        Facts::new(json!({
            "key": format!("- {name}"),
            "name": name,
            "hits": other.at("count").count(),
        }))
    });
    rules.chain(others).collect()
}

impl List {
    /// Whether a row has a text. `wanted` is in lower case.
    pub(super) fn matches(&self, row: &Facts, wanted: &str) -> bool {
        wanted.is_empty() || row.whole().has_text(wanted)
    }

    /// What tells a row from others.
    pub(super) fn key<'a>(&self, row: &'a Facts) -> &'a str {
        row.at(self.key).raw().unwrap_or_default()
    }
}

impl Column {
    fn sum(&self, row: &Facts) -> Option<f64> {
        let numbers = self.paths.iter().filter_map(|path| row.at(path).number());
        numbers.reduce(|sum, number| sum + number)
    }

    /// Whether larger values come first when it is sorted by this column.
    pub(super) fn is_number(&self) -> bool {
        !matches!(self.kind, Kind::Text | Kind::Long)
    }

    /// Whether it is on the right of its cell.
    pub(super) fn is_right(&self) -> bool {
        !matches!(self.kind, Kind::Text | Kind::Long | Kind::Time)
    }

    /// The cell of a row; nothing where the row does not have it.
    pub(super) fn cell<'a>(&self, row: &'a Facts) -> Cow<'a, str> {
        let count = || {
            let counts = self.paths.iter().filter_map(|path| row.at(path).count());
            counts.reduce(u64::saturating_add)
        };
        let first = || row.at(self.paths.first().copied().unwrap_or_default());
        let shown = match self.kind {
            Kind::Text | Kind::Long => first().text(),
            Kind::Count => count().map(|count| human_count(count).into()),
            Kind::Bytes => count().map(|bytes| short_bytes(bytes).into()),
            Kind::Rate => count().map(|bytes| match bytes {
                0 => "-".into(),
                bytes => format!("{}/s", short_bytes(bytes)).into(),
            }),
            // Negative ones and those that are no number become 0.
            Kind::Seconds => self.sum(row).map(|seconds| match seconds {
                seconds if seconds < 10.0 && seconds.fract() != 0.0 => {
                    format!("{seconds:.1}s").into()
                }
                seconds => human_seconds(seconds as u64).into(),
            }),
            Kind::Time => first().text().map(time_of_day),
        };
        shown.unwrap_or_default()
    }

    /// The order of two rows, the smaller first; what has no value is the smallest.
    pub(super) fn order_of(&self, a: &Facts, b: &Facts) -> Ordering {
        match self.kind {
            Kind::Text | Kind::Long | Kind::Time => {
                let text = |row: &'_ Facts| {
                    let path = self.paths.first().copied().unwrap_or_default();
                    row.at(path).raw().map(str::to_lowercase)
                };
                text(a).cmp(&text(b))
            }
            Kind::Count | Kind::Bytes | Kind::Rate | Kind::Seconds => {
                let number = |row| self.sum(row).unwrap_or(f64::NEG_INFINITY);
                number(a).total_cmp(&number(b))
            }
        }
    }
}

/// The time of the day in a time of RFC 3339; all of it if it is none.
pub(super) fn time_of_day(time: Cow<'_, str>) -> Cow<'_, str> {
    match time.split_once('T').and_then(|(_, day)| day.get(..8)) {
        Some(time) => time.to_owned().into(),
        None => time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_whole() {
        for tab in Tab::ALL {
            assert_eq!(tab.step(1).step(-1), tab);
            let Some(list) = tab.list() else { continue };
            assert!(list.sort.0 < list.columns.len(), "{}", tab.name());
            let long = list
                .columns
                .iter()
                .filter(|column| column.kind == Kind::Long);
            assert_eq!(long.count(), 1, "{}", tab.name());
            for column in list.columns {
                assert!(
                    column.title.len() <= usize::from(column.width),
                    "{}",
                    column.title
                );
            }
        }
        assert_eq!(Tab::Process.step(1), Tab::Overview);
        assert_eq!(Tab::Overview.step(-1), Tab::Process);
    }

    #[test]
    fn cells() {
        let row = Facts::new(json!({
            "user": "alice", "rate_from_client": 1024, "rate_from_upstream": 512, "bytes_from_client": 0,
            "age_seconds": 0.25, "time": "2026-11-30T10:20:30.123Z",
        }));
        let cell = |columns: &[Column], title: &str| {
            let column = columns.iter().find(|column| column.title == title).unwrap();
            column.cell(&row).into_owned()
        };
        assert_eq!(cell(TUNNELS.columns, "user"), "alice");
        assert_eq!(cell(TUNNELS.columns, "rate"), "1.5K/s");
        assert_eq!(cell(TUNNELS.columns, "sent"), "0");
        assert_eq!(cell(TUNNELS.columns, "bytes"), "0");
        assert_eq!(cell(TUNNELS.columns, "received"), "");
        assert_eq!(cell(TUNNELS.columns, "age"), "0.2s");
        assert_eq!(cell(DENIALS.columns, "time"), "10:20:30");
    }

    #[test]
    fn snapshots_have_upstreams_and_rules() {
        let snapshot = || {
            Facts::new(json!({
                "upstreams": {
                    "pools": [{"pool": "default", "upstreams": [{"address": "127.0.0.1:1", "state": "down", "limit": 3}]}],
                    "parents": [{"parent": "p", "url": "http://127.0.0.1:2", "up": true, "in_use": 4}],
                },
                "policy": {"rules": [{"name": "a", "action": "deny", "hits": 1, "observed": 0}], "others": [{"rule": "b", "count": 2}]},
            }))
        };
        let shown = |tab: Tab| {
            let columns = tab.list().unwrap().columns;
            let rows = tab.rows(snapshot()).into_iter();
            let rows: Vec<String> = rows
                .map(|row| {
                    let cells: Vec<_> = columns.iter().map(|column| column.cell(&row)).collect();
                    cells.join("|")
                })
                .collect();
            rows
        };
        assert_eq!(
            shown(Tab::Upstreams),
            [
                "default|127.0.0.1:1|down|||3|",
                "parent p|http://127.0.0.1:2|up|4|||"
            ]
        );
        assert_eq!(shown(Tab::Rules), ["1|a|deny|1|0", "|b||2|"]);
    }

    #[test]
    fn nothing_is_the_smallest() {
        let column = TUNNELS.columns.first().unwrap();
        let (nothing, some) = (Facts::new(json!({})), Facts::new(json!({"user": "a"})));
        assert_eq!(column.order_of(&nothing, &some), Ordering::Less);
        let rate = TUNNELS.columns.get(4).unwrap();
        let zero = Facts::new(json!({"rate_from_client": 0}));
        assert_eq!(rate.order_of(&nothing, &zero), Ordering::Less);
    }
}
