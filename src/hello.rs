//! The ClientHello of TLS (RFC 8446 §4.1.2) as it passes: what a client says in the clear before anything is encrypted.
//!
//! [`HelloReader`] takes the first bytes of a client in whatever pieces they come: fragments of TCP, of records
//! (RFC 8446 §5.1) and of the handshake message. Pure, and strict: a hello that two servers may read in two ways is
//! [`Unreadable`].

mod ja4;
mod message;

#[cfg(any(test, feature = "internals"))]
pub mod fuzz;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use thiserror::Error;

/// The most bytes that are read for a hello, with the headers of its records. One with the key shares of today has
/// 0.5 to 2 KiB.
pub const MAX_BYTES: usize = 32 * 1024;

/// The most protocols that a hello may offer. Clients offer one to five.
pub const MAX_ALPN: usize = 32;

/// The longest name of a host in a hello, in bytes (RFC 1035 §2.3.4).
pub const MAX_SNI: usize = 255;

/// The longest text of a protocol: 255 bytes in hexadecimal digits.
pub const MAX_PROTOCOL: usize = 512;

const HEADER: usize = 5;
const MAX_RECORD: usize = 16 * 1024;
const HANDSHAKE: u8 = 22;
/// The types of records (RFC 8446 §5.1, RFC 6520 §3).
const RECORDS: RangeInclusive<u8> = 20..=24;
const CLIENT_HELLO: u8 = 1;
/// Type and length of a handshake message.
const PREFIX: usize = 4;

/// What a hello says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// The name of the host (RFC 6066 §3) as sent: printable ASCII, with whatever case and dots. None: there is none.
    pub sni: Option<Box<str>>,
    /// The protocols that it offers (RFC 7301), in its order. One that is not printable ASCII is `0x` and its bytes in
    /// hexadecimal digits.
    pub alpn: Vec<Box<str>>,
    /// The fingerprint of the client by [JA4](https://github.com/FoxIO-LLC/ja4).
    pub ja4: Box<str>,
    /// Whether it has an encrypted hello inside (ECH), or what looks like one (GREASE).
    pub ech: bool,
}

/// Why the first bytes of a client are no hello that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// Another protocol than TLS.
    #[error("the first bytes are not those of TLS")]
    NotTls,
    /// It begins as TLS.
    #[error("the ClientHello is malformed: {0}")]
    Malformed(&'static str),
    /// More than [`MAX_BYTES`].
    #[error("the ClientHello is longer than {MAX_BYTES} bytes")]
    TooLong,
}

/// Reads a hello from the first bytes of a client, each byte once.
#[derive(Debug, Default)]
pub struct HelloReader {
    /// What the records so far have of the message.
    message: Vec<u8>,
    /// How many bytes were read.
    at: usize,
    /// What is missing of the record that was begun.
    left: usize,
}

impl HelloReader {
    /// Reads on. `bytes` are all that have come, those of the last call too. None: there are to be more.
    ///
    /// # Errors
    /// [`Unreadable`], as soon as it is known.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<Hello>, Unreadable> {
        // The result is not to depend on how many bytes come at once.
        let bytes = bytes.get(..MAX_BYTES).unwrap_or(bytes);
        loop {
            if self.left == 0 && !self.begin_record(bytes)? {
                break;
            }
            let rest = bytes.get(self.at..).unwrap_or_default();
            let piece = rest.get(..self.left).unwrap_or(rest);
            if piece.is_empty() {
                break;
            }
            self.message.extend_from_slice(piece);
            self.at += piece.len();
            self.left -= piece.len();
            if let Some(hello) = self.complete()? {
                return Ok(Some(hello));
            }
        }
        if bytes.len() == MAX_BYTES {
            return Err(Unreadable::TooLong);
        }
        Ok(None)
    }

    /// Whether the header of the next record is there.
    fn begin_record(&mut self, bytes: &[u8]) -> Result<bool, Unreadable> {
        let rest = bytes.get(self.at..).unwrap_or_default();
        let (kind, version) = (rest.first(), rest.get(1));
        let is_record = kind.is_none_or(|kind| RECORDS.contains(kind))
            && version.is_none_or(|version| *version == 3);
        if !is_record && self.at == 0 {
            return Err(Unreadable::NotTls);
        }
        // A server may pass over a record before the hello, such as a warning, and then take the hello.
        let is_other = kind.is_some_and(|kind| *kind != HANDSHAKE) && version.is_some();
        if !is_record || is_other {
            return Err(Unreadable::Malformed("another record before its end"));
        }
        let Some([_, _, _, high, low]) = rest.first_chunk::<HEADER>() else {
            return Ok(false);
        };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        if !(1..=MAX_RECORD).contains(&len) {
            return Err(Unreadable::Malformed("the length of a record"));
        }
        self.at += HEADER;
        self.left = len;
        Ok(true)
    }

    /// The hello, if all of it is there.
    fn complete(&self) -> Result<Option<Hello>, Unreadable> {
        if self.message.first() != Some(&CLIENT_HELLO) {
            return Err(Unreadable::Malformed("another message"));
        }
        let Some([_, high, middle, low]) = self.message.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        if len > MAX_BYTES - PREFIX - HEADER {
            return Err(Unreadable::TooLong);
        }
        let Some(body) = self.message.get(PREFIX..PREFIX + len) else {
            return Ok(None);
        };
        if self.message.len() > PREFIX + len || self.left > 0 {
            return Err(Unreadable::Malformed("bytes behind it in its record"));
        }
        message::parse(body).map(Some)
    }
}

/// A fatal alert as a record in the clear (RFC 8446 §6): a client that gets it says why in the words of its library.
pub const fn fatal_alert(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}
