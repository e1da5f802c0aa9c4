//! The elements of DER, as far as it takes to know what a file has. Pure.

/// One element of DER: its tag, its content, and the bytes after it.
///
/// Accepts every definite length of BER: the parser of certificates checks the rest.
pub(in crate::config) fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, length], rest) = der.split_first_chunk()?;
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            let length = bytes
                .iter()
                .fold(0usize, |length, byte| length << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

pub(in crate::config) const INTEGER: u8 = 0x02;
pub(in crate::config) const BIT_STRING: u8 = 0x03;
pub(in crate::config) const OCTET_STRING: u8 = 0x04;
pub(in crate::config) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(in crate::config) const SEQUENCE: u8 = 0x30;
