//! Finds the end of a request head while it arrives.
//!
//! The scanner keeps positions only. It checks what decides whether more bytes can
//! make a request (first byte, line ends, request line, sizes) and leaves the
//! fields to [`RequestHead`](super::RequestHead).

use memchr::memchr;

use super::request_line::{self, RequestLine};
use super::{HeadError, is_tchar};

#[cfg(test)]
mod tests;

/// Empty lines skipped before a request line; some clients send one after a
/// body (RFC 9112 §2.2).
const MAX_EMPTY_LINES: usize = 4;

/// More field lines than this are refused whatever the limits say: Pingora's
/// parser stops at 256, and three may be added.
pub const MAX_FIELDS: usize = 253;

/// How large a request head may be, and what of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, its empty line included.
    pub max_head: usize,
    /// Bytes of the request-target.
    pub max_target: usize,
    /// Field lines; values above 253 mean 253.
    pub max_fields: usize,
    /// Whether the fields are kept in which a sender tells a gateway who the client is.
    pub keep_forwarding: bool,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            max_head: 64 * 1024,
            max_target: 16 * 1024,
            max_fields: 128,
            keep_forwarding: false,
        }
    }
}

/// Incremental search for the end of one head.
///
/// It reads each byte once, however the head is cut: a client that sends single
/// bytes costs no more than its bytes. Each head needs a new scanner.
#[derive(Clone, Debug, Default)]
pub struct HeadScanner {
    phase: Phase,
    /// Bytes before this position have been read.
    scanned: usize,
    /// Where the current line begins.
    line_start: usize,
    /// Field lines that are complete.
    fields: usize,
    line: Option<PlacedLine>,
}

/// One whole head at the start of a buffer, and its request line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// From the start of the buffer to behind the empty line.
    pub len: usize,
    pub(super) line: PlacedLine,
}

/// A request line and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlacedLine {
    /// Bytes of empty lines before it.
    pub(super) start: usize,
    /// Where the field lines begin.
    pub(super) end: usize,
    /// Its parts, from its own start.
    pub(super) parts: RequestLine,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    EmptyLines,
    RequestLine,
    Fields,
}

impl HeadScanner {
    /// Reads on in `buf`, and returns the head once it is complete. `buf` begins with
    /// the head and only grows between calls.
    ///
    /// # Errors
    /// Bytes that can no longer become a head within `limits` are refused at once. The
    /// error does not depend on how the bytes were cut.
    pub fn scan(&mut self, buf: &[u8], limits: &HeadLimits) -> Result<Option<Scanned>, HeadError> {
        let window = buf.get(..limits.max_head).unwrap_or(buf);
        if self.phase == Phase::EmptyLines {
            match skip_empty_lines(window)? {
                Some(skipped) => {
                    self.line_start = skipped;
                    self.scanned = skipped;
                    self.phase = Phase::RequestLine;
                }
                None => return self.incomplete(window, limits),
            }
        }
        let max_line = limits.max_target.saturating_add(request_line::MAX_OVERHEAD);
        while let Some(found) = memchr(b'\n', window.get(self.scanned..).unwrap_or_default()) {
            let line_feed = self.scanned + found;
            let line = window.get(self.line_start..line_feed).unwrap_or_default();
            if self.phase == Phase::RequestLine && line.len() > max_line + 1 {
                return Err(HeadError::TargetTooLong);
            }
            let [line @ .., b'\r'] = line else {
                return Err(HeadError::BareLf);
            };
            let start = self.line_start;
            self.scanned = line_feed + 1;
            self.line_start = line_feed + 1;
            if self.phase == Phase::RequestLine {
                self.line = Some(PlacedLine {
                    start,
                    end: line_feed + 1,
                    parts: RequestLine::parse(line, limits.max_target)?,
                });
                self.phase = Phase::Fields;
            } else if line.is_empty() {
                let len = line_feed + 1;
                return Ok(self.line.take().map(|line| Scanned { len, line }));
            } else {
                self.fields += 1;
                if self.fields > limits.max_fields.min(MAX_FIELDS) {
                    return Err(HeadError::TooManyFields);
                }
            }
        }
        self.scanned = window.len();
        if self.phase == Phase::RequestLine && window.len() - self.line_start > max_line + 1 {
            return Err(HeadError::TargetTooLong);
        }
        self.incomplete(window, limits)
    }

    fn incomplete(&self, window: &[u8], limits: &HeadLimits) -> Result<Option<Scanned>, HeadError> {
        if window.len() >= limits.max_head {
            return Err(HeadError::HeadTooLarge);
        }
        Ok(None)
    }
}

/// How many bytes of empty lines come before the request line; `None` while
/// that cannot be told yet.
pub(super) fn skip_empty_lines(buf: &[u8]) -> Result<Option<usize>, HeadError> {
    let mut rest = buf;
    for _ in 0..=MAX_EMPTY_LINES {
        match rest {
            [b'\r', b'\n', after @ ..] => rest = after,
            [] | [b'\r'] => return Ok(None),
            [b'\r', ..] => return Err(HeadError::BareCr),
            [b'\n', ..] => return Err(HeadError::BareLf),
            [first, ..] if is_tchar(*first) => return Ok(Some(buf.len() - rest.len())),
            _ => return Err(HeadError::NotHttp),
        }
    }
    Err(HeadError::EmptyLines)
}
