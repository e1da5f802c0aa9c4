//! The single values of the page: the charts with what they show now, and the facts about the process. Pure.

use serde_json::Value;

use super::format::{Format, NONE, Shown, tone};
use super::html::Html;

/// A value at a path of the data.
pub(super) struct Fact {
    /// Its name.
    pub(super) label: &'static str,
    /// Where it is (a JSON pointer).
    pub(super) path: &'static str,
    /// How it is written.
    pub(super) format: Format,
}

/// A line of a chart: a member of the points of the history.
pub(super) struct Series {
    /// Its name.
    pub(super) label: &'static str,
    /// The member.
    pub(super) member: &'static str,
    /// Its colour in the style sheet.
    pub(super) colour: &'static str,
}

/// A chart of the last 15 minutes.
pub(super) struct Chart {
    /// Its name.
    pub(super) title: &'static str,
    /// How its values are written.
    pub(super) format: Format,
    /// Its lines, the first one with its area filled.
    pub(super) series: &'static [Series],
    /// What it adds up to since the start: a label and a member of `totals`.
    pub(super) totals: &'static [Fact],
}

const fn series(label: &'static str, member: &'static str, colour: &'static str) -> Series {
    Series {
        label,
        member,
        colour,
    }
}

const fn fact(label: &'static str, path: &'static str, format: Format) -> Fact {
    Fact {
        label,
        path,
        format,
    }
}

/// The charts, in their order.
pub(super) const CHARTS: [Chart; 6] = [
    Chart {
        title: "Requests",
        format: Format::Count,
        series: &[
            series("a second", "requests", "blue"),
            series("in flight", "requests_in_flight", "grey"),
        ],
        totals: &[fact(
            "since the start",
            "/snapshot/totals/requests",
            Format::Count,
        )],
    },
    Chart {
        title: "Duration",
        format: Format::Milliseconds,
        series: &[
            series("p50", "p50_ms", "blue"),
            series("p99", "p99_ms", "orange"),
        ],
        totals: &[fact(
            "connections",
            "/snapshot/now/open_connections",
            Format::Count,
        )],
    },
    Chart {
        title: "Tunnels",
        format: Format::Count,
        series: &[
            series("open", "open_tunnels", "blue"),
            series("opened a second", "tunnels_opened", "grey"),
        ],
        totals: &[fact(
            "since the start",
            "/snapshot/totals/tunnels",
            Format::Count,
        )],
    },
    Chart {
        title: "Bytes",
        format: Format::Rate,
        series: &[
            series("to clients", "bytes_to_client", "blue"),
            series("from clients", "bytes_from_client", "orange"),
        ],
        totals: &[
            fact(
                "to clients",
                "/snapshot/totals/bytes_to_client",
                Format::Bytes,
            ),
            fact(
                "from clients",
                "/snapshot/totals/bytes_from_client",
                Format::Bytes,
            ),
        ],
    },
    Chart {
        title: "Denials",
        format: Format::Count,
        series: &[series("a second", "denials", "orange")],
        totals: &[fact(
            "since the start",
            "/snapshot/totals/denials",
            Format::Count,
        )],
    },
    Chart {
        title: "Errors",
        format: Format::Count,
        series: &[series("a second", "errors", "red")],
        totals: &[fact(
            "since the start",
            "/snapshot/totals/errors",
            Format::Count,
        )],
    },
];

/// The facts about the process.
pub(super) const PROCESS: [Fact; 13] = [
    fact("Version", "/status/version", Format::Text),
    fact("State", "/status/state", Format::State),
    fact("Process", "/status/pid", Format::Text),
    fact("Started", "/status/started_at", Format::Clock),
    fact("Uptime", "/status/uptime_seconds", Format::Seconds),
    fact("Threads", "/status/threads", Format::Count),
    fact("Processor time", "/status/cpu_seconds", Format::Seconds),
    fact("Memory", "/status/memory_bytes", Format::Bytes),
    fact("Descriptors", "/status/descriptors/open", Format::Count),
    fact(
        "Limit of descriptors",
        "/status/descriptors/limit",
        Format::Count,
    ),
    fact("Lost records", "/status/log_dropped", Format::Count),
    fact("Last reload", "/status/reload/last_at", Format::Clock),
    fact(
        "Result of the reload",
        "/status/reload/outcome",
        Format::State,
    ),
];

impl Fact {
    /// Writes the value in an element that the module can find.
    pub(super) fn write_value(&self, html: &mut Html, data: &Value, now: i64) {
        let Shown { text, title } = self.format.show(data.pointer(self.path), now);
        html.markup("<span").attribute("data-value", self.path);
        html.attribute("data-format", self.format.name());
        if self.format == Format::State {
            let tone = if text == NONE { "plain" } else { tone(&text) };
            html.attribute("class", &format!("state {tone}"));
        }
        if let Some(title) = title {
            html.attribute("title", &title);
        }
        html.markup(">").text(&text).markup("</span>");
    }
}

impl Chart {
    /// Writes the figure: what holds now, and the place of the lines.
    pub(super) fn write(&self, html: &mut Html, data: &Value, now: i64) {
        html.markup("<figure class=\"panel chart\"")
            .attribute("data-format", self.format.name());
        html.markup("><figcaption><h3>")
            .text(self.title)
            .markup("</h3><p class=\"totals\">");
        for (index, total) in self.totals.iter().enumerate() {
            html.markup(if index > 0 { " · " } else { "" });
            total.write_value(html, data, now);
            html.markup(" ").text(total.label);
        }
        html.markup("</p><dl>");
        for series in self.series {
            html.markup("<div").attribute("data-series", series.member);
            html.attribute("class", series.colour)
                .markup("><dt>")
                .text(series.label)
                .markup("</dt><dd>");
            let path = format!("/snapshot/now/{}", series.member);
            let Shown { text, .. } = self.format.show(data.pointer(&path), now);
            html.markup("<span").attribute("data-value", &path);
            html.attribute("data-format", self.format.name())
                .markup(">")
                .text(&text);
            html.markup("</span></dd></div>");
        }
        html.markup("</dl></figcaption><div class=\"plot\" role=\"img\"");
        html.attribute(
            "aria-label",
            &format!("{} of the last 15 minutes", self.title),
        );
        html.markup("></div></figure>");
    }
}
