//! What differs for a request that goes on in HTTP/2.
//!
//! Pingora writes the frames. It has one request on a connection at a time here, as in HTTP/1.1: so no client holds up
//! another one by what it does not read, a server that ends a connection ends one request, and the limits of servers
//! count the same.

use std::time::Duration;

use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    TE,
};
use http::uri::Authority;
use http::{Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::protocols::TcpKeepalive;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::context::Forwarded;
use super::failure;
use crate::config::Http2;
use crate::http::error::{ErrorKind, RequestError};
use crate::http::fields::HopField;
use crate::http::http1;
use crate::request::facts::Request;

/// What an upstream may send of an answer before it is passed on, on a stream and on its connection. Pingora's default is
/// 8 MiB.
const WINDOW: u32 = 256 * 1024;

/// The largest head and trailer section of an answer: what Pingora takes in HTTP/1.1, and what goes through proxies.
const MAX_HEAD: usize = 1024 * 1024;
const MAX_TRAILERS: usize = 64 * 1024;

/// When a silent connection is probed (TCP keep-alive), and how often before it ends.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBES: usize = 3;

/// Has the connection to `peer` made as `http2` says. One that takes nothing for `send_timeout` ends.
///
/// # Errors
/// [`ErrorKind::VersionUnsupported`]: HTTP/1.0 is not made HTTP/2, whose answers may have no length.
pub(super) fn allow(
    peer: &mut HttpPeer,
    http2: Http2,
    request: &Request,
    send_timeout: Duration,
) -> std::result::Result<(), RequestError> {
    let is_http10 = request.version == http1::Version::Http10;
    let min = match http2 {
        Http2::Off => return Ok(()),
        // A scheme that authenticates a connection has no meaning in HTTP/2 (RFC 9113 §7).
        Http2::Auto if is_http10 || request.has_dedicated_upstream => return Ok(()),
        Http2::Auto => 1,
        Http2::Only if is_http10 => return Err(ErrorKind::VersionUnsupported.into()),
        Http2::Only => 2,
    };
    peer.options.set_http_version(2, min);
    peer.options.max_h2_streams = 1;
    peer.options.h2_stream_window_size = Some(WINDOW);
    peer.options.h2_connection_window_size = Some(WINDOW);
    // A connection of HTTP/2 ends behind its requests, once all is written. A server that takes nothing any more would keep
    // it for ever.
    peer.options.tcp_keepalive = Some(TcpKeepalive {
        idle: PROBE_AFTER,
        interval: PROBE_AFTER,
        count: PROBES,
        user_timeout: send_timeout,
    });
    Ok(())
}

/// Completes the head of a request that Pingora is about to send in HTTP/2.
///
/// # Errors
/// The client is gone, or its `Host` is none in HTTP/2.
pub(super) async fn complete(
    session: &mut Session,
    forwarded: &mut Forwarded,
    head: &mut RequestHeader,
) -> Result<()> {
    let request = &forwarded.exchange.request;
    if request.wants_trailers {
        head.insert_header(TE, "trailers")?;
    }
    // Pingora passes no interim answer of HTTP/2 on.
    if head.remove_header(&EXPECT).is_some() && request.expect_continue && forwarded.interim == 0 {
        forwarded.interim += 1;
        session.write_continue_response().await?;
    }
    let host = head.headers.get(HOST).map(HeaderValue::as_bytes);
    match host {
        None | Some(b"") => {
            if let Some(permit) = &forwarded.permit {
                head.insert_header(HOST, permit.server.host_field())?;
            }
            Ok(())
        }
        Some(host) => match Authority::try_from(host) {
            Ok(_) => Ok(()),
            Err(error) => Err(failure::into_pingora(ErrorKind::BadRequest.because(error))),
        },
    }
}

/// Looks at the head of an answer, before anything of it is changed: whether a trailer section may follow it that goes on
/// to the client.
///
/// # Errors
/// It is too large.
pub(super) fn on_response(
    session: &Session,
    forwarded: &Forwarded,
    response: &mut ResponseHeader,
) -> Result<()> {
    if response.version != Version::HTTP_2 {
        return Ok(());
    }
    if size(&response.headers) > MAX_HEAD {
        return Err(failure::invalid_answer("the head is too large"));
    }
    let request = &forwarded.exchange.request;
    if !request.wants_trailers || request.version == http1::Version::Http10 {
        return Ok(());
    }
    if is_grpc(&response.headers) {
        // The length is that of the messages, and no client needs it. With a status in the head there is no more than
        // that, and it has to end with it.
        response.remove_header(&CONTENT_LENGTH);
        if response.headers.contains_key("grpc-status") {
            response.insert_header(CONTENT_LENGTH, "0")?;
        }
    }
    let has_body = session.req_header().method != Method::HEAD
        && !matches!(
            response.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    // HTTP/1.1 has none behind a length (RFC 9112 §6.3).
    if has_body && !response.headers.contains_key(CONTENT_LENGTH) {
        forwarded.connection.trailers.expect();
    }
    Ok(())
}

/// Keeps the trailer section of an answer for the client, without what has no place there.
pub(super) fn on_trailers(forwarded: &Forwarded, trailers: &mut HeaderMap) {
    forwarded.connection.answer.on_part(true);
    let mut trailers = std::mem::take(trailers);
    let barred: Vec<HeaderName> = trailers
        .keys()
        .filter(|name| !may_trail(name))
        .cloned()
        .collect();
    for name in barred {
        trailers.remove(name);
    }
    if size(&trailers) > MAX_TRAILERS {
        let id = forwarded.exchange.request.id;
        log::debug!("request {id}: the trailer section is too large, and is left out");
        return;
    }
    if !trailers.is_empty() {
        forwarded.connection.trailers.keep(trailers);
    }
}

/// Whether the server has not begun to serve a request that failed, so that it may be sent again whatever its method (RFC
/// 9113 §8.7): it refused the stream, was about to end the connection, or wants HTTP/1.1.
pub(super) fn is_unprocessed(error: &Error) -> bool {
    match error.root_etype() {
        // Pingora notes it for these.
        ErrorType::H2Error | ErrorType::H2Downgrade => error.retry(),
        _ => false,
    }
}

/// What the fields take in memory.
fn size(fields: &HeaderMap) -> usize {
    let sizes = fields
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    sizes.sum()
}

fn is_grpc(fields: &HeaderMap) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    let value = fields.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let parts = value.and_then(|value| value.split_at_checked(TYPE.len()));
    // `application/grpc-web` has its trailer section in the body.
    parts.is_some_and(|(kind, rest)| {
        kind.eq_ignore_ascii_case(TYPE)
            && matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'\t'))
    })
}

