//! Turns values into bytes of a log line: numbers, addresses, times and text
//! from peers. Nothing here allocates once the line's buffer has its size.
//!
//! Text from a peer can neither end a line nor a quoted string, nor move a
//! terminal's cursor, nor be longer than its bound.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};

/// Stands in for userinfo that was found where none may be.
const MASK: &[u8] = b"***@";
/// Last second that still has a four-digit year, as RFC 3339 requires.
const MAX_UNIX_SECOND: u64 = 253_402_300_799;

/// Decimal digits of `n`.
pub(crate) fn push_u64(out: &mut Vec<u8>, n: u64) {
    if n >= 10 {
        push_u64(out, n / 10);
    }
    push_digit(out, n);
}

/// Seconds with six digits after the point: `0.001234`.
pub(crate) fn push_seconds(out: &mut Vec<u8>, duration: Duration) {
    push_u64(out, duration.as_secs());
    out.push(b'.');
    push_padded(out, duration.subsec_micros(), 100_000);
}

/// `127.0.0.1:8080` or `[::1]:8080`; an IPv4-mapped address as IPv4.
pub(crate) fn push_addr(out: &mut Vec<u8>, addr: SocketAddr) {
    let ip = addr.ip().to_canonical();
    if ip.is_ipv6() {
        out.push(b'[');
        push_ip(out, ip);
        out.push(b']');
    } else {
        push_ip(out, ip);
    }
    out.push(b':');
    push_u64(out, u64::from(addr.port()));
}

