//! JA4, the fingerprint of a TLS client, after the public specification of FoxIO
//! (github.com/FoxIO-LLC/ja4, technical_details/JA4.md). JA4 itself is under the licence BSD 3-Clause; the other methods of
//! that family are not, and are not here.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;

/// How many digits of a digest are shown.
const SHOWN: usize = 6;

/// What the fingerprint is made of.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    /// The version in the message.
    pub(super) version: u16,
    /// Those in the extension for them, which count more.
    pub(super) versions: Vec<u16>,
    pub(super) ciphers: Vec<u16>,
    pub(super) extensions: Vec<u16>,
    pub(super) signatures: Vec<u16>,
    /// The first protocol.
    pub(super) alpn: Option<&'a [u8]>,
}

/// The fingerprint: `t13d1516h2_8daaf6152771_e5627efa2ab1`.
pub(super) fn fingerprint(mut parts: Parts<'_>) -> Box<str> {
    for list in [
        &mut parts.versions,
        &mut parts.ciphers,
        &mut parts.extensions,
        &mut parts.signatures,
    ] {
        list.retain(|value| !is_grease(*value));
    }
    let highest = parts.versions.iter().max().copied();
    let version = match highest.unwrap_or(parts.version) {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    };
    let destination = match parts.extensions.contains(&SERVER_NAME) {
        true => 'd',
        false => 'i',
    };
    let (ciphers, extensions) = (count(&parts.ciphers), count(&parts.extensions));
    let [first, last] = ends(parts.alpn.unwrap_or_default());
    parts.ciphers.sort_unstable();
    parts.extensions.sort_unstable();
    parts
        .extensions
        .retain(|kind| !matches!(*kind, SERVER_NAME | ALPN));
    let mut hashed = listed(&parts.extensions);
    if !hashed.is_empty() && !parts.signatures.is_empty() {
        hashed.push('_');
        hashed.push_str(&listed(&parts.signatures));
    }
    let mut text = format!("t{version}{destination}{ciphers:02}{extensions:02}{first}{last}");
    for list in [listed(&parts.ciphers), hashed] {
        text.push('_');
        push_digest(&mut text, &list);
    }
    text.into()
}

/// RFC 8701.
fn is_grease(value: u16) -> bool {
    let [high, low] = value.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

fn count(list: &[u16]) -> usize {
    list.len().min(99)
}

/// The first and the last character of a protocol, or of its hexadecimal digits.
fn ends(protocol: &[u8]) -> [char; 2] {
    let (Some(first), Some(last)) = (protocol.first(), protocol.last()) else {
        return ['0', '0'];
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [(*first).into(), (*last).into()];
    }
    let digit = |value: u8| char::from_digit(value.into(), 16).unwrap_or('0');
    [digit(first >> 4), digit(last & 0x0f)]
}

fn listed(list: &[u16]) -> String {
    let mut text = String::with_capacity(5 * list.len());
    for value in list {
        if !text.is_empty() {
            text.push(',');
        }
        push_hex(&mut text, &value.to_be_bytes());
    }
    text
}

fn push_digest(text: &mut String, list: &str) {
    if list.is_empty() {
        text.push_str("000000000000");
        return;
    }
    let digest = Sha256::digest(list.as_bytes());
    push_hex(text, digest.get(..SHOWN).unwrap_or_default());
}

/// Appends bytes in hexadecimal digits.
pub(super) fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // A string takes all that is written.
        let _ = write!(text, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification, with GREASE in each list.
    fn example() -> Parts<'static> {
        Parts {
            version: 0x0303,
            versions: vec![0x2a2a, 0x0304, 0x0303],
            ciphers: vec![
                0x8a8a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8,
                0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
            ],
            extensions: vec![
                0xdada, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005,
                0x0023, 0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015, 0xfafa,
            ],
            signatures: vec![
                0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601,
            ],
            alpn: Some(b"h2"),
        }
    }

    #[test]
    fn the_vectors_of_the_specification() {
        assert_eq!(
            &*fingerprint(example()),
            "t13d1516h2_8daaf6152771_e5627efa2ab1"
        );
        let without = Parts {
            signatures: vec![0x1a1a],
            ..example()
        };
        assert_eq!(
            &*fingerprint(without),
            "t13d1516h2_8daaf6152771_6d807ffa2a79"
        );
    }

    #[test]
    fn protocols_by_their_ends() {
        for (protocol, expected) in [
            (&b""[..], "00"),
            (b"h2", "h2"),
            (b"http/1.1", "h1"),
            (b"x", "xx"),
            (b"\xab", "ab"),
            (b"\xab\xcd", "ad"),
            (b"\x30\xab", "3b"),
            (b"\x30\x31\xab\xcd", "3d"),
            (b"\x30\xab\xcd\x31", "01"),
        ] {
            let shown: String = ends(protocol).into_iter().collect();
            assert_eq!(shown, expected, "{protocol:?}");
        }
    }

    #[test]
    fn what_is_missing_is_shown_as_zeros() {
        let empty = Parts {
            version: 0x0301,
            extensions: vec![SERVER_NAME, ALPN],
            ..Parts::default()
        };
        assert_eq!(&*fingerprint(empty), "t10d000200_000000000000_000000000000");
        for (version, versions, expected) in [
            (0x0303, vec![], "12"),
            (0x0303, vec![0x7a7a, 0x0302], "11"),
            (0x0303, vec![0x3a3a], "12"),
            (0x0300, vec![], "s3"),
            (0x0002, vec![], "s2"),
            (0x7f17, vec![], "00"),
        ] {
            let parts = Parts {
                version,
                versions,
                ciphers: vec![0x1301; 120],
                ..Parts::default()
            };
            let shown = fingerprint(parts);
            assert_eq!(&shown[..10], format!("t{expected}i990000"), "{shown}");
        }
    }
}
