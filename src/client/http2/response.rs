//! An answer, read back from HTTP/1.1 bytes.
//!
//! They are written by this program: Pingora, or `reply`. What does not parse is a
//! mistake of ours, and ends the stream.

use std::io;

use http::header::{HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};

use crate::http::fields::HopField;
use crate::http::http1::BodyScanner;
use crate::http::response::{BodyEnd, FramingFields};

#[cfg(test)]
mod tests;

/// Pingora takes no more than this of an upstream either.
const MAX_HEAD: usize = 1024 * 1024;
const MAX_FIELDS: usize = 320;

/// What comes next.
#[derive(Debug)]
pub(super) enum Part {
    /// An answer before the answer (1xx).
    Interim(Response<()>),
    /// The head of the answer, and whether that is all of it.
    Head(Response<()>, bool),
    /// So many bytes of the body.
    Data(usize),
    /// Nothing that is to be passed on.
    Nothing,
}

/// Reads one answer.
#[derive(Debug)]
pub(super) struct ResponseReader {
    state: State,
    head: Vec<u8>,
    /// The method of the request, which says whether the answer can have a body.
    method: Method,
}

#[derive(Debug)]
enum State {
    Head,
    Framed(BodyScanner),
    /// Up to the end of the stream.
    Rest,
    Done,
}

impl ResponseReader {
    /// For the answer to a request with this method.
    pub(super) fn new(method: &Method) -> Self {
        Self {
            state: State::Head,
            head: Vec::new(),
            method: method.clone(),
        }
    }

    /// Whether the answer is complete.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Whether the end of the stream is the end of the answer.
    pub(super) fn may_end(&self) -> bool {
        matches!(self.state, State::Rest)
    }

    /// The stream has ended.
    pub(super) fn end(&mut self) {
        self.state = State::Done;
    }

    /// What `bytes` begin with, and how many of them that is. Bytes of a body are to
    /// be [taken](Self::take) when they are sent.
    ///
    /// # Errors
    /// They are no answer.
    pub(super) fn read(&mut self, bytes: &[u8]) -> io::Result<(usize, Part)> {
        match &mut self.state {
            State::Head => self.read_head(bytes),
            State::Rest => Ok((0, Part::Data(bytes.len()))),
            State::Framed(body) => {
                let data = usize::try_from(body.data_ahead()).unwrap_or(usize::MAX);
                if data > 0 {
                    return Ok((0, Part::Data(data.min(bytes.len()))));
                }
                // Chunk by chunk: up to where the next data begin.
                let mut read = 0;
                for byte in bytes {
                    read += body.scan(&[*byte]).map_err(invalid)?;
                    if body.data_ahead() > 0 || body.is_done() {
                        break;
                    }
                }
                if body.is_done() {
                    self.state = State::Done;
                }
                Ok((read, Part::Nothing))
            }
            State::Done => Err(invalid("bytes behind an answer")),
        }
    }

    /// The first of the bytes that were said to be the body's are sent: `bytes`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let State::Framed(body) = &mut self.state {
            body.scan(bytes).map_err(invalid)?;
            if body.is_done() {
                self.state = State::Done;
            }
        }
        Ok(())
    }

    fn read_head(&mut self, bytes: &[u8]) -> io::Result<(usize, Part)> {
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        // The empty line may have begun in what came before.
        let from = before.saturating_sub(3);
        let fresh = self.head.get(from..).unwrap_or_default();
        let Some(end) = memchr::memmem::find(fresh, b"\r\n\r\n") else {
            return match self.head.len() {
                0..=MAX_HEAD => Ok((bytes.len(), Part::Nothing)),
                _ => Err(invalid("the head of an answer is too long")),
            };
        };
        let len = from + end + 4;
        self.head.truncate(len);
        let head = std::mem::take(&mut self.head);
        Ok((len - before, self.parse_head(&head)?))
    }

    fn parse_head(&mut self, head: &[u8]) -> io::Result<Part> {
        let mut storage = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut storage);
        parsed.parse(head).map_err(invalid)?;
        let status = parsed.code.unwrap_or_default();
        let status = StatusCode::from_u16(status).map_err(invalid)?;
        let mut response = Response::new(());
        *response.status_mut() = status;
        let mut framing = FramingFields::default();
        for field in parsed.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(invalid)?;
            if let Some(known) = HopField::of(&name) {
                framing.add(known, field.value);
                if known.is_barred_from_http2() {
                    continue;
                }
            }
            let value = HeaderValue::from_bytes(field.value).map_err(invalid)?;
            response.headers_mut().append(name, value);
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(invalid("HTTP/2 has no 101"));
        }
        if status.is_informational() {
            return Ok(Part::Interim(response));
        }
        let end = BodyEnd::of(&self.method, status, &framing).map_err(invalid)?;
        self.state = match end.framing().map(BodyScanner::new) {
            None => State::Rest,
            Some(body) if body.is_done() => State::Done,
            Some(body) => State::Framed(body),
        };
        Ok(Part::Head(response, self.is_done()))
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
