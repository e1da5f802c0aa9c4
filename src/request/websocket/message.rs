//! The two heads of an upgrade: the request as it is sent on, the answer as it is
//! read and passed on.

use bytes::{Buf, BytesMut};
use http::{HeaderName, HeaderValue, Method, StatusCode, Version};

use super::key::Key;
use crate::hook::OutgoingFields;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::fields::{HopField, push_line};
use crate::http::http1::RequestHead;
use crate::http::response::{BodyEnd, ResponseFields, ResponseHead, ResponseReader, is_final};
use crate::request::app::App;
use crate::request::hooks::settle;
use crate::request::outcome::Exchange;
use crate::request::outgoing::OutgoingHead;

/// The largest head of an answer.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// Name and value.
type FieldLine = (Box<[u8]>, Box<[u8]>);

/// The head that is sent upstream.
pub struct Message {
    /// Method, request-target and version.
    line: Vec<u8>,
    /// Names as the client wrote them, and values.
    fields: Vec<FieldLine>,
}

impl OutgoingFields for Message {
    fn set(&mut self, name: &HeaderName, value: &HeaderValue) {
        OutgoingFields::remove(self, name);
        self.add(name, value);
    }

    fn add(&mut self, name: &HeaderName, value: &HeaderValue) {
        let name = name.as_str().as_bytes().into();
        self.fields.push((name, value.as_bytes().into()));
    }

    fn remove(&mut self, name: &HeaderName) {
        self.remove_all(|other| other.eq_ignore_ascii_case(name.as_str().as_bytes()));
    }
}

impl OutgoingHead for Message {
    fn remove_all(&mut self, is: impl Fn(&[u8]) -> bool) {
        self.fields.retain(|(name, _)| !is(name));
    }
}

impl Message {
    /// As it is sent: with that key in place of any other, where one is given.
    pub(super) fn to_bytes(&self, key: Option<&Key>) -> Vec<u8> {
        let mut out = self.line.clone();
        for (name, value) in &self.fields {
            if key.is_none() || !name.eq_ignore_ascii_case(b"sec-websocket-key") {
                push_line(&mut out, name, value);
            }
        }
        if let Some(key) = key {
            push_line(&mut out, b"Sec-WebSocket-Key", key.as_bytes());
        }
        push_line(&mut out, b"Connection", b"Upgrade");
        push_line(&mut out, b"Upgrade", b"websocket");
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// The head that is sent upstream: the wire head without hop-by-hop fields. What the server is told besides, is known
/// later.
pub fn request(head: &RequestHead) -> Message {
    let method = head.method.as_str().as_bytes();
    let line = [method, b" ", head.request_target(), b" HTTP/1.1\r\n"].concat();
    let mut fields = Vec::new();
    let options: Vec<&[u8]> = head
        .fields()
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"connection"))
        .flat_map(|(_, value)| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .collect();
    for (name, value) in head.fields() {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        let nominated = !is(b"upgrade") && options.iter().any(|option| is(option));
        let is_hop_by_hop = HopField::parse(name).is_some_and(HopField::is_removed_from_request);
        if !is_hop_by_hop && !nominated {
            fields.push((name.into(), value.into()));
        }
    }
    Message { line, fields }
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct UpstreamResponse {
    pub(super) status: StatusCode,
    /// As the client gets it.
    pub(super) head: Vec<u8>,
    /// Where its body ends.
    pub(super) end: BodyEnd,
    /// What came behind the head.
    pub(super) behind: BytesMut,
}

/// Reads the head at the start of `bytes`, which it takes, or nothing while it is
/// not complete.
///
/// # Errors
/// [`ErrorKind::ProtocolError`]: not a head, or one with ambiguous framing. [`ErrorKind::UpgradeFailed`]: not an answer
/// to `key`, where that is Tollgate's.
pub(super) fn parse(
    reader: &mut ResponseReader,
    bytes: &mut BytesMut,
    app: &App,
    exchange: &mut Exchange,
    key: Option<&Key>,
) -> Result<Option<UpstreamResponse>, RequestError> {
    let head = reader.read(bytes);
    let Some(head) = head.map_err(|error| ErrorKind::ProtocolError.because(error))? else {
        return Ok(None);
    };
    let invalid = |why: &'static str| ErrorKind::ProtocolError.because(why);
    let ResponseHead {
        status,
        mut headers,
        len,
        ..
    } = head;
    let fields = ResponseFields::read(status, &headers);
    let end = BodyEnd::of(&Method::GET, status, &fields.framing)
        .map_err(|error| ErrorKind::ProtocolError.because(error))?;
    let upgraded = status == StatusCode::SWITCHING_PROTOCOLS;
    if upgraded && !headers.contains_key(http::header::UPGRADE) {
        return Err(invalid("the 101 names no protocol"));
    }
    for name in fields.hop_by_hop {
        headers.remove(name);
    }
    headers.remove(http::header::CONNECTION);
    if is_final(status)
        && let Some(key) = key
    {
        key.check(status, &headers)?;
        headers.remove(http::header::SEC_WEBSOCKET_ACCEPT);
    }
    if is_final(status)
        && let Some(run) = &mut exchange.run
    {
        let edited = run.response(status, &headers);
        let edited = edited.map(|edits| edits.apply(&mut headers));
        settle(exchange, edited)?;
    }
    let mut head = Vec::with_capacity(len + 64);
    let reason = status.canonical_reason().unwrap_or_default();
    head.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).as_bytes());
    for (name, value) in &headers {
        push_line(&mut head, name.as_str().as_bytes(), value.as_bytes());
    }
    let via = app.pseudonym.via(Version::HTTP_11);
    push_line(&mut head, b"Via", via.as_bytes());
    let option: &[u8] = if upgraded { b"Upgrade" } else { b"close" };
    push_line(&mut head, b"Connection", option);
    head.extend_from_slice(b"\r\n");
    bytes.advance(len);
    Ok(Some(UpstreamResponse {
        status,
        head,
        end,
        behind: bytes.split(),
    }))
}
