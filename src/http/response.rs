//! The head of a response: which fields go on, and where the body ends (RFC 9112 §6.3).
//!
//! This is the only reader of `Content-Length` and `Transfer-Encoding` in responses: of those that Pingora
//! forwards, of the answers to WebSocket handshakes, and of those that HTTP/2 clients get. Pure: no I/O, no
//! Pingora types.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use thiserror::Error;

use super::fields::{HopField, is_ignored_option};
use super::http1::{Framing, trim_ows};

#[cfg(any(test, feature = "internals"))]
pub mod fuzz;
mod head;
#[cfg(test)]
mod tests;

pub use self::head::{ResponseHead, ResponseHeadError, ResponseReader};

/// Interim responses (1xx) that one request gets at most: each is passed on or skipped, and without a limit an
/// upstream could send them for ever.
pub const MAX_INTERIM: usize = 16;

/// Whether a status ends the answer in HTTP: an interim one does not, a 101 does.
pub fn is_final(status: StatusCode) -> bool {
    !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS
}

/// What a proxy has to know of the fields of a response, read in one walk.
#[derive(Debug, Default)]
pub struct ResponseFields {
    /// What delimits the body.
    pub framing: FramingFields,
    /// Fields that end here (RFC 9110 §7.6.1), those that `Connection` names included. `Transfer-Encoding` and
    /// `Connection` itself are left to the writer of the head.
    pub hop_by_hop: Vec<HeaderName>,
    /// The first `Date`, and whether there are more.
    pub date: Option<HeaderValue>,
    pub has_more_dates: bool,
}

/// What `Transfer-Encoding` and `Content-Length` of a response say together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FramingFields {
    coding: TransferCoding,
    length: ContentLength,
}

/// What all lines of `Transfer-Encoding` say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum TransferCoding {
    #[default]
    Absent,
    /// One line: `chunked`.
    Chunked,
    /// Anything else.
    Other,
}

/// What all lines of `Content-Length` say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ContentLength {
    #[default]
    Absent,
    /// One line of this many digits, or several that are all the same.
    Plain {
        length: u64,
        digits: usize,
        repeated: bool,
    },
    /// The same number several times, in a list or in other digits.
    Listed(u64),
    /// Different numbers, or no number.
    Ambiguous,
}

/// Where the body of a response ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// With the head: there is no body.
    None,
    /// After this many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection. So do the bytes of a tunnel after the response to a `CONNECT`.
    Close,
}

/// The framing of a response can be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the length of the answer can be read in two ways")]
pub struct AmbiguousFraming;

/// What becomes of the framing fields, so that the next reader sees the same end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramingChange {
    /// They go on as they are.
    Keep,
    /// They are removed: the status has no body, so that nothing may frame one (RFC 9110 §8.6, RFC 9112 §6.1).
    Remove,
    /// One `Content-Length` replaces several equal ones.
    SetLength(u64),
}

impl ResponseFields {
    /// Reads the fields of a response. In a 101, `Upgrade` does not end here: it names the protocol.
    pub fn read(status: StatusCode, headers: &HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            match HopField::of(name) {
                None => {}
                Some(HopField::Connection) => {
                    fields.hop_by_hop.extend(nominated(value, headers));
                }
                Some(HopField::Upgrade) if status == StatusCode::SWITCHING_PROTOCOLS => {}
                Some(HopField::Date) if fields.date.is_none() => fields.date = Some(value.clone()),
                Some(HopField::Date) => fields.has_more_dates = true,
                Some(field) if field.is_removed_from_response() => {
                    fields.hop_by_hop.push(name.clone());
                }
                Some(field) => fields.framing.add(field, value.as_bytes()),
            }
        }
        fields
    }
}

/// The fields of a response that an option of its `Connection` takes away.
fn nominated(connection: &HeaderValue, headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    connection
        .as_bytes()
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|option| !is_ignored_option(option))
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| headers.contains_key(name))
}

impl FramingFields {
    /// Takes in one more field line. A field that does not delimit a body changes nothing.
    pub fn add(&mut self, field: HopField, value: &[u8]) {
        match field {
            HopField::ContentLength => self.length = self.length.and(value),
            HopField::TransferEncoding => self.coding = self.coding.and(value),
            _ => {}
        }
    }

