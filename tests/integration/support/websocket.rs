//! WebSockets over HTTP/2 (RFC 8441), and the handshake of HTTP/1.1 that a server sees.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use sha1::{Digest as _, Sha1};

use super::http2::{Client, request, within};
use super::message::Head;

/// An extended CONNECT by Alice, for this protocol.
pub(crate) fn extended(protocol: &'static str, uri: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = request("CONNECT", uri);
    for (name, value) in fields {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    request
        .extensions_mut()
        .insert(Protocol::from_static(protocol));
    request
}

pub(crate) fn websocket(uri: &str) -> Request<()> {
    extended("websocket", uri, &[("sec-websocket-version", "13")])
}

/// What a server makes of the key (RFC 6455 §1.3).
pub(crate) fn accept(head: &Head) -> String {
    let key = head.fields.value("sec-websocket-key").unwrap();
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest.finalize())
}

/// The head that begins a WebSocket, with these fields more.
pub(crate) fn switching(accept: &str, more: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n{more}\r\n"
    )
}

/// A WebSocket that begins; with the fields of the answer.
pub(crate) async fn open(
    client: &mut Client,
    request: Request<()>,
) -> (HeaderMap, SendStream<Bytes>, RecvStream) {
    let (answer, send) = client.open(request, false).await;
    let answer = within(answer).await.unwrap();
    assert_eq!(answer.status(), 200, "{:?}", answer.headers());
    let (parts, receive) = answer.into_parts();
    (parts.headers, send, receive)
}
