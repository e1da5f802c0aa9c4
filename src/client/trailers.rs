//! The trailer section of an answer (RFC 9110 §6.5): Pingora reads it from upstreams of HTTP/2, and ends the answer to an
//! HTTP/1 client without it. It is put into the last chunk that Pingora writes.

use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use parking_lot::Mutex;

use crate::http::fields::push_line;
use crate::http::http1::{BodyScanner, Framing};

/// The last chunk as Pingora writes it, alone and at once.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Keeps the trailer section of one answer until its last chunk is written.
#[derive(Debug, Default)]
pub struct Trailers {
    is_expected: AtomicBool,
    fields: Mutex<Option<HeaderMap>>,
}

impl Trailers {
    /// The chunked answer whose head Pingora is about to write may end with a trailer section.
    pub fn expect(&self) {
        self.is_expected.store(true, Ordering::Relaxed);
    }

    /// Keeps the section of the answer, if one is expected.
    pub fn keep(&self, fields: HeaderMap) {
        if self.is_expected() {
            *self.fields.lock() = Some(fields);
        }
    }

    /// Another answer is written than the one that was expected.
    pub fn forget(&self) {
        if self.is_expected() {
            self.is_expected.store(false, Ordering::Relaxed);
            *self.fields.lock() = None;
        }
    }

    #[inline]
    pub(super) fn is_expected(&self) -> bool {
        self.is_expected.load(Ordering::Relaxed)
    }

    pub(super) fn take(&self) -> Option<HeaderMap> {
        self.fields.lock().take()
    }
}

/// How far an answer is written. Its chunks are counted, since content may look like the last of them.
#[derive(Debug, Default)]
pub(super) enum Written {
    #[default]
    Nothing,
    /// So many bytes of the head are left.
    Head(usize),
    Body(BodyScanner),
}

impl Written {
    /// Whether `data`, which is to be written next, is the last chunk.
    pub(super) fn ends_with(&self, data: &[u8]) -> bool {
        match self {
            Self::Body(body) => body.is_before_chunk() && data == LAST_CHUNK,
            Self::Nothing | Self::Head(_) => false,
        }
    }

    /// Notes that `count` bytes of `data` are written. Pingora writes the head of an answer alone.
    pub(super) fn on_written(&mut self, data: &[u8], count: usize) {
        let left = match self {
            Self::Nothing => data.len(),
            Self::Head(left) => *left,
            Self::Body(body) => {
                // What breaks the grammar has no last chunk, and is never one again.
                let _ = body.scan(data.get(..count).unwrap_or(data));
                return;
            }
        };
        *self = match left.saturating_sub(count) {
            0 => Self::Body(BodyScanner::new(Framing::Chunked)),
            left => Self::Head(left),
        };
    }
}

/// The last chunk with this trailer section (RFC 9112 §7.1).
pub(super) fn last_chunk(fields: &HeaderMap) -> Vec<u8> {
    let mut out = b"0\r\n".to_vec();
    for (name, value) in fields {
        push_line(&mut out, name.as_str().as_bytes(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kept_where_they_are_expected() {
        let trailers = Trailers::default();
        let mut fields = HeaderMap::new();
        fields.append("grpc-status", "0".parse().unwrap());
        fields.append("a", "b".parse().unwrap());
        trailers.keep(fields.clone());
        assert_eq!(trailers.take(), None);
        trailers.expect();
        trailers.keep(fields.clone());
        assert_eq!(trailers.take(), Some(fields.clone()));
        trailers.keep(fields.clone());
        trailers.forget();
        assert_eq!(trailers.take(), None);
        assert_eq!(last_chunk(&fields), b"0\r\ngrpc-status: 0\r\na: b\r\n\r\n");
    }

    proptest! {
        /// Content is never taken for the last chunk, in whatever pieces it is written.
        #[test]
        fn only_the_last_chunk_is_the_last_one(
            chunks in prop::collection::vec(
                prop_oneof![Just(LAST_CHUNK.to_vec()), prop::collection::vec(any::<u8>(), 1..40)], 0..6,
            ),
            head in 1usize..60,
            cuts in prop::collection::vec(1usize..9, 1..8),
        ) {
            // As Pingora writes: the head, then for each chunk its size, its data and its line end.
            let mut pieces = vec![vec![b'h'; head]];
            for chunk in chunks {
                pieces.push(format!("{:X}\r\n", chunk.len()).into_bytes());
                pieces.push(chunk);
                pieces.push(b"\r\n".to_vec());
            }
            let mut written = Written::default();
            let mut cuts = cuts.iter().cycle();
            for piece in &pieces {
                let mut rest = &piece[..];
                while !rest.is_empty() {
                    prop_assert!(!written.ends_with(rest));
                    let count = rest.len().min(*cuts.next().unwrap());
                    written.on_written(rest, count);
                    rest = &rest[count..];
                }
            }
            prop_assert!(written.ends_with(LAST_CHUNK));
        }
    }
}
