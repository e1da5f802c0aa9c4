//! The trace context of the W3C: `traceparent` and `tracestate` (www.w3.org/TR/trace-context, level 1). Pure.
//!
//! What does not follow the grammar is no trace context: nothing of it is repaired or passed on as one.

#[cfg(any(test, feature = "internals"))]
pub mod fuzz;

use std::fmt;

use thiserror::Error;

/// The field with the ids.
pub const TRACEPARENT: &str = "traceparent";
/// The field with what systems of tracing add.
pub const TRACESTATE: &str = "tracestate";

/// The bytes of a `traceparent` of version 00, and of what a later version begins with.
const LENGTH: usize = 55;
/// The bit that says that the caller may have recorded the trace.
const SAMPLED: u8 = 1;
/// The most members of a `tracestate`.
const MAX_MEMBERS: usize = 32;
/// The most bytes of a `tracestate` that is taken; 512 are what has to be.
const MAX_STATE: usize = 4096;

/// What a `traceparent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; not zero.
    pub trace_id: [u8; 16],
    /// The span of the caller; not zero.
    pub parent_id: [u8; 8],
    /// Whether the caller records the trace.
    pub is_sampled: bool,
}

/// Why a field is no trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TraceContextError {
    /// Not of the length of its version.
    #[error("its length is not that of its version")]
    Length,
    /// Something else than lower-case hexadecimal digits between the dashes.
    #[error("not lower-case hexadecimal digits in four parts")]
    Form,
    /// The version 255, which is none.
    #[error("of a version that is not allowed")]
    Version,
    /// An id of zeros.
    #[error("an id of zeros")]
    Zero,
}

impl TraceParent {
    /// Reads the value of the field.
    ///
    /// # Errors
    /// [`TraceContextError`]
    pub fn parse(value: &[u8]) -> Result<TraceParent, TraceContextError> {
        let (known, rest) = value
            .split_at_checked(LENGTH)
            .ok_or(TraceContextError::Length)?;
        let mut parts = known.split(|byte| *byte == b'-');
        let mut part = || parts.next().unwrap_or_default();
        let [version] = hex(part())?;
        let trace_id: [u8; 16] = hex(part())?;
        let parent_id: [u8; 8] = hex(part())?;
        let [flags] = hex(part())?;
        match version {
            0xff => return Err(TraceContextError::Version),
            0 if !rest.is_empty() => return Err(TraceContextError::Length),
            // A later version may have more parts.
            _ if rest.first().is_some_and(|byte| *byte != b'-') => {
                return Err(TraceContextError::Form);
            }
            _ => {}
        }
        if trace_id == [0; 16] || parent_id == [0; 8] {
            return Err(TraceContextError::Zero);
        }
        Ok(TraceParent {
            trace_id,
            parent_id,
            is_sampled: flags & SAMPLED != 0,
        })
    }
}

impl fmt::Display for TraceParent {
    /// The value of the field, in version 00.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("00-")?;
        self.trace_id
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("-")?;
        self.parent_id
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, "-{:02x}", u8::from(self.is_sampled) * SAMPLED)
    }
}

/// So many bytes of twice as many lower-case digits.
fn hex<const N: usize>(digits: &[u8]) -> Result<[u8; N], TraceContextError> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if digits.len() != 2 * N {
        return Err(TraceContextError::Form);
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let mut value = 0;
        for half in pair {
            value = (value << 4) | digit(*half).ok_or(TraceContextError::Form)?;
        }
        *byte = value;
    }
    Ok(bytes)
}

/// The value of all lines of a `tracestate` together, where it follows the grammar; else none.
pub fn trace_state<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Option<String> {
    let mut joined = Vec::new();
    for line in lines {
        if !joined.is_empty() {
            joined.push(b',');
        }
        if joined.len() + line.len() > MAX_STATE {
            return None;
        }
        joined.extend_from_slice(line);
    }
    let mut keys: Vec<&[u8]> = Vec::new();
    for member in joined.split(|byte| *byte == b',') {
        let member = trim(member);
        // A list may have empty members (RFC 9110 §5.6.1).
        if member.is_empty() {
            continue;
        }
        let at = memchr::memchr(b'=', member)?;
        let (key, value) = (member.get(..at)?, member.get(at + 1..)?);
        if !is_key(key) || !is_value(value) || keys.contains(&key) || keys.len() == MAX_MEMBERS {
            return None;
        }
        keys.push(key);
    }
    if keys.is_empty() {
        return None;
    }
    String::from_utf8(joined).ok()
}

/// Without spaces and tabs around it.
fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// `vendor` or `tenant@vendor`.
fn is_key(key: &[u8]) -> bool {
    let is_rest = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
    let is_name = |name: &[u8], longest: usize, may_begin_with_digit: bool| {
        let Some((first, rest)) = name.split_first() else {
            return false;
        };
        let begins = first.is_ascii_lowercase() || (may_begin_with_digit && first.is_ascii_digit());
        begins && name.len() <= longest && rest.iter().all(is_rest)
    };
    match memchr::memchr(b'@', key) {
        None => is_name(key, 256, false),
        Some(at) => {
            let (tenant, system) = key.split_at(at);
            is_name(tenant, 241, true) && is_name(system.get(1..).unwrap_or_default(), 14, false)
        }
    }
}

/// Printable characters without a comma and an equals sign, and no space at the end.
fn is_value(value: &[u8]) -> bool {
    let is_character = |byte: &u8| matches!(byte, 0x20..=0x2b | 0x2d..=0x3c | 0x3e..=0x7e);
    (1..=256).contains(&value.len())
        && value.iter().all(is_character)
        && value.last() != Some(&b' ')
}

#[cfg(test)]
mod tests;
