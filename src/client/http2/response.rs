//! A response, read back from HTTP/1.1 bytes.
//!
//! This program writes these bytes: Pingora, or `reply`. Bytes that do not parse are a
//! defect of this program, and end the stream.

use std::io;

use http::header::{HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};

use crate::http::fields::HopField;
use crate::http::http1::{BodyScanner, Framing};
use crate::http::response::{BodyEnd, FramingFields};

#[cfg(test)]
mod tests;

/// Pingora accepts no larger head from an upstream.
const MAX_HEAD: usize = 1024 * 1024;
const MAX_FIELDS: usize = 320;

/// The next part of a response.
#[derive(Debug)]
pub(super) enum Part {
    /// An interim response (1xx).
    Interim(Response<()>),
    /// The head of the response, and whether there is no body.
    Head(Response<()>, bool),
    /// This many bytes of the body.
    Data(usize),
    /// Bytes that do not go on.
    Nothing,
}

#[derive(Debug)]
pub(super) struct ResponseReader {
    state: State,
    head: Vec<u8>,
    /// The method of the request, on which the end of the body depends.
    method: Method,
}

#[derive(Debug)]
enum State {
    Head,
    Framed(BodyScanner),
    /// Up to the end of the stream.
    Rest,
}

impl ResponseReader {
    /// For the response to a request with this method.
    pub(super) fn new(method: &Method) -> Self {
        Self {
            state: State::Head,
            head: Vec::new(),
            method: method.clone(),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(&self.state, State::Framed(body) if body.is_done())
    }

    /// Whether the end of the stream is the end of the response.
    pub(super) fn may_end(&self) -> bool {
        matches!(self.state, State::Rest)
    }

    /// The stream has ended.
    pub(super) fn end(&mut self) {
        self.state = State::Framed(BodyScanner::new(Framing::None));
    }

    /// The part at the start of `bytes`, and how many bytes of it are read. The caller
    /// [takes](Self::take) the bytes of a body when it has sent them.
    ///
    /// # Errors
    /// The bytes are not a response.
    pub(super) fn read(&mut self, bytes: &[u8]) -> io::Result<(usize, Part)> {
        match &mut self.state {
            State::Head => self.read_head(bytes),
            State::Rest => Ok((0, Part::Data(bytes.len()))),
            State::Framed(body) if body.is_done() => Err(invalid("bytes behind an answer")),
            State::Framed(body) => {
                let data = usize::try_from(body.data_ahead()).unwrap_or(usize::MAX);
                if data > 0 {
                    return Ok((0, Part::Data(data.min(bytes.len()))));
                }
                // Up to the data of the next chunk.
                let mut read = 0;
                for byte in bytes {
                    read += body.scan(&[*byte]).map_err(invalid)?;
                    if body.data_ahead() > 0 || body.is_done() {
                        break;
                    }
                }
                Ok((read, Part::Nothing))
            }
        }
    }

    /// `bytes` are sent: the first of those that [`read`](Self::read) said are the body's.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let State::Framed(body) = &mut self.state {
            body.scan(bytes).map_err(invalid)?;
        }
        Ok(())
    }

    fn read_head(&mut self, bytes: &[u8]) -> io::Result<(usize, Part)> {
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let head = std::mem::take(&mut self.head);
        let mut storage = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut parsed = httparse::Response::new(&mut storage);
        let httparse::Status::Complete(len) = parsed.parse(&head).map_err(invalid)? else {
            if head.len() > MAX_HEAD {
                return Err(invalid("the head of an answer is too long"));
            }
            self.head = head;
            return Ok((bytes.len(), Part::Nothing));
        };
        let read = len - before;
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
            // HTTP/2 has none. A CONNECT that asks for a WebSocket has succeeded (RFC 8441 §5).
            if self.method != Method::CONNECT {
                return Err(invalid("HTTP/2 has no 101"));
            }
            *response.status_mut() = StatusCode::OK;
            self.state = State::Rest;
            return Ok((read, Part::Head(response, false)));
        }
        if status.is_informational() {
            return Ok((read, Part::Interim(response)));
        }
        let end = BodyEnd::of(&self.method, status, &framing).map_err(invalid)?;
        let body = end.framing().map(BodyScanner::new);
        self.state = body.map_or(State::Rest, State::Framed);
        Ok((read, Part::Head(response, self.is_done())))
    }
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
