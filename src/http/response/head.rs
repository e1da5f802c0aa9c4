//! The reader of response heads on connections that are not with Pingora: answers to WebSocket handshakes, and those of
//! parent proxies to CONNECT.
//!
//! It looks at each byte once while the head arrives, and parses once, so that a server that sends single bytes costs
//! no more than another one.

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

/// The most fields of a head.
const MAX_FIELDS: usize = 128;

/// How every head begins.
const BEGIN: &[u8] = b"HTTP/1.";

/// The head of a response.
#[derive(Debug)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// The fields, in order.
    pub headers: HeaderMap,
    /// Its bytes, the empty line included.
    pub len: usize,
}

/// Why bytes are not the head of a response. No byte of them is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ResponseHeadError {
    /// They begin in another way.
    #[error("the answer is not HTTP/1")]
    NotHttp,
    /// More than the limit.
    #[error("the head of the answer is too long")]
    TooLong,
    /// A line is none of a head.
    #[error("the head of the answer is invalid: {0}")]
    Syntax(httparse::Error),
    /// A status that is none.
    #[error("the answer has no valid status code")]
    Status,
    /// A field that is none.
    #[error("the answer has an invalid header")]
    Field,
}

/// Finds the end of a head in bytes that arrive.
#[derive(Clone, Copy, Debug)]
pub struct ResponseReader {
    limit: usize,
    /// How far it was looked for.
    searched: usize,
}

impl ResponseReader {
    /// A reader of heads of at most `limit` bytes.
    pub const fn new(limit: usize) -> Self {
        Self { limit, searched: 0 }
    }

    /// Reads the head at the start of `bytes`; none while it is not complete. The bytes of an earlier call are to be at
    /// the start again, until there was a head.
    ///
    /// # Errors
    /// [`ResponseHeadError`], which does not depend on how the bytes arrive.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Option<ResponseHead>, ResponseHeadError> {
        if bytes.iter().zip(BEGIN).any(|(byte, wanted)| byte != wanted) {
            return Err(ResponseHeadError::NotHttp);
        }
        let Some(end) = self.end(bytes) else {
            return match bytes.len() > self.limit {
                true => Err(ResponseHeadError::TooLong),
                false => Ok(None),
            };
        };
        if end > self.limit {
            return Err(ResponseHeadError::TooLong);
        }
        self.searched = 0;
        parse(bytes.get(..end).unwrap_or_default()).map(Some)
    }

    /// Where the first empty line ends.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let from = self.searched;
        let ends = bytes.iter().enumerate().skip(from);
        let mut ends = ends.filter(|(_, byte)| **byte == b'\n');
        let is_end = |at: &usize| {
            let line = bytes.get(..*at).unwrap_or_default();
            line.ends_with(b"\n") || line.ends_with(b"\n\r")
        };
        let end = ends.find(|(at, _)| is_end(at)).map(|(at, _)| at + 1);
        self.searched = bytes.len();
        end
    }
}

fn parse(head: &[u8]) -> Result<ResponseHead, ResponseHeadError> {
    let mut storage = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut storage);
    match response.parse(head) {
        Ok(httparse::Status::Complete(len)) if len == head.len() => {}
        // It ends with the first empty line, or the reader of it and this one would differ.
        Ok(_) => return Err(ResponseHeadError::Syntax(httparse::Error::NewLine)),
        Err(error) => return Err(ResponseHeadError::Syntax(error)),
    }
    let status = StatusCode::from_u16(response.code.unwrap_or_default())
        .or(Err(ResponseHeadError::Status))?;
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for header in response.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_bytes(header.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(ResponseHeadError::Field);
        };
        headers.append(name, value);
    }
    Ok(ResponseHead {
        status,
        headers,
        len: head.len(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 64;

    /// What is read of bytes that arrive in pieces of this size: status, length, and how many bytes there were then.
    fn read(bytes: &[u8], piece: usize) -> Result<Option<(u16, usize)>, ResponseHeadError> {
        let mut reader = ResponseReader::new(LIMIT);
        let mut have = 0;
        while have < bytes.len() {
            have = (have + piece).min(bytes.len());
            if let Some(head) = reader.read(&bytes[..have])? {
                return Ok(Some((head.status.as_u16(), head.len)));
            }
        }
        Ok(None)
    }

    #[test]
    fn heads_and_what_is_none() {
        use ResponseHeadError::{Field, NotHttp, Syntax, TooLong};
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "a".repeat(LIMIT));
        for (bytes, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\nbehind", Ok(Some((200, 19)))),
            ("HTTP/1.0 407 x\r\nA: b\r\n\r\n", Ok(Some((407, 24)))),
            ("HTTP/1.1 200\n\n", Ok(Some((200, 14)))),
            ("HTTP/1.1 200 OK\r\n\r", Ok(None)),
            ("HTT", Ok(None)),
            ("SSH-2.0-x\r\n", Err(NotHttp)),
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", Err(NotHttp)),
            ("HTTP/2 200 OK\r\n\r\n", Err(NotHttp)),
            (
                "HTTP/1.1 2x0 OK\r\n\r\n",
                Err(Syntax(httparse::Error::Status)),
            ),
            (
                "HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
                Err(Syntax(httparse::Error::HeaderName)),
            ),
            ("HTTP/1.1 099 OK\r\n\r\n", Err(ResponseHeadError::Status)),
            (&long, Err(TooLong)),
        ] {
            for piece in 1..bytes.len() + 1 {
                assert_eq!(read(bytes.as_bytes(), piece), expected, "{bytes:?} {piece}");
            }
        }
        assert_ne!(Field, NotHttp);
    }

    proptest! {
        #[test]
        fn how_the_bytes_arrive_does_not_matter(
            tail in prop::collection::vec(
                prop::sample::select(b"HTTP/1.1 200 OK\r\n\n: ab\0".to_vec()), 0..90),
            piece in 1usize..20,
        ) {
            let bytes = [b"HTTP/1.1 200 OK", &tail[..]].concat();
            prop_assert_eq!(read(&bytes, piece), read(&bytes, 1));
        }
    }
}
