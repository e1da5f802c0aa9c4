//! The field lines of a request head: split strictly, and read for what they say
//! about the message itself (RFC 9112 §3.2, §6, RFC 9110 §7.6.1, §10.1.1).

use std::mem::MaybeUninit;
use std::ops::Range;

use memchr::memchr;

use super::scanner::MAX_FIELDS;
use super::{HeadError, Version, is_tchar, trim_ows};
use crate::http::fields::{authenticates_connection, is_forwarding_field, is_refused_option};

/// No client needs more connection options.
const MAX_CONNECTION_OPTIONS: usize = 32;

/// Room for the field lines of one head: on the stack, and not initialised.
pub(super) struct FieldStorage<'a>([MaybeUninit<httparse::Header<'a>>; MAX_FIELDS]);

impl FieldStorage<'_> {
    pub(super) fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; MAX_FIELDS])
    }
}

/// One field line and where it begins in the head.
pub(super) struct FieldLine<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a [u8],
    pub(super) start: usize,
    pub(super) value_start: usize,
}

/// The field lines of `head`, which is one whole head without empty lines in
/// front and `fields_start` is where its first field line begins.
///
/// httparse reads the lines because Pingora will read them with it too. It
/// takes a bare LF for a line end; that is caught here.
pub(super) fn split<'a, 's>(
    head: &'a [u8],
    fields_start: usize,
    storage: &'s mut FieldStorage<'a>,
) -> Result<&'s [httparse::Header<'a>], HeadError> {
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut storage.0) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(HeadError::NotOneHead),
        Err(error) => return Err(diagnose(head, fields_start, error)),
    }
    let headers: &'s [httparse::Header<'a>] = request.headers;
    // Each header is one line; all have to begin right behind a CRLF, the empty
    // line at the end included.
    let starts = headers
        .iter()
        .map(|header| offset(head, header.name.as_bytes()));
    for start in starts.chain([head.len().saturating_sub(2)]) {
        if !head.get(..start).unwrap_or_default().ends_with(b"\r\n") {
            return Err(HeadError::BareLf);
        }
    }
    Ok(headers)
}

/// A field line with the places of its parts in `head`.
pub(super) fn locate<'a>(head: &[u8], header: &httparse::Header<'a>) -> FieldLine<'a> {
    FieldLine {
        name: header.name,
        value: header.value,
        start: offset(head, header.name.as_bytes()),
        value_start: offset(head, header.value),
    }
}

/// Where `part`, a slice of `whole`, begins in it.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize)
}

/// Which rule a head broke that httparse refused.
fn diagnose(head: &[u8], fields_start: usize, error: httparse::Error) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => return HeadError::TooManyFields,
        // The request line has passed our own, stricter check, except for UTF-8.
        httparse::Error::Token => return HeadError::TargetByte,
        _ => {}
    }
    let mut rest = head.get(fields_start..).unwrap_or_default();
    while let Some(end) = memchr(b'\n', rest) {
        let (line, after) = rest.split_at(end);
        let Some(line) = line.strip_suffix(b"\r") else {
            return HeadError::BareLf;
        };
        let name_end = memchr(b':', line);
        let name = name_end.and_then(|end| line.get(..end)).unwrap_or_default();
        if memchr(b'\r', line).is_some() {
            return HeadError::BareCr;
        } else if line.starts_with(b" ") || line.starts_with(b"\t") {
            return HeadError::FoldedField;
        } else if name.is_empty() || !name.iter().all(|&byte| is_tchar(byte)) {
            return HeadError::FieldName;
        } else if !line.iter().all(|&byte| super::is_value_byte(byte)) {
            return HeadError::FieldValue;
        }
        rest = after.get(1..).unwrap_or_default();
    }
    HeadError::NotOneHead
}

/// The fields that say something about the message or the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldKind {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Upgrade,
    Expect,
    Authorization,
    ProxyAuthorization,
    ProxyConnection,
    Via,
    Te,
    /// Tells of the client, see [`is_forwarding_field`].
    Forwarding,
    Other,
}

impl FieldKind {
    pub(super) fn of(name: &str) -> Self {
        let (known, kind) = match name.len() {
            2 => ("te", Self::Te),
            3 => ("via", Self::Via),
            4 => ("host", Self::Host),
            6 => ("expect", Self::Expect),
            7 => ("upgrade", Self::Upgrade),
            10 => ("connection", Self::Connection),
            13 => ("authorization", Self::Authorization),
            14 => ("content-length", Self::ContentLength),
            16 => ("proxy-connection", Self::ProxyConnection),
            17 => ("transfer-encoding", Self::TransferEncoding),
            19 => ("proxy-authorization", Self::ProxyAuthorization),
            _ => ("", Self::Other),
        };
        if name.eq_ignore_ascii_case(known) {
            kind
        } else if is_forwarding_field(name.as_bytes()) {
            Self::Forwarding
        } else {
            Self::Other
        }
    }
}

