//! The two heads of an upgrade: the request as it is sent on, the answer as it is
//! read and passed on.

use bytes::{Buf, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};

use crate::http::error::{Kind, RequestError};
use crate::http::fields::{self, Survey};
use crate::http::http1::{Framing, RequestHead};
use crate::request::app::App;

/// The largest head of an answer.
pub(super) const MAX_HEAD: usize = 64 * 1024;

const MAX_FIELDS: usize = 128;

/// The head that is sent upstream: the canonical one without hop-by-hop fields.
pub(super) fn request(head: &RequestHead) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.canonical.len() + 64);
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
        if !fields::is_hop_by_hop(name) && !nominated {
            line(&mut out, name, value);
        }
    }
    line(&mut out, b"Connection", b"Upgrade");
    line(&mut out, b"Upgrade", b"websocket");
    out.extend_from_slice(b"\r\n");
    out
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// As the client gets it.
    pub(super) head: Vec<u8>,
    /// How its body ends; none: with the connection.
    pub(super) framing: Option<Framing>,
    /// What came behind the head.
    pub(super) behind: BytesMut,
}

impl Answer {
    /// Whether another answer follows.
    pub(super) fn is_interim(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// Reads the head at the start of `bytes`, which it takes, or nothing while it is
/// not complete.
///
/// # Errors
/// [`Kind::ProtocolError`]: not a head, or one with ambiguous framing.
pub(super) fn parse(bytes: &mut BytesMut, app: &App) -> Result<Option<Answer>, RequestError> {
    let mut storage = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut storage);
    let len = match response.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(RequestError::new(Kind::ProtocolError).because(error)),
    };
    let invalid = |why: &'static str| RequestError::new(Kind::ProtocolError).because(why);
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
    let framing = framing(status, &headers)
        .ok_or_else(|| invalid("the length of the answer can be read in two ways"))?;
    let upgraded = status == StatusCode::SWITCHING_PROTOCOLS;
    if upgraded && !headers.contains_key(http::header::UPGRADE) {
        return Err(invalid("the 101 names no protocol"));
    }
    for name in Survey::of(&headers, upgraded).hop_by_hop {
        headers.remove(name);
    }
    headers.remove(http::header::CONNECTION);
    let mut head = Vec::with_capacity(len + 64);
    let reason = status.canonical_reason().unwrap_or_default();
    head.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).as_bytes());
    for (name, value) in &headers {
        line(&mut head, name.as_str().as_bytes(), value.as_bytes());
    }
    let via = app.pseudonym.via(Version::HTTP_11);
    line(&mut head, b"Via", via.as_bytes());
    let option: &[u8] = if upgraded { b"Upgrade" } else { b"close" };
    line(&mut head, b"Connection", option);
    head.extend_from_slice(b"\r\n");
    bytes.advance(len);
    Ok(Some(Answer {
        status,
        head,
        framing,
        behind: bytes.split(),
    }))
}

/// How the body of an answer to a GET ends (RFC 9112 §6.3). The inner none: with
/// the connection. None at all: nobody can tell.
fn framing(status: StatusCode, headers: &HeaderMap) -> Option<Option<Framing>> {
    let without_body = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    if without_body {
        return Some(Some(Framing::None));
    }
    let mut codings = headers.get_all(http::header::TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(http::header::CONTENT_LENGTH).iter();
    match (codings.next(), lengths.next()) {
        (Some(coding), None) => {
            let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
            (chunked && codings.next().is_none()).then_some(Some(Framing::Chunked))
        }
        (None, Some(length)) => {
            let digits = length.as_bytes().iter().all(u8::is_ascii_digit);
            let value = length.to_str().ok()?.parse().ok()?;
            (digits && lengths.all(|other| other == length)).then_some(Some(Framing::Length(value)))
        }
        (None, None) => Some(None),
        (Some(_), Some(_)) => None,
    }
}

fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing_of(status: u16, fields: &[(&'static str, &str)]) -> Option<Option<Framing>> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        framing(StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn where_an_answer_ends() {
        let length = |text| [("content-length", text)];
        assert_eq!(framing_of(101, &[]), Some(Some(Framing::None)));
        assert_eq!(framing_of(204, &length("5")), Some(Some(Framing::None)));
        assert_eq!(
            framing_of(200, &length("5")),
            Some(Some(Framing::Length(5)))
        );
        assert_eq!(framing_of(200, &[]), Some(None));
        let chunked = [("transfer-encoding", "Chunked")];
        assert_eq!(framing_of(403, &chunked), Some(Some(Framing::Chunked)));
        for fields in [
            vec![("content-length", "+5")],
            vec![("content-length", "5, 5")],
            vec![("content-length", "5"), ("content-length", "6")],
            vec![("content-length", "5"), ("transfer-encoding", "chunked")],
            vec![("transfer-encoding", "gzip")],
        ] {
            assert_eq!(framing_of(200, &fields), None, "{fields:?}");
        }
    }
}
