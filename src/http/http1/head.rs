//! A checked request head and its canonical form.
//!
//! [`RequestHead::parse`] is the only way from bytes to a request. It decides
//! nothing about who may go where; it makes sure that there is one reading of
//! the message, and writes the bytes that Pingora gets.

use std::fmt::{self, Write};
use std::ops::Range;

use bytes::{Buf, BytesMut};
use http::Method;
use memchr::memchr;

use super::fields::{self, Facts, FieldStorage, Fields, Kind};
use super::request_line::RequestLine;
use super::scanner::{self, MAX_FIELDS, PlacedLine, Scanned};
use super::{Framing, HeadError, HeadLimits, Version};
use crate::http::target::Target;

#[cfg(test)]
mod tests;

/// A request head that has exactly one reading.
///
/// The methods read [`RequestHead::canonical`] in place: ask them before it is
/// taken out. `Debug` shows no field, since those may hold secrets of the origin's.
pub struct RequestHead {
    /// The method, case kept (RFC 9110 §9.1).
    pub method: Method,
    /// The version that the client speaks.
    pub version: Version,
    /// What the request-target named, whatever `Host` said (RFC 9112 §3.2.2).
    pub target: Target,
    /// Where the body ends; [`Framing::None`] for `CONNECT`.
    pub framing: Framing,
    /// Whether the client wants the connection kept: HTTP/1.1 without `close`,
    /// HTTP/1.0 with `keep-alive` and without `close` (RFC 9112 §9.3).
    pub keep_alive: bool,
    /// Whether the client waits for a 100 before it sends a body (HTTP/1.1 only,
    /// RFC 9110 §10.1.1).
    pub expect_continue: bool,
    /// Whether the client asks for a WebSocket (RFC 6455 §4.2.1): a `GET` of HTTP/1.1 without
    /// a body, with `websocket` in `Upgrade` and the connection option that makes `Upgrade`
    /// count (RFC 9110 §7.8).
    pub is_websocket_handshake: bool,
    /// Whether there is a `Via`: only then this request can have been here before.
    pub has_via: bool,
    /// Whether `Authorization` authenticates the connection and not the request
    /// (RFC 4559 §6).
    pub authenticates_connection: bool,
    /// What Pingora parses.
    ///
    /// The client's bytes without its credentials where they can stay as they are,
    /// and always those of a `CONNECT`, which goes no further. Otherwise absolute-form has become
    /// origin-form, `Host` is the target's and comes first, equal `Content-Length`
    /// lines are one, and gone are `Proxy-Connection`, an `Upgrade` that is not part of a
    /// WebSocket handshake, `Expect` in HTTP/1.0, and towards the local pool what the client says
    /// of where it comes from. Order and case of all else are kept.
    pub canonical: BytesMut,
    /// The value of `Proxy-Authorization`, whose line is not in the canonical head:
    /// what is not there cannot be logged or sent on.
    pub credentials: Option<Confidential>,
}

/// A value that is not shown.
pub struct Confidential(Box<[u8]>);

impl Confidential {
    /// The value itself.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Confidential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Confidential(..)")
    }
}

impl RequestHead {
    /// Reads `head`, which has to be exactly one.
    ///
    /// # Errors
    /// [`HeadError`], one variant per reason. The connection has to be closed.
    pub fn parse(mut head: BytesMut, limits: &HeadLimits) -> Result<Self, HeadError> {
        if head.len() > limits.max_head {
            return Err(HeadError::HeadTooLarge);
        }
        let start = scanner::skip_empty_lines(&head)?.ok_or(HeadError::NotOneHead)?;
        let behind = head.get(start..).unwrap_or_default();
        let line_feed = memchr(b'\n', behind).ok_or(HeadError::NotOneHead)?;
        let line = behind.get(..line_feed).unwrap_or_default();
        let line = line.strip_suffix(b"\r").ok_or(HeadError::BareLf)?;
        let line = PlacedLine {
            start,
            end: start + line_feed + 1,
            parts: RequestLine::parse(line, limits.max_target)?,
        };
        Self::read(&mut head, line, limits)
    }

    /// Reads `head`, exactly the bytes that a [`HeadScanner`](super::HeadScanner) measured
    /// as `scanned`: its request line is not read again. Takes the bytes of a request; those
    /// of a head that is refused stay, but for empty lines before it.
    ///
    /// # Errors
    /// [`HeadError`], one variant per reason. The connection has to be closed.
    pub fn of(
        head: &mut BytesMut,
        scanned: Scanned,
        limits: &HeadLimits,
    ) -> Result<Self, HeadError> {
        debug_assert_eq!(head.len(), scanned.len);
        Self::read(head, scanned.line, limits)
    }

