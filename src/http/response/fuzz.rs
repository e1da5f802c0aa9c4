//! Invariants of response heads, for the fuzz target.

#![expect(
    clippy::panic,
    reason = "a broken invariant is what a fuzz target looks for"
)]

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{Method, StatusCode};

use super::{BodyEnd, FramingChange, ResponseFields};
use crate::http::http1::Framing;

/// Reads `data` as the head of an upstream's response.
///
/// Fields that end here are there, and none is left once they are removed. Framing fields that go on, repaired
/// or not, have one reading: the length is that of each member, and `chunked` is alone.
///
/// # Panics
/// An invariant does not hold.
pub fn response(data: &[u8]) -> String {
    let Some((status, mut headers)) = parse(data) else {
        return "no head".to_owned();
    };
    let shown = data.escape_ascii();
    let fields = ResponseFields::read(status, &headers);
    for name in &fields.hop_by_hop {
        assert!(headers.contains_key(name), "{name}: {shown}");
    }
    let before = headers.len();
    for name in &fields.hop_by_hop {
        headers.remove(name);
    }
    let removed = before - headers.len();
    let again = ResponseFields::read(status, &headers);
    assert_eq!(again.hop_by_hop, [] as [HeaderName; 0], "{shown}");
    assert_eq!(again.framing, fields.framing, "{shown}");

    let end = BodyEnd::of(&Method::GET, status, &fields.framing);
    if let Ok(Some(Framing::Length(length))) = end.map(BodyEnd::framing) {
        assert!(i64::try_from(length).is_ok(), "{length}: {shown}");
    }
    let change = fields.framing.change(status);
    if let Ok(change) = change {
        apply(change, &mut headers);
        check_framing(status, &headers, &shown.to_string());
    }
    format!(
        "{} {end:?} {change:?} {}",
        status.as_u16() / 100,
        removed.min(3)
    )
    .replace(|c: char| c.is_ascii_digit(), "0")
}

fn parse(data: &[u8]) -> Option<(StatusCode, HeaderMap)> {
    let mut storage = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut storage);
    response.parse(data).ok()?.is_complete().then_some(())?;
    let mut headers = HeaderMap::new();
    for header in response.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(header.value).ok()?);
    }
    Some((StatusCode::from_u16(response.code?).ok()?, headers))
}

/// Does what Pingora does, and what is done to the head before.
fn apply(change: FramingChange, headers: &mut HeaderMap) {
    match change {
        FramingChange::Keep => {}
        FramingChange::Remove => {
            headers.remove(CONTENT_LENGTH);
            headers.remove(TRANSFER_ENCODING);
        }
        FramingChange::SetLength(length) => {
            headers.insert(CONTENT_LENGTH, length.into());
        }
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
}

fn check_framing(status: StatusCode, headers: &HeaderMap, shown: &str) {
    let fields = ResponseFields::read(status, headers).framing;
    assert_eq!(fields.change(status), Ok(FramingChange::Keep), "{shown}");
    let end = BodyEnd::of(&Method::GET, status, &fields);
    let lengths: Vec<_> = headers.get_all(CONTENT_LENGTH).iter().collect();
    let codings: Vec<_> = headers.get_all(TRANSFER_ENCODING).iter().collect();
    match end {
        Ok(BodyEnd::Length(length)) => {
            assert!(codings.is_empty(), "{shown}");
            let [value] = lengths[..] else {
                panic!("several lengths: {shown}");
            };
            let value = value.to_str().unwrap_or_default();
            assert_eq!(value.parse(), Ok(length), "{shown}");
        }
        Ok(BodyEnd::Chunked) => {
            assert!(lengths.is_empty() && codings.len() == 1, "{shown}");
            let is_chunked = codings
                .iter()
                .all(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
            assert!(is_chunked, "{shown}");
        }
        Ok(BodyEnd::Close) => assert!(lengths.is_empty() && codings.is_empty(), "{shown}"),
        Ok(BodyEnd::None) => {}
        Err(error) => panic!("{error}: {shown}"),
    }
}
