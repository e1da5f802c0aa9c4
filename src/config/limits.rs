//! `tollgate.timeouts`, `tollgate.limits` and `tollgate.log`: how long, how large, how many, and
//! where it is written down.

use std::path::Path;
use std::time::Duration;

use super::reader::{Item, Section};
use super::units::{days, hours, milliseconds, minutes, seconds};
use crate::telemetry::{Destination, Format, Settings};

/// How long things may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// From the first byte of a request's head to its end; for the first request of a connection,
    /// from the start of the connection.
    pub request_head: Duration,
    /// The longest silence inside a request's body.
    pub request_body: Duration,
    /// Resolving and connecting to an upstream, all its addresses together.
    pub connect: Duration,
    /// The longest silence of an upstream while its response is awaited or read.
    pub response: Duration,
    /// The longest stall of a client that does not read.
    pub send: Duration,
    /// The longest silence, both ways, of a tunnel.
    pub tunnel_idle: Duration,
    /// How long a client's connection stays open between two requests.
    pub keep_alive: Duration,
    /// A client's TLS handshake, and that with an origin.
    pub tls_handshake: Duration,
    /// How long requests and tunnels may go on after SIGTERM.
    pub drain: Duration,
    /// How long an idle connection to an upstream is kept for reuse.
    pub upstream_keep_alive: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            request_head: seconds(10),
            request_body: seconds(60),
            connect: seconds(5),
            response: minutes(2),
            send: seconds(60),
            tunnel_idle: hours(1),
            keep_alive: seconds(60),
            tls_handshake: seconds(10),
            drain: seconds(30),
            upstream_keep_alive: seconds(50),
        }
    }
}

impl Timeouts {
    pub(super) fn read(tollgate: &mut Section<'_>) -> Timeouts {
        let default = Timeouts::default();
        let mut section = tollgate.section("timeouts");
        let least = milliseconds(10);
        let mut read = |key, default, most| section.duration(key, default, least..=most);
        let mut timeouts = Timeouts {
            request_head: read("request_head", default.request_head, minutes(10)),
            request_body: read("request_body", default.request_body, days(1)),
            connect: read("connect", default.connect, minutes(5)),
            response: read("response", default.response, days(1)),
            send: read("send", default.send, days(1)),
            tunnel_idle: read("tunnel_idle", default.tunnel_idle, days(30)),
            keep_alive: read("keep_alive", default.keep_alive, days(1)),
            tls_handshake: read("tls_handshake", default.tls_handshake, minutes(1)),
            upstream_keep_alive: read("upstream_keep_alive", default.upstream_keep_alive, days(1)),
            drain: default.drain,
        };
        // Zero ends everything at once, which someone may want.
        timeouts.drain = section.duration("drain", default.drain, Duration::ZERO..=days(1));
        section.finish();
        timeouts
    }
}

/// How large and how many things may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Client connections at the same time, over all listeners.
    pub max_connections: usize,
    /// Requests of one HTTP/2 connection at the same time.
    pub streams_per_connection: usize,
    /// Forwarded requests that one origin, by its address, gets at the same time.
    pub connections_per_origin: usize,
    /// Bytes of a request's head, from its first to its empty line.
    pub request_head: usize,
    /// Bytes of a request-target; not more than `request_head`.
    pub request_target: usize,
    /// Field lines of a request's head.
    pub request_fields: usize,
    /// Bytes of a request's body; `None` for no limit.
    pub request_body: Option<u64>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_connections: 65_536,
            streams_per_connection: 100,
            connections_per_origin: 1024,
            request_head: 64 << 10,
            request_target: 16 << 10,
            request_fields: 128,
            request_body: None,
        }
    }
}

impl Limits {
    pub(super) fn read(tollgate: &mut Section<'_>) -> Limits {
        let default = Limits::default();
        let mut section = tollgate.section("limits");
        let request_head = section.size("request_head", default.request_head, 1 << 10..=1 << 20);
        let least = default.request_target.min(request_head);
        let request_target = section.size("request_target", least, 256..=1 << 20);
        if request_target > request_head {
            section.report(
                "request_target",
                "larger than request_head, which it is a part of",
                "raise request_head or lower this",
            );
        }
        let limits = Limits {
            max_connections: section.count(
                "max_connections",
                default.max_connections,
                1..=10_000_000,
            ),
            streams_per_connection: section.count(
                "streams_per_connection",
                default.streams_per_connection,
                1..=1000,
            ),
            connections_per_origin: section.count(
                "connections_per_origin",
                default.connections_per_origin,
                1..=65_536,
            ),
            request_head,
            request_target,
            request_fields: section.count("request_fields", default.request_fields, 1..=253),
            request_body: section
                .item("request_body")
                .and_then(|item| request_body(&item)),
        };
        section.note_meaning("request_body", &format!("{:?}", limits.request_body));
        section.finish();
        limits
    }
}

/// `none`, or a size.
fn request_body(item: &Item<'_>) -> Option<u64> {
    if item.scalar()? == "none" {
        return None;
    }
    item.size(1..=1 << 40)
}

/// Reads `log`, and gives the key of the access log with its settings.
pub(super) fn read_log<'d>(
    tollgate: &mut Section<'d>,
    base: &Path,
) -> (Settings, Option<Item<'d>>) {
    let default = Settings::default();
    let mut section = tollgate.section("log");
    let access = section.item("access");
    let settings = Settings {
        access: access
            .as_ref()
            .and_then(|item| destination(item, base))
            .unwrap_or(default.access),
        format: section
            .item("format")
            .and_then(|item| format(&item))
            .unwrap_or(default.format),
        tunnel_open: section.flag("tunnel_open", default.tunnel_open),
    };
    section.note_meaning("access", &format!("{:?}", settings.access));
    section.note_meaning("format", &format!("{:?}", settings.format));
    section.finish();
    (settings, access)
}

fn destination(item: &Item<'_>, base: &Path) -> Option<Destination> {
    let text = item.text()?;
    if matches!(text, "true" | "false") {
        item.report("not a destination", "write a path, stdout, stderr or off");
        return None;
    }
    let Destination::File(path) = Destination::parse(text) else {
        return Some(Destination::parse(text));
    };
    Some(Destination::File(base.join(path)))
}

fn format(item: &Item<'_>) -> Option<Format> {
    let format = Format::parse(item.text()?);
    if format.is_err() {
        item.report("not a log format", "write json or combined");
    }
    format.ok()
}
