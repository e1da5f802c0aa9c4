//! Bandwidth: so many bytes in a second, lent to connections in small parts. The algorithm is that of rates, GCRA, with one
//! number for a member and a direction: how far the bytes that were lent reach.
//!
//! A part that is not due yet is lent too, for the time when it is. So each connection has its turn by the order in which it
//! asks, no timer that is late loses bytes, and one that is early gains none. Connections that always want more get as much as
//! each other, since each has one part at a time.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::rate::Elapsed;
use crate::text::units::{UnitError, parse_size, show_size};

/// A second is lent in so many parts, of this least and greatest size. They are short, so that turns come often: with ten
/// connections, each twentieth of a second.
const PARTS: u64 = 200;
const PART: (u64, u64) = (2 * 1024, 2 * 1024 * 1024);

/// What may pass at once after a pause, in milliseconds. So long may a process be held up without a loss, and no more than
/// twice the rate passes in 100 ms.
const BURST: u64 = 80;

/// The least burst, and the greatest one of a slow rate.
const SMALL_BURST: (u64, u64) = (16 * 1024, 48 * 1024);
const SLOW: u64 = 1024 * 1024;

/// The longest that a connection waits for its part, however many wait before it, so that its peers do not give it up. The
/// debt of a member is bounded by it.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// To the client.
    Download,
    /// From the client.
    Upload,
}

/// A bandwidth as it is written, such as `50MiB/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    /// Bytes in a second.
    rate: u64,
    /// Bytes in a microsecond, as a fraction of 2³².
    per_microsecond: u64,
}

/// Why a text is no bandwidth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BandwidthError {
    /// No size, or no `/s` behind it.
    #[error("not a bandwidth")]
    Form,
    /// Below [`Bandwidth::MIN`] or above [`Bandwidth::MAX`].
    #[error("out of range")]
    Range,
}

/// The bytes of one direction that a member has been lent: their number, as if it had taken all that it may since the program
/// began to count. At the highest bandwidth, that fits for five years.
#[derive(Debug)]
pub(super) struct Lent(AtomicU64);

impl Bandwidth {
    /// Less is of no use: a page would take minutes.
    pub const MIN: u64 = 1024;
    /// More than any host has.
    pub const MAX: u64 = 100_000_000_000;

    /// Reads a size and `/s`: `50MiB/s`, `512KiB/s`, `10MB/s`.
    ///
    /// # Errors
    /// [`BandwidthError`]
    pub fn parse(text: &str) -> Result<Bandwidth, BandwidthError> {
        let size = text.strip_suffix("/s").ok_or(BandwidthError::Form)?;
        if size.ends_with(|last: char| last.is_ascii_digit()) {
            // A count in a second is what requests have.
            return Err(BandwidthError::Form);
        }
        match parse_size(size) {
            Ok(rate @ Self::MIN..=Self::MAX) => Ok(Bandwidth::new(rate)),
            Ok(_) | Err(UnitError::TooLarge) => Err(BandwidthError::Range),
            Err(_) => Err(BandwidthError::Form),
        }
    }

    fn new(rate: u64) -> Bandwidth {
        let per_microsecond = (u128::from(rate) << 32) / 1_000_000;
        Bandwidth {
            rate,
            per_microsecond: u64::try_from(per_microsecond).unwrap_or(u64::MAX),
        }
    }

    /// The most that a connection is lent at once.
    pub fn part(&self) -> u64 {
        (self.rate / PARTS).clamp(PART.0, PART.1)
    }

    /// How much may pass at once after a pause.
    pub fn burst(&self) -> u64 {
        let burst = self.rate / 1000 * BURST;
        match self.rate {
            ..SLOW => burst.clamp(SMALL_BURST.0, SMALL_BURST.1),
            _ => burst,
        }
    }

    /// The bytes of this time.
    fn bytes(&self, time: Elapsed) -> u64 {
        let bytes = u128::from(time.microseconds()) * u128::from(self.per_microsecond);
        u64::try_from(bytes >> 32).unwrap_or(u64::MAX)
    }

    /// How long so many bytes take.
    fn time(&self, bytes: u64) -> Duration {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", show_size(self.rate))
    }
}

impl Lent {
    /// Of a member that was lent nothing yet.
    pub(super) fn new() -> Lent {
        Lent(AtomicU64::new(0))
    }

    /// Lends bytes, if they are due: no more than a burst can be.
    pub(super) fn lend_now(&self, bytes: u64, bandwidth: &Bandwidth, now: Elapsed) -> bool {
        let now = bandwidth.bytes(now);
        let most = now.saturating_add(bandwidth.burst());
        let next = |lent: u64| Some(lent.max(now).saturating_add(bytes)).filter(|it| *it <= most);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok()
    }

    /// Lends bytes. How long until they are due, and may pass.
    pub(super) fn lend(&self, bytes: u64, bandwidth: &Bandwidth, now: Elapsed) -> Duration {
        let longest = bandwidth.bytes(now.after(LONGEST_WAIT));
        let now = bandwidth.bytes(now);
        let burst = bandwidth.burst();
        let next = |lent: u64| lent.max(now).saturating_add(bytes);
        let most = longest.saturating_add(burst);
        let update = |lent| Some(next(lent).min(most));
        let lent = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        let (Ok(lent) | Err(lent)) = lent;
        let early = next(lent).saturating_sub(now.saturating_add(burst));
        bandwidth.time(early).min(LONGEST_WAIT)
    }

    /// Takes back what was lent and did not pass.
    pub(super) fn give_back(&self, bytes: u64) {
        let back = |lent: u64| Some(lent.saturating_sub(bytes));
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, back);
    }

    /// Whether a whole burst may pass, so that this says no more than a new one.
    pub(super) fn is_at_rest(&self, bandwidth: &Bandwidth, now: Elapsed) -> bool {
        self.0.load(Ordering::Relaxed) <= bandwidth.bytes(now)
    }
}

#[cfg(test)]
mod tests;
