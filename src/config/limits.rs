//! `tollgate.timeouts` and `tollgate.limits`: how long, how large and how many.

mod classes;
mod store;

use std::time::Duration;

pub(super) use self::classes::ClassSection;
#[cfg(test)]
use self::classes::ListKeys;
#[cfg(test)]
use self::store::QuotaSettingKeys;
pub(super) use self::store::QuotaSettings;
use super::files::Base;
use super::keys::form::{Bytes, BytesOrNone, Within};
#[cfg(test)]
use super::keys::shape::Key;
use super::keys::{keys, settings};
use super::policy::GroupContext;
use super::reader::Part;
use super::units::{days, hours, milliseconds, minutes, seconds};
use crate::script::Secrets;

/// The least of a timeout.
const LEAST: Duration = milliseconds(10);

settings! {
    /// How long things may take.
    pub struct Timeouts {
        /// The whole head of a request, from its first byte on; for the first request of a connection, from the
        /// start of the connection. Then 408.
        request_head: Duration = seconds(10), Within(LEAST..=minutes(10));
        /// The longest silence inside a request's body. Then 408.
        request_body: Duration = seconds(60), Within(LEAST..=days(1));
        /// Resolving and connecting to an upstream, all its addresses together. Then 504.
        connect: Duration = seconds(5), Within(LEAST..=minutes(5));
        /// The longest silence of an upstream while its response is awaited or read. Then 504.
        response: Duration = minutes(2), Within(LEAST..=days(1));
        /// The longest stall of a client that does not read.
        send: Duration = seconds(60), Within(LEAST..=days(1));
        /// How long a client that has ended its side is waited for until its response begins: a closed connection looks
        /// the same.
        half_closed: Duration = seconds(5), Within(LEAST..=days(1));
        /// The longest silence of a tunnel, both ways.
        tunnel_idle: Duration = hours(1), Within(LEAST..=days(30));
        /// How long a client's connection stays open between two requests.
        keep_alive: Duration = seconds(60), Within(LEAST..=days(1));
        /// A client's TLS handshake, and that with an origin.
        tls_handshake: Duration = seconds(10), Within(LEAST..=minutes(1));
        /// How long an idle connection to an upstream is kept for reuse. Keep it below the limit of the upstream
        /// itself, which may otherwise close the connection just when a request is sent.
        upstream_keep_alive: Duration = seconds(50), Within(LEAST..=days(1));
        /// How long requests and tunnels may go on after SIGTERM; `0s` ends them at once.
        drain: Duration = seconds(30), Within(Duration::ZERO..=days(1));
    }
}

settings! {
    /// How large and how many things may be.
    pub struct Limits {
        /// Bytes of a request's head, from its first to its empty line. Then 431.
        request_head: usize = 64 << 10, Bytes(1 << 10..=1 << 20);
        /// Bytes of a request-target, at most `request_head`. Then 414.
        request_target: usize = request_head.min(16 << 10), Bytes(256..=1 << 20);
        /// Client connections at the same time, over all listeners; from 16 on one address, or /64 of IPv6, has three
        /// quarters of them at most. Each needs a file descriptor, and one more for its
        /// upstream. Each stream of HTTP/2 beyond the first of its connection counts like a connection; above the
        /// limit it is refused (`REFUSED_STREAM`).
        max_connections: usize = 65_536, Within(1..=10_000_000);
        /// Requests and tunnels of one HTTP/2 connection at the same time. Each may send 256 KiB that are not yet
        /// passed on, which are kept in memory.
        streams_per_connection: usize = 100, Within(1..=1000);
        /// The limit of concurrent forwarded requests to one address of an origin, of which one client has three quarters
        /// at most. A request over the limit opens no connection, waits for `timeouts.connect` at most, and then gets 503. Tunnels do not count.
        connections_per_origin: usize = 1024, Within(1..=65_536);
        /// Field lines of a request's head. Then 431.
        request_fields: usize = 128, Within(1..=253);
        /// Bytes of a request's body; `none` for no limit. Then 413.
        request_body: Option<u64> = None, BytesOrNone(1..=1 << 40);
    }
}

/// The keys of the map: those of the limits for all, and the list of classes.
#[cfg(test)]
pub(super) fn keys() -> Vec<Key> {
    let for_all = Limits::keys().into_iter();
    for_all
        .chain(ListKeys::keys())
        .chain(QuotaSettingKeys::keys())
        .collect()
}

impl Limits {
    /// Reads the limits for all, the classes, and what quotas need.
    pub(super) fn read<'d>(
        part: Part<'d>,
        base: &Base,
        secrets: &Secrets,
        context: &GroupContext<'_>,
    ) -> (Limits, ClassSection<'d>, QuotaSettings<'d>) {
        let mut section = part.section();
        let limits = Limits::take(&mut section);
        let quotas = store::read(&mut section, base, secrets);
        let classes = classes::read(&mut section, &quotas, context);
        if limits.request_target > limits.request_head
            && section.is_known(&["request_target", "request_head"])
        {
            section.report(
                "request_target",
                "larger than request_head, which it is a part of",
                "raise request_head or lower this",
            );
        }
        section.finish();
        (limits, classes, quotas)
    }
}
