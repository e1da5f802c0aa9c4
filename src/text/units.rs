//! Durations and sizes as people write them: `30s`, `64KiB`. Pure.

use std::fmt::Display;
use std::time::Duration;

/// The units of time, longest first, with their length in milliseconds.
const TIME_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// The units of size, with their length in bytes. The first letters alone (`64K`) are refused:
/// tools disagree about whether they mean 1000 or 1024.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// Why a text is no duration or no size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// A number without a unit, where one is required.
    #[error("a duration needs a unit")]
    MissingUnit,
    /// Not digits followed by a unit.
    #[error("not a number with a unit")]
    Malformed,
    /// More than 64 bits can count.
    #[error("the number is too large")]
    TooLarge,
}

/// A number of milliseconds.
pub(crate) const fn milliseconds(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// A number of seconds.
pub(crate) const fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// A number of minutes.
pub(crate) const fn minutes(number: u64) -> Duration {
    seconds(number * 60)
}

/// A number of hours.
pub(crate) const fn hours(number: u64) -> Duration {
    minutes(number * 60)
}

/// A number of days.
pub(crate) const fn days(number: u64) -> Duration {
    hours(number * 24)
}

/// Reads a duration: digits and one of `ms`, `s`, `m`, `h`, `d`.
///
/// # Errors
/// A bare number is [`UnitError::MissingUnit`]: 30 of what would be a guess.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text)?;
    if unit.is_empty() {
        return Err(UnitError::MissingUnit);
    }
    let milliseconds = TIME_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, length)| *length)
        .ok_or(UnitError::Malformed)?;
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .ok_or(UnitError::TooLarge)
}

/// Reads a size in bytes: digits and an optional unit, `B`, `KiB` (1024), `KB` (1000) and so on.
///
/// # Errors
/// When the text is not of that form or counts more than 64 bits.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text)?;
    let bytes = if unit.is_empty() {
        1
    } else {
        SIZE_UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .map(|(_, length)| *length)
            .ok_or(UnitError::Malformed)?
    };
    number.checked_mul(bytes).ok_or(UnitError::TooLarge)
}

/// Writes a duration so that [`parse_duration`] reads it back, to the millisecond.
pub(crate) fn show_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    shortest(milliseconds, &TIME_UNITS)
}

/// Writes a size so that [`parse_size`] reads it back. Powers of two come first.
pub(crate) fn show_size(bytes: u64) -> String {
    if bytes == 0 {
        return "0".to_owned();
    }
    shortest(bytes, &SIZE_UNITS)
}

/// The number in the first unit that divides it.
fn shortest(number: u64, units: &[(&str, u64)]) -> String {
    units
        .iter()
        .find(|(_, length)| number.is_multiple_of(*length))
        .map_or_else(
            || number.to_string(),
            |(name, length)| join(number / length, name),
        )
}

fn join(number: impl Display, unit: &str) -> String {
    format!("{number}{unit}")
}

/// Splits digits from what follows them. One space between is let through, as in `64 KiB`.
fn split(text: &str) -> Result<(u64, &str), UnitError> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() {
        return Err(UnitError::Malformed);
    }
    // Only digits are left, so the one way to fail is too many of them.
    let number = digits.parse().or(Err(UnitError::TooLarge))?;
    Ok((number, unit.strip_prefix(' ').unwrap_or(unit)))
}

#[cfg(test)]
mod tests;
