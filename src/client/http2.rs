//! HTTP/2 streams (RFC 9113) as connections that carry one HTTP/1.1 request each.
//!
//! What decides about requests, and Pingora behind it, sees no second protocol: a
//! request is written as the HTTP/1.1 head that means the same, and goes through the
//! same strict reader as any other; what is answered is read back into frames. So no
//! rule, bound or log field can hold for one version of HTTP and not for the other.
//!
//! - [`to_http1`] makes that head, and refuses what HTTP/1.1 would read in another way.
//! - [`Http2Stream`] is the stream as a reader and writer of HTTP/1.1 bytes.
//! - [`LocalEndpoint`] tells requests for this server from requests to forward, which in HTTP/1.1
//!   the form of the target does.
//! - [`UnreadAnswers`] are those that are over for their streams and not for the client.
//!
//! Frames, flow control and header compression are the `h2` crate's.

mod request;
mod response;
mod stream;
mod unread;

pub use request::{LocalEndpoint, to_http1};
pub use stream::Http2Stream;
pub use unread::{Piece, UnreadAnswers};
