//! The shapes of texts.
//!
//! A pattern takes whatever the reader takes. It may take more: the reader finds an address that has too many parts,
//! or a range of ports that runs backwards.

use super::{Key, Shape};
use crate::access::policy::Refusal;
use crate::http::role::Role;

impl Shape {
    pub(in crate::config) fn text(what: &'static str) -> Shape {
        Shape::Text(what, None)
    }

    pub(in crate::config) fn path() -> Shape {
        Shape::text("a path")
    }

    pub(in crate::config) fn address() -> Shape {
        Shape::Form {
            what: "an IP address with a port",
            pattern: r"^([0-9.]+|\[[0-9A-Fa-f:.]+(%[0-9]+)?\]):[0-9]+$",
        }
    }

    pub(in crate::config) fn upstream() -> Shape {
        Shape::Form {
            what: "`IP:PORT`, `NAME:PORT`, one of them behind `https://`, or `unix:/PATH`",
            pattern: r"^(unix:/.+|https?://[^/?#@\s]+|[^/?#@\s]+:[0-9]+)$",
        }
    }

    pub(in crate::config) fn parent() -> Shape {
        Shape::Form {
            what: "`http://`, `https://` or `socks5://` with `HOST:PORT`",
            pattern: r"^(https?|socks5)://[^/?#@\s]+/?$",
        }
    }

    pub(in crate::config) fn name_server() -> Shape {
        Shape::Form {
            what: "an IP address, perhaps with a port",
            pattern: r"^([0-9.]+(:[0-9]+)?|[0-9A-Fa-f:.]+|\[[0-9A-Fa-f:.]+(%[0-9]+)?\](:[0-9]+)?)$",
        }
    }

    pub(in crate::config) fn ip() -> Shape {
        Shape::Form {
            what: "an IP address",
            pattern: "^[0-9A-Fa-f:.]+$",
        }
    }

    pub(in crate::config) fn network() -> Shape {
        Shape::Form {
            what: "a network or an address",
            pattern: r"^\s*[0-9A-Fa-f:.]+(/[0-9]+)?\s*$",
        }
    }

    fn port() -> Shape {
        Shape::Either(vec![
            Shape::Number(1..=65_535),
            Shape::Form {
                what: "a range such as `8000-8099`",
                pattern: r"^\s*(any|[0-9]+(\s*-\s*[0-9]+)?)\s*$",
            },
        ])
    }

    pub(in crate::config) fn ports() -> Shape {
        Shape::port().list(usize::MAX).or(&["any"])
    }

    pub(in crate::config) fn some_ports() -> Shape {
        Shape::port().some().or(&["any"])
    }

    /// An entry of a list of domains; `file` has the keys of a list file.
    pub(in crate::config) fn domain(file: fn() -> Vec<Key>) -> Shape {
        Shape::Either(vec![
            Shape::text("a domain or `\"@FILE\"`"),
            Shape::Map(file),
        ])
    }

    pub(in crate::config) fn user() -> Shape {
        Shape::text("the name of a user")
    }

    pub(in crate::config) fn rule_name() -> Shape {
        Shape::text("a name")
    }

    pub(in crate::config) fn rate() -> Shape {
        Shape::Form {
            what: "a rate such as `200/s`, `30/m` or `1000/h`",
            pattern: "^[0-9]+/[smh]$",
        }
    }

    pub(in crate::config) fn bandwidth() -> Shape {
        Shape::Form {
            what: "a bandwidth such as `50MiB/s`, `10MB/s` or `512KiB/s`",
            pattern: "^[0-9]+ ?[KkMmGgTt]?[Ii]?[Bb]/s$",
        }
    }

    pub(in crate::config) fn roles() -> Shape {
        Shape::Words(
            Role::ALL
                .iter()
                .map(|role| role.as_str().to_owned())
                .collect(),
        )
        .some()
    }

    pub(in crate::config) fn method() -> Shape {
        Shape::text("a method")
    }

    pub(in crate::config) fn statuses() -> Shape {
        Shape::Words(
            Refusal::STATUSES
                .iter()
                .map(|status| status.as_str().to_owned())
                .collect(),
        )
    }

    pub(in crate::config) fn day() -> Shape {
        Shape::Form {
            what: "a day or a range of days",
            pattern: r"^\s*(mon|tue|wed|thu|fri|sat|sun)(\s*-\s*(mon|tue|wed|thu|fri|sat|sun))?\s*$",
        }
    }

    pub(in crate::config) fn time_of_day() -> Shape {
        Shape::Form {
            what: "a time such as `\"08:00\"`",
            pattern: "^([01][0-9]|2[0-4]):[0-5][0-9]$",
        }
    }

    pub(in crate::config) fn moment() -> Shape {
        Shape::Form {
            what: "a date and time of RFC 3339",
            pattern: "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}",
        }
    }
}