    /// How the fields go on, so that their reading is the only one.
    ///
    /// Repairs what RFC 9112 §6.3 lets a recipient repair: equal lengths become one. A length beside `chunked`
    /// does not count; Pingora drops it.
    ///
    /// # Errors
    /// [`AmbiguousFraming`]: a coding other than one `chunked`, or a length that is not one number below 2^63.
    pub fn change(&self, status: StatusCode) -> Result<FramingChange, AmbiguousFraming> {
        if *self == Self::default() {
            return Ok(FramingChange::Keep);
        }
        if status.is_informational() || status == StatusCode::NO_CONTENT {
            return Ok(FramingChange::Remove);
        }
        let (length, change) = match (self.coding, self.length) {
            (TransferCoding::Chunked, _) => return Ok(FramingChange::Keep),
            (
                TransferCoding::Absent,
                ContentLength::Plain {
                    length, repeated, ..
                },
            ) if !repeated => (length, FramingChange::Keep),
            (
                TransferCoding::Absent,
                ContentLength::Plain { length, .. } | ContentLength::Listed(length),
            ) => (length, FramingChange::SetLength(length)),
            _ => return Err(AmbiguousFraming),
        };
        // No body is as long, and other readers overflow on such a number.
        i64::try_from(length).map_or(Err(AmbiguousFraming), |_| Ok(change))
    }
}

impl TransferCoding {
    fn and(self, line: &[u8]) -> Self {
        match self {
            Self::Absent if line.eq_ignore_ascii_case(b"chunked") => Self::Chunked,
            _ => Self::Other,
        }
    }
}

impl ContentLength {
    fn and(self, line: &[u8]) -> Self {
        match (self, number(line)) {
            (Self::Absent, Some(length)) => Self::Plain {
                length,
                digits: line.len(),
                repeated: false,
            },
            // The same number in as many digits is the same text.
            (Self::Plain { length, digits, .. }, Some(number))
                if number == length && digits == line.len() =>
            {
                Self::Plain {
                    length,
                    digits,
                    repeated: true,
                }
            }
            (length, _) => line
                .split(|&byte| byte == b',')
                .fold(length, Self::and_member),
        }
    }

    fn and_member(self, member: &[u8]) -> Self {
        let number = number(trim_ows(member));
        match (self, number) {
            (Self::Absent, Some(number)) => Self::Listed(number),
            (Self::Plain { length, .. } | Self::Listed(length), Some(number))
                if length == number =>
            {
                Self::Listed(length)
            }
            _ => Self::Ambiguous,
        }
    }
}

/// The number that these bytes are: digits and nothing else.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

impl BodyEnd {
    /// Where the response to a request with this method ends (RFC 9112 §6.3).
    ///
    /// # Errors
    /// [`AmbiguousFraming`]: `Content-Length` beside `Transfer-Encoding`, a coding other than one `chunked`, or
    /// lines of `Content-Length` that are not all the same digits of a number below 2^63.
    pub fn of(
        method: &Method,
        status: StatusCode,
        fields: &FramingFields,
    ) -> Result<Self, AmbiguousFraming> {
        if *method == Method::CONNECT && status.is_success() {
            return Ok(Self::Close);
        }
        let is_without_body = *method == Method::HEAD
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        if is_without_body {
            return Ok(Self::None);
        }
        match (fields.coding, fields.length) {
            (TransferCoding::Absent, ContentLength::Absent) => Ok(Self::Close),
            (TransferCoding::Chunked, ContentLength::Absent) => Ok(Self::Chunked),
            (TransferCoding::Absent, ContentLength::Plain { length, .. })
                if i64::try_from(length).is_ok() =>
            {
                Ok(Self::Length(length))
            }
            _ => Err(AmbiguousFraming),
        }
    }

    /// The framing to follow with a [`BodyScanner`](super::http1::BodyScanner); none when the body ends with the
    /// connection.
    pub fn framing(self) -> Option<Framing> {
        match self {
            Self::None => Some(Framing::None),
            Self::Length(length) => Some(Framing::Length(length)),
            Self::Chunked => Some(Framing::Chunked),
            Self::Close => None,
        }
    }
}
