//! Turns values into bytes of a log line: numbers, addresses, times and text
//! from peers. Nothing here allocates once the line's buffer has its size.
//!
//! Text from a peer can neither end a line nor a quoted string, nor move a
//! terminal's cursor, nor be longer than its bound.

mod clock;
mod userinfo;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

pub(crate) use clock::Clock;
use userinfo::split_userinfo;

/// Stands in for userinfo that was found where none may be.
const MASK: &str = "***@";

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
    push_padded::<6>(out, duration.subsec_micros());
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

/// The last `N` digits of `n`.
fn push_padded<const N: usize>(out: &mut Vec<u8>, mut n: u32) {
    let mut digits = [0; N];
    for digit in digits.iter_mut().rev() {
        // The remainder of ten fits any integer.
        *digit = b'0' + (n % 10) as u8;
        n /= 10;
    }
    out.extend_from_slice(&digits);
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
            out.extend_from_slice(MASK.as_bytes());
            push_json_part(out, after, max.saturating_sub(before.len()));
        }
    }
    out.push(b'"');
}

/// As [`push_json`], without the quotes.
pub(crate) fn push_json_part(out: &mut Vec<u8>, text: &[u8], max: usize) {
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

/// A second since 1970 as `2026-01-02T03:04:05.000Z`.
pub(crate) fn unix_text(seconds: u64) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    Clock::default().rfc3339(time.unwrap_or(SystemTime::UNIX_EPOCH))
}

/// `2026-01-02T03:04:05.678Z` (RFC 3339, UTC).
pub fn rfc3339(time: SystemTime) -> String {
    Clock::default().rfc3339(time)
}

/// When this was, in seconds since 1970.
pub(crate) fn unix_seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// At most `max` bytes of `text` to be shown: without controls and marks that reorder text, which are written out.
///
/// Bytes that are not UTF-8 become U+FFFD, and a cut is shown by an ellipsis, as in the log.
pub fn shown(text: &[u8], max: usize) -> String {
    let mut out = String::new();
    push_shown(&mut out, text, max);
    out
}

/// As [`shown`], with userinfo masked.
pub fn shown_uri(uri: &[u8], max: usize) -> String {
    let mut out = String::new();
    match split_userinfo(uri) {
        None => push_shown(&mut out, uri, max),
        Some((before, after)) => {
            push_shown(&mut out, before, max);
            out.push_str(MASK);
            push_shown(&mut out, after, max.saturating_sub(before.len()));
        }
    }
    out
}

fn push_shown(out: &mut String, text: &[u8], max: usize) {
    let kept = cut(text, max);
    for chunk in kept.utf8_chunks() {
        for c in chunk.valid().chars() {
            match misleads(c) {
                // Writing to a String cannot fail.
                true => drop(write!(out, "\\u{:04x}", u32::from(c))),
                false => out.push(c),
            }
        }
        if !chunk.invalid().is_empty() {
            out.push('\u{fffd}');
        }
    }
    if kept.len() < text.len() {
        out.push('\u{2026}');
    }
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
            out.extend_from_slice(MASK.as_bytes());
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

#[cfg(test)]
mod tests;
