//! A record as one line for a person.
//!
//! Text of a record may be a client's. What could move a cursor, change a colour or reorder a line is written as
//! an escape.

use std::io::Write as _;

use super::entry::{Entry, Text};
use crate::text::is_invisible;

/// The names of the columns, above the first line on a terminal.
const HEAD: &str = "   UTC              STS METHOD     SENT   RECV   TOOK ";
/// Least and most columns for the user.
const USER: std::ops::RangeInclusive<usize> = 10..=24;
/// Columns of a target, behind which the reasons begin; a longer one moves them.
const TARGET: usize = 40;

/// Writes records as lines.
#[derive(Debug)]
pub(super) struct Show {
    /// With colours, and a head.
    is_painted: bool,
    has_head: bool,
    user_width: usize,
}

/// A colour of the terminal (ECMA-48 SGR).
#[derive(Clone, Copy)]
enum Paint {
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
    Magenta,
}

impl Paint {
    fn code(self) -> &'static [u8] {
        match self {
            Paint::Dim => b"\x1b[2m",
            Paint::Red => b"\x1b[31m",
            Paint::Green => b"\x1b[32m",
            Paint::Yellow => b"\x1b[33m",
            Paint::Cyan => b"\x1b[36m",
            Paint::Magenta => b"\x1b[35m",
        }
    }

    fn of_status(status: Option<u16>) -> Paint {
        match status {
            Some(100..=299) => Paint::Green,
            Some(300..=399) => Paint::Cyan,
            Some(400..=499) => Paint::Yellow,
            _ => Paint::Red,
        }
    }
}

impl Show {
    pub(super) fn new(is_painted: bool) -> Show {
        Show {
            is_painted,
            has_head: is_painted,
            user_width: *USER.start(),
        }
    }

    /// Appends the line of a record.
    pub(super) fn push(&mut self, out: &mut Vec<u8>, entry: &Entry<'_>) {
        if std::mem::take(&mut self.has_head) {
            self.painted(out, Paint::Dim, |out| {
                out.extend_from_slice(HEAD.as_bytes())
            });
            out.push(b'\n');
        }
        self.painted(out, Paint::Dim, |out| push_time(out, entry.time.as_str()));
        out.push(b' ');
        self.painted(out, Paint::of_status(entry.status), |out| {
            match entry.status {
                Some(status) => push_number(out, u64::from(status), 3),
                None => out.extend_from_slice(b"  -"),
            }
        });
        out.push(b' ');
        push_padded(out, entry.method.as_ref().map_or("-", Text::as_str), 8);
        for bytes in [entry.bytes_from_client, entry.bytes_to_client] {
            out.push(b' ');
            push_size(out, bytes);
        }
        out.push(b' ');
        push_duration(out, entry.duration_seconds);
        out.push(b' ');
        self.push_who(out, entry);
        out.push(b' ');
        let target = entry.target.as_ref().map_or("", Text::as_str);
        let target = if target.is_empty() { "-" } else { target };
        let mut why = Vec::new();
        self.push_why(&mut why, entry);
        match why.is_empty() {
            true => push_text(out, target),
            false => {
                push_padded(out, target, TARGET);
                out.extend_from_slice(&why);
            }
        }
        out.push(b'\n');
    }

    /// The user, or where there is none the address of the client.
    fn push_who(&mut self, out: &mut Vec<u8>, entry: &Entry<'_>) {
        let (name, is_user) = match (&entry.user, &entry.client) {
            (Some(user), _) => (user.as_str(), true),
            (None, Some(client)) => (without_port(client.as_str()), false),
            (None, None) => ("-", false),
        };
        let width = name.chars().count().min(*USER.end());
        self.user_width = self.user_width.max(width);
        let columns = self.user_width;
        match is_user {
            true => push_padded(out, name, columns),
            false => self.painted(out, Paint::Dim, |out| push_padded(out, name, columns)),
        }
    }

