//! The head of a request, from HTTP/2 to HTTP/1.1 (RFC 9113 §8.3.1, RFC 9112 §3.2).

use std::net::SocketAddr;

use bytes::BytesMut;
use h2::ext::Protocol;
use http::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderMap, TE};
use http::request::Parts;
use http::{Method, Uri};

use crate::http::fields::HopField;
use crate::http::http1::HeadError;
use crate::http::target::{Authority, Host, Scheme, TargetError};

#[cfg(test)]
mod tests;

/// The end of a connection that is Tollgate's, by the names that a client can use for it.
#[derive(Debug)]
pub struct LocalEndpoint {
    scheme: Scheme,
    /// The name in the client's TLS handshake.
    server_name: Option<Host>,
    /// The address that it connected to.
    address: Option<SocketAddr>,
}

impl LocalEndpoint {
    /// Of a connection to `address`; with TLS if `tls`, to the name that the client gave
    /// in the handshake.
    pub fn new(tls: bool, server_name: Option<&str>, address: Option<SocketAddr>) -> Self {
        Self {
            scheme: if tls { Scheme::Https } else { Scheme::Http },
            server_name: server_name.and_then(|name| Host::parse(name.as_bytes()).ok()),
            address,
        }
    }

    /// Whether a request for this authority is for the gateway, and not one to forward.
    ///
    /// The port may also be the default one: the port of a listener may be mapped.
    fn is_named(&self, scheme: Scheme, authority: &Authority) -> bool {
        let Some(address) = self.address else {
            return false;
        };
        if scheme != self.scheme
            || ![address.port(), scheme.default_port()].contains(&authority.port)
        {
            return false;
        }
        let ip = address.ip().to_canonical();
        match &authority.host {
            Host::Ip(named) => named.to_canonical() == ip,
            host if Some(host) == self.server_name.as_ref() => true,
            Host::Name(name) => **name == *"localhost" && ip.is_loopback(),
        }
    }
}

