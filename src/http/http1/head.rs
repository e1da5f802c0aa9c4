//! A checked request head, and the bytes of it that go on.
//!
//! [`RequestHead::parse`] is the only way from bytes to a request. It makes sure
//! that the message has one reading, and writes the bytes that Pingora gets. Which
//! requests are admitted is decided elsewhere.

use std::fmt::{self, Write};
use std::ops::Range;

use bytes::{Buf, BytesMut};
use http::Method;
use memchr::memchr;

use super::fields::{self, CredentialsLine, FieldKind, FieldStorage, Fields, MessageFields};
use super::request_line::RequestLine;
use super::scanner::{self, MAX_FIELDS, PlacedLine, Scanned};
use super::{Framing, HeadError, HeadLimits, Version};
use crate::http::credentials::Credentials;
use crate::http::fields::SentForwarding;
use crate::http::role::Role;
use crate::http::secret::Secret;
use crate::http::target::{Authority, Target};

#[cfg(test)]
mod tests;

/// A request head that has exactly one reading.
///
/// The methods read [`RequestHead::wire_head`] in place: call them before it is
/// taken out. `Debug` shows no field, since those may hold secrets of the origin's.
pub struct RequestHead {
    /// The method, case kept (RFC 9110 §9.1).
    pub method: Method,
    /// The version that the client speaks.
    pub version: Version,
    /// The target of the request line. `Host` does not change it (RFC 9112 §3.2.2).
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
    /// Whether the client takes trailer fields in the answer (`TE: trailers`, RFC 9110 §10.1.4).
    pub wants_trailers: bool,
    /// Whether there is a `Via`: only then this request can have been here before.
    pub has_via: bool,
    /// Whether `Authorization` authenticates the connection and not the request
    /// (RFC 4559 §6).
    pub authenticates_connection: bool,
    /// The head as Pingora parses it and as it goes on.
    ///
    /// Where nothing has to change, these are the client's bytes without its credentials;
    /// so they are for a `CONNECT`, whose head does not go on. Otherwise absolute-form has
    /// become origin-form, `Host` is that of the target and comes first, and equal
    /// `Content-Length` lines have become one. Removed are `Proxy-Connection`, an `Upgrade`
    /// that is not part of a WebSocket handshake, `Expect` in HTTP/1.0, and towards the local
    /// pool the fields that tell of the client. Order and case of all other fields are kept.
    pub wire_head: BytesMut,
    /// What the client proves its identity with. The line is not in the wire head.
    pub credentials: Credentials,
    /// What the sender of a request to the gateway tells of the client, where the limits say that it is kept.
    pub sent_forwarding: Option<Box<SentForwarding>>,
}

impl RequestHead {
    /// Reads `head`, which has to be exactly one head.
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
    /// as `scanned`: its request line is not read again. Takes the bytes of a request. The
    /// bytes of a head that is refused stay in `head`, without the empty lines before it.
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

    /// The head of a CONNECT that a client has asked for in other words, with the protocol of these.
    pub fn connect(authority: Authority, version: Version, credentials: Credentials) -> Self {
        let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        Self {
            method: Method::CONNECT,
            version,
            target: Target::Authority(authority),
            framing: Framing::None,
            keep_alive: false,
            expect_continue: false,
            is_websocket_handshake: false,
            wants_trailers: false,
            has_via: false,
            authenticates_connection: false,
            wire_head: head.as_bytes().into(),
            credentials,
            sent_forwarding: None,
        }
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
        let fields = MessageFields::read(head, headers, line.version)?;

        let target = Target::parse(line.method, line.target).map_err(HeadError::Target)?;
        let method = Method::from_bytes(line.method).or(Err(HeadError::Method))?;
        let framing = framing(&method, &fields)?;
        if fields.host.is_none() && line.version == Version::Http11 {
            return Err(HeadError::MissingHost);
        }
        let http11 = line.version == Version::Http11;
        let is_websocket_handshake = http11
            && method == Method::GET
            && matches!(framing, Framing::None | Framing::Length(0))
            && fields.upgrade_option
            && fields.offers_websocket;
        let (credentials, credentials_place) =
            credentials(head, headers, &fields, Role::of(&target))?;
        let rewrite = Rewrite {
            rehost: target.authority().is_some(),
            merge_length: fields.content_length_lines > 1,
            drop_expect: !http11 && fields.expect_continue,
            drop_upgrade: fields.upgrade_field && !is_websocket_handshake,
            drop_authorization: matches!(credentials, Credentials::Origin(_)),
            drop_proxy_connection: fields.proxy_connection,
            // A local upstream learns of the client from Tollgate alone.
            drop_forwarding: fields.has_forwarding && target.authority().is_none(),
            encode: line.target.iter().any(|&byte| is_encodable(byte)),
        };
        let sent_forwarding = (rewrite.drop_forwarding && limits.keep_forwarding).then(|| {
            let mut sent = Box::<SentForwarding>::default();
            for header in headers {
                sent.read(header.name.as_bytes(), header.value);
            }
            sent
        });
        let mut parsed = Self {
            sent_forwarding,
            version: line.version,
            framing,
            keep_alive: !fields.close && (http11 || fields.keep_alive),
            expect_continue: http11
                && fields.expect_continue
                && !matches!(framing, Framing::None | Framing::Length(0)),
            is_websocket_handshake,
            wants_trailers: fields.wants_trailers,
            has_via: fields.via,
            authenticates_connection: fields.authenticates_connection,
            credentials,
            wire_head: BytesMut::new(),
            method,
            target,
        };
        if parsed.method != Method::CONNECT && rewrite.is_needed() {
            parsed.write(head, &line, headers, &rewrite);
        } else {
            parsed.wire_head = std::mem::take(head);
            if let Some(place) = credentials_place {
                cut(&mut parsed.wire_head, place);
            }
        }
        Ok(parsed)
    }