/// A line of `Proxy-Authorization` or `Authorization`.
#[derive(Clone)]
pub(super) struct CredentialsLine<'a> {
    pub(super) value: &'a [u8],
    /// The place of the line in the head, its line end included.
    pub(super) place: Range<usize>,
}

impl<'a> CredentialsLine<'a> {
    pub(super) fn new(head: &[u8], header: &httparse::Header<'a>) -> Self {
        let FieldLine {
            value,
            start,
            value_start,
            ..
        } = locate(head, header);
        let behind = head.get(value_start + value.len()..).unwrap_or_default();
        let line_end = memchr(b'\n', behind).map_or(behind.len(), |end| end + 1);
        Self {
            value,
            place: start..head.len() - behind.len() + line_end,
        }
    }
}

/// What all field lines say about the message and its connection.
#[derive(Default)]
pub(super) struct MessageFields<'a> {
    pub(super) host: Option<&'a [u8]>,
    pub(super) content_length: Option<u64>,
    pub(super) content_length_lines: usize,
    pub(super) chunked: bool,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade_option: bool,
    pub(super) upgrade_field: bool,
    /// Whether `Upgrade` offers a WebSocket (RFC 6455 §4.2.1), alone or beside other protocols.
    pub(super) offers_websocket: bool,
    pub(super) expect_continue: bool,
    pub(super) proxy_connection: bool,
    pub(super) proxy_authorization: Option<CredentialsLine<'a>>,
    /// How many lines of `Authorization` there are; an origin may take several.
    pub(super) authorization_lines: usize,
    pub(super) via: bool,
    pub(super) wants_trailers: bool,
    pub(super) has_forwarding: bool,
    pub(super) authenticates_connection: bool,
    content_length_text: &'a [u8],
    connection_options: usize,
}

impl<'a> MessageFields<'a> {
    /// Reads the lines. Each is checked alone and against those before it.
    pub(super) fn read(
        head: &[u8],
        headers: &[httparse::Header<'a>],
        version: Version,
    ) -> Result<Self, HeadError> {
        let mut fields = Self::default();
        for header in headers {
            match FieldKind::of(header.name) {
                FieldKind::Other => {}
                FieldKind::Via => fields.via = true,
                FieldKind::Te => fields.wants_trailers |= asks_for_trailers(header.value),
                FieldKind::Forwarding => fields.has_forwarding = true,
                FieldKind::Authorization => {
                    fields.authorization_lines += 1;
                    fields.authenticates_connection |= authenticates_connection(header.value);
                }
                FieldKind::Host => fields.host(header.value)?,
                FieldKind::ContentLength => fields.content_length(header.value)?,
                FieldKind::TransferEncoding => fields.transfer_encoding(header.value, version)?,
                FieldKind::Connection => fields.connection(header.value)?,
                FieldKind::Upgrade => {
                    fields.upgrade_field = true;
                    fields.offers_websocket |= offers_websocket(header.value);
                }
                FieldKind::Expect if header.value.eq_ignore_ascii_case(b"100-continue") => {
                    fields.expect_continue = true;
                }
                FieldKind::Expect => return Err(HeadError::Expectation),
                FieldKind::ProxyConnection => fields.proxy_connection = true,
                FieldKind::ProxyAuthorization => {
                    let line = CredentialsLine::new(head, header);
                    if fields.proxy_authorization.replace(line).is_some() {
                        return Err(HeadError::DuplicateProxyAuthorization);
                    }
                }
            }
        }
        if fields.chunked && fields.content_length.is_some() {
            return Err(HeadError::AmbiguousFraming);
        }
        Ok(fields)
    }

    fn host(&mut self, value: &'a [u8]) -> Result<(), HeadError> {
        if self.host.replace(value).is_some() {
            return Err(HeadError::DuplicateHost);
        }
        if is_host(value) {
            Ok(())
        } else {
            Err(HeadError::Host)
        }
    }

    /// Digits only: `+6`, `6, 6` and an empty value are all read in more than
    /// one way. The bound is what fits into a signed number too.
    fn content_length(&mut self, value: &'a [u8]) -> Result<(), HeadError> {
        self.content_length_lines += 1;
        if self.content_length.is_some() {
            return if self.content_length_text == value {
                Ok(())
            } else {
                Err(HeadError::ConflictingContentLength)
            };
        }
        let plain = (1..=19).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        let length = value
            .iter()
            .try_fold(0u64, |length, digit| {
                length
                    .checked_mul(10)?
                    .checked_add(u64::from(digit.wrapping_sub(b'0')))
            })
            .filter(|&length| plain && i64::try_from(length).is_ok())
            .ok_or(HeadError::ContentLength)?;
        self.content_length = Some(length);
        self.content_length_text = value;
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8], version: Version) -> Result<(), HeadError> {
        if version == Version::Http10 {
            return Err(HeadError::Http10TransferEncoding);
        }
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(HeadError::TransferEncoding);
        }
        self.chunked = true;
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for option in value.split(|&byte| byte == b',').map(trim_ows) {
            if option.is_empty() {
                continue;
            }
            self.connection_options += 1;
            if self.connection_options > MAX_CONNECTION_OPTIONS {
                return Err(HeadError::TooManyConnectionOptions);
            }
            if !option.iter().all(|&byte| is_tchar(byte)) {
                return Err(HeadError::ConnectionOption);
            }
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade_option = true;
            } else if is_refused_option(option) {
                return Err(HeadError::ProtectedConnectionOption);
            }
        }
        Ok(())
    }
}

