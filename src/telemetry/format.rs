//! The combined format of the access log. Pure: record in, bytes out. The JSON
//! format comes from the table of a record's fields.

use super::record::{Record, max};
use super::text::{Clock, push_bare, push_ip, push_quoted, push_quoted_uri, push_u64};

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
