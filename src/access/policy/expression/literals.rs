//! The literals that are parsed at load: patterns, time zones, times and durations.

use std::str::FromStr;

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use chrono_tz::Tz;
use regex::{Regex, RegexBuilder};

use super::{
    MAX_PATTERN,
    error::{ExpressionProblem, nearest},
    facts::{Quoted, in_range},
};

/// The bytes of a compiled pattern that one step covers, for each byte of the text. Measured with
/// patterns that have as many simultaneous states as their size allows.
pub(super) const MATCH_BYTES: u64 = 64;
/// The granularity in which the size of a compiled pattern is found.
const PATTERN_STEP: usize = 512;
/// The cache of automaton states of a pattern, in bytes.
const PATTERN_CACHE: usize = 256 * 1024;

/// Compiles a pattern and finds its size, on which the time of a match depends.
pub(super) fn compile(pattern: &str) -> Result<(Regex, usize), ExpressionProblem> {
    let mut size = PATTERN_STEP;
    loop {
        let compiled = RegexBuilder::new(pattern)
            .size_limit(size)
            .dfa_size_limit(PATTERN_CACHE)
            .build();
        match compiled {
            Ok(compiled) => return Ok((compiled, size)),
            Err(regex::Error::CompiledTooBig(_)) if size < MAX_PATTERN => size += PATTERN_STEP,
            Err(error) => return Err(pattern_problem(&error)),
        }
    }
}

fn pattern_problem(error: &regex::Error) -> ExpressionProblem {
    match error {
        regex::Error::CompiledTooBig(_) => ExpressionProblem::LargePattern,
        error => {
            // The last line has the error, the lines before it show the position.
            let words = error.to_string();
            let last = words.lines().last().unwrap_or_default();
            let words = last.strip_prefix("error: ").unwrap_or(last);
            ExpressionProblem::Pattern(Quoted(words, 120).to_string().into())
        }
    }
}

/// Reads the name of a zone.
pub(super) fn parse_zone(name: &str) -> Result<Tz, ExpressionProblem> {
    Tz::from_str(name).map_err(|_unknown| {
        let known = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
        ExpressionProblem::Zone {
            name: name.chars().take(64).collect(),
            near: nearest(name, known).unwrap_or("a name such as Europe/Berlin or UTC"),
        }
    })
}

/// Reads a time of RFC 3339, into UTC: accessors without a zone are in UTC.
pub(super) fn parse_timestamp(text: &str) -> Option<DateTime<FixedOffset>> {
    let time = DateTime::parse_from_rfc3339(text).ok()?;
    Some(time.with_timezone(&Utc).fixed_offset()).filter(|time| in_range(*time))
}

/// Reads `1h30m`, `1.5s` or `-15m`. Unlike the crate, it rejects trailing text.
pub(super) fn parse_duration(text: &str) -> Option<TimeDelta> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut total = 0_i128;
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(end);
        let end = unit
            .find(|c: char| !c.is_ascii_lowercase())
            .unwrap_or(unit.len());
        let (unit, after) = unit.split_at(end);
        let unit = match unit {
            "h" => 3_600_000_000_000_i128,
            "m" => 60_000_000_000,
            "s" => 1_000_000_000,
            "ms" => 1_000_000,
            "us" => 1_000,
            "ns" => 1,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if whole.len() > 18 || fraction.is_empty() || fraction.len() > 18 {
            return None;
        }
        let whole: i128 = whole.parse().ok()?;
        let part: i128 = fraction.parse().ok()?;
        let scale = 10_i128.pow(fraction.len() as u32);
        total += whole * unit + part * unit / scale;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    let nanos = if negative { -total } else { total };
    Some(TimeDelta::nanoseconds(i64::try_from(nanos).ok()?))
}