    /// The request-target as it stands in the wire head: origin-form,
    /// `host:port` or `*`.
    pub fn request_target(&self) -> &[u8] {
        let rest = self.wire_head.get(self.method.as_str().len() + 1..);
        let rest = rest.unwrap_or_default();
        let end = memchr(b' ', rest).unwrap_or_default();
        rest.get(..end).unwrap_or_default()
    }

    /// The field lines of the wire head, in order.
    pub fn fields(&self) -> Fields<'_> {
        let start = memchr(b'\n', &self.wire_head).map_or(0, |end| end + 1);
        Fields::new(self.wire_head.get(start..).unwrap_or_default())
    }

    /// The value of the first field line with this name, in any case.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields()
            .find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// Adds field lines at the end of the wire head. Each has to be well-formed and to end
    /// in CRLF; a part without a line is empty.
    pub fn push_lines(&mut self, lines: &[&[u8]]) {
        let end = self.wire_head.len().saturating_sub(2);
        self.wire_head.truncate(end);
        for part in lines.iter().copied().chain([&b"\r\n"[..]]) {
            debug_assert!(part.is_empty() || part.ends_with(b"\r\n"));
            self.wire_head.extend_from_slice(part);
        }
    }

    fn write(
        &mut self,
        head: &[u8],
        line: &Line<'_>,
        headers: &[httparse::Header<'_>],
        rewrite: &Rewrite,
    ) {
        // Enough for all but percent-encoded targets and names that IDNA makes longer,
        // with room for what is added behind.
        let mut out = BytesMut::with_capacity(head.len() + 256);
        out.extend_from_slice(line.method);
        out.extend_from_slice(b" ");
        self.write_target(&mut out, line, rewrite);
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
            let kind = FieldKind::of(field.name);
            let dropped = match kind {
                FieldKind::Host => rewrite.rehost,
                FieldKind::ContentLength => std::mem::replace(&mut length_written, true),
                FieldKind::ProxyAuthorization => true,
                FieldKind::Authorization => rewrite.drop_authorization,
                FieldKind::Expect => rewrite.drop_expect,
                FieldKind::Upgrade => rewrite.drop_upgrade,
                FieldKind::ProxyConnection => rewrite.drop_proxy_connection,
                FieldKind::Forwarding => rewrite.drop_forwarding,
                FieldKind::TransferEncoding
                | FieldKind::Connection
                | FieldKind::Via
                | FieldKind::Te
                | FieldKind::Other => false,
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
        self.wire_head = out;
    }

    fn write_target(&self, out: &mut BytesMut, line: &Line<'_>, rewrite: &Rewrite) {
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
        if rewrite.encode {
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

/// How the wire head differs from the client's.
struct Rewrite {
    rehost: bool,
    merge_length: bool,
    drop_expect: bool,
    drop_upgrade: bool,
    /// Alone it needs no rewriting: one line is cut out.
    drop_authorization: bool,
    drop_proxy_connection: bool,
    drop_forwarding: bool,
    encode: bool,
}

impl Rewrite {
    fn is_needed(&self) -> bool {
        self.rehost
            || self.merge_length
            || self.drop_expect
            || self.drop_upgrade
            || self.drop_proxy_connection
            || self.drop_forwarding
            || self.encode
    }
}

/// Removes `place` from `bytes`.
fn cut(bytes: &mut BytesMut, place: Range<usize>) {
    let len = bytes.len() - place.len();
    bytes.copy_within(place.end.., place.start);
    bytes.truncate(len);
}

/// What authenticates the request, and the place of its line. At the gateway Tollgate is the origin (RFC 9110 §3.7):
/// `Authorization` authenticates there, unless `Proxy-Authorization` does and leaves it to the upstream.
fn credentials(
    head: &[u8],
    headers: &[httparse::Header<'_>],
    fields: &MessageFields<'_>,
    role: Role,
) -> Result<(Credentials, Option<Range<usize>>), HeadError> {
    let hide = |line: &CredentialsLine<'_>| Secret::hide(line.value.into());
    if let Some(line) = &fields.proxy_authorization {
        return Ok((Credentials::Proxy(hide(line)), Some(line.place.clone())));
    }
    if role != Role::Gateway {
        return Ok((Credentials::Missing, None));
    }
    let is_authorization = |header: &&httparse::Header<'_>| {
        matches!(FieldKind::of(header.name), FieldKind::Authorization)
    };
    match fields.authorization_lines {
        0 => Ok((Credentials::Missing, None)),
        1 => Ok(match headers.iter().find(is_authorization) {
            Some(header) => {
                let line = CredentialsLine::new(head, header);
                (Credentials::Origin(hide(&line)), Some(line.place))
            }
            None => (Credentials::Missing, None),
        }),
        _ => Err(HeadError::DuplicateAuthorization),
    }
}

/// Where the body ends (RFC 9112 §6.3). [`MessageFields::read`] has refused what has two readings.
fn framing(method: &Method, fields: &MessageFields<'_>) -> Result<Framing, HeadError> {
    if *method == Method::CONNECT {
        return match fields.content_length {
            None | Some(0) if !fields.chunked => Ok(Framing::None),
            _ => Err(HeadError::ConnectBody),
        };
    }
    Ok(match fields.content_length {
        _ if fields.chunked => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None => Framing::None,
    })
}

/// Whether a byte has no place in a URI although clients send it there, as in
/// `?filter={"a":1}`. Pingora would answer 400. Browsers send the encoded form, and
/// origins read both as the same (URL Standard, query percent-encode set).
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
