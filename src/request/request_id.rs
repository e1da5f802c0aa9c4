//! The id that a client can quote and an operator can find in the log.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Sixteen hex digits, not repeated while the process lives and unlikely to be
/// those of another process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; 16]);

impl RequestId {
    pub fn new(n: u64) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b'0'; 16];
        for (i, digit) in text.iter_mut().enumerate() {
            let nibble = (n >> (60 - 4 * i)) & 0xf;
            *digit = DIGITS.get(nibble as usize).copied().unwrap_or(b'0');
        }
        Self(text)
    }

    /// Reads an id as it is written; none of another form.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 16] = text.as_bytes().try_into().ok()?;
        let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        bytes.iter().all(is_digit).then_some(Self(bytes))
    }

    pub fn as_str(&self) -> &str {
        // Only ASCII digits are ever put in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Numbers requests from a random start.
#[derive(Debug)]
pub struct RequestIds(AtomicU64);

impl RequestIds {
    /// Numbers from `start` on.
    pub fn starting_at(start: u64) -> Self {
        Self(AtomicU64::new(start))
    }

    pub fn next(&self) -> RequestId {
        RequestId::new(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_sixteen_hex_digits_and_differ() {
        let ids = RequestIds::starting_at(u64::MAX);
        assert_eq!(ids.next().as_str(), "ffffffffffffffff");
        assert_eq!(ids.next().as_str(), "0000000000000000");
        assert_eq!(
            RequestId::new(0x0123_4567_89ab_cdef).to_string(),
            "0123456789abcdef"
        );
    }

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = RequestId::new(0x0123_4567_89ab_cdef);
        assert_eq!(RequestId::parse(id.as_str()), Some(id));
        for text in [
            "",
            "0123456789abcde",
            "0123456789abcdef0",
            "0123456789ABCDEF",
            "0123456789abcde/",
        ] {
            assert_eq!(RequestId::parse(text), None, "{text}");
        }
    }
}
