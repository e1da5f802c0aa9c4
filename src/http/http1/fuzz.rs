//! Invariants of the parsers of heads and bodies, for fuzz targets and property tests.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a broken invariant is what a fuzz target looks for"
)]

use bytes::BytesMut;
use http::Method;

use super::fields::FieldKind;
use super::{
    BodyScanner, Framing, FramingError, HeadError, HeadLimits, HeadScanner, RefusedHead,
    RequestHead, Scanned, Version,
};
use crate::http::credentials::Credentials;
use crate::http::target::Target;

/// Limits that short inputs reach.
const SMALL: HeadLimits = HeadLimits {
    max_head: 256,
    max_target: 32,
    max_fields: 3,
    keep_forwarding: false,
};

/// Limits for a wire head, which may be longer than the client's.
const WIDE: HeadLimits = HeadLimits {
    max_head: usize::MAX,
    max_target: usize::MAX,
    max_fields: usize::MAX,
    keep_forwarding: false,
};

/// Reads `data` as the start of a connection.
///
/// A head ends at the same place and has the same error however it is cut, what the scanner found stands for
/// reading it again, and an accepted head has one meaning: to this parser, to that of Pingora and to an origin.
///
/// # Panics
/// An invariant does not hold.
pub fn head(data: &[u8]) -> String {
    RefusedHead::read(data);
    let small = scan(data, &SMALL).map(|scanned| scanned.is_some());
    let limits = HeadLimits::default();
    let scanned = match scan(data, &limits) {
        Err(error) => return format!("{} {small:?}", error.reason()),
        Ok(None) => return format!("incomplete {small:?}"),
        Ok(Some(scanned)) => scanned,
    };
    let shown = data.escape_ascii();
    let head = data.get(..scanned.len).expect("the head is in the input");
    let again = RequestHead::parse(BytesMut::from(head), &limits);
    let parsed = RequestHead::of(&mut BytesMut::from(head), scanned, &limits);
    let text =
        |head: &RequestHead| format!("{head:?} {:?} {:?}", head.wire_head, head.field("host"));
    assert_eq!(
        parsed.as_ref().map(text),
        again.as_ref().map(text),
        "{shown}"
    );
    match parsed {
        Err(error) => error.reason().to_owned(),
        Ok(parsed) => {
            check_accepted(head, &parsed);
            let target = match &parsed.target {
                Target::Absolute { .. } => "absolute",
                Target::Authority(_) => "authority",
                Target::Origin => "origin",
                Target::Asterisk => "asterisk",
            };
            let framing = match parsed.framing {
                Framing::None => "none",
                Framing::Length(_) => "length",
                Framing::Chunked => "chunked",
            };
            format!(
                "{target} {framing} {:?} {} {} {} {} {} {:?}",
                parsed.version,
                parsed.keep_alive,
                parsed.expect_continue,
                parsed.is_websocket_handshake,
                parsed.has_via,
                parsed.authenticates_connection,
                parsed.credentials
            )
        }
    }
}

/// The outcome with all bytes at once, which is the outcome with one byte at a time.
fn scan(data: &[u8], limits: &HeadLimits) -> Result<Option<Scanned>, HeadError> {
    let whole = HeadScanner::default().scan(data, limits);
    let mut scanner = HeadScanner::default();
    let mut cut = Ok(None);
    for end in 0..=data.len() {
        cut = scanner.scan(data.get(..end).unwrap_or_default(), limits);
        if cut != Ok(None) {
            break;
        }
    }
    assert_eq!(cut, whole, "{}", data.escape_ascii());
    whole
}

