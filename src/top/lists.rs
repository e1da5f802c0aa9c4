//! The tabs, and the columns of those that are lists: one table, for the terminal, for `--once`, for sorting and for the requests.
//! [`tables`] has the columns, [`rows`] what is made of an answer.

mod rows;
mod tables;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::time::Duration;

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
    Quotas,
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
    /// A time that may be of another day: month, day, hour and minute.
    Moment,
}

impl Tab {
    pub(super) const ALL: [Tab; 10] = [
        Tab::Overview,
        Tab::Tunnels,
        Tab::Requests,
        Tab::Users,
        Tab::Sites,
        Tab::Denials,
        Tab::Upstreams,
        Tab::Rules,
        Tab::Quotas,
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
            Tab::Quotas => "quotas",
            Tab::Process => "process",
        }
    }

    /// The list that it is, if it is one.
    pub(super) fn list(self) -> Option<&'static List> {
        match self {
            Tab::Overview | Tab::Process => None,
            Tab::Tunnels => Some(&tables::TUNNELS),
            Tab::Requests => Some(&tables::REQUESTS),
            Tab::Users => Some(&tables::USERS),
            Tab::Sites => Some(&tables::SITES),
            Tab::Denials => Some(&tables::DENIALS),
            Tab::Upstreams => Some(&tables::UPSTREAMS),
            Tab::Rules => Some(&tables::RULES),
            Tab::Quotas => Some(&tables::QUOTAS),
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
            Tab::Upstreams => rows::upstreams(&answer),
            Tab::Rules => rows::rules(&answer),
            Tab::Quotas => rows::quotas(&answer),
            list => answer.into_list(list.name()),
        }
    }

    /// How many rows there are in all, if the answer says.
    pub(super) fn total(self, answer: Fact<'_>) -> Option<u64> {
        match self {
            Tab::Quotas => {
                let listed = answer.at("balances").items().count() as u64;
                let unlisted = answer.at("unlisted").count();
                unlisted.map(|unlisted| unlisted.saturating_add(listed))
            }
            _ => answer.at("total").count(),
        }
    }

    /// How long from one question about it to the next. Balances may be on a server that many processes ask.
    pub(super) fn period(self) -> Duration {
        match self {
            Tab::Quotas => Duration::from_secs(5),
            _ => Duration::from_secs(1),
        }
    }
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
        !matches!(
            self.kind,
            Kind::Text | Kind::Long | Kind::Time | Kind::Moment
        )
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
            Kind::Moment => first().text().map(moment),
        };
        shown.unwrap_or_default()
    }

    /// The order of two rows, the smaller first; what has no value is the smallest.
    pub(super) fn order_of(&self, a: &Facts, b: &Facts) -> Ordering {
        match self.kind {
            Kind::Text | Kind::Long | Kind::Time | Kind::Moment => {
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

/// Month, day, hour and minute in a time of RFC 3339; all of it if it is none.
fn moment(time: Cow<'_, str>) -> Cow<'_, str> {
    let parts = time.split_once('T').and_then(|(date, of_day)| {
        let (_, date) = date.split_once('-')?;
        Some((date, of_day.get(..5)?))
    });
    match parts {
        Some((date, of_day)) => format!("{date} {of_day}").into(),
        None => time,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::tables::{DENIALS, QUOTAS, REQUESTS, TUNNELS, USERS};
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
            "last_seen": "2026-11-30T10:20:30.123Z", "resets_at": "soon",
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
        assert_eq!(cell(USERS.columns, "last seen"), "11-30 10:20");
        assert_eq!(cell(QUOTAS.columns, "resets"), "soon");
    }

    #[test]
    fn requests_have_the_rates_of_tunnels() {
        let of = |list: &'static List, title: &str| {
            let mut columns = list.columns.iter();
            columns.find(|column| column.title == title).unwrap()
        };
        let row = Facts::new(json!({
            "rate_from_client": 1024, "rate_from_upstream": 1024, "bytes_from_client": 1, "bytes_from_upstream": 2,
        }));
        for (title, shown) in [
            ("rate", "2.0K/s"),
            ("bytes", "3"),
            ("sent", "1"),
            ("received", "2"),
        ] {
            let (column, same) = (of(&REQUESTS, title), of(&TUNNELS, title));
            assert_eq!(column.paths, same.paths, "{title}");
            assert_eq!(column.cell(&row), shown);
            // A service that does not measure them.
            assert_eq!(column.cell(&Facts::default()), "");
        }
        assert_eq!(REQUESTS.columns[REQUESTS.sort.0].title, "age");
        assert_eq!(QUOTAS.columns[QUOTAS.sort.0].title, "used");
    }

    #[test]
    fn balances_are_told_apart_and_counted() {
        let answer = Facts::new(json!({"unlisted": 7, "balances": [
            {"class": "all", "member": "alice", "period": "day", "used": 2048, "limit": 4096, "granted": 0, "resets_at": "2026-12-02T00:00:00Z"},
            {"class": "all", "member": "alice", "period": "month", "used": 4096, "limit": null, "granted": 1024},
        ]}));
        assert_eq!(Tab::Quotas.total(answer.whole()), Some(9));
        assert_eq!(Tab::Quotas.total(Facts::default().whole()), None);
        let rows = Tab::Quotas.rows(answer);
        let keys: Vec<&str> = rows.iter().map(|row| QUOTAS.key(row)).collect();
        assert_eq!(keys, ["all day alice", "all month alice"]);
        let shown = rows.iter().map(|row| {
            let cells: Vec<_> = QUOTAS.columns.iter().map(|it| it.cell(row)).collect();
            cells.join("|")
        });
        let shown: Vec<String> = shown.collect();
        assert_eq!(
            shown,
            [
                "alice|all|day|2.0K|4.0K|0|12-02 00:00",
                "alice|all|month|4.0K||1.0K|"
            ]
        );
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
