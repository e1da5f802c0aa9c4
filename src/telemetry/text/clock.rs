//! Times of a log, which many lines have in common.

use std::fmt::Write as _;
use std::time::SystemTime;

use chrono::{DateTime, Utc};

use super::push_padded;

/// Last second that still has a four-digit year, as RFC 3339 requires.
const MAX_UNIX_SECOND: u64 = 253_402_300_799;

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
        push_padded::<3>(out, millis);
        out.push(b'Z');
    }

    /// The same as a text.
    pub(crate) fn rfc3339(&mut self, time: SystemTime) -> String {
        let mut out = Vec::with_capacity(24);
        self.push_rfc3339(&mut out, time);
        String::from_utf8(out).unwrap_or_default()
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