/// Whether a field may be in a trailer section that goes on: one that frames, routes, authenticates or controls the answer,
/// or says how to read it, may not (RFC 9110 §6.5.1), since a reader may add it to the head.
fn may_trail(name: &HeaderName) -> bool {
    const BARRED: &[&str] = &[
        "age",
        "authorization",
        "authentication-info",
        "content-encoding",
        "content-location",
        "content-range",
        "content-type",
        "expires",
        "location",
        "pragma",
        "retry-after",
        "set-cookie",
        "vary",
        "warning",
        "www-authenticate",
    ];
    HopField::of(name).is_none() && *name != CACHE_CONTROL && !BARRED.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_trail() {
        for name in [
            "grpc-status",
            "grpc-message",
            "grpc-status-details-bin",
            "x",
            "server-timing",
            "etag",
            "digest",
        ] {
            assert!(may_trail(&name.parse().unwrap()), "{name}");
        }
        for name in [
            "transfer-encoding",
            "content-length",
            "te",
            "trailer",
            "connection",
            "host",
            "date",
            "via",
            "set-cookie",
            "content-type",
            "cache-control",
            "proxy-authenticate",
            "www-authenticate",
            "location",
        ] {
            assert!(!may_trail(&name.parse().unwrap()), "{name}");
        }
    }

    #[test]
    fn what_is_grpc() {
        for (value, is) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/GRPC; charset=x", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grp", false),
            ("text/html", false),
            ("", false),
        ] {
            let mut fields = HeaderMap::new();
            assert!(!is_grpc(&fields));
            fields.insert(CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(is_grpc(&fields), is, "{value}");
        }
    }
}