    fn read(head: &mut BytesMut, line: PlacedLine, limits: &HeadLimits) -> Result<Self, HeadError> {
        if line.start > 0 {
            head.advance(line.start);
        }
        let fields_start = line.end.saturating_sub(line.start);
        let line = Line::new(line.parts, head);

        let mut storage = FieldStorage::new();
        let headers = fields::split(head, fields_start, &mut storage)?;
        if headers.len() > limits.max_fields.min(MAX_FIELDS) {
            return Err(HeadError::TooManyFields);
        }
        let facts = Facts::collect(head, headers, line.version)?;

        let target = Target::parse(line.method, line.target).map_err(HeadError::Target)?;
        let method = Method::from_bytes(line.method).or(Err(HeadError::Method))?;
        let framing = framing(&method, &facts)?;
        if facts.host.is_none() && line.version == Version::Http11 {
            return Err(HeadError::MissingHost);
        }
        let http11 = line.version == Version::Http11;
        let is_websocket_handshake = http11
            && method == Method::GET
            && matches!(framing, Framing::None | Framing::Length(0))
            && facts.upgrade_option
            && facts.offers_websocket;
        let plan = Plan {
            rehost: target.authority().is_some(),
            merge_length: facts.content_length_lines > 1,
            drop_expect: !http11 && facts.expect_continue,
            drop_upgrade: facts.upgrade_field && !is_websocket_handshake,
            drop_proxy_connection: facts.proxy_connection,
            // A local server learns of the client from us, and from nobody else.
            drop_of_the_client: facts.of_the_client && target.authority().is_none(),
            encode: line.target.iter().any(|&byte| is_encodable(byte)),
        };
        let mut parsed = Self {
            version: line.version,
            framing,
            keep_alive: !facts.close && (http11 || facts.keep_alive),
            expect_continue: http11
                && facts.expect_continue
                && !matches!(framing, Framing::None | Framing::Length(0)),
            is_websocket_handshake,
            has_via: facts.via,
            authenticates_connection: facts.authenticates_connection,
            credentials: facts
                .credentials
                .as_ref()
                .map(|line| Confidential(line.value.into())),
            canonical: BytesMut::new(),
            method,
            target,
        };
        if parsed.method != Method::CONNECT && plan.changes_something() {
            parsed.rewrite(head, &line, headers, &plan);
        } else {
            let credentials = facts.credentials.map(|line| line.place);
            parsed.canonical = std::mem::take(head);
            if let Some(place) = credentials {
                cut(&mut parsed.canonical, place);
            }
        }
        Ok(parsed)
    }

    /// The request-target as it stands in the canonical head: origin-form,
    /// `host:port` or `*`.
    pub fn request_target(&self) -> &[u8] {
        let rest = self.canonical.get(self.method.as_str().len() + 1..);
        let rest = rest.unwrap_or_default();
        let end = memchr(b' ', rest).unwrap_or_default();
        rest.get(..end).unwrap_or_default()
    }