    /// What decided, what went wrong, and how a tunnel ended.
    fn push_why(&self, out: &mut Vec<u8>, entry: &Entry<'_>) {
        if entry.event.as_str() == "tunnel_open" {
            out.extend_from_slice(b" opened");
        }
        if let Some(error) = &entry.error {
            out.push(b' ');
            self.painted(out, Paint::Red, |out| push_text(out, error.as_str()));
        }
        let end = entry.end_reason.as_ref().map(Text::as_str);
        let error = entry.error.as_ref().map(Text::as_str);
        if let Some(end) = end.filter(|end| *end != "complete" && Some(*end) != error) {
            out.push(b' ');
            self.painted(out, Paint::Yellow, |out| push_text(out, end));
        }
        if let Some(rule) = &entry.rule {
            out.extend_from_slice(b" [");
            self.painted(out, Paint::Magenta, |out| push_text(out, rule.as_str()));
            out.push(b']');
        }
        if !entry.observed.is_empty() {
            out.extend_from_slice(b" observed:");
            for rule in &entry.observed {
                out.push(b' ');
                self.painted(out, Paint::Magenta, |out| push_text(out, rule.as_str()));
            }
        }
        if let Some(detail) = &entry.error_detail {
            out.push(b' ');
            self.painted(out, Paint::Dim, |out| push_text(out, detail.as_str()));
        }
    }

    fn painted(&self, out: &mut Vec<u8>, paint: Paint, push: impl FnOnce(&mut Vec<u8>)) {
        if self.is_painted {
            out.extend_from_slice(paint.code());
        }
        push(out);
        if self.is_painted {
            out.extend_from_slice(b"\x1b[0m");
        }
    }
}

