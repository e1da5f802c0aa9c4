//! The fields of a record: the one place where a field is declared.
//!
//! To add a field, add its line to the table, set it where it is known, and run
//! `make reference`, which writes it into `docs/observability.md`. Log pipelines
//! are built on the names: a name is added, not changed.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use super::Event;
use super::declare::record;
use super::form::{
    Address, Bytes, Decision, Line, Moment, Names, Number, Seconds, Tags, Text, Uri, Word,
};
use crate::access::policy::{DecidedBy, Name};
use crate::hook::Tag;
use crate::http::denial::Denial;
use crate::http::role::Role;
use crate::telemetry::record::UpstreamAddress;
use crate::telemetry::text::Clock;

/// Limits of text that both formats write, in bytes before escaping. Together
/// with those in the table they keep every line below 32 KiB, whatever a client
/// sends.
pub(crate) mod max {
    pub(crate) const USER: usize = 256;
    pub(crate) const SNI: usize = 256;
    pub(crate) const METHOD: usize = 32;
    pub(crate) const TARGET: usize = 2048;
    pub(crate) const VERSION: usize = 16;
    pub(crate) const REFERER: usize = 1024;
    pub(crate) const USER_AGENT: usize = 512;
    pub(crate) const RULE: usize = 256;
}

record! {
    /// One request, or one tunnel.
    ///
    /// Everything is borrowed, so that building a record allocates nothing. Text
    /// may hold any bytes: it is escaped and cut where it is written. Take
    /// [`Record::new`] and set what is known; the rest means "not known".
    pub struct Record<'a>;