    /// The field lines of the canonical head, in order.
    pub fn fields(&self) -> Fields<'_> {
        let start = memchr(b'\n', &self.canonical).map_or(0, |end| end + 1);
        Fields::new(self.canonical.get(start..).unwrap_or_default())
    }

    /// The value of the first field line with this name, in any case.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields()
            .find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// Adds field lines at the end of the canonical head. Each ends in CRLF and is
    /// well-formed, as all are that this program makes itself.
    pub fn push_lines(&mut self, lines: &[&[u8]]) {
        let end = self.canonical.len().saturating_sub(2);
        self.canonical.truncate(end);
        for part in lines.iter().copied().chain([&b"\r\n"[..]]) {
            debug_assert!(part.ends_with(b"\r\n"));
            self.canonical.extend_from_slice(part);
        }
    }

    fn rewrite(
        &mut self,
        head: &[u8],
        line: &Line<'_>,
        headers: &[httparse::Header<'_>],
        plan: &Plan,
    ) {
        // Enough for all but percent-encoded targets and names that IDNA makes longer,
        // with room for what is added behind.
        let mut out = BytesMut::with_capacity(head.len() + 256);
        out.extend_from_slice(line.method);
        out.extend_from_slice(b" ");
        self.write_target(&mut out, line, plan);
        out.extend_from_slice(b" ");
        out.extend_from_slice(line.version.as_str().as_bytes());
        out.extend_from_slice(b"\r\n");
        self.write_host(&mut out);

        let mut length_written = false;
        let mut lines = headers
            .iter()
            .map(|header| fields::locate(head, header))
            .peekable();
        while let Some(field) = lines.next() {
            let kind = Kind::of(field.name);
            let dropped = match kind {
                Kind::Host => plan.rehost,
                Kind::ContentLength => std::mem::replace(&mut length_written, true),
                Kind::ProxyAuthorization => true,
                Kind::Expect => plan.drop_expect,
                Kind::Upgrade => plan.drop_upgrade,
                Kind::ProxyConnection => plan.drop_proxy_connection,
                Kind::OfTheClient => plan.drop_of_the_client,
                Kind::TransferEncoding
                | Kind::Connection
                | Kind::Authorization
                | Kind::Via
                | Kind::Other => false,
            };
            if dropped {
                continue;
            }
            let end = lines
                .peek()
                .map_or(head.len().saturating_sub(2), |next| next.start);
            out.extend_from_slice(head.get(field.start..end).unwrap_or_default());
        }
        out.extend_from_slice(b"\r\n");
        self.canonical = out;
    }

    fn write_target(&self, out: &mut BytesMut, line: &Line<'_>, plan: &Plan) {
        let path = match &self.target {
            Target::Absolute { path_start, .. } => {
                line.target.get(*path_start..).unwrap_or_default()
            }
            Target::Authority(_) | Target::Origin | Target::Asterisk => line.target,
        };
        match path {
            // RFC 9112 §3.2.4: the last proxy turns this into asterisk-form.
            [] if self.method == Method::OPTIONS => out.extend_from_slice(b"*"),
            [] | [b'?', ..] => out.extend_from_slice(b"/"),
            _ => {}
        }
        if plan.encode {
            encode(path, out);
        } else {
            out.extend_from_slice(path);
        }
    }

    fn write_host(&self, out: &mut BytesMut) {
        if let Target::Absolute {
            scheme, authority, ..
        } = &self.target
        {
            // Writing into a BytesMut grows it and cannot fail.
            let _ = write!(out, "Host: {}\r\n", authority.host_field(*scheme));
        }
    }
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("version", &self.version)
            .field("target", &self.target)
            .field("framing", &self.framing)
            .field("keep_alive", &self.keep_alive)
            .field("expect_continue", &self.expect_continue)
            .field("is_websocket_handshake", &self.is_websocket_handshake)
            .finish_non_exhaustive()
    }
}

/// The parts of the request line as the client sent them.
struct Line<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: Version,
}

impl<'a> Line<'a> {
    fn new(places: RequestLine, line: &'a [u8]) -> Self {
        Self {
            method: line.get(places.method).unwrap_or_default(),
            target: line.get(places.target).unwrap_or_default(),
            version: places.version,
        }
    }
}

/// How the canonical head differs from the client's.
struct Plan {
    rehost: bool,
    merge_length: bool,
    drop_expect: bool,
    drop_upgrade: bool,
    drop_proxy_connection: bool,
    drop_of_the_client: bool,
    encode: bool,
}

impl Plan {
    fn changes_something(&self) -> bool {
        self.rehost
            || self.merge_length
            || self.drop_expect
            || self.drop_upgrade
            || self.drop_proxy_connection
            || self.drop_of_the_client
            || self.encode
    }
}

/// Takes `place` out of `bytes`.
fn cut(bytes: &mut BytesMut, place: Range<usize>) {
    let len = bytes.len() - place.len();
    bytes.copy_within(place.end.., place.start);
    bytes.truncate(len);
}

/// RFC 9112 §6.3, with everything that has two readings refused before.
fn framing(method: &Method, facts: &Facts<'_>) -> Result<Framing, HeadError> {
    if *method == Method::CONNECT {
        return match facts.content_length {
            None | Some(0) if !facts.chunked => Ok(Framing::None),
            _ => Err(HeadError::ConnectBody),
        };
    }
    Ok(match facts.content_length {
        _ if facts.chunked => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None => Framing::None,
    })
}

/// Bytes that no URI holds but that clients send as they are, as in
/// `?filter={"a":1}`. Pingora would answer 400; origins read the encoded form as
/// the same, and browsers send that (URL Standard, query percent-encode set).
fn is_encodable(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'`')
}

fn encode(path: &[u8], out: &mut BytesMut) {
    for &byte in path {
        match byte {
            b'"' => out.extend_from_slice(b"%22"),
            b'<' => out.extend_from_slice(b"%3C"),
            b'>' => out.extend_from_slice(b"%3E"),
            b'`' => out.extend_from_slice(b"%60"),
            _ => out.extend_from_slice(&[byte]),
        }
    }
}