/// The address of `address:port`.
fn without_port(client: &str) -> &str {
    let host = client.rsplit_once(':').map_or(client, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// `11-30 17:40:09.123` of a time as the log has it; another text as it is.
fn push_time(out: &mut Vec<u8>, time: &str) {
    let is_usual = time.len() == 24 && time.is_ascii() && time.ends_with('Z');
    match (is_usual, time.get(5..10), time.get(11..23)) {
        (true, Some(date), Some(clock)) => {
            push_text(out, date);
            out.push(b' ');
            push_text(out, clock);
        }
        _ => push_padded(out, time, 18),
    }
}

fn push_number(out: &mut Vec<u8>, number: u64, width: usize) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{number:>width$}");
}

/// Six columns: `512`, `1.5K`, `340M`.
fn push_size(out: &mut Vec<u8>, bytes: u64) {
    const UNITS: [char; 6] = ['K', 'M', 'G', 'T', 'P', 'E'];
    if bytes < 1024 {
        return push_number(out, bytes, 6);
    }
    let (mut whole, mut below, mut unit) = (bytes, 0, 'B');
    for next in UNITS {
        if whole < 1024 {
            break;
        }
        (below, whole, unit) = (whole % 1024, whole / 1024, next);
    }
    let _ = match whole {
        0..10 => write!(out, "  {whole}.{}{unit}", below * 10 / 1024),
        _ => write!(out, "{whole:>5}{unit}"),
    };
}

/// Six columns: `0.4ms`, `12ms`, `3.4s`, `2m03s`, `1h02m`, `3d04h`.
fn push_duration(out: &mut Vec<u8>, seconds: f64) {
    // A time that is none is the least; casts saturate.
    let micros = (seconds.max(0.0) * 1e6) as u64;
    let (millis, whole) = (micros / 1000, micros / 1_000_000);
    let _ = match whole {
        _ if millis < 10 => write!(out, " {}.{}ms", millis, micros % 1000 / 100),
        _ if millis < 1000 => write!(out, "{millis:>4}ms"),
        0..60 => write!(out, "{whole:>3}.{}s", millis % 1000 / 100),
        60..3600 => write!(out, "{:>2}m{:02}s", whole / 60, whole % 60),
        3600..86_400 => write!(out, "{:>2}h{:02}m", whole / 3600, whole % 3600 / 60),
        _ => write!(out, "{:>2}d{:02}h", whole / 86_400, whole % 86_400 / 3600),
    };
}

/// Text with as many spaces behind it as it has less than so many characters.
fn push_padded(out: &mut Vec<u8>, text: &str, width: usize) {
    let start = out.len();
    push_text(out, text);
    let written = out.get(start..).unwrap_or_default();
    // Characters begin with every byte that continues none.
    let shown = written.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
    out.resize(out.len() + width.saturating_sub(shown), b' ');
}

/// Text without a character that a terminal obeys or that changes the order of others.
fn push_text(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        return out.extend_from_slice(text.as_bytes());
    }
    for c in text.chars() {
        match c {
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if c.is_control() || is_invisible(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn show(line: &serde_json::Value, is_painted: bool) -> String {
        let line = line.to_string();
        let mut out = Vec::new();
        let mut show = Show::new(is_painted);
        show.push(&mut out, &Entry::read(line.as_bytes()).unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_essentials_in_one_line() {
        let denied = serde_json::json!({
            "time": "2026-11-30T17:40:09.123Z", "event": "request", "role": "forward", "client": "192.0.2.1:1",
            "user": "alice", "method": "GET", "target": "http://example.org/", "status": 403,
            "bytes_from_client": 0, "bytes_to_client": 1536, "duration_seconds": 0.012345,
            "error": "http_request_denied", "rule": "deny_domains:.example.org", "error_detail": "why"
        });
        assert_eq!(
            show(&denied, false),
            "11-30 17:40:09.123 403 GET           0   1.5K   12ms alice      http://example.org/                      \
             http_request_denied [deny_domains:.example.org] why\n"
        );
        let closed = serde_json::json!({
            "time": "2026-11-30T17:40:09.123Z", "event": "tunnel_close", "client": "[2001:db8::1]:5",
            "method": "CONNECT", "target": "example.org:443", "status": 200, "end_reason": "idle_timeout",
            "bytes_from_client": 5_000_000_000_u64, "bytes_to_client": 12, "duration_seconds": 3725.0
        });
        assert_eq!(
            show(&closed, false),
            "11-30 17:40:09.123 200 CONNECT    4.6G     12  1h02m 2001:db8::1 example.org:443                          \
             idle_timeout\n"
        );
        let bare = serde_json::json!({"time": "t", "event": "request"});
        assert_eq!(
            show(&bare, false),
            "t                    - -             0      0  0.0ms -          -\n"
        );
        let painted = show(&denied, true);
        assert!(painted.starts_with("\x1b[2m   UTC "), "{painted}");
        assert!(painted.contains("\x1b[33m403\x1b[0m"), "{painted}");
        assert!(
            painted.contains("[\x1b[35mdeny_domains:.example.org\x1b[0m]"),
            "{painted}"
        );
    }

    #[test]
    fn numbers_have_six_columns() {
        let shown = |push: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            push(&mut out);
            String::from_utf8(out).unwrap()
        };
        for (bytes, expected) in [
            (0, "     0"),
            (1023, "  1023"),
            (1024, "  1.0K"),
            (10_239, "  9.9K"),
            (1_048_575, " 1023K"),
            (u64::MAX, "   15E"),
        ] {
            assert_eq!(shown(&|out| push_size(out, bytes)), expected);
        }
        for (seconds, expected) in [
            (0.0004, " 0.4ms"),
            (0.0123, "  12ms"),
            (3.45, "  3.4s"),
            (59.99, " 59.9s"),
            (123.0, " 2m03s"),
            (90_000.0, " 1d01h"),
            (-1.0, " 0.0ms"),
            (f64::NAN, " 0.0ms"),
        ] {
            assert_eq!(shown(&|out| push_duration(out, seconds)), expected);
        }
    }

    proptest! {
        /// No text of a log changes a terminal.
        #[test]
        fn no_control_reaches_the_terminal(texts in proptest::collection::vec(".{0,40}", 9), status: u16, seconds: f64) {
            let [time, event, user, client, method, target, error, rule, end] = &texts[..] else {
                unreachable!()
            };
            let line = serde_json::json!({
                "time": time, "event": event, "user": user, "client": client, "method": method, "target": target,
                "error": error, "rule": rule, "end_reason": end, "error_detail": "\u{1b}[2J\u{202e}\u{9b}1m\u{2028}",
                "observed": [rule, "\u{7f}"], "status": status, "duration_seconds": seconds,
            });
            let shown = show(&line, false);
            prop_assert_eq!(shown.matches('\n').count(), 1);
            prop_assert!(shown.ends_with('\n'));
            let bad = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            prop_assert!(!shown.contains(bad), "{:?}", shown);
        }
    }
}
