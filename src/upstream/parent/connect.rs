//! What is written for a CONNECT, and what is read of its answer. Pure: no I/O.

use bytes::{Buf, BytesMut};
use http::{HeaderValue, StatusCode};

use super::failure::Failure;
use crate::http::fields::push_line;
use crate::http::response::{MAX_INTERIM, ResponseReader};

/// The largest head of an answer.
pub(super) const MAX_HEAD: usize = 16 * 1024;

/// The head of a CONNECT to `target`, which is `host:port`. `via` has the proxies that the request came through, this one
/// last.
pub(super) fn request(target: &str, via: &[u8], credentials: Option<&HeaderValue>) -> Vec<u8> {
    let mut head = Vec::with_capacity(256);
    for part in ["CONNECT ", target, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    push_line(&mut head, b"Host", target.as_bytes());
    push_line(&mut head, b"Via", via);
    if let Some(credentials) = credentials {
        push_line(&mut head, b"Proxy-Authorization", credentials.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The answer to a CONNECT, as it arrives.
#[derive(Debug)]
pub(super) struct ConnectAnswer {
    reader: ResponseReader,
    interim: usize,
}

impl ConnectAnswer {
    pub(super) const fn new() -> Self {
        Self {
            reader: ResponseReader::new(MAX_HEAD),
            interim: 0,
        }
    }

    /// Goes on with `bytes`: what has come and was not taken. Whether the tunnel is open; then they are the first ones of
    /// the target.
    ///
    /// # Errors
    /// The parent refuses, or its answer is none.
    pub(super) fn advance(&mut self, bytes: &mut BytesMut) -> Result<bool, Failure> {
        while let Some(head) = self.reader.read(bytes)? {
            bytes.advance(head.len);
            match head.status {
                StatusCode::SWITCHING_PROTOCOLS => {
                    return Err(Failure::Protocol("it switches to another protocol"));
                }
                status if status.is_informational() => {
                    self.interim += 1;
                    if self.interim > MAX_INTERIM {
                        return Err(Failure::Protocol("too many interim answers"));
                    }
                }
                // Whatever frames content in it is ignored (RFC 9110 §9.3.6).
                status if status.is_success() => return Ok(true),
                status => return Err(Failure::Refused(status)),
            }
        }
        Ok(false)
    }
}