/// The HTTP/1.1 head with the meaning of `request`; `has_body` if more than the head is
/// to come. The caller checks it like any other head.
///
/// `h2` has refused fields that have no place in a message of HTTP/2 (RFC 9113 §8.2.2),
/// such as `Transfer-Encoding`, and pseudo-fields that are missing, repeated or no method, scheme,
/// authority or path (§8.3.1): of these none can hold whitespace.
///
/// # Errors
/// A request that would mean something else as HTTP/1.1: its path does not begin as one,
/// `Host` names another server than `:authority`, or whitespace is part of a value. An extended CONNECT for another
/// protocol than `websocket`, or with a length.
pub fn to_http1(
    request: &Parts,
    has_body: bool,
    own: &LocalEndpoint,
) -> Result<BytesMut, HeadError> {
    let mut head = BytesMut::with_capacity(512);
    let mut put = |parts: &[&[u8]]| {
        for part in parts {
            head.extend_from_slice(part);
        }
    };
    let is_websocket = is_websocket(request)?;
    let connect = request.method == Method::CONNECT && !is_websocket;
    let authority = authority(request, connect)?;
    // Without `:authority`, `h2` drops `:scheme`. A wrong guess at the scheme could send
    // without TLS what the client meant for TLS.
    let scheme = request.uri.scheme_str();
    let scheme = scheme.unwrap_or_else(|| own.scheme.as_str());
    let is_local = !connect && is_local(scheme, authority, own);
    if request.uri.authority().is_none() && !is_local {
        return Err(HeadError::MissingAuthority);
    }
    let method = if is_websocket {
        &Method::GET
    } else {
        &request.method
    };
    put(&[method.as_str().as_bytes(), b" "]);
    if connect {
        put(&[authority]);
    } else {
        let path = path(&request.uri, method)?;
        // The reader of targets refuses any other scheme.
        if !is_local {
            put(&[scheme.as_bytes(), b"://", authority]);
        }
        // The last proxy makes `*` of an empty path (RFC 9112 §3.2.4).
        if is_local || path != b"*" {
            put(&[path]);
        }
    }
    put(&[b" HTTP/1.1\r\nHost: ", authority, b"\r\n"]);
    for (name, value) in &request.headers {
        check_ends(value.as_bytes())?;
        // Of these, `h2` lets only `TE: trailers` pass, which HTTP/1.1 has too.
        let barred = HopField::of(name).is_some_and(HopField::is_barred_from_http2);
        if barred && *name != TE || [HOST, COOKIE].contains(name) {
            continue;
        }
        put(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
    }
    // HTTP/2 splits it to compress it better; HTTP/1.1 has one line (RFC 9113 §8.2.3).
    let mut lead: &[u8] = b"cookie: ";
    for crumb in request.headers.get_all(COOKIE) {
        put(&[lead, crumb.as_bytes()]);
        lead = b"; ";
    }
    if lead == b"; " {
        put(&[b"\r\n"]);
    }
    if is_websocket {
        put(&[b"connection: upgrade\r\nupgrade: websocket\r\n"]);
    } else if !connect && !request.headers.contains_key(CONTENT_LENGTH) {
        if has_body {
            put(&[b"transfer-encoding: chunked\r\n"]);
        } else if anticipates_content(&request.method) {
            put(&[b"content-length: 0\r\n"]);
        }
    }
    put(&[b"\r\n"]);
    Ok(head)
}

/// Whether it is an extended CONNECT (RFC 8441 §4), which becomes the handshake of a WebSocket in HTTP/1.1. The key that
/// HTTP/1.1 has besides comes from whoever sends the handshake on.
///
/// # Errors
/// It is one for another protocol, or one with a length: its content is what the WebSocket sends.
fn is_websocket(request: &Parts) -> Result<bool, HeadError> {
    let Some(protocol) = request.extensions.get::<Protocol>() else {
        return Ok(false);
    };
    if !protocol.as_str().eq_ignore_ascii_case("websocket") {
        return Err(HeadError::ConnectProtocol);
    }
    match request.headers.contains_key(CONTENT_LENGTH) {
        true => Err(HeadError::ConnectBody),
        false => Ok(true),
    }
}

/// Whether servers expect content with this method. HTTP/2 says by the end of the stream that there is
/// none, HTTP/1.1 by a length of 0 (RFC 9110 §8.6).
fn anticipates_content(method: &Method) -> bool {
    [Method::POST, Method::PUT, Method::PATCH].contains(method)
}

/// The authority that the request names. A `Host` beside `:authority` has to be the same
/// (RFC 9113 §8.3.1), apart from case and a default port.
fn authority(request: &Parts, connect: bool) -> Result<&[u8], HeadError> {
    let host = host(&request.headers)?;
    let Some(authority) = request.uri.authority() else {
        return host.ok_or(HeadError::MissingHost);
    };
    let authority = authority.as_str().as_bytes();
    if let Some(host) = host
        && !host.eq_ignore_ascii_case(authority)
    {
        let scheme = request.uri.scheme_str();
        let scheme = scheme.and_then(|scheme| Scheme::parse(scheme.as_bytes()));
        // A tunnel has no default port.
        let port = scheme.filter(|_| !connect).map(Scheme::default_port);
        let read = |raw| Authority::parse_with_default(raw, port).ok();
        if read(host).is_none() || read(host) != read(authority) {
            return Err(HeadError::ConflictingHost);
        }
    }
    Ok(authority)
}

fn host(headers: &HeaderMap) -> Result<Option<&[u8]>, HeadError> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().map(http::HeaderValue::as_bytes);
    host.map_or(Ok(()), check_ends)?;
    match hosts.next() {
        None => Ok(host),
        Some(_) => Err(HeadError::DuplicateHost),
    }
}

/// No value begins or ends with whitespace (RFC 9113 §8.2.1): HTTP/1.1 would read another value.
fn check_ends(value: &[u8]) -> Result<(), HeadError> {
    match value {
        [b' ' | b'\t', ..] | [.., b' ' | b'\t'] => Err(HeadError::FieldWhitespace),
        _ => Ok(()),
    }
}

/// `:path`. HTTP/1.1 has it right behind the authority, of which it must not become a part.
fn path<'a>(uri: &'a Uri, method: &Method) -> Result<&'a [u8], HeadError> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    match path.as_bytes() {
        path @ [b'/', ..] => Ok(path),
        path @ b"*" if *method == Method::OPTIONS => Ok(path),
        _ => Err(HeadError::Target(TargetError::Form)),
    }
}

fn is_local(scheme: &str, authority: &[u8], own: &LocalEndpoint) -> bool {
    let Some(scheme) = Scheme::parse(scheme.as_bytes()) else {
        return false;
    };
    Authority::parse_with_default(authority, Some(scheme.default_port()))
        .is_ok_and(|authority| own.is_named(scheme, &authority))
}