/// Everything that must hold of a head that was let through.
///
/// # Panics
/// An invariant does not hold.
pub(super) fn check_accepted(original: &[u8], parsed: &RequestHead) {
    let wire_head = &parsed.wire_head;
    let shown = format!(
        "{} -> {}",
        original.escape_ascii(),
        wire_head.escape_ascii()
    );

    // The same parser that Pingora uses reads the same request.
    let mut storage = [httparse::EMPTY_HEADER; 256];
    let mut request = httparse::Request::new(&mut storage);
    let status = request.parse(wire_head).expect(&shown);
    assert_eq!(
        status,
        httparse::Status::Complete(wire_head.len()),
        "{shown}"
    );
    assert_eq!(request.method, Some(parsed.method.as_str()), "{shown}");
    let minor = u8::from(parsed.version == Version::Http11);
    assert_eq!(request.version, Some(minor), "{shown}");
    let target = request.path.expect(&shown);
    assert_eq!(target.as_bytes(), parsed.request_target(), "{shown}");
    let fields: Vec<_> = request
        .headers
        .iter()
        .map(|header| (header.name.as_bytes(), header.value))
        .collect();
    assert_eq!(parsed.fields().collect::<Vec<_>>(), fields, "{shown}");
    let has = |name: &[u8]| {
        fields
            .iter()
            .any(|(found, _)| found.eq_ignore_ascii_case(name))
    };
    assert!(!has(b"proxy-authorization"), "{shown}");
    if matches!(parsed.credentials, Credentials::Origin(_)) {
        assert!(!has(b"authorization"), "{shown}");
    }

    // There is no LF but in CRLF, and no CR either.
    let crlf = wire_head.windows(2).filter(|pair| pair == b"\r\n").count();
    let count = |wanted| wire_head.iter().filter(|&&byte| byte == wanted).count();
    assert_eq!((count(b'\r'), count(b'\n')), (crlf, crlf), "{shown}");

    if parsed.method == Method::CONNECT {
        // It is not parsed again, so nothing else had to change.
        if matches!(parsed.credentials, Credentials::Missing) {
            assert!(original.ends_with(wire_head), "{shown}");
        }
        assert!(matches!(parsed.target, Target::Authority(_)), "{shown}");
        return;
    }
    // What Pingora does next: a URI from the target, and its rules for Host.
    http::uri::PathAndQuery::try_from(target).expect(&shown);
    let count = |name: &str| {
        let same = |found: &[u8]| found.eq_ignore_ascii_case(name.as_bytes());
        fields.iter().filter(|(found, _)| same(found)).count()
    };
    assert!(count("host") <= 1, "{shown}");
    assert!(
        count("content-length") + count("transfer-encoding") <= 1,
        "{shown}"
    );
    assert_eq!(count("proxy-connection"), 0, "{shown}");
    match &parsed.target {
        Target::Absolute {
            scheme, authority, ..
        } => {
            let host = authority.host_field(*scheme).to_string();
            assert_eq!(parsed.field("host"), Some(host.as_bytes()), "{shown}");
            assert!(target.starts_with('/') || target == "*", "{shown}");
        }
        Target::Authority(_) => panic!("{shown}"),
        Target::Origin => assert!(target.starts_with('/'), "{shown}"),
        Target::Asterisk => assert_eq!(target, "*", "{shown}"),
    }

    // Reading it again changes nothing, but for what origin-form is not to tell a local upstream.
    let is_told = |(name, _): &(&[u8], &[u8])| {
        FieldKind::of(std::str::from_utf8(name).unwrap_or_default()) != FieldKind::Forwarding
    };
    let is_local = parsed.target.authority().is_none();
    let kept = fields.iter().all(is_told);
    assert!(kept || !is_local, "{shown}");
    // In origin-form `Authorization` stays where other credentials are there.
    let mut proven = wire_head.clone();
    proven.truncate(wire_head.len() - 2);
    proven.extend_from_slice(b"Proxy-Authorization: x\r\n\r\n");
    let again = RequestHead::parse(proven, &WIDE).expect(&shown);
    if kept {
        assert_eq!(again.wire_head, wire_head, "{shown}");
    }
    assert_eq!(again.method, parsed.method, "{shown}");
    assert_eq!(again.version, parsed.version, "{shown}");
    assert_eq!(again.framing, parsed.framing, "{shown}");
    assert_eq!(again.keep_alive, parsed.keep_alive, "{shown}");
    assert_eq!(again.expect_continue, parsed.expect_continue, "{shown}");
    assert_eq!(
        again.is_websocket_handshake, parsed.is_websocket_handshake,
        "{shown}"
    );
    assert!(
        count("upgrade") == 0 || parsed.is_websocket_handshake,
        "{shown}"
    );
    match &parsed.target {
        Target::Absolute { .. } if target == "*" => assert_eq!(again.target, Target::Asterisk),
        Target::Absolute { .. } => assert_eq!(again.target, Target::Origin),
        same => assert_eq!(again.target, *same),
    }
}

