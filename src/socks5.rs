//! The messages of SOCKS5 (RFC 1928) and of its login (RFC 1929), for both sides: bytes to values and back.
//!
//! Pure: no I/O, no runtime, no meaning of a host. A parser gets what has arrived so far and returns a value with
//! its length, or how many bytes are certain to be missing. A caller that reads no more than these never takes
//! a byte behind the message, and bytes that follow a whole message are not looked at. Every length is one byte, so
//! that no message is longer than 513 bytes.

mod address;
pub mod client;
#[cfg(any(test, feature = "internals"))]
pub mod fuzz;
pub mod message;
mod reply;
pub mod server;
#[cfg(test)]
mod tests;

pub use self::address::{Address, EncodeError};
pub use self::reply::ReplyCode;

/// The first byte of every message but those of the login.
pub const VERSION: u8 = 5;

/// The first byte of the messages of the login (RFC 1929).
const LOGIN_VERSION: u8 = 1;

/// A method of authentication: none.
const METHOD_NONE: u8 = 0;

/// A method of authentication: user name and password (RFC 1929).
const METHOD_PASSWORD: u8 = 2;

/// No method that the client offers is acceptable.
const METHOD_UNACCEPTABLE: u8 = 0xff;
