//! The two heads of an upgrade: the request as it is sent on, the answer as it is
//! read and passed on.

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use crate::access::auth::User;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::fields::{HopField, UserField, push_line};
use crate::http::http1::RequestHead;
use crate::http::response::{BodyEnd, ResponseFields};
use crate::request::app::App;

/// The largest head of an answer.
pub(super) const MAX_HEAD: usize = 64 * 1024;

const MAX_FIELDS: usize = 128;

/// The head that is sent upstream: the wire head without hop-by-hop fields, and without the field for the user,
/// which is known later.
pub fn request(head: &RequestHead, user_field: Option<&UserField>) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.wire_head.len() + 64);
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.request_target());
    out.extend_from_slice(b" HTTP/1.1\r\n");
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
        let is_user = user_field.is_some_and(|field| field.is(name));
        if !is_hop_by_hop && !nominated && !is_user {
            push_line(&mut out, name, value);
        }
    }
    push_line(&mut out, b"Connection", b"Upgrade");
    push_line(&mut out, b"Upgrade", b"websocket");
    out.extend_from_slice(b"\r\n");
    out
}

/// Adds the field for the user to a head.
pub(super) fn add_user(head: &mut Vec<u8>, field: &UserField, user: &User) {
    head.truncate(head.len().saturating_sub(2));
    push_line(head, field.name().as_bytes(), user.as_str().as_bytes());
    head.extend_from_slice(b"\r\n");
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
/// [`ErrorKind::ProtocolError`]: not a head, or one with ambiguous framing.
pub(super) fn parse(
    bytes: &mut BytesMut,
    app: &App,
) -> Result<Option<UpstreamResponse>, RequestError> {
    let mut storage = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut storage);
    let len = match response.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(ErrorKind::ProtocolError.because(error)),
    };
    let invalid = |why: &'static str| ErrorKind::ProtocolError.because(why);
    let status = response.code.unwrap_or_default();
    let status = StatusCode::from_u16(status)
        .map_err(|_invalid| invalid("the answer has no valid status code"))?;
    let mut headers = HeaderMap::with_capacity(response.headers.len());
    for header in response.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_bytes(header.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(invalid("the answer has an invalid header"));
        };
        headers.append(name, value);
    }
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