/// Whether a line of `TE` has the member `trailers` (RFC 9110 §10.1.4), which has no weight.
fn asks_for_trailers(te: &[u8]) -> bool {
    te.split(|&byte| byte == b',')
        .any(|member| trim_ows(member).eq_ignore_ascii_case(b"trailers"))
}

/// Whether a line of `Upgrade` names the protocol `websocket`, without a version (RFC 6455 §4.2.1).
fn offers_websocket(upgrade: &[u8]) -> bool {
    upgrade
        .split(|&byte| byte == b',')
        .any(|protocol| trim_ows(protocol).eq_ignore_ascii_case(b"websocket"))
}

/// Whether `value` is `uri-host [":" port]` or empty (RFC 9110 §7.2, RFC 3986
/// §3.2.2). A comma is refused although a name may hold it: two `Host` fields that
/// were joined look like that.
fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value {
        [] => return true,
        [b'[', rest @ ..] => {
            let Some(end) = memchr(b']', rest) else {
                return false;
            };
            let (address, after) = rest.split_at(end);
            let hex_or_dots = |&byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
            if address.is_empty() || !address.iter().all(hex_or_dots) {
                return false;
            }
            (None, after.get(1..).unwrap_or_default())
        }
        _ => {
            let colon = memchr(b':', value).unwrap_or(value.len());
            let (host, port) = value.split_at(colon);
            (Some(host), port)
        }
    };
    let port_ok = match port {
        [] => true,
        // An empty port is the default one (RFC 3986 §3.2.3).
        [b':', digits @ ..] => {
            digits.len() <= 5
                && digits.iter().all(u8::is_ascii_digit)
                && digits
                    .iter()
                    .fold(0, |port, digit| port * 10 + u32::from(digit - b'0'))
                    <= u32::from(u16::MAX)
        }
        _ => false,
    };
    port_ok && host.is_none_or(is_reg_name)
}

fn is_reg_name(host: &[u8]) -> bool {
    let mut rest = host;
    loop {
        rest = match rest {
            [] => return !host.is_empty(),
            [b'%', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                after
            }
            [byte, after @ ..] if byte.is_ascii_alphanumeric() => after,
            [
                b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+'
                | b';' | b'=',
                after @ ..,
            ] => after,
            _ => return false,
        };
    }
}

/// The field lines of a checked head in their order: the name as sent, and the
/// value without whitespace around it.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Over what follows the request line of a head that was checked.
    pub(super) fn new(lines: &'a [u8]) -> Self {
        Self { rest: lines }
    }

    /// The values of the fields with this name, in any case. Cheaper than to compare each name: a line without a colon
    /// in its place is passed over at once.
    pub(super) fn of(mut self, name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
        // The part of a line before a later colon is no name.
        let is_name = !name.contains(&b':');
        std::iter::from_fn(move || {
            loop {
                let line = self.line().filter(|_| is_name)?;
                if let Some((found, value)) = line.split_at_checked(name.len())
                    && let Some((b':', value)) = value.split_first()
                    && found.eq_ignore_ascii_case(name)
                {
                    return Some(trim_ows(value));
                }
            }
        })
    }

    fn line(&mut self) -> Option<&'a [u8]> {
        let end = memchr(b'\n', self.rest)?;
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest.get(1..).unwrap_or_default();
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let line = self.line()?;
        let (name, value) = line.split_at_checked(memchr(b':', line)?)?;
        Some((name, trim_ows(value.get(1..).unwrap_or_default())))
    }
}
