//! The two line formats of the access log. Pure: record in, bytes out.

use super::record::{Event, Record, role_name};
use super::text::{
    Clock, push_addr, push_bare, push_ip, push_json, push_json_uri, push_quoted, push_quoted_uri,
    push_seconds, push_u64,
};

/// Bounds of text from outside, in bytes before escaping. Together they keep
/// every line below 32 KiB, whatever a client sends.
mod max {
    pub(super) const REQUEST_ID: usize = 64;
    pub(super) const USER: usize = 256;
    pub(super) const METHOD: usize = 32;
    pub(super) const TARGET: usize = 2048;
    pub(super) const VERSION: usize = 16;
    pub(super) const RULE: usize = 256;
    /// How many, not how long.
    pub(super) const OBSERVED: usize = 16;
    pub(super) const KIND: usize = 64;
    pub(super) const DETAIL: usize = 1024;
    pub(super) const REFERER: usize = 1024;
    pub(super) const USER_AGENT: usize = 512;
}

/// Appends one JSON object and a newline.
///
/// What is not known is left out. A new field changes the list in
/// `docs/observability.md`; existing names stay.
pub(crate) fn push_json_line(out: &mut Vec<u8>, clock: &mut Clock, event: Event, record: &Record) {
    out.extend_from_slice(b"{\"time\":\"");
    clock.push_rfc3339(out, record.time);
    out.extend_from_slice(b"\",\"event\":\"");
    out.extend_from_slice(event.as_str().as_bytes());
    out.extend_from_slice(b"\",\"request_id\":");
    push_json(out, record.request_id.as_bytes(), max::REQUEST_ID);
    out.extend_from_slice(b",\"role\":\"");
    out.extend_from_slice(role_name(record.role).as_bytes());
    out.extend_from_slice(b"\",\"client\":\"");
    push_addr(out, record.client);
    out.push(b'"');
    if let Some(user) = record.user {
        out.extend_from_slice(b",\"user\":");
        push_json(out, user.as_bytes(), max::USER);
    }
    out.extend_from_slice(b",\"method\":");
    push_json(out, record.method, max::METHOD);
    out.extend_from_slice(b",\"target\":");
    push_json_uri(out, record.target, max::TARGET);
    out.extend_from_slice(b",\"version\":");
    push_json(out, record.version.as_bytes(), max::VERSION);
    if let Some(status) = record.status {
        out.extend_from_slice(b",\"status\":");
        push_u64(out, u64::from(status));
    }
    out.extend_from_slice(b",\"bytes_from_client\":");
    push_u64(out, record.bytes_from_client);
    out.extend_from_slice(b",\"bytes_to_client\":");
    push_u64(out, record.bytes_to_client);
    out.extend_from_slice(b",\"bytes_from_upstream\":");
    push_u64(out, record.bytes_from_upstream);
    out.extend_from_slice(b",\"duration_seconds\":");
    push_seconds(out, record.duration);
    if let Some(connect) = record.connect {
        out.extend_from_slice(b",\"connect_seconds\":");
        push_seconds(out, connect);
    }
    if let Some(first_byte) = record.first_byte {
        out.extend_from_slice(b",\"first_byte_seconds\":");
        push_seconds(out, first_byte);
    }
    if let Some(upstream) = record.upstream {
        out.extend_from_slice(b",\"upstream\":\"");
        push_addr(out, upstream);
        out.push(b'"');
    }
    if let Some(error) = record.error {
        out.extend_from_slice(b",\"error\":");
        push_json(out, error.as_bytes(), max::KIND);
    }
    if let Some(detail) = record.error_detail {
        out.extend_from_slice(b",\"error_detail\":");
        push_json(out, detail.as_bytes(), max::DETAIL);
    }
    if let Some(by) = record.decided_by {
        out.extend_from_slice(b",\"rule\":");
        push_json(out, by.name().as_bytes(), max::RULE);
    }
    if !record.observed.is_empty() {
        out.extend_from_slice(b",\"observed\":[");
        for (index, rule) in record.observed.iter().take(max::OBSERVED).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            push_json(out, rule.as_str().as_bytes(), max::RULE);
        }
        out.push(b']');
    }
    if let Some(reason) = record.end_reason {
        out.extend_from_slice(b",\"end_reason\":");
        push_json(out, reason.as_bytes(), max::KIND);
    }
    if let Some(referer) = record.referer {
        out.extend_from_slice(b",\"referer\":");
        push_json_uri(out, referer, max::REFERER);
    }
    if let Some(user_agent) = record.user_agent {
        out.extend_from_slice(b",\"user_agent\":");
        push_json(out, user_agent, max::USER_AGENT);
    }
    out.extend_from_slice(b"}\n");
}

/// Appends one line of Apache's combined format:
/// `%h - %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"`.
pub(crate) fn push_combined_line(out: &mut Vec<u8>, clock: &mut Clock, record: &Record) {
    push_ip(out, record.client.ip());
    out.extend_from_slice(b" - ");
    match record.user {
        None => out.push(b'-'),
        // As Apache writes an empty name, so that the columns stay.
        Some("") => out.extend_from_slice(b"\"\""),
        Some(user) => push_bare(out, user.as_bytes(), max::USER),
    }
    out.extend_from_slice(b" [");
    clock.push_combined(out, record.time);
    out.extend_from_slice(b"] \"");
    if record.method.is_empty() && record.target.is_empty() {
        // No request line was read.
        out.push(b'-');
    } else {
        push_quoted(out, record.method, max::METHOD);
        out.push(b' ');
        push_quoted_uri(out, record.target, max::TARGET);
        // A head that was refused may have none.
        if !record.version.is_empty() {
            out.push(b' ');
            push_quoted(out, record.version.as_bytes(), max::VERSION);
        }
    }
    out.extend_from_slice(b"\" ");
    match record.status {
        None => out.push(b'-'),
        Some(status) => push_u64(out, u64::from(status)),
    }
    out.push(b' ');
    match record.bytes_to_client {
        0 => out.push(b'-'),
        bytes => push_u64(out, bytes),
    }
    out.extend_from_slice(b" \"");
    match record.referer {
        None => out.push(b'-'),
        Some(referer) => push_quoted_uri(out, referer, max::REFERER),
    }
    out.extend_from_slice(b"\" \"");
    match record.user_agent {
        None => out.push(b'-'),
        Some(user_agent) => push_quoted(out, user_agent, max::USER_AGENT),
    }
    out.extend_from_slice(b"\"\n");
}

#[cfg(test)]
mod tests;
