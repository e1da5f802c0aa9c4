//! The client's connection: the transport under it, and the view of it that
//! Pingora is lent for the time of one request.
//!
//! Knows framing and Pingora's I/O traits, nothing of what is served.

mod body_pace;
mod certificate;
mod charge;
mod clock;
mod date;
mod digests;
pub mod http2;
mod lent;
mod pace;
mod raw;
mod response_watch;
mod stream;
mod trailers;
mod turn;

pub use certificate::{ClientCertificate, Login};
pub use lent::ConnectionReturn;
pub use raw::{RawReturn, RawStream};
pub use stream::{ClientStream, Connection, Patience, Transport};