    logged {
        "time": always time: SystemTime = SystemTime::UNIX_EPOCH, Moment,
            "When the first byte of the request was read.";
        "event": always event: Event, Word,
            "What the line is about: `request`, an answered request or a refused CONNECT; `tunnel_open`; `tunnel_close`.";
        "request_id": always request_id: &'a str, Text(64),
            "The id that the client got in the answer.";
        "role": always role: Option<Role>, Word,
            "`forward` (absolute-form), `tunnel` (CONNECT), `gateway` (origin-form), `unknown` (refused before the target was read).";
        "client": always client: SocketAddr = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), Address,
            "The client's address, or the one that a trusted PROXY protocol header gave.";
        /// A name that was only claimed must not be put here: people type
        /// passwords into the wrong field.
        "user": optional user: &'a str, Text(max::USER),
            "The user whose password, token or certificate was verified, or that of the client's network.";
        "groups": list groups: Box<str>, Names { count: 16, each: 64 },
            "Groups of the user that a token, a hook or the external authoriser says, in its order, each cut at 64 bytes. Those of the group file are not among them.";
        "auth": optional auth: &'static str, Text(64),
            "What proved who the user is: `password`, `token`, `certificate`, `external` (the external authoriser), `network` (`auth.trusted_networks`), `hook`; `certificate+password` where the client has shown both, and so with `token` and `external`.";
        "method": always method: &'a [u8], Text(max::METHOD),
            "The request method as received.";
        "target": always target: &'a [u8], Uri(max::TARGET),
            "The canonical request-target; empty if it could not be read.";
        "version": always version: &'a str, Text(max::VERSION),
            "The protocol version of the request, such as `HTTP/1.1`; `HTTP/2.0` for a stream, `SOCKS5`.";
        "status": optional status: u16, Number,
            "The status sent to the client; left out if no answer was sent.";
        "bytes_from_client": always bytes_from_client: u64, Bytes,
            "Content read from the client, without heads.";
        /// For a tunnel 0 means "not measured apart": the bytes read from the
        /// upstream are taken.
        "bytes_to_client": always bytes_to_client: u64, Bytes,
            "Content written to the client, without heads.";
        "bytes_from_upstream": always bytes_from_upstream: u64, Bytes,
            "Content read from the upstream, without heads.";
        "duration_seconds": always duration: Duration, Seconds,
            "From the first byte of the request head to the end of the answer; in `tunnel_open` to the tunnel's establishment, in `tunnel_close` to its end.";
        "resolve_seconds": optional resolve: Duration, Seconds,
            "How long the name look-up took; left out if none was needed, as for an IP address or a name in the cache.";
        "queue_seconds": optional queue: Duration, Seconds,
            "How long the request waited for its turn: of a rate of its class, and at the upstream or origin; left out if it did not wait.";
        "connect_seconds": optional connect: Duration, Seconds,
            "How long connecting took: TCP, and TLS where the upstream has it; left out if a pooled connection was used.";
        "first_byte_seconds": optional first_byte: Duration, Seconds,
            "From the first byte of the request head to the first byte of the upstream's answer.";
        "upstream": optional upstream: UpstreamAddress<'a>, Address,
            "Where the request was connected to; `unix:PATH` for a socket of this machine.";
        "parent": optional parent: &'a str, Text(64),
            "The [parent](parents.md) that the request went through; left out if it went to its target itself.";
        "error": optional error: &'static str, Text(64),
            "What went wrong, by a name of [the table of errors](#errors); as in RFC 9209 §2.3 where a name fits.";
        "error_detail": optional error_detail: &'a str, Text(1024),
            "Why, in words: what denied the request, what each name server did, what is wrong with a certificate or with credentials. For a malformed request it has a name of [another table](#malformed-requests). Apart from such a name the text may change: programs read `error` and `rule`.";
        "rule": optional decided_by: &'a DecidedBy, Decision(max::RULE),
            "What decided about the request: a rule of the configuration, a part of the guard (`deny_domains:.example.org`, `special_purpose:loopback`), the external authoriser (`external`, or `external:NAME` with the rule that asks it), or `default`; left out if the request was refused before that. [policy.md](policy.md#how-a-decision-is-made) says how.";
        "class": optional class: &'a str, Text(64),
            "The class of `limits.classes` that holds for the request; left out if none does, or if it was refused before that ([limits.md](limits.md)).";
        "observed": list observed: Name, Names { count: 16, each: 256 },
            "Rules with `action: observe` that would have denied the request.";
        "tags": list tags: Tag, Tags { count: 16, each: 256 },
            "What hooks and scripts say of the request: an object of names and texts.";
        "end_reason": optional end_reason: &'static str, Text(64),
            "Why the tunnel ended: `complete` (both sides closed it), `idle_timeout` (`timeouts.tunnel_idle`), `client_reset`, `upstream_reset`, `token_expired` (`auth.tokens.cut_at_expiry`), `certificate_refused` (the certificate of the client is revoked, or its authority is not in `client_ca` any more), `quota_hour` to `quota_month` (a quota that cuts), `drained` (the process stopped), `closed_by_admin` (an operator closed it); an `error` that begins with `sni_` or `hello_`, `not_tls`, `ech_denied` or `http_request_denied` (the first bytes of the client, [tunnels.md](tunnels.md)).";
        "sni": optional sni: &'a str, Text(max::SNI),
            "The name of the host in the ClientHello of the tunnel, as sent; left out if there was none or if it was not read ([tunnels.md](tunnels.md))."
        ;
        "alpn": optional alpn: &'a str, Text(256),
            "The protocols that it offers, with commas between them, cut at 256 bytes.";
        "ja4": optional ja4: &'a str, Text(64),
            "The [JA4](https://github.com/FoxIO-LLC/ja4) fingerprint of the client.";
        "ech": optional ech: &'static str, Text(64),
            "`offered` if it has an encrypted hello inside (ECH), or what looks like one; left out if not.";
        "referer": optional referer: &'a [u8], Uri(max::REFERER),
            "The `Referer` field as received.";
        "user_agent": optional user_agent: &'a [u8], Text(max::USER_AGENT),
            "The `User-Agent` field as received.";
    }

    counted {
        /// The malformation of a head that was refused.
        malformation: Option<&'static str>;
        /// The canonical authority that was asked for (`host:port`), counted as a site.
        site: Option<&'a str>;
        /// The limit of its class that the request is over.
        limit: Option<&'static str>;
        /// The hook that failed the request.
        failed_hook: Option<&'a str>;
        /// What the client is told of its denial, if the policy denied the request.
        denial: Option<&'a Denial>;
    }
}