/// Reads a chunked body, and a body of a known length, in pieces. The first two bytes of `data` are where
/// the body is cut, and the length.
///
/// The body ends at the same place and has the same error in one piece, in two and in single bytes. The
/// parser of chunk sizes that Pingora uses finds the same end.
///
/// # Panics
/// An invariant does not hold.
pub fn chunked_body(data: &[u8]) -> String {
    let Some((&[low, high], body)) = data.split_first_chunk() else {
        return "too short".to_owned();
    };
    let number = u16::from_le_bytes([low, high]);
    let nothing = follow(Framing::None, body, 0);
    assert_eq!(nothing, Ok((0, true)));
    let length = usize::from(number);
    let known = follow(Framing::Length(number.into()), body, body.len() / 2);
    assert_eq!(known, Ok((length.min(body.len()), length <= body.len())));
    let cut = usize::from(number) % (body.len() + 1);
    match follow(Framing::Chunked, body, cut) {
        Err(error) => error.reason().to_owned(),
        Ok((_, false)) => "incomplete".to_owned(),
        Ok((len, true)) => {
            let chunks = check_body(body.get(..len).unwrap_or_default());
            format!("{} chunks", chunks.checked_ilog2().unwrap_or_default())
        }
    }
}

/// How many bytes belong to the body, and whether it is complete.
fn follow(framing: Framing, body: &[u8], cut: usize) -> Result<(usize, bool), FramingError> {
    let shown = body.escape_ascii();
    let (first, second) = body.split_at_checked(cut).unwrap_or((body, b""));
    let whole = feed(framing, [body]);
    assert_eq!(
        feed(framing, [first, second]),
        whole,
        "cut at {cut}: {shown}"
    );
    assert_eq!(feed(framing, body.chunks(1)), whole, "{shown}");
    if let Ok((len, is_done)) = whole {
        assert!(is_done || len == body.len(), "{len}: {shown}");
        let prefix = body.get(..len).unwrap_or_default();
        assert_eq!(feed(framing, [prefix]), whole, "{shown}");
    }
    whole
}

fn feed<'a>(
    framing: Framing,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(usize, bool), FramingError> {
    let mut scanner = BodyScanner::new(framing);
    let mut len = 0;
    for piece in pieces {
        let ahead = usize::try_from(scanner.data_ahead()).unwrap_or(usize::MAX);
        match scanner.scan(piece) {
            Ok(taken) => {
                assert!(taken >= ahead.min(piece.len()), "{taken} of {ahead}");
                len += taken;
            }
            Err(error) => {
                assert!(ahead < piece.len(), "an error in data");
                assert_eq!(scanner.scan(b"0\r\n\r\n"), Err(error.clone()));
                return Err(error);
            }
        }
        if scanner.is_done() {
            break;
        }
    }
    Ok((len, scanner.is_done()))
}

/// Decodes a complete body with httparse. Returns the number of its chunks.
fn check_body(body: &[u8]) -> usize {
    let shown = body.escape_ascii();
    let mut rest = body;
    let mut chunks = 0;
    loop {
        let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(rest) else {
            panic!("no chunk size: {shown}");
        };
        let size = usize::try_from(size).expect("the size of a chunk that was sent");
        rest = rest.get(start..).unwrap_or_default();
        if size == 0 {
            break;
        }
        chunks += 1;
        let end = rest.get(size..).and_then(|end| end.strip_prefix(b"\r\n"));
        rest = end.unwrap_or_else(|| panic!("no end of a chunk: {shown}"));
    }
    // A trailer section of 8 KiB has fewer.
    let mut trailers = vec![httparse::EMPTY_HEADER; rest.len() / 4 + 1];
    match httparse::parse_headers(rest, &mut trailers) {
        Ok(httparse::Status::Complete((len, _))) if len == rest.len() => chunks,
        other => panic!("{other:?}: {shown}"),
    }
}
