//! The pure HTTP/1 parsers that stand in front of Pingora on every connection.
//!
//! Pingora reads requests leniently: it takes a bare LF for a line end, prefers
//! `Transfer-Encoding` when `Content-Length` is there too, and wants `Host` to
//! equal the target byte for byte. A proxy must do none of these. So the
//! connection loop reads a head itself, this module checks it once, and Pingora
//! gets a head that it cannot misread and exactly the bytes of one body. A request
//! that passes means the same to Pingora and to every origin.
//!
//! - [`HeadScanner`] finds the end of a head while it arrives, in linear time,
//!   and refuses early what can never become a request.
//! - [`RequestHead`] is a checked head: the facts that decide where the request
//!   goes, and the bytes that Pingora gets.
//! - [`Framing`] says where the body ends; [`BodyScanner`] finds that end in the
//!   stream without holding a byte of it.
//!
//! Nothing here reads, writes, allocates without a bound, or knows tokio or
//! Pingora.

mod error;
mod fields;
mod framing;
#[cfg(any(test, feature = "internals"))]
pub mod fuzz;
mod head;
mod kept;
mod refused;
mod request_line;
mod scanner;

pub use error::{FramingError, HeadError};
pub use framing::{BodyScanner, Framing};
pub use head::RequestHead;
pub use kept::KeptHead;
pub use refused::RefusedHead;
pub use request_line::Version;
pub use scanner::{HeadLimits, HeadScanner, MAX_FIELDS, Scanned};

/// Whether `byte` may stand in a token (`tchar`, RFC 9110 §5.6.2).
pub(super) const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Whether `byte` may stand in a field value: everything but controls other
/// than HTAB (RFC 9110 §5.5).
const fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Without the optional whitespace (SP and HTAB, RFC 9110 §5.6.3) at both ends.
pub(super) fn trim_ows(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}