/// The address without its port, and without brackets.
pub(crate) fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip.to_canonical() {
        // By hand: the formatting machinery takes as long as the rest of a line.
        IpAddr::V4(ip) => {
            for (i, octet) in ip.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                push_u64(out, u64::from(octet));
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

fn push_padded(out: &mut Vec<u8>, n: u32, mut unit: u32) {
    while unit > 0 {
        push_digit(out, u64::from(n / unit));
        unit /= 10;
    }
}

fn push_digit(out: &mut Vec<u8>, n: u64) {
    // The remainder of ten fits any integer.
    out.push(b'0' + (n % 10) as u8);
}

/// A JSON string, quotes included, of at most `max` bytes of `text`.
///
/// Bytes that are not UTF-8 become U+FFFD. Controls, line separators and marks
/// that reorder text on a terminal are escaped. A cut is shown by an ellipsis.
pub(crate) fn push_json(out: &mut Vec<u8>, text: &[u8], max: usize) {
    out.push(b'"');
    push_json_part(out, text, max);
    out.push(b'"');
}

/// As [`push_json`], with userinfo masked.
pub(crate) fn push_json_uri(out: &mut Vec<u8>, uri: &[u8], max: usize) {
    out.push(b'"');
    match split_userinfo(uri) {
        None => push_json_part(out, uri, max),
        Some((before, after)) => {
            push_json_part(out, before, max);
            out.extend_from_slice(MASK);
            push_json_part(out, after, max.saturating_sub(before.len()));
        }
    }
    out.push(b'"');
}

fn push_json_part(out: &mut Vec<u8>, text: &[u8], max: usize) {
    let kept = cut(text, max);
    if is_plain(kept) {
        out.extend_from_slice(kept);
    } else {
        for chunk in kept.utf8_chunks() {
            for c in chunk.valid().chars() {
                push_json_char(out, c);
            }
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
    }
    if kept.len() < text.len() {
        out.extend_from_slice("\u{2026}".as_bytes());
    }
}

fn push_json_char(out: &mut Vec<u8>, c: char) {
    match c {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        c if misleads(c) => {
            let code = u32::from(c);
            out.extend_from_slice(b"\\u");
            for shift in [12, 8, 4, 0] {
                push_hex(out, (code >> shift) as u8);
            }
        }
        c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Controls, separators and bidirectional marks: all are below U+10000.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Text inside quotes of a combined line, escaped as Apache does: `\"`, `\\`,
/// `\n`, `\r`, `\t`, and `\xhh` for all that is not printable ASCII.
pub(crate) fn push_quoted(out: &mut Vec<u8>, text: &[u8], max: usize) {
    push_escaped(out, text, max, b'"');
}

/// As [`push_quoted`], with userinfo masked.
pub(crate) fn push_quoted_uri(out: &mut Vec<u8>, uri: &[u8], max: usize) {
    match split_userinfo(uri) {
        None => push_quoted(out, uri, max),
        Some((before, after)) => {
            push_quoted(out, before, max);
            out.extend_from_slice(MASK);
            push_quoted(out, after, max.saturating_sub(before.len()));
        }
    }
}

/// A field of a combined line that has no quotes: a space is escaped too.
pub(crate) fn push_bare(out: &mut Vec<u8>, text: &[u8], max: usize) {
    push_escaped(out, text, max, b' ');
}

fn push_escaped(out: &mut Vec<u8>, text: &[u8], max: usize, delimiter: u8) {
    let kept = cut(text, max);
    if is_plain(kept) && (delimiter == b'"' || !kept.contains(&delimiter)) {
        out.extend_from_slice(kept);
    } else {
        for &byte in kept {
            match byte {
                b'"' => out.extend_from_slice(b"\\\""),
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                0x20..=0x7e if byte != delimiter => out.push(byte),
                _ => {
                    out.extend_from_slice(b"\\x");
                    push_hex(out, byte >> 4);
                    push_hex(out, byte);
                }
            }
        }
    }
    if kept.len() < text.len() {
        out.extend_from_slice(b"...");
    }
}

/// The lower four bits of `nibble` as one hexadecimal digit.
fn push_hex(out: &mut Vec<u8>, nibble: u8) {
    let nibble = nibble & 0xf;
    out.push(if nibble < 10 {
        b'0' + nibble
    } else {
        b'a' + nibble - 10
    });
}

/// Printable ASCII without `"` and `\`, which both formats write as it is.
///
/// Looks at every byte without branching, which the compiler turns into vector
/// instructions; almost every text is plain.
fn is_plain(text: &[u8]) -> bool {
    text.iter().fold(true, |plain, &byte| {
        plain & (0x20..0x7f).contains(&byte) & (byte != b'"') & (byte != b'\\')
    })
}

/// At most `max` bytes, not ending inside a UTF-8 sequence.
fn cut(text: &[u8], max: usize) -> &[u8] {
    let Some((kept, rest)) = text.split_at_checked(max) else {
        return text;
    };
    let continues = |byte: Option<&u8>| byte.is_some_and(|byte| byte & 0xc0 == 0x80);
    if !continues(rest.first()) {
        return kept;
    }
    // A sequence has at most three continuation bytes: look no further back.
    for back in 1..=4.min(kept.len()) {
        let (head, tail) = kept.split_at(kept.len() - back);
        if !continues(tail.first()) {
            return head;
        }
    }
    kept
}

/// Splits a URI around its userinfo, `@` left out; `None` when it has none.
///
/// A refused target can be one that no two parsers read alike. So when what
/// stands before the path is no `host:port`, everything up to the last `@`
/// counts as userinfo: `http://user:pa/ss@host/`.
fn split_userinfo(uri: &[u8]) -> Option<(&[u8], &[u8])> {
    if !uri.contains(&b'@') || matches!(uri.first(), Some(b'/' | b'?')) {
        return None;
    }
    let scheme = uri
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'+' | b'-' | b'.'));
    let start = scheme
        .filter(|&end| uri.get(end..).is_some_and(|rest| rest.starts_with(b"://")))
        .map_or(0, |end| end + 3);
    let (before, rest) = uri.split_at_checked(start)?;
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#' | b'\\'))
        .unwrap_or(rest.len());
    let (authority, _) = rest.split_at_checked(end)?;
    let at = match authority.iter().rposition(|&byte| byte == b'@') {
        Some(at) => at,
        None if is_host_port(authority) => return None,
        None => rest.iter().rposition(|&byte| byte == b'@')?,
    };
    Some((before, rest.get(at + 1..)?))
}

/// Whether this can be a host with or without a port, seen from afar.
fn is_host_port(authority: &[u8]) -> bool {
    let port = match authority.strip_prefix(b"[") {
        // The colons of `[::1]` are not before a port.
        Some(rest) => {
            let literal = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
            let bracket = rest.iter().position(|byte| !literal(byte));
            match bracket.and_then(|at| rest.get(at..)) {
                Some([b']', port @ ..]) => Some(port),
                _ => return false,
            }
        }
        None => authority
            .iter()
            .position(|&byte| byte == b':')
            .and_then(|colon| authority.get(colon..)),
    };
    match port {
        None | Some([]) => true,
        Some([b':', digits @ ..]) => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    }
}

/// Formats times, keeping the text of the last second it saw.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    second: Option<u64>,
    rfc3339: String,
    combined: String,
}

impl Clock {
    /// `2026-01-02T03:04:05.678Z` (RFC 3339, UTC).
    pub(crate) fn push_rfc3339(&mut self, out: &mut Vec<u8>, time: SystemTime) {
        let millis = self.turn_to(time);
        out.extend_from_slice(self.rfc3339.as_bytes());
        out.push(b'.');
        push_padded(out, millis, 100);
        out.push(b'Z');
    }

    /// `02/Jan/2026:03:04:05 +0000`, as Apache's `%t`, in UTC.
    pub(crate) fn push_combined(&mut self, out: &mut Vec<u8>, time: SystemTime) {
        self.turn_to(time);
        out.extend_from_slice(self.combined.as_bytes());
    }

    /// Makes both texts those of `time`, and returns its milliseconds.
    ///
    /// Times outside 1970 to 9999 are moved to the nearer end.
    fn turn_to(&mut self, time: SystemTime) -> u32 {
        let since_epoch = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let second = since_epoch.as_secs().min(MAX_UNIX_SECOND);
        if self.second != Some(second) {
            let date = i64::try_from(second)
                .ok()
                .and_then(|second| DateTime::<Utc>::from_timestamp(second, 0))
                .unwrap_or_default();
            self.rfc3339.clear();
            self.combined.clear();
            // Writing to a String cannot fail.
            let _ = write!(self.rfc3339, "{}", date.format("%Y-%m-%dT%H:%M:%S"));
            let _ = write!(self.combined, "{}", date.format("%d/%b/%Y:%H:%M:%S +0000"));
            self.second = Some(second);
        }
        since_epoch.subsec_millis()
    }
}

#[cfg(test)]
mod tests;
